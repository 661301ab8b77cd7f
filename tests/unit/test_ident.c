/* test_ident.c - ids only grow, and their text is read back exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/macros.h"

#define EPOCH_MS INT64_C(1577836800000)

static int64_t wall_us;

static int64_t test_wall_us(void)
{
    return wall_us;
}

static int64_t test_mono_us(void)
{
    return 0;
}

static const struct clock_source test_clock = { test_wall_us, test_mono_us };

static void ids_grow_whatever_the_clock_does(void **state)
{
    static const int64_t walls_ms[] = {
        EPOCH_MS + 1000, EPOCH_MS + 1000, EPOCH_MS + 2000, EPOCH_MS, 0, -5, EPOCH_MS + 1999,
    };
    int64_t last = 0;

    (void)state;
    clock_replace(&test_clock);
    for (size_t i = 0; i < ARRAY_LEN(walls_ms); i++) {
        wall_us = walls_ms[i] * 1000;
        int64_t id = ident_next();
        if (id <= last)
            fail_msg("row %zu: %lld after %lld", i, (long long)id, (long long)last);
        last = id;
    }
    assert_int_equal(ident_time_ms(last), EPOCH_MS + 2000);
    clock_replace(NULL);
}

static void the_floor_is_passed_and_never_lowered(void **state)
{
    int64_t before = ident_next(), floor = before + (INT64_C(5) << 22);

    (void)state;
    ident_raise_floor(floor);
    assert_int_equal(ident_next(), floor + 1);
    ident_raise_floor(before);
    ident_raise_floor(-1);
    assert_int_equal(ident_next(), floor + 2);
}

static void times_and_ids_convert_both_ways(void **state)
{
    static const struct {
        int64_t wall_ms, time_ms;
    } cases[] = {
        { EPOCH_MS, EPOCH_MS },
        { EPOCH_MS + 1, EPOCH_MS + 1 },
        { INT64_C(1800000000123), INT64_C(1800000000123) },
        { 0, EPOCH_MS },
        { -1, EPOCH_MS },
        { INT64_MIN, EPOCH_MS },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t id = ident_at_time_ms(cases[i].wall_ms);
        if (ident_time_ms(id) != cases[i].time_ms)
            fail_msg("row %zu: %lld", i, (long long)ident_time_ms(id));
    }
    assert_true(ident_at_time_ms(INT64_MAX) > ident_at_time_ms(INT64_C(3700000000000)));
}

static void text_is_read_back_and_sorts_like_the_number(void **state)
{
    static const struct {
        int64_t id;
        const char *text;
    } cases[] = {
        { 1, "0000000000001" },         { 31, "000000000000z" },
        { 32, "0000000000010" },        { INT64_C(1) << 60, "1000000000000" },
        { INT64_MAX, "7zzzzzzzzzzzz" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[IDENT_TEXT_BYTES];
        int64_t back = 0;
        ident_format(cases[i].id, text);
        if (strcmp(text, cases[i].text) != 0)
            fail_msg("row %zu: got %s, want %s", i, text, cases[i].text);
        if (!ident_parse(slice_of(text), &back) || back != cases[i].id)
            fail_msg("row %zu: read back as %lld", i, (long long)back);
    }
}

static void only_what_format_writes_is_parsed(void **state)
{
    static const struct {
        struct slice text;
        bool want;
    } cases[] = {
        { SLICE("0000000000001"), true },
        { SLICE("7ZZZZZZZZZZZZ"), true },
        { SLICE("0000000000000"), false },
        { SLICE("8000000000000"), false },
        { SLICE("zzzzzzzzzzzzz"), false },
        { SLICE("000000000001"), false },
        { SLICE("00000000000001"), false },
        { SLICE("000000000000i"), false },
        { SLICE("000000000000L"), false },
        { SLICE("000000000000o"), false },
        { SLICE("000000000000u"), false },
        { SLICE("000000000000 "), false },
        { SLICE("00000000000\x001"), false },
        { SLICE("-000000000001"), false },
        { SLICE("\xff"
                "000000000001"),
          false },
        { SLICE("000000000000\0"), false },
        { SLICE(""), false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t id;
        if (ident_parse(cases[i].text, &id) != cases[i].want)
            fail_msg("row %zu: '%.*s'", i, SLICE_ARG(cases[i].text));
    }
}

enum { THREADS = 4, EACH = 20000 };

struct batch {
    pthread_t thread;
    int64_t ids[EACH];
    char sessions[EACH / 20][IDENT_SESSION_BYTES];
};

static void *take_ids(void *owner)
{
    struct batch *batch = owner;

    for (size_t i = 0; i < EACH; i++)
        batch->ids[i] = ident_next();
    for (size_t i = 0; i < ARRAY_LEN(batch->sessions); i++)
        ident_session(batch->sessions[i]);
    return NULL;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void threads_never_get_the_same_name(void **state)
{
    static struct batch batches[THREADS];
    static int64_t all[THREADS * EACH];
    static char sessions[THREADS * EACH / 20][IDENT_SESSION_BYTES];

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&batches[i].thread, NULL, take_ids, &batches[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(batches[i].thread, NULL);
        memcpy(all + i * EACH, batches[i].ids, sizeof(batches[i].ids));
        memcpy(sessions[i * EACH / 20], batches[i].sessions, sizeof(batches[i].sessions));
        for (size_t j = 1; j < EACH; j++)
            assert_true(batches[i].ids[j] > batches[i].ids[j - 1]);
    }
    qsort(all, ARRAY_LEN(all), sizeof(all[0]), compare_ids);
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        assert_true(all[i] > all[i - 1]);
    qsort(sessions, ARRAY_LEN(sessions), sizeof(sessions[0]), compare_texts);
    for (size_t i = 0; i < ARRAY_LEN(sessions); i++) {
        assert_int_equal(strlen(sessions[i]), IDENT_SESSION_BYTES - 1);
        assert_true(i == 0 || strcmp(sessions[i], sessions[i - 1]) > 0);
    }
}

/* Last, because ids stay there. */
static void a_floor_at_the_end_of_the_range_leaves_ids_to_give_out(void **state)
{
    (void)state;
    ident_raise_floor(INT64_MAX);
    int64_t first = ident_next(), second = ident_next();
    assert_true(first > 0 && second > first);
    clock_replace(&test_clock);
    wall_us = INT64_MAX;
    assert_true(ident_next() > second);
    clock_replace(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_grow_whatever_the_clock_does),
        cmocka_unit_test(the_floor_is_passed_and_never_lowered),
        cmocka_unit_test(times_and_ids_convert_both_ways),
        cmocka_unit_test(text_is_read_back_and_sorts_like_the_number),
        cmocka_unit_test(only_what_format_writes_is_parsed),
        cmocka_unit_test(threads_never_get_the_same_name),
        cmocka_unit_test(a_floor_at_the_end_of_the_range_leaves_ids_to_give_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
