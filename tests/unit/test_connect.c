/* test_connect.c - which of a name's addresses is it, and how long may that take?
 * The name server is a file (fake_dns.c); an address that hangs is a socket on loopback whose line
 * of connections is full, so that the kernel drops further ones without a word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/net/connect.h"
#include "tests/support/dns_desk.h"
#include "tests/support/harness_net.h"

#define PORT_TRIES 50

/* --- a port on several addresses -------------------------------------------------------------- */

static int socket_on(const char *address, uint16_t port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    bool is_v4 = uv_ip4_addr(address, port, &v4) == 0;
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (!is_v4)
        uv_ip6_addr(address, port, &v6);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
             is_v4 ? sizeof(v4) : sizeof(v6)) == 0)
        return fd;
    close(fd);
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(((struct sockaddr_in *)&address)->sin_port); /* at the same place in both */
}

enum manner { REFUSES, ANSWERS, HANGS };

struct place { /* one address */
    const char *address;
    enum manner manner;
    int fd;
    int crowd[4]; /* connections that fill its line */
};

/* The kernel lets backlog + 1 connections wait to be accepted. */
static void fill_line(struct place *place, uint16_t port)
{
    struct sockaddr_in to;

    uv_ip4_addr(place->address, port, &to);
    for (size_t i = 0; i < 4; i++) {
        place->crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(place->crowd[i], (struct sockaddr *)&to, sizeof(to));
    }
}

static void close_places(struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (places[i].fd >= 0)
            close(places[i].fd);
        for (size_t n = 0; places[i].manner == HANGS && n < 4; n++)
            close(places[i].crowd[n]);
    }
}

/* Binds them all to one free port, which is returned. */
static uint16_t open_places(struct place *places, size_t count)
{
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        uint16_t port = 0;
        size_t bound = 0;

        for (; bound < count; bound++) {
            places[bound].fd = socket_on(places[bound].address, port);
            if (places[bound].fd < 0)
                break;
            port = port_of(places[bound].fd);
        }
        if (bound == count) {
            for (size_t i = 0; i < count; i++) {
                if (places[i].manner != REFUSES)
                    assert_int_equal(listen(places[i].fd, places[i].manner == HANGS ? 0 : 16), 0);
                if (places[i].manner == HANGS)
                    fill_line(&places[i], port);
            }
            return port;
        }
        while (bound > 0)
            close(places[--bound].fd);
    }
    fail_msg("no port is free on all addresses");
    return 0;
}

