/* test_server.c - HTTP connections over real sockets, real stores and the queue's own thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "relay/base/macros.h"
#include "relay/http/server.h"
#include "relay/net/listener.h"
#include "tests/support/api_place.h"

#define PATIENCE_MS 20000
#define GET(path)   "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define CLOSING     "Host: x\r\nConnection: close\r\n"

struct fixture {
    struct api_place place;
    struct loop loop;
    struct http_service tcp, control;
    struct listener *tcp_listener, *control_listener;
    char control_path[160];
    char *key; /* scopes send and keys */
    struct buf log;
};

static const struct http_door tcp_door = { .name = "http" };
static const struct http_door control_door = { .name = "control", .is_control = true };

static void on_tcp(void *owner, uv_stream_t *server)
{
    http_accept(&((struct fixture *)owner)->tcp, &tcp_door, server);
}

static void on_control(void *owner, uv_stream_t *server)
{
    http_accept(&((struct fixture *)owner)->control, &control_door, server);
}

static void keep_line(void *owner, struct slice line)
{
    struct fixture *f = owner;

    (void)(buf_add(&f->log, line) && buf_add_byte(&f->log, '\n'));
}

static void start_service(struct fixture *f, struct http_service *service)
{
    service->loop = &f->loop;
    service->api = &f->place.api;
    service->limits = (struct http_limits){
        .body_bytes = 4096, .connections = 50, .head_ms = 5000, .idle_ms = 5000, .body_rate = 500
    };
    http_service_init(service);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct why why = { "" };

    *state = f;
    if (!api_place_open(&f->place, &why) || !loop_init(&f->loop, &why))
        return -1;
    api_place_ask(&f->place, NULL, "POST", "/v1/api-keys",
                  "{\"name\":\"k\",\"scopes\":\"send,keys\"}");
    f->key = xstrdup(api_place_text(&f->place, "data.apiKey"));
    buf_init(&f->log, 1 << 20);
    log_divert(keep_line, f);
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    f->place.api.answers = &f->loop.mailbox;
    if (!queue_start(f->place.queue, &why))
        return -1;
    start_service(f, &f->tcp);
    start_service(f, &f->control);
    snprintf(f->control_path, sizeof(f->control_path), "%s/control.sock", f->place.folder);
    f->tcp_listener =
        listener_open(&f->loop, &(struct listener_options){ .address = "127.0.0.1", .backlog = 64 },
                      on_tcp, f, &why);
    f->control_listener = listener_open(
        &f->loop, &(struct listener_options){ .unix_path = f->control_path, .backlog = 64 },
        on_control, f, &why);
    return f->tcp_listener != NULL && f->control_listener != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    listener_close(f->tcp_listener);
    listener_close(f->control_listener);
    http_service_stop(&f->tcp);
    http_service_stop(&f->control);
    queue_stop(f->place.queue); /* answers all; api_place_close() does it again, harmlessly */
    while (mailbox_drain(&f->loop.mailbox) > 0) {
    }
    assert_true(list_is_empty(&f->tcp.connections) && list_is_empty(&f->control.connections));
    assert_int_equal(f->tcp.connection_count, 0);
    loop_close(&f->loop);
    api_place_close(&f->place);
    buf_free(&f->log);
    free(f->key);
    free(f);
    return 0;
}

/* --- a client --------------------------------------------------------------------------------- */

static int connect_tcp(const struct fixture *f)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons(listener_port(f->tcp_listener)) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static int connect_unix(const struct fixture *f)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", f->control_path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static size_t count_of(const struct buf *text, const char *word)
{
    struct slice rest = buf_slice(text);
    size_t count = 0;

    for (const char *at;
         rest.len > 0 && (at = memmem(rest.data, rest.len, word, strlen(word))) != NULL;) {
        count++;
        rest = slice_from(rest, (size_t)(at - rest.data) + 1);
    }
    return count;
}

struct talk {
    struct slice out; /* what is still to be sent */
    struct buf got;
    bool ended; /* the server closed */
};

/* One turn of the loop, of the sending and of the receiving. */
static void turn(struct fixture *f, int fd, struct talk *talk)
{
    char bytes[65536];
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    if (talk->out.len > 0) {
        ssize_t sent = send(fd, talk->out.data, talk->out.len, MSG_NOSIGNAL);
        if (sent > 0)
            talk->out = slice_from(talk->out, (size_t)sent);
        else if (errno != EAGAIN && errno != ENOTCONN)
            talk->out.len = 0; /* the server does not want more */
    }
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    if (poll(&poll_fd, 1, 1) <= 0)
        return;
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got > 0)
        assert_true(buf_add(&talk->got, slice_make(bytes, (size_t)got)));
    else if (got == 0 || (errno != EAGAIN && errno != ENOTCONN))
        talk->ended = true;
}

