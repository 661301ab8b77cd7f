/* daemon.c - one process lifetime.
 * Starts from the bottom (stores, writer, workers) to the top (control socket, HTTP), and stops in
 * reverse. The main thread runs the loop of signals, the HTTP API and the timers; it is the only
 * one that administrates keys.db. Nothing listens before the stores are open, so whoever can
 * connect is served. */
#include "relay/daemon.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/bounce.h"
#include "relay/config_value.h"
#include "relay/fence.h"
#include "relay/generation.h"
#include "relay/http/budget.h"
#include "relay/http/work.h"
#include "relay/inherited.h"
#include "relay/net/listener.h"
#include "relay/notify.h"
#include "relay/state_lock.h"
#include "relay/upstreams.h"
#include "relay/watchdog.h"
#include "relay/worker.h"

#define FLUSH_MS 5000
/* The last part of the grace, when nothing may go on that is under way: for putting things in
 * order. A short grace loses a quarter to it, and is longer by the rest. */
#define ABORT_MS 1000
/* How long closing the queue may take, and the rest: a disk of ours that hangs takes for ever. */
#define LAST_S 5

struct daemon {
    struct notify manager;
    struct inherited inherited;
    struct generation *current;
    struct fence *fence;
    struct tls_context **contexts; /* while starting: one a worker, and one for HTTP */
    size_t context_count;
    int lock_fd;
    struct auth *auth;
    struct queue *queue;
    struct bounce_writer bounces;
    struct listener_limits *admissions, *http_addresses;
    struct loop loop;
    bool has_loop;
    struct watchdog *watchdog; /* NULL: none is wanted */
    struct worker **workers;
    size_t worker_count, drained_count;
    struct upstreams *upstreams;
    struct txt_resolver *txt;
    struct api api;
    struct work_queue work;
    struct budget *budget;
    struct http_service control, http;
    bool http_is_secure; /* as it was when the listener was opened, until a restart */
    struct listener *control_listener, *http_listener;
    uv_signal_t signals[4];
    size_t signal_count;
    struct loop_timer flush_timer, grace_timer, beat_timer;
    bool has_timers;
    bool is_stopping;
    bool is_aborted;       /* what was under way was told to end at once */
    bool is_abandoned;     /* and some of it has not */
    int64_t grace_ends_ms; /* monotonic */
    int exit_code;
};

static const struct http_door control_door = { .name = "control", .is_control = true };

/* What mail by HTTP is measured by. The texts live as long as their generation, which is until the
 * end. */
static void apply_mail_rules(struct daemon *daemon, const struct config *config)
{
    daemon->api.mail = (struct api_mail){
        .hostname = config->hostname,
        .message_bytes = config->smtp.message_bytes,
        .recipients = config->smtp.recipients,
        .header_bytes = config->smtp.header_bytes,
        .hide_client_address = config->hide_client_address,
    };
    budget_set_max(daemon->budget, config->http.body_memory);
}

/* --- reload ----------------------------------------------------------------------------------- */

/* failure: why a reload changed nothing, or "". */
static void tell_ready(const struct daemon *daemon, const char *failure)
{
    const struct config *config = daemon->current->config;
    char status[640];

    if (failure[0] != '\0')
        snprintf(status, sizeof(status), "Serving as before, since the reload failed: %s", failure);
    else
        snprintf(status, sizeof(status), "Serving: %zu listener(s), %zu upstream(s), %zu worker(s)",
                 config->listener_count, config->upstream_count, daemon->worker_count);
    notify_ready(&daemon->manager, status);
}

static void apply(struct daemon *daemon, struct generation *generation,
                  struct tls_context **contexts)
{
    const struct config *config = generation->config;

