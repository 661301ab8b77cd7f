/* test_body.c - where a message ends, and what poisons it, at every cut of the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/smtp/body.h"

#define SIZE_MAX_BYTES 4096
#define LINE_MAX_BYTES 998

struct outcome {
    bool ended;
    size_t used;
    unsigned faults;
    bool eight_bit;
    struct buf content;
};

/* Gives the input in pieces of `cut` bytes. */
static struct outcome read_in_cuts(struct slice data, size_t cut)
{
    struct outcome got = { 0 };
    struct body body;

    buf_init(&got.content, 2 * SIZE_MAX_BYTES);
    body_start(&body, SIZE_MAX_BYTES, LINE_MAX_BYTES);
    while (!got.ended && got.used < data.len) {
        size_t used;
        got.ended =
            body_read(&body, slice_first(slice_from(data, got.used), cut), &used, &got.content);
        got.used += used;
    }
    got.faults = body.faults;
    got.eight_bit = body.eight_bit;
    return got;
}

static const struct row {
    const char *name;
    struct slice data; /* all of it up to the end is expected to be used, but for `left` */
    bool ended;
    unsigned faults;
    struct slice content; /* where there is no fault */
    size_t left;
} rows[] = {
    { "empty", SLICE(".\r\n"), true, 0, { NULL, 0 }, 0 },
    { "plain", SLICE("a\r\n.\r\n"), true, 0, SLICE("a\r\n"), 0 },
    { "what follows is left", SLICE("a\r\n.\r\nQUIT\r\n"), true, 0, SLICE("a\r\n"), 6 },
    { "A-15 dots", SLICE("..a\r\n...\r\n...b\r\n....\r\n.\r\n"), true, 0,
      SLICE(".a\r\n..\r\n..b\r\n...\r\n"), 0 },
    { "unstuffed dot", SLICE(".a\r\n.\r\n"), true, 0, SLICE("a\r\n"), 0 },
    { "dot in the line", SLICE("a.\r\n.\r\n"), true, 0, SLICE("a.\r\n"), 0 },
    { "not yet", SLICE("a\r\n.\r"), false, 0, SLICE("a\r\n"), 0 },
    { "A-01", SLICE("a\n.\nMAIL\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-02", SLICE("a\r.\rb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-03", SLICE("a\r.\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-04", SLICE("a\n.\rb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-05", SLICE("a\n.\r\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-06", SLICE("a\r\n.\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-07", SLICE("a\r.\r\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-08", SLICE("a\r\n.\rb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-09", SLICE("a\r\n\0.\r\nb\r\n.\r\n"), true, BODY_NUL, { NULL, 0 }, 0 },
    { "A-10", SLICE("a\r\n.\0\r\nb\r\n.\r\n"), true, BODY_NUL, { NULL, 0 }, 0 },
    { "A-11", SLICE("a\r\n.\r\r\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-12", SLICE("a\r\r\n.\r\r\nb\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "A-13", SLICE("a\n.\n"), false, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "first byte LF", SLICE("\n.\r\na\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "first byte CR", SLICE("\r.\r\na\r\n.\r\n"), true, BODY_BARE_LINE_END, { NULL, 0 }, 0 },
    { "both faults", SLICE("\0\n\r\n.\r\n"), true, BODY_NUL | BODY_BARE_LINE_END, { NULL, 0 }, 0 },
};

static void only_a_dot_between_two_crlf_ends_a_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t cut = 1; cut <= rows[i].data.len; cut++) {
            struct outcome got = read_in_cuts(rows[i].data, cut);
            if (got.ended != rows[i].ended || got.faults != rows[i].faults ||
                got.used != rows[i].data.len - rows[i].left ||
                (got.faults == 0 && !slice_equal(buf_slice(&got.content), rows[i].content)))
                fail_msg("%s, cut %zu: ended %d, faults %u, used %zu, content '%.*s'", rows[i].name,
                         cut, got.ended, got.faults, got.used, SLICE_ARG(buf_slice(&got.content)));
            buf_free(&got.content);
        }
}

static void check_line(size_t len, const char *prefix, unsigned want)
{
    char *data = malloc(len + 16);
    size_t at = strlen(prefix);

    memcpy(data, prefix, at);
    memset(data + at, 'x', len);
    memcpy(data + at + len, "\r\n.\r\n", 5);
    struct outcome got = read_in_cuts(slice_make(data, at + len + 5), 7);
    if (!got.ended || got.faults != want)
        fail_msg("line of %zu behind '%s': faults %u, want %u", len, prefix, got.faults, want);
    buf_free(&got.content);
    free(data);
}

static void a_line_may_have_998_octets_without_its_stuffed_dot(void **state)
{
    (void)state;
    check_line(998, "", 0);
    check_line(999, "", BODY_LONG_LINE);
    check_line(998, "a\r\n", 0);
    check_line(998, ".", 0);
    check_line(999, ".", BODY_LONG_LINE);
    check_line(3000, "", BODY_LONG_LINE);
    check_line(10000, "", BODY_LONG_LINE | BODY_TOO_LARGE);
}

static void a_message_may_have_exactly_the_largest_size(void **state)
{
    static const char text[] = "aaaa\r\nbbbb\r\n.\r\n";
    (void)state;
    for (uint64_t max = 10; max < 14; max++) {
        struct body body;
        struct buf out;
        size_t used;
        buf_init(&out, 100);
        body_start(&body, max, 998);
        assert_true(body_read(&body, slice_of(text), &used, &out));
        assert_int_equal(body.faults, max < 12 ? BODY_TOO_LARGE : 0);
        assert_int_equal(body.size, 12);
        assert_true(buf_len(&out) <= max);
        buf_free(&out);
    }
}

static void reading_stops_when_the_buffer_is_full_and_goes_on_when_it_is_not(void **state)
{
    struct slice data = SLICE("abcdef\r\nghi\r\n.\r\nNOOP\r\n");
    struct body body;
    struct buf out;
    char all[64];
    size_t at = 0, total = 0, used;
    bool ended = false;

    (void)state;
    buf_init(&out, 3);
    body_start(&body, 1000, 998);
    while (!ended) {
        ended = body_read(&body, slice_from(data, at), &used, &out);
        at += used;
        assert_true(used > 0);
        memcpy(all + total, buf_slice(&out).data, buf_len(&out));
        total += buf_len(&out);
        buf_clear(&out);
    }
    assert_memory_equal(all, "abcdef\r\nghi\r\n", total);
    assert_int_equal(total, 13);
    assert_int_equal(data.len - at, 6);
    buf_free(&out);
}

static void eight_bit_bytes_are_noticed_and_kept(void **state)
{
    struct outcome got = read_in_cuts(SLICE("a\r\n\xc3\xbc\r\n.\r\n"), 2);
    (void)state;
    assert_true(got.eight_bit);
    assert_true(slice_equal(buf_slice(&got.content), SLICE("a\r\n\xc3\xbc\r\n")));
    buf_free(&got.content);
    got = read_in_cuts(SLICE("a\r\n.\r\n"), 100);
    assert_false(got.eight_bit);
    buf_free(&got.content);
}

static void without_a_buffer_the_message_is_read_to_its_end(void **state)
{
    struct body body;
    size_t used;
    (void)state;
    body_start(&body, 1000, 998);
    assert_true(body_read(&body, SLICE("a\r\n.\r\nNOOP"), &used, NULL));
    assert_int_equal(used, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_dot_between_two_crlf_ends_a_message),
        cmocka_unit_test(a_line_may_have_998_octets_without_its_stuffed_dot),
        cmocka_unit_test(a_message_may_have_exactly_the_largest_size),
        cmocka_unit_test(reading_stops_when_the_buffer_is_full_and_goes_on_when_it_is_not),
        cmocka_unit_test(eight_bit_bytes_are_noticed_and_kept),
        cmocka_unit_test(without_a_buffer_the_message_is_read_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
