/* schedule.c - when to try again, and when to give up? (pure)
 * The waits are the operator's list, the last one repeated. The last attempt is made at the end of
 * the maximal age and not up to one wait later, so "for 4 days" means 4 days. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "queue/schedule.h"

/* Longer waits from a configuration mean "never"; the bound keeps the sums below far from overflow.
 */
#define WAIT_MAX_MS (INT64_C(3650) * 24 * 3600 * 1000)

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int64_t schedule_wait(const struct queue_schedule *schedule, unsigned attempts, int64_t age_ms,
                      int jitter_permille)
{
    assert(attempts >= 1);
    assert(schedule->retry_count >= 1 && schedule->retry_count <= QUEUE_RETRIES_MAX);

    if (age_ms >= schedule->max_age_ms)
        return SCHEDULE_GIVE_UP;

    size_t step = attempts <= schedule->retry_count ? attempts - 1 : schedule->retry_count - 1;
    int64_t wait = clamp(schedule->retry_ms[step], 0, WAIT_MAX_MS);
    wait += wait / 1000 * jitter_permille + wait % 1000 * jitter_permille / 1000;
    /* A crash makes a message younger by up to a minute (timeline.c), even less than new. */
    return clamp(wait, 0, schedule->max_age_ms - clamp(age_ms, 0, INT64_MAX));
}

void schedule_format_age(int64_t age_ms, char text[static SCHEDULE_AGE_BYTES])
{
    static const struct {
        int64_t ms;
        char name;
    } units[] = { { 86400000, 'd' }, { 3600000, 'h' }, { 60000, 'm' }, { 1000, 's' } };
    size_t unit = 0;

    while (unit + 1 < ARRAY_LEN(units) && age_ms < units[unit].ms)
        unit++;
    snprintf(text, SCHEDULE_AGE_BYTES, "%" PRId64 "%c",
             clamp(age_ms, 0, INT64_MAX) / units[unit].ms, units[unit].name);
}
