/* test_admin_state.c - who may hold and release a key, and what that does to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/auth_place.h"

typedef enum auth_result act_fn(struct auth *auth, const char *actor, enum auth_rank rank,
                                const char *id, int64_t now_s, struct why *why);

static void a_held_key_may_nothing_until_it_is_released(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *session = place_grant(place, made.secret), *grant = NULL;
    struct auth_keys keys;

    for (int i = 0; i < 2; i++) /* twice is no error */
        assert_int_equal(auth_key_hold(place->auth, "operator", AUTH_RANK_OPERATOR, made.id,
                                       PLACE_NOW_S, &place->why),
                         AUTH_DONE);
    assert_false(auth_grant_is_current(session, PLACE_NOW_S));
    assert_int_equal(auth_grant_renew(place->auth, &session, PLACE_NOW_S), AUTH_HELD);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(place_check(place, made.secret, &grant), AUTH_HELD);
        auth_key_list(place->auth, "default", PLACE_NOW_S, &keys);
        assert_string_equal(keys.keys[0].state, "held");
        auth_keys_free(&keys);
        auth_grant_unref(session);
        session = NULL;
        place_reopen(place);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(auth_key_release(place->auth, "operator", AUTH_RANK_OPERATOR, made.id,
                                          PLACE_NOW_S, &place->why),
                         AUTH_DONE);
    auth_grant_unref(place_grant(place, made.secret));
    place_reopen(place);
    auth_grant_unref(place_grant(place, made.secret));
}

