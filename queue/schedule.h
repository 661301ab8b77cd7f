/* schedule.h - when to try again, and when to give up? (pure)
 * Time and chance are arguments, so a test owns both. */
#ifndef LATCHPOST_SCHEDULE_H
#define LATCHPOST_SCHEDULE_H

#include "queue/queue.h"

#define SCHEDULE_GIVE_UP         ((int64_t)-1)
#define SCHEDULE_JITTER_PERMILLE 200 /* each wait is longer or shorter by up to a fifth */

/* How long to wait before the next attempt, or SCHEDULE_GIVE_UP. attempts: how many have failed,
 * this one included (at least 1). jitter_permille: from -SCHEDULE_JITTER_PERMILLE to
 * SCHEDULE_JITTER_PERMILLE. */
int64_t schedule_wait(const struct queue_schedule *schedule, unsigned attempts, int64_t age_ms,
                      int jitter_permille);

/* An age for people, in its largest whole unit: "4d", "36h" is "1d", "90s" is "1m", "0s". */
#define SCHEDULE_AGE_BYTES 24
void schedule_format_age(int64_t age_ms, char text[static SCHEDULE_AGE_BYTES]);

#endif
