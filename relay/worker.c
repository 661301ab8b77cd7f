/* worker.c - what lives on one event-loop thread.
 * Threads: `loop`, `service`, `doors` and `delivery` belong to the worker's own thread from
 * worker_start() to worker_join(), and to the main thread before and after. The main thread reaches
 * them by orders, which are letters to the loop's mailbox. */
#include "relay/worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"

#define MESSAGES_MAX      512
#define CONTENT_BYTES_MAX (16 * 1024 * 1024)
#define LEAVE_MS          100 /* for last words, once the grace is over */

/* One listening socket. Sessions borrow the door until they end, so a door whose listener was
 * closed by a reload stays until the worker goes. */
struct door {
    struct list node;
    struct worker *worker;
    struct worker_listener settings; /* texts borrowed from the worker's settings */
    struct listener *listener;       /* NULL once closed */
};

struct worker {
    struct worker_options options;
    struct loop loop;
    pthread_t thread;
    bool is_started;
    struct smtp_service service;
    struct delivery *delivery;
    struct list doors;
    bool is_draining, sessions_gone;
    struct letter drained; /* to the main thread */
};

enum order_kind { ORDER_RELOAD, ORDER_HOLD, ORDER_LOOK, ORDER_DRAIN, ORDER_ABORT };

struct order {
    struct letter letter;
    struct worker *worker;
    enum order_kind kind;
    const struct worker_settings *settings; /* of a reload, like the next */
    struct tls_context *tls;
    char *upstream; /* of a hold, owned, like the next */
    bool hold;
    worker_look_cb *look; /* of a look, like the next */
    void *owner;
};

/* --- between sessions and delivery ------------------------------------------------------------ */

static void *wants_lease(void *owner, const struct queue_message *message)
{
    struct worker *worker = owner;

    return worker->is_draining ? NULL : delivery_reserve(worker->delivery, message);
}

static void on_message(void *owner, void *place, struct queue_message *message)
{
    struct worker *worker = owner;

    if (message != NULL)
        delivery_take(worker->delivery, message);
    delivery_unreserve(worker->delivery, place);
}

/* --- listeners -------------------------------------------------------------------------------- */

static void on_connection(void *owner, uv_stream_t *server)
{
    struct door *door = owner;

    session_accept(&door->worker->service, &door->settings.door, server);
}

/* inherited: a socket that was given to the process, or 0. */
static bool door_open_one(struct worker *worker, const struct worker_listener *settings,
                          int inherited, bool alone, struct why *why)
{
    struct listener_options options = {
        .address = settings->address,
        .port = settings->port,
        .inherited = inherited,
        .alone = alone,
        .backlog = 1024,
    };
    struct door *door = xcalloc(1, sizeof(*door));

    door->worker = worker;
    door->settings = *settings;
    door->listener = listener_open(&worker->loop, &options, on_connection, door, why);
    if (door->listener == NULL) {
        free(door);
        return why_prefix(why, "listener \"%s\": ", settings->door.name);
    }
    list_add_tail(&worker->doors, &door->node);
    return true;
}

static bool door_open(struct worker *worker, const struct worker_listener *settings, bool alone,
                      struct why *why)
{
    if (settings->socket_count == 0)
        return door_open_one(worker, settings, 0, alone, why);
    for (size_t i = 0; i < settings->socket_count; i++)
        if (!door_open_one(worker, settings, settings->sockets[i], alone, why))
            return false;
    return true;
}

static bool is_same_door(const struct worker_listener *a, const struct worker_listener *b)
{
    return strcmp(a->address, b->address) == 0 && a->port == b->port &&
           a->door.tls == b->door.tls && a->door.auth_without_tls == b->door.auth_without_tls;
}

static bool is_wanted(const struct worker_settings *settings, const struct door *door)
{
    for (size_t i = 0; i < settings->listener_count; i++)
        if (is_same_door(&settings->listeners[i], &door->settings))
            return true;
    return false;
}

static bool is_open(const struct worker *worker, const struct worker_listener *settings)
{
    list_for_each(node, next, &worker->doors) {
        const struct door *door = list_entry(node, struct door, node);

        if (door->listener != NULL && is_same_door(settings, &door->settings))
            return true;
    }
    return false;
}

static void close_doors(struct worker *worker, const struct worker_settings *wanted)
{
    list_for_each(node, next, &worker->doors) {
        struct door *door = list_entry(node, struct door, node);

        if (wanted != NULL && is_wanted(wanted, door))
            continue;
        listener_close(door->listener);
        door->listener = NULL;
    }
}

