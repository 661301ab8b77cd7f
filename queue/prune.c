/* prune.c - how long does a message that ended leave a record?
 * Ids grow with time, and nothing ends before it was accepted: so what may go stands at the low end
 * of the table. A cursor walks from there up to the ids of `retention` ago in steps that ride in
 * the writer's batches, and begins anew a while after it came to the end. Messages that are still
 * waiting are passed over, and looked at again in the next walk. The tokens of submissions stand in
 * the order of their ids, too: each step looks at the oldest and takes those whose day is over by
 * the queue's clock.
 *
 * How long is counted in time lived (timeline.c), so a clock that goes ahead removes nothing early.
 * Ids are made by the wall clock: when that goes back, what ended before stays for so much longer.
 */
#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"

#define STEP_ROWS     500
#define AHEAD_MS      60000 /* no clock is that wrong without having been set */
#define STEP_PAUSE_MS 50    /* at most 10,000 rows a second: no ack waits for long */
#define WALK_PAUSE_MS 60000

struct prune {
    struct request request;
    struct store_pruning pruning;
    bool more_tokens;
};

static struct slice key_of(const int64_t *id)
{
    return slice_make(id, sizeof(*id));
}

static bool is_unprunable(void *owner, int64_t id)
{
    const struct queue *queue = owner;

    return map_find(queue->unprunable, key_of(&id)) != NULL;
}

static enum store_result prune_run(struct queue *queue, struct request *request)
{
    struct prune *prune = (struct prune *)request;
    /* Ids that ran ahead of a clock which was set back say nothing of time: ended_ms decides. */
    bool is_ahead = ident_time_ms(ident_next()) > queue->wall_ms + AHEAD_MS;
    enum store_result result = store_prune_once(queue->store, queue->now_ms - QUEUE_TOKEN_MS,
                                                STEP_ROWS, &prune->more_tokens);

    if (result != STORE_OK)
        return result;
    prune->pruning = (struct store_pruning){
        .cursor = queue->prune_cursor,
        .below_id = is_ahead ? INT64_MAX : ident_at_time_ms(queue->wall_ms - queue->retention_ms),
        .ended_ms = queue->lived_ms - queue->retention_ms,
        .look = STEP_ROWS,
        .skip = is_unprunable,
        .owner = queue,
    };
    return store_prune(queue->store, &prune->pruning);
}

static void prune_done(struct queue *queue, struct request *request)
{
    const struct prune *prune = (const struct prune *)request;
    bool is_over = prune->pruning.cursor == 0 && !prune->more_tokens;

    queue->prune_cursor = prune->pruning.cursor;
    queue->prune_at_ms = clock_mono_ms() + (is_over ? WALK_PAUSE_MS : STEP_PAUSE_MS);
}

/* A message whose chunks cannot be read cannot be removed. It failed the whole batch, and would
 * again, and nothing behind it would ever go: it stays, until another process tries. */
static void prune_fail(struct queue *queue, struct request *request)
{
    int64_t id = ((struct prune *)request)->pruning.failed_id;

    if (id != 0) {
        LOG(LOG_ERROR, "queue_message_not_removable", LOG_INT("message", id));
        map_put(queue->unprunable, key_of(&id), queue);
    }
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
