/* queue_store_steer.c - the statements of an operator's acts: each changes the recipients of one
 * message that are in the states it is for, and says whether there were any. The message's own row
 * follows by store_summarize() and store_change(). */
#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"

/* A statement with ?1 the message, ?2 the wall time and ?3 the due time; it need not use the last
 * ones. */
static enum store_result run_act(struct store *store, const struct store_act *act, const char *sql,
                                 bool *changed)
{
    sqlite3_stmt *statement = db_prepare(store->db, sql);

    sqlite3_bind_int64(statement, 1, act->id);
    if (sqlite3_bind_parameter_count(statement) >= 2)
        sqlite3_bind_int64(statement, 2, act->wall_ms);
    if (sqlite3_bind_parameter_count(statement) >= 3)
        sqlite3_bind_int64(statement, 3, act->due_ms);
    enum store_result result = store_run(store, statement);
    *changed = result == STORE_OK && store_changed_a_row(store);
    return result;
}

/* The numbers of enum queue_state, which are on disk and never change, and that of attempts. */
#define WAITING "(0, 2, 3)"
_Static_assert(QUEUE_QUEUED == 0 && QUEUE_DEFERRED == 2 && QUEUE_UNCERTAIN == 3 &&
                   QUEUE_HELD == 4 && QUEUE_FAILED_FOR_GOOD == 7 && QUEUE_CANCELLED == 8 &&
                   COLUMN_ATTEMPTS_MAX == 1000000,
               "the numbers in these statements");

enum store_result store_revive(struct store *store, const struct store_act *act,
                               struct store_acted *acted)
{
    static const char all[] =
        "UPDATE recipient SET due_ms = ?3 WHERE message = ?1 AND state IN (2, 3)";
    static const char later[] = "UPDATE recipient SET due_ms = ?3 WHERE message = ?1"
                                " AND state IN (2, 3) AND due_ms > ?3";
    enum store_result result = run_act(store, act, act->only_later ? later : all, &acted->changed);

    if (result == STORE_OK && act->with_failed)
        result = run_act(store, act,
                         "UPDATE recipient SET due_ms = ?3, state = 2"
                         " WHERE message = ?1 AND state = 7",
                         &acted->failed);
    acted->changed = acted->changed || acted->failed;
    return result;
}

enum store_result store_hold(struct store *store, const struct store_act *act,
                             struct store_acted *acted)
{
    return run_act(store, act,
                   "UPDATE recipient SET due_ms = NULL, state = 4, updated_ms = ?2"
                   " WHERE message = ?1 AND state IN " WAITING,
                   &acted->changed);
}

enum store_result store_doubt(struct store *store, const struct store_act *act, const char *text,
                              size_t *count)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "UPDATE recipient SET state = 3,"
                              " attempts = max(1, min(attempts + 1, 1000000)),"
                              " updated_ms = ?2, code = 0, enhanced = '', text = ?4,"
                              " upstream = NULL"
                              " WHERE message = ?1 AND due_ms <= ?3 AND state IN " WAITING);

    sqlite3_bind_int64(statement, 1, act->id);
    sqlite3_bind_int64(statement, 2, act->wall_ms);
    sqlite3_bind_int64(statement, 3, act->due_ms);
    sqlite3_bind_text(statement, 4, text, -1, SQLITE_STATIC);
    enum store_result result = store_run(store, statement);
    *count = result == STORE_OK ? (size_t)sqlite3_changes(db_handle(store->db)) : 0;
    return result;
}

enum store_result store_release(struct store *store, const struct store_act *act,
                                struct store_acted *acted)
{
    return run_act(store, act,
                   "UPDATE recipient SET due_ms = ?3, updated_ms = ?2,"
                   " state = CASE attempts WHEN 0 THEN 0 ELSE 2 END"
                   " WHERE message = ?1 AND state = 4",
                   &acted->changed);
}

enum store_result store_cancel(struct store *store, const struct store_act *act,
                               struct store_acted *acted)
{
    return run_act(store, act,
                   "UPDATE recipient SET due_ms = NULL, state = 8, updated_ms = ?2"
                   " WHERE message = ?1 AND state IN (0, 2, 3, 4)",
                   &acted->changed);
}
