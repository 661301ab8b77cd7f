/* audit.c - `latchpost audit`: who changed what, and what was refused?
 * The pages are asked for one by one and printed as they come; the newest 100 lines, unless told
 * otherwise. */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/cli/client.h"

#define PAGE_ROWS     500
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

struct listing {
    const struct cli_arguments *arguments;
    struct cli_client *client;
    char *filter;   /* "&account=..", or empty */
    uint64_t left;  /* lines wanted */
    uint64_t count; /* lines printed */
    char next[32];  /* to go on before; empty: from the newest, or the end */
    bool titled;
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

static void print_page(struct listing *listing, const json_t *rows)
{
    size_t i;
    json_t *row;

    if (!listing->arguments->json) {
        cli_print_rows(stdout, rows, columns, ARRAY_LEN(columns), !listing->titled);
        listing->titled = true;
        return;
    }
    if (!listing->titled)
        printf("{\"success\":true,\"data\":[");
    listing->titled = true;
    json_array_foreach(rows, i, row)
    {
        if (listing->count + i > 0)
            printf(",");
        cli_print_json(stdout, row);
    }
}

static int list_page(struct listing *listing)
{
    json_t *answer;
    uint64_t rows = listing->left < PAGE_ROWS ? listing->left : PAGE_ROWS;
    char *target =
        xasprintf("/v1/audit?limit=%llu%s%s%s", (unsigned long long)rows, listing->filter,
                  listing->next[0] == '\0' ? "" : "&before=", listing->next);
    int code = cli_ask(listing->client, "GET", target, NULL, &answer);

    free(target);
    if (code != EX_OK)
        return code;
    const json_t *data = json_object_get(answer, "data");
    const char *next = json_string_value(json_object_get(json_object_get(answer, "meta"), "next"));
    uint64_t got = json_array_size(data);
    print_page(listing, data);
    listing->count += got;
    listing->left -= got < listing->left ? got : listing->left;
    snprintf(listing->next, sizeof(listing->next), "%s", next == NULL ? "" : next);
    json_decref(answer);
    return EX_OK;
}

static int list_all(struct listing *listing)
{
    int code;

    do
        code = list_page(listing);
    while (code == EX_OK && listing->left > 0 && listing->next[0] != '\0');
    if (code == EX_OK && listing->arguments->json)
        printf("],\"meta\":{\"count\":%llu,\"next\":%s%s%s}}\n", (unsigned long long)listing->count,
               listing->next[0] == '\0' ? "null" : "\"", listing->next,
               listing->next[0] == '\0' ? "" : "\"");
    return code;
}

static int list(const struct cli_arguments *arguments)
{
    struct listing listing = { .arguments = arguments, .left = LINES_DEFAULT };
    const char *limit = cli_value(arguments, LIMIT);

    if (limit != NULL && (!slice_to_u64(slice_of(limit), &listing.left) || listing.left == 0))
        return cli_fail(EX_USAGE, "--limit takes a number from 1, not \"%s\"", limit);
    int code = cli_open(&listing.client, arguments);
    if (code != EX_OK)
        return code;
    listing.filter = filter_query(arguments);
    code = list_all(&listing);
    free(listing.filter);
    cli_close(listing.client);
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
