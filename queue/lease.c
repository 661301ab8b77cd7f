/* lease.c - whose turn is it? Hands out what is due, each recipient to one worker at a time.
 * Leases live in memory only, since one process owns the store: after a crash whatever was leased
 * is due again. A lease takes two steps: the messages are found, lane by lane (lane.c), and read
 * beside the commits, so that one that cannot be read costs no write of others; then, in the next
 * transaction, it is recorded that an attempt of each begins (doubt.c), and the answer comes after
 * that commit. The walk along a lane passes over what is leased or set aside as damaged, each of
 * them once. A lease ends when its message is settled; there is no timeout, for a worker that is
 * slow and one that is dead cannot be told apart without sending twice.
 *
 * What cannot be read keeps nobody waiting but itself: a message is set aside, and where the index
 * has a gap its lane goes on behind that (lane_step_over()). Only when a question met nothing but
 * failures it is given up for a moment, for then it may be the disk as a whole. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"

#define LEASES_MAX       64
#define REFUSED_PAUSE_MS 1000 /* when to ask again while nothing can be recorded */
#define DAMAGED_PAUSE_MS 600000
#define TROUBLES_MAX     8 /* failures in a question that found nothing else */

/* --- what is leased -------------------------------------------------------------------------- */

/* The value of an id is the counter that counts it: queue->leased of its state on disk. */
static struct slice key_of(const int64_t *id)
{
    return slice_make(id, sizeof(*id));
}

bool lease_exists(const struct queue *queue, int64_t id)
{
    return map_find(queue->leases, key_of(&id)) != NULL;
}

void lease_add(struct queue *queue, int64_t id, enum queue_state state)
{
    void *before = map_put(queue->leases, key_of(&id), &queue->leased[state]);

    assert(before == NULL); /* handed out twice */
    (void)before;
    queue->leased[state]++;
}

void lease_end(struct queue *queue, int64_t id)
{
    uint64_t *counter = map_remove(queue->leases, key_of(&id));

    assert(counter != NULL); /* settled twice, or never leased */
    (*counter)--;
}

/* --- leasing --------------------------------------------------------------------------------- */

struct lease {
    struct request request;
    size_t max_messages, max_bytes;
    int64_t now_ms;
    struct queue_pass *passes; /* with texts of our own */
    size_t pass_count;
    queue_lease_cb *cb;
    void *owner;
    struct queue_message *messages[LEASES_MAX]; /* ours until answered */
    struct doubt_mark marks[LEASES_MAX];        /* of their attempts */
    size_t count, bytes;
    size_t tried; /* those that cannot be had, too */
    size_t troubles;
    int64_t next_due_ms;
    int64_t unmarkable; /* whose mark could not be written; 0: none */
};

static bool is_not_to_be_had(void *owner, int64_t id)
{
    const struct queue *queue = owner;

    return lease_exists(queue, id) || map_find(queue->damaged, key_of(&id)) != NULL;
}

/* A due message that cannot be read whole, or has no due recipient, is damage. It is set aside for
 * a while, for it would come up again and again and keep others from their turn; but what failed
 * may have been the disk, and for a moment only. It is reported once in the life of the process. */
static void set_aside(struct queue *queue, int64_t id)
{
    char text[IDENT_TEXT_BYTES];

    ident_format(id, text);
    if (map_put(queue->damage_told, key_of(&id), queue) == NULL)
        LOG(LOG_ERROR, "queue_message_damaged", LOG_STR("message", text));
    if (map_count(queue->damaged) == 0)
        queue->damaged_since_ms = clock_mono_ms();
    map_put(queue->damaged, key_of(&id), queue);
}

void lease_look_again(struct queue *queue)
{
    if (map_count(queue->damaged) == 0 ||
        clock_mono_ms() - queue->damaged_since_ms < DAMAGED_PAUSE_MS)
        return;
    map_free(queue->damaged);
    queue->damaged = map_new();
    lanes_doubt(queue);
    watch_note_due(queue, queue->now_ms);
}

