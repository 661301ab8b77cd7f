/* stream_input.c - which bytes are shown to the owner, and when?
 * Reads land in the loop's buffers and are shown from there; only what the owner leaves is copied.
 * So an idle connection owns no input buffer. The order is kept: plain text that was shown before,
 * encrypted bytes that were not decrypted yet, then the kernel's. What is held here is bounded:
 * reading stops when STREAM_INPUT_MAX is kept or anything encrypted waits. */
#include "relay/net/stream_priv.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Of LOOP_READ_BYTES each: the others on this loop want their turn, too. */
#define READS_PER_TURN 2

static bool is_shaking_hands(const struct stream *s)
{
    return s->tls != NULL && !s->secure;
}

bool stream_input_wanted(const struct stream *s)
{
    if (s->tcp_eof)
        return false;
    if (s->phase == FINISHING)
        return true; /* to be thrown away */
    return s->phase == OPEN && !s->end_due && (!s->paused || is_shaking_hands(s)) && !s->more &&
           buf_len(&s->kept) < STREAM_INPUT_MAX && buf_len(&s->sealed) == 0;
}

/* --- showing --------------------------------------------------------------------------------- */

static void keep(struct buf *buf, struct slice data)
{
    bool ok = buf_add(buf, data);

    assert(ok); /* nothing is read while more than STREAM_INPUT_MAX is kept */
    (void)ok;
}

static void drop_used(struct stream *s, size_t used)
{
    buf_consume(&s->kept, used);
    if (buf_len(&s->kept) == 0)
        buf_wipe(&s->kept); /* a login may have been in it */
}

/* Shows what was kept and `data` behind it. */
static void show(struct stream *s, struct slice data)
{
    bool is_kept = buf_len(&s->kept) > 0;

    if (is_kept) {
        keep(&s->kept, data);
        data = buf_slice(&s->kept);
    }
    s->kick = false;
    s->showing = true;
    size_t used = s->events->on_data(s->owner, data);
    s->showing = false;
    assert(used <= data.len);
    if (s->phase != OPEN || s->discard) {
        s->discard = false;
        buf_wipe(&s->kept);
    } else if (is_kept) {
        drop_used(s, used);
    } else {
        keep(&s->kept, slice_from(data, used));
    }
}

void stream_input_forget(struct stream *s)
{
    if (s->showing)
        s->discard = true;
    else
        buf_wipe(&s->kept);
}

/* --- TLS ------------------------------------------------------------------------------------- */

/* A client's last word of the handshake gets no answer. One without TCP_NODELAY would then wait for
 * the kernel's delayed acknowledgement, 40 ms, until it sends its first command. */
static void acknowledge_now(struct stream *s)
{
    int on = 1;
    uv_os_fd_t fd;

    if (s->uv.handle.type == UV_TCP && uv_fileno(&s->uv.handle, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on)); /* else it is only slower */
}

static void take_plain(struct stream *s, struct slice plain)
{
    if (!s->secure && tls_is_ready(s->tls)) {
        s->secure = true;
        stream_set_limit(s, 0);
        acknowledge_now(s);
        if (s->events->on_secure != NULL)
            s->events->on_secure(s->owner);
    }
    if (plain.len == 0 || s->phase != OPEN)
        return;
    if (s->paused)
        keep(&s->kept, plain);
    else
        show(s, plain);
}

static bool must_wait(const struct stream *s)
{
    return s->secure && (s->paused || buf_len(&s->kept) >= STREAM_INPUT_MAX);
}

/* Decrypts and shows until nothing is left or the owner has had enough. `sealed` is empty. */
static void decrypt(struct stream *s, struct slice input)
{
    enum tls_result result;

    do {
        size_t used = 0, len = 0;
        if (must_wait(s)) {
            keep(&s->sealed, input);
            return;
        }
        result = tls_receive(s->tls, input, &used, s->loop->plain, LOOP_READ_BYTES, &len);
        input = slice_from(input, used);
        s->more = len == LOOP_READ_BYTES;
        take_plain(s, slice_make(s->loop->plain, len));
        explicit_bzero(s->loop->plain, len); /* a login may have been in it */
    } while (s->phase == OPEN && result == TLS_OK && (input.len > 0 || s->more));
    if (result == TLS_CLOSED)
        stream_note_end(s, STREAM_EOF, NULL);
    else if (result == TLS_BROKEN)
        stream_output_fail_tls(s);
}

