/* test_limit.c - the token bucket and the count of a day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"

#define START_MS INT64_C(1800000000000)
#define DAY_S    86400
#define NOON_S   (INT64_C(20000) * DAY_S + DAY_S / 2)

static void bucket_follows_the_clock(void **state)
{
    static const struct {
        int64_t after_ms; /* since START_MS */
        unsigned rate;
        bool want;
        unsigned wait_s;
    } steps[] = {
        { 0, 3, true, 0 },        { 0, 3, true, 0 },        { 0, 3, true, 0 },
        { 0, 3, false, 20 },      { 1, 3, false, 20 },      { 1000, 3, false, 19 },
        { 19999, 3, false, 1 },   { 20000, 3, true, 0 },    { 20000, 3, false, 20 },
        { 40000, 3, true, 0 },    { 600000, 3, true, 0 },   { 600000, 3, true, 0 },
        { 600000, 3, true, 0 },   { 600000, 3, false, 20 }, /* full means three */
        { 500000, 3, false, 20 },                          /* the clock goes back: nothing earned */
        { 520000, 3, true, 0 },                            /* and it goes on from there */
        { 520000, 60, false, 1 }, { 521000, 60, true, 0 }, /* a new rate earns faster */
        { 521000, 0, true, 0 },   { 521000, 0, true, 0 },  /* none: no limit */
    };
    struct limit_rate rate = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        unsigned wait_s = 0;
        bool got = limit_take_rate(&rate, steps[i].rate, START_MS + steps[i].after_ms, &wait_s);
        if (got != steps[i].want || wait_s != steps[i].wait_s)
            fail_msg("step %zu: %d, wait %u s", i, got, wait_s);
    }
}

static void bucket_holds_exactly_its_rate(void **state)
{
    static const unsigned rates[] = { 1, 2, 7, 60, 1000, 99999 };
    unsigned wait_s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct limit_rate rate = { 0 };
        unsigned taken = 0;
        while (limit_take_rate(&rate, rates[i], START_MS, &wait_s))
            taken++;
        if (taken != rates[i] || wait_s < 1 || wait_s > 60)
            fail_msg("rate %u: %u taken, wait %u s", rates[i], taken, wait_s);
        if (!limit_take_rate(&rate, rates[i], START_MS + (int64_t)wait_s * 1000, &wait_s))
            fail_msg("rate %u: nothing after the wait", rates[i]);
    }
}

static void largest_rate_does_not_overflow(void **state)
{
    struct limit_rate rate = { 0 };
    unsigned wait_s;

    (void)state;
    assert_true(limit_take_rate(&rate, UINT32_MAX, 0, &wait_s));
    assert_true(limit_take_rate(&rate, UINT32_MAX, INT64_MAX, &wait_s));
    assert_true(limit_take_rate(&rate, UINT32_MAX, 1, &wait_s));
}

static void day_counts_until_midnight(void **state)
{
    static const struct {
        int64_t at_s; /* since NOON_S */
        uint64_t per_day;
        bool want;
        unsigned wait_s;
    } steps[] = {
        { 0, 2, true, 0 },
        { 0, 2, true, 0 },
        { 0, 2, false, DAY_S / 2 },
        { DAY_S / 2 - 1, 2, false, 1 },
        { DAY_S / 2, 2, true, 0 },
        { DAY_S / 2 - 1, 2, true, 0 }, /* back across midnight: the new day goes on */
        { DAY_S / 2 - 1, 2, false, DAY_S + 1 },
        { DAY_S / 2, 0, true, 0 }, /* no limit, but counted: now three */
        { DAY_S / 2, 4, true, 0 },
        { DAY_S / 2, 4, false, DAY_S },
        { 10 * DAY_S, 4, true, 0 },
        { DAY_S, 4, true, 0 }, /* the clock had been days ahead: a new count */
    };
    struct limit_day day = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        unsigned wait_s = 0;
        bool got = limit_take_day(&day, steps[i].per_day, NOON_S + steps[i].at_s, &wait_s);
        if (got != steps[i].want || wait_s != steps[i].wait_s)
            fail_msg("step %zu: %d, wait %u s", i, got, wait_s);
    }
}

