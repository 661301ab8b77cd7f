/* test_api_key_acts.c - rotate, hold and release over the API: who may, and what is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/api_place.h"

static int make_place(void **state)
{
    struct api_place *place = xcalloc(1, sizeof(*place));
    struct why why = { "" };

    if (!api_place_open(place, &why)) {
        fprintf(stderr, "%s\n", why.text);
        return -1;
    }
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    api_place_close(*state);
    free(*state);
    return 0;
}

/* "/v1/api-keys/<id><act>"; the caller frees it. */
static char *path_of(const struct auth_grant *grant, const char *act)
{
    return xasprintf("/v1/api-keys/%s%s", auth_grant_key_id(grant), act);
}

static int act(struct api_place *place, struct auth_grant *caller, const struct auth_grant *key,
               const char *what, const char *body)
{
    char *path = path_of(key, what);
    int status = api_place_ask(place, caller, "POST", path, body);

    free(path);
    return status;
}

static void a_rotated_key_is_shown_once_and_both_secrets_after(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *first = api_place_key(place, "{\"name\":\"a\"}");

    assert_int_equal(act(place, NULL, first, "/rotate", "{\"overlap\":\"7d\"}"), 200);
    assert_int_equal(strlen(api_place_text(place, "data.apiKey")), 40);
    assert_string_equal(api_place_text(place, "data.keyId"), auth_grant_key_id(first));
    assert_non_null(strstr(api_place_text(place, "meta.warning"), "only time"));
    struct auth_grant *second = api_place_grant(place);
    char *path = path_of(first, "");
    assert_int_equal(api_place_ask(place, NULL, "GET", path, NULL), 200);
    assert_null(api_place_at(place, "data.apiKey"));
    assert_int_equal(json_array_size(api_place_at(place, "data.secrets")), 2);
    assert_true(json_is_null(api_place_at(place, "data.secrets.0.expirationTs")));
    assert_true(json_is_string(api_place_at(place, "data.secrets.1.expirationTs")));
    assert_string_equal(api_place_text(place, "data.secrets.0.lastProtocol"), "http");
    assert_string_equal(api_place_text(place, "data.lastAddress"), "unix");
    free(path);
    auth_grant_unref(first);
    auth_grant_unref(second);
}

static void what_cannot_be_rotated_is_refused_by_name(void **state)
{
    static const struct {
        const char *body;
        int want;
        const char *code;
    } cases[] = {
        { "{\"overlap\":\"fast\"}", 422, "invalid_value" },
        { "{\"overlap\":\"24\"}", 422, "invalid_value" },
        { "{\"overlap\":24}", 422, "invalid_value" },
        { "{\"overlap\":\"91d\"}", 422, "invalid_value" },
        { "{\"overlp\":\"1d\"}", 400, "unknown_field" },
        { NULL, 200, "" },
        { "{\"overlap\":\"1h\"}", 409, "conflict" }, /* the first is used, and so is the second */
        { "{\"overlap\":\"0\"}", 200, "" },
        { "{\"overlap\":\"0s\"}", 200, "" },
    };
    struct api_place *place = *state;
    struct auth_grant *key = api_place_key(place, "{\"name\":\"a\"}");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int status = act(place, NULL, key, "/rotate", cases[i].body);
        if (status != cases[i].want ||
            strcmp(api_place_text(place, "error.code"), cases[i].code) != 0)
            fail_msg("%zu: %d %s", i, status, place->text);
        if (status == 200)
            auth_grant_unref(api_place_grant(place)); /* uses it */
    }
    auth_grant_unref(key);
}

