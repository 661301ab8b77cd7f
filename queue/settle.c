/* settle.c - what became of a leased message, and who is told?
 * Each recipient's fate becomes its state; the liveliest state becomes the message's. Recipients
 * that fail bounce: one report for all that failed in this settlement goes into the queue with it
 * (report.c). A settlement is never refused: while the store cannot write it waits in memory
 * (kept), for a delivery that is not recorded would be made again. It may therefore run more than
 * once. It is judged once, at the first run, so that each run writes the same; an earlier one may
 * be on disk all the same, when only its sync failed, and then its lines of history are not written
 * again. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "queue/schedule.h"
#include "relay/base/alloc.h"

#define UNTRIED_PAUSE_MS 1000 /* so that a message nobody can take does not spin */

struct verdict { /* on one recipient */
    struct store_outcome outcome;
    const char *event; /* what to write into the history, or NULL */
    char *own_text;    /* outcome.text when we made it, or NULL */
    bool untried;      /* only its due time changes */
    bool held;         /* by the setting for what may have arrived */
};

struct settle {
    struct request request;
    struct queue_message *message;
    char *upstream;
    struct verdict only, *verdicts; /* one a recipient; NULL before the first run */
    struct report_set reports;
    bool is_bare;   /* it is written without touching the content, which may be unreadable */
    bool was_ready; /* an earlier run left all of it to a commit, which failed */
    int64_t due_ms; /* when it is due again, 0: never; set by run() */
    queue_done_cb *cb;
    void *owner;
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
    int64_t age_ms = queue->lived_ms - record->aged_from_ms;
    int64_t wait_ms = schedule_wait(&queue->schedule, outcome->attempts, age_ms, jitter);

    if (wait_ms != SCHEDULE_GIVE_UP) {
        outcome->due_ms = queue->now_ms + wait_ms;
        return;
    }
    schedule_format_age(age_ms, age);
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
        .wall_ms = queue->wall_ms,
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

static void judge_all(struct queue *queue, struct settle *settle)
{
    size_t count = settle->message->recipient_count;
    int jitter = next_jitter(queue);

    settle->verdicts = &settle->only; /* nearly all mail has one recipient */
    if (count > 1)
        settle->verdicts = xcalloc(count, sizeof(*settle->verdicts));
    for (size_t i = 0; i < count; i++)
        judge(queue, settle, &settle->message->recipients[i], jitter, &settle->verdicts[i]);
}

/* --- who is told ----------------------------------------------------------------------------- */

static bool is_reason(const struct verdict *verdict, enum queue_report_kind kind)
{
    enum queue_state state = verdict->outcome.state;

    if (verdict->untried)
        return false;
    return kind == QUEUE_BOUNCE ? state == QUEUE_FAILED_FOR_GOOD
                                : state == QUEUE_DEFERRED || state == QUEUE_UNCERTAIN;
}

/* *report: on the recipients that are a reason for one of this kind; stays NULL if none is. */
static enum store_result compose(struct queue *queue, struct settle *settle,
                                 enum queue_report_kind kind, struct queue_message **report)
{
    const struct queue_message *message = settle->message;
    struct queue_report_recipient *told = xcalloc(message->recipient_count, sizeof(*told));
    struct queue_report facts = {
        .kind = kind,
        .message = message,
        .give_up_ms = queue->wall_ms + record_of(settle->message)->aged_from_ms - queue->lived_ms +
                      queue->schedule.max_age_ms,
        .upstream = settle->upstream,
        .recipients = told,
    };
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < message->recipient_count; i++) {
        const struct store_outcome *outcome = &settle->verdicts[i].outcome;
        if (is_reason(&settle->verdicts[i], kind))
            told[facts.recipient_count++] = (struct queue_report_recipient){
                .address = message->recipients[i].address,
                .code = outcome->code,
                .enhanced = outcome->enhanced,
                .text = outcome->text,
                .attempts = outcome->attempts,
            };
    }
    if (facts.recipient_count > 0)
        result = report_compose(queue, &facts, !settle->is_bare, report);
    free(told);
    return result;
}

static bool is_notice_due(const struct queue *queue, const struct record *record)
{
    return queue->schedule.notice_ms > 0 && !record->noticed &&
           queue->lived_ms - record->aged_from_ms >= queue->schedule.notice_ms;
}

static enum store_result compose_reports(struct queue *queue, struct settle *settle)
{
    struct report_set *reports = &settle->reports;
    enum store_result result = STORE_OK;

    if (!report_is_wanted(queue, settle->message))
        return STORE_OK;
    if (reports->bounce == NULL)
        result = compose(queue, settle, QUEUE_BOUNCE, &reports->bounce);
    for (size_t i = 0; reports->bounce != NULL && i < settle->message->recipient_count; i++)
        if (is_reason(&settle->verdicts[i], QUEUE_BOUNCE))
            settle->verdicts[i].outcome.state = QUEUE_BOUNCED;
    if (result == STORE_OK && reports->notice == NULL &&
        is_notice_due(queue, record_of(settle->message)))
        result = compose(queue, settle, QUEUE_DELAY_NOTICE, &reports->notice);
    return result;
}

