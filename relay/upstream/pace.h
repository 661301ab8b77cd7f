/* pace.h - when may the next message leave for this upstream?
 * One pace an upstream, for all loops; each has a slot of its own. */
#ifndef LATCHPOST_PACE_H
#define LATCHPOST_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pace {                /* any thread */
    _Atomic unsigned rate;   /* messages a minute; 0: no ceiling */
    _Atomic int64_t next_us; /* the first instant that nobody has booked; monotonic */
};
struct pace_slot { /* one loop's; zeroed */
    bool booked;
    int64_t at_us;
};

/* Also later, with another rate; what is booked stays booked. */
void pace_set(struct pace *pace, unsigned rate, int64_t now_us);
bool pace_is_set(struct pace *pace);

/* The next two only while pace_is_set(). The instant at which one message of this slot may leave,
 * booked if it was not; it may lie a little in the past. Instants are as far apart as the rate
 * says, so whoever books and waits has its turn, and nobody sends too much. What is booked, nobody
 * else can have: only who could send at that time should. */
int64_t pace_book(struct pace *pace, struct pace_slot *slot, int64_t now_us);
/* The same without booking: what is booked in this slot, else the first instant that is free. */
int64_t pace_foresee(struct pace *pace, struct pace_slot *slot, int64_t now_us);
void pace_use(struct pace_slot *slot); /* a message leaves */

#endif
