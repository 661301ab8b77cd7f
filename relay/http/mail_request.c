/* mail_request.c - what does a request to send mail say?
 * One table of members for each kind of object; a member that is not in it is refused by its name,
 * because a misspelt "bcc", or a time to send at that nobody looks at, must not pass in silence.
 * Texts are borrowed from the JSON, which may be large; only addresses are copied, in their one
 * spelling. */
#include "relay/http/mail_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/message/encode.h"

#define WHERE_BYTES 96

void mail_refuse(struct mail_refusal *refusal, int status, const char *code, const char *format,
                 ...)
{
    va_list args;

    refusal->status = status;
    refusal->code = code;
    va_start(args, format);
    vsnprintf(refusal->text, sizeof(refusal->text), format, args);
    va_end(args);
}

/* --- members ---------------------------------------------------------------------------------- */

const char *const mail_plain_members[] = { "from", "from_",    "to",          "cc",
                                           "bcc",  "reply_to", "subject",     "text",
                                           "html", "headers",  "attachments", NULL };
const char *const mail_shared_members[] = { "personalizations", "from",    "reply_to",
                                            "reply_to_list",    "subject", "content",
                                            "attachments",      "headers", NULL };
const char *const mail_personalization_members[] = { "from",     "to",      "cc",      "bcc",
                                                     "reply_to", "subject", "headers", NULL };
const char *const mail_content_members[] = { "type", "value", NULL };
const char *const mail_attachment_members[] = { "filename", "content",     "content_type",
                                                "type",     "disposition", "content_id",
                                                NULL };
const char *const mail_address_members[] = { "email", "address", "name", NULL };

static bool is_among(const char *const *names, const char *name)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

/* where: "" or "personalizations[1]." in front of a member's name. */
static bool check_members(struct mail_request *request, json_t *object, const char *where,
                          const char *const *names)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (is_among(names, name))
            continue;
        mail_refuse(&request->refusal, 400, "unknown_field",
                    "The field \"%s%.100s\" is not known here.", where, name);
        return false;
    }
    return true;
}

/* Absent and null are the same: *text is empty, and the result is true. */
static bool take_text(struct mail_request *request, const json_t *object, const char *where,
                      const char *name, struct slice *text)
{
    const json_t *value = json_object_get(object, name);

    *text = slice_make(NULL, 0);
    if (value == NULL || json_is_null(value))
        return true;
    if (json_is_string(value)) {
        *text = slice_make(json_string_value(value), json_string_length(value));
        return true;
    }
    mail_refuse(&request->refusal, 422, "invalid_value", "The field \"%s%s\" must be a text.",
                where, name);
    return false;
}

static bool has(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return value != NULL && !json_is_null(value);
}

/* The array of this name; NULL when it is absent, or refused. */
static json_t *take_array(struct mail_request *request, const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);

    if (value == NULL || json_is_null(value) || json_is_array(value))
        return json_is_array(value) ? value : NULL;
    mail_refuse(&request->refusal, 422, "invalid_value", "The field \"%s\" must be a list.", name);
    return NULL;
}

static bool is_refused(const struct mail_request *request)
{
    return request->refusal.status != 0;
}

static bool require(struct mail_request *request, bool there, const char *where, const char *name)
{
    if (!there && !is_refused(request))
        mail_refuse(&request->refusal, 422, "missing_field", "The field \"%s%s\" is missing.",
                    where, name);
    return there;
}

/* --- addresses -------------------------------------------------------------------------------- */

static bool read_text_address(struct mail_request *request, struct slice text, const char *where,
                              struct compose_address *address)
{
    const char *problem;

    if (encode_has_control(text))
        mail_refuse(&request->refusal, 422, "invalid_header_value",
                    "The field \"%s\" holds a line end or another control character.", where);
    else if (!mail_address_read(text, &request->texts, address, &problem))
        mail_refuse(&request->refusal, 422, "invalid_address", "The field \"%s\": %s.", where,
                    problem);
    return !is_refused(request);
}

/* {"email": "a@d", "name": "A"}; "address" is another word for it. */
static bool read_object_address(struct mail_request *request, json_t *value, const char *where,
                                struct compose_address *address)
{
    const char *key = has(value, "email") ? "email" : "address";
    char inside[WHERE_BYTES];
    struct slice text, name;