static void what_is_left_is_told_without_taking_it(void **state)
{
    static const struct {
        unsigned rate, taken;
        int64_t after_ms;
        unsigned left, reset_s;
    } cases[] = {
        { 60, 0, 0, 60, 0 },    { 60, 1, 0, 59, 1 },     { 60, 60, 0, 0, 60 },
        { 60, 60, 999, 0, 60 }, { 60, 60, 1000, 1, 59 }, { 60, 60, 60000, 60, 0 },
        { 1, 1, 59999, 0, 1 },  { 7, 2, 0, 5, 18 },
    };
    unsigned wait_s, reset_s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct limit_rate rate = { 0 };
        for (unsigned n = 0; n < cases[i].taken; n++)
            assert_true(limit_take_rate(&rate, cases[i].rate, START_MS, &wait_s));
        for (int twice = 0; twice < 2; twice++) {
            unsigned left =
                limit_rate_left(&rate, cases[i].rate, START_MS + cases[i].after_ms, &reset_s);
            if (left != cases[i].left || reset_s != cases[i].reset_s)
                fail_msg("row %zu: %u left, all in %u s", i, left, reset_s);
        }
    }
    struct limit_day day = { 0 };
    assert_int_equal(limit_day_left(&day, 3, NOON_S, &reset_s), 3);
    assert_int_equal(reset_s, DAY_S / 2);
    assert_true(limit_take_day(&day, 3, NOON_S, &wait_s));
    assert_int_equal(limit_day_left(&day, 3, NOON_S, &reset_s), 2);
    assert_int_equal(limit_day_left(&day, 1, NOON_S, &reset_s), 0);
    assert_int_equal(limit_day_left(&day, 3, NOON_S + DAY_S / 2, &reset_s), 3);
    assert_int_equal(reset_s, DAY_S);
}

static void what_is_given_back_can_be_taken_again(void **state)
{
    struct limit_rate rate = { 0 };
    struct limit_day day = { 0 };
    unsigned wait_s, reset_s;

    (void)state;
    limit_give_rate(&rate, 2); /* of a full bucket: nothing */
    for (int i = 0; i < 2; i++)
        assert_true(limit_take_rate(&rate, 2, START_MS, &wait_s));
    assert_false(limit_take_rate(&rate, 2, START_MS, &wait_s));
    limit_give_rate(&rate, 2);
    assert_true(limit_take_rate(&rate, 2, START_MS, &wait_s));
    for (int i = 0; i < 5; i++)
        limit_give_rate(&rate, 2);
    assert_int_equal(limit_rate_left(&rate, 2, START_MS, &reset_s), 2); /* never more than all */

    for (int i = 0; i < 3; i++)
        assert_true(limit_take_day(&day, 3, NOON_S, &wait_s));
    limit_give_day(&day, 2, NOON_S - DAY_S); /* of another day */
    assert_int_equal(limit_day_left(&day, 3, NOON_S, &reset_s), 0);
    limit_give_day(&day, 2, NOON_S);
    assert_int_equal(limit_day_left(&day, 3, NOON_S, &reset_s), 2);
    limit_give_day(&day, 9, NOON_S);
    assert_int_equal(limit_day_left(&day, 3, NOON_S, &reset_s), 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_follows_the_clock),
        cmocka_unit_test(bucket_holds_exactly_its_rate),
        cmocka_unit_test(largest_rate_does_not_overflow),
        cmocka_unit_test(day_counts_until_midnight),
        cmocka_unit_test(what_is_left_is_told_without_taking_it),
        cmocka_unit_test(what_is_given_back_can_be_taken_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
