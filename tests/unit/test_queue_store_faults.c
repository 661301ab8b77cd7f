/* test_queue_store_faults.c - what does the store do when the disk, or the memory, fails?
 * One table of everything that can be asked of the store, one of everything that can go wrong, and
 * one loop: each operation meets each fault at its first call of the disk, at its second, and so
 * on until it is through before the fault strikes. Each time
 *
 *   what was said to be done is done, also after a power cut;
 *   what was said to have failed is done as a whole or not at all, and nothing else has changed;
 *   a question is answered as ever, or not at all; it is never answered with "there is none";
 *   the same asked again, by the rules of queue_store.h, works.
 *
 * "Changed" is seen in all columns of all rows of all tables. The folder is opened and closed in
 * the same way. */
#include "tests/support/disk.h"
#include "tests/support/store_operations.h"

/* --- what goes wrong ---------------------------------------------------------------------------
 */

#define MEMORY 1024 /* a call like those of the disk */

static const struct disk_fault faults[] = {
    { .name = "a read fails", .calls = DISK_READ, .code = SQLITE_IOERR_READ, .error = EIO },
    { .name = "all reads fail",
      .calls = DISK_READ,
      .code = SQLITE_IOERR_READ,
      .error = EIO,
      .for_good = true },
    { .name = "a write fails", .calls = DISK_WRITE, .code = SQLITE_IOERR_WRITE, .error = EIO },
    { .name = "all writes fail",
      .calls = DISK_WRITE | DISK_CUT,
      .code = SQLITE_IOERR_WRITE,
      .error = EIO,
      .for_good = true },
    { .name = "a write finds no room", .calls = DISK_WRITE, .code = SQLITE_FULL, .error = ENOSPC },
    { .name = "no write finds room",
      .calls = DISK_WRITE | DISK_SYNC,
      .code = SQLITE_FULL,
      .error = ENOSPC,
      .for_good = true },
    { .name = "a write is over the quota",
      .calls = DISK_WRITE,
      .code = SQLITE_IOERR_WRITE,
      .error = EDQUOT },
    { .name = "a sync fails", .calls = DISK_SYNC, .code = SQLITE_IOERR_FSYNC, .error = EIO },
    { .name = "a sync fails and forgets",
      .calls = DISK_SYNC,
      .code = SQLITE_IOERR_FSYNC,
      .error = EIO,
      .forgets = true },
    { .name = "all syncs fail and forget",
      .calls = DISK_SYNC,
      .code = SQLITE_IOERR_FSYNC,
      .error = EIO,
      .for_good = true,
      .forgets = true },
    { .name = "a sync finds no room",
      .calls = DISK_SYNC,
      .code = SQLITE_IOERR_FSYNC,
      .error = ENOSPC },
    { .name = "a file has no size", .calls = DISK_SIZE, .code = SQLITE_IOERR_FSTAT, .error = EIO },
    { .name = "a file cannot be cut",
      .calls = DISK_CUT,
      .code = SQLITE_IOERR_TRUNCATE,
      .error = EIO },
    { .name = "a file cannot be removed",
      .calls = DISK_DELETE,
      .code = SQLITE_IOERR_DELETE,
      .error = EIO },
    { .name = "a file cannot be opened",
      .calls = DISK_OPEN,
      .code = SQLITE_CANTOPEN,
      .error = EMFILE },
    { .name = "the disk is gone",
      .calls = DISK_READ | DISK_WRITE | DISK_CUT | DISK_SYNC | DISK_SIZE | DISK_OPEN | DISK_DELETE,
      .code = SQLITE_IOERR,
      .error = EIO,
      .for_good = true },
    { .name = "there is no memory", .calls = MEMORY, .code = SQLITE_NOMEM },
    { .name = "there is no memory any more",
      .calls = MEMORY,
      .code = SQLITE_NOMEM,
      .for_good = true },
};

/* SQLite's memory, which fails like the disk. */
static sqlite3_mem_methods memory;