static enum store_result insert_reports(struct queue *queue, const struct report_set *reports)
{
    enum store_result result = STORE_OK;

    if (reports->bounce != NULL)
        result = report_insert(queue, reports->bounce);
    if (result == STORE_OK && reports->notice != NULL)
        result = report_insert(queue, reports->notice);
    return result;
}

static enum store_result note_reports(struct queue *queue, int64_t id,
                                      const struct report_set *reports)
{
    enum store_result result = STORE_OK;

    if (reports->bounce != NULL)
        result = report_note(queue, id, QUEUE_BOUNCE, reports->bounce);
    if (result == STORE_OK && reports->notice != NULL)
        result = report_note(queue, id, QUEUE_DELAY_NOTICE, reports->notice);
    return result;
}

/* --- what is written ------------------------------------------------------------------------- */

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

static enum store_result write_verdicts(struct queue *queue, const struct settle *settle)
{
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < settle->message->recipient_count && result == STORE_OK; i++)
        result = write_verdict(queue, settle->message->id, &settle->verdicts[i]);
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
        .ended_ms = final ? queue->lived_ms : 0,
        .ends_attempt = true,
        .noticed = settle->reports.notice != NULL,
        /* What failed, and nobody was told, keeps its content: an operator may remove the cause and
         * retry it. */
        .drop_content = final && state != QUEUE_FAILED_FOR_GOOD && !settle->is_bare,
        .has_chunks = record->message.chunks > 0,
    };

    enum store_result result = store_change(queue->store, &change);

    return result == STORE_OK ? note_reports(queue, record->message.id, &settle->reports) : result;
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

static enum store_result write_outcome(struct queue *queue, struct settle *settle)
{
    const struct record *record = record_of(settle->message);
    enum store_result result = STORE_OK;
    enum queue_state state;
    bool others = record->message.recipient_count < record->recipients;

    if (others) { /* some were not leased: what they are is only on disk */
        result = write_verdicts(queue, settle);
        if (result == STORE_OK)
            result = store_summarize(queue->store, record->message.id, &state, &settle->due_ms);
        if (result != STORE_OK)
            return result;
    } else {
        summarize(settle->verdicts, record->message.recipient_count, &state, &settle->due_ms);
    }
    if (queue_state_is_final(state) && queue->retention_ms <= 0 && !settle->is_bare)
        return remove_message(queue, record);
    if (!others)
        result = write_verdicts(queue, settle);
    return result == STORE_OK ? write_message(queue, settle, state) : result;
}

/* Is an earlier run of it on disk? Then the attempt that began with the lease is over there. (A
 * message that went with it may have been lost as well: its removal does no harm twice.) */
static enum store_result look_for_it(struct queue *queue, const struct settle *settle,
                                     bool *is_there)
{
    struct store_brief brief;
    enum store_result result = store_find(queue->store, settle->message->id, &brief);

    *is_there = result == STORE_OK && !brief.attempt;
    return result == STORE_NONE ? STORE_OK : result;
}

static enum store_result settle_run(struct queue *queue, struct request *request)
{
    struct settle *settle = (struct settle *)request;
    bool is_there = false;

    if (settle->verdicts == NULL)
        judge_all(queue, settle);
    if (settle->was_ready) {
        enum store_result found = look_for_it(queue, settle, &is_there);
        if (found != STORE_OK || is_there)
            return found;
    }
    enum store_result result = compose_reports(queue, settle);
    if (result == STORE_OK)
        result = write_outcome(queue, settle);
    if (result == STORE_OK)
        result = insert_reports(queue, &settle->reports);
    /* Quoting and removing chunks read them, and one on a bad sector would keep this from ever
     * being written, and with it all deliveries from going on. Pruning will try to remove them
     * again. */
    if (result == STORE_FAILED)
        settle->is_bare = true;
    settle->was_ready = settle->was_ready || result == STORE_OK;
    return result;
}

static void settle_done(struct queue *queue, struct request *request)
{
    struct settle *settle = (struct settle *)request;

    lease_end(queue, settle->message->id);
    lane_note_settled(queue, settle->message, settle->upstream, settle->due_ms);
    if (settle->reports.bounce != NULL)
        report_inserted(queue, settle->message->id, QUEUE_BOUNCE, settle->reports.bounce);
    if (settle->reports.notice != NULL)
        report_inserted(queue, settle->message->id, QUEUE_DELAY_NOTICE, settle->reports.notice);
}

static void settle_answer(struct request *request)
{
    struct settle *settle = (struct settle *)request;

    settle->cb(settle->owner, request->result);
}

static void settle_release(struct request *request)
{
    struct settle *settle = (struct settle *)request;

    for (size_t i = 0; settle->verdicts != NULL && i < settle->message->recipient_count; i++)
        free(settle->verdicts[i].own_text);
    if (settle->verdicts != &settle->only)
        free(settle->verdicts);
    report_set_free(&settle->reports);
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
