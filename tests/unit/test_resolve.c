#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/macros.h"
#include "relay/net/resolve.h"
#include "tests/support/dns_desk.h"

/* --- the look-up, counted and scripted ------------------------------------------------------- */

static unsigned lookups;
static bool hangs; /* the next look-up is not done until end_hanging() */
static struct {
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb cb;
} hanging;
static int scripted_error; /* what the next look-ups say at once; 0: they are real */

/* Stands before libuv's own, which it calls. */
int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb cb,
                   const char *node, const char *service, const struct addrinfo *hints)
{
    static int (*real)(uv_loop_t *, uv_getaddrinfo_t *, uv_getaddrinfo_cb, const char *,
                       const char *, const struct addrinfo *);

    lookups++;
    if (scripted_error != 0)
        return scripted_error;
    if (hangs) {
        hanging.request = request;
        hanging.cb = cb;
        return 0;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "uv_getaddrinfo");
    return real(loop, request, cb, node, service, hints);
}

static void end_hanging(void)
{
    hangs = false;
    hanging.cb(hanging.request, UV_EAI_AGAIN, NULL);
}

static int64_t now_us;

static int64_t tell_now_us(void)
{
    return now_us;
}

/* --- one who asks ---------------------------------------------------------------------------- */

struct asker {
    struct loop loop;
    struct resolver *resolver;
    unsigned answers;
    size_t count;
    char error[100], first[64];
    uint16_t port;
    struct resolve *cancels; /* in the first answer */
    bool frees;              /* the resolver, in the first answer */
};

static void on_answer(void *owner, const struct resolve_answer *answer)
{
    struct asker *asker = owner;
    const struct sockaddr_in *v4 = (const void *)&answer->addresses[0];
    const struct sockaddr_in6 *v6 = (const void *)&answer->addresses[0];

    asker->answers++;
    asker->count = answer->count;
    snprintf(asker->error, sizeof(asker->error), "%s", answer->count == 0 ? answer->error : "");
    if (answer->count > 0 && v4->sin_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, asker->first, sizeof(asker->first));
        asker->port = ntohs(v4->sin_port);
    } else if (answer->count > 0) {
        inet_ntop(AF_INET6, &v6->sin6_addr, asker->first, sizeof(asker->first));
        asker->port = ntohs(v6->sin6_port);
    }
    if (asker->cancels != NULL)
        resolve_cancel(asker->cancels);
    asker->cancels = NULL;
    if (asker->frees)
        resolver_free(asker->resolver);
    asker->frees = false;
}

static void asker_open(struct asker *asker)
{
    struct why why;

    *asker = (struct asker){ .answers = 0 };
    if (!loop_init(&asker->loop, &why))
        fail_msg("%s", why.text);
    asker->resolver = resolver_new(&asker->loop);
    lookups = 0;
    scripted_error = 0;
}

static void asker_close(struct asker *asker)
{
    resolver_free(asker->resolver);
    loop_close(&asker->loop);
}

static struct resolve *ask(struct asker *asker, const char *host)
{
    return resolve_host(asker->resolver, host, 587, on_answer, asker);
}

static void an_address_is_answered_later_and_without_a_look_up(void **state)
{
    static const char *const rows[] = { "192.0.2.1", "2001:db8::1", "::1", "0.0.0.0" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker asker;
        asker_open(&asker);
        ask(&asker, rows[i]);
        assert_int_equal(asker.answers, 0);
        loop_run(&asker.loop);
        if (asker.answers != 1 || asker.count != 1 || strcmp(asker.first, rows[i]) != 0 ||
            asker.port != 587)
            fail_msg("%s: %u answers, %s port %u", rows[i], asker.answers, asker.first, asker.port);
        assert_int_equal(lookups, 0);
        asker_close(&asker);
    }
}

static void a_name_is_looked_up_once_for_all_who_ask_and_then_kept(void **state)
{
    struct asker asker;

    (void)state;
    asker_open(&asker);
    ask(&asker, "localhost");
    ask(&asker, "LocalHost");
    assert_int_equal(asker.answers, 0);
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 2);
    assert_true(asker.count >= 1 && asker.count <= RESOLVE_MAX);
    assert_true(strcmp(asker.first, "127.0.0.1") == 0 || strcmp(asker.first, "::1") == 0);
    assert_int_equal(asker.port, 587);
    ask(&asker, "localhost");
    assert_int_equal(asker.answers, 2); /* from the cache, and still not from inside the call */
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 3);
    assert_int_equal(lookups, 1);
    asker_close(&asker);
}

