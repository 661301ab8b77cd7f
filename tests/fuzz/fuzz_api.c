/* fuzz_api.c - any bytes as a request to the API, over real stores in a temporary folder.
 * Input: a line with method and target, then the body. The first byte says who asks: the operator,
 * or a key with every scope. Each call is answered once, with a known status; what is no success
 * has an error in the envelope, and nobody but an operator makes a key without the bounds of its
 * maker. */
#include "tests/support/api_place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct api_place place;
static struct auth_grant *grant;

static void at_exit(void)
{
    auth_grant_unref(grant);
    api_place_close(&place);
}

static void open_once(void)
{
    struct why why = { "" };

    if (place.auth != NULL)
        return;
    if (!api_place_open(&place, &why)) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    grant = api_place_key(&place, "{\"name\":\"f\",\"domain\":\"good.example\",\"scopes\":"
                                  "\"send,keys,messages,domains,accounts,metrics\"}");
    atexit(at_exit);
}

static void check(const struct api_caller *caller)
{
    const char *domain = api_place_text(&place, "data.domains.0");

    assert(place.status >= 200 && place.status < 600 && place.status != 500);
    if (strcmp(place.endpoint, "/metrics") == 0 && place.status == 200)
        return;
    assert(place.json != NULL);
    assert(json_is_true(api_place_at(&place, "success")) == (place.status < 300));
    assert((strlen(api_place_text(&place, "error.code")) > 0) == (place.status >= 300));
    if (!caller->is_operator && api_place_at(&place, "data.apiKey") != NULL)
        assert(strcmp(domain, "good.example") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_make(data, size);

    if (size < 2)
        return 0;
    open_once();
    struct api_caller caller = { .is_operator = (data[0] & 1) == 0 };
    caller.grant = caller.is_operator ? NULL : grant;
    rest = slice_from(rest, 1);
    struct slice line = slice_cut(&rest, '\n');
    struct api_request request = { .method = slice_cut(&line, ' '),
                                   .body = rest,
                                   .content_type = SLICE("application/json") };
    request.path = slice_cut(&line, '?');
    request.query = line;
    /* The key that asks must outlive the run. */
    if (slice_equal(request.method, SLICE("DELETE")) &&
        slice_starts_nocase(request.path, SLICE("/v1/api-keys")))
        return 0;
    api_place_call(&place, &caller, &request);
    check(&caller);
    return 0;
}
