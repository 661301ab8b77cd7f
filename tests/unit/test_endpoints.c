/* test_endpoints.c - the HTTP API over real stores, without a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "tests/support/api_place.h"

static int make_place(void **state)
{
    struct api_place *place = xcalloc(1, sizeof(*place));
    struct why why = { "" };

    *state = place;
    if (api_place_open(place, &why))
        return 0;
    fprintf(stderr, "%s\n", why.text);
    return -1;
}

static int remove_place(void **state)
{
    struct api_place *place = *state;

    api_place_close(place);
    free(place);
    return 0;
}

/* --- upstreams that only remember what was asked ---------------------------------------------- */

struct fake_upstreams {
    struct api_place *place;
    bool held, cannot_record;
    unsigned looks;
    struct letter letter;
    api_upstreams_cb *cb;
    void *owner;
};

static void on_fake_look(struct letter *letter)
{
    struct fake_upstreams *fake = container_of(letter, struct fake_upstreams, letter);
    const struct api_upstream rows[] = {
        { "main", "smtp", fake->held ? "held" : "resting", "it said \xff", 2, 3 },
        { "spare", "maildir", "usable", NULL, 0, 0 },
    };

    fake->looks++;
    fake->cb(fake->owner, rows, ARRAY_LEN(rows));
}

static void fake_look(void *owner, api_upstreams_cb *cb, void *cb_owner)
{
    struct fake_upstreams *fake = owner;

    fake->cb = cb;
    fake->owner = cb_owner;
    fake->letter.deliver = on_fake_look;
    mailbox_post(&fake->place->answers, &fake->letter);
}

static bool fake_knows(void *owner, const char *name)
{
    (void)owner;
    return strcmp(name, "main") == 0 || strcmp(name, "spare") == 0;
}

static bool fake_hold(void *owner, const char *name, bool hold, struct why *why)
{
    struct fake_upstreams *fake = owner;

    assert_string_equal(name, "main");
    if (fake->cannot_record)
        return why_set(why, "no room for it");
    fake->held = hold;
    return true;
}

static struct api_upstreams fake_upstreams(struct fake_upstreams *fake, struct api_place *place)
{
    *fake = (struct fake_upstreams){ .place = place };
    return (struct api_upstreams){
        .owner = fake, .look = fake_look, .knows = fake_knows, .hold = fake_hold
    };
}

/* A path of this form with something in place of each {...}. */
static char *fill(const char *form)
{
    char *path = xstrdup(form);

    for (char *open; (open = strchr(path, '{')) != NULL;) {
        char *filled = xasprintf("%.*sNone1234%s", (int)(open - path), path, strchr(path, '}') + 1);
        free(path);
        path = filled;
    }
    return path;
}

/* --- the table -------------------------------------------------------------------------------- */

static void every_endpoint_has_a_help_and_answers_once(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;
    size_t count = 0;
    struct fake_upstreams fake;
    struct api_upstreams upstreams = fake_upstreams(&fake, place);

    place->api.upstreams = &upstreams;
    for (; api_endpoint(count, &row); count++) {
        char *path = fill(row.path);
        int status = api_place_ask(place, NULL, row.method, path, NULL);
        if (strlen(row.help) < 5 || row.path[0] != '/' ||
            (row.access == API_SCOPED) != (row.scopes != 0))
            fail_msg("%s %s: the row is not whole", row.method, row.path);
        if (status == 405 || status >= 500 || strcmp(place->endpoint, row.path) != 0)
            fail_msg("%s %s: %d %s", row.method, path, status, place->text);
        free(path);
    }
    assert_true(count > 10);
}

static void an_unknown_method_is_405_with_allow_and_an_unknown_path_404(void **state)
{
    static const char *const unknown[] = {
        "/",
        "",
        "/v1",
        "/v1/",
        "/v1/api-keys/",
        "/v1/api-keys/a/b",
        "//v1/api-keys",
        "/v1//api-keys",
        "/v1/../v1/api-keys",
        "/static/..%2f..%2fetc%2fpasswd",
        "/..\\",
        "/%2e%2e/",
        "//host/",
        "/a%00.js",
        "/v1/messages//retry",
        "/V1/api-keys",
        "/v1/api-keys%2f",
        "/metrics/",
    };
    struct api_place *place = *state;
    struct api_endpoint_row row;

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        char *path = fill(row.path);
        if (api_place_ask(place, NULL, "PATCH", path, NULL) != 405 ||
            strstr(place->allow, row.method) == NULL)
            fail_msg("PATCH %s: %d, Allow: %s", path, place->status, place->allow);
        free(path);
    }
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        if (api_place_ask(place, NULL, "GET", unknown[i], NULL) != 404)
            fail_msg("%s: %d", unknown[i], place->status);
}

static void each_endpoint_is_open_only_to_those_whom_its_row_names(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;
    struct api_caller nobody = { 0 };
    struct auth_grant *send = api_place_key(place, "{\"name\":\"s\"}");
    struct auth_grant *all = api_place_key(
        place,
        "{\"name\":\"a\",\"scopes\":[\"keys\",\"messages\",\"domains\",\"accounts\",\"metrics\"]}");

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        char *path = fill(row.path);
        struct api_request request = { .method = slice_of(row.method), .path = slice_of(path) };
        bool sends = row.scopes == AUTH_SEND;
        int want_send = row.access == API_OPEN || row.access == API_KEY || sends ? 0 : 403;
        int got = api_place_call(place, &nobody, &request);
        if ((got == 401) != (row.access != API_OPEN))
            fail_msg("%s %s without a key: %d", row.method, path, got);
        got = api_place_ask(place, send, row.method, path, NULL);
        if ((got == 403) != (want_send == 403))
            fail_msg("%s %s with the scope send: %d", row.method, path, got);
        got = api_place_ask(place, all, row.method, path, NULL);
        if ((got == 403) != (row.access == API_OPERATOR || sends))
            fail_msg("%s %s with every other scope: %d", row.method, path, got);
        free(path);
    }
    /* Whoever may not touch a resource hears so whatever the method. */
    assert_int_equal(api_place_ask(place, send, "PATCH", "/v1/api-keys/x", NULL), 403);
    assert_int_equal(api_place_ask(place, all, "PATCH", "/v1/api-keys/x", NULL), 405);
    auth_grant_unref(send);
    auth_grant_unref(all);
}

