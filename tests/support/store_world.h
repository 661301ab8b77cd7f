/* store_world.h - a queue.db with something of everything, and all that can be asked of it.
 * The world is made once, is half in the file and half in its log, as after a crash, and is laid
 * down anew for each trial. An operation is a row of a table: it asks the store, and tells what it
 * heard as text, so that two runs can be compared. Header only, one thread, over disk.h. */
#ifndef LATCHPOST_TESTS_STORE_WORLD_H
#define LATCHPOST_TESTS_STORE_WORLD_H

#include <sys/stat.h>

#include "queue/queue_store_priv.h"
#include "tests/support/disk.h"

#define WORLD_ANSWER_BYTES 32768

enum { /* ids of what is in it */
       W_QUEUED = 10,
       W_DEFERRED,
       W_UNCERTAIN,
       W_HELD,
       W_LARGE,
       W_FAILED,
       W_DELIVERED,
       W_CANCELLED,
       W_CROWD = 20, /* that many more, in lanes of their own */
       W_COMING = 100,
       W_COMING_TOO,
       W_NEW = 200, /* nobody yet */
};

#define W_CHUNKS      3
#define W_CHUNK_BYTES 9000
#define W_NOW_MS      FX_START_MS

struct world {
    char *folder, *path, *log;
    char *bytes, *log_bytes; /* as laid down */
    size_t len, log_len;
    struct store *store;
    char answer[WORLD_ANSWER_BYTES];
    size_t answer_len;
};

/* --- making it ---------------------------------------------------------------------------------
 */

static inline void w_must(enum store_result result)
{
    assert_int_equal(result, STORE_OK);
}

static inline void w_say(struct queue_message *message, size_t len, char byte)
{
    char *text = xmalloc(len);

    memset(text, byte, len);
    desk_write(message, slice_make(text, len));
    message->size = len;
    free(text);
}

static inline enum store_result w_append(struct store *store, int64_t id, uint32_t seq)
{
    char text[W_CHUNK_BYTES];

    memset(text, (int)('a' + seq), sizeof(text));
    return store_append(store, id, seq, slice_make(text, sizeof(text)));
}

/* One of two recipients, whose content is chunks, or so many bytes. */
static inline struct queue_message *w_message(int64_t id, const char *account, size_t len)
{
    struct queue_message *message = desk_message(id, "one@dest.example");

    queue_message_add(message, SLICE("two@dest.example"));
    for (size_t i = 0; i < message->recipient_count; i++)
        message->recipients[i].position = (uint32_t)i;
    free(message->account);
    message->account = xstrdup(account);
    message->received_ms = W_NOW_MS;
    if (len > 0)
        w_say(message, len, 'x');
    else {
        message->chunks = W_CHUNKS;
        message->size = W_CHUNKS * W_CHUNK_BYTES;
    }
    return message;
}

static inline enum store_result w_insert(struct store *store, int64_t id, const char *account,
                                         size_t len, enum queue_state state)
{
    const struct store_birth birth = {
        .state = state,
        .due_ms = state == QUEUE_HELD || queue_state_is_final(state) ? 0 : W_NOW_MS + id % 3,
        .wall_ms = W_NOW_MS,
        .aged_from_ms = W_NOW_MS,
        .with_content = true,
        .attempt = state == QUEUE_UNCERTAIN,
    };
    struct queue_message *message = w_message(id, account, len);
    enum store_result result = STORE_OK;

    if (message->chunks > 0)
        result = store_claim(store, id, message->chunks, message->size);
    if (result == STORE_OK)
        result = store_insert(store, message, &birth);
    queue_message_free(message);
    return result;
}

static const struct store_event w_event = {
    .what = "attempt",
    .code = 450,
    .enhanced = "4.2.0",
    .text = "mailbox busy",
    .upstream = "main",
};

static inline void w_first_half(struct store *store)
{
    static const struct {
        int64_t id;
        enum queue_state state;
        size_t len;
    } rows[] = {
        { W_QUEUED, QUEUE_QUEUED, 6000 },      { W_DEFERRED, QUEUE_DEFERRED, 100 },
        { W_UNCERTAIN, QUEUE_UNCERTAIN, 100 }, { W_HELD, QUEUE_HELD, 100 },
        { W_LARGE, QUEUE_QUEUED, 0 },          { W_FAILED, QUEUE_FAILED_FOR_GOOD, 0 },
        { W_DELIVERED, QUEUE_DELIVERED, 100 }, { W_CANCELLED, QUEUE_CANCELLED, 100 },
    };
    const struct timeline_point point = { W_NOW_MS, W_NOW_MS, W_NOW_MS, 1, "boot" };

    w_must(store_begin(store));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint32_t seq = 0; seq < W_CHUNKS && rows[i].len == 0; seq++)
            w_must(w_append(store, rows[i].id, seq));
        w_must(w_insert(store, rows[i].id, "acme", rows[i].len, rows[i].state));
        w_must(store_add_event(store, rows[i].id, &w_event));
    }
    w_must(store_save_point(store, &point));
    store_use_id(store, 5);
    w_must(store_commit(store));
}

