/* test_penalty.c - when the door is closed to an address, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"

#define START_S INT64_C(1800000000)

static const struct penalty_options ten_in_ten_minutes = {
    .failures = 10, .window_s = 600, .penalty_s = 900, .addresses_max = 1000
};

struct address {
    uint8_t bytes[16];
};

static struct address address_of(const char *text)
{
    struct address address;

    assert_true(network_parse_address(text, address.bytes));
    return address;
}

static struct address address_number(uint32_t number) /* an IPv6 /64 each */
{
    struct address address = { { 0x20, 0x01, 0x0d, 0xb8 } };

    memcpy(address.bytes + 4, &number, sizeof(number));
    return address;
}

static void fail_times(struct penalty *penalty, const char *text, unsigned times, int64_t at_s)
{
    struct address address = address_of(text);

    for (unsigned i = 0; i < times; i++)
        penalty_failed(penalty, address.bytes, START_S + at_s);
}

static unsigned left(struct penalty *penalty, const char *text, int64_t at_s)
{
    struct address address = address_of(text);

    return penalty_left_s(penalty, address.bytes, START_S + at_s);
}

static void tenth_failure_closes_the_door_for_its_time(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    fail_times(penalty, "192.0.2.1", 9, 0);
    assert_int_equal(left(penalty, "192.0.2.1", 0), 0);
    fail_times(penalty, "192.0.2.1", 1, 599);
    assert_int_equal(left(penalty, "192.0.2.1", 599), 900);
    assert_int_equal(left(penalty, "192.0.2.2", 599), 0); /* others are unaffected */
    assert_int_equal(left(penalty, "192.0.2.1", 1498), 1);
    assert_int_equal(left(penalty, "192.0.2.1", 1499), 0);
    fail_times(penalty, "192.0.2.1", 9, 1499); /* the count began anew */
    assert_int_equal(left(penalty, "192.0.2.1", 1499), 0);
    penalty_free(penalty);
}

static void failures_leave_the_window_one_by_one(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    for (int64_t at_s = 0; at_s < 6700; at_s += 67) /* nine in each ten minutes */
        fail_times(penalty, "192.0.2.1", 1, at_s);
    assert_int_equal(left(penalty, "192.0.2.1", 6700), 0);
    fail_times(penalty, "192.0.2.1", 1, 6690); /* and a tenth */
    assert_int_equal(left(penalty, "192.0.2.1", 6690), 900);
    penalty_free(penalty);
}

static void success_takes_the_count_back_but_opens_no_door(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);
    struct address address = address_of("192.0.2.1");

    (void)state;
    for (int i = 0; i < 100; i++) {
        fail_times(penalty, "192.0.2.1", 9, 0);
        penalty_succeeded(penalty, address.bytes);
    }
    assert_int_equal(left(penalty, "192.0.2.1", 0), 0);
    assert_int_equal(penalty_count(penalty), 0);
    fail_times(penalty, "192.0.2.1", 10, 0);
    penalty_succeeded(penalty, address.bytes);
    assert_int_equal(left(penalty, "192.0.2.1", 0), 900);
    penalty_free(penalty);
}

static void ipv6_counts_by_its_64_and_ipv4_by_itself(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    fail_times(penalty, "2001:db8:0:1::1", 5, 0);
    fail_times(penalty, "2001:db8:0:1:ffff::2", 5, 0);
    assert_int_equal(left(penalty, "2001:db8:0:1::3", 0), 900);
    assert_int_equal(left(penalty, "2001:db8:0:2::1", 0), 0);
    fail_times(penalty, "192.0.2.1", 5, 0);
    fail_times(penalty, "192.0.2.2", 5, 0);
    assert_int_equal(left(penalty, "192.0.2.1", 0), 0);
    fail_times(penalty, "::ffff:192.0.2.1", 5, 0);
    assert_int_equal(left(penalty, "192.0.2.1", 0), 900);
    penalty_free(penalty);
}

static void full_table_drops_the_oldest(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        for (int times = 0; times < 10; times++)
            penalty_failed(penalty, address_number(i).bytes, START_S);
    penalty_failed(penalty, address_number(1000).bytes, START_S);
    assert_int_equal(penalty_count(penalty), 1000);
    assert_int_equal(penalty_left_s(penalty, address_number(0).bytes, START_S), 0);
    assert_int_equal(penalty_left_s(penalty, address_number(1).bytes, START_S), 900);
    for (uint32_t i = 2000; i < 20000; i++)
        penalty_failed(penalty, address_number(i).bytes, START_S);
    assert_int_equal(penalty_count(penalty), 1000);
    penalty_free(penalty);
}

static void table_empties_itself(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        penalty_failed(penalty, address_number(i).bytes, START_S);
    for (int i = 0; i < 500; i++)
        assert_int_equal(left(penalty, "192.0.2.1", 600), 0);
    assert_int_equal(penalty_count(penalty), 0);
    penalty_free(penalty);
}

static void clock_that_goes_back_does_not_prolong_the_penalty(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);

    (void)state;
    fail_times(penalty, "192.0.2.1", 10, 1000000);
    assert_int_equal(left(penalty, "192.0.2.1", 0), 900);
    assert_int_equal(left(penalty, "192.0.2.1", 900), 0);
    fail_times(penalty, "192.0.2.2", 1, 1000000); /* and then the clock is set back for good */
    assert_int_equal(left(penalty, "192.0.2.3", 2000), 0);
    assert_int_equal(penalty_count(penalty), 0);
    penalty_free(penalty);
}

static void nothing_is_counted_when_it_is_off(void **state)
{
    static const struct penalty_options off[] = {
        { .failures = 0, .window_s = 600, .penalty_s = 900, .addresses_max = 1000 },
        { .failures = 10, .window_s = 0, .penalty_s = 900, .addresses_max = 1000 },
        { .failures = 10, .window_s = 600, .penalty_s = 0, .addresses_max = 1000 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        struct penalty *penalty = penalty_new(&off[i]);
        fail_times(penalty, "192.0.2.1", 100, 0);
        if (left(penalty, "192.0.2.1", 0) != 0 || penalty_count(penalty) != 0)
            fail_msg("row %zu", i);
        penalty_free(penalty);
    }
    penalty_free(NULL);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *fail_and_ask(void *owner)
{
    struct penalty *penalty = owner;
    struct address own = address_of("192.0.2.7");

    for (uint32_t i = 0; i < ROUNDS; i++) {
        penalty_failed(penalty, address_number(i).bytes, START_S);
        penalty_left_s(penalty, own.bytes, START_S);
        penalty_succeeded(penalty, own.bytes);
    }
    return NULL;
}

static void threads_may_share_it(void **state)
{
    struct penalty *penalty = penalty_new(&ten_in_ten_minutes);
    pthread_t threads[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_and_ask, penalty), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(penalty_count(penalty), 1000);
    penalty_free(penalty);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenth_failure_closes_the_door_for_its_time),
        cmocka_unit_test(failures_leave_the_window_one_by_one),
        cmocka_unit_test(success_takes_the_count_back_but_opens_no_door),
        cmocka_unit_test(ipv6_counts_by_its_64_and_ipv4_by_itself),
        cmocka_unit_test(full_table_drops_the_oldest),
        cmocka_unit_test(table_empties_itself),
        cmocka_unit_test(clock_that_goes_back_does_not_prolong_the_penalty),
        cmocka_unit_test(nothing_is_counted_when_it_is_off),
        cmocka_unit_test(threads_may_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