static void a_refused_key_hears_why_and_a_penalty_how_long(void **state)
{
    struct api_place *place = *state;
    struct api_request request = { .method = SLICE("GET"), .path = SLICE("/v1/whoami") };
    struct api_caller caller = { .refusal = "this key has expired" };

    assert_int_equal(api_place_call(place, &caller, &request), 401);
    assert_string_equal(api_place_text(place, "error.message"), "this key has expired");
    caller = (struct api_caller){ .penalty_s = 77 };
    assert_int_equal(api_place_call(place, &caller, &request), 429);
    assert_int_equal(place->retry_after_s, 77);
    request.path = SLICE("/healthz");
    assert_int_equal(api_place_call(place, &caller, &request), 200);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void bodies_are_read_strictly(void **state)
{
    static const struct {
        const char *body;
        size_t len; /* 0: strlen */
        int want;
        const char *code;
    } cases[] = {
        { "{", 0, 400, "invalid_json" },
        { "[]", 0, 400, "invalid_json" },
        { "\"a\"", 0, 400, "invalid_json" },
        { "{\"name\":\"a\",\"name\":\"b\"}", 0, 400, "invalid_json" },
        { "{\"name\":\"\\ud800\"}", 0, 400, "invalid_json" },
        { "{\"name\":\"\xc0\xaf\"}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\\u0000b\"}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\0b\"}", 14, 400, "invalid_json" },
        { "{\"rateLimit\":NaN}", 0, 400, "invalid_json" },
        { "{\"rateLimit\":1e400}", 0, 400, "invalid_json" },
        { "{\"rateLimit\":99999999999999999999}", 0, 400, "invalid_json" },
        { "{\"rateLimit\":01}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\"} {}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\"}x", 0, 400, "invalid_json" },
        { "\xef\xbb\xbf{\"name\":\"a\"}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\",}", 0, 400, "invalid_json" },
        { "{'name':'a'}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\"/**/}", 0, 400, "invalid_json" },
        { "{\"name\":\"a\nb\"}", 0, 400, "invalid_json" },
        { "{\"Name\":\"a\"}", 0, 400, "unknown_field" },
        { "{\"name\":\"a\",\"domian\":\"x.example\"}", 0, 400, "unknown_field" },
        { "{\"name\":5}", 0, 422, "invalid_value" },
        { "{\"name\":[\"a\"]}", 0, 422, "invalid_value" },
        { "{\"name\":\"a\",\"rateLimit\":1.5}", 0, 422, "invalid_value" },
        { "{\"name\":\"a\",\"rateLimit\":\"5\"}", 0, 422, "invalid_value" },
        { "{\"name\":\"a\",\"test\":1}", 0, 422, "invalid_value" },
        { "{\"name\":\"a\",\"domains\":[1]}", 0, 422, "invalid_value" },
        { "{\"name\":\"a\",\"domains\":{}}", 0, 422, "invalid_value" },
        { "{\"name\":null}", 0, 422, "missing_field" },
        { "", 0, 422, "missing_field" },
    };
    struct api_place *place = *state;
    struct api_caller operator= { .is_operator = true };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct api_request request = { .method = SLICE("POST"),
                                       .path = SLICE("/v1/api-keys"),
                                       .content_type = SLICE("application/json"),
                                       .body = slice_of(cases[i].body) };
        if (cases[i].len > 0)
            request.body.len = cases[i].len;
        int got = api_place_call(place, &operator, & request);
        if (got != cases[i].want || strcmp(api_place_text(place, "error.code"), cases[i].code) != 0)
            fail_msg("%s: got %d %s", cases[i].body, got, place->text);
    }
    api_place_ask(place, NULL, "GET", "/v1/api-keys", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 0);
}

static void depth_and_number_of_values_are_bounded(void **state)
{
    static const struct {
        size_t depth, commas;
        const char *problem; /* in the answer */
    } cases[] = {
        { 100000, 0, "nested" },
        { 33, 0, "nested" },
        { 31, 0, "not strict JSON" }, /* it is not closed */
        { 1, 30000, "too many values" },
    };
    struct api_place *place = *state;
    struct buf body;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_init(&body, 1 << 20);
        for (size_t depth = 0; depth < cases[i].depth; depth++)
            assert_true(buf_add(&body, depth == 0 ? SLICE("{\"a\":") : SLICE("[")));
        for (size_t commas = 0; commas < cases[i].commas; commas++)
            assert_true(buf_add(&body, SLICE("1,")));
        assert_true(buf_add_byte(&body, '\0'));
        int got = api_place_ask(place, NULL, "POST", "/v1/domains", buf_slice(&body).data);
        if (got != 400 || strstr(place->text, cases[i].problem) == NULL)
            fail_msg("%zu deep, %zu commas: %d %s", cases[i].depth, cases[i].commas, got,
                     place->text);
        buf_free(&body);
    }
}

