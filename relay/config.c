/* config.c - what did the operator ask for? From checked values to the option structs of the
 * modules. Here stand the checks that concern more than one value: files that must exist, names
 * that must be known, combinations that would be unsafe. */
#include "relay/config.h"

#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/config_read.h"
#include "relay/message/domain.h"

#define DEFAULT_PATH       "/etc/latchpost/latchpost.conf"
#define DNS_TIMEOUT_MAX_MS 60000
#define WORKERS_MAX        256
#define BODY_BYTES_MAX     (UINT64_C(2) << 30)
#define TARPIT_MAX_MS      10000

static bool fill_hostname(struct config *config, const struct config_section *top, struct why *why)
{
    char name[256] = "", domain[DOMAIN_TEXT_MAX];

    config->hostname = config_get_text(top, "", "hostname");
    if (config->hostname != NULL &&
        domain_parse_ascii(slice_of(config->hostname), domain) != DOMAIN_OK) {
        why_set(why, "an address is no name for a greeting and a Message-ID; it is like "
                     "relay.example.com");
        return config_complain(why, config, top, "hostname");
    }
    if (config->hostname != NULL)
        return true;
    if (gethostname(name, sizeof(name) - 1) != 0 ||
        domain_parse_ascii(slice_of(name), domain) != DOMAIN_OK)
        return why_set(why,
                       "%s: hostname is not set and the machine's own (%s) is no host name; set "
                       "hostname = \"relay.example.com\"",
                       config->path, name);
    config->hostname = config_take_text(config, domain);
    return true;
}

/* As many as there are cores, within what may be set. */
static unsigned workers_for_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (unsigned)cores;
}

static bool fill_top(struct config *config, const struct config_section *top, struct why *why)
{
    const char *runtime_dir = config_get_text(top, "", "runtime_dir");

    if (!fill_hostname(config, top, why))
        return false;
    config->state_dir = config_text(top, "", "state_dir");
    if (config->state_dir[0] == '\0') { /* its files would be in the root folder */
        why_set(why, "must name a folder");
        return config_complain(why, config, top, "state_dir");
    }
    config->control_path = config_take_path(
        config, runtime_dir != NULL ? runtime_dir : config->state_dir, "control.sock");
    if (strlen(config->control_path) > 100) {
        why_set(why, "%s is too long for a Unix socket (100 characters)", config->control_path);
        return config_complain(why, config, top, runtime_dir != NULL ? "runtime_dir" : "state_dir");
    }
    (void)log_level_parse(slice_of(config_text(top, "", "log_level")), &config->log_level);
    (void)log_format_parse(slice_of(config_text(top, "", "log_format")), &config->log_format);
    config->workers = config_get_count(top, "", "workers");
    if (config->workers == 0)
        config->workers = workers_for_cores();
    if (!config_get_positive(config, top, "workers", config->workers, WORKERS_MAX, why))
        return false;
    config->grace_ms = config_get_duration(top, "", "grace");
    config->watchdog_ms = config_get_duration(top, "", "watchdog");
    config->user = config_get_text(top, "", "user");
    config->fence = (enum fence_mode)config_parse_word(slice_of(config_text(top, "", "fence")),
                                                       config_fence_words);
    config->hide_client_address = config_get_bool(top, "", "hide_client_address");
    return true;
}

static bool fill_tls(struct config *config, const struct config_section *tls, struct why *why)
{
    const char *certificate = config_get_text(tls, "tls", "certificate");
    const char *key = config_get_text(tls, "tls", "key");

    config->tls_self_signed = certificate == NULL && key == NULL;
    if (config->tls_self_signed) {
        config->tls.certificate = config_take_path(config, config->state_dir, "tls.pem");
        config->tls.key = config_take_path(config, config->state_dir, "tls.key");
        return true;
    }
    if (certificate == NULL || key == NULL) {
        why_set(why, "certificate and key go together; set both, or neither");
        return config_complain(why, config, tls, certificate == NULL ? "key" : "certificate");
    }
    config->tls.certificate = certificate;
    config->tls.key = key;
    return config_check_readable(config, tls, "certificate", certificate, why) &&
           config_check_readable(config, tls, "key", key, why);
}

/* Does a listener in front of `end` have this address and port? */
static bool check_free(const struct config *config, const struct config_listener *end,
                       const struct config_section *section, const char *address, uint16_t port,
                       struct why *why)
{
    for (const struct config_listener *other = config->listeners; other < end; other++)
        if (other->port == port && config_is_same_address(other->address, address)) {
            why_set(why, "listener \"%s\" has this address and port already", other->door.name);
            return config_complain(why, config, section, "port");
        }
    return true;
}

