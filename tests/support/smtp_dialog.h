/* smtp_dialog.h - a session that is spoken to without a socket.
 * Holds a stream that a test plays by hand (the stream_* functions are defined here, so the real
 * ones are not linked), a real key store and a real queue in direct mode, and a clock that stands
 * still. Included by one test file per program; everything is static. One connection at a time. */
#ifndef LATCHPOST_TESTS_SMTP_DIALOG_H
#define LATCHPOST_TESTS_SMTP_DIALOG_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/base64.h"
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/smtp/session_priv.h"

/* --- the clock -------------------------------------------------------------------------------- */

static int64_t dialog_now_us;

static inline int64_t dialog_wall_us(void)
{
    return 1800000000000000 + dialog_now_us;
}

static inline int64_t dialog_mono_us(void)
{
    return 1000000000 + dialog_now_us;
}

static const struct clock_source dialog_clock = { dialog_wall_us, dialog_mono_us };

/* --- the stream ------------------------------------------------------------------------------- */

struct stream {
    const struct stream_events *events;
    void *owner;
    struct buf kept, out;
    uint64_t deadline_ms; /* 0: unset; as last set */
    size_t unwritten;     /* what the test says the peer has not taken */
    bool paused, kick, inside;
    bool tls_asked, secure;
    bool finished, closed; /* by the owner */
    bool forget;           /* what is kept is to be thrown away after on_data */
};

static struct stream dialog_stream; /* of the one connection */
static bool dialog_accepts_none;    /* there are no descriptors left, say */

static inline void dialog_stream_reset(void)
{
    buf_free(&dialog_stream.kept);
    buf_free(&dialog_stream.out);
    dialog_stream = (struct stream){ 0 };
    buf_init(&dialog_stream.kept, 64 * 1024 * 1024);
    buf_init(&dialog_stream.out, 64 * 1024 * 1024);
}

struct stream *stream_accept(struct loop *loop, uv_stream_t *server,
                             const struct stream_events *events, void *owner)
{
    (void)loop;
    (void)server;
    if (dialog_accepts_none)
        return NULL;
    dialog_stream_reset();
    dialog_stream.events = events;
    dialog_stream.owner = owner;
    return &dialog_stream;
}

void loop_hold(struct loop *loop)
{
    loop->holds++;
}

void loop_release(struct loop *loop)
{
    assert_true(loop->holds > 0);
    loop->holds--;
}

void stream_start_tls_server(struct stream *s, struct tls_context *context, uint64_t timeout_ms)
{
    (void)context;
    (void)timeout_ms;
    s->tls_asked = true;
    s->forget = true;
}

void stream_finish(struct stream *s)
{
    assert_false(s->finished || s->closed);
    s->finished = true;
}

void stream_close(struct stream *s)
{
    assert_false(s->finished || s->closed);
    s->closed = true;
}

void stream_write(struct stream *s, struct slice data)
{
    assert_false(s->finished || s->closed);
    assert_true(buf_add(&s->out, data));
}

size_t stream_unwritten(const struct stream *s)
{
    return s->unwritten;
}

void stream_pause(struct stream *s)
{
    s->paused = true;
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    s->kick = true;
}

