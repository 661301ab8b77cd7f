/* worker.h - what lives on one event-loop thread: the loop, its listeners and sessions, its side of
 * the delivery. Made, started and joined by the main thread; in between it is told things by letter
 * and tells when it is done. */
#ifndef LATCHPOST_WORKER_H
#define LATCHPOST_WORKER_H

#include "relay/delivery.h"
#include "relay/smtp/session.h"

struct worker;

struct worker_listener {
    struct smtp_door door;
    const char *address;
    uint16_t port;
};

/* What can change at a reload. Borrowed for as long as the worker lives: old settings too, since
 * sessions and deliveries under way finish with what they began with. */
struct worker_settings {
    const char *hostname;
    struct smtp_limits limits;
    bool hide_client_address;
    const struct worker_listener *listeners;
    size_t listener_count;
    const struct upstream_options *upstreams; /* their gates are shared by all workers */
    size_t upstream_count;
    const struct route_table *routes;
};

struct worker_options {
    struct auth *auth;
    struct queue *queue;
    struct listener_limits *admissions;
    bool is_first;           /* its listeners make sure that nobody else has the ports */
    struct mailbox *answers; /* the main thread's */
    void (*drained)(
        void *owner); /* called there, once, when nothing is left after worker_drain() */
    void *owner;
};

/* Binds every listener, so that a port that is taken is an error at start. settings: borrowed, see
 * above. tls: a reference, consumed also on failure; may be NULL when no listener needs TLS. */
struct worker *worker_open(const struct worker_options *options,
                           const struct worker_settings *settings, struct tls_context *tls,
                           struct why *why);
bool worker_start(struct worker *worker, struct why *why);
/* For letters to its thread that the sender keeps until the worker was closed. */
struct mailbox *worker_mailbox(struct worker *worker);

/* The rest of the main thread's calls; each takes effect on the worker's own thread, in order. */
void worker_reload(struct worker *worker, const struct worker_settings *settings,
                   struct tls_context *tls); /* a reference, consumed */
/* See delivery_hold(). */
void worker_hold(struct worker *worker, const char *upstream, bool hold);
/* What do its upstreams do? Answered once through the mailbox of the options, also while it drains,
 * when there may be none. views: lent. Not to be asked after worker_drain(). */
typedef void worker_look_cb(void *owner, const struct upstream_view *views, size_t count);
void worker_look(struct worker *worker, worker_look_cb *cb, void *owner);
void worker_drain(struct worker *worker); /* no new connections; what is under way may finish */
void worker_abort(struct worker *worker); /* the grace is over */

/* Joins the thread, which has drained or is about to; nothing to do for one that was never started.
 * The worker's mailbox still takes letters ... */
void worker_join(struct worker *worker);
/* ... until this, which comes after queue_stop(). Accepts NULL, and a worker that was never
 * started. */
void worker_close(struct worker *worker);

#endif
