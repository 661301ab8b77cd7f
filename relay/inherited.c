/* inherited.c - which listening sockets were we given? */
#include "relay/inherited.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/slice.h"

#define FIRST_FD 3

/* --- what was given --------------------------------------------------------------------------- */

static bool read_address(struct inherited_socket *socket, const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;

        socket->port = ntohs(in->sin_port);
        socket->is_loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
        return inet_ntop(AF_INET, &in->sin_addr, socket->address, sizeof(socket->address)) != NULL;
    }
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;

        socket->port = ntohs(in->sin6_port);
        socket->is_loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
        return inet_ntop(AF_INET6, &in->sin6_addr, socket->address, sizeof(socket->address)) !=
               NULL;
    }
    return false;
}

static bool has_option(int fd, int option, int want)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == want;
}

static bool look_at(struct inherited_socket *socket, struct why *why)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof(address);

    if (!has_option(socket->fd, SO_TYPE, SOCK_STREAM) ||
        !has_option(socket->fd, SO_ACCEPTCONN, 1) ||
        getsockname(socket->fd, (struct sockaddr *)&address, &len) != 0 ||
        !read_address(socket, &address))
        return why_set(why, "file descriptor %d (\"%s\") is not a TCP socket that listens",
                       socket->fd, socket->name);
    if (fcntl(socket->fd, F_SETFD, FD_CLOEXEC) != 0)
        return why_errno(why, errno, "file descriptor %d", socket->fd);
    return true;
}

/* How many are for us? LISTEN_PID says for whom: a child of whoever they were for has it, too. */
static size_t count_given(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t whom, count;

    if (pid == NULL || fds == NULL || !slice_to_u64(slice_of(pid), &whom) ||
        whom != (uint64_t)getpid() || !slice_to_u64(slice_of(fds), &count))
        return 0;
    return count > INHERITED_MAX ? INHERITED_MAX : (size_t)count;
}

bool inherited_open(struct inherited *inherited, struct why *why)
{
    const char *names = getenv("LISTEN_FDNAMES");
    struct slice rest = slice_of(names == NULL ? "" : names);
    size_t count = count_given();
    bool ok = true;

    *inherited = (struct inherited){ xcalloc(count + 1, sizeof(struct inherited_socket)), count };
    for (size_t i = 0; i < count; i++) {
        struct slice name = slice_cut(&rest, ':');

        inherited->sockets[i].fd = FIRST_FD + (int)i;
        inherited->sockets[i].name = xstrndup(name.len > 0 ? name.data : "", name.len);
    }
    for (size_t i = 0; ok && i < count; i++)
        ok = look_at(&inherited->sockets[i], why);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return ok;
}

void inherited_close(struct inherited *inherited)
{
    for (size_t i = 0; i < inherited->count; i++) {
        close(inherited->sockets[i].fd);
        free(inherited->sockets[i].name);
    }
    free(inherited->sockets);
    *inherited = (struct inherited){ NULL, 0 };
}

/* --- whom they serve -------------------------------------------------------------------------- */

static bool is_same_address(const char *a, const char *b)
{
    uint8_t x[16], y[16];

    if (inet_pton(AF_INET, a, x) == 1)
        return inet_pton(AF_INET, b, y) == 1 && memcmp(x, y, 4) == 0;
    return inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1 &&
           memcmp(x, y, 16) == 0;
}

bool inherited_serves(const struct inherited *inherited, size_t i, const char *name,
                      const char *address, uint16_t port, const char *const *names)
{
    const struct inherited_socket *socket = &inherited->sockets[i];

    for (size_t n = 0; names[n] != NULL; n++)
        if (strcmp(socket->name, names[n]) == 0)
            return strcmp(socket->name, name) == 0;
    if (socket->port != port)
        return false;
    if (strcmp(address, "*") == 0)
        return strcmp(socket->address, "::") == 0 || strcmp(socket->address, "0.0.0.0") == 0;
    return is_same_address(socket->address, address);
}
