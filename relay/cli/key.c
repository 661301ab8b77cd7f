/* key.c - `latchpost key`: make, list, show, rotate, hold, release and revoke API keys.
 * A new key goes to standard output alone, so that it can be piped into a file or a secret store,
 * and to nothing else; what is to be said about it goes to standard error. No option takes a
 * secret. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/cli/client.h"
#include "relay/config_value.h"

#define KEY_ID_CHARACTERS 8

enum create_option {
    CREATE_NAME,
    CREATE_ACCOUNT,
    CREATE_SCOPE,
    CREATE_DOMAIN,
    CREATE_SENDER,
    CREATE_RECIPIENT,
    CREATE_EXPIRES,
    CREATE_RATE,
    CREATE_RECIPIENTS_PER_DAY,
    CREATE_MAX_SIZE,
    CREATE_MAX_SESSIONS,
    CREATE_ALLOW_FROM,
    CREATE_TEST,
};
static const struct cli_option create_options[] = {
    [CREATE_NAME] = { "name", "NAME", false, "1 to 100 characters; needed" },
    [CREATE_ACCOUNT] = { "account", "ACCOUNT", false, "whose key; else \"default\"" },
    [CREATE_SCOPE] = { "scope", "SCOPES", true,
                       "send,keys,messages,domains,accounts,metrics; "
                       "else send" },
    [CREATE_DOMAIN] = { "domain", "DOMAIN", true, "may send as this domain only; also *.DOMAIN" },
    [CREATE_SENDER] = { "sender", "ADDRESS", true, "may send as this address only" },
    [CREATE_RECIPIENT] = { "recipient", "WHO", true, "may send to this address or domain only" },
    [CREATE_EXPIRES] = { "expires", "90d", false, "1d to 365d; else never" },
    [CREATE_RATE] = { "rate", "100/min", false, "messages a minute; at most the plan's" },
    [CREATE_RECIPIENTS_PER_DAY] = { "recipients-per-day", "1000", false, "at most the plan's" },
    [CREATE_MAX_SIZE] = { "max-size", "10M", false, "of a message; else limits.message_size" },
    [CREATE_MAX_SESSIONS] = { "max-sessions", "5", false, "SMTP sessions at a time; else any" },
    [CREATE_ALLOW_FROM] = { "allow-from", "CIDR", true, "may log in from there only" },
    [CREATE_TEST] = { "test", NULL, false, "a test key: what it sends is recorded, never relayed" },
};

static const struct cli_column list_columns[] = {
    { "ID", "keyId", CLI_PLAIN },           { "NAME", "name", CLI_PLAIN },
    { "ACCOUNT", "account", CLI_PLAIN },    { "SCOPES", "scopes", CLI_PLAIN },
    { "DOMAINS", "domains", CLI_PLAIN },    { "STATUS", "status", CLI_PLAIN },
    { "CREATED", "createdAt", CLI_PLAIN },  { "EXPIRES", "expirationTs", CLI_PLAIN },
    { "LAST USED", "lastUsed", CLI_PLAIN },
};

static const struct cli_column show_columns[] = {
    { "ID", "keyId", CLI_PLAIN },
    { "Key", "masked", CLI_PLAIN },
    { "Name", "name", CLI_PLAIN },
    { "Account", "account", CLI_PLAIN },
    { "Plan", "plan", CLI_PLAIN },
    { "Status", "status", CLI_PLAIN },
    { "Test key", "test", CLI_PLAIN },
    { "Scopes", "scopes", CLI_PLAIN },
    { "Domains", "domains", CLI_PLAIN },
    { "Senders", "senders", CLI_PLAIN },
    { "Recipients", "recipients", CLI_PLAIN },
    { "Allowed from", "allowFrom", CLI_PLAIN },
    { "Messages a minute", "rateLimit", CLI_PLAIN },
    { "Recipients a day", "recipientsPerDay", CLI_PLAIN },
    { "Message size", "messageSize", CLI_BYTES },
    { "Sessions", "maxSessions", CLI_PLAIN },
    { "Created", "createdAt", CLI_PLAIN },
    { "Expires", "expirationTs", CLI_PLAIN },
    { "Last used", "lastUsed", CLI_PLAIN },
    { "... from", "lastAddress", CLI_PLAIN },
    { "... by", "lastProtocol", CLI_PLAIN },
};

/* --- create ----------------------------------------------------------------------------------- */