static void a_body_must_be_json_by_its_type_and_of_a_bounded_size(void **state)
{
    static const struct {
        const char *type;
        int want;
    } cases[] = {
        { "application/json", 201 },
        { "Application/JSON; charset=UTF-8", 201 },
        { "application/json;charset=\"utf-8\"", 201 },
        { "application/json; charset=latin1", 415 },
        { "application/jsonx", 415 },
        { "text/plain", 415 },
        { "application/x-www-form-urlencoded", 415 },
        { NULL, 415 },
    };
    struct api_place *place = *state;
    struct api_caller operator= { .is_operator = true };
    struct api_request request = { .method = SLICE("POST"), .path = SLICE("/v1/api-keys") };
    char *large = xcalloc(1, API_REQUEST_MAX + 1);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        request.body = SLICE("{\"name\":\"a\"}");
        request.content_type = slice_of(cases[i].type);
        if (api_place_call(place, &operator, & request) != cases[i].want)
            fail_msg("%s: %d", cases[i].type, place->status);
    }
    request.body = slice_make(large, API_REQUEST_MAX + 1);
    assert_int_equal(api_place_call(place, &operator, & request), 413);
    free(large);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void values_that_are_not_allowed_are_422_and_make_no_key(void **state)
{
    static const char *const bodies[] = {
        /* D-35 */
        "{\"name\":\"a\",\"domain\":\"\"}",
        "{\"name\":\"a\",\"domain\":\".\"}",
        "{\"name\":\"a\",\"domain\":\"*\"}",
        "{\"name\":\"a\",\"domain\":\"@\"}",
        "{\"name\":\"a\",\"domain\":\"good..example\"}",
        "{\"name\":\"a\",\"domain\":\"*.com\"}",
        "{\"name\":\"a\",\"domains\":[\"good.example\",\"\"]}",
        "{\"name\":\"a\",\"domains\":\"good.example,\"}",
        "{\"name\":\"a\",\"domains\":[]}",
        "{\"name\":\"a\",\"domain\":\"a.example\",\"domains\":[\"b.example\"]}",
        "{\"name\":\"a\",\"domain\":\"192.0.2.1\"}",
        "{\"name\":\"a\",\"scopes\":[]}",
        "{\"name\":\"a\",\"scopes\":[\"root\"]}",
        "{\"name\":\"a\",\"scopes\":\"send,\"}",
        "{\"name\":\"a\",\"senders\":[\"good.example\"]}",
        "{\"name\":\"a\",\"senders\":[\"a@[192.0.2.1]\"]}",
        "{\"name\":\"a\",\"senders\":[]}",
        "{\"name\":\"a\",\"recipients\":[\"a@\"]}",
        "{\"name\":\"a\",\"recipients\":[]}",
        "{\"name\":\"a\",\"allowFrom\":[\"10.0.0.0/33\"]}",
        "{\"name\":\"a\",\"allowFrom\":[]}",
        "{\"name\":\"a\",\"expirationDays\":0}",
        "{\"name\":\"a\",\"expirationDays\":366}",
        "{\"name\":\"a\",\"expirationDays\":-1}",
        "{\"name\":\"a\",\"rateLimit\":0}",
        "{\"name\":\"a\",\"recipientsPerDay\":0}",
        "{\"name\":\"a\",\"messageSize\":0}",
        "{\"name\":\"a\",\"messageSize\":\"10M\"}",
        "{\"name\":\"a\",\"maxSessions\":-1}",
        "{\"name\":\"a\",\"rateLimit\":9223372036854775807}",
        "{\"name\":\"\"}",
        "{\"name\":\"a\\nb\"}",
        "{\"name\":\"a\\u001bb\"}",
    };
    struct api_place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (api_place_ask(place, NULL, "POST", "/v1/api-keys", bodies[i]) != 422)
            fail_msg("%s: %d %s", bodies[i], place->status, place->text);
    api_place_ask(place, NULL, "GET", "/v1/api-keys", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 0);
    api_place_ask(place, NULL, "GET", "/v1/domains", NULL);
    if (json_integer_value(api_place_at(place, "meta.total")) != 0)
        fail_msg("a domain was left behind: %s", place->text);
}

static void a_key_is_shown_once_and_revoked_for_good(void **state)
{
    static const char *const fields[] = {
        "keyId",     "name",         "keyPrefix", "masked",     "scopes",    "domain",
        "domains",   "status",       "plan",      "rateLimit",  "allowFrom", "lastUsed",
        "createdAt", "expirationTs", "account",   "recipients", "senders",   "test",
    };
    struct api_place *place = *state;
    char secret[64], path[64], id[16];

    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/api-keys",
                      "{\"name\":\"B\xc3\xbc"
                      "cher\",\"domains\":[\"B\xc3\xbc"
                      "cher.example\","
                      "\"*.good.example\"],\"scopes\":\"send, keys\",\"expirationDays\":90,"
                      "\"rateLimit\":100,\"allowFrom\":[\"10.0.0.0/8\"],\"senders\":"
                      "[\"Ann@XN--bcher-kva.example\"],\"recipients\":[\"dest.example\"]}"),
        201);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (json_object_get(api_place_at(place, "data"), fields[i]) == NULL)
            fail_msg("%s is missing: %s", fields[i], place->text);
    snprintf(secret, sizeof(secret), "%s", api_place_text(place, "data.apiKey"));
    snprintf(id, sizeof(id), "%s", api_place_text(place, "data.keyId"));
    assert_int_equal(strlen(secret), 40);
    assert_true(strlen(api_place_text(place, "meta.warning")) > 0);
    assert_int_equal(json_array_size(api_place_at(place, "meta.notes")), 2);
    assert_string_equal(api_place_text(place, "data.domain"), "xn--bcher-kva.example");
    assert_string_equal(api_place_text(place, "data.senders.0"), "Ann@xn--bcher-kva.example");
    assert_memory_equal(api_place_text(place, "data.keyPrefix") + 8, "****", 5);
    assert_memory_equal(api_place_text(place, "data.keyPrefix"), secret, 8);
    assert_memory_equal(api_place_text(place, "data.masked") + 8, "...", 3);
    assert_string_equal(api_place_text(place, "data.masked") + 11, secret + 36);
    assert_int_equal(json_integer_value(api_place_at(place, "data.rateLimit")), 100);

    snprintf(path, sizeof(path), "/v1/api-keys/%s", id);
    assert_int_equal(api_place_ask(place, NULL, "GET", path, NULL), 200);
    assert_null(strstr(place->text, secret));
    assert_null(strstr(place->text, "apiKey"));
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/api-keys", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 1);
    assert_null(strstr(place->text, secret));

    assert_int_equal(api_place_ask(place, NULL, "DELETE", path, NULL), 200);
    assert_string_equal(api_place_text(place, "data.keyId"), id);
    assert_true(json_is_true(api_place_at(place, "data.revoked")));
    api_place_ask(place, NULL, "GET", "/v1/api-keys", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 0);
    struct auth_peer peer = { .protocol = "http" };
    struct auth_grant *grant = NULL;
    assert_int_equal(auth_check(place->auth, slice_of(secret), 0, &peer, clock_wall_s(), &grant),
                     AUTH_REVOKED);
}

