/* api_sub_accounts.c - /v1/sub-accounts: the accounts below one's own.
 * A parent's key sees and manages them, never the other way round, and what belongs to anybody else
 * is not there. The operator sees those of all. Their keys are in api_keys.c. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"

/* --- accounts --------------------------------------------------------------------------------- */

/* Whose sub-accounts: the caller's own, or what the operator asks for (NULL: all). */
static bool read_parent(struct api_call *call, const char *asked, const char **parent)
{
    return api_account(call, asked, parent);
}

static bool is_below(const struct api_call *call, const struct auth_account_view *view,
                     const char *parent)
{
    (void)call;
    return view->parent != NULL && (parent == NULL || strcmp(view->parent, parent) == 0);
}

static const char *const list_names[] = { "limit", "after", "parent", NULL };

void api_sub_accounts_list(struct api_call *call, const struct api_request *request)
{
    char values[3][API_QUERY_MAX];
    const char *parent;

    if (api_query(call, request->query, list_names, values) &&
        read_parent(call, values[2][0] == '\0' ? NULL : values[2], &parent))
        api_done_accounts(call, values[0], values[1], is_below, parent);
}

/* A parent gives its own plan and no other, or it could give more than it has. */
static bool may_give_plan(struct api_call *call, const char *parent, const char *plan)
{
    struct auth_accounts accounts;
    bool same = call->is_operator || plan == NULL;

    if (same)
        return true;
    auth_account_list(call->api->auth, &accounts);
    for (size_t i = 0; i < accounts.count; i++)
        if (strcmp(accounts.accounts[i].handle, parent) == 0)
            same = strcmp(accounts.accounts[i].plan, plan) == 0;
    auth_accounts_free(&accounts);
    if (!same)
        api_fail(call, 403, "forbidden",
                 "A sub-account has the plan of its parent; only the operator gives another.");
    return same;
}

static void create(struct api_call *call, const json_t *body)
{
    const char *handle = api_text(body, "handle"), *plan = api_text(body, "plan");
    const char *parent;
    struct why why = { "" };

    if (!read_parent(call, api_text(body, "parent"), &parent))
        return;
    if (handle == NULL || parent == NULL) {
        api_fail(call, 422, "missing_field", "The field \"%s\" is missing.",
                 handle == NULL ? "handle" : "parent");
        return;
    }
    if (!may_give_plan(call, parent, plan))
        return;
    enum auth_result result = auth_sub_account_create(call->api->auth, call->actor, parent, handle,
                                                      plan, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        api_done_account(call, 201, handle);
    else if (result == AUTH_LIMIT)
        api_fail(call, 409, "account_limit_reached", "%s", why.text);
    else
        api_fail_auth(call, result == AUTH_NOT_FOUND ? AUTH_INVALID : result, &why);
}

static const struct api_field create_fields[] = {
    { "handle", API_TEXT },
    { "plan", API_TEXT },
    { "parent", API_TEXT },
};

void api_sub_accounts_create(struct api_call *call, const struct api_request *request)
{
    json_t *body = api_body(call, request, create_fields, ARRAY_LEN(create_fields));

    if (body != NULL)
        create(call, body);
    json_decref(body);
}

const struct api_shape api_sub_accounts_shapes[] = {
    { .run = api_sub_accounts_list,
      .query = list_names,
      .status = 200,
      .data = "[Account]",
      .meta = "TotalPage",
      .refusals = { 400, 404, 422 } },
    { .run = api_sub_accounts_create,
      API_FIELDS(create_fields),
      .required = "handle",
      .status = 201,
      .data = "Account",
      .refusals = { 404, 409 } },
    { 0 },
};

/* --- whose key is it? ------------------------------------------------------------------------- */

bool api_is_sub_account(struct api_call *call)
{
    const char *parent = auth_account_parent(call->api->auth, call->param);

    if (parent != NULL &&
        (call->is_operator || strcmp(parent, auth_grant_account(call->grant)) == 0))
        return true;
    api_fail(call, 404, "not_found", "There is no such sub-account.");
    return false;
}