static void answers_grow_old(void **state)
{
    static const struct clock_source source = { tell_now_us, tell_now_us };
    struct asker asker;

    (void)state;
    clock_replace(&source);
    asker_open(&asker);
    static const struct {
        int64_t at_s;
        unsigned want;
    } rows[] = { { 0, 1 }, { 4, 1 }, { 6, 2 }, { 10, 2 }, { 12, 3 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        now_us = rows[i].at_s * 1000000;
        ask(&asker, "localhost");
        loop_run(&asker.loop);
        if (lookups != rows[i].want)
            fail_msg("after %d s: %u look-ups, want %u", (int)rows[i].at_s, lookups, rows[i].want);
    }
    assert_int_equal(asker.answers, ARRAY_LEN(rows));
    asker_close(&asker);
    clock_replace(NULL);
}

static void nobody_waits_for_ever_for_a_look_up_that_hangs(void **state)
{
    static const struct clock_source source = { tell_now_us, tell_now_us };
    struct asker asker;

    (void)state;
    clock_replace(&source);
    asker_open(&asker);
    hangs = true;
    ask(&asker, "a.example");
    now_us += 59 * 1000000;
    ask(&asker, "a.example"); /* joins it, and waits for its own time */
    now_us += 1 * 1000000;
    while (asker.answers == 0)
        uv_run(&asker.loop.uv, UV_RUN_ONCE);
    assert_int_equal(asker.answers, 1);
    assert_string_equal(asker.error, "the name service did not answer in time");
    now_us += 59 * 1000000;
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 2);
    assert_int_equal(lookups, 1);
    ask(&asker, "a.example");
    end_hanging();
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 3);
    assert_string_equal(asker.error, "the name servers do not answer");
    hangs = true;
    ask(&asker, "b.example");
    asker_close(&asker); /* with one that waits */
    end_hanging();
    clock_replace(NULL);
}

static void what_cannot_be_asked_fails_with_a_reason(void **state)
{
    char name[300];
    const struct {
        const char *host;
        int error;
        const char *want;
    } rows[] = {
        { "", 0, "not a host name" },
        { name, 0, "not a host name" },
        { "a.example", UV_EAI_NONAME, "name not known" },
        { "a.example", UV_EAI_AGAIN, "the name servers do not answer" },
        { "a.example", UV_ENOMEM, "not enough memory" },
    };

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker asker;
        asker_open(&asker);
        scripted_error = rows[i].error;
        ask(&asker, rows[i].host);
        assert_int_equal(asker.answers, 0);
        loop_run(&asker.loop);
        if (asker.answers != 1 || asker.count != 0 || strcmp(asker.error, rows[i].want) != 0)
            fail_msg("row %zu: %u answers, '%s', want '%s'", i, asker.answers, asker.error,
                     rows[i].want);
        asker_close(&asker);
    }
}

static void a_cancelled_question_is_not_answered(void **state)
{
    static const char *const hosts[] = { "192.0.2.1", "localhost" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct asker asker;
        asker_open(&asker);
        resolve_cancel(ask(&asker, hosts[i]));
        loop_run(&asker.loop);
        assert_int_equal(asker.answers, 0);

        ask(&asker, hosts[i]);
        asker.cancels = ask(&asker, hosts[i]); /* by whoever is answered first */
        loop_run(&asker.loop);
        assert_int_equal(asker.answers, 1);
        asker_close(&asker);
    }
}

static void a_resolver_may_go_while_questions_are_open(void **state)
{
    struct asker asker;

    (void)state;
    asker_open(&asker);
    ask(&asker, "localhost");
    ask(&asker, "192.0.2.1");
    resolver_free(asker.resolver);
    asker.resolver = NULL;
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 0);
    asker_close(&asker);

    asker_open(&asker);
    ask(&asker, "localhost");
    ask(&asker, "localhost");
    asker.frees = true; /* inside the first answer */
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, 1);
    asker.resolver = NULL;
    asker_close(&asker);
}

/* --- what the name server says ---------------------------------------------------------------- */

struct list_of { /* addresses as text, each followed by a space */
    char text[RESOLVE_MAX * 48];
    unsigned answers;
};

static void on_list(void *owner, const struct resolve_answer *answer)
{
    struct list_of *got = owner;
    char text[INET6_ADDRSTRLEN];

    got->answers++;
    for (size_t i = 0; i < answer->count; i++) {
        const struct sockaddr_storage *address = &answer->addresses[i];
        bool is_v4 = address->ss_family == AF_INET;

        inet_ntop(address->ss_family,
                  is_v4 ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                        : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr,
                  text, sizeof(text));
        strcat(strcat(got->text, text), " ");
    }
}

