/* clock.h - what time is it? Every file that needs the time asks here, so that a test can own it.
 * Any thread. Wall time may jump, by days and in both directions; what is measured or waited for is
 * measured by one of the others, which nobody sets. */
#ifndef LATCHPOST_CLOCK_H
#define LATCHPOST_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */
int64_t clock_wall_s(void);
int64_t clock_mono_ms(void); /* milliseconds since some point before start */
int64_t clock_mono_us(void);
/* Milliseconds since the machine started; unlike monotonic time it goes on while the machine is
 * asleep. */
int64_t clock_boot_ms(void);
/* What that start is called: another name means that clock_boot_ms() began anew. "" when the kernel
 * does not tell. */
#define CLOCK_BOOT_NAME_BYTES 40
void clock_boot_name(char name[static CLOCK_BOOT_NAME_BYTES]);
/* Looks it up once for all, before the process loses sight of /proc and before it has threads. */
void clock_learn_boot_name(void);

/* For tests: from now on both clocks read from these; NULL restores the kernel's. Must be called
 * before other threads run. Each function returns microseconds. */
struct clock_source {
    int64_t (*wall_us)(void);
    int64_t (*mono_us)(void);
};
void clock_replace(const struct clock_source *source);
/* The same for the start of the machine. boot_us: NULL is monotonic time, which is what it is after
 * clock_replace(), too; name: NULL is the kernel's. */
void clock_replace_boot(int64_t (*boot_us)(void), const char *name);

#endif
