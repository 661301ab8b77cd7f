/* api_messages.c - /v1/messages: what became of a message?
 * A key with the scope `messages` sees those of its account; of others it hears what it would hear
 * of none at all. Lists are pages, newest first; meta.next is the `before` of the next page. */
#include "relay/base/ident.h"
#include "relay/http/api_priv.h"

#define PAGE_ROWS     50
#define PAGE_ROWS_MAX 1000

json_t *api_json_id(int64_t id)
{
    char text[IDENT_TEXT_BYTES];

    if (id == 0)
        return json_null();
    ident_format(id, text);
    return json_string(text);
}

static json_t *code_json(int code)
{
    return code == 0 ? json_null() : json_integer(code);
}

static json_t *enhanced_json(const char *enhanced)
{
    return api_json_text(enhanced[0] == '\0' ? NULL : enhanced);
}

static json_t *row_json(const struct queue_row *row)
{
    json_t *json = json_object();

    json_object_set_new(json, "id", api_json_id(row->id));
    json_object_set_new(json, "state", json_string(queue_state_name(row->state)));
    json_object_set_new(json, "account", api_json_text(row->account));
    json_object_set_new(json, "keyId", api_json_text(row->key_id));
    json_object_set_new(json, "from", api_json_text(row->sender));
    json_object_set_new(json, "to", api_json_text(row->recipient));
    json_object_set_new(json, "recipientCount", json_integer((json_int_t)row->recipient_count));
    json_object_set_new(json, "size", json_integer((json_int_t)row->size));
    json_object_set_new(json, "attempts", json_integer(row->attempts));
    json_object_set_new(json, "receivedAt", api_json_time_ms(row->received_ms));
    json_object_set_new(json, "dueAt", api_json_time_ms(row->due_ms));
    json_object_set_new(json, "lastError", api_json_text(row->last_text));
    return json;
}

/* --- list ------------------------------------------------------------------------------------- */

static void on_page(void *owner, enum queue_result result, struct queue_page *page)
{
    struct api_call *call = owner;

    if (result != QUEUE_OK) {
        api_fail_queue(call, result);
        return;
    }
    json_t *array = json_array();
    for (size_t i = 0; i < page->count; i++)
        json_array_append_new(array, row_json(&page->rows[i]));
    api_done(call, 200, array,
             json_pack("{s:I, s:o}", "count", (json_int_t)page->count, "next",
                       api_json_id(page->next_id)));
}

static bool refuse_parameter(struct api_call *call, const char *name, const char *allowed)
{
    api_fail(call, 422, "invalid_value", "The parameter \"%s\" must be %s.", name, allowed);
    return false;
}

/* The words of a filter come first, then these. */
enum { LIST_BEFORE = API_FILTER_COUNT, LIST_LIMIT, LIST_COUNT };
static const char *const list_names[LIST_COUNT + 1] = {
    API_FILTER_WORDS(API_FILTER_NAME)[LIST_BEFORE] = "before",
    [LIST_LIMIT] = "limit",
};

static bool read_filter(struct api_call *call, char (*values)[API_QUERY_MAX],
                        struct queue_filter *filter)
{
    const char *words[API_FILTER_COUNT];
    uint64_t limit = PAGE_ROWS;

    if (values[LIST_BEFORE][0] != '\0' &&
        !ident_parse(slice_of(values[LIST_BEFORE]), &filter->before_id))
        return refuse_parameter(call, "before", "the id of a message");
    if (values[LIST_LIMIT][0] != '\0' &&
        (!slice_to_u64(slice_of(values[LIST_LIMIT]), &limit) || limit < 1 || limit > PAGE_ROWS_MAX))
        return refuse_parameter(call, "limit", "a number from 1 to 1000");
    filter->limit = (size_t)limit;
    for (size_t i = 0; i < API_FILTER_COUNT; i++)
        words[i] = values[i][0] == '\0' ? NULL : values[i];
    return api_filter_read(call, words, filter);
}

void api_messages_list(struct api_call *call, const struct api_request *request)
{
    char values[LIST_COUNT][API_QUERY_MAX];
    struct queue_filter filter = { 0 };

    if (api_query(call, request->query, list_names, values) && read_filter(call, values, &filter))
        queue_list(call->api->queue, &filter, on_page, call, call->api->answers);
}

/* --- show ------------------------------------------------------------------------------------- */

static json_t *recipients_json(const struct queue_story *story)
{
    json_t *array = json_array();

    for (size_t i = 0; i < story->recipient_count; i++) {
        const struct queue_recipient_row *row = &story->recipients[i];
        json_t *json = json_object();
        json_object_set_new(json, "address", api_json_text(row->address));
        json_object_set_new(json, "state", json_string(queue_state_name(row->state)));
        json_object_set_new(json, "attempts", json_integer(row->attempts));
        json_object_set_new(json, "dueAt", api_json_time_ms(row->due_ms));
        json_object_set_new(json, "updatedAt", api_json_time_ms(row->updated_ms));
        json_object_set_new(json, "code", code_json(row->code));
        json_object_set_new(json, "enhanced", enhanced_json(row->enhanced));
        json_object_set_new(json, "text", api_json_text(row->text));
        json_object_set_new(json, "upstream", api_json_text(row->upstream));
        json_array_append_new(array, json);
    }
    return array;
}

static json_t *events_json(const struct queue_story *story)
{
    json_t *array = json_array();

    for (size_t i = 0; i < story->event_count; i++) {
        const struct queue_event_row *row = &story->events[i];
        json_t *json = json_object();
        json_object_set_new(json, "at", api_json_time_ms(row->at_ms));
        json_object_set_new(json, "what", api_json_text(row->what));
        json_object_set_new(json, "recipient", api_json_text(row->recipient));
        json_object_set_new(json, "code", code_json(row->code));
        json_object_set_new(json, "enhanced", enhanced_json(row->enhanced));
        json_object_set_new(json, "text", api_json_text(row->text));
        json_object_set_new(json, "upstream", api_json_text(row->upstream));
        json_array_append_new(array, json);
    }
    return array;
}

static bool may_see(const struct api_call *call, const struct queue_story *story)
{
    return call->is_operator || strcmp(story->row.account, auth_grant_account(call->grant)) == 0;
}

static void on_story(void *owner, enum queue_result result, struct queue_story *story)
{
    struct api_call *call = owner;

    if (result != QUEUE_OK || !may_see(call, story)) {
        api_fail_queue(call, result != QUEUE_OK ? result : QUEUE_NOT_FOUND);
        return;
    }
    json_t *json = row_json(&story->row);
    json_object_set_new(json, "recipients", recipients_json(story));
    json_object_set_new(json, "events", events_json(story));
    api_done(call, 200, json, NULL);
}

bool api_message_id(struct api_call *call)
{
    if (ident_parse(slice_of(call->param), &call->message_id))
        return true;
    api_fail_queue(call, QUEUE_NOT_FOUND);
    return false;
}

void api_messages_show(struct api_call *call, const struct api_request *request)
{
    (void)request;
    if (api_message_id(call))
        queue_show(call->api->queue, call->message_id, on_story, call, call->api->answers);
}

const struct api_shape api_messages_shapes[] = {
    { .run = api_messages_list,
      .query = list_names,
      .status = 200,
      .data = "[Message]",
      .meta = "Page",
      .refusals = { 400, 404, 422 } },
    { .run = api_messages_show, .status = 200, .data = "Story", .refusals = { 404 } },
    { 0 },
};
