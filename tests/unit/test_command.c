/* test_command.c - what each command is answered, in which order, and when the session ends.
 * Rows are dialogs; the ids are those of the case list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/smtp_dialog.h"

#define ENVELOPE "MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\n"

enum start { CLEAR, SECURE, LOGGED_IN };

struct row {
    const char *name;
    enum start start;
    struct slice send; /* after the start, in one piece */
    const char *want;
};

static void run_rows(struct dialog *d, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].start == CLEAR) {
            dialog_connect(d);
            dialog_expect(rows[i].name, "220");
        } else {
            dialog_begin(d, rows[i].start == LOGGED_IN ? d->key : NULL);
        }
        dialog_send(d, rows[i].send);
        dialog_expect(rows[i].name, rows[i].want);
        dialog_end(d, STREAM_EOF);
    }
}

static void lines_and_verbs_are_answered_as_listed(void **state)
{
    static const struct row rows[] = {
        { "E-03", SECURE, SLICE("\x80\x81\x82\x83\r\nNOOP\r\n"), "500 5.5.2|250 2.0.0" },
        { "E-04", SECURE, SLICE("XYZZY\r\nNOOP\r\n"), "500 5.5.1|250 2.0.0" },
        { "E-05", SECURE, SLICE("\r\n NOOP\r\nNOOP \r\n"), "500 5.5.2|500 5.5.2|250 2.0.0" },
        { "E-06", SECURE, SLICE("NO\0OP\r\nNOOP\0\r\nNOOP\r\n"), "500 5.5.2|500 5.5.2|250 2.0.0" },
        { "E-07", SECURE, SLICE("EHLO\r\nEHLO a b\r\nEHLO [127.0.0.1]\r\n"),
          "501 5.5.4|501 5.5.4|250" },
        { "E-19", SECURE,
          SLICE("VRFY a\r\nEXPN a\r\nETRN a\r\nTURN\r\nXCLIENT ADDR=1.2.3.4\r\nXFORWARD "
                "a\r\nHELP\r\n"),
          "502 5.5.1|502 5.5.1|502 5.5.1|502 5.5.1|502 5.5.1|502 5.5.1|214 2.0.0" },
        { "E-14", LOGGED_IN, SLICE("BDAT 30\r\nMAIL FROM:<a@good.example>\r\n\r\n"), "502 5.5.1!" },
        { "A-20", CLEAR, SLICE("EHLO x\n"), "500 5.5.2!" },
        { "LF inside", SECURE, SLICE("NOOP\nNOOP\r\n"), "500 5.5.2!" },
        { "B-11 GET", CLEAR, SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "502 5.7.0!" },
        { "B-11 POST in TLS", SECURE, SLICE("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), "502 5.7.0!" },
        { "B-11 CONNECT", CLEAR, SLICE("CONNECT x:25 HTTP/1.1\r\n"), "502 5.7.0!" },
        { "B-12", CLEAR, SLICE("\x16\x03\x01"), "500 5.5.2!" },
        { "B-20", CLEAR, SLICE("Host: x\r\nEHLO x\r\n"), "500 5.5.2!" },
        { "unreadable first line", CLEAR, SLICE("\r\nNOOP\r\n"), "500 5.5.2|250 2.0.0" },
        { "ten errors", SECURE, SLICE("X\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nNOOP\r\n"),
          "500 5.5.1|500 5.5.1|500 5.5.1|500 5.5.1|500 5.5.1|500 5.5.1|500 5.5.1|500 5.5.1|"
          "500 5.5.1|421 4.7.0!" },
        { "QUIT", CLEAR, SLICE("QUIT\r\nNOOP\r\n"), "221 2.0.0!" },
        { "RSET x", SECURE, SLICE("RSET x\r\nrset\r\n"), "501 5.5.4|250 2.0.0" },
    };
    run_rows(*state, rows, ARRAY_LEN(rows));
}

static void nothing_that_matters_is_said_in_clear(void **state)
{
    static const struct row rows[] = {
        { "B-01", CLEAR, SLICE("EHLO x\r\nSTARTTLS\r\nEHLO injected\r\n"), "250|554 5.5.0!" },
        { "B-04", CLEAR, SLICE("EHLO x\r\nAUTH PLAIN AGsxAHNlY3JldA==\r\nNOOP\r\n"),
          "250|538 5.7.11|250 2.0.0" },
        { "AUTH without EHLO", CLEAR, SLICE("AUTH LOGIN\r\n"), "538 5.7.11" },
        { "B-05", CLEAR, SLICE("EHLO x\r\nMAIL FROM:<a@good.example>\r\n"), "250|530 5.7.0" },
        { "B-05 at once", CLEAR, SLICE("MAIL FROM:<a@good.example>\r\n"), "530 5.7.0" },
        { "VRFY", CLEAR, SLICE("VRFY a\r\nNOOP\r\nRSET\r\n"), "530 5.7.0|250 2.0.0|250 2.0.0" },
        { "B-06", CLEAR, SLICE("STARTTLS foo\r\nNOOP\r\n"), "501 5.5.4|250 2.0.0" },
        { "STARTTLS first", CLEAR, SLICE("STARTTLS\r\n"), "220 2.0.0" },
        { "B-03", SECURE, SLICE("STARTTLS\r\n"), "503 5.5.1" },
    };
    struct dialog *d = *state;
    run_rows(d, rows, ARRAY_LEN(rows));
}

static void tls_forgets_what_was_said_before(void **state)
{
    struct dialog *d = *state;

    dialog_connect(d);
    dialog_say(d, "EHLO x\r\n");
    dialog_say(d, "STARTTLS\r\n");
    dialog_secure(d);
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nAUTH PLAIN x\r\nNOOP\r\n");
    dialog_expect("B-03, C-01", "220|250|220 2.0.0|503 5.5.1|503 5.5.1|250 2.0.0");
    dialog_end(d, STREAM_EOF);

    dialog_connect(d);
    dialog_say(d, "STARTTLS\r\n");
    dialog_secure(d);
    dialog_say(d, "Host: x\r\n");
    dialog_expect("the first command again", "220|220 2.0.0|500 5.5.2!");
}

static bool offers(const char *keyword)
{
    struct slice out = buf_slice(&dialog_stream.out);

    return memmem(out.data, out.len, keyword, strlen(keyword)) != NULL;
}

static void ehlo_offers_what_is_there(void **state)
{
    struct dialog *d = *state;

    dialog_connect(d);
    dialog_say(d, "EHLO x\r\n");
    assert_true(offers("250-relay.example\r\n"));
    assert_true(offers("250-PIPELINING\r\n"));
    assert_true(offers("250-SIZE 26214400\r\n"));
    assert_true(offers("250-8BITMIME\r\n"));
    assert_true(offers("ENHANCEDSTATUSCODES\r\n"));
    assert_true(offers("250 STARTTLS\r\n"));
    assert_false(offers("AUTH"));
    dialog_say(d, "STARTTLS\r\n");
    dialog_secure(d);
    dialog_codes();
    dialog_say(d, "EHLO x\r\n");
    assert_true(offers("250 AUTH PLAIN LOGIN\r\n"));
    assert_false(offers("STARTTLS"));
    dialog_codes();
    dialog_say(d, "HELO x\r\n");
    assert_true(offers("250 relay.example\r\n"));
    assert_false(offers("AUTH"));
    dialog_end(d, STREAM_EOF);
}

static void a_door_in_clear_takes_logins_only_when_told_to(void **state)
{
    struct dialog *d = *state;
    char *line = dialog_plain(d->key);

    d->door.tls = SMTP_TLS_NONE;
    dialog_connect(d);
    dialog_say(d, "EHLO x\r\nAUTH LOGIN\r\nMAIL FROM:<a@good.example>\r\nSTARTTLS\r\n");
    dialog_expect("not told", "220|250|538 5.7.11|530 5.7.0|502 5.5.1");
    dialog_end(d, STREAM_EOF);
    d->door.auth_without_tls = true;
    dialog_connect(d);
    dialog_say(d, "EHLO x\r\n");
    assert_true(offers("250 AUTH PLAIN LOGIN\r\n"));
    assert_false(offers("STARTTLS"));
    dialog_say(d, line);
    dialog_say(d, ENVELOPE);
    dialog_expect("told", "220|250|235 2.7.0|250 2.1.0|250 2.1.5");
    dialog_end(d, STREAM_EOF);
    d->door = (struct smtp_door){ .name = "test", .tls = SMTP_TLS_STARTTLS };
    free(line);
}

static void the_login_is_answered_as_listed(void **state)
{
    static const struct row rows[] = {
        { "C-02", SECURE, SLICE("AUTH CRAM-MD5\r\nAUTH XOAUTH2 x\r\nAUTH\r\n"),
          "504 5.5.4|504 5.5.4|501 5.5.4" },
        { "C-03", SECURE, SLICE("AUTH PLAIN !!!!\r\nNOOP\r\n"), "501 5.5.2|250 2.0.0" },
        { "C-03 thrice", SECURE, SLICE("AUTH PLAIN !\r\nAUTH PLAIN !\r\nAUTH PLAIN !\r\nNOOP\r\n"),
          "501 5.5.2|501 5.5.2|501 5.5.2|421 4.7.0!" },
        { "C-06", SECURE, SLICE("AUTH PLAIN YWRtaW4AazEAc2VjcmV0\r\n"), "535 5.7.8" },
        { "C-07", SECURE,
          SLICE("AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n*\r\nAUTH "
                "PLAIN\r\n*\r\nNOOP\r\n"),
          "334|501 5.7.0|334|501 5.7.0|334|501 5.7.0|334|501 5.7.0|250 2.0.0" },
        { "C-09", SECURE, SLICE("AUTH PLAIN =\r\n"), "501 5.5.2" },
        { "C-10 empty user", SECURE, SLICE("AUTH LOGIN\r\n\r\nNOOP\r\n"),
          "334|535 5.7.8|250 2.0.0" },
        { "C-15", SECURE,
          SLICE(
              "AUTH PLAIN AGEAYg==\r\nAUTH PLAIN AGEAYg==\r\nAUTH LOGIN YQ==\r\nYg==\r\nNOOP\r\n"),
          "535 5.7.8|535 5.7.8|334|535 5.7.8|421 4.7.0!" },
        { "C-17", SECURE, SLICE("MAIL FROM:<a@good.example>\r\nNOOP\r\n"), "530 5.7.0|250 2.0.0" },
        { "C-22", SECURE, SLICE("AUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@good.example>\r\n"),
          "535 5.7.8|530 5.7.0" },
        { "Go's star", SECURE, SLICE("AUTH PLAIN AGEAYg==\r\n*\r\nQUIT\r\n"),
          "535 5.7.8|500 5.5.1|221 2.0.0!" },
        { "C-08", LOGGED_IN, SLICE("AUTH PLAIN AGEAYg==\r\n" ENVELOPE "AUTH LOGIN\r\nDATA\r\n"),
          "503 5.5.1|250 2.1.0|250 2.1.5|503 5.5.1|354" },
        { "EHLO keeps the login", LOGGED_IN, SLICE("EHLO again\r\n" ENVELOPE),
          "250|250 2.1.0|250 2.1.5" },
    };
    run_rows(*state, rows, ARRAY_LEN(rows));
}

static void login_works_in_each_way_that_clients_know(void **state)
{
    struct dialog *d = *state;
    struct buf key;
    char *text;

    buf_init(&key, 256);
    assert_true(base64_encode(slice_of(d->key), &key));
    text = xasprintf("%.*s\r\n", SLICE_ARG(buf_slice(&key)));
    dialog_begin(d, NULL);
    dialog_say(d, "AUTH LOGIN\r\n");
    dialog_say(d, "dXNlcg==\r\n");
    dialog_say(d, text);
    dialog_expect("LOGIN", "334|334|235 2.7.0");
    dialog_end(d, STREAM_EOF);
    dialog_begin(d, NULL);
    dialog_say(d, "auth  login dXNlcg==\r\n");
    dialog_say(d, text);
    dialog_expect("LOGIN with user", "334|235 2.7.0");
    dialog_end(d, STREAM_EOF);
    buf_free(&key);
    free(text);
}

static void long_responses_are_refused_without_ending_the_session(void **state)
{
    struct dialog *d = *state;
    char *line = malloc(SASL_LINE_MAX + 3);

    memset(line, 'A', SASL_LINE_MAX + 1);
    dialog_begin(d, NULL);
    dialog_say(d, "AUTH LOGIN YQ==\r\n");
    dialog_send(d, slice_make(line, SASL_LINE_MAX));
    dialog_say(d, "\r\n");
    dialog_expect("C-11", "334|535 5.7.8");
    dialog_say(d, "AUTH LOGIN YQ==\r\n");
    dialog_send(d, slice_make(line, SASL_LINE_MAX + 1));
    dialog_say(d, "\r\nNOOP\r\n");
    dialog_expect("C-11, one more", "334|500 5.5.6|250 2.0.0");
    dialog_say(d, "AUTH LOGIN YQ==\r\n");
    for (int i = 0; i < 100; i++)
        dialog_send(d, slice_make(line, SASL_LINE_MAX));
    dialog_expect("C-12", "334|421 4.7.0!");
    free(line);
}

static void long_command_lines_are_refused(void **state)
{
    struct dialog *d = *state;
    char line[4096];

    memset(line, 'a', sizeof(line));
    memcpy(line, "NOOP ", 5);
    dialog_begin(d, NULL);
    dialog_send(d, slice_make(line, 2046));
    dialog_say(d, "\r\n");
    dialog_expect("E-01", "250 2.0.0");
    dialog_send(d, slice_make(line, 2047));
    dialog_say(d, "\r\nNOOP\r\n");
    dialog_expect("E-01, one more", "500 5.5.2|250 2.0.0");
    for (int i = 0; i < 2560; i++)
        dialog_send(d, slice_make(line, sizeof(line)));
    dialog_expect("E-02", "421 4.7.0!");
}

static void the_envelope_is_answered_as_listed(void **state)
{
    static const struct row rows[] = {
        { "C-21", LOGGED_IN, SLICE("MAIL FROM:<a@good.example> AUTH=<>\r\n"), "250 2.1.0" },
        { "D-20", LOGGED_IN, SLICE("MAIL FROM:<x@victim.example>\r\nNOOP\r\n"),
          "550 5.7.1|250 2.0.0" },
        { "D-21", LOGGED_IN, SLICE("MAIL FROM:<@good.example:x@victim.example>\r\n"), "501 5.1.7" },
        { "D-22", LOGGED_IN, SLICE("MAIL FROM:<>\r\n"), "250 2.1.0" },
        { "D-23", LOGGED_IN,
          SLICE("MAIL FROM:<a@[192.0.2.1]>\r\nMAIL FROM:<a@[IPv6:2001:db8::1]>\r\n"),
          "550 5.7.1|550 5.7.1" },
        { "D-24", LOGGED_IN, SLICE("MAIL FROM:<A@GOOD.EXAMPLE>\r\n"), "250 2.1.0" },
        { "D-25", LOGGED_IN, SLICE("MAIL FROM:<a@good.example.>\r\n"), "501 5.1.7" },
        { "D-26", LOGGED_IN,
          SLICE("MAIL FROM:<a@sub.good.example>\r\nMAIL FROM:<a@evilgood.example>\r\n"
                "MAIL FROM:<a@good.example.victim.example>\r\n"),
          "550 5.7.1|550 5.7.1|550 5.7.1" },
        { "D-34", LOGGED_IN, SLICE("MAIL FROM:<jos\xc3\xa9@good.example>\r\n"), "553 5.6.7" },
        { "D-55", LOGGED_IN,
          SLICE("MAIL FROM:<x%victim.example@good.example>\r\nMAIL "
                "FROM:<victim.example!x@good.example>\r\n"),
          "550 5.7.1|550 5.7.1" },
        { "clients 6", LOGGED_IN, SLICE("mail FROM: <a@good.example> size=10\r\n"), "250 2.1.0" },
        { "no brackets", LOGGED_IN, SLICE("MAIL FROM:a@good.example\r\nRCPT TO:r@dest.example\r\n"),
          "250 2.1.0|250 2.1.5" },
        { "E-08", LOGGED_IN, SLICE(ENVELOPE "MAIL FROM:<b@good.example>\r\nDATA\r\n"),
          "250 2.1.0|250 2.1.5|503 5.5.1|354" },
        { "E-09 RCPT", LOGGED_IN, SLICE("RCPT TO:<r@dest.example>\r\n"), "503 5.5.1" },
        { "E-09 DATA", LOGGED_IN, SLICE("MAIL FROM:<a@good.example>\r\nDATA\r\n"),
          "250 2.1.0|503 5.5.1" },
        { "E-09 all refused", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example>\r\nRCPT TO:<>\r\nDATA\r\n"),
          "250 2.1.0|501 5.1.3|554 5.5.1" },
        { "E-09 DATA x", LOGGED_IN, SLICE(ENVELOPE "DATA x\r\nDATA\r\n"),
          "250 2.1.0|250 2.1.5|501 5.5.4|354" },
        { "E-11", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example> SIZE=26214401\r\n"
                "MAIL FROM:<a@good.example> SIZE=99999999999999999999\r\n"
                "MAIL FROM:<a@good.example> SIZE=-1\r\nMAIL FROM:<a@good.example> SIZE=1e3\r\n"
                "MAIL FROM:<a@good.example> SIZE=\r\nMAIL FROM:<a@good.example> SIZE=5 SIZE=6\r\n"
                "MAIL FROM:<a@good.example> SIZE=26214400\r\n"),
          "552 5.3.4|552 5.3.4|501 5.5.4|501 5.5.4|501 5.5.4|501 5.5.4|250 2.1.0" },
        { "E-13", LOGGED_IN,
          SLICE(
              "MAIL FROM:<a@good.example> BODY=BINARYMIME\r\nMAIL FROM:<a@good.example> FOO=BAR\r\n"
              "MAIL FROM:<a@good.example> SMTPUTF8\r\nMAIL FROM:<a@good.example> RET=FULL\r\n"
              "MAIL FROM:<a@good.example> BODY=8BITMIME\r\n"),
          "501 5.5.4|555 5.5.4|555 5.5.4|555 5.5.4|250 2.1.0" },
        { "E-18 RSET", LOGGED_IN, SLICE(ENVELOPE "RSET\r\nDATA\r\n" ENVELOPE),
          "250 2.1.0|250 2.1.5|250 2.0.0|503 5.5.1|250 2.1.0|250 2.1.5" },
        { "E-18 EHLO", LOGGED_IN, SLICE(ENVELOPE "EHLO x\r\nRCPT TO:<r@dest.example>\r\n" ENVELOPE),
          "250 2.1.0|250 2.1.5|250|503 5.5.1|250 2.1.0|250 2.1.5" },
        { "E-45", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example>\r\nRCPT TO:<>\r\nRCPT TO:<@dest.example>\r\nRCPT "
                "TO:<r@>\r\n"
                "RCPT TO:<r@dest..example>\r\nRCPT TO:<r@-x.example>\r\nNOOP\r\n"),
          "250 2.1.0|501 5.1.3|501 5.1.3|501 5.1.3|501 5.1.3|501 5.1.3|250 2.0.0" },
        { "quoted recipient, literal", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example>\r\nRCPT TO:<\"a > b\"@dest.example>\r\nRCPT "
                "TO:<a@[192.0.2.1]>\r\n"),
          "250 2.1.0|250 2.1.5|250 2.1.5" },
        { "a recipient at a name that IDNA2008 refuses", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example>\r\nRCPT TO:<r@xn--i-7iq.example>\r\n"),
          "250 2.1.0|250 2.1.5" },
        { "RCPT parameter", LOGGED_IN,
          SLICE("MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example> NOTIFY=NEVER\r\n"),
          "250 2.1.0|555 5.5.4" },
    };
    run_rows(*state, rows, ARRAY_LEN(rows));
}

