/* queue_store_gap.c - where does a lane, or the table, go on behind what cannot be read?
 * A page of the index that is damaged, or lies on a bad sector, holds some hundred messages of a
 * lane that is a million long. What stands behind it is found by asking for later and later
 * places until one can be read, and then by halving the way back to the gap, first by time, then by
 * id. So nothing is left out but what stands in the gap, or between two of them. Each question is a
 * walk down the index, and there are some 150 at most; on a disk that takes its time to fail the
 * halving ends early, and more is left out. */
#include "queue/queue_priv.h"
#include "queue/queue_store_priv.h"
#include "relay/base/clock.h"

#define TIME_MAX_MS 500 /* for halving */
/* A question into the gap may take the disk seconds to fail: there must be few. */
#define STEP_FIRST_BIT 2 /* steps of 4, 64, 1024 ... */
#define STEP_BITS      4
#define STEP_LAST_BIT  62

/* In the middle, without overflow whatever a damaged file says. */
static int64_t middle(int64_t low, int64_t high)
{
    return low + (int64_t)(((uint64_t)high - (uint64_t)low) / 2);
}

static bool is_apart(int64_t low, int64_t high)
{
    return (uint64_t)high - (uint64_t)low > 1;
}

/* --- a lane of the index ---------------------------------------------------------------------- */

struct gap {
    struct store *store;
    struct store_due_question question;
    struct store_place next; /* of the last question that was answered */
    int64_t until_ms;
};

static bool can_be_read(struct gap *gap, struct store_place from)
{
    struct store_place next;
    size_t count;

    gap->question.from = from;
    if (store_find_due(gap->store, &gap->question, NULL, &count, &next) != STORE_OK)
        return false;
    gap->next = next;
    return true;
}

/* A later time from which on it can be read, by growing steps. */
static bool find_later(struct gap *gap, int64_t after_ms, int64_t *later_ms)
{
    for (int bit = STEP_FIRST_BIT; bit <= STEP_LAST_BIT; bit += STEP_BITS) {
        if (after_ms >= INT64_MAX - (INT64_C(1) << bit))
            break;
        *later_ms = after_ms + (INT64_C(1) << bit);
        if (can_be_read(gap, (struct store_place){ *later_ms, INT64_MIN }))
            return true;
    }
    return false;
}

struct store_place store_find_behind_gap(struct store *store,
                                         const struct store_due_question *question,
                                         struct store_place last)
{
    struct gap gap = { .store = store,
                       .question = *question,
                       .next = STORE_PLACE_NONE,
                       .until_ms = clock_mono_ms() + TIME_MAX_MS };
    struct store_place low = last, high = { .id = INT64_MIN };

    gap.question.max = 0;
    db_set_quiet(store->db, true);
    if (find_later(&gap, last.due_ms, &high.due_ms)) {
        while (is_apart(low.due_ms, high.due_ms) && clock_mono_ms() < gap.until_ms) {
            struct store_place half = { middle(low.due_ms, high.due_ms), INT64_MIN };
            if (can_be_read(&gap, half))
                high = half;
            else
                low = half;
        }
        /* Of the time before that the last ones may stand behind the gap, too. */
        for (int64_t id = INT64_MAX; is_apart(low.id, id) && clock_mono_ms() < gap.until_ms;) {
            struct store_place half = { low.due_ms, middle(low.id, id) };
            if (can_be_read(&gap, half))
                id = half.id;
            else
                low = half;
        }
    }
    db_set_quiet(store->db, false);
    return gap.next;
}

/* --- the table of messages -------------------------------------------------------------------- */

static bool can_read_message(struct store *store, int64_t after_id, int64_t below_id)
{
    sqlite3_stmt *statement = db_prepare(
        store->db,
        "SELECT state, ended_ms FROM message WHERE id > ? AND id < ? ORDER BY id LIMIT 1");

    sqlite3_bind_int64(statement, 1, after_id);
    sqlite3_bind_int64(statement, 2, below_id);
    enum db_result result = db_step(store->db, statement);
    sqlite3_reset(statement);
    return result == DB_ROW || result == DB_OK;
}

int64_t store_find_id_behind_gap(struct store *store, int64_t after_id, int64_t below_id)
{
    int64_t until_ms = clock_mono_ms() + TIME_MAX_MS;
    int64_t low = after_id, high = below_id;

    db_set_quiet(store->db, true);
    for (int bit = STEP_FIRST_BIT; bit <= STEP_LAST_BIT; bit += STEP_BITS) {
        int64_t step = INT64_C(1) << bit;
        if (step >= below_id - after_id)
            break;
        if (can_read_message(store, after_id + step, below_id)) {
            high = after_id + step;
            break;
        }
        low = after_id + step;
    }
    while (high != below_id && is_apart(low, high) && clock_mono_ms() < until_ms) {
        if (can_read_message(store, middle(low, high), below_id))
            high = middle(low, high);
        else
            low = middle(low, high);
    }
    db_set_quiet(store->db, false);
    return high == below_id ? 0 : high;
}
