/* returned.h - what of a message that failed goes back to its sender? (pure)
 * Its header block, as the text/rfc822-headers of RFC 6522 section 4: as it is where that is legal
 * 7-bit text, in quoted-printable otherwise, which that section allows for nothing else. */
#ifndef LATCHPOST_RETURNED_H
#define LATCHPOST_RETURNED_H

#include "relay/base/buf.h"

struct returned {
    struct slice
        block;    /* whole fields, without the empty line; borrows the message; may be empty */
    bool encoded; /* returned_add() writes quoted-printable */
};

/* As many fields from the top as returned_add() can write in `max` bytes. `message` may end
 * anywhere: a field whose last line has no end yet is not taken. */
struct returned returned_take(struct slice message, size_t max);

/* Appends the block: ASCII, CRLF only, no line over 998 octets. False when *out is full. */
bool returned_add(const struct returned *returned, struct buf *out) MUST_USE;

#endif
