/* delivery.c - the life of a due message on one worker: when is something leased, and for how much
 * is there room? The queue is asked when this starts, when the time it named has come, when it
 * rings, and when room frees up while more is due. What is in memory is bounded by messages and by
 * bytes, and so is the share of it that one key, account or upstream may have (delivery_share.c);
 * the lease under way counts as if it brought all that it may. Nothing here is durable: whatever is
 * not settled when the process dies was never un-queued.
 *
 * Everything belongs to the loop's thread; the queue's answers come through the loop's mailbox. */
#include "relay/delivery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/delivery_priv.h"

#define LEASE_MAX     64    /* messages in one question: queue_lease()'s own limit */
#define ASK_AGAIN_MS  1000  /* when something is due and yet nothing was handed out */
#define ASK_LATEST_MS 60000 /* our timers stand still while the machine is asleep */
#define PACE_MS       100   /* between questions while it is not known that they bring something */

/* --- leases ----------------------------------------------------------------------------------- */

static size_t messages_left(const struct delivery *delivery)
{
    size_t used = delivery->messages + delivery->asked;

    return used < delivery->options.messages_max ? delivery->options.messages_max - used : 0;
}

static size_t bytes_left(const struct delivery *delivery)
{
    return delivery->bytes < delivery->options.bytes_max
               ? delivery->options.bytes_max - delivery->bytes
               : 0;
}

struct room delivery_room(const struct delivery *delivery)
{
    return (struct room){ messages_left(delivery), bytes_left(delivery) };
}

static size_t batch_size(const struct delivery *delivery)
{
    size_t batch = delivery->options.messages_max / 8;

    return batch < 1 ? 1 : batch < LEASE_MAX ? batch : LEASE_MAX;
}

/* Asking for one message each time one leaves would cost a question a message, and asking again for
 * what is passed over would bring nothing. */
static bool is_worth_asking(const struct delivery *delivery)
{
    size_t batch = batch_size(delivery);

    return delivery->freed >= batch || (delivery->freed > 0 && delivery->messages == 0) ||
           (delivery->urgent && messages_left(delivery) >= batch);
}

static void on_leased(void *owner, struct queue_message **messages, size_t count,
                      int64_t next_due_ms);

/* Half of what is free at most: the rest is for those who have nothing yet, once the others have
 * enough. */
static void ask(struct delivery *delivery)
{
    struct room room = delivery_room(delivery);
    size_t most = (room.messages + 1) / 2;
    struct queue_pass *passes;
    size_t count = share_passes(delivery, &room, &passes);

    delivery->asked = most < LEASE_MAX ? most : LEASE_MAX;
    delivery->leasing = true;
    delivery->passed_over = count > 0;
    delivery->more_due = delivery->urgent = delivery->pacing = false;
    delivery->freed = 0;
    loop_timer_stop(&delivery->due_timer);
    queue_lease_but(delivery->options.queue, passes, count, delivery->asked, (room.bytes + 1) / 2,
                    queue_now_ms(delivery->options.queue), on_leased, delivery,
                    &delivery->loop->mailbox);
    free(passes);
}

static void ask_later(struct delivery *delivery, int64_t wait_ms)
{
    if (delivery->pacing)
        return;
    delivery->pacing = true;
    loop_timer_start(&delivery->due_timer, (uint64_t)wait_ms, 0);
}

static void lease_more(struct delivery *delivery)
{
    if (delivery->draining || delivery->leasing || !delivery->more_due ||
        messages_left(delivery) == 0 || bytes_left(delivery) == 0)
        return;
    if (is_worth_asking(delivery))
        ask(delivery);
    else
        ask_later(delivery, PACE_MS);
}