    daemon->current = generation;
    upstreams_configure(daemon->upstreams, config->upstreams, config->upstream_count);
    log_configure(config->log_level, config->log_format);
    auth_set_plans(daemon->auth, config->auth.plans, config->auth.plan_count);
    atomic_store(&daemon->bounces.hostname, config->hostname);
    queue_set_schedule(daemon->queue, &config->queue.schedule, config->queue.retention_ms);
    txt_resolver_set(daemon->txt, &config->dns);
    listener_limits_set(daemon->admissions, config->sessions, config->sessions_per_address);
    listener_limits_set(daemon->http_addresses, UINT_MAX, config->http.connections_per_address);
    daemon->control.limits = daemon->http.limits = config->http.limits;
    apply_mail_rules(daemon, config);
    if (contexts[daemon->worker_count] !=
        NULL) { /* else the listener, if secure, keeps what it has */
        tls_context_unref(daemon->http.tls);
        daemon->http.tls = contexts[daemon->worker_count];
    }
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_reload(daemon->workers[i], &generation->settings[i], contexts[i]);
}

static void reload(struct daemon *daemon)
{
    struct tls_context **contexts = xcalloc(daemon->worker_count + 1, sizeof(*contexts));
    struct config *config = NULL;
    struct why why = { "" };
    const char *fixed;

    notify_reloading(&daemon->manager);
    if (!fence_allows(daemon->fence, daemon->current->config->path, &why) ||
        !config_load(&config, daemon->current->config->path, &why) ||
        !generation_sockets_are_safe(config, &daemon->inherited, &why) ||
        !config_check_upstreams(config, &why) ||
        !generation_contexts(config, daemon->worker_count, contexts, &why)) {
        LOG(LOG_ERROR, "reload_failed", LOG_STR("reason", why.text),
            LOG_STR("kept", "everything as it was"));
        config_free(config);
    } else {
        fixed = generation_fixed(daemon->current->config, config);
        if (fixed != NULL)
            LOG(LOG_WARNING, "reload_partial", LOG_STR("setting", fixed),
                LOG_STR("reason", "takes effect at a restart"));
        apply(daemon,
              generation_new(config, daemon->worker_count, daemon->current, &daemon->inherited),
              contexts);
        LOG(LOG_INFO, "reloaded", LOG_STR("config", config->path));
    }
    tell_ready(daemon, why.text);
    free(contexts);
}

/* --- stopping --------------------------------------------------------------------------------- */

static void stop_main_loop(struct daemon *daemon)
{
    loop_stop(&daemon->loop);
}

static void on_worker_drained(void *owner)
{
    struct daemon *daemon = owner;

    if (++daemon->drained_count == daemon->worker_count)
        stop_main_loop(daemon);
}

static uint64_t abort_ms(const struct daemon *daemon)
{
    uint64_t quarter = daemon->current->config->grace_ms / 4;

    return quarter < ABORT_MS ? quarter : ABORT_MS;
}

static void on_grace_over(void *owner)
{
    struct daemon *daemon = owner;

    if (daemon->is_aborted) {
        daemon->is_abandoned = true;
        stop_main_loop(daemon);
        return;
    }
    daemon->is_aborted = true;
    LOG(LOG_WARNING, "grace_over",
        LOG_INT("workers_left", daemon->worker_count - daemon->drained_count));
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_abort(daemon->workers[i]);
    loop_timer_start(&daemon->grace_timer, ABORT_MS, 0);
}

static void begin_stop(struct daemon *daemon, const char *reason)
{
    if (daemon->is_stopping)
        return;
    daemon->is_stopping = true;
    daemon->api.draining = true;
    LOG(LOG_INFO, "stopping", LOG_STR("reason", reason));
    watchdog_stop(daemon->watchdog); /* loops end now; the grace ends what hangs */
    notify_stopping(&daemon->manager, daemon->current->config->grace_ms + ABORT_MS + LAST_S * 1000);
    listener_close(daemon->http_listener);
    daemon->http_listener = NULL;
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_drain(daemon->workers[i]);
    daemon->grace_ends_ms = clock_mono_ms() + (int64_t)daemon->current->config->grace_ms;
    loop_timer_start(&daemon->grace_timer, daemon->current->config->grace_ms - abort_ms(daemon) + 1,
                     0);
}

