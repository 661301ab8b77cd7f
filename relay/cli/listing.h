/* listing.h - a list that may be long, printed page by page as it comes, newest first. */
#ifndef LATCHPOST_CLI_LISTING_H
#define LATCHPOST_CLI_LISTING_H

#include "relay/cli/client.h"

struct cli_listing {
    const struct cli_arguments *arguments;
    const char *path;   /* "/v1/messages" */
    const char *filter; /* "&state=..&account=..", or empty */
    const char *limit;  /* as it was given, or NULL */
    uint64_t rows;      /* wanted, where no limit was given */
    const struct cli_column *columns;
    size_t column_count;
};
/* As a table, or as one JSON document. Returns an exit code, and has said what was wrong. */
int cli_print_listing(const struct cli_listing *listing);

#endif
