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

static void sub_accounts_are_one_level_deep_and_so_many(void **state)
{
    static const struct auth_plan plans[] = { { "free", 1, 2, 3 } };
    static const struct {
        const char *parent, *handle, *plan;
        enum auth_result want;
    } cases[] = {
        { "acme", "shop", NULL, AUTH_DONE },      { "acme", "shop", NULL, AUTH_CONFLICT },
        { "acme", "blog", "default", AUTH_DONE }, { "shop", "below", NULL, AUTH_INVALID },
        { "nobody", "x", NULL, AUTH_NOT_FOUND },  { "acme", "x", "gold", AUTH_INVALID },
    };
    struct place *place = *state;
    struct auth_accounts accounts;
    enum auth_result got = AUTH_DONE;
    size_t made = 0;

    auth_set_plans(place->auth, plans, 1);
    assert_int_equal(create(place, "acme", "free"), AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        got = auth_sub_account_create(place->auth, "operator", cases[i].parent, cases[i].handle,
                                      cases[i].plan, PLACE_NOW_S, &place->why);
        if (got != cases[i].want)
            fail_msg("row %zu: %d", i, (int)got);
    }
    place_reopen(place);
    auth_account_list(place->auth, &accounts);
    for (size_t i = 0; i < accounts.count; i++) {
        const struct auth_account_view *view = &accounts.accounts[i];
        bool below = strcmp(view->handle, "shop") == 0 || strcmp(view->handle, "blog") == 0;
        assert_int_equal(view->parent != NULL, below);
        if (strcmp(view->handle, "shop") == 0)
            assert_string_equal(view->plan, "free");
    }
    auth_accounts_free(&accounts);
    assert_string_equal(auth_account_parent(place->auth, "shop"), "acme");
    assert_null(auth_account_parent(place->auth, "acme"));
    assert_null(auth_account_parent(place->auth, "nobody"));

    for (got = AUTH_DONE; got == AUTH_DONE; made++) {
        char handle[32];
        snprintf(handle, sizeof(handle), "n%zu", made);
        got = auth_sub_account_create(place->auth, "operator", "acme", handle, "default",
                                      PLACE_NOW_S, &place->why);
    }
    assert_int_equal(got, AUTH_LIMIT);
    assert_int_equal(made + 2, AUTH_SUB_ACCOUNTS_MAX + 1);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(accounts_are_made_once_with_known_plans),
        IN_PLACE(sub_accounts_are_one_level_deep_and_so_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