static void what_follows_from_a_refused_mail_is_one_error(void **state)
{
    struct dialog *d = *state;
    struct buf group;

    buf_init(&group, 1 << 16);
    assert_true(buf_add(&group, SLICE("MAIL FROM:<x@victim.example>\r\n")));
    for (int i = 0; i < 100; i++)
        assert_true(buf_printf(&group, "RCPT TO:<r%d@dest.example>\r\n", i));
    assert_true(buf_add(&group, SLICE("DATA\r\n")));
    dialog_begin(d, d->key);
    dialog_send(d, buf_slice(&group));
    dialog_codes();
    dialog_say(d, "NOOP\r\n" ENVELOPE);
    dialog_expect("clients 5", "250 2.0.0|250 2.1.0|250 2.1.5");
    dialog_end(d, STREAM_EOF);
    dialog_begin(d, NULL);
    dialog_send(d, buf_slice(&group));
    assert_non_null(strstr(dialog_codes(), "530 5.7.0|530 5.7.0"));
    dialog_say(d, "NOOP\r\n");
    dialog_expect("not logged in", "250 2.0.0");
    dialog_end(d, STREAM_EOF);
    buf_free(&group);
}

static void a_hundred_and_first_recipient_is_for_another_message(void **state)
{
    struct dialog *d = *state;
    struct buf group;

    buf_init(&group, 1 << 16);
    for (int i = 0; i < 100; i++)
        assert_true(buf_printf(&group, "RCPT TO:<r%d@dest.example>\r\n", i));
    dialog_begin(d, d->key);
    dialog_say(d, "MAIL FROM:<a@good.example>\r\n");
    dialog_send(d, buf_slice(&group));
    dialog_codes();
    dialog_say(d, "RCPT TO:<one@dest.example>\r\nRCPT TO:<two@dest.example>\r\nDATA\r\n");
    dialog_expect("E-10", "452 4.5.3|452 4.5.3|354");
    dialog_end(d, STREAM_EOF);
    buf_free(&group);
}

