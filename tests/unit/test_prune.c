#include "tests/support/trouble.h"

#define DAY INT64_C(86400000) /* the fixture's retention */

/* Long enough for a whole walk over a small table. */
static void walk(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        fx_advance(60000);
        fx_step(f);
    }
}

static void a_record_goes_when_its_time_is_over_and_not_before(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    fx_advance(DAY - 11 * 60000);
    walk(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_FAILED_FOR_GOOD);
    fx_advance(60000);
    walk(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_number(f, "SELECT (SELECT count(*) FROM recipient) +"
                                  " (SELECT count(*) FROM event)"),
                     0);
    assert_int_equal(fx_stats(f).messages[QUEUE_FAILED_FOR_GOOD], 0);
}

static void the_time_counts_from_the_end_of_a_message(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_advance(3 * DAY);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    walk(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
    fx_advance(DAY);
    walk(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
}

static void what_still_waits_is_never_pruned(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_advance(100 * DAY);
    walk(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_QUEUED);
}

static void chunks_of_a_failed_message_go_with_its_record(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(fx_append(f, message->id, 0, 'x', 10), QUEUE_OK);
    message->chunks = 1;
    message->size = 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 1);
    fx_advance(2 * DAY);
    walk(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
}

static int64_t fail_with_a_chunk_of(struct fixture *f, char byte)
{
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    int64_t id = message->id;

    assert_int_equal(fx_append(f, id, 0, byte, QUEUE_CHUNK_BYTES), QUEUE_OK);
    message->chunks = 1;
    message->size = QUEUE_CHUNK_BYTES;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    return id;
}

static void what_cannot_be_removed_does_not_keep_the_rest(void **state)
{
    struct fixture *f = *state;
    int64_t first = fail_with_a_chunk_of(f, 'a');
    int64_t second = fail_with_a_chunk_of(f, 'b');
    int64_t third = fail_with_a_chunk_of(f, 'c');

    fx_reopen(f); /* all of it is in the file, and nothing in memory */
    disk.unreadable_at = disk_page_of(f->path, 'b') + 8;
    fx_advance(2 * DAY);
    walk(f);
    assert_int_equal(fx_show(f, first).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_show(f, second).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(fx_show(f, third).result, QUEUE_NOT_FOUND);
    fx_submit(f, "r@dest.example"); /* and mail is taken */
    walk(f);
    fx_submit(f, "r@dest.example");

    disk.unreadable_at = 0;
    fx_reopen(f);
    walk(f);
    assert_int_equal(fx_show(f, second).result, QUEUE_NOT_FOUND);
}

static void tokens_that_cannot_be_removed_do_not_keep_the_messages(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    fx_execute(f, "INSERT INTO once VALUES (1, 'key', 'token', x'00', 'answer', 1);"
                  "CREATE TRIGGER damage BEFORE DELETE ON once"
                  " BEGIN SELECT raise(ABORT, 'no'); END");
    fx_advance(2 * DAY);
    walk(f);
    walk(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 1);
    fx_execute(f, "DROP TRIGGER damage");
    fx_advance(3600000);
    walk(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 0);
}

static struct {
    size_t removals, gaps; /* lines of the log */
} told;

static void count_line(void *owner, struct slice line)
{
    (void)owner;
    told.removals += memmem(line.data, line.len, "not_removable", 13) != NULL;
    told.gaps += memmem(line.data, line.len, "queue_messages_unreadable", 25) != NULL;
}

static void chunks_that_cannot_be_read_cost_no_write_of_others(void **state)
{
    struct fixture *f = *state;
    int64_t first = fail_with_a_chunk_of(f, 'a');
    struct got got;

    fx_reopen(f);
    fx_step(f);
    disk.unreadable_at = disk_page_of(f->path, 'a') + 8;
    memset(&told, 0, sizeof(told));
    log_divert(count_line, NULL);
    fx_advance(2 * DAY);
    fx_ask_submit(f, fx_small("r@dest.example"), false, &got); /* in the same turn */
    fx_step(f);
    assert_int_equal(got.result, QUEUE_OK);
    assert_true(queue_has_room(f->queue));
    walk(f);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_show(f, first).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(told.removals, 1);
}

/* A leaf of the table of messages. */
static void what_stands_behind_unreadable_rows_goes(void **state)
{
    struct fixture *f = *state;
    sqlite3_stmt *statement = NULL;

    fx_step(f);
    fx_execute(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1800)"
                  " INSERT INTO message (id, state, received_ms, aged_from_ms, ended_ms, account,"
                  " key_id, sender, size, chunks, flags, recipients)"
                  " SELECT i * 1000, 5, 1, 1, 1, 'acme', '', '', 1, 0, 0, 1 FROM n");
    assert_int_equal(sqlite3_prepare_v2(fx_sqlite(f),
                                        "SELECT pageno, ncell FROM dbstat WHERE name = 'message'"
                                        " AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 5",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t page = sqlite3_column_int64(statement, 0), cells = sqlite3_column_int64(statement, 1);
    sqlite3_finalize(statement);
    fx_reopen(f);
    disk.unreadable_at = (page - 1) * 4096 + 2000;
    memset(&told, 0, sizeof(told));
    log_divert(count_line, NULL);
    for (int i = 0; i < 8; i++)
        walk(f);
    assert_int_equal(told.gaps, 1);
    assert_true(told.removals < 20); /* twice as many are left alone each time */
    size_t removals = told.removals;
    for (int i = 0; i < 10; i++) {
        walk(f);
        assert_true(queue_has_room(f->queue)); /* nothing is tried that fails */
    }
    assert_int_equal(told.removals, removals);
    disk.unreadable_at = 0;
    int64_t left = fx_number(f, "SELECT count(*) FROM message");
    if (left < cells || left > 20 * cells) /* with what stands beside them */
        fail_msg("%lld messages are left, %lld cannot be read", (long long)left, (long long)cells);
    fx_reopen(f);
    walk(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
}

/* Between the two parts of a step. */
static void what_an_operator_revives_in_between_stays(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct got got = { 0 };
    const struct queue_steering steering = { .act = QUEUE_RETRY, .id = id, .by = "operator" };

    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    fx_advance(2 * DAY);
    queue_steer(f->queue, &steering, fx_on_steered, &got, &f->desk.box);
    fx_step(f); /* it looks beside the act's commit at the latest */
    fx_step(f);
    assert_int_equal(got.result, QUEUE_OK);
    walk(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED);
}

static void a_long_table_is_walked_in_steps(void **state)
{
    struct fixture *f = *state;

    fx_step(f); /* the walk of the start is over */
    fx_execute(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1800)"
                  " INSERT INTO message (id, state, received_ms, aged_from_ms, ended_ms, account,"
                  " key_id, sender, size, chunks, flags, recipients)"
                  " SELECT i, 5, 1, 1, 1, 'acme', '', '', 1, 0, 0, 1 FROM n");
    fx_advance(60000);
    for (int left = 1300; left > -700; left -= 500) {
        fx_step(f);
        fx_step(f); /* not before the pause is over */
        assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), left > 0 ? left : 0);
        fx_advance(50);
    }
}

/* Though no message is left to look at. */
static void a_long_row_of_tokens_is_taken_in_steps_that_follow_each_other(void **state)
{
    struct fixture *f = *state;

    fx_step(f);
    fx_execute(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
                  " INSERT INTO once (id, key_id, token, fingerprint, answer, kept_ms)"
                  " SELECT i, 'key', 't' || i, x'00', '', 1 FROM n");
    fx_advance(60000);
    for (int left = 700; left > -300; left -= 500) {
        fx_step(f);
        fx_step(f); /* not before the pause is over */
        assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), left > 0 ? left : 0);
        fx_advance(50);
    }
}