static void *memory_new(int size)
{
    return disk_strike((enum disk_call)MEMORY) == SQLITE_OK ? memory.xMalloc(size) : NULL;
}

static void *memory_grow(void *old, int size)
{
    return disk_strike((enum disk_call)MEMORY) == SQLITE_OK ? memory.xRealloc(old, size) : NULL;
}

static int replace_memory(void **state)
{
    (void)state;
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
    sqlite3_mem_methods ours = memory;
    ours.xMalloc = memory_new;
    ours.xRealloc = memory_grow;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);
}

/* --- a trial -----------------------------------------------------------------------------------
 */

struct trial {
    const struct operation *operation;
    const struct disk_fault *fault;
    unsigned at;
    struct world *world;
    uint64_t before, after;
    char answer[WORLD_ANSWER_BYTES]; /* without a fault */
};

static void complain(const struct trial *t, const char *what)
{
    fail_msg("%s, %s at its call %u: %s (%s)", t->operation->name, t->fault->name, t->at + 1, what,
             t->world->store == NULL ? "closed" : store_error(t->world->store));
}

#define DONE     1
#define UNDONE   2
#define ANYTHING 4 /* that is sound */

/* Is the database, seen by this connection, as one of these? Which one? */
static unsigned judge(const struct trial *t, sqlite3 *handle, unsigned allowed, const char *where)
{
    uint64_t digest = world_digest(handle);
    unsigned found =
        (digest == t->after ? DONE : 0) | (digest == t->before ? UNDONE : 0) | ANYTHING;

    if ((found & allowed) == 0)
        complain(t, where);
    return found;
}

static unsigned judge_store(const struct trial *t, unsigned allowed, const char *where)
{
    sqlite3 *handle = db_handle(t->world->store->db);

    if (!world_tally_is_right(t->world->store, handle))
        complain(t, "the tally is wrong");
    return judge(t, handle, allowed, where);
}

static void judge_power_cut(const struct trial *t, unsigned allowed, const char *where)
{
    if (t->fault->calls == MEMORY)
        return; /* the disk is as ever */
    sqlite3 *handle = world_image(t->world, t->at);

    judge(t, handle, allowed, where);
    world_image_close(t->world, handle);
}

/* Once more, as the writer would: a settlement after its first writing may have been on disk. */
static void run_again(struct trial *t, unsigned now)
{
    const struct operation *operation = t->operation;
    bool repeated = (now & UNDONE) == 0;
    bool refuses = repeated && operation->again == AGAIN_FAILS;
    enum store_result result = operation_run(t->world, operation);

    if ((result != operation->want) != refuses)
        complain(t, "asked again, it does not work");
    if (repeated && operation->again != AGAIN_IS_THE_SAME)
        return;
    judge_store(t, DONE, "asked again, it did something else");
    judge_power_cut(t, DONE, "asked again, it is lost");
}

static void judge_success(struct trial *t)
{
    if (strcmp(t->world->answer, t->answer) != 0) {
        print_message("%s\n%s\n", t->world->answer, t->answer);
        complain(t, "another answer");
    }
    judge_power_cut(t, DONE, "what was done is lost");
    world_reopen(t->world);
    judge_store(t, DONE, "what was done is not there");
}

/* What was rolled back has left nothing behind for the next commit. */
static void commit_nothing(struct trial *t)
{
    if (store_begin(t->world->store) != STORE_OK || store_commit(t->world->store) != STORE_OK)
        complain(t, "nothing can be committed any more");
    judge_store(t, UNDONE, "what failed is done by the next commit");
}