/* --- settings --------------------------------------------------------------------------------- */

static void take_settings(struct worker *worker, const struct worker_settings *settings,
                          struct tls_context *tls)
{
    tls_context_unref(worker->service.tls);
    worker->service.tls = tls;
    worker->service.hostname = settings->hostname;
    worker->service.limits = settings->limits;
    worker->service.hide_client_address = settings->hide_client_address;
}

static struct delivery_options delivery_options(const struct worker *worker,
                                                const struct worker_settings *settings)
{
    return (struct delivery_options){
        .queue = worker->options.queue,
        .upstreams = settings->upstreams,
        .upstream_count = settings->upstream_count,
        .routes = settings->routes,
        .messages_max = MESSAGES_MAX,
        .bytes_max = CONTENT_BYTES_MAX,
    };
}

static void reload(struct worker *worker, const struct worker_settings *settings,
                   struct tls_context *tls)
{
    struct delivery_options options = delivery_options(worker, settings);
    struct why why = { "" };

    if (worker->is_draining) {
        tls_context_unref(tls);
        return;
    }
    take_settings(worker, settings, tls);
    if (!delivery_reconfigure(worker->delivery, &options, &why))
        LOG(LOG_ERROR, "reload_failed", LOG_STR("reason", why.text),
            LOG_STR("kept", "the upstreams and routes as they were"));
    close_doors(worker, settings);
    for (size_t i = 0; i < settings->listener_count; i++)
        if (!is_open(worker, &settings->listeners[i]) &&
            !door_open(worker, &settings->listeners[i], false, &why))
            LOG(LOG_ERROR, "reload_failed", LOG_STR("reason", why.text));
}

/* --- looking at the upstreams ----------------------------------------------------------------- */

struct report { /* to the main thread */
    struct letter letter;
    worker_look_cb *cb;
    void *owner;
    struct upstream_view *views; /* their names are ours, since an upstream may go meanwhile */
    size_t count;
};

static void on_report(struct letter *letter)
{
    struct report *report = container_of(letter, struct report, letter);

    report->cb(report->owner, report->views, report->count);
    for (size_t i = 0; i < report->count; i++)
        free((char *)report->views[i].name);
    free(report->views);
    free(report);
}

