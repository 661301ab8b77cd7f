/* command.c - what does this line ask for, and may it now?
 * One row a command: what must have been shown before it, what must not, what runs it. The rules
 * that hold for all commands are in dispatch() and command_answer() and nowhere else; a handler may
 * rely on its row. */
#include "relay/smtp/command.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/message/domain.h"
#include "relay/message/sender.h"
#include "relay/smtp/login.h"
#include "relay/smtp/parse.h"
#include "relay/smtp/refusal.h"
#include "relay/smtp/session_priv.h"

/* How many RCPTs and DATAs that a client had pipelined behind a refused MAIL are answered for
 * nothing: they are the consequence of one error (Exim sends 100, others up to a thousand). */
#define FORGIVEN_MAX 1000

const char *const tally_names[TALLY_COUNT] = {
    [TALLY_HELLO] = "ehlo",      [TALLY_STARTTLS] = "starttls", [TALLY_AUTH] = "auth",
    [TALLY_MAIL] = "mail",       [TALLY_RCPT] = "rcpt",         [TALLY_DATA] = "data",
    [TALLY_MESSAGE] = "message", [TALLY_RSET] = "rset",         [TALLY_NOOP] = "noop",
    [TALLY_QUIT] = "quit",       [TALLY_OTHER] = "other",
};

/* --- hello ------------------------------------------------------------------------------------ */

static enum reply greet_back(struct session *s, struct slice args)
{
    struct slice name;

    if (parse_helo(args, &name) != PARSE_OK)
        return REPLY_BAD_HELLO;
    session_reset(s);
    free(s->helo);
    s->helo = slice_dup(name);
    s->facts |= FACT_HELLO;
    return session_detail(s, REPLY_HELLO, "%s", s->service->hostname);
}

/* What EHLO offers, in this order: when all of `with` and nothing of `without` is there. */
static const struct {
    const char *keyword;
    unsigned with, without;
    bool starttls_door; /* only there */
    bool size;          /* the largest message stands behind it */
} offers[] = {
    { "PIPELINING", 0, 0, false, false },
    { "SIZE", 0, 0, false, true },
    { "8BITMIME", 0, 0, false, false },
    { "ENHANCEDSTATUSCODES", 0, 0, false, false },
    { "AUTH PLAIN LOGIN", FACT_PRIVATE, 0, false, false },
    { "STARTTLS", 0, FACT_SECURE, true, false },
};

static bool is_offered(const struct session *s, size_t i)
{
    return (s->facts & offers[i].with) == offers[i].with && (s->facts & offers[i].without) == 0 &&
           (!offers[i].starttls_door || s->door->tls == SMTP_TLS_STARTTLS);
}

/* A reply of many lines: all but the last are written here, the last is the detail of REPLY_HELLO.
 */
static enum reply do_ehlo(struct session *s, struct slice args)
{
    char lines[REPLY_BYTES], offer[64] = "";
    enum reply reply = greet_back(s, args);
    size_t len;

    if (reply != REPLY_HELLO)
        return reply;
    len = (size_t)snprintf(lines, sizeof(lines), "250-%.200s\r\n", s->service->hostname);
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        if (!is_offered(s, i))
            continue;
        if (offer[0] != '\0')
            len += (size_t)snprintf(lines + len, sizeof(lines) - len, "250-%s\r\n", offer);
        if (offers[i].size)
            snprintf(offer, sizeof(offer), "%s %llu", offers[i].keyword,
                     (unsigned long long)session_message_max(s));
        else
            snprintf(offer, sizeof(offer), "%s", offers[i].keyword);
    }
    stream_write(s->stream, slice_make(lines, len));
    return session_detail(s, REPLY_HELLO, "%s", offer);
}

static enum reply do_helo(struct session *s, struct slice args)
{
    return greet_back(s, args);
}

static enum reply do_starttls(struct session *s, struct slice args)
{
    if (args.len > 0)
        return REPLY_NO_ARGUMENT;
    if (s->door->tls != SMTP_TLS_STARTTLS)
        return REPLY_NO_TLS_HERE;
    if (s->input_behind)
        return REPLY_INJECTION;
    return s->service->tls == NULL ? REPLY_TLS_UNAVAILABLE : REPLY_START_TLS;
}

/* --- the envelope ----------------------------------------------------------------------------- */

static bool permit_sender(void *grant, struct slice local, struct slice domain)
{
    return auth_grant_permits_sender(grant, local, domain);
}

static enum reply parse_refusal(enum parse_error error, enum reply bad_syntax, enum reply bad_path)
{
    const enum reply refusals[] = {
        [PARSE_OK] = REPLY_OK,
        [PARSE_BAD_LINE] = REPLY_BAD_LINE,
        [PARSE_BAD_SYNTAX] = bad_syntax,
        [PARSE_BAD_PATH] = bad_path,
        [PARSE_BAD_SIZE] = REPLY_BAD_SIZE,
        [PARSE_BAD_BODY] = REPLY_BAD_BODY,
        [PARSE_UNKNOWN_PARAM] = REPLY_UNKNOWN_PARAMETER,
    };
    return refusals[error];
}

