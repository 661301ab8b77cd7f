/* clock.c - what time is it?
 * The source is a plain pointer: it is replaced, if at all, before other threads run. */
#include "relay/base/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t kernel_us(clockid_t which)
{
    struct timespec now = { 0 };

    clock_gettime(which, &now); /* cannot fail for these two clocks */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t kernel_wall_us(void)
{
    return kernel_us(CLOCK_REALTIME);
}

static int64_t kernel_mono_us(void)
{
    return kernel_us(CLOCK_MONOTONIC);
}

static const struct clock_source kernel_clock = { kernel_wall_us, kernel_mono_us };
static const struct clock_source *current = &kernel_clock;

void clock_replace(const struct clock_source *source)
{
    current = source == NULL ? &kernel_clock : source;
}

int64_t clock_wall_ms(void)
{
    return current->wall_us() / 1000;
}

int64_t clock_wall_s(void)
{
    return current->wall_us() / 1000000;
}

int64_t clock_mono_ms(void)
{
    return current->mono_us() / 1000;
}

int64_t clock_mono_us(void)
{
    return current->mono_us();
}
