/* stream_peer.c - who is at the other end of a connection? */
#include "relay/net/stream_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* The first twelve octets of an IPv4 address in IPv6's form (RFC 4291 section 2.5.5.2). */
static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static void set_address(struct stream_peer *peer, const struct sockaddr_storage *from)
{
    const struct sockaddr_in *v4 = (const void *)from;
    const struct sockaddr_in6 *v6 = (const void *)from;

    if (from->ss_family == AF_INET) {
        memcpy(peer->address, mapped, sizeof(mapped));
        memcpy(peer->address + sizeof(mapped), &v4->sin_addr, sizeof(v4->sin_addr));
        peer->port = ntohs(v4->sin_port);
    } else {
        memcpy(peer->address, &v6->sin6_addr, sizeof(peer->address));
        peer->port = ntohs(v6->sin6_port);
    }
    peer->has_address = true;
    if (memcmp(peer->address, mapped, sizeof(mapped)) ==
        0) /* also from a socket of both families */
        inet_ntop(AF_INET, peer->address + sizeof(mapped), peer->text, sizeof(peer->text));
    else
        inet_ntop(AF_INET6, peer->address, peer->text, sizeof(peer->text));
}

void stream_peer(const struct stream *s, struct stream_peer *peer)
{
    struct sockaddr_storage from = { 0 };
    int len = sizeof(from);

    *peer = (struct stream_peer){ .text = "unknown" };
    if (s->uv.handle.type == UV_NAMED_PIPE)
        *peer = (struct stream_peer){ .text = "unix" };
    else if (uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)&from, &len) == 0)
        set_address(peer, &from);
}

bool stream_peer_uid(const struct stream *s, uid_t *uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    uv_os_fd_t fd;

    if (s->uv.handle.type != UV_NAMED_PIPE || uv_fileno(&s->uv.handle, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *uid = peer.uid;
    return true;
}
