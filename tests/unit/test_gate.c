/* test_gate.c - who may open a connection, of several loops? Most of it plays on one loop with
 * several sides, with a clock of its own; the last test has threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/upstream/gate.h"

#define SIDES  4
#define PASSES 16

static int64_t now_us;

static int64_t tell_now_us(void)
{
    return now_us;
}

static void pass_time_ms(int64_t ms)
{
    now_us += ms * 1000;
}

struct player {
    struct gate_side *side;
    struct gate_pass *passes[PASSES]; /* the newest last */
    size_t count;
    unsigned woken;
};

struct scene {
    struct loop loop;
    struct gate *gate;
    struct gate_options options;
    struct player players[SIDES];
};

static void on_wake(void *owner)
{
    ((struct player *)owner)->woken++;
}

static int open_scene(void **state)
{
    static const struct clock_source source = { tell_now_us, tell_now_us };
    struct scene *scene = xcalloc(1, sizeof(*scene));
    struct why why;

    alarm(60);
    now_us = 1000000000;
    clock_replace(&source);
    if (!loop_init(&scene->loop, &why))
        fail_msg("%s", why.text);
    scene->options =
        (struct gate_options){ .max_connections = 4, .breaker = { 3, 5000, 60000, 60000 } };
    scene->gate = gate_new(&scene->options);
    for (size_t i = 0; i < SIDES; i++)
        scene->players[i].side =
            gate_side_open(scene->gate, &scene->loop, on_wake, &scene->players[i]);
    *state = scene;
    return 0;
}

static void leave(struct player *player, enum gate_end end)
{
    struct gate_pass *pass = player->passes[--player->count];

    gate_pass_over(pass, end, "it is down");
    gate_pass_unref(pass);
}

static int close_scene(void **state)
{
    struct scene *scene = *state;

    for (size_t i = 0; i < SIDES; i++) {
        while (scene->players[i].count > 0)
            leave(&scene->players[i], GATE_FINISHED);
        gate_side_close(scene->players[i].side);
    }
    gate_unref(scene->gate);
    loop_close(&scene->loop);
    clock_replace(NULL);
    free(scene);
    return 0;
}

#define GATE_TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

static void deliver_letters(struct scene *scene)
{
    mailbox_drain(&scene->loop.mailbox);
}

static bool enter(struct player *player)
{
    int64_t again_ms = INT64_MAX;
    struct gate_pass *pass = gate_enter(player->side, &again_ms);

    if (pass != NULL)
        player->passes[player->count++] = pass;
    return pass != NULL;
}

static bool ready(struct player *player)
{
    return gate_pass_ready(player->passes[player->count - 1]);
}

/* So many connections that work, opened one after the other. */
static void fill(struct player *player, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(enter(player));
        ready(player);
    }
}

/* --- room ------------------------------------------------------------------------------------- */

static void all_sides_together_keep_to_the_ceiling(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];

    fill(a, 3);
    fill(b, 1);
    assert_false(enter(a));
    assert_false(enter(b));
    leave(a, GATE_FINISHED);
    deliver_letters(scene);
    assert_int_equal(b->woken, 1); /* it has less */
    assert_int_equal(a->woken, 0);
    assert_false(enter(a)); /* what is kept for another is not to be had */
    assert_true(enter(b));
}

static void one_side_may_have_it_all(void **state)
{
    struct scene *scene = *state;

    fill(&scene->players[2], 4);
    assert_false(enter(&scene->players[2]));
}

/* As the upstream sees it: the socket is what counts. */
static void a_place_is_free_once_the_socket_is_closed(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];

    fill(a, 4);
    struct gate_pass *socket = gate_pass_ref(a->passes[3]);

    leave(a, GATE_FINISHED);
    assert_false(enter(b));
    gate_pass_unref(socket);
    deliver_letters(scene);
    assert_int_equal(b->woken, 1);
    assert_true(enter(b));
}

static void at_first_one_then_as_many_at_a_time_as_work(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];

    assert_true(enter(a));
    assert_false(enter(b));
    assert_false(enter(a));
    ready(a);
    deliver_letters(scene);
    assert_int_equal(a->woken + b->woken, 2); /* two at a time now, one for each */
    assert_true(enter(a) && enter(b));
    assert_false(enter(a));
}

