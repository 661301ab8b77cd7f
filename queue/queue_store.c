/* queue_store.c - what is queue.db made of, and is a transaction of it on disk?
 *
 * message    one row a message, a small content in the same row and last in it, so that nothing
 *            else has to read past it. due_ms is the earliest of its recipients' and NULL when none
 *            waits. The partial index of what waits, by lane (lane.c) and time, is the only index
 *            there is, for each costs 5 %.
 * body       the content of larger messages in chunks of QUEUE_CHUNK_BYTES. A table with rowids:
 *            WITHOUT ROWID stores a quarter fewer of such large rows in a second.
 * recipient  what became of each.
 * event      failed attempts and operators' acts; a success is told by the recipient's row. at_us
 *            is microseconds since 1970, moved on so that those of one message are in order;
 *            wall_ms is the time to be shown, NULL where that is at_us.
 * incoming   the messages whose chunks arrive and which are not submitted yet. At start these rows
 *            name the orphans: no scan looks for them.
 * tally      messages and bytes by state, brought up to date once a transaction.
 * once       the tokens of submissions (struct queue_once), numbered like their first message, so
 *            that they are in the order of time.
 * timeline   the latest moment of the queue's two clocks (timeline.c).
 * used       the largest id that was removed or, a minute ago at most, given to anything that was
 *            never stored: after a clock went back it must not be given out again.
 *
 * Numbers of states are those of enum queue_state. Times are unix milliseconds: due_ms by the
 * queue's `now`, aged_from_ms and ended_ms by its `lived`, the others wall time. Leases are not
 * here: they live in memory (lease.c), so after a crash whatever was leased is due again; that an
 * attempt had begun is a flag of the message (doubt.c). */
#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "queue/queue_priv.h"
#include "queue/queue_store_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/log.h"

#define APPLICATION_ID 0x4c505131 /* "LPQ1" */
#define CACHE_KIB      (16 * 1024)

static const char *const steps[] = {
    "CREATE TABLE message ("
    " id INTEGER PRIMARY KEY,"
    " due_ms INTEGER,"
    " state INTEGER NOT NULL,"
    " received_ms INTEGER NOT NULL,"
    " aged_from_ms INTEGER NOT NULL,"
    " ended_ms INTEGER,"
    " account TEXT NOT NULL,"
    " key_id TEXT NOT NULL,"
    " sender TEXT NOT NULL,"
    " size INTEGER NOT NULL,"
    " chunks INTEGER NOT NULL,"
    " flags INTEGER NOT NULL,"
    " recipients INTEGER NOT NULL,"
    " content BLOB"
    ") STRICT;"
    "CREATE INDEX message_due ON message(due_ms) WHERE due_ms IS NOT NULL;"
    "CREATE TABLE body ("
    " message INTEGER NOT NULL,"
    " seq INTEGER NOT NULL,"
    " data BLOB NOT NULL,"
    " PRIMARY KEY (message, seq)"
    ") STRICT;"
    "CREATE TABLE recipient ("
    " message INTEGER NOT NULL,"
    " position INTEGER NOT NULL,"
    " address TEXT NOT NULL,"
    " state INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL,"
    " due_ms INTEGER,"
    " updated_ms INTEGER NOT NULL,"
    " code INTEGER NOT NULL,"
    " enhanced TEXT NOT NULL,"
    " text TEXT,"
    " upstream TEXT,"
    " PRIMARY KEY (message, position)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE event ("
    " message INTEGER NOT NULL,"
    " at_us INTEGER NOT NULL,"
    " what TEXT NOT NULL,"
    " position INTEGER NOT NULL,"
    " code INTEGER NOT NULL,"
    " enhanced TEXT NOT NULL,"
    " text TEXT,"
    " upstream TEXT,"
    " PRIMARY KEY (message, at_us)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE incoming (message INTEGER PRIMARY KEY) STRICT;"
    "CREATE TABLE tally ("
    " state INTEGER PRIMARY KEY,"
    " messages INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL"
    ") STRICT;",
    "CREATE TABLE once ("
    " id INTEGER PRIMARY KEY,"
    " key_id TEXT NOT NULL,"
    " token TEXT NOT NULL,"
    " fingerprint BLOB NOT NULL,"
    " answer TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX once_token ON once(key_id, token);",

    /* Until the first moment is kept, both clocks are the wall clock, as they were before this. */
    "CREATE TABLE timeline ("
    " one INTEGER PRIMARY KEY CHECK (one = 1),"
    " now_ms INTEGER NOT NULL,"
    " lived_ms INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL,"
    " boot_ms INTEGER NOT NULL,"
    " boot_name TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE used ("
    " one INTEGER PRIMARY KEY CHECK (one = 1),"
    " last_id INTEGER NOT NULL"
    ") STRICT;"
    "ALTER TABLE event ADD COLUMN wall_ms INTEGER;",
    /* Whose turn it is goes by account and key, and only then by time. The one scan of all messages
     * that there ever is. */
    ("CREATE INDEX message_lane ON message(account, key_id, due_ms) WHERE due_ms IS NOT NULL;"
     "DROP INDEX message_due;"),
    /* By the queue's clock, as due_ms is. */
    ("ALTER TABLE once ADD COLUMN kept_ms INTEGER NOT NULL DEFAULT 0;"
     "UPDATE once SET kept_ms = coalesce((SELECT now_ms FROM timeline WHERE one = 1),"
     " CAST(strftime('%s', 'now') AS INTEGER) * 1000);"),
};

