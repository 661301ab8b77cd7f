/* json.c - what does a request say, strictly, and how is a value written in an answer?
 * Around jansson, the strictest reader at hand: it refuses bad UTF-8, lone surrogates, NUL, numbers
 * that overflow, duplicate members and trailing data. What it lacks is a small limit on depth and
 * on the number of values, so both are counted in the text before it sees it: its own recursion
 * goes to 2048 levels and a hostile megabyte becomes fifty. Which members are known, and of which
 * type, is told by the handler's table; anything else is refused by name, because a misspelt
 * restriction that is silently ignored would make a key that may do too much. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/http/api_priv.h"
#include "relay/http/json_lift.h"
#include "relay/message/date.h"

/* --- reading ---------------------------------------------------------------------------------- */

/* Counts outside of strings. Text that is no JSON may be counted wrongly; it is refused later. */
static const char *check_size(struct slice text)
{
    size_t depth = 0, values = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '"') {
            size_t len = json_lift_text_len(slice_from(text, i + 1));
            if (len == SLICE_NONE)
                return NULL;
            i += len + 1;
        } else if ((c == '{' || c == '[') && ++depth > API_DEPTH_MAX) {
            return "it is nested too deeply";
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        if ((c == '{' || c == '[' || c == ',') && ++values > API_VALUES_MAX)
            return "it has too many values";
    }
    return NULL;
}

