/* test_scope.c - names of scopes to bits and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"

static void scopes_parse_reads_a_list(void **state)
{
    static const struct {
        const char *text;
        bool want;
        unsigned scopes;
    } cases[] = {
        { "send", true, AUTH_SEND },
        { "send,keys", true, AUTH_SEND | AUTH_KEYS },
        { " keys ,\tsend ", true, AUTH_SEND | AUTH_KEYS },
        { "send,send", true, AUTH_SEND },
        { "send,keys,messages,domains,accounts,metrics", true, SCOPES_ALL },
        { "", false, 0 },
        { ",", false, 0 },
        { "send,", false, 0 },
        { ",send", false, 0 },
        { "send,,keys", false, 0 },
        { "Send", false, 0 },
        { "sends", false, 0 },
        { "send keys", false, 0 },
        { "*", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned scopes = 0xdead;
        if (auth_scopes_parse(slice_of(cases[i].text), &scopes) != cases[i].want)
            fail_msg("row %zu: \"%s\"", i, cases[i].text);
        if (scopes != (cases[i].want ? cases[i].scopes : 0xdead))
            fail_msg("row %zu: \"%s\" is %#x", i, cases[i].text, scopes);
    }
}

static void every_scope_has_a_name_that_parses(void **state)
{
    unsigned all = 0, bit, parsed;
    const char *name;

    (void)state;
    for (size_t i = 0; (name = auth_scope_name(i, &bit)) != NULL; i++) {
        assert_true(auth_scopes_parse(slice_of(name), &parsed));
        assert_int_equal(parsed, bit);
        assert_int_equal(all & bit, 0);
        all |= bit;
    }
    assert_int_equal(all, SCOPES_ALL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_parse_reads_a_list),
        cmocka_unit_test(every_scope_has_a_name_that_parses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
