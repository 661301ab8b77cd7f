/* daemon.c - one process lifetime.
 * Starts from the bottom (stores, writer, workers) to the top (control socket, HTTP), and stops in
 * reverse. The main thread runs the loop of signals, the HTTP API and the timers; it is the only
 * one that administrates keys.db. Nothing listens before the stores are open, so whoever can
 * connect is served. */
#include "relay/daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/config_value.h"
#include "relay/net/listener.h"
#include "relay/worker.h"

#define FLUSH_MS 5000
/* After the grace, what does not end by itself within this is left to the crash safety of the
 * queue. */
#define ABORT_MS 10000

/* One reading of the configuration in the form that the workers borrow. Kept until the process
 * ends, since sessions and deliveries may still use an older one. */
struct generation {
    struct generation *older;
    struct config *config;
    struct worker_settings *settings; /* one a worker */
};

struct daemon {
    struct generation *current;
    int lock_fd;
    struct auth *auth;
    struct queue *queue;
    struct listener_limits *admissions;
    struct loop loop;
    bool has_loop;
    struct worker **workers;
    size_t worker_count, drained_count;
    struct api api;
    struct http_service control, http;
    struct listener *control_listener, *http_listener;
    uv_signal_t signals[4];
    size_t signal_count;
    struct loop_timer flush_timer, grace_timer;
    bool has_timers;
    bool is_stopping, is_aborted;
    int exit_code;
};

static const struct http_door control_door = { .name = "control", .is_control = true };

int daemon_lock_state(const char *state_dir, bool *busy, struct why *why)
{
    struct stat status;
    char *path;
    int fd;

    *busy = false;
    if (mkdir(state_dir, 0700) != 0 && errno != EEXIST) {
        why_errno(why, errno, "cannot make state_dir %s", state_dir);
        return -1;
    }
    if (stat(state_dir, &status) != 0 || !S_ISDIR(status.st_mode)) {
        why_set(why, "state_dir %s is not a folder", state_dir);
        return -1;
    }
    path = xasprintf("%s/lock", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        why_errno(why, errno, "cannot open %s", path);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        *busy = errno == EWOULDBLOCK;
        if (*busy)
            why_set(why,
                    "%s is in use by another latchpost; stop it, or give this one a state_dir "
                    "of its own",
                    state_dir);
        else
            why_errno(why, errno, "cannot lock %s", path);
        close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

/* --- generations
 * ---------------------------------------------------------------------------------------- */

static unsigned share(unsigned total, size_t workers)
{
    return total == 0 ? 0 : (unsigned)((total + workers - 1) / workers);
}

/* A worker's part of each upstream's ceilings, so that together they keep to them (rounded up, so
 * that each worker may have at least one connection). */
static struct upstream_options *share_upstreams(const struct config *config, size_t workers)
{
    struct upstream_options *shared = xcalloc(config->upstream_count + 1, sizeof(*shared));

    for (size_t i = 0; i < config->upstream_count; i++) {
        shared[i] = config->upstreams[i];
        shared[i].max_connections = share(shared[i].max_connections, workers);
        shared[i].rate = share(shared[i].rate, workers);
    }
    return shared;
}

static struct generation *generation_new(struct config *config, size_t workers)
{
    struct generation *generation = xcalloc(1, sizeof(*generation));
    struct upstream_options *upstreams = share_upstreams(config, workers);
    struct worker_listener *listeners = xcalloc(config->listener_count, sizeof(*listeners));

    generation->config = config;
    generation->settings = xcalloc(workers, sizeof(*generation->settings));
    for (size_t i = 0; i < config->listener_count; i++)
        listeners[i] =
            (struct worker_listener){ config->listeners[i].door, config->listeners[i].address,
                                      config->listeners[i].port };
    for (size_t i = 0; i < workers; i++)
        generation->settings[i] = (struct worker_settings){
            .hostname = config->hostname,
            .limits = config->smtp,
            .hide_client_address = config->hide_client_address,
            .listeners = listeners,
            .listener_count = config->listener_count,
            .upstreams = upstreams,
            .upstream_count = config->upstream_count,
            .routes = &config->routes,
        };
    return generation;
}

static void generations_free(struct generation *generation)
{
    while (generation != NULL) {
        struct generation *older = generation->older;

        free((void *)generation->settings[0].listeners);
        free((void *)generation->settings[0].upstreams);
        free(generation->settings);
        config_free(generation->config);
        free(generation);
        generation = older;
    }
}

static bool needs_tls(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].door.tls != SMTP_TLS_NONE)
            return true;
    return config->http.enabled && config->http.tls;
}

/* One context a worker (OpenSSL's locks are taken within one thread then) and one for HTTP, last.
 * True with all NULL when nothing needs TLS. */
static bool make_contexts(const struct config *config, size_t workers,
                          struct tls_context **contexts, struct why *why)
{
    struct tls_server_options options = config->tls;

