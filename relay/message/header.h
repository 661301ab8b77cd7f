/* header.h - which fields does this header block have? (pure)
 * One pass, linear, nothing is copied: the fields are offsets into the block. Strict where two
 * readers could differ: RFC 5322 section 2.2 and nothing of its obsolete forms. */
#ifndef LATCHPOST_HEADER_H
#define LATCHPOST_HEADER_H

#include "relay/base/slice.h"

#define HEADER_FIELDS_MAX 1000 /* fields in one block */

enum header_error {
    HEADER_OK,
    HEADER_EMPTY,    /* no field at all (the message starts with an empty line) */
    HEADER_BAD_NAME, /* "From :", a name with a blank, non-ASCII or empty; a line without colon */
    HEADER_BAD_FOLD, /* the block starts with white space, or a folded line is only white space */
    HEADER_BAD_BYTE, /* NUL, bare CR or LF, or another byte at which some reader ends a line */
    HEADER_TOO_MANY, /* more than HEADER_FIELDS_MAX fields */
};

struct header_field {
    struct slice whole; /* name, colon, value, folds and the final CRLF */
    struct slice name;
    struct slice value; /* behind the colon up to, not including, the final CRLF; folds inside */
};

struct header {
    struct header_field *fields;
    size_t count;
    bool eight_bit; /* some value holds a byte above 127 */
};

/* Where the header block ends: the offset just behind the empty line's CRLF (the body starts
 * there), or SLICE_NONE when `message` has no empty line yet. `from`: an offset that an earlier
 * call has already looked through (0 at first), so that growing data is scanned once. A message
 * that starts with CRLF has an empty block: 2. */
size_t header_find_end(struct slice message, size_t from);

/* Splits a block (all lines, with or without the empty line at its end; the last line may lack its
 * CRLF only when the message ends there). What stands behind the empty line is not looked at. On
 * HEADER_OK *header owns an array that header_free() releases; its slices borrow `block`. Otherwise
 * *header is empty. */
enum header_error header_parse(struct slice block, struct header *header);
void header_free(struct header *header);

/* How many fields bear this name (ASCII case folded), and the first of them through *first (NULL:
 * not wanted; untouched when there is none). */
size_t header_count(const struct header *header, struct slice name,
                    const struct header_field **first);

/* A short phrase for people: "a field name is not readable", ... Never NULL. */
const char *header_error_text(enum header_error error);

#endif