/* What was passed over is taken for due. */
static void learn(struct delivery *delivery, size_t count, int64_t due_ms)
{
    int64_t now_ms = queue_now_ms(delivery->options.queue);

    if (due_ms <= now_ms && count == 0) {
        delivery->more_due = true;
        ask_later(delivery, ASK_AGAIN_MS);
    } else if (due_ms <= now_ms || delivery->passed_over) {
        delivery->more_due = true;
        delivery->urgent = count == delivery->asked;
    } else {
        int64_t wait_ms = due_ms < now_ms + ASK_LATEST_MS ? due_ms - now_ms : ASK_LATEST_MS;
        loop_timer_start(&delivery->due_timer, (uint64_t)wait_ms, 0);
    }
}

static void on_leased(void *owner, struct queue_message **messages, size_t count,
                      int64_t next_due_ms)
{
    struct delivery *delivery = owner;
    bool rang = delivery->urgent; /* meanwhile */

    if (!delivery->draining)
        learn(delivery, count, next_due_ms);
    if (rang)
        delivery->more_due = delivery->urgent = true;
    delivery->asked = 0;
    for (size_t i = 0; i < count; i++)
        attempt_begin(delivery, messages[i]);
    delivery->leasing = false;
    lease_more(delivery);
    delivery_look_closed(delivery);
}

static void on_due(void *owner) /* the queue rings */
{
    struct delivery *delivery = owner;

    delivery->more_due = delivery->urgent = true;
    lease_more(delivery);
}

static void on_timer(void *owner)
{
    struct delivery *delivery = owner;

    delivery->pacing = false;
    delivery->more_due = true;
    if (!delivery->draining && !delivery->leasing && messages_left(delivery) > 0 &&
        bytes_left(delivery) > 0)
        ask(delivery);
}

void delivery_release(struct delivery *delivery, struct share *share, size_t content_bytes)
{
    share_give(delivery, share, content_bytes);
    delivery->freed++;
    lease_more(delivery);
    delivery_look_closed(delivery);
}

/* --- fresh messages --------------------------------------------------------------------------- */

bool delivery_has_room(const struct delivery *delivery, const struct queue_message *message)
{
    struct room room = delivery_room(delivery);
    size_t messages_kept = delivery->more_due ? delivery->options.messages_max / 4 : 0;
    size_t bytes_kept =
        (delivery->more_due ? delivery->options.bytes_max / 4 : 0) + buf_len(&message->content);

    if (delivery->draining || room.messages <= messages_kept || room.bytes <= bytes_kept)
        return false;
    room.messages -= messages_kept;
    room.bytes -= bytes_kept;
    return share_has_room(delivery, message, &room) &&
           attempt_is_possible(delivery, message, &room);
}

struct share *delivery_reserve(struct delivery *delivery, const struct queue_message *message)
{
    return delivery_has_room(delivery, message) ? share_take(delivery, message, 0) : NULL;
}

void delivery_unreserve(struct delivery *delivery, struct share *place)
{
    share_give(delivery, place, 0);
    lease_more(delivery);
    delivery_look_closed(delivery);
}

void delivery_take(struct delivery *delivery, struct queue_message *message)
{
    attempt_begin(delivery, message);
}

/* --- life ------------------------------------------------------------------------------------- */

/* The queue is asked only once the loop runs: one that never does has nothing to wait for. */
static void on_begin(void *owner)
{
    struct delivery *delivery = owner;

    delivery->began = true;
    loop_hold(delivery->loop);
    queue_watch(delivery->options.queue, on_due, delivery, &delivery->loop->mailbox);
    ask(delivery);
}

static void release_memory(struct delivery *delivery)
{
    map_free(delivery->held);
    shares_free(delivery->shares);
    free(delivery);
}

struct delivery *delivery_open(struct loop *loop, const struct delivery_options *options,
                               struct why *why)
{
    struct delivery *delivery = xcalloc(1, sizeof(*delivery));