    snprintf(inside, sizeof(inside), "%.80s.", where);
    if (!check_members(request, value, inside, mail_address_members) ||
        !take_text(request, value, inside, key, &text) ||
        !take_text(request, value, inside, "name", &name))
        return false;
    if (has(value, "email") && has(value, "address")) {
        mail_refuse(&request->refusal, 422, "invalid_value",
                    "The field \"%s\" has both \"email\" and \"address\".", where);
        return false;
    }
    if (!require(request, text.len > 0, inside, "email"))
        return false;
    snprintf(inside, sizeof(inside), "%.80s.%s", where, key);
    if (!read_text_address(request, text, inside, address))
        return false;
    if (address->name.len > 0) {
        mail_refuse(&request->refusal, 422, "invalid_address",
                    "The field \"%s\": only the address stands here, its name in \"name\".",
                    inside);
        return false;
    }
    address->name = name;
    snprintf(inside, sizeof(inside), "%.80s.name", where);
    if (encode_has_control(name))
        mail_refuse(&request->refusal, 422, "invalid_header_value",
                    "The field \"%s\" holds a line end or another control character.", inside);
    return !is_refused(request);
}

static bool read_address(struct mail_request *request, json_t *value, const char *where,
                         struct compose_address *address)
{
    if (json_is_string(value))
        return read_text_address(request,
                                 slice_make(json_string_value(value), json_string_length(value)),
                                 where, address);
    if (json_is_object(value))
        return read_object_address(request, value, where, address);
    mail_refuse(&request->refusal, 422, "invalid_address",
                "The field \"%s\" must be an address, or an object with \"email\" and \"name\".",
                where);
    return false;
}

/* One address or a list of them, behind those that are there already. */
static bool read_addresses(struct mail_request *request, const json_t *object, const char *where,
                           const char *name, struct compose_addresses *addresses)
{
    json_t *value = json_object_get(object, name);
    bool is_list = json_is_array(value);
    size_t count = is_list ? json_array_size(value) : 1;
    char item[WHERE_BYTES];

    if (value == NULL || json_is_null(value))
        return true;
    addresses->items =
        xrealloc(addresses->items, (addresses->count + count + 1) * sizeof(*addresses->items));
    for (size_t i = 0; i < count; i++) {
        struct compose_address *address = &addresses->items[addresses->count];
        *address = (struct compose_address){ 0 };
        if (is_list)
            snprintf(item, sizeof(item), "%s%s[%zu]", where, name, i);
        else
            snprintf(item, sizeof(item), "%s%s", where, name);
        if (!read_address(request, is_list ? json_array_get(value, i) : value, item, address))
            return false;
        addresses->count++;
    }
    return true;
}

static bool read_reply_to(struct mail_request *request, const json_t *object, const char *where,
                          const char *name, struct compose_addresses *addresses)
{
    if (json_array_size(json_object_get(object, name)) <= MAIL_REPLY_TO_MAX)
        return read_addresses(request, object, where, name, addresses);
    mail_refuse(&request->refusal, 422, "invalid_value",
                "The field \"%s%s\" has too many addresses: at most %d are allowed.", where, name,
                MAIL_REPLY_TO_MAX);
    return false;
}

static bool read_sender(struct mail_request *request, const json_t *object, const char *name,
                        struct compose_address *from)
{
    return require(request, has(object, name), "", name) &&
           read_address(request, json_object_get(object, name), name, from);
}

/* --- headers and attachments ------------------------------------------------------------------ */

static bool read_headers(struct mail_request *request, const json_t *object, const char *where,
                         struct compose_mail *mail)
{
    json_t *values = json_object_get(object, "headers");
    struct compose_header *headers;
    const char *name;
    json_t *value;

