/* limit.c - is there one left, and if not, when? (pure)
 * A rate is a bucket that holds as many tokens as the rate has a minute and is refilled
 * continuously. Credit is counted in sixty-thousandths of a token, which is what a rate of one a
 * minute earns in a millisecond: whole numbers, nothing is rounded. A clock that goes back earns
 * nothing and takes nothing away. */
#include "auth/auth_priv.h"

#define TOKEN 60000 /* the credit that one message costs; also the milliseconds in a minute */
#define DAY_S 86400

uint64_t limit_least(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void refill(struct limit_rate *rate, unsigned per_minute, int64_t now_ms)
{
    int64_t full = (int64_t)per_minute * TOKEN;
    int64_t elapsed = 0;

    if (!rate->started)
        rate->credit = full;
    else if (now_ms > rate->last_ms)
        elapsed = now_ms - rate->last_ms;
    if (elapsed > TOKEN) /* a minute fills it: bounds the product */
        elapsed = TOKEN;
    rate->credit += elapsed * per_minute;
    if (rate->credit > full)
        rate->credit = full;
    rate->last_ms = now_ms;
    rate->started = true;
}

bool limit_take_rate(struct limit_rate *rate, unsigned per_minute, int64_t now_ms, unsigned *wait_s)
{
    if (per_minute == 0)
        return true;
    refill(rate, per_minute, now_ms);
    if (rate->credit >= TOKEN) {
        rate->credit -= TOKEN;
        return true;
    }
    /* At least 1 because credit is less than a token; at most 60. */
    int64_t earned_in_s = (int64_t)per_minute * 1000;
    *wait_s = (unsigned)((TOKEN - rate->credit + earned_in_s - 1) / earned_in_s);
    return false;
}

/* The largest is when a bucket of any rate has earned all of it again: a minute. */
unsigned limit_rate_left(const struct limit_rate *rate, unsigned per_minute, int64_t now_ms,
                         unsigned *reset_s)
{
    struct limit_rate now = *rate;

    refill(&now, per_minute, now_ms);
    int64_t missing = (int64_t)per_minute * TOKEN - now.credit;
    int64_t earned_in_s = (int64_t)per_minute * 1000;
    *reset_s = (unsigned)((missing + earned_in_s - 1) / earned_in_s);
    return (unsigned)(now.credit / TOKEN);
}

void limit_give_rate(struct limit_rate *rate, unsigned per_minute)
{
    int64_t full = (int64_t)per_minute * TOKEN;

    if (!rate->started)
        return;
    rate->credit += TOKEN;
    if (rate->credit > full)
        rate->credit = full;
}

/* A clock that was set back across midnight must not hand out the day again; one that was days
 * ahead must not hold up the count until that day comes. */
static bool is_another_day(int64_t counted, int64_t today)
{
    return today > counted || today < counted - 1;
}

bool limit_take_day(struct limit_day *day, uint64_t per_day, int64_t now_s, unsigned *wait_s)
{
    int64_t today = now_s / DAY_S;

    if (is_another_day(day->day, today))
        *day = (struct limit_day){ .day = today };
    if (per_day == 0 || day->count < per_day) {
        day->count++;
        return true;
    }
    *wait_s = (unsigned)((day->day + 1) * DAY_S - now_s);
    return false;
}

uint64_t limit_day_left(const struct limit_day *day, uint64_t per_day, int64_t now_s,
                        unsigned *reset_s)
{
    int64_t today = now_s / DAY_S;
    bool fresh = is_another_day(day->day, today);
    uint64_t count = fresh ? 0 : day->count;

    *reset_s = (unsigned)(((fresh ? today : day->day) + 1) * DAY_S - now_s);
    return count < per_day ? per_day - count : 0;
}

void limit_give_day(struct limit_day *day, uint64_t count, int64_t taken_s)
{
    if (day->day == taken_s / DAY_S)
        day->count -= count < day->count ? count : day->count;
}
