/* sink_session.c - one SMTP conversation, the sink's side.
 * As little of RFC 5321 as a generator and a relay need: any password is right, any recipient is
 * known. Replies to a flight of commands go out in one write. Each body is hashed line by line as
 * it comes and is never stored, so a session costs the same for a message of any size. */
#include "tests/bench/sink_priv.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "relay/base/alloc.h"
#include "tests/bench/mail.h"

/* What each reads. */
enum session_state {
    ST_COMMAND, /* a command line */
    ST_SASL,    /* a line of an AUTH exchange */
    ST_HEADER,  /* the header of a message */
    ST_BODY,    /* its body */
    ST_CLOSING, /* nothing more */
};

struct session {
    struct source source;
    struct sink *sink;
    struct wire wire;
    enum session_state state;
    unsigned sasl_lines; /* still to come */
    bool begin_tls;      /* once the replies are written */
    /* of the transaction: */
    struct mail_mark mark;
    bool marked;
    bool damaged; /* a line ended in LF alone */
    uint64_t hash;
    bool addressed; /* the recipient names an id */
    uint64_t rcpt_id;
};

static void session_close(struct session *session)
{
    wire_close(&session->wire);
    free(session);
}

static void reply(struct session *session, const char *text)
{
    /* A peer that sends more commands in a flight than fit is not one of ours. */
    if (!buf_add(&session->sink->replies, slice_of(text)))
        session->state = ST_CLOSING;
}

/* --- the end of a message -------------------------------------------------------------------- */

static void count_message(struct session *session)
{
    struct tally *tally = &session->sink->tally;
    bool whole = session->marked && !session->damaged && session->hash == session->mark.hash &&
                 (!session->addressed || session->rcpt_id == session->mark.id);

    if (session->sink->discard) {
        tally->received++;
    } else if (session->marked && session->mark.run != session->sink->run) {
        tally->foreign++;
    } else if (!whole || !tally_add(tally, session->mark.id, sink_now_ns())) {
        tally->received++;
        tally->corrupt++;
    }
}

static void message_begin(struct session *session)
{
    session->state = ST_HEADER;
    session->marked = session->damaged = false;
    session->hash = 0;
}

static void message_line(struct session *session, struct slice line)
{
    if (session->state == ST_BODY)
        session->hash = mail_hash_fold(session->hash, mail_hash_line(line));
    else if (line.len == 0)
        session->state = ST_BODY;
    else if (line.data[0] == 'X')
        session->marked = mail_mark_parse(line, &session->mark) || session->marked;
}

/* One line of a message, as it stands on the wire, without the LF. */
static void data_line(struct session *session, struct slice line)
{
    bool whole_end = line.len > 0 && line.data[line.len - 1] == '\r';

    if (whole_end)
        line.len--;
    else
        session->damaged = true;
    if (line.len > 0 && line.data[0] == '.') {
        if (line.len == 1 && whole_end) {
            count_message(session);
            reply(session, "250 2.0.0 ok\r\n");
            session->state = ST_COMMAND;
            return;
        }
        line = slice_from(line, 1);
    }
    if (!session->sink->discard)
        message_line(session, line);
}

/* --- commands -------------------------------------------------------------------------------- */

static void do_ehlo(struct session *session, struct slice line)
{
    bool offer_tls = session->sink->tls != NULL && session->wire.tls == NULL;

    (void)line;
    reply(session, "250-sink.bench.example\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n"
                   "250-AUTH PLAIN LOGIN\r\n");
    if (offer_tls)
        reply(session, "250-STARTTLS\r\n");
    reply(session, "250 ENHANCEDSTATUSCODES\r\n");
}

static void do_helo(struct session *session, struct slice line)
{
    (void)line;
    reply(session, "250 sink.bench.example\r\n");
}

static void do_starttls(struct session *session, struct slice line)
{
    (void)line;
    session->begin_tls = session->sink->tls != NULL && session->wire.tls == NULL;
    reply(session, session->begin_tls ? "220 2.0.0 go ahead\r\n" : "502 5.5.1 no\r\n");
}

static void sasl_step(struct session *session)
{
    static const char *const prompts[] = { "235 2.7.0 ok\r\n", "334 UGFzc3dvcmQ6\r\n",
                                           "334 VXNlcm5hbWU6\r\n" };

    session->state = session->sasl_lines == 0 ? ST_COMMAND : ST_SASL;
    reply(session, prompts[session->sasl_lines]);
}

/* PLAIN without an initial response gets LOGIN's second prompt: its words mean nothing there. */
static void do_auth(struct session *session, struct slice line)
{
    struct slice mechanism = slice_trim(slice_from(line, 4));
    bool login = slice_starts_nocase(mechanism, SLICE("LOGIN"));
    bool initial = slice_find(mechanism, ' ') != SLICE_NONE;

    session->sasl_lines = (login ? 2u : 1u) - (initial ? 1u : 0u);
    sasl_step(session);
}

