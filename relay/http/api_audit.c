/* api_audit.c - GET /v1/audit: who changed what, and what was refused?
 * A key with the scope `keys` sees what concerns its account and its sub-accounts; what strangers
 * tried, who have no account, the operator alone. Pages, newest first; meta.next is the `before` of
 * the next one. */
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/http/api_priv.h"

#define PAGE_ROWS     50
#define PAGE_ROWS_MAX 1000

static json_t *text_or_null(const char *text)
{
    return api_json_text(text[0] == '\0' ? NULL : text);
}

/* Is it a key of neither the asker's account nor one of its sub-accounts? Then it is its parent's:
 * a sub-account learns that this was the parent, but neither the id of its key nor its address. */
static bool is_parents_key(struct api_call *call, const char *actor)
{
    struct auth_keys keys;

    if (call->is_operator || actor == NULL ||
        auth_key_find(call->api->auth, actor, clock_wall_s(), &keys) != AUTH_DONE)
        return false;
    const char *own = auth_grant_account(call->grant);
    const struct auth_key_view *view = &keys.keys[0];
    bool is_ours =
        strcmp(view->account, own) == 0 || (view->parent != NULL && strcmp(view->parent, own) == 0);
    auth_keys_free(&keys);
    return !is_ours;
}

static json_t *line_json(struct api_call *call, const struct auth_audit_view *view)
{
    bool by_parent = is_parents_key(call, view->actor);
    json_t *json = json_object();

    json_object_set_new(json, "reference", api_json_id(view->reference));
    json_object_set_new(json, "at", api_json_time(view->at_s));
    json_object_set_new(json, "lastAt", api_json_time(view->last_s));
    json_object_set_new(json, "count", json_integer((json_int_t)view->count));
    json_object_set_new(json, "actor", text_or_null(by_parent ? "parent" : view->actor));
    json_object_set_new(json, "from", text_or_null(by_parent ? "" : view->from));
    json_object_set_new(json, "protocol", text_or_null(view->protocol));
    json_object_set_new(json, "account", text_or_null(view->account));
    json_object_set_new(json, "action", api_json_text(view->action));
    json_object_set_new(json, "subject", text_or_null(view->subject));
    json_object_set_new(json, "detail", text_or_null(view->detail));
    return json;
}

enum { ACTION, KEY, ACCOUNT, REFERENCE, SINCE, BEFORE, LIMIT, NAMES_COUNT };
static const char *const names[NAMES_COUNT + 1] = {
    [ACTION] = "action", [KEY] = "key",       [ACCOUNT] = "account", [REFERENCE] = "ref",
    [SINCE] = "since",   [BEFORE] = "before", [LIMIT] = "limit",
};

static bool refuse_parameter(struct api_call *call, const char *name, const char *allowed)
{
    api_fail(call, 422, "invalid_value", "The parameter \"%s\" must be %s.", name, allowed);
    return false;
}

static bool read_reference(struct api_call *call, const char *name, const char *value,
                           int64_t *reference)
{
    return value[0] == '\0' || ident_parse(slice_of(value), reference) ||
           refuse_parameter(call, name, "a reference of 13 characters");
}

/* The caller's own account, or one that is below it. */
static bool read_account(struct api_call *call, const char *asked, const char **account)
{
    const char *parent = asked == NULL ? NULL : auth_account_parent(call->api->auth, asked);

    if (!call->is_operator && parent != NULL &&
        strcmp(parent, auth_grant_account(call->grant)) == 0) {
        *account = asked;
        return true;
    }
    return api_account(call, asked, account);
}

static const char *given(const char *value)
{
    return value[0] == '\0' ? NULL : value;
}

static bool read_filter(struct api_call *call, char (*values)[API_QUERY_MAX],
                        struct auth_audit_filter *filter)
{
    uint64_t limit = PAGE_ROWS;
    int64_t age_ms;

    if (values[LIMIT][0] != '\0' &&
        (!slice_to_u64(slice_of(values[LIMIT]), &limit) || limit < 1 || limit > PAGE_ROWS_MAX))
        return refuse_parameter(call, "limit", "a number from 1 to 1000");
    if (values[SINCE][0] != '\0') {
        if (!api_parse_span(slice_of(values[SINCE]), &age_ms))
            return refuse_parameter(call, "since", "an age like 30m, 2h or 7d");
        filter->since_s = clock_wall_s() - age_ms / 1000;
    }
    filter->limit = (size_t)limit;
    filter->action = given(values[ACTION]);
    filter->key = given(values[KEY]);
    return read_reference(call, "ref", values[REFERENCE], &filter->reference) &&
           read_reference(call, "before", values[BEFORE], &filter->before) &&
           read_account(call, given(values[ACCOUNT]), &filter->account);
}

static void list(struct api_call *call, const struct auth_audit_filter *filter)
{
    struct auth_audits audits;
    struct why why = { "" };
    enum auth_result result = auth_audit_list(call->api->auth, filter, &audits, &why);

    if (result != AUTH_DONE) {
        api_fail_auth(call, result, &why);
        return;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < audits.count; i++)
        json_array_append_new(array, line_json(call, &audits.views[i]));
    api_done(call, 200, array,
             json_pack("{s:I, s:o}", "count", (json_int_t)audits.count, "next",
                       api_json_id(audits.next)));
    auth_audits_free(&audits);
}

void api_audit_list(struct api_call *call, const struct api_request *request)
{
    char values[NAMES_COUNT][API_QUERY_MAX];
    struct auth_audit_filter filter = { 0 };

    if (api_query(call, request->query, names, values) && read_filter(call, values, &filter))
        list(call, &filter);
}

const struct api_shape api_audit_shapes[] = {
    { .run = api_audit_list,
      .query = names,
      .status = 200,
      .data = "[AuditLine]",
      .meta = "Page",
      .refusals = { 400, 404, 422 } },
    { 0 },
};
