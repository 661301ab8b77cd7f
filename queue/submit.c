/* submit.c - is this message safe on disk?
 * A small message is one row; the chunks of a larger one arrive before it and belong to nobody
 * until it is submitted, in one transaction with its row. Several messages may be submitted as one:
 * all are in one transaction, with the token that says so. Whatever ends a submission without
 * QUEUE_OK removes the chunks too, and a row of which nobody knows whether it is there. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"

/* What a discard counts for in a batch: removing chunks reads them, and there may be many. */
#define DISCARD_BYTES     ((size_t)1024 * 1024)
#define DISCARD_TRIES_MAX 3 /* of one that fails by itself */

struct discard {
    struct request request;
    int64_t id;
    bool withdraws;    /* the message too, if it was stored */
    unsigned failures; /* to remove the chunks */
};

static struct request *new_discard(int64_t id, bool withdraws);

/* --- whole messages -------------------------------------------------------------------------- */

struct submit {
    struct request request;
    struct queue_message **messages;
    size_t count;
    struct queue_once *once;
    bool lease;  /* asked for; then, decided by run(): given */
    bool stored; /* the rows were inserted, for all that is known before the commit */
    bool (*permit)(void *permit_owner);
    void *permit_owner;
    queue_submit_cb *cb;
    void *owner;
};

/* A session that streamed the chunks counted them; if the store does not agree, acknowledging would
 * be a lie. That is a bug of ours, said in the log and to the client as "try again". */
static void complain_of_chunks(const struct queue_message *message)
{
    LOG(LOG_ERROR, "queue_chunks_missing", LOG_INT("message", message->id),
        LOG_INT("chunks", message->chunks), LOG_INT("size", message->size));
}

/* Nothing of it is stored, and the rest of the batch is: the answer is `refusal`. */
static enum store_result refuse(struct queue *queue, struct submit *submit,
                                enum queue_result refusal)
{
    enum store_result result = STORE_OK;

    submit->request.result = refusal;
    submit->stored = false;
    for (size_t i = 0; i < submit->count && result == STORE_OK; i++)
        if (submit->messages[i]->chunks > 0)
            result = store_discard(queue->store, submit->messages[i]->id);
    return result;
}

/* The chunks become those of their message; of a sandboxed one nothing is kept. STORE_NONE: they
 * are not whole. */
static enum store_result claim_one(struct queue *queue, const struct queue_message *message)
{
    enum store_result result;

    if (message->chunks == 0)
        return STORE_OK;
    if (message->sandbox)
        return store_discard(queue->store, message->id);
    result = store_claim(queue->store, message->id, message->chunks, message->size);
    if (result == STORE_NONE)
        complain_of_chunks(message);
    return result;
}

/* What was claimed can no longer be discarded, so of several none is before all were looked at. */
static enum store_result claim(struct queue *queue, const struct submit *submit)
{
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < submit->count && submit->count > 1 && result == STORE_OK; i++) {
        const struct queue_message *message = submit->messages[i];
        if (message->chunks > 0 && !message->sandbox)
            result = store_check(queue->store, message->id, message->chunks, message->size);
        if (result == STORE_NONE)
            complain_of_chunks(message);
    }
    for (size_t i = 0; i < submit->count && result == STORE_OK; i++)
        result = claim_one(queue, submit->messages[i]);
    return result;
}

static enum store_result insert(struct queue *queue, const struct submit *submit,
                                const struct queue_message *message)
{
    struct store_birth birth = {
        .state = message->sandbox ? QUEUE_SANDBOXED : QUEUE_QUEUED,
        .due_ms = message->sandbox ? 0 : queue->now_ms,
        .wall_ms = queue->wall_ms,
        .aged_from_ms = queue->lived_ms,
        .with_content = !message->sandbox,
        .attempt = submit->lease,
    };

    return store_insert(queue->store, message, &birth);
}

static enum store_result insert_all(struct queue *queue, struct submit *submit)
{
    const struct queue_message *first = submit->messages[0];
    enum store_result result = STORE_OK;

    submit->stored = !first->sandbox || queue->retention_ms > 0;
    for (size_t i = 0; i < submit->count && result == STORE_OK; i++) {
        if (submit->stored)
            result = insert(queue, submit, submit->messages[i]);
        else
            store_use_id(queue->store, submit->messages[i]->id);
    }
    if (result == STORE_OK && submit->once != NULL)
        result =
            store_add_once(queue->store, first->id, first->key_id, submit->once, queue->now_ms);
    return result;
}

