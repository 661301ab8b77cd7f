/* listing.c - a list that may be long, printed page by page as it comes.
 * In JSON the parts of one document are printed as they come; one that breaks off in the middle is
 * no JSON, so nobody takes it for the whole. */
#include "relay/cli/listing.h"

#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/slice.h"

#define PAGE_ROWS 500

struct progress {
    const struct cli_listing *listing;
    struct cli_client *client;
    uint64_t left;  /* rows wanted */
    uint64_t count; /* rows printed */
    char next[32];  /* to go on before; empty: from the newest, or the end */
    bool titled;
};

static void print_page(struct progress *progress, const json_t *rows)
{
    const struct cli_listing *listing = progress->listing;
    bool first = !progress->titled;
    size_t i;
    json_t *row;

    progress->titled = true;
    if (!listing->arguments->json) {
        cli_print_rows(stdout, rows, listing->columns, listing->column_count, first);
        return;
    }
    if (first)
        printf("{\"success\":true,\"data\":[");
    json_array_foreach(rows, i, row)
    {
        if (progress->count + i > 0)
            printf(",");
        cli_print_json(stdout, row);
    }
}

static int print_next(struct progress *progress)
{
    json_t *answer;
    uint64_t rows = progress->left < PAGE_ROWS ? progress->left : PAGE_ROWS;
    char *target = xasprintf("%s?limit=%llu%s%s%s", progress->listing->path,
                             (unsigned long long)rows, progress->listing->filter,
                             progress->next[0] == '\0' ? "" : "&before=", progress->next);
    int code = cli_ask(progress->client, "GET", target, NULL, &answer);

    free(target);
    if (code != EX_OK)
        return code;
    const json_t *data = json_object_get(answer, "data");
    const char *next = json_string_value(json_object_get(json_object_get(answer, "meta"), "next"));
    uint64_t got = json_array_size(data);
    print_page(progress, data);
    progress->count += got;
    progress->left -= got < progress->left ? got : progress->left;
    snprintf(progress->next, sizeof(progress->next), "%s", next == NULL ? "" : next);
    json_decref(answer);
    return EX_OK;
}

int cli_print_listing(const struct cli_listing *listing)
{
    struct progress progress = { .listing = listing, .left = listing->rows };

    if (listing->limit != NULL &&
        (!slice_to_u64(slice_of(listing->limit), &progress.left) || progress.left == 0))
        return cli_fail(EX_USAGE, "--limit takes a number from 1, not \"%s\"", listing->limit);
    int code = cli_open(&progress.client, listing->arguments);
    if (code != EX_OK)
        return code;
    do
        code = print_next(&progress);
    while (code == EX_OK && progress.left > 0 && progress.next[0] != '\0');
    if (code == EX_OK && listing->arguments->json)
        printf("],\"meta\":{\"count\":%llu,\"next\":%s%s%s}}\n", (unsigned long long)progress.count,
               progress.next[0] == '\0' ? "null" : "\"", progress.next,
               progress.next[0] == '\0' ? "" : "\"");
    cli_close(progress.client);
    return code;
}
