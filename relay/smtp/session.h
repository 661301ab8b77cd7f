/* session.h - one client's conversation, from accept to close.
 * Lives on one loop. What it needs is passed in a struct smtp_service that is shared by all
 * sessions of a worker; it never sees the configuration. */
#ifndef LATCHPOST_SESSION_H
#define LATCHPOST_SESSION_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "relay/net/listener.h"
#include "relay/net/stream.h"

struct smtp_limits {        /* each one a setting; times in milliseconds, 0 is not allowed */
    uint64_t message_bytes; /* 25 MiB: larger is 552 5.3.4 */
    unsigned recipients;    /* 100 a message */
    unsigned auth_failures; /* 3 a session */
    unsigned errors;        /* 10 a session */
    unsigned junk_commands; /* 100 NOOP, RSET, EHLO, VRFY, HELP without a message between */
    size_t header_bytes;    /* 64 KiB */
    size_t command_line;    /* 2048 octets with CRLF */
    size_t data_line;       /* 998 octets without CRLF */
    unsigned data_rate;     /* octets a second at least in DATA, after ... */
    uint64_t data_grace_ms; /* 60 s */
    uint64_t login_ms;      /* 60 s from accept to a successful login */
    uint64_t idle_ms;       /* 300 s */
    uint64_t handshake_ms;  /* 10 s */
};

enum smtp_tls { SMTP_TLS_NONE, SMTP_TLS_STARTTLS, SMTP_TLS_IMPLICIT };

/* What one listener asks of its sessions. */
struct smtp_door {
    const char *name; /* "submission": for the log */
    enum smtp_tls tls;
    bool auth_without_tls;
};

/* Shared by the sessions of one worker; owned by the worker, all on its thread. Sessions read it at
 * each use, so a reload may change the limits, hostname and TLS context between two calls. */
struct smtp_service {
    struct loop *loop;
    struct auth *auth;
    struct queue *queue;
    struct listener_limits *admissions;
    struct tls_context *tls; /* for new handshakes; NULL when no door needs it */
    const char *hostname;
    struct smtp_limits limits;
    bool hide_client_address; /* leave it out of Received */

    /* May a fresh message be handed straight to delivery? Asked at each submit. NULL: no; else a
     * place is kept for it. */
    void *(*wants_lease)(void *owner, const struct queue_message *message);
    /* For each place, once. message: it was accepted and leased, and is the owner's from now on;
     * NULL: it was not, after all. */
    void (*accepted)(void *owner, void *place, struct queue_message *message);
    void *owner;

    struct list sessions; /* all open ones (struct session); list_init() is the worker's */
    size_t session_count; /* these, and those whose client left before the queue answered */
    bool draining;        /* no new transactions: 421 4.3.2 at the next command outside of one */
    void (*emptied)(void *owner); /* the last session of a draining service has gone */
};

/* Takes a connection that waits at `server`, or turns it away with 421. */
void session_accept(struct smtp_service *service, const struct smtp_door *door,
                    uv_stream_t *server);

/* Begins the end: idle sessions get 421 4.3.2 now, others at their next command; those in DATA may
 * finish. `emptied` is called (perhaps from inside) when none is left and no answer of the queue is
 * to come. */
void smtp_service_drain(struct smtp_service *service);
/* The grace period is over: all that are left get 421 4.3.2 and go. Only a session whose commit is
 * under way stays until the queue has answered, says so, and goes then. */
void smtp_service_stop(struct smtp_service *service);

#endif
