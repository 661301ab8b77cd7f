/* stream.c - one connection, plain or TLS, behind the same few calls.
 * Its life, its events, its clock and its end. One timer serves the owner's deadline and our own
 * limits, and is armed lazily: a deadline that moves away only moves a number, and the timer looks
 * at it when it fires. Belongs to its loop's thread. */
#include "relay/net/stream_priv.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "relay/base/alloc.h"

#define LOST_OUTPUT     "the peer closed the connection while we wrote"
#define FINISH_MS       5000 /* to take the rest and close */
#define FINISH_CLOSE_MS 2000 /* to close, once it has taken the rest */
#define EARLY_LOOK_MS   10   /* has it? only asked when a process ends */
/* Streams of a loop that are given this patience. They are no sessions any more and so do not count
 * as such: without a limit, peers that keep their end open would use up the file descriptors. */
#define FINISHING_MAX 256

/* --- references ------------------------------------------------------------------------------ */

static void stream_free(struct stream *s)
{
    struct loop *loop = s->loop;

    tls_free(s->tls);
    buf_wipe(&s->kept); /* a login may be in what is in clear */
    buf_wipe(&s->out);
    buf_wipe(&s->flight);
    buf_free(&s->sealed);
    buf_free(&s->wire);
    free(s->error);
    if (s->closed != NULL)
        s->closed(s->closed_owner);
    free(s);
    loop_release(loop);
}

void stream_hold(struct stream *s)
{
    s->refs++;
}

void stream_unhold(struct stream *s)
{
    if (--s->refs == 0)
        stream_free(s);
}

static void on_closed(uv_handle_t *handle)
{
    stream_unhold(handle->data);
}

