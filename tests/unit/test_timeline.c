/* test_timeline.c - the wall clock is set, the machine sleeps or starts again, and nobody is there
 * for a while: what is due, and how old is it? */
#include "tests/support/queue_fixture.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* The machine: fx_now_us counts since it started, and this is what else can happen to it. */
static struct {
    int64_t wall_lead_us, asleep_us;
    const char *start;
    int reports;
} machine;

static int64_t machine_wall_us(void)
{
    return fx_now_us + machine.wall_lead_us;
}

static int64_t machine_mono_us(void)
{
    return fx_now_us - machine.asleep_us;
}

static void set_wall_clock(int64_t ms)
{
    machine.wall_lead_us += ms * 1000;
}

static void sleep_for(int64_t ms)
{
    machine.asleep_us += ms * 1000;
    fx_advance(ms);
}

static void begin_start(const char *name)
{
    machine.start = name;
    clock_replace_boot(fx_clock, name);
}

static bool count_report(void *owner, const struct queue_report *report, struct buf *content)
{
    (void)owner;
    (void)report;
    (void)content;
    machine.reports++;
    return false;
}

static int setup(void **state)
{
    static const struct clock_source source = { machine_wall_us, machine_mono_us };
    int result = fx_setup(state);
    struct fixture *f = *state;

    memset(&machine, 0, sizeof(machine));
    clock_replace(&source);
    begin_start("one");
    fx_close(f);
    f->options.schedule.notice_ms = 4 * HOUR;
    f->options.report = count_report;
    fx_open(f);
    return result;
}

#define MACHINE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

static struct got ask(struct fixture *f)
{
    struct got got = { 0 };

    queue_lease(f->queue, 64, 1 << 20, queue_now_ms(f->queue), fx_on_lease, &got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    return got;
}

static struct queue_message *leased(struct fixture *f)
{
    struct got got = ask(f);

    assert_int_equal(got.count, 1);
    return got.messages[0];
}

/* A message that was refused for now, once; how long until it is due. */
static int64_t defer(struct fixture *f, int64_t *id)
{
    *id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, leased(f), QUEUE_LATER, 450, "busy");
    struct got got = ask(f);
    assert_int_equal(got.count, 0);
    return got.next_due_ms - queue_now_ms(f->queue);
}

/* --- how long was nobody there? --------------------------------------------------------------- */

static void what_has_passed_is_told_by_the_start_of_the_machine_or_else_by_the_wall(void **state)
{
    static const struct {
        const char *name, *start;
        int64_t wall_ms, boot_ms, away_ms; /* since the last point */
    } rows[] = {
        { "a short stop", "one", 5000, 5000, 5000 },
        { "the wall clock ahead", "one", 10 * DAY, 5000, 5000 },
        { "the wall clock back", "one", -10 * DAY, 5000, 5000 },
        { "another start", "two", 2 * DAY, -7 * HOUR, 2 * DAY },
        { "another start, up for longer", "two", 2 * DAY, 3 * DAY, 2 * DAY },
        { "another start, and the wall clock back", "two", -10 * DAY, -7 * HOUR, 0 },
        { "another start, and the wall clock far ahead", "two", 90000 * DAY, 0, 400 * DAY },
        { "a start that counts back", "one", DAY, -HOUR, DAY },
        { "a start without a name", "", DAY, HOUR, DAY },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct timeline timeline;
        struct timeline_point last = {
            .now_ms = 7 * DAY,
            .lived_ms = 3 * DAY,
            .wall_ms = clock_wall_ms(),
            .boot_ms = clock_boot_ms(),
        };
        snprintf(last.boot_name, sizeof(last.boot_name), "%s", rows[i].start[0] ? "one" : "");
        int64_t wall_ms = rows[i].wall_ms, boot_ms = rows[i].boot_ms;
        begin_start(rows[i].start);
        fx_advance(boot_ms);
        set_wall_clock(wall_ms - boot_ms);
        timeline_begin(&timeline, &last, INT64_MAX);
        int64_t away = timeline_now_ms(&timeline) - last.now_ms;
        if (away != rows[i].away_ms || timeline_lived_ms(&timeline) != last.lived_ms)
            fail_msg("%s: %lld ms passed, %lld lived", rows[i].name, (long long)away,
                     (long long)(timeline_lived_ms(&timeline) - last.lived_ms));
        fx_advance(-boot_ms);
        set_wall_clock(boot_ms - wall_ms);
        begin_start("one");
    }
}

static void a_clock_of_no_sense_begins_a_timeline_all_the_same(void **state)
{
    static const int64_t walls_ms[] = { 0, -DAY, 90000000 * DAY };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(walls_ms); i++) {
        struct timeline timeline;
        machine.wall_lead_us = walls_ms[i] * 1000 - fx_now_us;
        timeline_begin(&timeline, NULL, INT64_MAX);
        assert_in_range(timeline_now_ms(&timeline), 1, TIMELINE_LAST_MS);
        assert_true(timeline_lived_ms(&timeline) == timeline_now_ms(&timeline));
    }
}

