/* admin.c - what is in the queue? list, show and stats, for the command line and the API. They run
 * on the writer's thread beside the commits, so each looks at a bounded number of rows and a list
 * comes page by page. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

#define ROWS_MAX 1000 /* in a page */
#define LOOK_MAX 5000 /* rows looked at for a page */

static void free_row(struct queue_row *row)
{
    free(row->account);
    free(row->key_id);
    free(row->sender);
    free(row->recipient);
    free(row->last_text);
}

/* The wall time at which something is due by the queue's own clock. */
static int64_t shown_due_ms(const struct queue *queue, int64_t due_ms)
{
    return due_ms == 0 ? 0 : queue->wall_ms + (due_ms - queue->now_ms);
}

/* On disk a leased message still waits; whoever asks wants to know that it is on its way. */
static void show_row(const struct queue *queue, struct queue_row *row)
{
    row->due_ms = shown_due_ms(queue, row->due_ms);
    if (queue_state_is_final(row->state) || !lease_exists(queue, row->id))
        return;
    row->state = QUEUE_DELIVERING;
    row->due_ms = 0;
}

/* --- list ------------------------------------------------------------------------------------ */

struct list_request {
    struct request request;
    struct queue *queue;        /* the writer's, in run() */
    struct queue_filter filter; /* our copy */
    struct queue_page page;
    queue_list_cb *cb;
    void *owner;
};

static bool list_wants(void *owner, const struct store_look *look)
{
    const struct list_request *list = owner;

    return filter_wants(list->queue, &list->filter, look);
}

static bool list_wants_recipient(void *owner, const struct store_recipient_look *look)
{
    const struct list_request *list = owner;

    return filter_wants_recipient(&list->filter, look);
}

static enum store_result list_run(struct queue *queue, struct request *request)
{
    struct list_request *list = (struct list_request *)request;
    const struct store_scan scan = {
        .after_id = filter_after_id(&list->filter),
        .before_id = list->filter.before_id > 0 ? list->filter.before_id : INT64_MAX,
        .limit = list->filter.limit,
        .look = LOOK_MAX,
        .wants = list_wants,
        .wants_recipient = filter_asks_recipients(&list->filter) ? list_wants_recipient : NULL,
        .owner = list,
    };

    list->queue = queue;
    list->page.rows = xcalloc(list->filter.limit, sizeof(*list->page.rows));
    enum store_result result = store_list(queue->store, &scan, &list->page);
    for (size_t i = 0; i < list->page.count; i++)
        show_row(queue, &list->page.rows[i]);
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
    filter_clear(&list->filter);
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
    list->filter = filter_copy(filter);
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
    show_row(queue, &show->story.row);
    for (size_t i = 0; i < show->story.recipient_count; i++)
        show->story.recipients[i].due_ms = shown_due_ms(queue, show->story.recipients[i].due_ms);
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
