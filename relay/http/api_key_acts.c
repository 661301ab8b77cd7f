/* api_key_acts.c - what is done to a key that exists: rotate, hold, release.
 * Whoever rotates a key gets a secret of it, so a key rotates only those that it could have made
 * (bounds.c); holding and releasing gives nobody anything. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"
#include "relay/http/bounds.h"

#define OVERLAP_DEFAULT_S 86400

/* --- rotate ----------------------------------------------------------------------------------- */

static struct auth_list list_of(char *const *texts)
{
    size_t count = 0;

    while (texts[count] != NULL)
        count++;
    return (struct auth_list){ (const char *const *)texts, count };
}

/* The wish that would have made this key. */
static struct auth_key_spec spec_of(const struct auth_key_view *view)
{
    return (struct auth_key_spec){
        .account = view->account,
        .name = view->name,
        .scopes = view->scopes,
        .domains = list_of(view->domains),
        .senders = list_of(view->senders),
        .recipients = list_of(view->recipients),
        .allow_from = list_of(view->allow_from),
        .rate_per_minute = view->rate_per_minute,
        .recipients_per_day = view->recipients_per_day,
        .message_size_bytes = view->message_size_bytes,
        .sessions = view->sessions,
        .expires_s = view->expires_s,
        .test = view->test,
    };
}

static bool may_have_secret(struct api_call *call, const struct auth_key_view *view)
{
    struct why why = { "" };
    struct auth_keys keys;
    const struct auth_key_spec spec = spec_of(view);

    if (call->is_operator)
        return true;
    bool ok = auth_grant_has(call->grant, view->scopes) &&
              auth_key_find(call->api->auth, call->actor, clock_wall_s(), &keys) == AUTH_DONE;
    if (ok) {
        ok = bounds_permit(&keys.keys[0], &spec, &why);
        auth_keys_free(&keys);
    }
    if (!ok)
        api_fail(call, 403, "forbidden",
                 "This key may do more than the key that asks, which must not get its secret.");
    return ok;
}

/* "overlap": a time like 24h; "0" is at once. */
static bool read_overlap(struct api_call *call, const json_t *body, int64_t *overlap_s)
{
    const char *text = api_text(body, "overlap");
    int64_t overlap_ms = 0;

    *overlap_s = OVERLAP_DEFAULT_S;
    if (text == NULL)
        return true;
    if (strcmp(text, "0") != 0 && !api_parse_span(slice_of(text), &overlap_ms)) {
        api_fail(call, 422, "invalid_value",
                 "The field \"overlap\" must be a time like 24h or 7d, or 0 for none.");
        return false;
    }
    *overlap_s = overlap_ms / 1000;
    return true;
}

static void rotate(struct api_call *call, const char *id, int64_t overlap_s)
{
    char secret[AUTH_KEY_TEXT_BYTES];
    struct why why = { "" };
    enum auth_result result =
        auth_key_rotate(call->api->auth, call->actor, id, overlap_s, clock_wall_s(), secret, &why);

    if (result == AUTH_DONE)
        api_done_with_new_key(call, 200, id, NULL, secret);
    else
        api_fail_auth(call, result, &why);
    explicit_bzero(secret, sizeof(secret));
}

static const struct api_field rotate_fields[] = { { "overlap", API_TEXT } };

void api_keys_rotate(struct api_call *call, const struct api_request *request)
{
    int64_t overlap_s;
    struct auth_keys keys;
    json_t *body = api_body(call, request, rotate_fields, ARRAY_LEN(rotate_fields));

    if (body == NULL)
        return;
    if (read_overlap(call, body, &overlap_s) && api_key_of_path(call, &keys)) {
        if (may_have_secret(call, &keys.keys[0]))
            rotate(call, keys.keys[0].id, overlap_s);
        auth_keys_free(&keys);
    }
    json_decref(body);
}

/* --- hold, release ---------------------------------------------------------------------------- */

typedef enum auth_result act_fn(struct auth *auth, const char *actor, enum auth_rank rank,
                                const char *id, int64_t now_s, struct why *why);

static void act_on_key(struct api_call *call, const struct api_request *request, act_fn *act)
{
    struct auth_keys keys;
    struct why why = { "" };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (!api_key_of_path(call, &keys))
        return;
    enum auth_result result = act(call->api->auth, call->actor, api_rank(call, &keys.keys[0]),
                                  keys.keys[0].id, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        api_done_key(call, 200, keys.keys[0].id);
    else
        api_fail_auth(call, result, &why);
    auth_keys_free(&keys);
}

void api_keys_hold(struct api_call *call, const struct api_request *request)
{
    act_on_key(call, request, auth_key_hold);
}

void api_keys_release(struct api_call *call, const struct api_request *request)
{
    act_on_key(call, request, auth_key_release);
}

const struct api_shape api_key_acts_shapes[] = {
    { .run = api_keys_rotate,
      API_FIELDS(rotate_fields),
      .status = 200,
      .data = "NewKey",
      .meta = "NewKeyMeta",
      .refusals = { 404, 409 } },
    { .run = api_keys_hold, .status = 200, .data = "Key", .refusals = { 404, 409 } },
    { .run = api_keys_release, .status = 200, .data = "Key", .refusals = { 404, 409 } },
    { 0 },
};