    if (values == NULL || json_is_null(values))
        return true;
    if (!json_is_object(values)) {
        mail_refuse(&request->refusal, 422, "invalid_value",
                    "The field \"%sheaders\" must be an object of texts.", where);
        return false;
    }
    if (mail->header_count + json_object_size(values) > MAIL_HEADERS_MAX) {
        mail_refuse(&request->refusal, 422, "invalid_value",
                    "The field \"%sheaders\" has too many headers: at most %d are allowed.", where,
                    MAIL_HEADERS_MAX);
        return false;
    }
    headers = xrealloc((void *)mail->headers,
                       (mail->header_count + json_object_size(values) + 1) * sizeof(*headers));
    mail->headers = headers;
    json_object_foreach(values, name, value)
    {
        if (!json_is_string(value)) {
            mail_refuse(&request->refusal, 422, "invalid_value",
                        "The field \"%sheaders.%.60s\" must be a text.", where, name);
            return false;
        }
        headers[mail->header_count++] =
            (struct compose_header){ slice_of(name), slice_make(json_string_value(value),
                                                                json_string_length(value)) };
    }
    return true;
}

static bool read_disposition(struct mail_request *request, struct slice word, const char *where,
                             struct compose_attachment *attachment)
{
    attachment->is_inline =
        word.len == 0 ? attachment->content_id.len > 0 : slice_equal_nocase(word, SLICE("inline"));
    if (word.len == 0 || attachment->is_inline || slice_equal_nocase(word, SLICE("attachment")))
        return true;
    mail_refuse(&request->refusal, 422,
                encode_has_control(word) ? "invalid_header_value" : "invalid_value",
                "The field \"%sdisposition\" must be \"attachment\" or \"inline\".", where);
    return false;
}

static struct slice without_brackets(struct slice id)
{
    if (id.len > 2 && id.data[0] == '<' && id.data[id.len - 1] == '>')
        return slice_make(id.data + 1, id.len - 2);
    return id;
}

static bool read_attachment(struct mail_request *request, json_t *value, size_t i,
                            struct compose_attachment *attachment)
{
    char where[WHERE_BYTES];
    struct slice disposition;

    snprintf(where, sizeof(where), "attachments[%zu].", i);
    if (!json_is_object(value)) {
        mail_refuse(&request->refusal, 422, "invalid_value",
                    "The field \"attachments[%zu]\" must be an object.", i);
        return false;
    }
    if (has(value, "type") && has(value, "content_type")) {
        mail_refuse(&request->refusal, 422, "invalid_value",
                    "The field \"attachments[%zu]\" has both \"type\" and \"content_type\".", i);
        return false;
    }
    if (!check_members(request, value, where, mail_attachment_members) ||
        !require(request, has(value, "content"), where, "content") ||
        !take_text(request, value, where, "content", &attachment->base64) ||
        !take_text(request, value, where, "filename", &attachment->filename) ||
        !take_text(request, value, where, has(value, "type") ? "type" : "content_type",
                   &attachment->type) ||
        !take_text(request, value, where, "content_id", &attachment->content_id) ||
        !take_text(request, value, where, "disposition", &disposition))
        return false;
    attachment->content_id = without_brackets(attachment->content_id);
    return read_disposition(request, disposition, where, attachment);
}

static bool read_attachments(struct mail_request *request, const json_t *object)
{
    json_t *array = take_array(request, object, "attachments");
    size_t count = json_array_size(array);

    if (array == NULL)
        return !is_refused(request);
    request->attachments = xcalloc(count + 1, sizeof(*request->attachments));
    for (size_t i = 0; i < count; i++)
        if (!read_attachment(request, json_array_get(array, i), i, &request->attachments[i]))
            return false;
    request->attachment_count = count;
    return true;
}

/* --- the plain form --------------------------------------------------------------------------- */

static struct mail_draft *new_drafts(struct mail_request *request, size_t count)
{
    request->drafts = xcalloc(count, sizeof(*request->drafts));
    request->count = count;
    return request->drafts;
}

static bool has_content(struct mail_request *request, const struct compose_mail *mail)
{
    if (mail->has_text || mail->has_html || request->attachment_count > 0)
        return true;
    mail_refuse(&request->refusal, 422, "missing_field",
                "The message is empty: give \"text\", \"html\" or \"attachments\".");
    return false;
}

/* Python has taken the word `from`, so its programs may write `from_`. */
static bool read_plain_sender(struct mail_request *request, const json_t *body,
                              struct compose_address *from)
{
    if (!has(body, "from") || !has(body, "from_"))
        return read_sender(request, body, has(body, "from_") ? "from_" : "from", from);
    mail_refuse(&request->refusal, 422, "invalid_value",
                "The body has both \"from\" and \"from_\".");
    return false;
}