static void take(struct queue *queue, struct lease *lease, struct store_place place)
{
    int64_t id = place.id;
    struct record *record = NULL;

    lease->tried++;
    if (is_not_to_be_had(queue, id)) /* a damaged index has it twice */
        return;
    enum store_result result = store_load(queue->store, id, lease->now_ms, &record);

    if (result != STORE_OK || record->message.recipient_count == 0) {
        lease->troubles += result != STORE_OK && result != STORE_NONE;
        set_aside(queue, id);
        queue_message_free(record == NULL ? NULL : &record->message);
        return;
    }
    lease_add(queue, id, record->state);
    record->due_ms = place.due_ms;
    lease->bytes += buf_len(&record->message.content);
    lease->messages[lease->count++] = &record->message;
}

static bool is_full(const struct lease *lease)
{
    return lease->tried >= lease->max_messages || lease->bytes >= lease->max_bytes;
}

static bool is_hopeless(const struct lease *lease)
{
    return lease->count == 0 && lease->troubles >= TROUBLES_MAX;
}

/* One turn: one message, or many when nobody else has one. The lane goes on from where it was left,
 * whatever happens; what was found before a failure is as good as any. */
static void visit(struct queue *queue, struct lease *lease, struct lane *lane)
{
    const struct store_due_question question = {
        .account = lane->account,
        .key = lane->key,
        .from = lane->from,
        .now_ms = lease->now_ms,
        .skip = is_not_to_be_had,
        .owner = queue,
        .max = lane_is_alone(queue, lane) ? lease->max_messages - lease->tried : 1,
    };
    struct store_place due[LEASES_MAX];
    struct store_place next;
    size_t found = 0, taken = 0;

    if (store_find_due(queue->store, &question, due, &found, &next) != STORE_OK) {
        lease->troubles++;
        next = lane_step_over(queue, lane, &question, found > 0 ? due[found - 1] : lane->from);
    }
    while (taken < found && !is_full(lease))
        take(queue, lease, due[taken++]);
    lane_seat(queue, lane, taken < found ? due[taken] : next, lease->now_ms);
}

static enum store_result lease_run(struct queue *queue, struct request *request)
{
    struct lease *lease = (struct lease *)request;
    struct lane *lane;

    if (!writer_may_lease(queue)) {
        lease->next_due_ms = queue->now_ms + REFUSED_PAUSE_MS;
        return STORE_OK;
    }
    enum store_result result = lanes_begin(queue, lease->now_ms);
    while (result == STORE_OK && !is_full(lease) && !is_hopeless(lease) &&
           (lane = lanes_next(queue, lease->passes, lease->pass_count)) != NULL)
        visit(queue, lease, lane);
    lease->next_due_ms = lanes_end(queue);
    return is_hopeless(lease) ? STORE_FAILED : result;
}

/* The second step. Nothing changes in memory before it is on disk. */
static enum store_result mark_run(struct queue *queue, struct request *request)
{
    struct lease *lease = (struct lease *)request;
    enum store_result result = STORE_OK;

    lease->unmarkable = 0;
    for (size_t i = 0; i < lease->count && result == STORE_OK; i++) {
        result = doubt_mark(queue, record_of(lease->messages[i]), &lease->marks[i]);
        if (result == STORE_FAILED)
            lease->unmarkable = lease->messages[i]->id;
    }
    return result;
}

static void mark_done(struct queue *queue, struct request *request)
{
    struct lease *lease = (struct lease *)request;
    size_t found = lease->count;

    lease->count = 0;
    for (size_t i = 0; i < found; i++) {
        struct queue_message *message =
            doubt_marked(queue, record_of(lease->messages[i]), &lease->marks[i]);
        if (message != NULL)
            lease->messages[lease->count++] = message;
    }
}

/* What was found is not handed out. After a failed sync the marks may be there all the same, and
 * must not make an interruption of what never began; when a mark itself failed, none was ever to be
 * synced. */
static void mark_fail(struct queue *queue, struct request *request)
{
    struct lease *lease = (struct lease *)request;

    for (size_t i = 0; i < lease->count; i++) {
        struct record *record = record_of(lease->messages[i]);
        lease_end(queue, record->message.id);
        if (queue->in_doubt && lease->unmarkable == 0)
            request_list_add(&queue->kept, doubt_unmark_new(record));
        lane_note_due(queue, record->message.account, record->message.key_id, record->due_ms);
        queue_message_free(&record->message);
    }
    if (lease->unmarkable != 0)
        set_aside(queue, lease->unmarkable); /* else it would fail each batch that it is in */
    lease->count = 0;
    lease->next_due_ms = queue->now_ms + REFUSED_PAUSE_MS;
    watch_promise(queue, request->answers, lease->next_due_ms);
}

