/* writer.c - group commit: all that waits, one transaction, one sync, then all answers.
 *
 * THE DESIGN
 *
 * One thread owns the only connection to queue.db. Each turn it takes everything from the inbox,
 * makes a batch of it, at most 256 requests or 4 MiB so that the last in a crowd does not wait for
 * all (the rest is the next batch), and
 *
 *   1. runs the writing requests in one transaction and commits: SQLite syncs the log once;
 *   2. tells the modules what is now on disk (done), then runs the reading requests, which so see
 *      only what is committed, and whose failure cannot touch a write;
 *   3. posts the answers, in the order of the questions;
 *   4. brings the log into the database file when it has grown long. Never before the answers: this
 *      is what takes long, and nobody must wait for it.
 *
 * Whoever waits for an answer is never delayed: while a sync runs the next batch gathers by itself.
 * But settlements of which nobody wants to hear wait up to 5 ms for the next request of another
 * kind, so that a client that sends one message after the other shares its syncs with them. (After
 * a crash in that time what they tell is sent again, as after one during the commit.) An answer
 * QUEUE_OK is made in finish(), and only there, from the result of the commit.
 *
 * WHEN THE STORE CANNOT WRITE
 *
 * A failed batch is rolled back and its requests are failed: submissions are refused, so the client
 * keeps its message; if what failed was the sync, the log may hold them all the same, and they are
 * taken back. Settlements and discards are kept in memory and run again before each batch and once
 * a second. Until a write has worked again nothing is leased and queue_has_room() is
 * false: we do not send what we could not record. Two cases:
 *
 *   full      the transaction did not happen and the store is sound. Bringing the log in may make
 *             room in it; a tiny write once a second finds out whether there is room. (Where only
 *             the sync found none, the client hears the same, and the rest is as follows.)
 *   failed    after a failed write or sync neither the kernel's cache nor SQLite's view of the log
 *             can be trusted. The store is closed, and until it was opened again, which reads the
 *             log from the disk, and a probe was synced, nothing is acknowledged. */
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"

#define BATCH_REQUESTS_MAX 256
#define BATCH_BYTES_MAX    ((size_t)4 * 1024 * 1024)
#define LOG_PAGES_MAX      10000 /* checkpointed at once, after the answers */
#define LOG_PAGES_IDLE_MAX 1000  /* checkpointed when nothing waits */
#define TICK_MS            1000
#define COMPANY_MS         5  /* how long settlements wait for company ... */
#define COMPANY_MAX        64 /* ... and how many are company enough */

struct batch {
    struct request *requests[BATCH_REQUESTS_MAX];
    size_t count;
    bool writes;
};

/* --- room and trouble ------------------------------------------------------------------------ */

bool writer_may_lease(const struct queue *queue)
{
    return queue->store != NULL && !queue->refuses && queue->kept.count == 0;
}

static void publish_room(struct queue *queue)
{
    enum queue_room room = ROOM_NONE;

    if (queue->refuses && queue->fails)
        room = ROOM_STORE_FAILS;
    else if (writer_may_lease(queue) && !queue->short_of_space)
        room = ROOM_THERE_IS;
    atomic_store_explicit(&queue->room, room, memory_order_relaxed);
}

void writer_look_for_space(struct queue *queue)
{
    struct statvfs status;

    /* A file system that does not answer is no reason to refuse mail: writing will tell. */
    if (statvfs(queue->folder, &status) == 0) {
        uint64_t free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
        bool is_short = free_bytes < queue->free_space_floor;
        if (is_short && !queue->short_of_space)
            LOG(LOG_WARNING, "queue_short_of_space", LOG_STR("path", queue->path),
                LOG_INT("free", free_bytes), LOG_INT("floor", queue->free_space_floor));
        queue->short_of_space = is_short;
    }
    publish_room(queue);
}

