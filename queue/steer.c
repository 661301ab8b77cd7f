/* steer.c - an operator's hand on the queue: try it again, hold it, let it go, give it up.
 * One act on one message, or on all that a filter wants. Each message is changed in one
 * transaction: its recipients by the act's own statement, then the message by what they have
 * become, then a line in its history. What is leased is left alone, for its recipients are about to
 * be settled by what the upstream says, and cannot be called back.
 *
 * Many are changed in steps of bounded work, for each rewrites rows and others wait for its commit:
 * done() moves the cursor on and asks for the next step. The walk goes from the newest id of its
 * first step to the oldest, so it meets each message once, and none that came later. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

#define STEP_MESSAGES 100  /* changed in one batch */
#define STEP_LOOK     2000 /* rows looked at */

#define BIT(state)    (1u << (state))
#define WAITING       (BIT(QUEUE_QUEUED) | BIT(QUEUE_DEFERRED) | BIT(QUEUE_UNCERTAIN))
#define WAITED_ONCE   (BIT(QUEUE_DEFERRED) | BIT(QUEUE_UNCERTAIN))

/* A message whose liveliest recipient still waits may have held ones besides. */
static const struct act {
    const char *event;
    unsigned from;       /* message states; the recipients decide */
    unsigned from_by_id; /* more of them for one that is named */
    bool makes_due;
    bool only_later; /* of many: who is due already needs no help */
    bool only_held;  /* of many: there must be a held recipient */
    bool lets_go;    /* of what is held */
    enum store_result (*run)(struct store *store, const struct store_act *act,
                             struct store_acted *acted);
} acts[] = {
    [QUEUE_RETRY] = { .event = "retry",
                      .from = WAITED_ONCE,
                      .from_by_id = BIT(QUEUE_FAILED_FOR_GOOD),
                      .makes_due = true,
                      .only_later = true,
                      .run = store_revive },
    [QUEUE_HOLD] = { .event = "hold", .from = WAITING | BIT(QUEUE_HELD), .run = store_hold },
    [QUEUE_RELEASE] = { .event = "release",
                        .from = WAITING | BIT(QUEUE_HELD),
                        .makes_due = true,
                        .only_held = true,
                        .lets_go = true,
                        .run = store_release },
    [QUEUE_CANCEL] = { .event = "cancel",
                       .from = WAITING | BIT(QUEUE_HELD),
                       .lets_go = true,
                       .run = store_cancel },
};
_Static_assert(ARRAY_LEN(acts) == QUEUE_ACT_COUNT, "an act without a row");

struct steer {
    struct request request;
    struct queue *queue; /* the writer's, in run() */
    const struct act *act;
    int64_t id;
    struct queue_filter filter; /* our copy */
    char *by;
    bool by_key;
    int64_t due_ms;              /* of all steps: when the first one began */
    int64_t cursor, next_cursor; /* older than this come next; the latter: after this step */
    uint64_t changed, step_changed;
    uint64_t busy, step_busy;
    size_t step_doubted; /* recipients whose attempt was interrupted, and is noted now */
    struct store_brief found[STEP_MESSAGES]; /* in this step; their texts are ours */
    size_t found_count;
    queue_steer_cb *cb;
    void *owner;
};

/* --- one message ----------------------------------------------------------------------------- */

/* What it is now that its recipients are changed. */
static enum store_result write_message(struct queue *queue, const struct steer *steer,
                                       const struct store_brief *brief,
                                       const struct store_acted *acted)
{
    bool is_release = steer->act == &acts[QUEUE_RELEASE];
    bool is_hold = steer->act == &acts[QUEUE_HOLD];
    enum queue_state state;
    int64_t due_ms;
    enum store_result result = store_summarize(queue->store, brief->id, &state, &due_ms);

    if (result != STORE_OK)
        return result;
    bool final = queue_state_is_final(state);
    const struct store_removal removal = {
        .id = brief->id,
        .from = brief->state,
        .size = brief->size,
        .has_chunks = brief->has_chunks,
        .has_events = true,
    };
    const struct store_change change = {
        .id = brief->id,
        .from = brief->state,
        .to = state,
        .size = brief->size,
        .due_ms = due_ms,
        .ended_ms = final ? queue->lived_ms : 0,
        .aged_from_ms = acted->failed || (acted->changed && is_release) ? queue->lived_ms : 0,
        .reserves = acted->changed && is_hold && !steer->by_key,
        .frees = acted->changed && steer->act->lets_go,
        /* Where a recipient failed before, it can still be retried: see settle.c. */
        .drop_content = final && state != QUEUE_FAILED_FOR_GOOD,
        .has_chunks = brief->has_chunks,
    };

    return final && queue->retention_ms <= 0 ? store_remove(queue->store, &removal)
                                             : store_change(queue->store, &change);
}

