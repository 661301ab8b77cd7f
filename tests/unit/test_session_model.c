/* test_session_model.c - does the session keep its word whatever is said in whatever order?
 * A small model of the conversation, written from the RFCs and the README and not from the code,
 * goes along with random sequences of 1 to 200 commands and says each reply beforehand; the session
 * hears the same bytes, whole or in random pieces. What it looks for is state that survives when it
 * should not (or the reverse): after RSET, a second EHLO, STARTTLS, a refused MAIL, a failed login,
 * a message that was refused, a key that was narrowed in between.
 *
 * MODEL_SEQUENCES says how many (10,000), MODEL_SEED where to begin; a failure prints the sequence
 * and the seed that repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/smtp_dialog.h"

#define SEQUENCES    10000
#define COMMANDS_MAX 200
#define ERRORS_MAX   8
#define JUNK_MAX     20
#define FAILURES_MAX 3
#define RCPTS_MAX    4
#define WRONG_KEY    "lpk_00000000000000000000000000000000000000000000"

/* --- random numbers (xorshift: the same on every machine) ------------------------------------- */

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* --- the model -------------------------------------------------------------------------------- */

enum talk { TALK_COMMANDS, TALK_PLAIN, TALK_USER, TALK_SECRET, TALK_BODY };

static struct model {
    enum smtp_tls door;
    bool secret_allowed; /* TLS is up, or the door allows a login in clear */
    bool secure, hello, logged_in, mail, rcpt;
    bool permitted;         /* may the key send as good.example now? */
    bool first, next_first; /* is this command the first of the connection, or inside TLS? */
    bool over;
    bool follows; /* what comes now may be the rest of what was pipelined with a refused MAIL */
    unsigned recipients, errors, junk, failures;
    enum talk talk;
    uint64_t queued;
} model;

static char wanted[4096];

static void want(const char *code)
{
    size_t len = strlen(wanted);

    snprintf(wanted + len, sizeof(wanted) - len, "%s%s", len > 0 ? "|" : "", code);
}

static void end(const char *code)
{
    want(code);
    model.over = true;
}

static void error(const char *code) /* only a broken or confused client comes here */
{
    if (++model.errors >= ERRORS_MAX)
        end("421 4.7.0");
    else
        want(code);
}

static void leads_nowhere(const char *code)
{
    if (++model.junk > JUNK_MAX)
        end("421 4.7.0");
    else
        want(code);
}

/* Commands that do nothing for a message; false when there were too many. */
static bool idle_command(void)
{
    if (model.junk++ < JUNK_MAX)
        return true;
    end("421 4.7.0");
    return false;
}

static void forget_mail(void)
{
    model.mail = model.rcpt = false;
    model.recipients = 0;
}

static void login_failed(const char *code)
{
    model.talk = TALK_COMMANDS;
    want(code);
    if (++model.failures >= FAILURES_MAX)
        end("421 4.7.0");
}

/* --- what a client may say -------------------------------------------------------------------- */

static char good_plain[128], bad_plain[128], good_secret[128], bad_secret[128];

/* TLS before all else, then EHLO, then the login. True: it was answered. */
static bool too_early(bool for_mail)
{
    if (!model.secret_allowed)
        error("530 5.7.0");
    else if (!model.hello)
        error("503 5.5.1");
    else if (for_mail && !model.logged_in)
        error("530 5.7.0");
    else
        return false;
    return true;
}

static void hello(void)
{
    if (!idle_command())
        return;
    forget_mail();
    model.hello = true;
    want("250");
}

static void bad_hello(void)
{
    if (idle_command())
        error("501 5.5.4");
}

static void starttls(void)
{
    if (model.secure)
        error("503 5.5.1");
    else if (model.door != SMTP_TLS_STARTTLS)
        error("502 5.5.1");
    else {
        want("220 2.0.0");
        forget_mail();
        model.hello = model.logged_in = false;
        model.secure = model.secret_allowed = model.next_first = true;
    }
}

static void starttls_and_more(void) /* sent whole */
{
    if (model.secure || model.door != SMTP_TLS_STARTTLS) {
        starttls();
        if (!model.over && idle_command())
            want("250 2.0.0");
    } else {
        end("554 5.5.0");
    }
}

static void starttls_argument(void)
{
    error(model.secure ? "503 5.5.1" : "501 5.5.4");
}

static bool may_log_in(void)
{
    if (!model.secret_allowed)
        error("538 5.7.11");
    else if (!model.hello)
        error("503 5.5.1");
    else if (model.logged_in || model.mail)
        error("503 5.5.1");
    else
        return true;
    return false;
}

