/* test_why.c - one line, bounded, whatever goes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/base/why.h"

static void setting_returns_false_and_keeps_one_line(void **state)
{
    struct why why = { { 0 } };

    (void)state;
    assert_false(why_set(&why, "%s: line %d is\r\n\x1b[31m wrong\x7f\t", "a.conf", 7));
    assert_string_equal(why.text, "a.conf: line 7 is???[31m wrong??");
    assert_false(why_set(NULL, "nobody reads this"));
}

static void errno_text_comes_last(void **state)
{
    struct why why = { { 0 } };
    char wide[600];

    (void)state;
    assert_false(why_errno(&why, ENOENT, "cannot open %s", "/x"));
    assert_string_equal(why.text, "cannot open /x: No such file or directory");
    memset(wide, 'x', sizeof(wide));
    wide[sizeof(wide) - 1] = '\0';
    why_errno(&why, ENOENT, "%s", wide);
    assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
    assert_non_null(strstr(why.text, "x: No such file or directory"));
    for (size_t i = 0; i + 2 < sizeof(wide); i += 2)
        memcpy(wide + i, "\xc3\xa4", 2);
    for (size_t shift = 0; shift < 2; shift++) {
        why_errno(&why, ENOENT, "%s%s", shift == 0 ? "" : "-", wide);
        if (strstr(why.text, "\xa4: No such file or directory") == NULL)
            fail_msg("shift %zu: %s", shift, why.text);
    }
    why_errno(NULL, ENOENT, "nobody reads this");
}

static void a_prefix_goes_before_what_is_there(void **state)
{
    struct why why = { { 0 } };

    (void)state;
    why_set(&why, "no such file");
    assert_false(why_prefix(&why, "%s, line %d: ", "a.conf", 3));
    assert_string_equal(why.text, "a.conf, line 3: no such file");
    why_set(&why, "<%s>", why.text);
    assert_string_equal(why.text, "<a.conf, line 3: no such file>");
    why_prefix(NULL, "nobody reads this");
}

static void cut_text_ends_with_a_whole_character(void **state)
{
    static const char *const characters[] = { "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(characters); i++)
        for (size_t shift = 0; shift < 4; shift++) {
            struct why why;
            char text[700] = "";
            size_t unit = strlen(characters[i]);
            for (size_t len = 0; len < shift; len++)
                strcat(text, "-");
            while (strlen(text) < 600)
                strcat(text, characters[i]);
            why_set(&why, "%s", text);
            size_t len = strlen(why.text), room = sizeof(why.text) - 1;
            size_t want = shift + (room - shift) / unit * unit;
            /* Cutting a whole last character as well would be no harm. */
            if (len > want || len + unit < want || (len - shift) % unit != 0)
                fail_msg("character %zu, shift %zu: %zu bytes, want %zu", i, shift, len, want);
            assert_memory_equal(why.text, text, len);
        }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_returns_false_and_keeps_one_line),
        cmocka_unit_test(errno_text_comes_last),
        cmocka_unit_test(a_prefix_goes_before_what_is_there),
        cmocka_unit_test(cut_text_ends_with_a_whole_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