static enum reply judge_sender(struct session *s, struct slice path, struct address *sender)
{
    static const enum reply refusals[] = {
        [SENDER_OK] = REPLY_OK,
        [SENDER_NOT_PERMITTED] = REPLY_SENDER_REFUSED,
        [SENDER_NOT_READABLE] = REPLY_BAD_SENDER_PATH,
        [SENDER_NON_ASCII] = REPLY_SENDER_PATH_NON_ASCII,
        [SENDER_BAD_PATH] = REPLY_BAD_SENDER_PATH,
        [SENDER_PATH_NON_ASCII] = REPLY_SENDER_PATH_NON_ASCII,
    };
    struct sender_reason reason = sender_check_path(path, permit_sender, s->grant, sender);

    if (reason.verdict == SENDER_NOT_PERMITTED) {
        metrics_add(METRIC_SENDER_REFUSED, 1);
        LOG(LOG_INFO, "sender_refused", LOG_STR("session", s->id), LOG_STR("key", s->key_id),
            LOG_STR("reason", reason.rule));
    }
    return session_detail(s, refusals[reason.verdict], "%s", reason.rule);
}

/* The rate is asked last: a message that is refused for another reason takes nothing from it. */
static enum reply do_mail(struct session *s, struct slice args)
{
    struct mail_args mail;
    struct address sender;
    unsigned wait_s;
    enum parse_error error = parse_mail(args, &mail);

    session_detail(s, REPLY_LATER, "the address is not readable");
    if (error != PARSE_OK)
        return parse_refusal(error, REPLY_BAD_MAIL, REPLY_BAD_SENDER_PATH);
    if (mail.has_size && mail.size > session_message_max(s))
        return REPLY_TOO_LARGE;
    enum reply refusal = judge_sender(s, mail.path, &sender);
    if (refusal != REPLY_OK)
        return refusal;
    if (!queue_has_room(s->service->queue))
        return queue_is_failing(s->service->queue) ? REPLY_STORE_FAILED : REPLY_NO_ROOM;
    if (!auth_take_message(s->service->auth, s->grant, clock_wall_ms(), &wait_s))
        return session_detail(s, REPLY_RATE, "%u", wait_s);
    s->tx = transaction_new(s, &sender);
    s->facts |= FACT_SENDER;
    return REPLY_SENDER_OK;
}

/* In lower case; a literal as it was written. A label starting "xn--" is not looked into, because
 * names that IDNA2008 refuses (emoji) do receive mail. */
static struct slice fold_domain(const struct address *address, char text[static DOMAIN_TEXT_MAX])
{
    if (address->is_literal)
        return address->domain;
    for (size_t i = 0; i < address->domain.len; i++) /* domain_check() has bounded it */
        text[i] = ascii_lower(address->domain.data[i]);
    return slice_make(text, address->domain.len);
}

static enum reply take_recipient(struct session *s, struct slice local, struct slice domain)
{
    unsigned wait_s;

    if (!auth_grant_permits_recipient(s->grant, local, domain))
        return session_detail(s, REPLY_RECIPIENT_REFUSED,
                              "this key may not send to this recipient");
    if (s->tx->recipients >= s->service->limits.recipients)
        return REPLY_TOO_MANY_RECIPIENTS;
    if (!transaction_has(s->tx, local, domain)) {
        int64_t now_s = clock_wall_s();
        if (!auth_take_recipient(s->service->auth, s->grant, now_s, &wait_s))
            return session_detail(s, REPLY_DAY_FULL, "%u", wait_s);
        transaction_charge(s->tx, now_s);
        transaction_add(s->tx, local, domain);
    }
    s->tx->recipients++;
    return REPLY_RECIPIENT_OK;
}

static enum reply do_rcpt(struct session *s, struct slice args)
{
    struct address_path_options options = { .allow_null = false, .allow_quoted = true };
    struct slice path;
    struct address address;
    char folded[DOMAIN_TEXT_MAX];
    enum parse_error error = parse_rcpt(args, &path);

    s->facts |= FACT_RCPT;
    session_detail(s, REPLY_LATER, "the address is not readable");
    if (error != PARSE_OK)
        return parse_refusal(error, REPLY_BAD_RCPT, REPLY_BAD_RECIPIENT);
    enum address_error wrong = address_parse_path(path, options, &address);
    if (wrong != ADDRESS_OK)
        return session_detail(
            s, wrong == ADDRESS_NON_ASCII ? REPLY_RECIPIENT_NON_ASCII : REPLY_BAD_RECIPIENT, "%s",
            address_error_text(wrong));
    return take_recipient(s, address.local, fold_domain(&address, folded));
}

