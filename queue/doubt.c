/* doubt.c - was mail on its way when a process ended?
 * Whether an upstream took a message is known only once its answer to the final dot is here. So
 * before a message may leave, it is on disk that an attempt has begun; what the attempt came to
 * clears that, in the transaction of the settlement. A message that is leased at its insert is born
 * with the mark, which costs nothing; one that is leased later is marked in a transaction, and the
 * lease is answered after its commit.
 *
 * What is marked and leased by nobody was under way when an earlier process ended: it may have
 * arrived. No scan looks for it at start. It is due like everything that was leased then, and is
 * noticed when its turn comes: a line of history says so, the attempt counts as one, and the
 * operator's setting decides whether it is sent again or held. An operator's act that comes before
 * its turn notices it, too, and then it is the operator who has decided. */
#include "queue/queue_priv.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"

#define INTERRUPTED_TEXT "the relay ended during this attempt; the message may have arrived"

const struct store_event doubt_hold_event = {
    .what = "hold", .position = -1, .enhanced = "", .text = "retry.uncertain is \"hold\""
};

static enum store_result note_recipients(struct queue *queue, const struct record *record,
                                         bool hold)
{
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < record->message.recipient_count && result == STORE_OK; i++) {
        const struct queue_recipient *recipient = &record->message.recipients[i];
        const struct store_outcome outcome = {
            .position = recipient->position,
            .state = hold ? QUEUE_HELD : QUEUE_UNCERTAIN,
            .attempts = recipient->attempts + 1,
            .due_ms = hold ? 0 : queue->now_ms,
            .wall_ms = queue->wall_ms,
            .enhanced = "",
            .text = INTERRUPTED_TEXT,
        };
        result = store_set_outcome(queue->store, record->message.id, &outcome);
    }
    return result;
}

static enum store_result note_events(struct queue *queue, int64_t id, bool hold)
{
    static const struct store_event uncertain = {
        .what = "uncertain", .position = -1, .enhanced = "", .text = INTERRUPTED_TEXT
    };
    enum store_result result = store_add_event(queue->store, id, &uncertain);

    return result == STORE_OK && hold ? store_add_event(queue->store, id, &doubt_hold_event)
                                      : result;
}

/* What became of it is not known, and never will be. */
static enum store_result note_interruption(struct queue *queue, const struct record *record,
                                           struct doubt_mark *mark)
{
    bool hold = queue->schedule.hold_uncertain;
    enum store_result result = note_recipients(queue, record, hold);
    int64_t due_ms;

    mark->held = hold;
    if (result == STORE_OK)
        result = note_events(queue, record->message.id, hold);
    if (result == STORE_OK)
        result = store_summarize(queue->store, record->message.id, &mark->state, &due_ms);
    if (result != STORE_OK)
        return result;
    mark->due_ms = due_ms;
    const struct store_change change = {
        .id = record->message.id,
        .from = record->state,
        .to = mark->state,
        .size = record->message.size,
        .due_ms = due_ms,
        .ends_attempt = hold, /* else the mark is that of the attempt that begins now */
    };
    return store_change(queue->store, &change);
}

enum store_result doubt_mark(struct queue *queue, const struct record *record,
                             struct doubt_mark *mark)
{
    *mark = (struct doubt_mark){ .state = record->state };
    if (record->interrupted)
        return note_interruption(queue, record, mark);
    return store_mark_attempt(queue->store, record->message.id, true);
}

struct queue_message *doubt_marked(struct queue *queue, struct record *record,
                                   const struct doubt_mark *mark)
{
    struct queue_message *message = &record->message;
    char id[IDENT_TEXT_BYTES];

    if (!record->interrupted)
        return message;
    ident_format(message->id, id);
    LOG(LOG_WARNING, "attempt_interrupted", LOG_STR("message", id),
        LOG_STR("then", mark->held ? "held" : "sent_again"));
    metrics_add(METRIC_RECIPIENTS_UNCERTAIN, (int64_t)message->recipient_count);
    lease_end(queue, message->id);
    if (mark->held) {
        if (mark->due_ms != 0)
            lane_note_due(queue, message->account, message->key_id, mark->due_ms);
        queue_message_free(message);
        return NULL;
    }
    lease_add(queue, message->id, mark->state);
    record->state = mark->state;
    record->interrupted = false;
    for (size_t i = 0; i < message->recipient_count; i++) {
        message->recipients[i].state = QUEUE_UNCERTAIN;
        message->recipients[i].attempts++;
    }
    return message;
}

/* --- an operator comes first ------------------------------------------------------------------ */

enum queue_state doubt_state(const struct store_brief *brief)
{
    bool waits = brief->state == QUEUE_QUEUED || brief->state == QUEUE_DEFERRED;

    return brief->attempt && waits ? QUEUE_UNCERTAIN : brief->state;
}

/* What was leased then is due now; what is held or due later was not under way. But `now` may have
 * lost a minute (timeline.c), and who is due first was in each lease. */
enum store_result doubt_note(struct queue *queue, const struct store_brief *brief, size_t *count)
{
    const struct store_act act = {
        .id = brief->id,
        .wall_ms = queue->wall_ms,
        .due_ms = brief->due_ms > queue->now_ms ? brief->due_ms : queue->now_ms,
    };
    enum store_result result = store_doubt(queue->store, &act, INTERRUPTED_TEXT, count);

    if (result == STORE_OK && *count > 0)
        result = note_events(queue, brief->id, false);
    return result == STORE_OK ? store_mark_attempt(queue->store, brief->id, false) : result;
}

void doubt_noted(size_t count)
{
    if (count == 0)
        return;
    LOG(LOG_WARNING, "attempts_interrupted", LOG_INT("recipients", count),
        LOG_STR("then", "an operator came first"));
    metrics_add(METRIC_RECIPIENTS_UNCERTAIN, (int64_t)count);
}

/* --- a mark without an attempt --------------------------------------------------------------- */

struct unmark {
    struct request request;
    int64_t id;
    bool interrupted; /* one of before is noted with the mark, and this recipient knows it */
    uint32_t position;
    unsigned attempts;
};

/* The mark of an interrupted attempt stays. But when the interruption was noted after all, it is
 * that of the attempt which was to begin with it. */
static enum store_result unmark_run(struct queue *queue, struct request *request)
{
    const struct unmark *unmark = (const struct unmark *)request;

    return unmark->interrupted
               ? store_unmark_noted(queue->store, unmark->id, unmark->position, unmark->attempts)
               : store_mark_attempt(queue->store, unmark->id, false);
}

/* What was interrupted had a mark before: it stays, unless the interruption was noted. */
struct request *doubt_unmark_new(const struct record *record)
{
    static const struct request_kind kind = {
        .name = "unmark",
        .writes = true,
        .kept = true,
        .run = unmark_run,
    };
    struct unmark *unmark = request_new(sizeof(*unmark), &kind, NULL);

    unmark->id = record->message.id;
    unmark->interrupted = record->interrupted;
    unmark->position = record->message.recipients[0].position;
    unmark->attempts = record->message.recipients[0].attempts;
    return &unmark->request;
}
