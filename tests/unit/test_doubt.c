#include "tests/support/trouble.h"

/* What a process that was killed leaves: whatever it had leased is forgotten. */
static void crash(struct fixture *f, struct queue_message *leased)
{
    queue_message_free(leased);
    fx_reopen(f);
}

static struct queue_message *submit_leased(struct fixture *f, struct queue_message *message)
{
    struct got got;

    fx_ask_submit(f, message, true, &got);
    fx_step(f);
    assert_int_equal(got.result, QUEUE_OK);
    assert_non_null(got.message);
    return got.message;
}

static int64_t open_attempts(struct fixture *f)
{
    return fx_number(f, "SELECT count(*) FROM message WHERE flags & 4");
}

static void hold_what_is_uncertain(struct fixture *f)
{
    f->options.schedule.hold_uncertain = true;
    queue_set_schedule(f->queue, &f->options.schedule, f->options.retention_ms);
    fx_step(f);
}

/* --- what is on disk, and when ---------------------------------------------------------------- */

static void a_message_leased_at_its_insert_is_born_with_its_attempt(void **state)
{
    struct fixture *f = *state;
    unsigned syncs = disk.log_syncs;
    struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));

    assert_int_equal(disk.log_syncs, syncs + 1); /* that of the acceptance, and no other */
    assert_int_equal(open_attempts(f), 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(disk.log_syncs, syncs + 2);
    assert_int_equal(open_attempts(f), 0);
}

static void a_lease_is_answered_after_its_mark_was_synced(void **state)
{
    struct fixture *f = *state;
    struct got got = { 0 };

    fx_submit(f, "a@dest.example");
    fx_submit(f, "b@dest.example");
    unsigned syncs = disk.log_syncs;
    queue_lease(f->queue, 64, 1 << 20, fx_now_ms(), fx_on_lease, &got, &f->desk.box);
    queue_step(f->queue);
    assert_int_equal(disk.log_syncs, syncs + 1);
    assert_int_equal(disk_unsynced_log_writes(), 0);
    mailbox_drain(&f->desk.box);
    assert_int_equal(got.count, 2);
    assert_int_equal(open_attempts(f), 2);
    for (size_t i = 0; i < got.count; i++)
        fx_settle_all(f, got.messages[i], QUEUE_SENT, 250, "ok");
}

static void a_lease_of_nothing_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_step(f); /* whatever is to be done at first */
    unsigned syncs = disk.log_syncs;
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(disk.log_syncs, syncs);
}

static void marking_a_large_message_does_not_write_its_content_again(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    char *text = xcalloc(1, QUEUE_INLINE_MAX);

    desk_write(message, slice_make(text, QUEUE_INLINE_MAX));
    free(text);
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_reopen(f);
    int pages = store_log_pages(f->queue->store);
    message = fx_lease(f);
    assert_in_range(store_log_pages(f->queue->store) - pages, 1, 4);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void every_outcome_ends_the_attempt(void **state)
{
    static const enum queue_fate fates[] = { QUEUE_UNTRIED, QUEUE_SENT, QUEUE_LATER, QUEUE_NEVER,
                                             QUEUE_DOUBTFUL };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
        int64_t id = fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), fates[i], 450, "words");
        if (open_attempts(f) != 0)
            fail_msg("fate %d: the attempt is still open", (int)fates[i]);
        enum queue_state before = fx_show(f, id).state;
        fx_reopen(f);
        if (fx_show(f, id).state != before)
            fail_msg("fate %d: another state after a restart", (int)fates[i]);
        fx_execute(f, "UPDATE message SET due_ms = NULL"); /* out of the way of the next row */
    }
}

/* --- after a crash ---------------------------------------------------------------------------- */

