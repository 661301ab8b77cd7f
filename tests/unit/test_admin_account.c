/* test_admin_account.c - accounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/auth_place.h"

static enum auth_result create(struct place *place, const char *handle, const char *plan)
{
    return auth_account_create(place->auth, "operator", handle, plan, PLACE_NOW_S, &place->why);
}

static void accounts_are_made_once_with_known_plans(void **state)
{
    static const struct {
        const char *handle, *plan;
        enum auth_result want;
    } cases[] = {
        { "acme", NULL, AUTH_DONE },
        { "acme", NULL, AUTH_CONFLICT },
        { "default", NULL, AUTH_CONFLICT },
        { "0-a", "default", AUTH_DONE },
        { "free", "free", AUTH_DONE },
        { "none", "gold", AUTH_INVALID },
        { "", NULL, AUTH_INVALID },
        { "-a", NULL, AUTH_INVALID },
        { "Acme", NULL, AUTH_INVALID },
        { "a.b", NULL, AUTH_INVALID },
        { "a123456789a123456789a123456789a123456789a123456789a123456789abc", NULL, AUTH_DONE },
        { "a123456789a123456789a123456789a123456789a123456789a123456789abcd", NULL, AUTH_INVALID },
    };
    static const struct auth_plan plans[] = { { "free", 1, 2, 3 } };
    struct place *place = *state;
    struct auth_accounts accounts;

    auth_set_plans(place->auth, plans, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum auth_result got = create(place, cases[i].handle, cases[i].plan);
        if (got != cases[i].want)
            fail_msg("row %zu: %s: %d", i, cases[i].handle, (int)got);
    }
    place_reopen(place);
    auth_account_list(place->auth, &accounts);
    assert_int_equal(accounts.count, 5);
    for (size_t i = 0; i < accounts.count; i++)
        if (strcmp(accounts.accounts[i].handle, "free") == 0)
            assert_string_equal(accounts.accounts[i].plan, "free");
    auth_accounts_free(&accounts);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(accounts_are_made_once_with_known_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
