/* queue_steer.c - `latchpost queue retry | hold | release | cancel`: the messages whose ids are
 * given, one request each, or with --all those that the options describe, in one request. One id
 * that is refused does not keep the others from their turn; the exit code tells of the first. */
#include "relay/cli/queue_steer.h"

#include <stdlib.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"

#define PATIENCE_S 600 /* all of a long queue */

const struct cli_option queue_steer_options[STEER_OPTION_COUNT] = {
    FILTER_OPTIONS,
    [STEER_ALL] = { "all", NULL, false, "every message that the other options describe" },
};

static const char *const words[FILTER_OPTION_COUNT] = {
    /* as the API calls them */
    [FILTER_STATE] = "state",     [FILTER_ACCOUNT] = "account",     [FILTER_KEY] = "key",
    [FILTER_SENDER] = "sender",   [FILTER_RECIPIENT] = "recipient", [FILTER_UPSTREAM] = "upstream",
    [FILTER_OLDER] = "olderThan", [FILTER_NEWER] = "newerThan",
};

struct act {
    const char *method, *rest; /* of a request about one message */
    const char *many;          /* the path of one about all */
    const char *done;          /* the count in its answer */
    const char *said;          /* for people */
};

char *queue_filter_query(const struct cli_arguments *arguments)
{
    char *query = xstrdup("");

    for (size_t i = 0; i < FILTER_OPTION_COUNT; i++) {
        const char *value = cli_value(arguments, i);
        if (value == NULL)
            continue;
        char *encoded = cli_encode(value);
        char *longer = xasprintf("%s&%s=%s", query, words[i], encoded);
        free(encoded);
        free(query);
        query = longer;
    }
    return query;
}

char *queue_message_target(const char *id, const char *rest)
{
    char *encoded = cli_encode(id);
    char *target = xasprintf("/v1/messages/%s%s", encoded, rest);

    free(encoded);
    return target;
}

static bool has_filter(const struct cli_arguments *arguments)
{
    for (size_t i = 0; i < FILTER_OPTION_COUNT; i++)
        if (arguments->counts[i] > 0)
            return true;
    return false;
}

/* NULL when an argument is not UTF-8. */
static json_t *make_body(const struct cli_arguments *arguments)
{
    json_t *body = json_pack("{s:b}", "all", 1);

    for (size_t i = 0; i < FILTER_OPTION_COUNT; i++) {
        const char *value = cli_value(arguments, i);
        if (value != NULL && json_object_set_new(body, words[i], json_string(value)) != 0) {
            json_decref(body);
            return NULL;
        }
    }
    return body;
}

static void tell_many(const struct act *act, const json_t *data)
{
    json_int_t busy = json_integer_value(json_object_get(data, "busy"));

    fprintf(stderr, "Messages %s: %lld.\n", act->said,
            (long long)json_integer_value(json_object_get(data, act->done)));
    if (busy > 0)
        fprintf(stderr, "Left alone, because they are being delivered right now: %lld.\n",
                (long long)busy);
}

static int steer_many(struct cli_client *client, const struct cli_arguments *arguments,
                      const struct act *act)
{
    json_t *answer, *body = make_body(arguments);

    if (body == NULL)
        return cli_fail(EX_USAGE, "An argument is not UTF-8.");
    cli_set_patience(client, PATIENCE_S);
    int code = cli_ask(client, "POST", act->many, body, &answer);
    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        tell_many(act, json_object_get(answer, "data"));
    json_decref(answer);
    return code;
}

static int steer_one(struct cli_client *client, const struct cli_arguments *arguments,
                     const struct act *act, const char *id)
{
    json_t *answer;
    char *target = queue_message_target(id, act->rest);
    int code = cli_ask(client, act->method, target, NULL, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        fprintf(stderr, "Message %s: %s.\n", id, act->said);
    else if (arguments->operand_count > 1)
        cli_fail(code, "That was message %s.", id);
    json_decref(answer);
    free(target);
    return code;
}

static int steer(const struct cli_arguments *arguments, const struct act *act)
{
    struct cli_client *client;
    bool all = arguments->counts[STEER_ALL] > 0;

    if (all == (arguments->operand_count > 0) || (!all && has_filter(arguments)))
        return cli_fail(EX_USAGE, "Give ids of messages, or --all and what describes them.");
    int code = cli_open(&client, arguments);
    if (code != EX_OK)
        return code;
    if (all)
        code = steer_many(client, arguments, act);
    for (size_t i = 0; i < arguments->operand_count; i++) {
        int one = steer_one(client, arguments, act, arguments->operands[i]);
        if (code == EX_OK)
            code = one;
    }
    cli_close(client);
    return code;
}

int queue_retry(const struct cli_arguments *arguments)
{
    static const struct act act = { "POST", "/retry", "/v1/queue/retry", "retried", "due now" };

    return steer(arguments, &act);
}

int queue_hold(const struct cli_arguments *arguments)
{
    static const struct act act = { "POST", "/hold", "/v1/queue/hold", "held", "held" };

    return steer(arguments, &act);
}

int queue_release(const struct cli_arguments *arguments)
{
    static const struct act act = { "POST", "/release", "/v1/queue/release", "released",
                                    "released" };

    return steer(arguments, &act);
}

int queue_cancel(const struct cli_arguments *arguments)
{
    static const struct act act = { "DELETE", "", "/v1/queue/cancel", "cancelled", "cancelled" };

    return steer(arguments, &act);
}
