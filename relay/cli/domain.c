/* domain.c - `latchpost domain`: which domains may an account send as? */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/client.h"

static const struct cli_column columns[] = {
    { "DOMAIN", "name", CLI_PLAIN },
    { "ACCOUNT", "account", CLI_PLAIN },
    { "STATUS", "status", CLI_PLAIN },
    { "ADDED", "createdAt", CLI_PLAIN },
};

enum add_option { ADD_ACCOUNT, ADD_PENDING };
static const struct cli_option add_options[] = {
    [ADD_ACCOUNT] = { "account", "ACCOUNT", false, "whose domain; else \"default\"" },
    [ADD_PENDING] = { "pending", NULL, false, "leave its verification open" },
};
static const struct cli_option list_options[] = {
    { "account", "ACCOUNT", false, "only the domains of this account" },
};

static int add(const struct cli_arguments *arguments)
{
    const char *account = cli_value(arguments, ADD_ACCOUNT);
    json_t *answer;
    json_t *body = json_pack("{s:s*, s:s*, s:b}", "name", arguments->operands[0], "account",
                             account, "pending", arguments->counts[ADD_PENDING] > 0);

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    int code = cli_ask_once(arguments, "POST", "/v1/domains", body, &answer);
    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_sheet(stdout, json_object_get(answer, "data"), columns, ARRAY_LEN(columns));
    json_decref(answer);
    return code;
}

static int list(const struct cli_arguments *arguments)
{
    json_t *answer;
    const char *account = cli_value(arguments, 0);
    char *encoded = cli_encode(account == NULL ? "" : account);
    char *target = xasprintf("/v1/domains%s%s", account == NULL ? "" : "?account=", encoded);
    int code = cli_ask_once(arguments, "GET", target, NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_rows(stdout, json_object_get(answer, "data"), columns, ARRAY_LEN(columns), true);
    json_decref(answer);
    free(target);
    free(encoded);
    return code;
}

static int take_away(const struct cli_arguments *arguments)
{
    json_t *answer;
    char *encoded = cli_encode(arguments->operands[0]);
    char *target = xasprintf("/v1/domains/%s", encoded);
    int code = cli_ask_once(arguments, "DELETE", target, NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        fprintf(stderr, "The domain is removed: no key can send as it any more.\n");
    json_decref(answer);
    free(target);
    free(encoded);
    return code;
}

static const struct cli_verb verbs[] = {
    { "add", "DOMAIN", 1, 1, add_options, ARRAY_LEN(add_options), add,
      "Add a domain, verified by your word; *.DOMAIN for its sub-domains." },
    { "list", NULL, 0, 0, list_options, ARRAY_LEN(list_options), list, "List the domains." },
    { "remove", "DOMAIN", 1, 1, NULL, 0, take_away, "Remove a domain, at once." },
};
static const struct cli_noun noun = { "domain", "sender domains", verbs, ARRAY_LEN(verbs) };

int cli_domain(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