static void logged_in(void)
{
    model.talk = TALK_COMMANDS;
    model.logged_in = true;
    model.failures = 0;
    want("235 2.7.0");
}

static void auth_good(void)
{
    if (may_log_in())
        logged_in();
}

static void auth_wrong(void)
{
    if (may_log_in())
        login_failed("535 5.7.8");
}

static void auth_unreadable(void)
{
    if (may_log_in())
        login_failed("501 5.5.2");
}

static void auth_other_mechanism(void)
{
    if (may_log_in())
        error("504 5.5.4");
}

static void auth_nothing(void)
{
    if (may_log_in())
        error("501 5.5.4");
}

static void auth_plain(void)
{
    if (!may_log_in())
        return;
    want("334");
    model.talk = TALK_PLAIN;
}

static void auth_login(void)
{
    if (!may_log_in())
        return;
    want("334");
    model.talk = TALK_USER;
}

static void auth_login_user(void)
{
    if (!may_log_in())
        return;
    want("334");
    model.talk = TALK_SECRET;
}

/* In MAIL and behind it. `code` is what a session that is ready for it answers. */
static void mail_refused(const char *code, bool is_error)
{
    model.follows = !model.mail;
    if (too_early(true))
        return;
    if (model.mail)
        error("503 5.5.1");
    else if (is_error)
        error(code);
    else
        leads_nowhere(code);
}

static void mail_null(void)
{
    model.follows = !model.mail;
    if (too_early(true))
        return;
    if (model.mail) {
        error("503 5.5.1");
        return;
    }
    model.follows = false;
    model.mail = true;
    want("250 2.1.0");
}

static void mail_good(void)
{
    if (!model.permitted && model.secret_allowed && model.hello && model.logged_in && !model.mail)
        mail_refused("550 5.7.1", false);
    else
        mail_null();
}

static void mail_foreign(void)
{
    mail_refused("550 5.7.1", false);
}

static void mail_broken(void)
{
    mail_refused("501 5.5.4", true);
}

static void mail_parameter(void)
{
    mail_refused("555 5.5.4", true);
}

static void mail_large(void)
{
    mail_refused("552 5.3.4", false);
}

/* RCPT and DATA without a MAIL cost nothing while they may be what was pipelined with a refused
 * one. True: it was answered. */
static bool without_mail(void)
{
    unsigned errors = model.errors;

    if (model.mail)
        return false;
    if (model.follows)
        model.errors = 0;
    if (!too_early(true))
        error("503 5.5.1");
    if (model.follows)
        model.errors = errors;
    return true;
}

static void rcpt_good(void)
{
    if (without_mail())
        return;
    model.rcpt = true;
    if (model.recipients >= RCPTS_MAX) {
        want("452 4.5.3");
        return;
    }
    model.recipients++;
    want("250 2.1.5");
}

static void rcpt_broken(void)
{
    if (without_mail())
        return;
    model.rcpt = true;
    error("501 5.1.3");
}

static void data(void)
{
    if (without_mail())
        return;
    if (!model.rcpt) {
        error("503 5.5.1");
    } else if (model.recipients == 0) {
        want("554 5.5.1");
    } else {
        want("354");
        model.talk = TALK_BODY;
    }
}

static void data_argument(void)
{
    if (without_mail())
        return;
    if (!model.rcpt)
        error("503 5.5.1");
    else
        error("501 5.5.4");
}

static void rset(void)
{
    if (!idle_command())
        return;
    forget_mail();
    want("250 2.0.0");
}

static void noop(void)
{
    if (idle_command())
        want("250 2.0.0");
}

static void rset_argument(void)
{
    if (idle_command())
        error("501 5.5.4");
}

static void help(void)
{
    if (!idle_command())
        return;
    if (!model.secret_allowed)
        error("530 5.7.0");
    else
        want("214 2.0.0");
}

static void vrfy(void)
{
    if (!model.secret_allowed)
        error("530 5.7.0");
    else
        error("502 5.5.1");
}

static void unknown(void)
{
    if (model.first)
        end("500 5.5.2");
    else
        error("500 5.5.1");
}

static void unreadable(void)
{
    error("500 5.5.2");
}

static void star(void)
{
    leads_nowhere("500 5.5.1");
}

static void quit(void)
{
    end("221 2.0.0");
}

static void bdat(void)
{
    end("502 5.5.1");
}

static void http(void)
{
    end("502 5.7.0");
}

/* --- answers to a challenge ------------------------------------------------------------------- */

static void response_good(void)
{
    logged_in();
}

