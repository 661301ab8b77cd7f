/* generation.c - one reading of the configuration in the form that the threads borrow. */
#include "relay/generation.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/upstream/gate.h"

/* --- ceilings, over reloads ------------------------------------------------------------------- */

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The same account of the same service: what the service counts is counted here. */
static bool is_same_service(const struct upstream_options *a, const struct upstream_options *b)
{
    return a->maildir == NULL && b->maildir == NULL && a->host != NULL && b->host != NULL &&
           strcmp(a->host, b->host) == 0 && a->port == b->port &&
           is_same_text(a->username, b->username);
}

static bool has_upstream(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (strcmp(config->upstreams[i].name, name) == 0)
            return true;
    return false;
}

static bool is_taken(const struct generation *generation, size_t count, const struct gate *gate)
{
    for (size_t i = 0; i < count; i++)
        if (generation->upstreams[i].gate == gate)
            return true;
    return false;
}

/* The gate of the reading before, so that its connections and bookings go on counting until they
 * end; or NULL. One that was renamed is still the same; of two with one service each keeps its
 * own. */
static struct gate *find_gate(const struct generation *generation, size_t i)
{
    const struct generation *older = generation->older;
    const struct upstream_options *wanted = &generation->config->upstreams[i];
    struct gate *renamed = NULL;

    for (size_t n = 0; older != NULL && n < older->config->upstream_count; n++) {
        const struct upstream_options *before = &older->upstreams[n];

        if (before->gate == NULL || !is_same_service(before, wanted))
            continue;
        if (strcmp(before->name, wanted->name) == 0)
            return before->gate;
        if (!has_upstream(generation->config, before->name) &&
            !is_taken(generation, i, before->gate))
            renamed = before->gate;
    }
    return renamed;
}

static void take_upstreams(struct generation *generation)
{
    const struct config *config = generation->config;

    generation->upstreams = xcalloc(config->upstream_count + 1, sizeof(*generation->upstreams));
    for (size_t i = 0; i < config->upstream_count; i++) {
        struct upstream_options *upstream = &generation->upstreams[i];
        struct gate *gate = find_gate(generation, i);

        *upstream = config->upstreams[i];
        if (gate != NULL) {
            upstream_gate_configure(gate, upstream);
            upstream->gate = gate_ref(gate);
        } else if (upstream->maildir == NULL) {
            upstream->gate = upstream_gate_new(upstream);
        }
    }
}

/* --- inherited sockets ------------------------------------------------------------------------ */

/* Every name that a socket may have, ended by NULL. */
static const char **names_of(const struct config *config)
{
    const char **names = xcalloc(config->listener_count + 2, sizeof(*names));

    for (size_t i = 0; i < config->listener_count; i++)
        names[i] = config->listeners[i].door.name;
    if (config->http.enabled)
        names[config->listener_count] = "http";
    return names;
}

static bool serves_listener(const struct inherited *inherited, size_t socket,
                            const struct config *config, size_t listener, const char *const *names)
{
    const struct config_listener *l = &config->listeners[listener];

    if (config->http.enabled && strcmp(inherited->sockets[socket].name, "http") == 0)
        return false; /* also where a listener has this title */
    return inherited_serves(inherited, socket, l->door.name, l->address, l->port, names);
}

static bool serves_http(const struct inherited *inherited, size_t socket,
                        const struct config *config, const char *const *names)
{
    return config->http.enabled && inherited_serves(inherited, socket, "http", config->http.address,
                                                    config->http.port, names);
}

static void share_sockets(struct generation *generation, struct worker_listener *listeners,
                          const struct inherited *inherited)
{
    const struct config *config = generation->config;
    const char **names = names_of(config);
    size_t used = 0;

    generation->sockets =
        xcalloc(config->listener_count * inherited->count + 1, sizeof(*generation->sockets));
    for (size_t i = 0; i < config->listener_count; i++) {
        listeners[i].sockets = &generation->sockets[used];
        for (size_t s = 0; s < inherited->count; s++)
            if (serves_listener(inherited, s, config, i, names)) {
                generation->sockets[used++] = inherited->sockets[s].fd;
                listeners[i].socket_count++;
            }
    }
    for (size_t s = inherited->count; s > 0; s--)
        if (serves_http(inherited, s - 1, config, names))
            generation->http_socket = inherited->sockets[s - 1].fd;
    free(names);
}