void stream_set_deadline(struct stream *s, uint64_t after_ms)
{
    s->deadline_ms = after_ms;
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

static char dialog_peer_text[48] = "192.0.2.7";

void stream_peer(const struct stream *s, struct stream_peer *peer)
{
    static const uint8_t address[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 };
    (void)s;
    *peer = (struct stream_peer){ .has_address = true, .port = 4711 };
    memcpy(peer->address, address, sizeof(address));
    snprintf(peer->text, sizeof(peer->text), "%s", dialog_peer_text);
}

static inline bool dialog_is_over(void)
{
    return dialog_stream.finished || dialog_stream.closed;
}

/* Shows what is kept until the session does not want it any more. Returns whether it took some. */
static inline bool dialog_pump(void)
{
    struct stream *s = &dialog_stream;
    bool moved = false;

    while (!dialog_is_over() && !s->paused && buf_len(&s->kept) > 0 &&
           (!s->tls_asked || s->secure)) {
        size_t used = s->events->on_data(s->owner, buf_slice(&s->kept));
        assert_true(used <= buf_len(&s->kept));
        buf_consume(&s->kept, s->forget ? buf_len(&s->kept) : used);
        s->forget = false;
        moved = moved || used > 0;
        if (used == 0)
            break;
    }
    s->kick = false;
    return moved;
}

/* --- the service ------------------------------------------------------------------------------ */

struct dialog {
    char folder[64];
    struct loop loop; /* only its mailbox is used */
    struct auth *auth;
    struct queue *queue;
    struct listener_limits *admissions;
    struct smtp_service service;
    struct smtp_door door;
    char key[AUTH_KEY_TEXT_BYTES];
    char key_id[AUTH_KEY_ID_BYTES];
    unsigned emptied, leased, places; /* places: kept and not given back */
    size_t leased_recipients;         /* of the last leased message */
    bool wants_lease;
    struct buf stored; /* content of the last leased message */
};

static inline void dialog_wake(void *owner)
{
    (void)owner;
}

static inline void *dialog_wants(void *owner, const struct queue_message *message)
{
    struct dialog *d = owner;

    (void)message;
    d->places += d->wants_lease;
    return d->wants_lease ? d : NULL;
}

static inline void dialog_accepted(void *owner, void *place, struct queue_message *message)
{
    struct dialog *d = owner;

    assert_true(place == d);
    d->places--;
    if (message == NULL)
        return;
    d->leased++;
    d->leased_recipients = message->recipient_count;
    buf_clear(&d->stored);
    assert_true(buf_add(&d->stored, buf_slice(&message->content)));
    for (size_t i = 0; i < message->recipient_count; i++)
        queue_recipient_say(&message->recipients[i], QUEUE_SENT, 250, "2.0.0", SLICE("ok"));
    queue_settle(d->queue, &message, "test", NULL, NULL, NULL);
}

static inline void dialog_emptied(void *owner)
{
    ((struct dialog *)owner)->emptied++;
}

static inline void dialog_add_key(struct dialog *d, const struct auth_key_spec *spec,
                                  char secret[static AUTH_KEY_TEXT_BYTES],
                                  char id[static AUTH_KEY_ID_BYTES])
{
    struct why why;

    if (auth_key_create(d->auth, "operator", spec, clock_wall_s(), secret, id, &why) != AUTH_DONE)
        fail_msg("%s", why.text);
}

static uint64_t dialog_tarpit_ms; /* set before dialog_open() */

static inline void dialog_open_stores(struct dialog *d)
{
    char keys[128], pepper[128], messages[128];
    struct why why = { "" };

    snprintf(keys, sizeof(keys), "%s/keys.db", d->folder);
    snprintf(pepper, sizeof(pepper), "%s/pepper", d->folder);
    snprintf(messages, sizeof(messages), "%s/queue.db", d->folder);
    struct auth_options auth = { .path = keys,
                                 .pepper_path = pepper,
                                 .prefix_live = "lpk_",
                                 .prefix_test = "lpt_",
                                 .penalty_failures = 1000,
                                 .penalty_window_s = 600,
                                 .penalty_s = 600,
                                 .tarpit_ms = dialog_tarpit_ms };
    struct queue_options queue = {
        .path = messages,
        .schedule = { .retry_ms = { 60000 }, .retry_count = 1, .max_age_ms = 86400000 },
        .retention_ms = 86400000
    };
    if (!auth_open(&d->auth, &auth, &why) || !queue_open(&d->queue, &queue, &why))
        fail_msg("%s", why.text);
}

static inline void dialog_open(struct dialog *d)
{
    const char *temporary = getenv("TMPDIR");
    struct why why;

    *d = (struct dialog){ 0 };
    log_configure(LOG_ERROR, LOG_LOGFMT);
    clock_replace(&dialog_clock);
    snprintf(d->folder, sizeof(d->folder), "%.40s/latchpost-XXXXXX",
             temporary == NULL ? "/tmp" : temporary);
    assert_non_null(mkdtemp(d->folder));
    mailbox_init(&d->loop.mailbox, dialog_wake, NULL);
    dialog_open_stores(d);
    assert_int_equal(auth_domain_add(d->auth, "operator", AUTH_DEFAULT_ACCOUNT, "good.example",
                                     true, clock_wall_s(), &why),
                     AUTH_DONE);
    dialog_add_key(d,
                   &(struct auth_key_spec){
                       .account = AUTH_DEFAULT_ACCOUNT, .name = "K1", .scopes = AUTH_SEND },
                   d->key, d->key_id);
    d->admissions = listener_limits_new(10, 5);
    d->door = (struct smtp_door){ .name = "test", .tls = SMTP_TLS_STARTTLS };
    buf_init(&d->stored, 1 << 20);
    d->service = (struct smtp_service){
        .loop = &d->loop,
        .auth = d->auth,
        .queue = d->queue,
        .admissions = d->admissions,
        .tls = (struct tls_context *)d, /* never looked into */
        .hostname = "relay.example",
        .limits = { .message_bytes = 26214400,
                    .recipients = 100,
                    .auth_failures = 3,
                    .errors = 10,
                    .junk_commands = 100,
                    .header_bytes = 65536,
                    .command_line = 2048,
                    .data_line = 998,
                    .data_rate = 500,
                    .data_grace_ms = 60000,
                    .login_ms = 60000,
                    .idle_ms = 300000,
                    .handshake_ms = 10000 },
        .wants_lease = dialog_wants,
        .accepted = dialog_accepted,
        .owner = d,
        .emptied = dialog_emptied,
    };
    list_init(&d->service.sessions);
    dialog_stream_reset();
}

static inline int dialog_remove(const char *path, const struct stat *status, int type,
                                struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Everything that is asked of the queue is answered, and what the answers let through is read. */
static inline void dialog_settle(struct dialog *d)
{
    bool moved;

    do {
        queue_step(d->queue);
        moved = mailbox_drain(&d->loop.mailbox) > 0;
        moved = dialog_pump() || moved;
    } while (moved);
}

/* The peer is gone. */
static inline void dialog_end(struct dialog *d, enum stream_end end)
{
    if (!dialog_is_over()) {
        dialog_stream.closed = true; /* the stream frees itself: nothing may be written now */
        dialog_stream.events->on_end(dialog_stream.owner, end);
    }
    dialog_settle(d);
}

static inline void dialog_close(struct dialog *d)
{
    if (d->service.session_count > 0)
        dialog_end(d, STREAM_EOF);
    assert_int_equal(d->service.session_count, 0);
    assert_int_equal(d->loop.holds, 0);
    assert_int_equal(d->places, 0);
    queue_stop(d->queue);
    mailbox_drain(&d->loop.mailbox);
    queue_free(d->queue);
    auth_close(d->auth);
    listener_limits_free(d->admissions);
    mailbox_destroy(&d->loop.mailbox);
    buf_free(&d->stored);
    dialog_stream_reset();
    nftw(d->folder, dialog_remove, 8, FTW_DEPTH | FTW_PHYS);
    clock_replace(NULL);
}

/* --- talking ---------------------------------------------------------------------------------- */

static inline void dialog_connect(struct dialog *d)
{
    session_accept(&d->service, &d->door, NULL);
    dialog_settle(d);
}

static inline void dialog_secure(struct dialog *d)
{
    assert_true(dialog_stream.tls_asked);
    dialog_stream.secure = true;
    dialog_stream.forget = false;
    dialog_stream.events->on_secure(dialog_stream.owner);
    dialog_settle(d);
}

static inline void dialog_send(struct dialog *d, struct slice bytes)
{
    if (dialog_is_over())
        return;
    assert_true(buf_add(&dialog_stream.kept, bytes));
    dialog_pump();
    dialog_settle(d);
}

static inline void dialog_say(struct dialog *d, const char *text)
{
    dialog_send(d, slice_of(text));
}

/* The codes of all replies since the last call: "250 2.1.0|550 5.7.1", a '!' at the end when the
 * session ended. Lines before the last of a reply are left out. */
static inline const char *dialog_codes(void)
{
    static char codes[8192];
    struct slice rest = buf_slice(&dialog_stream.out);
    size_t len = 0;

    codes[0] = '\0';
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        struct slice words = line;
        if (line.len < 5 || line.data[line.len - 1] != '\r')
            fail_msg("not a reply line: '%.*s'", SLICE_ARG(line));
        if (line.data[3] == '-')
            continue;
        struct slice code = slice_cut(&words, ' ');
        struct slice enhanced = slice_cut(&words, ' ');
        bool has_enhanced = enhanced.len >= 5 && enhanced.data[1] == '.';
        len += (size_t)snprintf(codes + len, sizeof(codes) - len, "%s%.*s%s%.*s",
                                len > 0 ? "|" : "", SLICE_ARG(code), has_enhanced ? " " : "",
                                has_enhanced ? (int)enhanced.len : 0, enhanced.data);
        assert_true(len < sizeof(codes));
    }
    if (dialog_is_over())
        snprintf(codes + len, sizeof(codes) - len, "!");
    buf_clear(&dialog_stream.out);
    return codes;
}

static inline void dialog_expect(const char *what, const char *want)
{
    char text[600];
    struct slice out = slice_first(buf_slice(&dialog_stream.out), sizeof(text) - 1);

    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(out));
    const char *got = dialog_codes();
    if (strcmp(got, want) != 0)
        fail_msg("%s:\n got %s\nwant %s\nin   %s", what, got, want, text);
}