static void a_key_gets_no_secret_of_one_that_may_more(void **state)
{
    static const struct {
        const char *target;
        int want;
    } cases[] = {
        { "{\"name\":\"t\",\"scopes\":\"send\",\"domain\":\"good.example\"}", 200 },
        { "{\"name\":\"t\",\"scopes\":\"send,keys\",\"domain\":\"good.example\"}", 200 },
        { "{\"name\":\"t\",\"scopes\":\"metrics\",\"domain\":\"good.example\"}", 403 },
        { "{\"name\":\"t\",\"scopes\":\"send\"}", 403 },
        { "{\"name\":\"t\",\"scopes\":\"send\",\"domain\":\"other.example\"}", 403 },
        { "{\"name\":\"t\",\"scopes\":\"send\",\"domain\":\"f.example\",\"account\":\"acme\"}",
          404 },
    };
    struct api_place *place = *state;
    struct auth_grant *maker = api_place_key(
        place, "{\"name\":\"m\",\"scopes\":\"send,keys\",\"domain\":\"good.example\"}");

    api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct auth_grant *key = api_place_key(place, cases[i].target);
        int status = act(place, maker, key, "/rotate", NULL);
        if (status != cases[i].want || (status != 200 && strstr(place->text, "lpk_") != NULL))
            fail_msg("%zu: %d %s", i, status, place->text);
        auth_grant_unref(key);
    }
    auth_grant_unref(maker);
}

/* What it makes would work when it does not any more. */
static void a_secret_that_was_replaced_makes_no_keys(void **state)
{
    struct api_place *place = *state;
    struct auth_peer peer = { .protocol = "http" };
    struct auth_grant *maker = api_place_key(place, "{\"name\":\"m\",\"scopes\":\"send,keys\"}");
    char *first = xstrdup(api_place_text(place, "data.apiKey"));
    struct auth_grant *former = NULL;

    assert_int_equal(act(place, NULL, maker, "/rotate", "{\"overlap\":\"1d\"}"), 200);
    struct auth_grant *current = api_place_grant(place);
    assert_int_equal(auth_check(place->auth, slice_of(first), 0, &peer, clock_wall_s(), &former),
                     AUTH_OK);
    assert_int_equal(
        api_place_ask(place, former, "POST", "/v1/api-keys",
                      "{\"name\":\"n\",\"scopes\":\"send,keys\",\"expirationDays\":1}"),
        403);
    assert_non_null(strstr(api_place_text(place, "error.message"), "replaced"));
    assert_int_equal(api_place_ask(place, former, "GET", "/v1/api-keys", NULL), 200);
    assert_int_equal(json_array_size(api_place_at(place, "data")), 1);
    assert_int_equal(api_place_ask(place, current, "POST", "/v1/api-keys", "{\"name\":\"n\"}"),
                     201);
    free(first);
    auth_grant_unref(former);
    auth_grant_unref(current);
    auth_grant_unref(maker);
}

static void what_the_operator_holds_no_key_releases(void **state)
{
    static const struct {
        bool by_operator;
        const char *what;
        int want;
        const char *status;
    } steps[] = {
        { false, "/hold", 200, "held" },     { false, "/release", 200, "active" },
        { true, "/hold", 200, "held" },      { false, "/release", 403, "" },
        { false, "/hold", 200, "held" },     { true, "/release", 200, "active" },
        { true, "/release", 200, "active" },
    };
    struct api_place *place = *state;
    struct auth_grant *maker = api_place_key(place, "{\"name\":\"m\",\"scopes\":\"keys\"}");
    struct auth_grant *key = api_place_key(place, "{\"name\":\"a\"}");

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int status = act(place, steps[i].by_operator ? NULL : maker, key, steps[i].what, NULL);
        if (status != steps[i].want ||
            strcmp(api_place_text(place, "data.status"), steps[i].status) != 0)
            fail_msg("step %zu: %d %s", i, status, place->text);
    }
    char *path = path_of(key, "");
    assert_int_equal(api_place_ask(place, NULL, "DELETE", path, NULL), 200);
    static const char *const acts[] = { "/hold", "/release", "/rotate" };
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        assert_int_equal(act(place, NULL, key, acts[i], NULL), 409); /* that was final */
    free(path);
    auth_grant_unref(key);
    auth_grant_unref(maker);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(a_rotated_key_is_shown_once_and_both_secrets_after),
        IN_PLACE(what_cannot_be_rotated_is_refused_by_name),
        IN_PLACE(a_key_gets_no_secret_of_one_that_may_more),
        IN_PLACE(a_secret_that_was_replaced_makes_no_keys),
        IN_PLACE(what_the_operator_holds_no_key_releases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
