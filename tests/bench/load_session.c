/* load_session.c - one SMTP conversation, or one HTTP connection, the client's side.
 * Strictly what a good client does: a flight is written when all replies to the one before are in.
 * A flight is one write: MAIL, RCPT and DATA together (RFC 2920) unless the pipeline is off, then
 * the whole message with its final dot. A message that failed is sent again, on a new connection,
 * under the same id, so that in the end all ids below the count were accepted. */
#include "tests/bench/load_priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/alloc.h"

/* What the next reply answers. */
enum step {
    STEP_GREETING,
    STEP_EHLO,
    STEP_STARTTLS,
    STEP_HANDSHAKE, /* no reply: the end of the TLS handshake */
    STEP_AUTH,
    STEP_READY, /* none: logged in, between two messages */
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_DOT,
    STEP_QUIT,
    STEP_REQUEST, /* HTTP: the status line */
    STEP_FIELDS,  /* HTTP: a field, or the empty line behind them */
    STEP_ANSWER,  /* HTTP: the body, which is one line */
    STEP_CLOSED,  /* no connection */
};

static const struct {
    const char *name;
    int code; /* the good answer */
} steps[] = {
    [STEP_GREETING] = { "the greeting", 220 },
    [STEP_EHLO] = { "EHLO", 250 },
    [STEP_STARTTLS] = { "STARTTLS", 220 },
    [STEP_HANDSHAKE] = { "the TLS handshake", 0 },
    [STEP_AUTH] = { "AUTH", 235 },
    [STEP_READY] = { "no command", 0 },
    [STEP_MAIL] = { "MAIL", 250 },
    [STEP_RCPT] = { "RCPT", 250 },
    [STEP_DATA] = { "DATA", 354 },
    [STEP_DOT] = { "the final dot", 250 },
    [STEP_QUIT] = { "QUIT", 221 },
    [STEP_REQUEST] = { "POST", 0 },
    [STEP_FIELDS] = { "POST", 0 },
    [STEP_ANSWER] = { "POST", 0 },
    [STEP_CLOSED] = { "connect", 0 },
};

struct load_session {
    struct load *load;
    struct wire wire;
    struct list waiting;
    enum step step;
    bool counted; /* among the ready */
    bool has_id;  /* `id` is taken and not yet accepted */
    uint64_t id;
    int64_t dot_ns; /* when the final dot was written */
    uint64_t accepted;
};

static void connect_again(struct load_session *session);

/* --- failure and end ------------------------------------------------------------------------- */

void load_session_close(struct load_session *session)
{
    if (session->step == STEP_CLOSED)
        return;
    session->step = STEP_CLOSED;
    session->load->open--;
    list_remove(&session->waiting);
    wire_close(&session->wire);
}

static bool is_sending(const struct load *load)
{
    return load->phase == LOAD_SENDING && load->errors < load->options->error_max;
}

/* An answer or event that should not be. What the session was sending goes on a new connection. */
static void fail(struct load_session *session, struct slice what)
{
    struct load *load = session->load;

    if (load->errors++ == 0)
        snprintf(load->first_error, sizeof(load->first_error), "%s: %.*s",
                 steps[session->step].name, (int)(what.len < 200 ? what.len : 200), what.data);
    load_session_close(session);
    if (is_sending(load))
        connect_again(session);
}

static void send_flight(struct load_session *session, struct slice bytes, enum step step)
{
    session->step = step;
    if (!wire_write(&session->wire, bytes))
        fail(session, SLICE("the connection was lost in writing"));
}

/* --- one message ----------------------------------------------------------------------------- */

static bool is_over(const struct load *load)
{
    const struct load_options *options = load->options;

    return !is_sending(load) || (options->messages > 0 && load->taken >= options->messages) ||
           (load->deadline_ns > 0 && load_now_ns() >= load->deadline_ns);
}

/* Takes the next id, if there is one to take. */
static bool take_message(struct load_session *session)
{
    if (!session->has_id && !is_over(session->load)) {
        session->id = session->load->options->first_id + session->load->taken++;
        session->has_id = true;
    }
    return session->has_id;
}

bool load_must_wait(const struct load *load)
{
    if (load->options->rate == 0 || is_over(load))
        return false;
    double due_s = (double)load->taken / load->options->rate;
    return load_now_ns() < load->start_ns + (int64_t)(due_s * 1e9);
}

static void send_request(struct load_session *session)
{
    char *flight = session->load->flight;
    size_t len = load_http_format(session->load, session->id, flight);

    session->dot_ns = load_now_ns();
    send_flight(session, slice_make(flight, len), STEP_REQUEST);
}