static void drop(struct stream *s)
{
    if (s->phase == GONE)
        return;
    if (s->phase == FINISHING)
        s->loop->finishing--;
    list_remove(&s->leaving_node);
    s->phase = GONE;
    loop_task_cancel(&s->task);
    uv_close(&s->uv.handle, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

/* --- the clock ------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static uint64_t now_ms(struct stream *s)
{
    uv_update_time(&s->loop->uv); /* the loop's time is as old as its turn */
    return uv_now(&s->loop->uv);
}

/* A timer that fires too early costs little, one that is re-armed for every command costs more. */
static void arm(struct stream *s)
{
    uint64_t due = s->limit_at;

    if (due == 0 || (s->deadline_at != 0 && s->deadline_at < due))
        due = s->deadline_at;
    if (s->phase == GONE || due == 0 || (s->armed_at != 0 && s->armed_at <= due))
        return;
    uint64_t now = now_ms(s);
    s->armed_at = due;
    uv_timer_start(&s->timer, on_timer, due > now ? due - now : 0, 0);
}

void stream_set_deadline(struct stream *s, uint64_t after_ms)
{
    s->deadline_at = after_ms == 0 ? 0 : now_ms(s) + after_ms;
    arm(s);
}

void stream_set_limit(struct stream *s, uint64_t after_ms)
{
    s->limit_at = after_ms == 0 ? 0 : now_ms(s) + after_ms;
    arm(s);
}

static void on_limit(struct stream *s)
{
    if (s->phase == FINISHING) {
        drop(s);
    } else if (s->broken) {
        stream_note_end(s, STREAM_RESET, LOST_OUTPUT);
    } else {
        s->broken = true; /* nothing is left to be said */
        stream_note_end(s, STREAM_TLS_FAILED, "the TLS handshake took too long");
    }
}

/* Has the peer's kernel all that we said, FIN included, and the peer said nothing since? Then
 * closing resets nothing, unless it speaks later, and nobody knows when that would be. */
static bool has_been_told(struct stream *s)
{
    int unsent = 1, unread = 1;
    uv_os_fd_t fd;

    return !s->heard && uv_fileno(&s->uv.handle, &fd) == 0 && ioctl(fd, SIOCOUTQ, &unsent) == 0 &&
           ioctl(fd, FIONREAD, &unread) == 0 && unsent == 0 && unread == 0;
}

/* The owner's deadline is of no use any more while the stream finishes. */
static void look_early(struct stream *s)
{
    if (has_been_told(s))
        drop(s);
    else if (!s->heard)
        stream_set_deadline(s, EARLY_LOOK_MS);
}

static void on_timer(uv_timer_t *timer)
{
    struct stream *s = timer->data;
    uint64_t now = uv_now(&s->loop->uv);

    stream_hold(s);
    s->armed_at = 0;
    if (s->limit_at != 0 && s->limit_at <= now) {
        s->limit_at = 0;
        on_limit(s);
    } else if (s->deadline_at != 0 && s->deadline_at <= now) {
        s->deadline_at = 0;
        if (s->phase == FINISHING)
            look_early(s);
        else if (s->events->on_deadline != NULL)
            s->events->on_deadline(s->owner);
    }
    arm(s);
    stream_settle(s);
    stream_unhold(s);
}

/* --- the end --------------------------------------------------------------------------------- */

static void keep_to_leave(struct stream *s)
{
    uint64_t leave_by = s->loop->leave_by;

    if (leave_by == 0 || s->limit_at < leave_by)
        return;
    s->limit_at = leave_by;
    arm(s);
}

void stream_leave_by(struct loop *loop, uint64_t after_ms)
{
    uv_update_time(&loop->uv);
    loop->leave_by = uv_now(&loop->uv) + after_ms + 1; /* 0 is "unset" */
    list_for_each(node, following, &loop->leaving)
        keep_to_leave(list_entry(node, struct stream, leaving_node));
}

static void keep_early(struct stream *s)
{
    if (s->loop->leaves_early && s->accepted && s->fin_asked)
        stream_set_deadline(s, EARLY_LOOK_MS);
}

void stream_leave_early(struct loop *loop)
{
    loop->leaves_early = true;
    list_for_each(node, following, &loop->leaving)
        keep_early(list_entry(node, struct stream, leaving_node));
}

static void begin_finish(struct stream *s)
{
    if (s->phase > OPEN)
        return;
    if (s->phase == CONNECTING || s->broken) {
        drop(s); /* there is nobody to take anything */
        return;
    }
    s->phase = FINISHING;
    s->hurried = s->loop->finishing++ >= FINISHING_MAX;
    list_add_tail(&s->loop->leaving, &s->leaving_node);
    s->deadline_at = 0;
    s->was_high = false;
    buf_free(&s->sealed);
    stream_input_forget(s);
    if (s->tls != NULL && !s->secure)
        buf_wipe(&s->out); /* it was meant to be encrypted */
    stream_set_limit(s, FINISH_MS);
    keep_to_leave(s);
    loop_later(s->loop, &s->task);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct stream *s = request->handle->data;

    if (status < 0 && s->phase == FINISHING)
        drop(s);
}

/* Closing with unread input would reset the connection, and a reset may destroy the last reply on
 * its way: so FIN first, and the peer's input is thrown away until its FIN. */
static void go_on_finishing(struct stream *s)
{
    stream_output_flush(s); /* which says close_notify behind the last of it */
    if (s->broken || s->hurried || (s->tcp_eof && stream_output_is_empty(s))) {
        drop(s);
        return;
    }
    if (s->fin_asked || !stream_output_is_empty(s))
        return;
    s->fin_asked = true;
    if (uv_shutdown(&s->request.shutdown, &s->uv.stream, on_shutdown) != 0) {
        drop(s);
        return;
    }
    if (s->limit_at > now_ms(s) + FINISH_CLOSE_MS)
        stream_set_limit(s, FINISH_CLOSE_MS);
    keep_early(s);
}

static bool end_is_proper(enum stream_end end)
{
    return end == STREAM_EOF || end == STREAM_TRUNCATED;
}

void stream_note_end(struct stream *s, enum stream_end end, const char *error)
{
    if (s->end_due || s->phase > OPEN)
        return;
    if (s->broken && end_is_proper(end)) { /* but not all that the owner wrote went out */
        end = STREAM_RESET;
        error = LOST_OUTPUT;
    }
    s->end_due = true;
    s->end = end;
    s->error = error == NULL ? NULL : xstrdup(error);
}

/* A proper end comes behind the data, so it waits like the data; a failure does not, because a
 * paused owner may be waiting for something that will now never be. */
static bool end_can_be_told(const struct stream *s)
{
    if (!s->end_due || s->phase > OPEN)
        return false;
    return !end_is_proper(s->end) || (!s->paused && !s->kick);
}

static void tell_end(struct stream *s)
{
    s->deadline_at = 0;
    s->limit_at = 0;
    s->events->on_end(s->owner, s->end);
    if (s->phase > OPEN)
        return; /* the owner has closed or finished it */
    if (s->end == STREAM_RESET || s->end == STREAM_UNREACHABLE)
        drop(s);
    else
        begin_finish(s); /* output that waits, our close_notify or alert */
}

/* --- events ---------------------------------------------------------------------------------- */

static void tell_drained(struct stream *s)
{
    if (s->phase != OPEN || s->end_due || s->broken || !s->was_high || !stream_output_is_empty(s))
        return;
    s->was_high = false;
    if (s->events->on_drained != NULL)
        s->events->on_drained(s->owner);
}

void stream_settle(struct stream *s)
{
    stream_output_flush(s);
    if (s->broken && s->phase == OPEN && !stream_input_wanted(s))
        stream_note_end(s, STREAM_RESET, LOST_OUTPUT);
    if (end_can_be_told(s))
        tell_end(s);
    tell_drained(s);
    if (s->phase == FINISHING)
        go_on_finishing(s);
    stream_input_update(s);
}

static void on_task(void *owner)
{
    struct stream *s = owner;

    stream_hold(s);
    stream_input_advance(s);
    stream_settle(s);
    stream_unhold(s);
}

/* --- life ------------------------------------------------------------------------------------ */

static struct stream *stream_new(struct loop *loop, bool is_unix,
                                 const struct stream_events *events, void *owner)
{
    struct stream *s = xcalloc(1, sizeof(*s));
    int error =
        is_unix ? uv_pipe_init(&loop->uv, &s->uv.pipe, 0) : uv_tcp_init(&loop->uv, &s->uv.tcp);

    assert(error == 0); /* neither opens anything yet */
    (void)error;
    uv_timer_init(&loop->uv, &s->timer);
    s->uv.handle.data = s;
    s->timer.data = s;
    s->loop = loop;
    s->events = events;
    s->owner = owner;
    s->refs = 2; /* the two handles */
    s->turn = loop->turn;
    list_init(&s->leaving_node);
    loop_task_init(&s->task, on_task, s);
    buf_init(&s->kept, STREAM_INPUT_MAX + LOOP_READ_BYTES);
    buf_init(&s->sealed, LOOP_READ_BYTES);
    buf_init(&s->out, STREAM_OUTPUT_MAX);
    buf_init(&s->wire, STREAM_OUTPUT_MAX);
    if (!is_unix)
        uv_tcp_nodelay(&s->uv.tcp, 1); /* we gather what belongs together ourselves */
    loop_hold(loop);
    return s;
}

struct stream *stream_accept(struct loop *loop, uv_stream_t *server,
                             const struct stream_events *events, void *owner)
{
    struct stream *s = stream_new(loop, server->type == UV_NAMED_PIPE, events, owner);

    if (uv_accept(server, &s->uv.stream) != 0) {
        drop(s);
        return NULL;
    }
    s->accepted = true;
    s->phase = OPEN;
    loop_later(loop, &s->task);
    return s;
}

static void on_connect(uv_connect_t *request, int status)
{
    struct stream *s = request->handle->data;

    if (s->phase == GONE)
        return;
    stream_hold(s);
    if (status != 0) {
        stream_note_end(s, STREAM_UNREACHABLE, uv_strerror(status));
    } else {
        s->phase = OPEN;
        if (s->events->on_connected != NULL)
            s->events->on_connected(s->owner);
        stream_input_advance(s); /* TLS may have been asked for before */
    }
    stream_settle(s);
    stream_unhold(s);
}

static void cannot_connect(struct stream *s, int error)
{
    stream_note_end(s, STREAM_UNREACHABLE, uv_strerror(error));
    loop_later(s->loop, &s->task);
}

struct stream *stream_connect(struct loop *loop, const struct sockaddr *address,
                              const struct stream_events *events, void *owner)
{
    struct stream *s = stream_new(loop, false, events, owner);
    int error = uv_tcp_connect(&s->request.connect, &s->uv.tcp, address, on_connect);

    if (error != 0)
        cannot_connect(s, error);
    return s;
}

void stream_hand_over(struct stream *s, const struct stream_events *events, void *owner)
{
    s->events = events;
    s->owner = owner;
}

void stream_at_close(struct stream *s, void (*closed)(void *owner), void *owner)
{
    assert(s->closed == NULL);
    s->closed = closed;
    s->closed_owner = owner;
}

static void start_tls(struct stream *s, struct tls_context *context, const char *hostname,
                      uint64_t timeout_ms)
{
    assert(s->tls == NULL);
    stream_input_forget(s);
    stream_output_begin_tls(s);
    s->tls = tls_new(context, hostname, (struct tls_io){ stream_output_seal, s });
    s->more = true; /* a client speaks first */
    s->kick = true;
    stream_set_limit(s, timeout_ms);
    loop_later(s->loop, &s->task);
}

void stream_start_tls_server(struct stream *s, struct tls_context *context, uint64_t timeout_ms)
{
    start_tls(s, context, NULL, timeout_ms);
}

void stream_start_tls_client(struct stream *s, struct tls_context *context, const char *hostname,
                             uint64_t timeout_ms)
{
    assert(hostname != NULL);
    start_tls(s, context, hostname, timeout_ms);
}

void stream_finish(struct stream *s)
{
    begin_finish(s);
}

void stream_close(struct stream *s)
{
    if (s != NULL)
        drop(s);
}

/* --- words ----------------------------------------------------------------------------------- */

bool stream_is_secure(const struct stream *s)
{
    return s->secure;
}

const char *stream_tls_text(const struct stream *s)
{
    return s->secure ? tls_describe(s->tls) : NULL;
}

const char *stream_end_text(enum stream_end end)
{
    static const char *const texts[] = {
        [STREAM_EOF] = "the peer closed the connection",
        [STREAM_RESET] = "the connection was reset",
        [STREAM_TRUNCATED] = "the peer closed the connection without ending TLS",
        [STREAM_TLS_FAILED] = "TLS failed",
        [STREAM_UNREACHABLE] = "cannot connect",
    };

    return texts[end];
}

const char *stream_error(const struct stream *s)
{
    if (s->error != NULL)
        return s->error;
    return s->end_due ? stream_end_text(s->end) : "no error";
}
