/* fake_upstream.c - an SMTP server that says what a test wants (see the header).
 * It reads line by line, like a server without a clever parser, and is friendly about everything.
 */
#include "tests/support/fake_upstream.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/net/stream.h"

#define WIRE_MAX (64 * 1024 * 1024)

struct session {
    struct list node;
    struct fake_upstream *fake;
    struct stream *stream;
    bool in_content;
    bool in_auth;       /* the last reply was 334 */
    struct buf content; /* behind a CRLF of our own, so that a dot at once is found, too */
    size_t content_len; /* where it ends; what follows is no content any more */
};

static void session_free(struct session *session)
{
    list_remove(&session->node);
    session->fake->open--;
    buf_free(&session->content);
    free(session);
}

static void drop(struct session *session)
{
    stream_finish(session->stream);
    session_free(session);
}

static void keep(struct buf *buf, struct slice bytes)
{
    if (!buf_add(buf, bytes))
        abort(); /* the test sends more than it may */
}

/* --- replies ---------------------------------------------------------------------------------- */

static const struct fake_row *find_row(struct fake_upstream *fake, struct slice line)
{
    const struct fake_row *rows = fake->options.rows;

    for (size_t i = 0; rows != NULL && rows[i].when != NULL && i < FAKE_ROWS_MAX; i++) {
        if (!slice_starts_nocase(line, slice_of(rows[i].when)))
            continue;
        if (rows[i].times > 0 && fake->used[i] >= rows[i].times)
            continue;
        fake->used[i]++;
        return &rows[i];
    }
    return NULL;
}

static const char *friendly(const struct fake_upstream *fake, struct slice line)
{
    static const char *const says[][2] = {
        { "BANNER", "220 fake ready\r\n" }, { "HELO", "250 fake\r\n" },
        { "STARTTLS", "220 go on\r\n" },    { "AUTH LOGIN", "334 VXNlcm5hbWU6\r\n" },
        { "AUTH", "235 2.7.0 ok\r\n" },     { "LINE", "235 2.7.0 ok\r\n" },
        { "DATA", "354 go on\r\n" },        { ".", "250 2.0.0 taken\r\n" },
        { "QUIT", "221 bye\r\n" },
    };

    if (slice_starts_nocase(line, SLICE("EHLO")))
        return fake->options.ehlo != NULL ? fake->options.ehlo : FAKE_EHLO;
    for (size_t i = 0; i < ARRAY_LEN(says); i++)
        if (slice_starts_nocase(line, slice_of(says[i][0])))
            return says[i][1];
    return "250 2.1.0 ok\r\n";
}

/* False when the session is gone. */
static bool say(struct session *session, struct slice line, const char *text, bool then_drop)
{
    if (strcmp(text, FAKE_DROP) == 0) {
        drop(session);
        return false;
    }
    if (strcmp(text, FAKE_HANG) == 0)
        return true;
    stream_write(session->stream, slice_of(text));
    session->in_auth = strncmp(text, "334", 3) == 0;
    if (slice_starts_nocase(line, SLICE("DATA")) && strncmp(text, "354", 3) == 0) {
        session->in_content = true;
        buf_clear(&session->content);
        keep(&session->content, SLICE("\r\n"));
    }
    if (slice_starts_nocase(line, SLICE("STARTTLS")) && strncmp(text, "220", 3) == 0)
        stream_start_tls_server(session->stream, session->fake->options.tls, 5000);
    if (then_drop || slice_starts_nocase(line, SLICE("QUIT"))) {
        drop(session);
        return false;
    }
    return true;
}

static bool answer(struct session *session, struct slice line)
{
    struct fake_upstream *fake = session->fake;
    const struct fake_row *row = find_row(fake, line);
    const char *text = row != NULL ? row->say : friendly(fake, line);

    if (slice_equal(line, SLICE(".")) && strncmp(text, "250", 3) == 0) {
        fake->messages++;
        keep(&fake->content,
             slice_from(slice_first(buf_slice(&session->content), session->content_len), 2));
    }
    if (slice_starts_nocase(line, SLICE("QUIT")))
        fake->quits++;
    return say(session, line, text, row != NULL && row->then_drop);
}

/* --- what arrives ----------------------------------------------------------------------------- */