static void send_envelope(struct load_session *session)
{
    const struct mail_maker *maker = session->load->maker;
    char *flight = session->load->flight;
    size_t len = mail_format_from(maker, flight);

    if (session->load->options->pipeline) {
        len += mail_format_rcpt(maker, session->id, flight + len);
        memcpy(flight + len, "DATA\r\n", 6);
        len += 6;
    }
    send_flight(session, slice_make(flight, len), STEP_MAIL);
}

static void after_mail(struct load_session *session)
{
    char *flight = session->load->flight;

    session->step = STEP_RCPT;
    if (!session->load->options->pipeline) {
        size_t len = mail_format_rcpt(session->load->maker, session->id, flight);
        send_flight(session, slice_make(flight, len), STEP_RCPT);
    }
}

static void after_rcpt(struct load_session *session)
{
    session->step = STEP_DATA;
    if (!session->load->options->pipeline)
        send_flight(session, SLICE("DATA\r\n"), STEP_DATA);
}

static void send_message(struct load_session *session)
{
    char *flight = session->load->flight;
    size_t len = mail_format(session->load->maker, session->id, flight);

    session->dot_ns = load_now_ns();
    send_flight(session, slice_make(flight, len), STEP_DOT);
}

static void after_quit(struct load_session *session)
{
    load_session_close(session);
    if (session->load->options->fresh)
        load_session_go(session);
}

static void quit(struct load_session *session)
{
    if (session->load->options->http)
        after_quit(session);
    else
        send_flight(session, SLICE("QUIT\r\n"), STEP_QUIT);
}

void load_session_go(struct load_session *session)
{
    struct load *load = session->load;

    list_remove(&session->waiting);
    if (!session->has_id && load_must_wait(load)) {
        list_add_tail(&load->waiting, &session->waiting);
        return;
    }
    if (session->step == STEP_CLOSED) { /* fresh: a message first, then a connection for it */
        if (take_message(session))
            connect_again(session);
    } else if (take_message(session)) {
        (session->load->options->http ? send_request : send_envelope)(session);
    } else {
        quit(session);
    }
}

static void after_dot(struct load_session *session)
{
    struct load *load = session->load;

    load->last_ns = load_now_ns();
    samples_add(&load->dot, load->last_ns - session->dot_ns);
    load->accepted++;
    session->accepted++;
    session->has_id = false;
    if (load->options->fresh)
        quit(session);
    else
        load_session_go(session);
}

/* --- logging in ------------------------------------------------------------------------------ */

static void after_login(struct load_session *session)
{
    struct load *load = session->load;

    session->step = STEP_READY;
    if (!session->counted) {
        session->counted = true;
        load->ready++;
    }
    if (load->phase == LOAD_SENDING)
        load_session_go(session);
}

static void after_ehlo(struct load_session *session)
{
    struct load *load = session->load;

    if (load->options->tls == LOAD_STARTTLS && session->wire.tls == NULL)
        send_flight(session, SLICE("STARTTLS\r\n"), STEP_STARTTLS);
    else if (buf_len(&load->auth) > 0)
        send_flight(session, buf_slice(&load->auth), STEP_AUTH);
    else
        after_login(session);
}

static void send_ehlo(struct load_session *session)
{
    send_flight(session, SLICE("EHLO load.bench.example\r\n"), STEP_EHLO);
}

static void continue_handshake(struct load_session *session)
{
    struct load *load = session->load;

    switch (wire_handshake(&session->wire)) {
    case WIRE_AGAIN:
        return;
    case WIRE_FAILED:
        fail(session, SLICE("OpenSSL gave up"));
        return;
    case WIRE_DONE:
        if (load->tls_version == NULL)
            load->tls_version = wire_version(&session->wire);
        if (load->options->tls == LOAD_IMPLICIT)
            session->step = STEP_GREETING;
        else
            send_ehlo(session);
    }
}

static void begin_tls(struct load_session *session)
{
    session->step = STEP_HANDSHAKE;
    if (!wire_begin_tls(&session->wire, session->load->tls, false))
        fail(session, SLICE("OpenSSL has no memory"));
    else
        continue_handshake(session);
}

/* --- connecting ------------------------------------------------------------------------------ */

static void connect_again(struct load_session *session)
{
    struct load *load = session->load;
    const struct load_options *options = load->options;
    const struct sockaddr *server = (const struct sockaddr *)&options->server;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    session->step = STEP_GREETING;
    load->open++;
    load->connections++;
    session->wire.fd = -1;
    bool ok = fd >= 0 && wire_open(&session->wire, fd, load->epoll, session);
    if (!ok) {
        fail(session, slice_of(strerror(errno)));
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, server, sizeof(options->server)) != 0 && errno != EINPROGRESS)
        fail(session, slice_of(strerror(errno)));
    else if (options->tls == LOAD_IMPLICIT)
        begin_tls(session);
    else if (options->http)
        after_login(session); /* a request may be written before the connection is there */
}

