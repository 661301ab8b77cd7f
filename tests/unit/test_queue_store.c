#include <sys/stat.h>

#include "tests/support/disk.h"

static int64_t plan_mentions(struct fixture *f, const char *sql, const char *word)
{
    char *query = xasprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *statement = NULL;
    int64_t count = 0;

    assert_int_equal(sqlite3_prepare_v2(fx_sqlite(f), query, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW)
        count += strstr((const char *)sqlite3_column_text(statement, 3), word) != NULL;
    sqlite3_finalize(statement);
    free(query);
    return count;
}

/* Flat cost: no question may look at the whole queue. Every statement the store has ever prepared
 * is taken from the connection itself, so a new one cannot be forgotten here. */
static void no_statement_scans_or_sorts_a_table(void **state)
{
    /* Two tables that are small at any depth, and a SELECT without a table. */
    static const char *const allowed[] = { "SCAN tally", "SCAN incoming", "SCAN CONSTANT ROW" };
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    uint64_t changed;
    int64_t id = message->id;
    int statements = 0;

    assert_int_equal(fx_append(f, id, 0, 'x', 10), QUEUE_OK); /* most statements are used here */
    message->chunks = 1;
    message->size = 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK);
    assert_int_equal(fx_retry(f, 0, &changed), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    fx_show(f, id);
    for (sqlite3_stmt *s = sqlite3_next_stmt(fx_sqlite(f), NULL); s != NULL;
         s = sqlite3_next_stmt(fx_sqlite(f), s)) {
        const char *sql = sqlite3_sql(s);
        int64_t scans = plan_mentions(f, sql, "SCAN"), excused = 0;
        statements++;
        for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
            excused += plan_mentions(f, sql, allowed[i]);
        if (scans > excused || plan_mentions(f, sql, "TEMP B-TREE") > 0)
            fail_msg("%s", sql);
    }
    assert_true(statements > 20);
}

/* As the first version would, which knew one step only. */
static void an_older_version_refuses_this_schema(void **state)
{
    static const char *const first_step[] = { "CREATE TABLE message (id INTEGER PRIMARY KEY)" };
    struct fixture *f = *state;
    const struct db_options older = {
        .path = f->path,
        .steps = first_step,
        .step_count = 1,
        .application_id = (int)fx_number(f, "PRAGMA application_id"),
    };
    struct why why = { 0 };
    struct db *db = NULL;

    int64_t id = fx_submit(f, "r@dest.example");
    fx_close(f);
    assert_false(db_open(&db, &older, &why));
    if (strstr(why.text, "made by a newer latchpost") == NULL)
        fail_msg("%s", why.text);
    fx_open(f); /* and it was left as it was */
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, id);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_transaction_that_is_rolled_back_counts_nothing(void **state)
{
    struct fixture *f = *state;
    struct store *store = f->queue->store;
    struct queue_message *message = fx_small("r@dest.example");
    const struct store_birth birth = {
        .state = QUEUE_QUEUED, .due_ms = 5, .wall_ms = 5, .with_content = true
    };

    assert_int_equal(store_begin(store), STORE_OK);
    assert_int_equal(store_insert(store, message, &birth), STORE_OK);
    store_rollback(store);
    assert_int_equal(store_tally(store)[QUEUE_QUEUED].messages, 0);
    assert_int_equal(store_begin(store), STORE_OK);
    assert_int_equal(store_insert(store, message, &birth), STORE_OK);
    assert_int_equal(store_commit(store), STORE_OK);
    assert_int_equal(store_tally(store)[QUEUE_QUEUED].messages, 1);
    assert_int_equal(store_tally(store)[QUEUE_QUEUED].bytes, message->size);
    queue_message_free(message);
}

static void two_events_in_one_microsecond_are_two(void **state)
{
    struct fixture *f = *state;
    const struct store_event event = { .what = "attempt", .position = 0, .enhanced = "" };

    assert_int_equal(store_begin(f->queue->store), STORE_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(store_add_event(f->queue->store, 7, &event), STORE_OK);
    assert_int_equal(store_commit(f->queue->store), STORE_OK);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event WHERE message = 7"), 3);
}

static void a_content_larger_than_any_of_ours_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct record *record = NULL;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_execute(f, "UPDATE message SET content = zeroblob(1000000)");
    assert_int_equal(store_load(f->queue->store, id, fx_now_ms(), &record), STORE_NONE);
    assert_null(record);
}

static void an_empty_content_and_the_null_sender_are_kept(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = queue_message_new(ident_next());

    message->sender = xstrdup("");
    queue_message_add(message, SLICE("r@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    assert_string_equal(message->sender, "");
    assert_string_equal(message->account, "");
    assert_int_equal(buf_len(&message->content), 0);
    assert_int_equal(message->size, 0);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void hostile_bytes_survive_the_store(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message =
        desk_message(ident_next(), "\"x\xff'; DROP TABLE message;--\"@d");
    static const char bytes[] = "\0\r\n.\xff\x80'";

    desk_write(message, slice_make(bytes, sizeof(bytes)));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    assert_string_equal(message->recipients[0].address, "\"x\xff'; DROP TABLE message;--\"@d");
    assert_true(slice_equal(buf_slice(&message->content), slice_make(bytes, sizeof(bytes))));
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

/* --- 250 means on disk ------------------------------------------------------------------------ */

/* Stands at the place where the answers are posted. */
static struct {
    unsigned posts, unsynced;
    void (*wake)(void *owner);
} watched;

static void on_posted(void *owner)
{
    watched.posts++;
    watched.unsynced += disk_unsynced_log_writes();
    watched.wake(owner);
}

static void no_answer_is_posted_before_the_log_is_synced(void **state)
{
    struct fixture *f = *state;

    memset(&watched, 0, sizeof(watched));
    watched.wake = f->desk.box.wake;
    f->desk.box.wake = on_posted;
    for (unsigned i = 0; i < 10; i++) {
        struct queue_message *large = desk_message(ident_next(), "large@dest.example");
        unsigned syncs = disk.log_syncs;
        fx_submit(f, "r@dest.example");
        assert_int_equal(fx_append(f, large->id, 0, 'x', 100), QUEUE_OK);
        large->chunks = 1;
        large->size = 100;
        assert_int_equal(fx_submit_message(f, large), QUEUE_OK);
        assert_int_equal(disk.log_syncs - syncs, 3); /* one for each answer */
        struct got got;
        fx_lease_some(f, 1, 1, &got);
        fx_settle_all(f, got.messages[0], i % 2 == 0 ? QUEUE_SENT : QUEUE_LATER, 450, "words");
    }
    assert_int_equal(watched.posts, 50);
    assert_int_equal(watched.unsynced, 0);
}

/* What the world was told before the power went. */
struct promise {
    int64_t id;
    bool settled;
};
struct promises {
    struct promise made[64];
    size_t count;
};

static void promise(struct promises *promises, int64_t id, bool settled)
{
    if (!disk_lost_power())
        promises->made[promises->count++] = (struct promise){ id, settled };
}

/* Small and large messages, in batches of one and of several, some delivered; and the log is
 * brought in, begun anew, and brought in again. */
static void live(struct fixture *f, struct promises *promises)
{
    for (int round = 0; round < 6; round++) {
        struct queue_message *message = desk_message(ident_next(), "large@dest.example");
        int64_t large = message->id, first = fx_submit(f, "r@dest.example"), pair[2];
        struct got got[2];
        promise(promises, first, false);
        assert_int_equal(fx_append(f, large, 0, 'x', QUEUE_CHUNK_BYTES), QUEUE_OK);
        assert_int_equal(fx_append(f, large, 1, 'y', 10), QUEUE_OK);
        message->chunks = 2;
        message->size = QUEUE_CHUNK_BYTES + 10;
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
        promise(promises, large, false);
        for (int i = 0; i < 2; i++) {
            message = fx_small("r@dest.example");
            pair[i] = message->id;
            fx_ask_submit(f, message, i == 0, &got[i]);
        }
        fx_step(f);
        promise(promises, pair[0], false);
        promise(promises, pair[1], false);
        fx_settle_all(f, got[0].message, QUEUE_SENT, 250, "ok");
        promise(promises, pair[0], true);
        if (round % 2 == 0)
            assert_int_equal(store_checkpoint(f->queue->store), STORE_OK);
    }
}

static void keeps_its_promises(struct fixture *f, const struct promises *promises, unsigned at)
{
    for (size_t i = 0; i < promises->count; i++) {
        const struct promise *made = &promises->made[i];
        struct shown shown = fx_show(f, made->id);
        if (shown.result != QUEUE_OK || (made->settled && shown.state != QUEUE_DELIVERED))
            fail_msg("power lost at %u: message %zu is not what was answered", at, i);
    }
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body WHERE message NOT IN"
                                  " (SELECT id FROM message WHERE state = 0)"),
                     0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message WHERE chunks > 0 AND"
                                  " size <> (SELECT sum(length(data)) FROM body"
                                  " WHERE message = id)"),
                     0);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED],
                     fx_number(f, "SELECT count(*) FROM message WHERE state = 0"));
    sqlite3_stmt *check;
    sqlite3_prepare_v2(fx_sqlite(f), "PRAGMA integrity_check", -1, &check, NULL);
    assert_int_equal(sqlite3_step(check), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(check, 0), "ok");
    sqlite3_finalize(check);
}

