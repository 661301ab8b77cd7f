/* stuff.h - may these bytes leave, and as what? (pure)
 * The last gate before the wire: whatever got into the queue, and however, an upstream never sees a
 * line end other than CRLF, a NUL, or a dot that it could take for the end of the message. */
#ifndef LATCHPOST_STUFF_H
#define LATCHPOST_STUFF_H

#include "relay/base/slice.h"

enum stuff_error { STUFF_OK, STUFF_BARE_CR, STUFF_BARE_LF, STUFF_NUL };

struct stuff {    /* between two pieces of one message */
    bool in_line; /* something stands on the current line */
    bool held_cr; /* the last piece ended in CR; it goes out only once its LF has come */
};

/* Takes bytes for the wire, in order. Called during the call only. */
typedef void stuff_sink_fn(void *owner, struct slice bytes);

void stuff_start(struct stuff *stuff);
/* The next piece. Not one byte of a piece that is refused is given to the sink. */
enum stuff_error stuff_add(struct stuff *stuff, struct slice piece, stuff_sink_fn *sink,
                           void *owner);
/* The whole content, of which stuff_check() has said STUFF_OK. */
void stuff_add_checked(struct stuff *stuff, struct slice content, stuff_sink_fn *sink, void *owner);
/* The end of the content: CRLF if its last line lacks it, then the dot. */
enum stuff_error stuff_end(struct stuff *stuff, stuff_sink_fn *sink, void *owner);

/* The same verdict over a whole content, with nothing written. */
enum stuff_error stuff_check(struct slice content);

/* May this address stand between "<" and ">" of a command, or in a header line? Printable ASCII
 * that does not end the path early; the empty one (the null sender) may. */
bool stuff_path_is_safe(struct slice address);

const char *stuff_error_text(enum stuff_error error); /* a phrase; never NULL */

#endif