void stream_input_advance(struct stream *s)
{
    struct buf sealed;

    if (!s->kick || s->phase != OPEN || (s->paused && !is_shaking_hands(s)))
        return;
    s->kick = false;
    if (buf_len(&s->kept) > 0 && !s->paused)
        show(s, slice_make(NULL, 0));
    if (s->phase != OPEN || s->tls == NULL || (buf_len(&s->sealed) == 0 && !s->more))
        return;
    buf_init(&sealed, 0);
    buf_move(&sealed, &s->sealed);
    decrypt(s, buf_slice(&sealed));
    buf_free(&sealed);
}

/* --- from the kernel ------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct stream *s = handle->data;

    (void)suggested;
    if (s->turn != s->loop->turn) {
        s->turn = s->loop->turn;
        s->reads = 0;
    }
    *buffer = uv_buf_init(NULL, 0); /* libuv then reads nothing and says UV_ENOBUFS */
    if (stream_input_wanted(s) && s->reads++ < READS_PER_TURN)
        *buffer = uv_buf_init(s->loop->raw, LOOP_READ_BYTES);
}

static void take_input(struct stream *s, struct slice input)
{
    if (s->phase != OPEN)
        return; /* finishing: thrown away */
    if (s->tls != NULL)
        decrypt(s, input);
    else
        show(s, input);
}

/* libuv takes a hang-up behind the last bytes for a proper end, without asking for the error. */
static int what_end(struct stream *s, int error)
{
    int pending = 0;
    socklen_t len = sizeof(pending);
    uv_os_fd_t fd;

    if (error == UV_EOF && uv_fileno(&s->uv.handle, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &len) == 0 && pending != 0)
        error = uv_translate_sys_error(pending);
    return error;
}

static void take_end(struct stream *s, int error)
{
    error = what_end(s, error);
    s->reading = false;
    s->tcp_eof = true; /* or worse */
    if (error != UV_EOF) {
        s->broken = true;
        stream_note_end(s, STREAM_RESET, uv_strerror(error));
    } else if (is_shaking_hands(s)) {
        stream_note_end(s, STREAM_TLS_FAILED, "the peer closed the connection in the handshake");
    } else {
        stream_note_end(s, s->tls != NULL ? STREAM_TRUNCATED : STREAM_EOF, NULL);
    }
}

static void on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *buffer)
{
    struct stream *s = handle->data;

    if (count == 0)
        return; /* libuv's word for EAGAIN */
    if (count == UV_ENOBUFS && buffer->base == NULL) {
        if (!stream_input_wanted(s)) { /* else only this turn's share is used up */
            uv_read_stop(&s->uv.stream);
            s->reading = false;
        }
        return;
    }
    stream_hold(s);
    if (count > 0 && s->phase == FINISHING)
        s->heard = true;
    if (count < 0)
        take_end(s, (int)count);
    else
        take_input(s, slice_make(buffer->base, (size_t)count));
    if (count > 0 && s->tls == NULL)
        explicit_bzero(buffer->base, (size_t)count); /* likewise, in clear */
    stream_settle(s);
    stream_unhold(s);
}

void stream_input_update(struct stream *s)
{
    if (s->reading || !stream_input_wanted(s))
        return;
    int error = uv_read_start(&s->uv.stream, on_alloc, on_read);
    if (error != 0) {
        s->broken = true;
        stream_note_end(s, STREAM_RESET, uv_strerror(error));
        loop_later(s->loop, &s->task);
        return;
    }
    s->reading = true;
}

/* --- the owner's side ------------------------------------------------------------------------ */

void stream_pause(struct stream *s)
{
    s->paused = true;
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    s->kick = true;
    loop_later(s->loop, &s->task);
}
