/* lane.c - whose mail is looked at next?
 * A lane is the mail of one key that waits. Lanes take turns, by account and within it by key
 * (turns.h), so a backlog of one delays no other by more than the round that is under way. What is
 * in memory is one struct lane for each key with mail waiting, never one for each message: where in
 * the lane the walk over the index has come to. What stands before that place is leased or set
 * aside as damaged, or is gone, so no question walks over it twice. Whoever commits something that
 * stands before it, or in a lane that has none, says so by lane_note_due().
 *
 * A lane is in one of three places: in the heap, by time, while nothing of it is due; in turn, when
 * something may be; or stranded, in turns of their own, when its last message reached no upstream
 * at all. All mail of such lanes could do is to be deferred, and a backlog of a
 * million would do so as fast as the disk takes it. So all of them together get so many messages a
 * second: enough to find out at once that an upstream is back, which opens all of them, since there
 * may be thousands; and in time what has become too old.
 *
 * The lanes are read from the index before the first lease, and whenever what is on disk may not be
 * what was noted: some microseconds a lane, whatever its length. Belongs to the writer. */
#include <assert.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/turns.h"

#define STRANDED_A_SECOND 100 /* messages */
#define STRANDED_AT_ONCE  20
#define STRANDED_PAUSE_MS 200 /* when to ask for more of them */
#define READ_AGAIN_MS     600000
#define OPEN_PAUSE_MS     5000 /* mail of one key may find an upstream and find none, by turns */

struct lanes {
    struct map *by_name;
    struct lane **heap; /* those that sleep, the first to wake on top */
    size_t heap_count, heap_capacity;
    struct turns *in_turn, *stranded;
    struct list aside;    /* passed over in the question under way */
    int64_t tokens;       /* thousandths of a message that a stranded lane may have */
    int64_t tokens_at_ms; /* monotonic, like the next */
    int64_t open_after_ms;
    int64_t read_again_ms; /* monotonic; 0: all could be read */
    bool known;            /* else they are to be read */
    struct map *gaps_told; /* names of lanes whose gaps were reported */
    bool unreadable_told;  /* and that not all names could be read */
};

struct lanes *lanes_new(void)
{
    struct lanes *lanes = xcalloc(1, sizeof(*lanes));

    lanes->by_name = map_new();
    lanes->gaps_told = map_new();
    lanes->in_turn = turns_new();
    lanes->stranded = turns_new();
    list_init(&lanes->aside);
    lanes->tokens = STRANDED_AT_ONCE * 1000;
    return lanes;
}

/* --- names ------------------------------------------------------------------------------------ */

struct name { /* account, NUL, key */
    char small[128];
    char *text;
    size_t len;
};

static struct slice name_make(struct name *name, const char *account, const char *key)
{
    size_t account_len = strlen(account) + 1, key_len = strlen(key);

    name->len = account_len + key_len;
    name->text = name->len <= sizeof(name->small) ? name->small : xmalloc(name->len);
    memcpy(name->text, account, account_len);
    memcpy(name->text + account_len, key, key_len);
    return slice_make(name->text, name->len);
}

static void name_free(struct name *name)
{
    if (name->text != name->small)
        free(name->text);
}

static struct lane *find_lane(const struct lanes *lanes, const char *account, const char *key)
{
    struct name name;
    struct lane *lane = map_find(lanes->by_name, name_make(&name, account, key));

    name_free(&name);
    return lane;
}

/* --- the heap --------------------------------------------------------------------------------- */

static void put(struct lanes *lanes, size_t at, struct lane *lane)
{
    lanes->heap[at] = lane;
    lane->heap_at = at;
}

static void sift_up(struct lanes *lanes, size_t at)
{
    struct lane *lane = lanes->heap[at];

    for (; at > 0; at = (at - 1) / 2) {
        struct lane *above = lanes->heap[(at - 1) / 2];
        if (above->from.due_ms <= lane->from.due_ms)
            break;
        put(lanes, at, above);
    }
    put(lanes, at, lane);
}

static void sift_down(struct lanes *lanes, size_t at)
{
    struct lane *lane = lanes->heap[at];

    for (size_t below; (below = 2 * at + 1) < lanes->heap_count; at = below) {
        if (below + 1 < lanes->heap_count &&
            lanes->heap[below + 1]->from.due_ms < lanes->heap[below]->from.due_ms)
            below++;
        if (lane->from.due_ms <= lanes->heap[below]->from.due_ms)
            break;
        put(lanes, at, lanes->heap[below]);
    }
    put(lanes, at, lane);
}

