/* pace.h - when may the next message leave for this upstream?
 * One pace an upstream, for all loops: every call from any thread. */
#ifndef LATCHPOST_PACE_H
#define LATCHPOST_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pace {
    _Atomic unsigned rate;   /* messages a minute; 0: no ceiling */
    _Atomic int64_t next_us; /* the first instant that nobody has booked; monotonic */
};

/* Also later, with another rate; what is booked stays booked. */
void pace_set(struct pace *pace, unsigned rate, int64_t now_us);
bool pace_is_set(struct pace *pace);

/* The instant at which one message may leave; it is the caller's alone, and may lie a little in the
 * past. Instants are as far apart as the rate says, so whoever books and waits has its turn, and
 * nobody sends too much. Only while pace_is_set(). */
int64_t pace_book(struct pace *pace, int64_t now_us);
/* An instant that was booked and not used. It comes to good only when nobody has booked since. */
void pace_unbook(struct pace *pace, int64_t at_us);

#endif
