/* listener.h - which address and port are connections taken on, and how many at most?
 * Each loop has a listening socket of its own on the same port (SO_REUSEPORT), so accepting needs
 * no hand-over between threads. Counting is shared by all loops (struct listener_limits: atomics
 * and one small locked table). */
#ifndef LATCHPOST_LISTENER_H
#define LATCHPOST_LISTENER_H

#include "relay/net/stream.h"

struct listener;
struct listener_limits; /* sessions in all and per address (IPv6: per /64), over all loops */

struct listener_limits *listener_limits_new(unsigned sessions, unsigned sessions_per_address);
void listener_limits_set(struct listener_limits *limits, unsigned sessions,
                         unsigned sessions_per_address); /* after a reload; any thread */
/* Every session has left. Accepts NULL. */
void listener_limits_free(struct listener_limits *limits);

enum listener_admission { LISTENER_ADMITTED, LISTENER_FULL, LISTENER_ADDRESS_FULL };
/* Counts a session in; when it was admitted, listener_leave() must follow once. Loopback peers are
 * not limited per address, and a reserve of 16 sessions above the total is theirs (so that an
 * operator on the machine is still served). Any thread. */
enum listener_admission listener_enter(struct listener_limits *limits,
                                       const struct stream_peer *peer);
void listener_leave(struct listener_limits *limits, const struct stream_peer *peer);

/* A connection waits: call stream_accept(loop, server, ...) once. Nothing is said when file
 * descriptors run out (libuv then drops what waits): the limit on sessions must be lower than
 * theirs. */
typedef void listener_accept_cb(void *owner, uv_stream_t *server);

struct listener_options {
    const char *address;   /* "127.0.0.1", "::1", "*" for all of both families */
    uint16_t port;         /* 0: any free one (only with one loop); see listener_port() */
    const char *unix_path; /* instead of both: a socket of mode 0600, an old one replaced */
    int inherited;         /* TCP, above 0: a socket that listens already; borrowed, and instead of
                            * address and port, which then only name it */
    bool alone;            /* TCP: refuse a port on which anybody listens already (the first loop's
                            * listener); else it is shared with the other loops */
    int backlog;           /* 0: 511 */
};
/* NULL and why: the address is not ours, the port is taken or forbidden, ... A Unix socket on which
 * nobody answers is replaced; one on which somebody does, or any other file, is not. */
struct listener *listener_open(struct loop *loop, const struct listener_options *options,
                               listener_accept_cb *cb, void *owner, struct why *why);
uint16_t listener_port(const struct listener *listener);
void listener_close(struct listener *listener); /* accepts NULL; a Unix socket's file is removed */

#endif