static json_t *parse(struct slice text, size_t flags, char *problem, size_t size, bool *nul_in_name)
{
    json_error_t error;
    const char *limit = check_size(text);

    *nul_in_name = false;
    if (limit != NULL) {
        snprintf(problem, size, "%s", limit);
        return NULL;
    }
    json_t *json = flags == JSON_ALLOW_NUL ? json_lift(text) : NULL;
    if (json == NULL)
        json = json_loadb(text.data == NULL ? "" : text.data, text.len,
                          JSON_REJECT_DUPLICATES | flags, &error);
    *nul_in_name = json == NULL && json_error_code(&error) == json_error_null_byte_in_key;
    /* jansson's own words may quote the text, which may hold anything. */
    if (json == NULL)
        snprintf(problem, size, "it is not strict JSON (line %d, column %d)", error.line,
                 error.column);
    else if (!json_is_object(json))
        snprintf(problem, size, "it is not an object");
    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

json_t *api_parse_json(struct slice text, char *problem, size_t size)
{
    bool nul_in_name;

    return parse(text, 0, problem, size, &nul_in_name);
}

json_t *api_parse_json_with_nul(struct slice text, char *problem, size_t size, bool *nul_in_name)
{
    return parse(text, JSON_ALLOW_NUL, problem, size, nul_in_name);
}

bool api_is_utf8_type(struct slice type, struct slice wanted)
{
    struct slice rest = type;

    if (!slice_equal_nocase(slice_trim(slice_cut(&rest, ';')), wanted))
        return false;
    struct slice charset = slice_trim(rest);
    return charset.len == 0 || slice_equal_nocase(charset, SLICE("charset=utf-8")) ||
           slice_equal_nocase(charset, SLICE("charset=\"utf-8\""));
}

/* RFC 8259 section 11 knows no such parameter, but many clients send it. */
bool api_is_json_type(struct slice type)
{
    return api_is_utf8_type(type, SLICE("application/json"));
}

static bool is_list(const json_t *value)
{
    size_t i;
    json_t *item;

    if (json_is_string(value))
        return true;
    if (!json_is_array(value))
        return false;
    json_array_foreach(value, i, item) if (!json_is_string(item)) return false;
    return true;
}

static bool is_of_type(const json_t *value, enum api_type type)
{
    switch (type) {
    case API_TEXT:
        return json_is_string(value);
    case API_LIST:
        return is_list(value);
    case API_NUMBER:
        return json_is_integer(value);
    case API_FLAG:
        return json_is_boolean(value);
    }
    return false;
}

static const char *type_word(enum api_type type)
{
    static const char *const words[] = {
        [API_TEXT] = "a text",
        [API_LIST] = "a list of texts",
        [API_NUMBER] = "a whole number",
        [API_FLAG] = "true or false",
    };

    return words[type];
}

static const struct api_field *find_field(const struct api_field *fields, size_t count,
                                          const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static bool check_members(struct api_call *call, json_t *body, const struct api_field *fields,
                          size_t count)
{
    const char *name;
    json_t *value;

    json_object_foreach(body, name, value)
    {
        const struct api_field *field = find_field(fields, count, name);
        if (field == NULL) {
            api_fail(call, 400, "unknown_field", "The field \"%.100s\" is not known here.", name);
            return false;
        }
        if (!json_is_null(value) && !is_of_type(value, field->type)) {
            api_fail(call, 422, "invalid_value", "The field \"%s\" must be %s.", name,
                     type_word(field->type));
            return false;
        }
    }
    return true;
}

json_t *api_body(struct api_call *call, const struct api_request *request,
                 const struct api_field *fields, size_t count)
{
    char problem[128];

    assert(call->shape == NULL || call->shape->fields == fields); /* or the documentation lies */
    if (request->body.len == 0)
        return json_object();
    if (request->body.len > API_REQUEST_MAX) {
        api_fail(call, 413, "too_large", "The body is larger than is allowed.");
        return NULL;
    }
    if (!api_is_json_type(request->content_type)) {
        api_fail(call, 415, "unsupported_media_type", "The body must be application/json.");
        return NULL;
    }
    json_t *body = api_parse_json(request->body, problem, sizeof(problem));
    if (body == NULL)
        api_fail(call, 400, "invalid_json", "The body cannot be read: %s.", problem);
    else if (check_members(call, body, fields, count))
        return body;
    json_decref(body);
    return NULL;
}

const char *api_text(const json_t *body, const char *name)
{
    return json_string_value(json_object_get(body, name));
}

bool api_flag(const json_t *body, const char *name)
{
    return json_is_true(json_object_get(body, name));
}

bool api_number(struct api_call *call, const json_t *body, const char *name, int64_t min,
                int64_t max, int64_t *number)
{
    const json_t *value = json_object_get(body, name);

    *number = 0;
    if (value == NULL || json_is_null(value))
        return true;
    *number = json_integer_value(value);
    if (*number >= min && *number <= max)
        return true;
    api_fail(call, 422, "invalid_value", "The field \"%s\" must be from %lld to %lld.", name,
             (long long)min, (long long)max);
    return false;
}

/* --- lists of texts --------------------------------------------------------------------------- */

void api_texts_add(struct api_texts *texts, struct slice text)
{
    texts->items = xrealloc(texts->items, (texts->count + 1) * sizeof(*texts->items));
    texts->items[texts->count++] = slice_dup(text);
}

void api_texts_free(struct api_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct api_texts){ 0 };
}

struct auth_list api_texts_list(const struct api_texts *texts)
{
    return (struct auth_list){ (const char *const *)texts->items, texts->count };
}

static void read_text(const char *value, struct api_texts *texts)
{
    struct slice rest = slice_of(value);

    do
        api_texts_add(texts, slice_trim(slice_cut(&rest, ',')));
    while (rest.data != NULL && texts->count <= AUTH_LIST_MAX);
}

static void read_array(const json_t *value, struct api_texts *texts)
{
    size_t i;
    json_t *item;

    json_array_foreach(value, i, item)
    {
        if (texts->count > AUTH_LIST_MAX)
            return; /* one too many is enough to see that */
        api_texts_add(texts, slice_of(json_string_value(item)));
    }
}

bool api_texts_read(struct api_call *call, const json_t *body, const char *name,
                    struct api_texts *texts)
{
    const json_t *value = json_object_get(body, name);

    if (value == NULL || json_is_null(value))
        return true;
    if (json_is_string(value))
        read_text(json_string_value(value), texts);
    else
        read_array(value, texts);
    if (texts->count > 0 && texts->count <= AUTH_LIST_MAX)
        return true;
    api_fail(call, 422, "invalid_value",
             "The field \"%s\" must have from 1 to %d items; leave it out for no restriction.",
             name, AUTH_LIST_MAX);
    return false;
}

/* --- queries ---------------------------------------------------------------------------------- */

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c == '\0' ? NULL : strchr(digits, ascii_lower(c));

    return found == NULL ? -1 : (int)(found - digits);
}

bool api_decode(struct slice text, char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        int code = (unsigned char)text.data[i];
        if (code == '%') {
            int high = i + 2 < text.len ? hex_value(text.data[i + 1]) : -1;
            int low = high < 0 ? -1 : hex_value(text.data[i + 2]);
            if (low < 0)
                return false;
            code = high * 16 + low;
            i += 2;
        }
        if (code < ' ' || code == 127 || len + 1 >= size)
            return false;
        out[len++] = (char)code;
    }
    out[len] = '\0';
    return true;
}

