/* header.c - which fields does this header block have? One pass, linear, nothing is copied.
 * Every byte is looked at a small fixed number of times: once for its class, and by memchr() for
 * the line ends and the colon. The one allocation is the array of fields, bounded by
 * HEADER_FIELDS_MAX. Pure; any thread. */
#include "relay/message/header.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"

#define FIRST_FIELDS 32 /* what almost every message fits in, so that one allocation does */

size_t header_find_end(struct slice message, size_t from)
{
    static const char empty_line[] = "\r\n\r\n";

    if (message.len >= 2 && memcmp(message.data, "\r\n", 2) == 0)
        return 2;
    /* The CRLFs may straddle the place where the earlier look ended. */
    size_t start = from < 3 ? 0 : from - 3;
    if (start >= message.len)
        return SLICE_NONE;
    const char *found = memmem(message.data + start, message.len - start, empty_line, 4);
    return found == NULL ? SLICE_NONE : (size_t)(found - message.data) + 4;
}

enum { BYTE_BAD = 1, BYTE_EIGHT_BIT = 0x80 };

/* NUL, and the control bytes at which some readers (Python's splitlines among them) end a line:
 * one field to us, two to them. The other control bytes may stay: ISO-2022-JP needs its ESC. CR and
 * LF are judged where lines are taken. */
static const uint8_t byte_classes[256] = {
    [0x00] = BYTE_BAD, [0x0b] = BYTE_BAD, [0x0c] = BYTE_BAD,
    [0x1c] = BYTE_BAD, [0x1d] = BYTE_BAD, [0x1e] = BYTE_BAD,
};

static unsigned classes_in(struct slice bytes)
{
    unsigned seen = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = (uint8_t)bytes.data[i];
        seen |= byte_classes[byte] | (byte & (unsigned)BYTE_EIGHT_BIT);
    }
    return seen;
}

struct line {
    struct slice text; /* without its end */
    size_t whole_len;  /* with it */
};

/* The first line of `rest`, which is not empty. False when it holds a bare CR or LF. Only the last
 * line may have no end at all. */
static bool take_line(struct slice *rest, struct line *line)
{
    const char *lf = memchr(rest->data, '\n', rest->len);
    size_t whole_len = lf == NULL ? rest->len : (size_t)(lf - rest->data) + 1;
    const char *cr = memchr(rest->data, '\r', whole_len);

    if (lf == NULL ? cr != NULL : cr == NULL || cr + 1 != lf)
        return false;
    line->text = slice_make(rest->data, lf == NULL ? whole_len : whole_len - 2);
    line->whole_len = whole_len;
    *rest = slice_from(*rest, whole_len);
    return true;
}

static bool name_is_readable(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < 33 || name.data[i] > 126) /* ftext; the colon has ended it */
            return false;
    return name.len > 0;
}

static enum header_error add_field(struct header *header, size_t *capacity, struct line line)
{
    size_t colon = slice_find(line.text, ':');

    if (colon == SLICE_NONE || !name_is_readable(slice_first(line.text, colon)))
        return HEADER_BAD_NAME;
    if (header->count == HEADER_FIELDS_MAX)
        return HEADER_TOO_MANY;
    if (header->count == *capacity) {
        *capacity = *capacity == 0 ? FIRST_FIELDS : *capacity * 2;
        header->fields = xrealloc(header->fields, *capacity * sizeof(*header->fields));
    }
    header->fields[header->count++] = (struct header_field){
        .whole = slice_make(line.text.data, line.whole_len),
        .name = slice_first(line.text, colon),
        .value = slice_from(line.text, colon + 1),
    };
    return HEADER_OK;
}

/* A folded line belongs to the field before it. One of only white space is obsolete syntax (RFC
 * 5322 section 4.2), and some readers take it for the end of the header. */
static enum header_error extend_field(struct header *header, struct line line)
{
    if (header->count == 0 || slice_trim(line.text).len == 0)
        return HEADER_BAD_FOLD;
    struct header_field *field = &header->fields[header->count - 1];
    field->value.len = (size_t)(line.text.data + line.text.len - field->value.data);
    field->whole.len += line.whole_len;
    return HEADER_OK;
}

static enum header_error parse_lines(struct slice rest, struct header *header)
{
    size_t capacity = 0;

    while (rest.len > 0) {
        struct line line;
        if (!take_line(&rest, &line))
            return HEADER_BAD_BYTE;
        if (line.text.len == 0)
            break;
        bool folded = line.text.data[0] == ' ' || line.text.data[0] == '\t';
        enum header_error error =
            folded ? extend_field(header, line) : add_field(header, &capacity, line);
        if (error != HEADER_OK)
            return error;
    }
    return header->count == 0 ? HEADER_EMPTY : HEADER_OK;
}

enum header_error header_parse(struct slice block, struct header *header)
{
    size_t end = header_find_end(block, 0);
    unsigned seen = classes_in(slice_first(block, end));
    enum header_error error = HEADER_BAD_BYTE;

    *header = (struct header){ .eight_bit = (seen & BYTE_EIGHT_BIT) != 0 };
    if ((seen & BYTE_BAD) == 0)
        error = parse_lines(block, header);
    if (error != HEADER_OK)
        header_free(header);
    return error;
}

void header_free(struct header *header)
{
    free(header->fields);
    *header = (struct header){ 0 };
}

size_t header_count(const struct header *header, struct slice name,
                    const struct header_field **first)
{
    size_t count = 0;

    for (size_t i = 0; i < header->count; i++) {
        const struct header_field *field = &header->fields[i];
        if (field->name.len != name.len || !slice_equal_nocase(field->name, name))
            continue;
        if (count++ == 0 && first != NULL)
            *first = field;
    }
    return count;
}

const char *header_error_text(enum header_error error)
{
    static const char *const texts[] = {
        [HEADER_OK] = "the header is readable",
        [HEADER_EMPTY] = "the message has no header",
        [HEADER_BAD_NAME] = "a line of the header is not a field name and a colon",
        [HEADER_BAD_FOLD] = "a folded line of the header is empty or continues nothing",
        [HEADER_BAD_BYTE] = "the header holds a NUL, a bare CR or LF, or a like control byte",
        [HEADER_TOO_MANY] = "the header has too many fields",
    };
    return (size_t)error < ARRAY_LEN(texts) ? texts[error] : "the header is not readable";
}
