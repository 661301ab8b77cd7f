/* test_clock.c - the kernel's clocks, and a test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static int64_t fixed_boot_us(void)
{
    return 9999999;
}

static void the_start_of_the_machine_has_a_name_and_a_test_may_give_another(void **state)
{
    static const struct clock_source source = { fixed_wall_us, fixed_mono_us };
    char name[CLOCK_BOOT_NAME_BYTES], other[CLOCK_BOOT_NAME_BYTES];

    (void)state;
    clock_boot_name(name);
    assert_int_equal(strlen(name), 36);
    assert_true(clock_boot_ms() >= clock_mono_ms());
    clock_replace(&source);
    assert_int_equal(clock_boot_ms(), 7654);
    clock_boot_name(other);
    assert_string_equal(other, name);
    clock_replace_boot(fixed_boot_us, "another, which is longer than any name of the kernel's");
    assert_int_equal(clock_boot_ms(), 9999);
    clock_boot_name(other);
    assert_int_equal(strlen(other), CLOCK_BOOT_NAME_BYTES - 1);
    assert_memory_equal(other, "another, which", 14);
    clock_replace(NULL);
    clock_boot_name(other);
    assert_string_equal(other, name);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(wall_time_is_after_this_was_written),
        cmocka_unit_test(a_replaced_source_is_asked_and_can_be_put_back),
        cmocka_unit_test(the_start_of_the_machine_has_a_name_and_a_test_may_give_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
