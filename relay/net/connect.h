/* connect.h - a connection to a host name: the first of its addresses that answers.
 * Belongs to its loop's thread. */
#ifndef LATCHPOST_CONNECT_H
#define LATCHPOST_CONNECT_H

#include "relay/net/resolve.h"
#include "relay/net/stream.h"

struct connect_target {
    const char *host;
    uint16_t port;
    uint64_t timeout_ms; /* for the name and all of its addresses together */
};

/* stream: it stands; yours, so call stream_hand_over() at once. NULL: error says what could not be
 * done, for a person ("cannot resolve the name: ...", "cannot connect: ..."). */
typedef void connect_cb(void *owner, struct stream *stream, const char *error);

/* cb: once, from the loop, never from inside this call, unless connect_cancel() came before. The
 * loop is held until then and a little longer. target: borrowed for the call. */
struct connect;
struct connect *connect_open(struct loop *loop, struct resolver *resolver,
                             const struct connect_target *target, connect_cb *cb, void *owner);
void connect_cancel(struct connect *connect); /* only before cb was called */

#endif
