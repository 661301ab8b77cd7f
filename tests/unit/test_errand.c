/* test_errand.c - is what may hang done elsewhere, and its end told on the loop? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>

#include "relay/net/errand.h"

#define COUNT 8 /* more than libuv's pool has threads */

struct trip {
    struct errand errand;
    sem_t *gate; /* NULL: it does not wait */
    pthread_t went;
    unsigned done;
    struct loop *again; /* where it goes a second time, or NULL */
};

static void go(struct errand *errand)
{
    struct trip *trip = container_of(errand, struct trip, errand);

    trip->went = pthread_self();
    if (trip->gate != NULL)
        sem_wait(trip->gate);
}

static void come_back(struct errand *errand)
{
    struct trip *trip = container_of(errand, struct trip, errand);
    struct loop *again = trip->again;

    trip->done++;
    trip->again = NULL;
    if (again != NULL)
        assert_true(errand_start(again, errand, go, come_back));
}

static int open_loop(void **state)
{
    static struct loop loop;
    struct why why = { "" };

    *state = &loop;
    return loop_init(&loop, &why) ? 0 : -1;
}

static int close_loop(void **state)
{
    loop_close(*state);
    return 0;
}

static void it_is_done_on_another_thread_and_told_on_this_one(void **state)
{
    struct trip trip = { .done = 0 };

    assert_true(errand_start(*state, &trip.errand, go, come_back));
    assert_int_equal(trip.done, 0);
    loop_run(*state);
    assert_int_equal(trip.done, 1);
    assert_false(pthread_equal(trip.went, pthread_self()));
}

static void it_may_start_again_when_it_is_told(void **state)
{
    struct trip trip = { .again = *state };

    assert_true(errand_start(*state, &trip.errand, go, come_back));
    loop_run(*state);
    assert_int_equal(trip.done, 2);
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *result)
{
    sem_t *gate = request->data;

    assert_int_equal(status, 0);
    uv_freeaddrinfo(result);
    for (unsigned i = 0; i < COUNT; i++)
        sem_post(gate); /* only now */
}

static void errands_that_hang_leave_the_threads_of_others_alone(void **state)
{
    struct loop *loop = *state;
    struct trip trips[COUNT] = { 0 };
    uv_getaddrinfo_t request;
    sem_t gate;

    sem_init(&gate, 0, 0);
    request.data = &gate;
    for (size_t i = 0; i < COUNT; i++) {
        trips[i].gate = &gate;
        assert_true(errand_start(loop, &trips[i].errand, go, come_back));
    }
    assert_int_equal(uv_getaddrinfo(&loop->uv, &request, on_looked_up, "127.0.0.1", NULL, NULL), 0);
    loop_run(loop);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(trips[i].done, 1);
    sem_destroy(&gate);
}

#define ERRAND_TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ERRAND_TEST(it_is_done_on_another_thread_and_told_on_this_one),
        ERRAND_TEST(it_may_start_again_when_it_is_told),
        ERRAND_TEST(errands_that_hang_leave_the_threads_of_others_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
