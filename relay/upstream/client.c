/* client.c - one connection to an upstream: its states, its life and death.
 * The conversation is the table below: a state's command is sent when the state is entered, and its
 * reply is judged when it has come. Replies are judged strictly in order; whether the commands had
 * been sent one by one or in a group (RFC 2920) makes no difference here, because the senders of
 * commands that went out with the group do nothing.
 *
 * Whatever ends a connection comes through client_break() or client_finish(). A client lives until
 * the last call on its stack has returned. */
#include "relay/upstream/client.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/upstream/client_priv.h"

#define OUT_MAX         (64 * 1024)
#define COMMAND_MAX     2048 /* far above what stuff_path_is_safe() and the host name allow */

#define TIMEOUT(member) (offsetof(struct upstream_timeouts, member) + 1) /* 0: none */

static const struct step {
    const char *name;
    client_send_fn *send;
    client_judge_fn *judge;
    size_t timeout;
} steps[CLIENT_STATE_COUNT] = {
    [CLIENT_CONNECTING] = { "connecting", NULL, NULL, 0 },       /* connect.c has its own limit */
    [CLIENT_HANDSHAKE] = { "the TLS handshake", NULL, NULL, 0 }, /* the stream watches it */
    [CLIENT_BANNER] = { "the greeting", NULL, client_judge_banner, TIMEOUT(banner) },
    [CLIENT_EHLO] = { "EHLO", client_send_ehlo, client_judge_ehlo, TIMEOUT(command) },
    [CLIENT_HELO] = { "HELO", client_send_helo, client_judge_helo, TIMEOUT(command) },
    [CLIENT_STARTTLS] = { "STARTTLS", client_send_starttls, client_judge_starttls,
                          TIMEOUT(command) },
    [CLIENT_AUTH_PLAIN] = { "AUTH", client_send_auth_plain, client_judge_auth, TIMEOUT(command) },
    [CLIENT_AUTH_LOGIN] = { "AUTH", client_send_auth_login, client_judge_auth_login,
                            TIMEOUT(command) },
    [CLIENT_AUTH_USER] = { "AUTH", client_send_auth_user, client_judge_auth_user,
                           TIMEOUT(command) },
    [CLIENT_AUTH_PASSWORD] = { "AUTH", client_send_auth_password, client_judge_auth,
                               TIMEOUT(command) },
    [CLIENT_IDLE] = { "an idle connection", NULL, NULL, TIMEOUT(idle) },
    [CLIENT_MAIL] = { "MAIL", client_send_mail, client_judge_mail, TIMEOUT(command) },
    [CLIENT_RCPT] = { "RCPT", client_send_rcpt, client_judge_rcpt, TIMEOUT(command) },
    [CLIENT_DATA] = { "DATA", client_send_data, client_judge_data, TIMEOUT(data) },
    [CLIENT_CONTENT] = { "the content", NULL, client_judge_early, TIMEOUT(block) },
    [CLIENT_DOT] = { "the final dot", NULL, client_judge_dot, TIMEOUT(dot) },
    [CLIENT_LONE_DOT] = { "the final dot", client_send_lone_dot, client_judge_lone_dot,
                          TIMEOUT(dot) },
    [CLIENT_RSET] = { "RSET", client_send_rset, client_judge_rset, TIMEOUT(command) },
    [CLIENT_GONE] = { "nothing", NULL, NULL, 0 },
};

static void client_ref(struct client *client)
{
    client->refs++;
}

static void client_unref(struct client *client)
{
    if (--client->refs > 0)
        return;
    buf_free(&client->out);
    gate_pass_unref(client->pass);
    free(client);
}

/* --- saying ----------------------------------------------------------------------------------- */

static void flush(struct client *client)
{
    if (buf_len(&client->out) == 0)
        return;
    stream_write(client->stream, buf_slice(&client->out));
    buf_clear(&client->out);
}

