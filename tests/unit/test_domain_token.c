/* test_domain_token.c - the text that proves a domain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/auth_place.h"

static void a_token_belongs_to_one_account_and_one_pattern(void **state)
{
    static const struct {
        const char *account, *pattern;
    } cases[] = {
        { "default", "good.example" }, { "acme", "good.example" },  { "default", "*.good.example" },
        { "default", "a.example" },    { "default-", "a.example" }, { "d", "efault.a.example" },
    };
    struct place *place = *state;
    char tokens[ARRAY_LEN(cases)][AUTH_DOMAIN_TOKEN_BYTES];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auth_domain_token(place->auth, cases[i].account, cases[i].pattern, tokens[i]);
        assert_int_equal(strlen(tokens[i]), strlen("latchpost-verification=") + 40);
        assert_memory_equal(tokens[i], "latchpost-verification=", 23);
        assert_int_equal(strspn(tokens[i] + 23, "0123456789abcdef"), 40);
        for (size_t before = 0; before < i; before++)
            if (strcmp(tokens[before], tokens[i]) == 0)
                fail_msg("rows %zu and %zu have the same token", before, i);
    }
}

static void a_token_stays_the_same_over_restarts_and_is_another_with_another_pepper(void **state)
{
    struct place *place = *state;
    char before[AUTH_DOMAIN_TOKEN_BYTES], after[AUTH_DOMAIN_TOKEN_BYTES];

    auth_domain_token(place->auth, "default", "good.example", before);
    place_reopen(place);
    auth_domain_token(place->auth, "default", "good.example", after);
    assert_string_equal(before, after);
    place_close(place);
    unlink(place->keys);
    unlink(place->pepper);
    place_reopen(place);
    auth_domain_token(place->auth, "default", "good.example", after);
    assert_string_not_equal(before, after);
}

static void the_longest_account_and_domain_have_a_token(void **state)
{
    struct place *place = *state;
    char account[AUTH_ACCOUNT_MAX + 1], pattern[PATTERN_MAX + 1], token[AUTH_DOMAIN_TOKEN_BYTES];

    memset(account, 'a', AUTH_ACCOUNT_MAX);
    account[AUTH_ACCOUNT_MAX] = '\0';
    memset(pattern, 'b', PATTERN_MAX);
    pattern[PATTERN_MAX] = '\0';
    auth_domain_token(place->auth, account, pattern, token);
    assert_int_equal(strlen(token), 63);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_token_belongs_to_one_account_and_one_pattern),
        IN_PLACE(a_token_stays_the_same_over_restarts_and_is_another_with_another_pepper),
        IN_PLACE(the_longest_account_and_domain_have_a_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
