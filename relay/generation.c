/* generation.c - one reading of the configuration in the form that the threads borrow. */
#include "relay/generation.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"

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

/* --- one generation --------------------------------------------------------------------------- */

struct generation *generation_new(struct config *config, size_t workers,
                                  const struct inherited *inherited)
{
    struct generation *generation = xcalloc(1, sizeof(*generation));
    struct upstream_options *upstreams = share_upstreams(config, workers);
    struct worker_listener *listeners = xcalloc(config->listener_count, sizeof(*listeners));

    generation->config = config;
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
            .upstreams = upstreams,
            .upstream_count = config->upstream_count,
            .routes = &config->routes,
        };
    return generation;
}

void generations_free(struct generation *generation)
{
    while (generation != NULL) {
        struct generation *older = generation->older;

        free((void *)generation->settings[0].listeners);
        free((void *)generation->settings[0].upstreams);
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
        while (i > 0)
            tls_context_unref(contexts[--i]);
        return false;
    }
    return true;
}

static bool is_same_text(const char *a, const char *b) /* NULL: not set */
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

const char *generation_fixed(const struct config *was, const struct config *is)
{
    if (strcmp(was->state_dir, is->state_dir) != 0)
        return "state_dir";
    if (strcmp(was->control_path, is->control_path) != 0)
        return "runtime_dir";
    if (was->workers != is->workers)
        return "workers";
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