static bool fill_listener(struct config *config, const struct config_section *section,
                          struct config_listener *listener, struct why *why)
{
    listener->door.name = section->title;
    listener->door.tls = config_get_tls(section, "listener");
    listener->door.auth_without_tls = config_get_bool(section, "listener", "auth_without_tls");
    listener->address = config_text(section, "listener", "address");
    listener->port = (uint16_t)config_get_count(section, "listener", "port");
    if (listener->door.auth_without_tls && !config_is_loopback(listener->address)) {
        why_set(why, "keys would travel in the clear; only a loopback address (127.0.0.1, ::1) "
                     "may have it");
        return config_complain(why, config, section, "auth_without_tls");
    }
    return check_free(config, listener, section, listener->address, listener->port, why);
}

static bool fill_listeners(struct config *config, const struct config_file *file, struct why *why)
{
    config->listener_count = config_count_sections(file, "listener");
    if (config->listener_count == 0)
        return why_set(why, "%s: there is no listener; add: listener \"submission\" { port = 587 }",
                       config->path);
    config->listeners = config_take(config, config->listener_count * sizeof(*config->listeners));
    for (size_t i = 0; i < config->listener_count; i++)
        if (!fill_listener(config, config_section_at(file, "listener", i), &config->listeners[i],
                           why))
            return false;
    return true;
}

/* What a message of the largest size needs when most of it is an attachment in base64. */
static size_t body_bytes(const struct config *config, const struct config_section *http)
{
    size_t set = config_get_size(http, "http", "body_size");

    return set > 0 ? set : (size_t)config->smtp.message_bytes / 3 * 4 + API_REQUEST_MAX;
}

static bool fill_http(struct config *config, const struct config_section *http, struct why *why)
{
    enum smtp_tls tls = config_get_tls(http, "http");

    config->http = (struct config_http){
        .enabled = http != NULL,
        .address = config_text(http, "http", "address"),
        .port = (uint16_t)config_get_count(http, "http", "port"),
        .tls = tls == SMTP_TLS_IMPLICIT,
        .body_memory = config_get_size(http, "http", "body_memory"),
        .connections_per_address = config_get_count(http, "http", "connections_per_address"),
        .limits = {
            .body_bytes = body_bytes(config, http),
            .connections = config_get_count(http, "http", "connections"),
            .head_ms = config_get_duration(http, "http", "head_time"),
            .idle_ms = config_get_duration(http, "http", "idle_time"),
            .body_rate = 500,
        },
    };
    if (tls == SMTP_TLS_STARTTLS) {
        why_set(why, "HTTP has no starttls; use \"implicit\" or \"none\"");
        return config_complain(why, config, http, "tls");
    }
    if (tls == SMTP_TLS_NONE && !config_is_loopback(config->http.address)) {
        why_set(why, "keys would travel in the clear; only a loopback address may have \"none\"");
        return config_complain(why, config, http, "tls");
    }
    if (http != NULL && !check_free(config, config->listeners + config->listener_count, http,
                                    config->http.address, config->http.port, why))
        return false;
    return config_get_positive(config, http, "body_size", config->http.limits.body_bytes,
                               BODY_BYTES_MAX, why) &&
           config_get_positive(config, http, "body_memory", config->http.body_memory, SIZE_MAX / 4,
                               why) &&
           config_get_positive(config, http, "connections", config->http.limits.connections,
                               1000000, why) &&
           config_get_positive(config, http, "connections_per_address",
                               config->http.connections_per_address, 1000000, why) &&
           config_get_positive(config, http, "head_time", config->http.limits.head_ms, UINT_MAX,
                               why) &&
           config_get_positive(config, http, "idle_time", config->http.limits.idle_ms, UINT_MAX,
                               why);
}

static bool fill_dns(struct config *config, const struct config_section *dns, struct why *why)
{
    const struct config_value *servers = config_value_of(dns, "servers");

    config->dns.timeout_ms = config_get_duration(dns, "dns", "timeout");
    if (!config_get_positive(config, dns, "timeout", config->dns.timeout_ms, DNS_TIMEOUT_MAX_MS,
                             why))
        return false;
    if (servers == NULL)
        return true;
    config->dns.servers = (const char *const *)servers->items;
    config->dns.server_count = servers->count;
    if (servers->count > TXT_SERVERS_MAX) {
        why_set(why, "takes %d name servers at most", TXT_SERVERS_MAX);
        return config_complain(why, config, dns, "servers");
    }
    for (size_t i = 0; i < servers->count; i++)
        if (!txt_server_is_valid(slice_of(servers->items[i]))) {
            why_set(why, "\"%.80s\" is no address: it is like 192.0.2.1 or [2001:db8::1]:5353",
                    servers->items[i]);
            return config_complain(why, config, dns, "servers");
        }
    return true;
}