static enum store_result write_event(struct queue *queue, const struct steer *steer, int64_t id)
{
    char by[64];
    const struct store_event event = {
        .what = steer->act->event, .position = -1, .enhanced = "", .text = by
    };

    snprintf(by, sizeof(by), "by %s", steer->by);
    return store_add_event(queue->store, id, &event);
}

static enum store_result note_doubt(struct queue *queue, struct steer *steer,
                                    const struct store_brief *brief)
{
    size_t count = 0;
    enum store_result result = brief->attempt ? doubt_note(queue, brief, &count) : STORE_OK;

    steer->step_doubted += count;
    return result;
}

/* The operator holds what is held already, by a key say. */
static bool takes_over(const struct steer *steer, const struct store_brief *brief)
{
    return steer->act == &acts[QUEUE_HOLD] && !steer->by_key && brief->state == QUEUE_HELD &&
           !brief->reserved;
}

/* under_way: some of its recipients are, or were when a process ended, which the next lease
 * notices. Of those nothing is said here. */
static enum store_result change_one(struct queue *queue, struct steer *steer,
                                    const struct store_brief *brief, bool under_way)
{
    const struct store_act act = {
        .id = brief->id,
        .wall_ms = queue->wall_ms,
        .due_ms = steer->due_ms,
        .with_failed = steer->id != 0,
        .only_later = steer->id == 0,
    };
    struct store_acted acted = { 0 };
    enum store_result result = under_way ? STORE_OK : note_doubt(queue, steer, brief);

    if (result == STORE_OK)
        result = steer->act->run(queue->store, &act, &acted);
    if (takes_over(steer, brief))
        acted.changed = true;
    if (result != STORE_OK || !(acted.changed || (brief->attempt && !under_way)))
        return result;
    if (acted.changed) {
        steer->step_changed++;
        /* First the event: where nothing is retained it goes with its message. */
        result = write_event(queue, steer, brief->id);
    }
    if (result != STORE_OK)
        return result;
    return write_message(queue, steer, brief, &acted);
}

static bool is_of_account(void *owner, const struct store_look *look)
{
    const struct steer *steer = owner;

    return steer->filter.account == NULL || strcmp(steer->filter.account, look->account) == 0;
}

static enum store_result steer_one(struct queue *queue, struct steer *steer)
{
    const struct store_scan scan = {
        .after_id = steer->id - 1,
        .before_id = steer->id < INT64_MAX ? steer->id + 1 : steer->id, /* no id is the last */
        .limit = 1,
        .look = 1,
        .wants = is_of_account,
        .owner = steer,
    };
    const unsigned from = steer->act->from | steer->act->from_by_id;
    const struct store_brief *brief = &steer->found[0];
    enum store_result result = store_find_wanted(queue->store, &scan, steer->found,
                                                 &steer->found_count, &steer->next_cursor);

    steer->next_cursor = 0;
    if (result != STORE_OK)
        return result;
    bool is_there = steer->found_count != 0;
    bool is_refused = is_there && steer->by_key && steer->act->lets_go && brief->reserved;
    if (!is_there)
        steer->request.result = QUEUE_NOT_FOUND;
    else if (is_refused)
        steer->request.result = QUEUE_REFUSED;
    else if ((from & BIT(doubt_state(brief))) != 0 && !lease_exists(queue, brief->id))
        result = change_one(queue, steer, brief, false);
    if (is_there && !is_refused && steer->step_changed == 0)
        steer->request.result = QUEUE_CONFLICT;
    return result;
}

/* --- many ------------------------------------------------------------------------------------ */

static bool is_wanted(void *owner, const struct store_look *look)
{
    const struct steer *steer = owner;

    return (steer->act->from & BIT(look->state)) != 0 &&
           filter_wants(steer->queue, &steer->filter, look);
}

