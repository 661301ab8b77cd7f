/* encode.c - how do text and names travel in a message that is 7-bit?
 * Everything is written in one pass, front to back. What a header field holds is broken only where
 * all readers join it again in the same way: at a single blank, and between encoded words. A value
 * that holds anything else (two blanks in a row, a blank at an end, "=?") goes into encoded words,
 * because readers differ in what they make of it. Pure; any thread. */
#include "relay/message/encode.h"

#include <stdio.h>

#include "relay/base/base64.h"

#define FOLD_COLUMN     76 /* RFC 2047 section 2 for lines with encoded words; kept for all */
#define WORD_MAX        900
#define ENCODED_MAX     75 /* RFC 2047 section 2, with its frame */
#define ENCODED_FRAME   12 /* =?utf-8?Q??= */
#define ENCODED_LEAST   24 /* less room than this: begin a new line */
#define QUOTED_NAME_MAX 60
#define PIECE_MAX       60 /* of a parameter's value, encoded */
#define BODY_COLUMN     76 /* RFC 2045 section 6.7 (5) and 6.8 */
#define LINE_MAX        998
#define WRAP_BYTES      57 /* what 76 characters of base64 hold */

static const char hex[] = "0123456789ABCDEF";

/* --- characters ------------------------------------------------------------------------------- */