static void a_hundred_idle_commands_are_enough(void **state)
{
    struct dialog *d = *state;

    dialog_begin(d, d->key);
    for (int i = 0; i < 97; i++) /* one EHLO inside TLS, one before, one STARTTLS came first */
        dialog_say(d, i % 2 == 0 ? "NOOP\r\n" : "RSET\r\n");
    dialog_codes();
    dialog_say(d, "NOOP\r\nNOOP\r\nNOOP\r\n");
    dialog_expect("E-27", "250 2.0.0|421 4.7.0!");
}

static void a_key_is_asked_for_at_each_command(void **state)
{
    struct dialog *d = *state;
    char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
    struct why why;

    dialog_add_key(d,
                   &(struct auth_key_spec){
                       .account = AUTH_DEFAULT_ACCOUNT, .name = "R", .scopes = AUTH_SEND },
                   secret, id);
    dialog_begin(d, secret);
    dialog_say(d, "NOOP\r\n");
    dialog_expect("before", "250 2.0.0");
    assert_int_equal(auth_key_revoke(d->auth, "operator", id, clock_wall_s(), &why), AUTH_DONE);
    dialog_say(d, "NOOP\r\nNOOP\r\n");
    dialog_expect("revoked", "421 4.7.0!");
    dialog_begin(d, NULL);
    char *line = dialog_plain(secret);
    dialog_say(d, line);
    assert_true(offers("revoked"));
    dialog_expect("C-14", "535 5.7.8");
    dialog_end(d, STREAM_EOF);
    free(line);
}