static enum reply do_data(struct session *s, struct slice args)
{
    if (args.len > 0)
        return REPLY_NO_ARGUMENT;
    if (s->tx->recipients == 0)
        return REPLY_ALL_REFUSED;
    transaction_start_data(s->tx);
    session_enter(s, ST_BODY);
    return REPLY_START_DATA;
}

/* --- the rest --------------------------------------------------------------------------------- */

static enum reply do_rset(struct session *s, struct slice args)
{
    if (args.len > 0)
        return REPLY_NO_ARGUMENT;
    session_reset(s);
    return REPLY_OK;
}

/* --- the table -------------------------------------------------------------------------------- */

typedef enum reply command_fn(struct session *s, struct slice args);

enum flag {
    JUNK = 1,    /* leads nowhere by itself */
    FOLLOWS = 2, /* clients pipeline it behind MAIL, whose refusal refuses it too */
    SECRET = 4,  /* its argument is a secret: not for a connection in clear, nor for a log */
};

/* What must be there, each step on the one before. */
#define GREETED   (FACT_PRIVATE | FACT_HELLO)
#define LOGGED_IN (GREETED | FACT_AUTHED)
#define IN_MAIL   (LOGGED_IN | FACT_SENDER)
#define IN_RCPT   (IN_MAIL | FACT_RCPT)

