/* test_pattern.c - which names a domain pattern covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "auth/auth_priv.h"

static void pattern_covers_what_it_says(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool want;
    } cases[] = {
        { "good.example", "good.example", true },
        { "good.example", "sub.good.example", false },
        { "good.example", "evilgood.example", false },
        { "good.example", "good.example.victim.example", false },
        { "good.example", "*.good.example", false },
        { "*.good.example", "good.example", false },
        { "*.good.example", "sub.good.example", true },
        { "*.good.example", "a.b.c.good.example", true },
        { "*.good.example", "evilgood.example", false },
        { "*.good.example", "good.example.victim.example", false },
        { "*.good.example", ".good.example", false },
        { "*.b", "*.a.b", true },
        { "*.a.b", "*.a.b", true },
        { "*.a.b", "*.b", false },
        { "*.b", "a.b", true },
        { "good.example", "", false },
        { "*.good.example", "", false },
        { "", "", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice pattern = slice_of(cases[i].pattern), name = slice_of(cases[i].name);
        if (pattern_covers(pattern, name) != cases[i].want)
            fail_msg("row %zu: %s and %s", i, cases[i].pattern, cases[i].name);
        /* A set of one says the same, among others too. */
        const char *many[] = { "zz.example", cases[i].pattern, "*.aa.example", "mm.example" };
        struct pattern_set *set = pattern_set_new(many, ARRAY_LEN(many));
        if (pattern_set_covers(set, name) != cases[i].want)
            fail_msg("row %zu: a set with %s and %s", i, cases[i].pattern, cases[i].name);
        pattern_set_unref(set);
    }
}

static void pattern_is_valid_in_one_spelling(void **state)
{
    static const struct {
        const char *pattern;
        bool want;
    } cases[] = {
        { "good.example", true },
        { "*.good.example", true },
        { "xn--bcher-kva.example", true },
        { "localhost", true },
        { "_dmarc.example", true },
        { "", false },
        { ".", false },
        { "*", false },
        { "*.", false },
        { "@", false },
        { "good..example", false },
        { ".good.example", false },
        { "good.example.", false },
        { "Good.example", false },
        { "a.*.example", false },
        { "*.*.example", false },
        { "b\xc3\xbc"
          "cher.example",
          false },
        { "a b.example", false },
        { "a@b.example", false },
        { "[192.0.2.1]", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (pattern_is_valid(slice_of(cases[i].pattern)) != cases[i].want)
            fail_msg("row %zu: \"%s\"", i, cases[i].pattern);
}

static void long_names_are_not_covered(void **state)
{
    const char *const patterns[] = { "*.example" };
    struct pattern_set *set = pattern_set_new(patterns, 1);
    char name[PATTERN_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof(name));
    memcpy(name + PATTERN_MAX - 8, ".example", 8);
    assert_true(pattern_set_covers(set, slice_make(name, PATTERN_MAX)));
    memcpy(name + PATTERN_MAX - 7, ".example", 8);
    assert_false(pattern_set_covers(set, slice_make(name, PATTERN_MAX + 1)));
    pattern_set_unref(set);
}

static void large_sets_are_searched(void **state)
{
    enum { COUNT = 1000 };
    static char texts[COUNT][32];
    const char *patterns[COUNT];
    char name[48];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%sd%zu.example", i % 2 ? "*." : "", i * 7919 % COUNT);
        patterns[i] = texts[i];
    }
    struct pattern_set *set = pattern_set_new(patterns, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        bool wildcard = texts[i][0] == '*';
        const char *domain = texts[i] + (wildcard ? 2 : 0);
        snprintf(name, sizeof(name), "sub.%.40s", domain);
        if (pattern_set_covers(set, slice_of(domain)) == wildcard ||
            pattern_set_covers(set, slice_of(name)) != wildcard)
            fail_msg("%s", texts[i]);
    }
    pattern_set_unref(set);
    pattern_set_unref(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_covers_what_it_says),
        cmocka_unit_test(pattern_is_valid_in_one_spelling),
        cmocka_unit_test(long_names_are_not_covered),
        cmocka_unit_test(large_sets_are_searched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