static void look(struct worker *worker, const struct order *order)
{
    struct report *report = xcalloc(1, sizeof(*report));
    struct upstream_view view;

    report->letter.deliver = on_report;
    report->cb = order->look;
    report->owner = order->owner;
    while (delivery_look(worker->delivery, report->count, &view)) {
        view.name = xstrdup(view.name);
        report->views = xrealloc(report->views, (report->count + 1) * sizeof(*report->views));
        report->views[report->count++] = view;
    }
    mailbox_post(worker->options.answers, &report->letter);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void on_drained_told(struct letter *letter)
{
    struct worker *worker = container_of(letter, struct worker, drained);

    worker->options.drained(worker->options.owner);
}

/* Deliveries, streams until they have taken their leave, and sessions, which may wait for the queue
 * without a stream, keep the loop alive. Once all have gone it ends by itself: see run(). */
static void on_delivery_gone(void *owner)
{
    (void)owner;
}

static void on_sessions_gone(void *owner)
{
    struct worker *worker = owner;

    if (!worker->sessions_gone)
        loop_release(&worker->loop);
    worker->sessions_gone = true;
}

static void drain(struct worker *worker)
{
    if (worker->is_draining)
        return;
    worker->is_draining = true;
    close_doors(worker, NULL);
    delivery_drain(worker->delivery, on_delivery_gone, NULL);
    loop_hold(&worker->loop);
    stream_leave_early(&worker->loop);
    smtp_service_drain(&worker->service);
}

static void abort_all(struct worker *worker)
{
    stream_leave_by(&worker->loop, LEAVE_MS);
    smtp_service_stop(&worker->service);
    delivery_abort(worker->delivery);
}

static void on_order(struct letter *letter)
{
    struct order *order = container_of(letter, struct order, letter);
    struct worker *worker = order->worker;

    switch (order->kind) {
    case ORDER_RELOAD:
        reload(worker, order->settings, order->tls);
        break;
    case ORDER_HOLD:
        delivery_hold(worker->delivery, order->upstream, order->hold);
        break;
    case ORDER_LOOK:
        look(worker, order);
        break;
    case ORDER_DRAIN:
        drain(worker);
        break;
    case ORDER_ABORT:
        abort_all(worker);
        break;
    }
    free(order->upstream);
    free(order);
}

static void send_order(struct worker *worker, struct order order)
{
    struct order *sent = xmalloc(sizeof(*sent));

    *sent = order;
    sent->letter.deliver = on_order;
    sent->worker = worker;
    mailbox_post(&worker->loop.mailbox, &sent->letter);
}

/* --- the main thread's calls ------------------------------------------------------------------ */

void worker_reload(struct worker *worker, const struct worker_settings *settings,
                   struct tls_context *tls)
{
    send_order(worker, (struct order){ .kind = ORDER_RELOAD, .settings = settings, .tls = tls });
}

void worker_hold(struct worker *worker, const char *upstream, bool hold)
{
    send_order(worker,
               (struct order){ .kind = ORDER_HOLD, .upstream = xstrdup(upstream), .hold = hold });
}

void worker_look(struct worker *worker, worker_look_cb *cb, void *owner)
{
    send_order(worker, (struct order){ .kind = ORDER_LOOK, .look = cb, .owner = owner });
}

void worker_drain(struct worker *worker)
{
    send_order(worker, (struct order){ .kind = ORDER_DRAIN });
}

void worker_abort(struct worker *worker)
{
    send_order(worker, (struct order){ .kind = ORDER_ABORT });
}

struct worker *worker_open(const struct worker_options *options,
                           const struct worker_settings *settings, struct tls_context *tls,
                           struct why *why)
{
    struct worker *worker = xcalloc(1, sizeof(*worker));
    struct delivery_options delivery;
    bool ok = false;

    worker->options = *options;
    list_init(&worker->doors);
    if (!loop_init(&worker->loop, why)) {
        tls_context_unref(tls);
        free(worker);
        return NULL;
    }
    worker->service = (struct smtp_service){
        .loop = &worker->loop,
        .auth = options->auth,
        .queue = options->queue,
        .admissions = options->admissions,
        .wants_lease = wants_lease,
        .accepted = on_message,
        .owner = worker,
        .emptied = on_sessions_gone,
    };
    list_init(&worker->service.sessions);
    take_settings(worker, settings, tls);
    for (size_t i = 0; i < settings->listener_count; i++)
        if (!door_open(worker, &settings->listeners[i], options->is_first, why))
            goto out;
    /* Last, because it asks the queue at once: nothing may fail with a question on its way. */
    delivery = delivery_options(worker, settings);
    worker->delivery = delivery_open(&worker->loop, &delivery, why);
    if (worker->delivery == NULL)
        goto out;
    ok = true;
out:
    if (!ok) {
        worker_close(worker);
        return NULL;
    }
    return worker;
}

static void *run(void *argument)
{
    struct worker *worker = argument;

    (void)pthread_setname_np(pthread_self(), "worker"); /* for top -H and profiles */
    loop_run(&worker->loop);
    worker->drained.deliver = on_drained_told;
    mailbox_post(worker->options.answers, &worker->drained);
    return NULL;
}

bool worker_start(struct worker *worker, struct why *why)
{
    int error = pthread_create(&worker->thread, NULL, run, worker);

    if (error != 0)
        return why_errno(why, error, "cannot start a thread");
    worker->is_started = true;
    return true;
}

struct mailbox *worker_mailbox(struct worker *worker)
{
    return &worker->loop.mailbox;
}

void worker_join(struct worker *worker)
{
    int error;

    if (!worker->is_started)
        return;
    error = pthread_join(worker->thread, NULL);
    assert(error == 0);
    (void)error;
    worker->is_started = false;
}

void worker_close(struct worker *worker)
{
    if (worker == NULL)
        return;
    assert(!worker->is_started);
    mailbox_drain(&worker->loop.mailbox);
    if (worker->delivery != NULL && !worker->is_draining) {
        /* Never ran: nothing is under way, so draining ends at once. */
        delivery_drain(worker->delivery, on_delivery_gone, NULL);
        delivery_abort(worker->delivery);
    }
    close_doors(worker, NULL);
    delivery_free(worker->delivery);
    tls_context_unref(worker->service.tls);
    loop_close(&worker->loop);
    list_for_each(node, next, &worker->doors)
        free(list_entry(node, struct door, node));
    free(worker);
}