static void what_is_kept_and_not_wanted_goes_to_the_next(void **state)
{
    struct scene *scene = *state;

    fill(&scene->players[0], 4);
    for (size_t i = 1; i < SIDES; i++)
        assert_false(enter(&scene->players[i]));
    leave(&scene->players[0], GATE_FINISHED);
    deliver_letters(scene);
    assert_int_equal(scene->players[1].woken, 1);
    assert_false(gate_settle(scene->players[1].side, false, 0));
    deliver_letters(scene);
    assert_int_equal(scene->players[2].woken, 1);
    gate_side_close(scene->players[2].side); /* one that goes altogether */
    deliver_letters(scene);
    assert_int_equal(scene->players[3].woken, 1);
    assert_true(enter(&scene->players[3]));
    scene->players[2].side = NULL;
}

static void other_ceilings_hold_at_once(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];

    fill(a, 4);
    assert_false(enter(b));
    scene->options.max_connections = 5;
    gate_configure(scene->gate, &scene->options);
    deliver_letters(scene);
    assert_true(enter(b));
    ready(b);
    scene->options.max_connections = 2;
    gate_configure(scene->gate, &scene->options);
    for (int left = 5; left > 2; left--) {
        assert_false(enter(b));
        leave(a, GATE_FINISHED);
    }
    assert_false(enter(b));
    leave(a, GATE_FINISHED);
    assert_true(enter(b));
}

static void a_side_may_leave_with_a_letter_on_its_way(void **state)
{
    struct scene *scene = *state;

    fill(&scene->players[0], 4);
    assert_false(enter(&scene->players[1]));
    leave(&scene->players[0], GATE_FINISHED);
    gate_side_close(scene->players[1].side);
    scene->players[1].side = NULL;
    deliver_letters(scene);
    assert_int_equal(scene->players[1].woken, 0);
}

/* --- between the sides ------------------------------------------------------------------------ */

static void what_is_idle_is_given_to_who_waits(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1], *c = &scene->players[2];

    fill(a, 2);
    fill(b, 2);
    assert_false(gate_settle(a->side, false, 2)); /* nobody wants them */
    assert_false(gate_settle(b->side, false, 1));
    assert_false(enter(c));
    deliver_letters(scene);
    assert_true(a->woken > 0 && b->woken > 0);
    assert_true(gate_settle(a->side, false, 2));
    gate_pass_recall(a->passes[a->count - 1]);
    assert_false(gate_settle(a->side, false, 2)); /* one is enough */
    assert_false(gate_settle(b->side, false, 1));
    leave(a, GATE_FINISHED);
    deliver_letters(scene);
    assert_true(c->woken == 1 && enter(c));
}

static void what_falls_idle_while_somebody_waits_is_given_too(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];

    fill(a, 4);
    assert_false(enter(b));
    assert_true(gate_settle(a->side, false, 1));
}

static void who_has_more_gives_after_a_while(void **state)
{
    static const struct {
        const char *name;
        size_t has, other; /* of 4 */
        int64_t opening_ms, after_ms;
        bool want;
    } rows[] = {
        { "too young", 4, 0, 0, 99, false },
        { "the other one has none", 4, 0, 0, 100, true },
        { "after a long login, too young", 4, 0, 500, 4999, false },
        { "after a long login", 4, 0, 500, 5000, true },
        { "after an endless login", 4, 0, 5000, 10000, true },
        { "two more than the other", 3, 1, 0, 100, true },
        { "just as many", 2, 2, 0, 1000, false },
        { "fewer", 1, 3, 0, 1000, false },
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct player *a = &scene->players[0], *b = &scene->players[1];

        fill(a, rows[i].has - 1);
        fill(b, rows[i].other);
        assert_true(enter(a));
        pass_time_ms(rows[i].opening_ms);
        ready(a);
        assert_false(enter(a)); /* it would like more, too */
        assert_false(enter(b));
        pass_time_ms(rows[i].after_ms);
        bool asked = gate_pass_is_asked_back(a->passes[a->count - 1]);

        if (asked != rows[i].want)
            fail_msg("%s: %d", rows[i].name, asked);
        if (asked) {
            if (a->count > 1 && gate_pass_is_asked_back(a->passes[0]))
                fail_msg("%s: a second one, for one that waits", rows[i].name);
            leave(a, GATE_FINISHED);
            deliver_letters(scene);
            if (!enter(b))
                fail_msg("%s: given to nobody", rows[i].name);
        }
        while (a->count > 0)
            leave(a, GATE_FINISHED);
        while (b->count > 0)
            leave(b, GATE_FINISHED);
        gate_settle(a->side, false, 0);
        gate_settle(b->side, false, 0);
        deliver_letters(scene);
    }
}

