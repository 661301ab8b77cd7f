/* endpoints.c - the HTTP API: which method and path does what, and who may call it?
 * The rules for all endpoints are here, before any handler runs: the path is found by its segments
 * as they were sent (decoding comes after, so nothing that decodes to a slash or dots moves a
 * request), then the caller is judged, then the method. That order lets a key that may not touch a
 * resource hear 403 whatever method it tries. An answer that is ready while api_call() still runs
 * goes through the mailbox, so that a caller never meets its own callback. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/why.h"
#include "relay/http/api_priv.h"

#define JSON_TYPE "application/json"

/* clang-format off */
static const struct endpoint {
    const char *method, *path;
    enum api_access access;
    unsigned scope;
    api_handler *run;
    const char *help;
} endpoints[] = {
    { "GET", "/healthz", API_OPEN, 0, api_health, "the process answers" },
    { "GET", "/readyz", API_OPEN, 0, api_ready,
      "mail is accepted: 503 while it drains or the store has no room" },
    { "GET", "/metrics", API_SCOPED, AUTH_METRICS, api_metrics,
      "counters and the queue's depth, as Prometheus reads them" },
    { "GET", "/v1/openapi.json", API_OPEN, 0, api_openapi, "all of this, for programs: OpenAPI 3.1" },
    { "GET", "/v1/whoami", API_KEY, 0, api_whoami,
      "what the key of this request is and may do, and what is left of its limits" },
    { "GET", "/v1/api-keys", API_SCOPED, AUTH_KEYS, api_keys_list,
      "the keys of the account, oldest first: ?account= ?after= ?limit=" },
    { "POST", "/v1/api-keys", API_SCOPED, AUTH_KEYS, api_keys_create,
      "make a key; it is in the answer this once" },
    { "GET", "/v1/api-keys/{id}", API_SCOPED, AUTH_KEYS, api_keys_show, "one key" },
    { "DELETE", "/v1/api-keys/{id}", API_SCOPED, AUTH_KEYS, api_keys_revoke,
      "revoke a key, at once and for good" },
    { "POST", "/v1/api-keys/{id}/rotate", API_SCOPED, AUTH_KEYS, api_keys_rotate,
      "give a key another secret, in the answer this once; the former one works for \"overlap\" more" },
    { "POST", "/v1/api-keys/{id}/hold", API_SCOPED, AUTH_KEYS, api_keys_hold,
      "a key on hold may nothing until it is released" },
    { "POST", "/v1/api-keys/{id}/release", API_SCOPED, AUTH_KEYS, api_keys_release,
      "let a held key work again" },
    { "GET", "/v1/audit", API_SCOPED, AUTH_KEYS, api_audit_list,
      "what was changed and what was refused, newest first: ?action= ?key= ?account= ?ref= ?since= "
      "?before= ?limit=" },
    { "GET", "/v1/domains", API_SCOPED, AUTH_DOMAINS, api_domains_list,
      "the domains of the account; the operator's ?account= narrows" },
    { "POST", "/v1/domains", API_SCOPED, AUTH_DOMAINS, api_domains_add,
      "add a domain; verified at once when the operator says so, else by a TXT record" },
    { "POST", "/v1/domains/{name}/verify", API_SCOPED, AUTH_DOMAINS, api_domains_verify,
      "look for the domain's TXT record in the DNS; when it is there the domain is verified" },
    { "DELETE", "/v1/domains/{name}", API_SCOPED, AUTH_DOMAINS, api_domains_remove,
      "remove a domain; keys can no longer send as it; ?account= where several have added it" },
    { "GET", "/v1/accounts", API_SCOPED, AUTH_ACCOUNTS, api_accounts_list,
      "the account and its sub-accounts; to the operator all: ?after= ?limit=" },
    { "POST", "/v1/accounts", API_OPERATOR, 0, api_accounts_create, "make an account" },
    { "POST", "/v1/accounts/{handle}/suspend", API_SCOPED, AUTH_ACCOUNTS, api_accounts_suspend,
      "stop all keys of an account and its sub-accounts; a key may do so to its sub-accounts" },
    { "POST", "/v1/accounts/{handle}/resume", API_SCOPED, AUTH_ACCOUNTS, api_accounts_resume,
      "let them work again" },
    { "POST", "/v1/accounts/{handle}/plan", API_OPERATOR, 0, api_accounts_plan,
      "give an account another plan" },
    { "GET", "/v1/sub-accounts", API_SCOPED, AUTH_ACCOUNTS, api_sub_accounts_list,
      "the sub-accounts of the account: ?after= ?limit=, the operator's ?parent=" },
    { "POST", "/v1/sub-accounts", API_SCOPED, AUTH_ACCOUNTS, api_sub_accounts_create,
      "make a sub-account" },
    { "GET", "/v1/sub-accounts/{handle}/api-keys", API_SCOPED, AUTH_KEYS, api_sub_keys_list,
      "the keys of a sub-account: ?after= ?limit=" },
    { "POST", "/v1/sub-accounts/{handle}/api-keys", API_SCOPED, AUTH_KEYS, api_sub_keys_create,
      "make a key for a sub-account; an empty body will do" },
    { "GET", "/v1/sub-accounts/{handle}/api-keys/{id}", API_SCOPED, AUTH_KEYS, api_sub_keys_show,
      "one key of a sub-account" },
    { "DELETE", "/v1/sub-accounts/{handle}/api-keys/{id}", API_SCOPED, AUTH_KEYS,
      api_sub_keys_revoke, "revoke a key of a sub-account" },
    { "GET", "/tx/v1/sub-account", API_SCOPED, AUTH_ACCOUNTS, api_sub_accounts_list,
      "the same as /v1/sub-accounts" },
    { "POST", "/tx/v1/sub-account", API_SCOPED, AUTH_ACCOUNTS, api_sub_accounts_create,
      "the same as /v1/sub-accounts" },
    { "GET", "/tx/v1/sub-account/{handle}/api-key", API_SCOPED, AUTH_KEYS, api_sub_keys_list,
      "the same as under /v1/sub-accounts" },
    { "POST", "/tx/v1/sub-account/{handle}/api-key", API_SCOPED, AUTH_KEYS, api_sub_keys_create,
      "the same as under /v1/sub-accounts" },
    { "GET", "/tx/v1/sub-account/{handle}/api-key/{id}", API_SCOPED, AUTH_KEYS, api_sub_keys_show,
      "the same as under /v1/sub-accounts" },
    { "DELETE", "/tx/v1/sub-account/{handle}/api-key/{id}", API_SCOPED, AUTH_KEYS,
      api_sub_keys_revoke, "the same as under /v1/sub-accounts" },
    { "POST", "/v1/emails", API_SCOPED, AUTH_SEND, api_emails_send,
      "send a message: from, to, cc, bcc, reply_to, subject, text, html, headers, attachments" },
    { "POST", "/v2/emails", API_SCOPED, AUTH_SEND, api_emails_send, "the same" },
    { "POST", "/tx/v1/send", API_SCOPED, AUTH_SEND, api_emails_send_personalized,
      "send a message for each of the personalizations, or none" },
    { "GET", "/v1/messages", API_SCOPED, AUTH_MESSAGES, api_messages_list,
      "messages, newest first: ?state= ?account= ?key= ?sender= ?recipient= ?upstream= ?olderThan= "
      "?newerThan= ?before= ?limit=" },
    { "GET", "/v1/messages/{id}", API_SCOPED, AUTH_MESSAGES, api_messages_show,
      "all that is known of one message" },
    { "POST", "/v1/messages/{id}/retry", API_SCOPED, AUTH_MESSAGES, api_messages_retry,
      "make a deferred, uncertain or failed message due now" },
    { "POST", "/v1/messages/{id}/hold", API_SCOPED, AUTH_MESSAGES, api_messages_hold,
      "hold a message that waits: it is not tried until it is released" },
    { "POST", "/v1/messages/{id}/release", API_SCOPED, AUTH_MESSAGES, api_messages_release,
      "let a held message go, due now" },
    { "DELETE", "/v1/messages/{id}", API_SCOPED, AUTH_MESSAGES, api_messages_cancel,
      "cancel a message: whoever has not got it will not; its content is dropped" },
    { "POST", "/v1/queue/retry", API_OPERATOR, 0, api_queue_retry,
      "make every deferred and uncertain message due now that the filter in the body wants" },
    { "POST", "/v1/queue/hold", API_OPERATOR, 0, api_queue_hold,
      "hold every message that waits and that the filter wants" },
    { "POST", "/v1/queue/release", API_OPERATOR, 0, api_queue_release,
      "release every held message that the filter wants" },
    { "POST", "/v1/queue/cancel", API_OPERATOR, 0, api_queue_cancel,
      "cancel every message that has not ended and that the filter wants" },
    { "GET", "/v1/upstreams", API_OPERATOR, 0, api_upstreams_list,
      "the upstreams: usable, resting, paused or held; connections, and messages waiting for one" },
    { "POST", "/v1/upstreams/{name}/hold", API_OPERATOR, 0, api_upstreams_hold,
      "give it no new message, until it is released: over restarts, too" },
    { "POST", "/v1/upstreams/{name}/release", API_OPERATOR, 0, api_upstreams_release,
      "use it again; what waited for it is due now" },
    { "GET", "/v1/queue/stats", API_SCOPED, AUTH_METRICS, api_queue_stats,
      "messages by state, and bytes" },
};
/* clang-format on */