void client_say(struct client *client, const char *format, ...)
{
    va_list args;

    if (buf_len(&client->out) > OUT_MAX - COMMAND_MAX)
        flush(client); /* before the command: half of one cannot be taken back */
    va_start(args, format);
    bool fits = buf_vprintf(&client->out, format, args) && buf_add(&client->out, SLICE("\r\n"));
    va_end(args);
    assert(fits);
    (void)fits;
    client->owed++;
}

static uint64_t step_timeout_ms(const struct client *client, const struct step *step)
{
    const char *timeouts = (const char *)&client_options(client)->timeouts;

    return step->timeout == 0 ? 0 : *(const uint64_t *)(const void *)(timeouts + step->timeout - 1);
}

void client_enter(struct client *client, enum client_state state)
{
    const struct step *step = &steps[state];

    LOG(LOG_DEBUG, "upstream_state", LOG_STR("upstream", client_options(client)->name),
        LOG_STR("message", client->job != NULL ? client->job->id : NULL),
        LOG_STR("old", steps[client->state].name), LOG_STR("new", step->name));
    client->state = state;
    if (client->stream == NULL)
        return;
    stream_set_deadline(client->stream, step_timeout_ms(client, step));
    if (step->send == NULL)
        return;
    step->send(client);
    flush(client);
}

/* --- ending ----------------------------------------------------------------------------------- */

void client_finish(struct client *client, enum client_end end, const char *text)
{
    assert(client->state != CLIENT_GONE && client->job == NULL);
    if (client->connecting != NULL)
        connect_cancel(client->connecting);
    stream_close(client->stream);
    client->connecting = NULL;
    client->stream = NULL;
    client_enter(client, CLIENT_GONE);
    client->events->on_end(client->owner, end, text, client->untouched);
    client_unref(client);
}

void client_judged(struct client *client)
{
    struct upstream_job *job = client->job;

    client->job = NULL;
    client->served++;
    client->events->on_judged(client->owner, job);
}

/* An idle connection may have died long ago, without our notice. When nothing but silence or
 * nonsense answers the first command of a job on such a connection, the upstream has not judged the
 * job. */
static bool is_untouched(const struct client *client)
{
    return client->state == CLIENT_MAIL && client->served > 0 && !client->heard &&
           !client->job->retried;
}

static void give_up_job(struct client *client, const struct answer *answer, const char *text)
{
    if (client->job == NULL)
        return;
    if (is_untouched(client)) {
        client->untouched = client->job;
        client->job = NULL;
        return;
    }
    if (answer != NULL)
        upstream_job_say(client->job, UPSTREAM_LATER, answer->code, answer->enhanced,
                         slice_of(answer->text));
    else
        upstream_job_say(client->job,
                         client->state == CLIENT_DOT ? UPSTREAM_UNCERTAIN : UPSTREAM_LATER, 0,
                         "4.4.2", slice_of(text));
    client_judged(client);
}

static enum client_end end_by_state(const struct client *client)
{
    if (client->state < CLIENT_IDLE)
        return CLIENT_UNREACHABLE;
    if (client->state == CLIENT_IDLE)
        return CLIENT_FINISHED;
    return client->useful ? CLIENT_LOST : CLIENT_BARREN;
}

static void name_service(const struct client *client, struct why *text)
{
    why_prefix(text, "%s port %u: ", client_options(client)->host,
               (unsigned)client_options(client)->port);
}

static void break_for(struct client *client, const char *format, va_list args)
{
    struct why text = { "" };
    char words[sizeof(text.text)];

    vsnprintf(words, sizeof(words), format, args);
    why_set(&text, "%s", words);
    name_service(client, &text);
    give_up_job(client, NULL, text.text);
    client_finish(client, end_by_state(client), text.text);
}

void client_break(struct client *client, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    break_for(client, format, args);
    va_end(args);
}

/* Where replies and commands are out of step now they may have been so before, and then a refusal
 * for good was the answer to something else. Once 354 stood where it was due, they were not. */
static void doubt_refusals(struct upstream_job *job)
{
    for (size_t i = 0; i < job->recipient_count; i++)
        if (job->recipients[i].fate == UPSTREAM_NEVER)
            job->recipients[i].fate = UPSTREAM_UNTRIED;
}

