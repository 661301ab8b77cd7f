/* once.c - was this submitted before?
 * Two askers with one token may both hear "no" here; who comes second to the transaction that
 * stores the message learns the truth there (submit.c). This is asked early so that a repetition
 * costs nothing: no chunk is stored for it, and nothing is taken from the key's limits. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

enum store_result once_judge(struct queue *queue, const char *key_id, struct queue_once *once,
                             enum queue_result *verdict)
{
    struct store_once found;
    enum store_result result =
        store_find_once(queue->store, key_id, once->token, queue->now_ms - QUEUE_TOKEN_MS, &found);

    *verdict = QUEUE_NOT_FOUND;
    if (result == STORE_NONE)
        return STORE_OK;
    if (result != STORE_OK)
        return result;
    if (memcmp(found.fingerprint, once->fingerprint, QUEUE_FINGERPRINT_BYTES) != 0) {
        *verdict = QUEUE_CONFLICT;
        free(found.answer);
        return STORE_OK;
    }
    *verdict = QUEUE_REPEATED;
    once->first_id = found.id;
    free(once->first_answer);
    once->first_answer = found.answer;
    return STORE_OK;
}

struct recall {
    struct request request;
    char key_id[16];
    struct queue_once *once;
    queue_done_cb *cb;
    void *owner;
};

static enum store_result recall_run(struct queue *queue, struct request *request)
{
    struct recall *recall = (struct recall *)request;

    return once_judge(queue, recall->key_id, recall->once, &request->result);
}

static void recall_answer(struct request *request)
{
    struct recall *recall = (struct recall *)request;

    recall->cb(recall->owner, request->result);
}

void queue_recall(struct queue *queue, const char *key_id, struct queue_once *once,
                  queue_done_cb *cb, void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "recall",
        .run = recall_run,
        .answer = recall_answer,
    };
    struct recall *recall = request_new(sizeof(*recall), &kind, answers);

    assert(once->token != NULL && strlen(once->token) <= QUEUE_TOKEN_MAX);
    snprintf(recall->key_id, sizeof(recall->key_id), "%s", key_id);
    recall->once = once;
    recall->cb = cb;
    recall->owner = owner;
    request_post(queue, &recall->request);
}
