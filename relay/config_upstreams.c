/* config_upstreams.c - the part of the configuration that says where mail goes: upstreams, routes
 * and the order without a route. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/config_read.h"
#include "relay/message/domain.h"

#define PASSWORD_MAX 1024

static bool read_password(struct config *config, const char *path, const char **password,
                          struct why *why)
{
    char text[PASSWORD_MAX + 2];
    struct stat status;
    ssize_t len = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) != 0 || (len = read(fd, text, sizeof(text) - 1)) < 0) {
        why_errno(why, errno, "cannot read %s", path);
    } else if (status.st_mode & 07) {
        len = -1;
        why_set(why, "every user may read %s: chmod 600 %s", path, path);
    } else if (len > PASSWORD_MAX) {
        len = -1;
        why_set(why, "%s is longer than %d characters", path, PASSWORD_MAX);
    }
    if (fd >= 0)
        close(fd);
    if (len < 0)
        return false;
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    bool ok = text[0] != '\0' || why_set(why, "the first line of %s is empty", path);
    if (ok)
        *password = config_take_text(config, text);
    explicit_bzero(text, sizeof(text));
    return ok;
}

static bool fill_upstream_smtp(struct config *config, const struct config_section *section,
                               struct upstream_options *upstream, struct why *why)
{
    static const enum upstream_tls tls[] = {
        [SMTP_TLS_NONE] = UPSTREAM_TLS_NONE,
        [SMTP_TLS_STARTTLS] = UPSTREAM_TLS_STARTTLS,
        [SMTP_TLS_IMPLICIT] = UPSTREAM_TLS_IMPLICIT,
    };
    const char *password_file = config_get_text(section, "upstream", "password_file");

    upstream->tls = tls[config_get_tls(section, "upstream")];
    upstream->username = config_get_text(section, "upstream", "username");
    upstream->password = config_get_text(section, "upstream", "password");
    if (password_file != NULL && upstream->password != NULL) {
        why_set(why, "password is given too; keep one of the two");
        return config_complain(why, config, section, "password_file");
    }
    if (password_file != NULL && !read_password(config, password_file, &upstream->password, why))
        return config_complain(why, config, section, "password_file");
    if ((upstream->username == NULL) != (upstream->password == NULL)) {
        why_set(why, "username and a password go together");
        return config_complain(why, config, section, upstream->username ? "username" : "password");
    }
    if (upstream->tls == UPSTREAM_TLS_NONE && upstream->username != NULL &&
        !config_is_loopback(upstream->host) && strcmp(upstream->host, "localhost") != 0) {
        why_set(why, "the password would travel in the clear; use \"starttls\" or \"implicit\"");
        return config_complain(why, config, section, "tls");
    }
    return config_check_readable(config, section, "ca_file", upstream->ca_file, why) &&
           config_check_readable(config, section, "client_certificate",
                                 upstream->client_certificate, why) &&
           config_check_readable(config, section, "client_key", upstream->client_key, why);
}

/* None may be 0, which would wait for ever. */
static bool check_timeouts(const struct config *config, const struct config_section *section,
                           struct why *why)
{
    static const char *const names[] = {
        "connect_timeout", "banner_timeout", "command_timeout",  "data_timeout",
        "block_timeout",   "dot_timeout",    "idle_timeout",     "connection_age",
        "rest_first",      "rest_longest",   "rest_after_login",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!config_get_positive(config, section, names[i],
                                 config_get_duration(section, "upstream", names[i]), UINT_MAX, why))
            return false;
    return true;
}

static bool fill_upstream(struct config *config, const struct config_section *section,
                          struct upstream_options *upstream, struct why *why)
{
    const char *url = config_get_text(section, "upstream", "url");

    *upstream = (struct upstream_options){
        .name = section->title,
        .host = config_get_text(section, "upstream", "host"),
        .port = (uint16_t)config_get_count(section, "upstream", "port"),
        .tls_verify = config_get_bool(section, "upstream", "tls_verify"),
        .ca_file = config_get_text(section, "upstream", "ca_file"),
        .client_certificate = config_get_text(section, "upstream", "client_certificate"),
        .client_key = config_get_text(section, "upstream", "client_key"),
        .helo = config->hostname,
        .max_connections = config_get_count(section, "upstream", "max_connections"),
        .max_messages_per_connection =
            config_get_count(section, "upstream", "max_messages_per_connection"),
        .rate = config_get_rate(section, "upstream", "rate"),
        .connection_age_ms = config_get_duration(section, "upstream", "connection_age"),
        .failures_max = config_get_count(section, "upstream", "failures_before_rest"),
        .rest_first_ms = config_get_duration(section, "upstream", "rest_first"),
        .rest_longest_ms = config_get_duration(section, "upstream", "rest_longest"),
        .rest_login_ms = config_get_duration(section, "upstream", "rest_after_login"),
        .timeouts = {
            .connect = config_get_duration(section, "upstream", "connect_timeout"),
            .banner = config_get_duration(section, "upstream", "banner_timeout"),
            .command = config_get_duration(section, "upstream", "command_timeout"),
            .data = config_get_duration(section, "upstream", "data_timeout"),
            .block = config_get_duration(section, "upstream", "block_timeout"),
            .dot = config_get_duration(section, "upstream", "dot_timeout"),
            .idle = config_get_duration(section, "upstream", "idle_timeout"),
        },
    };
    if (!config_get_positive(config, section, "max_connections", upstream->max_connections, 10000,
                             why) ||
        !config_get_positive(config, section, "max_messages_per_connection",
                             upstream->max_messages_per_connection, 1000000, why) ||
        !config_get_positive(config, section, "failures_before_rest", upstream->failures_max,
                             1000000, why) ||
        !check_timeouts(config, section, why))
        return false;
    if ((url == NULL) == (upstream->host == NULL)) {
        why_set(why, "upstream \"%s\" needs a host or a url, and not both", section->title);
        return config_complain(why, config, section, url != NULL ? "url" : "host");
    }
    if (url == NULL)
        return fill_upstream_smtp(config, section, upstream, why);
    if (strncmp(url, "maildir:", 8) != 0 || url[8] == '\0') {
        why_set(why, "'%s' is not known; the one kind of url is maildir:PATH", url);
        return config_complain(why, config, section, "url");
    }
    upstream->maildir = url + 8;
    return true;
}

