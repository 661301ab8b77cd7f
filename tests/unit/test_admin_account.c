/* test_admin_account.c - accounts and their domains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/auth_place.h"

static enum auth_result add(struct place *place, const char *account, const char *pattern)
{
    return auth_domain_add(place->auth, "operator", account, pattern, true, PLACE_NOW_S,
                           &place->why);
}

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

static void a_domain_belongs_to_one_account(void **state)
{
    static const struct {
        const char *account, *pattern;
        enum auth_result want;
    } cases[] = {
        { "default", "good.example", AUTH_DONE },
        { "default", "good.example", AUTH_DONE }, /* it has it already */
        { "acme", "good.example", AUTH_CONFLICT },
        { "acme", "sub.good.example", AUTH_DONE },      /* not covered by good.example */
        { "default", "*.good.example", AUTH_CONFLICT }, /* would cover it */
        { "acme", "*.sub.good.example", AUTH_DONE },
        { "default", "a.sub.good.example", AUTH_CONFLICT },
        { "default", "*.a.sub.good.example", AUTH_CONFLICT },
        { "default", "*.example", AUTH_CONFLICT },
        { "default", "*.other.example", AUTH_DONE },
        { "default", "a.other.example", AUTH_DONE }, /* its own */
        { "acme", "other.example", AUTH_DONE },
        { "nobody", "x.example", AUTH_NOT_FOUND },
        { "default", "", AUTH_INVALID },
        { "default", "*", AUTH_INVALID },
        { "default", "good..example", AUTH_INVALID },
        { "default", "Good.example", AUTH_INVALID },
    };
    struct place *place = *state;

    assert_int_equal(create(place, "acme", NULL), AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum auth_result got = add(place, cases[i].account, cases[i].pattern);
        if (got != cases[i].want)
            fail_msg("row %zu: %s of %s: %d %s", i, cases[i].pattern, cases[i].account, (int)got,
                     place->why.text);
        if (i % 5 == 0)
            place_reopen(place);
    }
}

static void a_claim_that_is_not_verified_keeps_nobody_else_out(void **state)
{
    static const struct {
        const char *account, *pattern;
        bool verified;
        enum auth_result want;
    } cases[] = {
        { "acme", "*.example", false, AUTH_DONE },
        { "acme", "good.example", false, AUTH_DONE },
        { "default", "shop.example", true, AUTH_DONE },
        { "default", "a.good.example", false, AUTH_DONE },
        { "default", "good.example", true, AUTH_CONFLICT }, /* its very name */
        { "acme", "*.example", true, AUTH_CONFLICT },       /* would cover shop.example by now */
        { "acme", "good.example", true, AUTH_DONE },
        { "acme", "*.shop.example", false, AUTH_DONE },
        { "acme", "shop.example", false, AUTH_CONFLICT },
    };
    struct place *place = *state;

    assert_int_equal(create(place, "acme", NULL), AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum auth_result got =
            auth_domain_add(place->auth, "operator", cases[i].account, cases[i].pattern,
                            cases[i].verified, PLACE_NOW_S, &place->why);
        if (got != cases[i].want)
            fail_msg("row %zu: %s of %s: %d %s", i, cases[i].pattern, cases[i].account, (int)got,
                     place->why.text);
    }
}

static void a_domain_waits_for_its_verification(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = place_grant(place, made.secret);
    struct auth_domains domains;

    assert_int_equal(auth_domain_add(place->auth, "operator", "default", "good.example", false,
                                     PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_true(auth_grant_is_current(grant, PLACE_NOW_S)); /* nothing has changed for it */
    auth_domain_list(place->auth, "default", &domains);
    assert_int_equal(domains.count, 1);
    assert_false(domains.domains[0].verified);
    auth_domains_free(&domains);
    place_domain(place, "default", "good.example");
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    assert_int_equal(auth_domain_add(place->auth, "operator", "default", "good.example", false,
                                     PLACE_NOW_S, &place->why),
                     AUTH_DONE); /* does not take it back */
    auth_grant_unref(grant);
    place_reopen(place);
    auth_domain_list(place->auth, NULL, &domains);
    assert_int_equal(domains.count, 1);
    assert_true(domains.domains[0].verified);
    assert_string_equal(domains.domains[0].name, "good.example");
    assert_string_equal(domains.domains[0].account, "default");
    assert_int_equal(domains.domains[0].created_s, PLACE_NOW_S);
    auth_domains_free(&domains);
}

static void a_removed_domain_is_gone_for_its_keys(void **state)
{
    static const char *const domain = "good.example";
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct auth_domains domains;

    place_domain(place, "default", "good.example");
    place_domain(place, "default", "other.example");
    spec.domains = place_one(&domain);
    struct made made = place_key_of(place, &spec);
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_true(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    assert_int_equal(auth_domain_remove(place->auth, "operator", "default", "good.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    auth_grant_unref(grant);
    for (int i = 0; i < 2; i++) {
        grant = place_grant(place, made.secret); /* the key still logs in */
        assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
        assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("other.example")));
        auth_grant_unref(grant);
        place_reopen(place);
    }
    assert_int_equal(auth_domain_remove(place->auth, "operator", "default", "good.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_NOT_FOUND);
    assert_int_equal(auth_domain_remove(place->auth, "operator", "nobody", "other.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_NOT_FOUND);
    auth_domain_list(place->auth, "nobody", &domains);
    assert_int_equal(domains.count, 0);
    auth_domains_free(&domains);
    assert_int_equal(create(place, "acme", NULL), AUTH_DONE);
    assert_int_equal(add(place, "acme", "good.example"), AUTH_DONE); /* free for another */
    grant = place_grant(place, made.secret);
    assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    auth_grant_unref(grant);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(accounts_are_made_once_with_known_plans),
        IN_PLACE(sub_accounts_are_one_level_deep_and_so_many),
        IN_PLACE(a_domain_belongs_to_one_account),
        IN_PLACE(a_claim_that_is_not_verified_keeps_nobody_else_out),
        IN_PLACE(a_domain_waits_for_its_verification),
        IN_PLACE(a_removed_domain_is_gone_for_its_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
