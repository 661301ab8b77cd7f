/* test_slice.c - comparing, trimming, cutting and reading numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"

static const struct slice nothing = { NULL, 0 };

static void from_and_first_are_clamped(void **state)
{
    static const struct {
        const char *text;
        size_t start, len;
        const char *from, *first;
    } cases[] = {
        { "abc", 0, 0, "abc", "" },
        { "abc", 1, 2, "bc", "ab" },
        { "abc", 3, 3, "", "abc" },
        { "abc", 9, 9, "", "abc" },
        { "", 1, 1, "", "" },
        { NULL, 5, 5, "", "" },
        { "abc", SIZE_MAX, SIZE_MAX, "", "abc" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice s = slice_of(cases[i].text);
        struct slice from = slice_from(s, cases[i].start), first = slice_first(s, cases[i].len);
        if (!slice_equal(from, slice_of(cases[i].from)))
            fail_msg("row %zu: from is '%.*s'", i, SLICE_ARG(from));
        if (!slice_equal(first, slice_of(cases[i].first)))
            fail_msg("row %zu: first is '%.*s'", i, SLICE_ARG(first));
    }
}

static void comparing_knows_case_only_in_ascii(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal, nocase, starts, ends; /* b is the prefix and suffix looked for in a */
    } cases[] = {
        { "", "", true, true, true, true },
        { NULL, "", true, true, true, true },
        { "a", "", false, false, true, true },
        { "", "a", false, false, false, false },
        { "EHLO", "ehlo", false, true, true, true },
        { "Ehlo x", "EHLO", false, false, true, false },
        { "mail.Example", ".EXAMPLE", false, false, false, true },
        { "\xc3\x84", "\xc3\xa4", false, false, false, false },
        { "[", "{", false, false, false, false },
        { "@", "`", false, false, false, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice a = slice_of(cases[i].a), b = slice_of(cases[i].b);
        if (slice_equal(a, b) != cases[i].equal || slice_equal_nocase(a, b) != cases[i].nocase ||
            slice_starts_nocase(a, b) != cases[i].starts ||
            slice_ends_nocase(a, b) != cases[i].ends)
            fail_msg("row %zu: '%.*s' and '%.*s'", i, SLICE_ARG(a), SLICE_ARG(b));
    }
    assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
}

static void trimming_takes_spaces_and_tabs_only(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        { " \t a b\t ", "a b" }, { "a", "a" },      { "", "" }, { " \t ", "" }, { NULL, "" },
        { " \r\n", "\r\n" },     { "\va ", "\va" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice got = slice_trim(slice_of(cases[i].text));
        if (!slice_equal(got, slice_of(cases[i].want)))
            fail_msg("row %zu: got '%.*s'", i, SLICE_ARG(got));
    }
}

static void finding_is_not_stopped_by_a_nul(void **state)
{
    (void)state;
    assert_int_equal(slice_find(SLICE("a\0b"), 'b'), 2);
    assert_int_equal(slice_find(SLICE("a\0b"), '\0'), 1);
    assert_true(slice_find(SLICE("abc"), 'x') == SLICE_NONE);
    assert_true(slice_find(nothing, 'x') == SLICE_NONE);
}

static void cutting_tells_an_empty_last_part_from_the_end(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        const char *parts[4];
    } cases[] = {
        { "a,b,c", 3, { "a", "b", "c" } }, { "a", 1, { "a" } },    { "a,", 2, { "a", "" } },
        { ",a", 2, { "", "a" } },          { ",", 2, { "", "" } }, { "", 1, { "" } },
        { ",,", 3, { "", "", "" } },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice rest = slice_of(cases[i].text);
        size_t count = 0;
        while (rest.data != NULL) {
            struct slice part = slice_cut(&rest, ',');
            if (count >= cases[i].count || !slice_equal(part, slice_of(cases[i].parts[count])))
                fail_msg("'%s': part %zu is '%.*s'", cases[i].text, count, SLICE_ARG(part));
            count++;
        }
        if (count != cases[i].count)
            fail_msg("'%s': %zu parts", cases[i].text, count);
    }
}

static void numbers_are_digits_only_and_saturate(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t want;
    } cases[] = {
        { "0", true, 0 },
        { "42", true, 42 },
        { "0007", true, 7 },
        { "18446744073709551614", true, UINT64_MAX - 1 },
        { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", true, UINT64_MAX },
        { "18446744073709551620", true, UINT64_MAX },
        { "99999999999999999999999999999999", true, UINT64_MAX },
        { "184467440737095516150", true, UINT64_MAX },
        { "99999999999999999999x", false, 0 },
        { "", false, 0 },
        { NULL, false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "0x10", false, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        bool ok = slice_to_u64(slice_of(cases[i].text), &got);
        if (ok != cases[i].ok || got != cases[i].want)
            fail_msg("row %zu: %d %llu", i, ok, (unsigned long long)got);
    }
}

static void character_classes_are_those_of_ascii(void **state)
{
    (void)state;
    for (int i = -128; i < 128; i++) {
        bool digit = i >= '0' && i <= '9', upper = i >= 'A' && i <= 'Z',
             lower = i >= 'a' && i <= 'z';
        if (ascii_is_digit((char)i) != digit ||
            ascii_is_alnum((char)i) != (digit || upper || lower) ||
            ascii_lower((char)i) != (char)(upper ? i + 32 : i))
            fail_msg("character %d", i);
    }
}

static void duplicates_end_in_nul(void **state)
{
    (void)state;
    char *copy = slice_dup(slice_first(SLICE("abcdef"), 3));
    char *empty = slice_dup(nothing);

    assert_string_equal(copy, "abc");
    assert_string_equal(empty, "");
    free(copy);
    free(empty);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_and_first_are_clamped),
        cmocka_unit_test(comparing_knows_case_only_in_ascii),
        cmocka_unit_test(trimming_takes_spaces_and_tabs_only),
        cmocka_unit_test(finding_is_not_stopped_by_a_nul),
        cmocka_unit_test(cutting_tells_an_empty_last_part_from_the_end),
        cmocka_unit_test(numbers_are_digits_only_and_saturate),
        cmocka_unit_test(character_classes_are_those_of_ascii),
        cmocka_unit_test(duplicates_end_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
