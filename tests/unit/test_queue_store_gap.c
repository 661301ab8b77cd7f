/* test_queue_store_gap.c - does the mail leave that stands beside a damaged page of the index? */
#include "tests/support/disk.h"

#define EACH 700 /* messages of a lane: some pages of the index */

static struct {
    size_t lanes, unreadable, database; /* lines of the log */
} told;

static void count_line(void *owner, struct slice line)
{
    (void)owner;
    told.lanes += memmem(line.data, line.len, "queue_lane_damaged", 18) != NULL;
    told.unreadable += memmem(line.data, line.len, "queue_lanes_unreadable", 22) != NULL;
    told.database += memmem(line.data, line.len, "database_failed", 15) != NULL;
}

/* One message of each account, and then as many more like it. */
static void fill(struct fixture *f, int64_t apart_ms)
{
    static const char *const accounts[] = { "a", "b", "c" };

    for (size_t i = 0; i < ARRAY_LEN(accounts); i++) {
        struct queue_message *message = fx_small("r@dest.example");
        free(message->account);
        message->account = xstrdup(accounts[i]);
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    }
    char *sql = xasprintf(
        "CREATE TEMP TABLE n AS WITH RECURSIVE c(n) AS"
        " (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) SELECT n FROM c;"
        "INSERT INTO recipient SELECT message + n * 1000, position, address, state, attempts,"
        " due_ms + n * %lld, updated_ms, code, enhanced, text, upstream FROM recipient, n;"
        "INSERT INTO message SELECT id + n * 1000, due_ms + n * %lld, state, received_ms,"
        " aged_from_ms, ended_ms, account, key_id, sender, size, chunks, flags, recipients,"
        " content FROM message, n;"
        "DROP TABLE n",
        EACH - 1, (long long)apart_ms, (long long)apart_ms);
    fx_execute(f, sql);
    free(sql);
    fx_advance(EACH * apart_ms);
}

/* The messages of one leaf of the index, which is not the first or last of this lane. */
static int64_t spoil_a_leaf(struct fixture *f, int64_t messages_before)
{
    sqlite3_stmt *statement = NULL;
    int64_t cells = 0, before = 0, page = 0;

    assert_int_equal(sqlite3_prepare_v2(fx_sqlite(f),
                                        "SELECT pageno, ncell FROM dbstat"
                                        " WHERE name = 'message_lane' AND pagetype = 'leaf'"
                                        " ORDER BY path",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    while (before <= messages_before && sqlite3_step(statement) == SQLITE_ROW) {
        page = sqlite3_column_int64(statement, 0);
        cells = sqlite3_column_int64(statement, 1);
        before += cells + 1; /* one stands on the page above */
    }
    sqlite3_finalize(statement);
    assert_true(page > 0);
    fx_reopen(f); /* nothing is in memory */
    disk.unreadable_at = (page - 1) * 4096 + 2000;
    return cells;
}

static void lease_all(struct fixture *f, size_t by_account[3])
{
    struct got got;

    memset(by_account, 0, 3 * sizeof(*by_account));
    do {
        fx_lease_some(f, 64, 1 << 20, &got);
        for (size_t i = 0; i < got.count; i++) {
            by_account[got.messages[i]->account[0] - 'a']++;
            queue_message_free(got.messages[i]); /* the leases stay */
        }
    } while (got.count > 0);
    if (got.next_due_ms < fx_now_ms() + 60000) /* nobody was told to come back in a second */
        fail_msg("to be asked again in %lld ms", (long long)(got.next_due_ms - fx_now_ms()));
}

static void check_all_but(const size_t by_account[3], int64_t missing)
{
    assert_int_equal(by_account[0], EACH);
    assert_int_equal(by_account[2], EACH);
    if (by_account[1] < (size_t)(EACH - missing - 1) || by_account[1] > (size_t)(EACH - missing))
        fail_msg("%zu of %d left, when %lld cannot be read", by_account[1], EACH,
                 (long long)missing);
}

static void what_stands_beside_a_damaged_page_leaves(void **state)
{
    static const int64_t apart[] = { 7, 0 }; /* an operator's retry makes all due at one time */
    struct fixture *f = *state;
    size_t by_account[3];

    for (size_t i = 0; i < ARRAY_LEN(apart); i++) {
        fx_execute(f, "DELETE FROM recipient; DELETE FROM message");
        fill(f, apart[i]);
        int64_t missing = spoil_a_leaf(f, EACH + EACH / 2);
        memset(&told, 0, sizeof(told));
        log_divert(count_line, NULL);
        lease_all(f, by_account);
        check_all_but(by_account, missing);
        assert_int_equal(told.lanes, 1);
        fx_advance(600001); /* it is tried again, and not reported again */
        lease_all(f, by_account);
        assert_int_equal(by_account[0] + by_account[1] + by_account[2], 0);
        assert_int_equal(told.lanes, 1);
        assert_true(told.database <= 4);
        disk.unreadable_at = 0; /* some day it can be read again */
        fx_advance(600001);
        lease_all(f, by_account);
        assert_in_range(by_account[1], missing, missing + 1);
        fx_reopen(f);
    }
}

static void the_lanes_behind_a_damaged_page_are_found_from_the_end(void **state)
{
    struct fixture *f = *state;
    size_t by_account[3];

    fill(f, 7);
    int64_t missing = spoil_a_leaf(f, EACH); /* where one lane ends and the next begins */
    log_divert(count_line, NULL);
    memset(&told, 0, sizeof(told));
    lease_all(f, by_account);
    assert_int_equal(by_account[2], EACH);
    assert_in_range(by_account[0] + by_account[1], 2 * EACH - missing - 1, 2 * EACH - missing);
    assert_int_equal(told.unreadable, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(what_stands_beside_a_damaged_page_leaves),
        DISK_TEST(the_lanes_behind_a_damaged_page_are_found_from_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
