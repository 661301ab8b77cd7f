/* upstream.c - `latchpost upstream`: how are the mail services, and leave this one alone. What they
 * are doing is known to the daemon only, so it must run. */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/client.h"

#define PATIENCE_S 600 /* what waited for it, all of a long queue */

static const struct cli_column columns[] = {
    { "NAME", "name", CLI_PLAIN },       { "KIND", "kind", CLI_PLAIN },
    { "STATE", "state", CLI_PLAIN },     { "CONNECTIONS", "connections", CLI_PLAIN },
    { "WAITING", "waiting", CLI_PLAIN }, { "REASON", "reason", CLI_PLAIN },
};

static int ask(const struct cli_arguments *arguments, const char *method, const char *target,
               json_t **answer)
{
    struct cli_client *client;
    int code = cli_open(&client, arguments);

    *answer = NULL;
    if (code != EX_OK)
        return code;
    cli_set_patience(client, PATIENCE_S);
    if (cli_has_daemon(client))
        code = cli_ask(client, method, target, NULL, answer);
    else
        code = cli_fail(EX_UNAVAILABLE, "No daemon runs: there are upstreams only while it does.");
    cli_close(client);
    return code;
}

static int list(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask(arguments, "GET", "/v1/upstreams", &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_rows(stdout, json_object_get(answer, "data"), columns, ARRAY_LEN(columns), true);
    json_decref(answer);
    return code;
}

static int ask_about(const struct cli_arguments *arguments, const char *what, json_t **answer)
{
    char *encoded = cli_encode(arguments->operands[0]);
    char *target = xasprintf("/v1/upstreams/%s/%s", encoded, what);
    int code = ask(arguments, "POST", target, answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, *answer);
    free(target);
    free(encoded);
    return code;
}

static int hold(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "hold", &answer);

    if (code == EX_OK && !arguments->json)
        fprintf(stderr, "The upstream is held: it gets no new message until it is released.\n");
    json_decref(answer);
    return code;
}

static int release(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "release", &answer);

    if (code == EX_OK && !arguments->json)
        fprintf(stderr, "The upstream is released. Messages due now: %lld.\n",
                (long long)json_integer_value(
                    json_object_get(json_object_get(answer, "data"), "retried")));
    json_decref(answer);
    return code;
}

static const struct cli_verb verbs[] = {
    { "list", NULL, 0, 0, NULL, 0, list, "Show the upstreams and how they are." },
    { "hold", "NAME", 1, 1, NULL, 0, hold,
      "Give it no new message; those without another upstream wait." },
    { "release", "NAME", 1, 1, NULL, 0, release, "Use it again; what waited for it is due now." },
};
static const struct cli_noun noun = { "upstream", "the mail services", verbs, ARRAY_LEN(verbs) };

int cli_upstream(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
