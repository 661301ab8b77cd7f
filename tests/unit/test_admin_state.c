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

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_held_key_may_nothing_until_it_is_released),
        IN_PLACE(both_secrets_of_a_key_are_held),
        IN_PLACE(only_the_same_or_a_higher_rank_releases),
        IN_PLACE(a_revoked_key_stays_revoked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
