/* stream_priv.h - what the files of a stream share.
 * stream.c has its life and its events, stream_input.c what comes in, stream_output.c what goes
 * out, stream_peer.c who is at the other end. Every doorway (a function that libuv or the loop
 * calls) holds the stream, does its work, settles the stream and lets go; after calling out to the
 * owner, `phase` is looked at again, because the owner may have closed or finished it. */
#ifndef LATCHPOST_STREAM_PRIV_H
#define LATCHPOST_STREAM_PRIV_H

#include "relay/base/buf.h"
#include "relay/net/stream.h"

/* Far above what an owner has waiting who minds on_drained: more of it ends the connection. */
#define STREAM_OUTPUT_MAX (64 * 1024 * 1024)

enum phase {
    CONNECTING,
    OPEN,
    FINISHING, /* no events any more: writes the rest, then waits for the peer's end */
    GONE,      /* its handles are closing */
};

struct stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_timer_t timer;
    union {
        uv_connect_t connect;
        uv_shutdown_t shutdown;
    } request; /* the first is over before the second begins */
    uv_write_t write;
    struct loop *loop;
    const struct stream_events *events;
    void *owner;
    void (*closed)(void *owner); /* or NULL */
    void *closed_owner;
    struct list leaving_node; /* in loop->leaving while it is finishing */
    struct loop_task task; /* what is to be done before the loop waits: stream_settle() and more */
    unsigned refs;         /* each handle until it is closed, and each doorway */
    enum phase phase;

    struct tls *tls;   /* NULL: in clear */
    struct buf kept;   /* plain text that the owner has not used */
    struct buf sealed; /* encrypted input that waits until the owner goes on */
    struct buf out;    /* what the owner wrote; sent from here when in clear */
    struct buf wire; /* what goes to the kernel as it is: encrypted, or written before TLS began */
    struct buf flight; /* what uv_write() has */

    uint64_t deadline_at; /* the owner's; these three in the loop's milliseconds, 0: unset */
    uint64_t limit_at;    /* ours: of the handshake or of finishing */
    uint64_t armed_at;    /* when the timer will look */
    uint64_t turn;        /* the turn that `reads` counts in */
    unsigned reads;

    enum stream_end end;
    char *error; /* of the end, or NULL */

    bool reading;    /* uv_read_start() is in effect */
    bool paused;     /* by the owner */
    bool kick;       /* kept input is to be shown (or TLS to be begun) by the task */
    bool showing;    /* on_data runs: `kept` must stay where it is */
    bool discard;    /* TLS began inside on_data: what it leaves is thrown away */
    bool secure;     /* the handshake is done */
    bool more;       /* TLS may have plain text without further input */
    bool in_flight;  /* uv_write() is at work */
    bool was_high;   /* on_drained is owed */
    bool close_said; /* close_notify was written */
    bool fin_asked;  /* uv_shutdown() was called */
    bool accepted;   /* the peer came to us */
    bool heard;      /* it went on talking after we began to finish */
    bool
        hurried; /* too many others are finishing: what the kernel takes now is all that goes out */
    bool tcp_eof; /* the peer's FIN was read */
    bool broken;  /* nothing can be written any more */
    bool end_due; /* `end` is to be told */
};

/* --- stream.c -------------------------------------------------------------------------------- */

void stream_hold(struct stream *stream);
void stream_unhold(struct stream *stream);
/* Brings everything in line with what just happened: output, events that are owed, reading, the
 * end. The last thing that a doorway does; it may call out. */
void stream_settle(struct stream *stream);
/* The connection ends for this reason; stream_settle() tells the owner. Only the first counts. */
void stream_note_end(struct stream *stream, enum stream_end end, const char *error);
/* Sets our own limit; 0: none. */
void stream_set_limit(struct stream *stream, uint64_t after_ms);

/* --- stream_input.c -------------------------------------------------------------------------- */

/* Would input be welcome now? */
bool stream_input_wanted(const struct stream *stream);
/* Starts reading when it is. Reading is stopped only when something arrives unwanted: most pauses
 * are over by then, and stopping costs two system calls. */
void stream_input_update(struct stream *stream);
/* Shows what was kept, then what was not even decrypted. */
void stream_input_advance(struct stream *stream);
/* Throws away what was kept, now or when on_data returns. */
void stream_input_forget(struct stream *stream);

/* --- stream_output.c ------------------------------------------------------------------------- */

void stream_output_flush(struct stream *stream);
/* From now on through TLS; what was written before goes first, in clear. */
void stream_output_begin_tls(struct stream *stream);
/* The engine says that TLS is broken: only its alert is still to be sent. */
void stream_output_fail_tls(struct stream *stream);
/* tls_io's send. */
void stream_output_seal(void *owner, const char *data, size_t len);
bool stream_output_is_empty(const struct stream *stream);

#endif