static void a_key_may_only_make_keys_that_can_do_no_more(void **state)
{
    static const struct {
        const char *body;
        int want;
    } cases[] = {
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5}", 201 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"rateLimit\":50}",
          201 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"account\":"
          "\"default\"}",
          201 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"scopes\":\"keys\"}",
          201 },
        { "{\"name\":\"c\",\"expirationDays\":5}", 403 },
        { "{\"name\":\"c\",\"domain\":\"other.example\",\"expirationDays\":5}", 403 },
        { "{\"name\":\"c\",\"domain\":\"*.good.example\",\"expirationDays\":5}", 403 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":11}", 403 },
        { "{\"name\":\"c\",\"domain\":\"good.example\"}", 403 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"rateLimit\":51}",
          403 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"scopes\":"
          "\"messages\"}",
          403 },
        { "{\"name\":\"c\",\"domain\":\"good.example\",\"expirationDays\":5,\"account\":\"acme\"}",
          404 },
    };
    struct api_place *place = *state;
    struct auth_grant *maker = api_place_key(
        place, "{\"name\":\"m\",\"scopes\":[\"send\",\"keys\"],\"domain\":\"good.example\","
               "\"expirationDays\":10,\"rateLimit\":50}");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (api_place_ask(place, maker, "POST", "/v1/api-keys", cases[i].body) != cases[i].want)
            fail_msg("%s: got %d %s", cases[i].body, place->status, place->text);
    /* The rate that was not mentioned was taken over. */
    api_place_ask(place, maker, "POST", "/v1/api-keys", cases[0].body);
    assert_int_equal(json_integer_value(api_place_at(place, "data.rateLimit")), 50);
    auth_grant_unref(maker);
}

static void a_key_sees_and_revokes_only_keys_of_its_own_account(void **state)
{
    struct api_place *place = *state;
    char path[64];

    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}"),
                     201);
    struct auth_grant *foreign =
        api_place_key(place, "{\"name\":\"f\",\"account\":\"acme\",\"domain\":\"acme.example\"}");
    struct auth_grant *maker = api_place_key(place, "{\"name\":\"m\",\"scopes\":\"keys\"}");
    snprintf(path, sizeof(path), "/v1/api-keys/%s", auth_grant_key_id(foreign));

    assert_int_equal(api_place_ask(place, maker, "GET", path, NULL), 404);
    assert_int_equal(api_place_ask(place, maker, "DELETE", path, NULL), 404);
    assert_int_equal(api_place_ask(place, maker, "GET", "/v1/api-keys?account=acme", NULL), 404);
    assert_int_equal(api_place_ask(place, maker, "GET", "/v1/api-keys", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 1);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/api-keys", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 2);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/api-keys?account=acme", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 1);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/api-keys?acount=acme", NULL), 400);
    auth_grant_unref(foreign);
    auth_grant_unref(maker);
}

static void a_domain_named_by_the_operator_is_added_unless_it_is_anothers(void **state)
{
    struct api_place *place = *state;

    api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}");
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/domains",
                                   "{\"name\":\"acme.example\",\"account\":\"acme\"}"),
                     201);
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/api-keys",
                      "{\"name\":\"a\",\"domains\":[\"new.example\",\"acme.example\"]}"),
        409);
    api_place_ask(place, NULL, "GET", "/v1/domains?account=default", NULL);
    if (json_integer_value(api_place_at(place, "meta.total")) != 0)
        fail_msg("a domain stayed though there is no key: %s", place->text);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/api-keys",
                                   "{\"name\":\"a\",\"domain\":\"new.example\"}"),
                     201);
    assert_non_null(strstr(api_place_text(place, "meta.notes.0"), "new.example"));
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/api-keys",
                                   "{\"name\":\"b\",\"domain\":\"new.example\"}"),
                     201);
    assert_null(api_place_at(place, "meta.notes"));
}

static void the_limit_of_keys_is_a_conflict_that_says_what_to_do(void **state)
{
    struct api_place *place = *state;
    int status = 0;

    for (int i = 0; i < 100; i++)
        status = api_place_ask(place, NULL, "POST", "/v1/api-keys", "{\"name\":\"a\"}");
    assert_int_equal(status, 201);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/api-keys", "{\"name\":\"a\"}"), 409);
    assert_string_equal(api_place_text(place, "error.code"), "key_limit_reached");
    assert_true(strlen(api_place_text(place, "error.message")) > 10);
}

