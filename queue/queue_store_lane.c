/* queue_store_lane.c - whose mail waits, and what of it is due? Read from the index alone, and no
 * more of it than is passed over or wanted. */
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "queue/queue_store_priv.h"
#include "relay/base/alloc.h"

/* --- lanes ----------------------------------------------------------------------------------- */

static char *column_bytes(sqlite3_stmt *statement, int column, size_t *len)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    *len = text == NULL ? 0 : (size_t)sqlite3_column_bytes(statement, column);
    return slice_dup(slice_make(text, *len));
}

static enum store_result read_lane(struct store *store, sqlite3_stmt *statement,
                                   struct store_lane *lane)
{
    enum db_result step = db_step(store->db, statement);

    *lane = (struct store_lane){ 0 };
    if (step == DB_ROW) {
        lane->account = column_bytes(statement, 0, &lane->account_len);
        lane->key = column_bytes(statement, 1, &lane->key_len);
        lane->due_ms = sqlite3_column_int64(statement, 2); /* exactly: the walk goes on from it */
    }
    sqlite3_reset(statement);
    return step == DB_OK ? STORE_NONE : store_result_of(step);
}

/* A name that is no text is none of ours, and where it stands in the order a text cannot say: it
 * would keep the walk from coming to the names behind it. */
#define LANE_QUERY                                                                                 \
    "SELECT account, key_id, due_ms FROM message INDEXED BY message_lane WHERE due_ms IS NOT NULL" \
    " AND account < x'' AND typeof(key_id) = 'text'"

static enum store_result read_first_lane(struct store *store, struct store_lane *lane)
{
    return read_lane(store, /* no name is less than this */
                     db_prepare(store->db, LANE_QUERY " AND account >= ''"
                                                      " ORDER BY account, key_id, due_ms LIMIT 1"),
                     lane);
}

static sqlite3_stmt *bind_names(sqlite3_stmt *statement, const struct store_lane *lane, int count)
{
    sqlite3_bind_text(statement, 1, lane->account, (int)lane->account_len, SQLITE_STATIC);
    if (count > 1)
        sqlite3_bind_text(statement, 2, lane->key, (int)lane->key_len, SQLITE_STATIC);
    return statement;
}

/* Two questions where one on (account, key_id) > (?, ?) would do, for that one SQLite answers by
 * reading through the whole lane that it is to leave behind. */
static enum store_result read_lane_after(struct store *store, const struct store_lane *before,
                                         struct store_lane *lane)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, LANE_QUERY " AND account = ?1 AND key_id > ?2"
                                         " ORDER BY account, key_id, due_ms LIMIT 1");
    enum store_result result = read_lane(store, bind_names(statement, before, 2), lane);

    if (result != STORE_NONE)
        return result;
    statement = db_prepare(store->db, LANE_QUERY " AND account > ?1"
                                                 " ORDER BY account, key_id, due_ms LIMIT 1");
    return read_lane(store, bind_names(statement, before, 1), lane);
}

/* The first message of a lane stands at the wrong end for this direction. */
#define LANE_QUERY_BACK                                                                            \
    "SELECT account, key_id, 0 FROM message INDEXED BY message_lane WHERE due_ms IS NOT NULL"      \
    " AND account < x'' AND typeof(key_id) = 'text'"

static enum store_result read_last_lane(struct store *store, struct store_lane *lane)
{
    return read_lane(store,
                     db_prepare(store->db, LANE_QUERY_BACK " AND account >= ''"
                                                           " ORDER BY account DESC, key_id DESC"
                                                           " LIMIT 1"),
                     lane);
}

