/* queue.c - how does the queue begin and end, and how does a question get to the writer and back?
 * Opening costs the same at any depth: the log of a crash is brought in, orphaned chunks are named
 * by their rows in `incoming`, and no message is looked at. */
#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"

/* --- requests -------------------------------------------------------------------------------- */

void request_list_add(struct request_list *list, struct request *request)
{
    request->next = NULL;
    if (list->tail == NULL)
        list->head = request;
    else
        list->tail->next = request;
    list->tail = request;
    list->count++;
}

struct request *request_list_take(struct request_list *list)
{
    struct request *request = list->head;

    if (request == NULL)
        return NULL;
    list->head = request->next;
    if (list->head == NULL)
        list->tail = NULL;
    list->count--;
    return request;
}

void *request_new(size_t size, const struct request_kind *kind, struct mailbox *answers)
{
    struct request *request = xcalloc(1, size);

    request->kind = kind;
    request->answers = answers;
    return request;
}

void request_post(struct queue *queue, struct request *request)
{
    mailbox_post(&queue->inbox, &request->letter);
}

static void request_free(struct request *request)
{
    if (request->kind->release != NULL)
        request->kind->release(request);
    free(request);
}

static void on_answer(struct letter *letter)
{
    struct request *request = container_of(letter, struct request, letter);

    request->kind->answer(request);
    request_free(request);
}

void request_answer(struct request *request)
{
    if (request->answers == NULL) {
        request_free(request);
        return;
    }
    request->letter.deliver = on_answer;
    mailbox_post(request->answers, &request->letter);
}

/* --- open ------------------------------------------------------------------------------------ */

/* The signal comes after the unlock, or the thread it wakes would run into the lock. */
static void wake_writer(void *owner)
{
    struct queue *queue = owner;

    pthread_mutex_lock(&queue->lock);
    bool was_awake = queue->awake;
    queue->awake = true;
    pthread_mutex_unlock(&queue->lock);
    if (!was_awake)
        pthread_cond_signal(&queue->wakeup);
}

/* Waiting is by the monotonic clock: a step of the wall clock must not hold the chores up. */
static void init_locks(struct queue *queue)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->wakeup, &attributes);
    pthread_condattr_destroy(&attributes);
    mailbox_init(&queue->inbox, wake_writer, queue);
}

/* The jitter only keeps retries apart: any seed will do when the kernel gives none. */
static uint64_t random_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint64_t)clock_mono_us();
    return seed;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

/* The earliest due time of all that wait, as far as they can be read, or INT64_MAX. */
static int64_t first_due(struct queue *queue)
{
    struct store_lane lane = { 0 };
    int64_t due_ms = INT64_MAX;

    while (store_next_lane(queue->store, &lane) == STORE_OK)
        due_ms = lane.due_ms < due_ms ? lane.due_ms : due_ms;
    return due_ms;
}

static enum store_result go_on_from(struct queue *queue)
{
    struct timeline_point last;
    enum store_result result = store_load_point(queue->store, &last);
    bool is_known = result == STORE_OK;

    timeline_begin(&queue->timeline, is_known ? &last : NULL,
                   is_known ? INT64_MAX : first_due(queue));
    return result == STORE_NONE ? STORE_OK : result;
}

static enum store_result clear_up(struct queue *queue)
{
    enum store_result result = store_begin(queue->store);

    if (result != STORE_OK)
        return result;
    result = store_remove_orphans(queue->store);
    if (result == STORE_OK)
        result = timeline_save(queue);
    if (result == STORE_OK)
        result = store_commit(queue->store);
    if (result != STORE_OK)
        store_rollback(queue->store);
    return result;
}

/* What a crash left half done is removed, the queue's clocks go on from where they were, and no id
 * of before can be given out again. */
static bool recover(struct queue *queue, struct why *why)
{
    int64_t last_id = 0;
    enum store_result result = store_last_id(queue->store, &last_id);

    ident_raise_floor(last_id);
    if (result == STORE_OK)
        result = go_on_from(queue);
    if (result == STORE_OK)
        result = clear_up(queue);
    /* A full disk is no reason not to start: only running can make room again. The orphans then
     * stay until the next start. */
    if (result == STORE_FAILED)
        return why_set(why, "cannot recover %s: %s", queue->path, store_error(queue->store));
    return true;
}

