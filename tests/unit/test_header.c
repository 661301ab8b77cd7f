/* test_header.c - which fields a block has, and which blocks are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/header.h"

static void a_block_is_read_or_the_reason_is_given(void **state)
{
    static const struct {
        struct slice block;
        enum header_error want;
        size_t count;
    } rows[] = {
        { SLICE("From: a\r\n\r\n"), HEADER_OK, 1 },
        { SLICE("From: a\r\n"), HEADER_OK, 1 },
        { SLICE("From: a"), HEADER_OK, 1 },
        { SLICE("From:a\r\nTo:\r\nX-!#$%&'*+.^_`|~9:z\r\n\r\n"), HEADER_OK, 3 },
        { SLICE("Subject: a\r\n b\r\n\tc\r\nTo: d\r\n\r\n"), HEADER_OK, 2 },
        { SLICE("Subject:\r\n b\r\n\r\n"), HEADER_OK, 1 },
        { SLICE("Subject: x\r\n\tFrom: y\r\n\r\n"), HEADER_OK, 1 },
        { SLICE("A: b\r\n\r\nnot a field\n\0\r\n"), HEADER_OK, 1 },
        { SLICE("Subject: \x1b$B\x01\x7f\r\n\r\n"), HEADER_OK, 1 },
        { SLICE(""), HEADER_EMPTY, 0 },
        { SLICE("\r\n"), HEADER_EMPTY, 0 },
        { SLICE("\r\nFrom: <a@good.example>\r\n\r\n"), HEADER_EMPTY, 0 },
        { SLICE("From : a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From\t: a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From\r\n : a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("Fr om: a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From\x01: a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From\x7f: a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("Fr\xc3\xb6m: a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("\xef\xbb\xbf"
                "From: a\r\n\r\n"),
          HEADER_BAD_NAME, 0 },
        { SLICE(": a\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("To: a\r\nno colon\r\n\r\n"), HEADER_BAD_NAME, 0 },
        { SLICE("From a@good.example Sat Jan  3 01:05:34 1996\r\nTo: a\r\n\r\n"), HEADER_BAD_NAME,
          0 },
        { SLICE(" From: a\r\n\r\n"), HEADER_BAD_FOLD, 0 },
        { SLICE("\tFrom: a\r\n\r\n"), HEADER_BAD_FOLD, 0 },
        { SLICE(" \r\nFrom: a\r\n\r\n"), HEADER_BAD_FOLD, 0 },
        { SLICE("To: a\r\n \r\nFrom: b\r\n\r\n"), HEADER_BAD_FOLD, 0 },
        { SLICE("To: a\r\n \t \r\n b\r\n\r\n"), HEADER_BAD_FOLD, 0 },
        { SLICE("To: a\r\n "), HEADER_BAD_FOLD, 0 },
        { SLICE("To: a\0b\r\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\nFrom: b\r\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\rFrom: b\r\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\r\r\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\r\n\nFrom: b\r\n\r\n"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\r"), HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\n"), HEADER_BAD_BYTE, 0 },
        /* Bytes at which Python's splitlines() begins a new line. */
        { SLICE("To: a\x0b"
                "From: b\r\n\r\n"),
          HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\x0c"
                "From: b\r\n\r\n"),
          HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\x1c"
                "From: b\r\n\r\n"),
          HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\x1d"
                "From: b\r\n\r\n"),
          HEADER_BAD_BYTE, 0 },
        { SLICE("To: a\x1e"
                "From: b\r\n\r\n"),
          HEADER_BAD_BYTE, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct header header;
        enum header_error error = header_parse(rows[i].block, &header);
        if (error != rows[i].want || header.count != rows[i].count)
            fail_msg("row %zu '%.*s': got %d with %zu fields, want %d with %zu", i,
                     SLICE_ARG(rows[i].block), (int)error, header.count, (int)rows[i].want,
                     rows[i].count);
        header_free(&header);
    }
}

static void a_field_has_its_name_value_and_whole(void **state)
{
    struct slice block = SLICE("Subject: one\r\n\ttwo\r\nTo:x\r\nCc:");
    struct header header;

    (void)state;
    assert_int_equal(header_parse(block, &header), HEADER_OK);
    assert_int_equal(header.count, 3);
    assert_true(slice_equal(header.fields[0].name, SLICE("Subject")));
    assert_true(slice_equal(header.fields[0].value, SLICE(" one\r\n\ttwo")));
    assert_true(slice_equal(header.fields[0].whole, SLICE("Subject: one\r\n\ttwo\r\n")));
    assert_true(slice_equal(header.fields[1].value, SLICE("x")));
    assert_true(slice_equal(header.fields[2].whole, SLICE("Cc:")));
    assert_int_equal(header.fields[2].value.len, 0);
    assert_false(header.eight_bit);
    header_free(&header);
    header_free(&header); /* what is free may be freed again */
}