static bool has_ipv6(void)
{
    int fd = socket_on("::1", 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* --- one who connects ------------------------------------------------------------------------- */

struct asker {
    struct dns_desk dns;
    struct loop loop;
    struct resolver *resolver;
    struct side side; /* has the stream once it stands */
    unsigned answers;
    char address[64], error[400];
};

static void on_connected(void *owner, struct stream *stream, const char *error)
{
    struct asker *asker = owner;
    struct stream_peer peer;

    asker->answers++;
    snprintf(asker->error, sizeof(asker->error), "%s", error == NULL ? "" : error);
    asker->address[0] = '\0';
    if (stream == NULL)
        return;
    stream_peer(stream, &peer);
    snprintf(asker->address, sizeof(asker->address), "%s", peer.text);
    stream_hand_over(stream, &side_events, &asker->side);
    asker->side.stream = stream;
}

static void asker_open(struct asker *asker, const char *lines)
{
    struct why why;

    alarm(60);
    *asker = (struct asker){ .answers = 0 };
    dns_open(&asker->dns, lines);
    if (!loop_init(&asker->loop, &why))
        fail_msg("%s", why.text);
    asker->resolver = resolver_new(&asker->loop);
    side_init(&asker->side, &asker->loop, NULL);
}

static struct connect *start(struct asker *asker, const char *host, uint16_t port,
                             uint64_t timeout_ms)
{
    struct connect_target target = { host, port, timeout_ms };

    return connect_open(&asker->loop, asker->resolver, &target, on_connected, asker);
}

/* Runs until it is answered. */
static void connect_to(struct asker *asker, const char *host, uint16_t port, uint64_t timeout_ms)
{
    unsigned before = asker->answers;

    start(asker, host, port, timeout_ms);
    assert_int_equal(asker->answers, before); /* not from inside the call */
    while (asker->answers == before)
        uv_run(&asker->loop.uv, UV_RUN_ONCE);
    assert_int_equal(asker->answers, before + 1);
}

static void asker_close(struct asker *asker)
{
    side_close(&asker->side);
    resolver_free(asker->resolver);
    loop_close(&asker->loop);
    buf_free(&asker->side.got);
    dns_close(&asker->dns);
    alarm(0);
}

/* --- addresses -------------------------------------------------------------------------------- */

static void the_first_that_answers_wins(void **state)
{
    static const struct {
        const char *name;
        struct place places[4]; /* in the order of the answer */
        const char *want;       /* NULL: none */
    } rows[] = {
        { "one", { { "127.0.0.1", ANSWERS, 0, { 0 } } }, "127.0.0.1" },
        { "the order counts",
          { { "127.0.0.2", ANSWERS, 0, { 0 } }, { "127.0.0.1", ANSWERS, 0, { 0 } } },
          "127.0.0.2" },
        { "one that refuses is passed over",
          { { "127.0.0.1", REFUSES, 0, { 0 } }, { "127.0.0.2", ANSWERS, 0, { 0 } } },
          "127.0.0.2" },
        { "IPv6 refuses, IPv4 answers",
          { { "::1", REFUSES, 0, { 0 } }, { "127.0.0.1", ANSWERS, 0, { 0 } } },
          "127.0.0.1" },
        { "IPv6 first where that is the order",
          { { "::1", ANSWERS, 0, { 0 } }, { "127.0.0.1", ANSWERS, 0, { 0 } } },
          "::1" },
        { "one that hangs does not hold up the next",
          { { "127.0.0.1", HANGS, 0, { 0 } }, { "127.0.0.2", ANSWERS, 0, { 0 } } },
          "127.0.0.2" },
        { "nor do two",
          { { "127.0.0.1", HANGS, 0, { 0 } },
            { "127.0.0.2", HANGS, 0, { 0 } },
            { "127.0.0.3", REFUSES, 0, { 0 } },
            { "127.0.0.4", ANSWERS, 0, { 0 } } },
          "127.0.0.4" },
        { "none",
          { { "127.0.0.1", REFUSES, 0, { 0 } }, { "127.0.0.2", REFUSES, 0, { 0 } } },
          NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct place places[4];
        struct asker asker;
        char line[300] = "mx.test";
        size_t count = 0;

        memcpy(places, rows[i].places, sizeof(places));
        for (; count < 4 && places[count].address != NULL; count++) {
            strcat(line, " ");
            strcat(line, places[count].address);
        }
        if (strchr(line, ':') != NULL && !has_ipv6())
            continue;
        uint16_t port = open_places(places, count);

        asker_open(&asker, line);
        connect_to(&asker, "mx.test", port, 30000);
        if (strcmp(asker.address, rows[i].want == NULL ? "" : rows[i].want) != 0)
            fail_msg("%s: got '%s' %s", rows[i].name, asker.address, asker.error);
        if (rows[i].want == NULL && strstr(asker.error, "cannot connect: ") != asker.error)
            fail_msg("%s: %s", rows[i].name, asker.error);
        asker_close(&asker);
        close_places(places, count);
    }
}

static int accept_one(int fd)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);

    return accept(fd, (struct sockaddr *)&from, &len);
}

/* What is left of the others would keep the loop from closing. */
static void the_winner_is_the_only_one_left(void **state)
{
    struct place places[] = { { "127.0.0.1", HANGS, 0, { 0 } },
                              { "127.0.0.2", ANSWERS, 0, { 0 } } };
    uint16_t port = open_places(places, 2);
    struct asker asker;

    (void)state;
    asker_open(&asker, "mx.test 127.0.0.1 127.0.0.2");
    connect_to(&asker, "mx.test", port, 30000);
    assert_string_equal(asker.address, "127.0.0.2");
    int winner = accept_one(places[1].fd);

    assert_true(winner >= 0);
    side_say(&asker.side, "EHLO\r\n");
    char got[16] = "";

    while (recv(winner, got, sizeof(got) - 1, MSG_DONTWAIT) <= 0)
        uv_run(&asker.loop.uv, UV_RUN_NOWAIT);
    assert_string_equal(got, "EHLO\r\n");
    close(winner);
    asker_close(&asker);
    close_places(places, 2);
}

/* Fifty addresses, all in vain: as many are tried as an answer holds, both families, and no more
 * time is used than is given. */
static void many_addresses_are_no_reason_to_try_for_ever(void **state)
{
    char line[LINE_MAX] = "mx.test";
    struct place hanging = { "127.0.0.1", HANGS, 0, { 0 } };
    uint16_t port = open_places(&hanging, 1);
    struct asker asker;

    (void)state;
    for (int i = 0; i < 50; i++)
        strcat(line, " 127.0.0.1");
    asker_open(&asker, line);
    connect_to(&asker, "mx.test", port, 200);
    assert_string_equal(asker.error, "cannot connect: timed out");
    asker_close(&asker);
    close_places(&hanging, 1);
}

/* --- names ------------------------------------------------------------------------------------ */

static void a_name_without_an_answer_has_a_reason(void **state)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        { "mx.test none", "cannot resolve the name: name not known" },
        { "mx.test again", "cannot resolve the name: the name servers do not answer" },
        { "mx.test hang", "cannot resolve the name: no answer in time" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker asker;

        asker_open(&asker, rows[i].line);
        connect_to(&asker, "mx.test", 25, i == 2 ? 50 : 30000);
        if (strcmp(asker.error, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].line, asker.error);
        dns_say(&asker.dns, "mx.test none");
        asker_close(&asker);
    }
}

/* --- cancelling ------------------------------------------------------------------------------- */

static void what_was_cancelled_is_not_answered(void **state)
{
    static const struct {
        const char *name, *line;
        enum manner manner;
        int turns;
    } rows[] = {
        { "at once", "mx.test 127.0.0.1", ANSWERS, 0 },
        { "while the name is looked up", "mx.test hang", ANSWERS, 1 },
        { "while it connects", "mx.test 127.0.0.1 127.0.0.1", HANGS, 3 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct place place = { "127.0.0.1", rows[i].manner, 0, { 0 } };
        uint16_t port = open_places(&place, 1);
        struct asker asker;

        asker_open(&asker, rows[i].line);
        struct connect *connect = start(&asker, "mx.test", port, 30000);

        for (int n = 0; n < rows[i].turns; n++)
            uv_run(&asker.loop.uv, UV_RUN_NOWAIT);
        connect_cancel(connect);
        dns_say(&asker.dns, "mx.test none");
        loop_run(&asker.loop); /* nothing holds it */
        if (asker.answers != 0)
            fail_msg("%s: answered", rows[i].name);
        asker_close(&asker);
        close_places(&place, 1);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_answers_wins),
        cmocka_unit_test(the_winner_is_the_only_one_left),
        cmocka_unit_test(many_addresses_are_no_reason_to_try_for_ever),
        cmocka_unit_test(a_name_without_an_answer_has_a_reason),
        cmocka_unit_test(what_was_cancelled_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