/* Whoever holds a secret that a rotation replaced may be the reason for the rotation. It sends mail
 * until it ends, and reads; it makes nothing that would outlive it. */
static bool governs(const struct endpoint *endpoint)
{
    return endpoint->access == API_SCOPED && endpoint->scope != AUTH_SEND &&
           strcmp(endpoint->method, "GET") != 0;
}

bool api_endpoint(size_t i, struct api_endpoint_row *row)
{
    if (i >= ARRAY_LEN(endpoints))
        return false;
    const struct endpoint *endpoint = &endpoints[i];
    *row = (struct api_endpoint_row){ .method = endpoint->method,
                                      .path = endpoint->path,
                                      .help = endpoint->help,
                                      .access = endpoint->access,
                                      .scopes = endpoint->scope,
                                      .governs = governs(endpoint) };
    return true;
}

const struct api_shape *api_endpoint_shape(size_t i)
{
    assert(i < ARRAY_LEN(endpoints));
    return api_shape_find(endpoints[i].run);
}

/* --- answering -------------------------------------------------------------------------------- */

static void deliver(struct api_call *call)
{
    call->answer.body = buf_slice(&call->body);
    call->cb(call->owner, &call->answer);
    buf_wipe(&call->body);
    auth_grant_unref(call->grant);
    free(call);
}

