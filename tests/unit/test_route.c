/* test_route.c - which route takes a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/upstream/route.h"

#define LIST(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define UPSTREAMS(...)                                                                             \
    (const unsigned[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* Each route names one upstream: its own row. */
static const struct route routes[] = {
    { .accounts = LIST("acme", "ajax"),
      .account_count = 2,
      .sender_domains = LIST("both.example"),
      .sender_domain_count = 1,
      .upstreams = UPSTREAMS(0),
      .upstream_count = 1 },
    { .keys = LIST("7Fq2mZ81"), .key_count = 1, .upstreams = UPSTREAMS(1), .upstream_count = 1 },
    { .accounts = LIST("acme"),
      .account_count = 1,
      .upstreams = UPSTREAMS(2),
      .upstream_count = 1 },
    { .sender_domains = LIST("a.example", "*.b.example"),
      .sender_domain_count = 2,
      .upstreams = UPSTREAMS(3, 4),
      .upstream_count = 2 },
    { .sender_domains = LIST("parked.example"), .sender_domain_count = 1 },
};
static const struct route_table table = { .routes = routes,
                                          .route_count = ARRAY_LEN(routes),
                                          .default_upstreams = UPSTREAMS(9, 8, 7),
                                          .default_count = 3 };

static void the_first_route_that_matches_wins(void **state)
{
    static const struct {
        const char *account, *key, *sender;
        size_t count;
        unsigned first;
    } cases[] = {
        { "acme", "xxxxxxxx", "x@both.example", 1, 0 },
        { "ajax", "xxxxxxxx", "x@both.example", 1, 0 },
        { "other", "xxxxxxxx", "x@both.example", 3, 9 },
        { "acme", "7Fq2mZ81", "x@c.example", 1, 1 },
        { "acme", "xxxxxxxx", "x@c.example", 1, 2 },
        { "ACME", "xxxxxxxx", "x@c.example", 3, 9 }, /* names are exact */
        { "other", "xxxxxxxx", "x@a.example", 2, 3 },
        { "other", "xxxxxxxx", "X@A.EXAMPLE", 2, 3 },
        { "other", "xxxxxxxx", "x@sub.a.example", 3, 9 },
        { "other", "xxxxxxxx", "x@deep.sub.b.example", 2, 3 },
        { "other", "xxxxxxxx", "x@b.example", 3, 9 },
        { "other", "xxxxxxxx", "x@evilb.example", 3, 9 },
        { "other", "xxxxxxxx", "x@parked.example", 0, 0 },
        { "other", "xxxxxxxx", "", 3, 9 }, /* the null sender has no domain */
        { "other", "7Fq2mZ81", "", 1, 1 },
        { "other", "xxxxxxxx", "x@", 3, 9 },
        { "other", "xxxxxxxx", "x@not a domain", 3, 9 },
        { "", "", "x@a.example", 2, 3 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t count = 99;
        const unsigned *list =
            route_find(&table, slice_of(cases[i].account), slice_of(cases[i].key),
                       slice_of(cases[i].sender), &count);

        if (count != cases[i].count || (count > 0 && list[0] != cases[i].first))
            fail_msg("row %zu: %zu upstreams, the first is %u", i, count,
                     count > 0 ? list[0] : 999);
    }
}

static void an_empty_table_has_only_the_default(void **state)
{
    static const struct route_table nothing = { .default_count = 0 };
    size_t count = 99;

    (void)state;
    route_find(&nothing, SLICE("a"), SLICE("b"), SLICE("c@d.example"), &count);
    assert_int_equal(count, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_route_that_matches_wins),
        cmocka_unit_test(an_empty_table_has_only_the_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