/* A number with an ending, or without if `bare`. */
static bool read_count(const char *text, const char *ending, bool bare, uint64_t *count)
{
    struct slice rest = slice_of(text);
    struct slice tail = slice_of(ending);

    if (slice_ends_nocase(rest, tail))
        rest = slice_first(rest, rest.len - tail.len);
    else if (!bare)
        return false;
    return slice_to_u64(rest, count) && *count > 0 && *count <= INT32_MAX;
}

static bool read_days(const char *text, uint64_t *count)
{
    return read_count(text, "d", false, count);
}

static bool read_rate(const char *text, uint64_t *count)
{
    return read_count(text, "/min", true, count);
}

static bool read_plain(const char *text, uint64_t *count)
{
    return read_count(text, "", true, count);
}

static bool read_size(const char *text, uint64_t *count)
{
    return config_parse_size(slice_of(text), count) && *count > 0 && *count <= INT64_MAX;
}

static const struct {
    enum create_option option;
    const char *member;
    bool (*read)(const char *text, uint64_t *count);
    const char *takes;
} numbers[] = {
    { CREATE_EXPIRES, "expirationDays", read_days, "days, like 90d" },
    { CREATE_RATE, "rateLimit", read_rate, "messages a minute, like 100/min" },
    { CREATE_RECIPIENTS_PER_DAY, "recipientsPerDay", read_plain, "a number" },
    { CREATE_MAX_SIZE, "messageSize", read_size, "a size, like 10M" },
    { CREATE_MAX_SESSIONS, "maxSessions", read_plain, "a number" },
};

static int add_numbers(const struct cli_arguments *arguments, json_t *body)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const char *text = cli_value(arguments, numbers[i].option);
        uint64_t count;
        if (text == NULL)
            continue;
        if (!numbers[i].read(text, &count))
            return cli_fail(EX_USAGE, "--%s takes %s, not \"%s\"",
                            create_options[numbers[i].option].name, numbers[i].takes, text);
        json_object_set_new(body, numbers[i].member, json_integer((json_int_t)count));
    }
    return EX_OK;
}

/* Values of an option as an array; NULL when one is not UTF-8. */
static json_t *list_of(const struct cli_arguments *arguments, size_t option, bool cut)
{
    json_t *list = json_array();

    for (size_t i = 0; i < arguments->counts[option]; i++) {
        struct slice rest = slice_of(arguments->values[option][i]);
        do {
            struct slice item = cut ? slice_trim(slice_cut(&rest, ',')) : rest;
            if (json_array_append_new(list, json_stringn(item.data, item.len)) != 0) {
                json_decref(list);
                return NULL;
            }
        } while (cut && rest.data != NULL);
    }
    return list;
}

static const struct {
    enum create_option option;
    const char *member;
    bool cut; /* at commas */
} lists[] = {
    { CREATE_SCOPE, "scopes", true },          { CREATE_DOMAIN, "domains", false },
    { CREATE_SENDER, "senders", false },       { CREATE_RECIPIENT, "recipients", false },
    { CREATE_ALLOW_FROM, "allowFrom", false },
};

/* EX_OK and the request in *body. A restriction that was given must never get lost on the way, so
 * what cannot be said in JSON ends the command. */
static int make_body(const struct cli_arguments *arguments, json_t **body)
{
    const char *account = cli_value(arguments, CREATE_ACCOUNT);

    *body = json_object();
    if (json_object_set_new(*body, "name", json_string(cli_value(arguments, CREATE_NAME))) != 0)
        return cli_fail(EX_USAGE, "--name is not UTF-8");
    if (account != NULL && json_object_set_new(*body, "account", json_string(account)) != 0)
        return cli_fail(EX_USAGE, "--account is not UTF-8");
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_t *list = list_of(arguments, lists[i].option, lists[i].cut);
        if (list == NULL)
            return cli_fail(EX_USAGE, "--%s is not UTF-8", create_options[lists[i].option].name);
        if (json_array_size(list) > 0)
            json_object_set(*body, lists[i].member, list);
        json_decref(list);
    }
    if (arguments->counts[CREATE_TEST] > 0)
        json_object_set_new(*body, "test", json_true());
    return add_numbers(arguments, *body);
}

