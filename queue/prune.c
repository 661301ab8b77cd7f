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
 *
 * A step has two parts: what may go is looked for beside the commits, then removed in the next
 * transaction. So what cannot be read, a row or its chunks, costs no write of others: it is stepped
 * over and reported once. Tokens are few and small, and not looked for before: where they cannot be
 * removed they are left alone for an hour, and messages go on without them. */
#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"

#define TOKENS_MAX      500
#define AHEAD_MS        60000 /* no clock is that wrong without having been set */
#define STEP_PAUSE_MS   50    /* at most 10,000 rows a second: no ack waits for long */
#define WALK_PAUSE_MS   60000
#define TOKENS_PAUSE_MS 3600000

struct prune {
    struct request request;
    struct store_pruning pruning;
    bool more_tokens;
    bool tokens_failed;
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

/* It stays, until another process tries. */
static void set_aside(struct queue *queue, int64_t id)
{
    char text[IDENT_TEXT_BYTES];

    ident_format(id, text);
    LOG(LOG_ERROR, "queue_message_not_removable", LOG_STR("message", text));
    map_put(queue->unprunable, key_of(&id), queue);
}

/* --- the first step: what may go? ------------------------------------------------------------- */

/* Removing chunks reads them, and where that fails it takes a whole batch with it, of others. */
static void leave_out_unreadable(struct queue *queue, struct store_pruning *pruning)
{
    size_t kept = 0;

    for (size_t i = 0; i < pruning->count; i++) {
        const struct store_removal removal = pruning->removals[i];
        if (removal.has_chunks && !store_can_read_chunks(queue->store, removal.id))
            set_aside(queue, removal.id);
        else
            pruning->removals[kept++] = removal;
    }
    pruning->count = kept;
}

static void tell_gap(struct queue *queue, int64_t behind)
{
    char text[IDENT_TEXT_BYTES];

    if (queue->prune_gap_told)
        return;
    queue->prune_gap_told = true;
    ident_format(behind, text);
    LOG(LOG_ERROR, "queue_messages_unreadable", LOG_STR("path", queue->path),
        LOG_STR("behind", text));
}

static enum store_result look_run(struct queue *queue, struct request *request)
{
    struct store_pruning *pruning = &((struct prune *)request)->pruning;
    /* Ids that ran ahead of a clock which was set back say nothing of time: ended_ms decides. */
    bool is_ahead = ident_time_ms(ident_last()) > queue->wall_ms + AHEAD_MS;

    pruning->cursor = queue->prune_cursor;
    pruning->below_id =
        is_ahead ? INT64_MAX : ident_at_time_ms(queue->wall_ms - queue->retention_ms);
    pruning->ended_ms = queue->lived_ms - queue->retention_ms;
    pruning->skip = is_unprunable;
    pruning->owner = queue;
    store_find_ended(queue->store, pruning);
    if (pruning->has_gap)
        tell_gap(queue, pruning->gap_at);
    leave_out_unreadable(queue, pruning);
    return STORE_OK;
}

/* --- the second step: it goes ----------------------------------------------------------------- */

static enum store_result prune_run(struct queue *queue, struct request *request)
{
    struct prune *prune = (struct prune *)request;
    enum store_result result = STORE_OK;

    prune->more_tokens = false;
    if (clock_mono_ms() >= queue->prune_tokens_at_ms)
        result = store_prune_once(queue->store, queue->now_ms - QUEUE_TOKEN_MS, TOKENS_MAX,
                                  &prune->more_tokens);
    prune->tokens_failed = result == STORE_FAILED;
    return result == STORE_OK ? store_prune(queue->store, &prune->pruning) : result;
}

static void prune_done(struct queue *queue, struct request *request)
{
    const struct prune *prune = (const struct prune *)request;
    bool is_over = prune->pruning.cursor == 0 && !prune->more_tokens;

    queue->prune_failures = 0;
    queue->prune_cursor = prune->pruning.cursor;
    queue->prune_at_ms = clock_mono_ms() + (is_over ? WALK_PAUSE_MS : STEP_PAUSE_MS);
}

/* It failed the whole batch, and would again, and nothing behind it would ever go. Beside a page
 * that cannot be read each row does, because the pages are balanced, so each time in a row twice as
 * many are left alone. */
static void prune_fail(struct queue *queue, struct request *request)
{
    const struct prune *prune = (const struct prune *)request;
    const struct store_pruning *pruning = &prune->pruning;

    queue->prune_at_ms = clock_mono_ms() + WALK_PAUSE_MS;
    if (prune->tokens_failed) {
        LOG(LOG_ERROR, "queue_tokens_not_removable", LOG_STR("path", queue->path));
        queue->prune_tokens_at_ms = clock_mono_ms() + TOKENS_PAUSE_MS;
    }
    if (pruning->failed_id == 0) /* it was not the message's fault */
        return;
    size_t most = (size_t)1 << (queue->prune_failures < 10 ? queue->prune_failures++ : 10);
    for (size_t i = 0; i < pruning->count && most > 0; i++) {
        int64_t id = pruning->removals[i].id;
        if (id == pruning->failed_id)
            set_aside(queue, id);
        if (id < pruning->failed_id)
            continue;
        map_put(queue->unprunable, key_of(&id), queue);
        most--;
    }
}

static void look_done(struct queue *queue, struct request *request)
{
    static const struct request_kind kind = {
        .name = "prune",
        .writes = true,
        .run = prune_run,
        .done = prune_done,
        .fail = prune_fail,
    };

    if (!writer_may_lease(queue)) { /* nothing can be written meanwhile */
        queue->prune_at_ms = clock_mono_ms() + WALK_PAUSE_MS;
        return;
    }
    request->kind = &kind;
    request->again = true;
}

struct request *prune_new(void)
{
    static const struct request_kind kind = {
        .name = "look for what has ended",
        .run = look_run,
        .done = look_done,
        .fail = prune_fail,
    };

    return request_new(sizeof(struct prune), &kind, NULL);
}
