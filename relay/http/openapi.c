/* openapi.c - GET /v1/openapi.json: the API described for programs (OpenAPI 3.1).
 * Made from the table of endpoints and from the shapes beside the handlers, whose tables of fields
 * and parameters are the very ones that requests are checked against. Anybody may read it: it says
 * what the sources say. */
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/http/api_priv.h"

/* Every refusal: {"success":false,"error":{"code":...,"message":...}}, and of a message that a rule
 * refuses its "reference" in the audit trail. */
static const struct refusal {
    int status;
    const char *what;
    const char *codes; /* with blanks between */
} refusals[] = {
    { 400, "What was sent cannot be read, or names something unknown.",
      "bad_request invalid_json unknown_field unknown_parameter invalid_parameter" },
    { 401, "No key was given, or it is not accepted.", "unauthorized" },
    { 403, "The key may not do that.",
      "forbidden secret_replaced key_required sender_not_permitted recipient_not_permitted "
      "held_by_operator" },
    { 404, "There is no such thing, or it belongs to another account.", "not_found" },
    { 409,
      "It exists already, is another account's, is in a state that does not allow that, or a "
      "limit is reached.",
      "conflict key_limit_reached account_limit_reached domain_limit_reached account_needed "
      "idempotency_conflict" },
    { 413, "The body is too large.", "too_large" },
    { 415, "The body is not application/json.", "unsupported_media_type" },
    { 422, "A value is missing or not allowed, or a domain is not proved.",
      "invalid_value missing_field filter_needed record_missing record_mismatch invalid_address "
      "invalid_header_name invalid_header_value forbidden_header header_too_large "
      "invalid_idempotency_key too_many_messages too_many_recipients" },
    { 429,
      "Too many refused keys came from this address, the key has used up what it may send, or too "
      "much is under way; Retry-After says when to come back.",
      "too_many_failures too_many_requests busy rate_limited daily_limit" },
    { 500, "Something went wrong here.", "internal answer_too_large" },
    { 503, "Not now: the relay is stopping, or a store or the DNS is not there.",
      "store_unavailable draining no_room daemon_needed dns_failed stopping unavailable "
      "busy key_changed" },
    { 504, "No name server answered in time.", "dns_timeout" },
    { 507, "The disk of the queue is full.", "store_full" },
};

/* --- answers ---------------------------------------------------------------------------------- */

static json_t *refusal_json(const struct refusal *refusal)
{
    json_t *codes = json_array();

    for (struct slice rest = slice_of(refusal->codes); rest.data != NULL;) {
        struct slice code = slice_cut(&rest, ' ');
        json_array_append_new(codes, json_stringn(code.data, code.len));
    }
    json_t *error =
        json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:s}, s:{s:s}}, s:[ss]}", "type", "object",
                  "properties", "code", "type", "string", "enum", codes, "message", "type",
                  "string", "reference", "type", "string", "required", "code", "message");
    json_t *schema =
        json_pack("{s:s, s:{s:{s:b}, s:o}, s:[ss]}", "type", "object", "properties", "success",
                  "const", 0, "error", error, "required", "success", "error");
    return json_pack("{s:s, s:{s:{s:o}}}", "description", refusal->what, "content",
                     "application/json", "schema", schema);
}

static json_t *refusals_json(void)
{
    json_t *all = json_object();
    char name[16];

    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        snprintf(name, sizeof(name), "%d", refusals[i].status);
        json_object_set_new(all, name, refusal_json(&refusals[i]));
    }
    return all;
}

static json_t *envelope(const struct api_shape *shape)
{
    json_t *schema = json_pack(
        "{s:s, s:{s:{s:b}, s:o}, s:[ss]}", "type", "object", "properties", "success", "const", 1,
        "data", openapi_schema_of(slice_of(shape->data)), "required", "success", "data");

    if (shape->meta != NULL)
        json_object_set_new(json_object_get(schema, "properties"), "meta",
                            openapi_schema_of(slice_of(shape->meta)));
    return schema;
}

/* Data that is a plain text or nothing at all stands without an envelope. */
static json_t *success_json(const struct api_shape *shape)
{
    if (shape == NULL || shape->data == NULL)
        return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "Done.", "content",
                         "application/json", "schema", "type", "object");
    if (strcmp(shape->data, "text") == 0)
        return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "Done.", "content", "text/plain",
                         "schema", "type", "string");
    return json_pack("{s:s, s:{s:{s:o}}}", "description", "Done.", "content", "application/json",
                     "schema", envelope(shape));
}

static void add_refusal(json_t *responses, int status)
{
    char name[16], path[64];

    snprintf(name, sizeof(name), "%d", status);
    snprintf(path, sizeof(path), "#/components/responses/%d", status);
    json_object_set_new(responses, name, json_pack("{s:s}", "$ref", path));
}

static bool takes_body(const struct api_endpoint_row *row)
{
    return strcmp(row->method, "GET") != 0;
}

static json_t *responses_json(const struct api_endpoint_row *row, const struct api_shape *shape)
{
    static const int of_keys[] = { 401, 403, 429 }, of_bodies[] = { 400, 413, 415, 422 };
    static const int of_all[] = { 500, 503, 507 };
    json_t *responses = json_object();
    char success[16];

    snprintf(success, sizeof(success), "%d", shape == NULL ? 200 : shape->status);
    json_object_set_new(responses, success, success_json(shape));
    for (size_t i = 0; row->access != API_OPEN && i < ARRAY_LEN(of_keys); i++)
        add_refusal(responses, of_keys[i]);
    for (size_t i = 0; takes_body(row) && i < ARRAY_LEN(of_bodies); i++)
        add_refusal(responses, of_bodies[i]);
    for (size_t i = 0; i < ARRAY_LEN(of_all); i++)
        add_refusal(responses, of_all[i]);
    for (size_t i = 0; shape != NULL && i < ARRAY_LEN(shape->refusals); i++)
        if (shape->refusals[i] != 0)
            add_refusal(responses, shape->refusals[i]);
    return responses;
}