/* The store's own words were logged where it failed; this says what it means for mail. */
static void note_failure(struct queue *queue, enum store_result result)
{
    metrics_add(METRIC_COMMIT_FAILURES, 1);
    if (!queue->refuses)
        LOG(LOG_ERROR, "queue_refuses", LOG_STR("path", queue->path),
            LOG_STR("reason", result == STORE_FULL ? "disk_full" : "store_failed"));
    queue->refuses = true;
    queue->fails = result != STORE_FULL;
    queue->in_doubt =
        result != STORE_FULL || (queue->store != NULL && store_is_in_doubt(queue->store));
    if (queue->store == NULL) /* nothing was tried: the time of the next try stays */
        return;
    queue->mend_at_ms = clock_mono_ms() + TICK_MS;
    if (!queue->in_doubt) {
        (void)store_checkpoint(queue->store); /* its failure says nothing new */
        return;
    }
    memcpy(queue->tally, store_tally(queue->store), sizeof(queue->tally));
    store_close(queue->store);
    queue->store = NULL;
}

static void note_success(struct queue *queue)
{
    metrics_add(METRIC_COMMITS, 1);
    if (queue->refuses)
        LOG(LOG_INFO, "queue_accepts_again", LOG_STR("path", queue->path));
    queue->refuses = false;
}

/* --- one batch ------------------------------------------------------------------------------- */

static enum store_result run_one(struct queue *queue, struct request *request)
{
    return request->kind->run == NULL ? STORE_OK : request->kind->run(queue, request);
}

/* What the commit has settled: it was written, or it was not. */
static void finish(struct queue *queue, struct request *request, enum store_result result)
{
    const struct request_kind *kind = request->kind;

    if (result == STORE_OK) {
        if (kind->done != NULL)
            kind->done(queue, request);
        return;
    }
    request->result = result == STORE_FULL ? QUEUE_FULL : QUEUE_FAILED;
    if (kind->fail != NULL)
        kind->fail(queue, request);
}

static enum store_result transact(struct queue *queue, struct batch *batch)
{
    if (queue->store == NULL)
        return STORE_FAILED;
    enum store_result result = store_begin(queue->store);
    if (result != STORE_OK)
        return result;
    for (size_t i = 0; i < batch->count && result == STORE_OK; i++)
        if (batch->requests[i]->kind->writes)
            result = run_one(queue, batch->requests[i]);
    if (result == STORE_OK)
        result = store_commit(queue->store); /* here the sync happens */
    if (result != STORE_OK)
        store_rollback(queue->store);
    return result;
}

static enum store_result run_writes(struct queue *queue, struct batch *batch)
{
    enum store_result result = transact(queue, batch);

    if (result == STORE_OK)
        note_success(queue);
    else
        note_failure(queue, result);
    for (size_t i = 0; i < batch->count; i++)
        if (batch->requests[i]->kind->writes)
            finish(queue, batch->requests[i], result);
    return result;
}

static void run_reads(struct queue *queue, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct request *request = batch->requests[i];
        if (request->kind->writes)
            continue;
        bool needs_store = request->kind->run != NULL;
        finish(queue, request,
               needs_store && queue->store == NULL ? STORE_FAILED : run_one(queue, request));
    }
}

static void dispose(struct queue *queue, struct request *request, enum store_result written)
{
    if (request->kind->kept && written != STORE_OK) {
        request->result = QUEUE_OK; /* for the next try */
        request_list_add(&queue->kept, request);
    } else if (request->again) {
        request->again = false;
        request_list_add(&queue->pending, request);
    } else {
        request_answer(request);
    }
}

/* True when its writes are on disk. */
static bool run_batch(struct queue *queue, struct batch *batch)
{
    enum store_result written = STORE_OK;

    if (batch->writes)
        written = run_writes(queue, batch);
    run_reads(queue, batch);
    for (size_t i = 0; i < batch->count; i++)
        dispose(queue, batch->requests[i], written);
    publish_room(queue);
    return written == STORE_OK;
}

