/* test_api_sub_accounts.c - what a parent may do to its sub-accounts, and nobody the other way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/api_place.h"

struct family { /* "acme" above "shop" and "blog"; "other" above "theirs"; one key of each */
    struct api_place place;
    struct auth_grant *acme, *shop, *blog, *other, *theirs;
};

static struct auth_grant *key_of(struct api_place *place, const char *account)
{
    char *body =
        xasprintf("{\"name\":\"k\",\"account\":\"%s\",\"scopes\":\"send,keys,accounts\"}", account);
    struct auth_grant *grant = api_place_key(place, body);

    free(body);
    return grant;
}

static void make_account(struct api_place *place, const char *body)
{
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", body), 201);
}

static int make_family(void **state)
{
    struct family *family = xcalloc(1, sizeof(*family));
    struct api_place *place = &family->place;
    struct why why = { "" };

    if (!api_place_open(place, &why))
        return -1;
    make_account(place, "{\"handle\":\"acme\"}");
    make_account(place, "{\"handle\":\"shop\",\"parent\":\"acme\"}");
    make_account(place, "{\"handle\":\"blog\",\"parent\":\"acme\"}");
    make_account(place, "{\"handle\":\"other\"}");
    make_account(place, "{\"handle\":\"theirs\",\"parent\":\"other\"}");
    family->acme = key_of(place, "acme");
    family->shop = key_of(place, "shop");
    family->blog = key_of(place, "blog");
    family->other = key_of(place, "other");
    family->theirs = key_of(place, "theirs");
    *state = family;
    return 0;
}

static int remove_family(void **state)
{
    struct family *family = *state;

    auth_grant_unref(family->acme);
    auth_grant_unref(family->shop);
    auth_grant_unref(family->blog);
    auth_grant_unref(family->other);
    auth_grant_unref(family->theirs);
    api_place_close(&family->place);
    free(family);
    return 0;
}

static int64_t total(const struct api_place *place)
{
    return json_integer_value(api_place_at(place, "meta.total"));
}

