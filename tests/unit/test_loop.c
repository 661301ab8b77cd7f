#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/net/loop.h"

#define SENDERS 4
#define LETTERS 2000

static void open_loop(struct loop *loop)
{
    struct why why;

    if (!loop_init(loop, &why))
        fail_msg("%s", why.text);
}

/* --- tasks ----------------------------------------------------------------------------------- */

struct job {
    struct loop_task task;
    struct loop *loop;
    struct job *cancels;
    unsigned again; /* asks for itself so often */
    unsigned count;
    uint64_t last_turn;
};

static void do_job(void *owner)
{
    struct job *job = owner;

    job->count++;
    assert_true(job->loop->turn > job->last_turn); /* never twice in one turn */
    job->last_turn = job->loop->turn;
    if (job->cancels != NULL)
        loop_task_cancel(&job->cancels->task);
    if (job->again > 0) {
        job->again--;
        loop_later(job->loop, &job->task);
    }
}

static void job_init(struct job *job, struct loop *loop)
{
    *job = (struct job){ .loop = loop };
    loop_task_init(&job->task, do_job, job);
}

static void a_task_runs_once_however_often_it_is_asked_for(void **state)
{
    struct loop loop;
    struct job job;

    (void)state;
    open_loop(&loop);
    job_init(&job, &loop);
    for (int i = 0; i < 3; i++)
        loop_later(&loop, &job.task);
    assert_int_equal(job.count, 0); /* not from inside the call */
    loop_run(&loop);
    assert_int_equal(job.count, 1);
    loop_close(&loop);
}

static void a_task_that_asks_for_itself_runs_in_the_next_turn_and_keeps_the_loop_alive(void **state)
{
    struct loop loop;
    struct job job;

    (void)state;
    open_loop(&loop);
    job_init(&job, &loop);
    job.again = 5;
    loop_later(&loop, &job.task);
    loop_run(&loop);
    assert_int_equal(job.count, 6);
    loop_close(&loop);
}

static void a_cancelled_task_does_not_run_even_when_its_turn_has_begun(void **state)
{
    struct loop loop;
    struct job first, second, third;

    (void)state;
    open_loop(&loop);
    job_init(&first, &loop);
    job_init(&second, &loop);
    job_init(&third, &loop);
    first.cancels = &second;
    loop_later(&loop, &first.task);
    loop_later(&loop, &second.task);
    loop_later(&loop, &third.task);
    loop_task_cancel(&third.task);
    loop_run(&loop);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 0);
    assert_int_equal(third.count, 0);
    loop_close(&loop);
}

/* --- letters --------------------------------------------------------------------------------- */

struct post {
    struct letter letter;
    struct office *office;
    unsigned sender, number;
};

struct office { /* everything but `loop` belongs to the loop's thread */
    struct loop loop;
    pthread_t thread;
    unsigned next[SENDERS];
    unsigned arrived, want;
};

static void deliver(struct letter *letter)
{
    struct post *post = container_of(letter, struct post, letter);
    struct office *office = post->office;

    assert_true(pthread_equal(office->thread, pthread_self()));
    assert_int_equal(post->number, office->next[post->sender]);
    office->next[post->sender]++;
    if (++office->arrived == office->want)
        loop_stop(&office->loop);
    free(post);
}

static void post(struct office *office, unsigned sender, unsigned number)
{
    struct post *post = xcalloc(1, sizeof(*post));

    post->letter.deliver = deliver;
    post->office = office;
    post->sender = sender;
    post->number = number;
    mailbox_post(&office->loop.mailbox, &post->letter);
}

struct sender {
    pthread_t thread;
    struct office *office;
    unsigned index;
};

static void *send_letters(void *owner)
{
    struct sender *sender = owner;

    for (unsigned i = 0; i < LETTERS; i++)
        post(sender->office, sender->index, i);
    return NULL;
}

static void letters_of_many_threads_arrive_on_the_loop_in_the_order_of_each_sender(void **state)
{
    struct office office = { .thread = pthread_self(), .want = SENDERS * LETTERS };
    struct sender senders[SENDERS];

    (void)state;
    open_loop(&office.loop);
    loop_hold(&office.loop);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i].office = &office;
        senders[i].index = i;
        pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]);
    }
    loop_run(&office.loop);
    assert_int_equal(office.arrived, SENDERS * LETTERS);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    loop_release(&office.loop);
    loop_close(&office.loop);
}

static void closing_delivers_the_letters_that_are_left(void **state)
{
    struct office office = { .thread = pthread_self() };

    (void)state;
    open_loop(&office.loop);
    post(&office, 0, 0);
    post(&office, 0, 1);
    loop_close(&office.loop);
    assert_int_equal(office.arrived, 2);
}