bool queue_open(struct queue **opened, const struct queue_options *options, struct why *why)
{
    bool ok = false;
    struct queue *queue = xcalloc(1, sizeof(*queue));

    assert(options->schedule.retry_count >= 1 &&
           options->schedule.retry_count <= QUEUE_RETRIES_MAX);
    init_locks(queue);
    list_init(&queue->watches);
    queue->lanes = lanes_new();
    queue->leases = map_new();
    queue->damaged = map_new();
    queue->damage_told = map_new();
    queue->unprunable = map_new();
    queue->path = xstrdup(options->path);
    queue->folder = folder_of(options->path);
    queue->schedule = options->schedule;
    queue->retention_ms = options->retention_ms;
    queue->free_space_floor = options->free_space_floor;
    queue->report = options->report;
    queue->report_owner = options->report_owner;
    queue->random = random_seed();
    if (!store_open(&queue->store, queue->path, why) || !recover(queue, why))
        goto out;
    writer_look_for_space(queue);
    ok = true;
out:
    if (ok) {
        *opened = queue;
    } else {
        store_close(queue->store);
        queue->stopped = true; /* it never began */
        queue_free(queue);
    }
    return ok;
}

bool queue_start(struct queue *queue, struct why *why)
{
    assert(!queue->threaded && !queue->stopped);
    int error = pthread_create(&queue->thread, NULL, writer_main, queue);

    if (error != 0)
        return why_errno(why, error, "cannot start the queue's writer thread");
    queue->threaded = true;
    return true;
}

void queue_step(struct queue *queue)
{
    assert(!queue->threaded && !queue->stopped);
    writer_work(queue, false);
}

/* If it cannot be written, the latest one that could is good enough. */
static void keep_moment(struct queue *queue)
{
    if (queue->store == NULL || store_begin(queue->store) != STORE_OK)
        return;
    if (timeline_save(queue) != STORE_OK || store_commit(queue->store) != STORE_OK)
        store_rollback(queue->store);
}

void queue_stop(struct queue *queue)
{
    if (queue->stopped)
        return;
    queue->stopped = true;
    if (queue->threaded) {
        pthread_mutex_lock(&queue->lock);
        queue->stop_asked = true;
        pthread_cond_signal(&queue->wakeup);
        pthread_mutex_unlock(&queue->lock);
        pthread_join(queue->thread, NULL);
    } else {
        writer_work(queue, true);
    }
    writer_abandon(queue);
    keep_moment(queue);
    store_close(queue->store);
    queue->store = NULL;
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    queue_stop(queue);
    watch_free_all(queue);
    lanes_free(queue->lanes);
    map_free(queue->leases);
    map_free(queue->damaged);
    map_free(queue->damage_told);
    map_free(queue->unprunable);
    mailbox_destroy(&queue->inbox);
    pthread_cond_destroy(&queue->wakeup);
    pthread_mutex_destroy(&queue->lock);
    free(queue->path);
    free(queue->folder);
    free(queue);
}

int64_t queue_now_ms(const struct queue *queue)
{
    return timeline_now_ms(&queue->timeline);
}

bool queue_has_room(const struct queue *queue)
{
    return atomic_load_explicit(&queue->room, memory_order_relaxed) == ROOM_THERE_IS;
}

bool queue_is_failing(const struct queue *queue)
{
    return atomic_load_explicit(&queue->room, memory_order_relaxed) == ROOM_STORE_FAILS;
}

/* --- a new schedule -------------------------------------------------------------------------- */

struct reschedule {
    struct request request;
    struct queue_schedule schedule;
    int64_t retention_ms;
};

static void reschedule_done(struct queue *queue, struct request *request)
{
    struct reschedule *reschedule = (struct reschedule *)request;

    queue->schedule = reschedule->schedule;
    queue->retention_ms = reschedule->retention_ms;
}

void queue_set_schedule(struct queue *queue, const struct queue_schedule *schedule,
                        int64_t retention_ms)
{
    static const struct request_kind kind = { .name = "reschedule", .done = reschedule_done };
    struct reschedule *reschedule = request_new(sizeof(*reschedule), &kind, NULL);

    assert(schedule->retry_count >= 1 && schedule->retry_count <= QUEUE_RETRIES_MAX);
    reschedule->schedule = *schedule;
    reschedule->retention_ms = retention_ms;
    request_post(queue, &reschedule->request);
}