static void what_was_on_its_way_is_uncertain_and_sent_again(void **state)
{
    static const bool fresh[] = { true, false };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(fresh); i++) {
        struct queue_message *message = fx_small("r@dest.example");
        int64_t id = message->id;
        if (fresh[i]) {
            message = submit_leased(f, message);
        } else {
            assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
            message = fx_lease(f);
        }
        crash(f, message);
        struct shown shown = fx_show(f, id); /* seen before anyone leases it */
        assert_int_equal(shown.state, QUEUE_UNCERTAIN);
        message = fx_lease(f);
        assert_int_equal(message->id, id);
        assert_int_equal(message->recipients[0].state, QUEUE_UNCERTAIN);
        assert_int_equal(message->recipients[0].attempts, 1);
        shown = fx_show(f, id);
        assert_int_equal(shown.state, QUEUE_DELIVERING);
        assert_int_equal(shown.event_count, 1);
        assert_string_equal(shown.event[0], "uncertain");
        struct queue_stats stats = fx_stats(f);
        assert_int_equal(stats.messages[QUEUE_DELIVERING], 1);
        assert_int_equal(stats.messages[QUEUE_UNCERTAIN], 0);
        fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
        shown = fx_show(f, id);
        assert_int_equal(shown.state, QUEUE_DELIVERED);
        assert_int_equal(shown.attempts, 2);
        assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], i + 1);
        assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 0);
    }
}

static void a_second_crash_is_a_second_doubt(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    crash(f, fx_lease(f));
    crash(f, fx_lease(f));
    fx_advance(1); /* a line of history is known by its time */
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 2);
    assert_int_equal(fx_show(f, id).event_count, 2);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void what_was_not_on_its_way_is_not_uncertain(void **state)
{
    struct fixture *f = *state;
    int64_t queued = fx_submit(f, "r@dest.example");

    fx_reopen(f);
    assert_int_equal(fx_show(f, queued).state, QUEUE_QUEUED);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 0);
    fx_settle_all(f, message, QUEUE_LATER, 450, "busy");
    fx_reopen(f);
    assert_int_equal(fx_show(f, queued).state, QUEUE_DEFERRED);
    assert_int_equal(fx_show(f, queued).event_count, 1);
}

/* Rows that a version wrote which knew no attempts: their flags are 0. */
static void what_an_older_version_left_is_no_attempt(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");

    fx_execute(f, "UPDATE message SET flags = 0");
    fx_reopen(f);
    assert_int_equal(fx_show(f, id).state, QUEUE_QUEUED);
    crash(f, fx_lease(f));
    assert_int_equal(fx_show(f, id).state, QUEUE_UNCERTAIN);
}

static void only_recipients_that_were_due_are_uncertain(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("r2@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    fx_advance(120000);
    crash(f, fx_lease(f));
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.states[0], QUEUE_DELIVERED);
    assert_int_equal(shown.states[1], QUEUE_UNCERTAIN);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
}

/* --- held instead ----------------------------------------------------------------------------- */

static void after_a_crash_the_setting_holds_what_is_uncertain(void **state)
{
    struct fixture *f = *state;
    struct got got;
    int64_t id = fx_submit(f, "r@dest.example");

    f->options.schedule.hold_uncertain = true;
    crash(f, fx_lease(f));
    int64_t sound = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f); /* one of two that are due: the other is held */
    assert_int_equal(message->id, sound);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_HELD);
    assert_int_equal(shown.states[0], QUEUE_HELD);
    assert_int_equal(shown.attempts, 1);
    assert_int_equal(shown.due_ms, 0);
    assert_string_equal(shown.event[0], "uncertain");
    assert_string_equal(shown.event[1], "hold");
    assert_int_equal(fx_stats(f).messages[QUEUE_HELD], 1);
    assert_int_equal(open_attempts(f), 0);
    fx_reopen(f);
    fx_advance(10 * 86400000LL);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(fx_show(f, id).state, QUEUE_HELD);
}