static void on_letter(struct letter *letter)
{
    deliver(container_of(letter, struct api_call, letter));
}

static void finish(struct api_call *call, int status, const char *content_type)
{
    assert(!call->answered);
    call->answered = true;
    call->answer.status = status;
    call->answer.content_type = content_type;
    if (!call->inside) {
        deliver(call);
        return;
    }
    call->letter.deliver = on_letter;
    mailbox_post(call->api->answers, &call->letter);
}

static int add_json(const char *text, size_t len, void *owner)
{
    return buf_add(owner, slice_make(text, len)) ? 0 : -1;
}

/* reference: of a refused message in the audit trail; empty: there is none. */
static bool format_error(struct buf *out, const char *code, const char *message,
                         const char *reference)
{
    json_t *error = json_pack("{s:b, s:{s:o, s:o}}", "success", 0, "error", "code",
                              api_json_text(code), "message", api_json_text(message));

    if (reference[0] != '\0')
        json_object_set_new(json_object_get(error, "error"), "reference", api_json_text(reference));
    bool ok =
        json_dump_callback(error, add_json, out, JSON_COMPACT) == 0 && buf_add_byte(out, '\n');

    json_decref(error);
    return ok;
}

bool api_format_error(struct buf *out, const char *code, const char *message)
{
    return format_error(out, code, message, "");
}

void api_fail(struct api_call *call, int status, const char *code, const char *format, ...)
{
    struct why why;
    char message[sizeof(why.text)];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    why_set(&why, "%s", message); /* one line, and no half character at its end */
    buf_clear(&call->body);
    call->answer.code = code;
    if (!format_error(&call->body, code, why.text, call->reference))
        buf_clear(&call->body); /* cannot be: the text is bounded; the status says enough */
    finish(call, status, JSON_TYPE);
}

