/* client_login.c - from the greeting to a connection that takes mail: EHLO, STARTTLS, AUTH.
 * TLS that was asked for is never done without, and credentials go out only on a connection that is
 * what the configuration says. Everything that was learned in the clear is forgotten with the EHLO
 * that follows the handshake. */
#include <stdio.h>

#include "relay/base/base64.h"
#include "relay/upstream/client_priv.h"

#define AUTH_MAX (16 * 1024) /* user, password and their encoding */

static void start_tls(struct client *client)
{
    client_enter(client, CLIENT_HANDSHAKE);
    stream_start_tls_client(client->stream, client->tls, client_options(client)->host,
                            client_options(client)->timeouts.connect);
}

static void await_banner(struct client *client)
{
    client->owed = 1;
    client_enter(client, CLIENT_BANNER);
}

void client_connected(struct client *client)
{
    if (client_options(client)->tls == UPSTREAM_TLS_IMPLICIT)
        start_tls(client);
    else
        await_banner(client);
}

void client_secured(struct client *client)
{
    if (client_options(client)->tls == UPSTREAM_TLS_IMPLICIT)
        await_banner(client);
    else
        client_enter(client, CLIENT_EHLO);
}

/* Only 220 means ready (RFC 5321 section 4.3.1); a greeting that never ends meets the timeout or
 * the limits of answer.c. */
void client_judge_banner(struct client *client, const struct answer *answer)
{
    if (answer->code == 220)
        client_enter(client, CLIENT_EHLO);
    else
        client_break_by_answer(client, answer);
}

/* --- EHLO ------------------------------------------------------------------------------------- */

static const char *our_name(const struct client *client)
{
    return client_options(client)->helo != NULL ? client_options(client)->helo : "localhost";
}

void client_send_ehlo(struct client *client)
{
    client->offers = 0;
    client->size_limit = 0;
    client_say(client, "EHLO %s", our_name(client));
}

static void learn_size(struct client *client, struct slice args)
{
    client->offers |= OFFERS_SIZE;
    if (!slice_to_u64(slice_trim(args), &client->size_limit))
        client->size_limit = 0; /* RFC 1870 section 4: no number, or 0, is no limit told */
}

static void learn_auth(struct client *client, struct slice args)
{
    while (args.len > 0) {
        struct slice word = slice_cut(&args, ' ');

        if (slice_equal_nocase(word, SLICE("PLAIN")))
            client->offers |= OFFERS_AUTH_PLAIN;
        else if (slice_equal_nocase(word, SLICE("LOGIN")))
            client->offers |= OFFERS_AUTH_LOGIN;
    }
}

void client_learn(struct client *client, struct slice line)
{
    static const struct {
        const char *keyword;
        unsigned offer;
        void (*learn)(struct client *client, struct slice args);
    } rows[] = {
        { "PIPELINING", OFFERS_PIPELINING, NULL },
        { "8BITMIME", OFFERS_8BITMIME, NULL },
        { "STARTTLS", OFFERS_STARTTLS, NULL },
        { "SIZE", 0, learn_size },
        { "AUTH", 0, learn_auth },
    };
    struct slice args = slice_trim(line);
    struct slice keyword = slice_cut(&args, ' ');

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!slice_equal_nocase(keyword, slice_of(rows[i].keyword)))
            continue;
        client->offers |= rows[i].offer;
        if (rows[i].learn != NULL)
            rows[i].learn(client, args);
    }
}

static void log_in(struct client *client)
{
    if (client_options(client)->username == NULL || client_options(client)->password == NULL)
        client_rest(client);
    else if (client->offers & OFFERS_AUTH_PLAIN)
        client_enter(client, CLIENT_AUTH_PLAIN);
    else if (client->offers & OFFERS_AUTH_LOGIN)
        client_enter(client, CLIENT_AUTH_LOGIN);
    else
        client_break(client, "it offers neither AUTH PLAIN nor AUTH LOGIN");
}

void client_judge_ehlo(struct client *client, const struct answer *answer)
{
    bool starttls = client_options(client)->tls == UPSTREAM_TLS_STARTTLS;

    if (answer_class(answer) == ANSWER_NEVER && client_options(client)->tls == UPSTREAM_TLS_NONE &&
        client_options(client)->username == NULL)
        client_enter(client, CLIENT_HELO);
    else if (answer->code != 250)
        client_break_by_answer(client, answer);
    else if (!starttls || stream_is_secure(client->stream))
        log_in(client);
    else if (client->offers & OFFERS_STARTTLS)
        client_enter(client, CLIENT_STARTTLS);
    else
        client_break(client, "it does not offer STARTTLS, which the configuration requires");
}

