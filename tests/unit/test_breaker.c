/* test_breaker.c - when does an upstream rest, and how does it come back? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/upstream/breaker.h"

static struct breaker breaker_new(void)
{
    return (struct breaker){ .options = { 3, 5000, 60000, 30000 } };
}

static void it_rests_after_enough_failures_and_longer_each_time(void **state)
{
    static const int64_t rests_ms[] = { 0, 0, 5000, 10000, 20000, 40000, 60000, 60000 };
    struct breaker breaker = breaker_new();
    int64_t now_ms = 1000;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rests_ms); i++) {
        breaker_note_unreachable(&breaker, now_ms);
        bool rests = breaker_is_resting(&breaker, now_ms + rests_ms[i] - 1);
        bool still = breaker_is_resting(&breaker, now_ms + rests_ms[i]);

        if (rests != (rests_ms[i] > 0) || still || breaker_is_open(&breaker) != (i >= 2))
            fail_msg("failure %zu: rests %d, still %d, open %d", i + 1, rests, still,
                     breaker_is_open(&breaker));
        assert_int_equal(breaker_limit(&breaker, 20), 1); /* one at a time until one works */
        now_ms += rests_ms[i];
    }
}

static void odd_settings_do_no_harm(void **state)
{
    static const struct {
        struct breaker_options options;
        int64_t want_ms; /* after the 70th failure */
    } rows[] = {
        { { 0, 0, 0, 0 }, 0 },
        { { 1, 5000, 1000, 0 }, 1000 },
        { { 1, 1, INT64_C(1) << 40, 0 }, INT64_C(1) << 40 },
        { { 1, UINT32_MAX, UINT32_MAX, 0 }, UINT32_MAX },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct breaker breaker = { .options = rows[i].options };

        for (int n = 0; n < 70; n++)
            breaker_note_unreachable(&breaker, 0);
        if (breaker.rest_until_ms != rows[i].want_ms)
            fail_msg("row %zu: rests %lld ms", i, (long long)breaker.rest_until_ms);
        assert_int_equal(breaker_limit(&breaker, 0), 1);
    }
}

static void it_comes_back_as_messages_arrive(void **state)
{
    struct breaker breaker = breaker_new();

    (void)state;
    breaker_note_unreachable(&breaker, 0);
    assert_true(breaker_note_ready(&breaker));
    assert_false(breaker_note_ready(&breaker));
    assert_int_equal(breaker_limit(&breaker, 6), 6); /* it had not been open */
    for (int i = 0; i < 3; i++)
        breaker_note_unreachable(&breaker, 0);
    assert_true(breaker_note_ready(&breaker));
    for (unsigned want = 1; want <= 6; want++) {
        for (int i = 0; i < 10; i++)
            breaker_note_ready(&breaker); /* connections alone change nothing */
        assert_int_equal(breaker_limit(&breaker, 6), want);
        breaker_note_success(&breaker, 6);
    }
    assert_int_equal(breaker.window, 0);
    breaker_note_lost(&breaker); /* nor does a lost one, once it is back */
    assert_int_equal(breaker_limit(&breaker, 6), 6);
}

static void a_connection_that_breaks_meanwhile_starts_that_anew(void **state)
{
    struct breaker breaker = breaker_new();

    (void)state;
    for (int i = 0; i < 3; i++)
        breaker_note_unreachable(&breaker, 0);
    breaker_note_ready(&breaker);
    for (int i = 0; i < 4; i++)
        breaker_note_success(&breaker, 20);
    assert_int_equal(breaker_limit(&breaker, 20), 5);
    breaker_note_lost(&breaker);
    assert_int_equal(breaker_limit(&breaker, 20), 1);
}

static void connections_that_break_at_once_make_it_rest_although_each_was_ready(void **state)
{
    struct breaker breaker = breaker_new();

    (void)state;
    for (int i = 0; i < 2; i++) {
        breaker_note_ready(&breaker);
        breaker_note_barren(&breaker, 0);
        assert_false(breaker_is_resting(&breaker, 0));
    }
    breaker_note_success(&breaker, 20); /* a message in between, and it counts anew */
    for (int i = 0; i < 3; i++) {
        assert_false(breaker_is_resting(&breaker, 0));
        breaker_note_ready(&breaker);
        breaker_note_barren(&breaker, 0);
    }
    assert_true(breaker_is_resting(&breaker, 4999));
    assert_false(breaker_is_resting(&breaker, 5000));
    breaker_note_ready(&breaker);
    assert_int_equal(breaker_limit(&breaker, 20), 1); /* one message first */
    breaker_note_barren(&breaker, 5000);
    assert_true(breaker_is_resting(&breaker, 14999)); /* twice as long */
    assert_false(breaker_is_resting(&breaker, 15000));
}

static void a_refused_login_pauses_at_once_and_a_reload_ends_it(void **state)
{
    struct breaker breaker = breaker_new();

    (void)state;
    breaker_note_login_refused(&breaker, 1000);
    assert_true(breaker_is_open(&breaker) && breaker.login_refused);
    assert_true(breaker_is_resting(&breaker, 30999));
    assert_false(breaker_is_resting(&breaker, 31000));
    breaker_note_login_refused(&breaker, 31000);
    breaker_stir(&breaker);
    assert_false(breaker_is_resting(&breaker, 31000));
    assert_true(breaker_is_open(&breaker)); /* one may try */
    breaker_note_ready(&breaker);
    assert_false(breaker_is_open(&breaker) || breaker.login_refused);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_rests_after_enough_failures_and_longer_each_time),
        cmocka_unit_test(odd_settings_do_no_harm),
        cmocka_unit_test(it_comes_back_as_messages_arrive),
        cmocka_unit_test(a_connection_that_breaks_meanwhile_starts_that_anew),
        cmocka_unit_test(connections_that_break_at_once_make_it_rest_although_each_was_ready),
        cmocka_unit_test(a_refused_login_pauses_at_once_and_a_reload_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
