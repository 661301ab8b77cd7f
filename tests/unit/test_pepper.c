/* test_pepper.c - where the pepper comes from, and when it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/auth_place.h"

static const char hex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static void write_file(const char *path, const void *bytes, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void pepper_is_made_once_and_found_again(void **state)
{
    struct place *place = *state;
    struct key_pepper *first = key_pepper_new(&place->why), *second = key_pepper_new(&place->why);
    struct stat info;

    assert_true(pepper_load(first, place->pepper, NULL, true, &place->why));
    assert_true(pepper_load(second, place->pepper, NULL, true, &place->why));
    assert_memory_equal(first->bytes, second->bytes, sizeof(first->bytes));
    assert_int_equal(stat(place->pepper, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_size, KEY_PEPPER_BYTES);
    key_pepper_free(first);
    key_pepper_free(second);
    unlink(place->pepper); /* and nothing else was left: */
    assert_int_equal(rmdir(place->folder), 0);
    assert_int_equal(mkdir(place->folder, 0700), 0);
}

static void pepper_is_not_made_when_keys_exist(void **state)
{
    struct place *place = *state;
    struct key_pepper pepper;

    assert_false(pepper_load(&pepper, place->pepper, NULL, false, &place->why));
    assert_non_null(strstr(place->why.text, place->pepper));
    assert_int_equal(access(place->pepper, F_OK), -1);
}

static void unfit_files_are_refused_by_name(void **state)
{
    static const struct {
        size_t len;
        mode_t mode;
        const char *word; /* NULL: fits */
    } cases[] = {
        { 32, 0600, NULL },   { 32, 0400, NULL },   { 32, 0640, "0640" },
        { 32, 0604, "0604" }, { 32, 0644, "0644" }, { 32, 0620, "0620" },
        { 31, 0600, "31" },   { 33, 0600, "33" },   { 0, 0600, " 0:" },
    };
    struct place *place = *state;
    const uint8_t bytes[64] = { 1, 2, 3 };
    struct key_pepper pepper;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_file(place->pepper, bytes, cases[i].len, cases[i].mode);
        bool ok = pepper_load(&pepper, place->pepper, NULL, true, &place->why);
        if (ok != (cases[i].word == NULL))
            fail_msg("row %zu: %s", i, place->why.text);
        if (ok)
            assert_memory_equal(pepper.bytes, bytes, sizeof(pepper.bytes));
        else if (strstr(place->why.text, cases[i].word) == NULL ||
                 strstr(place->why.text, place->pepper) == NULL)
            fail_msg("row %zu: %s", i, place->why.text);
        assert_int_equal(chmod(place->pepper, 0600), 0);
    }
}

static void a_folder_is_no_pepper(void **state)
{
    struct place *place = *state;
    struct key_pepper pepper;

    assert_false(pepper_load(&pepper, place->folder, NULL, true, &place->why));
    assert_non_null(strstr(place->why.text, "not a regular file"));
}

static void the_environment_replaces_the_file(void **state)
{
    struct place *place = *state;
    struct key_pepper pepper;

    assert_true(pepper_load(&pepper, place->pepper, hex, false, &place->why));
    assert_int_equal(pepper.bytes[31], 31);
    assert_int_equal(access(place->pepper, F_OK), -1);
    assert_false(pepper_load(&pepper, place->pepper, "00", true, &place->why));
    assert_non_null(strstr(place->why.text, "64"));
    assert_null(strstr(place->why.text, "00"));
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make_folder, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(pepper_is_made_once_and_found_again), IN_PLACE(pepper_is_not_made_when_keys_exist),
        IN_PLACE(unfit_files_are_refused_by_name),     IN_PLACE(a_folder_is_no_pepper),
        IN_PLACE(the_environment_replaces_the_file),
    };
    struct why why;

    if (!key_start(&why))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
