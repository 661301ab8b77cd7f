/* queue_store_time.c - the two single rows of queue.db: the latest moment of the queue's clocks
 * (timeline.c), and the largest id of which no message is left. */
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"
#include "queue/timeline.h"

static bool is_time(int64_t ms)
{
    return ms > 0 && ms <= COLUMN_TIME_MAX_MS;
}

enum store_result store_load_point(struct store *store, struct timeline_point *point)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT now_ms, lived_ms, wall_ms, boot_ms, boot_name FROM timeline"
                              " WHERE one = 1");
    enum db_result step = db_step(store->db, statement);

    if (step == DB_ROW) {
        point->now_ms = sqlite3_column_int64(statement, 0);
        point->lived_ms = sqlite3_column_int64(statement, 1);
        point->wall_ms = column_time(statement, 2);
        point->boot_ms = column_time(statement, 3);
        column_copy(statement, 4, point->boot_name, sizeof(point->boot_name));
    }
    sqlite3_reset(statement);
    if (step != DB_ROW)
        return step == DB_OK ? STORE_NONE : store_result_of(step);
    return is_time(point->now_ms) && is_time(point->lived_ms) ? STORE_OK : STORE_NONE;
}

enum store_result store_save_point(struct store *store, const struct timeline_point *point)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "INSERT OR REPLACE INTO timeline"
                              " (one, now_ms, lived_ms, wall_ms, boot_ms, boot_name)"
                              " VALUES (1, ?, ?, ?, ?, ?)");

    sqlite3_bind_int64(statement, 1, point->now_ms);
    sqlite3_bind_int64(statement, 2, point->lived_ms);
    sqlite3_bind_int64(statement, 3, point->wall_ms);
    sqlite3_bind_int64(statement, 4, point->boot_ms);
    sqlite3_bind_text(statement, 5, point->boot_name, -1, SQLITE_STATIC);
    return store_run(store, statement);
}

/* --- ids ------------------------------------------------------------------------------------- */

void store_use_id(struct store *store, int64_t id)
{
    if (id > store->used_id_next)
        store->used_id_next = id;
}

enum store_result store_load_used_id(struct store *store)
{
    sqlite3_stmt *statement = db_prepare(store->db, "SELECT last_id FROM used WHERE one = 1");
    enum db_result step = db_step(store->db, statement);

    store->used_id = step == DB_ROW ? sqlite3_column_int64(statement, 0) : 0;
    store->used_id_next = store->used_id;
    sqlite3_reset(statement);
    return store_result_of(step);
}

enum store_result store_save_used_id(struct store *store)
{
    if (store->used_id_next == store->used_id)
        return STORE_OK;
    sqlite3_stmt *statement =
        db_prepare(store->db, "INSERT OR REPLACE INTO used (one, last_id) VALUES (1, ?)");

    sqlite3_bind_int64(statement, 1, store->used_id_next);
    return store_run(store, statement);
}