static void judge_failure(struct trial *t, enum store_result result)
{
    bool reopens = result == STORE_FAILED && t->operation->kind != READS;

    if (result == STORE_NONE || result == t->operation->want)
        complain(t, "it says that there is none");
    if (store_error(t->world->store)[0] == '\0')
        complain(t, "it does not say why");
    if (reopens)
        world_close(t->world); /* while the fault goes on */
    disk.fault = (struct disk_fault){ 0 };
    judge_power_cut(t, DONE | UNDONE, "half of it is done after a power cut");
    if (reopens)
        world_reopen(t->world);
    unsigned now =
        judge_store(t, reopens ? DONE | UNDONE : UNDONE, "something is done that failed");
    if (!reopens)
        commit_nothing(t);
    judge_power_cut(t, DONE | UNDONE, "half of it is done after a power cut, later");
    run_again(t, now);
}

/* False when the operation was through before the fault struck. */
static bool try_at(struct trial *t)
{
    world_open(t->world);
    disk.fault = *t->fault;
    disk.fault.spares = t->at;
    enum store_result result = operation_run(t->world, t->operation);
    bool struck = disk.fault.strikes > 0;

    if (result == t->operation->want) {
        disk.fault = (struct disk_fault){ 0 };
        judge_success(t);
    } else {
        if (!struck)
            complain(t, "it fails without a reason");
        judge_failure(t, result);
    }
    disk.fault = (struct disk_fault){ 0 };
    world_close(t->world);
    world_leave(t->world);
    return struck;
}

static const struct disk_fault no_fault = { .name = "nothing" };

/* What it does when nothing goes wrong. */
static void learn(struct trial *t)
{
    t->fault = &no_fault;
    t->at = 0;
    world_open(t->world);
    t->before = world_digest(db_handle(t->world->store->db));
    if (operation_run(t->world, t->operation) != t->operation->want)
        complain(t, "it does not work at all");
    memcpy(t->answer, t->world->answer, sizeof(t->answer));
    t->after = world_digest(db_handle(t->world->store->db));
    if ((t->before != t->after) != (t->operation->kind == WRITES))
        complain(t, "it is of another kind");
    world_close(t->world);
    world_leave(t->world);
}

/* There are very many calls of memory: of them some. */
static unsigned step_of(const struct disk_fault *fault)
{
    return fault->calls == MEMORY ? 29 : 1;
}

static void each_operation_survives_each_fault_at_each_call(void **state)
{
    struct trial t = { .world = *state };

    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        unsigned struck = 0;
        t.operation = &operations[i];
        learn(&t);
        for (size_t j = 0; j < ARRAY_LEN(faults); j++) {
            t.fault = &faults[j];
            unsigned step = step_of(t.fault);
            for (t.at = (unsigned)i % step; try_at(&t); t.at += step)
                struck++;
        }
        if (struck == 0)
            complain(&t, "nothing ever went wrong");
    }
}

/* --- opening and closing -----------------------------------------------------------------------
 */

/* What is found. Each goes on from the one before it. */
static const struct operation openings[] = {
    { .name = "opening after a crash" },        { .name = "opening what is at version 4" },
    { .name = "opening what is at version 3" }, { .name = "opening what is at version 2" },
    { .name = "opening what is at version 1" }, { .name = "opening nothing" },
};

static const char *const downgrades[] = {
    "",
    "ALTER TABLE once DROP COLUMN kept_ms; PRAGMA user_version = 4;",
    "CREATE INDEX message_due ON message(due_ms) WHERE due_ms IS NOT NULL;"
    "DROP INDEX message_lane; PRAGMA user_version = 3;",
    "DROP TABLE timeline; DROP TABLE used; ALTER TABLE event DROP COLUMN wall_ms;"
    "PRAGMA user_version = 2;",
    "DROP TABLE once; PRAGMA user_version = 1;",
    NULL,
};

/* A world at that place of the table, half of it in its log; or an empty folder. */
static struct world *world_at(const struct world *world, size_t place)
{
    struct world *older = xcalloc(1, sizeof(*older));
    sqlite3 *handle = NULL;