static void rates_recipients_and_scopes_of_a_key_are_kept(void **state)
{
    static const char *const allowed[] = { "dest.example" };
    struct dialog *d = *state;
    char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];

    dialog_add_key(d,
                   &(struct auth_key_spec){ .account = AUTH_DEFAULT_ACCOUNT,
                                            .name = "limited",
                                            .scopes = AUTH_SEND,
                                            .recipients = { allowed, 1 },
                                            .rate_per_minute = 1,
                                            .recipients_per_day = 2 },
                   secret, id);
    dialog_begin(d, secret);
    dialog_say(d, "MAIL FROM:<x@victim.example>\r\nMAIL FROM:<a@good.example>\r\n");
    dialog_expect("a refused MAIL takes nothing from the rate", "550 5.7.1|250 2.1.0");
    dialog_say(
        d, "RCPT TO:<r@elsewhere.example>\r\nRCPT TO:<1@dest.example>\r\n"
           "RCPT TO:<1@DEST.example>\r\nRCPT TO:<2@dest.example>\r\nRCPT TO:<3@dest.example>\r\n");
    assert_true(offers(" s (ref 0"));
    dialog_expect("recipients", "550 5.7.1|250 2.1.5|250 2.1.5|250 2.1.5|452 4.5.3");
    dialog_say(d, "RSET\r\nMAIL FROM:<a@good.example>\r\n");
    dialog_expect("rate", "250 2.0.0|450 4.7.1");
    dialog_end(d, STREAM_EOF);
    dialog_add_key(d,
                   &(struct auth_key_spec){
                       .account = AUTH_DEFAULT_ACCOUNT, .name = "KA", .scopes = AUTH_KEYS },
                   secret, id);
    dialog_begin(d, NULL);
    char *line = dialog_plain(secret);
    dialog_say(d, line);
    assert_true(offers("scope"));
    dialog_expect("C-14 scope", "535 5.7.8");
    dialog_end(d, STREAM_EOF);
    free(line);
}