    delivery->loop = loop;
    delivery->options = *options;
    delivery->resolver = resolver_new(loop);
    list_init(&delivery->fleets);
    delivery->held = map_new();
    delivery->shares = shares_new();
    delivery->fleet = fleet_open(delivery, options, why);
    if (delivery->fleet == NULL) {
        resolver_free(delivery->resolver);
        release_memory(delivery);
        return NULL;
    }
    loop_timer_init(loop, &delivery->due_timer, on_timer, delivery);
    loop_task_init(&delivery->begin, on_begin, delivery);
    loop_later(loop, &delivery->begin);
    return delivery;
}

bool delivery_reconfigure(struct delivery *delivery, const struct delivery_options *options,
                          struct why *why)
{
    assert(!delivery->draining && options->queue == delivery->options.queue);
    struct fleet *fleet = fleet_open(delivery, options, why);

    if (fleet == NULL)
        return false;
    struct fleet *old = delivery->fleet;

    delivery->fleet = fleet;
    delivery->options = *options;
    fleet_retire(old);
    lease_more(delivery);
    return true;
}

void delivery_hold(struct delivery *delivery, const char *name, bool hold)
{
    if (hold)
        map_put(delivery->held, slice_of(name), delivery);
    else
        map_remove(delivery->held, slice_of(name));
    for (size_t i = 0; delivery->fleet != NULL && i < delivery->fleet->count; i++) {
        struct upstream *upstream = delivery->fleet->berths[i].upstream;

        if (strcmp(upstream_name(upstream), name) == 0)
            upstream_hold(upstream, hold);
    }
}

bool delivery_look(const struct delivery *delivery, size_t index, struct upstream_view *view)
{
    if (delivery->fleet == NULL || index >= delivery->fleet->count)
        return false;
    upstream_look(delivery->fleet->berths[index].upstream, view);
    return true;
}

void delivery_look_closed(struct delivery *delivery)
{
    if (!delivery->draining || delivery->told || delivery->messages > 0 || delivery->leasing ||
        !delivery->watch_ended || !delivery->timer_closed || !list_is_empty(&delivery->fleets))
        return;
    delivery->told = true;
    resolver_free(delivery->resolver);
    delivery->resolver = NULL;
    if (delivery->began)
        loop_release(delivery->loop);
    if (delivery->orphaned)
        release_memory(delivery);
    else
        delivery->closed(delivery->owner);
}

static void on_timer_closed(void *owner)
{
    struct delivery *delivery = owner;

    delivery->timer_closed = true;
    delivery_look_closed(delivery);
}

/* Answers come in the order of the questions: behind this one no ring can be under way. */
static void on_stats(void *owner, const struct queue_stats *stats)
{
    struct delivery *delivery = owner;

    (void)stats;
    delivery->watch_ended = true;
    delivery_look_closed(delivery);
}

void delivery_drain(struct delivery *delivery, void (*closed)(void *owner), void *owner)
{
    assert(!delivery->draining);
    delivery->draining = true;
    delivery->closed = closed;
    delivery->owner = owner;
    loop_timer_close(&delivery->due_timer, on_timer_closed);
    if (delivery->began) {
        queue_unwatch(delivery->options.queue, delivery);
        queue_stats(delivery->options.queue, on_stats, delivery, &delivery->loop->mailbox);
    } else {
        loop_task_cancel(&delivery->begin);
        delivery->watch_ended = true;
    }
    struct fleet *fleet = delivery->fleet; /* older ones are retired already */

    delivery->fleet = NULL;
    fleet_retire(fleet);
}

void delivery_abort(struct delivery *delivery)
{
    assert(delivery->draining);
    list_for_each(node, following, &delivery->fleets)
        fleet_abort(list_entry(node, struct fleet, node));
}

void delivery_free(struct delivery *delivery)
{
    if (delivery == NULL)
        return;
    assert(delivery->told || (delivery->draining && !delivery->began));
    if (delivery->told)
        release_memory(delivery);
    else
        delivery->orphaned = true;
}
