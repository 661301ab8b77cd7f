/* test_watchdog.c - loops that turn, one that does not, and one that comes back. The limit is
 * short; each test waits for what must happen, not for a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/log.h"
#include "relay/net/loop.h"
#include "relay/watchdog.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char log[8192];
    char bitten[64]; /* the names, each with a comma */
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void add(char *text, size_t size, struct slice more)
{
    size_t len = strlen(text);

    pthread_mutex_lock(&seen.lock);
    snprintf(text + len, size - len, "%.*s", (int)more.len, more.data);
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void note_line(void *owner, struct slice line)
{
    (void)owner;
    add(seen.log, sizeof(seen.log), line);
}

static void note_bite(void *owner, const char *name)
{
    (void)owner;
    add(seen.bitten, sizeof(seen.bitten), slice_of(name));
    add(seen.bitten, sizeof(seen.bitten), SLICE(","));
}

static int count(const char *text, const char *words)
{
    int found = 0;

    while ((text = strstr(text, words)) != NULL) {
        text += strlen(words);
        found++;
    }
    return found;
}

static void wait_until_seen(const char *text, const char *words, int times)
{
    pthread_mutex_lock(&seen.lock);
    while (count(text, words) < times)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
}

static int setup(void **state)
{
    (void)state;
    seen.log[0] = seen.bitten[0] = '\0';
    log_divert(note_line, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_divert(NULL, NULL);
    return 0;
}

static void *run_loop(void *argument)
{
    loop_run(argument);
    return NULL;
}

static struct watchdog *watch(struct loop *loops, size_t many)
{
    const struct watchdog_options options = { .limit_ms = 1, .bite = note_bite };
    struct watchdog *watchdog = watchdog_new(&options);
    struct why why = { "" };

    for (size_t i = 0; i < many; i++) {
        assert_true(loop_init(&loops[i], &why));
        loop_hold(&loops[i]);
        watchdog_add(watchdog, &loops[i].mailbox, i == 0 ? "main" : "worker", i);
    }
    assert_true(watchdog_start(watchdog, &why));
    return watchdog;
}

static void end(struct watchdog *watchdog, struct loop *loops, size_t many)
{
    watchdog_stop(watchdog);
    for (size_t i = 0; i < many; i++) {
        loop_release(&loops[i]);
        loop_close(&loops[i]);
    }
    watchdog_free(watchdog);
}

static void a_loop_that_does_not_turn_is_told_by_name_and_then_bitten_once(void **state)
{
    struct loop loops[2];
    struct watchdog *watchdog = watch(loops, 2);
    pthread_t thread;

    (void)state;
    pthread_create(&thread, NULL, run_loop, &loops[1]); /* the other one turns */
    wait_until_seen(seen.bitten, "main,", 1);
    wait_until_seen(seen.log, "thread_stuck thread=main", 2); /* at first, and at the end */
    loop_stop(&loops[1]);
    pthread_join(thread, NULL);
    watchdog_stop(watchdog);
    assert_int_equal(count(seen.bitten, "main,"), 1);
    end(watchdog, loops, 2);
}

static void a_loop_that_comes_back_in_time_is_told_and_watched_on(void **state)
{
    struct loop loops[1];
    struct watchdog *watchdog = watch(loops, 1);

    (void)state;
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        wait_until_seen(seen.log, "thread_stuck thread=main", i + 1);
        pthread_create(&thread, NULL, run_loop, &loops[0]);
        wait_until_seen(seen.log, "thread_back thread=main", i + 1);
        loop_stop(&loops[0]);
        pthread_join(thread, NULL);
    }
    end(watchdog, loops, 1);
}

static void nobody_is_watched_after_a_stop(void **state)
{
    struct loop loops[1];
    struct watchdog *watchdog = watch(loops, 1);

    (void)state;
    watchdog_stop(watchdog);
    watchdog_stop(watchdog);
    end(watchdog, loops, 1);
    watchdog_stop(NULL);
    watchdog_free(NULL);
    assert_string_equal(seen.bitten, "");
}

#define WATCHDOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        WATCHDOG_TEST(a_loop_that_does_not_turn_is_told_by_name_and_then_bitten_once),
        WATCHDOG_TEST(a_loop_that_comes_back_in_time_is_told_and_watched_on),
        WATCHDOG_TEST(nobody_is_watched_after_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