/* --- the main loop ---------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;

    if (number == SIGHUP && !daemon->is_stopping)
        reload(daemon);
    else if (number != SIGHUP)
        begin_stop(daemon, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void on_flush(void *owner)
{
    struct daemon *daemon = owner;

    (void)auth_flush(daemon->auth); /* what could not be written is tried again next time */
}

static void on_beat(void *owner)
{
    struct daemon *daemon = owner;

    notify_alive(&daemon->manager);
}

static void on_control(void *owner, uv_stream_t *server)
{
    struct daemon *daemon = owner;

    http_accept(&daemon->control, &control_door, server);
}

static void on_http(void *owner, uv_stream_t *server)
{
    static const struct http_door plain = { .name = "http" };
    static const struct http_door secure = { .name = "http", .tls = true };
    struct daemon *daemon = owner;

    http_accept(&daemon->http, daemon->http_is_secure ? &secure : &plain, server);
}

/* The signals are blocked in every other thread, which are started before. */
static void watch_signals(struct daemon *daemon)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_t *handle = &daemon->signals[daemon->signal_count++];

        uv_signal_init(&daemon->loop.uv, handle);
        handle->data = daemon;
        uv_signal_start(handle, on_signal, numbers[i]);
    }
}

static void block_signals(bool block)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* --- starting --------------------------------------------------------------------------------- */

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* best effort: the session limit holds anyway */
    }
}

/* A reload may bind another such port, but only if there is one now that was not given to us. */
static bool binds_low_port(const struct generation *generation)
{
    const struct worker_settings *settings = &generation->settings[0];
    const struct config_http *http = &generation->config->http;

    for (size_t i = 0; i < settings->listener_count; i++)
        if (settings->listeners[i].port < 1024 && settings->listeners[i].socket_count == 0)
            return true;
    return http->enabled && http->port < 1024 && generation->http_socket == 0;
}

/* The certificate of the configuration may be root's alone, so it is read before we become another;
 * a self-signed one is made in state_dir, by whoever we are then. */
static bool confine(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    const struct fence_needs needs = {
        .low_ports = binds_low_port(daemon->current),
        .abstract_sockets = notify_is_abstract(&daemon->manager),
    };

    daemon->context_count = config->workers + 1;
    daemon->contexts = xcalloc(daemon->context_count, sizeof(struct tls_context *));
    if (!config->tls_self_signed &&
        !generation_contexts(config, config->workers, daemon->contexts, why))
        return false;
    daemon->fence = fence_raise(config, &needs, why);
    return daemon->fence != NULL;
}

static bool open_stores(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    struct queue_options queue = config->queue;
    bool busy;

    atomic_store(&daemon->bounces.hostname, config->hostname);
    queue.report = bounce_compose;
    queue.report_owner = &daemon->bounces;
    daemon->lock_fd = state_lock(config->state_dir, &busy, why);
    if (daemon->lock_fd < 0 || !upstreams_open(&daemon->upstreams, config->state_dir, why))
        return false;
    upstreams_configure(daemon->upstreams, config->upstreams, config->upstream_count);
    return auth_open(&daemon->auth, &config->auth, why) &&
           queue_open(&daemon->queue, &queue, why) && queue_start(daemon->queue, why);
}

static bool open_workers(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    struct tls_context **contexts = daemon->contexts;
    struct worker_options options = {
        .auth = daemon->auth,
        .queue = daemon->queue,
        .admissions = daemon->admissions,
        .answers = &daemon->loop.mailbox,
        .drained = on_worker_drained,
        .owner = daemon,
    };
    bool ok =
        !config->tls_self_signed || generation_contexts(config, config->workers, contexts, why);

    daemon->workers = xcalloc(config->workers, sizeof(struct worker *));
    for (size_t i = 0; ok && i < config->workers; i++) {
        struct worker *worker;

        options.is_first = i == 0;
        worker = worker_open(&options, &daemon->current->settings[i], contexts[i], why);
        contexts[i] = NULL;
        ok = worker != NULL;
        if (ok)
            daemon->workers[daemon->worker_count++] = worker;
    }
    daemon->http.tls = contexts[config->workers];
    contexts[config->workers] = NULL;
    if (ok)
        upstreams_attach(daemon->upstreams, daemon->workers, daemon->worker_count);
    return ok;
}

