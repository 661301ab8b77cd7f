/* test_work.c - whose work is done next beside the loop? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/http/work.h"

struct job {
    struct work work;
    const char *name; /* account, key, number within it */
    bool waits;       /* until the gate opens */
};

struct scene {
    struct loop loop;
    struct work_queue queue;
    pthread_mutex_t gate;
    _Atomic unsigned running, most;
    char ended[256];
    unsigned done;
};

static struct scene scene;

static void run(struct work *work)
{
    unsigned running = ++scene.running;

    if (running > scene.most)
        scene.most = running;
    if (container_of(work, struct job, work)->waits) {
        pthread_mutex_lock(&scene.gate);
        pthread_mutex_unlock(&scene.gate);
    }
    scene.running--;
}

static void done(struct work *work)
{
    strcat(scene.ended, container_of(work, struct job, work)->name);
    strcat(scene.ended, " ");
    scene.done++;
}

/* One job keeps one of the two threads busy, so the others are done one after the other. */
static void accounts_take_turns_and_keys_within_them(void **state)
{
    struct job jobs[] = {
        { .name = "Z1a", .waits = true },
        { .name = "A1a" },
        { .name = "A1b" },
        { .name = "A1c" },
        { .name = "A2a" },
        { .name = "B1a" },
        { .name = "C1a" },
        { .name = "B1b" },
    };
    struct why why = { "" };

    (void)state;
    pthread_mutex_init(&scene.gate, NULL);
    assert_true(loop_init(&scene.loop, &why));
    work_queue_open(&scene.queue, &scene.loop);
    pthread_mutex_lock(&scene.gate);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i].work.run = run;
        jobs[i].work.done = done;
        work_start(&scene.queue, &jobs[i].work, slice_make(jobs[i].name, 1),
                   slice_make(jobs[i].name + 1, 1));
        assert_int_equal(scene.done, 0); /* never from inside */
    }
    while (scene.done < ARRAY_LEN(jobs) - 1)
        uv_run(&scene.loop.uv, UV_RUN_ONCE);
    pthread_mutex_unlock(&scene.gate);
    while (scene.done < ARRAY_LEN(jobs))
        uv_run(&scene.loop.uv, UV_RUN_ONCE);
    assert_string_equal(scene.ended, "A1a A1b B1a C1a A2a B1b A1c Z1a ");
    assert_true(scene.most <= WORK_THREADS);
    work_queue_close(&scene.queue);
    loop_close(&scene.loop);
    pthread_mutex_destroy(&scene.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_take_turns_and_keys_within_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
