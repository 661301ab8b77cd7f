/* listener.c - which address and port are connections taken on?
 * Belongs to its loop's thread. Each loop binds the same port with SO_REUSEPORT, and the kernel
 * spreads connections over them. When file descriptors run out, libuv accepts and drops what waits
 * (it keeps one descriptor for that) and tells nobody: the limit on sessions has to be lower. */
#include "relay/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"

#define LOG_EVERY_MS  1000
#define USUAL_BACKLOG 511 /* the kernel's own limit (somaxconn) applies, too */

struct listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    listener_accept_cb *cb;
    void *owner;
    uint16_t port;
    char *unix_path; /* NULL: TCP */
    dev_t device;    /* of the socket's file: somebody else's is not removed */
    ino_t inode;
    int64_t logged_ms;
};

static void on_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    free(listener->unix_path);
    free(listener);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *listener = server->data;
    int64_t now_ms = clock_mono_ms();

    if (status == 0) {
        listener->cb(listener->owner, server);
        return;
    }
    if (listener->logged_ms != 0 && now_ms - listener->logged_ms < LOG_EVERY_MS)
        return;
    listener->logged_ms = now_ms;
    LOG(LOG_WARNING, "accept_failed", LOG_STR("error", uv_strerror(status)));
}

static struct listener *listener_new(listener_accept_cb *cb, void *owner)
{
    struct listener *listener = xcalloc(1, sizeof(*listener));

    listener->uv.handle.data = listener;
    listener->cb = cb;
    listener->owner = owner;
    return listener;
}

/* --- TCP ------------------------------------------------------------------------------------- */

