/* settle.c - what became of a leased message?
 * Each recipient's fate becomes its state; the liveliest state becomes the message's. A settlement
 * is never refused: while the store cannot write it waits in memory (kept), for a delivery that is
 * not recorded would be made again. It may therefore run more than once and changes nothing in
 * memory before it is on disk. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "queue/schedule.h"
#include "relay/base/alloc.h"

#define UNTRIED_PAUSE_MS 1000 /* so that a message nobody can take does not spin */

struct settle {
    struct request request;
    struct queue_message *message;
    char *upstream;
    int64_t due_ms; /* when it is due again, 0: never; set by run() */
    queue_done_cb *cb;
    void *owner;
};

struct verdict { /* on one recipient */
    struct store_outcome outcome;
    const char *event; /* what to write into the history, or NULL */
    char *own_text;    /* outcome.text when we made it, or NULL */
    bool untried;      /* only its due time changes */
    bool held;         /* by the setting for what may have arrived */
};

/* splitmix64: small, and good enough to keep retries apart. */
static uint64_t next_random(struct queue *queue)
{
    uint64_t x = queue->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* One jitter a settlement: recipients that failed together are tried together again. */
static int next_jitter(struct queue *queue)
{
    return (int)(next_random(queue) % (2 * SCHEDULE_JITTER_PERMILLE + 1)) -
           SCHEDULE_JITTER_PERMILLE;
}

static void judge_retry(const struct queue *queue, struct record *record, int jitter,
                        struct verdict *verdict)
{
    struct store_outcome *outcome = &verdict->outcome;
    char age[SCHEDULE_AGE_BYTES];
    int64_t due_ms = schedule_next(&queue->schedule, outcome->attempts, record->aged_from_ms,
                                   queue->now_ms, jitter);

    if (due_ms != SCHEDULE_GIVE_UP) {
        outcome->due_ms = due_ms;
        return;
    }
    schedule_format_age(queue->now_ms - record->aged_from_ms, age);
    verdict->own_text =
        xasprintf("gave up after %s: %s", age, outcome->text == NULL ? "no answer" : outcome->text);
    outcome->text = verdict->own_text;
    outcome->state = QUEUE_FAILED_FOR_GOOD;
}

static void judge(struct queue *queue, const struct settle *settle,
                  const struct queue_recipient *recipient, int jitter, struct verdict *verdict)
{
    static const enum queue_state states[] = {
        [QUEUE_SENT] = QUEUE_DELIVERED,
        [QUEUE_LATER] = QUEUE_DEFERRED,
        [QUEUE_NEVER] = QUEUE_FAILED_FOR_GOOD,
        [QUEUE_DOUBTFUL] = QUEUE_UNCERTAIN,
    };
    struct store_outcome *outcome = &verdict->outcome;

    *outcome = (struct store_outcome){
        .position = recipient->position,
        .state = recipient->state,
        .attempts = recipient->attempts,
        .now_ms = queue->now_ms,
        .code = recipient->code,
        .enhanced = recipient->enhanced,
        .text = recipient->text,
        .upstream = settle->upstream,
    };
    verdict->untried = recipient->fate == QUEUE_UNTRIED;
    if (verdict->untried) {
        outcome->due_ms = queue->now_ms + UNTRIED_PAUSE_MS;
        return;
    }
    assert((size_t)recipient->fate < ARRAY_LEN(states));
    outcome->state = states[recipient->fate];
    outcome->attempts++;
    if (recipient->fate != QUEUE_SENT)
        verdict->event = "attempt";
    verdict->held = recipient->fate == QUEUE_DOUBTFUL && queue->schedule.hold_uncertain;
    if (verdict->held)
        outcome->state = QUEUE_HELD;
    else if (recipient->fate == QUEUE_LATER || recipient->fate == QUEUE_DOUBTFUL)
        judge_retry(queue, record_of(settle->message), jitter, verdict);
}

static enum store_result write_verdict(struct queue *queue, int64_t id,
                                       const struct verdict *verdict)
{
    const struct store_outcome *outcome = &verdict->outcome;

    if (verdict->untried)
        return store_postpone(queue->store, id, outcome->position, outcome->due_ms);
    enum store_result result = store_set_outcome(queue->store, id, outcome);
    if (result != STORE_OK || verdict->event == NULL)
        return result;
    const struct store_event event = {
        .what = verdict->event,
        .position = outcome->position,
        .code = outcome->code,
        .enhanced = outcome->enhanced,
        .text = outcome->text,
        .upstream = outcome->upstream,
    };
    result = store_add_event(queue->store, id, &event);
    if (result != STORE_OK || !verdict->held)
        return result;
    struct store_event hold = doubt_hold_event;
    hold.position = outcome->position;
    return store_add_event(queue->store, id, &hold);
}

static enum store_result write_verdicts(struct queue *queue, const struct settle *settle,
                                        const struct verdict *verdicts)
{
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < settle->message->recipient_count && result == STORE_OK; i++)
        result = write_verdict(queue, settle->message->id, &verdicts[i]);
    return result;
}