static void heap_add(struct lanes *lanes, struct lane *lane)
{
    if (lanes->heap_count == lanes->heap_capacity) {
        lanes->heap_capacity = lanes->heap_capacity == 0 ? 16 : lanes->heap_capacity * 2;
        lanes->heap = xrealloc(lanes->heap, lanes->heap_capacity * sizeof(struct lane *));
    }
    lane->is_asleep = true;
    put(lanes, lanes->heap_count++, lane);
    sift_up(lanes, lane->heap_at);
}

static struct lane *heap_take(struct lanes *lanes)
{
    struct lane *top = lanes->heap[0];

    top->is_asleep = false;
    lanes->heap_count--;
    if (lanes->heap_count > 0) {
        put(lanes, 0, lanes->heap[lanes->heap_count]);
        sift_down(lanes, 0);
    }
    return top;
}

/* --- their places ----------------------------------------------------------------------------- */

static struct lane *new_lane(struct lanes *lanes, const char *account, const char *key,
                             int64_t due_ms)
{
    struct lane *lane = xcalloc(1, sizeof(*lane));
    struct name name;

    list_init(&lane->turn);
    lane->account = xstrdup(account);
    lane->key = xstrdup(key);
    lane->from = (struct store_place){ due_ms, INT64_MIN };
    void *before = map_put(lanes->by_name, name_make(&name, account, key), lane);
    assert(before == NULL);
    (void)before;
    name_free(&name);
    heap_add(lanes, lane);
    return lane;
}

static void free_lane(struct lane *lane)
{
    free(lane->account);
    free(lane->key);
    free(lane->upstream);
    free(lane);
}

static void add_to_turns(struct lanes *lanes, struct lane *lane)
{
    turns_add(lane->is_stranded ? lanes->stranded : lanes->in_turn, &lane->turn,
              slice_of(lane->account), slice_of(lane->key));
}

void lane_seat(struct queue *queue, struct lane *lane, struct store_place next, int64_t now_ms)
{
    struct name name;

    lane->from = next;
    if (next.due_ms == INT64_MAX && next.id == INT64_MAX) { /* nothing of it waits */
        map_remove(queue->lanes->by_name, name_make(&name, lane->account, lane->key));
        name_free(&name);
        free_lane(lane);
    } else if (next.due_ms <= now_ms) {
        add_to_turns(queue->lanes, lane);
    } else {
        heap_add(queue->lanes, lane);
    }
}

static void free_one(void *owner, struct slice key, void *lane)
{
    (void)owner;
    (void)key;
    free_lane(lane);
}

static void forget_all(struct lanes *lanes)
{
    turns_clear(lanes->in_turn);
    turns_clear(lanes->stranded);
    map_each(lanes->by_name, free_one, NULL);
    map_free(lanes->by_name);
    lanes->by_name = map_new();
    lanes->heap_count = 0;
    lanes->known = false;
}

void lanes_free(struct lanes *lanes)
{
    if (lanes == NULL)
        return;
    forget_all(lanes);
    map_free(lanes->by_name);
    map_free(lanes->gaps_told);
    turns_free(lanes->in_turn);
    turns_free(lanes->stranded);
    free(lanes->heap);
    free(lanes);
}

/* --- what is noted ---------------------------------------------------------------------------- */

void lanes_doubt(struct queue *queue)
{
    queue->lanes->known = false;
}

static void come_back_to(struct lanes *lanes, struct lane *lane, int64_t due_ms)
{
    if (due_ms > lane->from.due_ms)
        return;
    lane->from = (struct store_place){ due_ms, INT64_MIN };
    if (lane->is_asleep)
        sift_up(lanes, lane->heap_at);
}

static struct lane *note(struct lanes *lanes, const char *account, const char *key, int64_t due_ms)
{
    account = account == NULL ? "" : account; /* as it is stored */
    struct lane *lane = lanes->known ? find_lane(lanes, account, key) : NULL;

    if (lane != NULL)
        come_back_to(lanes, lane, due_ms);
    else if (lanes->known)
        lane = new_lane(lanes, account, key, due_ms);
    return lane;
}

