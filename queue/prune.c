/* prune.c - how long does a message that ended leave a record?
 * Ids grow with time, and nothing ends before it was accepted: so what may go stands at the low end
 * of the table. A cursor walks from there up to the ids of `retention` ago in steps that ride in
 * the writer's batches, and begins anew a while after it came to the end. Messages that are still
 * waiting are passed over, and looked at again in the next walk. The tokens of submissions stand in
 * the order of their ids, too: each step takes the oldest of those whose day is over. */
#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"

#define STEP_ROWS     500
#define STEP_PAUSE_MS 50 /* at most 10,000 rows a second: no ack waits for long */
#define WALK_PAUSE_MS 60000

struct prune {
    struct request request;
    int64_t cursor;
    bool more_tokens;
};

static enum store_result prune_run(struct queue *queue, struct request *request)
{
    struct prune *prune = (struct prune *)request;
    int64_t ended_ms = queue->now_ms - queue->retention_ms;
    int64_t token_ms = queue->now_ms - QUEUE_TOKEN_MS;

    prune->cursor = queue->prune_cursor;
    enum store_result result =
        store_prune_once(queue->store, ident_at_time_ms(token_ms), STEP_ROWS, &prune->more_tokens);
    if (result != STORE_OK)
        return result;
    return store_prune(queue->store, &prune->cursor, ident_at_time_ms(ended_ms), ended_ms,
                       STEP_ROWS);
}

static void prune_done(struct queue *queue, struct request *request)
{
    const struct prune *prune = (const struct prune *)request;
    bool is_over = prune->cursor == 0 && !prune->more_tokens;

    queue->prune_cursor = prune->cursor;
    queue->prune_at_ms = clock_mono_ms() + (is_over ? WALK_PAUSE_MS : STEP_PAUSE_MS);
}

static void prune_fail(struct queue *queue, struct request *request)
{
    (void)request;
    queue->prune_at_ms = clock_mono_ms() + WALK_PAUSE_MS;
}

struct request *prune_new(void)
{
    static const struct request_kind kind = {
        .name = "prune",
        .writes = true,
        .run = prune_run,
        .done = prune_done,
        .fail = prune_fail,
    };

    return request_new(sizeof(struct prune), &kind, NULL);
}
