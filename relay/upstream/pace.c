/* pace.c - when may the next message leave for this upstream?
 * The instants lie on a grid that starts anew whenever nobody has booked for a while. It may lag
 * behind the clock by LAG_US, no more: what a late timer lost is made up for, and an idle second
 * does not turn into a burst. */
#include "relay/upstream/pace.h"

#define MINUTE_US 60000000
#define LAG_US    10000
#define LATE_US   50000

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

/* An instant that went by unused is not good any more, so that the messages of all loops keep their
 * distance. Others may have it, if nobody has booked since. */
static void drop_late(struct pace *pace, struct pace_slot *slot, int64_t now_us)
{
    int64_t next = slot->at_us + gap_us(pace);

    if (!slot->booked || now_us <= slot->at_us + LATE_US)
        return;
    slot->booked = false;
    atomic_compare_exchange_strong(&pace->next_us, &next, slot->at_us);
}

int64_t pace_book(struct pace *pace, struct pace_slot *slot, int64_t now_us)
{
    drop_late(pace, slot, now_us);
    if (slot->booked)
        return slot->at_us;
    int64_t next = atomic_load(&pace->next_us);

    do
        slot->at_us = next > now_us - LAG_US ? next : now_us - LAG_US;
    while (!atomic_compare_exchange_weak(&pace->next_us, &next, slot->at_us + gap_us(pace)));
    slot->booked = true;
    return slot->at_us;
}

int64_t pace_foresee(struct pace *pace, struct pace_slot *slot, int64_t now_us)
{
    drop_late(pace, slot, now_us);
    return slot->booked ? slot->at_us : atomic_load(&pace->next_us);
}

void pace_use(struct pace_slot *slot)
{
    slot->booked = false;
}
