/* account.c - `latchpost account`: who owns keys and domains? */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/client.h"

static const struct cli_column columns[] = {
    { "ACCOUNT", "handle", CLI_PLAIN },  { "PARENT", "parent", CLI_PLAIN },
    { "PLAN", "plan", CLI_PLAIN },       { "STATUS", "status", CLI_PLAIN },
    { "KEYS", "activeKeys", CLI_PLAIN }, { "CREATED", "createdAt", CLI_PLAIN },
};

enum create_option { CREATE_PARENT, CREATE_PLAN };
static const struct cli_option create_options[] = {
    [CREATE_PARENT] = { "parent", "ACCOUNT", false, "make it a sub-account of this one" },
    [CREATE_PLAN] = { "plan", "PLAN", false,
                      "of the configuration; else the parent's, or \"default\"" },
};

/* Asks, and shows the account as it is then. Consumes body, which may be NULL. */
static int ask_account(const struct cli_arguments *arguments, const char *target, json_t *body)
{
    json_t *answer;
    int code = cli_ask_once(arguments, "POST", target, body, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_sheet(stdout, json_object_get(answer, "data"), columns, ARRAY_LEN(columns));
    json_decref(answer);
    return code;
}

static int create(const struct cli_arguments *arguments)
{
    const char *parent = cli_value(arguments, CREATE_PARENT);
    json_t *body = json_pack("{s:s, s:s*, s:s*}", "handle", arguments->operands[0], "parent",
                             parent, "plan", cli_value(arguments, CREATE_PLAN));

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    /* The first only the operator may ask, the second a key of the parent, too. */
    return ask_account(arguments, parent == NULL ? "/v1/accounts" : "/v1/sub-accounts", body);
}

/* Consumes body. */
static int act_on(const struct cli_arguments *arguments, const char *act, json_t *body)
{
    char *encoded = cli_encode(arguments->operands[0]);
    char *target = xasprintf("/v1/accounts/%s/%s", encoded, act);
    int code = ask_account(arguments, target, body);

    free(target);
    free(encoded);
    return code;
}

static int suspend(const struct cli_arguments *arguments)
{
    return act_on(arguments, "suspend", NULL);
}

static int resume(const struct cli_arguments *arguments)
{
    return act_on(arguments, "resume", NULL);
}

static int set_plan(const struct cli_arguments *arguments)
{
    json_t *body = json_pack("{s:s}", "plan", arguments->operands[1]);

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    return act_on(arguments, "plan", body);
}

static int list(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = cli_ask_all(arguments, "/v1/accounts", &answer);

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
    { "suspend", "HANDLE", 1, 1, NULL, 0, suspend,
      "Stop all keys of an account and of its sub-accounts, at once." },
    { "resume", "HANDLE", 1, 1, NULL, 0, resume, "Let them work again." },
    { "plan", "HANDLE PLAN", 2, 2, NULL, 0, set_plan, "Give an account another plan." },
};
static const struct cli_noun noun = { "account", "accounts", verbs, ARRAY_LEN(verbs) };

int cli_account(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