size_t encode_char_len(struct slice text)
{
    static const struct {
        uint8_t first, last, second_first, second_last;
        size_t len;
    } rows[] = {
        { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
        { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
        { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    const uint8_t *at = (const uint8_t *)text.data;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (at[0] < rows[i].first || at[0] > rows[i].last)
            continue;
        if (text.len < rows[i].len || at[1] < rows[i].second_first || at[1] > rows[i].second_last)
            return 1;
        for (size_t more = 2; more < rows[i].len; more++)
            if ((at[more] & 0xc0) != 0x80)
                return 1;
        return rows[i].len;
    }
    return 1;
}

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

bool encode_has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if ((byte < ' ' && byte != '\t') || byte == 127)
            return true;
    }
    return false;
}

static bool holds(struct slice text, const char *part)
{
    return text.len > 0 && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

/* --- bodies ----------------------------------------------------------------------------------- */

const char *encode_transfer_name(enum encode_transfer transfer)
{
    static const char *const names[] = { [ENCODE_7BIT] = "7bit",
                                         [ENCODE_QUOTED_PRINTABLE] = "quoted-printable",
                                         [ENCODE_BASE64] = "base64" };

    return names[transfer];
}

/* How many octets of `text` from `at` on are printable? Eight at a time: nearly all of a body is
 * looked at here, and more than once. */
static size_t printable_run(struct slice text, size_t at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
    size_t len = 0;
    uint64_t word;

    for (; text.len - at - len >= sizeof(word); len += sizeof(word)) {
        memcpy(&word, text.data + at + len, sizeof(word));
        /* Below a blank, DEL, or not ASCII, in one of the eight or in one before it. */
        if (((word - ones * ' ') | (word + ones) | word) & highs)
            break;
    }
    while (at + len < text.len && is_printable(text.data[at + len]))
        len++;
    return len;
}

/* Cuts the first line off *rest, without its end. */
static struct slice take_line(struct slice *rest)
{
    size_t len = printable_run(*rest, 0);

    while (len < rest->len && rest->data[len] != '\r' && rest->data[len] != '\n') {
        len++;
        len += printable_run(*rest, len);
    }
    struct slice line = slice_first(*rest, len);
    if (len < rest->len)
        len += rest->len - len > 1 && memcmp(rest->data + len, "\r\n", 2) == 0 ? 2 : 1;
    *rest = slice_from(*rest, len);
    return line;
}

/* Some mail boxes change a line that begins so. */
static bool starts_like_envelope(struct slice line)
{
    return line.len >= 5 && memcmp(line.data, "From ", 5) == 0;
}

static bool stands_for_itself(char c)
{
    return is_printable(c) || c == '\t';
}

enum encode_transfer encode_choose(struct slice text)
{
    size_t strange = 0;
    bool plain = true;

    for (struct slice rest = text; rest.len > 0;) {
        struct slice line = take_line(&rest);
        plain = plain && line.len <= LINE_MAX && !starts_like_envelope(line);
        for (size_t i = printable_run(line, 0); i < line.len; i += 1 + printable_run(line, i + 1))
            strange += !stands_for_itself(line.data[i]);
    }
    if (strange == 0 && plain)
        return ENCODE_7BIT;
    /* Three octets for each strange one against four for three of all. */
    return strange <= text.len / 6 ? ENCODE_QUOTED_PRINTABLE : ENCODE_BASE64;
}

static bool put_plain(struct slice text, struct buf *out)
{
    bool ok = true;

    while (ok && text.len > 0) {
        struct slice line = take_line(&text);
        ok = buf_add(out, line) && buf_add(out, SLICE("\r\n"));
    }
    return ok;
}

/* Must the octet at `i` be written as =XX? A blank at the end of a line would be lost, a dot at its
 * start is touched on the way (RFC 5321 section 4.5.2), and "From " see above. */
static bool needs_escape(struct slice line, size_t i)
{
    char c = line.data[i];

    if (c == '=' || !stands_for_itself(c))
        return true;
    if (c == ' ' || c == '\t')
        return i + 1 == line.len;
    return i == 0 && (c == '.' || starts_like_envelope(line));
}

static bool put_quoted_line(struct slice line, struct buf *out)
{
    size_t column = 0;

    for (size_t i = 0; i < line.len; i++) {
        uint8_t byte = (uint8_t)line.data[i];
        bool escape = needs_escape(line, i);
        size_t len = escape ? 3 : 1;
        if (column + len + (i + 1 < line.len ? 1 : 0) > BODY_COLUMN) {
            if (!buf_add(out, SLICE("=\r\n")))
                return false;
            column = 0;
            /* It starts a line now, where a dot, or the F of "From ", is touched on the way. */
            escape = escape || byte == '.' || byte == 'F';
            len = escape ? 3 : 1;
        }
        char piece[3] = { escape ? '=' : line.data[i], hex[byte >> 4], hex[byte & 15] };
        if (!buf_add(out, slice_make(piece, len)))
            return false;
        column += len;
    }
    return buf_add(out, SLICE("\r\n"));
}

static bool put_base64(struct slice bytes, struct buf *out)
{
    while (bytes.len > 0) {
        if (!base64_encode(slice_first(bytes, WRAP_BYTES), out) || !buf_add(out, SLICE("\r\n")))
            return false;
        bytes = slice_from(bytes, WRAP_BYTES);
    }
    return true;
}

static bool put_text_in_base64(struct slice text, struct buf *out)
{
    struct buf lines;

    buf_init(&lines, text.len * 2 + 2); /* each octet a line end, at worst */
    bool ok = put_plain(text, &lines) && put_base64(buf_slice(&lines), out);
    buf_free(&lines);
    return ok;
}

bool encode_text(struct slice text, enum encode_transfer transfer, struct buf *out)
{
    switch (transfer) {
    case ENCODE_7BIT:
        return put_plain(text, out);
    case ENCODE_BASE64:
        return put_text_in_base64(text, out);
    case ENCODE_QUOTED_PRINTABLE:
        break;
    }
    while (text.len > 0)
        if (!put_quoted_line(take_line(&text), out))
            return false;
    return true;
}

/* The next 76 characters that are no line ends; fewer at the end. */
static size_t gather(struct slice *rest, char line[static BODY_COLUMN])
{
    size_t len = 0;

    while (len < BODY_COLUMN && rest->len > 0) {
        size_t run = 0;
        while (run < rest->len && len + run < BODY_COLUMN && rest->data[run] != '\r' &&
               rest->data[run] != '\n')
            run++;
        memcpy(line + len, rest->data, run);
        len += run;
        while (run < rest->len && (rest->data[run] == '\r' || rest->data[run] == '\n'))
            run++;
        *rest = slice_from(*rest, run);
    }
    return len;
}

enum encode_wrap encode_wrap_base64(struct slice base64, struct buf *out)
{
    char text[BODY_COLUMN];
    bool ended = false;
    struct buf bytes;
    enum encode_wrap result = ENCODE_WRAPPED;

    buf_init(&bytes, WRAP_BYTES);
    while (base64.len > 0 && result == ENCODE_WRAPPED) {
        struct slice line = slice_make(text, gather(&base64, text));
        if (line.len == 0)
            break;
        buf_clear(&bytes);
        /* Padding ends the whole, not only its line. */
        if (ended || !base64_decode(line, &bytes))
            result = ENCODE_NOT_BASE64;
        else if (!buf_add(out, line) || !buf_add(out, SLICE("\r\n")))
            result = ENCODE_FULL;
        ended = line.data[line.len - 1] == '=';
    }
    buf_free(&bytes);
    return result;
}

/* --- header fields: words --------------------------------------------------------------------- */

static void put(struct encode_field *field, struct slice text)
{
    field->ok = field->ok && buf_add(field->out, text);
    field->column += text.len;
}

static void fold(struct encode_field *field)
{
    put(field, SLICE("\r\n "));
    field->column = 1;
}

void encode_start(struct encode_field *field, struct buf *out, struct slice name)
{
    *field = (struct encode_field){ .out = out, .is_empty = true, .ok = true };
    put(field, name);
    put(field, SLICE(":"));
}

bool encode_end(struct encode_field *field)
{
    put(field, SLICE("\r\n"));
    return field->ok;
}

/* The first word stays beside the name: some readers take a fold there for an empty field. */
void encode_word(struct encode_field *field, struct slice word)
{
    if (field->column + 1 + word.len > FOLD_COLUMN && !field->is_empty)
        fold(field);
    else
        put(field, SLICE(" "));
    put(field, word);
    field->is_empty = false;
}

static void put_words(struct encode_field *field, struct slice words)
{
    while (words.data != NULL)
        encode_word(field, slice_cut(&words, ' '));
}

bool encode_is_plain(struct slice text)
{
    size_t word = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (!is_printable(text.data[i]))
            return false;
        if (text.data[i] == ' ' && word == 0)
            return false;
        word = text.data[i] == ' ' ? 0 : word + 1;
        if (word > WORD_MAX)
            return false;
    }
    return text.len == 0 || word > 0;
}

/* --- encoded words ---------------------------------------------------------------------------- */

/* What stands for itself wherever an encoded word may stand (RFC 2047 section 5 (3)). */
static bool stands_in_q(char c)
{
    return ascii_is_alnum(c) || (c != '\0' && strchr("!*+-/", c) != NULL);
}

static size_t q_len(struct slice text)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++)
        len += stands_in_q(text.data[i]) || text.data[i] == ' ' ? 1 : 3;
    return len;
}