/* Whoever waits for what a stranded lane may have will ask by itself. */
static void ring(struct queue *queue, const struct lane *lane, int64_t due_ms)
{
    bool is_stranded = lane != NULL && lane->is_stranded;

    watch_note_due(queue, is_stranded && due_ms < INT64_MAX - STRANDED_PAUSE_MS
                              ? due_ms + STRANDED_PAUSE_MS
                              : due_ms);
}

void lane_note_due(struct queue *queue, const char *account, const char *key, int64_t due_ms)
{
    ring(queue, note(queue->lanes, account, key, due_ms), due_ms);
}

static void remember_upstream(struct lane *lane, const char *upstream)
{
    if (upstream == NULL || (lane->upstream != NULL && strcmp(lane->upstream, upstream) == 0))
        return;
    free(lane->upstream);
    lane->upstream = xstrdup(upstream);
}

static void open_one(void *owner, struct slice name, void *lane)
{
    (void)owner;
    (void)name;
    ((struct lane *)lane)->is_stranded = false;
}

/* An upstream is back: some of the others' mail may be for it, too. */
static void open_all(struct lanes *lanes)
{
    struct list *node;

    if (clock_mono_ms() < lanes->open_after_ms)
        return;
    lanes->open_after_ms = clock_mono_ms() + OPEN_PAUSE_MS;
    map_each(lanes->by_name, open_one, NULL);
    while ((node = turns_take(lanes->stranded)) != NULL)
        add_to_turns(lanes, list_entry(node, struct lane, turn));
}

void lane_note_settled(struct queue *queue, const struct queue_message *message,
                       const char *upstream, int64_t due_ms)
{
    struct lanes *lanes = queue->lanes;
    struct lane *lane =
        due_ms != 0 ? note(lanes, message->account, message->key_id, due_ms)
        : lanes->known && map_count(lanes->by_name) > 0
            ? find_lane(lanes, message->account == NULL ? "" : message->account, message->key_id)
            : NULL;

    if (lane != NULL) {
        if (lane->is_stranded && !message->stranded)
            open_all(lanes);
        lane->is_stranded = message->stranded;
        /* What was handed out as it came says nothing of those that wait. */
        if (!record_of((struct queue_message *)message)->fresh)
            remember_upstream(lane, upstream);
    }
    if (due_ms != 0)
        ring(queue, lane, due_ms);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* A name with a NUL is none of ours: a damaged disk or another hand has put it there. Cut at the
 * NUL it would be taken for another lane. And only a damaged index has a lane twice. */
static void add_found(struct lanes *lanes, const struct store_lane *found)
{
    if (strlen(found->account) != found->account_len || strlen(found->key) != found->key_len)
        LOG(LOG_ERROR, "queue_lane_damaged", LOG_STR("account", found->account),
            LOG_STR("key", found->key));
    else if (find_lane(lanes, found->account, found->key) == NULL)
        new_lane(lanes, found->account, found->key, found->due_ms);
}

/* From the other end to where the names could not be read, or were read already. */
static void read_from_behind(struct queue *queue)
{
    struct store_lane found = { 0 };

    while (store_previous_lane(queue->store, &found) == STORE_OK &&
           find_lane(queue->lanes, found.account, found.key) == NULL)
        add_found(queue->lanes, &found);
    free(found.account);
    free(found.key);
}

static void tell_unreadable(struct queue *queue)
{
    if (!queue->lanes->unreadable_told)
        LOG(LOG_ERROR, "queue_lanes_unreadable", LOG_STR("path", queue->path),
            LOG_INT("known", map_count(queue->lanes->by_name)));
    queue->lanes->unreadable_told = true;
}

/* Where the index cannot be read on, the mail before and behind that place still leaves, and it is
 * tried again later: what failed may have been the disk, and for a moment only. */
static enum store_result read_all(struct queue *queue)
{
    struct lanes *lanes = queue->lanes;
    struct store_lane found = { 0 };
    enum store_result result;

    forget_all(lanes);
    while ((result = store_next_lane(queue->store, &found)) == STORE_OK)
        add_found(lanes, &found);
    if (result != STORE_NONE) {
        read_from_behind(queue);
        tell_unreadable(queue);
    } else {
        lanes->unreadable_told = false;
    }
    lanes->read_again_ms = result == STORE_NONE ? 0 : clock_mono_ms() + READ_AGAIN_MS;
    lanes->known = result == STORE_NONE || map_count(lanes->by_name) > 0;
    return lanes->known ? STORE_OK : result;
}

struct store_place lane_step_over(struct queue *queue, const struct lane *lane,
                                  const struct store_due_question *question,
                                  struct store_place last)
{
    struct lanes *lanes = queue->lanes;
    struct store_place next = store_find_behind_gap(queue->store, question, last);
    struct name name;

    if (map_put(lanes->gaps_told, name_make(&name, lane->account, lane->key), lanes) == NULL)
        LOG(LOG_ERROR, "queue_lane_damaged", LOG_STR("account", lane->account),
            LOG_STR("key", lane->key), LOG_INT("behind_ms", last.due_ms),
            LOG_INT("goes_on_ms", next.due_ms));
    name_free(&name);
    if (lanes->read_again_ms == 0)
        lanes->read_again_ms = clock_mono_ms() + READ_AGAIN_MS;
    return next;
}

static void refill(struct lanes *lanes)
{
    int64_t now_ms = clock_mono_ms();
    int64_t passed_ms = now_ms - lanes->tokens_at_ms;

    lanes->tokens_at_ms = now_ms;
    if (passed_ms < 0 || passed_ms > 1000)
        passed_ms = 1000;
    lanes->tokens += passed_ms * STRANDED_A_SECOND;
    if (lanes->tokens > STRANDED_AT_ONCE * 1000)
        lanes->tokens = STRANDED_AT_ONCE * 1000;
}

enum store_result lanes_begin(struct queue *queue, int64_t now_ms)
{
    struct lanes *lanes = queue->lanes;
    bool is_to_be_read =
        !lanes->known || (lanes->read_again_ms != 0 && clock_mono_ms() >= lanes->read_again_ms);
    enum store_result result = is_to_be_read ? read_all(queue) : STORE_OK;

    if (result != STORE_OK)
        return result;
    refill(lanes);
    while (lanes->heap_count > 0 && lanes->heap[0]->from.due_ms <= now_ms)
        add_to_turns(lanes, heap_take(lanes));
    return STORE_OK;
}

static bool is_any(const char *wanted, const char *text)
{
    return wanted == NULL || (text != NULL && strcmp(wanted, text) == 0);
}

static bool is_passed_over(const struct lane *lane, const struct queue_pass *passes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_any(passes[i].account, lane->account) && is_any(passes[i].key, lane->key) &&
            is_any(passes[i].upstream, lane->upstream))
            return true;
    return false;
}