static const struct cli_column secret_columns[] = {
    { "SECRET", "masked", CLI_PLAIN },     { "MADE", "createdAt", CLI_PLAIN },
    { "ENDS", "expirationTs", CLI_PLAIN }, { "LAST USED", "lastUsed", CLI_PLAIN },
    { "FROM", "lastAddress", CLI_PLAIN },  { "BY", "lastProtocol", CLI_PLAIN },
};

/* While a key is rotated, who uses which secret is what one wants to know. */
static void print_key(FILE *out, const json_t *key)
{
    const json_t *secrets = json_object_get(key, "secrets");

    cli_print_sheet(out, key, show_columns, ARRAY_LEN(show_columns));
    if (json_array_size(secrets) > 1) {
        fputc('\n', out);
        cli_print_rows(out, secrets, secret_columns, ARRAY_LEN(secret_columns), true);
    }
}

static void print_remarks(const json_t *answer)
{
    const json_t *meta = json_object_get(answer, "meta");
    const char *warning = json_string_value(json_object_get(meta, "warning"));
    size_t i;
    json_t *note;

    print_key(stderr, json_object_get(answer, "data"));
    json_array_foreach(json_object_get(meta, "notes"), i, note)
    {
        char *text = cli_escape(json_string_value(note));
        fprintf(stderr, "Note: %s\n", text);
        free(text);
    }
    if (warning != NULL)
        fprintf(stderr, "%s\n", warning);
}

/* remedy: the verb that helps when the key cannot be written. */
static int print_secret(const struct cli_arguments *arguments, const json_t *answer,
                        const char *remedy)
{
    const json_t *data = json_object_get(answer, "data");
    const char *key = json_string_value(json_object_get(data, "apiKey"));
    const char *id = json_string_value(json_object_get(data, "keyId"));

    if (key == NULL || id == NULL)
        return cli_fail(EX_PROTOCOL, "The answer of the API holds no key.");
    if (arguments->json)
        cli_print_json(stdout, answer);
    else
        printf("%s\n", key);
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail(EX_IOERR,
                        "The key was made but could not be written to standard output. It is lost: "
                        "%s it with latchpost key %s %s",
                        remedy, remedy, id);
    if (!arguments->json)
        print_remarks(answer);
    return EX_OK;
}

static int create(const struct cli_arguments *arguments)
{
    json_t *body, *answer = NULL;

    signal(SIGPIPE, SIG_IGN); /* whoever was to read the key has left: that must be said */
    if (cli_value(arguments, CREATE_NAME) == NULL)
        return cli_fail(EX_USAGE, "--name is needed: see latchpost key --help");
    int code = make_body(arguments, &body);
    if (code != EX_OK) {
        json_decref(body);
        return code;
    }
    code = cli_ask_once(arguments, "POST", "/v1/api-keys", body, &answer);
    if (code == EX_OK)
        code = print_secret(arguments, answer, "revoke");
    json_decref(answer);
    return code;
}

/* --- list, show, revoke, hold, release -------------------------------------------------------- */

static const struct cli_option list_options[] = {
    { "account", "ACCOUNT", false, "only the keys of this account" },
};

static int list(const struct cli_arguments *arguments)
{
    json_t *answer;
    const char *account = cli_value(arguments, 0);
    char *encoded = cli_encode(account == NULL ? "" : account);
    char *target = xasprintf("/v1/api-keys%s%s", account == NULL ? "" : "?account=", encoded);
    int code = cli_ask_all(arguments, target, &answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, answer);
    else if (code == EX_OK)
        cli_print_rows(stdout, json_object_get(answer, "data"), list_columns,
                       ARRAY_LEN(list_columns), true);
    json_decref(answer);
    free(target);
    free(encoded);
    return code;
}