    if (!needs_tls(config))
        return true;
    if (config->tls_self_signed &&
        !tls_make_self_signed(options.certificate, options.key, config->hostname, why))
        return false;
    for (size_t i = 0; i <= workers; i++) {
        options.alpn = i < workers ? "smtp" : "http/1.1";
        contexts[i] = tls_context_server(&options, why);
        if (contexts[i] != NULL)
            continue;
        while (i > 0)
            tls_context_unref(contexts[--i]);
        return false;
    }
    return true;
}

/* --- reload
 * -------------------------------------------------------------------------------------------------
 */

/* What a running process cannot change: where its stores and its control socket are, and its
 * threads. */
static const char *find_fixed(const struct config *was, const struct config *is)
{
    if (strcmp(was->state_dir, is->state_dir) != 0)
        return "state_dir";
    if (strcmp(was->control_path, is->control_path) != 0)
        return "runtime_dir";
    if (was->workers != is->workers)
        return "workers";
    if (strcmp(was->auth.prefix_live, is->auth.prefix_live) != 0)
        return "key_prefix";
    if (strcmp(was->auth.prefix_test, is->auth.prefix_test) != 0)
        return "test_key_prefix";
    if (was->http.enabled != is->http.enabled || was->http.port != is->http.port ||
        strcmp(was->http.address, is->http.address) != 0 || was->http.tls != is->http.tls)
        return "http";
    return NULL;
}

static void apply(struct daemon *daemon, struct generation *generation,
                  struct tls_context **contexts)
{
    const struct config *config = generation->config;

    generation->older = daemon->current;
    daemon->current = generation;
    log_configure(config->log_level, config->log_format);
    auth_set_plans(daemon->auth, config->auth.plans, config->auth.plan_count);
    queue_set_schedule(daemon->queue, &config->queue.schedule, config->queue.retention_ms);
    listener_limits_set(daemon->admissions, config->sessions, config->sessions_per_address);
    daemon->http.limits = config->http.limits;
    tls_context_unref(daemon->http.tls);
    daemon->http.tls = contexts[daemon->worker_count];
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_reload(daemon->workers[i], &generation->settings[i], contexts[i]);
}

static void reload(struct daemon *daemon)
{
    struct tls_context **contexts = xcalloc(daemon->worker_count + 1, sizeof(*contexts));
    struct config *config = NULL;
    struct why why = { "" };
    const char *fixed;

    if (!config_load(&config, daemon->current->config->path, &why) ||
        !make_contexts(config, daemon->worker_count, contexts, &why)) {
        LOG(LOG_ERROR, "reload_failed", LOG_STR("reason", why.text),
            LOG_STR("kept", "everything as it was"));
        config_free(config);
    } else {
        fixed = find_fixed(daemon->current->config, config);
        if (fixed != NULL)
            LOG(LOG_WARNING, "reload_partial", LOG_STR("setting", fixed),
                LOG_STR("reason", "takes effect at a restart"));
        apply(daemon, generation_new(config, daemon->worker_count), contexts);
        LOG(LOG_INFO, "reloaded", LOG_STR("config", config->path));
    }
    free(contexts);
}

/* --- stopping
 * ------------------------------------------------------------------------------------------------
 */

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

static void on_grace_over(void *owner)
{
    struct daemon *daemon = owner;

    if (daemon->is_aborted) {
        /* Some peer or disk holds a thread. The queue is safe at any instant, so ending here loses
         * nothing; waiting for ever would. */
        LOG(LOG_ERROR, "stop_forced", LOG_STR("reason", "a worker did not end in time"));
        _exit(EX_SOFTWARE);
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
    listener_close(daemon->http_listener);
    daemon->http_listener = NULL;
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_drain(daemon->workers[i]);
    loop_timer_start(&daemon->grace_timer, daemon->current->config->grace_ms + 1, 0);
}

/* --- the main loop
 * --------------------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;

    if (number == SIGHUP)
        reload(daemon);
    else
        begin_stop(daemon, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void on_flush(void *owner)
{
    struct daemon *daemon = owner;

    (void)auth_flush(daemon->auth); /* what could not be written is tried again next time */
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

    http_accept(&daemon->http, daemon->current->config->http.tls ? &secure : &plain, server);
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

/* --- starting
 * -----------------------------------------------------------------------------------------------------
 */

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* best effort: the session limit holds anyway */
    }
}

static bool open_stores(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    bool busy;

    daemon->lock_fd = daemon_lock_state(config->state_dir, &busy, why);
    return daemon->lock_fd >= 0 && auth_open(&daemon->auth, &config->auth, why) &&
           queue_open(&daemon->queue, &config->queue, why) && queue_start(daemon->queue, why);
}

static bool open_workers(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    struct tls_context **contexts = xcalloc(config->workers + 1, sizeof(*contexts));
    struct worker_options options = {
        .auth = daemon->auth,
        .queue = daemon->queue,
        .admissions = daemon->admissions,
        .answers = &daemon->loop.mailbox,
        .drained = on_worker_drained,
        .owner = daemon,
    };
    bool ok = make_contexts(config, config->workers, contexts, why);

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
    for (size_t i = 0; i < config->workers; i++)
        tls_context_unref(contexts[i]);
    free(contexts);
    return ok;
}