static bool open_http(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    struct listener_options control = { .unix_path = config->control_path, .backlog = 128 };
    struct listener_options http = {
        .address = config->http.address,
        .port = config->http.port,
        .inherited = daemon->current->http_socket,
        .alone = true,
        .backlog = 1024,
    };

    daemon->txt = txt_resolver_new(&daemon->loop, &config->dns);
    daemon->budget = budget_new(config->http.body_memory);
    daemon->api = (struct api){
        .auth = daemon->auth,
        .queue = daemon->queue,
        .answers = &daemon->loop.mailbox,
        .upstreams = upstreams_api(daemon->upstreams),
        .txt = daemon->txt,
        .version = LATCHPOST_VERSION,
        .work = &daemon->work,
        .budget = daemon->budget,
    };
    work_queue_open(&daemon->work, &daemon->loop);
    apply_mail_rules(daemon, config);
    daemon->control.loop = daemon->http.loop = &daemon->loop;
    daemon->control.api = daemon->http.api = &daemon->api;
    daemon->control.limits = daemon->http.limits = config->http.limits;
    /* How many in all is for http.connections to say. */
    daemon->http_addresses = listener_limits_new(UINT_MAX, config->http.connections_per_address);
    daemon->http.addresses = daemon->http_addresses;
    http_service_init(&daemon->control);
    http_service_init(&daemon->http);
    daemon->control_listener = listener_open(&daemon->loop, &control, on_control, daemon, why);
    if (daemon->control_listener == NULL)
        return why_prefix(why, "control socket: ");
    if (!config->http.enabled)
        return true;
    daemon->http_is_secure = config->http.tls;
    daemon->http_listener = listener_open(&daemon->loop, &http, on_http, daemon, why);
    return daemon->http_listener != NULL || why_prefix(why, "http: ");
}

static bool start_watchdog(struct daemon *daemon, struct why *why)
{
    const struct watchdog_options options = { .limit_ms = daemon->current->config->watchdog_ms };

    if (options.limit_ms == 0)
        return true;
    daemon->watchdog = watchdog_new(&options);
    watchdog_add(daemon->watchdog, &daemon->loop.mailbox, "main", 0);
    for (size_t i = 0; i < daemon->worker_count; i++)
        watchdog_add(daemon->watchdog, worker_mailbox(daemon->workers[i]), "worker", i + 1);
    return watchdog_start(daemon->watchdog, why);
}

static bool start(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;

    umask(077);
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN); /* both are answers of write(2), not reasons to die */
    signal(SIGXFSZ, SIG_IGN);
    block_signals(true);
    clock_learn_boot_name();
    if (!confine(daemon, why) || !loop_init(&daemon->loop, why))
        return false;
    daemon->has_loop = true;
    if (!open_stores(daemon, why))
        return false;
    daemon->admissions = listener_limits_new(config->sessions, config->sessions_per_address);
    if (!open_workers(daemon, why) || !open_http(daemon, why))
        return false;
    loop_timer_init(&daemon->loop, &daemon->flush_timer, on_flush, daemon);
    loop_timer_init(&daemon->loop, &daemon->grace_timer, on_grace_over, daemon);
    loop_timer_init(&daemon->loop, &daemon->beat_timer, on_beat, daemon);
    daemon->has_timers = true;
    loop_timer_start(&daemon->flush_timer, FLUSH_MS, FLUSH_MS);
    if (daemon->manager.beat_ms > 0)
        loop_timer_start(&daemon->beat_timer, daemon->manager.beat_ms, daemon->manager.beat_ms);
    for (size_t i = 0; i < daemon->worker_count; i++)
        if (!worker_start(daemon->workers[i], why))
            return false;
    if (!start_watchdog(daemon, why))
        return false;
    watch_signals(daemon);
    block_signals(false); /* what came while we started is handled now */
    return true;
}

