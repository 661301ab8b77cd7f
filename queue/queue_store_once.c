/* queue_store_once.c - every statement about the tokens of submissions. */
#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"

enum store_result store_find_once(struct store *store, const char *key_id, const char *token,
                                  int64_t after_ms, struct store_once *once)
{
    sqlite3_stmt *statement = db_prepare(store->db, "SELECT id, fingerprint, answer FROM once"
                                                    " WHERE key_id = ? AND token = ?"
                                                    " AND kept_ms > ?");
    enum store_result result = STORE_NONE;

    sqlite3_bind_text(statement, 1, key_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, token, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, after_ms);
    enum db_result found = db_step(store->db, statement);
    if (found == DB_ROW) {
        const void *fingerprint = sqlite3_column_blob(statement, 1);
        *once = (struct store_once){ .id = sqlite3_column_int64(statement, 0) };
        if (fingerprint != NULL && sqlite3_column_bytes(statement, 1) == QUEUE_FINGERPRINT_BYTES)
            memcpy(once->fingerprint, fingerprint, QUEUE_FINGERPRINT_BYTES);
        once->answer = column_word(statement, 2);
        result = STORE_OK;
    } else if (found != DB_OK) {
        result = store_result_of(found);
    }
    sqlite3_reset(statement);
    return result;
}

enum store_result store_add_once(struct store *store, int64_t id, const char *key_id,
                                 const struct queue_once *once, int64_t now_ms)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "INSERT OR REPLACE INTO once"
                              " (id, key_id, token, fingerprint, answer, kept_ms)"
                              " VALUES (?, ?, ?, ?, ?, ?)");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_text(statement, 2, key_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 3, once->token, -1, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 4, once->fingerprint, QUEUE_FINGERPRINT_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(statement, 5, once->answer == NULL ? "" : once->answer, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 6, now_ms);
    return store_run(store, statement);
}

enum store_result store_remove_once(struct store *store, int64_t id)
{
    return store_run_for(store, "DELETE FROM once WHERE id = ?", id);
}

enum store_result store_prune_once(struct store *store, int64_t before_ms, size_t max, bool *more)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "DELETE FROM once WHERE kept_ms < ?"
                              " AND id IN (SELECT id FROM once WHERE id > 0 ORDER BY id LIMIT ?)");

    sqlite3_bind_int64(statement, 1, before_ms);
    sqlite3_bind_int64(statement, 2, (int64_t)max);
    enum store_result result = store_run(store, statement);
    *more = result == STORE_OK && (size_t)sqlite3_changes(db_handle(store->db)) == max;
    return result;
}