/* Sends all, then goes on until `word` has come `times` (NULL: until the server closes). */
static void talk_until(struct fixture *f, int fd, struct slice out, const char *word, size_t times,
                       struct talk *talk)
{
    int64_t until_ms = clock_mono_ms() + PATIENCE_MS;

    *talk = (struct talk){ .out = out };
    buf_init(&talk->got, 64 << 20);
    while (!talk->ended && (word == NULL || count_of(&talk->got, word) < times)) {
        turn(f, fd, talk);
        if (clock_mono_ms() > until_ms)
            fail_msg("waited in vain for %s in \"%.*s\"", word == NULL ? "the end" : word,
                     SLICE_ARG(slice_first(buf_slice(&talk->got), 400)));
    }
    assert_true(buf_add_byte(&talk->got, '\0'));
}

/* A connection of its own for one request that ends with the server's close: its answer. */
static char *ask(struct fixture *f, bool tcp, const char *text)
{
    struct talk talk;
    int fd = tcp ? connect_tcp(f) : connect_unix(f);

    talk_until(f, fd, slice_of(text), NULL, 0, &talk);
    close(fd);
    char *answer = xstrdup(buf_slice(&talk.got).data);
    buf_free(&talk.got);
    return answer;
}

static void expect(struct fixture *f, bool tcp, const char *request, const char *want)
{
    char *answer = ask(f, tcp, request);

    if (strstr(answer, want) == NULL)
        fail_msg("%s\nhas no \"%s\" in its answer:\n%s", request, want, answer);
    free(answer);
}

/* --- requests --------------------------------------------------------------------------------- */

/* More than are answered in one turn of the loop: the rest must come by itself. */
static void a_hundred_pipelined_requests_are_all_answered(void **state)
{
    struct fixture *f = *state;
    struct talk talk;
    struct buf requests;
    int fd = connect_unix(f);

    buf_init(&requests, 1 << 16);
    for (int i = 0; i < 100; i++)
        assert_true(buf_add(&requests, SLICE(GET("/healthz"))));
    talk_until(f, fd, buf_slice(&requests), "HTTP/1.1 200 ", 100, &talk);
    buf_free(&requests);
    buf_free(&talk.got);
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    struct talk talk;
    int fd = connect_unix(f);

    /* The second waits for the queue's thread; the others do not. */
    talk_until(
        f, fd,
        SLICE(GET("/healthz") GET("/metrics") GET("/nothing") GET(
            "/v1/queue/stats") "POST /v1/domains HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                               "Content-Type: application/json\r\n\r\n{}"
                               "GET /v1/whoami HTTP/1.1\r\n" CLOSING "\r\n"),
        NULL, 0, &talk);
    static const char *const order[] = { "200 OK",        "\"ok\"",
                                         "200 OK",        "latchpost_commits_total",
                                         "404 Not Found", "200 OK",
                                         "activeBytes",   "422 Unprocessable",
                                         "200 OK",        "operator" };
    const char *at = buf_slice(&talk.got).data;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        const char *found = strstr(at, order[i]);
        if (found == NULL)
            fail_msg("%s is missing after \"%.200s\"", order[i], at);
        at = found;
    }
    close(fd);
    buf_free(&talk.got);
}

static void a_client_that_does_not_read_is_not_answered_without_end(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    struct talk talk;
    const size_t requests = 2000;

    f->control.limits.idle_ms = PATIENCE_MS;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i + 1 < requests; i++)
        assert_true(buf_add(&out, SLICE(GET("/metrics"))));
    assert_true(buf_add(&out, SLICE("GET /metrics HTTP/1.1\r\n" CLOSING "\r\n")));
    int fd = connect_unix(f);
    struct slice rest = buf_slice(&out);
    for (int i = 0; i < 1000; i++) { /* it sends what it can and reads nothing */
        ssize_t sent = send(fd, rest.data, rest.len, MSG_NOSIGNAL);
        rest = slice_from(rest, sent > 0 ? (size_t)sent : 0);
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    }
    size_t answered = count_of(&f->log, "event=http_request");
    if (answered == requests)
        fail_msg("all %zu requests were answered though nobody reads", requests);
    talk_until(f, fd, rest, NULL, 0, &talk);
    assert_int_equal(count_of(&talk.got, "HTTP/1.1 200 OK"), requests);
    close(fd);
    buf_free(&talk.got);
    buf_free(&out);
}

