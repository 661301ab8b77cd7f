/* audit.c - `latchpost audit`: who changed what, and what was refused?
 * The newest 100 lines, unless told otherwise. */
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/listing.h"

#define LINES_DEFAULT 100

static const struct cli_column columns[] = {
    { "AT", "at", CLI_PLAIN },           { "ACTION", "action", CLI_PLAIN },
    { "BY", "actor", CLI_PLAIN },        { "FROM", "from", CLI_PLAIN },
    { "ACCOUNT", "account", CLI_PLAIN }, { "SUBJECT", "subject", CLI_PLAIN },
    { "COUNT", "count", CLI_PLAIN },     { "REFERENCE", "reference", CLI_PLAIN },
    { "DETAIL", "detail", CLI_PLAIN },
};

enum { ACCOUNT, KEY, ACTION, REF, SINCE, LIMIT, OPTION_COUNT };
static const struct cli_option options[OPTION_COUNT] = {
    [ACCOUNT] = { "account", "A", false, "of this account and its sub-accounts" },
    [KEY] = { "key", "ID", false, "done by this key, or to it" },
    [ACTION] = { "action", "ACTION", false, "like key.revoke, or key for all of that kind" },
    [REF] = { "ref", "REF", false, "the one of this reference, as a refusal told it" },
    [SINCE] = { "since", "AGE", false, "not older than that: 30m, 2h, 7d" },
    [LIMIT] = { "limit", "N", false, "at most so many, the newest; else 100" },
};

/* The options but --limit have the names of the parameters. */
static char *filter_query(const struct cli_arguments *arguments)
{
    char *query = xstrdup("");

    for (size_t i = 0; i < LIMIT; i++) {
        if (cli_value(arguments, i) == NULL)
            continue;
        char *value = cli_encode(cli_value(arguments, i));
        char *longer = xasprintf("%s&%s=%s", query, options[i].name, value);
        free(value);
        free(query);
        query = longer;
    }
    return query;
}

static int list(const struct cli_arguments *arguments)
{
    char *filter = filter_query(arguments);
    int code = cli_print_listing(&(struct cli_listing){ .arguments = arguments,
                                                        .path = "/v1/audit",
                                                        .filter = filter,
                                                        .limit = cli_value(arguments, LIMIT),
                                                        .rows = LINES_DEFAULT,
                                                        .columns = columns,
                                                        .column_count = ARRAY_LEN(columns) });

    free(filter);
    return code;
}

static const struct cli_verb verbs[] = {
    { "", NULL, 0, 0, options, ARRAY_LEN(options), list,
      "List what was changed and what was refused, newest first." },
};
static const struct cli_noun noun = { "audit", "changes and refusals", verbs, ARRAY_LEN(verbs) };

int cli_audit(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
