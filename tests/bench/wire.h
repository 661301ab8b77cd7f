/* wire.h - bytes over one socket, plain or TLS, the same for the generator and the sink.
 * Nothing blocks. What could not be written is kept and goes first when wire_flush() is called; an
 * unfinished line is kept by wire_hold() and stands first in the next wire_read(). An idle wire
 * holds no buffer: reading uses a room that all wires of the process share. One thread. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/base/buf.h"

/* One flight of 5 KB fits many times; a line must fit once. */
#define WIRE_ROOM_BYTES (256 * 1024)

struct wire_tls; /* OpenSSL's SSL_CTX, the only one of a process */

/* A client that checks no certificate (both ends are ours) and resumes nothing unless `resume`. */
struct wire_tls *wire_tls_client(bool resume);
/* A server with a self-signed P-256 certificate made now; no session tickets, so each connection
 * pays for a whole handshake. NULL when OpenSSL cannot make one. */
struct wire_tls *wire_tls_server(void);
void wire_tls_free(struct wire_tls *tls); /* accepts NULL */

struct wire {
    int fd; /* -1: closed */
    int epoll;
    void *owner;      /* what epoll reports */
    unsigned events;  /* asked of epoll */
    void *tls;        /* SSL, once TLS has begun */
    bool handshaking; /* wire_handshake() has not yet said yes */
    struct buf unsent;
    struct buf held;
};

/* Watches `fd`, which the wire owns from now on. False, with the fd closed, when epoll refuses. */
bool wire_open(struct wire *wire, int fd, int epoll, void *owner) MUST_USE;
void wire_close(struct wire *wire); /* harmless when closed already */

/* Begins TLS; wire_handshake() is then called at each event until it stops saying "again".
 * `tls` outlives the wire. */
bool wire_begin_tls(struct wire *wire, struct wire_tls *tls, bool server) MUST_USE;
enum wire_progress { WIRE_DONE, WIRE_AGAIN, WIRE_FAILED };
enum wire_progress wire_handshake(struct wire *wire);
/* "TLSv1.3" and the like, a constant; "none" without TLS. */
const char *wire_version(const struct wire *wire);

/* Writes all of it, now or when wire_flush() is called. False: the connection is lost. */
bool wire_write(struct wire *wire, struct slice bytes) MUST_USE;
bool wire_flush(struct wire *wire) MUST_USE;

/* WIRE_DONE: *got is what was held and what came now, in the room until the next wire_read() on any
 * wire; with *more set there may be more than the room could take: handle it and call again.
 * WIRE_AGAIN: nothing came, what is held stays held. WIRE_FAILED: the peer has closed, or the
 * connection is lost. */
enum wire_progress wire_read(struct wire *wire, char room[static WIRE_ROOM_BYTES],
                             struct slice *got, bool *more);
/* Keeps what was not understood yet. False: it is longer than any line may be. */
bool wire_hold(struct wire *wire, struct slice rest) MUST_USE;

#endif
