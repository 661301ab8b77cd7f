/* server.c - HTTP connections on a stream: request, answer, keep-alive, limits.
 * One request at a time: while an answer is due the stream is paused, so pipelined requests wait in
 * order, at first with us (the stream keeps one buffer of them) and then in the kernel. A peer that
 * does not read its answers is not asked for more. Time is bounded everywhere but where we make the
 * peer wait: a deadline for the whole head, a least rate in a body, an end to idling.
 *
 * A connection is freed by its last reference: one is the stream's, one goes with a request to the
 * API, whose answer may come when the peer is long gone.
 *
 * A body that is not small has twice its size taken from the budget of the API before it is read:
 * once for itself, once for what is made of it. When there is too little left, or the account has
 * its share, the client hears 503 before it has sent much, and when to come again.
 *
 * The key of a request is looked at here and nowhere else on this side: the API gets a grant. It is
 * looked at when the head is complete, so that nobody without a key makes us keep a body, and again
 * when the body is, because it may have been revoked meanwhile. A key that was refused gets its
 * answer late (auth_tarpit_ms()), while everybody else is served. Nothing that a client sent is
 * logged but its method, and of the path only the form that the table knows: people put keys into
 * the strangest places. */
#include "relay/http/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/http/budget.h"
#include "relay/http/request.h"
#include "relay/http/response.h"
#include "relay/http/secret.h"

#define BUSY_S             5 /* after so long a large body may come again */
#define CHUNKED_STEP       (512u * 1024)
#define TLS_TEXT_BYTES     96
#define REQUESTS_PER_TURN  16 /* pipelined ones: the others want their turn, too */
#define TURN_AWAY_EVERY_MS 10 /* a polite 503 lingers for seconds: not one for each of a flood */

enum connection_state {                      /* and what ends each */
                        CONNECTION_SECURING, /* on_secure */
                        CONNECTION_IDLE,     /* on_data */
                        CONNECTION_HEAD,     /* on_data */
                        CONNECTION_BODY,     /* on_data */
                        CONNECTION_TARPIT,   /* on_deadline: the refusal of a key is due */
                        CONNECTION_ANSWER,   /* on_answer */
                        CONNECTION_FULL,     /* on_drained: too much output waits */
                        CONNECTION_CLOSED,   /* the last unref */
};

struct connection {
    struct list node; /* in service->connections */
    struct http_service *service;
    struct http_door door;
    struct stream *stream; /* NULL when closed */
    struct stream_peer peer;
    struct http_request *request;
    enum connection_state state;
    unsigned refs;
    bool is_counted;           /* in service->addresses */
    bool closes;               /* after the answer that is due */
    size_t unwritten;          /* of it, when that was last looked at */
    bool head_only;            /* the answer's body is not sent */
    uint64_t window_octets;    /* of a body, since its rate was last judged */
    size_t mail_max;           /* octets of the largest body, and ... */
    size_t body_max;           /* ... of that of the request under way */
    size_t reserved;           /* for it, from the budget, ... */
    struct auth_grant *payer;  /* ... of this one's account; NULL: the operator's */
    struct api_caller refused; /* in CONNECTION_TARPIT: who has no grant */
    uint64_t tarpit_ms;        /* how long the answer to the request must wait */
    char method[16], key_id[AUTH_KEY_ID_BYTES]; /* for the log */
    char tls[TLS_TEXT_BYTES]; /* what protects it; the stream may go before the answer comes */
    int64_t began_ms;
};

/* --- life ------------------------------------------------------------------------------------- */

static struct slice payer_name(const struct connection *connection)
{
    return slice_of(connection->payer == NULL ? "" : auth_grant_account(connection->payer));
}

static void release_budget(struct connection *connection)
{
    if (connection->reserved > 0)
        budget_give(connection->service->api->budget, payer_name(connection), connection->reserved);
    connection->reserved = 0;
    auth_grant_unref(connection->payer);
    connection->payer = NULL;
}

