/* test_admin_domain.c - claiming, proving and removing domains. */
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

static enum auth_result claim(struct place *place, const char *account, const char *pattern)
{
    return auth_domain_add(place->auth, "operator", account, pattern, false, PLACE_NOW_S,
                           &place->why);
}

static enum auth_result prove(struct place *place, const char *account, const char *pattern)
{
    return auth_domain_prove(place->auth, "operator", account, pattern, PLACE_NOW_S, &place->why);
}

static enum auth_result make_account(struct place *place, const char *handle)
{
    return auth_account_create(place->auth, "operator", handle, NULL, PLACE_NOW_S, &place->why);
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

    assert_int_equal(make_account(place, "acme"), AUTH_DONE);
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
        { "default", "good.example", false, AUTH_DONE }, /* its very name */
        { "acme", "*.example", true, AUTH_CONFLICT },    /* would cover shop.example by now */
        { "acme", "good.example", true, AUTH_DONE },
        { "default", "good.example", true, AUTH_CONFLICT }, /* was first */
        { "acme", "*.shop.example", false, AUTH_DONE },
        { "acme", "shop.example", false, AUTH_CONFLICT },
    };
    struct place *place = *state;

    assert_int_equal(make_account(place, "acme"), AUTH_DONE);
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
    assert_int_equal(make_account(place, "acme"), AUTH_DONE);
    assert_int_equal(add(place, "acme", "good.example"), AUTH_DONE); /* free for another */
    grant = place_grant(place, made.secret);
    assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    auth_grant_unref(grant);
}

static void whoever_proves_a_domain_first_has_it(void **state)
{
    struct place *place = *state;
    struct auth_domains domains;
    struct made made = place_key(place);

    assert_int_equal(make_account(place, "acme"), AUTH_DONE);
    assert_int_equal(claim(place, "acme", "good.example"), AUTH_DONE);
    assert_int_equal(claim(place, "default", "good.example"), AUTH_DONE);
    assert_int_equal(prove(place, "default", "other.example"), AUTH_NOT_FOUND);
    assert_int_equal(prove(place, "nobody", "good.example"), AUTH_NOT_FOUND);
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_int_equal(prove(place, "default", "good.example"), AUTH_DONE);
    assert_int_equal(prove(place, "default", "good.example"), AUTH_DONE);
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    auth_grant_unref(grant);
    assert_int_equal(prove(place, "acme", "good.example"), AUTH_CONFLICT);
    place_reopen(place);
    assert_int_equal(prove(place, "acme", "good.example"), AUTH_CONFLICT);
    auth_domain_list(place->auth, NULL, &domains);
    assert_int_equal(domains.count, 2);
    for (size_t i = 0; i < domains.count; i++)
        assert_int_equal(domains.domains[i].verified,
                         strcmp(domains.domains[i].account, "default") == 0);
    auth_domains_free(&domains);
    /* The claim goes alone, and when the owner leaves, the other may follow. */
    assert_int_equal(auth_domain_remove(place->auth, "operator", "default", "good.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_int_equal(prove(place, "acme", "good.example"), AUTH_DONE);
}

static void claims_are_bounded_and_proofs_make_room(void **state)
{
    struct place *place = *state;
    char pattern[32];

    for (int i = 0; i < AUTH_PENDING_MAX; i++) {
        snprintf(pattern, sizeof(pattern), "d%d.example", i);
        assert_int_equal(claim(place, "default", pattern), AUTH_DONE);
    }
    assert_int_equal(claim(place, "default", "more.example"), AUTH_DOMAIN_LIMIT);
    assert_non_null(strstr(place->why.text, "100"));
    assert_int_equal(claim(place, "default", "d1.example"), AUTH_DONE); /* it has that one */
    assert_int_equal(add(place, "default", "more.example"), AUTH_DONE); /* the operator's word */
    assert_int_equal(prove(place, "default", "d1.example"), AUTH_DONE);
    assert_int_equal(claim(place, "default", "another.example"), AUTH_DONE);
    assert_int_equal(claim(place, "default", "third.example"), AUTH_DOMAIN_LIMIT);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_domain_belongs_to_one_account),
        IN_PLACE(a_claim_that_is_not_verified_keeps_nobody_else_out),
        IN_PLACE(whoever_proves_a_domain_first_has_it),
        IN_PLACE(claims_are_bounded_and_proofs_make_room),
        IN_PLACE(a_domain_waits_for_its_verification),
        IN_PLACE(a_removed_domain_is_gone_for_its_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