/* Rounded up, so that what is short does not become never. */
static unsigned get_seconds(const struct config_section *section, const char *of, const char *name)
{
    uint64_t seconds = (config_get_duration(section, of, name) + 999) / 1000;

    return seconds > INT_MAX ? INT_MAX : (unsigned)seconds;
}

static bool fill_limits(struct config *config, const struct config_section *section,
                        struct why *why)
{
    static const struct {
        const char *name;
        size_t offset;
        uint64_t max;
        enum { COUNT, SIZE, BYTES64, TIME } kind;
    } rows[] = {
        { "message_size", offsetof(struct smtp_limits, message_bytes), 1 << 30, BYTES64 },
        { "recipients", offsetof(struct smtp_limits, recipients), 10000, COUNT },
        { "auth_failures", offsetof(struct smtp_limits, auth_failures), 1000, COUNT },
        { "errors", offsetof(struct smtp_limits, errors), 100000, COUNT },
        { "junk_commands", offsetof(struct smtp_limits, junk_commands), 1000000, COUNT },
        { "header_size", offsetof(struct smtp_limits, header_bytes), 64 * 1024, SIZE },
        { "command_line", offsetof(struct smtp_limits, command_line), 16 * 1024, SIZE },
        { "data_line", offsetof(struct smtp_limits, data_line), 998, SIZE },
        { "data_rate", offsetof(struct smtp_limits, data_rate), 1 << 30, COUNT },
        { "data_grace", offsetof(struct smtp_limits, data_grace_ms), UINT_MAX, TIME },
        { "login_time", offsetof(struct smtp_limits, login_ms), UINT_MAX, TIME },
        { "idle_time", offsetof(struct smtp_limits, idle_ms), UINT_MAX, TIME },
        { "handshake_time", offsetof(struct smtp_limits, handshake_ms), UINT_MAX, TIME },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *at = (char *)&config->smtp + rows[i].offset;
        uint64_t value = rows[i].kind == TIME ? config_get_duration(section, "limits", rows[i].name)
                                              : config_get_size(section, "limits", rows[i].name);

        if (!config_get_positive(config, section, rows[i].name, value, rows[i].max, why))
            return false;
        if (rows[i].kind == COUNT)
            *(unsigned *)(void *)at = (unsigned)value;
        else if (rows[i].kind == SIZE)
            *(size_t *)(void *)at = (size_t)value;
        else
            *(uint64_t *)(void *)at = value;
    }
    config->sessions = config_get_count(section, "limits", "sessions");
    config->sessions_per_address = config_get_count(section, "limits", "sessions_per_address");
    config->auth.penalty_failures = config_get_count(section, "limits", "penalty_failures");
    config->auth.penalty_window_s = get_seconds(section, "limits", "penalty_window");
    config->auth.penalty_s = get_seconds(section, "limits", "penalty_time");
    config->auth.tarpit_ms = config_get_duration(section, "limits", "tarpit");
    if (config->auth.tarpit_ms > 0 &&
        !config_get_positive(config, section, "tarpit", config->auth.tarpit_ms, TARPIT_MAX_MS, why))
        return false;
    return config_get_positive(config, section, "sessions", config->sessions, 1000000, why) &&
           config_get_positive(config, section, "sessions_per_address",
                               config->sessions_per_address, 1000000, why);
}

/* The default of a list stands in the table as "1m, 5m"; a file's list comes in items. */
static bool fill_schedule(struct config *config, const struct config_section *retry,
                          struct why *why)
{
    struct queue_schedule *schedule = &config->queue.schedule;
    const struct config_value *value = config_value_of(retry, "schedule");
    struct slice standard = slice_of(config_text(NULL, "retry", "schedule"));

    while (value == NULL ? standard.len > 0 : schedule->retry_count < value->count) {
        struct slice item = value == NULL ? slice_trim(slice_cut(&standard, ','))
                                          : slice_of(value->items[schedule->retry_count]);
        uint64_t ms = 0;

        if (schedule->retry_count == QUEUE_RETRIES_MAX || !config_parse_duration(item, &ms) ||
            ms == 0)
            break;
        schedule->retry_ms[schedule->retry_count++] = (int64_t)ms;
    }
    if (schedule->retry_count == 0 || (value != NULL && schedule->retry_count < value->count)) {
        why_set(why, "needs 1 to %d durations above 0", QUEUE_RETRIES_MAX);
        return config_complain(why, config, retry, "schedule");
    }
    schedule->max_age_ms = (int64_t)config_get_duration(retry, "retry", "max_age");
    schedule->notice_ms = (int64_t)config_get_duration(retry, "retry", "delay_notice");
    schedule->hold_uncertain =
        slice_equal(slice_of(config_text(retry, "retry", "uncertain")), SLICE("hold"));
    return true;
}