/* The same answer as store_summarize(), when all recipients were leased. */
static void summarize(const struct verdict *verdicts, size_t count, enum queue_state *state,
                      int64_t *due_ms)
{
    *state = verdicts[0].outcome.state;
    *due_ms = 0;
    for (size_t i = 0; i < count; i++) {
        const struct store_outcome *outcome = &verdicts[i].outcome;
        *state = state_livelier(*state, outcome->state);
        if (outcome->due_ms != 0 && (*due_ms == 0 || outcome->due_ms < *due_ms))
            *due_ms = outcome->due_ms;
    }
}

static enum store_result write_message(struct queue *queue, struct settle *settle,
                                       enum queue_state state)
{
    const struct record *record = record_of(settle->message);
    bool final = queue_state_is_final(state);
    const struct store_change change = {
        .id = record->message.id,
        .from = record->state,
        .to = state,
        .size = record->message.size,
        .due_ms = settle->due_ms,
        .ended_ms = final ? queue->now_ms : 0,
        .ends_attempt = true,
        /* What failed keeps its content: an operator may remove the cause and retry it. */
        .drop_content = final && state != QUEUE_FAILED_FOR_GOOD,
        .has_chunks = record->message.chunks > 0,
    };

    return store_change(queue->store, &change);
}

static enum store_result remove_message(struct queue *queue, const struct record *record)
{
    const struct store_removal removal = {
        .id = record->message.id,
        .from = record->state,
        .size = record->message.size,
        .has_chunks = record->message.chunks > 0,
        .has_events = !record->fresh,
    };

    return store_remove(queue->store, &removal);
}

static enum store_result settle_verdicts(struct queue *queue, struct settle *settle,
                                         const struct verdict *verdicts)
{
    const struct record *record = record_of(settle->message);
    enum store_result result = STORE_OK;
    enum queue_state state;
    bool others = record->message.recipient_count < record->recipients;

    if (others) { /* some were not leased: what they are is only on disk */
        result = write_verdicts(queue, settle, verdicts);
        if (result == STORE_OK)
            result = store_summarize(queue->store, record->message.id, &state, &settle->due_ms);
        if (result != STORE_OK)
            return result;
    } else {
        summarize(verdicts, record->message.recipient_count, &state, &settle->due_ms);
    }
    if (queue_state_is_final(state) && queue->retention_ms <= 0)
        return remove_message(queue, record);
    if (!others)
        result = write_verdicts(queue, settle, verdicts);
    return result == STORE_OK ? write_message(queue, settle, state) : result;
}

static enum store_result settle_run(struct queue *queue, struct request *request)
{
    struct settle *settle = (struct settle *)request;
    size_t count = settle->message->recipient_count;
    struct verdict only = { 0 }, *verdicts = &only;
    int jitter = next_jitter(queue);

    if (count > 1) /* nearly all mail has one recipient */
        verdicts = xcalloc(count, sizeof(*verdicts));
    for (size_t i = 0; i < count; i++)
        judge(queue, settle, &settle->message->recipients[i], jitter, &verdicts[i]);
    enum store_result result = settle_verdicts(queue, settle, verdicts);
    for (size_t i = 0; i < count; i++)
        free(verdicts[i].own_text);
    if (verdicts != &only)
        free(verdicts);
    return result;
}

static void settle_done(struct queue *queue, struct request *request)
{
    struct settle *settle = (struct settle *)request;

    lease_end(queue, settle->message->id);
    if (settle->due_ms != 0)
        watch_note_due(queue, settle->due_ms);
}

static void settle_answer(struct request *request)
{
    struct settle *settle = (struct settle *)request;

    settle->cb(settle->owner, request->result);
}

static void settle_release(struct request *request)
{
    struct settle *settle = (struct settle *)request;

    queue_message_free(settle->message);
    free(settle->upstream);
}

void queue_settle(struct queue *queue, struct queue_message **message, const char *upstream,
                  queue_done_cb *cb, void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "settle",
        .writes = true,
        .kept = true,
        .run = settle_run,
        .done = settle_done,
        .answer = settle_answer,
        .release = settle_release,
    };
    struct settle *settle = request_new(sizeof(*settle), &kind, cb == NULL ? NULL : answers);

    settle->message = *message;
    *message = NULL;
    /* Deferring writes the row anew with its content, and removing chunks reads them all. */
    settle->request.bytes = (size_t)settle->message->size;
    settle->upstream = upstream == NULL ? NULL : xstrdup(upstream);
    settle->cb = cb;
    settle->owner = owner;
    request_post(queue, &settle->request);
}
