/* test_returned.c - which fields go back to the sender, and in which form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/message/returned.h"

/* What comes out for this message, in a buf that has exactly the room it was promised to need. */
static struct returned give(struct slice message, size_t max, struct buf *out)
{
    struct returned returned = returned_take(message, max);

    buf_init(out, max);
    assert_true(returned_add(&returned, out));
    return returned;
}

static void whole_fields_are_taken_up_to_the_empty_line(void **state)
{
    static const struct {
        struct slice message, want;
        bool encoded;
    } rows[] = {
        { SLICE("A: b\r\n\r\nBody: x\r\n"), SLICE("A: b\r\n"), false },
        { SLICE("A: b\r\nC: d\r\n\te\r\n f\r\n\r\n"), SLICE("A: b\r\nC: d\r\n\te\r\n f\r\n"),
          false },
        { SLICE(""), SLICE(""), false },
        { SLICE("\r\nA: b\r\n"), SLICE(""), false },
        { SLICE("A: b\r\n"), SLICE("A: b\r\n"), false },
        /* The start of a message, cut anywhere. */
        { SLICE("A: b\r\nC: d"), SLICE("A: b\r\n"), false },
        { SLICE("A: b\r\nC: d\r"), SLICE("A: b\r\n"), false },
        { SLICE("A: b\r\nC: d\r\n\te"), SLICE("A: b\r\n"), false },
        { SLICE("A: b"), SLICE(""), false },
        /* What 7-bit text may hold stays as it is. */
        { SLICE("A: =C3 \x1b$B \t\r\n"), SLICE("A: =C3 \x1b$B \t\r\n"), false },
        /* And what it may not. */
        { SLICE("A: \xc3\xbc=\r\nB: c\r\n"), SLICE("A: =C3=BC=3D\r\nB: c\r\n"), true },
        { SLICE("A: b\0c\r\n"), SLICE("A: b=00c\r\n"), true },
        { SLICE("A: b\nC: d\r\n\r\n"), SLICE("A: b=0AC: d\r\n"), true },
        { SLICE("A: b\rC: d\r\r\n\r\n"), SLICE("A: b=0DC: d=0D\r\n"), true },
        { SLICE("A: \xff \r\nB: c\t\r\nD: e f\r\n"), SLICE("A: =FF=20\r\nB: c=09\r\nD: e f\r\n"),
          true },
        /* Bytes of the body decide nothing. */
        { SLICE("A: b\r\n\r\n\xff\0"), SLICE("A: b\r\n"), false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        struct returned returned = give(rows[i].message, 1000, &out);
        if (!slice_equal(buf_slice(&out), rows[i].want) || returned.encoded != rows[i].encoded)
            fail_msg("row %zu: encoded %d, got\n%.*s", i, returned.encoded,
                     SLICE_ARG(buf_slice(&out)));
        buf_free(&out);
    }
}

static void what_finds_no_room_is_left_out_by_the_field(void **state)
{
    static const struct {
        struct slice message;
        size_t max;
        struct slice want;
    } rows[] = {
        { SLICE("A: b\r\nC: d\r\n e\r\n\r\n"), 0, SLICE("") },
        { SLICE("A: b\r\nC: d\r\n e\r\n\r\n"), 5, SLICE("") },
        { SLICE("A: b\r\nC: d\r\n e\r\n\r\n"), 6, SLICE("A: b\r\n") },
        { SLICE("A: b\r\nC: d\r\n e\r\n\r\n"), 15, SLICE("A: b\r\n") },
        { SLICE("A: b\r\nC: d\r\n e\r\n\r\n"), 16, SLICE("A: b\r\nC: d\r\n e\r\n") },
        { SLICE("A: =\r\nC: \xff\r\n\r\n"), 11, SLICE("A: =\r\n") },
        { SLICE("A: =\r\nC: \xff\r\n\r\n"), 12, SLICE("A: =3D\r\n") },
        { SLICE("A: =\r\nC: \xff\r\n\r\n"), 15, SLICE("A: =3D\r\n") },
        { SLICE("A: =\r\nC: \xff\r\n\r\n"), 16, SLICE("A: =3D\r\nC: =FF\r\n") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        give(rows[i].message, rows[i].max, &out);
        if (!slice_equal(buf_slice(&out), rows[i].want))
            fail_msg("row %zu: got\n%.*s", i, SLICE_ARG(buf_slice(&out)));
        buf_free(&out);
    }
}

static void a_line_over_998_octets_is_encoded_in_lines_of_76(void **state)
{
    static const struct {
        size_t line; /* octets without CRLF */
        bool encoded;
    } rows[] = { { 998, false }, { 999, true }, { 20000, true } };
    char message[20002];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        memset(message, 'a', rows[i].line);
        memcpy(message, "A: ", 3);
        memcpy(message + rows[i].line, "\r\n", 2);
        struct returned returned = give(slice_make(message, rows[i].line + 2), 32768, &out);
        struct slice rest = buf_slice(&out);
        if (returned.encoded != rows[i].encoded || returned.block.len != rows[i].line + 2)
            fail_msg("%zu octets: encoded %d", rows[i].line, returned.encoded);
        for (size_t most = returned.encoded ? 76 : 998; rest.data != NULL;)
            assert_true(slice_cut(&rest, '\n').len <= most + 1);
        buf_free(&out);
    }
}

static void a_full_buffer_is_told(void **state)
{
    struct returned returned = returned_take(SLICE("A: \xff\r\n"), 100);

    (void)state;
    for (size_t max = 0; max <= 8; max++) {
        struct buf out;
        buf_init(&out, max);
        if (returned_add(&returned, &out) != (max == 8))
            fail_msg("a maximum of %zu bytes", max);
        buf_free(&out);
    }
}

/* Its cost grows with the message, not faster: a reader of this test waits for it otherwise. */
static void a_vast_block_of_tiny_fields_is_cut(void **state)
{
    size_t len = 24 * 1024 * 1024;
    char *message = xmalloc(len);
    struct buf out;

    (void)state;
    for (size_t i = 0; i < len; i += 4)
        memcpy(message + i, ":\xff\r\n", 4);
    give(slice_make(message, len), 32768, &out);
    assert_int_equal(buf_len(&out), 32766); /* six octets each */
    buf_free(&out);
    free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_fields_are_taken_up_to_the_empty_line),
        cmocka_unit_test(what_finds_no_room_is_left_out_by_the_field),
        cmocka_unit_test(a_line_over_998_octets_is_encoded_in_lines_of_76),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(a_vast_block_of_tiny_fields_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