bool config_fill_upstreams(struct config *config, const struct config_file *file, struct why *why)
{
    config->upstream_count = config_count_sections(file, "upstream");
    config->upstreams =
        config_take(config, (config->upstream_count + 1) * sizeof(*config->upstreams));
    for (size_t i = 0; i < config->upstream_count; i++)
        if (!fill_upstream(config, config_section_at(file, "upstream", i), &config->upstreams[i],
                           why))
            return false;
    return true;
}

bool config_check_upstreams(const struct config *config, struct why *why)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (!upstream_check(&config->upstreams[i], why))
            return false;
    return true;
}

/* Names of upstreams to their indices. */
static bool fill_indices(struct config *config, const struct config_section *section,
                         const char *name, const unsigned **indices, size_t *count, struct why *why)
{
    const struct config_value *value = config_value_of(section, name);
    size_t wanted = value == NULL ? 0 : value->count;
    unsigned *made = config_take(config, (wanted + 1) * sizeof(*made));

    for (size_t i = 0; i < wanted; i++) {
        unsigned u = 0;

        while (u < config->upstream_count &&
               strcmp(config->upstreams[u].name, value->items[i]) != 0)
            u++;
        if (u == config->upstream_count) {
            why_set(why, "there is no upstream \"%s\"", value->items[i]);
            return config_complain(why, config, section, name);
        }
        made[i] = u;
    }
    *indices = made;
    *count = wanted;
    return true;
}

static void fill_names(const struct config_section *section, const char *name,
                       const char *const **names, size_t *count)
{
    const struct config_value *value = config_value_of(section, name);

    *names = value == NULL ? NULL : (const char *const *)value->items;
    *count = value == NULL ? 0 : value->count;
}

static bool fill_route_domains(struct config *config, const struct config_section *section,
                               struct route *route, struct why *why)
{
    const struct config_value *value = config_value_of(section, "sender_domain");
    const char **patterns;

    if (value == NULL)
        return true;
    patterns = config_take(config, (value->count + 1) * sizeof(*patterns));
    for (size_t i = 0; i < value->count; i++) {
        char pattern[DOMAIN_TEXT_MAX];
        enum domain_error error = domain_parse_pattern(slice_of(value->items[i]), pattern);

        if (error != DOMAIN_OK) {
            why_set(why, "'%s': %s", value->items[i], domain_error_text(error));
            return config_complain(why, config, section, "sender_domain");
        }
        patterns[i] = config_take_text(config, pattern);
    }
    route->sender_domains = patterns;
    route->sender_domain_count = value->count;
    return true;
}

static bool fill_route(struct config *config, const struct config_section *section,
                       struct route *route, struct why *why)
{
    fill_names(section, "account", &route->accounts, &route->account_count);
    fill_names(section, "key", &route->keys, &route->key_count);
    if (!fill_route_domains(config, section, route, why) ||
        !fill_indices(config, section, "upstreams", &route->upstreams, &route->upstream_count, why))
        return false;
    if (route->upstream_count == 0) {
        why_set(why, "a route needs upstreams = {\"name\", ...}");
        return config_complain(why, config, section, "upstreams");
    }
    return true;
}

bool config_fill_routes(struct config *config, const struct config_file *file, struct why *why)
{
    const struct config_section *top = config_section_at(file, "", 0);
    struct route *routes;
    unsigned *all;

    config->routes.route_count = config_count_sections(file, "route");
    routes = config_take(config, (config->routes.route_count + 1) * sizeof(*routes));
    config->routes.routes = routes;
    for (size_t i = 0; i < config->routes.route_count; i++)
        if (!fill_route(config, config_section_at(file, "route", i), &routes[i], why))
            return false;
    if (!fill_indices(config, top, "default_upstreams", &config->routes.default_upstreams,
                      &config->routes.default_count, why))
        return false;
    if (config_value_of(top, "default_upstreams") != NULL)
        return true;
    all = config_take(config, (config->upstream_count + 1) * sizeof(*all));
    for (unsigned i = 0; i < config->upstream_count; i++)
        all[i] = i;
    config->routes.default_upstreams = all;
    config->routes.default_count = config->upstream_count;
    return true;
}
