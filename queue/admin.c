/* admin.c - what is in the queue, and please try this one again: list, show, stats and retry, for
 * the command line and the API. They run on the writer's thread beside the commits, so each looks
 * at a bounded number of rows and a list comes page by page. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

#define ROWS_MAX   1000 /* in a page */
#define LOOK_MAX   5000 /* rows looked at for a page */
#define RETRY_STEP 100  /* messages made due in one batch */

static void free_row(struct queue_row *row)
{
    free(row->account);
    free(row->key_id);
    free(row->sender);
    free(row->recipient);
    free(row->last_text);
}

/* On disk a leased message still waits; whoever asks wants to know that it is on its way. */
static void show_lease(const struct queue *queue, struct queue_row *row)
{
    if (queue_state_is_final(row->state) || !lease_exists(queue, row->id))
        return;
    row->state = QUEUE_DELIVERING;
    row->due_ms = 0;
}

/* --- list ------------------------------------------------------------------------------------ */

struct list_request {
    struct request request;
    struct queue *queue; /* the writer's, in run() */
    struct queue_filter filter;
    char *account; /* ours; filter.account points here */
    struct queue_page page;
    queue_list_cb *cb;
    void *owner;
};

static bool list_wants(void *owner, int64_t id, enum queue_state state, const char *account)
{
    const struct list_request *list = owner;

    if (list->filter.account != NULL && strcmp(list->filter.account, account) != 0)
        return false;
    if (!list->filter.has_state)
        return true;
    if (!queue_state_is_final(state) && lease_exists(list->queue, id))
        state = QUEUE_DELIVERING;
    return state == list->filter.state;
}

static enum store_result list_run(struct queue *queue, struct request *request)
{
    struct list_request *list = (struct list_request *)request;
    const struct store_scan scan = {
        .before_id = list->filter.before_id > 0 ? list->filter.before_id : INT64_MAX,
        .limit = list->filter.limit,
        .look = LOOK_MAX,
        .wants = list_wants,
        .owner = list,
    };

    list->queue = queue;
    list->page.rows = xcalloc(list->filter.limit, sizeof(*list->page.rows));
    enum store_result result = store_list(queue->store, &scan, &list->page);
    for (size_t i = 0; i < list->page.count; i++)
        show_lease(queue, &list->page.rows[i]);
    return result;
}

static void list_answer(struct request *request)
{
    struct list_request *list = (struct list_request *)request;
    struct queue_page empty = { 0 };

    list->cb(list->owner, request->result, request->result == QUEUE_OK ? &list->page : &empty);
}

static void list_release(struct request *request)
{
    struct list_request *list = (struct list_request *)request;

    for (size_t i = 0; i < list->page.count; i++)
        free_row(&list->page.rows[i]);
    free(list->page.rows);
    free(list->account);
}

void queue_list(struct queue *queue, const struct queue_filter *filter, queue_list_cb *cb,
                void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "list",
        .run = list_run,
        .answer = list_answer,
        .release = list_release,
    };
    struct list_request *list = request_new(sizeof(*list), &kind, answers);

    assert(filter->limit >= 1 && filter->limit <= ROWS_MAX);
    list->filter = *filter;
    list->account = filter->account == NULL ? NULL : xstrdup(filter->account);
    list->filter.account = list->account;
    list->cb = cb;
    list->owner = owner;
    request_post(queue, &list->request);
}

/* --- show ------------------------------------------------------------------------------------ */

struct show_request {
    struct request request;
    int64_t id;
    struct queue_story story;
    queue_show_cb *cb;
    void *owner;
};

static enum store_result show_run(struct queue *queue, struct request *request)
{
    struct show_request *show = (struct show_request *)request;
    enum store_result result = store_show(queue->store, show->id, &show->story);

    if (result == STORE_NONE) {
        request->result = QUEUE_NOT_FOUND;
        return STORE_OK;
    }
    show_lease(queue, &show->story.row);
    return result;
}

static void show_answer(struct request *request)
{
    struct show_request *show = (struct show_request *)request;

    show->cb(show->owner, request->result, request->result == QUEUE_OK ? &show->story : NULL);
}

static void show_release(struct request *request)
{
    struct queue_story *story = &((struct show_request *)request)->story;

    free_row(&story->row);
    for (size_t i = 0; i < story->recipient_count; i++) {
        free(story->recipients[i].address);
        free(story->recipients[i].text);
        free(story->recipients[i].upstream);
    }
    free(story->recipients);
    for (size_t i = 0; i < story->event_count; i++) {
        free(story->events[i].what);
        free(story->events[i].recipient);
        free(story->events[i].text);
        free(story->events[i].upstream);
    }
    free(story->events);
}

void queue_show(struct queue *queue, int64_t id, queue_show_cb *cb, void *owner,
                struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "show",
        .run = show_run,
        .answer = show_answer,
        .release = show_release,
    };
    struct show_request *show = request_new(sizeof(*show), &kind, answers);

    show->id = id;
    show->cb = cb;
    show->owner = owner;
    request_post(queue, &show->request);
}

/* --- stats ----------------------------------------------------------------------------------- */

struct stats_request {
    struct request request;
    struct queue_stats stats;
    queue_stats_cb *cb;
    void *owner;
};

static uint64_t not_negative(int64_t value)
{
    return value < 0 ? 0 : (uint64_t)value;
}