/* "/v1/api-keys/<id><act>", or NULL when that is no id. Whoever gives the whole key has already
 * shown it to every user of this machine, so it is not sent anywhere. */
static char *key_target(const char *id, const char *act)
{
    if (strlen(id) == KEY_ID_CHARACTERS) {
        char *encoded = cli_encode(id);
        char *target = xasprintf("/v1/api-keys/%s%s", encoded, act);
        free(encoded);
        return target;
    }
    cli_fail(EX_USAGE, "That is not the id of a key: it has 8 characters, and latchpost key list "
                       "shows it. Never give a key itself as an argument.");
    return NULL;
}

/* Consumes body, which may be NULL. */
static int ask_key(const struct cli_arguments *arguments, const char *method, const char *act,
                   json_t *body, json_t **answer)
{
    char *target = key_target(arguments->operands[0], act);

    *answer = NULL;
    if (target == NULL) {
        json_decref(body);
        return EX_USAGE;
    }
    int code = cli_ask_once(arguments, method, target, body, answer);
    free(target);
    return code;
}

static int ask_about(const struct cli_arguments *arguments, const char *method, const char *act,
                     json_t **answer)
{
    int code = ask_key(arguments, method, act, NULL, answer);

    if (code == EX_OK && arguments->json)
        cli_print_json(stdout, *answer);
    return code;
}

static int show(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "GET", "", &answer);

    if (code == EX_OK && !arguments->json)
        print_key(stdout, json_object_get(answer, "data"));
    json_decref(answer);
    return code;
}

static int revoke_key(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "DELETE", "", &answer);

    if (code == EX_OK && !arguments->json)
        fprintf(stderr, "The key %s is revoked.\n", arguments->operands[0]);
    json_decref(answer);
    return code;
}

static int hold(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "POST", "/hold", &answer);

    if (code == EX_OK && !arguments->json)
        fprintf(stderr, "The key %s is on hold.\n", arguments->operands[0]);
    json_decref(answer);
    return code;
}

static int release_key(const struct cli_arguments *arguments)
{
    json_t *answer;
    int code = ask_about(arguments, "POST", "/release", &answer);

    if (code == EX_OK && !arguments->json)
        fprintf(stderr, "The key %s works again.\n", arguments->operands[0]);
    json_decref(answer);
    return code;
}

/* --- rotate ----------------------------------------------------------------------------------- */

static const struct cli_option rotate_options[] = {
    { "overlap", "24h", false, "how long the former secret still works: 7d; 0: no more" },
};

static int rotate(const struct cli_arguments *arguments)
{
    const char *overlap = cli_value(arguments, 0);
    json_t *body = json_pack("{s:s*}", "overlap", overlap), *answer;

    signal(SIGPIPE, SIG_IGN); /* as for create */
    if (body == NULL)
        return cli_fail(EX_USAGE, "--overlap is not UTF-8");
    int code = ask_key(arguments, "POST", "/rotate", body, &answer);
    if (code == EX_OK)
        code = print_secret(arguments, answer, "rotate");
    json_decref(answer);
    return code;
}

static const struct cli_verb verbs[] = {
    { "create", NULL, 0, 0, create_options, ARRAY_LEN(create_options), create,
      "Make a key and print it, this once, on standard output." },
    { "list", NULL, 0, 0, list_options, ARRAY_LEN(list_options), list, "List the keys." },
    { "show", "ID", 1, 1, NULL, 0, show, "Show what a key may do and when it was used." },
    { "rotate", "ID", 1, 1, rotate_options, ARRAY_LEN(rotate_options), rotate,
      "Give a key another secret and print the new key, this once, on standard output." },
    { "hold", "ID", 1, 1, NULL, 0, hold, "Let a key do nothing, at once, until it is released." },
    { "release", "ID", 1, 1, NULL, 0, release_key, "Let a held key work again." },
    { "revoke", "ID", 1, 1, NULL, 0, revoke_key, "Revoke a key, at once and for good." },
};
static const struct cli_noun noun = { "key", "API keys", verbs, ARRAY_LEN(verbs) };

int cli_key(int argc, char **argv)
{
    return cli_run(&noun, argc, argv);
}
