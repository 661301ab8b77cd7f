/* api_accounts.c - /v1/accounts: who owns keys and domains.
 * The operator sees and makes all; a key sees its own account and its sub-accounts, and may suspend
 * and resume the latter. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"

json_t *api_account_json(const struct auth_account_view *view)
{
    return json_pack("{s:o, s:o, s:o, s:s, s:I, s:o}", "handle", api_json_text(view->handle),
                     "parent", api_json_text(view->parent), "plan", api_json_text(view->plan),
                     "status", view->suspended ? "suspended" : "active", "activeKeys",
                     (json_int_t)view->active_keys, "createdAt", api_json_time(view->created_s));
}

/* False: `after` is none of them. */
static bool cut_page(const struct api_call *call, const struct auth_accounts *accounts,
                     api_wanted_fn *wanted, const char *parent, struct auth_page *page,
                     json_t *array, const char **last)
{
    bool begun = page->after == NULL;

    for (size_t i = 0; i < accounts->count; i++) {
        const struct auth_account_view *view = &accounts->accounts[i];
        if (!wanted(call, view, parent))
            continue;
        page->total++;
        if (!begun) {
            begun = strcmp(view->handle, page->after) == 0;
        } else if (json_array_size(array) == page->limit) {
            page->more = true;
        } else {
            json_array_append_new(array, api_account_json(view));
            *last = view->handle;
        }
    }
    return begun;
}

void api_done_accounts(struct api_call *call, const char *limit, const char *after,
                       api_wanted_fn *wanted, const char *parent)
{
    struct auth_accounts accounts;
    struct auth_page page;
    const char *last = NULL;

    if (!api_page_read(call, limit, after, &page))
        return;
    json_t *array = json_array();
    auth_account_list(call->api->auth, &accounts);
    if (cut_page(call, &accounts, wanted, parent, &page, array, &last)) {
        api_done(call, 200, array, api_page_json(&page, page.more ? last : NULL));
    } else {
        json_decref(array);
        api_fail(call, 422, "invalid_value", "The parameter \"after\" is no account of this list.");
    }
    auth_accounts_free(&accounts);
}

/* Its own account, or one below. */
static bool sees(const struct api_call *call, const struct auth_account_view *view,
                 const char *parent)
{
    const char *own = call->is_operator ? NULL : auth_grant_account(call->grant);

    (void)parent;
    return own == NULL || strcmp(view->handle, own) == 0 ||
           (view->parent != NULL && strcmp(view->parent, own) == 0);
}

static const char *const list_names[] = { "limit", "after", NULL };

void api_accounts_list(struct api_call *call, const struct api_request *request)
{
    char values[2][API_QUERY_MAX];

    if (api_query(call, request->query, list_names, values))
        api_done_accounts(call, values[0], values[1], sees, NULL);
}

void api_done_account(struct api_call *call, int status, const char *handle)
{
    struct auth_accounts accounts;
    json_t *found = NULL;

    auth_account_list(call->api->auth, &accounts);
    for (size_t i = 0; i < accounts.count; i++)
        if (strcmp(accounts.accounts[i].handle, handle) == 0)
            found = api_account_json(&accounts.accounts[i]);
    auth_accounts_free(&accounts);
    api_done(call, status, found != NULL ? found : json_pack("{s:s}", "handle", handle), NULL);
}

/* --- making ----------------------------------------------------------------------------------- */

static void create(struct api_call *call, const json_t *body)
{
    const char *handle = api_text(body, "handle"), *parent = api_text(body, "parent");
    const char *plan = api_text(body, "plan");
    struct why why = { "" };

    if (handle == NULL) {
        api_fail(call, 422, "missing_field", "The field \"handle\" is missing.");
        return;
    }
    enum auth_result result =
        parent == NULL
            ? auth_account_create(call->api->auth, call->actor, handle, plan, clock_wall_s(), &why)
            : auth_sub_account_create(call->api->auth, call->actor, parent, handle, plan,
                                      clock_wall_s(), &why);
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

void api_accounts_create(struct api_call *call, const struct api_request *request)
{
    json_t *body = api_body(call, request, create_fields, ARRAY_LEN(create_fields));

    if (body != NULL)
        create(call, body);
    json_decref(body);
}

/* --- suspending, resuming, plans -------------------------------------------------------------- */

/* The operator may with all, a parent with its sub-accounts; a key's own account is there, but not
 * for it to decide about. */
static bool may_steer(struct api_call *call)
{
    const char *parent = auth_account_parent(call->api->auth, call->param);

    if (call->is_operator)
        return true;
    if (strcmp(call->param, auth_grant_account(call->grant)) == 0)
        api_fail(call, 403, "forbidden", "A key does not decide about its own account.");
    else if (parent == NULL || strcmp(parent, auth_grant_account(call->grant)) != 0)
        api_fail(call, 404, "not_found", "There is no such account.");
    else
        return true;
    return false;
}

typedef enum auth_result act_fn(struct auth *auth, const char *actor, enum auth_rank rank,
                                const char *handle, int64_t now_s, struct why *why);

static void act_on_account(struct api_call *call, const struct api_request *request, act_fn *act)
{
    enum auth_rank rank = call->is_operator ? AUTH_RANK_OPERATOR : AUTH_RANK_PARENT;
    struct why why = { "" };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (!may_steer(call))
        return;
    enum auth_result result =
        act(call->api->auth, call->actor, rank, call->param, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        api_done_account(call, 200, call->param);
    else
        api_fail_auth(call, result, &why);
}

void api_accounts_suspend(struct api_call *call, const struct api_request *request)
{
    act_on_account(call, request, auth_account_suspend);
}

void api_accounts_resume(struct api_call *call, const struct api_request *request)
{
    act_on_account(call, request, auth_account_resume);
}

static const struct api_field plan_fields[] = { { "plan", API_TEXT } };

void api_accounts_plan(struct api_call *call, const struct api_request *request)
{
    struct why why = { "" };
    json_t *body = api_body(call, request, plan_fields, ARRAY_LEN(plan_fields));

    if (body == NULL)
        return;
    const char *plan = api_text(body, "plan");
    enum auth_result result = plan == NULL
                                  ? AUTH_INVALID
                                  : auth_account_set_plan(call->api->auth, call->actor, call->param,
                                                          plan, clock_wall_s(), &why);
    if (plan == NULL)
        api_fail(call, 422, "missing_field", "The field \"plan\" is missing.");
    else if (result == AUTH_DONE)
        api_done_account(call, 200, call->param);
    else
        api_fail_auth(call, result, &why);
    json_decref(body);
}

const struct api_shape api_accounts_shapes[] = {
    { .run = api_accounts_list,
      .query = list_names,
      .status = 200,
      .data = "[Account]",
      .meta = "TotalPage",
      .refusals = { 400, 422 } },
    { .run = api_accounts_create,
      API_FIELDS(create_fields),
      .required = "handle",
      .status = 201,
      .data = "Account",
      .refusals = { 409 } },
    { .run = api_accounts_suspend, .status = 200, .data = "Account", .refusals = { 404 } },
    { .run = api_accounts_resume, .status = 200, .data = "Account", .refusals = { 404 } },
    { .run = api_accounts_plan,
      API_FIELDS(plan_fields),
      .required = "plan",
      .status = 200,
      .data = "Account",
      .refusals = { 404 } },
    { 0 },
};
