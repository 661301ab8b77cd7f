/* openapi_schema.c - how do the data of requests and answers look, as JSON Schema?
 * Bodies come from the tables of fields that requests are checked against. Answers are told in a
 * few words each, a member as name:kind, with "?" where it may be null:
 *
 *     text, number, flag    time (ISO 8601)    texts (a list)
 *     counts, words         an object of numbers, of texts
 *     Name, [Name]          another schema, or a list of it
 *     +Name                 all members of that one
 *
 * A system test holds the answers of the real binary against them, so a member that is missing here
 * or there is seen. */
#include <assert.h>

#include "relay/http/api_priv.h"

static const struct schema {
    const char *name, *members;
} schemas[] = {
    { "Status", "status:text" },
    { "Version", "version:text" },
    { "Total", "total:number" },
    { "TotalPage", "total:number next:text?" },
    { "Operator", "operator:flag" },
    { "Key", "keyId:text name:text keyPrefix:text masked:text scopes:texts domain:text? "
             "domains:texts status:text account:text plan:text rateLimit:number? "
             "recipientsPerDay:number? messageSize:number? maxSessions:number? allowFrom:texts "
             "senders:texts recipients:texts test:flag lastUsed:time? lastAddress:text? "
             "lastProtocol:text? secrets:[Secret] createdAt:time expirationTs:time?" },
    { "Secret", "masked:text createdAt:time expirationTs:time? lastUsed:time? lastAddress:text? "
                "lastProtocol:text?" },
    { "Allowance", "limit:number remaining:number resetSeconds:number" },
    { "Allowances", "ratePerMinute:Allowance? recipientsPerDay:Allowance?" },
    { "OwnKey", "+Key limits:Allowances" },
    { "NewKey", "+Key apiKey:text" },
    { "NewKeyMeta", "warning:text notes:texts*" },
    { "RevokedKey", "keyId:text revoked:flag" },
    { "AuditLine", "reference:text at:time lastAt:time count:number actor:text? from:text? "
                   "protocol:text? account:text? action:text subject:text? detail:text?" },
    { "Record", "type:text name:text value:text" },
    { "Domain", "name:text account:text status:text verified:flag record:Record? createdAt:time" },
    { "RemovedDomain", "name:text removed:flag" },
    { "Account",
      "handle:text parent:text? plan:text status:text activeKeys:number createdAt:time" },
    { "Address", "email:text* address:text* name:text*" },
    { "Attachment", "filename:text* content:text content_type:text* type:text* disposition:text* "
                    "content_id:text*" },
    { "Email", "from:text|Address* from_:text|Address* to:text|Address|texts|[Address] "
               "cc:text|Address|texts|[Address]* bcc:text|Address|texts|[Address]* "
               "reply_to:text|Address|texts|[Address]* subject:text* text:text* html:text* "
               "headers:words* attachments:[Attachment]*" },
    { "Content", "type:text value:text" },
    { "Personalization",
      "from:text|Address* to:text|Address|texts|[Address] cc:text|Address|texts|[Address]* "
      "bcc:text|Address|texts|[Address]* reply_to:text|Address|texts|[Address]* subject:text* "
      "headers:words*" },
    { "PersonalizedEmail",
      "personalizations:[Personalization] from:text|Address reply_to:text|Address|texts|[Address]* "
      "reply_to_list:texts|[Address]* subject:text* content:[Content]* attachments:[Attachment]* "
      "headers:words*" },
    { "SentMessage", "id:text messageId:text recipients:number" },
    { "Sent", "id:text status:text messageId:text* recipients:number* messages:[SentMessage]*" },
    { "Message", "id:text state:text account:text keyId:text from:text to:text? "
                 "recipientCount:number size:number attempts:number receivedAt:time dueAt:time? "
                 "lastError:text?" },
    { "Page", "count:number next:text?" },
    { "Recipient", "address:text state:text attempts:number dueAt:time? updatedAt:time? "
                   "code:number? enhanced:text? text:text? upstream:text?" },
    { "Event", "at:time what:text recipient:text? code:number? enhanced:text? text:text? "
               "upstream:text?" },
    { "Story", "+Message recipients:[Recipient] events:[Event]" },
    { "Retried", "id:text retried:flag" },
    { "Held", "id:text held:flag" },
    { "Released", "id:text released:flag" },
    { "Cancelled", "id:text cancelled:flag" },
    { "RetriedMany", "retried:number busy:number" },
    { "HeldMany", "held:number busy:number" },
    { "ReleasedMany", "released:number busy:number" },
    { "CancelledMany", "cancelled:number busy:number" },
    { "Upstream", "name:text kind:text state:text connections:number waiting:number reason:text?" },
    { "UpstreamHeld", "name:text held:flag" },
    { "UpstreamReleased", "name:text held:flag retried:number" },
    { "Stats", "messages:counts activeBytes:number databaseBytes:number logBytes:number "
               "unsettled:number hasRoom:flag" },
};