static void with_one_place_two_sides_take_turns(void **state)
{
    struct scene *scene = *state;

    scene->options.max_connections = 1;
    gate_configure(scene->gate, &scene->options);
    fill(&scene->players[0], 1);
    for (size_t turn = 0; turn < 6; turn++) {
        struct player *has = &scene->players[turn % 2], *waits = &scene->players[(turn + 1) % 2];

        assert_false(enter(has)); /* it always wants one more, too */
        assert_false(enter(waits));
        pass_time_ms(200);
        assert_true(gate_pass_is_asked_back(has->passes[0]));
        leave(has, GATE_FINISHED);
        assert_false(enter(has));
        assert_true(enter(waits));
        ready(waits);
    }
}

/* --- an upstream that is down ----------------------------------------------------------------- */

static void one_side_tries_for_all(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];
    struct why reason;

    for (int i = 0; i < 3; i++) {
        assert_true(gate_is_usable(b->side, false));
        assert_true(enter(a));
        assert_false(enter(b));
        leave(a, GATE_UNREACHABLE);
        deliver_letters(scene);
        assert_true(gate_was_sent_away(b->side, &reason));
        assert_string_equal(reason.text, "it is down");
        assert_true(gate_was_sent_away(a->side, &reason));
        assert_false(gate_was_sent_away(a->side, &reason)); /* once */
        gate_settle(b->side, false, 0);
    }
    assert_true(gate_is_resting(scene->gate));
    assert_int_equal(gate_look(scene->gate, &reason), GATE_RESTING);
    for (size_t i = 0; i < SIDES; i++)
        assert_false(gate_is_usable(scene->players[i].side, false));
    assert_false(enter(b));
    gate_settle(b->side, false, 0);
    pass_time_ms(5000);
    assert_true(gate_is_usable(b->side, false));
    assert_false(gate_is_usable(b->side, true)); /* its own work is the try */
    assert_true(enter(b));
    assert_false(gate_is_usable(a->side, false));
    assert_false(enter(a));
    assert_true(ready(b));
    assert_true(gate_is_usable(a->side, false));
    assert_int_equal(gate_look(scene->gate, &reason), GATE_USABLE);
    assert_string_equal(reason.text, "");
    assert_false(gate_was_sent_away(a->side, &reason));
}

static void it_is_taken_back_into_use_slowly(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0];

    for (int i = 0; i < 3; i++) {
        assert_true(enter(a));
        leave(a, GATE_UNREACHABLE);
    }
    pass_time_ms(5000);
    fill(a, 1);
    for (size_t has = 1; has < 4; has++) {
        assert_false(enter(a)); /* one more only when a message has arrived */
        gate_note_success(scene->gate);
        fill(a, 1);
    }
    gate_note_success(scene->gate);
    assert_false(enter(a)); /* the ceiling */
}

static void a_refused_second_connection_is_no_reason_to_rest(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];
    int64_t again_ms = INT64_MAX;

    fill(a, 1);
    assert_true(enter(b));
    leave(b, GATE_UNREACHABLE);
    deliver_letters(scene);
    assert_true(gate_is_usable(b->side, false));
    assert_null(gate_enter(b->side, &again_ms));
    assert_int_equal(again_ms, clock_mono_ms() + 5000); /* or earlier, when the other one goes: */
    leave(a, GATE_FINISHED);
    deliver_letters(scene);
    assert_true(enter(b));
    ready(b);
    assert_false(enter(a));
    pass_time_ms(5000);
    assert_true(enter(a));
}

/* No event will come when the five seconds are over: it has to know. */
static void who_waits_meanwhile_is_told_when_to_ask_again(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1], *c = &scene->players[2];
    int64_t again_ms = INT64_MAX;

    fill(a, 1);
    assert_true(enter(a) && enter(b));
    assert_null(gate_enter(c->side, &again_ms));
    assert_int_equal(again_ms, INT64_MAX);
    leave(b, GATE_UNREACHABLE);
    deliver_letters(scene);
    assert_int_equal(c->woken, 1);
    assert_null(gate_enter(c->side, &again_ms));
    assert_int_equal(again_ms, clock_mono_ms() + 5000);
    pass_time_ms(5000);
    assert_true(enter(c));
}

