#include "tests/support/queue_fixture.h"

static bool nothing_is_due(struct fixture *f)
{
    struct got got;

    fx_lease_some(f, 64, 1 << 20, &got);
    for (size_t i = 0; i < got.count; i++)
        queue_message_free(got.messages[i]);
    return got.count == 0;
}

/* "good" delivered, "later" deferred, "never" failed, "doubt" uncertain. */
static int64_t submit_mixed(struct fixture *f)
{
    static const struct {
        const char *address;
        enum queue_fate fate;
    } rows[] = { { "later@dest.example", QUEUE_LATER },
                 { "never@dest.example", QUEUE_NEVER },
                 { "doubt@dest.example", QUEUE_DOUBTFUL } };
    struct queue_message *message = fx_small("good@dest.example");
    int64_t id = message->id;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        queue_message_add(message, slice_of(rows[i].address));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        queue_recipient_say(&message->recipients[i + 1], rows[i].fate, 0, "", SLICE("said"));
    fx_settle(f, message);
    return id;
}

static void assert_states(struct fixture *f, int64_t id, const enum queue_state want[static 4],
                          enum queue_state whole)
{
    struct shown shown = fx_show(f, id);

    for (size_t i = 0; i < 4; i++)
        if (shown.states[i] != want[i])
            fail_msg("recipient %zu is %s, not %s", i, queue_state_name(shown.states[i]),
                     queue_state_name(want[i]));
    assert_int_equal(shown.state, whole);
}

static void what_is_held_is_never_due_until_it_is_released(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct got got = fx_steer(f, QUEUE_HOLD, id, NULL);

    assert_int_equal(got.result, QUEUE_OK);
    assert_int_equal(got.changed, 1);
    fx_advance(3 * 86400000LL);
    assert_true(nothing_is_due(f));
    fx_reopen(f);
    assert_true(nothing_is_due(f));
    assert_int_equal(fx_show(f, id).state, QUEUE_HELD);
    assert_int_equal(fx_stats(f).messages[QUEUE_HELD], 1);
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, id, NULL).result, QUEUE_OK);
    assert_int_equal(fx_show(f, id).state, QUEUE_QUEUED);
    assert_int_equal(fx_show(f, id).due_ms, fx_now_ms());
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->id, id);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_HELD], 0);
}

static void a_release_gives_each_recipient_its_place_back(void **state)
{
    static const enum queue_state held[] = { QUEUE_DELIVERED, QUEUE_HELD, QUEUE_FAILED_FOR_GOOD,
                                             QUEUE_HELD };
    static const enum queue_state released[] = { QUEUE_DELIVERED, QUEUE_DEFERRED,
                                                 QUEUE_FAILED_FOR_GOOD, QUEUE_DEFERRED };
    struct fixture *f = *state;
    int64_t id = submit_mixed(f);

    assert_int_equal(fx_steer(f, QUEUE_HOLD, id, NULL).result, QUEUE_OK);
    assert_states(f, id, held, QUEUE_HELD);
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, id, NULL).result, QUEUE_OK);
    assert_states(f, id, released, QUEUE_DEFERRED);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipient_count, 2); /* and not those that have ended */
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    struct shown shown = fx_show(f, id);
    assert_string_equal(shown.event[3], "hold");
    assert_string_equal(shown.event_text[3], "by operator");
    assert_string_equal(shown.event[4], "release");
}

static void the_time_on_hold_does_not_count_against_a_message(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_steer(f, QUEUE_HOLD, id, NULL);
    fx_advance(10 * 86400000LL);
    fx_steer(f, QUEUE_RELEASE, id, NULL);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED); /* not given up */
}

static void a_cancelled_message_has_ended_and_its_content_is_gone(void **state)
{
    struct fixture *f = *state;
    int64_t small = fx_submit(f, "r@dest.example");
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    int64_t large = message->id;

    assert_int_equal(fx_append(f, large, 0, 'x', 1000), QUEUE_OK);
    message->size = 1000;
    message->chunks = 1;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    assert_int_equal(fx_steer(f, QUEUE_HOLD, large, NULL).result, QUEUE_OK);
    assert_int_equal(fx_steer(f, QUEUE_CANCEL, small, NULL).result, QUEUE_OK);
    assert_int_equal(fx_steer(f, QUEUE_CANCEL, large, NULL).result, QUEUE_OK);
    assert_true(nothing_is_due(f));
    assert_int_equal(fx_show(f, small).state, QUEUE_CANCELLED);
    assert_int_equal(fx_show(f, large).state, QUEUE_CANCELLED);
    assert_int_equal(fx_stats(f).messages[QUEUE_CANCELLED], 2);
    assert_int_equal(fx_stats(f).active_bytes, 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message WHERE content IS NOT NULL"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message WHERE ended_ms IS NULL"), 0);
}

