/* timeline.h - what time is it for the queue, and how long has it run?
 * Times are milliseconds; both begin as unix time, and neither is moved by whoever sets the wall
 * clock (see timeline.c). */
#ifndef LATCHPOST_TIMELINE_H
#define LATCHPOST_TIMELINE_H

#include <stdint.h>

#include "relay/base/clock.h"

#define TIMELINE_LAST_MS INT64_C(253402300799999) /* the end of the year 9999 */

struct timeline_point { /* a moment, as it is kept for the next process */
    int64_t now_ms, lived_ms;
    int64_t wall_ms, boot_ms;
    char boot_name[CLOCK_BOOT_NAME_BYTES];
};

struct timeline {
    /* Constant once it began. */
    struct timeline_point began;
    int64_t mono_ms; /* then */
    /* The writer's. */
    int64_t wall_lead_ms; /* of the wall clock, when it was last looked at */
};

/* last: the latest point that an earlier process kept, or NULL when there was none: then
 * first_due_ms is when the first of what waits is due, INT64_MAX when nothing waits. */
void timeline_begin(struct timeline *timeline, const struct timeline_point *last,
                    int64_t first_due_ms);

int64_t timeline_now_ms(const struct timeline *timeline);   /* what is due? Any thread */
int64_t timeline_lived_ms(const struct timeline *timeline); /* how old? Any thread */

void timeline_mark(const struct timeline *timeline, struct timeline_point *point);

/* By how much the wall clock was set since this was last asked; 0 for less than a minute. */
int64_t timeline_wall_jump_ms(struct timeline *timeline);

#endif