/* Takes content up to its end; returns how much of the data was used. */
static size_t take_content(struct session *session, struct slice data, bool *alive)
{
    size_t before = buf_len(&session->content);
    size_t from = before > 4 ? before - 4 : 0;

    keep(&session->content, data);
    struct slice all = buf_slice(&session->content);
    const char *end = memmem(all.data + from, all.len - from, "\r\n.\r\n", 5);
    size_t used = data.len;

    if (end != NULL) {
        session->content_len = (size_t)(end - all.data) + 5;
        session->in_content = false;
        used = session->content_len - before;
    }
    keep(&session->fake->wire, slice_first(data, used));
    if (end != NULL)
        *alive = answer(session, SLICE("."));
    return used;
}

static size_t take_line(struct session *session, struct slice data, bool *alive)
{
    const char *end = memmem(data.data, data.len, "\r\n", 2);

    if (end == NULL)
        return 0;
    struct slice line = slice_first(data, (size_t)(end - data.data));

    keep(&session->fake->wire, slice_first(data, line.len + 2));
    *alive = answer(session, session->in_auth ? SLICE("LINE") : line);
    return line.len + 2;
}

static size_t on_data(void *owner, struct slice data)
{
    struct session *session = owner;
    size_t used = 0;
    size_t step = 1;
    bool alive = true;

    while (alive && step > 0 && used < data.len) {
        struct slice rest = slice_from(data, used);

        step = session->in_content ? take_content(session, rest, &alive)
                                   : take_line(session, rest, &alive);
        used += step;
    }
    return used;
}

static void on_secure(void *owner)
{
    struct session *session = owner;

    if (session->fake->options.implicit_tls)
        answer(session, SLICE("BANNER"));
}

static void on_end(void *owner, enum stream_end end)
{
    (void)end;
    session_free(owner);
}

static const struct stream_events events = {
    .on_data = on_data,
    .on_secure = on_secure,
    .on_end = on_end,
};

static void on_accept(void *owner, uv_stream_t *server)
{
    struct fake_upstream *fake = owner;
    struct session *session = xcalloc(1, sizeof(*session));

    session->fake = fake;
    buf_init(&session->content, WIRE_MAX);
    list_add_tail(&fake->sessions, &session->node);
    fake->connections++;
    if (++fake->open > fake->most_open)
        fake->most_open = fake->open;
    session->stream = stream_accept(fake->loop, server, &events, session);
    if (session->stream == NULL)
        session_free(session);
    else if (fake->options.implicit_tls)
        stream_start_tls_server(session->stream, fake->options.tls, 5000);
    else
        answer(session, SLICE("BANNER"));
}

/* --- life ------------------------------------------------------------------------------------- */

void fake_start(struct fake_upstream *fake, struct loop *loop, const struct fake_options *options)
{
    struct why why = { "" };

    *fake = (struct fake_upstream){ .loop = loop, .options = *options };
    list_init(&fake->sessions);
    buf_init(&fake->wire, WIRE_MAX);
    buf_init(&fake->content, WIRE_MAX);
    struct listener_options listen = {
        .address = options->address != NULL ? options->address : "127.0.0.1",
    };

    fake->listener = listener_open(loop, &listen, on_accept, fake, &why);
    if (fake->listener == NULL) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    fake->port = listener_port(fake->listener);
}

void fake_set_rows(struct fake_upstream *fake, const struct fake_row *rows)
{
    memset(fake->used, 0, sizeof(fake->used));
    fake->options.rows = rows;
}

void fake_drop_all(struct fake_upstream *fake)
{
    list_for_each(node, following, &fake->sessions) {
        struct session *session = list_entry(node, struct session, node);

        stream_close(session->stream);
        session_free(session);
    }
}

void fake_say_all(struct fake_upstream *fake, const char *text)
{
    list_for_each(node, following, &fake->sessions)
        stream_write(list_entry(node, struct session, node)->stream, slice_of(text));
}

void fake_stop_listening(struct fake_upstream *fake)
{
    listener_close(fake->listener);
    fake->listener = NULL;
}

void fake_stop(struct fake_upstream *fake)
{
    fake_drop_all(fake);
    fake_stop_listening(fake);
    buf_free(&fake->wire);
    buf_free(&fake->content);
}

bool fake_heard(const struct fake_upstream *fake, const char *bytes)
{
    struct slice wire = buf_slice(&fake->wire);

    return wire.len > 0 && memmem(wire.data, wire.len, bytes, strlen(bytes)) != NULL;
}
