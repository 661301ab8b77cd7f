#include "tests/support/queue_fixture.h"

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
    /* Two tables that are small at any depth, the walk of the due index, which ends early, and a
     * SELECT without a table. */
    static const char *const allowed[] = { "SCAN tally", "SCAN incoming",
                                           "SCAN message USING COVERING INDEX message_due",
                                           "SCAN CONSTANT ROW" };
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

static void a_transaction_that_is_rolled_back_counts_nothing(void **state)
{
    struct fixture *f = *state;
    struct store *store = f->queue->store;
    struct queue_message *message = fx_small("r@dest.example");
    const struct store_birth birth = {
        .state = QUEUE_QUEUED, .due_ms = 5, .now_ms = 5, .with_content = true
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(no_statement_scans_or_sorts_a_table),
        QUEUE_TEST(a_transaction_that_is_rolled_back_counts_nothing),
        QUEUE_TEST(two_events_in_one_microsecond_are_two),
        QUEUE_TEST(a_content_larger_than_any_of_ours_is_not_read),
        QUEUE_TEST(an_empty_content_and_the_null_sender_are_kept),
        QUEUE_TEST(hostile_bytes_survive_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