static void whoami_tells_a_key_what_it_is(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"me\"}");

    assert_int_equal(api_place_ask(place, grant, "GET", "/v1/whoami", NULL), 200);
    assert_string_equal(api_place_text(place, "data.name"), "me");
    assert_string_equal(api_place_text(place, "data.keyId"), auth_grant_key_id(grant));
    assert_true(json_is_null(api_place_at(place, "data.domain")));
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/whoami", NULL), 200);
    assert_true(json_is_true(api_place_at(place, "data.operator")));
    auth_grant_unref(grant);
}

static void whoami_tells_what_is_left_of_the_limits(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *free_key = api_place_key(place, "{\"name\":\"free\"}");
    struct auth_grant *grant =
        api_place_key(place, "{\"name\":\"a\",\"rateLimit\":60,\"recipientsPerDay\":5}");
    unsigned wait_s;

    api_place_ask(place, free_key, "GET", "/v1/whoami", NULL);
    assert_true(json_is_null(api_place_at(place, "data.limits.ratePerMinute")));
    assert_true(json_is_null(api_place_at(place, "data.limits.recipientsPerDay")));
    assert_int_equal(place->rate.limit, 0);
    assert_true(auth_take_message(place->auth, grant, clock_wall_ms() + 60000, &wait_s));
    assert_true(auth_take_recipient(place->auth, grant, clock_wall_s(), &wait_s));
    api_place_ask(place, grant, "GET", "/v1/whoami", NULL);
    static const struct {
        const char *path;
        int64_t want;
    } cases[] = {
        { "data.limits.ratePerMinute.limit", 60 },
        { "data.limits.ratePerMinute.remaining", 59 },
        { "data.limits.ratePerMinute.resetSeconds", 1 },
        { "data.limits.recipientsPerDay.limit", 5 },
        { "data.limits.recipientsPerDay.remaining", 4 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (json_integer_value(api_place_at(place, cases[i].path)) != cases[i].want)
            fail_msg("%s: %s", cases[i].path, place->text);
    assert_int_equal(place->rate.limit, 60);
    assert_int_equal(place->rate.left, 59);
    assert_int_equal(place->rate.reset_s, 1);
    auth_grant_unref(grant);
    auth_grant_unref(free_key);
}

/* --- domains and accounts --------------------------------------------------------------------- */

static void domains_are_verified_by_the_operators_word_only(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"d\",\"scopes\":[\"domains\"]}");

    assert_int_equal(
        api_place_ask(place, grant, "POST", "/v1/domains", "{\"name\":\"Mine.Example.\"}"), 201);
    assert_string_equal(api_place_text(place, "data.status"), "pending");
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/domains",
                                   "{\"name\":\"later.example\",\"pending\":true}"),
                     201);
    assert_string_equal(api_place_text(place, "data.status"), "pending");
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/domains", "{\"name\":\"mine.example\"}"), 201);
    assert_string_equal(api_place_text(place, "data.status"), "verified");
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/domains", "{\"name\":\"*.com\"}"),
                     422);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/domains", "{}"), 422);
    api_place_ask(place, grant, "GET", "/v1/domains", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 2);
    assert_int_equal(api_place_ask(place, grant, "DELETE", "/v1/domains/MINE.example", NULL), 200);
    assert_int_equal(api_place_ask(place, grant, "DELETE", "/v1/domains/mine.example", NULL), 404);
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/domains", "{\"name\":\"*.w.example\"}"), 201);
    assert_int_equal(api_place_ask(place, grant, "DELETE", "/v1/domains/%2a.w.example", NULL), 200);
    assert_int_equal(api_place_ask(place, grant, "DELETE", "/v1/domains/%zz", NULL), 404);
    auth_grant_unref(grant);
}

static void a_key_cannot_remove_the_domain_of_another_account(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"d\",\"scopes\":[\"domains\"]}");

    api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}");
    api_place_ask(place, NULL, "POST", "/v1/domains",
                  "{\"name\":\"acme.example\",\"account\":\"acme\"}");
    assert_int_equal(api_place_ask(place, grant, "DELETE", "/v1/domains/acme.example", NULL), 404);
    assert_int_equal(
        api_place_ask(place, grant, "POST", "/v1/domains", "{\"name\":\"acme.example\"}"), 409);
    assert_int_equal(api_place_ask(place, grant, "POST", "/v1/domains",
                                   "{\"name\":\"b.example\",\"account\":\"acme\"}"),
                     404);
    assert_int_equal(api_place_ask(place, NULL, "DELETE", "/v1/domains/acme.example", NULL), 200);
    auth_grant_unref(grant);
}

static void accounts_are_made_by_the_operator_and_seen_by_their_own(void **state)
{
    struct api_place *place = *state;
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"a\",\"scopes\":[\"accounts\"]}");

    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}"),
                     201);
    assert_string_equal(api_place_text(place, "data.handle"), "acme");
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"acme\"}"),
                     409);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", "{\"handle\":\"A b\"}"),
                     422);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts",
                                   "{\"handle\":\"b\",\"plan\":\"no-such-plan\"}"),
                     422);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/accounts", "{}"), 422);
    assert_int_equal(api_place_ask(place, grant, "POST", "/v1/accounts", "{\"handle\":\"c\"}"),
                     403);
    api_place_ask(place, NULL, "GET", "/v1/accounts", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 2);
    api_place_ask(place, grant, "GET", "/v1/accounts", NULL);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 1);
    auth_grant_unref(grant);
}

/* --- messages and the queue ------------------------------------------------------------------- */

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    (void)message;
    *(enum queue_result *)owner = result;
}

