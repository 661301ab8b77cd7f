/* returned.c - what of a message that failed goes back to its sender?
 * Only CRLF ends a line here. A CR or LF that stands alone is a byte of its line and makes the
 * block one that must be encoded, so no reader can see more lines in it than there are. Linear:
 * a block that must be encoded is walked three times. Pure. */
#include "relay/message/returned.h"

#include <stdio.h>

#define LINE_MAX_BYTES 998 /* RFC 5322 section 2.1.1, without CRLF */
#define CODED_COLUMN   75  /* RFC 2045 section 6.7: 76 with the "=" of a soft line break */

static bool is_line_end(struct slice s, size_t at)
{
    return s.len - at >= 2 && s.data[at] == '\r' && s.data[at + 1] == '\n';
}

/* --- quoted-printable ------------------------------------------------------------------------- */

struct encoder {
    struct buf *out; /* NULL: only count */
    size_t column;
    size_t total;
    bool ok; /* false once *out was full */
};

static void put(struct encoder *e, struct slice text)
{
    e->ok = e->ok && (e->out == NULL || buf_add(e->out, text));
    e->column += text.len;
    e->total += text.len;
}

/* Blanks at the end of a line get lost on the way, so they are written as numbers. */
static bool is_literal(struct slice s, size_t at)
{
    char c = s.data[at];

    if (c == ' ' || c == '\t')
        return at + 1 < s.len && !is_line_end(s, at + 1);
    return c > ' ' && c <= '~' && c != '=';
}

static void put_byte(struct encoder *e, struct slice s, size_t at)
{
    char coded[4];
    struct slice text = slice_make(s.data + at, 1);

    if (!is_literal(s, at)) {
        snprintf(coded, sizeof(coded), "=%02X", (unsigned)(uint8_t)s.data[at]);
        text = slice_make(coded, 3);
    }
    if (e->column + text.len > CODED_COLUMN) {
        put(e, SLICE("=\r\n"));
        e->column = 0;
    }
    put(e, text);
}

static void encode(struct encoder *e, struct slice block)
{
    for (size_t at = 0; at < block.len; at++) {
        if (!is_line_end(block, at)) {
            put_byte(e, block, at);
            continue;
        }
        put(e, SLICE("\r\n"));
        e->column = 0;
        at++;
    }
}

static size_t encoded_len(struct slice field)
{
    struct encoder counter = { .ok = true };

    encode(&counter, field);
    return counter.total;
}

/* --- which fields ----------------------------------------------------------------------------- */

/* The length of the first line with its end, or 0 when it has none. */
static size_t line_len(struct slice rest)
{
    const char *end = rest.len == 0 ? NULL : memmem(rest.data, rest.len, "\r\n", 2);

    return end == NULL ? 0 : (size_t)(end - rest.data) + 2;
}

/* The length of the first field with its folds; 0 at the empty line, and where it has no end. */
static size_t field_len(struct slice rest)
{
    size_t len = line_len(rest);

    if (len <= 2)
        return 0;
    while (len < rest.len && (rest.data[len] == ' ' || rest.data[len] == '\t')) {
        size_t more = line_len(slice_from(rest, len));
        if (more == 0)
            return 0;
        len += more;
    }
    return len;
}

static struct slice fields_within(struct slice message, bool encoded, size_t max)
{
    size_t taken = 0;
    size_t room = max;

    for (;;) {
        struct slice rest = slice_from(message, taken);
        size_t len = field_len(rest);
        size_t need = encoded ? encoded_len(slice_first(rest, len)) : len;
        if (len == 0 || need > room)
            return slice_first(message, taken);
        taken += len;
        room -= need;
    }
}

static bool is_plain(struct slice block)
{
    size_t column = 0;

    for (size_t at = 0; at < block.len; at++) {
        char c = block.data[at];
        if (is_line_end(block, at)) {
            column = 0;
            at++;
            continue;
        }
        if (c == '\0' || c == '\r' || c == '\n' || (uint8_t)c > 127 || ++column > LINE_MAX_BYTES)
            return false;
    }
    return true;
}

struct returned returned_take(struct slice message, size_t max)
{
    struct slice block = fields_within(message, false, max);

    if (is_plain(block))
        return (struct returned){ .block = block };
    return (struct returned){ .block = fields_within(message, true, max), .encoded = true };
}

bool returned_add(const struct returned *returned, struct buf *out)
{
    struct encoder encoder = { .out = out, .ok = true };

    if (!returned->encoded)
        return buf_add(out, returned->block);
    encode(&encoder, returned->block);
    return encoder.ok;
}
