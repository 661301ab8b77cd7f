/* queue_store_time.c - times in queue.db, and its two single rows: the latest moment of the queue's
 * clocks (timeline.c), and the largest id of which no message is left. */
#include <stdio.h>

#include "queue/queue_store_priv.h"
#include "queue/timeline.h"

/* A file may say anything, but what is reckoned with must not overflow. The clocks of the queue may
 * be ahead of all calendars by the times for which nobody was there. */
#define TIME_MAX_MS (2 * TIMELINE_LAST_MS)

static bool is_time(int64_t ms)
{
    return ms > 0 && ms <= TIME_MAX_MS;
}

int64_t store_time(sqlite3_stmt *statement, int column)
{
    int64_t ms = sqlite3_column_int64(statement, column);

    return ms < 0 ? 1 : ms > TIME_MAX_MS ? TIME_MAX_MS : ms;
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
        point->wall_ms = store_time(statement, 2);
        point->boot_ms = store_time(statement, 3);
        const char *name = (const char *)sqlite3_column_text(statement, 4);
        snprintf(point->boot_name, sizeof(point->boot_name), "%s", name == NULL ? "" : name);
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
