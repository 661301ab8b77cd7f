/* upstreams.c - how are the upstreams, and which of them are held?
 * Each worker has its own side of each upstream. A hold is first recorded, then ordered from each
 * worker. A look asks each worker by letter and adds up what comes back; since orders are taken in
 * turn, its answer also says that what was ordered before has happened. Main thread. */
#include "relay/upstreams.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/held.h"

struct upstreams {
    struct held *held;
    const struct upstream_options *options;
    size_t option_count;
    struct worker *const *workers;
    size_t worker_count;
    struct api_upstreams api;
};

struct sum { /* of one name */
    char *name;
    const char *kind;
    enum upstream_condition condition;
    struct why reason;
    size_t connections, waiting;
};

struct look {
    size_t awaited; /* workers */
    struct sum *sums;
    size_t count;
    api_upstreams_cb *cb;
    void *owner;
};

/* --- looking ---------------------------------------------------------------------------------- */

static const char *const condition_names[] = {
    [UPSTREAM_USABLE] = "usable",
    [UPSTREAM_RESTING] = "resting",
    [UPSTREAM_PAUSED] = "paused",
    [UPSTREAM_HELD] = "held",
};
_Static_assert(ARRAY_LEN(condition_names) == UPSTREAM_CONDITION_COUNT, "a condition has no name");

static struct sum *sum_of(struct look *look, const char *name)
{
    for (size_t i = 0; i < look->count; i++)
        if (strcmp(look->sums[i].name, name) == 0)
            return &look->sums[i];
    look->sums = xrealloc(look->sums, (look->count + 1) * sizeof(*look->sums));
    look->sums[look->count] = (struct sum){ .name = xstrdup(name) };
    return &look->sums[look->count++];
}

static void add_view(struct look *look, const struct upstream_view *view)
{
    struct sum *sum = sum_of(look, view->name);

    sum->kind = view->kind;
    sum->connections += view->connections;
    sum->waiting += view->waiting;
    if (view->condition > sum->condition || sum->reason.text[0] == '\0')
        sum->reason = view->reason;
    if (view->condition > sum->condition)
        sum->condition = view->condition;
}

static void answer(const struct look *look)
{
    struct api_upstream *rows = xcalloc(look->count + 1, sizeof(*rows));

    for (size_t i = 0; i < look->count; i++) {
        const struct sum *sum = &look->sums[i];

        rows[i] = (struct api_upstream){
            .name = sum->name,
            .kind = sum->kind,
            .state = condition_names[sum->condition],
            .reason = sum->reason.text[0] == '\0' ? NULL : sum->reason.text,
            .connections = sum->connections,
            .waiting = sum->waiting,
        };
    }
    look->cb(look->owner, rows, look->count);
    free(rows);
}

static void on_views(void *owner, const struct upstream_view *views, size_t count)
{
    struct look *look = owner;

    for (size_t i = 0; i < count; i++)
        add_view(look, &views[i]);
    if (--look->awaited > 0)
        return;
    answer(look);
    for (size_t i = 0; i < look->count; i++)
        free(look->sums[i].name);
    free(look->sums);
    free(look);
}

static void look_at_all(void *owner, api_upstreams_cb *cb, void *cb_owner)
{
    struct upstreams *upstreams = owner;
    struct look *look = xcalloc(1, sizeof(*look));

    assert(upstreams->worker_count > 0);
    look->awaited = upstreams->worker_count;
    look->cb = cb;
    look->owner = cb_owner;
    for (size_t i = 0; i < upstreams->worker_count; i++)
        worker_look(upstreams->workers[i], on_views, look);
}

/* --- holding ---------------------------------------------------------------------------------- */

static bool knows(void *owner, const char *name)
{
    const struct upstreams *upstreams = owner;

    for (size_t i = 0; i < upstreams->option_count; i++)
        if (strcmp(upstreams->options[i].name, name) == 0)
            return true;
    return held_has(upstreams->held, name);
}

static bool hold(void *owner, const char *name, bool hold, struct why *why)
{
    struct upstreams *upstreams = owner;
    bool was_held = held_has(upstreams->held, name);

    if (!held_set(upstreams->held, name, hold, why)) {
        LOG(LOG_ERROR, "upstream_hold_failed", LOG_STR("upstream", name),
            LOG_STR("reason", why->text));
        return false;
    }
    LOG(LOG_WARNING, hold ? "upstream_held" : "upstream_released", LOG_STR("upstream", name));
    if (hold != was_held)
        metrics_add(METRIC_UPSTREAMS_HELD, hold ? 1 : -1);
    for (size_t i = 0; i < upstreams->worker_count; i++)
        worker_hold(upstreams->workers[i], name, hold);
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

bool upstreams_open(struct upstreams **opened, const char *state_dir, struct why *why)
{
    struct upstreams *upstreams = xcalloc(1, sizeof(*upstreams));

    if (!held_open(&upstreams->held, state_dir, why)) {
        free(upstreams);
        return false;
    }
    upstreams->api = (struct api_upstreams){
        .owner = upstreams, .look = look_at_all, .knows = knows, .hold = hold
    };
    *opened = upstreams;
    return true;
}

void upstreams_close(struct upstreams *upstreams)
{
    if (upstreams == NULL)
        return;
    held_close(upstreams->held);
    free(upstreams);
}

void upstreams_configure(struct upstreams *upstreams, const struct upstream_options *options,
                         size_t count)
{
    upstreams->options = options;
    upstreams->option_count = count;
}

void upstreams_attach(struct upstreams *upstreams, struct worker *const *workers, size_t count)
{
    const char *name;

    upstreams->workers = workers;
    upstreams->worker_count = count;
    for (size_t n = 0; (name = held_name(upstreams->held, n)) != NULL; n++) {
        LOG(LOG_WARNING, "upstream_held", LOG_STR("upstream", name));
        metrics_add(METRIC_UPSTREAMS_HELD, 1);
        for (size_t i = 0; i < count; i++)
            worker_hold(workers[i], name, true);
    }
}

const struct api_upstreams *upstreams_api(const struct upstreams *upstreams)
{
    return &upstreams->api;
}
