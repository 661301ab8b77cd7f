/* api_queue.c - /v1/queue/stats: the queue as a whole. */
#include "relay/http/api_priv.h"

static void on_stats(void *owner, const struct queue_stats *stats)
{
    struct api_call *call = owner;
    json_t *messages = json_object();

    for (int state = 0; state < QUEUE_STATE_COUNT; state++)
        json_object_set_new(messages, queue_state_name((enum queue_state)state),
                            json_integer((json_int_t)stats->messages[state]));
    api_done(call, 200,
             json_pack("{s:o, s:I, s:I, s:I, s:I, s:b}", "messages", messages, "activeBytes",
                       (json_int_t)stats->active_bytes, "databaseBytes",
                       (json_int_t)stats->database_bytes, "logBytes", (json_int_t)stats->log_bytes,
                       "unsettled", (json_int_t)stats->unsettled, "hasRoom",
                       (int)queue_has_room(call->api->queue)),
             NULL);
}

void api_queue_stats(struct api_call *call, const struct api_request *request)
{
    (void)request;
    queue_stats(call->api->queue, on_stats, call, call->api->answers);
}

const struct api_shape api_queue_shapes[] = {
    { .run = api_queue_stats, .status = 200, .data = "Stats" },
    { 0 },
};
