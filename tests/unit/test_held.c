#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "relay/base/alloc.h"
#include "relay/held.h"
#include "tests/support/queue_desk.h"

static int open_folder(void **state)
{
    *state = desk_folder_new();
    return 0;
}

static int close_folder(void **state)
{
    desk_folder_remove(*state);
    return 0;
}

static struct held *open_held(const char *folder)
{
    struct held *held = NULL;
    struct why why = { "" };

    if (!held_open(&held, folder, &why))
        fail_msg("%s", why.text);
    return held;
}

static void set(struct held *held, const char *name, bool hold)
{
    struct why why = { "" };

    if (!held_set(held, name, hold, &why))
        fail_msg("%s", why.text);
}

static void what_is_held_is_held_after_the_next_start(void **state)
{
    struct stat status;
    struct held *held = open_held(*state);
    char *path = xasprintf("%s/held-upstreams", (char *)*state);

    assert_null(held_name(held, 0));
    set(held, "main", true);
    set(held, "main", true); /* twice is once */
    set(held, "a name, with spaces", true);
    set(held, "third", true);
    set(held, "main", false);
    set(held, "main", false);
    assert_null(held_name(held, 2));
    held_close(held);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);

    held = open_held(*state);
    assert_false(held_has(held, "main"));
    assert_true(held_has(held, "third"));
    assert_true(held_has(held, "a name, with spaces"));
    assert_null(held_name(held, 2));
    held_close(held);
    free(path);
}

static void what_cannot_be_recorded_is_refused_and_nothing_changes(void **state)
{
    struct why why = { "" };
    struct held *held = open_held(*state);
    char *blocked = xasprintf("%s/held-upstreams.new", (char *)*state);

    assert_false(held_set(held, "two\nnames", true, &why));
    assert_false(held_set(held, "", true, &why));
    assert_int_equal(mkdir(blocked, 0700), 0);
    assert_false(held_set(held, "main", true, &why));
    assert_non_null(strstr(why.text, blocked));
    assert_false(held_has(held, "main"));
    held_close(held);
    free(blocked);
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    struct why why = { "" };
    struct held *held = NULL;
    char *path = xasprintf("%s/held-upstreams", (char *)*state);

    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(held_open(&held, *state, &why));
    assert_non_null(strstr(why.text, path));
    free(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        TEST(what_is_held_is_held_after_the_next_start),
        TEST(what_cannot_be_recorded_is_refused_and_nothing_changes),
        TEST(a_file_that_cannot_be_read_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
