/* resolve.h - which addresses does this host name have?
 * Asked through libuv's thread pool (getaddrinfo), so /etc/hosts and nsswitch apply; answers are
 * kept for 5 s per loop. Belongs to its loop's thread. */
#ifndef LATCHPOST_RESOLVE_H
#define LATCHPOST_RESOLVE_H

#include "relay/net/loop.h"

#define RESOLVE_MAX 16 /* addresses kept of one answer: bounds the tries of one attempt */

struct resolver;
struct resolver *resolver_new(struct loop *loop);
/* Pending questions are not answered any more. A look-up that runs keeps the loop alive until
 * getaddrinfo returns, which can take as long as the name servers are silent. Accepts NULL. */
void resolver_free(struct resolver *resolver);

struct resolve_answer {
    struct sockaddr_storage addresses[RESOLVE_MAX]; /* port set; in the order to try */
    size_t count;                                   /* 0: failed */
    const char *error; /* when count is 0: "name not known", ... borrowed for the call */
};
typedef void resolve_cb(void *owner, const struct resolve_answer *answer);

/* A textual address is answered without a look-up. Answers once, never from inside the call.
 * Returns a handle for resolve_cancel(), after which cb is not called. */
struct resolve;
struct resolve *resolve_host(struct resolver *resolver, const char *host, uint16_t port,
                             resolve_cb *cb, void *owner);
void resolve_cancel(struct resolve *question); /* only before cb was called */

#endif