static void a_jump_is_told_once_and_a_small_step_never(void **state)
{
    struct fixture *f = *state;
    struct timeline *timeline = &f->queue->timeline;

    set_wall_clock(500);
    assert_true(timeline_wall_jump_ms(timeline) == 0);
    set_wall_clock(-10 * DAY);
    sleep_for(HOUR);
    assert_true(timeline_wall_jump_ms(timeline) == -10 * DAY);
    assert_true(timeline_wall_jump_ms(timeline) == 0);
}

/* --- a running queue -------------------------------------------------------------------------- */

static const int64_t jumps_ms[] = { 10 * DAY, -10 * DAY, 4000 * DAY, -20000 * DAY };

static void a_set_wall_clock_moves_nothing_that_waits(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(jumps_ms); i++) {
        int64_t id;
        int64_t wait_ms = defer(f, &id);

        set_wall_clock(jumps_ms[i]);
        struct got early = ask(f);
        if (early.count != 0 || early.next_due_ms - queue_now_ms(f->queue) != wait_ms)
            fail_msg("jump %zu: %zu due", i, early.count);
        struct shown shown = fx_show(f, id);
        assert_true(shown.due_ms == clock_wall_ms() + wait_ms); /* as people see it */
        assert_true(shown.due[0] == shown.due_ms);
        fx_advance(wait_ms);
        fx_settle_all(f, leased(f), QUEUE_LATER, 450, "busy");
        shown = fx_show(f, id);
        assert_int_equal(shown.states[0], QUEUE_DEFERRED); /* not given up, nobody told */
        assert_int_equal(machine.reports, 0);
        fx_steer(f, QUEUE_CANCEL, id, NULL);
    }
}