static void fields_are_counted_without_regard_to_case(void **state)
{
    const struct header_field *first = NULL;
    struct header header;

    (void)state;
    assert_int_equal(header_parse(SLICE("To: 1\r\nfRoM: 2\r\nFROM: 3\r\nFrom-X: 4\r\n"), &header),
                     HEADER_OK);
    assert_int_equal(header_count(&header, SLICE("From"), &first), 2);
    assert_true(slice_equal(first->value, SLICE(" 2")));
    assert_int_equal(header_count(&header, SLICE("Fro"), NULL), 0);
    first = NULL;
    assert_int_equal(header_count(&header, SLICE("Date"), &first), 0);
    assert_null(first);
    header_free(&header);
}

static void eight_bit_values_are_told_and_kept(void **state)
{
    struct header header;

    (void)state;
    assert_int_equal(header_parse(SLICE("Subject: Gr\xc3\xbc\xc3\x9f"
                                        "e \xff\r\n"),
                                  &header),
                     HEADER_OK);
    assert_true(header.eight_bit);
    header_free(&header);
    assert_int_equal(header_parse(SLICE("Subject: a\r\n\r\nbody \xff"), &header), HEADER_OK);
    assert_false(header.eight_bit);
    header_free(&header);
}

static void a_block_has_at_most_a_thousand_fields(void **state)
{
    struct header header;
    char block[(HEADER_FIELDS_MAX + 1) * 5];

    (void)state;
    for (size_t i = 0; i < HEADER_FIELDS_MAX + 1; i++)
        memcpy(block + i * 5, "A:b\r\n", 5);
    assert_int_equal(header_parse(slice_make(block, sizeof(block) - 5), &header), HEADER_OK);
    assert_int_equal(header.count, HEADER_FIELDS_MAX);
    assert_true(slice_equal(header.fields[HEADER_FIELDS_MAX - 1].whole, SLICE("A:b\r\n")));
    header_free(&header);
    assert_int_equal(header_parse(slice_make(block, sizeof(block)), &header), HEADER_TOO_MANY);
    assert_int_equal(header.count, 0);
    assert_null(header.fields);
}

static void the_end_of_a_growing_block_is_found_once_it_is_there(void **state)
{
    static const struct {
        struct slice message;
        size_t want;
    } rows[] = {
        { SLICE(""), SLICE_NONE },
        { SLICE("\r"), SLICE_NONE },
        { SLICE("\r\n"), 2 },
        { SLICE("\r\nFrom: a\r\n\r\n"), 2 },
        { SLICE("A: b\r\n\r\n"), 8 },
        { SLICE("A: b\r\n\r\nC\r\n\r\n"), 8 },
        { SLICE("A: b\r\n\r"), SLICE_NONE },
        { SLICE("A: b\n\nC: d"), SLICE_NONE },
        { SLICE("A: b\r\r\n\n"), SLICE_NONE },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t end = SLICE_NONE;
        /* One byte after the other, telling each time how far the last look went. */
        for (size_t len = 0; len <= rows[i].message.len && end == SLICE_NONE; len++)
            end = header_find_end(slice_first(rows[i].message, len), len == 0 ? 0 : len - 1);
        if (end != rows[i].want || header_find_end(rows[i].message, 0) != rows[i].want)
            fail_msg("row %zu: got %zu, want %zu", i, end, rows[i].want);
    }
    assert_int_equal(header_find_end(SLICE("A: b\r\n"), 1000), SLICE_NONE);
    assert_int_equal(header_find_end((struct slice){ 0 }, 0), SLICE_NONE);
}

static void every_header_error_has_its_own_text(void **state)
{
    (void)state;
    for (int i = HEADER_OK; i <= HEADER_TOO_MANY; i++)
        for (int j = HEADER_OK; j < i; j++)
            assert_string_not_equal(header_error_text((enum header_error)i),
                                    header_error_text((enum header_error)j));
    assert_non_null(header_error_text((enum header_error)99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_read_or_the_reason_is_given),
        cmocka_unit_test(a_field_has_its_name_value_and_whole),
        cmocka_unit_test(fields_are_counted_without_regard_to_case),
        cmocka_unit_test(eight_bit_values_are_told_and_kept),
        cmocka_unit_test(a_block_has_at_most_a_thousand_fields),
        cmocka_unit_test(the_end_of_a_growing_block_is_found_once_it_is_there),
        cmocka_unit_test(every_header_error_has_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