/* data's text begins with '{' when a secret is to be put behind that. */
static bool format_done(struct buf *out, const json_t *data, const json_t *meta, const char *secret)
{
    if (!buf_add(out, SLICE("{\"success\":true,\"data\":")))
        return false;
    size_t start = buf_len(out);
    if (secret != NULL) {
        struct buf rest;
        buf_init(&rest, API_BODY_MAX);
        bool ok = json_dump_callback(data, add_json, &rest, JSON_COMPACT) == 0 &&
                  buf_printf(out, "{\"apiKey\":\"%s\",", secret) &&
                  buf_add(out, slice_from(buf_slice(&rest), 1));
        buf_free(&rest);
        if (!ok)
            return false;
    } else if (json_dump_callback(data, add_json, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        return false;
    }
    assert(buf_len(out) > start);
    if (meta != NULL && (!buf_add(out, SLICE(",\"meta\":")) ||
                         json_dump_callback(meta, add_json, out, JSON_COMPACT) != 0))
        return false;
    return buf_add(out, SLICE("}\n"));
}

void api_done_with_key(struct api_call *call, int status, json_t *data, json_t *meta,
                       const char *secret)
{
    bool ok = format_done(&call->body, data, meta, secret);

    json_decref(data);
    json_decref(meta);
    if (ok)
        finish(call, status, JSON_TYPE);
    else
        api_fail(call, 500, "answer_too_large", "The answer is too large: ask for less.");
}

void api_done(struct api_call *call, int status, json_t *data, json_t *meta)
{
    api_done_with_key(call, status, data, meta, NULL);
}

void api_done_text(struct api_call *call, const char *content_type)
{
    finish(call, 200, content_type);
}

void api_fail_auth(struct api_call *call, enum auth_result result, const struct why *why)
{
    static const struct {
        int status;
        const char *code;
        const char *message; /* when there is no better one in why */
    } rows[] = {
        [AUTH_NOT_FOUND] = { 404, "not_found", "There is no such thing." },
        [AUTH_INVALID] = { 422, "invalid_value", "A value is not allowed." },
        [AUTH_LIMIT] = { 409, "key_limit_reached", "The account has as many keys as it may have." },
        [AUTH_CONFLICT] = { 409, "conflict", "It exists already, or belongs to another account." },
        [AUTH_DOMAIN_LIMIT] = { 409, "domain_limit_reached",
                                "The account has as many domains as it may have." },
        [AUTH_DENIED] = { 403, "forbidden", "That is not for this key to say." },
        [AUTH_FAILED] = { 503, "store_unavailable", "The key store cannot be written now." },
    };

    assert((size_t)result < ARRAY_LEN(rows) && rows[result].code != NULL);
    /* What a failing disk says is for the log of the store, not for whoever asks. */
    bool tell = result != AUTH_FAILED && why->text[0] != '\0';
    api_fail(call, rows[result].status, rows[result].code, "%s",
             tell ? why->text : rows[result].message);
}

void api_fail_queue(struct api_call *call, enum queue_result result)
{
    static const struct {
        int status;
        const char *code, *message;
    } rows[] = {
        [QUEUE_FULL] = { 507, "store_full", "The queue's disk is full." },
        [QUEUE_FAILED] = { 503, "store_unavailable", "The queue cannot be read or written now." },
        [QUEUE_REFUSED] = { 403, "forbidden", "The queue refused that." },
        [QUEUE_NOT_FOUND] = { 404, "not_found", "There is no such message." },
        [QUEUE_CONFLICT] = { 409, "conflict",
                             "The message is not in a state that allows that, or is being "
                             "delivered right now." },
    };

    assert((size_t)result < ARRAY_LEN(rows) && rows[result].code != NULL);
    api_fail(call, rows[result].status, rows[result].code, "%s", rows[result].message);
}

void api_note_refusal(struct api_call *call, enum auth_refused what, const char *subject,
                      const char *rule)
{
    int64_t id = auth_note_refusal(call->api->auth,
                                   &(struct auth_refusal){
                                       .what = what,
                                       .grant = call->grant,
                                       .from = call->client_address,
                                       .protocol = "http",
                                       .subject = slice_of(subject),
                                       .rule = rule,
                                   },
                                   clock_wall_s());

    if (id != 0 && what == AUTH_REFUSED_MESSAGE)
        ident_format(id, call->reference);
}

void api_set_origin(struct api_call *call)
{
    const char *from = call->in_process ? AUTH_FROM_COMMAND : AUTH_FROM_SOCKET;

    auth_set_origin(call->api->auth, call->client_address != NULL ? call->client_address : from);
}

void api_note_rate(struct api_call *call)
{
    struct auth_allowances allowances;

    if (call->grant == NULL)
        return;
    auth_look_at_limits(call->grant, clock_wall_ms(), &allowances);
    const struct auth_allowance *messages = &allowances.messages;
    call->answer.rate = (struct api_rate){ messages->limit, messages->left, messages->reset_s };
}

/* --- who may see what ------------------------------------------------------------------------- */

bool api_account(struct api_call *call, const char *asked, const char **account)
{
    *account = call->is_operator ? asked : auth_grant_account(call->grant);
    if (call->is_operator || asked == NULL || strcmp(asked, *account) == 0)
        return true;
    api_fail(call, 404, "not_found", "There is no such account.");
    return false;
}

static bool may_call(const struct api_call *call, const struct endpoint *endpoint)
{
    if (endpoint->access == API_OPEN || call->is_operator)
        return true;
    if (call->grant == NULL || endpoint->access == API_OPERATOR)
        return false;
    return endpoint->access == API_KEY || auth_grant_has(call->grant, endpoint->scope);
}

static const char *scope_word(unsigned scope)
{
    unsigned bit = 0;
    const char *name;

    for (size_t i = 0; (name = auth_scope_name(i, &bit)) != NULL; i++)
        if (bit == scope)
            return name;
    return "?";
}

static void refuse_caller(struct api_call *call, const struct api_caller *caller,
                          const struct endpoint *endpoint)
{
    char rule[64];

    if (caller->penalty_s > 0) {
        call->answer.retry_after_s = caller->penalty_s;
        api_fail(call, 429, "too_many_failures",
                 "Too many refused keys came from this address: try again in %u seconds.",
                 caller->penalty_s);
    } else if (call->grant == NULL) {
        api_fail(call, 401, "unauthorized", "%s",
                 caller->refusal != NULL ? caller->refusal
                                         : "A key is needed: Authorization: Bearer <key>.");
    } else if (endpoint->access == API_OPERATOR) {
        api_note_refusal(call, AUTH_REFUSED_LOGIN, endpoint->path, "only the operator may do that");
        api_fail(call, 403, "forbidden", "Only the operator may do that, on the relay's machine.");
    } else {
        snprintf(rule, sizeof(rule), "this key lacks the scope \"%s\"",
                 scope_word(endpoint->scope));
        api_note_refusal(call, AUTH_REFUSED_LOGIN, endpoint->path, rule);
        api_fail(call, 403, "forbidden", "The key lacks the scope \"%s\".",
                 scope_word(endpoint->scope));
    }
}

static void refuse_former(struct api_call *call, const struct endpoint *endpoint)
{
    api_note_refusal(call, AUTH_REFUSED_LOGIN, endpoint->path, "its secret has been replaced");
    api_fail(call, 403, "secret_replaced",
             "The secret that asks has been replaced: until it ends it sends mail and changes "
             "nothing. Use the new one.");
}

/* --- finding ---------------------------------------------------------------------------------- */

#define PARAMS_MAX 2

struct params { /* the segments that stand for {...}, in their order */
    struct slice items[PARAMS_MAX];
    size_t count;
};

/* Is `path` of this form? */
static bool path_fits(const char *form, struct slice path, struct params *params)
{
    struct slice want = slice_of(form);

    *params = (struct params){ .count = 0 };
    while (want.data != NULL && path.data != NULL) {
        struct slice part = slice_cut(&want, '/');
        struct slice given = slice_cut(&path, '/');
        if (part.len > 0 && part.data[0] == '{' && given.len > 0 && params->count < PARAMS_MAX)
            params->items[params->count++] = given;
        else if (!slice_equal(part, given))
            return false;
    }
    return want.data == NULL && path.data == NULL;
}

/* The row for method and path; else, with *other the first row of that path, or NULL. */
static const struct endpoint *find_endpoint(const struct api_request *request,
                                            struct params *params, const struct endpoint **other)
{
    *other = NULL;
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        if (!path_fits(endpoints[i].path, request->path, params))
            continue;
        if (slice_equal(slice_of(endpoints[i].method), request->method))
            return &endpoints[i];
        if (*other == NULL)
            *other = &endpoints[i];
    }
    return NULL;
}