static void connection_unref(struct connection *connection)
{
    if (--connection->refs > 0)
        return;
    release_budget(connection);
    http_request_free(connection->request);
    free(connection);
}

/* Lets go of the stream, which the caller has closed, finished or seen the end of. */
static void forget_stream(struct connection *connection)
{
    connection->stream = NULL;
    connection->state = CONNECTION_CLOSED;
    list_remove(&connection->node);
    if (!connection->door.is_control)
        connection->service->connection_count--;
    if (connection->is_counted)
        listener_leave(connection->service->addresses, &connection->peer);
    connection_unref(connection);
}

static void close_now(struct connection *connection)
{
    stream_close(connection->stream);
    forget_stream(connection);
}

static void close_politely(struct connection *connection)
{
    stream_finish(connection->stream);
    forget_stream(connection);
}

static void enter(struct connection *connection, enum connection_state state, uint64_t deadline_ms)
{
    connection->state = state;
    stream_set_deadline(connection->stream, deadline_ms);
}

/* --- writing an answer ------------------------------------------------------------------------ */

static void log_answer(const struct connection *connection, const struct api_answer *answer)
{
    bool looks =
        answer->status < 300 && (connection->head_only || strcmp(connection->method, "GET") == 0);

    LOG(looks ? LOG_DEBUG : LOG_INFO, "http_request", LOG_STR("door", connection->door.name),
        LOG_STR("peer", connection->peer.text), LOG_STR("method", connection->method),
        LOG_STR("endpoint", answer->endpoint), LOG_INT("status", answer->status),
        LOG_STR("code", answer->code),
        LOG_STR("key", connection->key_id[0] == '\0' ? NULL : connection->key_id),
        LOG_INT("ms", clock_mono_ms() - connection->began_ms));
}

static void write_answer(struct connection *connection, const struct api_answer *answer)
{
    struct buf head;

    buf_init(&head, RESPONSE_HEAD_MAX);
    struct response_traits traits = { connection->door.tls, connection->closes };
    bool ok = response_format_head(answer, &traits, &head);
    assert(ok); /* everything in it is ours and short */
    (void)ok;
    stream_write(connection->stream, buf_slice(&head));
    if (!connection->head_only)
        stream_write(connection->stream, answer->body);
    buf_free(&head);
    log_answer(connection, answer);
}

/* Answers before any endpoint, and closes: nobody knows where the next request would begin. */
static void refuse_for(struct connection *connection, int status, const char *problem,
                       unsigned retry_after_s)
{
    struct buf body;
    struct api_answer answer = { .status = status,
                                 .content_type = "application/json",
                                 .retry_after_s = retry_after_s,
                                 .code = response_code(status) };

    buf_init(&body, RESPONSE_HEAD_MAX);
    if (!api_format_error(&body, answer.code, problem))
        buf_clear(&body); /* cannot be: the phrases are short */
    answer.body = buf_slice(&body);
    connection->closes = true;
    write_answer(connection, &answer);
    buf_free(&body);
    close_politely(connection);
}

static void refuse(struct connection *connection, int status, const char *problem)
{
    refuse_for(connection, status, problem, 0);
}

static void refuse_stranger(struct connection *connection, const struct api_caller *caller)
{
    if (caller->penalty_s > 0)
        refuse_for(connection, 429, "too many refused keys came from this address",
                   caller->penalty_s);
    else
        refuse(connection, 401, caller->refusal != NULL ? caller->refusal : "a key is needed");
}

/* --- who asks? -------------------------------------------------------------------------------- */