static size_t b_len(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

/* As much of the text, in whole characters, as fits into `room` when it is encoded. */
static size_t fitting(struct slice text, char encoding, size_t room)
{
    size_t used = 0;
    size_t len = 0;

    while (used < text.len) {
        size_t step = encode_char_len(slice_from(text, used));
        size_t next = encoding == 'B' ? b_len(used + step)
                                      : len + q_len(slice_first(slice_from(text, used), step));
        if (next > room)
            break;
        len = next;
        used += step;
    }
    return used;
}

static void put_q(struct encode_field *field, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        char piece[3] = { '=', hex[byte >> 4], hex[byte & 15] };
        if (byte == ' ')
            put(field, SLICE("_"));
        else if (stands_in_q(text.data[i]))
            put(field, slice_first(slice_from(text, i), 1));
        else
            put(field, slice_make(piece, 3));
    }
}

static void put_encoded_word(struct encode_field *field, char encoding, struct slice text)
{
    char start[] = "=?utf-8?Q?";

    start[8] = encoding;
    put(field, slice_of(start));
    if (encoding == 'Q') {
        put_q(field, text);
    } else {
        size_t at = buf_len(field->out);
        field->ok = field->ok && base64_encode(text, field->out);
        field->column += buf_len(field->out) - at;
    }
    put(field, SLICE("?="));
}

static void put_encoded(struct encode_field *field, struct slice text)
{
    char encoding = q_len(text) <= b_len(text.len) ? 'Q' : 'B';

    field->is_empty = false;
    while (text.len > 0 && field->ok) {
        if (field->column + 1 + ENCODED_LEAST > FOLD_COLUMN)
            fold(field);
        else if (field->column > 1)
            put(field, SLICE(" "));
        size_t room = FOLD_COLUMN - field->column;
        room = (room < ENCODED_MAX ? room : ENCODED_MAX) - ENCODED_FRAME;
        size_t len = fitting(text, encoding, room);
        put_encoded_word(field, encoding, slice_first(text, len));
        text = slice_from(text, len);
        if (text.len > 0)
            fold(field);
    }
}

