/* delivery_priv.h - what delivery.c (leases, room, life), delivery_attempt.c (one message on its
 * way), delivery_share.c (who has how much in memory) and delivery_fleet.c (the set of upstreams)
 * share. */
#ifndef LATCHPOST_DELIVERY_PRIV_H
#define LATCHPOST_DELIVERY_PRIV_H

#include "relay/base/map.h"
#include "relay/delivery.h"

struct berth {                 /* one upstream of a fleet */
    struct upstream *upstream; /* NULL once it is closed */
    struct fleet *fleet;
    size_t messages, bytes; /* it has these, under way or waiting */
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

    struct shares *shares;
    size_t messages, bytes; /* in memory or reserved; content only */
    size_t asked;           /* messages that a lease under way may bring */
    bool leasing;
    bool passed_over; /* that lease leaves some out who have enough */
    bool more_due;    /* something is due now, or may be, that there was no room for */
    bool urgent;      /* there certainly is */
    bool pacing;      /* the timer runs until it is asked for again */
    size_t freed;     /* messages that left since the last question */
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

/* --- delivery_share.c ------------------------------------------------------------------------- */

struct room { /* what is free */
    size_t messages, bytes;
};

struct shares *shares_new(void);
void shares_free(struct shares *shares); /* accepts NULL; nothing is taken any more */
/* A message, or the place reserved for one, is in memory: counted for its key and account and in
 * all, until share_give() with the same number of bytes. */
struct share *share_take(struct delivery *delivery, const struct queue_message *message,
                         size_t bytes);
void share_give(struct delivery *delivery, struct share *share, size_t bytes);
/* It goes to this upstream, until berth_give(). */
void berth_take(struct berth *berth, struct share *key, size_t bytes);
void berth_give(struct berth *berth, struct share *key, size_t bytes);
/* May its key and account have one more while this is free? And the upstream, of this key? (key:
 * NULL has nothing anywhere.) */
bool share_has_room(const struct delivery *delivery, const struct queue_message *message,
                    const struct room *room);
bool berth_has_room(const struct berth *berth, const struct share *key, const struct room *room);
bool berth_has_room_for(const struct delivery *delivery, const struct queue_message *message,
                        const struct berth *berth, const struct room *room);
/* Those who may not. The array (or NULL) is the caller's to free; its texts are borrowed until
 * something is taken or given. */
size_t share_passes(const struct delivery *delivery, const struct room *room,
                    struct queue_pass **passes);

/* --- delivery_attempt.c ----------------------------------------------------------------------- */

/* Brings a leased message on its way; it settles itself. */
void attempt_begin(struct delivery *delivery, struct queue_message *message);
/* Is there an upstream for this message now that has room for it? */
bool attempt_is_possible(const struct delivery *delivery, const struct queue_message *message,
                         const struct room *room);

/* --- delivery.c ------------------------------------------------------------------------------- */

struct room delivery_room(const struct delivery *delivery);
/* A message is settled: there is room again. */
void delivery_release(struct delivery *delivery, struct share *share, size_t content_bytes);
/* Calls `closed` if nothing is left. The delivery may be gone afterwards. */
void delivery_look_closed(struct delivery *delivery);

#endif