static void judge_key(struct connection *connection, struct slice secret, struct api_caller *caller)
{
    struct auth *auth = connection->service->api->auth;
    struct auth_peer peer = { .has_address = connection->peer.has_address, .protocol = "http" };
    int64_t now_s = clock_wall_s();

    memcpy(peer.address, connection->peer.address, sizeof(peer.address));
    caller->penalty_s = auth_penalty_s(auth, &peer, now_s);
    if (caller->penalty_s > 0)
        return;
    enum auth_verdict verdict = auth_check(auth, secret, 0, &peer, now_s, &caller->grant);
    if (verdict == AUTH_OK) {
        memcpy(connection->key_id, auth_grant_key_id(caller->grant), AUTH_KEY_ID_BYTES);
    } else {
        caller->refusal = auth_verdict_text(verdict);
        connection->tarpit_ms = auth_tarpit_ms(auth, &peer, now_s);
        metrics_add(METRIC_AUTH_REFUSED, 1);
    }
}

/* False: refused, and the connection is closed. The caller owes caller->grant, if any. */
static bool identify(struct connection *connection, struct api_caller *caller)
{
    struct slice secret = slice_make(NULL, 0);

    if (connection->door.is_control) {
        caller->is_operator = true;
        return true;
    }
    switch (secret_find(connection->request, &secret)) {
    case SECRET_NONE:
        break;
    case SECRET_GIVEN:
        judge_key(connection, secret, caller);
        break;
    case SECRET_UNREADABLE:
        caller->refusal = "The key cannot be read: send \"Authorization: Bearer <key>\".";
        break;
    case SECRET_AMBIGUOUS:
        refuse(connection, 400, "Authorization and X-API-Key hold different keys");
        return false;
    }
    return true;
}

/* --- from request to answer ------------------------------------------------------------------- */

static void begin_request(struct connection *connection)
{
    connection->began_ms = clock_mono_ms();
    connection->key_id[0] = '\0';
    connection->method[0] = '\0';
    connection->head_only = false;
}

static void wait_for_request(struct connection *connection)
{
    http_request_reset(connection->request);
    release_budget(connection);
    enter(connection, CONNECTION_IDLE, connection->service->limits.idle_ms);
    stream_resume(connection->stream);
}

/* An answer is out, or nearly. */
static void go_on(struct connection *connection)
{
    if (connection->closes)
        close_politely(connection);
    else
        wait_for_request(connection);
}

static void wait_for_drain(struct connection *connection)
{
    connection->unwritten = stream_unwritten(connection->stream);
    enter(connection, CONNECTION_FULL, connection->service->limits.idle_ms);
}

static void on_answer(void *owner, const struct api_answer *answer)
{
    struct connection *connection = owner;

    if (connection->state == CONNECTION_ANSWER) { /* else the client left while we waited */
        connection->closes = connection->closes || connection->service->stopping;
        write_answer(connection, answer);
        if (stream_unwritten(connection->stream) > STREAM_HIGH_WATER)
            wait_for_drain(connection);
        else
            go_on(connection);
    }
    connection_unref(connection); /* the reference that api_call() was given */
}

static void note_method(struct connection *connection)
{
    struct slice method =
        slice_first(http_request_method(connection->request), sizeof(connection->method) - 1);

    for (size_t i = 0; i < method.len; i++)
        connection->method[i] = method.data[i];
    connection->method[method.len] = '\0';
    connection->head_only = strcmp(connection->method, "HEAD") == 0;
}

static void note_tls(struct connection *connection, struct api_caller *caller)
{
    const char *tls = connection->door.tls ? stream_tls_text(connection->stream) : NULL;

    if (tls != NULL) {
        snprintf(connection->tls, sizeof(connection->tls), "%s", tls);
        caller->tls = connection->tls;
    }
    if (connection->peer.has_address)
        caller->address = connection->peer.text;
}

/* True: the answer waits, and leave_tarpit() goes on. */
static bool enter_tarpit(struct connection *connection, const struct api_caller *caller)
{
    uint64_t wait_ms = connection->tarpit_ms;

    if (wait_ms == 0)
        return false;
    connection->tarpit_ms = 0;
    connection->refused = *caller;
    enter(connection, CONNECTION_TARPIT, wait_ms);
    stream_pause(connection->stream);
    return true;
}