static void every_answer_forbids_caching_sniffing_and_framing(void **state)
{
    static const char *const requests[] = {
        "GET /healthz HTTP/1.1\r\n" CLOSING "\r\n",
        "GET /v1/whoami HTTP/1.1\r\n" CLOSING "\r\n",
        "OPTIONS /v1/api-keys HTTP/1.1\r\nOrigin: http://evil.example\r\n" CLOSING "\r\n",
        "GET /healthz\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
    };
    static const char *const fields[] = {
        "\r\nCache-Control: no-store\r\n",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nReferrer-Policy: no-referrer\r\n",
        "default-src 'none'; frame-ancestors 'none'\r\n",
        "\r\nDate: ",
        "\r\nConnection: close\r\n",
        " GMT\r\n",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        char *answer = ask(f, true, requests[i]);
        for (size_t field = 0; field < ARRAY_LEN(fields); field++)
            if (strstr(answer, fields[field]) == NULL)
                fail_msg("%s lacks %s", answer, fields[field]);
        assert_null(strstr(answer, "Access-Control"));
        assert_null(strstr(answer, "Strict-Transport-Security"));
        free(answer);
    }
}

static void a_head_request_is_answered_without_a_body(void **state)
{
    struct fixture *f = *state;
    char *answer = ask(f, true, "HEAD /healthz HTTP/1.1\r\n" CLOSING "\r\n");

    assert_non_null(strstr(answer, "HTTP/1.1 200 OK"));
    assert_null(strstr(answer, "Content-Length: 0"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    free(answer);
}

static void malformed_requests_are_answered_and_the_connection_is_closed(void **state)
{
    static const struct {
        const char *request, *want;
    } cases[] = {
        { "GET /\r\n", "400 Bad Request" },
        { "GET / HTTP/1.1\nHost: x\n\n", "400 Bad Request" },
        { "GET / HTTP/1.1\r\n\r\n", "400 Bad Request" },
        { "FROB / HTTP/1.1\r\nHost: x\r\n\r\n", "501 Not Implemented" },
        { "GET / HTTP/2.0\r\n\r\n", "505 HTTP" },
        { "\x16\x03\x01\x02\r\n", "400 Bad Request" },
        { "EHLO x\r\n", "400 Bad Request" },
        { GET("/healthz") "garbage\r\n" GET("/healthz"), "400 Bad Request" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(f, true, cases[i].request, cases[i].want);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void a_key_is_read_in_exactly_two_places(void **state)
{
    static const struct {
        const char *fields; /* %s: the key */
        const char *want;
    } cases[] = {
        { "Authorization: Bearer %s\r\n", "200 OK" },
        { "Authorization: bearer %s\r\n", "200 OK" },
        { "authorization:BEARER %s\r\n", "200 OK" },
        { "Authorization: Bearer  %s\r\n", "401" },
        { "Authorization: Bearer %s \r\n", "401" },
        { "Authorization:  Bearer %s\r\n", "401" },
        { "Authorization: Bearer\t%s\r\n", "401" },
        { "Authorization: Bearer%s\r\n", "401" },
        { "Authorization: Basic %s\r\n", "401" },
        { "Authorization: %s\r\n", "401" },
        { "Authorization: Bearer \r\nX: %s\r\n", "401" },
        { "X-API-Key: %s\r\n", "200 OK" },
        { "X-API-Key: %s \r\n", "401" },
        { "X-API-Key:\r\nX: %s\r\n", "401" },
        { "X-API-Key: %1$s\r\nAuthorization: Bearer %1$s\r\n", "200 OK" },
        { "X-API-Key: other\r\nAuthorization: Bearer %s\r\n", "400" },
        { "X-API-Key: %1$s\r\nX-API-Key: %1$s\r\n", "400" },
        { "Cookie: api_key=%s\r\n", "401" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char fields[300], request[600];
        /* The format is one of the constants above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(fields, sizeof(fields), cases[i].fields, f->key);
#pragma GCC diagnostic pop
        snprintf(request, sizeof(request), "GET /v1/whoami HTTP/1.1\r\n%s" CLOSING "\r\n", fields);
        expect(f, true, request, cases[i].want);
    }
    char request[300];
    snprintf(request, sizeof(request), "GET /v1/whoami?api_key=%s HTTP/1.1\r\n" CLOSING "\r\n",
             f->key);
    expect(f, true, request, "401");
    if (memmem(buf_slice(&f->log).data, buf_len(&f->log), f->key, strlen(f->key)) != NULL)
        fail_msg("the key is in the log");
}

static void too_many_refused_keys_close_the_door_for_a_while(void **state)
{
    static const char wrong[] = "GET /v1/whoami HTTP/1.1\r\nX-API-Key: wrong\r\n" CLOSING "\r\n";
    struct fixture *f = *state;

    for (int i = 0; i < 10; i++)
        expect(f, true, wrong, "401");
    expect(f, true, wrong, "429 Too Many Requests");
    expect(f, true, wrong, "\r\nRetry-After: ");
    expect(f, true,
           "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: wrong\r\nContent-Length: 9\r\n" CLOSING "\r\n",
           "\r\nRetry-After: ");
    expect(f, true, "GET /healthz HTTP/1.1\r\n" CLOSING "\r\n", "200 OK");
}

static void the_control_socket_is_the_operators(void **state)
{
    struct fixture *f = *state;

    expect(f, false, "GET /v1/accounts HTTP/1.1\r\n" CLOSING "\r\n", "200 OK");
    expect(f, true, "GET /v1/accounts HTTP/1.1\r\n" CLOSING "\r\n", "401 Unauthorized");
    expect(f, true, "GET /v1/accounts HTTP/1.1\r\n" CLOSING "\r\n",
           "\r\nWWW-Authenticate: Bearer\r\n");
    expect(f, false, "PUT /v1/accounts HTTP/1.1\r\n" CLOSING "\r\n",
           "\r\nAllow: GET, HEAD, POST\r\n");
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void a_body_is_refused_before_it_is_read(void **state)
{
    struct fixture *f = *state;
    char request[400];

    snprintf(request, sizeof(request),
             "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: %s\r\nContent-Length: 4097\r\n"
             "Expect: 100-continue\r\n" CLOSING "\r\n",
             f->key);
    char *answer = ask(f, true, request);
    assert_memory_equal(answer, "HTTP/1.1 413 ", 13);
    free(answer);
    answer =
        ask(f, true,
            "POST /v1/api-keys HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n" CLOSING
            "\r\n");
    assert_memory_equal(answer, "HTTP/1.1 401 ", 13);
    free(answer);
    expect(f, true,
           "POST /v1/api-keys HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n" CLOSING
           "\r\n",
           "415 Unsupported");
}

static void an_endless_chunked_body_ends_at_the_limit(void **state)
{
    struct fixture *f = *state;
    struct talk talk;
    struct buf out;

    buf_init(&out, 1 << 20);
    assert_true(buf_printf(&out,
                           "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: %s\r\n"
                           "Transfer-Encoding: chunked\r\nHost: x\r\n\r\n",
                           f->key));
    for (int i = 0; i < 5000; i++)
        assert_true(buf_add(&out, SLICE("10\r\n0123456789abcdef\r\n")));
    int fd = connect_tcp(f);
    talk_until(f, fd, buf_slice(&out), NULL, 0, &talk);
    assert_memory_equal(buf_slice(&talk.got).data, "HTTP/1.1 413 ", 13);
    close(fd);
    buf_free(&talk.got);
    buf_free(&out);
}

static void a_client_that_asks_is_told_to_continue(void **state)
{
    struct fixture *f = *state;
    struct talk talk;
    char request[400];
    int fd = connect_tcp(f);

    snprintf(request, sizeof(request),
             "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: %s\r\nContent-Length: 14\r\n"
             "Content-Type: application/json\r\nExpect: 100-continue\r\n" CLOSING "\r\n",
             f->key);
    talk_until(f, fd, slice_of(request), "HTTP/1.1 100 Continue\r\n\r\n", 1, &talk);
    buf_free(&talk.got);
    talk_until(f, fd, SLICE("{\"name\":\"new\"}"), NULL, 0, &talk);
    assert_memory_equal(buf_slice(&talk.got).data, "HTTP/1.1 201 ", 13);
    close(fd);
    buf_free(&talk.got);
}

static void a_key_revoked_while_its_body_is_under_way_makes_nothing(void **state)
{
    struct fixture *f = *state;
    struct talk talk;
    struct why why;
    char request[400], id[AUTH_KEY_ID_BYTES];
    int fd = connect_tcp(f);

    snprintf(id, sizeof(id), "%.8s", f->key + 4);
    snprintf(request, sizeof(request),
             "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: %s\r\nContent-Length: 14\r\n"
             "Content-Type: application/json\r\nExpect: 100-continue\r\n" CLOSING "\r\n",
             f->key);
    talk_until(f, fd, slice_of(request), "100 Continue", 1, &talk);
    buf_free(&talk.got);
    assert_int_equal(auth_key_revoke(f->place.auth, "operator", id, clock_wall_s(), &why),
                     AUTH_DONE);
    talk_until(f, fd, SLICE("{\"name\":\"new\"}"), NULL, 0, &talk);
    assert_non_null(strstr(buf_slice(&talk.got).data, "HTTP/1.1 401 "));
    close(fd);
    buf_free(&talk.got);
}

/* --- time and number -------------------------------------------------------------------------- */

static void slow_heads_and_bodies_are_ended_and_idle_ones_closed(void **state)
{
    struct fixture *f = *state;
    char request[300];

    f->tcp.limits.head_ms = f->tcp.limits.idle_ms = 50;
    expect(f, true, "GET / HTTP/1.1\r\nHos", "408 Request Timeout");
    snprintf(request, sizeof(request),
             "POST /v1/api-keys HTTP/1.1\r\nX-API-Key: %s\r\nContent-Length: 4000\r\n" CLOSING
             "\r\n{\"name",
             f->key);
    expect(f, true, request, "408 Request Timeout");
    char *answer = ask(f, true, "");
    assert_string_equal(answer, "");
    free(answer);
    answer = ask(f, true, GET("/healthz"));
    assert_non_null(strstr(answer, "200 OK"));
    assert_null(strstr(answer, "408"));
    free(answer);
}

static void connections_above_the_limit_are_turned_away(void **state)
{
    struct fixture *f = *state;
    struct talk talk;

    f->tcp.limits.connections = 1;
    int fd = connect_tcp(f);
    talk_until(f, fd, SLICE(GET("/healthz")), "200 OK", 1, &talk);
    buf_free(&talk.got);
    expect(f, true, "", "503 Service Unavailable");
    expect(f, false, "GET /healthz HTTP/1.1\r\n" CLOSING "\r\n", "200 OK");
    talk_until(f, fd, SLICE(GET("/healthz")), "200 OK", 1, &talk);
    buf_free(&talk.got);
    close(fd);
}

static void a_client_that_leaves_before_its_answer_does_no_harm(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 50; i++) {
        int fd = connect_unix(f);
        assert_true(send(fd, GET("/metrics"), strlen(GET("/metrics")), MSG_NOSIGNAL) > 0);
        if (i % 2 == 0)
            uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        close(fd);
    }
    expect(f, false, "GET /healthz HTTP/1.1\r\n" CLOSING "\r\n", "200 OK");
}

static void stopping_closes_the_idle_and_answers_the_waiting(void **state)
{
    struct fixture *f = *state;
    struct talk idle, waiting = { .out = SLICE(GET("/v1/queue/stats")) };
    int64_t until_ms = clock_mono_ms() + PATIENCE_MS;
    int idle_fd = connect_unix(f);
    int waiting_fd = connect_unix(f);

    talk_until(f, idle_fd, SLICE(GET("/healthz")), "200 OK", 1, &idle);
    buf_free(&idle.got);
    buf_init(&waiting.got, 1 << 20);
    assert_true(send(waiting_fd, waiting.out.data, waiting.out.len, MSG_NOSIGNAL) > 0);
    waiting.out.len = 0;
    while (buf_len(&f->log) == 0 || !list_is_empty(&f->control.connections)) {
        turn(f, waiting_fd, &waiting);
        http_service_stop(&f->control);
        assert_true(clock_mono_ms() < until_ms);
    }
    talk_until(f, idle_fd, slice_make(NULL, 0), NULL, 0, &idle);
    assert_true(idle.ended);
    close(idle_fd);
    close(waiting_fd);
    buf_free(&idle.got);
    buf_free(&waiting.got);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_pipelined_requests_are_all_answered),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_client_that_does_not_read_is_not_answered_without_end),
        TEST(every_answer_forbids_caching_sniffing_and_framing),
        TEST(a_head_request_is_answered_without_a_body),
        TEST(malformed_requests_are_answered_and_the_connection_is_closed),
        TEST(a_key_is_read_in_exactly_two_places),
        TEST(too_many_refused_keys_close_the_door_for_a_while),
        TEST(the_control_socket_is_the_operators),
        TEST(a_body_is_refused_before_it_is_read),
        TEST(an_endless_chunked_body_ends_at_the_limit),
        TEST(a_client_that_asks_is_told_to_continue),
        TEST(a_key_revoked_while_its_body_is_under_way_makes_nothing),
        TEST(slow_heads_and_bodies_are_ended_and_idle_ones_closed),
        TEST(connections_above_the_limit_are_turned_away),
        TEST(a_client_that_leaves_before_its_answer_does_no_harm),
        TEST(stopping_closes_the_idle_and_answers_the_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