static void what_was_delivered_or_failed_before_a_cancel_stays_so(void **state)
{
    static const enum queue_state want[] = { QUEUE_DELIVERED, QUEUE_CANCELLED,
                                             QUEUE_FAILED_FOR_GOOD, QUEUE_CANCELLED };
    struct fixture *f = *state;
    int64_t id = submit_mixed(f);
    uint64_t changed;

    assert_int_equal(fx_steer(f, QUEUE_CANCEL, id, NULL).result, QUEUE_OK);
    assert_states(f, id, want, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK); /* so its content must still be there */
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    assert_string_equal(message->recipients[0].address, "never@dest.example");
    assert_int_equal(buf_len(&message->content), message->size);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_show(f, id).state, QUEUE_CANCELLED);
}

static void a_cancelled_message_leaves_no_record_where_none_is_kept(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    queue_set_schedule(f->queue, &f->options.schedule, 0);
    fx_step(f);
    assert_int_equal(fx_steer(f, QUEUE_CANCEL, id, NULL).result, QUEUE_OK);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM recipient"), 0);
}

static void an_act_that_does_not_fit_is_a_conflict_and_changes_nothing(void **state)
{
    enum { QUEUED, LEASED, HELD, DELIVERED };
    static const struct {
        int which;
        enum queue_act act;
    } rows[] = {
        { QUEUED, QUEUE_RELEASE },   { QUEUED, QUEUE_RETRY },    { LEASED, QUEUE_HOLD },
        { LEASED, QUEUE_CANCEL },    { LEASED, QUEUE_RELEASE },  { HELD, QUEUE_HOLD },
        { HELD, QUEUE_RETRY },       { DELIVERED, QUEUE_HOLD },  { DELIVERED, QUEUE_RELEASE },
        { DELIVERED, QUEUE_CANCEL }, { DELIVERED, QUEUE_RETRY },
    };
    struct fixture *f = *state;
    int64_t ids[4];

    ids[DELIVERED] = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    ids[LEASED] = fx_submit(f, "r@dest.example");
    struct queue_message *leased = fx_lease(f);
    ids[HELD] = fx_submit(f, "r@dest.example");
    assert_int_equal(fx_steer(f, QUEUE_HOLD, ids[HELD], NULL).result, QUEUE_OK);
    ids[QUEUED] = fx_submit(f, "r@dest.example");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct got got = fx_steer(f, rows[i].act, ids[rows[i].which], NULL);
        if (got.result != QUEUE_CONFLICT || got.changed != 0)
            fail_msg("row %zu: result %d", i, (int)got.result);
    }
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event"), 1);
    assert_int_equal(fx_steer(f, QUEUE_HOLD, ident_next(), NULL).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_steer(f, QUEUE_HOLD, 1, NULL).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_steer(f, QUEUE_HOLD, INT64_MAX, NULL).result, QUEUE_NOT_FOUND);
    fx_settle_all(f, leased, QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_steer(f, QUEUE_HOLD, ids[LEASED], NULL).result, QUEUE_OK);
}

static void a_message_of_another_account_is_not_found(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    for (int act = 0; act < QUEUE_ACT_COUNT; act++)
        assert_int_equal(
            fx_steer(f, (enum queue_act)act, id, &(struct queue_filter){ .account = "x" }).result,
            QUEUE_NOT_FOUND);
    assert_int_equal(
        fx_steer(f, QUEUE_HOLD, id, &(struct queue_filter){ .account = "acme" }).result, QUEUE_OK);
}