/* Needs no read from the disk, so it has an answer also while there is no store. */
static void stats_done(struct queue *queue, struct request *request)
{
    struct queue_stats *stats = &((struct stats_request *)request)->stats;
    const struct store_tally *tally =
        queue->store == NULL ? queue->tally : store_tally(queue->store);

    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++) {
        uint64_t leased = queue->leased[i], messages = not_negative(tally[i].messages);
        stats->messages[i] += messages < leased ? 0 : messages - leased;
        stats->messages[QUEUE_DELIVERING] += leased;
        if (!queue_state_is_final((enum queue_state)i))
            stats->active_bytes += not_negative(tally[i].bytes);
    }
    if (queue->store != NULL)
        store_file_bytes(queue->store, &stats->database_bytes, &stats->log_bytes);
    stats->unsettled = queue->kept.count;
}

static void stats_answer(struct request *request)
{
    struct stats_request *asked = (struct stats_request *)request;

    asked->cb(asked->owner, &asked->stats);
}

void queue_stats(struct queue *queue, queue_stats_cb *cb, void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "stats",
        .done = stats_done,
        .answer = stats_answer,
    };
    struct stats_request *asked = request_new(sizeof(*asked), &kind, answers);

    asked->cb = cb;
    asked->owner = owner;
    request_post(queue, &asked->request);
}

/* --- retry ----------------------------------------------------------------------------------- */

/* All that wait are made due in steps, for each step rewrites rows and others wait for its commit:
 * done() advances the place and asks for the next step. */
struct retry {
    struct request request;
    int64_t id;     /* 0: all that wait */
    int64_t due_ms; /* what is due by then needs no help, and has had it */
    struct store_due place, next_place;
    uint64_t changed, step_changed;
    bool last;
    queue_retry_cb *cb;
    void *owner;
};

static bool may_be_retried(enum queue_state state, bool with_failed)
{
    return state == QUEUE_DEFERRED || state == QUEUE_UNCERTAIN ||
           (with_failed && state == QUEUE_FAILED_FOR_GOOD);
}

/* An operator who retries what failed gives it a new life: its age counts from now, or it would be
 * given up at the first trouble. */
static enum store_result revive(struct queue *queue, const struct store_brief *brief,
                                int64_t due_ms, bool with_failed)
{
    static const struct store_event event = { .what = "retry", .position = -1, .enhanced = "" };
    bool revived_failed;
    enum store_result result =
        store_revive(queue->store, brief->id, due_ms, with_failed, &revived_failed);
    const struct store_change change = {
        .id = brief->id,
        .from = brief->state,
        .to = revived_failed ? QUEUE_DEFERRED : brief->state,
        .size = brief->size,
        .due_ms = due_ms,
        .aged_from_ms = revived_failed ? queue->now_ms : 0,
    };

    if (result == STORE_OK)
        result = store_change(queue->store, &change);
    if (result == STORE_OK)
        result = store_add_event(queue->store, brief->id, &event);
    return result;
}

static enum store_result retry_one(struct queue *queue, struct retry *retry)
{
    struct store_brief brief;
    enum store_result result = store_find(queue->store, retry->id, &brief);

    retry->last = true;
    retry->step_changed = 0;
    if (result == STORE_NONE) {
        retry->request.result = QUEUE_NOT_FOUND;
        return STORE_OK;
    }
    if (result != STORE_OK)
        return result;
    if (lease_exists(queue, brief.id) || !may_be_retried(brief.state, true)) {
        retry->request.result = QUEUE_CONFLICT;
        return STORE_OK;
    }
    retry->step_changed = 1;
    return revive(queue, &brief, retry->due_ms, true);
}

static enum store_result retry_some(struct queue *queue, struct retry *retry)
{
    struct store_brief briefs[RETRY_STEP];
    size_t count;
    enum store_result result =
        store_find_waiting(queue->store, retry->place, RETRY_STEP, briefs, &count);

    retry->last = count < RETRY_STEP;
    retry->step_changed = 0;
    for (size_t i = 0; i < count && result == STORE_OK; i++) {
        retry->next_place = (struct store_due){ .id = briefs[i].id, .due_ms = briefs[i].due_ms };
        if (lease_exists(queue, briefs[i].id) || !may_be_retried(briefs[i].state, false))
            continue;
        result = revive(queue, &briefs[i], retry->due_ms, false);
        retry->step_changed++;
    }
    return result;
}

static enum store_result retry_run(struct queue *queue, struct request *request)
{
    struct retry *retry = (struct retry *)request;

    if (retry->due_ms == 0) {
        retry->due_ms = queue->now_ms;
        retry->place = (struct store_due){ .id = INT64_MAX, .due_ms = retry->due_ms };
    }
    if (retry->id != 0)
        return retry_one(queue, retry);
    return retry_some(queue, retry);
}

static void retry_done(struct queue *queue, struct request *request)
{
    struct retry *retry = (struct retry *)request;

    retry->changed += retry->step_changed;
    retry->place = retry->next_place;
    request->again = !retry->last && !queue->stopping;
    if (!retry->last && queue->stopping)
        request->result = QUEUE_FAILED;
    if (retry->step_changed > 0)
        watch_note_due(queue, queue->now_ms);
}

static void retry_answer(struct request *request)
{
    struct retry *retry = (struct retry *)request;

    retry->cb(retry->owner, request->result, retry->changed);
}

void queue_retry(struct queue *queue, int64_t id, queue_retry_cb *cb, void *owner,
                 struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "retry",
        .writes = true,
        .run = retry_run,
        .done = retry_done,
        .answer = retry_answer,
    };
    struct retry *retry = request_new(sizeof(*retry), &kind, answers);

    retry->id = id;
    retry->cb = cb;
    retry->owner = owner;
    request_post(queue, &retry->request);
}
