/* test_clock.c - the kernel's clocks, and a test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/clock.h"

static int64_t fixed_wall_us(void)
{
    return 1234567;
}

static int64_t fixed_mono_us(void)
{
    return 7654321;
}

static void monotonic_time_never_goes_back(void **state)
{
    int64_t last = clock_mono_us();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_us();
        assert_true(now >= last);
        last = now;
    }
    assert_true(clock_mono_ms() >= last / 1000);
}

static void wall_time_is_after_this_was_written(void **state)
{
    (void)state;
    assert_true(clock_wall_s() > 1700000000);
    assert_true(clock_wall_ms() > INT64_C(1700000000000));
}

static void a_replaced_source_is_asked_and_can_be_put_back(void **state)
{
    static const struct clock_source source = { fixed_wall_us, fixed_mono_us };

    (void)state;
    clock_replace(&source);
    assert_int_equal(clock_wall_ms(), 1234);
    assert_int_equal(clock_wall_s(), 1);
    assert_int_equal(clock_mono_ms(), 7654);
    assert_int_equal(clock_mono_us(), 7654321);
    clock_replace(NULL);
    assert_true(clock_wall_s() > 1700000000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(wall_time_is_after_this_was_written),
        cmocka_unit_test(a_replaced_source_is_asked_and_can_be_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