static void the_families_take_turns_and_there_are_not_too_many(void **state)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        { "1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2 " },
        { "2001:db8::1 2001:db8::2 1.1.1.1", "2001:db8::1 1.1.1.1 2001:db8::2 " },
        { "1.1.1.1 2001:db8::1 2001:db8::2 2001:db8::3",
          "1.1.1.1 2001:db8::1 2001:db8::2 2001:db8::3 " },
        { "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9 1.1.1.10 "
          "1.1.1.11 1.1.1.12 1.1.1.13 1.1.1.14 1.1.1.15 1.1.1.16 1.1.1.17 1.1.1.18 ::2",
          "1.1.1.1 ::2 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9 1.1.1.10 "
          "1.1.1.11 1.1.1.12 1.1.1.13 1.1.1.14 1.1.1.15 " },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct list_of got = { .answers = 0 };
        struct dns_desk dns;
        struct asker asker;
        char line[500];

        snprintf(line, sizeof(line), "mx.test %s\n", rows[i].line);
        dns_open(&dns, line);
        asker_open(&asker);
        resolve_host(asker.resolver, "mx.test", 25, on_list, &got);
        loop_run(&asker.loop);
        if (got.answers != 1 || strcmp(got.text, rows[i].want) != 0)
            fail_msg("%s: got %s", rows[i].line, got.text);
        asker_close(&asker);
        dns_close(&dns);
    }
}

static void worked(uv_work_t *work)
{
    (void)work;
}

static void on_worked(uv_work_t *work, int status)
{
    *(int *)work->data = status == 0;
}

/* The pool has four threads, which also write maildirs. */
static void name_servers_that_are_silent_do_not_stop_other_work(void **state)
{
    static const char *const hosts[] = { "a.test", "b.test", "c.test", "d.test", "a.test" };
    struct dns_desk dns;
    struct asker asker;
    uv_work_t work;
    int done = 0;

    (void)state;
    dns_open(&dns, "a.test hang\nb.test hang\nc.test hang\nd.test hang\n");
    asker_open(&asker);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        ask(&asker, hosts[i]);
    work.data = &done;
    assert_int_equal(uv_queue_work(&asker.loop.uv, &work, worked, on_worked), 0);
    while (!done)
        uv_run(&asker.loop.uv, UV_RUN_ONCE);
    assert_int_equal(asker.answers, 0);
    dns_say(&dns, "a.test 192.0.2.1\nb.test 192.0.2.1\nc.test 192.0.2.1\nd.test 192.0.2.1\n");
    loop_run(&asker.loop);
    assert_int_equal(asker.answers, ARRAY_LEN(hosts));
    assert_int_equal(dns_asked(&dns, "a.test"), 1);
    asker_close(&asker);
    dns_close(&dns);
}

static void a_changed_address_is_seen_when_the_answer_is_old(void **state)
{
    static const struct clock_source source = { tell_now_us, tell_now_us };
    struct dns_desk dns;
    struct asker asker;

    (void)state;
    clock_replace(&source);
    dns_open(&dns, "mx.test 192.0.2.1\n");
    asker_open(&asker);
    ask(&asker, "mx.test");
    loop_run(&asker.loop);
    assert_string_equal(asker.first, "192.0.2.1");
    dns_say(&dns, "mx.test 192.0.2.2\n");
    now_us += 6000000;
    ask(&asker, "mx.test");
    loop_run(&asker.loop);
    assert_string_equal(asker.first, "192.0.2.2");
    dns_say(&dns, "mx.test again\n"); /* what is old is not used in its place: deferred */
    now_us += 6000000;
    ask(&asker, "mx.test");
    loop_run(&asker.loop);
    assert_int_equal(asker.count, 0);
    asker_close(&asker);
    dns_close(&dns);
    clock_replace(NULL);
}

static void the_cache_does_not_grow_without_end(void **state)
{
    struct asker asker;

    (void)state;
    asker_open(&asker);
    for (int i = 0; i < 600; i++) {
        char host[40];
        snprintf(host, sizeof(host), "127.%d", i); /* getaddrinfo reads this as an address */
        ask(&asker, host);
        loop_run(&asker.loop);
    }
    assert_int_equal(asker.answers, 600);
    assert_int_equal(lookups, 600);
    asker_close(&asker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_answered_later_and_without_a_look_up),
        cmocka_unit_test(a_name_is_looked_up_once_for_all_who_ask_and_then_kept),
        cmocka_unit_test(answers_grow_old),
        cmocka_unit_test(nobody_waits_for_ever_for_a_look_up_that_hangs),
        cmocka_unit_test(what_cannot_be_asked_fails_with_a_reason),
        cmocka_unit_test(a_cancelled_question_is_not_answered),
        cmocka_unit_test(a_resolver_may_go_while_questions_are_open),
        cmocka_unit_test(the_families_take_turns_and_there_are_not_too_many),
        cmocka_unit_test(name_servers_that_are_silent_do_not_stop_other_work),
        cmocka_unit_test(a_changed_address_is_seen_when_the_answer_is_old),
        cmocka_unit_test(the_cache_does_not_grow_without_end),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