static void ask(struct connection *connection, const struct api_caller *caller)
{
    const struct http_request *request = connection->request;
    struct api_request question = {
        .method = connection->head_only ? SLICE("GET") : http_request_method(request),
        .path = http_request_path(request),
        .query = http_request_query(request),
        .body = http_request_body(request),
        .content_type = http_request_field(request, SLICE("Content-Type")),
        .idempotency_key = http_request_field(request, SLICE("Idempotency-Key")),
        .content = http_request_content(connection->request),
    };
    enter(connection, CONNECTION_ANSWER, 0);
    stream_pause(connection->stream);
    connection->refs++;
    api_call(connection->service->api, caller, &question, on_answer, connection);
    http_request_reset(connection->request); /* wipes the key now, not when the answer comes */
}

/* The body is here: what one in chunks was expected to need beyond its length goes back. */
static void trim_reserve(struct connection *connection)
{
    size_t read = http_request_body_read(connection->request);
    size_t needed = read > API_SMALL_MAX ? read * 2 : 0;

    if (connection->reserved <= needed)
        return;
    budget_give(connection->service->api->budget, payer_name(connection),
                connection->reserved - needed);
    connection->reserved = needed;
}

static void dispatch(struct connection *connection)
{
    struct api_caller caller = { 0 };

    note_method(connection);
    connection->closes = !http_request_keeps_alive(connection->request);
    if (!identify(connection, &caller))
        return;
    note_tls(connection, &caller);
    if (enter_tarpit(connection, &caller))
        return;
    if (caller.grant != NULL)
        metrics_add(METRIC_AUTH_ACCEPTED, 1);
    trim_reserve(connection);
    ask(connection, &caller);
    auth_grant_unref(caller.grant);
}

/* Takes from the budget what a body of this size needs, beyond what was taken. */
static bool reserve(struct connection *connection, size_t body_octets)
{
    struct budget *budget = connection->service->api->budget;
    size_t needed = body_octets > API_SMALL_MAX ? body_octets * 2 : 0;

    if (budget == NULL || needed <= connection->reserved)
        return true;
    if (!budget_take(budget, payer_name(connection), connection->reserved,
                     needed - connection->reserved))
        return false;
    connection->reserved = needed;
    return true;
}

/* The length of a body in chunks is not known before its end: it is expected to be a little longer
 * than it is. */
static size_t expected_length(const struct connection *connection)
{
    size_t announced = http_request_body_length(connection->request);
    size_t read = http_request_body_read(connection->request);
    size_t left = connection->body_max - read;

    if (announced > 0 || read <= API_SMALL_MAX || read * 2 <= connection->reserved)
        return announced;
    return read + (left < CHUNKED_STEP ? left : CHUNKED_STEP);
}

/* May this body come? False: refused, and the connection is closed. */
static bool admit_body(struct connection *connection)
{
    if (reserve(connection, expected_length(connection)))
        return true;
    refuse_for(connection, 503, "too much large mail is under way: try again later", BUSY_S);
    return false;
}

static size_t small_max(const struct connection *connection)
{
    return connection->mail_max < API_REQUEST_MAX ? connection->mail_max : API_REQUEST_MAX;
}

