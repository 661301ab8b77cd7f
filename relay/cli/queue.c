/* queue.c - `latchpost queue`: what waits, and what became of it?
 * A list may be as long as the queue: pages are asked for and printed one by one, never kept. */
#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/listing.h"
#include "relay/cli/queue_steer.h"

static const struct cli_column list_columns[] = {
    { "ID", "id", CLI_PLAIN },
    { "STATE", "state", CLI_PLAIN },
    { "RECEIVED", "receivedAt", CLI_PLAIN },
    { "DUE", "dueAt", CLI_PLAIN },
    { "SIZE", "size", CLI_BYTES },
    { "TRIES", "attempts", CLI_PLAIN },
    { "ACCOUNT", "account", CLI_PLAIN },
    { "FROM", "from", CLI_PLAIN },
    { "RCPTS", "recipientCount", CLI_PLAIN },
    { "TO", "to", CLI_PLAIN },
    { "LAST ERROR", "lastError", CLI_PLAIN },
};
static const struct cli_column show_columns[] = {
    { "ID", "id", CLI_PLAIN },
    { "State", "state", CLI_PLAIN },
    { "Account", "account", CLI_PLAIN },
    { "Key", "keyId", CLI_PLAIN },
    { "From", "from", CLI_PLAIN },
    { "Size", "size", CLI_BYTES },
    { "Received", "receivedAt", CLI_PLAIN },
    { "Due", "dueAt", CLI_PLAIN },
    { "Attempts", "attempts", CLI_PLAIN },
};
static const struct cli_column recipient_columns[] = {
    { "RECIPIENT", "address", CLI_PLAIN }, { "STATE", "state", CLI_PLAIN },
    { "TRIES", "attempts", CLI_PLAIN },    { "DUE", "dueAt", CLI_PLAIN },
    { "UPDATED", "updatedAt", CLI_PLAIN }, { "UPSTREAM", "upstream", CLI_PLAIN },
    { "CODE", "code", CLI_PLAIN },         { "ENHANCED", "enhanced", CLI_PLAIN },
    { "TEXT", "text", CLI_PLAIN },
};
static const struct cli_column event_columns[] = {
    { "AT", "at", CLI_PLAIN },
    { "WHAT", "what", CLI_PLAIN },
    { "RECIPIENT", "recipient", CLI_PLAIN },
    { "UPSTREAM", "upstream", CLI_PLAIN },
    { "CODE", "code", CLI_PLAIN },
    { "ENHANCED", "enhanced", CLI_PLAIN },
    { "TEXT", "text", CLI_PLAIN },
};
static const struct cli_column stats_columns[] = {
    { "Bytes not final", "activeBytes", CLI_BYTES },
    { "Database", "databaseBytes", CLI_BYTES },
    { "Write-ahead log", "logBytes", CLI_BYTES },
    { "Outcomes not yet on disk", "unsettled", CLI_PLAIN },
    { "Room for mail", "hasRoom", CLI_PLAIN },
};

/* --- list ------------------------------------------------------------------------------------- */

enum { LIST_LIMIT = FILTER_OPTION_COUNT, LIST_OPTION_COUNT };
static const struct cli_option list_options[LIST_OPTION_COUNT] = {
    FILTER_OPTIONS,
    [LIST_LIMIT] = { "limit", "N", false, "at most so many, the newest; else all" },
};

static int list(const struct cli_arguments *arguments)
{
    char *filter = queue_filter_query(arguments);
    int code = cli_print_listing(&(struct cli_listing){ .arguments = arguments,
                                                        .path = "/v1/messages",
                                                        .filter = filter,
                                                        .limit = cli_value(arguments, LIST_LIMIT),
                                                        .rows = UINT64_MAX,
                                                        .columns = list_columns,
                                                        .column_count = ARRAY_LEN(list_columns) });

    free(filter);
    return code;
}

/* --- show, stats ------------------------------------------------------------------------------ */

static int show(const struct cli_arguments *arguments)
{
    json_t *answer;
    char *target = queue_message_target(arguments->operands[0], "");
    int code = cli_ask_once(arguments, "GET", target, NULL, &answer);

    free(target);
    if (code == EX_OK && arguments->json) {
        cli_print_json(stdout, answer);
    } else if (code == EX_OK) {
        const json_t *data = json_object_get(answer, "data");
        cli_print_sheet(stdout, data, show_columns, ARRAY_LEN(show_columns));
        printf("\n");
        cli_print_rows(stdout, json_object_get(data, "recipients"), recipient_columns,
                       ARRAY_LEN(recipient_columns), true);
        printf("\n");
        cli_print_rows(stdout, json_object_get(data, "events"), event_columns,
                       ARRAY_LEN(event_columns), true);
    }
    json_decref(answer);
    return code;
}

static void print_stats(const json_t *data)
{
    const char *state;
    json_t *count;

    printf("%-12s %s\n", "STATE", "MESSAGES");
    json_object_foreach(json_object_get(data, "messages"), state, count)
        printf("%-12s %lld\n", state, (long long)json_integer_value(count));
    printf("\n");
    cli_print_sheet(stdout, data, stats_columns, ARRAY_LEN(stats_columns));
}

static int stats(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = cli_ask_once(arguments, "GET", "/v1/queue/stats", NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        print_stats(json_object_get(answer, "data"));
    json_decref(answer);
    return code;
}

static const struct cli_verb verbs[] = {
    { "list", NULL, 0, 0, list_options, ARRAY_LEN(list_options), list,
      "List messages, newest first." },
    { "show", "ID", 1, 1, NULL, 0, show, "Show all that is known of a message." },
    { "retry", "[ID]...", 0, QUEUE_IDS_MAX, queue_steer_options, STEER_OPTION_COUNT, queue_retry,
      "Try messages again now." },
    { "hold", "[ID]...", 0, QUEUE_IDS_MAX, queue_steer_options, STEER_OPTION_COUNT, queue_hold,
      "Hold messages that wait: they are not tried until they are released." },
    { "release", "[ID]...", 0, QUEUE_IDS_MAX, queue_steer_options, STEER_OPTION_COUNT,
      queue_release, "Let held messages go, due now." },
    { "cancel", "[ID]...", 0, QUEUE_IDS_MAX, queue_steer_options, STEER_OPTION_COUNT, queue_cancel,
      "Give messages up: whoever has not got them will not; their content is dropped." },
    { "stats", NULL, 0, 0, NULL, 0, stats, "Count messages by state." },
};
static const struct cli_noun noun = { "queue", "the queue", verbs, ARRAY_LEN(verbs) };

int cli_queue(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