static const struct schema *find(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++)
        if (slice_equal(slice_of(schemas[i].name), name))
            return &schemas[i];
    return NULL;
}

/* They call each other as deep as our own tables nest: NOLINTBEGIN(misc-no-recursion) */

/* --- kinds ------------------------------------------------------------------------------------ */

static json_t *reference(struct slice name)
{
    assert(find(name) != NULL); /* a name that is misspelt here or in a shape */
    return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%.*s", SLICE_ARG(name)));
}

static json_t *simple_kind(struct slice kind)
{
    if (slice_equal(kind, SLICE("text")))
        return json_pack("{s:s}", "type", "string");
    if (slice_equal(kind, SLICE("number")))
        return json_pack("{s:s}", "type", "integer");
    if (slice_equal(kind, SLICE("flag")))
        return json_pack("{s:s}", "type", "boolean");
    if (slice_equal(kind, SLICE("time")))
        return json_pack("{s:s, s:s}", "type", "string", "format", "date-time");
    if (slice_equal(kind, SLICE("texts")))
        return json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string");
    if (slice_equal(kind, SLICE("words")))
        return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
                         "string");
    if (slice_equal(kind, SLICE("counts")))
        return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
                         "integer");
    return NULL;
}

static json_t *one_of(struct slice names)
{
    json_t *list = json_array();

    while (names.data != NULL)
        json_array_append_new(list, openapi_schema_of(slice_cut(&names, '|')));
    return json_pack("{s:o}", "anyOf", list);
}

json_t *openapi_schema_of(struct slice name)
{
    json_t *simple = simple_kind(name);

    if (simple != NULL)
        return simple;
    if (slice_find(name, '|') != SLICE_NONE)
        return one_of(name);
    if (name.len > 2 && name.data[0] == '[')
        return json_pack("{s:s, s:o}", "type", "array", "items",
                         openapi_schema_of(slice_first(slice_from(name, 1), name.len - 2)));
    return reference(name);
}

static json_t *or_null(json_t *schema)
{
    return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null");
}

/* --- answers ---------------------------------------------------------------------------------- */

static void add_members(struct slice members, json_t *properties, json_t *required);

/* name:kind, name:kind? where it may be null, name:kind* where it may be missing. */
static void add_member(struct slice member, json_t *properties, json_t *required)
{
    struct slice kind = member;
    struct slice name = slice_cut(&kind, ':');
    char mark = kind.data[kind.len - 1];

    if (mark == '?' || mark == '*')
        kind.len--;
    json_t *schema = openapi_schema_of(kind);
    if (mark == '?')
        schema = or_null(schema);
    json_object_setn_new(properties, name.data, name.len, schema);
    if (mark != '*')
        json_array_append_new(required, json_stringn(name.data, name.len));
}

static void add_members(struct slice members, json_t *properties, json_t *required)
{
    while (members.data != NULL) {
        struct slice member = slice_cut(&members, ' ');
        if (member.data[0] == '+') {
            const struct schema *other = find(slice_from(member, 1));
            assert(other != NULL);
            add_members(slice_of(other->members), properties, required);
        } else {
            add_member(member, properties, required);
        }
    }
}

json_t *openapi_schemas(void)
{
    json_t *all = json_object();

    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        json_t *properties = json_object();
        json_t *required = json_array();
        add_members(slice_of(schemas[i].members), properties, required);
        json_object_set_new(all, schemas[i].name,
                            json_pack("{s:s, s:o, s:o}", "type", "object", "properties", properties,
                                      "required", required));
    }
    return all;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static json_t *field_schema(enum api_type type)
{
    switch (type) {
    case API_TEXT:
        return json_pack("{s:[ss]}", "type", "string", "null");
    case API_LIST:
        return json_pack("{s:[{s:[ss]}, {s:s, s:{s:s}}]}", "anyOf", "type", "string", "null",
                         "type", "array", "items", "type", "string");
    case API_NUMBER:
        return json_pack("{s:[ss]}", "type", "integer", "null");
    case API_FLAG:
        return json_pack("{s:[ss]}", "type", "boolean", "null");
    }
    return json_object();
}

json_t *openapi_body_of(const struct api_shape *shape)
{
    if (shape->body != NULL)
        return reference(slice_of(shape->body));
    json_t *properties = json_object();
    json_t *required = json_array();

    for (size_t i = 0; i < shape->field_count; i++)
        json_object_set_new(properties, shape->fields[i].name, field_schema(shape->fields[i].type));
    for (struct slice rest = slice_of(shape->required); rest.len > 0;) {
        struct slice name = slice_cut(&rest, ' ');
        json_array_append_new(required, json_stringn(name.data, name.len));
    }
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required",
                     required, "additionalProperties", 0);
}

/* NOLINTEND(misc-no-recursion) */