static void large_contents_make_shorter_steps(void **state)
{
    struct fixture *f = *state;

    fx_step(f);
    fx_execute(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5)"
                  " INSERT INTO message (id, state, received_ms, aged_from_ms, ended_ms, account,"
                  " key_id, sender, size, chunks, flags, recipients)"
                  " SELECT i, 7, 1, 1, 1, 'acme', '', '', 10000000, 160, 0, 1 FROM n");
    fx_advance(60000);
    for (int left = 3; left > -1; left -= 2) {
        fx_step(f);
        assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), left);
        fx_advance(50);
    }
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
}

static void a_shorter_retention_holds_for_what_is_there(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    queue_set_schedule(f->queue, &f->options.schedule, 0);
    walk(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
}

/* In the worst case with the next process: what could not be removed is left alone by this one. */
static void whatever_fails_what_is_over_goes_in_the_end_and_nothing_else(void **state)
{
    struct fixture *f = *state;

    fx_advance(400 * DAY); /* past the ids of the tests before, for they name times */
    for (EACH_TROUBLE(trouble)) {
        int64_t over = fail_with_a_chunk_of(f, 'a'), waits = fx_submit(f, "r@dest.example");
        fx_execute(f, "INSERT INTO once VALUES (1, 'key', 'token', x'00', 'answer', 1)");
        fx_advance(2 * DAY);
        trouble_begin(f, &trouble);
        fx_step(f);
        trouble_end(f, &trouble);
        walk(f);
        fx_reopen(f);
        walk(f);
        trouble_check_books(f, &trouble);
        if (fx_show(f, over).result != QUEUE_NOT_FOUND ||
            fx_number(f, "SELECT count(*) FROM once") != 0)
            fail_msg("%s: what is over is still there", trouble.name);
        if (fx_show(f, waits).state != QUEUE_QUEUED)
            fail_msg("%s: what waits is in state %d", trouble.name, (int)fx_show(f, waits).state);
        fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_record_goes_when_its_time_is_over_and_not_before),
        QUEUE_TEST(the_time_counts_from_the_end_of_a_message),
        QUEUE_TEST(what_still_waits_is_never_pruned),
        QUEUE_TEST(chunks_of_a_failed_message_go_with_its_record),
        QUEUE_TEST(a_long_table_is_walked_in_steps),
        QUEUE_TEST(a_long_row_of_tokens_is_taken_in_steps_that_follow_each_other),
        QUEUE_TEST(large_contents_make_shorter_steps),
        QUEUE_TEST(a_shorter_retention_holds_for_what_is_there),
        DISK_TEST(what_cannot_be_removed_does_not_keep_the_rest),
        QUEUE_TEST(tokens_that_cannot_be_removed_do_not_keep_the_messages),
        DISK_TEST(chunks_that_cannot_be_read_cost_no_write_of_others),
        DISK_TEST(what_stands_behind_unreadable_rows_goes),
        QUEUE_TEST(what_an_operator_revives_in_between_stays),
        DISK_TEST(whatever_fails_what_is_over_goes_in_the_end_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