static bool decode_params(struct api_call *call, const struct params *params)
{
    char *const outs[PARAMS_MAX] = { call->param, call->second };

    for (size_t i = 0; i < ARRAY_LEN(outs) && i < params->count; i++)
        if (!api_decode(params->items[i], outs[i], API_PARAM_MAX))
            return false;
    return true;
}

static void refuse_method(struct api_call *call, const struct endpoint *endpoint)
{
    size_t len = 0;

    /* The rows of one path have the same text. HEAD is made of GET by the server. */
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if (strcmp(endpoints[i].path, endpoint->path) == 0)
            len += (size_t)snprintf(call->allow + len, sizeof(call->allow) - len, "%s%s%s",
                                    len > 0 ? ", " : "", endpoints[i].method,
                                    strcmp(endpoints[i].method, "GET") == 0 ? ", HEAD" : "");
    assert(len < sizeof(call->allow));
    call->answer.allow = call->allow;
    api_fail(call, 405, "method_not_allowed", "Here only %s is possible.", call->allow);
}

static struct api_call *call_new(struct api *api, const struct api_caller *caller,
                                 api_answer_cb *cb, void *owner)
{
    struct api_call *call = xcalloc(1, sizeof(*call));

    call->api = api;
    call->is_operator = caller->is_operator;
    call->grant = caller->grant == NULL ? NULL : auth_grant_ref(caller->grant);
    call->actor = caller->is_operator   ? "operator"
                  : call->grant != NULL ? auth_grant_key_id(call->grant)
                                        : "nobody";
    call->client_address = caller->address;
    call->client_tls = caller->tls;
    call->in_process = caller->in_process;
    call->cb = cb;
    call->owner = owner;
    buf_init(&call->body, API_BODY_MAX);
    return call;
}