static void ages_count_what_was_lived(void **state)
{
    struct fixture *f = *state;
    int64_t id;

    f->options.schedule.retry_ms[0] = 30 * DAY; /* so that it is due again when it is too old */
    queue_set_schedule(f->queue, &f->options.schedule, f->options.retention_ms);
    defer(f, &id);
    set_wall_clock(20 * DAY);
    sleep_for(3 * DAY);
    fx_advance(4 * DAY - 1);
    fx_settle_all(f, leased(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_show(f, id).states[0], QUEUE_DEFERRED);
    assert_int_equal(machine.reports, 1); /* of the delay */
    fx_advance(1);
    fx_settle_all(f, leased(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_show(f, id).states[0], QUEUE_FAILED_FOR_GOOD);
    assert_string_equal(fx_show(f, id).text[0], "gave up after 4d: busy");
}

static void time_asleep_passes_without_making_older(void **state)
{
    struct fixture *f = *state;
    int64_t id;

    defer(f, &id);
    sleep_for(20 * DAY);
    fx_settle_all(f, leased(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_show(f, id).states[0], QUEUE_DEFERRED);
    assert_int_equal(machine.reports, 0);
}

static void records_are_kept_for_time_lived(void **state)
{
    struct fixture *f = *state;
    int64_t id = ident_at_time_ms(clock_wall_ms()); /* ident_next() has seen other clocks */
    struct queue_message *message = desk_message(id, "r@dest.example");

    desk_write(message, SLICE("x"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_settle_all(f, leased(f), QUEUE_SENT, 250, "ok");
    set_wall_clock(10 * DAY);
    fx_advance(2 * MINUTE);
    fx_step(f);
    fx_step(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_OK);
    fx_advance(DAY);
    fx_step(f);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
}

static int64_t event_times_ms[3];

static void note_events(void *owner, enum queue_result result, struct queue_story *story)
{
    (void)owner;
    assert_int_equal(result, QUEUE_OK);
    assert_int_equal(story->event_count, ARRAY_LEN(event_times_ms));
    for (size_t i = 0; i < story->event_count; i++) {
        event_times_ms[i] = story->events[i].at_ms;
        assert_int_equal(story->events[i].code, 450 + (int)i);
    }
}

static void history_stays_in_order_and_tells_the_wall_time(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example"), wall_ms[ARRAY_LEN(event_times_ms)];

    for (size_t i = 0; i < ARRAY_LEN(wall_ms); i++) {
        wall_ms[i] = clock_wall_ms();
        fx_settle_all(f, leased(f), QUEUE_LATER, 450 + (int)i, "busy");
        set_wall_clock(i == 0 ? -10 * DAY : 0); /* the last one has the time of the second */
        sleep_for(HOUR);
        set_wall_clock(-HOUR);
        fx_close(f);
        fx_open(f);
    }
    queue_show(f->queue, id, note_events, NULL, &f->desk.box);
    fx_step(f);
    for (size_t i = 0; i < ARRAY_LEN(wall_ms); i++)
        assert_true(event_times_ms[i] == wall_ms[i]);
}

/* --- over a restart --------------------------------------------------------------------------- */

static void a_restart_finds_what_waits_by_the_time_that_passed(void **state)
{
    static const struct {
        const char *name, *start;
        int64_t stopped_ms, set_ms;
        bool due;
    } rows[] = {
        { "at once", "one", 0, 0, false },
        { "after a stop", "one", HOUR, 0, true },
        { "the clock ahead", "one", 1000, 10 * DAY, false },
        { "the clock back", "one", 1000, -10 * DAY, false },
        { "after a stop, and the clock back", "one", HOUR, -10 * DAY, true },
        { "another start", "two", HOUR, 0, true },
        { "another start, and the clock ahead", "three", 1000, 10 * DAY, true },
        { "another start, and the clock back", "four", 1000, -10 * DAY, false },
        { "another start after the holidays", "five", 12 * DAY, 0, true },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t id;
        int64_t wait_ms = defer(f, &id);

        fx_close(f);
        fx_advance(rows[i].stopped_ms);
        set_wall_clock(rows[i].set_ms);
        begin_start(rows[i].start);
        fx_open(f);
        struct got got = ask(f);
        if (got.count != rows[i].due)
            fail_msg("%s: %zu due", rows[i].name, got.count);
        if (!rows[i].due) {
            assert_in_range(got.next_due_ms - queue_now_ms(f->queue), 1, wait_ms);
            fx_advance(wait_ms);
            got = ask(f);
        }
        assert_int_equal(got.count, 1);
        fx_settle_all(f, got.messages[0], QUEUE_LATER, 450, "busy");
        if (fx_show(f, id).states[0] != QUEUE_DEFERRED || machine.reports != 0)
            fail_msg("%s: it has aged", rows[i].name);
        fx_steer(f, QUEUE_CANCEL, id, NULL);
    }
}

static void a_crash_forgets_a_minute_of_age_at_most(void **state)
{
    struct fixture *f = *state;
    int64_t kept;

    for (int i = 0; i < 100; i++) { /* steps, as the writer's ticks are */
        fx_advance(1000);
        fx_step(f);
        kept = fx_number(f, "SELECT lived_ms FROM timeline");
        assert_in_range(timeline_lived_ms(&f->queue->timeline) - kept, 0, MINUTE);
    }
}

static void a_damaged_timeline_begins_anew(void **state)
{
    static const char *const damages[] = {
        "UPDATE timeline SET now_ms = 9223372036854775807",
        "UPDATE timeline SET lived_ms = -9223372036854775807",
        "UPDATE timeline SET wall_ms = -9223372036854775807, boot_name = 'x'",
        "UPDATE timeline SET boot_ms = 9223372036854775807, wall_ms = 9223372036854775807",
        "DELETE FROM timeline", /* the third one has moved it on, and what waits with it */
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        sqlite3 *db = NULL;
        int64_t id;
        defer(f, &id);
        fx_close(f);
        assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, damages[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        fx_open(f);
        fx_advance(HOUR);
        struct got got = ask(f);
        if (got.count != 1)
            fail_msg("%s", damages[i]);
        queue_message_free(got.messages[0]);
        fx_close(f);
        fx_open(f);
        fx_steer(f, QUEUE_CANCEL, id, NULL);
    }
}

static void an_id_that_was_removed_is_not_given_again(void **state)
{
    struct fixture *f = *state;
    int64_t last = 0, id;

    queue_set_schedule(f->queue, &f->options.schedule, 0);
    id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, leased(f), QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
    fx_close(f);
    set_wall_clock(-10 * DAY);
    f->options.retention_ms = 0;
    fx_open(f);
    assert_int_equal(store_last_id(f->queue->store, &last), STORE_OK);
    assert_true(last == id);

    struct queue_message *tried = fx_small("r@dest.example"); /* never stored, and yet answered */
    id = tried->id;
    tried->sandbox = true;
    assert_int_equal(fx_submit_message(f, tried), QUEUE_OK);
    assert_int_equal(store_last_id(f->queue->store, &last), STORE_OK);
    assert_true(last == id);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        MACHINE_TEST(what_has_passed_is_told_by_the_start_of_the_machine_or_else_by_the_wall),
        MACHINE_TEST(a_clock_of_no_sense_begins_a_timeline_all_the_same),
        MACHINE_TEST(a_jump_is_told_once_and_a_small_step_never),
        MACHINE_TEST(a_set_wall_clock_moves_nothing_that_waits),
        MACHINE_TEST(ages_count_what_was_lived),
        MACHINE_TEST(time_asleep_passes_without_making_older),
        MACHINE_TEST(records_are_kept_for_time_lived),
        MACHINE_TEST(history_stays_in_order_and_tells_the_wall_time),
        MACHINE_TEST(a_restart_finds_what_waits_by_the_time_that_passed),
        MACHINE_TEST(a_crash_forgets_a_minute_of_age_at_most),
        MACHINE_TEST(a_damaged_timeline_begins_anew),
        MACHINE_TEST(an_id_that_was_removed_is_not_given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
