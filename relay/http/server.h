/* server.h - HTTP connections on a stream: request, answer, keep-alive, limits.
 * Used for control.sock and for the `http` listener; everything on the main loop. */
#ifndef LATCHPOST_SERVER_H
#define LATCHPOST_SERVER_H

#include "relay/base/list.h"
#include "relay/http/endpoints.h"
#include "relay/net/listener.h"

struct http_limits {
    size_t body_bytes;    /* of mail, and API_REQUEST_MAX of all else at most: 413 above */
    unsigned connections; /* 503 above */
    uint64_t head_ms;     /* time for a whole head: 30 s, then 408 */
    uint64_t idle_ms;     /* between requests: 75 s */
    unsigned body_rate;   /* octets a second at least in a body, judged every head_ms */
};

struct http_door {
    const char *name;
    bool is_control; /* the Unix socket: the caller is the operator (its uid is checked:
                        root or the daemon's own) */
    bool tls;
};

struct http_service { /* owned by the daemon */
    struct loop *loop;
    struct api *api;
    struct tls_context *tls;
    struct http_limits limits;
    struct listener_limits *addresses; /* how many connections each may have; NULL: any number */
    struct list connections;           /* private from here on */
    unsigned connection_count;
    bool stopping;
    int64_t turned_away_ms;
};

/* After all that is not private is set. tls and limits may be exchanged later. */
void http_service_init(struct http_service *service);
/* A connection waits at `server` (listener_accept_cb). The door is copied, its name is not. The
 * control socket is not counted against the limit of connections. */
void http_accept(struct http_service *service, const struct http_door *door, uv_stream_t *server);
/* Closes connections that have no request under way now, the others after their answer; what comes
 * later is dropped. All is closed once `connections` is empty, at the latest when every question to
 * the queue is answered. */
void http_service_stop(struct http_service *service);

#endif
