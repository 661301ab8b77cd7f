#include "tests/support/disk.h"

static void give_back(struct fixture *f, struct got *got)
{
    for (size_t i = 0; i < got->count; i++)
        fx_settle_all(f, got->messages[i], QUEUE_SENT, 250, "ok");
}

static void each_message_is_leased_once(void **state)
{
    struct fixture *f = *state;
    struct got first, second;
    int64_t a = fx_submit(f, "a@dest.example"), b = fx_submit(f, "b@dest.example");

    fx_lease_some(f, 1, 1 << 20, &first);
    assert_int_equal(first.count, 1);
    assert_int_equal(first.messages[0]->id, a);
    assert_true(first.next_due_ms <= fx_now_ms()); /* b waits */
    fx_lease_some(f, 64, 1 << 20, &second);
    assert_int_equal(second.count, 1);
    assert_int_equal(second.messages[0]->id, b);
    assert_int_equal(second.next_due_ms, INT64_MAX);
    give_back(f, &first);
    give_back(f, &second);
}

static void after_a_restart_what_was_leased_is_due_again(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "a@dest.example");

    queue_message_free(fx_lease(f)); /* the worker died */
    fx_reopen(f);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, id);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void the_oldest_due_come_first_and_bytes_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct got got;
    int64_t ids[5];

    for (int i = 0; i < 5; i++) {
        struct queue_message *message = desk_message(ident_next(), "a@dest.example");
        char text[1000] = { 0 };
        desk_write(message, slice_make(text, sizeof(text)));
        ids[i] = message->id;
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
        fx_advance(1);
    }
    fx_lease_some(f, 64, 2500, &got);
    assert_int_equal(got.count, 3); /* about: the one that passes the bound is still in */
    for (int i = 0; i < 3; i++)
        assert_int_equal(got.messages[i]->id, ids[i]);
    assert_int_equal(got.next_due_ms, FX_START_MS + 3);
    give_back(f, &got);
    fx_lease_some(f, 1, 1, &got);
    assert_int_equal(got.count, 1);
    give_back(f, &got);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.messages[0]->id, ids[4]);
    give_back(f, &got);
}

static void the_next_time_is_that_of_what_is_not_leased(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_submit(f, "a@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_in_range(got.next_due_ms, FX_START_MS + 48000, FX_START_MS + 72000);
    fx_now_us = got.next_due_ms * 1000;
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.messages[0]->recipients[0].attempts, 1);
    assert_int_equal(got.messages[0]->recipients[0].state, QUEUE_DEFERRED);
    assert_int_equal(got.next_due_ms, INT64_MAX);
    give_back(f, &got);
}

static void a_damaged_message_does_not_block_the_others(void **state)
{
    struct fixture *f = *state;
    int64_t broken = fx_submit(f, "a@dest.example");
    int64_t sound = fx_submit(f, "b@dest.example");
    char *sql = xasprintf("DELETE FROM recipient WHERE message = %lld", (long long)broken);

    fx_execute(f, sql);
    free(sql);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, sound);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static size_t reports;

static void count_report(void *owner, struct slice line)
{
    (void)owner;
    reports += memmem(line.data, line.len, "queue_message_damaged", 21) != NULL;
}

static void a_message_on_a_bad_sector_does_not_block_the_others(void **state)
{
    struct fixture *f = *state;
    struct got got;
    char text[20000];
    int64_t ids[2];

    for (int i = 0; i < 2; i++) {
        struct queue_message *message = desk_message(ident_next(), "a@dest.example");
        memset(text, 'A' + i, sizeof(text));
        desk_write(message, slice_make(text, sizeof(text)));
        ids[i] = message->id;
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    }
    fx_reopen(f); /* all of it is in the file, and nothing in memory */
    disk.unreadable_at = disk_page_of(f->path, 'A') + 8;
    reports = 0;
    log_divert(count_report, NULL);
    fx_lease_some(f, 64, 1 << 20, &got); /* at once */
    assert_int_equal(got.count, 1);
    assert_int_equal(got.messages[0]->id, ids[1]);
    assert_int_equal(got.next_due_ms, INT64_MAX);
    give_back(f, &got);
    fx_advance(600000); /* it is tried again, and not reported again */
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(reports, 1);

    disk.unreadable_at = 0; /* some day it can be read again */
    fx_advance(600000);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, ids[0]);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_message_whose_attempt_cannot_be_recorded_does_not_block_the_others(void **state)
{
    struct fixture *f = *state;
    int64_t bad = fx_submit(f, "a@dest.example"), good = fx_submit(f, "b@dest.example");
    struct got got;
    char *sql = xasprintf("CREATE TRIGGER damage BEFORE UPDATE OF flags ON message"
                          " WHEN old.id = %lld BEGIN SELECT raise(ABORT, 'damage'); END",
                          (long long)bad);

    fx_execute(f, sql);
    free(sql);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    fx_advance(1000); /* the store is opened again */
    fx_step(f);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, good);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");

    fx_execute(f, "DROP TRIGGER damage");
    fx_advance(600000);
    message = fx_lease(f);
    assert_int_equal(message->id, bad);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_message_whose_content_was_cut_is_not_delivered(void **state)
{
    static const char *const cuts[] = { "content = NULL", "content = x'41'",
                                        "content = NULL, size = 0, chunks = -1" };
    struct fixture *f = *state;
    struct got got;

    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        char *sql =
            xasprintf("UPDATE message SET %s WHERE id = (SELECT max(id) FROM message)", cuts[i]);
        fx_submit(f, "a@dest.example");
        fx_execute(f, sql);
        fx_lease_some(f, 64, 1 << 20, &got);
        if (got.count != 0)
            fail_msg("%s: leased", cuts[i]);
        free(sql);
    }
}

static void a_state_that_is_none_is_never_delivered(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_submit(f, "a@dest.example");
    fx_execute(f, "UPDATE recipient SET state = 77");
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
}

static void stats_count_a_leased_message_as_delivering(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "a@dest.example");

    fx_submit(f, "b@dest.example");
    struct got got;
    fx_lease_some(f, 1, 1, &got);
    assert_int_equal(got.messages[0]->id, id);
    struct queue_stats stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_DELIVERING], 1);
    assert_int_equal(stats.messages[QUEUE_QUEUED], 1);
    give_back(f, &got);
    stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_DELIVERING], 0);
    assert_int_equal(stats.messages[QUEUE_QUEUED], 1);
    assert_int_equal(stats.messages[QUEUE_DELIVERED], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(each_message_is_leased_once),
        QUEUE_TEST(after_a_restart_what_was_leased_is_due_again),
        QUEUE_TEST(the_oldest_due_come_first_and_bytes_are_bounded),
        QUEUE_TEST(the_next_time_is_that_of_what_is_not_leased),
        QUEUE_TEST(a_damaged_message_does_not_block_the_others),
        DISK_TEST(a_message_on_a_bad_sector_does_not_block_the_others),
        QUEUE_TEST(a_message_whose_attempt_cannot_be_recorded_does_not_block_the_others),
        QUEUE_TEST(a_message_whose_content_was_cut_is_not_delivered),
        QUEUE_TEST(a_state_that_is_none_is_never_delivered),
        QUEUE_TEST(stats_count_a_leased_message_as_delivering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