static void submit(struct api_place *place, const char *account, char id[static IDENT_TEXT_BYTES])
{
    enum queue_result result = QUEUE_FAILED;
    struct queue_message *message = queue_message_new(ident_next());

    ident_format(message->id, id);
    message->received_ms = clock_wall_ms();
    message->account = xstrdup(account);
    snprintf(message->key_id, sizeof(message->key_id), "abcd1234");
    message->sender = xstrdup("a@good.example");
    assert_true(buf_add(&message->content, SLICE("From: a@good.example\r\n\r\nhi\r\n")));
    message->size = buf_len(&message->content);
    queue_message_add(message, SLICE("r@dest.example"));
    queue_submit(place->queue, &(struct queue_submit){ .message = &message,
                                                       .cb = on_submitted,
                                                       .owner = &result,
                                                       .answers = &place->answers });
    queue_step(place->queue);
    mailbox_drain(&place->answers);
    assert_int_equal(result, QUEUE_OK);
}

static void on_leased(void *owner, struct queue_message **messages, size_t count,
                      int64_t next_due_ms)
{
    (void)next_due_ms;
    assert_true(count <= 1);
    *(struct queue_message **)owner = count == 1 ? messages[0] : NULL;
}

/* An attempt with hostile words from the upstream. */
static void defer(struct api_place *place)
{
    struct queue_message *message = NULL;

    queue_lease(place->queue, 1, 100000, queue_now_ms(place->queue), on_leased, &message,
                &place->answers);
    queue_step(place->queue);
    mailbox_drain(&place->answers);
    assert_non_null(message);
    queue_recipient_say(&message->recipients[0], QUEUE_LATER, 451, "4.2.0",
                        SLICE("later \xff\xfe<script>\x1b[2J"));
    queue_settle(place->queue, &message, "main", NULL, NULL, &place->answers);
    queue_step(place->queue);
    mailbox_drain(&place->answers);
}

static void messages_are_listed_in_pages_newest_first(void **state)
{
    struct api_place *place = *state;
    char ids[5][IDENT_TEXT_BYTES], target[128];

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        submit(place, i == 2 ? "acme" : "default", ids[i]);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/messages?limit=2", NULL), 200);
    assert_string_equal(api_place_text(place, "data.0.id"), ids[4]);
    assert_string_equal(api_place_text(place, "data.1.id"), ids[3]);
    assert_string_equal(api_place_text(place, "data.0.state"), "queued");
    assert_string_equal(api_place_text(place, "data.0.to"), "r@dest.example");
    snprintf(target, sizeof(target), "/v1/messages?limit=1000&before=%s",
             api_place_text(place, "meta.next"));
    assert_int_equal(api_place_ask(place, NULL, "GET", target, NULL), 200);
    assert_string_equal(api_place_text(place, "data.0.id"), ids[2]);
    assert_int_equal(json_array_size(api_place_at(place, "data")), 3);
    assert_true(json_is_null(api_place_at(place, "meta.next")));
    api_place_ask(place, NULL, "GET", "/v1/messages?account=acme&state=queued", NULL);
    assert_int_equal(json_array_size(api_place_at(place, "data")), 1);
    api_place_ask(place, NULL, "GET", "/v1/messages?state=held", NULL);
    assert_int_equal(json_array_size(api_place_at(place, "data")), 0);
}

static void parameters_that_are_wrong_are_named(void **state)
{
    static const struct {
        const char *query;
        int want;
        const char *name;
    } cases[] = {
        { "state=frob", 422, "state" },
        { "limit=0", 422, "limit" },
        { "limit=1001", 422, "limit" },
        { "limit=x", 422, "limit" },
        { "before=x", 422, "before" },
        { "olderThan=2", 422, "olderThan" },
        { "olderThan=h", 422, "olderThan" },
        { "newerThan=-2h", 422, "newerThan" },
        { "newerThan=2w", 422, "newerThan" },
        { "newerThan=10001d", 422, "newerThan" },
        { "newerThan=18446744073709551616s", 422, "newerThan" },
        { "stat=queued", 400, "stat" },
        { "state=queued&state=held", 400, "state" },
        { "state=", 400, "state" },
        { "state", 400, "state" },
        { "state=%zz", 400, "state" },
        { "state=%0a", 400, "state" },
        { "state=%4", 400, "state" },
        { "api_key=lpk_secret", 400, "api_key" },
        { "&", 400, "\\\"\\\"" },
    };
    struct api_place *place = *state;
    char target[128];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(target, sizeof(target), "/v1/messages?%s", cases[i].query);
        int got = api_place_ask(place, NULL, "GET", target, NULL);
        if (got != cases[i].want || strstr(place->text, cases[i].name) == NULL ||
            strstr(place->text, "lpk_secret") != NULL)
            fail_msg("%s: %d %s", cases[i].query, got, place->text);
    }
}

static void a_key_sees_and_retries_messages_of_its_own_account_only(void **state)
{
    struct api_place *place = *state;
    char own[IDENT_TEXT_BYTES], foreign[IDENT_TEXT_BYTES], target[64];
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"messages\"]}");

    submit(place, "acme", foreign);
    submit(place, "default", own);
    assert_int_equal(api_place_ask(place, grant, "GET", "/v1/messages", NULL), 200);
    assert_int_equal(json_array_size(api_place_at(place, "data")), 1);
    assert_string_equal(api_place_text(place, "data.0.id"), own);
    assert_int_equal(api_place_ask(place, grant, "GET", "/v1/messages?account=acme", NULL), 404);
    snprintf(target, sizeof(target), "/v1/messages/%s", foreign);
    assert_int_equal(api_place_ask(place, grant, "GET", target, NULL), 404);
    assert_int_equal(api_place_ask(place, NULL, "GET", target, NULL), 200);
    snprintf(target, sizeof(target), "/v1/messages/%s/retry", foreign);
    assert_int_equal(api_place_ask(place, grant, "POST", target, NULL), 404);
    snprintf(target, sizeof(target), "/v1/messages/%s/retry", own);
    assert_int_equal(api_place_ask(place, grant, "POST", target, NULL), 409);
    assert_int_equal(api_place_ask(place, grant, "POST", "/v1/messages/frob/retry", NULL), 404);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/messages/0000000000001", NULL), 404);
    auth_grant_unref(grant);
}

