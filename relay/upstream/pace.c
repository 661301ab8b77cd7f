/* pace.c - when may the next message leave for this upstream?
 * The instants lie on a grid that starts anew whenever nobody has booked for a while. It may lag
 * behind the clock by LAG_US, no more: what a late timer lost is made up for, and an idle second
 * does not turn into a burst. */
#include "relay/upstream/pace.h"

#define MINUTE_US 60000000
#define LAG_US    10000

static int64_t gap_us(struct pace *pace)
{
    int64_t rate = atomic_load_explicit(&pace->rate, memory_order_relaxed);

    return rate == 0 ? 0 : (MINUTE_US + rate - 1) / rate;
}

void pace_set(struct pace *pace, unsigned rate, int64_t now_us)
{
    int64_t next = atomic_load(&pace->next_us);

    atomic_store(&pace->rate, rate);
    int64_t latest = now_us + gap_us(pace);

    /* Nobody waits for what a slower rate had booked far ahead. */
    while (next > latest && !atomic_compare_exchange_weak(&pace->next_us, &next, latest))
        ;
}

bool pace_is_set(struct pace *pace)
{
    return atomic_load_explicit(&pace->rate, memory_order_relaxed) > 0;
}

int64_t pace_book(struct pace *pace, int64_t now_us)
{
    int64_t next = atomic_load(&pace->next_us);
    int64_t at;

    do
        at = next > now_us - LAG_US ? next : now_us - LAG_US;
    while (!atomic_compare_exchange_weak(&pace->next_us, &next, at + gap_us(pace)));
    return at;
}

void pace_unbook(struct pace *pace, int64_t at_us)
{
    int64_t next = at_us + gap_us(pace);

    atomic_compare_exchange_strong(&pace->next_us, &next, at_us);
}