static void a_parent_sees_its_own_and_nobody_above(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    const struct {
        struct auth_grant *caller; /* NULL: the operator */
        const char *path;
        int status;
        int64_t total;
    } cases[] = {
        { NULL, "/v1/sub-accounts", 200, 3 },
        { NULL, "/v1/sub-accounts?parent=acme", 200, 2 },
        { family->acme, "/v1/sub-accounts", 200, 2 },
        { family->acme, "/v1/sub-accounts?parent=other", 404, 0 },
        { family->acme, "/tx/v1/sub-account", 200, 2 },
        { family->shop, "/v1/sub-accounts", 200, 0 },
        { family->acme, "/v1/accounts", 200, 3 },
        { family->shop, "/v1/accounts", 200, 1 },
        { NULL, "/v1/sub-accounts/shop/api-keys", 200, 1 },
        { NULL, "/v1/sub-accounts/acme/api-keys", 404, 0 },
        { family->acme, "/v1/sub-accounts/shop/api-keys", 200, 1 },
        { family->acme, "/tx/v1/sub-account/shop/api-key", 200, 1 },
        { family->acme, "/v1/sub-accounts/shop/api-keys?a=b", 400, 0 },
        { family->acme, "/v1/sub-accounts/theirs/api-keys", 404, 0 },
        { family->acme, "/v1/sub-accounts/nobody/api-keys", 404, 0 },
        { family->acme, "/v1/sub-accounts/acme/api-keys", 404, 0 },
        { family->shop, "/v1/sub-accounts/shop/api-keys", 404, 0 },
        { family->shop, "/v1/sub-accounts/acme/api-keys", 404, 0 },
        { family->shop, "/v1/sub-accounts/blog/api-keys", 404, 0 },
        { family->acme, "/v1/api-keys", 200, 1 },
        { family->acme, "/v1/api-keys?account=shop", 200, 1 },
        { family->acme, "/v1/api-keys?account=theirs", 404, 0 },
        { family->shop, "/v1/api-keys?account=acme", 404, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int status = api_place_ask(place, cases[i].caller, "GET", cases[i].path, NULL);
        if (status != cases[i].status || total(place) != cases[i].total)
            fail_msg("%zu %s: %d %s", i, cases[i].path, status, place->text);
    }
}

static void lists_come_in_pages(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    const struct {
        const char *path;
        int status;
        size_t rows;
        int64_t total;
        const char *next;
    } cases[] = {
        { "/v1/accounts?limit=2", 200, 2, 6, NULL /* the order in one second is by chance */ },
        { "/v1/accounts?limit=6", 200, 6, 6, "" },
        { "/v1/sub-accounts?parent=acme&limit=1", 200, 1, 2, "shop" },
        { "/v1/sub-accounts?parent=acme&limit=1&after=shop", 200, 1, 2, "" },
        { "/v1/sub-accounts?parent=acme&after=blog", 200, 0, 2, "" },
        { "/v1/sub-accounts?parent=acme&after=theirs", 422, 0, 0, "" },
        { "/v1/sub-accounts?limit=0", 422, 0, 0, "" },
        { "/v1/sub-accounts?limit=1001", 422, 0, 0, "" },
        { "/v1/api-keys?limit=x", 422, 0, 0, "" },
        { "/v1/api-keys?after=nobody00", 422, 0, 0, "" },
        { "/v1/api-keys?limit=2", 200, 2, 5, NULL },
        { "/v1/sub-accounts/shop/api-keys?limit=1", 200, 1, 1, "" },
        { "/v1/sub-accounts/shop/api-keys?after=nobody00", 422, 0, 0, "" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int status = api_place_ask(place, NULL, "GET", cases[i].path, NULL);
        const char *next = api_place_text(place, "meta.next");
        if (status != cases[i].status ||
            json_array_size(api_place_at(place, "data")) != cases[i].rows ||
            total(place) != cases[i].total ||
            (cases[i].next == NULL ? next[0] == '\0' : strcmp(next, cases[i].next) != 0))
            fail_msg("%s: %d %s", cases[i].path, status, place->text);
    }
}

/* A key with a list of a hundred addresses, as long as they may be. */
static void make_long_key(struct api_place *place)
{
    json_t *senders = json_array();
    char address[256], label[64];

    memset(label, 'a', sizeof(label) - 1);
    label[sizeof(label) - 1] = '\0';
    for (int i = 0; i < AUTH_LIST_MAX; i++) {
        snprintf(address, sizeof(address), "%.56s%02d@%.61s.%.61s.%.61s.example", label, i, label,
                 label, label);
        json_array_append_new(senders, json_string(address));
    }
    json_t *body = json_pack("{s:s, s:s, s:O, s:o}", "name", "n", "account", "blog", "senders",
                             senders, "recipients", senders);
    char *text = json_dumps(body, JSON_COMPACT);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/api-keys", text), 201);
    free(text);
    json_decref(body);
}

static void a_page_of_long_keys_ends_early(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    size_t pages = 0, rows = 0;
    char path[128] = "/v1/api-keys?account=blog";

    for (int i = 0; i < 60; i++) /* some 3 MB */
        make_long_key(place);
    for (; path[0] != '\0'; pages++) {
        assert_int_equal(api_place_ask(place, family->acme, "GET", path, NULL), 200);
        assert_int_equal(total(place), 61);
        assert_in_range(strlen(place->text), 1, 2300000);
        rows += json_array_size(api_place_at(place, "data"));
        const char *next = api_place_text(place, "meta.next");
        snprintf(path, sizeof(path), "/v1/api-keys?account=blog&after=%s", next);
        if (next[0] == '\0')
            path[0] = '\0';
    }
    assert_int_equal(pages, 2);
    assert_int_equal(rows, 61);
}

static void one_key_is_reached_by_its_own_path_only(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    const struct {
        struct auth_grant *caller;
        const char *method, *path;
        const struct auth_grant *key;
        int want;
    } cases[] = {
        { family->acme, "GET", "/v1/sub-accounts/shop/api-keys/%s", family->shop, 200 },
        { family->acme, "GET", "/tx/v1/sub-account/shop/api-key/%s", family->shop, 200 },
        { family->acme, "GET", "/v1/sub-accounts/blog/api-keys/%s", family->shop, 404 },
        { family->acme, "GET", "/v1/sub-accounts/shop/api-keys/%s", family->acme, 404 },
        { family->acme, "GET", "/v1/sub-accounts/shop/api-keys/%s", family->theirs, 404 },
        { NULL, "GET", "/v1/sub-accounts/shop/api-keys/%s", family->theirs, 404 },
        { family->acme, "GET", "/v1/api-keys/%s", family->shop, 200 },
        { family->acme, "GET", "/v1/api-keys/%s", family->theirs, 404 },
        { family->shop, "GET", "/v1/api-keys/%s", family->acme, 404 },
        { family->shop, "GET", "/v1/api-keys/%s", family->blog, 404 },
        { family->shop, "DELETE", "/v1/api-keys/%s", family->acme, 404 },
        { family->shop, "POST", "/v1/api-keys/%s/hold", family->acme, 404 },
        { family->shop, "POST", "/v1/api-keys/%s/rotate", family->acme, 404 },
        { family->acme, "POST", "/v1/api-keys/%s/hold", family->shop, 200 },
        { family->shop, "POST", "/v1/api-keys/%s/release", family->shop, 403 },
        { family->acme, "POST", "/v1/api-keys/%s/release", family->shop, 200 },
        { family->acme, "POST", "/v1/api-keys/%s/rotate", family->shop, 200 },
        { family->acme, "DELETE", "/v1/sub-accounts/shop/api-keys/%s", family->blog, 404 },
        { family->acme, "DELETE", "/v1/sub-accounts/acme/api-keys/%s", family->acme, 404 },
        { family->shop, "DELETE", "/v1/sub-accounts/shop/api-keys/%s", family->shop, 404 },
        { NULL, "DELETE", "/tx/v1/sub-account/acme/api-key/%s", family->acme, 404 },
        { NULL, "DELETE", "/v1/sub-accounts/nobody/api-keys/%s", family->acme, 404 },
        { family->acme, "DELETE", "/tx/v1/sub-account/blog/api-key/%s", family->blog, 200 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%.*s%s%s", (int)(strstr(cases[i].path, "%s") - cases[i].path),
                 cases[i].path, auth_grant_key_id(cases[i].key), strstr(cases[i].path, "%s") + 2);
        int status = api_place_ask(place, cases[i].caller, cases[i].method, path, NULL);
        if (status != cases[i].want)
            fail_msg("%zu %s: %d %s", i, path, status, place->text);
    }
}

static void a_key_for_a_sub_account_needs_no_body(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    static const char *const paths[] = { "/v1/sub-accounts/shop/api-keys",
                                         "/tx/v1/sub-account/shop/api-key" };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(api_place_ask(place, family->acme, "POST", paths[i], NULL), 201);
        assert_string_equal(api_place_text(place, "data.account"), "shop");
        assert_memory_equal(api_place_text(place, "data.name"), "shop ", 5);
        assert_string_equal(api_place_text(place, "data.scopes.0"), "send");
        assert_int_equal(strlen(api_place_text(place, "data.apiKey")), 40);
        assert_int_equal(api_place_ask(place, family->shop, "POST", paths[i], NULL), 404);
        assert_int_equal(api_place_ask(place, family->other, "POST", paths[i], NULL), 404);
    }
    assert_int_equal(api_place_ask(place, family->acme, "POST", paths[0],
                                   "{\"name\":\"n\",\"account\":\"shop\",\"rateLimit\":5}"),
                     201);
    assert_int_equal(api_place_ask(place, family->acme, "POST", paths[0], "{\"account\":\"blog\"}"),
                     422);
    assert_int_equal(
        api_place_ask(place, family->acme, "POST", paths[0], "{\"scopes\":\"metrics\"}"), 403);
    assert_int_equal(api_place_ask(place, family->acme, "POST", "/v1/api-keys",
                                   "{\"name\":\"n\",\"account\":\"shop\"}"),
                     201);
    assert_int_equal(
        api_place_ask(place, family->acme, "POST", "/v1/api-keys", "{\"account\":\"shop\"}"),
        422); /* there it needs one */
}

static void a_parent_makes_sub_accounts_with_its_own_plan(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    const struct {
        struct auth_grant *caller;
        const char *body;
        int want;
    } cases[] = {
        { family->acme, "{\"handle\":\"new\"}", 201 },
        { family->acme, "{\"handle\":\"new\"}", 409 },
        { family->acme, "{\"handle\":\"two\",\"plan\":\"default\",\"parent\":\"acme\"}", 201 },
        { family->acme, "{\"handle\":\"three\",\"plan\":\"gold\"}", 403 },
        { family->acme, "{\"handle\":\"three\",\"parent\":\"other\"}", 404 },
        { family->acme, "{}", 422 },
        { family->shop, "{\"handle\":\"three\"}", 422 },
        { NULL, "{\"handle\":\"three\"}", 422 },
        { NULL, "{\"handle\":\"three\",\"parent\":\"acme\",\"plan\":\"gold\"}", 422 },
        { NULL, "{\"handle\":\"three\",\"parent\":\"acme\"}", 201 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (api_place_ask(place, cases[i].caller, "POST", "/v1/sub-accounts", cases[i].body) !=
            cases[i].want)
            fail_msg("%zu: %d %s", i, place->status, place->text);
    assert_string_equal(api_place_text(place, "data.parent"), "acme");
}

static void a_parent_suspends_those_below_and_only_those(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    const struct {
        struct auth_grant *caller;
        const char *path;
        int want;
        const char *status;
    } steps[] = {
        { family->acme, "/v1/accounts/shop/suspend", 200, "suspended" },
        { family->acme, "/v1/accounts/shop/resume", 200, "active" },
        { NULL, "/v1/accounts/shop/suspend", 200, "suspended" },
        { family->acme, "/v1/accounts/shop/resume", 403, "" },
        { NULL, "/v1/accounts/shop/resume", 200, "active" },
        { family->acme, "/v1/accounts/acme/suspend", 403, "" },
        { family->acme, "/v1/accounts/theirs/suspend", 404, "" },
        { family->acme, "/v1/accounts/other/suspend", 404, "" },
        { family->acme, "/v1/accounts/nobody/suspend", 404, "" },
        { family->shop, "/v1/accounts/acme/suspend", 404, "" },
        { NULL, "/v1/accounts/nobody/suspend", 404, "" },
        { family->acme, "/v1/accounts/shop/plan", 403, "" },
        { NULL, "/v1/accounts/acme/suspend", 200, "suspended" },
    };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int status = api_place_ask(place, steps[i].caller, "POST", steps[i].path, NULL);
        if (status != steps[i].want ||
            strcmp(api_place_text(place, "data.status"), steps[i].status) != 0)
            fail_msg("step %zu %s: %d %s", i, steps[i].path, status, place->text);
    }
    assert_false(auth_grant_is_current(family->shop, clock_wall_s())); /* with its parent */
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/accounts/shop/plan", "{\"plan\":\"gold\"}"), 422);
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/accounts/shop/plan", "{\"plan\":\"default\"}"),
        200);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts/shop/plan", "{}"), 422);
}