static void who_is_due_later_is_sent_though_another_is_held(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("now@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("later@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_UNTRIED, 0, "", SLICE(""));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    fx_advance(5000); /* the first is due again, the second in a minute */
    f->options.schedule.hold_uncertain = true;
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    crash(f, message);
    struct got got;
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(fx_show(f, id).states[0], QUEUE_HELD);
    fx_advance(120000);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    assert_string_equal(message->recipients[0].address, "later@dest.example");
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void the_setting_holds_what_became_uncertain_in_a_living_process(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;
    struct got got;

    hold_what_is_uncertain(f);
    queue_message_add(message, SLICE("r2@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_DOUBTFUL, 0, "", SLICE("ended"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_DEFERRED);
    assert_int_equal(shown.states[0], QUEUE_HELD);
    assert_int_equal(shown.due[0], 0);
    assert_string_equal(shown.text[0], "ended");
    assert_string_equal(shown.event[1], "hold");
    fx_advance(120000);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_HELD);
    assert_int_equal(shown.due_ms, 0);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
}

/* --- a store that fails ----------------------------------------------------------------------- */

/* The commit of the marks failed, and they are in the log all the same. */
static void a_mark_that_could_not_be_synced_makes_no_doubt(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct got got;

    disk.failing_syncs = 2;
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERING], 0);
    fx_advance(1000);
    fx_step(f);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 0);
    assert_int_equal(fx_show(f, id).event_count, 0);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

/* The commit of the note failed. It is in the log all the same when only the sync did; and it is
 * not when the first of its writes did. */
static void an_interruption_is_noted_once_when_its_commit_failed(void **state)
{
    static const bool is_in_log[] = { true, false };
    struct fixture *f = *state;
    struct got got;

    for (size_t i = 0; i < ARRAY_LEN(is_in_log); i++) {
        int64_t id = fx_submit(f, "r@dest.example");
        crash(f, fx_lease(f));
        if (is_in_log[i])
            disk.failing_syncs = 2;
        else
            fx_execute(f, "CREATE TRIGGER no BEFORE UPDATE ON recipient"
                          " BEGIN SELECT raise(ABORT, 'no'); END");
        fx_lease_some(f, 64, 1 << 20, &got);
        assert_int_equal(got.count, 0);
        fx_advance(1000);
        fx_step(f);
        if (!is_in_log[i]) {
            fx_execute(f, "DROP TRIGGER no");
            fx_advance(600000);
        }
        struct queue_message *message = fx_lease(f);
        if (message->recipients[0].attempts != 1 || fx_show(f, id).event_count != 1)
            fail_msg("row %zu: %u attempts, %zu lines of history", i,
                     message->recipients[0].attempts, fx_show(f, id).event_count);
        fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    }
}

static int64_t lines_of(struct fixture *f, const char *what)
{
    char sql[96];

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM event WHERE what = '%s'", what);
    return fx_number(f, sql);
}

static void forget_all(struct fixture *f)
{
    fx_execute(f, "DELETE FROM message; DELETE FROM recipient; DELETE FROM event;"
                  "DELETE FROM tally");
    fx_reopen(f);
}

/* To two recipients. again: for the second time; the first one is noted. */
static void interrupt(struct fixture *f, bool again)
{
    struct queue_message *message = fx_small("r1@dest.example");

    f->options.schedule.hold_uncertain = false;
    queue_message_add(message, SLICE("r2@dest.example"));
    crash(f, submit_leased(f, message));
    if (again)
        crash(f, fx_lease(f));
    fx_advance(1000);
}

static void check_noticed(struct fixture *f, const struct trouble *trouble, int times, bool held,
                          size_t leased)
{
    int64_t tries = fx_number(f, "SELECT min(attempts) * 10 + max(attempts) FROM recipient");

    trouble_check_books(f, trouble);
    if (leased != !held || tries != times * 11 || lines_of(f, "uncertain") != times ||
        lines_of(f, "hold") != held || open_attempts(f) != !held)
        fail_msg("%s: %zu leased, attempts %02lld, %lld and %lld lines, %lld open", trouble->name,
                 leased, (long long)tries, (long long)lines_of(f, "uncertain"),
                 (long long)lines_of(f, "hold"), (long long)open_attempts(f));
}

static void whatever_fails_an_interruption_is_noticed_once(void **state)
{
    static const struct {
        bool again, hold;
    } rows[] = { { false, false }, { false, true }, { true, false }, { true, true } };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (EACH_TROUBLE(trouble)) {
            struct got got;
            interrupt(f, rows[i].again);
            if (rows[i].hold)
                hold_what_is_uncertain(f);
            trouble_begin(f, &trouble);
            fx_lease_some(f, 64, 1 << 20, &got);
            trouble_end(f, &trouble);
            if (got.count == 0) {
                fx_advance(600000); /* what could not be read was set aside */
                fx_step(f);
                fx_lease_some(f, 64, 1 << 20, &got);
            }
            check_noticed(f, &trouble, rows[i].again ? 2 : 1, rows[i].hold, got.count);
            if (got.count > 0)
                fx_settle_all(f, got.messages[0], QUEUE_SENT, 250, "ok");
            forget_all(f);
        }
}

