/* clock.c - what time is it?
 * The source is a plain pointer: it is replaced, if at all, before other threads run. */
#include "relay/base/clock.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t kernel_us(clockid_t which)
{
    struct timespec now = { 0 };

    clock_gettime(which, &now); /* cannot fail for these clocks */
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

static int64_t kernel_boot_us(void)
{
    return kernel_us(CLOCK_BOOTTIME);
}

static const struct clock_source kernel_clock = { kernel_wall_us, kernel_mono_us };
static const struct clock_source *current = &kernel_clock;
static int64_t (*current_boot_us)(void) = kernel_boot_us;
static const char *replaced_boot_name;

void clock_replace(const struct clock_source *source)
{
    current = source == NULL ? &kernel_clock : source;
    current_boot_us = source == NULL ? kernel_boot_us : source->mono_us;
    replaced_boot_name = NULL;
}

void clock_replace_boot(int64_t (*boot_us)(void), const char *name)
{
    current_boot_us = boot_us == NULL ? current->mono_us : boot_us;
    replaced_boot_name = name;
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

int64_t clock_boot_ms(void)
{
    return current_boot_us() / 1000;
}

static void read_boot_name(char name[static CLOCK_BOOT_NAME_BYTES])
{
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t len = file < 0 ? 0 : read(file, name, CLOCK_BOOT_NAME_BYTES - 1);

    if (file >= 0)
        close(file);
    name[len < 0 ? 0 : len] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

static char learnt_boot_name[CLOCK_BOOT_NAME_BYTES];

void clock_learn_boot_name(void)
{
    read_boot_name(learnt_boot_name);
}

void clock_boot_name(char name[static CLOCK_BOOT_NAME_BYTES])
{
    if (replaced_boot_name == NULL) {
        memcpy(name, learnt_boot_name, CLOCK_BOOT_NAME_BYTES);
        if (name[0] == '\0')
            read_boot_name(name);
        return;
    }
    size_t len = strnlen(replaced_boot_name, CLOCK_BOOT_NAME_BYTES - 1);
    memcpy(name, replaced_boot_name, len);
    name[len] = '\0';
}