static enum store_result read_lane_before(struct store *store, const struct store_lane *behind,
                                          struct store_lane *lane)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, LANE_QUERY_BACK " AND account = ?1 AND key_id < ?2"
                                              " ORDER BY account DESC, key_id DESC LIMIT 1");
    enum store_result result = read_lane(store, bind_names(statement, behind, 2), lane);

    if (result != STORE_NONE)
        return result;
    statement = db_prepare(store->db, LANE_QUERY_BACK " AND account < ?1"
                                                      " ORDER BY account DESC, key_id DESC"
                                                      " LIMIT 1");
    return read_lane(store, bind_names(statement, behind, 1), lane);
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static bool is_behind(const struct store_lane *lane, const struct store_lane *before)
{
    int order =
        compare_bytes(lane->account, lane->account_len, before->account, before->account_len);

    return order > 0 || (order == 0 &&
                         compare_bytes(lane->key, lane->key_len, before->key, before->key_len) > 0);
}

typedef enum store_result read_end_fn(struct store *store, struct store_lane *lane);
typedef enum store_result read_beside_fn(struct store *store, const struct store_lane *beside,
                                         struct store_lane *lane);

static enum store_result go_on(struct store *store, struct store_lane *lane, read_end_fn *read_end,
                               read_beside_fn *read_beside, bool forward)
{
    struct store_lane left = *lane;
    enum store_result result =
        left.account == NULL ? read_end(store, lane) : read_beside(store, &left, lane);

    if (result == STORE_OK && left.account != NULL &&
        !(forward ? is_behind(lane, &left) : is_behind(&left, lane))) {
        free(lane->account);
        free(lane->key);
        *lane = (struct store_lane){ 0 };
        result = STORE_FAILED;
    }
    free(left.account);
    free(left.key);
    return result;
}

enum store_result store_next_lane(struct store *store, struct store_lane *lane)
{
    return go_on(store, lane, read_first_lane, read_lane_after, true);
}

enum store_result store_previous_lane(struct store *store, struct store_lane *lane)
{
    return go_on(store, lane, read_last_lane, read_lane_before, false);
}

/* --- what is due ----------------------------------------------------------------------------- */

struct due_walk {
    const struct store_due_question *question;
    struct store_place *due, *next;
    size_t count;
    bool ended;
};

/* Read from the index alone. The walk ends at the first row that is neither skipped nor taken, so
 * it is bounded by what is leased and what is wanted. */
static enum store_result walk_due(struct store *store, sqlite3_stmt *statement,
                                  struct due_walk *walk)
{
    const struct store_due_question *question = walk->question;
    enum db_result step = DB_OK;

    sqlite3_bind_text(statement, 1, question->account, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, question->key, -1, SQLITE_STATIC);
    while (!walk->ended && (step = db_step(store->db, statement)) == DB_ROW) {
        const struct store_place place = { sqlite3_column_int64(statement, 0),
                                           sqlite3_column_int64(statement, 1) };
        if (question->skip(question->owner, place.id))
            continue;
        walk->ended = place.due_ms > question->now_ms || walk->count == question->max;
        if (walk->ended)
            *walk->next = place;
        else
            walk->due[walk->count++] = place;
    }
    sqlite3_reset(statement);
    return store_result_of(step);
}

/* First what has the time of the place, then what has a later one: one question for both is
 * answered by reading all that have that time, and an operator's retry gives one time to a million.
 */
enum store_result store_find_due(struct store *store, const struct store_due_question *question,
                                 struct store_place *due, size_t *count, struct store_place *next)
{
    struct due_walk walk = { .question = question, .due = due, .next = next };
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT due_ms, id FROM message INDEXED BY message_lane"
                              " WHERE account = ?1 AND key_id = ?2 AND due_ms = ?3 AND id >= ?4"
                              " ORDER BY id");

    *next = STORE_PLACE_NONE;
    sqlite3_bind_int64(statement, 3, question->from.due_ms);
    sqlite3_bind_int64(statement, 4, question->from.id);
    enum store_result result = walk_due(store, statement, &walk);
    if (result == STORE_OK && !walk.ended) {
        statement = db_prepare(store->db, "SELECT due_ms, id FROM message INDEXED BY message_lane"
                                          " WHERE account = ?1 AND key_id = ?2 AND due_ms > ?3"
                                          " ORDER BY due_ms, id");
        sqlite3_bind_int64(statement, 3, question->from.due_ms);
        result = walk_due(store, statement, &walk);
    }
    *count = walk.count;
    return result;
}