    *older = *world;
    older->bytes = older->log_bytes = NULL;
    older->len = older->log_len = 0;
    if (downgrades[place] == NULL)
        return older;
    disk_store(world->path, world->bytes, world->len);
    disk_store(world->log, world->log_bytes, world->log_len);
    assert_int_equal(sqlite3_open_v2(world->path, &handle, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle,
                                  "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = 0;"
                                  "PRAGMA wal_autocheckpoint = 0; BEGIN",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    for (size_t i = 0; i <= place; i++)
        if (sqlite3_exec(handle, downgrades[i], NULL, NULL, NULL) != SQLITE_OK)
            fail_msg("%s: %s", downgrades[i], sqlite3_errmsg(handle));
    assert_int_equal(sqlite3_exec(handle, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    disk_load(world->path, &older->bytes, &older->len);
    disk_load(world->log, &older->log_bytes, &older->log_len);
    sqlite3_close(handle);
    return older;
}

static void world_at_free(struct world *older)
{
    free(older->bytes);
    free(older->log_bytes);
    free(older);
}

/* When it was not opened, the power cut may take what the world's log holds, as nobody synced it:
 * then it is only to be sound. */
static void open_again(struct trial *t, bool was_open)
{
    struct why why = { 0 };
    bool loses_power = t->at % 2 == 0;

    if (loses_power)
        world_lose_power(t->world, t->at / 2);
    if (!store_open(&t->world->store, t->world->path, &why))
        fail_msg("%s, %s at its call %u: it cannot be opened any more: %s", t->operation->name,
                 t->fault->name, t->at + 1, why.text);
    judge_store(t, loses_power && !was_open ? ANYTHING : DONE, "opened again, it is another");
}

static bool try_opening(struct trial *t)
{
    struct why why = { 0 };

    world_lay(t->world);
    disk.fault = *t->fault;
    disk.fault.spares = t->at;
    bool opened = store_open(&t->world->store, t->world->path, &why);
    bool struck = disk.fault.strikes > 0;
    disk.fault = (struct disk_fault){ 0 };
    if (opened) {
        judge_store(t, DONE, "it is something else");
        judge_power_cut(t, DONE, "what was opened is lost");
    } else if (!struck || t->world->store != NULL || why.text[0] == '\0') {
        fail_msg("%s, %s at its call %u: it does not say why", t->operation->name, t->fault->name,
                 t->at + 1);
    }
    world_close(t->world);
    open_again(t, opened);
    world_leave(t->world);
    return struck;
}

static void the_store_opens_whole_or_not_at_all(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
        struct world *world = world_at(*state, i);
        struct trial t = { .operation = &openings[i], .fault = &no_fault, .world = world };
        world_lay(world);
        world_reopen(world);
        t.after = t.before = world_digest(db_handle(world->store->db));
        world_leave(world);
        for (size_t j = 0; j < ARRAY_LEN(faults); j++) {
            t.fault = &faults[j];
            for (t.at = 0; try_opening(&t); t.at += step_of(t.fault))
                ;
        }
        world_at_free(world);
    }
}

static bool try_closing(struct trial *t)
{
    world_open(t->world);
    disk.fault = *t->fault;
    disk.fault.spares = t->at;
    world_close(t->world);
    bool struck = disk.fault.strikes > 0;
    disk.fault = (struct disk_fault){ 0 };
    judge_power_cut(t, DONE, "what was closed is lost");
    open_again(t, true);
    world_leave(t->world);
    return struck;
}

static void what_is_closed_is_all_there(void **state)
{
    static const struct operation closing = { .name = "closing" };
    struct trial t = { .operation = &closing, .fault = &no_fault, .world = *state };

    world_open(t.world);
    t.after = t.before = world_digest(db_handle(t.world->store->db));
    world_leave(t.world);
    for (size_t j = 0; j < ARRAY_LEN(faults); j++) {
        t.fault = &faults[j];
        for (t.at = 0; try_closing(&t); t.at += step_of(t.fault))
            ;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_operation_survives_each_fault_at_each_call,
                                        world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_store_opens_whole_or_not_at_all, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(what_is_closed_is_all_there, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, replace_memory, NULL);
}
