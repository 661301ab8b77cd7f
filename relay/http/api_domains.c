/* api_domains.c - /v1/domains: the domains of an account.
 * What the operator adds is verified at once unless "pending" says otherwise; what a key adds waits
 * for verification, for a key's word proves nothing about a domain. As long as it waits, the record
 * that proves it is shown with it. Several accounts may wait for the same domain. */
#include <stdio.h>

#include "relay/base/clock.h"
#include "relay/http/api_priv.h"
#include "relay/message/domain.h"

#define PENDING_LEN_MAX (int)(253 - (sizeof(AUTH_DOMAIN_LABEL) - 1)) /* RFC 1035 section 2.3.4 */

/* --- showing ---------------------------------------------------------------------------------- */

void api_domain_record(const char *domain, char name[static API_RECORD_NAME_BYTES])
{
    bool is_wildcard = domain[0] == '*' && domain[1] == '.';

    snprintf(name, API_RECORD_NAME_BYTES, AUTH_DOMAIN_LABEL "%s", domain + (is_wildcard ? 2 : 0));
}

static json_t *record_json(const struct api_call *call, const struct auth_domain_view *view)
{
    char token[AUTH_DOMAIN_TOKEN_BYTES], name[API_RECORD_NAME_BYTES];

    if (view->verified)
        return json_null();
    auth_domain_token(call->api->auth, view->account, view->name, token);
    api_domain_record(view->name, name);
    return json_pack("{s:s, s:s, s:s}", "type", "TXT", "name", name, "value", token);
}

json_t *api_domain_json(const struct api_call *call, const struct auth_domain_view *view)
{
    return json_pack("{s:o, s:o, s:s, s:b, s:o, s:o}", "name", api_json_text(view->name), "account",
                     api_json_text(view->account), "status",
                     view->verified ? "verified" : "pending", "verified", (int)view->verified,
                     "record", record_json(call, view), "createdAt",
                     api_json_time(view->created_s));
}

static const char *const account_names[] = { "account", NULL };

void api_domains_list(struct api_call *call, const struct api_request *request)
{
    char values[1][API_QUERY_MAX];
    const char *account;
    struct auth_domains domains;

    if (!api_query(call, request->query, account_names, values) ||
        !api_account(call, values[0][0] == '\0' ? NULL : values[0], &account))
        return;
    auth_domain_list(call->api->auth, account, &domains);
    json_t *array = json_array();
    for (size_t i = 0; i < domains.count; i++)
        json_array_append_new(array, api_domain_json(call, &domains.domains[i]));
    api_done(call, 200, array, json_pack("{s:I}", "total", (json_int_t)domains.count));
    auth_domains_free(&domains);
}

/* --- adding ----------------------------------------------------------------------------------- */

static void answer_domain(struct api_call *call, const char *account, const char *name)
{
    struct auth_domains domains;
    json_t *found = NULL;

    auth_domain_list(call->api->auth, account, &domains);
    for (size_t i = 0; i < domains.count; i++)
        if (strcmp(domains.domains[i].name, name) == 0)
            found = api_domain_json(call, &domains.domains[i]);
    auth_domains_free(&domains);
    api_done(call, 201, found != NULL ? found : json_pack("{s:s}", "name", name), NULL);
}

static void add(struct api_call *call, const json_t *body)
{
    const char *name = api_text(body, "name");
    const char *account;
    char domain[DOMAIN_TEXT_MAX];
    struct why why = { "" };

    if (name == NULL) {
        api_fail(call, 422, "missing_field", "The field \"name\" is missing.");
        return;
    }
    enum domain_error error = domain_parse_pattern(slice_of(name), domain);
    if (error != DOMAIN_OK) {
        api_fail(call, 422, "invalid_value", "The field \"name\" holds \"%.100s\": %s.", name,
                 domain_error_text(error));
        return;
    }
    if (!api_account(call, api_text(body, "account"), &account))
        return;
    if (account == NULL)
        account = AUTH_DEFAULT_ACCOUNT;
    bool verified = call->is_operator && !api_flag(body, "pending");
    if (!verified && strlen(domain) > PENDING_LEN_MAX) {
        api_fail(call, 422, "invalid_value",
                 "The domain is too long to be verified by the DNS: it may have %d characters.",
                 PENDING_LEN_MAX);
        return;
    }
    enum auth_result result = auth_domain_add(call->api->auth, call->actor, account, domain,
                                              verified, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        answer_domain(call, account, domain);
    else
        api_fail_auth(call, result, &why);
}

static const struct api_field add_fields[] = {
    { "name", API_TEXT },
    { "account", API_TEXT },
    { "pending", API_FLAG },
};

void api_domains_add(struct api_call *call, const struct api_request *request)
{
    json_t *body = api_body(call, request, add_fields, ARRAY_LEN(add_fields));

    if (body != NULL)
        add(call, body);
    json_decref(body);
}

/* --- finding and removing --------------------------------------------------------------------- */

/* How many of them have this name; *domain: the last of these. */
static size_t count_named(const struct auth_domains *domains, const char *name,
                          const struct auth_domain_view **domain)
{
    size_t count = 0;

    for (size_t i = 0; i < domains->count; i++)
        if (strcmp(domains->domains[i].name, name) == 0) {
            *domain = &domains->domains[i];
            count++;
        }
    return count;
}

bool api_domain_find(struct api_call *call, const char *asked, struct auth_domains *domains,
                     const struct auth_domain_view **domain)
{
    char name[DOMAIN_TEXT_MAX];
    const char *account;
    size_t count = 0;

    *domains = (struct auth_domains){ 0 };
    if (!api_account(call, asked, &account))
        return false;
    if (domain_parse_pattern(slice_of(call->param), name) == DOMAIN_OK) {
        auth_domain_list(call->api->auth, account, domains);
        count = count_named(domains, name, domain);
    }
    if (count == 0)
        api_fail(call, 404, "not_found", "There is no such domain.");
    else if (count > 1)
        api_fail(call, 409, "account_needed",
                 "Several accounts have added %s: say which \"account\" is meant.", name);
    return count == 1;
}

static void take_away(struct api_call *call, const char *asked)
{
    struct auth_domains domains;
    const struct auth_domain_view *domain;
    struct why why = { "" };

    if (api_domain_find(call, asked, &domains, &domain)) {
        enum auth_result result = auth_domain_remove(call->api->auth, call->actor, domain->account,
                                                     domain->name, clock_wall_s(), &why);
        if (result == AUTH_DONE)
            api_done(call, 200, json_pack("{s:s, s:b}", "name", domain->name, "removed", 1), NULL);
        else
            api_fail_auth(call, result, &why);
    }
    auth_domains_free(&domains);
}

void api_domains_remove(struct api_call *call, const struct api_request *request)
{
    char values[1][API_QUERY_MAX];
    json_t *body = api_body(call, request, NULL, 0);

    if (body != NULL && api_query(call, request->query, account_names, values))
        take_away(call, values[0][0] == '\0' ? NULL : values[0]);
    json_decref(body);
}

const struct api_shape api_domains_shapes[] = {
    { .run = api_domains_list,
      .query = account_names,
      .status = 200,
      .data = "[Domain]",
      .meta = "Total",
      .refusals = { 400, 404 } },
    { .run = api_domains_add,
      API_FIELDS(add_fields),
      .required = "name",
      .status = 201,
      .data = "Domain",
      .refusals = { 404, 409 } },
    { .run = api_domains_remove,
      .query = account_names,
      .status = 200,
      .data = "RemovedDomain",
      .refusals = { 400, 404, 409 } },
    { 0 },
};