static void run(struct api_call *call, const struct api_caller *caller,
                const struct api_request *request)
{
    struct params params;
    const struct endpoint *other;
    const struct endpoint *endpoint = find_endpoint(request, &params, &other);
    const struct endpoint *judged = endpoint != NULL ? endpoint : other;

    if (judged == NULL) {
        api_fail(call, 404, "not_found", "There is nothing at this path.");
        return;
    }
    call->answer.endpoint = judged->path;
    if (!may_call(call, judged))
        refuse_caller(call, caller, judged);
    else if (endpoint == NULL)
        refuse_method(call, judged);
    else if (call->grant != NULL && auth_grant_is_former(call->grant) && governs(endpoint))
        refuse_former(call, endpoint);
    else if (!decode_params(call, &params))
        api_fail(call, 404, "not_found", "There is no such thing.");
    else {
        call->shape = api_shape_find(endpoint->run);
        api_set_origin(call);
        endpoint->run(call, request);
    }
}

bool api_takes_mail(const struct api_caller *caller, struct slice method, struct slice path)
{
    const struct api_request request = { .method = method, .path = path };
    const struct endpoint *other;
    struct params params;
    const struct endpoint *endpoint = find_endpoint(&request, &params, &other);

    return endpoint != NULL && endpoint->scope == AUTH_SEND && caller->grant != NULL &&
           auth_grant_has(caller->grant, AUTH_SEND);
}

void api_call(struct api *api, const struct api_caller *caller, const struct api_request *request,
              api_answer_cb *cb, void *owner)
{
    struct api_call *call = call_new(api, caller, cb, owner);

    call->inside = true;
    run(call, caller, request);
    call->inside = false;
}