/* "AUTH PLAIN ..." with this secret, CRLF included. The caller frees it. */
static inline char *dialog_plain(const char *secret)
{
    struct buf blob, text;
    char *line;

    buf_init(&blob, 256);
    buf_init(&text, 512);
    assert_true(buf_add(&blob, slice_make("\0user\0", 6)) && buf_add(&blob, slice_of(secret)));
    assert_true(base64_encode(buf_slice(&blob), &text));
    line = xasprintf("AUTH PLAIN %.*s\r\n", SLICE_ARG(buf_slice(&text)));
    buf_free(&blob);
    buf_free(&text);
    return line;
}

/* To the state after EHLO inside TLS; with a key, logged in. */
static inline void dialog_begin(struct dialog *d, const char *secret)
{
    dialog_connect(d);
    dialog_say(d, "EHLO evil.victim.example\r\n");
    dialog_say(d, "STARTTLS\r\n");
    dialog_secure(d);
    dialog_say(d, "EHLO ok.example\r\n");
    dialog_expect("begin", "220|250|220 2.0.0|250");
    if (secret == NULL)
        return;
    char *line = dialog_plain(secret);
    dialog_say(d, line);
    free(line);
    dialog_expect("login", "235 2.7.0");
}

static inline void dialog_envelope(struct dialog *d)
{
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\n");
    dialog_expect("envelope", "250 2.1.0|250 2.1.5|354");
}

struct dialog_count {
    uint64_t messages;
};

static inline void dialog_count_stats(void *owner, const struct queue_stats *stats)
{
    struct dialog_count *count = owner;

    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++)
        count->messages += stats->messages[i];
}

/* How many messages did the queue ever take? */
static inline uint64_t dialog_queued(struct dialog *d)
{
    struct dialog_count count = { 0 };

    queue_stats(d->queue, dialog_count_stats, &count, &d->loop.mailbox);
    dialog_settle(d);
    return count.messages;
}

#define M0 "From: <a@good.example>\r\nSubject: s\r\n\r\nhello\r\n"

#endif