static bool is_wanted_recipient(void *owner, const struct store_recipient_look *look)
{
    const struct steer *steer = owner;

    return (!steer->act->only_held || look->state == QUEUE_HELD) &&
           filter_wants_recipient(&steer->filter, look);
}

static enum store_result steer_some(struct queue *queue, struct steer *steer)
{
    const struct store_scan scan = {
        .after_id = filter_after_id(&steer->filter),
        .before_id = steer->cursor,
        .limit = STEP_MESSAGES,
        .look = STEP_LOOK,
        .wants = is_wanted,
        .wants_recipient = steer->act->only_held || filter_asks_recipients(&steer->filter)
                               ? is_wanted_recipient
                               : NULL,
        .owner = steer,
    };
    enum store_result result = store_find_wanted(queue->store, &scan, steer->found,
                                                 &steer->found_count, &steer->next_cursor);

    for (size_t i = 0; i < steer->found_count && result == STORE_OK; i++) {
        const struct store_brief *brief = &steer->found[i];
        bool is_leased = lease_exists(queue, brief->id);
        bool is_due = steer->act->only_later && brief->due_ms <= steer->due_ms;
        /* One that is due already may have recipients that are not: they are in no lease. */
        if (is_leased && !is_due)
            steer->step_busy++;
        else
            result = change_one(queue, steer, brief, is_due && (is_leased || brief->attempt));
    }
    return result;
}

/* --- the request ----------------------------------------------------------------------------- */

static void forget_found(struct steer *steer)
{
    for (size_t i = 0; i < steer->found_count; i++) {
        free(steer->found[i].account);
        free(steer->found[i].key);
    }
    steer->found_count = 0;
}

/* Of those that were not changed, too: then somebody looks once in vain. */
static void note_due(struct queue *queue, const struct steer *steer)
{
    for (size_t i = 0; i < steer->found_count; i++)
        lane_note_due(queue, steer->found[i].account, steer->found[i].key, steer->due_ms);
}

static enum store_result steer_run(struct queue *queue, struct request *request)
{
    struct steer *steer = (struct steer *)request;

    steer->queue = queue;
    forget_found(steer);
    steer->step_changed = steer->step_busy = 0;
    steer->step_doubted = 0;
    if (steer->due_ms == 0) {
        steer->due_ms = queue->now_ms;
        steer->cursor = INT64_MAX;
    }
    return steer->id != 0 ? steer_one(queue, steer) : steer_some(queue, steer);
}

static void steer_done(struct queue *queue, struct request *request)
{
    struct steer *steer = (struct steer *)request;
    bool is_last = steer->next_cursor == 0;

    steer->changed += steer->step_changed;
    steer->busy += steer->step_busy;
    doubt_noted(steer->step_doubted);
    steer->cursor = steer->next_cursor;
    request->again = !is_last && !queue->stopping;
    if (!is_last && queue->stopping)
        request->result = QUEUE_FAILED;
    if (steer->act->makes_due && steer->step_changed > 0)
        note_due(queue, steer);
}

static void steer_answer(struct request *request)
{
    struct steer *steer = (struct steer *)request;

    steer->cb(steer->owner, request->result, steer->changed, steer->busy);
}

static void steer_release(struct request *request)
{
    struct steer *steer = (struct steer *)request;

    forget_found(steer);
    filter_clear(&steer->filter);
    free(steer->by);
}

void queue_steer(struct queue *queue, const struct queue_steering *steering, queue_steer_cb *cb,
                 void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "steer",
        .writes = true,
        .first = true, /* leases are told by what is done, not by what runs beside it */
        .run = steer_run,
        .done = steer_done,
        .answer = steer_answer,
        .release = steer_release,
    };
    struct steer *steer = request_new(sizeof(*steer), &kind, answers);

    assert((unsigned)steering->act < QUEUE_ACT_COUNT && steering->id >= 0);
    assert(!steering->by_key || steering->id != 0); /* a key acts on one message at a time */
    steer->act = &acts[steering->act];
    steer->id = steering->id;
    steer->filter = filter_copy(&steering->filter);
    steer->by = xstrdup(steering->by);
    steer->by_key = steering->by_key;
    steer->cb = cb;
    steer->owner = owner;
    request_post(queue, &steer->request);
}