static bool open_http(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;
    struct listener_options control = { .unix_path = config->control_path, .backlog = 128 };
    struct listener_options http = {
        .address = config->http.address, .port = config->http.port, .alone = true, .backlog = 1024
    };

    daemon->api = (struct api){
        .auth = daemon->auth,
        .queue = daemon->queue,
        .answers = &daemon->loop.mailbox,
        .version = LATCHPOST_VERSION,
    };
    daemon->control.loop = daemon->http.loop = &daemon->loop;
    daemon->control.api = daemon->http.api = &daemon->api;
    daemon->control.limits = daemon->http.limits = config->http.limits;
    http_service_init(&daemon->control);
    http_service_init(&daemon->http);
    daemon->control_listener = listener_open(&daemon->loop, &control, on_control, daemon, why);
    if (daemon->control_listener == NULL)
        return why_prefix(why, "control socket: ");
    if (!config->http.enabled)
        return true;
    daemon->http_listener = listener_open(&daemon->loop, &http, on_http, daemon, why);
    return daemon->http_listener != NULL || why_prefix(why, "http: ");
}

static bool start(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->current->config;

    umask(077);
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN);
    block_signals(true);
    if (!loop_init(&daemon->loop, why))
        return false;
    daemon->has_loop = true;
    if (!open_stores(daemon, why))
        return false;
    daemon->admissions = listener_limits_new(config->sessions, config->sessions_per_address);
    if (!open_workers(daemon, why) || !open_http(daemon, why))
        return false;
    loop_timer_init(&daemon->loop, &daemon->flush_timer, on_flush, daemon);
    loop_timer_init(&daemon->loop, &daemon->grace_timer, on_grace_over, daemon);
    daemon->has_timers = true;
    loop_timer_start(&daemon->flush_timer, FLUSH_MS, FLUSH_MS);
    for (size_t i = 0; i < daemon->worker_count; i++)
        if (!worker_start(daemon->workers[i], why))
            return false;
    block_signals(false);
    watch_signals(daemon);
    return true;
}

static void log_ready(const struct daemon *daemon)
{
    const struct config *config = daemon->current->config;

    for (size_t i = 0; i < config->listener_count; i++)
        LOG(LOG_INFO, "listening", LOG_STR("listener", config->listeners[i].door.name),
            LOG_STR("address", config->listeners[i].address),
            LOG_INT("port", config->listeners[i].port),
            LOG_STR("tls", config_tls_words[config->listeners[i].door.tls]));
    if (config->upstream_count == 0)
        LOG(LOG_WARNING, "no_upstream",
            LOG_STR("reason", "mail is accepted and waits; add an upstream"));
    LOG(LOG_INFO, "ready", LOG_STR("version", LATCHPOST_VERSION),
        LOG_STR("hostname", config->hostname), LOG_STR("state_dir", config->state_dir),
        LOG_INT("workers", daemon->worker_count));
}

/* --- ending
 * ---------------------------------------------------------------------------------------------------------
 */

/* Everything in reverse; takes what start() left half-built. */
static void close_all(struct daemon *daemon)
{
    block_signals(true); /* a second SIGTERM must not end us between two steps */
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
        if (daemon->control.loop != NULL) {
            http_service_stop(&daemon->control);
            http_service_stop(&daemon->http);
        }
        for (size_t i = 0; i < daemon->signal_count; i++)
            uv_close((uv_handle_t *)&daemon->signals[i], NULL);
        if (daemon->has_timers) {
            loop_timer_close(&daemon->flush_timer, NULL);
            loop_timer_close(&daemon->grace_timer, NULL);
        }
    }
    if (daemon->queue != NULL)
        queue_stop(daemon->queue);
    for (size_t i = 0; i < daemon->worker_count; i++)
        worker_close(daemon->workers[i]);
    if (daemon->has_loop) {
        mailbox_drain(&daemon->loop.mailbox);
        loop_close(&daemon->loop);
    }
    queue_free(daemon->queue);
    auth_close(daemon->auth);
    tls_context_unref(daemon->http.tls);
    listener_limits_free(daemon->admissions);
    if (daemon->lock_fd >= 0)
        close(daemon->lock_fd);
    free(daemon->workers);
    generations_free(daemon->current);
}

int daemon_run(struct config *config)
{
    struct daemon daemon = { .lock_fd = -1, .exit_code = EX_OK };
    struct why why = { "" };

    log_configure(config->log_level, config->log_format);
    daemon.current = generation_new(config, config->workers);
    if (start(&daemon, &why)) {
        log_ready(&daemon);
        loop_run(&daemon.loop);
        LOG(LOG_INFO, "stopped", LOG_STR("version", LATCHPOST_VERSION));
    } else {
        LOG(LOG_ERROR, "start_failed", LOG_STR("reason", why.text));
        daemon.exit_code = EX_UNAVAILABLE;
    }
    close_all(&daemon);
    return daemon.exit_code;
}
