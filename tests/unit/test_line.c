/* test_line.c - where command lines end, and what happens to those that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/smtp/line.h"

#define MAX_BYTES 10

static void lines_end_with_crlf_within_the_limit(void **state)
{
    static const struct {
        const char *data;
        enum line_result want;
        const char *line;
        size_t used;
    } rows[] = {
        { "NOOP\r\n", LINE_READ, "NOOP", 6 },
        { "NOOP\r\nQUIT\r\n", LINE_READ, "NOOP", 6 },
        { "\r\n", LINE_READ, "", 2 },
        { "12345678\r\n", LINE_READ, "12345678", 10 },
        { "", LINE_MORE, NULL, 0 },
        { "NOOP", LINE_MORE, NULL, 0 },
        { "NOOP\r", LINE_MORE, NULL, 0 },
        { "a\rb\r\n", LINE_READ, "a\rb", 5 },
        { "NOOP\n", LINE_BARE_LF, NULL, 5 },
        { "\n", LINE_BARE_LF, NULL, 1 },
        { "123456789\r\nQUIT", LINE_TOO_LONG, NULL, 11 },
        { "1234567890\r\nQUIT", LINE_TOO_LONG, NULL, 12 },
        { "12345678901\nQUIT", LINE_BARE_LF, NULL, 12 },
        { "12345678901", LINE_MORE, NULL, 11 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct line_reader reader = { 0 };
        struct slice line = { 0 };
        size_t used;
        enum line_result got = line_cut(&reader, slice_of(rows[i].data), MAX_BYTES, &line, &used);
        if (got != rows[i].want || used != rows[i].used ||
            (got == LINE_READ && !slice_equal(line, slice_of(rows[i].line))))
            fail_msg("row %zu: got %d, used %zu", i, (int)got, used);
    }
}

static void a_long_line_in_many_pieces_is_skipped_and_the_next_one_read(void **state)
{
    static const char *const pieces[] = { "123456789012", "3456\r", "\nNOOP\r\n" };
    static const enum line_result want[] = { LINE_MORE, LINE_MORE, LINE_TOO_LONG };
    struct line_reader reader = { 0 };
    struct slice line, data = { 0 };
    size_t used = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        data = slice_of(pieces[i]);
        assert_int_equal(line_cut(&reader, data, MAX_BYTES, &line, &used), want[i]);
    }
    assert_int_equal(line_cut(&reader, slice_from(data, used), MAX_BYTES, &line, &used), LINE_READ);
    assert_true(slice_equal(line, SLICE("NOOP")));
}

static void an_endless_line_is_given_up_behind_the_cap(void **state)
{
    struct line_reader reader = { 0 };
    char piece[4096];
    struct slice line;
    size_t used, total = 0;
    enum line_result result = LINE_MORE;

    (void)state;
    memset(piece, 'x', sizeof(piece));
    while (result == LINE_MORE && total < 10 * LINE_SKIP_MAX) {
        result = line_cut(&reader, slice_make(piece, sizeof(piece)), 2048, &line, &used);
        total += used == 0 ? sizeof(piece) : used;
    }
    assert_int_equal(result, LINE_ENDLESS);
    assert_true(total <= LINE_SKIP_MAX + 2 * sizeof(piece) + 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_crlf_within_the_limit),
        cmocka_unit_test(a_long_line_in_many_pieces_is_skipped_and_the_next_one_read),
        cmocka_unit_test(an_endless_line_is_given_up_behind_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
