/* report.c - how does a report get into the queue?
 * A report is an ordinary message with a null sender, to the envelope sender of the message that it
 * is about, and with the account and key of that one, so that the same routes apply. It is inserted
 * in the transaction that makes its reason true: after a crash there is both or neither. A
 * settlement that could not be written runs again, when an earlier try may be on disk all the same;
 * so a report is composed once, and its id tells whether it is there. */
#include <assert.h>
#include <stdio.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"

static const struct {
    const char *event, *done;
    enum metric metric;
} kinds[] = {
    [QUEUE_BOUNCE] = { "bounce", "bounce_queued", METRIC_BOUNCES },
    [QUEUE_DELAY_NOTICE] = { "delay notice", "delay_notice_queued", METRIC_DELAY_NOTICES },
};

bool report_is_wanted(const struct queue *queue, const struct queue_message *message)
{
    return queue->report != NULL && message->sender != NULL && message->sender[0] != '\0';
}

/* --- composing ------------------------------------------------------------------------------- */

static struct queue_message *new_report(const struct queue_message *about, int64_t id)
{
    struct queue_message *report = queue_message_new(id);

    report->account = xstrdup(about->account == NULL ? "" : about->account);
    snprintf(report->key_id, sizeof(report->key_id), "%s", about->key_id);
    report->sender = xstrdup("");
    queue_message_add(report, slice_of(about->sender));
    return report;
}

static struct queue_message *compose(struct queue *queue, struct queue_report *facts)
{
    struct buf content = { 0 };
    struct queue_message *report = NULL;
    char id[IDENT_TEXT_BYTES];

    facts->id = ident_next();
    facts->now_ms = queue->wall_ms;
    if (queue->report(queue->report_owner, facts, &content)) {
        report = new_report(facts->message, facts->id);
        report->received_ms = queue->wall_ms;
        report->size = buf_len(&content);
        if (report->size > QUEUE_INLINE_MAX)
            report->chunks = (uint32_t)((report->size + QUEUE_CHUNK_BYTES - 1) / QUEUE_CHUNK_BYTES);
        buf_move(&report->content, &content);
    } else {
        ident_format(facts->message->id, id);
        LOG(LOG_ERROR, "report_not_composed", LOG_STR("message", id));
    }
    buf_free(&content);
    return report;
}

enum store_result report_compose(struct queue *queue, struct queue_report *facts, bool quotes,
                                 struct queue_message **report)
{
    const struct queue_message *about = facts->message;
    enum store_result result = STORE_OK;
    struct buf chunk = { 0 };

    assert(facts->recipient_count > 0);
    facts->original = buf_slice(&about->content);
    if (quotes && about->chunks > 0) {
        result = store_read_chunk(queue->store, about->id, 0, &chunk);
        facts->original = buf_slice(&chunk);
    }
    if (result == STORE_OK || result == STORE_NONE) {
        *report = compose(queue, facts);
        result = STORE_OK;
    }
    buf_free(&chunk);
    return result;
}

/* --- storing --------------------------------------------------------------------------------- */

/* One for many recipients may be larger than what is stored in the row of a message. */
static enum store_result insert_chunks(struct store *store, const struct queue_message *report)
{
    struct slice left = buf_slice(&report->content);
    enum store_result result = STORE_OK;

    for (uint32_t seq = 0; seq < report->chunks && result == STORE_OK; seq++) {
        struct slice chunk = slice_first(left, QUEUE_CHUNK_BYTES);
        result = store_append(store, report->id, seq, chunk);
        left = slice_from(left, chunk.len);
    }
    if (result == STORE_OK)
        result = store_claim(store, report->id, report->chunks, report->size);
    assert(result != STORE_NONE); /* these are the chunks that we just wrote */
    return result;
}

enum store_result report_insert(struct queue *queue, const struct queue_message *report)
{
    const struct store_birth birth = {
        .state = QUEUE_QUEUED,
        .due_ms = queue->now_ms,
        .wall_ms = queue->wall_ms,
        .aged_from_ms = queue->lived_ms,
        .with_content = true,
    };
    struct store_brief brief;
    enum store_result result = store_find(queue->store, report->id, &brief);

    if (result != STORE_NONE)
        return result;
    result = report->chunks > 0 ? insert_chunks(queue->store, report) : STORE_OK;
    return result == STORE_OK ? store_insert(queue->store, report, &birth) : result;
}

enum store_result report_note(struct queue *queue, int64_t about, enum queue_report_kind kind,
                              const struct queue_message *report)
{
    char id[IDENT_TEXT_BYTES];
    char text[64];

    ident_format(report->id, id);
    snprintf(text, sizeof(text), "the sender is told by message %s", id);
    const struct store_event event = {
        .what = kinds[kind].event, .position = -1, .enhanced = "", .text = text
    };
    return store_add_event(queue->store, about, &event);
}

void report_inserted(struct queue *queue, int64_t about, enum queue_report_kind kind,
                     const struct queue_message *report)
{
    char id[IDENT_TEXT_BYTES], report_id[IDENT_TEXT_BYTES];

    ident_format(about, id);
    ident_format(report->id, report_id);
    LOG(LOG_INFO, kinds[kind].done, LOG_STR("message", id), LOG_STR("report", report_id));
    metrics_add(kinds[kind].metric, 1);
    lane_note_due(queue, report->account, report->key_id, queue->now_ms);
}

void report_set_free(struct report_set *set)
{
    queue_message_free(set->bounce);
    queue_message_free(set->notice);
}