/* --- an operator comes first ------------------------------------------------------------------ */

static void an_operators_act_notices_the_interruption_and_decides(void **state)
{
    static const struct {
        enum queue_act act;
        enum queue_state want;
        bool due;
        const char *event;
    } rows[] = {
        { QUEUE_RETRY, QUEUE_UNCERTAIN, true, "retry" },
        { QUEUE_HOLD, QUEUE_HELD, false, "hold" },
        { QUEUE_CANCEL, QUEUE_CANCELLED, false, "cancel" },
    };
    struct fixture *f = *state;

    hold_what_is_uncertain(f); /* the operator may decide otherwise */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));
        int64_t id = message->id;
        crash(f, message);
        assert_int_equal(fx_show(f, id).state, QUEUE_UNCERTAIN);
        assert_int_equal(fx_steer(f, rows[i].act, id, NULL).result, QUEUE_OK);
        assert_int_equal(open_attempts(f), 0);
        struct shown shown = fx_show(f, id);
        if (shown.state != rows[i].want || shown.attempts != 1 || shown.event_count != 2 ||
            strcmp(shown.event[0], "uncertain") != 0 || strcmp(shown.event[1], rows[i].event) != 0)
            fail_msg("act %d: state %d, %u attempts, %s, %s", (int)rows[i].act, (int)shown.state,
                     shown.attempts, shown.event[0], shown.event[1]);
        struct got got;
        fx_lease_some(f, 64, 1 << 20, &got);
        assert_int_equal(got.count, rows[i].due);
        if (rows[i].due)
            fx_settle_all(f, got.messages[0], QUEUE_SENT, 250, "ok");
        else
            fx_steer(f, QUEUE_CANCEL, id, NULL);
    }
}

static void what_was_held_after_an_interruption_and_released_is_not_held_again(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));
    int64_t id = message->id;

    hold_what_is_uncertain(f);
    crash(f, message);
    fx_steer(f, QUEUE_HOLD, id, NULL);
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, id, NULL).result, QUEUE_OK);
    message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 1);
    assert_int_equal(fx_show(f, id).event_count, 3); /* uncertain, hold, release */
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
}

/* The queue's clock went on from a moment before the lease. */
static void what_was_under_way_is_noted_by_the_hold_though_it_is_not_due_yet(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));
    int64_t id = message->id;

    hold_what_is_uncertain(f);
    crash(f, message);
    fx_execute(f, "UPDATE message SET due_ms = due_ms + 50000;"
                  "UPDATE recipient SET due_ms = due_ms + 50000");
    assert_int_equal(fx_steer(f, QUEUE_HOLD, id, NULL).result, QUEUE_OK);
    assert_int_equal(open_attempts(f), 0);
    assert_int_equal(fx_show(f, id).event_count, 2); /* uncertain, hold */
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, id, NULL).result, QUEUE_OK);
    message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void an_act_that_changes_nothing_notices_the_interruption_all_the_same(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));
    int64_t id = message->id;

    crash(f, message);
    assert_int_equal(fx_steer(f, QUEUE_RELEASE, id, NULL).result, QUEUE_CONFLICT);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_UNCERTAIN);
    assert_int_equal(fx_number(f, "SELECT state FROM message"), QUEUE_UNCERTAIN);
    assert_int_equal(fx_stats(f).messages[QUEUE_UNCERTAIN], 1);
    assert_int_equal(shown.event_count, 1);
    message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void only_who_was_under_way_was_interrupted(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("a@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("b@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_LATER, 450, "", SLICE("busy"));
    queue_recipient_say(&message->recipients[1], QUEUE_UNTRIED, 0, "", SLICE(""));
    fx_settle(f, message);
    fx_advance(1000);
    crash(f, fx_lease(f)); /* it has b alone */
    assert_int_equal(fx_steer(f, QUEUE_HOLD, id, NULL).result, QUEUE_OK);
    struct shown shown = fx_show(f, id);
    assert_string_equal(shown.text[0], "busy");
    assert_non_null(strstr(shown.text[1], "may have arrived"));
}

