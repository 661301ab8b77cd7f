/* test_pool.c - how many connections, which of them, and what when the upstream is down? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "relay/base/clock.h"
#include "relay/base/metrics.h"
#include "relay/upstream/gate.h"
#include "tests/support/fake_upstream.h"
#include "tests/support/job_desk.h"

#define JOBS 12

/* Monotonic time that a test moves on; it also runs by itself, so that waiting works. */
static int64_t skipped_us;

static int64_t kernel_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t mono_us(void)
{
    return kernel_us(CLOCK_MONOTONIC) + skipped_us;
}

static int64_t wall_us(void)
{
    return kernel_us(CLOCK_REALTIME);
}

static void skip_ms(int64_t ms)
{
    skipped_us += ms * 1000;
}

struct scene {
    struct job_desk desk;
    struct fake_upstream fake;
    struct desk_job jobs[JOBS];
    struct upstream_options options;
};

static int open_scene(void **state)
{
    static const struct clock_source source = { wall_us, mono_us };
    struct scene *scene = xcalloc(1, sizeof(*scene));

    clock_replace(&source);
    desk_open(&scene->desk);
    fake_start(&scene->fake, &scene->desk.loop, &(struct fake_options){ 0 });
    scene->options = desk_options(scene->fake.port);
    for (size_t i = 0; i < JOBS; i++)
        desk_job_init(&scene->desk, &scene->jobs[i], 1);
    *state = scene;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;

    desk_close_upstream(&scene->desk);
    fake_stop(&scene->fake);
    desk_close(&scene->desk);
    clock_replace(NULL);
    for (size_t i = 0; i < JOBS; i++)
        upstream_job_clear(&scene->jobs[i].job);
    free(scene);
    return 0;
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

static void start(struct scene *scene)
{
    desk_open_upstream(&scene->desk, &scene->options);
}

static void deliver(struct scene *scene, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        desk_deliver(&scene->desk, &scene->jobs[i]);
}

static void wait_for(struct scene *scene, size_t from, size_t to, enum upstream_fate want)
{
    for (size_t i = from; i < to; i++) {
        DESK_UNTIL(&scene->desk, scene->jobs[i].done > 0);
        if (scene->jobs[i].done != 1 || scene->jobs[i].recipients[0].fate != want)
            fail_msg("job %zu came back %u times, to %d: %s", i, scene->jobs[i].done,
                     (int)scene->jobs[i].recipients[0].fate, scene->jobs[i].recipients[0].text);
    }
}

static void one_connection_serves_many_messages(void **state)
{
    struct scene *scene = *state;

    start(scene);
    deliver(scene, 0, JOBS);
    wait_for(scene, 0, JOBS, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 1);
    assert_int_equal(scene->fake.messages, JOBS);
}

static void an_account_with_a_backlog_keeps_no_other_waiting(void **state)
{
    struct scene *scene = *state;
    struct desk_job *late = &scene->jobs[JOBS - 1];

    for (size_t i = 0; i < JOBS; i++) {
        scene->jobs[i].job.account = i == JOBS - 1 ? "small" : "large";
        scene->jobs[i].job.key = "7Fq2mZ81";
    }
    start(scene);
    deliver(scene, 0, JOBS);
    DESK_UNTIL(&scene->desk, late->done > 0);
    assert_int_equal(late->job.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_in_range(scene->desk.done, 1, 3); /* the next but one, and one that ended with it */
    wait_for(scene, 0, JOBS, UPSTREAM_DELIVERED);
}

static void no_more_connections_than_the_ceiling(void **state)
{
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    scene->options.max_connections = 3;
    fake_set_rows(&scene->fake, hang);
    start(scene);
    deliver(scene, 0, JOBS);
    DESK_UNTIL(&scene->desk, scene->fake.open == 3);
    for (int i = 0; i < 20; i++)
        uv_run(&scene->desk.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(scene->fake.most_open, 3);
    fake_set_rows(&scene->fake, NULL);
    fake_drop_all(&scene->fake);
    wait_for(scene, 3, JOBS, UPSTREAM_DELIVERED); /* the three were in doubt */
    assert_int_equal(scene->fake.messages, JOBS - 3);
}

static void no_more_connections_than_jobs(void **state)
{
    struct scene *scene = *state;

    scene->options.max_connections = 10;
    start(scene);
    for (size_t i = 0; i < 4; i++) { /* one after the other: the free one is taken again */
        deliver(scene, i, i + 1);
        wait_for(scene, i, i + 1, UPSTREAM_DELIVERED);
    }
    assert_int_equal(scene->fake.connections, 1);
}

static void a_connection_quits_when_it_has_served_enough(void **state)
{
    struct scene *scene = *state;

    scene->options.max_messages_per_connection = 5;
    start(scene);
    deliver(scene, 0, JOBS);
    wait_for(scene, 0, JOBS, UPSTREAM_DELIVERED);
    DESK_UNTIL(&scene->desk, scene->fake.quits == 2);
    assert_int_equal(scene->fake.connections, 3);
}

static void an_idle_connection_says_quit(void **state)
{
    struct scene *scene = *state;

    scene->options.timeouts.idle = 20;
    start(scene);
    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    DESK_UNTIL(&scene->desk, scene->fake.quits == 1);
    assert_false(desk_logged(&scene->desk, "upstream_failed"));
}

/* --- connections that died while idle --------------------------------------------------------- */

/* The end is there, but we have not looked yet when the next job comes. */
static void a_job_that_finds_its_connection_dead_gets_a_fresh_one(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", FAKE_DROP, 1, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    start(scene);
    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    fake_set_rows(&scene->fake, rows);
    deliver(scene, 1, 2);
    wait_for(scene, 1, 2, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 2);
    assert_int_equal(scene->fake.messages, 2);
    assert_false(desk_logged(&scene->desk, "upstream_failed"));
}

static void so_does_one_that_is_greeted_with_421(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", "421 4.4.2 idle for too long\r\n", 1, true },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    start(scene);
    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    fake_set_rows(&scene->fake, rows);
    deliver(scene, 1, 2);
    wait_for(scene, 1, 2, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 2);
}

static void or_that_is_answered_with_nonsense(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", "what?\r\n", 1, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    start(scene);
    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    fake_set_rows(&scene->fake, rows);
    deliver(scene, 1, 2);
    wait_for(scene, 1, 2, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 2);
}

static void but_only_once(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", FAKE_DROP, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    start(scene);
    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    fake_set_rows(&scene->fake, rows);
    deliver(scene, 1, 2);
    wait_for(scene, 1, 2, UPSTREAM_LATER);
    assert_int_equal(scene->fake.connections, 2);
}

static void words_on_an_idle_connection_end_it(void **state)
{
    static const struct fake_row rows[] = { { ".", "250 taken\r\n421 by the way\r\n", 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, rows);
    start(scene);
    deliver(scene, 0, 2);
    wait_for(scene, 0, 2, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 2);
}

/* --- an upstream that is down ----------------------------------------------------------------- */

static void all_that_wait_come_back_when_it_cannot_be_reached(void **state)
{
    struct scene *scene = *state;

    scene->options.max_connections = 10;
    fake_stop_listening(&scene->fake);
    start(scene);
    deliver(scene, 0, JOBS);
    wait_for(scene, 0, JOBS, UPSTREAM_UNTRIED);
    assert_non_null(strstr(scene->jobs[JOBS - 1].recipients[0].text, "cannot connect"));
    assert_true(upstream_is_usable(scene->desk.upstream)); /* it was the first failure */
}

static void fail_once(struct scene *scene, size_t job)
{
    deliver(scene, job, job + 1);
    wait_for(scene, job, job + 1, UPSTREAM_UNTRIED);
}

static void three_failures_make_it_rest_longer_and_longer(void **state)
{
    static const struct fake_row rows[] = { { "BANNER", "554 not you\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    static const int64_t rests_ms[] = { 5000, 10000, 20000, 40000, 60000, 60000 };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, rows);
    start(scene);
    fail_once(scene, 0);
    fail_once(scene, 1);
    assert_true(upstream_is_usable(scene->desk.upstream));
    fail_once(scene, 2);
    for (size_t i = 0; i < ARRAY_LEN(rests_ms); i++) {
        unsigned before = scene->fake.connections;

        assert_false(upstream_is_usable(scene->desk.upstream));
        skip_ms(rests_ms[i] - 1000);
        assert_false(upstream_is_usable(scene->desk.upstream));
        skip_ms(1000);
        assert_true(upstream_is_usable(scene->desk.upstream));
        deliver(scene, 3 + i, 4 + i);
        assert_false(upstream_is_usable(scene->desk.upstream)); /* one may try */
        wait_for(scene, 3 + i, 4 + i, UPSTREAM_UNTRIED);
        assert_int_equal(scene->fake.connections, before + 1);
    }
    skip_ms(60000);
    fake_set_rows(&scene->fake, NULL);
    deliver(scene, 10, 11);
    wait_for(scene, 10, 11, UPSTREAM_DELIVERED);
    assert_true(upstream_is_usable(scene->desk.upstream));
    assert_true(desk_logged(&scene->desk, "upstream_back"));
}

static void one_that_greets_and_takes_nothing_rests_too(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", "421 4.3.2 busy\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, rows);
    start(scene);
    for (size_t i = 0; i < 3; i++) {
        assert_true(upstream_is_usable(scene->desk.upstream));
        deliver(scene, i, i + 1);
        wait_for(scene, i, i + 1, UPSTREAM_LATER);
    }
    assert_false(upstream_is_usable(scene->desk.upstream));
    skip_ms(5000);
    deliver(scene, 3, 5); /* one tries, the other comes back */
    wait_for(scene, 3, 4, UPSTREAM_LATER);
    wait_for(scene, 4, 5, UPSTREAM_UNTRIED);
    assert_int_equal(scene->fake.connections, 4);
    skip_ms(5000);
    assert_false(upstream_is_usable(scene->desk.upstream)); /* longer each time */
    skip_ms(5000);
    fake_set_rows(&scene->fake, NULL);
    deliver(scene, 5, 8);
    wait_for(scene, 5, 8, UPSTREAM_DELIVERED);
    assert_true(upstream_is_usable(scene->desk.upstream));
}

static void a_refusal_is_an_answer_and_no_reason_to_rest(void **state)
{
    static const struct fake_row rows[] = { { "DATA", "451 4.3.0 no\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, rows);
    start(scene);
    for (size_t i = 0; i < 6; i++) {
        deliver(scene, i, i + 1);
        wait_for(scene, i, i + 1, UPSTREAM_LATER);
        assert_true(upstream_is_usable(scene->desk.upstream));
    }
}

static void a_job_given_to_a_resting_upstream_comes_back_at_once(void **state)
{
    struct scene *scene = *state;

    fake_stop_listening(&scene->fake);
    start(scene);
    for (size_t i = 0; i < 3; i++)
        fail_once(scene, i);
    unsigned before = scene->fake.connections;

    fail_once(scene, 3);
    assert_int_equal(scene->fake.connections, before);
    assert_non_null(strstr(scene->jobs[3].recipients[0].text, "cannot connect"));
}

/* The provider allows one connection: the second is refused, and nobody comes to harm. */
static void a_refused_second_connection_leaves_the_first_alone(void **state)
{
    static const struct fake_row rows[] = { { "BANNER", "220 welcome\r\n", 1, 0 },
                                            { "BANNER", "421 4.7.0 too many\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    scene->options.max_connections = 5;
    fake_set_rows(&scene->fake, rows);
    start(scene);
    deliver(scene, 0, JOBS);
    wait_for(scene, 0, JOBS, UPSTREAM_DELIVERED);
    assert_true(upstream_is_usable(scene->desk.upstream));
    assert_true(scene->fake.connections <= 3);
}

static void a_refused_login_pauses_it_and_bounces_nothing(void **state)
{
    static const struct fake_row rows[] = { { "AUTH", "535 5.7.8 wrong\r\n", 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    struct upstream_view view;
    int64_t before = metrics_read(METRIC_UPSTREAM_AUTH_REFUSED);

    scene->fake.options.ehlo = "250-fake\r\n250 AUTH PLAIN\r\n";
    scene->options.username = "user";
    scene->options.password = "secret-word";
    scene->options.max_connections = 5;
    fake_set_rows(&scene->fake, rows);
    start(scene);
    deliver(scene, 0, 5);
    wait_for(scene, 0, 5, UPSTREAM_UNTRIED);
    assert_int_equal(scene->fake.connections, 1);
    assert_int_equal(metrics_read(METRIC_UPSTREAM_AUTH_REFUSED), before + 1);
    assert_true(desk_logged(&scene->desk, "level=error"));
    assert_false(upstream_is_usable(scene->desk.upstream));
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.condition, UPSTREAM_PAUSED);
    assert_non_null(strstr(view.reason.text, "535"));
    skip_ms(59000);
    assert_false(upstream_is_usable(scene->desk.upstream));
    skip_ms(1000);
    assert_true(upstream_is_usable(scene->desk.upstream));
    fake_set_rows(&scene->fake, NULL);
    deliver(scene, 5, 6);
    wait_for(scene, 5, 6, UPSTREAM_DELIVERED);
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.condition, UPSTREAM_USABLE);
    assert_string_equal(view.kind, "smtp");
    assert_string_equal(view.reason.text, "");
    assert_int_equal(view.connections, 1);
}

static void a_held_one_gives_back_what_waits_and_finishes_what_runs(void **state)
{
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    struct upstream_view view;

    fake_set_rows(&scene->fake, hang);
    start(scene);
    deliver(scene, 0, 3);
    DESK_UNTIL(&scene->desk, fake_heard(&scene->fake, "\r\n.\r\n"));
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.condition, UPSTREAM_USABLE);
    assert_int_equal(view.waiting, 2);
    upstream_hold(scene->desk.upstream, true);
    assert_false(upstream_is_usable(scene->desk.upstream));
    wait_for(scene, 1, 3, UPSTREAM_UNTRIED);
    assert_string_equal(scene->jobs[1].recipients[0].text, upstream_held_text);
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.condition, UPSTREAM_HELD);
    assert_int_equal(view.waiting, 0);
    assert_int_equal(scene->jobs[0].done, 0);
    fake_drop_all(&scene->fake);
    wait_for(scene, 0, 1, UPSTREAM_UNCERTAIN);

    fake_set_rows(&scene->fake, NULL);
    upstream_hold(scene->desk.upstream, false);
    deliver(scene, 3, 4);
    wait_for(scene, 3, 4, UPSTREAM_DELIVERED);
}

/* --- slow restart ----------------------------------------------------------------------------- */

static void after_a_rest_connections_come_back_as_messages_arrive(void **state)
{
    static const struct fake_row down[] = { { "BANNER", "554 not you\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    static const struct fake_row hang[] = { { ".", "250 taken\r\n", 2, 0 },
                                            { ".", FAKE_HANG, 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    struct upstream_view view;

    scene->options.max_connections = 10;
    fake_set_rows(&scene->fake, down);
    start(scene);
    for (size_t i = 0; i < 3; i++)
        fail_once(scene, i);
    skip_ms(5000);
    fake_set_rows(&scene->fake, hang);
    scene->fake.most_open = 0;
    deliver(scene, 3, JOBS); /* nine: two arrive, which makes room for three */
    DESK_UNTIL(&scene->desk, scene->fake.messages == 2 && scene->fake.open == 3);
    for (int i = 0; i < 20; i++)
        uv_run(&scene->desk.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(scene->fake.most_open, 3);
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.connections, 3);
    fake_set_rows(&scene->fake, NULL);
    fake_drop_all(&scene->fake); /* three are in doubt */
    DESK_UNTIL(&scene->desk, scene->desk.done == JOBS);
    assert_int_equal(scene->fake.messages, JOBS - 3 - 3);
}

/* --- two loops' sides of one upstream --------------------------------------------------------- */

/* Both live on one loop here; what they share knows no difference. */
static struct upstream *open_second(struct scene *scene)
{
    struct why why = { "" };
    struct upstream *second =
        upstream_open(&scene->desk.loop, scene->desk.resolver, &scene->options, &why);

    if (second == NULL)
        fail_msg("%s", why.text);
    return second;
}

static void close_second(struct scene *scene, struct upstream *second)
{
    scene->desk.upstream_closed = false;
    upstream_close(second, desk_on_closed, &scene->desk);
    DESK_UNTIL(&scene->desk, scene->desk.upstream_closed);
    gate_unref(scene->options.gate); /* the first one has its own reference */
}

static void an_idle_connection_makes_room_for_another_loop(void **state)
{
    struct scene *scene = *state;

    scene->options.gate = upstream_gate_new(&scene->options);
    start(scene);
    struct upstream *second = open_second(scene);

    for (size_t i = 0; i < 6; i += 2) {
        deliver(scene, i, i + 1);
        wait_for(scene, i, i + 1, UPSTREAM_DELIVERED);
        upstream_deliver(second, &scene->jobs[i + 1].job); /* idle would be 30 s */
        wait_for(scene, i + 1, i + 2, UPSTREAM_DELIVERED);
    }
    assert_int_equal(scene->fake.connections, 6);
    assert_int_equal(scene->fake.most_open, 1);
    close_second(scene, second);
}

static void a_busy_loop_leaves_some_to_another_one(void **state)
{
    struct scene *scene = *state;
    unsigned before;

    scene->options.gate = upstream_gate_new(&scene->options);
    start(scene);
    struct upstream *second = open_second(scene);

    deliver(scene, 0, 1);
    wait_for(scene, 0, 1, UPSTREAM_DELIVERED);
    skip_ms(20000); /* the connection has been of use */
    deliver(scene, 1, 11);
    upstream_deliver(second, &scene->jobs[11].job);
    wait_for(scene, 11, 12, UPSTREAM_DELIVERED);
    before = scene->desk.done;
    assert_true(before < JOBS); /* it did not have to wait for all of the other's */
    wait_for(scene, 1, 11, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.most_open, 1);
    close_second(scene, second);
}

static void one_failure_sends_the_jobs_of_all_loops_away(void **state)
{
    static const struct fake_row down[] = { { "BANNER", "554 not you\r\n", 0, true },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, down);
    scene->options.gate = upstream_gate_new(&scene->options);
    start(scene);
    struct upstream *second = open_second(scene);

    for (size_t i = 0; i < 6; i += 2) {
        upstream_deliver(second, &scene->jobs[i].job);
        deliver(scene, i + 1, i + 2);
        wait_for(scene, i, i + 2, UPSTREAM_UNTRIED);
        assert_non_null(strstr(scene->jobs[i + 1].recipients[0].text, "554 not you"));
    }
    assert_int_equal(scene->fake.connections, 3);
    assert_false(upstream_is_usable(scene->desk.upstream) || upstream_is_usable(second));
    close_second(scene, second);
}

/* --- the age of a connection ------------------------------------------------------------------ */

static void an_old_connection_is_left_between_two_messages(void **state)
{
    struct scene *scene = *state;

    scene->options.connection_age_ms = 50000;
    start(scene);
    deliver(scene, 0, 2);
    wait_for(scene, 0, 2, UPSTREAM_DELIVERED);
    skip_ms(49000);
    deliver(scene, 2, 4);
    wait_for(scene, 2, 4, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 1);
    skip_ms(1000);
    deliver(scene, 4, 6); /* it was idle meanwhile */
    wait_for(scene, 4, 6, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 2);
    deliver(scene, 6, 9);
    wait_for(scene, 6, 7, UPSTREAM_DELIVERED);
    skip_ms(50000); /* it is busy */
    wait_for(scene, 7, 9, UPSTREAM_DELIVERED);
    deliver(scene, 9, 10);
    wait_for(scene, 9, 10, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 3);
    assert_int_equal(scene->fake.most_open, 1);
    assert_int_equal(scene->fake.quits, 2);
}

/* --- the rate --------------------------------------------------------------------------------- */

static void the_rate_is_a_ceiling(void **state)
{
    struct scene *scene = *state;

    scene->options.rate = 120; /* a minute */
    scene->options.max_connections = 5;
    start(scene);
    int64_t began_us = kernel_us(CLOCK_MONOTONIC);

    deliver(scene, 0, 3);
    wait_for(scene, 0, 3, UPSTREAM_DELIVERED);
    /* The first goes at once, the others half a second apart: never sooner, however slow we run. */
    assert_true(kernel_us(CLOCK_MONOTONIC) - began_us >= 990000);
    assert_int_equal(scene->fake.most_open, 1);
}

/* Between two connections there is none; that is no reason to send anybody away. */
static void jobs_that_wait_for_the_rate_need_no_connection(void **state)
{
    struct scene *scene = *state;

    scene->options.rate = 600; /* a minute */
    scene->options.max_messages_per_connection = 1;
    start(scene);
    deliver(scene, 0, 4);
    wait_for(scene, 0, 4, UPSTREAM_DELIVERED);
    assert_int_equal(scene->fake.connections, 4);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void closing_returns_what_waits_and_lets_finish_what_runs(void **state)
{
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, hang);
    start(scene);
    deliver(scene, 0, 4);
    DESK_UNTIL(&scene->desk, fake_heard(&scene->fake, "\r\n.\r\n"));
    upstream_close(scene->desk.upstream, desk_on_closed, &scene->desk);
    assert_false(upstream_is_usable(scene->desk.upstream));
    assert_int_equal(scene->desk.done, 0); /* not from inside */
    wait_for(scene, 1, 4, UPSTREAM_UNTRIED);
    assert_int_equal(scene->jobs[0].done, 0);
    assert_false(scene->desk.upstream_closed);
    upstream_abort(scene->desk.upstream);
    wait_for(scene, 0, 1, UPSTREAM_UNCERTAIN);
    DESK_UNTIL(&scene->desk, scene->desk.upstream_closed);
    scene->desk.upstream = NULL;
}

static void aborting_before_the_dot_leaves_it_untried(void **state)
{
    static const struct fake_row hang[] = { { "DATA", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, hang);
    start(scene);
    deliver(scene, 0, 1);
    DESK_UNTIL(&scene->desk, fake_heard(&scene->fake, "DATA\r\n"));
    upstream_close(scene->desk.upstream, desk_on_closed, &scene->desk);
    upstream_abort(scene->desk.upstream);
    wait_for(scene, 0, 1, UPSTREAM_UNTRIED);
    DESK_UNTIL(&scene->desk, scene->desk.upstream_closed);
    scene->desk.upstream = NULL;
}

static void closing_while_connecting_needs_no_answer(void **state)
{
    static const struct fake_row hang[] = { { "BANNER", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fake, hang);
    start(scene);
    deliver(scene, 0, 2);
    DESK_UNTIL(&scene->desk, scene->fake.open == 1);
    desk_close_upstream(&scene->desk);
    wait_for(scene, 0, 2, UPSTREAM_UNTRIED);
}

/* --- probes ----------------------------------------------------------------------------------- */

struct probed {
    unsigned calls;
    bool ok;
    char text[600];
};

static void on_probed(void *owner, bool ok, const char *text)
{
    struct probed *probed = owner;

    probed->calls++;
    probed->ok = ok;
    snprintf(probed->text, sizeof(probed->text), "%s", text);
}

static void a_probe_tells_what_it_reached(void **state)
{
    static const struct fake_row rows[] = { { "EHLO", "550 go away\r\n", 0, 0 },
                                            { "HELO", "550 go away\r\n", 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    struct probed probed = { 0 };

    start(scene);
    upstream_probe(scene->desk.upstream, on_probed, &probed);
    DESK_UNTIL(&scene->desk, probed.calls > 0);
    assert_true(probed.ok);
    assert_non_null(strstr(probed.text, "connected to 127.0.0.1"));
    DESK_UNTIL(&scene->desk, scene->fake.quits == 1);
    assert_false(fake_heard(&scene->fake, "MAIL"));

    fake_set_rows(&scene->fake, rows);
    upstream_probe(scene->desk.upstream, on_probed, &probed);
    DESK_UNTIL(&scene->desk, probed.calls > 1);
    assert_false(probed.ok);
    assert_non_null(strstr(probed.text, "550 go away"));
    assert_int_equal(probed.calls, 2);
}

static void an_upstream_with_a_missing_file_does_not_open(void **state)
{
    struct scene *scene = *state;
    struct why why = { "" };

    scene->options.tls = UPSTREAM_TLS_STARTTLS;
    scene->options.ca_file = "/nonexistent/ca.pem";
    scene->options.password = "secret-word";
    scene->options.username = "user";
    assert_null(upstream_open(&scene->desk.loop, scene->desk.resolver, &scene->options, &why));
    assert_non_null(strstr(why.text, "/nonexistent/ca.pem"));
    assert_non_null(strstr(why.text, "main"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        POOL_TEST(one_connection_serves_many_messages),
        POOL_TEST(an_account_with_a_backlog_keeps_no_other_waiting),
        POOL_TEST(no_more_connections_than_the_ceiling),
        POOL_TEST(no_more_connections_than_jobs),
        POOL_TEST(a_connection_quits_when_it_has_served_enough),
        POOL_TEST(an_idle_connection_says_quit),
        POOL_TEST(a_job_that_finds_its_connection_dead_gets_a_fresh_one),
        POOL_TEST(so_does_one_that_is_greeted_with_421),
        POOL_TEST(or_that_is_answered_with_nonsense),
        POOL_TEST(but_only_once),
        POOL_TEST(words_on_an_idle_connection_end_it),
        POOL_TEST(all_that_wait_come_back_when_it_cannot_be_reached),
        POOL_TEST(three_failures_make_it_rest_longer_and_longer),
        POOL_TEST(one_that_greets_and_takes_nothing_rests_too),
        POOL_TEST(a_refusal_is_an_answer_and_no_reason_to_rest),
        POOL_TEST(a_job_given_to_a_resting_upstream_comes_back_at_once),
        POOL_TEST(a_refused_second_connection_leaves_the_first_alone),
        POOL_TEST(a_refused_login_pauses_it_and_bounces_nothing),
        POOL_TEST(a_held_one_gives_back_what_waits_and_finishes_what_runs),
        POOL_TEST(after_a_rest_connections_come_back_as_messages_arrive),
        POOL_TEST(an_idle_connection_makes_room_for_another_loop),
        POOL_TEST(a_busy_loop_leaves_some_to_another_one),
        POOL_TEST(one_failure_sends_the_jobs_of_all_loops_away),
        POOL_TEST(an_old_connection_is_left_between_two_messages),
        POOL_TEST(the_rate_is_a_ceiling),
        POOL_TEST(jobs_that_wait_for_the_rate_need_no_connection),
        POOL_TEST(closing_returns_what_waits_and_lets_finish_what_runs),
        POOL_TEST(aborting_before_the_dot_leaves_it_untried),
        POOL_TEST(closing_while_connecting_needs_no_answer),
        POOL_TEST(a_probe_tells_what_it_reached),
        POOL_TEST(an_upstream_with_a_missing_file_does_not_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