/* The head is complete, its body is not: may this client send us one at all, and how large? */
static void begin_body(struct connection *connection)
{
    struct http_request *request = connection->request;
    struct api_caller caller = { 0 };

    note_method(connection);
    if (!identify(connection, &caller) || enter_tarpit(connection, &caller))
        return;
    if (!caller.is_operator && caller.grant == NULL) {
        refuse_stranger(connection, &caller);
        return;
    }
    bool takes_mail =
        api_takes_mail(&caller, http_request_method(request), http_request_path(request));
    connection->body_max = takes_mail ? connection->mail_max : small_max(connection);
    connection->payer = caller.grant;
    if (!http_request_narrow(request, connection->body_max)) {
        refuse(connection, 413, "the body is larger than is allowed");
        return;
    }
    if (!admit_body(connection))
        return;
    http_request_make_room(request);
    connection->window_octets = 0;
    enter(connection, CONNECTION_BODY, connection->service->limits.head_ms);
    if (http_request_wants_continue(request))
        stream_write(connection->stream, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* The key was refused when the head was there, or when all was; what is said is the same. */
static void leave_tarpit(struct connection *connection)
{
    connection->refs++; /* the answer may end it while it is still looked at */
    if (http_request_in_body(connection->request))
        refuse_stranger(connection, &connection->refused);
    else
        ask(connection, &connection->refused);
    connection_unref(connection);
}

/* After bytes that did not complete a request: which deadline holds from here on? */
static void note_progress(struct connection *connection, size_t octets)
{
    if (connection->state == CONNECTION_IDLE && http_request_began(connection->request))
        enter(connection, CONNECTION_HEAD, connection->service->limits.head_ms);
    if (connection->state == CONNECTION_HEAD && http_request_in_body(connection->request)) {
        begin_body(connection);
    } else if (connection->state == CONNECTION_BODY) {
        connection->window_octets += octets;
        (void)admit_body(connection); /* refused: it is closed, and nothing more is read */
    }
}

static bool reads_requests(const struct connection *connection)
{
    return connection->state == CONNECTION_IDLE || connection->state == CONNECTION_HEAD ||
           connection->state == CONNECTION_BODY;
}

static size_t take_data(struct connection *connection, struct slice data)
{
    size_t total = 0;
    int requests = 0;

    /* What is behind the last of them is shown again, because each has resumed the stream. */
    while (reads_requests(connection) && total < data.len && requests < REQUESTS_PER_TURN) {
        size_t used;
        if (!http_request_began(connection->request))
            begin_request(connection);
        switch (http_request_feed(connection->request, slice_from(data, total), &used)) {
        case REQUEST_MORE:
            note_progress(connection, used);
            break;
        case REQUEST_COMPLETE:
            dispatch(connection);
            requests++;
            break;
        case REQUEST_REFUSED:
            note_method(connection);
            refuse(connection, http_request_status(connection->request),
                   http_request_problem(connection->request));
            break;
        }
        total += used;
    }
    return total;
}

/* --- doorways --------------------------------------------------------------------------------- */

static size_t on_data(void *owner, struct slice data)
{
    struct connection *connection = owner;

    connection->refs++; /* closing inside must not free what is still looked at */
    size_t used = take_data(connection, data);
    connection_unref(connection);
    return used;
}

static void on_drained(void *owner)
{
    struct connection *connection = owner;

    if (connection->state == CONNECTION_FULL)
        go_on(connection);
}

static void on_secure(void *owner)
{
    struct connection *connection = owner;

    enter(connection, CONNECTION_IDLE, connection->service->limits.head_ms);
}

static void on_deadline(void *owner)
{
    struct connection *connection = owner;
    const struct http_limits *limits = &connection->service->limits;
    uint64_t least = limits->body_rate * limits->head_ms / 1000;

    switch (connection->state) {
    case CONNECTION_HEAD:
        refuse(connection, 408, "the head of the request took too long");
        break;
    case CONNECTION_BODY:
        if (connection->window_octets < least) {
            refuse(connection, 408, "the body of the request came too slowly");
            break;
        }
        connection->window_octets = 0;
        enter(connection, CONNECTION_BODY, limits->head_ms);
        break;
    case CONNECTION_TARPIT:
        leave_tarpit(connection);
        break;
    case CONNECTION_FULL:
        if (stream_unwritten(connection->stream) < connection->unwritten)
            wait_for_drain(connection); /* slow, but it reads */
        else
            close_now(connection);
        break;
    case CONNECTION_SECURING:
    case CONNECTION_IDLE:
        close_politely(connection);
        break;
    case CONNECTION_ANSWER: /* has none */
    case CONNECTION_CLOSED:
        break;
    }
}

static void on_end(void *owner, enum stream_end end)
{
    struct connection *connection = owner;

    LOG(LOG_DEBUG, "http_closed", LOG_STR("door", connection->door.name),
        LOG_STR("peer", connection->peer.text), LOG_STR("reason", stream_end_text(end)));
    forget_stream(connection);
}

static const struct stream_events events = {
    .on_data = on_data,
    .on_drained = on_drained,
    .on_secure = on_secure,
    .on_deadline = on_deadline,
    .on_end = on_end,
};

/* --- accepting and stopping ------------------------------------------------------------------- */

/* The socket's mode keeps others out; this holds even where a file system ignores modes. */
static bool is_trusted(const struct connection *connection)
{
    uid_t uid;

    if (!connection->door.is_control)
        return true;
    return stream_peer_uid(connection->stream, &uid) && (uid == 0 || uid == geteuid());
}

/* Whoever has the address may have no more of our connections. */
static bool enter_address(struct connection *connection)
{
    struct listener_limits *addresses = connection->service->addresses;

    connection->is_counted =
        addresses != NULL && listener_enter(addresses, &connection->peer) == LISTENER_ADMITTED;
    return connection->is_counted || addresses == NULL;
}

static void turn_away(struct connection *connection)
{
    struct http_service *service = connection->service;
    int64_t now_ms = clock_mono_ms();
    bool polite = !connection->door.tls && now_ms - service->turned_away_ms >= TURN_AWAY_EVERY_MS;

    if (!polite) {
        close_now(connection);
        return;
    }
    service->turned_away_ms = now_ms;
    refuse(connection, 503, "too many connections are open: try again later");
}

void http_service_init(struct http_service *service)
{
    list_init(&service->connections);
    service->connection_count = 0;
    service->stopping = false;
    service->turned_away_ms = INT64_MIN / 2;
}

static void start(struct connection *connection)
{
    struct http_service *service = connection->service;

    if (connection->door.tls) {
        connection->state = CONNECTION_SECURING;
        stream_start_tls_server(connection->stream, service->tls, service->limits.head_ms);
    } else {
        /* Who just connected has something to ask: the patience of a head, not of idling. */
        enter(connection, CONNECTION_IDLE, service->limits.head_ms);
    }
}

void http_accept(struct http_service *service, const struct http_door *door, uv_stream_t *server)
{
    struct connection *connection = xcalloc(1, sizeof(*connection));

    connection->service = service;
    connection->door = *door;
    connection->refs = 1;
    list_init(&connection->node);
    connection->stream = stream_accept(service->loop, server, &events, connection);
    if (connection->stream == NULL) {
        connection_unref(connection);
        return;
    }
    connection->mail_max = service->limits.body_bytes;
    connection->request = http_request_new(connection->mail_max);
    stream_peer(connection->stream, &connection->peer);
    list_add_tail(&service->connections, &connection->node);
    if (!door->is_control)
        service->connection_count++;
    begin_request(connection);
    if (!is_trusted(connection)) {
        LOG(LOG_WARNING, "http_refused", LOG_STR("door", door->name),
            LOG_STR("reason", "another user"));
        close_now(connection);
    } else if (service->stopping) {
        close_now(connection);
    } else if (!door->is_control && service->connection_count > service->limits.connections) {
        turn_away(connection);
    } else if (!enter_address(connection)) {
        /* Without a word: whoever is no loopback peer speaks TLS, which would cost us a handshake.
         */
        LOG(LOG_DEBUG, "http_refused", LOG_STR("door", door->name),
            LOG_STR("peer", connection->peer.text),
            LOG_STR("reason", "too many connections from this address"));
        close_now(connection);
    } else {
        start(connection);
    }
}

void http_service_stop(struct http_service *service)
{
    service->stopping = true;
    list_for_each(node, following, &service->connections) {
        struct connection *connection = list_entry(node, struct connection, node);
        if (connection->state == CONNECTION_IDLE || connection->state == CONNECTION_TARPIT)
            close_politely(connection);
        else if (connection->state != CONNECTION_ANSWER)
            close_now(connection);
    }
}