static void response_wrong(void)
{
    login_failed("535 5.7.8");
}

static void response_garbage(void)
{
    login_failed("501 5.5.2");
}

static void response_cancel(void)
{
    model.talk = TALK_COMMANDS;
    leads_nowhere("501 5.7.0");
}

static void response_user(void)
{
    want("334");
    model.talk = TALK_SECRET;
}

/* --- messages --------------------------------------------------------------------------------- */

static void message_over(void)
{
    model.talk = TALK_COMMANDS;
    forget_mail();
}

static void message_good(void)
{
    message_over();
    if (!model.permitted) {
        leads_nowhere("550 5.7.1");
        return;
    }
    model.junk = 0;
    model.queued++;
    want("250 2.0.0");
}

static void message_foreign(void)
{
    message_over();
    leads_nowhere("550 5.7.1");
}

static void message_two_froms(void)
{
    message_over();
    leads_nowhere("550 5.6.0");
}

static void message_bare_lf(void)
{
    end("550 5.5.2");
}

/* --- all of it -------------------------------------------------------------------------------- */

static const struct move {
    enum talk talk;
    unsigned weight;
    const char *text;
    void (*answer)(void);
    bool keeps_following; /* does not end what was pipelined with a refused MAIL */
    bool whole;           /* means something else in pieces */
} moves[] = {
    { TALK_COMMANDS, 12, "EHLO client.example\r\n", hello, false, false },
    { TALK_COMMANDS, 3, "HELO [127.0.0.1]\r\n", hello, false, false },
    { TALK_COMMANDS, 1, "EHLO a b\r\n", bad_hello, false, false },
    { TALK_COMMANDS, 10, "STARTTLS\r\n", starttls, false, false },
    { TALK_COMMANDS, 1, "starttls\r\nNOOP\r\n", starttls_and_more, false, true },
    { TALK_COMMANDS, 1, "STARTTLS now\r\n", starttls_argument, false, false },
    { TALK_COMMANDS, 12, good_plain, auth_good, false, false },
    { TALK_COMMANDS, 1, bad_plain, auth_wrong, false, false },
    { TALK_COMMANDS, 1, "AUTH PLAIN !!!!\r\n", auth_unreadable, false, false },
    { TALK_COMMANDS, 1, "AUTH CRAM-MD5\r\n", auth_other_mechanism, false, false },
    { TALK_COMMANDS, 1, "AUTH\r\n", auth_nothing, false, false },
    { TALK_COMMANDS, 3, "AUTH PLAIN\r\n", auth_plain, false, false },
    { TALK_COMMANDS, 3, "auth login\r\n", auth_login, false, false },
    { TALK_COMMANDS, 3, "AUTH LOGIN dXNlcg==\r\n", auth_login_user, false, false },
    { TALK_COMMANDS, 20, "MAIL FROM:<a@good.example>\r\n", mail_good, true, false },
    { TALK_COMMANDS, 3, "mail from: a@GOOD.example SIZE=100\r\n", mail_good, true, false },
    { TALK_COMMANDS, 2, "MAIL FROM:<>\r\n", mail_null, true, false },
    { TALK_COMMANDS, 2, "MAIL FROM:<a@victim.example>\r\n", mail_foreign, true, false },
    { TALK_COMMANDS, 1, "MAIL TO:<a@good.example>\r\n", mail_broken, true, false },
    { TALK_COMMANDS, 1, "MAIL FROM:<a@good.example> X=Y\r\n", mail_parameter, true, false },
    { TALK_COMMANDS, 1, "MAIL FROM:<a@good.example> SIZE=99999999\r\n", mail_large, true, false },
    { TALK_COMMANDS, 25, "RCPT TO:<r@dest.example>\r\n", rcpt_good, true, false },
    { TALK_COMMANDS, 3, "rcpt to:other@dest.example\r\n", rcpt_good, true, false },
    { TALK_COMMANDS, 1, "RCPT TO:<>\r\n", rcpt_broken, true, false },
    { TALK_COMMANDS, 25, "DATA\r\n", data, true, false },
    { TALK_COMMANDS, 1, "DATA 5\r\n", data_argument, true, false },
    { TALK_COMMANDS, 4, "RSET\r\n", rset, false, false },
    { TALK_COMMANDS, 1, "RSET all\r\n", rset_argument, false, false },
    { TALK_COMMANDS, 3, "NOOP\r\n", noop, false, false },
    { TALK_COMMANDS, 1, "NOOP and more\r\n", noop, false, false },
    { TALK_COMMANDS, 1, "HELP\r\n", help, false, false },
    { TALK_COMMANDS, 1, "VRFY a\r\n", vrfy, false, false },
    { TALK_COMMANDS, 1, "XYZZY\r\n", unknown, true, false },
    { TALK_COMMANDS, 1, "NOOP\t\r\n", unreadable, true, false },
    { TALK_COMMANDS, 1, "\r\n", unreadable, true, false },
    { TALK_COMMANDS, 1, "*\r\n", star, false, false },
    { TALK_COMMANDS, 1, "QUIT\r\n", quit, false, false },
    { TALK_COMMANDS, 1, "BDAT 5 LAST\r\n", bdat, false, true },
    { TALK_COMMANDS, 1, "GET / HTTP/1.1\r\n", http, false, true },
    { TALK_PLAIN, 4, good_plain + 11, response_good, false, false },
    { TALK_PLAIN, 1, bad_plain + 11, response_wrong, false, false },
    { TALK_PLAIN, 1, "*\r\n", response_cancel, false, false },
    { TALK_PLAIN, 1, "QUIT\r\n", response_garbage, false, false },
    { TALK_USER, 4, "dXNlcg==\r\n", response_user, false, false },
    { TALK_USER, 1, "*\r\n", response_cancel, false, false },
    { TALK_USER, 1, "====\r\n", response_garbage, false, false },
    { TALK_SECRET, 4, good_secret, response_good, false, false },
    { TALK_SECRET, 1, bad_secret, response_wrong, false, false },
    { TALK_SECRET, 1, "*\r\n", response_cancel, false, false },
    { TALK_SECRET, 1, "\xff\r\n", response_garbage, false, false },
    { TALK_BODY, 6, M0 ".\r\n", message_good, false, false },
    { TALK_BODY, 1, "From: a@good.example\r\n\r\n..\r\nQUIT\r\n.\r\n", message_good, false, false },
    { TALK_BODY, 1, "From: <a@victim.example>\r\n\r\nx\r\n.\r\n", message_foreign, false, false },
    { TALK_BODY, 1, "From: <a@good.example>\r\nFrom: <a@good.example>\r\n\r\n.\r\n",
      message_two_froms, false, false },
    { TALK_BODY, 1, "From: <a@good.example>\r\n\r\nx\n.\nMAIL FROM:<x@y>\r\n.\r\n", message_bare_lf,
      false, true },
};

