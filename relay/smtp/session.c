/* session.c - one client's conversation, from accept to close.
 * The doorways (on_*) turn what happened into a word of ours and call one function; session_rest()
 * at the end of each decides what to wait for next, and how long. Input is read only while a state
 * can use it, so the kernel's buffers push back on a client that is faster than the disk or that
 * does not read our replies. A session without a transaction costs its struct, two short texts and
 * the stream. */
#include "relay/smtp/session_priv.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/smtp/login.h"
#include "relay/smtp/refusal.h"

/* Pipelined commands that are run at once: the others on this loop want their turn, too. */
#define LINES_PER_TURN   16

#define TLS_CLIENT_HELLO 0x16 /* RFC 8446 section 5.1: the type byte of a handshake record */

static const struct {
    const char *text;
    enum metric counter; /* METRIC_COUNT: none */
} reasons[CLOSE_REASON_COUNT] = {
    [CLOSE_NOT] = { "none", METRIC_COUNT },
    [CLOSE_QUIT] = { "quit", METRIC_COUNT },
    [CLOSE_LEFT] = { "left_without_quit", METRIC_COUNT },
    [CLOSE_RESET] = { "connection_reset", METRIC_COUNT },
    [CLOSE_TRUNCATED] = { "tls_truncated", METRIC_COUNT },
    [CLOSE_TLS_FAILED] = { "tls_failed", METRIC_TLS_FAILED },
    [CLOSE_LOGIN_TIMEOUT] = { "login_timeout", METRIC_COUNT },
    [CLOSE_IDLE] = { "idle_timeout", METRIC_COUNT },
    [CLOSE_DATA_TIMEOUT] = { "data_timeout", METRIC_COUNT },
    [CLOSE_STOPPING] = { "stopping", METRIC_COUNT },
    [CLOSE_LIMIT] = { "limit", METRIC_COUNT },
    [CLOSE_NOT_SMTP] = { "not_smtp", METRIC_COUNT },
    [CLOSE_BARE_LINE_END] = { "bare_line_end", METRIC_COUNT },
    [CLOSE_ENDLESS_LINE] = { "endless_line", METRIC_COUNT },
    [CLOSE_AMBIGUOUS] = { "ambiguous_input", METRIC_COUNT },
    [CLOSE_ERRORS] = { "too_many_errors", METRIC_COUNT },
    [CLOSE_JUNK] = { "too_much_junk", METRIC_COUNT },
    [CLOSE_AUTH_FAILURES] = { "auth_failures", METRIC_COUNT },
    [CLOSE_KEY] = { "key_not_valid", METRIC_COUNT },
};

static const char *const state_names[] = {
    [ST_HANDSHAKE] = "handshake", [ST_COMMAND] = "command", [ST_SASL] = "sasl",
    [ST_TARPIT] = "tarpit",       [ST_BODY] = "body",       [ST_APPEND] = "append",
    [ST_COMMIT] = "commit",       [ST_CLOSED] = "closed",
};

/* --- life and death --------------------------------------------------------------------------- */

void session_ref(struct session *s)
{
    s->refs++;
}

/* The count goes down only here, so that a service without sessions is one without callbacks to
 * come. */
void session_unref(struct session *s)
{
    struct smtp_service *service = s->service;

    if (--s->refs > 0)
        return;
    free(s);
    service->session_count--;
    loop_release(service->loop);
    if (service->draining && service->session_count == 0 && service->emptied != NULL)
        service->emptied(service->owner);
}

void session_enter(struct session *s, enum session_state state)
{
    LOG(LOG_DEBUG, "session_state", LOG_STR("session", s->id),
        LOG_STR("from", state_names[s->state]), LOG_STR("to", state_names[state]));
    s->state = state;
}

uint64_t session_message_max(const struct session *s)
{
    uint64_t max = s->service->limits.message_bytes;
    uint64_t own = s->grant == NULL ? 0 : auth_grant_message_size(s->grant);

    return own != 0 && own < max ? own : max;
}

void session_reset(struct session *s)
{
    s->facts &= ~(unsigned)(FACT_SENDER | FACT_RCPT);
    if (s->tx != NULL)
        transaction_drop(&s->tx);
}

/* Who the client is and what it said: gone when TLS begins, and at the end. */
static void forget_client(struct session *s)
{
    session_reset(s);
    sasl_reset(&s->sasl);
    if (s->grant != NULL)
        auth_session_leave(s->grant);
    auth_grant_unref(s->grant);
    s->grant = NULL;
    free(s->user);
    s->user = NULL;
    free(s->helo);
    s->helo = NULL;
}

