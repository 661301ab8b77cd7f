/* clock.h - what time is it? Every file that needs the time asks here, so that a test can own it.
 * Any thread. Wall time may jump; monotonic time never goes back. */
#ifndef LATCHPOST_CLOCK_H
#define LATCHPOST_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */
int64_t clock_wall_s(void);
int64_t clock_mono_ms(void); /* milliseconds since some point before start */
int64_t clock_mono_us(void);

/* For tests: from now on both clocks read from these; NULL restores the kernel's. Must be called
 * before other threads run. Each function returns microseconds. */
struct clock_source {
    int64_t (*wall_us)(void);
    int64_t (*mono_us)(void);
};
void clock_replace(const struct clock_source *source);

#endif
