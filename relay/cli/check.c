/* check.c - is the configuration right? can the upstreams be reached and logged in to? */
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/cli/cli.h"
#include "relay/config.h"
#include "relay/user.h"

static const char usage[] =
    "usage: latchpost check [-c FILE] [--connect] [--json]\n"
    "\n"
    "Reads the configuration and every file it names, and says what is wrong and where.\n"
    "\n"
    "  -c, --config FILE   the configuration (else $LATCHPOST_CONFIG, else\n"
    "                      /etc/latchpost/latchpost.conf)\n"
    "      --connect       also connect to each upstream, start TLS and log in\n"
    "      --json          the result as JSON\n"
    "  -h, --help          this text\n";

struct check {
    const char *path;
    bool connect, json;
    struct loop loop;
    struct resolver *resolver;
    size_t waiting; /* probes not answered yet */
    struct probe {  /* one upstream's answer */
        struct check *check;
        const char *name;
        struct upstream *upstream;
        bool ok;
        char text[512];
    } * probes;
    size_t probe_count;
};

static void on_closed(void *owner)
{
    struct check *check = owner;

    if (--check->waiting == 0)
        loop_stop(&check->loop);
}

static void on_probed(void *owner, bool ok, const char *text)
{
    struct probe *probe = owner;

    probe->ok = ok;
    snprintf(probe->text, sizeof(probe->text), "%s", text);
    upstream_close(probe->upstream, on_closed, probe->check);
}

/* Asks all upstreams at once and runs the loop until the last has answered. */
static void probe_all(struct check *check, const struct config *config)
{
    struct why why = { "" };

    check->probe_count = config->upstream_count;
    check->probes = xcalloc(check->probe_count + 1, sizeof(*check->probes));
    for (size_t i = 0; i < check->probe_count; i++) {
        struct probe *probe = &check->probes[i];

        probe->check = check;
        probe->name = config->upstreams[i].name;
        probe->upstream = upstream_open(&check->loop, check->resolver, &config->upstreams[i], &why);
        if (probe->upstream == NULL) {
            snprintf(probe->text, sizeof(probe->text), "%s", why.text);
            continue;
        }
        check->waiting++;
        upstream_probe(probe->upstream, on_probed, probe);
    }
    if (check->waiting > 0)
        loop_run(&check->loop);
}

/* What `serve` would read besides the configuration: the certificate and its key. */
static bool check_tls(const struct config *config, struct why *why)
{
    struct tls_server_options options = config->tls;
    struct tls_context *context;

    if (config->tls_self_signed)
        return true; /* made at the first start */
    options.alpn = "smtp";
    context = tls_context_server(&options, why);
    tls_context_unref(context);
    return context != NULL;
}

/* As `serve` does: what follows is read, and the folders of a maildir are made, by that user. */
static bool become(const struct user *user, struct why *why)
{
    return !user->is_other || geteuid() != 0 || user_become(user, false, why);
}

/* What a file or an upstream says may be in any encoding; JSON is UTF-8. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);

    if (json != NULL)
        return json;
    char *escaped = cli_escape(text);
    json = json_string(escaped);
    free(escaped);
    return json;
}

static bool is_all_well(const struct check *check)
{
    for (size_t i = 0; i < check->probe_count; i++)
        if (!check->probes[i].ok)
            return false;
    return true;
}

/* Escaped: what upstreams say is in it. */
__attribute__((format(printf, 1, 2))) static void print_line(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char *escaped = cli_escape(text);
    puts(escaped);
    free(escaped);
}

static int report(const struct check *check, const struct config *config)
{
    json_t *rows = json_array();
    bool ok = is_all_well(check);

    if (!check->json)
        print_line("%s is right: %zu listener(s), %zu upstream(s)", config->path,
                   config->listener_count, config->upstream_count);
    for (size_t i = 0; i < check->probe_count; i++) {
        const struct probe *probe = &check->probes[i];

        json_array_append_new(rows, json_pack("{s:o, s:b, s:o}", "upstream", text_json(probe->name),
                                              "ok", probe->ok, "text", text_json(probe->text)));
        if (!check->json)
            print_line("upstream \"%s\": %s: %s", probe->name, probe->ok ? "ok" : "FAILED",
                       probe->text);
    }
    if (check->json) {
        json_t *answer = json_pack("{s:b, s:{s:o, s:O}}", "success", ok, "data", "config",
                                   text_json(config->path), "upstreams", rows);

        cli_print_json(stdout, answer);
        json_decref(answer);
    }
    json_decref(rows);
    return ok ? EX_OK : EX_UNAVAILABLE;
}

static int complain(const struct check *check, const char *text)
{
    json_t *answer;

    if (!check->json)
        return cli_fail(EX_CONFIG, "%s", text);
    answer = json_pack("{s:b, s:{s:s, s:o}}", "success", 0, "error", "code",
                       "invalid_configuration", "message", text_json(text));
    cli_print_json(stdout, answer);
    json_decref(answer);
    return EX_CONFIG;
}

static int run(struct check *check)
{
    struct config *config = NULL;
    struct user user;
    struct why why = { "" };
    int code;

    if (!config_load(&config, check->path, &why))
        return complain(check, why.text);
    if (!user_find(&user, config->user, config->state_dir, &why) || !check_tls(config, &why) ||
        !become(&user, &why) || !config_check_upstreams(config, &why) ||
        !loop_init(&check->loop, &why)) {
        config_free(config);
        return complain(check, why.text);
    }
    check->resolver = resolver_new(&check->loop);
    if (check->connect)
        probe_all(check, config);
    code = report(check, config);
    resolver_free(check->resolver);
    loop_close(&check->loop);
    free(check->probes);
    config_free(config);
    return code;
}

int cli_check(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "connect", no_argument, NULL, 'C' },
                                             { "json", no_argument, NULL, 'j' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    struct check check = { .path = NULL };
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'c') {
            check.path = optarg;
        } else if (option == 'C') {
            check.connect = true;
        } else if (option == 'j') {
            check.json = true;
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? cli_end(EX_OK) : EX_USAGE;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "latchpost check: '%s' is too much\n%s", argv[optind], usage);
        return EX_USAGE;
    }
    return cli_end(run(&check));
}
