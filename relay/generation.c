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

struct generation *generation_new(struct config *config, size_t workers)
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

void generations_free(struct generation *generation)
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