static void each_sub_account_has_its_own_hundred_keys(void **state)
{
    struct family *family = *state;
    struct api_place *place = &family->place;
    static const char path[] = "/v1/sub-accounts/shop/api-keys";

    for (int i = 0; i < 99; i++)
        assert_int_equal(api_place_ask(place, family->acme, "POST", path, NULL), 201);
    assert_int_equal(api_place_ask(place, family->acme, "POST", path, NULL), 409);
    assert_string_equal(api_place_text(place, "error.code"), "key_limit_reached");
    assert_non_null(strstr(api_place_text(place, "error.message"), "delete an unused key first"));
    assert_int_equal(
        api_place_ask(place, family->acme, "POST", "/v1/sub-accounts/blog/api-keys", NULL), 201);
    assert_int_equal(api_place_ask(place, family->acme, "POST", "/v1/api-keys", "{\"name\":\"n\"}"),
                     201);
}

int main(void)
{
#define IN_FAMILY(test) cmocka_unit_test_setup_teardown(test, make_family, remove_family)
    static const struct CMUnitTest tests[] = {
        IN_FAMILY(a_parent_sees_its_own_and_nobody_above),
        IN_FAMILY(lists_come_in_pages),
        IN_FAMILY(a_page_of_long_keys_ends_early),
        IN_FAMILY(one_key_is_reached_by_its_own_path_only),
        IN_FAMILY(a_key_for_a_sub_account_needs_no_body),
        IN_FAMILY(a_parent_makes_sub_accounts_with_its_own_plan),
        IN_FAMILY(a_parent_suspends_those_below_and_only_those),
        IN_FAMILY(each_sub_account_has_its_own_hundred_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