static inline void w_second_half(struct store *store)
{
    struct queue_once once = { .token = "token-0", .fingerprint = { 1 }, .answer = "{}" };

    w_must(store_begin(store));
    for (int64_t i = 0; i < W_CROWD; i++) {
        char account[8];
        snprintf(account, sizeof(account), "a%d", (int)(i % 4));
        w_must(w_insert(store, W_CROWD + i, account, 1500, QUEUE_QUEUED));
    }
    w_must(store_set_outcome(store, W_DEFERRED,
                             &(struct store_outcome){ .position = 1,
                                                      .state = QUEUE_FAILED_FOR_GOOD,
                                                      .attempts = 1,
                                                      .wall_ms = W_NOW_MS,
                                                      .code = 550,
                                                      .enhanced = "5.1.1",
                                                      .text = "no such user",
                                                      .upstream = "main" }));
    for (uint32_t seq = 0; seq < W_CHUNKS; seq++)
        w_must(w_append(store, W_COMING, seq));
    w_must(w_append(store, W_COMING_TOO, 0));
    for (int i = 0; i < 3; i++) {
        char token[16];
        snprintf(token, sizeof(token), "token-%d", i);
        once.token = token;
        w_must(store_add_once(store, W_QUEUED + i, "7Fq2mZ81", &once, W_NOW_MS + i));
    }
    w_must(store_commit(store));
}

static int64_t w_clock(void)
{
    return W_NOW_MS * 1000;
}

static inline void w_make(struct world *world)
{
    struct why why = { 0 };

    if (!store_open(&world->store, world->path, &why))
        fail_msg("%s", why.text);
    w_first_half(world->store);
    w_must(store_checkpoint(world->store));
    w_second_half(world->store);
    disk_load(world->path, &world->bytes, &world->len);
    disk_load(world->log, &world->log_bytes, &world->log_len);
    store_close(world->store);
    world->store = NULL;
}

static int world_setup(void **state)
{
    static const struct clock_source source = { w_clock, w_clock };
    struct world *world = xcalloc(1, sizeof(*world));

    clock_replace(&source);
    log_divert(fx_no_log, NULL);
    world->folder = desk_folder_new();
    world->path = xasprintf("%s/queue.db", world->folder);
    world->log = xasprintf("%s-wal", world->path);
    w_make(world);
    *state = world;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *world = *state;

    store_close(world->store);
    if (sqlite3_vfs_find(disk.vfs.zName) == &disk.vfs) /* a test has failed */
        disk_remove();
    free(world->bytes);
    free(world->log_bytes);
    free(world->path);
    free(world->log);
    desk_folder_remove(world->folder);
    free(world);
    clock_replace(NULL);
    log_divert(NULL, NULL);
    return 0;
}

/* --- living in it ------------------------------------------------------------------------------
 */

static int w_current_time(sqlite3_vfs *vfs, double *julian_day)
{
    (void)vfs;
    *julian_day = 2440587.5 + (double)W_NOW_MS / 86400000;
    return SQLITE_OK;
}

/* The files as they were made (a length of 0: there is none), on a disk that works. The last that
 * was done with them was to write the log, and nobody synced it. */
static inline void world_lay(struct world *world)
{
    remove(world->path);
    remove(world->log);
    if (world->len > 0) {
        disk_store(world->path, world->bytes, world->len);
        assert_int_equal(chmod(world->path, 0600), 0);
    }
    if (world->log_len > 0)
        disk_store(world->log, world->log_bytes, world->log_len);
    disk_insert();
    disk.vfs.xCurrentTime = w_current_time;
    disk_doubt(world->log);
}

static inline void world_reopen(struct world *world)
{
    struct why why = { 0 };

    store_close(world->store);
    world->store = NULL;
    if (!store_open(&world->store, world->path, &why))
        fail_msg("it cannot be opened: %s", why.text);
}

/* The power goes and comes back: the files are what a cut leaves of them. The store is closed. */
static inline void world_lose_power(const struct world *world, unsigned seed)
{
    char *left = xasprintf("%s/left", world->folder), *left_log = xasprintf("%s-wal", left);

    disk_image(world->path, left, seed);
    disk_image(world->log, left_log, seed + 1);
    disk_remove();
    assert_int_equal(chmod(left, 0600), 0);
    assert_int_equal(rename(left, world->path), 0);
    assert_int_equal(rename(left_log, world->log), 0);
    disk_insert();
    disk.vfs.xCurrentTime = w_current_time;
    free(left);
    free(left_log);
}

/* Open, and such that the next question goes to the disk: nothing is cached, nor will be much, and
 * part of what there is lies in the log. */