static bool stranded_may(const struct lanes *lanes)
{
    return lanes->tokens >= 1000 && turns_count(lanes->stranded) > 0;
}

/* A lane changes between the two lines when it comes up. The stranded ones come first: there are
 * few of them in a second, and others with a backlog would keep them from ever coming. */
struct lane *lanes_next(struct queue *queue, const struct queue_pass *passes, size_t pass_count)
{
    struct lanes *lanes = queue->lanes;
    struct list *node;
    bool from_stranded;

    while (from_stranded = stranded_may(lanes),
           (node = turns_take(from_stranded ? lanes->stranded : lanes->in_turn)) != NULL) {
        struct lane *lane = list_entry(node, struct lane, turn);
        if (lane->is_stranded != from_stranded) {
            add_to_turns(lanes, lane);
            continue;
        }
        if (is_passed_over(lane, passes, pass_count)) {
            list_add_tail(&lanes->aside, &lane->turn);
            continue;
        }
        if (from_stranded)
            lanes->tokens -= 1000;
        return lane;
    }
    return NULL;
}

bool lane_is_alone(const struct queue *queue, const struct lane *lane)
{
    return !lane->is_stranded && turns_count(queue->lanes->in_turn) == 0 &&
           !stranded_may(queue->lanes);
}

int64_t lanes_end(struct queue *queue)
{
    struct lanes *lanes = queue->lanes;
    int64_t next_ms = INT64_MAX;
    struct list *node = turns_first(lanes->in_turn);

    if (node != NULL)
        next_ms = list_entry(node, struct lane, turn)->from.due_ms;
    if (turns_count(lanes->stranded) > 0 && next_ms > queue->now_ms + STRANDED_PAUSE_MS)
        next_ms = queue->now_ms + STRANDED_PAUSE_MS;
    if (lanes->heap_count > 0 && next_ms > lanes->heap[0]->from.due_ms)
        next_ms = lanes->heap[0]->from.due_ms;
    while ((node = list_take_head(&lanes->aside)) != NULL)
        add_to_turns(lanes, list_entry(node, struct lane, turn));
    return next_ms;
}
