/* upstream_dialog.h - an upstream client that is spoken to without a socket.
 * Holds a stream and a connect that a test plays by hand (the functions are defined here, so the
 * real ones are not linked), and the independent count of the replies that the client was shown.
 * Included by one file per program; everything is static. One connection at a time. */
#ifndef LATCHPOST_TESTS_UPSTREAM_DIALOG_H
#define LATCHPOST_TESTS_UPSTREAM_DIALOG_H

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/upstream/client_priv.h"

#define DIALOG_REPLIES_MAX 4096

struct stream {
    const struct stream_events *events;
    void *owner;
    struct buf kept; /* what the client has not used yet */
    uint64_t deadline_ms;
    size_t unwritten;
    bool tls_asked, secure, forget;
    bool over; /* closed, finished or ended: no event any more, nothing may be written */
    void (*closed)(void *owner);
    void *closed_owner;
};

static struct stream dialog_stream;
static connect_cb *dialog_connected; /* what connect_open() was given; NULL: nobody waits */
static void *dialog_connecting;

/* What the bytes that were shown are, read by other code than the client's: the codes of all
 * replies that are complete, the greeting first. */
static struct {
    char line[ANSWER_LINE_MAX];
    size_t len;
    unsigned lines; /* of the reply that is not complete yet, ... */
    size_t bytes;
    int code; /* ... and what they begin with */
    int codes[DIALOG_REPLIES_MAX];
    size_t count;
    bool broken; /* what follows is not counted */
} dialog_replies;

/* Every byte that the client says. Defined by the test. */
static void dialog_said(struct slice bytes);

/* --- the functions that the client calls ------------------------------------------------------ */

struct connect *connect_open(struct loop *loop, struct resolver *resolver,
                             const struct connect_target *target, connect_cb *cb, void *owner)
{
    (void)loop;
    (void)resolver;
    (void)target;
    dialog_connected = cb;
    dialog_connecting = owner;
    return (struct connect *)&dialog_stream; /* never looked into */
}

void connect_cancel(struct connect *connect)
{
    (void)connect;
    assert_true(dialog_connected != NULL);
    dialog_connected = NULL;
}

void stream_hand_over(struct stream *s, const struct stream_events *events, void *owner)
{
    s->events = events;
    s->owner = owner;
}

void stream_at_close(struct stream *s, void (*closed)(void *owner), void *owner)
{
    s->closed = closed;
    s->closed_owner = owner;
}

void stream_start_tls_client(struct stream *s, struct tls_context *context, const char *hostname,
                             uint64_t timeout_ms)
{
    (void)context;
    (void)hostname;
    (void)timeout_ms;
    assert_false(s->tls_asked);
    s->tls_asked = true;
    s->forget = true;
}

void stream_finish(struct stream *s)
{
    assert_false(s->over);
    s->over = true;
}

void stream_close(struct stream *s)
{
    if (s == NULL)
        return;
    assert_false(s->over);
    s->over = true;
}

void stream_write(struct stream *s, struct slice data)
{
    assert_false(s->over);
    dialog_said(data);
}

size_t stream_unwritten(const struct stream *s)
{
    return s->unwritten;
}

void stream_set_deadline(struct stream *s, uint64_t after_ms)
{
    assert_false(s->over);
    s->deadline_ms = after_ms;
}

bool stream_is_secure(const struct stream *s)
{
    return s->secure;
}

const char *stream_tls_text(const struct stream *s)
{
    return s->secure ? "TLSv1.3 TLS_AES_256_GCM_SHA384" : NULL;
}

const char *stream_error(const struct stream *s)
{
    (void)s;
    return "a made-up failure";
}

const char *stream_end_text(enum stream_end end)
{
    (void)end;
    return "it was made to end";
}

void stream_peer(const struct stream *s, struct stream_peer *peer)
{
    (void)s;
    *peer = (struct stream_peer){ .text = "192.0.2.25", .port = 587 };
}

/* --- what happens to it ----------------------------------------------------------------------- */

static void dialog_reset(void)
{
    buf_free(&dialog_stream.kept);
    dialog_stream = (struct stream){ 0 };
    buf_init(&dialog_stream.kept, 1 << 20);
    memset(&dialog_replies, 0, sizeof(dialog_replies));
    dialog_connected = NULL;
}

/* The attempt to connect ends, well or not. */
static void dialog_connect(bool well)
{
    connect_cb *cb = dialog_connected;

    dialog_connected = NULL;
    if (cb != NULL)
        cb(dialog_connecting, well ? &dialog_stream : NULL, "cannot connect: made up");
}

