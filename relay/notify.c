/* notify.c - what does the service manager know of us? */
#include "relay/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/slice.h"

/* A manager that does not read its socket must not stop the mail. */
#define PATIENCE_MS 500

/* --- the environment -------------------------------------------------------------------------- */

/* A path, or with '@' the name of an abstract socket, whose first byte is NUL. */
static bool set_address(struct notify *notify, const char *text, struct why *why)
{
    size_t len = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || len < 2)
        return why_set(why, "NOTIFY_SOCKET is neither a path nor an abstract socket: %s", text);
    if (len >= sizeof(notify->address.sun_path))
        return why_set(why, "NOTIFY_SOCKET is longer than %zu characters",
                       sizeof(notify->address.sun_path) - 1);
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, text, len);
    notify->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (text[0] == '@')
        notify->address.sun_path[0] = '\0';
    return true;
}

/* WATCHDOG_PID, where it is given, says whom WATCHDOG_USEC is for. */
static uint64_t read_beat(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t allowed_us, whom;

    if (usec == NULL || !slice_to_u64(slice_of(usec), &allowed_us) || allowed_us == 0)
        return 0;
    if (pid != NULL && (!slice_to_u64(slice_of(pid), &whom) || whom != (uint64_t)getpid()))
        return 0;
    return allowed_us / 2000 == 0 ? 1 : allowed_us / 2000;
}

static bool open_socket(struct notify *notify, struct why *why)
{
    const struct timeval patience = { .tv_usec = PATIENCE_MS * 1000 };

    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify->fd < 0)
        return why_errno(why, errno, "cannot make a socket for the service manager");
    (void)setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return true;
}

bool notify_open(struct notify *notify, struct why *why)
{
    const char *text = getenv("NOTIFY_SOCKET");
    bool ok = true;

    *notify = (struct notify){ .fd = -1 };
    if (text != NULL && text[0] != '\0')
        ok = set_address(notify, text, why) && open_socket(notify, why);
    if (notify->fd >= 0)
        notify->beat_ms = read_beat();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return ok;
}

bool notify_is_abstract(const struct notify *notify)
{
    return notify->fd >= 0 && notify->address.sun_path[0] == '\0';
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

/* --- what is said ----------------------------------------------------------------------------- */

/* To the address each time, since a manager that was started anew listens on a new socket. What
 * cannot be said is not said again: a missing READY or WATCHDOG is acted on by the manager. */
static void say(const struct notify *notify, const char *text)
{
    if (notify->fd >= 0)
        (void)sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL,
                     (const struct sockaddr *)&notify->address, notify->address_len);
}

void notify_ready(const struct notify *notify, const char *status)
{
    char text[700];

    snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
    say(notify, text);
}

void notify_reloading(const struct notify *notify)
{
    struct timespec now = { 0 };
    char text[100];

    clock_gettime(CLOCK_MONOTONIC, &now); /* the manager's clock, not one that tests replace */
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reloading",
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    say(notify, text);
}

void notify_stopping(const struct notify *notify, uint64_t within_ms)
{
    char text[160];

    snprintf(text, sizeof(text),
             "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64
             "\nSTATUS=Finishing what is under way, %" PRIu64 " s at most",
             within_ms * 1000, (within_ms + 999) / 1000);
    say(notify, text);
}

void notify_alive(const struct notify *notify)
{
    say(notify, "WATCHDOG=1");
}