static bool read_plain(struct mail_request *request)
{
    json_t *body = request->json;
    struct mail_draft *draft = new_drafts(request, 1);
    struct compose_mail *mail = &draft->mail;

    if (!check_members(request, body, "", mail_plain_members) ||
        !read_plain_sender(request, body, &mail->from) ||
        !read_addresses(request, body, "", "to", &mail->to) ||
        !require(request, mail->to.count > 0, "", "to") ||
        !read_addresses(request, body, "", "cc", &mail->cc) ||
        !read_addresses(request, body, "", "bcc", &draft->bcc) ||
        !read_reply_to(request, body, "", "reply_to", &mail->reply_to) ||
        !take_text(request, body, "", "subject", &mail->subject) ||
        !take_text(request, body, "", "text", &mail->text) ||
        !take_text(request, body, "", "html", &mail->html) ||
        !read_headers(request, body, "", mail) || !read_attachments(request, body))
        return false;
    mail->has_subject = has(body, "subject");
    mail->has_text = has(body, "text");
    mail->has_html = has(body, "html");
    return has_content(request, mail);
}

/* --- the personalized form -------------------------------------------------------------------- */

static bool read_content_item(struct mail_request *request, json_t *item, size_t i,
                              struct compose_mail *mail)
{
    char where[WHERE_BYTES];
    struct slice type, value;

    snprintf(where, sizeof(where), "content[%zu].", i);
    if (!require(request, json_is_object(item), where, "value") ||
        !check_members(request, item, where, mail_content_members) ||
        !take_text(request, item, where, "type", &type) ||
        !take_text(request, item, where, "value", &value) ||
        !require(request, has(item, "value"), where, "value"))
        return false;
    bool is_text = api_is_utf8_type(type, SLICE("text/plain"));
    bool is_html = api_is_utf8_type(type, SLICE("text/html"));
    if ((is_text && !mail->has_text) || (is_html && !mail->has_html)) {
        *(is_text ? &mail->text : &mail->html) = value;
        *(is_text ? &mail->has_text : &mail->has_html) = true;
        return true;
    }
    mail_refuse(&request->refusal, 422,
                encode_has_control(type) ? "invalid_header_value" : "invalid_value",
                "The field \"%stype\" must be text/plain or text/html, each once.", where);
    return false;
}

static bool read_content(struct mail_request *request, const json_t *body,
                         struct compose_mail *mail)
{
    json_t *array = take_array(request, body, "content");

    for (size_t i = 0; i < json_array_size(array); i++)
        if (!read_content_item(request, json_array_get(array, i), i, mail))
            return false;
    return !is_refused(request);
}

/* What all messages of the request share. */
static bool read_shared(struct mail_request *request, struct compose_mail *mail)
{
    json_t *body = request->json;

    if (!check_members(request, body, "", mail_shared_members) ||
        !read_sender(request, body, "from", &mail->from) ||
        !take_text(request, body, "", "subject", &mail->subject) ||
        !read_content(request, body, mail) || !read_attachments(request, body))
        return false;
    mail->has_subject = has(body, "subject");
    return has_content(request, mail);
}

/* A header of the personalization takes the place of one of the request. */
static void drop_replaced(struct compose_mail *mail, size_t shared)
{
    struct compose_header *headers = (struct compose_header *)mail->headers;
    size_t kept = 0;

    for (size_t i = 0; i < mail->header_count; i++) {
        bool replaced = false;
        for (size_t j = shared; i < shared && j < mail->header_count; j++)
            replaced = replaced || slice_equal_nocase(headers[i].name, headers[j].name);
        if (!replaced)
            headers[kept++] = headers[i];
    }
    mail->header_count = kept;
}

static bool read_shared_reply_to(struct mail_request *request, struct compose_addresses *addresses)
{
    return read_reply_to(request, request->json, "", "reply_to", addresses) &&
           read_reply_to(request, request->json, "", "reply_to_list", addresses);
}

/* Each message reads its own; this is for the case that none of them needs it. */
static bool check_shared_reply_to(struct mail_request *request)
{
    struct compose_addresses addresses = { 0 };
    bool ok = read_shared_reply_to(request, &addresses);

    free(addresses.items);
    return ok;
}