void load_session_start(struct load *load, size_t index)
{
    struct load_session *session = &load->sessions[index];

    *session = (struct load_session){ .load = load, .step = STEP_CLOSED };
    list_init(&session->waiting);
    if (load->options->fresh)
        load_session_go(session);
    else
        connect_again(session);
}

/* --- events ---------------------------------------------------------------------------------- */

static void on_good_reply(struct load_session *session)
{
    switch (session->step) {
    case STEP_GREETING:
        send_ehlo(session);
        break;
    case STEP_EHLO:
        after_ehlo(session);
        break;
    case STEP_STARTTLS:
        begin_tls(session);
        break;
    case STEP_AUTH:
        after_login(session);
        break;
    case STEP_MAIL:
        after_mail(session);
        break;
    case STEP_RCPT:
        after_rcpt(session);
        break;
    case STEP_DATA:
        send_message(session);
        break;
    case STEP_DOT:
        after_dot(session);
        break;
    case STEP_QUIT:
        after_quit(session);
        break;
    case STEP_HANDSHAKE:
    case STEP_READY:
    case STEP_REQUEST:
    case STEP_FIELDS:
    case STEP_ANSWER:
    case STEP_CLOSED:
        break; /* their code is 0, which no reply has */
    }
}

/* A line of a reply: all but the last have a dash behind the code. */
static void on_line(struct load_session *session, struct slice line)
{
    uint64_t code;

    if (line.len > 3 && line.data[3] == '-')
        return;
    if (!slice_to_u64(slice_first(line, 3), &code) || (int)code != steps[session->step].code)
        fail(session, slice_trim(line));
    else
        on_good_reply(session);
}

static void on_http_line(struct load_session *session, struct slice line)
{
    switch (session->step) {
    case STEP_REQUEST:
        if (slice_starts_nocase(line, SLICE("HTTP/1.1 202 ")))
            session->step = STEP_FIELDS;
        else
            fail(session, line);
        break;
    case STEP_FIELDS:
        if (line.len == 0)
            session->step = STEP_ANSWER;
        break;
    case STEP_ANSWER:
        session->step = STEP_READY;
        after_dot(session);
        break;
    default:
        fail(session, SLICE("it answers what was not asked"));
    }
}

/* A reply may end the connection and begin the next one of this session; what was read of the old
 * one then means nothing. False: it did. */
static bool take_lines(struct load_session *session, struct slice bytes)
{
    uint64_t connection = session->load->connections;
    const char *end;

    while (bytes.len > 0 && (end = memchr(bytes.data, '\n', bytes.len)) != NULL) {
        size_t len = (size_t)(end - bytes.data);
        size_t content = len > 0 && bytes.data[len - 1] == '\r' ? len - 1 : len;
        (session->load->options->http ? on_http_line : on_line)(session,
                                                                slice_make(bytes.data, content));
        if (session->step == STEP_CLOSED || session->load->connections != connection)
            return false;
        bytes = slice_from(bytes, len + 1);
    }
    if (bytes.len > 0 && !wire_hold(&session->wire, bytes)) {
        fail(session, SLICE("a line without end"));
        return false;
    }
    return true;
}

static void read_replies(struct load_session *session)
{
    struct slice bytes;
    bool more = true;

    while (more) {
        switch (wire_read(&session->wire, session->load->room, &bytes, &more)) {
        case WIRE_AGAIN:
            return;
        case WIRE_FAILED:
            if (session->step == STEP_QUIT)
                after_quit(session);
            else
                fail(session, SLICE("the server closed the connection"));
            return;
        case WIRE_DONE:
            if (!take_lines(session, bytes))
                return;
        }
    }
}

void load_session_event(struct load_session *session, unsigned events)
{
    if (session->step == STEP_CLOSED)
        return;
    if (session->step == STEP_HANDSHAKE) {
        continue_handshake(session);
        if (session->step != STEP_GREETING || session->wire.tls == NULL)
            return;
        /* A greeting may have come with the end of the handshake; epoll does not see it. */
    }
    if ((events & EPOLLOUT) && !wire_flush(&session->wire))
        fail(session, SLICE("the connection was lost in writing"));
    else
        read_replies(session);
}

struct load_session *load_sessions_new(struct load *load, size_t count)
{
    struct load_session *sessions = xcalloc(count, sizeof(*sessions));

    for (size_t i = 0; i < count; i++) {
        sessions[i] = (struct load_session){ .load = load, .step = STEP_CLOSED };
        list_init(&sessions[i].waiting);
    }
    return sessions;
}

struct load_session *load_session_waiting(struct list *node)
{
    return list_entry(node, struct load_session, waiting);
}

struct load_session *load_session_at(struct load_session *sessions, size_t index)
{
    return &sessions[index];
}

uint64_t load_session_accepted(const struct load_session *sessions, size_t index)
{
    return sessions[index].accepted;
}
