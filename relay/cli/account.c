/* account.c - `latchpost account`: who owns keys and domains? */
#include <sysexits.h>

#include "relay/base/macros.h"
#include "relay/cli/client.h"

static const struct cli_column columns[] = {
    { "ACCOUNT", "handle", CLI_PLAIN },    { "PLAN", "plan", CLI_PLAIN },
    { "STATUS", "status", CLI_PLAIN },     { "KEYS", "activeKeys", CLI_PLAIN },
    { "CREATED", "createdAt", CLI_PLAIN },
};

static const struct cli_option create_options[] = {
    { "plan", "PLAN", false, "a plan of the configuration; else \"default\"" },
};

static int create(const struct cli_arguments *arguments)
{
    json_t *answer;
    json_t *body = json_pack("{s:s*, s:s*}", "handle", arguments->operands[0], "plan",
                             cli_value(arguments, 0));

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    int code = cli_ask_once(arguments, "POST", "/v1/accounts", body, &answer);
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
    int code = cli_ask_once(arguments, "GET", "/v1/accounts", NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_rows(stdout, json_object_get(answer, "data"), columns, ARRAY_LEN(columns), true);
    json_decref(answer);
    return code;
}

static const struct cli_verb verbs[] = {
    { "create", "HANDLE", 1, 1, create_options, ARRAY_LEN(create_options), create,
      "Make an account." },
    { "list", NULL, 0, 0, NULL, 0, list, "List the accounts." },
};
static const struct cli_noun noun = { "account", "accounts", verbs, ARRAY_LEN(verbs) };

int cli_account(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