void client_break_out_of_step(struct client *client, const char *format, ...)
{
    va_list args;

    if (client->job != NULL && client->state <= CLIENT_DATA)
        doubt_refusals(client->job);
    va_start(args, format);
    break_for(client, format, args);
    va_end(args);
}

void client_break_by_answer(struct client *client, const struct answer *answer)
{
    struct why text = { "" };

    why_set(&text, "%s was answered %d %s", steps[client->state].name, answer->code,
            client_words(client, answer));
    name_service(client, &text);
    give_up_job(client, answer, text.text);
    client_finish(client, end_by_state(client), text.text);
}

/* QUIT is best effort: nobody waits for its reply, and nothing that it brings changes a result. The
 * stream reads it, says close_notify and goes. */
static void say_quit(struct client *client)
{
    client_say(client, "QUIT");
    flush(client);
    stream_finish(client->stream);
    client->stream = NULL;
}

static bool take_next_job(struct client *client)
{
    struct upstream_job *job;

    while ((job = client->events->on_ready(client->owner)) != NULL) {
        if (!client_refuses(client, job)) {
            client_run(client, job);
            return true;
        }
        client->events->on_judged(client->owner, job);
    }
    return false;
}

void client_rest(struct client *client)
{
    unsigned most = client_options(client)->max_messages_per_connection;

    if (client->quitting || (most > 0 && client->served >= most)) {
        say_quit(client);
        client_finish(client, CLIENT_FINISHED, "it has served its turn");
    } else if (!take_next_job(client)) {
        client_enter(client, CLIENT_IDLE);
    }
}

/* --- what comes from the stream, in the order in which it happens ----------------------------- */

static void on_secure(void *owner)
{
    client_secured(owner);
}

/* "550 ... 421 ..." in one breath is a refusal and a farewell: the latter then answers whatever is
 * said next. Behind 354 or the reply to STARTTLS nothing may stand. */
static bool is_farewell(const struct client *client, struct slice rest)
{
    return client->state > CLIENT_IDLE && client->state != CLIENT_DOT &&
           client->answer.code != 354 && slice_equal(slice_first(rest, 3), SLICE("421"));
}

static void judge(struct client *client, struct slice rest)
{
    const struct answer *answer = &client->answer;
    bool unasked = --client->owed == 0 && rest.len > 0 && !is_farewell(client, rest);

    client->heard = true;
    client->useful = client->useful || (client->state > CLIENT_IDLE && answer->code != 421);
    if (answer->code == 421) {
        client->heard = client->state != CLIENT_MAIL;
        client_break_by_answer(client, answer);
    } else if (unasked && client->state != CLIENT_DOT) {
        client_break_out_of_step(client, "it said more than it was asked");
    } else {
        if (unasked)
            client->quitting = true; /* the message has its answer; what follows is none of ours */
        steps[client->state].judge(client, answer);
    }
    answer_start(&client->answer);
}

/* Reads answers off the front of *rest until they end, or the client does. */
static void take_answers(struct client *client, struct slice *rest)
{
    while (client->state != CLIENT_GONE && client->state != CLIENT_HANDSHAKE && rest->len > 0) {
        if (client->state == CLIENT_CONTENT && client->owed == 0)
            client->owed = 1; /* to the dot, ahead of it */
        if (client->owed == 0) {
            client_break_out_of_step(client, "it spoke without being asked");
            return;
        }
        enum answer_result result = answer_read(&client->answer, rest);

        if (result == ANSWER_MORE)
            return;
        if (result == ANSWER_BROKEN) {
            client_break_out_of_step(client, "protocol error in the reply to %s: %s",
                                     steps[client->state].name, client->answer.fault);
            return;
        }
        if (client->state == CLIENT_EHLO && client->answer.lines > 1 && client->answer.code == 250)
            client_learn(client, client->answer.line);
        if (result == ANSWER_DONE)
            judge(client, *rest);
    }
}