static void a_refused_login_sends_everybody_away_and_a_reload_lets_one_try(void **state)
{
    struct scene *scene = *state;
    struct player *a = &scene->players[0], *b = &scene->players[1];
    struct why reason;

    fill(b, 1);
    assert_true(enter(a));
    leave(a, GATE_LOGIN_REFUSED);
    assert_true(gate_was_sent_away(b->side, &reason));
    assert_false(gate_is_usable(b->side, false));
    leave(b, GATE_FINISHED);
    assert_int_equal(gate_look(scene->gate, &reason), GATE_PAUSED);
    gate_configure(scene->gate, &scene->options);
    assert_true(gate_is_usable(b->side, false));
    assert_true(enter(b));
    assert_false(enter(a));
}

/* --- threads ---------------------------------------------------------------------------------- */

#define THREADS 4
#define EACH    300
#define CEILING 2

struct worker {
    pthread_t thread;
    struct loop loop;
    struct gate_side *side;
    struct loop_task task;
    struct gate_pass *pass;
    _Atomic int *inside, *most;
    int left;
};

static void worker_try(void *owner)
{
    struct worker *worker = owner;
    int64_t again_ms = INT64_MAX;

    if (worker->pass != NULL || worker->left == 0)
        return;
    worker->pass = gate_enter(worker->side, &again_ms);
    if (worker->pass == NULL)
        return;
    int inside = atomic_fetch_add(worker->inside, 1) + 1;

    if (inside > atomic_load(worker->most))
        atomic_store(worker->most, inside);
    gate_pass_ready(worker->pass);
    loop_later(&worker->loop, &worker->task);
}

static void worker_leave(void *owner)
{
    struct worker *worker = owner;

    atomic_fetch_sub(worker->inside, 1);
    gate_pass_over(worker->pass, GATE_FINISHED, "");
    gate_pass_unref(worker->pass);
    worker->pass = NULL;
    worker->left--;
    if (worker->left > 0)
        worker_try(worker);
    else
        gate_settle(worker->side, false, 0);
}

static void *work(void *owner)
{
    struct worker *worker = owner;

    worker_try(worker);
    loop_run(&worker->loop); /* held as long as it waits */
    gate_side_close(worker->side);
    loop_close(&worker->loop);
    return NULL;
}

static void threads_share_the_places_and_all_get_through(void **state)
{
    static struct worker workers[THREADS];
    struct gate_options options = { .max_connections = CEILING };
    struct gate *gate = gate_new(&options);
    _Atomic int inside = 0, most = 0;
    struct why why;

    (void)state;
    alarm(60);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .inside = &inside, .most = &most, .left = EACH };
        if (!loop_init(&workers[i].loop, &why))
            fail_msg("%s", why.text);
        loop_task_init(&workers[i].task, worker_leave, &workers[i]);
        workers[i].side = gate_side_open(gate, &workers[i].loop, worker_try, &workers[i]);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].left, 0);
    }
    assert_in_range(most, 1, CEILING);
    gate_unref(gate);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        GATE_TEST(all_sides_together_keep_to_the_ceiling),
        GATE_TEST(one_side_may_have_it_all),
        GATE_TEST(a_place_is_free_once_the_socket_is_closed),
        GATE_TEST(at_first_one_then_as_many_at_a_time_as_work),
        GATE_TEST(what_is_kept_and_not_wanted_goes_to_the_next),
        GATE_TEST(other_ceilings_hold_at_once),
        GATE_TEST(a_side_may_leave_with_a_letter_on_its_way),
        GATE_TEST(what_is_idle_is_given_to_who_waits),
        GATE_TEST(what_falls_idle_while_somebody_waits_is_given_too),
        GATE_TEST(who_has_more_gives_after_a_while),
        GATE_TEST(with_one_place_two_sides_take_turns),
        GATE_TEST(one_side_tries_for_all),
        GATE_TEST(it_is_taken_back_into_use_slowly),
        GATE_TEST(a_refused_second_connection_is_no_reason_to_rest),
        GATE_TEST(who_waits_meanwhile_is_told_when_to_ask_again),
        GATE_TEST(a_refused_login_sends_everybody_away_and_a_reload_lets_one_try),
        cmocka_unit_test(threads_share_the_places_and_all_get_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
