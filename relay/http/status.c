/* status.c - is the process well, may mail come, how much of everything, and who am I?
 * /healthz asks nothing but the main thread; /readyz is for whoever sends the traffic; /metrics
 * joins the counters with the queue's depth. */
#include "relay/base/clock.h"
#include "relay/base/metrics.h"
#include "relay/http/api_priv.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void api_health(struct api_call *call, const struct api_request *request)
{
    (void)request;
    api_done(call, 200, json_pack("{s:s}", "status", "ok"), NULL);
}

void api_ready(struct api_call *call, const struct api_request *request)
{
    (void)request;
    if (call->api->draining)
        api_fail(call, 503, "draining", "The relay is stopping.");
    else if (!queue_has_room(call->api->queue))
        api_fail(call, 503, "no_room", "The queue has no room, or cannot be written.");
    else
        api_done(call, 200, json_pack("{s:s}", "status", "ready"), NULL);
}

static json_t *allowance_json(const struct auth_allowance *allowance)
{
    if (allowance->limit == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:I}", "limit", (json_int_t)allowance->limit, "remaining",
                     (json_int_t)allowance->left, "resetSeconds", (json_int_t)allowance->reset_s);
}

/* What is left, null where there is no limit. */
static json_t *limits_json(const struct auth_grant *grant)
{
    struct auth_allowances allowances;

    auth_look_at_limits(grant, clock_wall_ms(), &allowances);
    return json_pack("{s:o, s:o}", "ratePerMinute", allowance_json(&allowances.messages),
                     "recipientsPerDay", allowance_json(&allowances.recipients));
}

void api_whoami(struct api_call *call, const struct api_request *request)
{
    json_t *meta = json_pack("{s:s}", "version", call->api->version);
    struct auth_keys keys;

    (void)request;
    if (call->is_operator) {
        api_done(call, 200, json_pack("{s:b}", "operator", 1), meta);
    } else if (auth_key_find(call->api->auth, call->actor, clock_wall_s(), &keys) == AUTH_DONE) {
        json_t *json = api_key_json(&keys.keys[0]);
        json_object_set_new(json, "limits", limits_json(call->grant));
        api_note_rate(call);
        api_done(call, 200, json, meta);
        auth_keys_free(&keys);
    } else {
        json_decref(meta);
        api_fail(call, 401, "unauthorized", "The key is gone.");
    }
}

/* --- metrics ---------------------------------------------------------------------------------- */

static bool gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    return buf_printf(out, "# HELP latchpost_%s %s\n# TYPE latchpost_%s gauge\nlatchpost_%s %llu\n",
                      name, help, name, name, (unsigned long long)value);
}

static bool render_states(struct buf *out, const struct queue_stats *stats)
{
    bool ok = buf_add(out, SLICE("# HELP latchpost_queue_messages Messages by state.\n"
                                 "# TYPE latchpost_queue_messages gauge\n"));

    for (int state = 0; ok && state < QUEUE_STATE_COUNT; state++)
        ok = buf_printf(out, "latchpost_queue_messages{state=\"%s\"} %llu\n",
                        queue_state_name((enum queue_state)state),
                        (unsigned long long)stats->messages[state]);
    return ok;
}

static bool render_queue(struct buf *out, const struct queue_stats *stats)
{
    return render_states(out, stats) &&
           gauge(out, "queue_active_bytes", "Content of messages that are not final.",
                 stats->active_bytes) &&
           gauge(out, "queue_database_bytes", "Size of queue.db.", stats->database_bytes) &&
           gauge(out, "queue_log_bytes", "Size of its write-ahead log.", stats->log_bytes) &&
           gauge(out, "queue_unsettled", "Outcomes that wait for a store that cannot write.",
                 stats->unsettled);
}

static void on_stats(void *owner, const struct queue_stats *stats)
{
    struct api_call *call = owner;

    if (metrics_render(&call->body) && render_queue(&call->body, stats))
        api_done_text(call, METRICS_TYPE);
    else
        api_fail(call, 500, "answer_too_large", "The answer is too large.");
}

void api_metrics(struct api_call *call, const struct api_request *request)
{
    (void)request;
    queue_stats(call->api->queue, on_stats, call, call->api->answers);
}

const struct api_shape api_status_shapes[] = {
    { .run = api_health, .status = 200, .data = "Status" },
    { .run = api_ready, .status = 200, .data = "Status" },
    { .run = api_metrics, .status = 200, .data = "text" },
    { .run = api_whoami, .status = 200, .data = "OwnKey|Operator", .meta = "Version" },
    { 0 },
};