static void do_rcpt(struct session *session, struct slice line)
{
    size_t open = slice_find(line, '<');
    struct slice path = slice_from(line, open == SLICE_NONE ? line.len : open + 1);
    size_t at = slice_find(path, '@');

    session->addressed =
        at != SLICE_NONE && mail_hex_parse(slice_first(path, at), &session->rcpt_id);
    reply(session, "250 2.1.5 ok\r\n");
}

static void do_data(struct session *session, struct slice line)
{
    (void)line;
    message_begin(session);
    reply(session, "354 go ahead\r\n");
}

static void do_ok(struct session *session, struct slice line)
{
    (void)line;
    reply(session, "250 2.0.0 ok\r\n");
}

static void do_quit(struct session *session, struct slice line)
{
    (void)line;
    session->state = ST_CLOSING;
    reply(session, "221 2.0.0 bye\r\n");
}

static const struct {
    struct slice verb;
    void (*run)(struct session *session, struct slice line);
} commands[] = {
    { { "MAIL", 4 }, do_ok },   { { "RCPT", 4 }, do_rcpt }, { { "DATA", 4 }, do_data },
    { { "EHLO", 4 }, do_ehlo }, { { "AUTH", 4 }, do_auth }, { { "QUIT", 4 }, do_quit },
    { { "RSET", 4 }, do_ok },   { { "NOOP", 4 }, do_ok },   { { "STARTTLS", 8 }, do_starttls },
    { { "HELO", 4 }, do_helo },
};

static void command_line(struct session *session, struct slice line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    if (session->state == ST_SASL) {
        session->sasl_lines--;
        sasl_step(session);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (slice_starts_nocase(line, commands[i].verb)) {
            commands[i].run(session, line);
            return;
        }
    reply(session, "500 5.5.1 unknown command\r\n");
}

/* --- events ---------------------------------------------------------------------------------- */

/* Handles whole lines and returns what is left. */
static struct slice take_lines(struct session *session, struct slice bytes)
{
    const char *end;

    while (bytes.len > 0 && (end = memchr(bytes.data, '\n', bytes.len)) != NULL) {
        struct slice line = slice_make(bytes.data, (size_t)(end - bytes.data));
        bytes = slice_from(bytes, line.len + 1);
        if (session->state == ST_HEADER || session->state == ST_BODY)
            data_line(session, line);
        else if (session->state != ST_CLOSING && !session->begin_tls)
            command_line(session, line);
    }
    return bytes;
}

static bool send_replies(struct session *session)
{
    struct buf *replies = &session->sink->replies;
    bool ok = buf_len(replies) == 0 || wire_write(&session->wire, buf_slice(replies));

    buf_clear(replies);
    return ok;
}

static bool begin_tls(struct session *session)
{
    session->begin_tls = false;
    return wire_begin_tls(&session->wire, session->sink->tls, true);
}

/* False: the session is over. */
static bool read_flights(struct session *session)
{
    struct slice bytes;
    bool more = true;

    while (more) {
        enum wire_progress progress = wire_read(&session->wire, session->sink->room, &bytes, &more);
        if (progress != WIRE_DONE)
            return progress == WIRE_AGAIN;
        bytes = take_lines(session, bytes);
        if (!send_replies(session) || session->state == ST_CLOSING)
            return false;
        if (session->begin_tls)
            return begin_tls(session);
        if (bytes.len > 0 && !wire_hold(&session->wire, bytes))
            return false;
    }
    return true;
}

static bool greet(struct session *session)
{
    reply(session, "220 sink.bench.example ESMTP\r\n");
    return send_replies(session);
}

static void on_event(struct source *source, unsigned events)
{
    struct session *session = container_of(source, struct session, source);

    if (session->wire.handshaking) {
        enum wire_progress progress = wire_handshake(&session->wire);
        bool implicit = session->state == ST_CLOSING; /* its greeting waits for the handshake */
        if (progress == WIRE_DONE && implicit) {
            session->state = ST_COMMAND;
            progress = greet(session) ? WIRE_DONE : WIRE_FAILED;
        }
        if (progress == WIRE_FAILED)
            session_close(session);
        if (progress != WIRE_DONE)
            return; /* done: commands may have come with the last record */
    }
    if (((events & EPOLLOUT) && !wire_flush(&session->wire)) || !read_flights(session))
        session_close(session);
}

void sink_session_start(struct sink *sink, int fd, bool implicit_tls)
{
    struct session *session = xcalloc(1, sizeof(*session));

    session->source.on_event = on_event;
    session->sink = sink;
    session->state = implicit_tls ? ST_CLOSING : ST_COMMAND;
    sink->connections++;
    if (!wire_open(&session->wire, fd, sink->epoll, &session->source)) {
        free(session);
        return;
    }
    if (!(implicit_tls ? wire_begin_tls(&session->wire, sink->tls, true) : greet(session)))
        session_close(session);
}