static bool dialog_is_open(void)
{
    return dialog_stream.events != NULL && !dialog_stream.over;
}

/* The code of a line as RFC 5321 section 4.2 has it, len bytes before its CR LF; *last: no hyphen
 * stands behind it. -1: this is no line of a reply. */
static int dialog_line_code(const char *line, size_t len, bool *last)
{
    if (len < 3 || memchr(line, '\0', len) != NULL || memchr(line, '\r', len) != NULL)
        return -1;
    for (size_t i = 0; i < 3; i++)
        if (line[i] < '0' || line[i] > '9')
            return -1;
    if (line[0] < '2' || line[0] > '5' || (line[3] != ' ' && line[3] != '-' && line[3] != '\r'))
        return -1;
    *last = line[3] != '-';
    return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

static void dialog_read_line(void)
{
    size_t len = dialog_replies.len; /* with CR LF */
    bool last = false;

    dialog_replies.len = 0;
    dialog_replies.bytes += len;
    if (len < 2 || dialog_replies.line[len - 2] != '\r') {
        dialog_replies.broken = true;
        return;
    }
    int code = dialog_line_code(dialog_replies.line, len - 2, &last);
    if (code < 0 || (dialog_replies.lines > 0 && code != dialog_replies.code) ||
        ++dialog_replies.lines > ANSWER_LINES_MAX || dialog_replies.bytes > ANSWER_BYTES_MAX ||
        dialog_replies.count == DIALOG_REPLIES_MAX) {
        dialog_replies.broken = true;
        return;
    }
    dialog_replies.code = code;
    if (!last)
        return;
    dialog_replies.codes[dialog_replies.count++] = code;
    dialog_replies.lines = 0;
    dialog_replies.bytes = 0;
}

static void dialog_count_replies(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len && !dialog_replies.broken; i++) {
        if (dialog_replies.len == sizeof(dialog_replies.line)) {
            dialog_replies.broken = true;
            return;
        }
        dialog_replies.line[dialog_replies.len++] = bytes.data[i];
        if (bytes.data[i] == '\n')
            dialog_read_line();
    }
}

/* In the handshake, what comes is not for the client. */
static bool dialog_is_between(void)
{
    return dialog_stream.tls_asked && !dialog_stream.secure;
}

static void dialog_pump(void)
{
    struct stream *s = &dialog_stream;

    while (dialog_is_open() && !dialog_is_between() && buf_len(&s->kept) > 0) {
        size_t used = s->events->on_data(s->owner, buf_slice(&s->kept));
        assert_true(used <= buf_len(&s->kept));
        buf_consume(&s->kept, s->forget ? buf_len(&s->kept) : used);
        s->forget = false;
        if (used == 0)
            break;
    }
}

static void dialog_show(struct slice bytes)
{
    if (!dialog_is_open() || dialog_is_between() || bytes.len == 0)
        return;
    dialog_count_replies(bytes);
    assert_true(buf_add(&dialog_stream.kept, bytes));
    dialog_pump();
}

static void dialog_secure(void)
{
    if (!dialog_is_open() || !dialog_is_between())
        return;
    dialog_stream.secure = true;
    dialog_stream.forget = false;
    dialog_stream.events->on_secure(dialog_stream.owner);
}

static void dialog_end(enum stream_end end)
{
    if (!dialog_is_open())
        return;
    dialog_stream.over = true;
    dialog_stream.events->on_end(dialog_stream.owner, end);
}

static void dialog_wait(uint64_t ms)
{
    struct stream *s = &dialog_stream;

    if (!dialog_is_open() || s->deadline_ms == 0)
        return;
    if (s->deadline_ms > ms) {
        s->deadline_ms -= ms;
        return;
    }
    s->deadline_ms = 0;
    s->events->on_deadline(s->owner);
}

/* The kernel takes no more, or takes all again. */
static void dialog_stuck(bool stuck)
{
    bool was = dialog_stream.unwritten > 0;

    dialog_stream.unwritten = stuck ? STREAM_HIGH_WATER + 1 : 0;
    if (was && !stuck && dialog_is_open())
        dialog_stream.events->on_drained(dialog_stream.owner);
}

/* Its socket is closed at last. */
static void dialog_let_go(void)
{
    if (dialog_stream.closed != NULL)
        dialog_stream.closed(dialog_stream.closed_owner);
    dialog_stream.closed = NULL;
}

#endif