/* --- helpers of all store files -------------------------------------------------------------- */

enum store_result store_result_of(enum db_result result)
{
    static const enum store_result results[] = {
        [DB_OK] = STORE_OK,
        [DB_ROW] = STORE_OK,
        [DB_FULL] = STORE_FULL,
        [DB_FAILED] = STORE_FAILED,
    };
    return results[result];
}

enum store_result store_run(struct store *store, sqlite3_stmt *statement)
{
    return store_result_of(db_run(store->db, statement));
}

enum store_result store_run_for(struct store *store, const char *sql, int64_t id)
{
    sqlite3_stmt *statement = db_prepare(store->db, sql);

    sqlite3_bind_int64(statement, 1, id);
    return store_run(store, statement);
}

/* A damaged row may hold any number, so even two of them may be too much. */
static int64_t sum(int64_t a, int64_t b)
{
    int64_t result;

    if (__builtin_add_overflow(a, b, &result))
        return b < 0 ? INT64_MIN : INT64_MAX;
    return result;
}

static int64_t at_least_none(int64_t number)
{
    return number < 0 ? 0 : number;
}

void store_count(struct store *store, enum queue_state state, int messages, uint64_t size)
{
    struct store_tally *delta = &store->delta[state];

    delta->messages = sum(delta->messages, messages);
    delta->bytes = sum(delta->bytes, messages * (int64_t)size);
}

static struct store_tally tally_next(const struct store *store, size_t state)
{
    const struct store_tally *total = &store->total[state], *delta = &store->delta[state];

    return (struct store_tally){
        .messages = at_least_none(sum(total->messages, delta->messages)),
        .bytes = at_least_none(sum(total->bytes, delta->bytes)),
    };
}

/* --- open, commit, close --------------------------------------------------------------------- */

static enum store_result load_tally(struct store *store)
{
    sqlite3_stmt *statement = db_prepare(store->db, "SELECT state, messages, bytes FROM tally");
    enum db_result result;