static void log_inherited(const struct daemon *daemon)
{
    for (size_t i = 0; i < daemon->inherited.count; i++) {
        const struct inherited_socket *socket = &daemon->inherited.sockets[i];

        if (generation_uses(daemon->current, socket->fd))
            LOG(LOG_INFO, "inherited", LOG_STR("name", socket->name),
                LOG_STR("address", socket->address), LOG_INT("port", socket->port));
        else
            LOG(LOG_WARNING, "inherited_unused", LOG_STR("name", socket->name),
                LOG_STR("address", socket->address), LOG_INT("port", socket->port),
                LOG_STR("reason", "no listener has this name, or this address and port: whoever "
                                  "connects is not served"));
    }
}

static void log_ready(const struct daemon *daemon)
{
    const struct config *config = daemon->current->config;

    fence_log(daemon->fence);
    for (size_t i = 0; i < config->listener_count; i++)
        LOG(LOG_INFO, "listening", LOG_STR("listener", config->listeners[i].door.name),
            LOG_STR("address", config->listeners[i].address),
            LOG_INT("port", config->listeners[i].port),
            LOG_STR("tls", config_tls_words[config->listeners[i].door.tls]));
    log_inherited(daemon);
    if (config->upstream_count == 0)
        LOG(LOG_WARNING, "no_upstream",
            LOG_STR("reason", "mail is accepted and waits; add an upstream"));
    LOG(LOG_INFO, "ready", LOG_STR("version", LATCHPOST_VERSION),
        LOG_STR("hostname", config->hostname), LOG_STR("state_dir", config->state_dir),
        LOG_INT("workers", daemon->worker_count));
}

static void log_stopped(void)
{
    LOG(LOG_INFO, "stopped", LOG_STR("version", LATCHPOST_VERSION));
}

/* --- ending ----------------------------------------------------------------------------------- */

static void die(const char *text, size_t len)
{
    (void)!write(STDERR_FILENO, text, len); /* all that may be called in a signal handler */
    _exit(EX_SOFTWARE);
}

static void on_queue_hangs(int number)
{
    static const char text[] = "latchpost: the queue could not be closed: its disk hangs\n";

    (void)number;
    die(text, sizeof(text) - 1);
}

static void on_end_hangs(int number)
{
    static const char text[] = "latchpost: the end took too long: a disk or a name server hangs\n";

    (void)number;
    die(text, sizeof(text) - 1);
}

/* For what is left to be done, once nothing may go on but streams within the grace. All stores are
 * safe at any instant, so ending in the middle of it loses nothing. */
static void limit_end(const struct daemon *daemon)
{
    int64_t left_ms = daemon->is_stopping ? daemon->grace_ends_ms - clock_mono_ms() : 0;

    signal(SIGALRM, on_end_hangs);
    alarm(LAST_S + (left_ms > 0 ? (unsigned)(left_ms / 1000 + 1) : 0));
}

static void stop_queue(struct daemon *daemon)
{
    signal(SIGALRM, on_queue_hangs);
    alarm(LAST_S);
    queue_stop(daemon->queue);
    limit_end(daemon);
}

/* A worker hangs on a disk or on a name server. What it has in hand is not settled, and so not
 * lost; all else is written, and its memory goes with the process. */
static void abandon(struct daemon *daemon)
{
    LOG(LOG_WARNING, "stop_forced", LOG_STR("reason", "a worker did not end in time"));
    listener_close(daemon->control_listener);
    stop_queue(daemon);
    (void)auth_flush(daemon->auth);
    log_stopped();
    _exit(daemon->exit_code);
}

