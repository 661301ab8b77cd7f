/* api_upstreams.c - /v1/upstreams: how are the mail services, and leave this one alone. Only a
 * running daemon has upstreams: a command that opened the state itself hears 503. */
#include "relay/http/api_priv.h"

/* False, and answered: nobody can be asked. */
static bool there_are_upstreams(struct api_call *call)
{
    if (call->api->upstreams == NULL)
        api_fail(call, 503, "daemon_needed", "Upstreams are there only while the daemon runs.");
    else if (call->api->draining)
        api_fail(call, 503, "draining", "The relay is stopping.");
    else
        return true;
    return false;
}

/* --- list ------------------------------------------------------------------------------------- */

static void on_rows(void *owner, const struct api_upstream *rows, size_t count)
{
    struct api_call *call = owner;
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        json_t *json = json_object();
        json_object_set_new(json, "name", api_json_text(rows[i].name));
        json_object_set_new(json, "kind", api_json_text(rows[i].kind));
        json_object_set_new(json, "state", api_json_text(rows[i].state));
        json_object_set_new(json, "connections", json_integer((json_int_t)rows[i].connections));
        json_object_set_new(json, "waiting", json_integer((json_int_t)rows[i].waiting));
        json_object_set_new(json, "reason", api_json_text(rows[i].reason));
        json_array_append_new(array, json);
    }
    api_done(call, 200, array, json_pack("{s:I}", "total", (json_int_t)count));
}

void api_upstreams_list(struct api_call *call, const struct api_request *request)
{
    const struct api_upstreams *upstreams = call->api->upstreams;

    (void)request;
    if (there_are_upstreams(call))
        upstreams->look(upstreams->owner, on_rows, call);
}

/* --- hold and release ------------------------------------------------------------------------- */

static void on_retried(void *owner, enum queue_result result, uint64_t changed, uint64_t busy)
{
    struct api_call *call = owner;

    (void)busy;
    if (result == QUEUE_OK)
        api_done(call, 200,
                 json_pack("{s:o, s:b, s:I}", "name", api_json_text(call->param), "held", 0,
                           "retried", (json_int_t)changed),
                 NULL);
    else
        api_fail_queue(call, result);
}

/* Every worker knows by now, so nothing more comes back to the queue because of the hold: what did
 * is found there by the name of the upstream, and need not wait for its schedule. */
static void on_told(void *owner, const struct api_upstream *rows, size_t count)
{
    struct api_call *call = owner;
    struct queue_steering steering = { .act = QUEUE_RETRY, .by = call->actor };

    (void)rows;
    (void)count;
    steering.filter.upstream = call->param;
    if (call->hold)
        api_done(call, 200, json_pack("{s:o, s:b}", "name", api_json_text(call->param), "held", 1),
                 NULL);
    else if (call->api->draining) /* the queue may have stopped: it takes no further question */
        api_fail(call, 503, "draining", "It is released, and the relay is stopping.");
    else
        queue_steer(call->api->queue, &steering, on_retried, call, call->api->answers);
}

static void hold(struct api_call *call, const struct api_request *request, bool hold)
{
    const struct api_upstreams *upstreams = call->api->upstreams;
    struct why why = { "" };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (!there_are_upstreams(call))
        return;
    call->hold = hold;
    if (!upstreams->knows(upstreams->owner, call->param))
        api_fail(call, 404, "not_found", "There is no such upstream.");
    else if (!upstreams->hold(upstreams->owner, call->param, hold, &why))
        api_fail(call, 503, "store_unavailable", "%s", why.text);
    else
        upstreams->look(upstreams->owner, on_told, call);
}

void api_upstreams_hold(struct api_call *call, const struct api_request *request)
{
    hold(call, request, true);
}

void api_upstreams_release(struct api_call *call, const struct api_request *request)
{
    hold(call, request, false);
}

const struct api_shape api_upstreams_shapes[] = {
    { .run = api_upstreams_list, .status = 200, .data = "[Upstream]", .meta = "Total" },
    { .run = api_upstreams_hold, .status = 200, .data = "UpstreamHeld", .refusals = { 404 } },
    { .run = api_upstreams_release,
      .status = 200,
      .data = "UpstreamReleased",
      .refusals = { 404, 409 } },
    { 0 },
};
