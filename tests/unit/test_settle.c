#include "tests/support/queue_fixture.h"

#define MINUTE 60000

static void advance_to_due(struct fixture *f)
{
    struct got got;

    fx_lease_some(f, 1, 1, &got);
    assert_int_equal(got.count, 0);
    fx_now_us = got.next_due_ms * 1000;
}

static void each_fate_becomes_a_state(void **state)
{
    static const struct {
        enum queue_fate fate;
        enum queue_state want;
        unsigned attempts;
        size_t events;
        bool waits, content;
    } rows[] = {
        { QUEUE_SENT, QUEUE_DELIVERED, 1, 0, false, false },
        { QUEUE_LATER, QUEUE_DEFERRED, 1, 1, true, true },
        { QUEUE_NEVER, QUEUE_FAILED_FOR_GOOD, 1, 1, false, true },
        { QUEUE_DOUBTFUL, QUEUE_UNCERTAIN, 1, 1, true, true },
        { QUEUE_UNTRIED, QUEUE_QUEUED, 0, 0, true, true },
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t id = fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), rows[i].fate, 450, "words");
        struct shown shown = fx_show(f, id);
        char *sql =
            xasprintf("SELECT content IS NOT NULL FROM message WHERE id = %lld", (long long)id);
        bool content = fx_number(f, sql) != 0;
        free(sql);
        if (shown.state != rows[i].want || shown.states[0] != rows[i].want ||
            shown.attempts != rows[i].attempts || shown.event_count != rows[i].events ||
            (shown.due_ms != 0) != rows[i].waits || (shown.due[0] != 0) != rows[i].waits ||
            content != rows[i].content)
            fail_msg("fate %d: state %d, attempts %u, events %zu, due %lld, content %d",
                     (int)rows[i].fate, (int)shown.state, shown.attempts, shown.event_count,
                     (long long)shown.due_ms, content);
        if (rows[i].fate != QUEUE_UNTRIED &&
            (strcmp(shown.text[0], "words") != 0 || strcmp(shown.upstream[0], "main") != 0))
            fail_msg("fate %d: said %s by %s", (int)rows[i].fate, shown.text[0], shown.upstream[0]);
        fx_execute(f, "UPDATE message SET due_ms = NULL"); /* out of the way of the next row */
    }
}

static void without_retention_a_message_that_ended_is_gone(void **state)
{
    static const enum queue_fate fates[] = { QUEUE_SENT, QUEUE_NEVER };
    struct fixture *f = *state;

    queue_set_schedule(f->queue, &f->options.schedule, 0);
    for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
        int64_t id = fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy"); /* leaves an event */
        advance_to_due(f);
        fx_settle_all(f, fx_lease(f), fates[i], 250, "ok");
        assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
        assert_int_equal(fx_number(f, "SELECT (SELECT count(*) FROM message) +"
                                      " (SELECT count(*) FROM recipient) +"
                                      " (SELECT count(*) FROM event)"),
                         0);
    }
    struct queue_stats stats = fx_stats(f);
    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++)
        assert_int_equal(stats.messages[i], 0);
}

/* F-14: 250, 450 and 550 for three recipients. */
static void mixed_results_retry_only_what_was_deferred(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("r2@dest.example"));
    queue_message_add(message, SLICE("r3@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "2.1.5", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "4.2.1", SLICE("busy"));
    queue_recipient_say(&message->recipients[2], QUEUE_NEVER, 550, "5.1.1", SLICE("who?"));
    fx_settle(f, message);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_DEFERRED);
    assert_int_equal(shown.states[0], QUEUE_DELIVERED);
    assert_int_equal(shown.states[1], QUEUE_DEFERRED);
    assert_int_equal(shown.states[2], QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.event_count, 2);
    advance_to_due(f);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    assert_string_equal(message->recipients[0].address, "r2@dest.example");
    assert_int_equal(message->recipients[0].position, 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_FAILED_FOR_GOOD); /* r3 did not get it, and that is told */
    assert_int_equal(shown.states[1], QUEUE_DELIVERED);
    assert_int_equal(shown.due_ms, 0);
}

static void mixed_results_without_retention_end_together(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;

    queue_set_schedule(f->queue, &f->options.schedule, 0);
    queue_message_add(message, SLICE("r2@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    assert_int_equal(fx_show(f, id).states[0], QUEUE_DELIVERED);
    advance_to_due(f);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM recipient"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event"), 0);
}

static void recipients_that_failed_together_are_tried_together(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r1@dest.example");

    queue_message_add(message, SLICE("r2@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    advance_to_due(f);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 2);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_message_that_is_too_old_fails_with_the_last_words(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    fx_advance(4 * 1440LL * MINUTE);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "still busy");
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.attempts, 2);
    assert_string_equal(shown.text[0], "gave up after 4d: still busy");
    assert_string_equal(shown.event_text[1], "gave up after 4d: still busy");
}

static void an_uncertain_one_gives_up_too_and_without_words(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_advance(5 * 1440LL * MINUTE);
    fx_settle_all(f, fx_lease(f), QUEUE_DOUBTFUL, 0, "");
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_FAILED_FOR_GOOD);
    assert_string_equal(shown.text[0], "gave up after 5d: no answer");
}

static void an_untried_message_does_not_spin(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_UNTRIED, 0, "");
    fx_lease_some(f, 1, 1, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(got.next_due_ms, FX_START_MS + 1000);
    fx_advance(1000);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 0);
    assert_int_equal(message->recipients[0].state, QUEUE_QUEUED);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_new_schedule_holds_from_then_on(void **state)
{
    struct fixture *f = *state;
    struct queue_schedule hourly = { .retry_ms = { 60 * MINUTE },
                                     .retry_count = 1,
                                     .max_age_ms = 1440LL * MINUTE };

    queue_set_schedule(f->queue, &hourly, 1000);
    int64_t id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_in_range(fx_show(f, id).due_ms, FX_START_MS + 48 * MINUTE, FX_START_MS + 72 * MINUTE);
}

static void a_settlement_nobody_waits_for_is_written_too(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);

    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_settle(f->queue, &message, NULL, NULL, NULL, NULL);
    fx_step(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(each_fate_becomes_a_state),
        QUEUE_TEST(without_retention_a_message_that_ended_is_gone),
        QUEUE_TEST(mixed_results_retry_only_what_was_deferred),
        QUEUE_TEST(mixed_results_without_retention_end_together),
        QUEUE_TEST(recipients_that_failed_together_are_tried_together),
        QUEUE_TEST(a_message_that_is_too_old_fails_with_the_last_words),
        QUEUE_TEST(an_uncertain_one_gives_up_too_and_without_words),
        QUEUE_TEST(an_untried_message_does_not_spin),
        QUEUE_TEST(a_new_schedule_holds_from_then_on),
        QUEUE_TEST(a_settlement_nobody_waits_for_is_written_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