static unsigned sense; /* of this sequence: in how many percent a command leads on to a message */

/* The first row with this answer for what is talked about now. */
static const struct move *find(void (*answer)(void))
{
    const struct move *move = moves;

    while (move->talk != model.talk || (answer != NULL && move->answer != answer))
        move++;
    return move;
}

static const struct move *choose_next_step(void)
{
    if (model.talk != TALK_COMMANDS)
        return find(NULL);
    if (!model.secret_allowed)
        return find(starttls);
    if (!model.hello)
        return find(hello);
    if (!model.logged_in)
        return find(auth_good);
    if (!model.mail)
        return find(mail_good);
    return find(model.recipients == 0 || draw(2) == 0 ? rcpt_good : data);
}

static const struct move *choose_any(void)
{
    uint64_t total = 0, at;

    for (size_t i = 0; i < ARRAY_LEN(moves); i++)
        total += moves[i].talk == model.talk ? moves[i].weight : 0;
    at = draw(total);
    for (size_t i = 0;; i++) {
        uint64_t weight = moves[i].talk == model.talk ? moves[i].weight : 0;
        if (at < weight)
            return &moves[i];
        at -= weight;
    }
}

static const struct move *choose(void)
{
    return draw(100) < sense ? choose_next_step() : choose_any();
}

static void model_answer(const struct move *move)
{
    bool is_line = model.talk == TALK_COMMANDS;

    model.first = model.next_first;
    model.next_first = false;
    move->answer();
    if (is_line && !move->keeps_following)
        model.follows = false;
}

/* --- the session hears it --------------------------------------------------------------------- */

static void send_in_pieces(struct dialog *d, const struct move *move)
{
    struct slice rest = slice_of(move->text);
    uint64_t largest = move->whole || draw(3) > 0 ? rest.len : draw(2) == 0 ? 1 : rest.len / 2 + 1;

    while (rest.len > 0) {
        size_t len = largest == rest.len ? rest.len : (size_t)draw(largest) + 1;
        struct slice piece = slice_first(rest, len);
        dialog_send(d, piece);
        rest = slice_from(rest, piece.len);
    }
    if (dialog_stream.tls_asked && !dialog_stream.secure && !dialog_is_over())
        dialog_secure(d);
}

