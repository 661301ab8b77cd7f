/* test_admin_key.c - making, showing and revoking keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "tests/support/auth_place.h"

static const char *const good[] = { "good.example" };

static enum auth_result create(struct place *place, const struct auth_key_spec *spec)
{
    struct made made;

    return auth_key_create(place->auth, "operator", spec, PLACE_NOW_S, made.secret, made.id,
                           &place->why);
}

static void a_key_is_shown_without_its_secret(void **state)
{
    static const char *const senders[] = { "a@good.example", "b@good.example" };
    static const char *const networks[] = { "10.1.2.3/8", "::ffff:192.0.2.1" };
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct auth_keys keys;
    char want[64];

    place_domain(place, "default", "good.example");
    spec.name = "Jos\xc3\xa9's cron";
    spec.scopes = AUTH_SEND | AUTH_METRICS;
    spec.domains = (struct auth_list){ good, 1 };
    spec.senders = (struct auth_list){ senders, 2 };
    spec.allow_from = (struct auth_list){ networks, 2 };
    spec.rate_per_minute = 100;
    spec.expires_s = PLACE_NOW_S + 60;
    struct made made = place_key_of(place, &spec);
    assert_int_equal(strlen(made.secret), 40);
    assert_memory_equal(made.secret, "lpk_", 4);
    assert_memory_equal(made.secret + 4, made.id, KEY_ID_DIGITS);

    auth_key_list(place->auth, "default", PLACE_NOW_S, &keys);
    assert_int_equal(keys.count, 1);
    const struct auth_key_view *view = &keys.keys[0];
    assert_string_equal(view->id, made.id);
    assert_string_equal(view->account, "default");
    assert_string_equal(view->plan, "default");
    assert_string_equal(view->name, "Jos\xc3\xa9's cron");
    snprintf(want, sizeof(want), "lpk_%.4s", made.id);
    assert_string_equal(view->prefix, want);
    snprintf(want, sizeof(want), "%.8s...%s", made.secret, made.secret + 36);
    assert_string_equal(view->masked, want);
    assert_int_equal(view->scopes, AUTH_SEND | AUTH_METRICS);
    assert_string_equal(view->domains[0], "good.example");
    assert_null(view->domains[1]);
    assert_string_equal(view->senders[1], "b@good.example");
    assert_null(view->recipients[0]);
    assert_string_equal(view->allow_from[0], "10.0.0.0/8");
    assert_string_equal(view->allow_from[1], "192.0.2.1");
    assert_int_equal(view->rate_per_minute, 100);
    assert_int_equal(view->recipients_per_day, 0);
    assert_string_equal(view->state, "active");
    assert_int_equal(view->created_s, PLACE_NOW_S);
    assert_int_equal(view->expires_s, PLACE_NOW_S + 60);
    assert_int_equal(view->last_used_s, 0);
    assert_null(view->last_address);
    assert_null(view->last_protocol);
    auth_keys_free(&keys);
    auth_key_list(place->auth, NULL, PLACE_NOW_S + 60, &keys);
    assert_string_equal(keys.keys[0].state, "expired");
    auth_keys_free(&keys);
}

static void the_longest_prefix_fits_everywhere(void **state)
{
    struct place *place = *state;
    struct auth_keys keys;

    place->options.prefix_live = "abcdefghijk_";
    place_reopen(place);
    struct made made = place_key(place);
    assert_int_equal(strlen(made.secret), 48);
    assert_int_equal(auth_key_find(place->auth, made.id, PLACE_NOW_S, &keys), AUTH_DONE);
    assert_int_equal(strlen(keys.keys[0].prefix), 16);
    assert_memory_equal(keys.keys[0].masked, "abcdefgh...", 11);
    auth_keys_free(&keys);
    auth_grant_unref(place_grant(place, made.secret));
}

static void test_keys_say_so(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();

    spec.test = true;
    struct made made = place_key_of(place, &spec);
    assert_memory_equal(made.secret, "lpt_", 4);
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_true(auth_grant_is_test(grant));
    auth_grant_unref(grant);
}

static void use_through_a_unix_socket_is_shown(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_peer peer = { .protocol = "http" };
    struct auth_grant *grant = NULL;
    struct auth_keys keys;

    assert_int_equal(
        auth_check(place->auth, slice_of(made.secret), 0, &peer, PLACE_NOW_S + 1, &grant), AUTH_OK);
    auth_grant_unref(grant);
    for (int i = 0; i < 2; i++) { /* before and after it was written */
        auth_key_find(place->auth, made.id, PLACE_NOW_S, &keys);
        assert_int_equal(keys.keys[0].last_used_s, PLACE_NOW_S + 1);
        assert_string_equal(keys.keys[0].last_address, "unix");
        assert_string_equal(keys.keys[0].last_protocol, "http");
        auth_keys_free(&keys);
        place_reopen(place);
    }
}

