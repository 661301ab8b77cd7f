/* test_buf.c - growing up to the maximum, consuming, moving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "relay/base/buf.h"

static void assert_holds(const struct buf *buf, const char *want)
{
    struct slice got = buf_slice(buf);

    if (!slice_equal(got, slice_of(want)))
        fail_msg("holds '%.*s', want '%s'", SLICE_ARG(got), want);
    assert_int_equal(buf_len(buf), strlen(want));
}

static void a_new_buf_holds_nothing_and_no_memory(void **state)
{
    struct buf buf, zeroed = { 0 };

    (void)state;
    buf_init(&buf, 10);
    assert_null(buf.data);
    assert_holds(&buf, "");
    buf_consume(&buf, 0);
    buf_clear(&buf);
    assert_true(buf_add(&buf, slice_make(NULL, 0)));
    assert_null(buf.data);
    buf_free(&buf);
    buf_wipe(&buf);
    buf_free(&zeroed);
    buf_wipe(&zeroed);
    assert_int_equal(buf.max, 10);
}

static void adding_past_the_maximum_changes_nothing(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 5);
    assert_true(buf_add(&buf, SLICE("abc")));
    assert_false(buf_add(&buf, SLICE("def")));
    assert_holds(&buf, "abc");
    assert_false(buf_printf(&buf, "%d", 123));
    assert_holds(&buf, "abc");
    assert_true(buf_printf(&buf, "%s", "de"));
    assert_holds(&buf, "abcde");
    assert_false(buf_add_byte(&buf, 'f'));
    assert_null(buf_reserve(&buf, 1));
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_holds(&buf, "abcde");
    buf_consume(&buf, 2);
    assert_true(buf_add(&buf, SLICE("fg")));
    assert_holds(&buf, "cdefg");
    buf_free(&buf);
}

static void a_maximum_of_zero_holds_nothing(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 0);
    assert_false(buf_add_byte(&buf, 'x'));
    assert_true(buf_printf(&buf, "%s", ""));
    assert_non_null(buf_reserve(&buf, 0));
    assert_holds(&buf, "");
    buf_free(&buf);
}

static void a_large_maximum_is_reached_without_overflow(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, SIZE_MAX);
    for (int i = 0; i < 1000; i++)
        assert_true(buf_add(&buf, SLICE("0123456789")));
    assert_int_equal(buf_len(&buf), 10000);
    assert_true(buf.capacity < 20001);
    assert_null(buf_reserve(&buf, SIZE_MAX));
    buf_free(&buf);
}

static void content_survives_any_mix_of_adding_and_consuming(void **state)
{
    struct buf buf;
    size_t written = 0, read = 0;

    (void)state;
    buf_init(&buf, 1000);
    for (size_t round = 0; round < 5000; round++) {
        for (size_t i = 0; i < round % 97; i++)
            if (buf_add_byte(&buf, (char)(written % 251)))
                written++;
            else
                assert_int_equal(buf_len(&buf), 1000);
        size_t take = round % 89 < buf_len(&buf) ? round % 89 : buf_len(&buf);
        for (size_t i = 0; i < take; i++, read++)
            assert_true(buf_slice(&buf).data[i] == (char)(read % 251));
        buf_consume(&buf, take);
        assert_int_equal(buf_len(&buf), written - read);
        assert_true(buf.capacity <= 1000);
    }
    buf_free(&buf);
}

static void reserved_room_counts_when_committed(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 600);
    char *room = buf_reserve(&buf, 600);
    assert_non_null(room);
    memset(room, 'x', 600);
    assert_holds(&buf, "");
    buf_commit(&buf, 2);
    assert_holds(&buf, "xx");
    assert_null(buf_reserve(&buf, 599));
    buf_consume(&buf, 1);
    assert_non_null(buf_reserve(&buf, 599));
    assert_holds(&buf, "x");
    buf_free(&buf);
}

static void moving_takes_content_and_maximum(void **state)
{
    struct buf from, to;

    (void)state;
    buf_init(&from, 8);
    buf_init(&to, 3);
    assert_true(buf_add(&from, SLICE("content")));
    assert_true(buf_add(&to, SLICE("old")));
    buf_move(&to, &from);
    assert_holds(&to, "content");
    assert_holds(&from, "");
    assert_int_equal(to.max, 8);
    assert_int_equal(from.max, 8);
    assert_true(buf_add(&from, SLICE("usable")));
    buf_wipe(&to);
    buf_wipe(&from);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_buf_holds_nothing_and_no_memory),
        cmocka_unit_test(adding_past_the_maximum_changes_nothing),
        cmocka_unit_test(a_maximum_of_zero_holds_nothing),
        cmocka_unit_test(a_large_maximum_is_reached_without_overflow),
        cmocka_unit_test(content_survives_any_mix_of_adding_and_consuming),
        cmocka_unit_test(reserved_room_counts_when_committed),
        cmocka_unit_test(moving_takes_content_and_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