/* --- running and stopping -------------------------------------------------------------------- */

static void *stop_loop(void *owner)
{
    loop_stop(owner);
    return NULL;
}

static void another_thread_stops_the_loop(void **state)
{
    struct loop loop;
    pthread_t thread;

    (void)state;
    open_loop(&loop);
    loop_hold(&loop);
    pthread_create(&thread, NULL, stop_loop, &loop);
    loop_run(&loop);
    pthread_join(thread, NULL);
    loop_release(&loop);
    loop_close(&loop);
}

static void a_stop_that_was_asked_for_before_is_not_forgotten(void **state)
{
    struct loop loop;

    (void)state;
    open_loop(&loop);
    loop_hold(&loop);
    loop_stop(&loop);
    loop_run(&loop);
    loop_release(&loop);
    loop_close(&loop);
}

static void a_loop_with_nothing_alive_ends(void **state)
{
    struct loop loop;

    (void)state;
    open_loop(&loop);
    loop_run(&loop);
    loop_close(&loop);
}

/* --- timers ---------------------------------------------------------------------------------- */

struct alarm_clock {
    struct loop_timer timer;
    unsigned fired, closed, close_after;
};

static void on_closed(void *owner)
{
    struct alarm_clock *clock = owner;

    clock->closed++;
}

static void on_alarm(void *owner)
{
    struct alarm_clock *clock = owner;

    if (++clock->fired == clock->close_after) {
        loop_timer_close(&clock->timer, on_closed);
        assert_int_equal(clock->closed, 0); /* not from inside the call */
    }
}

static void timers_fire_repeat_stop_and_say_when_they_are_closed(void **state)
{
    struct loop loop;
    struct alarm_clock once = { .close_after = 1 }, thrice = { .close_after = 3 };
    struct alarm_clock stopped = { .close_after = 0 };

    (void)state;
    open_loop(&loop);
    loop_timer_init(&loop, &once.timer, on_alarm, &once);
    loop_timer_init(&loop, &thrice.timer, on_alarm, &thrice);
    loop_timer_init(&loop, &stopped.timer, on_alarm, &stopped);
    loop_timer_start(&once.timer, 1, 0);
    loop_timer_start(&thrice.timer, 0, 1);
    loop_timer_start(&stopped.timer, 1, 1);
    loop_timer_stop(&stopped.timer);
    loop_run(&loop);
    assert_int_equal(once.fired, 1);
    assert_int_equal(once.closed, 1);
    assert_int_equal(thrice.fired, 3);
    assert_int_equal(thrice.closed, 1);
    assert_int_equal(stopped.fired, 0);
    loop_timer_close(&stopped.timer, on_closed);
    loop_timer_close(&stopped.timer, on_closed); /* twice is once */
    loop_timer_start(&stopped.timer, 0, 0);      /* and too late */
    loop_close(&loop);
    assert_int_equal(stopped.closed, 1);
    assert_int_equal(stopped.fired, 0);
}

static void a_timer_starts_to_count_when_it_is_started(void **state)
{
    struct loop loop;
    struct alarm_clock clock = { .close_after = 1 };

    (void)state;
    open_loop(&loop);
    usleep(30 * 1000); /* as long as it takes to start a daemon */
    loop_timer_init(&loop, &clock.timer, on_alarm, &clock);
    uint64_t before = uv_hrtime();
    loop_timer_start(&clock.timer, 20, 0);
    loop_run(&loop);
    assert_true(uv_hrtime() - before >= 15 * UINT64_C(1000000)); /* clocks are coarse */
    loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_runs_once_however_often_it_is_asked_for),
        cmocka_unit_test(
            a_task_that_asks_for_itself_runs_in_the_next_turn_and_keeps_the_loop_alive),
        cmocka_unit_test(a_cancelled_task_does_not_run_even_when_its_turn_has_begun),
        cmocka_unit_test(letters_of_many_threads_arrive_on_the_loop_in_the_order_of_each_sender),
        cmocka_unit_test(closing_delivers_the_letters_that_are_left),
        cmocka_unit_test(another_thread_stops_the_loop),
        cmocka_unit_test(a_stop_that_was_asked_for_before_is_not_forgotten),
        cmocka_unit_test(a_loop_with_nothing_alive_ends),
        cmocka_unit_test(timers_fire_repeat_stop_and_say_when_they_are_closed),
        cmocka_unit_test(a_timer_starts_to_count_when_it_is_started),
    };

    alarm(60); /* a loop that does not end fails the test */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