static const struct command {
    const char *verb;
    command_fn *run; /* NULL: the reply is always ... */
    enum reply always;
    unsigned needs; /* facts that must be there */
    unsigned bars;  /* facts that must not */
    enum tally tally;
    unsigned flags;
} commands[] = {
    { "MAIL", do_mail, 0, LOGGED_IN, FACT_SENDER, TALLY_MAIL, 0 },
    { "RCPT", do_rcpt, 0, IN_MAIL, 0, TALLY_RCPT, FOLLOWS },
    { "DATA", do_data, 0, IN_RCPT, 0, TALLY_DATA, FOLLOWS },
    { "QUIT", NULL, REPLY_BYE, 0, 0, TALLY_QUIT, 0 },
    { "EHLO", do_ehlo, 0, 0, 0, TALLY_HELLO, JUNK },
    { "HELO", do_helo, 0, 0, 0, TALLY_HELLO, JUNK },
    { "AUTH", login_start, 0, GREETED, FACT_AUTHED | FACT_SENDER, TALLY_AUTH, SECRET },
    { "STARTTLS", do_starttls, 0, 0, FACT_SECURE, TALLY_STARTTLS, 0 },
    { "RSET", do_rset, 0, 0, 0, TALLY_RSET, JUNK },
    { "NOOP", NULL, REPLY_OK, 0, 0, TALLY_NOOP, JUNK },
    { "HELP", NULL, REPLY_HELP, FACT_PRIVATE, 0, TALLY_OTHER, JUNK },
    /* Go's net/smtp cancels an exchange that its refusal has ended already. */
    { "*", NULL, REPLY_NOTHING_TO_CANCEL, 0, 0, TALLY_OTHER, 0 },
    /* The octets behind BDAT are a message and must not be read as commands; how many there are is
     * not for a parser to say that does not offer it. */
    { "BDAT", NULL, REPLY_BDAT, 0, 0, TALLY_OTHER, 0 },
    { "VRFY", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "EXPN", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "ETRN", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "TURN", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "XCLIENT", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "XFORWARD", NULL, REPLY_NOT_IMPLEMENTED, FACT_PRIVATE, 0, TALLY_OTHER, 0 },
    { "GET", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "POST", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "PUT", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "HEAD", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "DELETE", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "OPTIONS", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "CONNECT", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "TRACE", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
    { "PATCH", NULL, REPLY_HTTP, 0, 0, TALLY_OTHER, 0 },
};

struct rule {
    enum fact fact;
    enum reply refusal;
};

/* TLS before all else: who has not encrypted yet is told so, greeted or not. */
static const struct rule missing[] = {
    /* asked in this order */
    { FACT_PRIVATE, REPLY_TLS_FIRST }, { FACT_HELLO, REPLY_HELLO_FIRST },
    { FACT_AUTHED, REPLY_AUTH_FIRST }, { FACT_SENDER, REPLY_MAIL_FIRST },
    { FACT_RCPT, REPLY_RCPT_FIRST },
};
static const struct rule barred[] = {
    { FACT_SECURE, REPLY_TLS_ALREADY },
    { FACT_AUTHED, REPLY_LOGGED_IN_ALREADY },
    { FACT_SENDER, REPLY_MAIL_ALREADY },
};

static const struct command *command_find(struct slice verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (slice_equal_nocase(verb, slice_of(commands[i].verb)))
            return &commands[i];
    return NULL;
}

/* --- running and answering -------------------------------------------------------------------- */

static enum reply dispatch(struct session *s, const struct command *cmd, struct slice args)
{
    unsigned lacks = cmd->needs & ~s->facts;
    unsigned has = cmd->bars & s->facts;

    if (s->service->draining && s->tx == NULL)
        return REPLY_STOPPING;
    if (cmd->flags & JUNK && s->junk++ >= s->service->limits.junk_commands)
        return REPLY_TOO_MUCH_JUNK;
    if (s->facts & FACT_AUTHED) {
        enum auth_verdict verdict = login_refresh(s);
        if (verdict != AUTH_OK)
            return session_detail(s, REPLY_KEY_GONE, "%s", auth_verdict_text(verdict));
    }
    if (cmd->flags & SECRET && lacks & FACT_PRIVATE)
        return login_in_clear(s, args);
    for (size_t i = 0; i < ARRAY_LEN(missing); i++)
        if (lacks & missing[i].fact)
            return missing[i].refusal;
    for (size_t i = 0; i < ARRAY_LEN(barred); i++)
        if (has & barred[i].fact)
            return barred[i].refusal;
    return cmd->run == NULL ? cmd->always : cmd->run(s, args);
}

static enum reply refuse_unknown(bool first)
{
    return first ? REPLY_NOT_SMTP : REPLY_UNKNOWN_COMMAND;
}

/* Behind a refused MAIL the refusals of what was pipelined with it are forgiven. Returns whether
 * this one is. */
static bool forgive(struct session *s, const struct command *cmd, enum reply reply)
{
    if (!(cmd->flags & FOLLOWS)) {
        bool mail_refused = cmd->run == do_mail && s->tx == NULL;
        s->forgiven = mail_refused ? FORGIVEN_MAX : 0;
        return false;
    }
    if (s->forgiven == 0 || s->tx != NULL || !reply_is_refusal(reply))
        return false;
    s->forgiven--;
    return true;
}

/* Of which message is it, for the audit trail? The sender of a MAIL that is being refused is in its
 * arguments only. */
static struct slice sender_said(struct slice args)
{
    struct mail_args mail;

    if (parse_mail(args, &mail) != PARSE_OK)
        return slice_make(NULL, 0);
    bool bracketed =
        mail.path.len >= 2 && mail.path.data[0] == '<' && mail.path.data[mail.path.len - 1] == '>';
    return bracketed ? slice_first(slice_from(mail.path, 1), mail.path.len - 2) : mail.path;
}

static struct slice sender_under_way(const struct session *s)
{
    return s->tx == NULL ? slice_make(NULL, 0) : slice_of(s->tx->sender);
}

void command_run(struct session *s, struct slice text)
{
    struct command_line line;
    bool first = !s->spoken;

    s->spoken = true;
    if (parse_line(text, &line) != PARSE_OK) {
        command_answer(s, TALLY_OTHER, REPLY_BAD_LINE);
        return;
    }
    const struct command *cmd = command_find(line.verb);
    if (cmd == NULL) {
        command_answer(s, TALLY_OTHER, refuse_unknown(first));
        return;
    }
    enum reply reply = dispatch(s, cmd, line.args);
    if (reply_is_refusal(reply))
        refusal_note(s, reply, cmd->run == do_mail ? sender_said(line.args) : sender_under_way(s));
    if (forgive(s, cmd, reply) && reply_row(reply)->closes == CLOSE_NOT)
        session_reply(s, reply);
    else
        command_answer(s, cmd->tally, reply);
}

/* What this reply costs; the reply that is due instead when it was too much. */
static enum reply charge(struct session *s, enum reply reply)
{
    const struct reply_row *row = reply_row(reply);

    if (row->closes != CLOSE_NOT)
        return reply;
    if (row->cost == COST_ERROR && ++s->errors >= s->service->limits.errors)
        return REPLY_TOO_MANY_ERRORS;
    if (row->cost == COST_JUNK && ++s->junk > s->service->limits.junk_commands)
        return REPLY_TOO_MUCH_JUNK;
    return reply;
}

void command_answer(struct session *s, enum tally tally, enum reply reply)
{
    if (s->tarpit_ms > 0) {
        session_keep_back(s, reply);
        return;
    }
    if (reply != REPLY_CHALLENGE) {
        s->tallies[tally].total++;
        s->tallies[tally].ok += !reply_is_refusal(reply);
    }
    session_reply(s, charge(s, reply));
    if (s->state == ST_CLOSED)
        return;
    if (reply == REPLY_START_TLS)
        session_start_tls(s);
    else if (s->auth_failures >= s->service->limits.auth_failures)
        session_reply(s, REPLY_AUTH_FAILURES);
}
