/* harness_net.h - two streams that talk to each other on one loop, and a peer that is a plain
 * socket. For tests only. A `side` owns a stream, collects what it is shown and counts its events;
 * a test sets hooks where it wants more. Everything runs on one thread: a plain socket's bytes wait
 * in the kernel until the loop runs, and what the loop sent is read after it. */
#ifndef LATCHPOST_HARNESS_NET_H
#define LATCHPOST_HARNESS_NET_H

#include <assert.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/buf.h"
#include "relay/net/listener.h"
#include "relay/net/stream.h"

#define SIDE_GOT_MAX (64 * 1024 * 1024)

enum side_event { SIDE_DATA, SIDE_DRAINED, SIDE_CONNECTED, SIDE_SECURE, SIDE_DEADLINE, SIDE_END };
#define SIDE_EVENTS (SIDE_END + 1)

struct side {
    struct stream *stream; /* NULL before it began and after its end */
    struct loop *loop;
    struct buf got;
    unsigned counts[SIDE_EVENTS];
    enum stream_end end;
    char error[200];
    char tls[100];
    /* Hooks; NULL: data is taken, events are counted. `eat` returns how much was used. */
    size_t (*eat)(struct side *side, struct slice data);
    void (*on)(struct side *side, enum side_event event);
    struct side *other;
    void *extra;
};

static inline void side_count(struct side *side, enum side_event event)
{
    assert(side->stream != NULL); /* no event after the end */
    side->counts[event]++;
    if (side->on != NULL)
        side->on(side, event);
}

static inline void side_take(struct side *side, struct slice data)
{
    bool ok = buf_add(&side->got, data);

    assert(ok);
    (void)ok;
}

static inline size_t side_on_data(void *owner, struct slice data)
{
    struct side *side = owner;
    size_t used = data.len;

    assert(side->stream != NULL && data.len > 0);
    side->counts[SIDE_DATA]++;
    if (side->eat != NULL)
        used = side->eat(side, data);
    else
        side_take(side, data);
    if (side->on != NULL && side->stream != NULL)
        side->on(side, SIDE_DATA);
    return used;
}

static inline void side_on_drained(void *owner)
{
    side_count(owner, SIDE_DRAINED);
}

static inline void side_on_connected(void *owner)
{
    side_count(owner, SIDE_CONNECTED);
}

static inline void side_on_secure(void *owner)
{
    struct side *side = owner;

    snprintf(side->tls, sizeof(side->tls), "%s", stream_tls_text(side->stream));
    side_count(side, SIDE_SECURE);
}

static inline void side_on_deadline(void *owner)
{
    side_count(owner, SIDE_DEADLINE);
}

static inline void side_on_end(void *owner, enum stream_end end)
{
    struct side *side = owner;

    side->end = end;
    snprintf(side->error, sizeof(side->error), "%s", stream_error(side->stream));
    side_count(side, SIDE_END);
    side->stream = NULL;
}

static const struct stream_events side_events = {
    .on_data = side_on_data,
    .on_drained = side_on_drained,
    .on_connected = side_on_connected,
    .on_secure = side_on_secure,
    .on_deadline = side_on_deadline,
    .on_end = side_on_end,
};

static inline void side_close(struct side *side)
{
    struct stream *stream = side->stream;

    side->stream = NULL;
    stream_close(stream);
}

static inline void side_finish(struct side *side)
{
    struct stream *stream = side->stream;

    side->stream = NULL;
    stream_finish(stream);
}

static inline void side_say(struct side *side, const char *text)
{
    stream_write(side->stream, slice_of(text));
}

/* --- a server on a free port, and one connection to it --------------------------------------- */

struct pair {
    struct loop loop;
    struct listener *listener; /* closed when the connection has come */
    struct side server, client;
    void (*on_accepted)(struct side *server);
};

static inline void pair_on_accept(void *owner, uv_stream_t *server)
{
    struct pair *pair = owner;

    pair->server.stream = stream_accept(&pair->loop, server, &side_events, &pair->server);
    assert(pair->server.stream != NULL);
    listener_close(pair->listener);
    pair->listener = NULL;
    if (pair->on_accepted != NULL)
        pair->on_accepted(&pair->server);
}

static inline void side_init(struct side *side, struct loop *loop, struct side *other)
{
    *side = (struct side){ .loop = loop, .other = other };
    buf_init(&side->got, SIDE_GOT_MAX);
}

/* With a server that listens; connect with pair_connect() or pair_socket(). */
static inline void pair_open(struct pair *pair)
{
    struct why why = { "" };
    bool ok = loop_init(&pair->loop, &why);

    assert(ok);
    (void)ok;
    side_init(&pair->server, &pair->loop, &pair->client);
    side_init(&pair->client, &pair->loop, &pair->server);
    pair->on_accepted = NULL;
    pair->listener =
        listener_open(&pair->loop, &(struct listener_options){ .address = "127.0.0.1" },
                      pair_on_accept, pair, &why);
    assert(pair->listener != NULL);
}

static inline struct sockaddr_in pair_address(const struct pair *pair)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons(listener_port(pair->listener)) };
}

static inline void pair_connect(struct pair *pair)
{
    struct sockaddr_in address = pair_address(pair);

    pair->client.stream =
        stream_connect(&pair->loop, (struct sockaddr *)&address, &side_events, &pair->client);
}

/* A blocking socket, connected: the kernel does that without the server's help. */
static inline int pair_socket(const struct pair *pair)
{
    struct sockaddr_in address = pair_address(pair);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = connect(fd, (struct sockaddr *)&address, sizeof(address));

    assert(error == 0);
    (void)error;
    return fd;
}

static inline void pair_close(struct pair *pair)
{
    listener_close(pair->listener);
    stream_close(pair->server.stream);
    stream_close(pair->client.stream);
    loop_close(&pair->loop);
    buf_free(&pair->server.got);
    buf_free(&pair->client.got);
}

static inline void socket_send(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        assert(sent > 0);
        bytes = slice_from(bytes, (size_t)sent);
    }
}

/* Everything until the other side's end; returns 0, or the errno of what came instead of FIN. */
static inline int socket_read_all(int fd, struct buf *got)
{
    char bytes[16384];
    ssize_t count;

    while ((count = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        bool ok = buf_add(got, slice_make(bytes, (size_t)count));
        assert(ok);
        (void)ok;
    }
    return count == 0 ? 0 : errno;
}

/* Closes with a reset. */
static inline void socket_reset(int fd)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

#endif
