/* delivery_priv.h - what delivery.c (leases, room, life), delivery_attempt.c (one message on its
 * way) and delivery_fleet.c (the set of upstreams) share. */
#ifndef LATCHPOST_DELIVERY_PRIV_H
#define LATCHPOST_DELIVERY_PRIV_H

#include "relay/base/map.h"
#include "relay/delivery.h"

struct berth {                 /* one upstream of a fleet */
    struct upstream *upstream; /* NULL once it is closed */
    struct fleet *fleet;
};

struct fleet {                 /* the upstreams of one configuration, by their index in it */
    struct list node;          /* in delivery->fleets */
    struct delivery *delivery; /* NULL: nobody wants to hear of its end */
    struct berth *berths;
    size_t count;
    size_t open; /* berths whose upstream is not closed yet */
};

struct delivery {
    struct loop *loop;
    struct delivery_options options;
    struct resolver *resolver;
    struct fleet *fleet; /* the one that is used now */
    struct list fleets;  /* that one, and those that are finishing */
    struct map *held;    /* names of upstreams; the values mean nothing */

    size_t messages, bytes; /* in memory; content only */
    size_t asked;           /* messages that a lease under way may bring */
    bool leasing;
    bool more_due; /* something is due now that there was no room for */
    struct loop_timer due_timer;

    struct loop_task begin;
    bool began; /* the loop runs, and the queue was asked */

    bool draining;
    bool timer_closed, watch_ended;
    bool told;     /* `closed` was called */
    bool orphaned; /* delivery_free() came first */
    void (*closed)(void *owner);
    void *owner;
};

/* --- delivery_fleet.c ------------------------------------------------------------------------- */

struct fleet *fleet_open(struct delivery *delivery, const struct delivery_options *options,
                         struct why *why);
/* Closes its upstreams and, once they have gone, frees it; then delivery_look_closed(). */
void fleet_retire(struct fleet *fleet);
void fleet_abort(struct fleet *fleet); /* a retired one */

/* --- delivery_attempt.c ----------------------------------------------------------------------- */

/* Brings a leased message on its way; it settles itself. */
void attempt_begin(struct delivery *delivery, struct queue_message *message);

/* --- delivery.c ------------------------------------------------------------------------------- */

/* A message is settled: there is room again. */
void delivery_release(struct delivery *delivery, size_t content_bytes);
/* Calls `closed` if nothing is left. The delivery may be gone afterwards. */
void delivery_look_closed(struct delivery *delivery);

#endif
