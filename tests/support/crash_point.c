/* crash_point.c - ends the process it is preloaded into at one exact point, as kill -9 would.
 *
 *     LD_PRELOAD=crash_point.so CRASH_POINT=NAME CRASH_ARM=FILE latchpost serve ...
 *
 * Nothing happens before FILE exists: then, NAME being one of
 *     write    the next transaction of queue.db is about to be written to its log
 *     append   ... the one after the next
 *     sync     it is written, and is about to be synced
 *     synced   it is on disk, and nobody has been told
 *     reply    "queued as" is about to go out to a client
 *     replied  it has gone out
 *
 * It stands between the program and the C library's calls for files and sockets. Any thread. */
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_due(const char *name)
{
    const char *point = getenv("CRASH_POINT");
    const char *arm = getenv("CRASH_ARM");

    return point != NULL && arm != NULL && strcmp(point, name) == 0 && access(arm, F_OK) == 0;
}

static void end_if(bool here, const char *name)
{
    if (here && is_due(name))
        kill(getpid(), SIGKILL);
}

/* The function that the program would have called. */
static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL)
        abort();
    return function;
}

/* --- the log of queue.db ---------------------------------------------------------------------- */

static bool is_log(int fd)
{
    static const char want[] = "/queue.db-wal";
    char link[64];
    char path[4096];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path));

    return len >= (ssize_t)sizeof(want) - 1 &&
           memcmp(path + len - (sizeof(want) - 1), want, sizeof(want) - 1) == 0;
}

/* Only the queue's writer thread syncs its log. */
static unsigned syncs;

static int sync_by(int (*sync_fn)(int), int fd)
{
    bool log = is_log(fd);

    end_if(log, "sync");
    int result = sync_fn(fd);

    end_if(log && result == 0, "synced");
    if (log && is_due("append"))
        syncs++;
    return result;
}

static void before_write(int fd)
{
    bool log = is_log(fd);

    end_if(log, "write");
    end_if(log && syncs > 0, "append");
}

int fdatasync(int fd)
{
    return sync_by((int (*)(int))real("fdatasync"), fd);
}

int fsync(int fd)
{
    return sync_by((int (*)(int))real("fsync"), fd);
}

typedef ssize_t pwrite_fn(int, const void *, size_t, off64_t);

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    before_write(fd);
    return ((pwrite_fn *)real("pwrite"))(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    before_write(fd);
    return ((pwrite_fn *)real("pwrite64"))(fd, bytes, len, at);
}

/* --- the reply -------------------------------------------------------------------------------- */

static bool is_reply(const void *bytes, size_t len)
{
    static const char words[] = "250 2.0.0 queued as ";

    return memmem(bytes, len, words, sizeof(words) - 1) != NULL;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    bool reply = is_reply(bytes, len);

    end_if(reply, "reply");
    ssize_t result = ((ssize_t(*)(int, const void *, size_t))real("write"))(fd, bytes, len);

    end_if(reply && result > 0, "replied");
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    bool reply = false;

    for (int i = 0; i < count; i++)
        reply = reply || is_reply(parts[i].iov_base, parts[i].iov_len);
    end_if(reply, "reply");
    ssize_t result = ((ssize_t(*)(int, const struct iovec *, int))real("writev"))(fd, parts, count);

    end_if(reply && result > 0, "replied");
    return result;
}