bool generation_uses(const struct generation *generation, int socket)
{
    const struct worker_settings *settings = &generation->settings[0];

    for (size_t i = 0; i < settings->listener_count; i++)
        for (size_t s = 0; s < settings->listeners[i].socket_count; s++)
            if (settings->listeners[i].sockets[s] == socket)
                return true;
    return generation->http_socket == socket;
}

bool generation_sockets_are_safe(const struct config *config, const struct inherited *inherited,
                                 struct why *why)
{
    const char **names = names_of(config);
    const char *unsafe = NULL;

    for (size_t s = 0; s < inherited->count; s++) {
        if (inherited->sockets[s].is_loopback)
            continue;
        for (size_t i = 0; i < config->listener_count; i++)
            if (config->listeners[i].door.auth_without_tls &&
                serves_listener(inherited, s, config, i, names))
                unsafe = config->listeners[i].door.name;
        if (!config->http.tls && serves_http(inherited, s, config, names))
            unsafe = "http";
    }
    free(names);
    return unsafe == NULL || why_set(why,
                                     "the socket that was given for \"%s\" is not on loopback, and "
                                     "keys would travel in the clear",
                                     unsafe);
}

/* --- life ------------------------------------------------------------------------------------- */

struct generation *generation_new(struct config *config, size_t workers, struct generation *older,
                                  const struct inherited *inherited)
{
    struct generation *generation = xcalloc(1, sizeof(*generation));
    struct worker_listener *listeners = xcalloc(config->listener_count, sizeof(*listeners));

    generation->older = older;
    generation->config = config;
    take_upstreams(generation);
    generation->settings = xcalloc(workers, sizeof(*generation->settings));
    for (size_t i = 0; i < config->listener_count; i++)
        listeners[i] = (struct worker_listener){ .door = config->listeners[i].door,
                                                 .address = config->listeners[i].address,
                                                 .port = config->listeners[i].port };
    share_sockets(generation, listeners, inherited);
    for (size_t i = 0; i < workers; i++)
        generation->settings[i] = (struct worker_settings){
            .hostname = config->hostname,
            .limits = config->smtp,
            .hide_client_address = config->hide_client_address,
            .listeners = listeners,
            .listener_count = config->listener_count,
            .upstreams = generation->upstreams,
            .upstream_count = config->upstream_count,
            .routes = &config->routes,
        };
    return generation;
}

void generations_free(struct generation *generation)
{
    while (generation != NULL) {
        struct generation *older = generation->older;

        for (size_t i = 0; i < generation->config->upstream_count; i++)
            gate_unref(generation->upstreams[i].gate);
        free((void *)generation->settings[0].listeners);
        free(generation->upstreams);
        free(generation->settings);
        free(generation->sockets);
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

bool generation_contexts(const struct config *config, size_t workers, struct tls_context **contexts,
                         struct why *why)
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
        while (i > 0) { /* the pair was replaced between two readings */
            tls_context_unref(contexts[--i]);
            contexts[i] = NULL;
        }
        return false;
    }
    return true;
}

static void on_upstream_closed(void *owner)
{
    (void)owner; /* nobody waits for it */
}

bool generation_upstreams_are_sound(const struct config *config, struct loop *loop, struct why *why)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        struct upstream *upstream = upstream_open(loop, NULL, &config->upstreams[i], why);

        if (upstream == NULL)
            return false;
        upstream_close(upstream, on_upstream_closed, NULL);
    }
    return true;
}

const char *generation_fixed(const struct config *was, const struct config *is)
{
    if (strcmp(was->state_dir, is->state_dir) != 0)
        return "state_dir";
    if (strcmp(was->control_path, is->control_path) != 0)
        return "runtime_dir";
    if (was->workers != is->workers)
        return "workers";
    if (was->watchdog_ms != is->watchdog_ms)
        return "watchdog";
    if (!is_same_text(was->user, is->user))
        return "user";
    if (was->fence != is->fence)
        return "fence";
    if (strcmp(was->auth.pepper_path, is->auth.pepper_path) != 0)
        return "pepper_file";
    if (strcmp(was->auth.prefix_live, is->auth.prefix_live) != 0)
        return "key_prefix";
    if (strcmp(was->auth.prefix_test, is->auth.prefix_test) != 0)
        return "test_key_prefix";
    if (was->http.enabled != is->http.enabled || was->http.port != is->http.port ||
        strcmp(was->http.address, is->http.address) != 0 || was->http.tls != is->http.tls)
        return "http";
    return NULL;
}