/* The oldest of the list, as many as may be in one batch. */
static void fill_batch(struct batch *batch, struct request_list *list)
{
    size_t bytes = 0;

    batch->count = 0;
    batch->writes = false;
    while (list->head != NULL && batch->count < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX) {
        if (list->head->kind->first && batch->count > 0)
            break;
        struct request *request = request_list_take(list);
        batch->requests[batch->count++] = request;
        batch->writes = batch->writes || request->kind->writes;
        bytes += request->bytes;
    }
}

/* --- mending --------------------------------------------------------------------------------- */

static bool reopen(struct queue *queue)
{
    struct why why = { 0 };

    if (clock_mono_ms() < queue->mend_at_ms)
        return false;
    queue->mend_at_ms = clock_mono_ms() + TICK_MS;
    /* A file that went away (its disk was unmounted, say) is waited for: a new one in its place
     * would take mail, and hide what was accepted. */
    if (access(queue->path, F_OK) != 0)
        why_errno(&why, errno, "%s", queue->path);
    else
        (void)store_open(&queue->store, queue->path, &why);
    if (queue->store == NULL) {
        LOG(LOG_ERROR, "queue_cannot_reopen", LOG_STR("error", why.text));
        return false;
    }
    lanes_doubt(queue);
    return true;
}

/* Can a commit be made? The probe is the smallest there is. */
static bool probe(struct queue *queue)
{
    enum store_result result = store_begin(queue->store);

    if (result == STORE_OK) {
        result = store_touch(queue->store);
        if (result == STORE_OK)
            result = store_commit(queue->store);
        if (result != STORE_OK)
            store_rollback(queue->store);
    }
    if (result == STORE_OK)
        note_success(queue);
    else
        note_failure(queue, result);
    return result == STORE_OK;
}

/* After a failure: the store first, then what could not be written. Part of each turn. */
static void mend(struct queue *queue)
{
    struct batch batch;

    if (queue->store == NULL && (!reopen(queue) || !probe(queue)))
        return;
    if (queue->refuses && queue->kept.count == 0 && clock_mono_ms() >= queue->mend_at_ms)
        (void)probe(queue);
    while (queue->kept.count > 0) {
        fill_batch(&batch, &queue->kept);
        if (!run_batch(queue, &batch))
            break;
    }
    publish_room(queue);
}

void writer_abandon(struct queue *queue)
{
    struct request *request;

    while ((request = request_list_take(&queue->kept)) != NULL) {
        LOG(LOG_ERROR, "queue_abandoned", LOG_STR("path", queue->path),
            LOG_STR("request", request->kind->name));
        request->result = QUEUE_FAILED;
        request_answer(request);
    }
}

/* --- turns ----------------------------------------------------------------------------------- */

static void take_letters(struct queue *queue)
{
    struct letter *letter = mailbox_take(&queue->inbox), *next;

    for (; letter != NULL; letter = next) {
        next = letter->next;
        request_list_add(&queue->pending, container_of(letter, struct request, letter));
    }
}

static void checkpoint_beyond(struct queue *queue, int pages)
{
    if (queue->store == NULL || store_log_pages(queue->store) <= pages)
        return;
    enum store_result result = store_checkpoint(queue->store);
    if (result == STORE_FAILED) /* a full disk is met, and handled, by the next commit */
        note_failure(queue, result);
    publish_room(queue);
}

/* It changes nothing for the queue, but much for whoever reads the log. */
static void look_for_jump(struct queue *queue)
{
    int64_t jump_ms = timeline_wall_jump_ms(&queue->timeline);

    if (jump_ms != 0)
        LOG(LOG_WARNING, "wall_clock_set", LOG_INT("seconds", jump_ms / 1000));
}

