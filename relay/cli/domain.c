/* domain.c - `latchpost domain`: which domains may an account send as? */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/client.h"

#define VERIFY_PATIENCE_S 75 /* dns.timeout may be a minute */

static const struct cli_column columns[] = {
    { "DOMAIN", "name", CLI_PLAIN },     { "ACCOUNT", "account", CLI_PLAIN },
    { "STATUS", "status", CLI_PLAIN },   { "ADDED", "createdAt", CLI_PLAIN },
    { "TO PUBLISH", "line", CLI_PLAIN },
};

enum add_option { ADD_ACCOUNT, ADD_PENDING };
static const struct cli_option add_options[] = {
    [ADD_ACCOUNT] = { "account", "ACCOUNT", false, "whose domain; else \"default\"" },
    [ADD_PENDING] = { "pending", NULL, false,
                      "leave it to the DNS: print what is to be published" },
};
static const struct cli_option list_options[] = {
    { "account", "ACCOUNT", false, "only the domains of this account" },
};
static const struct cli_option one_options[] = {
    { "account", "ACCOUNT", false, "whose, where several accounts have added it" },
};

/* The record that a domain waits for, as it stands in a zone file; null for one that is verified.
 */
static void add_line(json_t *domain)
{
    const json_t *record = json_object_get(domain, "record");
    const char *name = json_string_value(json_object_get(record, "name"));
    const char *value = json_string_value(json_object_get(record, "value"));

    if (name == NULL || value == NULL) {
        json_object_set_new(domain, "line", json_null());
        return;
    }
    char *line = xasprintf("%s. TXT \"%s\"", name, value);
    json_object_set_new(domain, "line", json_string(line));
    free(line);
}

static void print_domain(const struct cli_arguments *arguments, const json_t *answer)
{
    json_t *domain = json_object_get(answer, "data");

    if (arguments->json) {
        cli_print_json(stdout, answer);
        return;
    }
    add_line(domain);
    cli_print_sheet(stdout, domain, columns, ARRAY_LEN(columns));
}

static int add(const struct cli_arguments *arguments)
{
    const char *account = cli_value(arguments, ADD_ACCOUNT);
    json_t *answer;
    json_t *body = json_pack("{s:s*, s:s*, s:b}", "name", arguments->operands[0], "account",
                             account, "pending", arguments->counts[ADD_PENDING] > 0);

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    int code = cli_ask_once(arguments, "POST", "/v1/domains", body, &answer);
    if (code == EX_OK)
        print_domain(arguments, answer);
    json_decref(answer);
    return code;
}

static int verify(const struct cli_arguments *arguments)
{
    struct cli_client *client;
    json_t *answer = NULL;
    json_t *body = json_pack("{s:s*}", "account", cli_value(arguments, 0));

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    char *encoded = cli_encode(arguments->operands[0]);
    char *target = xasprintf("/v1/domains/%s/verify", encoded);
    int code = cli_open(&client, arguments);
    if (code == EX_OK) {
        cli_set_patience(client, VERIFY_PATIENCE_S);
        code = cli_ask(client, "POST", target, body, &answer);
    } else {
        json_decref(body);
    }
    if (code == EX_OK)
        print_domain(arguments, answer);
    json_decref(answer);
    cli_close(client);
    free(target);
    free(encoded);
    return code;
}

static void print_list(json_t *domains)
{
    size_t i;
    json_t *domain;

    json_array_foreach(domains, i, domain) add_line(domain);
    cli_print_rows(stdout, domains, columns, ARRAY_LEN(columns), true);
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
        print_list(json_object_get(answer, "data"));
    json_decref(answer);
    free(target);
    free(encoded);
    return code;
}

static int take_away(const struct cli_arguments *arguments)
{
    json_t *answer;
    const char *account = cli_value(arguments, 0);
    char *encoded = cli_encode(arguments->operands[0]);
    char *whose = cli_encode(account == NULL ? "" : account);
    char *target =
        xasprintf("/v1/domains/%s%s%s", encoded, account == NULL ? "" : "?account=", whose);
    int code = cli_ask_once(arguments, "DELETE", target, NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        fprintf(stderr, "The domain is removed: no key can send as it any more.\n");
    json_decref(answer);
    free(target);
    free(whose);
    free(encoded);
    return code;
}

static const struct cli_verb verbs[] = {
    { "add", "DOMAIN", 1, 1, add_options, ARRAY_LEN(add_options), add,
      "Add a domain, verified by your word; *.DOMAIN for its sub-domains." },
    { "verify", "DOMAIN", 1, 1, one_options, ARRAY_LEN(one_options), verify,
      "Look for the record in the DNS that verifies a domain added with --pending, or by a key." },
    { "list", NULL, 0, 0, list_options, ARRAY_LEN(list_options), list, "List the domains." },
    { "remove", "DOMAIN", 1, 1, one_options, ARRAY_LEN(one_options), take_away,
      "Remove a domain, at once." },
};
static const struct cli_noun noun = { "domain", "sender domains", verbs, ARRAY_LEN(verbs) };

int cli_domain(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