void encode_unstructured(struct encode_field *field, struct slice text)
{
    if (text.len == 0)
        put(field, SLICE(" "));
    else if (encode_is_plain(text) && !holds(text, "=?"))
        put_words(field, text);
    else
        put_encoded(field, text);
}

/* --- display names ---------------------------------------------------------------------------- */

static bool is_words(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!ascii_is_alnum(name.data[i]) && name.data[i] != ' ')
            return false;
    return true;
}

/* Quotes with a quoted pair in them, or folded, are read in more than one way (see address.c). */
static bool fits_in_quotes(struct slice name)
{
    return name.len <= QUOTED_NAME_MAX && slice_find(name, '"') == SLICE_NONE &&
           slice_find(name, '\\') == SLICE_NONE && !holds(name, "=?");
}

/* Readers exist (Python's newer parser, up to 3.12) that find a blank between the encoded words of
 * a name: one that fits into one word is kept in one. */
static void put_encoded_name(struct encode_field *field, struct slice name)
{
    size_t q = q_len(name), b = b_len(name.len);
    size_t len = (q <= b ? q : b) + ENCODED_FRAME;

    if (!field->is_empty && len <= ENCODED_MAX && field->column + 1 + len > FOLD_COLUMN)
        fold(field);
    put_encoded(field, name);
}

void encode_phrase(struct encode_field *field, struct slice name)
{
    char quoted[QUOTED_NAME_MAX + 3];

    if (!encode_is_plain(name) || !(is_words(name) || fits_in_quotes(name))) {
        put_encoded_name(field, name);
    } else if (is_words(name)) {
        put_words(field, name);
    } else {
        int len = snprintf(quoted, sizeof(quoted), "\"%.*s\"", SLICE_ARG(name));
        encode_word(field, slice_make(quoted, (size_t)len));
    }
}

/* --- parameters ------------------------------------------------------------------------------- */

/* attribute-char of RFC 2231 section 7 */
static bool stands_in_parameter(char c)
{
    return ascii_is_alnum(c) || (c != '\0' && strchr("!#$&+-.^_`{|}~", c) != NULL);
}

/* One piece of whole characters, percent-encoded; returns how much of the value it holds. */
static size_t format_piece(struct slice value, char piece[static PIECE_MAX + 1])
{
    size_t used = 0, len = 0;

    while (used < value.len) {
        size_t step = encode_char_len(slice_from(value, used));
        bool plain = step == 1 && stands_in_parameter(value.data[used]);
        if (len + (plain ? 1 : 3 * step) > PIECE_MAX)
            break;
        if (plain)
            piece[len++] = value.data[used++];
        for (size_t end = plain ? used : used + step; used < end; used++) {
            uint8_t byte = (uint8_t)value.data[used];
            piece[len++] = '%';
            piece[len++] = hex[byte >> 4];
            piece[len++] = hex[byte & 15];
        }
    }
    piece[len] = '\0';
    return used;
}

static void put_extended(struct encode_field *field, const char *name, struct slice value)
{
    char piece[PIECE_MAX + 1];
    char number[16] = "";

    for (unsigned count = 0; count == 0 || value.len > 0; count++) {
        size_t used = format_piece(value, piece);
        if (count > 0 || used < value.len)
            snprintf(number, sizeof(number), "*%u", count);
        put(field, SLICE(";"));
        fold(field);
        put(field, slice_of(name));
        put(field, slice_of(number));
        put(field, count == 0 ? SLICE("*=utf-8''") : SLICE("*="));
        put(field, slice_of(piece));
        value = slice_from(value, used);
    }
}

void encode_parameter_as_is(struct encode_field *field, struct slice parameter)
{
    put(field, SLICE(";"));
    encode_word(field, parameter);
}

void encode_parameter(struct encode_field *field, const char *name, struct slice value)
{
    char text[QUOTED_NAME_MAX + 64];

    if (!encode_is_plain(value) || !fits_in_quotes(value)) {
        put_extended(field, name, value);
        return;
    }
    int len = snprintf(text, sizeof(text), "%.40s=\"%.*s\"", name, SLICE_ARG(value));
    encode_parameter_as_is(field, slice_make(text, (size_t)len));
}
