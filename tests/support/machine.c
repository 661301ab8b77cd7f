/* machine.c - a machine whose wall clock is set, and whose disk fails, under a program that does
 * not know: loaded into the real binary with LD_PRELOAD. What goes wrong is read from a small file
 * that the test maps, too ($LATCHPOST_TEST_MACHINE), so it can begin and end while the program
 * runs. Only files below one folder fail ($LATCHPOST_TEST_DISK).
 *
 * The wall clock is CLOCK_REALTIME and what is made of it; the other clocks are the kernel's. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct machine { /* tests/support/machine.py writes the same */
    _Atomic int64_t wall_lead_ms;
    _Atomic int32_t read_only;     /* not 0: nothing can be written, made or removed */
    _Atomic int32_t failing_syncs; /* so many of the next syncs fail; -1: all */
    _Atomic int32_t refused;       /* what was refused so far, for the test to read */
    _Atomic int32_t hanging_disk;  /* not 0: a sync does not return until this is 0 again */
    _Atomic int32_t hanging_names; /* the same for looking up a name */
    _Atomic int32_t stuck_worker;  /* the same for one worker thread, wherever it is */
    _Atomic int32_t hung;          /* how many hang or have hung, for the test to read */
};

static struct machine healthy, *machine = &healthy;
static const char *folder = "";

__attribute__((constructor)) static void look_at_machine(void)
{
    const char *path = getenv("LATCHPOST_TEST_MACHINE"), *disk = getenv("LATCHPOST_TEST_DISK");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *map = file < 0
                    ? MAP_FAILED
                    : mmap(NULL, sizeof(*machine), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    if (map != MAP_FAILED)
        machine = map;
    if (file >= 0)
        close(file);
    if (disk != NULL)
        folder = disk;
}

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (real == NULL)                                                                              \
    *(void **)(void *)&real = dlsym(RTLD_NEXT, name)

static void hang_while(_Atomic int32_t *word)
{
    const struct timespec pause = { .tv_nsec = 5000000 };

    machine->hung++;
    while (*word != 0)
        nanosleep(&pause, NULL);
}

/* Every turn of a loop asks for the time. The first worker that does is the one. */
static void get_stuck(void)
{
    static _Atomic int taken;
    char name[16] = "";
    int free_place = 0;

    if (machine->stuck_worker == 0 || pthread_getname_np(pthread_self(), name, sizeof(name)) != 0 ||
        strcmp(name, "worker") != 0 || !atomic_compare_exchange_strong(&taken, &free_place, 1))
        return;
    hang_while(&machine->stuck_worker);
    taken = 0;
}

/* --- the wall clock -------------------------------------------------------------------------- */

int clock_gettime(clockid_t which, struct timespec *now)
{
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(which, now);

    get_stuck();

    if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t ms = machine->wall_lead_ms + now->tv_nsec / 1000000;
        now->tv_sec += ms / 1000 - (ms % 1000 < 0);
        now->tv_nsec = (ms % 1000 + (ms % 1000 < 0 ? 1000 : 0)) * 1000000 + now->tv_nsec % 1000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;

    clock_gettime(CLOCK_REALTIME, &precise);
    if (now != NULL)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

/* --- the disk -------------------------------------------------------------------------------- */

static bool is_below(const char *path)
{
    size_t len = strlen(folder);

    return len > 0 && strncmp(path, folder, len) == 0;
}

static bool is_ours(int file)
{
    char link[64], path[PATH_MAX];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len < 0 ? 0 : len] = '\0';
    return is_below(path);
}

static bool refuses(int error)
{
    machine->refused++;
    errno = error;
    return true;
}

static bool refuses_write(int file)
{
    return machine->read_only != 0 && is_ours(file) && refuses(EROFS);
}

static bool refuses_path(const char *path)
{
    return machine->read_only != 0 && is_below(path) && refuses(EROFS);
}

static bool refuses_sync(int file)
{
    if (machine->hanging_disk != 0 && is_ours(file))
        hang_while(&machine->hanging_disk);
    if (machine->failing_syncs == 0 || !is_ours(file))
        return false;
    if (machine->failing_syncs > 0)
        machine->failing_syncs--;
    return refuses(EIO);
}

ssize_t write(int file, const void *bytes, size_t len)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    return refuses_write(file) ? -1 : real(file, bytes, len);
}

ssize_t pwrite(int file, const void *bytes, size_t len, off_t at)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return refuses_write(file) ? -1 : real(file, bytes, len, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t len, off64_t at)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return refuses_write(file) ? -1 : real(file, bytes, len, at);
}

int ftruncate(int file, off_t len)
{
    REAL(int, "ftruncate", int, off_t);
    return refuses_write(file) ? -1 : real(file, len);
}

int ftruncate64(int file, off64_t len)
{
    REAL(int, "ftruncate64", int, off64_t);
    return refuses_write(file) ? -1 : real(file, len);
}

int fsync(int file)
{
    REAL(int, "fsync", int);
    return refuses_sync(file) ? -1 : real(file);
}

int fdatasync(int file)
{
    REAL(int, "fdatasync", int);
    return refuses_sync(file) ? -1 : real(file);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return refuses_path(path) ? -1 : real(path);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return refuses_path(to) ? -1 : real(from, to);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
}

static bool refuses_open(const char *path, int flags)
{
    return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0 && refuses_path(path);
}

int open(const char *path, int flags, ...)
{
    REAL(int, "open", const char *, int, ...);
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return refuses_open(path, flags) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    REAL(int, "open64", const char *, int, ...);
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return refuses_open(path, flags) ? -1 : real(path, flags, mode);
}

/* --- names ------------------------------------------------------------------------------------ */

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict answer)
{
    REAL(int, "getaddrinfo", const char *, const char *, const struct addrinfo *,
         struct addrinfo **);

    if (machine->hanging_names != 0)
        hang_while(&machine->hanging_names);
    return real(name, service, hints, answer);
}
