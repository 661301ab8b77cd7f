/* submit.c - is this message safe on disk?
 * A small message is one row; the chunks of a larger one arrive before it and belong to nobody
 * until it is submitted, in one transaction with its row. Whatever ends a submission without
 * QUEUE_OK removes the chunks too, and a row of which nobody knows whether it is there. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"

/* What a discard counts for in a batch: removing chunks reads them, and there may be many. */
#define DISCARD_BYTES ((size_t)1024 * 1024)

struct discard {
    struct request request;
    int64_t id;
    bool withdraws; /* the message too, if it was stored */
};

static struct request *new_discard(int64_t id, bool withdraws);

/* --- whole messages -------------------------------------------------------------------------- */

struct submit {
    struct request request;
    struct queue_message *message;
    bool lease;  /* asked for; then, decided by run(): given */
    bool stored; /* its row was inserted, for all that is known before the commit */
    bool (*permit)(void *permit_owner);
    void *permit_owner;
    queue_submit_cb *cb;
    void *owner;
};

/* A session that streamed the chunks counted them; if the store does not agree, acknowledging would
 * be a lie. That is a bug of ours, said in the log and to the client as "try again". */
static enum store_result refuse_incomplete(struct queue *queue, struct submit *submit)
{
    const struct queue_message *message = submit->message;

    LOG(LOG_ERROR, "queue_chunks_missing", LOG_INT("message", message->id),
        LOG_INT("chunks", message->chunks), LOG_INT("size", message->size));
    submit->request.result = QUEUE_FAILED;
    return store_discard(queue->store, message->id);
}

static enum store_result insert(struct queue *queue, struct submit *submit)
{
    const struct queue_message *message = submit->message;
    struct store_birth birth = {
        .state = message->sandbox ? QUEUE_SANDBOXED : QUEUE_QUEUED,
        .due_ms = message->sandbox ? 0 : queue->now_ms,
        .now_ms = queue->now_ms,
        .with_content = !message->sandbox,
        .attempt = submit->lease,
    };

    submit->stored = !message->sandbox || queue->retention_ms > 0;
    return submit->stored ? store_insert(queue->store, message, &birth) : STORE_OK;
}

static enum store_result submit_run(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;
    struct queue_message *message = submit->message;
    enum store_result result = STORE_OK;

    if (submit->permit != NULL && !submit->permit(submit->permit_owner)) {
        request->result = QUEUE_REFUSED;
        return message->chunks > 0 ? store_discard(queue->store, message->id) : STORE_OK;
    }
    /* Decided before the insert: a message that is handed out is stored with its attempt begun. */
    submit->lease = submit->lease && !message->sandbox && writer_may_lease(queue);
    if (message->chunks > 0 && message->sandbox)
        result = store_discard(queue->store, message->id);
    else if (message->chunks > 0)
        result = store_claim(queue->store, message->id, message->chunks, message->size);
    if (result == STORE_NONE)
        return refuse_incomplete(queue, submit);
    return result == STORE_OK ? insert(queue, submit) : result;
}

static void submit_done(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;
    struct record *record = record_of(submit->message);

    if (!submit->stored || request->result != QUEUE_OK || submit->message->sandbox) {
        submit->lease = false;
    } else if (submit->lease) {
        record->state = QUEUE_QUEUED;
        record->recipients = (uint32_t)record->message.recipient_count;
        record->aged_from_ms = record->message.received_ms;
        record->fresh = true;
        lease_add(queue, record->message.id, QUEUE_QUEUED);
    } else {
        lane_note_due(queue, submit->message->account, submit->message->key_id, queue->now_ms);
    }
}

static void submit_fail(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;

    /* A commit whose sync failed may be found in the log when the store is opened again. Its client
     * has been told "not stored", and will come again. */
    bool may_be_stored = submit->stored && request->result == QUEUE_FAILED;

    submit->lease = false;
    if (may_be_stored || submit->message->chunks > 0)
        request_list_add(&queue->kept, new_discard(submit->message->id, may_be_stored));
}