/* "ehlo=1/1 auth=1/2 ...": ok and total of each command that was used. */
static void format_tallies(const struct session *s, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < TALLY_COUNT && len < size; i++)
        if (s->tallies[i].total > 0)
            len += (size_t)snprintf(text + len, size - len, "%s%s=%u/%u", len > 0 ? " " : "",
                                    tally_names[i], s->tallies[i].ok, s->tallies[i].total);
}

static void log_summary(const struct session *s, enum close_reason reason, const char *error)
{
    char commands[256];

    format_tallies(s, commands, sizeof(commands));
    LOG(LOG_INFO, "session_closed", LOG_STR("session", s->id), LOG_STR("door", s->door->name),
        LOG_STR("peer", s->peer.text), LOG_STR("helo", s->helo), LOG_STR("user", s->user),
        LOG_STR("key", s->key_id[0] == '\0' ? NULL : s->key_id), LOG_STR("commands", commands),
        LOG_INT("messages", s->tallies[TALLY_MESSAGE].ok),
        LOG_INT("seconds", (clock_mono_ms() - s->accepted_ms) / 1000),
        LOG_STR("reason", reasons[reason].text), LOG_STR("error", error));
}

/* After the stream is gone, or on its way. */
static void end_session(struct session *s, enum close_reason reason, const char *error)
{
    log_summary(s, reason, error);
    if (reasons[reason].counter != METRIC_COUNT)
        metrics_add(reasons[reason].counter, 1);
    metrics_add(METRIC_SESSIONS_OPEN, -1);
    session_enter(s, ST_CLOSED);
    s->stream = NULL;
    list_remove(&s->link);
    forget_client(s);
    listener_leave(s->service->admissions, &s->peer);
    session_unref(s);
}

void session_close(struct session *s, enum close_reason reason)
{
    if (s->state == ST_CLOSED)
        return;
    if (s->state == ST_HANDSHAKE)
        stream_close(s->stream); /* nothing can be said any more, in clear or not yet encrypted */
    else
        stream_finish(s->stream);
    end_session(s, reason, NULL);
}

/* --- replies ---------------------------------------------------------------------------------- */

enum reply session_detail(struct session *s, enum reply reply, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->detail, sizeof(s->detail), format, args);
    va_end(args);
    return reply;
}

void session_reply(struct session *s, enum reply reply)
{
    char line[REPLY_BYTES];

    if (s->state == ST_CLOSED)
        return;
    size_t len = reply_format(reply, s->detail, line);
    if (s->reference[0] != '\0')
        len = reply_add_reference(line, len, s->reference);
    stream_write(s->stream, slice_make(line, len));
    s->detail[0] = s->reference[0] = '\0';
    if (reply_row(reply)->closes != CLOSE_NOT)
        session_close(s, reply_row(reply)->closes);
}

void session_keep_back(struct session *s, enum reply reply)
{
    s->kept_back = reply;
    s->due_ms = clock_mono_ms() + (int64_t)s->tarpit_ms;
    s->tarpit_ms = 0;
    session_enter(s, ST_TARPIT);
}

/* The wait is over, or all the time that there is to log in. */
static void leave_tarpit(struct session *s)
{
    session_ref(s);
    session_enter(s, ST_COMMAND);
    if (s->due_ms - s->accepted_ms < (int64_t)s->service->limits.login_ms)
        command_answer(s, TALLY_AUTH, s->kept_back);
    else
        session_reply(s, REPLY_LOGIN_TIMEOUT);
    session_rest(s); /* pipelined commands may already be waiting */
    session_unref(s);
}

static void greet(struct session *s)
{
    session_detail(s, REPLY_LATER, "%s", s->service->hostname);
    session_reply(s, REPLY_GREETING);
}

/* --- what to wait for next -------------------------------------------------------------------- */

/* Can the state use input now? In the handshake the stream reads for itself. */
static bool session_listens(const struct session *s)
{
    switch (s->state) {
    case ST_HANDSHAKE:
        return true;
    case ST_COMMAND:
    case ST_SASL:
        return stream_unwritten(s->stream) <= STREAM_HIGH_WATER;
    case ST_BODY:
        return content_has_room(&s->tx->content);
    default:
        return false;
    }
}

/* To log in, a client has one time for all it does; after that, one for each step. */
static uint64_t patience_ms(const struct session *s)
{
    const struct smtp_limits *limits = &s->service->limits;
    int64_t now_ms = clock_mono_ms();
    bool logged_in = (s->facts & FACT_AUTHED) != 0;

    if (s->state == ST_APPEND || s->state == ST_COMMIT)
        return 0; /* it is us who are waited for */
    if (s->state == ST_BODY)
        return transaction_patience_ms(s->tx, now_ms);
    uint64_t allowed = logged_in ? limits->idle_ms : limits->login_ms;
    uint64_t taken = (uint64_t)(now_ms - (logged_in ? s->active_ms : s->accepted_ms));
    uint64_t left = taken < allowed ? allowed - taken : 1;
    if (s->state == ST_TARPIT && s->due_ms - now_ms < (int64_t)left)
        return s->due_ms > now_ms ? (uint64_t)(s->due_ms - now_ms) : 1;
    return left;
}

