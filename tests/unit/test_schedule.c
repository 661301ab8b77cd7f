#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/schedule.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static const struct queue_schedule schedule = {
    .retry_ms = { 1 * MINUTE, 5 * MINUTE, 4 * HOUR },
    .retry_count = 3,
    .max_age_ms = 4 * DAY,
};

static void schedule_wait_follows_the_list_and_repeats_its_last(void **state)
{
    static const struct {
        const char *name;
        unsigned attempts;
        int64_t age_ms;
        int jitter;
        int64_t want;
    } rows[] = {
        { "first failure", 1, 0, 0, 1 * MINUTE },
        { "second failure", 2, 0, 0, 5 * MINUTE },
        { "third failure", 3, 0, 0, 4 * HOUR },
        { "far beyond the list", 4000000000u, 0, 0, 4 * HOUR },
        { "a fifth earlier", 1, 0, -200, 48000 },
        { "a fifth later", 1, 0, 200, 72000 },
        { "jitter of a long wait", 3, 0, 125, 4 * HOUR + 30 * MINUTE },
        { "never beyond the maximal age", 3, 4 * DAY - HOUR, 200, HOUR },
        { "just before the end", 1, 4 * DAY - 1, 0, 1 },
        { "an age below nothing", 1, -10 * DAY, 0, 1 * MINUTE },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t got = schedule_wait(&schedule, rows[i].attempts, rows[i].age_ms, rows[i].jitter);
        if (got != rows[i].want)
            fail_msg("%s: got %lld, want %lld", rows[i].name, (long long)got,
                     (long long)rows[i].want);
    }
}

static void schedule_wait_gives_up_at_the_maximal_age(void **state)
{
    (void)state;
    assert_int_equal(schedule_wait(&schedule, 1, 4 * DAY, 0), SCHEDULE_GIVE_UP);
    assert_int_equal(schedule_wait(&schedule, 9, 40 * DAY, 200), SCHEDULE_GIVE_UP);
}

static void schedule_wait_survives_absurd_waits(void **state)
{
    struct queue_schedule absurd = { .retry_ms = { INT64_MAX, -5 },
                                     .retry_count = 2,
                                     .max_age_ms = INT64_MAX };
    (void)state;
    assert_true(schedule_wait(&absurd, 1, 0, 200) > 0);
    assert_int_equal(schedule_wait(&absurd, 2, 0, 200), 0);
}

static void schedule_format_age_uses_the_largest_whole_unit(void **state)
{
    static const struct {
        int64_t ms;
        const char *want;
    } rows[] = {
        { 4 * DAY, "4d" }, { 36 * HOUR, "1d" }, { 5 * HOUR, "5h" }, { 90000, "1m" },
        { 59999, "59s" },  { 1, "0s" },         { 0, "0s" },        { -5, "0s" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[SCHEDULE_AGE_BYTES];
        schedule_format_age(rows[i].ms, text);
        if (strcmp(text, rows[i].want) != 0)
            fail_msg("%lld: got %s, want %s", (long long)rows[i].ms, text, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedule_wait_follows_the_list_and_repeats_its_last),
        cmocka_unit_test(schedule_wait_gives_up_at_the_maximal_age),
        cmocka_unit_test(schedule_wait_survives_absurd_waits),
        cmocka_unit_test(schedule_format_age_uses_the_largest_whole_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
