/* watch.c - who must be told that something became due?
 * A worker asks queue_lease() and is promised: nothing before next_due_ms. When a commit breaks
 * that promise the worker is rung once, and then not again until it has asked. The list is the
 * writer's; a ring travels to the worker's mailbox inside the watch itself, so `phase` tells the
 * two threads who holds it. */
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

enum watch_phase {
    WATCH_IDLE,
    WATCH_RINGING, /* its letter is on the way */
    WATCH_ENDED,   /* unwatched meanwhile: whoever opens the letter frees it */
};

struct watch {
    struct letter letter;
    struct list node; /* the writer's, in queue->watches */
    queue_due_cb *cb;
    void *owner;
    struct mailbox *answers;
    int64_t promised_ms; /* the writer's: nothing earlier than this was known; INT64_MIN: rung */
    atomic_int phase;
};

static void on_ring(struct letter *letter)
{
    struct watch *watch = container_of(letter, struct watch, letter);
    queue_due_cb *cb = watch->cb;
    void *owner = watch->owner;
    int phase = WATCH_RINGING;

    if (atomic_compare_exchange_strong(&watch->phase, &phase, WATCH_IDLE))
        cb(owner); /* the watch may be gone by now */
    else
        free(watch);
}

static void ring(struct watch *watch)
{
    int phase = WATCH_IDLE;

    watch->promised_ms = INT64_MIN;
    if (!atomic_compare_exchange_strong(&watch->phase, &phase, WATCH_RINGING))
        return; /* the call under way will do */
    watch->letter.deliver = on_ring;
    mailbox_post(watch->answers, &watch->letter);
}

static void end(struct watch *watch)
{
    list_remove(&watch->node);
    if (atomic_exchange(&watch->phase, WATCH_ENDED) == WATCH_IDLE)
        free(watch);
}

void watch_note_due(struct queue *queue, int64_t due_ms)
{
    list_for_each(node, following, &queue->watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (due_ms < watch->promised_ms)
            ring(watch);
    }
}

void watch_promise(struct queue *queue, const struct mailbox *answers, int64_t next_due_ms)
{
    list_for_each(node, following, &queue->watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (watch->answers == answers)
            watch->promised_ms = next_due_ms;
    }
}

/* After the writer has ended. A ring that nobody opened stays with its mailbox. */
void watch_free_all(struct queue *queue)
{
    list_for_each(node, following, &queue->watches)
        end(list_entry(node, struct watch, node));
}

struct watch_request {
    struct request request;
    struct watch *watch; /* to begin, or NULL */
    void *owner;         /* whose are to end */
};

static void watch_done(struct queue *queue, struct request *request)
{
    struct watch_request *asked = (struct watch_request *)request;

    list_add_tail(&queue->watches, &asked->watch->node);
}

static void unwatch_done(struct queue *queue, struct request *request)
{
    struct watch_request *asked = (struct watch_request *)request;

    list_for_each(node, following, &queue->watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (watch->owner == asked->owner)
            end(watch);
    }
}

void queue_watch(struct queue *queue, queue_due_cb *cb, void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = { .name = "watch", .done = watch_done };
    struct watch_request *asked = request_new(sizeof(*asked), &kind, NULL);

    asked->watch = xcalloc(1, sizeof(*asked->watch));
    list_init(&asked->watch->node);
    asked->watch->cb = cb;
    asked->watch->owner = owner;
    asked->watch->answers = answers;
    asked->watch->promised_ms = INT64_MAX;
    atomic_init(&asked->watch->phase, WATCH_IDLE);
    request_post(queue, &asked->request);
}

void queue_unwatch(struct queue *queue, void *owner)
{
    static const struct request_kind kind = { .name = "unwatch", .done = unwatch_done };
    struct watch_request *asked = request_new(sizeof(*asked), &kind, NULL);

    asked->owner = owner;
    request_post(queue, &asked->request);
}