static void lease_release(struct request *request)
{
    struct lease *lease = (struct lease *)request;

    for (size_t i = 0; i < lease->pass_count; i++) {
        free((char *)lease->passes[i].account);
        free((char *)lease->passes[i].key);
        free((char *)lease->passes[i].upstream);
    }
    free(lease->passes);
}

static void lease_answer(struct request *request)
{
    struct lease *lease = (struct lease *)request;
    size_t count = lease->count;

    lease->count = 0;
    lease->cb(lease->owner, lease->messages, count, lease->next_due_ms);
}

static void lease_done(struct queue *queue, struct request *request)
{
    static const struct request_kind mark = {
        .name = "mark",
        .writes = true,
        .run = mark_run,
        .done = mark_done,
        .fail = mark_fail,
        .answer = lease_answer,
        .release = lease_release,
    };
    struct lease *lease = (struct lease *)request;

    watch_promise(queue, request->answers, lease->next_due_ms);
    if (lease->count > 0) {
        request->kind = &mark;
        request->again = true;
    }
}

/* Nothing was found. */
static void lease_fail(struct queue *queue, struct request *request)
{
    struct lease *lease = (struct lease *)request;

    lease->next_due_ms = queue->now_ms + REFUSED_PAUSE_MS;
    lease_done(queue, request);
}

static char *dup_or_null(const char *text)
{
    return text == NULL ? NULL : xstrdup(text);
}

void queue_lease_but(struct queue *queue, const struct queue_pass *passes, size_t pass_count,
                     size_t max_messages, size_t max_bytes, int64_t now_ms, queue_lease_cb *cb,
                     void *owner, struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "lease",
        .run = lease_run,
        .done = lease_done,
        .fail = lease_fail,
        .answer = lease_answer,
        .release = lease_release,
    };
    struct lease *lease = request_new(sizeof(*lease), &kind, answers);

    assert(max_messages >= 1 && max_messages <= LEASES_MAX);
    lease->max_messages = max_messages;
    lease->max_bytes = max_bytes;
    lease->now_ms = now_ms;
    lease->cb = cb;
    lease->owner = owner;
    if (pass_count > 0)
        lease->passes = xcalloc(pass_count, sizeof(*lease->passes));
    lease->pass_count = pass_count;
    for (size_t i = 0; i < pass_count; i++)
        lease->passes[i] = (struct queue_pass){
            .account = dup_or_null(passes[i].account),
            .key = dup_or_null(passes[i].key),
            .upstream = dup_or_null(passes[i].upstream),
        };
    request_post(queue, &lease->request);
}

void queue_lease(struct queue *queue, size_t max_messages, size_t max_bytes, int64_t now_ms,
                 queue_lease_cb *cb, void *owner, struct mailbox *answers)
{
    queue_lease_but(queue, NULL, 0, max_messages, max_bytes, now_ms, cb, owner, answers);
}

/* --- reading what was leased ----------------------------------------------------------------- */

struct reading {
    struct request request;
    int64_t id;
    uint32_t seq;
    queue_read_cb *cb;
    void *owner;
    struct buf chunk;
};

static enum store_result reading_run(struct queue *queue, struct request *request)
{
    struct reading *reading = (struct reading *)request;
    enum store_result result =
        store_read_chunk(queue->store, reading->id, reading->seq, &reading->chunk);

    if (result != STORE_NONE)
        return result;
    request->result = QUEUE_NOT_FOUND;
    return STORE_OK;
}

static void reading_answer(struct request *request)
{
    struct reading *reading = (struct reading *)request;

    reading->cb(reading->owner, request->result, &reading->chunk);
}

static void reading_release(struct request *request)
{
    buf_free(&((struct reading *)request)->chunk);
}

void queue_read(struct queue *queue, int64_t id, uint32_t seq, queue_read_cb *cb, void *owner,
                struct mailbox *answers)
{
    static const struct request_kind kind = {
        .name = "read",
        .run = reading_run,
        .answer = reading_answer,
        .release = reading_release,
    };
    struct reading *reading = request_new(sizeof(*reading), &kind, answers);

    reading->id = id;
    reading->seq = seq;
    reading->cb = cb;
    reading->owner = owner;
    buf_init(&reading->chunk, QUEUE_CHUNK_BYTES);
    request_post(queue, &reading->request);
}
