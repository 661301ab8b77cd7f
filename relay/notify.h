/* notify.h - what does the service manager know of us?
 * sd_notify(3) in our own few lines: datagrams of NAME=value lines to the socket that systemd
 * names. Without systemd every call does nothing. Main thread. */
#ifndef LATCHPOST_NOTIFY_H
#define LATCHPOST_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "relay/base/why.h"

struct notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un address;
    socklen_t address_len;
    uint64_t beat_ms; /* how often notify_alive() is due: half of what is allowed. 0: never */
};

/* Takes what concerns us out of the environment. False and why: somebody wants to know, and cannot
 * be told; everything else works. */
bool notify_open(struct notify *notify, struct why *why);
void notify_close(struct notify *notify);
bool notify_is_abstract(const struct notify *notify); /* it has a name, but not one of a file */

/* status: one line for `systemctl status`. */
void notify_ready(const struct notify *notify, const char *status);
/* notify_ready() must follow, also when the reload failed. */
void notify_reloading(const struct notify *notify);
/* within_ms: how long it may take, at most. */
void notify_stopping(const struct notify *notify, uint64_t within_ms);
void notify_alive(const struct notify *notify);

#endif