static int share_port(struct listener *listener)
{
    int on = 1;
    uv_os_fd_t fd;
    int error = uv_fileno(&listener->uv.handle, &fd);

    if (error == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
        error = uv_translate_sys_error(errno);
    return error;
}

static uint16_t bound_port(struct listener *listener)
{
    struct sockaddr_storage name;
    int len = sizeof(name);

    if (uv_tcp_getsockname(&listener->uv.tcp, (struct sockaddr *)&name, &len) != 0)
        return 0;
    return ntohs(name.ss_family == AF_INET ? ((struct sockaddr_in *)&name)->sin_port
                                           : ((struct sockaddr_in6 *)&name)->sin6_port);
}

/* With SO_REUSEPORT the kernel would let two processes of one user share a port, each getting half
 * of the connections. A socket without it cannot be bound while another one listens. */
static int check_alone(const struct sockaddr *address)
{
    socklen_t len =
        address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1, error = 0;

    /* SO_REUSEADDR: connections of an earlier process that linger are no reason to refuse. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, address, len) != 0)
        error = uv_translate_sys_error(errno);
    if (fd >= 0)
        close(fd);
    return error;
}

/* NULL and *error. An IPv6 socket takes both families: libuv switches IPV6_V6ONLY off. */
static struct listener *open_tcp(struct loop *loop, const struct sockaddr *address,
                                 const struct listener_options *options, listener_accept_cb *cb,
                                 void *owner, int *error)
{
    struct listener *listener;

    *error = options->alone ? check_alone(address) : 0;
    if (*error != 0)
        return NULL;
    listener = listener_new(cb, owner);
    *error = uv_tcp_init_ex(&loop->uv, &listener->uv.tcp, address->sa_family);
    if (*error != 0) {
        free(listener); /* libuv has taken its handle back */
        return NULL;
    }
    *error = share_port(listener);
    if (*error == 0)
        *error = uv_tcp_bind(&listener->uv.tcp, address, 0);
    if (*error == 0)
        *error = uv_listen(&listener->uv.stream, options->backlog, on_connection);
    if (*error != 0) {
        uv_close(&listener->uv.handle, on_closed);
        return NULL;
    }
    listener->port = bound_port(listener);
    return listener;
}

/* Every loop that was given the same socket is woken by a connection, and one of them gets it. */
static struct listener *open_inherited(struct loop *loop, const struct listener_options *options,
                                       listener_accept_cb *cb, void *owner, struct why *why)
{
    struct listener *listener = listener_new(cb, owner);
    int fd = fcntl(options->inherited, F_DUPFD_CLOEXEC, 0);
    int error = fd < 0 ? uv_translate_sys_error(errno) : 0;

    if (error == 0)
        error = uv_tcp_init(&loop->uv, &listener->uv.tcp);
    if (error != 0) {
        if (fd >= 0)
            close(fd);
        free(listener);
    } else {
        error = uv_tcp_open(&listener->uv.tcp, fd);
        if (error != 0)
            close(fd);
        else
            error = uv_listen(&listener->uv.stream, options->backlog, on_connection);
        if (error != 0)
            uv_close(&listener->uv.handle, on_closed);
    }
    if (error != 0) {
        why_set(why, "cannot listen on the socket that was given for %s port %u: %s",
                options->address, (unsigned)options->port, uv_strerror(error));
        return NULL;
    }
    listener->port = bound_port(listener);
    return listener;
}

static bool parse_address(const char *text, uint16_t port, struct sockaddr_storage *address)
{
    return uv_ip4_addr(text, port, (struct sockaddr_in *)address) == 0 ||
           uv_ip6_addr(text, port, (struct sockaddr_in6 *)address) == 0;
}

/* What to do about it, where that is not obvious. */
static const char *advice(int error)
{
    switch (error) {
    case UV_EADDRINUSE:
        return " (another program listens there)";
    case UV_EACCES:
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)";
    case UV_EADDRNOTAVAIL:
        return " (it is not an address of this machine)";
    default:
        return "";
    }
}

static struct listener *open_address(struct loop *loop, const struct listener_options *options,
                                     listener_accept_cb *cb, void *owner, struct why *why)
{
    bool any = strcmp(options->address, "*") == 0;
    struct sockaddr_storage address;
    struct listener *listener;
    int error;

    if (!parse_address(any ? "::" : options->address, options->port, &address)) {
        why_set(why, "cannot listen on %s: it is not an IP address, nor \"*\"", options->address);
        return NULL;
    }
    listener = open_tcp(loop, (struct sockaddr *)&address, options, cb, owner, &error);
    if (any &&
        (error == UV_EAFNOSUPPORT || error == UV_EADDRNOTAVAIL)) { /* a kernel without IPv6 */
        parse_address("0.0.0.0", options->port, &address);
        listener = open_tcp(loop, (struct sockaddr *)&address, options, cb, owner, &error);
    }
    if (listener == NULL)
        why_set(why, "cannot listen on %s port %u: %s%s", options->address, (unsigned)options->port,
                uv_strerror(error), advice(error));
    return listener;
}

/* --- Unix ------------------------------------------------------------------------------------ */

static bool set_path(struct sockaddr_un *address, const char *path, struct why *why)
{
    size_t len = strlen(path);

    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (len >= sizeof(address->sun_path))
        return why_set(why, "cannot listen on %s: the path is longer than %zu characters", path,
                       sizeof(address->sun_path) - 1);
    memcpy(address->sun_path, path, len);
    return true;
}

/* Does somebody answer there? Without waiting: a full backlog is an answer, too. */
static int try_to_connect(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        error = errno;
    close(fd);
    return error;
}

/* Removes what a process that is gone has left: a socket on which nobody answers, nothing else. */
static bool clear_path(const struct sockaddr_un *address, struct why *why)
{
    const char *path = address->sun_path;
    struct stat info;

    if (lstat(path, &info) != 0)
        return errno == ENOENT || why_errno(why, errno, "cannot look at %s", path);
    if (!S_ISSOCK(info.st_mode))
        return why_set(why, "cannot listen on %s: a file that is not a socket is there", path);
    int error = try_to_connect(address);
    if (error == 0 || error == EAGAIN)
        return why_set(why, "cannot listen on %s: another process answers there", path);
    if (error != ECONNREFUSED && error != ENOENT)
        return why_errno(why, error, "cannot find out whether %s is in use", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return why_errno(why, errno, "cannot remove the old socket %s", path);
    return true;
}

/* A bound socket of mode 0600, or -1. Linux gives the file the mode of the socket, so nobody else
 * can connect even for a moment, and the umask, which belongs to all threads, stays as it is. */
static int bind_private(const struct sockaddr_un *address, struct why *why)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        why_errno(why, errno, "cannot listen on %s", address->sun_path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* Takes over fd, also when it fails. */
static struct listener *listen_unix(struct loop *loop, int fd, const char *path, int backlog,
                                    listener_accept_cb *cb, void *owner, struct why *why)
{
    struct listener *listener = listener_new(cb, owner);
    struct stat info;

    uv_pipe_init(&loop->uv, &listener->uv.pipe, 0);
    int error = uv_pipe_open(&listener->uv.pipe, fd);
    if (error != 0)
        close(fd);
    else
        error = uv_listen(&listener->uv.stream, backlog, on_connection);
    if (error == 0 && lstat(path, &info) != 0)
        error = uv_translate_sys_error(errno);
    if (error != 0) {
        why_set(why, "cannot listen on %s: %s", path, uv_strerror(error));
        unlink(path);
        uv_close(&listener->uv.handle, on_closed);
        return NULL;
    }
    listener->unix_path = xstrdup(path);
    listener->device = info.st_dev;
    listener->inode = info.st_ino;
    return listener;
}

static struct listener *open_unix(struct loop *loop, const struct listener_options *options,
                                  listener_accept_cb *cb, void *owner, struct why *why)
{
    struct sockaddr_un address;

    if (!set_path(&address, options->unix_path, why) || !clear_path(&address, why))
        return NULL;
    int fd = bind_private(&address, why);
    if (fd < 0)
        return NULL;
    return listen_unix(loop, fd, options->unix_path, options->backlog, cb, owner, why);
}

/* --- life ------------------------------------------------------------------------------------ */

struct listener *listener_open(struct loop *loop, const struct listener_options *options,
                               listener_accept_cb *cb, void *owner, struct why *why)
{
    struct listener_options actual = *options;

    if (actual.backlog <= 0)
        actual.backlog = USUAL_BACKLOG;
    if (actual.unix_path != NULL)
        return open_unix(loop, &actual, cb, owner, why);
    if (actual.inherited > 0)
        return open_inherited(loop, &actual, cb, owner, why);
    return open_address(loop, &actual, cb, owner, why);
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_close(struct listener *listener)
{
    struct stat info;

    if (listener == NULL)
        return;
    if (listener->unix_path != NULL && lstat(listener->unix_path, &info) == 0 &&
        info.st_dev == listener->device && info.st_ino == listener->inode)
        unlink(listener->unix_path);
    uv_close(&listener->uv.handle, on_closed);
}