/* --- operations ------------------------------------------------------------------------------- */

/* A parameter of the path, for each {name}, then those of the query. */
static json_t *parameters_json(const struct api_endpoint_row *row, const struct api_shape *shape)
{
    json_t *list = json_array();

    for (const char *at = row->path; (at = strchr(at, '{')) != NULL; at++) {
        size_t len = strcspn(at + 1, "}");
        json_array_append_new(list,
                              json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", at + 1, len, "in",
                                        "path", "required", 1, "schema", "type", "string"));
    }
    for (size_t i = 0; shape != NULL && shape->query != NULL && shape->query[i] != NULL; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:{s:s}}", "name", shape->query[i], "in",
                                              "query", "schema", "type", "string"));
    return list;
}

/* Any of both ways to give a key, which must have the scope. */
static json_t *security_json(const struct api_endpoint_row *row)
{
    json_t *scopes = json_array();
    const char *name;
    unsigned bit;

    if (row->access == API_OPEN)
        return scopes; /* an empty list: nothing is needed */
    for (size_t i = 0; (name = auth_scope_name(i, &bit)) != NULL; i++)
        if (row->scopes & bit)
            json_array_append_new(scopes, json_string(name));
    return json_pack("[{s:O}, {s:o}]", "bearer", scopes, "header", scopes);
}

/* "get_v1_api_keys_id" */
static char *operation_name(const struct api_endpoint_row *row)
{
    char *name = xasprintf("%s%s", row->method, row->path);
    size_t len = 0;

    for (const char *at = name; *at != '\0'; at++) {
        if (ascii_is_alnum(*at))
            name[len++] = ascii_lower(*at);
        else if (len > 0 && name[len - 1] != '_')
            name[len++] = '_';
    }
    while (len > 0 && name[len - 1] == '_')
        len--;
    name[len] = '\0';
    return name;
}

static json_t *operation_json(const struct api_endpoint_row *row, const struct api_shape *shape)
{
    char *name = operation_name(row);
    json_t *json = json_pack("{s:s, s:s, s:o, s:o, s:o}", "operationId", name, "summary", row->help,
                             "parameters", parameters_json(row, shape), "security",
                             security_json(row), "responses", responses_json(row, shape));

    if (row->access == API_OPERATOR)
        json_object_set_new(json, "description",
                            json_string("For the operator, by the control socket: a key is refused "
                                        "with 403."));
    if (row->governs)
        json_object_set_new(json, "description",
                            json_string("Not with a secret that a rotation has replaced, though it "
                                        "still sends mail: 403 secret_replaced."));
    if (shape != NULL && (shape->fields != NULL || shape->body != NULL))
        json_object_set_new(json, "requestBody",
                            json_pack("{s:b, s:{s:{s:o}}}", "required",
                                      shape->required != NULL || shape->body != NULL, "content",
                                      "application/json", "schema", openapi_body_of(shape)));
    free(name);
    return json;
}

static json_t *paths_json(void)
{
    json_t *paths = json_object();
    struct api_endpoint_row row;
    char method[16];

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        json_t *path = json_object_get(paths, row.path);
        size_t len = 0;
        if (path == NULL) {
            path = json_object();
            json_object_set_new(paths, row.path, path);
        }
        for (; row.method[len] != '\0' && len + 1 < sizeof(method); len++)
            method[len] = ascii_lower(row.method[len]);
        method[len] = '\0';
        json_object_set_new(path, method, operation_json(&row, api_endpoint_shape(i)));
    }
    return paths;
}

/* --- the document ----------------------------------------------------------------------------- */

static json_t *document(const struct api *api)
{
    json_t *schemes =
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s, s:s}}", "bearer", "type", "http", "scheme", "bearer",
                  "header", "type", "apiKey", "in", "header", "name", "X-API-Key");
    json_t *components = json_pack("{s:o, s:o, s:o}", "schemas", openapi_schemas(), "responses",
                                   refusals_json(), "securitySchemes", schemes);

    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:o, s:o}", "openapi", "3.1.0", "info",
                     "title", "Latchpost", "version", api->version, "description",
                     "An SMTP submission relay: keys, domains, accounts and the queue.", "servers",
                     "url", "/", "paths", paths_json(), "components", components);
}

/* Making it takes milliseconds, which is too much for what anybody may ask for. It is a constant of
 * the program, so it is made once; the API belongs to one thread. */
static struct slice text_of(const struct api *api)
{
    static char *text;

    if (text == NULL) {
        json_t *json = document(api);
        char *dumped = json_dumps(json, JSON_COMPACT);
        text = xstrdup(dumped);
        free(dumped);
        json_decref(json);
    }
    return slice_of(text);
}

void api_openapi(struct api_call *call, const struct api_request *request)
{
    (void)request;
    if (buf_add(&call->body, text_of(call->api)))
        api_done_text(call, "application/json");
    else
        api_fail(call, 500, "answer_too_large", "The answer is too large.");
}

const struct api_shape api_openapi_shapes[] = {
    { .run = api_openapi, .status = 200 },
    { 0 },
};
