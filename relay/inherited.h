/* inherited.h - which listening sockets were we given?
 * Socket activation, as systemd does it (sd_listen_fds(3)): sockets that listen already, from
 * number 3 on, with names. A socket serves the listener of its name (`http` for the HTTP port), or
 * the one of its address and port. They stay open until the process ends; each loop that accepts
 * from one has a descriptor of its own. Main thread. */
#ifndef LATCHPOST_INHERITED_H
#define LATCHPOST_INHERITED_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/why.h"

#define INHERITED_MAX 256

struct inherited_socket {
    int fd;
    char *name; /* "" when it has none */
    char address[INET6_ADDRSTRLEN];
    uint16_t port;
    bool is_loopback;
};

struct inherited {
    struct inherited_socket *sockets;
    size_t count;
};

/* Takes LISTEN_* out of the environment, when it is for us. False and why: something that was given
 * to us is not a TCP socket that listens. */
bool inherited_open(struct inherited *inherited, struct why *why);
/* Does the i-th socket belong to the listener of this name, address (or "*") and port? By its
 * address only where its name is no listener's: `names` has them all, ended by NULL. */
bool inherited_serves(const struct inherited *inherited, size_t i, const char *name,
                      const char *address, uint16_t port, const char *const *names);
void inherited_close(struct inherited *inherited);

#endif