static bool is_idle(const struct session *s)
{
    return s->state == ST_TARPIT ||
           ((s->state == ST_COMMAND || s->state == ST_SASL) && s->tx == NULL);
}

void session_rest(struct session *s)
{
    if (s->state == ST_CLOSED)
        return;
    if (s->service->draining && is_idle(s)) {
        session_reply(s, REPLY_STOPPING);
        return;
    }
    bool listens = session_listens(s);
    if (listens && s->paused)
        stream_resume(s->stream);
    else if (!listens && !s->paused)
        stream_pause(s->stream);
    s->paused = !listens;
    stream_set_deadline(s->stream, patience_ms(s));
}

/* --- reading ---------------------------------------------------------------------------------- */

static size_t read_line(struct session *s, struct slice data)
{
    bool response = s->state == ST_SASL;
    size_t max = response ? SASL_LINE_MAX + 2 : s->service->limits.command_line;
    struct slice line;
    size_t used;

    if (!s->spoken && !s->reader.skipping && data.len > 0 && data.data[0] == TLS_CLIENT_HELLO) {
        session_reply(s, REPLY_NOT_SMTP); /* now: a line end may never come */
        return data.len;
    }
    enum line_result result = line_cut(&s->reader, data, max, &line, &used);
    if (result == LINE_MORE)
        return used;
    s->input_behind = used < data.len;
    s->active_ms = clock_mono_ms();
    if (result == LINE_BARE_LF) {
        session_reply(s, REPLY_BARE_LF);
    } else if (result == LINE_ENDLESS) {
        session_reply(s, REPLY_ENDLESS_LINE);
    } else if (result == LINE_TOO_LONG && response) {
        login_cancel(s);
        command_answer(s, TALLY_AUTH, REPLY_RESPONSE_TOO_LONG);
    } else if (result == LINE_TOO_LONG) {
        s->spoken = true;
        command_answer(s, TALLY_OTHER, REPLY_LINE_TOO_LONG);
    } else if (response) {
        login_line(s, line);
    } else {
        command_run(s, line);
    }
    return used;
}

/* The transaction is over, one way or the other. */
static void answer_message(struct session *s, enum reply reply)
{
    session_reset(s);
    session_enter(s, ST_COMMAND);
    s->active_ms = clock_mono_ms();
    if (reply_is_refusal(reply))
        metrics_add(METRIC_MESSAGES_REFUSED, 1);
    else
        s->junk = 0;
    command_answer(s, TALLY_MESSAGE, reply);
}

static void log_refusal(const struct session *s, enum reply reply)
{
    const struct reply_row *row = reply_row(reply);

    LOG(LOG_INFO, "message_refused", LOG_STR("session", s->id), LOG_STR("key", s->key_id),
        LOG_STR("sender", s->tx->sender), LOG_STR("status", row->enhanced),
        LOG_STR("reason", strcmp(row->text, "%s") == 0 ? s->detail : row->text),
        LOG_STR("reference", s->reference[0] == '\0' ? NULL : s->reference));
    if (reply == REPLY_SENDER_REFUSED)
        metrics_add(METRIC_SENDER_REFUSED, 1);
}

/* All of the message was read. Called again when chunks that were still on their way are stored. */
static void finish_message(struct session *s)
{
    enum reply verdict = transaction_verdict(s->tx);

    if (verdict != REPLY_OK) {
        refusal_note(s, verdict, slice_of(s->tx->sender));
        log_refusal(s, verdict);
        answer_message(s, verdict);
    } else if (content_flush(&s->tx->content)) {
        session_enter(s, ST_COMMIT);
        transaction_submit(s->tx);
    } else if (s->state != ST_APPEND) {
        session_enter(s, ST_APPEND);
    }
}

static size_t read_body(struct session *s, struct slice data)
{
    bool ended;
    size_t used = content_read(&s->tx->content, data, &ended);

    if (ended)
        finish_message(s);
    return used;
}

static size_t read_some(struct session *s, struct slice data)
{
    return s->state == ST_BODY ? read_body(s, data) : read_line(s, data);
}

/* --- doorways, in the order in which they fire ------------------------------------------------ */

static void on_secure(void *owner)
{
    struct session *s = owner;

    s->facts = FACT_SECURE | FACT_PRIVATE;
    session_enter(s, ST_COMMAND);
    if (s->door->tls == SMTP_TLS_IMPLICIT)
        greet(s);
    session_rest(s);
}

