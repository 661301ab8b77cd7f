/* pages.c - a whole list, which the API gives page by page, as one answer. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/cli/client.h"

/* "target?after=next", or "&after=" where the target has a query. */
static char *next_target(const char *target, const char *next)
{
    char *encoded = cli_encode(next);
    char *page =
        xasprintf("%s%safter=%s", target, strchr(target, '?') == NULL ? "?" : "&", encoded);

    free(encoded);
    return page;
}

static const char *next_of(const json_t *answer)
{
    return json_string_value(json_object_get(json_object_get(answer, "meta"), "next"));
}

/* Puts the rows of `more` behind those of *answer, and takes over its meta. Consumes `more`. */
static void join(json_t *answer, json_t *more)
{
    json_array_extend(json_object_get(answer, "data"), json_object_get(more, "data"));
    json_object_set(answer, "meta", json_object_get(more, "meta"));
    json_decref(more);
}

int cli_ask_all(const struct cli_arguments *arguments, const char *target, json_t **answer)
{
    struct cli_client *client;
    int code = cli_open(&client, arguments);

    *answer = NULL;
    if (code != EX_OK)
        return code;
    code = cli_ask(client, "GET", target, NULL, answer);
    while (code == EX_OK && next_of(*answer) != NULL) {
        json_t *more;
        char *page = next_target(target, next_of(*answer));
        code = cli_ask(client, "GET", page, NULL, &more);
        if (code == EX_OK)
            join(*answer, more);
        free(page);
    }
    cli_close(client);
    return code;
}
