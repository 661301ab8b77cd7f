/* prune.c - how long does a message that ended leave a record?
 * Ids grow with time, and nothing ends before it was accepted: so what may go stands at the low end
 * of the table. A cursor walks from there up to the ids of `retention` ago in steps that ride in
 * the writer's batches, and begins anew a while after it came to the end. Messages that are still
 * waiting are passed over, and looked at again in the next walk.
 *
 * How long is counted in time lived (timeline.c), so a clock that goes ahead removes nothing early.
 * Ids are made by the wall clock: when that goes back, what ended before stays for so much longer.
 */
#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"

#define STEP_ROWS     500
#define STEP_PAUSE_MS 50 /* at most 10,000 rows a second: no ack waits for long */
#define WALK_PAUSE_MS 60000

struct prune {
    struct request request;
    int64_t cursor;
};

static enum store_result prune_run(struct queue *queue, struct request *request)
{
    struct prune *prune = (struct prune *)request;
    int64_t below_id = ident_at_time_ms(queue->wall_ms - queue->retention_ms);

    prune->cursor = queue->prune_cursor;
    return store_prune(queue->store, &prune->cursor, below_id,
                       queue->lived_ms - queue->retention_ms, STEP_ROWS);
}

static void prune_done(struct queue *queue, struct request *request)
{
    queue->prune_cursor = ((struct prune *)request)->cursor;
    queue->prune_at_ms =
        clock_mono_ms() + (queue->prune_cursor == 0 ? WALK_PAUSE_MS : STEP_PAUSE_MS);
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