static inline void world_open(struct world *world)
{
    world_lay(world);
    world_reopen(world);
    sqlite3 *handle = db_handle(world->store->db);
    assert_int_equal(sqlite3_exec(handle, "PRAGMA cache_size = 10", NULL, NULL, NULL), SQLITE_OK);
    w_must(store_begin(world->store));
    w_must(store_mark_attempt(world->store, W_QUEUED, true));
    w_must(store_commit(world->store));
    sqlite3_db_release_memory(handle);
}

static inline void world_close(struct world *world)
{
    store_close(world->store);
    world->store = NULL;
}

static inline void world_leave(struct world *world)
{
    world_close(world);
    disk_remove();
}

/* --- looking at all of it ----------------------------------------------------------------------
 */

static inline uint64_t w_mix(uint64_t digest, const void *bytes, size_t len)
{
    for (uint64_t word = 0; len > 0; word = 0) { /* FNV, by words */
        size_t part = len < sizeof(word) ? len : sizeof(word);
        memcpy(&word, bytes, part);
        digest = (digest ^ word) * UINT64_C(1099511628211);
        digest ^= digest >> 29;
        bytes = (const char *)bytes + part;
        len -= part;
    }
    return digest;
}

static inline sqlite3_stmt *w_prepare(sqlite3 *handle, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(handle));
    return statement;
}

static inline uint64_t w_digest_rows(sqlite3 *handle, const char *sql, uint64_t digest)
{
    sqlite3_stmt *statement = w_prepare(handle, sql);
    int step;

    while ((step = sqlite3_step(statement)) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const int type = sqlite3_column_type(statement, i);
            const void *bytes = sqlite3_column_blob(statement, i);
            const int len = sqlite3_column_bytes(statement, i);
            digest = w_mix(digest, &type, sizeof(type));
            digest = w_mix(digest, &len, sizeof(len));
            digest = w_mix(digest, bytes, (size_t)len);
        }
    if (step != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(handle));
    sqlite3_finalize(statement);
    return digest;
}

/* Of all columns of all rows of all tables, in a database that is sound. */
static inline uint64_t world_digest(sqlite3 *handle)
{
    uint64_t digest = UINT64_C(14695981039346656037);
    sqlite3_stmt *tables =
        w_prepare(handle, "SELECT 'SELECT * FROM ' || name FROM sqlite_schema"
                          " WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name");
    sqlite3_stmt *check = w_prepare(handle, "PRAGMA integrity_check");

    assert_int_equal(sqlite3_step(check), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(check, 0), "ok");
    sqlite3_finalize(check);
    digest =
        w_digest_rows(handle, "SELECT type, name, sql FROM sqlite_schema ORDER BY name", digest);
    while (sqlite3_step(tables) == SQLITE_ROW)
        digest = w_digest_rows(handle, (const char *)sqlite3_column_text(tables, 0), digest);
    sqlite3_finalize(tables);
    return digest;
}

static inline bool world_tally_is_right(const struct store *store, sqlite3 *handle)
{
    bool right = true;

    for (int state = 0; state < QUEUE_STATE_COUNT; state++) {
        sqlite3_stmt *statement =
            w_prepare(handle, "SELECT count(*), coalesce(sum(size), 0),"
                              " (SELECT coalesce(sum(messages), 0) FROM tally WHERE state = ?1),"
                              " (SELECT coalesce(sum(bytes), 0) FROM tally WHERE state = ?1)"
                              " FROM message WHERE state = ?1");
        sqlite3_bind_int(statement, 1, state);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        int64_t messages = sqlite3_column_int64(statement, 0);
        int64_t bytes = sqlite3_column_int64(statement, 1);
        right = right && messages == sqlite3_column_int64(statement, 2) &&
                bytes == sqlite3_column_int64(statement, 3) &&
                messages == store_tally(store)[state].messages &&
                bytes == store_tally(store)[state].bytes;
        sqlite3_finalize(statement);
    }
    return right;
}

/* What a power cut now would leave, opened by plain SQLite. */
static inline sqlite3 *world_image(const struct world *world, unsigned seed)
{
    char *left = xasprintf("%s/left", world->folder), *left_log = xasprintf("%s-wal", left);
    sqlite3 *handle = NULL;

    disk_image(world->path, left, seed);
    disk_image(world->log, left_log, seed + 1);
    assert_int_equal(sqlite3_open_v2(left, &handle, SQLITE_OPEN_READWRITE, disk.real->zName),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = 0",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    free(left);
    free(left_log);
    return handle;
}

static inline void world_image_close(const struct world *world, sqlite3 *handle)
{
    static const char *const names[] = { "left", "left-wal", "left-shm" };

    sqlite3_close(handle);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = xasprintf("%s/%s", world->folder, names[i]);
        remove(path);
        free(path);
    }
}

#endif