/* One life on a disk of its own, whose power goes at this operation. Returns how many there were.
 */
static unsigned live_until(unsigned loses_power_at, struct promises *promises)
{
    void *state;

    assert_int_equal(disk_setup(&state), 0);
    struct fixture *f = state;
    char *log = xasprintf("%s-wal", f->path), *left = xasprintf("%s/left", f->folder);
    char *left_log = xasprintf("%s-wal", left);
    disk.loses_power_at = loses_power_at == 0 ? 0 : disk.operations + loses_power_at;
    unsigned before = disk.operations;
    live(f, promises);
    unsigned operations = disk.operations - before;
    if (loses_power_at != 0) {
        disk_image(f->path, left, loses_power_at);
        disk_image(log, left_log, loses_power_at + 1);
        assert_int_equal(chmod(left, 0600), 0);
        fx_close(f);
        f->options.path = left;
        fx_open(f);
        keeps_its_promises(f, promises, loses_power_at);
    }
    free(log);
    free(left);
    free(left_log);
    assert_int_equal(disk_teardown(&state), 0);
    return operations;
}

/* F-04. */
static void what_was_answered_survives_a_power_cut_at_any_moment(void **state)
{
    struct promises all = { 0 };
    unsigned operations = live_until(0, &all);

    (void)state;
    assert_int_equal(all.count, 30);
    for (unsigned at = 1; at < operations; at += 3) {
        struct promises promises = { 0 };
        live_until(at, &promises);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(no_statement_scans_or_sorts_a_table),
        QUEUE_TEST(an_older_version_refuses_this_schema),
        QUEUE_TEST(a_transaction_that_is_rolled_back_counts_nothing),
        QUEUE_TEST(two_events_in_one_microsecond_are_two),
        QUEUE_TEST(a_content_larger_than_any_of_ours_is_not_read),
        QUEUE_TEST(an_empty_content_and_the_null_sender_are_kept),
        QUEUE_TEST(hostile_bytes_survive_the_store),
        DISK_TEST(no_answer_is_posted_before_the_log_is_synced),
        cmocka_unit_test(what_was_answered_survives_a_power_cut_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