/* What is due by the clock, whether or not anything was asked. */
static void tick(struct queue *queue)
{
    int64_t now_ms = clock_mono_ms();

    if (now_ms >= queue->tick_at_ms) {
        queue->tick_at_ms = now_ms + TICK_MS;
        writer_look_for_space(queue);
        lease_look_again(queue);
        look_for_jump(queue);
    }
    if (now_ms >= queue->save_at_ms && !queue->stopping) {
        queue->save_at_ms = now_ms + TICK_MS; /* unless it is kept */
        if (writer_may_lease(queue))
            request_list_add(&queue->pending, timeline_save_new());
    }
    if (now_ms >= queue->prune_at_ms && !queue->stopping) {
        queue->prune_at_ms = now_ms + TICK_MS; /* unless the step, when it has run, says better */
        if (writer_may_lease(queue))
            request_list_add(&queue->pending, prune_new());
    }
}

/* Is there nothing but what nobody waits for, and may it still get company? */
static bool may_wait(struct queue *queue)
{
    int64_t now_ms = clock_mono_ms();

    if (!queue->patient || queue->stopping || queue->pending.count >= COMPANY_MAX)
        return false;
    for (const struct request *request = queue->pending.head; request != NULL;
         request = request->next)
        if (!request->kind->kept || request->answers != NULL)
            return false;
    if (queue->company_until_ms == 0)
        queue->company_until_ms = now_ms + COMPANY_MS;
    return now_ms < queue->company_until_ms;
}

static void look_at_clocks(struct queue *queue)
{
    queue->now_ms = timeline_now_ms(&queue->timeline);
    queue->lived_ms = timeline_lived_ms(&queue->timeline);
    queue->wall_ms = clock_wall_ms();
}

void writer_work(struct queue *queue, bool stopping)
{
    struct batch batch;

    queue->stopping = stopping;
    if (stopping)
        queue->mend_at_ms = 0; /* the last chance for what is kept */
    for (;;) {
        look_at_clocks(queue);
        take_letters(queue);
        tick(queue);
        mend(queue);
        if (queue->pending.count == 0 || may_wait(queue))
            break;
        queue->company_until_ms = 0;
        fill_batch(&batch, &queue->pending);
        run_batch(queue, &batch);
        checkpoint_beyond(queue, LOG_PAGES_MAX);
    }
    checkpoint_beyond(queue, LOG_PAGES_IDLE_MAX);
}

static struct timespec from_now(int64_t wait_ms)
{
    struct timespec until;

    wait_ms = wait_ms < 1 ? 1 : wait_ms > TICK_MS ? TICK_MS : wait_ms;
    clock_gettime(CLOCK_MONOTONIC, &until); /* the kernel's own, which the condition waits by */
    until.tv_nsec += wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

/* Until something is asked, or a chore is due. True: the queue is to stop, and what was asked
 * before is in the inbox. */
static bool wait_for_work(struct queue *queue)
{
    int64_t chore_ms =
        queue->prune_at_ms < queue->tick_at_ms ? queue->prune_at_ms : queue->tick_at_ms;
    if (queue->company_until_ms != 0 && queue->company_until_ms < chore_ms)
        chore_ms = queue->company_until_ms;
    struct timespec until = from_now(chore_ms - clock_mono_ms());

    pthread_mutex_lock(&queue->lock);
    while (!queue->awake && !queue->stop_asked)
        if (pthread_cond_timedwait(&queue->wakeup, &queue->lock, &until) == ETIMEDOUT)
            break;
    queue->awake = false;
    bool stopping = queue->stop_asked;
    pthread_mutex_unlock(&queue->lock);
    return stopping;
}

void *writer_main(void *owner)
{
    struct queue *queue = owner;
    bool stopping = false;

    (void)pthread_setname_np(pthread_self(), "queue writer"); /* for top -H and profiles */
    queue->patient = true;
    while (!stopping) {
        stopping = wait_for_work(queue);
        writer_work(queue, stopping);
    }
    return NULL;
}