static void keys_that_may_not_be_are_refused_with_the_reason(void **state)
{
    static const char *const strange[] = { "victim.example" }, *const wide[] = { "*.good.example" };
    static const char *const waiting[] = { "waits.example" };
    struct place *place = *state;
    struct auth_key_spec specs[6];
    const struct {
        enum auth_result result;
        const char *word;
    } want[] = {
        { AUTH_INVALID, "name" },           { AUTH_NOT_FOUND, "nobody" },
        { AUTH_INVALID, "victim.example" }, { AUTH_INVALID, "add the domain first" },
        { AUTH_INVALID, "waits.example" },  { AUTH_INVALID, "future" },
    };

    place_domain(place, "default", "good.example");
    assert_int_equal(auth_domain_add(place->auth, "operator", "default", "waits.example", false,
                                     PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        specs[i] = place_spec();
    specs[0].name = "";
    specs[1].account = "nobody";
    specs[2].domains = (struct auth_list){ strange, 1 };
    specs[3].domains = (struct auth_list){ wide, 1 };
    specs[4].domains = (struct auth_list){ waiting, 1 };
    specs[5].expires_s = PLACE_NOW_S - 1;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        enum auth_result got = create(place, &specs[i]);
        if (got != want[i].result || strstr(place->why.text, want[i].word) == NULL)
            fail_msg("row %zu: %d, %s", i, (int)got, place->why.text);
    }
}

static void the_plan_limits_the_active_keys(void **state)
{
    static const struct auth_plan plans[] = { { "default", 0, 0, 3 } };
    static const struct auth_plan unlimited[] = { { "default", 0, 0, 0 } };
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();

    auth_set_plans(place->auth, plans, 1);
    struct made first = place_key(place);
    spec.expires_s = PLACE_NOW_S + 1;
    place_key_of(place, &spec);
    place_key_of(place, &spec);
    assert_int_equal(create(place, &spec), AUTH_LIMIT);
    assert_non_null(strstr(place->why.text, "delete an unused key first"));
    assert_int_equal(auth_key_revoke(place->auth, "operator", first.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    place_key_of(place, &spec);
    assert_int_equal(create(place, &spec), AUTH_LIMIT);
    spec.expires_s = 0; /* the others expire */
    struct made late;
    assert_int_equal(auth_key_create(place->auth, "operator", &spec, PLACE_NOW_S + 1, late.secret,
                                     late.id, &place->why),
                     AUTH_DONE);
    auth_set_plans(place->auth, unlimited, 1);
    for (int i = 0; i < 10; i++)
        place_key(place);
}

static void the_default_plan_has_100_keys(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();

    for (int i = 0; i < 100; i++)
        place_key(place);
    assert_int_equal(create(place, &spec), AUTH_LIMIT);
}

static void revoked_keys_are_found_but_not_listed(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second = place_key(place);
    struct auth_keys keys;

    assert_int_equal(auth_key_revoke(place->auth, "operator", "nobody00", PLACE_NOW_S, &place->why),
                     AUTH_NOT_FOUND);
    for (int i = 0; i < 2; i++) /* again is no error */
        assert_int_equal(
            auth_key_revoke(place->auth, "operator", first.id, PLACE_NOW_S, &place->why),
            AUTH_DONE);
    auth_key_list(place->auth, "default", PLACE_NOW_S, &keys);
    assert_int_equal(keys.count, 1);
    assert_string_equal(keys.keys[0].id, second.id);
    auth_keys_free(&keys);
    assert_int_equal(auth_key_find(place->auth, first.id, PLACE_NOW_S, &keys), AUTH_DONE);
    assert_string_equal(keys.keys[0].state, "revoked");
    auth_keys_free(&keys);
    assert_int_equal(auth_key_find(place->auth, "nobody00", PLACE_NOW_S, &keys), AUTH_NOT_FOUND);
    assert_int_equal(keys.count, 0);
    auth_keys_free(&keys);
    auth_key_list(place->auth, "nobody", PLACE_NOW_S, &keys);
    assert_int_equal(keys.count, 0);
    auth_keys_free(&keys);
}

static void a_list_comes_in_pages(void **state)
{
    struct place *place = *state;
    struct made made[7];
    struct auth_keys keys;

    assert_int_equal(
        auth_account_create(place->auth, "operator", "acme", NULL, PLACE_NOW_S, &place->why),
        AUTH_DONE);
    for (size_t i = 0; i < ARRAY_LEN(made); i++) { /* 0, 2, 4, 6 are of acme */
        struct auth_key_spec spec = place_spec();
        spec.account = i % 2 == 0 ? "acme" : AUTH_DEFAULT_ACCOUNT;
        made[i] = place_key_of(place, &spec);
    }
    assert_int_equal(auth_key_revoke(place->auth, "operator", made[2].id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    const struct {
        const char *account, *after;
        size_t limit;
        enum auth_result want;
        size_t count, total, first;
        bool more;
    } cases[] = {
        { NULL, NULL, 100, AUTH_DONE, 6, 6, 0, false },
        { NULL, NULL, 6, AUTH_DONE, 6, 6, 0, false },
        { NULL, NULL, 2, AUTH_DONE, 2, 6, 0, true },
        { NULL, made[1].id, 2, AUTH_DONE, 2, 6, 3, true },
        { NULL, made[4].id, 2, AUTH_DONE, 2, 6, 5, false },
        { NULL, made[6].id, 2, AUTH_DONE, 0, 6, 0, false },
        { "acme", NULL, 1, AUTH_DONE, 1, 3, 0, true },
        { "acme", made[0].id, 1, AUTH_DONE, 1, 3, 4, true },
        { "acme", made[2].id, 2, AUTH_DONE, 2, 3, 4, false }, /* revoked since */
        { "acme", made[1].id, 2, AUTH_NOT_FOUND, 0, 0, 0, false },
        { "acme", "nobody00", 2, AUTH_NOT_FOUND, 0, 0, 0, false },
        { "nobody", NULL, 2, AUTH_DONE, 0, 0, 0, false },
        { "nobody", made[0].id, 2, AUTH_NOT_FOUND, 0, 0, 0, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct auth_page page = { .after = cases[i].after, .limit = cases[i].limit };
        enum auth_result got =
            auth_key_page(place->auth, cases[i].account, &page, PLACE_NOW_S, &keys);
        if (got != cases[i].want || keys.count != cases[i].count || page.total != cases[i].total ||
            page.more != cases[i].more ||
            (keys.count > 0 && strcmp(keys.keys[0].id, made[cases[i].first].id) != 0))
            fail_msg("row %zu: %d, %zu of %zu", i, (int)got, keys.count, page.total);
        auth_keys_free(&keys);
    }
}

/* The trail is refused by a trigger, as a full disk would refuse it. */
static void a_change_that_cannot_be_written_is_none(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_key_spec spec = place_spec();
    struct made fresh = { "", "" };
    struct auth_keys keys;
    sqlite3 *handle;

    place_close(place);
    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle,
                                  "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN"
                                  " SELECT RAISE(ABORT, 'no room'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(handle);
    place_reopen(place);
    assert_int_equal(auth_key_create(place->auth, "operator", &spec, PLACE_NOW_S, fresh.secret,
                                     fresh.id, &place->why),
                     AUTH_FAILED);
    assert_string_equal(fresh.secret, "");
    assert_int_equal(auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why),
                     AUTH_FAILED);
    assert_int_equal(auth_domain_add(place->auth, "operator", "default", "good.example", true,
                                     PLACE_NOW_S, &place->why),
                     AUTH_FAILED);
    assert_int_equal(
        auth_account_create(place->auth, "operator", "acme", NULL, PLACE_NOW_S, &place->why),
        AUTH_FAILED);
    for (int i = 0; i < 2; i++) { /* neither in memory nor on disk */
        auth_key_list(place->auth, NULL, PLACE_NOW_S, &keys);
        assert_int_equal(keys.count, 1);
        assert_string_equal(keys.keys[0].state, "active");
        auth_keys_free(&keys);
        auth_grant_unref(place_grant(place, made.secret));
        struct auth_domains domains;
        auth_domain_list(place->auth, "default", &domains);
        assert_int_equal(domains.count, 0);
        auth_domains_free(&domains);
        place_reopen(place);
    }
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_key_is_shown_without_its_secret),
        IN_PLACE(the_longest_prefix_fits_everywhere),
        IN_PLACE(test_keys_say_so),
        IN_PLACE(use_through_a_unix_socket_is_shown),
        IN_PLACE(keys_that_may_not_be_are_refused_with_the_reason),
        IN_PLACE(the_plan_limits_the_active_keys),
        IN_PLACE(the_default_plan_has_100_keys),
        IN_PLACE(revoked_keys_are_found_but_not_listed),
        IN_PLACE(a_list_comes_in_pages),
        IN_PLACE(a_change_that_cannot_be_written_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