/* A server that knows no EHLO knows no TLS and no AUTH; it may still take mail in the clear. */
void client_send_helo(struct client *client)
{
    client_say(client, "HELO %s", our_name(client));
}

void client_judge_helo(struct client *client, const struct answer *answer)
{
    if (answer->code == 250)
        client_rest(client);
    else
        client_break_by_answer(client, answer);
}

/* --- STARTTLS --------------------------------------------------------------------------------- */

void client_send_starttls(struct client *client)
{
    client_say(client, "STARTTLS");
}

/* Bytes behind the 220 in the same read would be taken as said inside TLS (the injection that RFC
 * 3207 does not mention); the caller has already broken off when there are any. */
void client_judge_starttls(struct client *client, const struct answer *answer)
{
    if (answer->code == 220)
        start_tls(client);
    else
        client_break_by_answer(client, answer);
}

/* --- AUTH ------------------------------------------------------------------------------------- */

/* base64("\0user\0password"), RFC 4616; or of one of the two alone. */
static bool encode_plain(const struct client *client, struct buf *text)
{
    struct buf plain;

    buf_init(&plain, AUTH_MAX);
    bool ok =
        buf_add_byte(&plain, '\0') && buf_add(&plain, slice_of(client_options(client)->username)) &&
        buf_add_byte(&plain, '\0') && buf_add(&plain, slice_of(client_options(client)->password)) &&
        base64_encode(buf_slice(&plain), text);
    buf_wipe(&plain);
    return ok;
}

/* Past client_say(), because what holds a secret must be wiped. */
static void say_secret(struct client *client, const char *verb, bool whole, const char *part)
{
    struct buf line;

    buf_init(&line, 2 * AUTH_MAX);
    bool ok = buf_add(&line, slice_of(verb)) &&
              (whole ? encode_plain(client, &line) : base64_encode(slice_of(part), &line)) &&
              buf_add(&line, SLICE("\r\n"));
    client->owed++;
    /* Too long for us is too long for any server; "*" is how RFC 4954 section 4 gives up. */
    stream_write(client->stream, ok ? buf_slice(&line) : SLICE("*\r\n"));
    buf_wipe(&line);
}

void client_send_auth_plain(struct client *client)
{
    say_secret(client, "AUTH PLAIN ", true, NULL);
}

void client_send_auth_login(struct client *client)
{
    client_say(client, "AUTH LOGIN");
}

void client_send_auth_user(struct client *client)
{
    say_secret(client, "", false, client_options(client)->username);
}

void client_send_auth_password(struct client *client)
{
    say_secret(client, "", false, client_options(client)->password);
}

/* A login that is refused for good is refused to the next connection, too, and many services lock
 * an account after a few: so it is told apart from other failures. */
static void refused(struct client *client, const struct answer *answer)
{
    struct why text = { "" };

    if (answer_class(answer) != ANSWER_NEVER) {
        client_break_by_answer(client, answer);
        return;
    }
    why_set(&text, "%s port %u refused the login: %d %s", client_options(client)->host,
            (unsigned)client_options(client)->port, answer->code, client_words(client, answer));
    client_finish(client, CLIENT_LOGIN_REFUSED, text.text);
}

void client_judge_auth(struct client *client, const struct answer *answer)
{
    if (answer->code == 235)
        client_rest(client);
    else
        refused(client, answer);
}

void client_judge_auth_login(struct client *client, const struct answer *answer)
{
    if (answer->code == 334)
        client_enter(client, CLIENT_AUTH_USER);
    else
        refused(client, answer);
}

void client_judge_auth_user(struct client *client, const struct answer *answer)
{
    if (answer->code == 334)
        client_enter(client, CLIENT_AUTH_PASSWORD);
    else
        refused(client, answer);
}

static bool holds(const char *words, struct slice part)
{
    return part.len > 0 && memmem(words, strlen(words), part.data, part.len) != NULL;
}

/* Some servers repeat the line they do not like. */
const char *client_words(const struct client *client, const struct answer *answer)
{
    const char *password = client_options(client)->password;
    struct buf plain, alone;

    if (password == NULL || client_options(client)->username == NULL)
        return answer->text;
    buf_init(&plain, 2 * AUTH_MAX);
    buf_init(&alone, 2 * AUTH_MAX);
    bool encoded = encode_plain(client, &plain) && base64_encode(slice_of(password), &alone);
    bool told = !encoded || holds(answer->text, slice_of(password)) ||
                holds(answer->text, buf_slice(&plain)) || holds(answer->text, buf_slice(&alone));

    buf_wipe(&plain);
    buf_wipe(&alone);
    return told ? "(not shown: it repeats the credentials)" : answer->text;
}