static enum store_result submit_run(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;
    const struct queue_message *first = submit->messages[0];
    enum queue_result verdict = QUEUE_NOT_FOUND;
    enum store_result result = STORE_OK;

    if (submit->permit != NULL && !submit->permit(submit->permit_owner))
        return refuse(queue, submit, QUEUE_REFUSED);
    if (submit->once != NULL)
        result = once_judge(queue, first->key_id, submit->once, &verdict);
    if (result == STORE_OK && verdict != QUEUE_NOT_FOUND)
        return refuse(queue, submit, verdict);
    /* Decided before the insert: a message that is handed out is stored with its attempt begun. */
    submit->lease = submit->lease && !first->sandbox && writer_may_lease(queue);
    if (result == STORE_OK)
        result = claim(queue, submit);
    if (result == STORE_NONE)
        return refuse(queue, submit, QUEUE_FAILED);
    return result == STORE_OK ? insert_all(queue, submit) : result;
}

static void submit_done(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;
    struct record *record = record_of(submit->messages[0]);

    if (!submit->stored || record->message.sandbox) { /* refused, or never due */
        submit->lease = false;
    } else if (submit->lease) {
        record->state = QUEUE_QUEUED;
        record->recipients = (uint32_t)record->message.recipient_count;
        record->aged_from_ms = queue->lived_ms;
        record->fresh = true;
        lease_add(queue, record->message.id, QUEUE_QUEUED);
    } else {
        for (size_t i = 0; i < submit->count; i++)
            lane_note_due(queue, submit->messages[i]->account, submit->messages[i]->key_id,
                          queue->now_ms);
    }
}

static void submit_fail(struct queue *queue, struct request *request)
{
    struct submit *submit = (struct submit *)request;

    /* A commit whose sync failed may be found in the log when the store is opened again. Its client
     * has been told "not stored", and will come again. */
    bool may_be_stored = (submit->stored || submit->once != NULL) && queue->in_doubt;

    submit->lease = false;
    for (size_t i = 0; i < submit->count; i++)
        if (may_be_stored || submit->messages[i]->chunks > 0)
            request_list_add(&queue->kept, new_discard(submit->messages[i]->id, may_be_stored));
}

static void submit_answer(struct request *request)
{
    struct submit *submit = (struct submit *)request;
    struct queue_message *leased = NULL;

    if (submit->lease) {
        leased = submit->messages[0];
        submit->messages[0] = NULL;
    }
    submit->cb(submit->owner, request->result, leased);
}

static void submit_release(struct request *request)
{
    struct submit *submit = (struct submit *)request;

    for (size_t i = 0; i < submit->count; i++)
        queue_message_free(submit->messages[i]);
    free(submit->messages);
}

static void take_message(struct submit *submit, struct queue_message **taken)
{
    struct queue_message *message = *taken;

    *taken = NULL;
    assert(message->recipient_count > 0);
    if (message->chunks == 0)
        message->size = buf_len(&message->content);
    if (message->received_ms == 0)
        message->received_ms = clock_wall_ms();
    submit->request.bytes += buf_len(&message->content);
    submit->messages[submit->count++] = message;
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

    assert(question->cb != NULL && (question->other_count == 0 || !question->lease));
    assert(question->once == NULL || strlen(question->once->token) <= QUEUE_TOKEN_MAX);
    submit->messages = xcalloc(question->other_count + 1, sizeof(*submit->messages));
    take_message(submit, question->message);
    for (size_t i = 0; i < question->other_count; i++)
        take_message(submit, &question->others[i]);
    submit->once = question->once;
    submit->lease = question->lease;
    submit->permit = question->permit;
    submit->permit_owner = question->permit_owner;
    submit->cb = question->cb;
    submit->owner = question->owner;
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
static enum store_result withdraw(struct store *store, int64_t id, bool with_chunks)
{
    struct store_brief brief;
    enum store_result result = store_find(store, id, &brief);

    if (result != STORE_OK)
        return result == STORE_NONE ? STORE_OK : result;
    const struct store_removal removal = {
        .id = id,
        .from = brief.state,
        .size = brief.size,
        .has_chunks = with_chunks,
    };
    return store_remove(store, &removal);
}

/* Removing chunks reads them, and one on a bad sector would keep this from ever being written, and
 * with it all mail out: they stay where they are, and the next start looks at them again. */
static enum store_result discard_run(struct queue *queue, struct request *request)
{
    struct discard *discard = (struct discard *)request;
    bool with_chunks = discard->failures < DISCARD_TRIES_MAX;
    enum store_result result = with_chunks ? store_discard(queue->store, discard->id) : STORE_OK;

    if (result == STORE_OK && discard->withdraws)
        result = store_remove_once(queue->store, discard->id);
    if (result == STORE_OK && discard->withdraws)
        result = withdraw(queue->store, discard->id, with_chunks);
    if (result == STORE_FAILED && with_chunks && ++discard->failures == DISCARD_TRIES_MAX)
        LOG(LOG_ERROR, "queue_chunks_not_removable", LOG_INT("message", discard->id));
    return result;
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