    while ((result = db_step(store->db, statement)) == DB_ROW) {
        int64_t state = sqlite3_column_int64(statement, 0);
        if (!state_is_stored(state))
            continue;
        store->total[state].messages = at_least_none(sqlite3_column_int64(statement, 1));
        store->total[state].bytes = at_least_none(sqlite3_column_int64(statement, 2));
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

bool store_open(struct store **opened, const char *path, struct why *why)
{
    const struct db_options options = {
        .path = path,
        .steps = steps,
        .step_count = ARRAY_LEN(steps),
        .application_id = APPLICATION_ID,
        .secure_delete = false,
        .cache_kib = CACHE_KIB,
    };
    bool ok = false;
    struct store *store = xcalloc(1, sizeof(*store));

    store->path = xstrdup(path);
    if (!db_open(&store->db, &options, why))
        goto out;
    if (load_tally(store) != STORE_OK || store_load_used_id(store) != STORE_OK) {
        why_set(why, "%s: cannot read the counters: %s", path, db_error(store->db));
        goto out;
    }
    ok = true;
out:
    if (ok)
        *opened = store;
    else
        store_close(store);
    return ok;
}

void store_close(struct store *store)
{
    struct why why = { 0 };

    if (store == NULL)
        return;
    if (!db_close(store->db, &why))
        LOG(LOG_WARNING, "queue_close_failed", LOG_STR("path", store->path),
            LOG_STR("error", why.text));
    free(store->path);
    free(store);
}

enum store_result store_begin(struct store *store)
{
    return store_result_of(db_begin(store->db));
}

/* The sums are made here: SQLite would make one that is too large a REAL, which the table refuses,
 * and with it every commit. */
static enum store_result write_tally(struct store *store)
{
    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++) {
        const struct store_tally *delta = &store->delta[i];
        if (delta->messages == 0 && delta->bytes == 0)
            continue;
        const struct store_tally next = tally_next(store, i);
        sqlite3_stmt *statement = db_prepare(
            store->db, "INSERT OR REPLACE INTO tally (state, messages, bytes) VALUES (?, ?, ?)");
        sqlite3_bind_int64(statement, 1, (int64_t)i);
        sqlite3_bind_int64(statement, 2, next.messages);
        sqlite3_bind_int64(statement, 3, next.bytes);
        enum store_result result = store_run(store, statement);
        if (result != STORE_OK)
            return result;
    }
    return STORE_OK;
}

enum store_result store_commit(struct store *store)
{
    enum store_result result = write_tally(store);

    if (result == STORE_OK)
        result = store_save_used_id(store);
    if (result == STORE_OK)
        result = store_result_of(db_commit(store->db));
    if (result != STORE_OK)
        return result;
    store->used_id = store->used_id_next;
    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++)
        store->total[i] = tally_next(store, i);
    memset(store->delta, 0, sizeof(store->delta));
    return STORE_OK;
}

void store_rollback(struct store *store)
{
    db_rollback(store->db);
    store->used_id_next = store->used_id;
    memset(store->delta, 0, sizeof(store->delta));
}

bool store_is_in_doubt(const struct store *store)
{
    return db_is_in_doubt(store->db);
}

const char *store_error(const struct store *store)
{
    return db_error(store->db);
}

int store_log_pages(const struct store *store)
{
    return db_log_pages(store->db);
}

enum store_result store_checkpoint(struct store *store)
{
    return store_result_of(db_checkpoint(store->db));
}

/* SQLite does not write a row that stays as it is, and does not sync when nothing was written; a
 * row that comes and goes does both. */
enum store_result store_touch(struct store *store)
{
    enum store_result result =
        store_run(store, db_prepare(store->db, "INSERT INTO incoming (message) VALUES (0)"));

    if (result == STORE_OK)
        result = store_run(store, db_prepare(store->db, "DELETE FROM incoming WHERE message = 0"));
    return result;
}

static uint64_t file_bytes(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

void store_file_bytes(const struct store *store, uint64_t *database, uint64_t *log)
{
    char *log_path = xasprintf("%s-wal", store->path);

    *database = file_bytes(store->path);
    *log = file_bytes(log_path);
    free(log_path);
}

enum store_result store_last_id(struct store *store, int64_t *id)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT max(coalesce((SELECT max(id) FROM message), 0),"
                              " coalesce((SELECT max(message) FROM incoming), 0),"
                              " coalesce((SELECT last_id FROM used WHERE one = 1), 0))");
    enum db_result result = db_step(store->db, statement);

    *id = result == DB_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return store_result_of(result);
}

enum store_result store_remove_orphans(struct store *store)
{
    enum store_result result = store_run(
        store,
        db_prepare(store->db, "DELETE FROM body WHERE message IN (SELECT message FROM incoming)"));

    if (result == STORE_OK)
        result = store_run(store, db_prepare(store->db, "DELETE FROM incoming"));
    return result;
}