/* It was tried before: an upstream said "later", or another attempt was interrupted. */
static void an_operator_meets_a_second_attempt_as_well(void **state)
{
    static const bool deferred[] = { true, false };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(deferred); i++) {
        int64_t id = fx_submit(f, "r@dest.example");
        if (deferred[i]) {
            fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
            fx_advance(120000);
        } else {
            crash(f, fx_lease(f));
        }
        crash(f, fx_lease(f));
        assert_int_equal(fx_show(f, id).state, QUEUE_UNCERTAIN);
        fx_advance(1); /* a line of history is known by its time */
        assert_int_equal(fx_steer(f, QUEUE_CANCEL, id, NULL).result, QUEUE_OK);
        struct shown shown = fx_show(f, id);
        assert_int_equal(shown.attempts, 2);
        assert_int_equal(shown.event_count, 3);
        assert_int_equal(open_attempts(f), 0);
    }
}

static void whatever_fails_an_operators_act_is_done_with_its_doubt_or_not_at_all(void **state)
{
    struct fixture *f = *state;

    for (EACH_TROUBLE(trouble)) {
        struct queue_message *message = submit_leased(f, fx_small("r@dest.example"));
        int64_t id = message->id;
        crash(f, message);
        trouble_begin(f, &trouble);
        enum queue_result result = fx_steer(f, QUEUE_HOLD, id, NULL).result;
        trouble_end(f, &trouble);
        trouble_check_books(f, &trouble);
        bool is_held = fx_show(f, id).state == QUEUE_HELD;
        if (is_held != (lines_of(f, "hold") == 1) || is_held != (lines_of(f, "uncertain") == 1) ||
            is_held != (open_attempts(f) == 0) || (result == QUEUE_OK && !is_held) ||
            (!trouble.was_met && result != QUEUE_OK))
            fail_msg("%s: answered with %d, held %d, %lld and %lld lines, %lld open", trouble.name,
                     (int)result, is_held, (long long)lines_of(f, "hold"),
                     (long long)lines_of(f, "uncertain"), (long long)open_attempts(f));
        forget_all(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(a_message_leased_at_its_insert_is_born_with_its_attempt),
        DISK_TEST(a_lease_is_answered_after_its_mark_was_synced),
        DISK_TEST(a_lease_of_nothing_writes_nothing),
        QUEUE_TEST(marking_a_large_message_does_not_write_its_content_again),
        QUEUE_TEST(every_outcome_ends_the_attempt),
        QUEUE_TEST(what_was_on_its_way_is_uncertain_and_sent_again),
        QUEUE_TEST(a_second_crash_is_a_second_doubt),
        QUEUE_TEST(what_was_not_on_its_way_is_not_uncertain),
        QUEUE_TEST(what_an_older_version_left_is_no_attempt),
        QUEUE_TEST(only_recipients_that_were_due_are_uncertain),
        QUEUE_TEST(after_a_crash_the_setting_holds_what_is_uncertain),
        QUEUE_TEST(who_is_due_later_is_sent_though_another_is_held),
        QUEUE_TEST(the_setting_holds_what_became_uncertain_in_a_living_process),
        DISK_TEST(a_mark_that_could_not_be_synced_makes_no_doubt),
        DISK_TEST(an_interruption_is_noted_once_when_its_commit_failed),
        DISK_TEST(what_was_under_way_is_noted_by_the_hold_though_it_is_not_due_yet),
        DISK_TEST(whatever_fails_an_interruption_is_noticed_once),
        DISK_TEST(an_operators_act_notices_the_interruption_and_decides),
        DISK_TEST(what_was_held_after_an_interruption_and_released_is_not_held_again),
        DISK_TEST(an_act_that_changes_nothing_notices_the_interruption_all_the_same),
        DISK_TEST(only_who_was_under_way_was_interrupted),
        QUEUE_TEST(an_operator_meets_a_second_attempt_as_well),
        DISK_TEST(whatever_fails_an_operators_act_is_done_with_its_doubt_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