static size_t find_name(const char *const *names, struct slice name)
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (slice_equal(slice_of(names[i]), name))
            return i;
    return SLICE_NONE;
}

/* The parameter's name may be told, its value not: it may be a key that does not belong there. */
static bool take_parameter(struct api_call *call, struct slice pair, const char *const *names,
                           char (*values)[API_QUERY_MAX])
{
    struct slice value = pair;
    struct slice name = slice_cut(&value, '=');
    size_t at = find_name(names, name);

    if (at == SLICE_NONE)
        api_fail(call, 400, "unknown_parameter", "The parameter \"%.*s\" is not known here.",
                 SLICE_ARG(slice_first(name, 40)));
    else if (values[at][0] != '\0' || value.len == 0 ||
             !api_decode(value, values[at], API_QUERY_MAX))
        api_fail(call, 400, "invalid_parameter",
                 "The parameter \"%s\" is empty, not readable, or "
                 "there twice.",
                 names[at]);
    else
        return true;
    return false;
}

bool api_query(struct api_call *call, struct slice query, const char *const *names,
               char (*values)[API_QUERY_MAX])
{
    assert(call->shape == NULL || call->shape->query == names);
    for (size_t i = 0; names[i] != NULL; i++)
        values[i][0] = '\0';
    for (struct slice rest = query; rest.data != NULL && query.len > 0;) {
        struct slice pair = slice_cut(&rest, '&');
        if (!take_parameter(call, pair, names, values))
            return false;
    }
    return true;
}

bool api_page_read(struct api_call *call, const char *limit, const char *after,
                   struct auth_page *page)
{
    uint64_t number = API_PAGE_MAX;

    if (limit[0] != '\0' &&
        (!slice_to_u64(slice_of(limit), &number) || number < 1 || number > API_PAGE_MAX)) {
        api_fail(call, 422, "invalid_value",
                 "The parameter \"limit\" must be a number from 1 to %d.", API_PAGE_MAX);
        return false;
    }
    *page = (struct auth_page){ .limit = (size_t)number, .after = after[0] == '\0' ? NULL : after };
    return true;
}

json_t *api_page_json(const struct auth_page *page, const char *next)
{
    return json_pack("{s:I, s:o}", "total", (json_int_t)page->total, "next", api_json_text(next));
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The length of the UTF-8 character at `text` (RFC 3629), 0 when there is none. */
static size_t character_len(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, second_first, second_last;
        size_t len;
    } rows[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (text[0] < rows[i].first || text[0] > rows[i].last)
            continue;
        if (rows[i].len == 1)
            return 1;
        if (text[1] < rows[i].second_first || text[1] > rows[i].second_last)
            return 0;
        for (size_t at = 2; at < rows[i].len; at++)
            if ((text[at] & 0xc0) != 0x80)
                return 0;
        return rows[i].len;
    }
    return 0;
}

/* What an upstream said may be in any encoding; JSON is UTF-8. */
static char *repair(const char *text)
{
    char *out = xmalloc(strlen(text) * 3 + 1);
    size_t len = 0;

    for (const char *at = text; *at != '\0';) {
        size_t take = character_len((const unsigned char *)at);
        memcpy(out + len, take > 0 ? at : "\xef\xbf\xbd", take > 0 ? take : 3);
        len += take > 0 ? take : 3;
        at += take > 0 ? take : 1;
    }
    out[len] = '\0';
    return out;
}

json_t *api_json_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *json = json_string(text);
    if (json != NULL)
        return json;
    char *repaired = repair(text);
    json = json_string(repaired);
    free(repaired);
    return json;
}

json_t *api_json_texts(char *const *texts)
{
    json_t *array = json_array();

    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        json_array_append_new(array, api_json_text(texts[i]));
    return array;
}

json_t *api_json_time(int64_t unix_s)
{
    char text[DATE_ISO_BYTES];

    if (unix_s == 0)
        return json_null();
    date_format_iso(unix_s, text);
    return json_string(text);
}

json_t *api_json_time_ms(int64_t unix_ms)
{
    return api_json_time(unix_ms / 1000);
}
