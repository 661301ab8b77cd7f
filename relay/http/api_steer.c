/* api_steer.c - retry, hold, release and cancel: of one message (/v1/messages/{id}), and of all
 * that a filter wants (/v1/queue). A key acts on the messages of its account only; the queue judges
 * that in the same step, so there is nothing between looking and acting. */
#include "relay/http/api_priv.h"

static const struct {
    const char *done;      /* in the answer */
    bool needs_to_be_told; /* an empty filter is too easily a mistake that would mean "all" */
} acts[] = {
    [QUEUE_RETRY] = { "retried", false },
    [QUEUE_HOLD] = { "held", true },
    [QUEUE_RELEASE] = { "released", true },
    [QUEUE_CANCEL] = { "cancelled", true },
};
_Static_assert(ARRAY_LEN(acts) == QUEUE_ACT_COUNT, "an act without a row");

/* --- one -------------------------------------------------------------------------------------- */

static void on_one(void *owner, enum queue_result result, uint64_t changed, uint64_t busy)
{
    struct api_call *call = owner;

    (void)changed;
    (void)busy;
    if (result == QUEUE_OK)
        api_done(
            call, 200,
            json_pack("{s:o, s:b}", "id", api_json_id(call->message_id), acts[call->act].done, 1),
            NULL);
    else if (result == QUEUE_REFUSED)
        api_fail(call, 403, "held_by_operator", "The operator holds that message.");
    else
        api_fail_queue(call, result);
}

static void steer_one(struct api_call *call, const struct api_request *request, enum queue_act act)
{
    struct queue_steering steering = { .act = act,
                                       .by = call->actor,
                                       .by_key = !call->is_operator };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (!api_message_id(call))
        return;
    call->act = act;
    steering.id = call->message_id;
    steering.filter.account = call->is_operator ? NULL : auth_grant_account(call->grant);
    queue_steer(call->api->queue, &steering, on_one, call, call->api->answers);
}

void api_messages_retry(struct api_call *call, const struct api_request *request)
{
    steer_one(call, request, QUEUE_RETRY);
}

void api_messages_hold(struct api_call *call, const struct api_request *request)
{
    steer_one(call, request, QUEUE_HOLD);
}

void api_messages_release(struct api_call *call, const struct api_request *request)
{
    steer_one(call, request, QUEUE_RELEASE);
}

void api_messages_cancel(struct api_call *call, const struct api_request *request)
{
    steer_one(call, request, QUEUE_CANCEL);
}

/* --- many ------------------------------------------------------------------------------------- */

static void on_many(void *owner, enum queue_result result, uint64_t changed, uint64_t busy)
{
    struct api_call *call = owner;

    if (result == QUEUE_OK)
        api_done(call, 200,
                 json_pack("{s:I, s:I}", acts[call->act].done, (json_int_t)changed, "busy",
                           (json_int_t)busy),
                 NULL);
    else
        api_fail_queue(call, result);
}

static const struct api_field many_fields[] = {
    API_FILTER_WORDS(API_FILTER_FIELD)[API_FILTER_COUNT] = { "all", API_FLAG },
};

static void steer_wanted(struct api_call *call, const json_t *body, enum queue_act act)
{
    struct queue_steering steering = { .act = act, .by = call->actor };
    const char *values[API_FILTER_COUNT];
    bool is_empty = true;

    for (size_t i = 0; i < API_FILTER_COUNT; i++) {
        values[i] = api_text(body, api_filter_names[i]);
        is_empty = is_empty && values[i] == NULL;
    }
    if (is_empty && acts[act].needs_to_be_told && !api_flag(body, "all"))
        api_fail(call, 422, "filter_needed",
                 "Say which messages, or \"all\": true for every one that waits.");
    else if (api_filter_read(call, values, &steering.filter))
        queue_steer(call->api->queue, &steering, on_many, call, call->api->answers);
}

static void steer_many(struct api_call *call, const struct api_request *request, enum queue_act act)
{
    json_t *body = api_body(call, request, many_fields, ARRAY_LEN(many_fields));

    if (body == NULL)
        return;
    call->act = act;
    steer_wanted(call, body, act);
    json_decref(body);
}

void api_queue_retry(struct api_call *call, const struct api_request *request)
{
    steer_many(call, request, QUEUE_RETRY);
}

void api_queue_hold(struct api_call *call, const struct api_request *request)
{
    steer_many(call, request, QUEUE_HOLD);
}

void api_queue_release(struct api_call *call, const struct api_request *request)
{
    steer_many(call, request, QUEUE_RELEASE);
}

void api_queue_cancel(struct api_call *call, const struct api_request *request)
{
    steer_many(call, request, QUEUE_CANCEL);
}

#define ONE(handler, schema)                                                                       \
    {                                                                                              \
        .run = (handler), .status = 200, .data = (schema), .refusals = { 404, 409 }                \
    }
#define MANY(handler, schema)                                                                      \
    {                                                                                              \
        .run = (handler), API_FIELDS(many_fields), .status = 200, .data = (schema), .refusals = {  \
            404                                                                                    \
        }                                                                                          \
    }
const struct api_shape api_steer_shapes[] = {
    ONE(api_messages_retry, "Retried"),
    ONE(api_messages_hold, "Held"),
    ONE(api_messages_release, "Released"),
    ONE(api_messages_cancel, "Cancelled"),
    MANY(api_queue_retry, "RetriedMany"),
    MANY(api_queue_hold, "HeldMany"),
    MANY(api_queue_release, "ReleasedMany"),
    MANY(api_queue_cancel, "CancelledMany"),
    { 0 },
};
