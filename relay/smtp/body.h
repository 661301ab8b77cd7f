/* body.h - where does the message end, and what is in it? (pure)
 * The DATA machine: un-stuffs dots, finds CRLF.CRLF and nothing else, remembers what poisons the
 * message. It goes on to the true end whatever it has seen. Bytes may come in any cuts. */
#ifndef LATCHPOST_BODY_H
#define LATCHPOST_BODY_H

#include "relay/base/buf.h"

enum body_fault {                         /* bits; several may be found */
                  BODY_BARE_LINE_END = 1, /* CR without LF or LF without CR: 550 5.5.2, close */
                  BODY_NUL = 2,           /* 550 5.6.0 */
                  BODY_LONG_LINE = 4,     /* over the limit: 550 5.6.0 */
                  BODY_TOO_LARGE = 8,     /* 552 5.3.4 */
};

struct body {
    uint64_t size_max; /* of the content, un-stuffed */
    size_t line_max;   /* octets of a line without CRLF */
    uint64_t size;     /* content so far: also counts what is not kept any more */
    unsigned faults;
    bool eight_bit; /* a byte above 127 was seen */
    /* private: */
    int state;
    size_t line;
};

void body_start(struct body *body, uint64_t size_max, size_t line_max);

/* Reads from `data`. Content is appended to *out while there is no fault; a call that finds one
 * appends nothing, nor does any after it (with out NULL from the start). Stops at the end of the
 * message, at the end of data, or when *out is full. *used: bytes of data taken, at least as many
 * as were appended. Returns true when the end of the message was read: the bytes behind *used
 * belong to the next command. */
bool body_read(struct body *body, struct slice data, size_t *used, struct buf *out);

/* Is there a byte above 127? */
bool body_has_eight_bit(struct slice text);

#endif