static void many_are_steered_in_steps_and_counted(void **state)
{
    struct fixture *f = *state;
    struct queue_filter filter = { .recipient = "r@dest.example" };
    int64_t other = fx_submit(f, "other@dest.example");

    for (int i = 0; i < 250; i++)
        fx_submit(f, "r@dest.example");
    fx_submit(f, "r@dest.example");
    struct got leased;
    fx_lease_some(f, 3, 1 << 20, &leased); /* the oldest: `other` and two more */
    assert_int_equal(leased.count, 3);
    struct got got = fx_steer(f, QUEUE_HOLD, 0, &filter);
    assert_int_equal(got.result, QUEUE_OK);
    assert_int_equal(got.changed, 249);
    assert_int_equal(got.busy, 2);
    assert_int_equal(fx_stats(f).messages[QUEUE_HELD], 249);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event WHERE what = 'hold'"), 249);
    assert_int_equal(fx_steer(f, QUEUE_HOLD, 0, NULL).changed, 0);
    for (size_t i = 0; i < leased.count; i++)
        fx_settle_all(f, leased.messages[i], QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, 0, NULL).changed, 249);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 249);
    assert_int_equal(fx_steer(f, QUEUE_CANCEL, 0, &filter).changed, 251);
    assert_int_equal(fx_show(f, other).state, QUEUE_DEFERRED);
    filter.recipient = NULL;
    filter.upstream = "main";
    got = fx_steer(f, QUEUE_RETRY, 0, &filter);
    assert_int_equal(got.changed, 1);
}

/* One recipient of a message may be held while another waits. */
static void many_are_released_though_another_recipient_waits(void **state)
{
    struct fixture *f = *state;
    int64_t id = submit_mixed(f);

    fx_submit(f, "r@dest.example");
    fx_execute(f, "UPDATE recipient SET state = 4, due_ms = NULL WHERE position = 3");
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED);
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, 0, NULL).changed, 1);
    assert_int_equal(fx_show(f, id).states[3], QUEUE_DEFERRED);
}

static void on_due(void *owner)
{
    ++*(int *)owner;
}

static void whoever_waits_for_mail_is_rung_when_some_is_released(void **state)
{
    struct fixture *f = *state;
    int rings = 0;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_steer(f, QUEUE_HOLD, id, NULL);
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    assert_true(nothing_is_due(f));
    assert_int_equal(rings, 0);
    fx_steer(f, QUEUE_RELEASE, 0, NULL);
    assert_int_equal(rings, 1);
    queue_unwatch(f->queue, &rings);
    fx_step(f);
}

static void many_cut_short_by_the_end_say_that_they_failed(void **state)
{
    struct fixture *f = *state;
    struct got got = { 0 };

    for (int i = 0; i < 150; i++)
        fx_submit(f, "r@dest.example");
    queue_steer(f->queue, &(struct queue_steering){ .act = QUEUE_HOLD, .by = "operator" },
                fx_on_steered, &got, &f->desk.box);
    queue_stop(f->queue);
    mailbox_drain(&f->desk.box);
    assert_int_equal(got.calls, 1);
    assert_int_equal(got.result, QUEUE_FAILED);
    assert_int_equal(got.changed, 100);
}

static void fresh_mail_that_is_handed_out_at_once_is_left_alone(void **state)
{
    static const enum queue_act acts[] = { QUEUE_HOLD, QUEUE_CANCEL };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct got fresh = { 0 };

        fx_ask_submit(f, fx_small("r@dest.example"), true, &fresh);
        struct got got = fx_steer(f, acts[i], 0, NULL); /* both wait when the writer looks */
        assert_non_null(fresh.message);
        assert_int_equal(got.changed, 0);
        assert_int_equal(got.busy, 1);
        fx_settle_all(f, fresh.message, QUEUE_SENT, 250, "ok");
        assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], i + 1);
    }
}