static bool fill_stores(struct config *config, const struct config_file *file, struct why *why)
{
    const struct config_section *top = config_section_at(file, "", 0);
    uint64_t floor_bytes = config_get_size(top, "", "free_space");
    uint64_t message_bytes = config->smtp.message_bytes + config->smtp.message_bytes / 2;

    config->auth.path = config_take_path(config, config->state_dir, "keys.db");
    config->auth.pepper_path = config_get_text(top, "", "pepper_file");
    if (!config_check_readable(config, top, "pepper_file", config->auth.pepper_path, why))
        return false;
    if (config->auth.pepper_path == NULL)
        config->auth.pepper_path = config_take_path(config, config->state_dir, "pepper");
    config->auth.pepper_hex = getenv("LATCHPOST_PEPPER");
    config->auth.prefix_live = config_text(top, "", "key_prefix");
    config->auth.prefix_test = config_text(top, "", "test_key_prefix");
    if (strcmp(config->auth.prefix_live, config->auth.prefix_test) == 0) {
        why_set(why, "must differ from key_prefix");
        return config_complain(why, config, top, "test_key_prefix");
    }
    config->queue.path = config_take_path(config, config->state_dir, "queue.db");
    config->queue.retention_ms = (int64_t)config_get_duration(top, "", "retention");
    config->queue.free_space_floor = floor_bytes > message_bytes ? floor_bytes : message_bytes;
    return fill_schedule(config, config_section_at(file, "retry", 0), why);
}

static void fill_plans(struct config *config, const struct config_file *file)
{
    size_t count = config_count_sections(file, "plan");
    struct auth_plan *plans = config_take(config, (count + 1) * sizeof(*plans));

    for (size_t i = 0; i < count; i++) {
        const struct config_section *section = config_section_at(file, "plan", i);

        plans[i] = (struct auth_plan){
            .name = section->title,
            .rate_per_minute = config_get_rate(section, "plan", "rate"),
            .recipients_per_day = config_get_count(section, "plan", "recipients_per_day"),
            .keys = config_get_count(section, "plan", "keys"),
        };
    }
    config->auth.plans = plans;
    config->auth.plan_count = count;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* What every command needs: where the state is, and the rules of the stores. */
static bool fill_state(struct config *config, const struct config_file *file, struct why *why)
{
    if (!fill_top(config, config_section_at(file, "", 0), why) ||
        !fill_limits(config, config_section_at(file, "limits", 0), why) ||
        !fill_dns(config, config_section_at(file, "dns", 0), why) ||
        !fill_stores(config, file, why))
        return false;
    fill_plans(config, file);
    return true;
}

static bool fill_service(struct config *config, const struct config_file *file, struct why *why)
{
    return fill_tls(config, config_section_at(file, "tls", 0), why) &&
           fill_listeners(config, file, why) &&
           fill_http(config, config_section_at(file, "http", 0), why) &&
           config_fill_upstreams(config, file, why) && config_fill_routes(config, file, why);
}

static bool load(struct config **config, const char *path, bool state_only, struct why *why)
{
    struct config *made = xcalloc(1, sizeof(*made));
    struct config_memory *memory = xcalloc(1, sizeof(*memory));

    made->memory = memory;
    if (path == NULL)
        path = getenv("LATCHPOST_CONFIG");
    made->path = config_take_text(made, path == NULL ? DEFAULT_PATH : path);
    if (!config_file_read(&memory->file, made->path, state_only, why) ||
        !fill_state(made, memory->file, why) ||
        (!state_only && !fill_service(made, memory->file, why))) {
        config_free(made);
        return false;
    }
    *config = made;
    return true;
}

bool config_load(struct config **config, const char *path, struct why *why)
{
    return load(config, path, false, why);
}

bool config_load_state(struct config **config, const char *path, struct why *why)
{
    return load(config, path, true, why);
}

void config_free(struct config *config)
{
    struct config_memory *memory;

    if (config == NULL)
        return;
    memory = config->memory;
    while (memory->blocks != NULL) {
        struct config_block *block = memory->blocks;

        memory->blocks = block->next;
        explicit_bzero(block->data, block->size);
        free(block);
    }
    config_file_free(memory->file);
    free(memory);
    free(config);
}