static size_t on_data(void *owner, struct slice data)
{
    struct session *s = owner;
    size_t used = 0, step;

    session_ref(s);
    for (int lines = 0; session_listens(s) && s->state != ST_HANDSHAKE; lines++) {
        if (lines == LINES_PER_TURN && used < data.len) {
            stream_resume(s->stream); /* the rest is shown in the next turn */
            break;
        }
        step = read_some(s, slice_from(data, used));
        used += step;
        if (step == 0)
            break;
    }
    session_rest(s);
    session_unref(s);
    return used;
}

static void on_drained(void *owner)
{
    session_rest(owner);
}

void session_appended(struct session *s)
{
    session_ref(s);
    if (s->state == ST_APPEND)
        finish_message(s);
    session_rest(s);
    session_unref(s);
}

void session_submitted(struct session *s, enum reply reply)
{
    session_ref(s);
    refusal_note(s, reply, slice_of(s->tx->sender));
    answer_message(s, reply);
    session_rest(s); /* pipelined commands may already be waiting */
    session_unref(s);
}

static void on_deadline(void *owner)
{
    struct session *s = owner;

    if (s->state == ST_HANDSHAKE)
        session_close(s, CLOSE_LOGIN_TIMEOUT);
    else if (s->state == ST_TARPIT)
        leave_tarpit(s);
    else if (s->state == ST_BODY)
        session_reply(s, REPLY_DATA_TIMEOUT);
    else
        session_reply(s, s->facts & FACT_AUTHED ? REPLY_IDLE_TIMEOUT : REPLY_LOGIN_TIMEOUT);
}

static void on_end(void *owner, enum stream_end end)
{
    static const enum close_reason endings[] = {
        [STREAM_EOF] = CLOSE_LEFT,
        [STREAM_RESET] = CLOSE_RESET,
        [STREAM_TRUNCATED] = CLOSE_TRUNCATED,
        [STREAM_TLS_FAILED] = CLOSE_TLS_FAILED,
        [STREAM_UNREACHABLE] = CLOSE_RESET,
    };
    struct session *s = owner;

    end_session(s, endings[end], end == STREAM_TLS_FAILED ? stream_error(s->stream) : NULL);
}

static const struct stream_events events = {
    .on_data = on_data,
    .on_drained = on_drained,
    .on_secure = on_secure,
    .on_deadline = on_deadline,
    .on_end = on_end,
};

/* --- beginnings ------------------------------------------------------------------------------- */

void session_auth_peer(const struct session *s, struct auth_peer *peer)
{
    *peer = (struct auth_peer){ .has_address = s->peer.has_address, .protocol = "smtp" };
    memcpy(peer->address, s->peer.address, sizeof(peer->address));
}

void session_start_tls(struct session *s)
{
    forget_client(s);
    s->facts = 0;
    s->spoken = false;
    session_enter(s, ST_HANDSHAKE);
    stream_start_tls_server(s->stream, s->service->tls, s->service->limits.handshake_ms);
}

static void open_session(struct session *s)
{
    struct smtp_service *service = s->service;

    ident_session(s->id);
    list_add_tail(&service->sessions, &s->link);
    service->session_count++;
    loop_hold(service->loop); /* an answer of the queue may be all that it still waits for */
    s->refs = 1;
    s->accepted_ms = s->active_ms = clock_mono_ms();
    metrics_add(METRIC_SESSIONS_ACCEPTED, 1);
    metrics_add(METRIC_SESSIONS_OPEN, 1);
    LOG(LOG_DEBUG, "session_opened", LOG_STR("session", s->id), LOG_STR("door", s->door->name),
        LOG_STR("peer", s->peer.text));
    if (s->door->tls == SMTP_TLS_IMPLICIT) {
        s->state = ST_HANDSHAKE;
        stream_start_tls_server(s->stream, service->tls, service->limits.handshake_ms);
    } else {
        s->state = ST_COMMAND;
        s->facts = s->door->auth_without_tls ? FACT_PRIVATE : 0;
        greet(s);
    }
    session_rest(s);
}

void session_accept(struct smtp_service *service, const struct smtp_door *door, uv_stream_t *server)
{
    struct session *s = xcalloc(1, sizeof(*s));

    s->service = service;
    s->door = door;
    s->stream = stream_accept(service->loop, server, &events, s);
    if (s->stream == NULL) {
        LOG(LOG_WARNING, "accept_failed", LOG_STR("door", door->name));
        free(s);
        return;
    }
    stream_peer(s->stream, &s->peer);
    enum reply refusal = service_admit(s);
    if (refusal == REPLY_LATER) {
        open_session(s);
    } else {
        service_turn_away(s, refusal);
        free(s);
    }
}