static size_t on_data(void *owner, struct slice data)
{
    struct client *client = owner;
    struct slice rest = data;

    client_ref(client);
    take_answers(client, &rest);
    client_unref(client);
    return data.len - rest.len;
}

static void on_drained(void *owner)
{
    client_drained(owner);
}

static void on_deadline(void *owner)
{
    struct client *client = owner;

    if (client->state == CLIENT_IDLE) {
        client->quitting = true;
        client_rest(client);
    } else {
        client_break(client, "%s was not answered in time", steps[client->state].name);
    }
}

static void on_end(void *owner, enum stream_end end)
{
    struct client *client = owner;
    char error[256];

    snprintf(error, sizeof(error), "%s", stream_error(client->stream));
    client->stream = NULL; /* it frees itself */
    if (end == STREAM_TLS_FAILED) {
        client_break(client, "TLS failed: %s", error);
    } else {
        client_break(client, "the connection ended while waiting for %s: %s",
                     steps[client->state].name, stream_end_text(end));
    }
}

static const struct stream_events stream_events = {
    .on_data = on_data,
    .on_drained = on_drained,
    .on_secure = on_secure,
    .on_deadline = on_deadline,
    .on_end = on_end,
};

/* --- beginning -------------------------------------------------------------------------------- */

/* The pass ends with the socket: the upstream counts a connection until it is closed, and so do
 * we. */
static void on_socket_closed(void *owner)
{
    gate_pass_unref(owner);
}

static void on_connected(void *owner, struct stream *stream, const char *error)
{
    struct client *client = owner;

    client->connecting = NULL;
    if (stream == NULL) {
        client_break(client, "%s", error);
        return;
    }
    client->stream = stream;
    stream_hand_over(stream, &stream_events, client);
    stream_at_close(stream, on_socket_closed, gate_pass_ref(client->pass));
    client_connected(client);
}

struct client *client_open(const struct client_setup *setup, const struct client_events *events,
                           void *owner)
{
    struct client *client = xcalloc(1, sizeof(*client));
    const struct upstream_options *options = &setup->upstream->options;
    struct connect_target target = { options->host, options->port, options->timeouts.connect };

    client->upstream = setup->upstream;
    client->tls = setup->tls;
    client->events = events;
    client->owner = owner;
    client->refs = 1;
    client->pass = gate_pass_ref(setup->pass);
    client->state = CLIENT_CONNECTING;
    buf_init(&client->out, OUT_MAX);
    answer_start(&client->answer);
    client->connecting = connect_open(setup->upstream->loop, setup->upstream->resolver, &target,
                                      on_connected, client);
    return client;
}

/* --- steering --------------------------------------------------------------------------------- */

void client_quit(struct client *client)
{
    client->quitting = true;
    if (client->state == CLIENT_IDLE || client->state == CLIENT_RSET)
        client_rest(client); /* the reply to RSET would change nothing */
    else if (client->state < CLIENT_IDLE)
        client_finish(client, CLIENT_FINISHED, "it is not needed any more");
}

void client_abort(struct client *client)
{
    if (client->job != NULL) {
        if (client->state == CLIENT_DOT)
            upstream_job_say(client->job, UPSTREAM_UNCERTAIN, 0, "4.4.2",
                             SLICE("stopped while waiting for the answer to the final dot"));
        upstream_job_say(client->job, UPSTREAM_UNTRIED, 0, "4.3.2", SLICE("stopped"));
        client_judged(client);
    }
    client_finish(client, CLIENT_FINISHED, "stopped");
}

void client_describe(const struct client *client, struct why *text)
{
    struct stream_peer peer;
    const char *tls = stream_tls_text(client->stream);
    const char *user = client_options(client)->username;

    stream_peer(client->stream, &peer);
    why_set(text, "connected to %s (%s port %u), %s%s%s", client_options(client)->host, peer.text,
            (unsigned)client_options(client)->port, tls != NULL ? tls : "without TLS",
            user != NULL ? ", logged in as " : "", user != NULL ? user : "");
}