static void recipients_of_what_was_not_accepted_are_given_back(void **state)
{
    struct dialog *d = *state;
    char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];

    dialog_add_key(d,
                   &(struct auth_key_spec){ .account = AUTH_DEFAULT_ACCOUNT,
                                            .name = "limited",
                                            .scopes = AUTH_SEND,
                                            .rate_per_minute = 4,
                                            .recipients_per_day = 2 },
                   secret, id);
    dialog_begin(d, secret);
    for (int turn = 0; turn < 2; turn++) { /* taken back, then refused */
        dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<1@dest.example>\r\n"
                      "RCPT TO:<2@dest.example>\r\nRCPT TO:<3@dest.example>\r\n");
        dialog_expect("the day", "250 2.1.0|250 2.1.5|250 2.1.5|452 4.5.3");
        dialog_say(d, turn == 0 ? "RSET\r\n" : "DATA\r\nFrom: <x@victim.example>\r\n\r\n.\r\n");
        dialog_expect("no message", turn == 0 ? "250 2.0.0" : "354|550 5.7.1");
    }
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<1@dest.example>\r\n");
    dialog_expect("the day again", "250 2.1.0|250 2.1.5");
    dialog_end(d, STREAM_EOF);
    dialog_begin(d, secret); /* who left without a message took nothing either */
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<1@dest.example>\r\n"
                  "RCPT TO:<2@dest.example>\r\n");
    dialog_expect("and again", "250 2.1.0|250 2.1.5|250 2.1.5");
    dialog_say(d, "RSET\r\nMAIL FROM:<a@good.example>\r\n");
    dialog_expect("the rate counts each MAIL", "250 2.0.0|450 4.7.1");
    dialog_end(d, STREAM_EOF);
}

