/* api_domains.c - /v1/domains: the domains of an account.
 * What the operator adds is verified at once unless "pending" says otherwise; what a key adds waits
 * for verification, for a key's word proves nothing about a domain. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"
#include "relay/message/domain.h"

static json_t *domain_json(const struct auth_domain_view *view)
{
    return json_pack("{s:o, s:o, s:s, s:b, s:o}", "name", api_json_text(view->name), "account",
                     api_json_text(view->account), "status",
                     view->verified ? "verified" : "pending", "verified", (int)view->verified,
                     "createdAt", api_json_time(view->created_s));
}

void api_domains_list(struct api_call *call, const struct api_request *request)
{
    static const char *const names[] = { "account", NULL };
    char values[1][API_QUERY_MAX];
    const char *account;
    struct auth_domains domains;

    if (!api_query(call, request->query, names, values) ||
        !api_account(call, values[0][0] == '\0' ? NULL : values[0], &account))
        return;
    auth_domain_list(call->api->auth, account, &domains);
    json_t *array = json_array();
    for (size_t i = 0; i < domains.count; i++)
        json_array_append_new(array, domain_json(&domains.domains[i]));
    api_done(call, 200, array, json_pack("{s:I}", "total", (json_int_t)domains.count));
    auth_domains_free(&domains);
}

static void answer_domain(struct api_call *call, const char *account, const char *name)
{
    struct auth_domains domains;
    json_t *found = NULL;

    auth_domain_list(call->api->auth, account, &domains);
    for (size_t i = 0; i < domains.count; i++)
        if (strcmp(domains.domains[i].name, name) == 0)
            found = domain_json(&domains.domains[i]);
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
    enum auth_result result = auth_domain_add(call->api->auth, call->actor, account, domain,
                                              verified, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        answer_domain(call, account, domain);
    else
        api_fail_auth(call, result, &why);
}

void api_domains_add(struct api_call *call, const struct api_request *request)
{
    static const struct api_field fields[] = {
        { "name", API_TEXT },
        { "account", API_TEXT },
        { "pending", API_FLAG },
    };
    json_t *body = api_body(call, request, fields, ARRAY_LEN(fields));

    if (body != NULL)
        add(call, body);
    json_decref(body);
}

/* Whose it is: *account gets the owner as long as *domains lives. */
static bool find_own_domain(struct api_call *call, const char *name, struct auth_domains *domains,
                            const char **account)
{
    auth_domain_list(call->api->auth, call->is_operator ? NULL : auth_grant_account(call->grant),
                     domains);
    for (size_t i = 0; i < domains->count; i++)
        if (strcmp(domains->domains[i].name, name) == 0) {
            *account = domains->domains[i].account;
            return true;
        }
    return false;
}

void api_domains_remove(struct api_call *call, const struct api_request *request)
{
    char name[DOMAIN_TEXT_MAX];
    const char *account;
    struct auth_domains domains;
    struct why why = { "" };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (domain_parse_pattern(slice_of(call->param), name) != DOMAIN_OK) {
        api_fail(call, 404, "not_found", "There is no such domain.");
        return;
    }
    if (!find_own_domain(call, name, &domains, &account)) {
        auth_domains_free(&domains);
        api_fail(call, 404, "not_found", "There is no such domain.");
        return;
    }
    enum auth_result result =
        auth_domain_remove(call->api->auth, call->actor, account, name, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        api_done(call, 200, json_pack("{s:s, s:b}", "name", name, "removed", 1), NULL);
    else
        api_fail_auth(call, result, &why);
    auth_domains_free(&domains);
}
