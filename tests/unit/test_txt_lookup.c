/* test_txt_lookup.c - asking for TXT records; tests/system/domains.py has what servers may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/net/txt_lookup.h"

static void servers_are_addresses_with_or_without_a_port(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        { "192.0.2.1", true },
        { "192.0.2.1:53", true },
        { "192.0.2.1:65535", true },
        { "2001:db8::1", true },
        { "::1", true },
        { "[::1]", true },
        { "[2001:db8::1]:5353", true },
        { "", false },
        { "ns.example", false },
        { "ns.example:53", false },
        { "192.0.2.1:", false },
        { "192.0.2.1:0", false },
        { "192.0.2.1:65536", false },
        { "192.0.2.1:5x", false },
        { "192.0.2", false },
        { "192.0.2.1,192.0.2.2", false },
        { "[::1", false },
        { "[]", false },
        { "[::1]53", false },
        { "[::1]:", false },
        { "[192.0.2.1]:53", false },
        { "[", false },
        { "fe80::1%eth0", false },
        { " 192.0.2.1", false },
        { "1111111111111111111111111111111111111111111111111111111111111111111111111", false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (txt_server_is_valid(slice_of(rows[i].text)) != rows[i].want)
            fail_msg("'%s': want %d", rows[i].text, rows[i].want);
}

/* --- a server that is silent until it is told to answer --------------------------------------- */

struct server {
    struct loop loop;
    struct txt_resolver *resolver;
    int fd;
    char address[32];
    unsigned answers;
    enum txt_result result;
    bool inside;
    unsigned not_set_up;
};

static int make_server(void **state)
{
    struct server *server = xcalloc(1, sizeof(*server));
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    const char *servers[] = { server->address };
    struct txt_options options = { servers, 1, 60000 };
    struct why why;

    *state = server;
    server->fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_true(loop_init(&server->loop, &why));
    server->resolver = txt_resolver_new(&server->loop, &options);
    return 0;
}

static int remove_server(void **state)
{
    struct server *server = *state;

    txt_resolver_free(server->resolver);
    loop_close(&server->loop);
    close(server->fd);
    free(server);
    return 0;
}

static void on_answer(void *owner, const struct txt_answer *answer)
{
    struct server *server = owner;

    assert_false(server->inside);
    server->answers++;
    server->result = answer->result;
    assert_int_equal(answer->count, 0);
    if (answer->problem != NULL && strstr(answer->problem, "set up") != NULL)
        server->not_set_up++;
}

static void ask(struct server *server, const char *name)
{
    server->inside = true;
    txt_lookup(server->resolver, name, on_answer, server);
    server->inside = false;
}

static void a_name_that_cannot_be_asked_for_is_answered_later(void **state)
{
    struct server *server = *state;
    char label[71] = { 0 };

    memset(label, 'a', 70);
    ask(server, label);
    assert_int_equal(server->answers, 0);
    loop_run(&server->loop);
    assert_int_equal(server->answers, 1);
    assert_int_equal(server->result, TXT_FAILED);
}

/* c-ares is given them only when somebody asks. */
static void every_form_of_a_server_is_understood(void **state)
{
    static const char *const forms[] = { "127.0.0.1", "127.0.0.1:5353", "::1", "[::1]",
                                         "[::1]:5353" };
    struct server *server = *state;
    struct txt_options options = { forms, ARRAY_LEN(forms), 50 };

    txt_resolver_set(server->resolver, &options);
    ask(server, "_latchpost.good.example");
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        options.servers = &forms[i];
        options.server_count = 1;
        txt_resolver_set(server->resolver, &options);
        ask(server, "_latchpost.good.example");
    }
    loop_run(&server->loop);
    assert_int_equal(server->answers, 1 + ARRAY_LEN(forms));
    assert_int_equal(server->not_set_up, 0);
}

static void silence_ends_with_the_timeout(void **state)
{
    struct server *server = *state;
    const char *servers[] = { server->address };
    struct txt_options options = { servers, 1, 50 };

    txt_resolver_set(server->resolver, &options);
    ask(server, "_latchpost.good.example");
    loop_run(&server->loop);
    assert_int_equal(server->answers, 1);
    assert_int_equal(server->result, TXT_TIMEOUT);
}

static void no_more_than_so_many_at_once_and_the_end_answers_all(void **state)
{
    struct server *server = *state;

    for (int i = 0; i < TXT_LOOKUPS_MAX; i++)
        ask(server, "_latchpost.good.example");
    ask(server, "_latchpost.good.example");
    while (server->answers == 0)
        loop_turn(&server->loop);
    assert_int_equal(server->answers, 1);
    assert_int_equal(server->result, TXT_BUSY);
    txt_resolver_free(server->resolver);
    server->resolver = NULL;
    assert_int_equal(server->answers, 1 + TXT_LOOKUPS_MAX);
    assert_int_equal(server->result, TXT_CANCELLED);
    loop_run(&server->loop); /* nothing is left */
    assert_int_equal(server->answers, 1 + TXT_LOOKUPS_MAX);
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, make_server, remove_server)
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_are_addresses_with_or_without_a_port),
        WITH_SERVER(a_name_that_cannot_be_asked_for_is_answered_later),
        WITH_SERVER(every_form_of_a_server_is_understood),
        WITH_SERVER(silence_ends_with_the_timeout),
        WITH_SERVER(no_more_than_so_many_at_once_and_the_end_answers_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
