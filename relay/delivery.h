/* delivery.h - the life of a due message on one worker: lease, route, upstream attempt, outcome,
 * settle. Belongs to the worker's thread. */
#ifndef LATCHPOST_DELIVERY_H
#define LATCHPOST_DELIVERY_H

#include "queue/queue.h"
#include "relay/net/loop.h"
#include "relay/upstream/route.h"
#include "relay/upstream/upstream.h"

struct delivery;
struct share;

struct delivery_options { /* queue and routes: borrowed until delivery_reconfigure() or `closed`;
                             the upstreams' options are copied */
    struct queue *queue;
    const struct upstream_options *upstreams;
    size_t upstream_count;
    const struct route_table *routes;
    size_t messages_max; /* messages in memory at once: 512 */
    size_t bytes_max;    /* and their content: 16 MiB */
};

/* Starts to lease what is due once the loop runs, which is then held until `closed`. NULL and why:
 * a file of an upstream cannot be read. */
struct delivery *delivery_open(struct loop *loop, const struct delivery_options *options,
                               struct why *why);
/* New upstreams and routes (not another queue); what is under way finishes with the old ones, what
 * only waits there is routed anew. False: nothing changed. */
bool delivery_reconfigure(struct delivery *delivery, const struct delivery_options *options,
                          struct why *why);

/* A held upstream takes no new message until it is let go, over reconfigurations too, and whether
 * or not there is one of this name now: the next of a route is used, and what finds none waits with
 * that reason. */
void delivery_hold(struct delivery *delivery, const char *name, bool hold);
/* The upstream of this index as it is now; false: there is none (any more). */
bool delivery_look(const struct delivery *delivery, size_t index, struct upstream_view *view);

/* Room for one more fresh message? Not when its account or key has its share of the room already,
 * and not when its mail cannot leave now. While older messages are due, a quarter of the room is
 * theirs. */
bool delivery_has_room(const struct delivery *delivery, const struct queue_message *message);
/* If there is, it is kept for a message that is leased at submit: until the place, which the caller
 * now owes, is given to delivery_unreserve(), right before delivery_take() or when there is nothing
 * to take. NULL: there is none. */
struct share *delivery_reserve(struct delivery *delivery, const struct queue_message *message);
void delivery_unreserve(struct delivery *delivery, struct share *place);
/* message: leased, now ours. Never refused; while draining it goes back to the queue untried. */
void delivery_take(struct delivery *delivery, struct queue_message *message);

/* No new leases; what only waits goes back untried; what is under way may finish until
 * delivery_abort(). `closed` once everything was handed to queue_settle(), from the loop. */
void delivery_drain(struct delivery *delivery, void (*closed)(void *owner), void *owner);
void delivery_abort(struct delivery *delivery); /* after delivery_drain() */
/* After `closed`; or after delivery_drain() on a loop that never ran: then `closed` is not called,
 * and loop_close() lets go of the rest. Accepts NULL. */
void delivery_free(struct delivery *delivery);

#endif