static void a_retry_of_all_reaches_those_who_are_later_than_others(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("a@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("b@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    fx_execute(f, "UPDATE recipient SET due_ms = due_ms + 3600000 WHERE position = 1");
    fx_advance(3600000); /* the first is due, the second is not */
    struct got got = fx_steer(f, QUEUE_RETRY, 0, NULL);
    assert_int_equal(got.changed, 1);
    assert_int_equal(fx_show(f, id).event_count, 3); /* two attempts, one retry */
    got = fx_steer(f, QUEUE_RETRY, 0, NULL);
    assert_int_equal(got.changed, 0);
    assert_int_equal(fx_show(f, id).event_count, 3);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 2);
    got = fx_steer(f, QUEUE_RETRY, 0, NULL);
    assert_int_equal(got.changed + got.busy, 0);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

/* One of two is on its way, or was when the process ended. */
static void a_retry_of_all_reaches_the_others_of_one_that_is_under_way(void **state)
{
    struct fixture *f = *state;

    for (int crashed = 0; crashed < 2; crashed++) {
        struct queue_message *message = fx_small("a@dest.example");
        int64_t id = message->id;
        queue_message_add(message, SLICE("b@dest.example"));
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
        fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
        fx_execute(f, "UPDATE recipient SET due_ms = due_ms + 36000000"
                      " WHERE position = 1 AND due_ms IS NOT NULL");
        fx_advance(3600000);
        message = fx_lease(f);
        assert_int_equal(message->recipient_count, 1);
        if (crashed) {
            queue_message_free(message);
            fx_reopen(f);
        }
        struct got got = fx_steer(f, QUEUE_RETRY, 0, NULL);
        assert_int_equal(got.changed, 1);
        assert_int_equal(got.busy, 0);
        assert_int_equal(fx_steer(f, QUEUE_RETRY, 0, NULL).changed, 0);
        if (!crashed)
            fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
        message = fx_lease(f);
        assert_int_equal(message->id, id);
        assert_int_equal(message->recipient_count, 1 + crashed);
        assert_int_equal(message->recipients[crashed].position, 1);
        fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
        assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
        assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], 1 + crashed);
    }
}

static enum queue_result steer_as(struct fixture *f, bool by_key, enum queue_act act, int64_t id)
{
    struct queue_steering steering = {
        .act = act, .id = id, .by = by_key ? "7Fq2mZ81" : "operator", .by_key = by_key
    };
    struct got got = { 0 };

    queue_steer(f->queue, &steering, fx_on_steered, &got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    return got.result;
}

static void what_the_operator_holds_no_key_lets_go(void **state)
{
    static const struct {
        bool by_key;
        enum queue_act act;
        enum queue_result want;
    } rows[] = {
        { true, QUEUE_HOLD, QUEUE_OK },         { true, QUEUE_RELEASE, QUEUE_OK },
        { true, QUEUE_HOLD, QUEUE_OK },         { true, QUEUE_HOLD, QUEUE_CONFLICT },
        { false, QUEUE_HOLD, QUEUE_OK }, /* it takes over */
        { false, QUEUE_HOLD, QUEUE_CONFLICT },  { true, QUEUE_HOLD, QUEUE_CONFLICT },
        { true, QUEUE_RELEASE, QUEUE_REFUSED }, { true, QUEUE_CANCEL, QUEUE_REFUSED },
        { false, QUEUE_RELEASE, QUEUE_OK },     { true, QUEUE_RELEASE, QUEUE_CONFLICT },
        { true, QUEUE_HOLD, QUEUE_OK },         { true, QUEUE_RELEASE, QUEUE_OK },
        { false, QUEUE_HOLD, QUEUE_OK },        { true, QUEUE_RELEASE, QUEUE_REFUSED },
        { false, QUEUE_CANCEL, QUEUE_OK },
    };
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum queue_result result = steer_as(f, rows[i].by_key, rows[i].act, id);
        if (result != rows[i].want)
            fail_msg("row %zu: %d, not %d", i, (int)result, (int)rows[i].want);
        fx_reopen(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(what_is_held_is_never_due_until_it_is_released),
        QUEUE_TEST(a_release_gives_each_recipient_its_place_back),
        QUEUE_TEST(the_time_on_hold_does_not_count_against_a_message),
        QUEUE_TEST(a_cancelled_message_has_ended_and_its_content_is_gone),
        QUEUE_TEST(what_was_delivered_or_failed_before_a_cancel_stays_so),
        QUEUE_TEST(a_cancelled_message_leaves_no_record_where_none_is_kept),
        QUEUE_TEST(an_act_that_does_not_fit_is_a_conflict_and_changes_nothing),
        QUEUE_TEST(a_message_of_another_account_is_not_found),
        QUEUE_TEST(many_are_steered_in_steps_and_counted),
        QUEUE_TEST(many_are_released_though_another_recipient_waits),
        QUEUE_TEST(whoever_waits_for_mail_is_rung_when_some_is_released),
        QUEUE_TEST(many_cut_short_by_the_end_say_that_they_failed),
        QUEUE_TEST(fresh_mail_that_is_handed_out_at_once_is_left_alone),
        QUEUE_TEST(a_retry_of_all_reaches_those_who_are_later_than_others),
        QUEUE_TEST(a_retry_of_all_reaches_the_others_of_one_that_is_under_way),
        QUEUE_TEST(what_the_operator_holds_no_key_lets_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
