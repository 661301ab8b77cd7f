/* client.c - one question to the API, one answer, whichever way it goes: to the control socket, to
 * a relay elsewhere, or to the endpoints in this process. What passed through here may be a new
 * key, so buffers are wiped, and jansson's memory with them. */
#include "relay/cli/client.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/cli/client_priv.h"

#define PATIENCE_S 30

struct cli_client {
    struct client_way *way;
    bool json;
    unsigned patience_s;
};

/* --- small things ----------------------------------------------------------------------------- */

int cli_exit_code(int status)
{
    static const struct {
        int status, code;
    } rows[] = {
        { 400, EX_DATAERR },  { 401, EX_NOPERM },   { 403, EX_NOPERM },   { 404, EX_DATAERR },
        { 405, EX_SOFTWARE }, { 409, EX_DATAERR },  { 413, EX_DATAERR },  { 415, EX_SOFTWARE },
        { 422, EX_DATAERR },  { 429, EX_TEMPFAIL }, { 502, EX_TEMPFAIL }, { 503, EX_TEMPFAIL },
        { 504, EX_TEMPFAIL }, { 507, EX_TEMPFAIL },
    };

    if (status >= 200 && status < 300)
        return EX_OK;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].code;
    return EX_SOFTWARE;
}

char *cli_encode(const char *text)
{
    char *out = xmalloc(strlen(text) * 3 + 1);
    size_t len = 0;

    for (; *text != '\0'; text++) {
        if (ascii_is_alnum(*text) || strchr("-._~", *text) != NULL)
            out[len++] = *text;
        else
            len += (size_t)sprintf(out + len, "%%%02X", (unsigned char)*text);
    }
    out[len] = '\0';
    return out;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* What an option does not say the environment may; an empty text says nothing. */
static const char *or_environment(const char *given, const char *name)
{
    const char *text = given != NULL ? given : getenv(name);

    return text == NULL || text[0] == '\0' ? NULL : text;
}

static int open_remote(struct client_way **way, const struct cli_arguments *arguments,
                       const char *url)
{
    const struct client_remote_options options = {
        .url = url,
        .key_file = or_environment(arguments->key_file, "LATCHPOST_KEY_FILE"),
        .ca_file = or_environment(arguments->ca_file, "LATCHPOST_CA_FILE"),
    };

    if (options.key_file == NULL)
        return cli_fail(EX_USAGE, "A relay elsewhere wants a key: --key-file FILE, or \"-\" for "
                                  "standard input.");
    return client_open_remote(way, &options);
}

/* A configuration that is named means this machine, unless the URL is named, too. */
static int open_way(struct client_way **way, const struct cli_arguments *arguments)
{
    const char *url = arguments->config != NULL ? arguments->url
                                                : or_environment(arguments->url, "LATCHPOST_URL");

    if (arguments->config != NULL && url != NULL)
        return cli_fail(EX_USAGE, "--config is for this machine, --url for another: give one.");
    if (url != NULL)
        return open_remote(way, arguments, url);
    if (arguments->key_file != NULL || arguments->ca_file != NULL)
        return cli_fail(EX_USAGE, "--key-file and --ca-file go with --url.");
    return client_open_local(way, arguments->config);
}

int cli_open(struct cli_client **client, const struct cli_arguments *arguments)
{
    struct client_way *way = NULL;

    *client = NULL;
    json_set_alloc_funcs(malloc, client_wipe_and_free);
    log_configure(LOG_WARNING, LOG_LOGFMT); /* a command is no daemon: only what is wrong */
    int code = open_way(&way, arguments);
    if (code != EX_OK)
        return code;
    *client = xcalloc(1, sizeof(**client));
    (*client)->way = way;
    (*client)->json = arguments->json;
    (*client)->patience_s = PATIENCE_S;
    return EX_OK;
}

void cli_close(struct cli_client *client)
{
    if (client == NULL)
        return;
    client->way->close(client->way);
    free(client);
}

bool cli_has_daemon(const struct cli_client *client)
{
    return client->way->has_daemon;
}

void cli_set_patience(struct cli_client *client, unsigned seconds)
{
    client->patience_s = seconds;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int refuse_unreadable(const struct client_reply *reply)
{
    return cli_fail(EX_PROTOCOL, "The answer is none of the API's (status %d).", reply->status);
}

/* EX_OK and the envelope in *answer; else what the API refused is told. */
static int judge(const struct cli_client *client, const struct client_reply *reply, json_t **answer)
{
    struct slice text = buf_slice(&reply->body);
    json_t *json =
        json_loadb(text.data == NULL ? "" : text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    int code = cli_exit_code(reply->status);
    const json_t *success = json_object_get(json, "success");
    const char *message =
        json_string_value(json_object_get(json_object_get(json, "error"), "message"));

    if (code == EX_OK && json_is_true(success)) {
        *answer = json;
        return EX_OK;
    }
    if (code == EX_OK || !json_is_false(success) || message == NULL) {
        json_decref(json);
        return refuse_unreadable(reply);
    }
    if (client->json)
        cli_print_json(stdout, json);
    cli_fail(code, "%s", message);
    json_decref(json);
    return code;
}

int cli_ask(struct cli_client *client, const char *method, const char *target, json_t *body,
            json_t **answer)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    const struct client_question question = { method, target, text, client->patience_s };
    struct client_reply reply = { 0 };

    *answer = NULL;
    json_decref(body);
    buf_init(&reply.body, client->way->answer_max);
    int code = client->way->ask(client->way, &question, &reply);
    if (code == EX_OK)
        code = judge(client, &reply, answer);
    buf_wipe(&reply.body);
    client_wipe_and_free(text);
    return code;
}

int cli_ask_once(const struct cli_arguments *arguments, const char *method, const char *target,
                 json_t *body, json_t **answer)
{
    struct cli_client *client;
    int code = cli_open(&client, arguments);

    *answer = NULL;
    if (code != EX_OK) {
        json_decref(body);
        return code;
    }
    code = cli_ask(client, method, target, body, answer);
    cli_close(client);
    return code;
}
