/* queue_store_prune.c - which messages ended long ago, and how do they go?
 * First they are looked for, outside of any transaction, then removed in one: what cannot be read
 * costs no write of others. */
#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"

#define BYTES_MAX (UINT64_C(16) * 1024 * 1024) /* about, in one step */

bool store_can_read_chunks(struct store *store, int64_t id)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT data FROM body WHERE message = ? ORDER BY seq");
    bool all = true; /* none is empty, and asking for the bytes reads them */
    enum db_result result = DB_OK;

    sqlite3_bind_int64(statement, 1, id);
    while (all && (result = db_step(store->db, statement)) == DB_ROW)
        all = sqlite3_column_blob(statement, 0) != NULL;
    sqlite3_reset(statement);
    return all && result == DB_OK;
}

static bool has_ended(const struct store_pruning *pruning, sqlite3_stmt *statement)
{
    int64_t state = sqlite3_column_int64(statement, 1);

    return state_is_stored(state) && queue_state_is_final((enum queue_state)state) &&
           sqlite3_column_int64(statement, 2) < pruning->ended_ms &&
           !pruning->skip(pruning->owner, pruning->cursor);
}

/* It stops early when they are large, for removing a content reads its pages. */
void store_find_ended(struct store *store, struct store_pruning *pruning)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT id, state, ended_ms, size, chunks FROM message"
                              " WHERE id > ? AND id < ? ORDER BY id LIMIT ?");
    size_t looked = 0;
    uint64_t bytes = 0;
    enum db_result result;

    pruning->count = 0;
    sqlite3_bind_int64(statement, 1, pruning->cursor);
    sqlite3_bind_int64(statement, 2, pruning->below_id);
    sqlite3_bind_int64(statement, 3, STORE_PRUNED_MAX);
    while ((result = db_step(store->db, statement)) == DB_ROW && looked < STORE_PRUNED_MAX &&
           bytes < BYTES_MAX) {
        looked++;
        pruning->cursor = sqlite3_column_int64(statement, 0);
        if (!has_ended(pruning, statement))
            continue;
        pruning->removals[pruning->count++] = (struct store_removal){
            .id = pruning->cursor,
            .from = (enum queue_state)sqlite3_column_int64(statement, 1),
            .size = column_size(statement, 3),
            .has_chunks = sqlite3_column_int64(statement, 4) > 0,
            .has_events = true,
        };
        bytes += pruning->removals[pruning->count - 1].size;
    }
    sqlite3_reset(statement);
    if (result == DB_OK && looked < STORE_PRUNED_MAX) {
        pruning->cursor = 0;
    } else if (result == DB_FAILED) {
        pruning->has_gap = true;
        pruning->gap_at = pruning->cursor;
        pruning->cursor = store_find_id_behind_gap(store, pruning->cursor, pruning->below_id);
    }
}

/* An operator may have revived it after it was looked at. */
static enum store_result remove_one(struct store *store, const struct store_removal *removal)
{
    struct store_brief brief;
    enum store_result result = store_find(store, removal->id, &brief);

    if (result == STORE_NONE || (result == STORE_OK && brief.state != removal->from))
        return STORE_OK;
    return result == STORE_OK ? store_remove(store, removal) : result;
}

enum store_result store_prune(struct store *store, struct store_pruning *pruning)
{
    enum store_result result = STORE_OK;

    for (size_t i = 0; i < pruning->count && result == STORE_OK; i++) {
        result = remove_one(store, &pruning->removals[i]);
        if (result == STORE_FAILED)
            pruning->failed_id = pruning->removals[i].id;
    }
    return result;
}