/* Who it is from and whom to answer: its own, where it has them, in the place of everybody's. */
static bool read_own_sender(struct mail_request *request, const json_t *value, const char *where,
                            struct compose_mail *mail)
{
    char inside[WHERE_BYTES];

    snprintf(inside, sizeof(inside), "%.80sfrom", where);
    if (has(value, "from")) {
        mail->from = (struct compose_address){ 0 };
        if (!read_address(request, json_object_get(value, "from"), inside, &mail->from))
            return false;
    }
    if (has(value, "reply_to"))
        return read_reply_to(request, value, where, "reply_to", &mail->reply_to);
    return read_shared_reply_to(request, &mail->reply_to);
}

static bool read_personalization(struct mail_request *request, json_t *value, size_t i)
{
    struct mail_draft *draft = &request->drafts[i];
    struct compose_mail *mail = &draft->mail;
    char where[WHERE_BYTES];
    struct slice subject;

    draft->index = i;
    snprintf(where, sizeof(where), "personalizations[%zu].", i);
    if (!require(request, json_is_object(value), where, "to") ||
        !check_members(request, value, where, mail_personalization_members) ||
        !read_addresses(request, value, where, "to", &mail->to) ||
        !require(request, mail->to.count > 0, where, "to") ||
        !read_addresses(request, value, where, "cc", &mail->cc) ||
        !read_addresses(request, value, where, "bcc", &draft->bcc) ||
        !read_own_sender(request, value, where, mail) ||
        !take_text(request, value, where, "subject", &subject) ||
        !read_headers(request, request->json, "", mail))
        return false;
    size_t shared = mail->header_count;
    if (!read_headers(request, value, where, mail))
        return false;
    drop_replaced(mail, shared);
    if (has(value, "subject")) {
        mail->subject = subject;
        mail->has_subject = true;
    }
    return true;
}

static bool read_personalized(struct mail_request *request)
{
    struct compose_mail shared = { 0 };
    json_t *array = take_array(request, request->json, "personalizations");
    size_t count = json_array_size(array);

    if (is_refused(request) || !require(request, count > 0, "", "personalizations") ||
        !read_shared(request, &shared) || !check_shared_reply_to(request))
        return false;
    if (count > MAIL_DRAFTS_MAX) {
        mail_refuse(&request->refusal, 422, "too_many_messages",
                    "The field \"personalizations\" has %zu items: at most %d are allowed.", count,
                    MAIL_DRAFTS_MAX);
        return false;
    }
    new_drafts(request, count);
    for (size_t i = 0; i < count; i++) {
        request->drafts[i].mail = shared;
        if (!read_personalization(request, json_array_get(array, i), i))
            return false;
    }
    return true;
}

/* --- the whole -------------------------------------------------------------------------------- */

bool mail_request_read(struct mail_request *request, struct slice body, enum mail_form form)
{
    char problem[128];
    bool nul_in_name = false;

    request->json = api_parse_json_with_nul(body, problem, sizeof(problem), &nul_in_name);
    if (nul_in_name) {
        mail_refuse(&request->refusal, 422, "invalid_header_value",
                    "The name of a field or header holds a NUL.");
        return false;
    }
    if (request->json == NULL) {
        mail_refuse(&request->refusal, 400, "invalid_json", "The body cannot be read: %s.",
                    problem);
        return false;
    }
    bool ok = form == MAIL_PLAIN ? read_plain(request) : read_personalized(request);
    for (size_t i = 0; i < request->count; i++) {
        request->drafts[i].mail.attachments = request->attachments;
        request->drafts[i].mail.attachment_count = request->attachment_count;
    }
    return ok;
}

void mail_request_free(struct mail_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        struct compose_mail *mail = &request->drafts[i].mail;
        free(mail->to.items);
        free(mail->cc.items);
        free(mail->reply_to.items);
        free(request->drafts[i].bcc.items);
        free((void *)mail->headers);
    }
    free(request->drafts);
    free(request->attachments);
    api_texts_free(&request->texts);
    json_decref(request->json);
    *request = (struct mail_request){ .refusal = request->refusal };
}
