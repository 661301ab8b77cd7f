#include "tests/support/queue_fixture.h"

static void on_due(void *owner)
{
    (*(int *)owner)++;
}

static void a_watcher_is_rung_once_until_it_asks_again(void **state)
{
    struct fixture *f = *state;
    int rings = 0;
    struct got got;

    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_lease_some(f, 64, 1 << 20, &got);
    fx_submit(f, "a@dest.example");
    assert_int_equal(rings, 1);
    fx_submit(f, "b@dest.example");
    assert_int_equal(rings, 1);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 2);
    assert_int_equal(rings, 1);
    fx_settle_all(f, got.messages[0], QUEUE_SENT, 250, "ok"); /* nothing due of it */
    assert_int_equal(rings, 1);
    fx_settle_all(f, got.messages[1], QUEUE_LATER, 450, "busy"); /* due, and nobody knew */
    assert_int_equal(rings, 2);
}

static void what_is_due_later_than_promised_rings_nobody(void **state)
{
    struct fixture *f = *state;
    int rings = 0;
    struct got got;

    fx_submit(f, "a@dest.example");
    fx_submit(f, "b@dest.example");
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_lease_some(f, 1, 1, &got); /* told: b is due now */
    fx_settle_all(f, got.messages[0], QUEUE_LATER, 450, "busy");
    assert_int_equal(rings, 0);
}

static void a_message_leased_with_its_submission_rings_nobody(void **state)
{
    struct fixture *f = *state;
    int rings = 0;
    struct got got;

    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_ask_submit(f, fx_small("r@dest.example"), true, &got);
    fx_step(f);
    assert_int_equal(rings, 0);
    fx_settle_all(f, got.message, QUEUE_SENT, 250, "ok");
    assert_int_equal(rings, 0);
}

static void an_operators_retry_rings(void **state)
{
    struct fixture *f = *state;
    int rings = 0;
    struct got got;
    uint64_t changed;
    int64_t id = fx_submit(f, "a@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK);
    assert_int_equal(rings, 1);
}

static void each_mailbox_has_a_promise_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct desk other;
    int rings = 0, other_rings = 0;
    struct got got;

    desk_open(&other);
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    queue_watch(f->queue, on_due, &other_rings, &other.box);
    fx_step(f);
    fx_submit(f, "a@dest.example");
    mailbox_drain(&other.box);
    assert_int_equal(rings, 1);
    assert_int_equal(other_rings, 1);
    fx_lease_some(f, 64, 1 << 20, &got); /* only the first asks again */
    fx_submit(f, "b@dest.example");
    mailbox_drain(&other.box);
    assert_int_equal(rings, 2);
    assert_int_equal(other_rings, 1);
    fx_settle_all(f, got.messages[0], QUEUE_SENT, 250, "ok");
    mailbox_drain(&other.box);
    desk_close(&other);
}

static void who_unwatched_is_not_called_any_more(void **state)
{
    struct fixture *f = *state;
    int rings = 0;

    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_step(f);
    queue_unwatch(f->queue, &rings);
    fx_submit(f, "a@dest.example");
    assert_int_equal(rings, 0);

    /* A ring that is on the way when the watch ends. */
    struct got got;
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_ask_submit(f, fx_small("b@dest.example"), false, &got);
    queue_step(f->queue);
    queue_unwatch(f->queue, &rings);
    queue_step(f->queue);
    mailbox_drain(&f->desk.box);
    assert_int_equal(got.calls, 1);
    assert_int_equal(rings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_watcher_is_rung_once_until_it_asks_again),
        QUEUE_TEST(what_is_due_later_than_promised_rings_nobody),
        QUEUE_TEST(a_message_leased_with_its_submission_rings_nobody),
        QUEUE_TEST(an_operators_retry_rings),
        QUEUE_TEST(each_mailbox_has_a_promise_of_its_own),
        QUEUE_TEST(who_unwatched_is_not_called_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