static void change_permission(struct dialog *d)
{
    struct why why = { "" };
    enum auth_result result;

    if (model.permitted)
        result = auth_domain_remove(d->auth, "operator", AUTH_DEFAULT_ACCOUNT, "good.example",
                                    clock_wall_s(), &why);
    else
        result = auth_domain_add(d->auth, "operator", AUTH_DEFAULT_ACCOUNT, "good.example", true,
                                 clock_wall_s(), &why);
    if (result != AUTH_DONE)
        fail_msg("%s", why.text);
    model.permitted = !model.permitted;
}

static void begin(struct dialog *d)
{
    static const enum smtp_tls doors[] = { SMTP_TLS_STARTTLS, SMTP_TLS_STARTTLS, SMTP_TLS_IMPLICIT,
                                           SMTP_TLS_NONE };
    uint64_t queued = model.queued;
    bool permitted = model.permitted;

    model = (struct model){ .door = doors[draw(ARRAY_LEN(doors))],
                            .queued = queued,
                            .permitted = permitted,
                            .next_first = true };
    model.secure = model.door == SMTP_TLS_IMPLICIT;
    model.secret_allowed = model.door != SMTP_TLS_STARTTLS;
    d->door.tls = model.door;
    d->door.auth_without_tls = model.door == SMTP_TLS_NONE;
    dialog_connect(d);
    if (model.secure)
        dialog_secure(d);
    dialog_expect("greeting", "220");
}

static void play(struct dialog *d, uint64_t number)
{
    char said[COMMANDS_MAX * 48] = "";
    uint64_t count;
    size_t len = 0;

    seed = number * 0x9e3779b97f4a7c15 | 1;
    dialog_now_us += 3600000000; /* the failed logins of the sequence before are forgotten */
    count = draw(COMMANDS_MAX) + 1;
    sense = (unsigned)draw(100);
    begin(d);
    for (uint64_t i = 0; i < count && !model.over; i++) {
        if (draw(200) == 0)
            change_permission(d);
        const struct move *move = choose();
        wanted[0] = '\0';
        if (len < sizeof(said) - 200)
            len += (size_t)snprintf(said + len, 200, "  %.*s%s\n", (int)strcspn(move->text, "\r"),
                                    move->text, model.permitted ? "" : " (narrowed)");
        model_answer(move);
        send_in_pieces(d, move);
        const char *got = dialog_codes();
        if (model.over)
            snprintf(wanted + strlen(wanted), 2, "!");
        if (strcmp(got, wanted) != 0) {
            print_error("MODEL_SEED=%llu, door %d:\n%s got %s\nwant %s\n",
                        (unsigned long long)number, (int)model.door, said, got, wanted);
            fail();
        }
    }
    dialog_end(d, STREAM_EOF);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void every_reply_is_the_one_that_the_model_expects(void **state)
{
    struct dialog *d = *state;
    uint64_t first = setting("MODEL_SEED", 1), count = setting("MODEL_SEQUENCES", SEQUENCES);

    model.permitted = true;
    for (uint64_t i = 0; i < count; i++)
        play(d, first + i);
    if (dialog_queued(d) != model.queued)
        fail_msg("queued %llu messages, answered 250 to %llu", (unsigned long long)dialog_queued(d),
                 (unsigned long long)model.queued);
    print_message("%llu sequences, %llu messages\n", (unsigned long long)count,
                  (unsigned long long)model.queued);
}

static void fill_secret(char *line, size_t size, const char *secret)
{
    struct buf text;

    buf_init(&text, size);
    assert_true(base64_encode(slice_of(secret), &text));
    snprintf(line, size, "%.*s\r\n", SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
}

static int open_all(void **state)
{
    static struct dialog d;
    char *line;

    dialog_open(&d);
    d.service.limits.errors = ERRORS_MAX;
    d.service.limits.junk_commands = JUNK_MAX;
    d.service.limits.auth_failures = FAILURES_MAX;
    d.service.limits.recipients = RCPTS_MAX;
    fill_secret(good_secret, sizeof(good_secret), d.key);
    fill_secret(bad_secret, sizeof(bad_secret), WRONG_KEY);
    line = dialog_plain(d.key);
    snprintf(good_plain, sizeof(good_plain), "%s", line);
    free(line);
    line = dialog_plain(WRONG_KEY);
    snprintf(bad_plain, sizeof(bad_plain), "%s", line);
    free(line);
    *state = &d;
    return 0;
}

static int close_all(void **state)
{
    dialog_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reply_is_the_one_that_the_model_expects),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