static void the_story_of_a_message_survives_what_an_upstream_said(void **state)
{
    struct api_place *place = *state;
    char id[IDENT_TEXT_BYTES], target[64];
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"messages\"]}");

    submit(place, "default", id);
    defer(place);
    snprintf(target, sizeof(target), "/v1/messages/%s", id);
    assert_int_equal(api_place_ask(place, grant, "GET", target, NULL), 200);
    assert_string_equal(api_place_text(place, "data.state"), "deferred");
    assert_string_equal(api_place_text(place, "data.recipients.0.state"), "deferred");
    assert_int_equal(json_integer_value(api_place_at(place, "data.recipients.0.code")), 451);
    assert_string_equal(api_place_text(place, "data.recipients.0.enhanced"), "4.2.0");
    assert_non_null(strstr(api_place_text(place, "data.recipients.0.text"), "<script>"));
    assert_true(json_array_size(api_place_at(place, "data.events")) >= 1);
    assert_string_equal(api_place_text(place, "data.events.0.upstream"), "main");

    snprintf(target, sizeof(target), "/v1/messages/%s/retry", id);
    assert_int_equal(
        api_place_ask(place, NULL, "POST", "/v1/queue/retry", "{\"upstream\":\"spare\"}"), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "data.retried")), 0);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/queue/retry", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "data.retried")), 1);
    assert_int_equal(api_place_ask(place, grant, "POST", target, NULL), 200);
    assert_string_equal(api_place_text(place, "data.id"), id);
    assert_int_equal(api_place_ask(place, grant, "POST", "/v1/queue/retry", NULL), 403);
    auth_grant_unref(grant);
}

static void a_message_is_held_released_and_cancelled_by_its_own_account_only(void **state)
{
    static const struct {
        const char *method, *rest;
        int want;
        const char *done, *then; /* the state that it is in afterwards */
    } rows[] = {
        { "POST", "/release", 409, NULL, "queued" },
        { "POST", "/hold", 200, "data.held", "held" },
        { "POST", "/hold", 409, NULL, "held" },
        { "POST", "/retry", 409, NULL, "held" },
        { "POST", "/release", 200, "data.released", "queued" },
        { "DELETE", "", 200, "data.cancelled", "cancelled" },
        { "DELETE", "", 409, NULL, "cancelled" },
        { "POST", "/hold", 409, NULL, "cancelled" },
    };
    struct api_place *place = *state;
    char own[IDENT_TEXT_BYTES], foreign[IDENT_TEXT_BYTES], target[64];
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"messages\"]}");

    submit(place, "default", own);
    submit(place, "acme", foreign);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(target, sizeof(target), "/v1/messages/%s%s", foreign, rows[i].rest);
        assert_int_equal(api_place_ask(place, grant, rows[i].method, target, NULL), 404);
        snprintf(target, sizeof(target), "/v1/messages/%s%s", own, rows[i].rest);
        int got = api_place_ask(place, grant, rows[i].method, target, NULL);
        if (got != rows[i].want ||
            (rows[i].done != NULL && !json_is_true(api_place_at(place, rows[i].done))))
            fail_msg("row %zu: %d %s", i, got, place->text);
        snprintf(target, sizeof(target), "/v1/messages/%s", own);
        api_place_ask(place, grant, "GET", target, NULL);
        assert_string_equal(api_place_text(place, "data.state"), rows[i].then);
    }
    assert_string_equal(api_place_text(place, "data.events.0.what"), "hold");
    assert_memory_equal(api_place_text(place, "data.events.0.text"), "by ", 3);
    assert_string_equal(api_place_text(place, "data.events.0.text") + 3, auth_grant_key_id(grant));
    snprintf(target, sizeof(target), "/v1/messages/%s", foreign);
    api_place_ask(place, NULL, "GET", target, NULL);
    assert_string_equal(api_place_text(place, "data.state"), "queued");
    auth_grant_unref(grant);
}

static void many_are_steered_by_the_operators_filter_and_never_by_a_forgotten_one(void **state)
{
    static const struct {
        const char *path, *body;
        int want;
        const char *count; /* where the answer has it */
        json_int_t changed;
    } rows[] = {
        { "/v1/queue/hold", NULL, 422, NULL, 0 },
        { "/v1/queue/cancel", "{}", 422, NULL, 0 },
        { "/v1/queue/release", "{\"all\":false}", 422, NULL, 0 },
        { "/v1/queue/hold", "{\"state\":\"frob\"}", 422, NULL, 0 },
        { "/v1/queue/hold", "{\"olderThan\":\"2\"}", 422, NULL, 0 },
        { "/v1/queue/hold", "{\"older\":\"2h\"}", 400, NULL, 0 },
        { "/v1/queue/hold", "{\"state\":[\"queued\"]}", 422, NULL, 0 },
        { "/v1/queue/hold", "{\"account\":\"acme\"}", 200, "data.held", 1 },
        { "/v1/queue/hold", "{\"newerThan\":\"1h\",\"sender\":\"good.example\"}", 200, "data.held",
          2 },
        { "/v1/queue/release", "{\"account\":\"acme\"}", 200, "data.released", 1 },
        { "/v1/queue/cancel", "{\"state\":\"held\"}", 200, "data.cancelled", 2 },
        { "/v1/queue/cancel", "{\"olderThan\":\"1h\"}", 200, "data.cancelled", 0 },
        { "/v1/queue/cancel", "{\"all\":true}", 200, "data.cancelled", 1 },
    };
    struct api_place *place = *state;
    char id[IDENT_TEXT_BYTES];
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"messages\"]}");

    submit(place, "default", id);
    submit(place, "acme", id);
    submit(place, "default", id);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(api_place_ask(place, grant, "POST", rows[i].path, rows[i].body), 403);
        int got = api_place_ask(place, NULL, "POST", rows[i].path, rows[i].body);
        if (got != rows[i].want ||
            (rows[i].count != NULL &&
             json_integer_value(api_place_at(place, rows[i].count)) != rows[i].changed))
            fail_msg("row %zu: %d %s", i, got, place->text);
    }
    auth_grant_unref(grant);
}