static void submit_answer(struct request *request)
{
    struct submit *submit = (struct submit *)request;
    struct queue_message *leased = NULL;

    if (submit->lease) {
        leased = submit->message;
        submit->message = NULL;
    }
    submit->cb(submit->owner, request->result, leased);
}

static void submit_release(struct request *request)
{
    queue_message_free(((struct submit *)request)->message);
}

void queue_submit(struct queue *queue, const struct queue_submit *question)
{
    static const struct request_kind kind = {
        .name = "submit",
        .writes = true,
        .run = submit_run,
        .done = submit_done,
        .fail = submit_fail,
        .answer = submit_answer,
        .release = submit_release,
    };
    struct submit *submit = request_new(sizeof(*submit), &kind, question->answers);
    struct queue_message *message = *question->message;

    assert(message->recipient_count > 0 && question->cb != NULL);
    *question->message = NULL;
    if (message->chunks == 0)
        message->size = buf_len(&message->content);
    if (message->received_ms == 0)
        message->received_ms = clock_wall_ms();
    submit->message = message;
    submit->lease = question->lease;
    submit->permit = question->permit;
    submit->permit_owner = question->permit_owner;
    submit->cb = question->cb;
    submit->owner = question->owner;
    submit->request.bytes = buf_len(&message->content);
    request_post(queue, &submit->request);
}

/* --- chunks ---------------------------------------------------------------------------------- */

struct append {
    struct request request;
    int64_t id;
    uint32_t seq;
    struct buf data;
    queue_done_cb *cb;
    void *owner;
};

static enum store_result append_run(struct queue *queue, struct request *request)
{
    struct append *append = (struct append *)request;
    enum store_result result =
        store_append(queue->store, append->id, append->seq, buf_slice(&append->data));

    if (result != STORE_NONE)
        return result;
    request->result = QUEUE_FAILED; /* an earlier chunk failed: this one would be an orphan */
    return STORE_OK;
}

static void append_answer(struct request *request)
{
    struct append *append = (struct append *)request;

    append->cb(append->owner, request->result);
}

static void append_release(struct request *request)
{
    buf_free(&((struct append *)request)->data);
}

void queue_append(struct queue *queue, int64_t id, uint32_t seq, struct buf *chunk,
                  queue_done_cb *cb, void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "append",
        .writes = true,
        .run = append_run,
        .answer = append_answer,
        .release = append_release,
    };
    struct append *append = request_new(sizeof(*append), &kind, answers);

    assert(buf_len(chunk) > 0 && buf_len(chunk) <= QUEUE_CHUNK_BYTES);
    append->id = id;
    append->seq = seq;
    append->cb = cb;
    append->owner = owner;
    append->request.bytes = buf_len(chunk);
    buf_move(&append->data, chunk);
    request_post(queue, &append->request);
}

/* A message that was refused, if its row is there. It was never leased: nothing is, while something
 * is kept. */
static enum store_result withdraw(struct store *store, int64_t id)
{
    struct store_brief brief;
    enum store_result result = store_find(store, id, &brief);

    if (result != STORE_OK)
        return result == STORE_NONE ? STORE_OK : result;
    const struct store_removal removal = {
        .id = id,
        .from = brief.state,
        .size = brief.size,
        .has_chunks = true,
    };
    return store_remove(store, &removal);
}

static enum store_result discard_run(struct queue *queue, struct request *request)
{
    const struct discard *discard = (const struct discard *)request;
    enum store_result result = store_discard(queue->store, discard->id);

    return result == STORE_OK && discard->withdraws ? withdraw(queue->store, discard->id) : result;
}

static struct request *new_discard(int64_t id, bool withdraws)
{
    static const struct request_kind kind = {
        .name = "discard",
        .writes = true,
        .kept = true,
        .run = discard_run,
    };
    struct discard *discard = request_new(sizeof(*discard), &kind, NULL);

    discard->id = id;
    discard->withdraws = withdraws;
    discard->request.bytes = DISCARD_BYTES;
    return &discard->request;
}

void queue_discard(struct queue *queue, int64_t id)
{
    request_post(queue, new_discard(id, false));
}