static void nothing_of_the_client_comes_back_unescaped(void **state)
{
    struct dialog *d = *state;

    dialog_begin(d, d->key);
    dialog_say(d, "MAIL FROM:<\x1b[2J@victim.example>\r\nMAIL FROM:<a@\xff\xfe>\r\n"
                  "\x1b[2J\r\nMAIL FROM:<a%n%s@victim.example>\r\n");
    struct slice out = buf_slice(&dialog_stream.out);
    for (size_t i = 0; i < out.len; i++)
        assert_true((out.data[i] >= 32 && out.data[i] <= 126) || out.data[i] == '\r' ||
                    out.data[i] == '\n');
    dialog_end(d, STREAM_EOF);
}

static int open_all(void **state)
{
    static struct dialog d;

    dialog_open(&d);
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
        cmocka_unit_test(lines_and_verbs_are_answered_as_listed),
        cmocka_unit_test(nothing_that_matters_is_said_in_clear),
        cmocka_unit_test(tls_forgets_what_was_said_before),
        cmocka_unit_test(ehlo_offers_what_is_there),
        cmocka_unit_test(a_door_in_clear_takes_logins_only_when_told_to),
        cmocka_unit_test(the_login_is_answered_as_listed),
        cmocka_unit_test(login_works_in_each_way_that_clients_know),
        cmocka_unit_test(long_responses_are_refused_without_ending_the_session),
        cmocka_unit_test(long_command_lines_are_refused),
        cmocka_unit_test(the_envelope_is_answered_as_listed),
        cmocka_unit_test(what_follows_from_a_refused_mail_is_one_error),
        cmocka_unit_test(a_hundred_and_first_recipient_is_for_another_message),
        cmocka_unit_test(a_hundred_idle_commands_are_enough),
        cmocka_unit_test(a_key_is_asked_for_at_each_command),
        cmocka_unit_test(rates_recipients_and_scopes_of_a_key_are_kept),
        cmocka_unit_test(recipients_of_what_was_not_accepted_are_given_back),
        cmocka_unit_test(nothing_of_the_client_comes_back_unescaped),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