/* Whoever only takes his leave may do so until the grace is over. */
static void hurry_main_loop(struct daemon *daemon)
{
    int64_t left_ms = daemon->grace_ends_ms - clock_mono_ms();

    stream_leave_early(&daemon->loop);
    if (daemon->is_stopping)
        stream_leave_by(&daemon->loop, left_ms < 0 ? 0 : (uint64_t)left_ms);
}

/* Everything in reverse; takes what start() left half-built. */
static void close_all(struct daemon *daemon)
{
    block_signals(true); /* a second SIGTERM must not end us between two steps */
    limit_end(daemon);
    watchdog_stop(daemon->watchdog);
    for (size_t i = 0; i < daemon->worker_count; i++) {
        if (!daemon->is_stopping) { /* the start failed half-way: those that run must go */
            worker_drain(daemon->workers[i]);
            worker_abort(daemon->workers[i]);
        }
        worker_join(daemon->workers[i]);
    }
    if (daemon->has_loop) {
        listener_close(daemon->http_listener);
        listener_close(daemon->control_listener);
        hurry_main_loop(daemon);
        if (daemon->control.loop != NULL) {
            http_service_stop(&daemon->control);
            http_service_stop(&daemon->http);
        }
        txt_resolver_free(daemon->txt);
        for (size_t i = 0; i < daemon->signal_count; i++)
            uv_close((uv_handle_t *)&daemon->signals[i], NULL);
        if (daemon->has_timers) {
            loop_timer_close(&daemon->flush_timer, NULL);
            loop_timer_close(&daemon->grace_timer, NULL);
            loop_timer_close(&daemon->beat_timer, NULL);
        }
    }
    daemon->api.stopped = true;
    if (daemon->queue != NULL)
        stop_queue(daemon);
    if (daemon->has_loop)
        mailbox_drain(&daemon->loop.mailbox); /* a worker's last letter is part of the worker */
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_close(daemon->workers[i]);
    if (daemon->has_loop)
        loop_close(&daemon->loop);
    watchdog_free(daemon->watchdog);
    upstreams_close(daemon->upstreams);
    queue_free(daemon->queue);
    auth_close(daemon->auth);
    for (size_t i = 0; i < daemon->context_count; i++)
        tls_context_unref(daemon->contexts[i]);
    free(daemon->contexts);
    tls_context_unref(daemon->http.tls);
    fence_free(daemon->fence);
    listener_limits_free(daemon->admissions);
    listener_limits_free(daemon->http_addresses);
    work_queue_close(&daemon->work);
    budget_free(daemon->budget);
    if (daemon->lock_fd >= 0)
        close(daemon->lock_fd);
    free(daemon->workers);
    generations_free(daemon->current);
    inherited_close(&daemon->inherited);
    notify_close(&daemon->manager);
    alarm(0);
}

int daemon_run(struct config *config)
{
    struct daemon daemon = { .lock_fd = -1, .exit_code = EX_OK };
    struct why why = { "" };
    bool ok;

    alloc_keep_spare();
    log_configure(config->log_level, config->log_format);
    if (!notify_open(&daemon.manager, &why))
        LOG(LOG_WARNING, "no_service_manager", LOG_STR("reason", why.text));
    ok = inherited_open(&daemon.inherited, &why);
    daemon.current = generation_new(config, config->workers, NULL, &daemon.inherited);
    if (ok && generation_sockets_are_safe(config, &daemon.inherited, &why) &&
        start(&daemon, &why)) {
        log_ready(&daemon);
        tell_ready(&daemon, "");
        loop_run(&daemon.loop);
        if (daemon.is_abandoned)
            abandon(&daemon);
    } else {
        LOG(LOG_ERROR, "start_failed", LOG_STR("reason", why.text));
        daemon.exit_code = EX_UNAVAILABLE;
    }
    close_all(&daemon);
    if (daemon.exit_code == EX_OK)
        log_stopped();
    return daemon.exit_code;
}