static void upstreams_are_shown_held_and_released_by_the_operator(void **state)
{
    struct api_place *place = *state;
    struct fake_upstreams fake;
    struct api_upstreams upstreams = fake_upstreams(&fake, place);
    char id[IDENT_TEXT_BYTES];
    struct auth_grant *grant = api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"messages\"]}");

    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/upstreams", NULL), 503);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/main/hold", NULL), 503);
    assert_string_equal(api_place_text(place, "error.code"), "daemon_needed");
    place->api.upstreams = &upstreams;
    assert_int_equal(api_place_ask(place, grant, "GET", "/v1/upstreams", NULL), 403);
    assert_int_equal(api_place_ask(place, grant, "POST", "/v1/upstreams/main/hold", NULL), 403);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/upstreams", NULL), 200);
    assert_string_equal(api_place_text(place, "data.0.state"), "resting");
    assert_string_equal(api_place_text(place, "data.0.reason"), "it said \xef\xbf\xbd");
    assert_int_equal(json_integer_value(api_place_at(place, "data.0.waiting")), 3);
    assert_true(json_is_null(api_place_at(place, "data.1.reason")));
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 2);

    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/none/hold", NULL), 404);
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/main/hold", NULL), 200);
    assert_true(fake.held);
    assert_true(json_is_true(api_place_at(place, "data.held")));
    submit(place, "default", id);
    defer(place); /* by "main" */
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/main/release", NULL), 200);
    assert_false(fake.held);
    assert_int_equal(json_integer_value(api_place_at(place, "data.retried")), 1);
    assert_int_equal(fake.looks, 3); /* an answer comes when all have been told */

    fake.cannot_record = true;
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/main/hold", NULL), 503);
    assert_non_null(strstr(place->text, "no room for it"));
    place->api.draining = true;
    assert_int_equal(api_place_ask(place, NULL, "POST", "/v1/upstreams/main/release", NULL), 503);
    auth_grant_unref(grant);
}

static void stats_and_metrics_count_by_state(void **state)
{
    struct api_place *place = *state;
    char id[IDENT_TEXT_BYTES];

    submit(place, "default", id);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/queue/stats", NULL), 200);
    assert_int_equal(json_integer_value(api_place_at(place, "data.messages.queued")), 1);
    assert_int_equal(json_integer_value(api_place_at(place, "data.messages.delivered")), 0);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/metrics", NULL), 200);
    assert_non_null(strstr(place->text, "latchpost_queue_messages{state=\"queued\"} 1\n"));
    assert_non_null(strstr(place->text, "# TYPE latchpost_messages_accepted_total counter\n"));
}

static void readiness_ends_with_the_draining_and_health_does_not(void **state)
{
    struct api_place *place = *state;

    assert_int_equal(api_place_ask(place, NULL, "GET", "/readyz", NULL), 200);
    place->api.draining = true;
    assert_int_equal(api_place_ask(place, NULL, "GET", "/readyz", NULL), 503);
    assert_int_equal(api_place_ask(place, NULL, "GET", "/healthz", NULL), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        TEST(every_endpoint_has_a_help_and_answers_once),
        TEST(an_unknown_method_is_405_with_allow_and_an_unknown_path_404),
        TEST(each_endpoint_is_open_only_to_those_whom_its_row_names),
        TEST(a_refused_key_hears_why_and_a_penalty_how_long),
        TEST(bodies_are_read_strictly),
        TEST(depth_and_number_of_values_are_bounded),
        TEST(a_body_must_be_json_by_its_type_and_of_a_bounded_size),
        TEST(values_that_are_not_allowed_are_422_and_make_no_key),
        TEST(a_key_is_shown_once_and_revoked_for_good),
        TEST(a_key_may_only_make_keys_that_can_do_no_more),
        TEST(a_key_sees_and_revokes_only_keys_of_its_own_account),
        TEST(a_domain_named_by_the_operator_is_added_unless_it_is_anothers),
        TEST(the_limit_of_keys_is_a_conflict_that_says_what_to_do),
        TEST(whoami_tells_a_key_what_it_is),
        TEST(whoami_tells_what_is_left_of_the_limits),
        TEST(domains_are_verified_by_the_operators_word_only),
        TEST(a_key_cannot_remove_the_domain_of_another_account),
        TEST(accounts_are_made_by_the_operator_and_seen_by_their_own),
        TEST(messages_are_listed_in_pages_newest_first),
        TEST(parameters_that_are_wrong_are_named),
        TEST(a_key_sees_and_retries_messages_of_its_own_account_only),
        TEST(the_story_of_a_message_survives_what_an_upstream_said),
        TEST(a_message_is_held_released_and_cancelled_by_its_own_account_only),
        TEST(many_are_steered_by_the_operators_filter_and_never_by_a_forgotten_one),
        TEST(upstreams_are_shown_held_and_released_by_the_operator),
        TEST(stats_and_metrics_count_by_state),
        TEST(readiness_ends_with_the_draining_and_health_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
