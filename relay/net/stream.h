/* stream.h - one connection, plain or TLS, behind the same few calls.
 * Belongs to its loop's thread. Every event is called from the loop, never from inside a call to
 * the stream; inside an event everything may be called. After stream_close(), stream_finish() or
 * on_end no further event comes, and the pointer must not be used again (inside on_end it still
 * may). */
#ifndef LATCHPOST_STREAM_H
#define LATCHPOST_STREAM_H

#include "relay/base/slice.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"

struct stream;

/* More than this waiting to be written: the owner stops making output until on_drained. */
#define STREAM_HIGH_WATER (64 * 1024)
/* Most bytes an owner may leave unused in on_data before the stream stops reading by itself. */
#define STREAM_INPUT_MAX (64 * 1024)

/* Why it ended; stream_end_text() has words. */
enum stream_end {
    STREAM_EOF,         /* the peer closed its side properly */
    STREAM_RESET,       /* connection reset, broken pipe, ... */
    STREAM_TRUNCATED,   /* TCP end without TLS close_notify, after the handshake */
    STREAM_TLS_FAILED,  /* handshake or record error: stream_error() says which */
    STREAM_UNREACHABLE, /* connecting failed: stream_error() says which */
};

/* All but on_data and on_end may be NULL. */
struct stream_events {
    /* Bytes have come. Returns how many of them were used up; the rest is kept and shown again,
     * with whatever came behind it, at the next arrival or stream_resume(). Inside it the owner may
     * write, pause, start TLS, close. An owner that cannot go on, because it waits for something
     * else than more bytes, must pause: to one that does not, a rest means "incomplete", and the
     * peer's end may follow at once. */
    size_t (*on_data)(void *owner, struct slice data);
    /* All output has left for the kernel, after it once was above STREAM_HIGH_WATER. */
    void (*on_drained)(void *owner);
    /* The connection stands (stream_connect() only). */
    void (*on_connected)(void *owner);
    /* The TLS handshake is done. */
    void (*on_secure)(void *owner);
    /* The deadline set by stream_set_deadline() passed. It is then unset. */
    void (*on_deadline)(void *owner);
    /* The last event: the connection is gone; the stream frees itself. EOF and TRUNCATED come when
     * all data that came before has been shown and the owner is not paused (else after
     * stream_resume()), so a client that sends its commands and FIN at once gets its answers: after
     * EOF, TRUNCATED and TLS_FAILED what is still queued, also inside on_end, goes out as after
     * stream_finish(). The others come at once, paused or not. */
    void (*on_end)(void *owner, enum stream_end end);
};

/* --- life ------------------------------------------------------------------------------------ */

/* Takes over a connection that a listener accepted (see listener.h). Reading starts at the next
 * turn of the loop. NULL when there is no connection after all. */
struct stream *stream_accept(struct loop *loop, uv_stream_t *server,
                             const struct stream_events *events, void *owner);
/* Starts connecting; on_connected or on_end follows, never from inside this call. There is no limit
 * in time but the kernel's: set a deadline. */
struct stream *stream_connect(struct loop *loop, const struct sockaddr *address,
                              const struct stream_events *events, void *owner);

/* Its events go to another owner from now on; also from inside an event. */
void stream_hand_over(struct stream *stream, const struct stream_events *events, void *owner);
/* `closed` is called once, from the loop, when its socket has been closed, however it ended: no
 * event, and possibly seconds after stream_finish(). Once a stream. */
void stream_at_close(struct stream *stream, void (*closed)(void *owner), void *owner);

/* From now on speak TLS: as a server, or as a client that expects `hostname`. Input that was not
 * used by on_data is thrown away (the STARTTLS rule); output written before goes out first, in
 * clear, what is written from now on waits for the handshake. That must be done within
 * `timeout_ms`, else on_end STREAM_TLS_FAILED. Pausing does not hold it up. */
void stream_start_tls_server(struct stream *stream, struct tls_context *context,
                             uint64_t timeout_ms);
void stream_start_tls_client(struct stream *stream, struct tls_context *context,
                             const char *hostname, uint64_t timeout_ms);

/* Writes out what waits, says close_notify and FIN, then reads and throws away until the peer
 * closes too, for at most 2 s (so that a reset does not destroy the last reply), and at most 5 s in
 * all. While 256 others of the loop are doing the same, only what the kernel takes at once is
 * written. No event comes any more. */
void stream_finish(struct stream *stream);
/* From now on who was accepted on this loop, has got all of our words and FIN and says nothing is
 * not waited for, those that take their leave already included: for the end of a process, which
 * idle peers would hold up. Whoever says something in that moment is still heard out. */
void stream_leave_early(struct loop *loop);
/* From now on nobody of this loop is given that patience for longer than until then, those that
 * take their leave already included. For the end of a process. */
void stream_leave_by(struct loop *loop, uint64_t after_ms);
/* Drops it at once. No event comes any more. Accepts NULL. */
void stream_close(struct stream *stream);

/* --- use ------------------------------------------------------------------------------------- */

/* Queues a copy. Small writes of one turn leave together. Errors come as on_end; so does more than
 * 64 MiB that the peer does not take, which means that the owner ignores on_drained. */
void stream_write(struct stream *stream, struct slice data);
/* Bytes not yet taken by the kernel. */
size_t stream_unwritten(const struct stream *stream);

/* No on_data until stream_resume(); the kernel's buffers push back on the peer. Resuming shows kept
 * bytes again at the next turn. Both may be called at any time, twice too. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* on_deadline in so many milliseconds from now, in place of what was set before; 0: unset. Cheap:
 * the timer is re-armed lazily. */
void stream_set_deadline(struct stream *stream, uint64_t after_ms);

bool stream_is_secure(const struct stream *stream);
const char *stream_tls_text(const struct stream *stream); /* "TLSv1.3 ..." or NULL; borrowed */
const char *
stream_error(const struct stream *stream); /* why it failed; never NULL; in on_end too */
const char *stream_end_text(enum stream_end end);

/* The peer's address: 16 bytes (IPv4 as ::ffff:a.b.c.d), text without port. On a Unix socket zeros,
 * "unix". */
struct stream_peer {
    uint8_t address[16];
    bool has_address;
    char text[48];
    uint16_t port;
};
void stream_peer(const struct stream *stream, struct stream_peer *peer);
/* Unix sockets: the uid at the other end; false elsewhere. */
bool stream_peer_uid(const struct stream *stream, uid_t *uid);

#endif
