/* test_base64.c - one text for each sequence of bytes, and no other text is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "relay/base/base64.h"
#include "relay/base/macros.h"

static void known_pairs_convert_both_ways(void **state)
{
    static const struct {
        struct slice bytes, text;
    } cases[] = {
        { SLICE(""), SLICE("") }, /* RFC 4648 section 10 */
        { SLICE("f"), SLICE("Zg==") },
        { SLICE("fo"), SLICE("Zm8=") },
        { SLICE("foo"), SLICE("Zm9v") },
        { SLICE("foob"), SLICE("Zm9vYg==") },
        { SLICE("fooba"), SLICE("Zm9vYmE=") },
        { SLICE("foobar"), SLICE("Zm9vYmFy") },
        { SLICE("\0a\0b"), SLICE("AGEAYg==") },
        { SLICE("\xfb\xff\xfe"), SLICE("+//+") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf bytes, text; /* with exactly the room they need */
        buf_init(&bytes, cases[i].bytes.len);
        buf_init(&text, cases[i].text.len);
        if (!base64_encode(cases[i].bytes, &text) || !slice_equal(buf_slice(&text), cases[i].text))
            fail_msg("row %zu: encoded as '%.*s'", i, SLICE_ARG(buf_slice(&text)));
        if (!base64_decode(cases[i].text, &bytes) ||
            !slice_equal(buf_slice(&bytes), cases[i].bytes))
            fail_msg("row %zu: decoded to %zu bytes", i, buf_len(&bytes));
        buf_free(&bytes);
        buf_free(&text);
    }
}

static void what_is_not_exactly_one_encoding_is_refused(void **state)
{
    static const struct slice cases[] = {
        SLICE("AGEAYg"),   /* no padding */
        SLICE("AGEAYg="),  /* half of it */
        SLICE("AGEAYh=="), /* spare bits */
        SLICE("Zm9="),     /* spare bits */
        SLICE("AGEA Yg=="),    SLICE(" AGEAYg=="),    SLICE("AGEAYg== "),
        SLICE("AGEAYg==\n"),   SLICE("AGEA\r\nYg=="), SLICE("AGEAYg===="),
        SLICE("AGEA===="),     SLICE("===="),         SLICE("="),
        SLICE("=="),           SLICE("A==="),         SLICE("A"),
        SLICE("AGEAYg==AGEA"), SLICE("A=EA"),         SLICE("-__-"),
        SLICE("Zm\0v"),        SLICE("Zm9v\0\0\0\0"), SLICE("Zm9\xe4"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 100);
        assert_true(buf_add(&out, SLICE("kept")));
        if (base64_decode(cases[i], &out))
            fail_msg("row %zu: '%.*s' was accepted", i, SLICE_ARG(cases[i]));
        assert_true(slice_equal(buf_slice(&out), SLICE("kept")));
        buf_free(&out);
    }
}

static void no_byte_passes_for_a_digit_that_it_is_not(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    (void)state;
    for (int c = 0; c < 256; c++)
        for (size_t at = 0; at < 4; at++) {
            struct buf out;
            char text[8] = "AAAAAAAA";
            bool want = c != 0 && strchr(digits, c) != NULL;
            text[at] = (char)c;
            buf_init(&out, 6);
            if (base64_decode(slice_make(text, 8), &out) != want)
                fail_msg("byte %d at %zu", c, at);
            buf_free(&out);
        }
}

static void a_full_buf_is_an_answer(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 2);
    assert_false(base64_decode(SLICE("Zm9v"), &out));
    assert_false(base64_encode(SLICE("f"), &out));
    assert_int_equal(buf_len(&out), 0);
    assert_true(base64_decode(SLICE("Zm8="), &out));
    assert_false(base64_decode(SLICE("Zg=="), &out));
    assert_true(base64_decode(SLICE(""), &out));
    assert_int_equal(buf_len(&out), 2);
    buf_free(&out);
}

static void any_bytes_come_back(void **state)
{
    char bytes[300];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37 + i / 7);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct buf text, back;
        buf_init(&text, 1000);
        buf_init(&back, len);
        if (!base64_encode(slice_make(bytes, len), &text) ||
            !base64_decode(buf_slice(&text), &back) ||
            !slice_equal(buf_slice(&back), slice_make(bytes, len)))
            fail_msg("length %zu", len);
        buf_free(&text);
        buf_free(&back);
    }
}

static void base62_is_fixed_width_and_most_significant_first(void **state)
{
    static const struct {
        uint64_t value;
        size_t width;
        const char *want;
    } cases[] = {
        { 0, 6, "000000" },
        { 61, 1, "z" },
        { 62, 2, "10" },
        { 3843, 2, "zz" },
        { 3844, 2, "00" },
        { 0xffffffff, 6, "4gfFC3" },
        { UINT64_MAX, 11, "LygHa16AHYF" },
        { 5, 0, "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[16] = "...............";
        base62_format(cases[i].value, cases[i].width, text);
        if (strncmp(text, cases[i].want, cases[i].width) != 0 || text[cases[i].width] != '.')
            fail_msg("row %zu: %s", i, text);
    }
}

static void base62_text_has_only_its_digits(void **state)
{
    (void)state;
    assert_int_equal(strlen(base62_digits), 62);
    assert_true(base62_is_text(slice_of(base62_digits)));
    for (int c = 0; c < 256; c++) {
        char text[3] = { 'a', (char)c, 'a' };
        if (base62_is_text(slice_make(text, 3)) != (c != 0 && strchr(base62_digits, c) != NULL))
            fail_msg("character %d", c);
    }
    assert_false(base62_is_text(SLICE("")));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_pairs_convert_both_ways),
        cmocka_unit_test(what_is_not_exactly_one_encoding_is_refused),
        cmocka_unit_test(no_byte_passes_for_a_digit_that_it_is_not),
        cmocka_unit_test(a_full_buf_is_an_answer),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(base62_is_fixed_width_and_most_significant_first),
        cmocka_unit_test(base62_text_has_only_its_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
