/* test_pace.c - do the messages of all loops keep their distance? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "relay/base/macros.h"
#include "relay/upstream/pace.h"

#define SECOND_US 1000000

/* Somebody who has nothing booked yet. */
static int64_t book(struct pace *pace, int64_t now_us)
{
    struct pace_slot slot = { .booked = false };

    return pace_book(pace, &slot, now_us);
}

static void whoever_books_is_given_instants_that_keep_their_distance(void **state)
{
    struct pace pace = { 0 };
    struct pace_slot nobodys = { .booked = false };
    int64_t now_us = 50 * (int64_t)SECOND_US;

    (void)state;
    assert_false(pace_is_set(&pace));
    pace_set(&pace, 600, now_us);
    assert_true(pace_is_set(&pace));
    int64_t first = book(&pace, now_us);

    assert_true(first <= now_us && first >= now_us - 10000);
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(pace_foresee(&pace, &nobodys, now_us), first + i * 100000);
        assert_int_equal(book(&pace, now_us), first + i * 100000);
    }
    now_us += 60 * (int64_t)SECOND_US; /* idleness is not saved up */
    assert_int_equal(book(&pace, now_us), now_us - 10000);
}

static void what_is_booked_stays_until_it_is_used(void **state)
{
    struct pace pace = { 0 };
    struct pace_slot slot = { .booked = false };

    (void)state;
    pace_set(&pace, 60, 0);
    book(&pace, SECOND_US);
    int64_t at_us = pace_book(&pace, &slot, SECOND_US);

    assert_int_equal(pace_book(&pace, &slot, SECOND_US), at_us);
    assert_int_equal(pace_foresee(&pace, &slot, at_us), at_us);
    pace_use(&slot);
    assert_int_equal(pace_book(&pace, &slot, at_us), at_us + SECOND_US);
}

static void a_late_timer_is_made_up_for(void **state)
{
    struct pace pace = { 0 };
    struct pace_slot slot = { .booked = false };
    int sent = 0;

    (void)state;
    pace_set(&pace, 30000, 0); /* one in 2 ms, seen by a timer that fires every 5 ms */
    for (int64_t now_us = SECOND_US; now_us < 2 * SECOND_US; now_us += 5000)
        for (; pace_book(&pace, &slot, now_us) <= now_us; sent++)
            pace_use(&slot);
    assert_in_range(sent, 495, 506);
}

static void what_went_by_unused_is_given_back_by_the_last(void **state)
{
    struct pace pace = { 0 };
    struct pace_slot first = { .booked = false }, last = { .booked = false };
    int64_t now_us = SECOND_US;

    (void)state;
    pace_set(&pace, 60, 0);
    int64_t at_us = pace_book(&pace, &first, now_us);

    assert_int_equal(pace_book(&pace, &last, now_us), at_us + SECOND_US);
    now_us = at_us + SECOND_US + 50000; /* the last is still good, the first is not */
    assert_int_equal(pace_book(&pace, &last, now_us), at_us + SECOND_US);
    assert_int_equal(pace_book(&pace, &first, now_us), at_us + 2 * SECOND_US);
    now_us = at_us + 2 * SECOND_US + 60000; /* now neither is, and nobody has booked since */
    assert_int_equal(pace_foresee(&pace, &first, now_us), at_us + 2 * SECOND_US);
    assert_int_equal(pace_book(&pace, &last, now_us), now_us - 10000);
}

static void another_rate_holds_at_once(void **state)
{
    static const struct {
        unsigned was, is;
        int64_t at_most_us; /* from now to the next */
    } rows[] = { { 1, 6000, 10000 }, { 6000, 1, 60000000 }, { 1, 1, 60000000 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pace pace = { 0 };

        pace_set(&pace, rows[i].was, 0);
        for (int n = 0; n < 8; n++)
            book(&pace, SECOND_US);
        pace_set(&pace, rows[i].is, SECOND_US);
        int64_t next = book(&pace, SECOND_US);

        if (next - SECOND_US > rows[i].at_most_us)
            fail_msg("row %zu: %lld us", i, (long long)(next - SECOND_US));
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

#define THREADS 4
#define EACH    2000

struct booker {
    pthread_t thread;
    struct pace *pace;
    int64_t slots[EACH];
};

static void *book_many(void *owner)
{
    struct booker *booker = owner;

    for (size_t i = 0; i < EACH; i++)
        booker->slots[i] = book(booker->pace, SECOND_US);
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void no_two_threads_have_the_same_instant(void **state)
{
    static struct booker bookers[THREADS];
    static int64_t all[THREADS * EACH];
    struct pace pace = { 0 };

    (void)state;
    pace_set(&pace, 60000, 0); /* one in 1 ms */
    for (size_t i = 0; i < THREADS; i++) {
        bookers[i].pace = &pace;
        assert_int_equal(pthread_create(&bookers[i].thread, NULL, book_many, &bookers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(bookers[i].thread, NULL);
        for (size_t n = 0; n < EACH; n++)
            all[i * EACH + n] = bookers[i].slots[n];
    }
    qsort(all, ARRAY_LEN(all), sizeof(all[0]), by_time);
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        assert_int_equal(all[i] - all[i - 1], 1000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_books_is_given_instants_that_keep_their_distance),
        cmocka_unit_test(what_is_booked_stays_until_it_is_used),
        cmocka_unit_test(a_late_timer_is_made_up_for),
        cmocka_unit_test(what_went_by_unused_is_given_back_by_the_last),
        cmocka_unit_test(another_rate_holds_at_once),
        cmocka_unit_test(no_two_threads_have_the_same_instant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
