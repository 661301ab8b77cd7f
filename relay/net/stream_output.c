/* stream_output.c - when and how does what the owner wrote reach the kernel?
 * Writing only queues; the queue is flushed at the end of the doorway or of the turn, so that all
 * replies of one turn leave in one system call and, under TLS, in one record. The kernel is tried
 * directly first; what it does not take is handed to uv_write(), one piece at a time, and the rest
 * waits in clear: at most CHUNK is encrypted ahead. A queue that is empty owns no memory. */
#include "relay/net/stream_priv.h"

#include <errno.h>

#define CHUNK           (64 * 1024)
#define CHUNKS_PER_TURN 4    /* one fast reader must not keep the loop */
#define LAST_WORDS_MS   1000 /* how long input may still come after output has failed */

/* Alerts and key updates that a peer makes us say and does not read. */
#define MOST_UNASKED (64 * 1024)

void stream_write(struct stream *s, struct slice data)
{
    if (s->broken || data.len == 0 || (s->end_due && s->end == STREAM_TLS_FAILED))
        return;
    if (!buf_add(&s->out, data)) {
        s->broken = true;
        stream_note_end(s, STREAM_RESET, "too much output waits for the peer");
    } else if (stream_unwritten(s) > STREAM_HIGH_WATER) {
        s->was_high = true;
    }
    loop_later(s->loop, &s->task);
}

size_t stream_unwritten(const struct stream *s)
{
    return buf_len(&s->out) + buf_len(&s->wire) + uv_stream_get_write_queue_size(&s->uv.stream);
}

bool stream_output_is_empty(const struct stream *s)
{
    return !s->in_flight && buf_len(&s->out) == 0 && buf_len(&s->wire) == 0;
}

void stream_output_begin_tls(struct stream *s)
{
    if (buf_len(&s->out) > 0)
        buf_move(&s->wire, &s->out); /* in clear, `wire` was not in use */
}

/* Only what OpenSSL says by itself can pile up here: stream_output_flush() encrypts nothing while
 * something is in flight. */
void stream_output_seal(void *owner, const char *data, size_t len)
{
    struct stream *s = owner;

    if (s->broken)
        return;
    if ((s->in_flight && buf_len(&s->wire) > MOST_UNASKED) ||
        !buf_add(&s->wire, slice_make(data, len))) {
        s->broken = true;
        stream_note_end(s, STREAM_RESET, "the peer does not take what TLS has to say");
    }
}

/* An error that says that the peer is gone may have overtaken its last words, such as an upstream's
 * reason for hanging up: input is read to its end first, unless it is unwanted. */
static void fail(struct stream *s, int error)
{
    s->broken = true;
    buf_wipe(&s->out);
    buf_free(&s->wire);
    if (s->phase != OPEN)
        return;
    if ((error == UV_EPIPE || error == UV_ECONNRESET) && stream_input_wanted(s))
        stream_set_limit(s, LAST_WORDS_MS);
    else
        stream_note_end(s, STREAM_RESET, uv_strerror(error));
}

void stream_output_fail_tls(struct stream *s)
{
    buf_wipe(&s->out); /* it can never be encrypted; the alert in `wire` still goes out */
    stream_note_end(s, STREAM_TLS_FAILED, tls_error(s->tls));
}

/* Encrypts the next piece of what was written; the last one is followed by close_notify. */
static void encrypt(struct stream *s)
{
    struct slice piece = slice_first(buf_slice(&s->out), CHUNK);

    if (piece.len > 0 && buf_len(&s->wire) < CHUNK) {
        if (tls_send(s->tls, piece) != TLS_OK) {
            stream_output_fail_tls(s);
            return;
        }
        buf_consume(&s->out, piece.len);
        if (buf_len(&s->out) == 0)
            buf_wipe(&s->out);
    }
    if (s->phase == FINISHING && buf_len(&s->out) == 0 && !s->close_said) {
        s->close_said = true;
        tls_send_close(s->tls);
    }
}

/* What is to be sent next, or NULL. Before the handshake is done, what was written has to wait. */
static struct buf *next_output(struct stream *s)
{
    if (s->secure)
        encrypt(s);
    if (buf_len(&s->wire) > 0)
        return &s->wire;
    return s->tls == NULL && buf_len(&s->out) > 0 ? &s->out : NULL;
}

static void on_written(uv_write_t *request, int status)
{
    struct stream *s = request->data;

    s->in_flight = false;
    buf_wipe(&s->flight);
    if (s->phase == GONE)
        return;
    stream_hold(s);
    if (status < 0)
        fail(s, status);
    stream_settle(s);
    stream_unhold(s);
}

static void leave_to_libuv(struct stream *s, struct buf *rest)
{
    buf_move(&s->flight, rest);
    struct slice bytes = buf_slice(&s->flight);
    uv_buf_t piece = uv_buf_init((char *)bytes.data, (unsigned)bytes.len);
    s->write.data = s;
    int error = uv_write(&s->write, &s->uv.stream, &piece, 1, on_written);
    if (error != 0)
        fail(s, error);
    else
        s->in_flight = true;
}

/* True when the kernel took all of it. */
static bool give_to_kernel(struct stream *s, struct buf *output)
{
    struct slice bytes = buf_slice(output);
    uv_buf_t piece = uv_buf_init((char *)bytes.data, (unsigned)bytes.len);
    int taken = uv_try_write(&s->uv.stream, &piece, 1);

    if (taken < 0 && taken != UV_EAGAIN) {
        fail(s, taken);
        return false;
    }
    if (taken > 0)
        buf_consume(output, (size_t)taken);
    if (buf_len(output) == 0) {
        buf_wipe(output); /* a login may have been in it */
        return true;
    }
    leave_to_libuv(s, output);
    return false;
}

void stream_output_flush(struct stream *s)
{
    struct buf *output;

    if (s->phase != OPEN && s->phase != FINISHING)
        return;
    for (int i = 0; !s->broken && !s->in_flight && (output = next_output(s)) != NULL; i++) {
        if (i == CHUNKS_PER_TURN) {
            loop_later(s->loop, &s->task);
            return;
        }
        if (s->broken || !give_to_kernel(s, output))
            return;
    }
}