static void both_secrets_of_a_key_are_held(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;
    char second[AUTH_KEY_TEXT_BYTES];

    assert_int_equal(
        auth_key_rotate(place->auth, "operator", made.id, 60, PLACE_NOW_S, second, &place->why),
        AUTH_DONE);
    assert_int_equal(auth_key_hold(place->auth, "operator", AUTH_RANK_OPERATOR, made.id,
                                   PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_int_equal(place_check(place, made.secret, &grant), AUTH_HELD);
    assert_int_equal(place_check(place, second, &grant), AUTH_HELD);
}

static void only_the_same_or_a_higher_rank_releases(void **state)
{
    static const struct {
        act_fn *act;
        enum auth_rank rank;
        enum auth_result want;
        const char *state;
    } steps[] = {
        { auth_key_hold, AUTH_RANK_ACCOUNT, AUTH_DONE, "held" },
        { auth_key_release, AUTH_RANK_ACCOUNT, AUTH_DONE, "active" },
        { auth_key_hold, AUTH_RANK_PARENT, AUTH_DONE, "held" },
        { auth_key_hold, AUTH_RANK_ACCOUNT, AUTH_DONE, "held" }, /* takes nothing away */
        { auth_key_release, AUTH_RANK_ACCOUNT, AUTH_DENIED, "held" },
        { auth_key_release, AUTH_RANK_PARENT, AUTH_DONE, "active" },
        { auth_key_hold, AUTH_RANK_ACCOUNT, AUTH_DONE, "held" },
        { auth_key_hold, AUTH_RANK_OPERATOR, AUTH_DONE, "held" },
        { auth_key_release, AUTH_RANK_PARENT, AUTH_DENIED, "held" },
        { auth_key_release, AUTH_RANK_OPERATOR, AUTH_DONE, "active" },
    };
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_keys keys;

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        enum auth_result got =
            steps[i].act(place->auth, "actor", steps[i].rank, made.id, PLACE_NOW_S, &place->why);
        place_reopen(place);
        auth_key_find(place->auth, made.id, PLACE_NOW_S, &keys);
        if (got != steps[i].want || strcmp(keys.keys[0].state, steps[i].state) != 0)
            fail_msg("step %zu: %d, %s", i, (int)got, keys.keys[0].state);
        auth_keys_free(&keys);
    }
}

static void a_revoked_key_stays_revoked(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;

    assert_int_equal(auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    for (int i = 0; i < 2; i++) {
        act_fn *act = i == 0 ? auth_key_hold : auth_key_release;
        assert_int_equal(
            act(place->auth, "operator", AUTH_RANK_OPERATOR, made.id, PLACE_NOW_S, &place->why),
            AUTH_CONFLICT);
        assert_int_equal(
            act(place->auth, "operator", AUTH_RANK_OPERATOR, "nobody00", PLACE_NOW_S, &place->why),
            AUTH_NOT_FOUND);
    }
    assert_int_equal(place_check(place, made.secret, &grant), AUTH_REVOKED);
}

/* --- accounts --------------------------------------------------------------------------------- */

static struct made key_of(struct place *place, const char *account)
{
    struct auth_key_spec spec = place_spec();

    spec.account = account;
    return place_key_of(place, &spec);
}

static void make_accounts(struct place *place)
{
    assert_int_equal(
        auth_account_create(place->auth, "operator", "acme", NULL, PLACE_NOW_S, &place->why),
        AUTH_DONE);
    assert_int_equal(auth_sub_account_create(place->auth, "operator", "acme", "shop", NULL,
                                             PLACE_NOW_S, &place->why),
                     AUTH_DONE);
}

static void suspending_stops_the_account_and_those_below_it(void **state)
{
    static const struct {
        act_fn *act;
        enum auth_rank rank;
        const char *handle;
        enum auth_result result;
        enum auth_verdict acme, shop;
    } steps[] = {
        { auth_account_suspend, AUTH_RANK_PARENT, "shop", AUTH_DONE, AUTH_OK, AUTH_SUSPENDED },
        { auth_account_suspend, AUTH_RANK_OPERATOR, "acme", AUTH_DONE, AUTH_SUSPENDED,
          AUTH_SUSPENDED },
        { auth_account_resume, AUTH_RANK_OPERATOR, "acme", AUTH_DONE, AUTH_OK, AUTH_SUSPENDED },
        { auth_account_resume, AUTH_RANK_PARENT, "shop", AUTH_DONE, AUTH_OK, AUTH_OK },
        { auth_account_suspend, AUTH_RANK_OPERATOR, "shop", AUTH_DONE, AUTH_OK, AUTH_SUSPENDED },
        { auth_account_suspend, AUTH_RANK_PARENT, "shop", AUTH_DONE, AUTH_OK, AUTH_SUSPENDED },
        { auth_account_resume, AUTH_RANK_PARENT, "shop", AUTH_DENIED, AUTH_OK, AUTH_SUSPENDED },
        { auth_account_resume, AUTH_RANK_OPERATOR, "shop", AUTH_DONE, AUTH_OK, AUTH_OK },
        { auth_account_resume, AUTH_RANK_OPERATOR, "nobody", AUTH_NOT_FOUND, AUTH_OK, AUTH_OK },
    };
    struct place *place = *state;

    make_accounts(place);
    struct made acme = key_of(place, "acme"), shop = key_of(place, "shop");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct auth_grant *grant = NULL;
        enum auth_result got = steps[i].act(place->auth, "actor", steps[i].rank, steps[i].handle,
                                            PLACE_NOW_S, &place->why);
        for (int turn = 0; turn < 2; turn++) { /* and after a restart */
            enum auth_verdict of_acme = place_check(place, acme.secret, &grant);
            auth_grant_unref(grant);
            grant = NULL;
            enum auth_verdict of_shop = place_check(place, shop.secret, &grant);
            auth_grant_unref(grant);
            grant = NULL;
            if (got != steps[i].result || of_acme != steps[i].acme || of_shop != steps[i].shop)
                fail_msg("step %zu: %d, %d, %d", i, (int)got, (int)of_acme, (int)of_shop);
            place_reopen(place);
        }
    }
}

static void suspending_ends_what_is_under_way(void **state)
{
    struct place *place = *state;

    make_accounts(place);
    struct made acme = key_of(place, "acme"), shop = key_of(place, "shop");
    struct made other = place_key(place);
    struct auth_grant *grants[] = { place_grant(place, acme.secret),
                                    place_grant(place, shop.secret),
                                    place_grant(place, other.secret) };
    assert_int_equal(auth_account_suspend(place->auth, "operator", AUTH_RANK_OPERATOR, "acme",
                                          PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        assert_int_equal(auth_grant_is_current(grants[i], PLACE_NOW_S), i == 2);
        assert_int_equal(auth_grant_renew(place->auth, &grants[i], PLACE_NOW_S),
                         i == 2 ? AUTH_OK : AUTH_SUSPENDED);
        auth_grant_unref(grants[i]);
    }
    struct auth_key_spec spec = place_spec();
    struct made none;
    spec.account = "shop";
    assert_int_equal(auth_key_create(place->auth, "operator", &spec, PLACE_NOW_S, none.secret,
                                     none.id, &place->why),
                     AUTH_INVALID);
    assert_non_null(strstr(place->why.text, "suspended"));
}

static void another_plan_changes_the_limits_of_the_keys(void **state)
{
    static const struct auth_plan plans[] = { { "slow", 1, 0, 1 } };
    struct place *place = *state;
    unsigned wait_s;

    auth_set_plans(place->auth, plans, 1);
    make_accounts(place);
    struct made made = key_of(place, "acme");
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_int_equal(
        auth_account_set_plan(place->auth, "operator", "acme", "gold", PLACE_NOW_S, &place->why),
        AUTH_INVALID);
    assert_int_equal(
        auth_account_set_plan(place->auth, "operator", "acme", "slow", PLACE_NOW_S, &place->why),
        AUTH_DONE);
    assert_true(auth_take_message(place->auth, grant, PLACE_NOW_S * 1000, &wait_s));
    assert_false(auth_take_message(place->auth, grant, PLACE_NOW_S * 1000, &wait_s));
    auth_grant_unref(grant);
    struct auth_key_spec spec = place_spec();
    struct made none;
    spec.account = "acme";
    assert_int_equal(auth_key_create(place->auth, "operator", &spec, PLACE_NOW_S, none.secret,
                                     none.id, &place->why),
                     AUTH_LIMIT);
}

/* Of each limit the lower one counts, whenever the key or the sub-account was made. */
static void the_plan_of_the_parent_is_a_ceiling_for_its_sub_accounts(void **state)
{
    static const struct auth_plan plans[] = { { "slow", 1, 0, 2 }, { "few", 0, 1, 50 } };
    struct place *place = *state;
    struct auth_allowances left;

    auth_set_plans(place->auth, plans, ARRAY_LEN(plans));
    make_accounts(place);
    struct made made = key_of(place, "shop");
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_int_equal(
        auth_account_set_plan(place->auth, "operator", "shop", "few", PLACE_NOW_S, &place->why),
        AUTH_DONE);
    auth_look_at_limits(grant, PLACE_NOW_S * 1000, &left);
    assert_int_equal(left.messages.limit, 0);
    assert_int_equal(
        auth_account_set_plan(place->auth, "operator", "acme", "slow", PLACE_NOW_S, &place->why),
        AUTH_DONE);
    for (int round = 0; round < 2; round++) {
        auth_look_at_limits(grant, PLACE_NOW_S * 1000, &left);
        if (left.messages.limit != 1 || left.recipients.limit != 1)
            fail_msg("round %d: %u a minute, %u a day", round, (unsigned)left.messages.limit,
                     (unsigned)left.recipients.limit);
        auth_grant_unref(grant);
        place_reopen(place);
        auth_set_plans(place->auth, plans, ARRAY_LEN(plans));
        grant = place_grant(place, made.secret);
    }
    auth_grant_unref(grant);
    made = key_of(place, "shop");
    grant = place_grant(place, made.secret);
    auth_look_at_limits(grant, PLACE_NOW_S * 1000, &left);
    assert_int_equal(left.messages.limit, 1);
    auth_grant_unref(grant);
    struct auth_key_spec spec = place_spec();
    spec.account = "shop";
    assert_int_equal(auth_key_create(place->auth, "operator", &spec, PLACE_NOW_S, made.secret,
                                     made.id, &place->why),
                     AUTH_LIMIT); /* a third, where its own plan says 50 */
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_held_key_may_nothing_until_it_is_released),
        IN_PLACE(both_secrets_of_a_key_are_held),
        IN_PLACE(only_the_same_or_a_higher_rank_releases),
        IN_PLACE(a_revoked_key_stays_revoked),
        IN_PLACE(suspending_stops_the_account_and_those_below_it),
        IN_PLACE(suspending_ends_what_is_under_way),
        IN_PLACE(another_plan_changes_the_limits_of_the_keys),
        IN_PLACE(the_plan_of_the_parent_is_a_ceiling_for_its_sub_accounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
