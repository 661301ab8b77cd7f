/* api_accounts.c - /v1/accounts: who owns keys and domains.
 * The operator sees and makes all; a key sees its own. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"

static json_t *account_json(const struct auth_account_view *view)
{
    return json_pack("{s:o, s:o, s:s, s:I, s:o}", "handle", api_json_text(view->handle), "plan",
                     api_json_text(view->plan), "status", view->suspended ? "suspended" : "active",
                     "activeKeys", (json_int_t)view->active_keys, "createdAt",
                     api_json_time(view->created_s));
}

void api_accounts_list(struct api_call *call, const struct api_request *request)
{
    struct auth_accounts accounts;
    json_t *array = json_array();

    (void)request;
    auth_account_list(call->api->auth, &accounts);
    for (size_t i = 0; i < accounts.count; i++)
        if (call->is_operator ||
            strcmp(accounts.accounts[i].handle, auth_grant_account(call->grant)) == 0)
            json_array_append_new(array, account_json(&accounts.accounts[i]));
    auth_accounts_free(&accounts);
    json_int_t total = (json_int_t)json_array_size(array);
    api_done(call, 200, array, json_pack("{s:I}", "total", total));
}

static void answer_account(struct api_call *call, const char *handle)
{
    struct auth_accounts accounts;
    json_t *found = NULL;

    auth_account_list(call->api->auth, &accounts);
    for (size_t i = 0; i < accounts.count; i++)
        if (strcmp(accounts.accounts[i].handle, handle) == 0)
            found = account_json(&accounts.accounts[i]);
    auth_accounts_free(&accounts);
    api_done(call, 201, found != NULL ? found : json_pack("{s:s}", "handle", handle), NULL);
}

static const struct api_field create_fields[] = { { "handle", API_TEXT }, { "plan", API_TEXT } };

void api_accounts_create(struct api_call *call, const struct api_request *request)
{
    struct why why = { "" };
    json_t *body = api_body(call, request, create_fields, ARRAY_LEN(create_fields));

    if (body == NULL)
        return;
    const char *handle = api_text(body, "handle");
    if (handle == NULL) {
        api_fail(call, 422, "missing_field", "The field \"handle\" is missing.");
        json_decref(body);
        return;
    }
    enum auth_result result = auth_account_create(call->api->auth, call->actor, handle,
                                                  api_text(body, "plan"), clock_wall_s(), &why);
    if (result == AUTH_DONE)
        answer_account(call, handle);
    else
        api_fail_auth(call, result == AUTH_NOT_FOUND ? AUTH_INVALID : result, &why);
    json_decref(body);
}

const struct api_shape api_accounts_shapes[] = {
    { .run = api_accounts_list, .status = 200, .data = "[Account]", .meta = "Total" },
    { .run = api_accounts_create,
      API_FIELDS(create_fields),
      .required = "handle",
      .status = 201,
      .data = "Account",
      .refusals = { 409 } },
    { 0 },
};
