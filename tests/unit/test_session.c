/* test_session.c - how a session begins, how long it waits, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/smtp_dialog.h"

static void wait_ms(int64_t ms)
{
    dialog_now_us += ms * 1000;
}

/* The deadline that was set passes. */
static void run_out(struct dialog *d)
{
    assert_true(dialog_stream.deadline_ms > 0);
    wait_ms((int64_t)dialog_stream.deadline_ms);
    dialog_stream.deadline_ms = 0;
    dialog_stream.events->on_deadline(dialog_stream.owner);
    dialog_settle(d);
}

static void logging_in_has_one_deadline_for_all_it_does(void **state)
{
    struct dialog *d = *state;

    dialog_connect(d);
    assert_int_equal(dialog_stream.deadline_ms, 60000);
    for (int i = 0; i < 5; i++) {
        wait_ms(10000);
        dialog_say(d, "E");
        assert_int_equal(dialog_stream.deadline_ms, 50000 - i * 10000);
    }
    run_out(d);
    dialog_expect("E-20", "220|421 4.4.2!");
    dialog_begin(d, NULL);
    dialog_say(d, "AUTH LOGIN\r\n");
    run_out(d);
    dialog_expect("C-33", "334|421 4.4.2!");
}

static void a_logged_in_session_may_be_idle_only_so_long(void **state)
{
    struct dialog *d = *state;

    dialog_begin(d, d->key);
    wait_ms(100000);
    dialog_say(d, "NOOP\r\n");
    assert_int_equal(dialog_stream.deadline_ms, 300000);
    wait_ms(1000);
    dialog_say(d, "N"); /* an octet is no command */
    assert_int_equal(dialog_stream.deadline_ms, 299000);
    run_out(d);
    dialog_expect("E-32", "250 2.0.0|421 4.4.2!");
}

static void data_must_come_at_the_least_rate_after_the_grace(void **state)
{
    struct dialog *d = *state;
    char second[500];

    memset(second, 'x', sizeof(second));
    memcpy(second + 498, "\r\n", 2);
    dialog_begin(d, d->key);
    dialog_envelope(d);
    assert_int_equal(dialog_stream.deadline_ms, 60000);
    dialog_say(d, "From: a@good.example\r\n\r\n");
    for (int i = 0; i < 100; i++) { /* just fast enough */
        wait_ms(1000);
        dialog_send(d, slice_make(second, sizeof(second)));
        assert_true(dialog_stream.deadline_ms > 1);
    }
    for (int i = 0; dialog_stream.deadline_ms > 1; i++) { /* E-31: 100 a second */
        assert_true(i < 60);
        wait_ms(1000);
        dialog_say(d, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                      "xxxxxxxxxxxxxxxxxxxxxx\r\n");
    }
    run_out(d);
    dialog_expect("E-31", "421 4.4.2!");

    dialog_begin(d, d->key);
    dialog_envelope(d);
    for (int i = 0; i < 2000; i++)
        dialog_send(d, slice_make(second, sizeof(second)));
    assert_int_equal(dialog_stream.deadline_ms, 300000); /* E-34: however fast it came before */
    run_out(d);
    dialog_expect("E-34", "421 4.4.2!");
}

static void an_implicit_door_greets_after_the_handshake(void **state)
{
    struct dialog *d = *state;

    d->door.tls = SMTP_TLS_IMPLICIT;
    dialog_connect(d);
    dialog_expect("silent", "");
    dialog_secure(d);
    dialog_say(d, "EHLO x\r\nSTARTTLS\r\nQUIT\r\n");
    dialog_expect("B-07", "220|250|503 5.5.1|221 2.0.0!");
    dialog_connect(d);
    run_out(d);
    assert_true(dialog_stream.closed); /* without a word */
    dialog_expect("no handshake", "!");
    dialog_connect(d);
    dialog_end(d, STREAM_TLS_FAILED);
    d->door.tls = SMTP_TLS_STARTTLS;
}

static void too_many_sessions_are_turned_away(void **state)
{
    struct dialog *d = *state;
    struct session *held[5];
    struct stream streams[5];

    for (size_t i = 0; i < ARRAY_LEN(held); i++) { /* five from this address */
        dialog_connect(d);
        held[i] = dialog_stream.owner;
        streams[i] = dialog_stream;
        dialog_stream = (struct stream){ 0 };
    }
    dialog_connect(d);
    dialog_expect("E-36 address", "421 4.7.0!");
    listener_limits_set(d->admissions, 5, 100);
    dialog_connect(d);
    dialog_expect("E-36 total", "421 4.3.2!");
    d->door.tls = SMTP_TLS_IMPLICIT;
    dialog_connect(d);
    assert_true(dialog_stream.closed);
    dialog_expect("nothing in clear", "!");
    d->door.tls = SMTP_TLS_STARTTLS;
    listener_limits_set(d->admissions, 10, 5);
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        streams[i].events->on_end(held[i], STREAM_EOF);
        buf_free(&streams[i].out);
        buf_free(&streams[i].kept);
    }
    dialog_connect(d);
    dialog_expect("room again", "220");
    dialog_end(d, STREAM_EOF);
}

static void a_connection_that_cannot_be_taken_costs_nothing(void **state)
{
    struct dialog *d = *state;
    size_t holds = d->loop.holds;

    dialog_accepts_none = true;
    dialog_connect(d);
    dialog_accepts_none = false;
    assert_int_equal(d->service.session_count, 0);
    assert_int_equal(d->loop.holds, holds);
    dialog_connect(d);
    dialog_expect("the next one", "220");
    dialog_end(d, STREAM_EOF);
}

/* What EHLO says, and what MAIL takes. */
static void a_key_may_have_a_lower_limit_on_messages_and_never_a_higher_one(void **state)
{
    static const struct {
        uint64_t own;
        const char *want;
        uint64_t in_force;
    } rows[] = { { 0, "SIZE 26214400", 26214400 },
                 { 5000, "SIZE 5000", 5000 },
                 { 99999999, "SIZE 26214400", 26214400 } };
    struct dialog *d = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
        char *at_most, *more;
        dialog_add_key(d,
                       &(struct auth_key_spec){ .account = AUTH_DEFAULT_ACCOUNT,
                                                .name = "sized",
                                                .scopes = AUTH_SEND,
                                                .message_size_bytes = rows[i].own },
                       secret, id);
        dialog_begin(d, secret);
        dialog_say(d, "EHLO again.example\r\n");
        if (memmem(buf_slice(&dialog_stream.out).data, buf_len(&dialog_stream.out), rows[i].want,
                   strlen(rows[i].want)) == NULL)
            fail_msg("own limit %llu: %.*s", (unsigned long long)rows[i].own,
                     SLICE_ARG(buf_slice(&dialog_stream.out)));
        dialog_codes();
        at_most = xasprintf("MAIL FROM:<a@good.example> SIZE=%llu\r\nRSET\r\n",
                            (unsigned long long)rows[i].in_force);
        more = xasprintf("MAIL FROM:<a@good.example> SIZE=%llu\r\n",
                         (unsigned long long)rows[i].in_force + 1);
        dialog_say(d, at_most);
        dialog_expect(at_most, "250 2.1.0|250 2.0.0");
        dialog_say(d, more);
        dialog_expect(more, "552 5.3.4");
        dialog_end(d, STREAM_EOF);
        free(at_most);
        free(more);
    }
}

#define WRONG "AUTH PLAIN AGEAYg==\r\n"

/* A log-in that works takes all failures of the address back. */
static void forget_failures(struct dialog *d)
{
    dialog_begin(d, d->key);
    dialog_end(d, STREAM_EOF);
    dialog_codes();
}

static void a_refused_login_waits_for_its_answer(void **state)
{
    struct dialog *d = *state;

    forget_failures(d);
    dialog_begin(d, NULL);
    dialog_say(d, WRONG "NOOP\r\n");
    dialog_expect("nothing yet", "");
    assert_true(dialog_stream.paused);
    assert_int_equal(dialog_stream.deadline_ms, 1000);
    run_out(d);
    dialog_expect("now, and what was pipelined", "535 5.7.8|250 2.0.0");
    dialog_say(d, "AUTH LOGIN\r\nYQ==\r\nYg==\r\n");
    dialog_expect("the second", "334|334");
    assert_int_equal(dialog_stream.deadline_ms, 2000);
    run_out(d);
    dialog_say(d, WRONG);
    assert_int_equal(dialog_stream.deadline_ms, 4000);
    run_out(d);
    dialog_expect("the third ends the session", "535 5.7.8|535 5.7.8|421 4.7.0!");
}

static void a_wait_is_no_longer_than_the_time_to_log_in(void **state)
{
    struct dialog *d = *state;

    forget_failures(d);
    dialog_begin(d, NULL);
    wait_ms(59500);
    dialog_say(d, WRONG);
    assert_int_equal(dialog_stream.deadline_ms, 500);
    run_out(d);
    dialog_expect("C-33 for the tarpit", "421 4.4.2!");
}

static void nobody_waits_who_did_not_show_a_wrong_key(void **state)
{
    struct dialog *d = *state;

    forget_failures(d);
    dialog_begin(d, NULL);
    dialog_say(d, "AUTH PLAIN !!!!\r\n");
    dialog_expect("C-03", "501 5.5.2");
    dialog_say(d, WRONG);
    dialog_expect("it waits", "");
    run_out(d);
    dialog_expect("it was told", "535 5.7.8");
    char *line = dialog_plain(d->key);
    dialog_say(d, line);
    free(line);
    dialog_expect("the right key", "235 2.7.0");
    dialog_end(d, STREAM_EOF);
}

static void who_leaves_the_tarpit_early_leaves_nothing(void **state)
{
    struct dialog *d = *state;

    dialog_begin(d, NULL);
    dialog_say(d, WRONG);
    dialog_end(d, STREAM_RESET);
    assert_int_equal(d->service.session_count, 0);
    dialog_begin(d, NULL);
    dialog_say(d, WRONG);
    smtp_service_drain(&d->service);
    dialog_expect("a service that stops does not wait", "421 4.3.2!");
    d->service.draining = false;
    dialog_begin(d, NULL);
    dialog_say(d, WRONG);
    smtp_service_stop(&d->service);
    dialog_expect("nor one that has to", "421 4.3.2!");
    d->service.draining = false;
}

static void an_address_that_guesses_is_turned_away_for_a_while(void **state)
{
    struct dialog *d = *state;

    forget_failures(d);
    for (int i = 0; i < 1000; i++) {
        dialog_connect(d);
        dialog_say(d, "STARTTLS\r\n");
        dialog_secure(d);
        dialog_say(d, "EHLO x\r\nAUTH PLAIN AGEAYg==\r\n");
        dialog_end(d, STREAM_EOF);
    }
    dialog_connect(d);
    dialog_expect("C-16", "421 4.7.0!");
    wait_ms(601000);
    dialog_connect(d);
    dialog_expect("after the penalty", "220");
    dialog_end(d, STREAM_EOF);
}

static void a_client_that_reads_no_replies_is_not_read(void **state)
{
    struct dialog *d = *state;

    dialog_begin(d, d->key);
    dialog_stream.unwritten = STREAM_HIGH_WATER + 1;
    dialog_say(d, "NOOP\r\n");
    assert_true(dialog_stream.paused);
    dialog_say(d, "NOOP\r\n");
    dialog_expect("paused", "");
    assert_true(dialog_stream.deadline_ms > 0);
    dialog_stream.unwritten = 0;
    dialog_stream.events->on_drained(dialog_stream.owner);
    dialog_settle(d);
    dialog_expect("drained", "250 2.0.0|250 2.0.0");
    dialog_end(d, STREAM_EOF);
}

/* The timer of a busy loop is late; something else may come first. */
static void a_time_that_is_over_is_not_begun_anew(void **state)
{
    static const struct {
        const char *name, *said;
        bool logs_in;
        int64_t wait_ms;
        const char *want;
    } rows[] = {
        { "log-in", "NOOP\r\n", false, 61000, "421 4.4.2!" },
        { "idle", "NOOP\r\n", true, 301000, "421 4.4.2!" },
        { "tarpit", "AUTH PLAIN AGEAYg==\r\n", false, 5000, "535 5.7.8" },
    };
    struct dialog *d = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        dialog_begin(d, rows[i].logs_in ? d->key : NULL);
        dialog_say(d, rows[i].said);
        dialog_codes();
        dialog_now_us += rows[i].wait_ms * 1000;
        dialog_stream.events->on_drained(dialog_stream.owner);
        if (dialog_stream.deadline_ms != 1)
            fail_msg("%s: %llu ms are left", rows[i].name,
                     (unsigned long long)dialog_stream.deadline_ms);
        dialog_now_us += 1000;
        dialog_stream.events->on_deadline(dialog_stream.owner);
        dialog_settle(d);
        dialog_expect(rows[i].name, rows[i].want);
        dialog_end(d, STREAM_EOF);
    }
}

static void pipelined_commands_leave_the_others_their_turn(void **state)
{
    struct dialog *d = *state;
    struct buf commands;

    dialog_begin(d, d->key);
    buf_init(&commands, 4096);
    for (int i = 0; i < 40; i++)
        assert_true(buf_add(&commands, SLICE("NOOP\r\n")));
    size_t used = dialog_stream.events->on_data(dialog_stream.owner, buf_slice(&commands));
    assert_int_equal(used, 16 * 6);
    assert_true(dialog_stream.kick && !dialog_stream.paused); /* the rest comes by itself */
    dialog_codes();
    dialog_send(d, slice_from(buf_slice(&commands), used));
    size_t answers = 0;
    for (const char *at = dialog_codes(); (at = strstr(at, "250")) != NULL; at++)
        answers++;
    assert_int_equal(answers, 24);
    buf_free(&commands);
    dialog_end(d, STREAM_EOF);
}

static void draining_ends_the_idle_now_and_the_others_after_their_message(void **state)
{
    struct dialog *d = *state;
    unsigned before = d->emptied;

    dialog_begin(d, d->key);
    smtp_service_drain(&d->service);
    dialog_expect("idle", "421 4.3.2!");
    assert_int_equal(d->emptied, before + 1);

    d->service.draining = false;
    dialog_begin(d, d->key);
    dialog_envelope(d);
    smtp_service_drain(&d->service);
    dialog_expect("in data", "");
    dialog_say(d, M0 ".\r\n");
    dialog_expect("F-18", "250 2.0.0|421 4.3.2!");
    assert_int_equal(d->emptied, before + 2);

    dialog_connect(d);
    dialog_expect("a late one", "421 4.3.2!");
    d->service.draining = false;
    dialog_connect(d);
    dialog_say(d, "STARTTLS\r\n");
    smtp_service_drain(&d->service);
    assert_true(dialog_stream.closed);
    assert_int_equal(d->emptied, before + 3);
    smtp_service_drain(&d->service);
    assert_int_equal(d->emptied, before + 4); /* nobody is there */
    d->service.draining = false;
}

/* A login is nothing to wait for; a message that was begun is, and another session is. */
static void draining_waits_for_what_was_begun(void **state)
{
    struct dialog *d = *state;
    unsigned before = d->emptied;

    dialog_begin(d, NULL);
    dialog_say(d, "AUTH LOGIN\r\n");
    dialog_expect("half logged in", "334");
    smtp_service_drain(&d->service);
    dialog_expect("in a login", "421 4.3.2!");
    assert_int_equal(d->emptied, before + 1);

    d->service.draining = false;
    dialog_begin(d, d->key);
    dialog_say(d, "MAIL FROM:<a@good.example>\r\n");
    smtp_service_drain(&d->service);
    dialog_say(d, "RCPT TO:<r@dest.example>\r\nDATA\r\n");
    dialog_expect("behind MAIL", "250 2.1.0|250 2.1.5|354");
    dialog_say(d, M0 ".\r\n");
    dialog_expect("its message was taken", "250 2.0.0|421 4.3.2!");
    assert_int_equal(d->emptied, before + 2);
    d->service.draining = false;
}

static void the_last_of_several_sessions_ends_a_drain_and_nobody_need_be_told(void **state)
{
    struct dialog *d = *state;
    unsigned before = d->emptied;

    for (int told = 0; told < 2; told++) {
        dialog_begin(d, d->key);
        dialog_envelope(d);
        struct stream first = dialog_stream;
        dialog_stream = (struct stream){ 0 };
        dialog_begin(d, d->key);
        dialog_envelope(d);
        d->service.emptied = told == 0 ? NULL : dialog_emptied;
        smtp_service_drain(&d->service);
        first.events->on_end(first.owner, STREAM_EOF);
        buf_free(&first.out);
        buf_free(&first.kept);
        assert_int_equal(d->service.session_count, 1);
        assert_int_equal(d->emptied, before);
        dialog_end(d, STREAM_EOF);
        assert_int_equal(d->emptied, before + (unsigned)told);
        d->service.draining = false;
    }
}

static void stopping_ends_all_but_a_commit_under_way(void **state)
{
    struct dialog *d = *state;
    unsigned before = d->emptied;

    dialog_begin(d, d->key);
    dialog_envelope(d);
    dialog_say(d, "From: a@good.example\r\n");
    smtp_service_stop(&d->service);
    dialog_settle(d);
    dialog_expect("in data", "421 4.3.2!");
    assert_int_equal(d->emptied, before + 1);

    d->service.draining = false;
    dialog_begin(d, d->key);
    dialog_envelope(d);
    assert_true(buf_add(&dialog_stream.kept, SLICE(M0 ".\r\n")));
    dialog_pump();
    smtp_service_stop(&d->service);
    assert_int_equal(d->emptied, before + 1);
    dialog_settle(d);
    dialog_expect("in commit", "250 2.0.0|421 4.3.2!");
    assert_int_equal(d->emptied, before + 2);
    d->service.draining = false;
}

struct lines {
    char last[4096];
    unsigned count;
    const char *secret;
};

static void keep_line(void *owner, struct slice line)
{
    struct lines *lines = owner;

    assert_null(memmem(line.data, line.len, lines->secret, strlen(lines->secret)));
    snprintf(lines->last, sizeof(lines->last), "%.*s", SLICE_ARG(line));
    lines->count++;
}

static void the_end_is_told_in_one_line_without_secrets(void **state)
{
    struct dialog *d = *state;
    struct lines lines = { .secret = d->key };

    log_divert(keep_line, &lines);
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    dialog_begin(d, d->key);
    dialog_envelope(d);
    dialog_say(d, M0 ".\r\nXYZZY\r\nQUIT\r\n");
    log_configure(LOG_INFO, LOG_LOGFMT);
    dialog_begin(d, d->key);
    lines.count = 0;
    dialog_envelope(d);
    dialog_say(d, M0 ".\r\nXYZZY\r\nAUTH PLAIN\r\nQUIT\r\n");
    log_configure(LOG_ERROR, LOG_LOGFMT);
    log_divert(NULL, NULL);
    assert_int_equal(lines.count, 2); /* the message, and the session */
    assert_non_null(strstr(lines.last, "event=session_closed"));
    assert_non_null(strstr(lines.last, "door=test"));
    assert_non_null(strstr(lines.last, "user=user"));
    assert_non_null(strstr(lines.last, d->key_id));
    assert_non_null(strstr(lines.last, "auth=1/2"));
    assert_non_null(strstr(lines.last, "mail=1/1"));
    assert_non_null(strstr(lines.last, "other=0/1"));
    assert_non_null(strstr(lines.last, "messages=1"));
    assert_non_null(strstr(lines.last, "reason=quit"));
}

static void a_refused_message_is_told_with_its_reason_and_reference(void **state)
{
    struct dialog *d = *state;
    struct lines lines = { .secret = d->key };

    dialog_begin(d, d->key);
    dialog_envelope(d);
    log_divert(keep_line, &lines);
    log_configure(LOG_INFO, LOG_LOGFMT);
    dialog_say(d, "From: <x@victim.example>\r\n\r\nhello\r\n.\r\n");
    log_configure(LOG_ERROR, LOG_LOGFMT);
    log_divert(NULL, NULL);
    dialog_expect("not its own", "550 5.7.1");
    assert_non_null(strstr(lines.last, "event=message_refused"));
    assert_non_null(strstr(lines.last, d->key_id));
    assert_non_null(strstr(lines.last, "sender=a@good.example"));
    assert_non_null(strstr(lines.last, "status=5.7.1"));
    assert_non_null(strstr(lines.last, "reference="));
    dialog_end(d, STREAM_EOF);
}

/* Clients that were set up wrongly do so, with the key as the password too or without it. */
static void a_key_given_as_the_user_name_is_not_logged(void **state)
{
    static const struct {
        const char *format, *want;
    } cases[] = {
        { "%c%s%cwrong", "535 5.7.8|221 2.0.0!" },
        { "%c%s%c%s", "235 2.7.0|221 2.0.0!" },
        { "%c<%s>%cwrong", "535 5.7.8|221 2.0.0!" },
        { "%capikey:%s%c%s", "235 2.7.0|221 2.0.0!" },
    };
    struct dialog *d = *state;
    struct lines lines = { .secret = d->key + strlen("lpk_") + strlen(d->key_id) };
    struct buf blob, line;

    buf_init(&blob, 512);
    buf_init(&line, 1024);
    log_divert(keep_line, &lines);
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&blob);
        buf_clear(&line);
        assert_true(buf_printf(&blob, cases[i].format, '\0', d->key, '\0', d->key));
        assert_true(buf_add(&line, SLICE("AUTH PLAIN ")));
        assert_true(base64_encode(buf_slice(&blob), &line));
        assert_true(buf_add(&line, SLICE("\r\nQUIT\r\n")));
        dialog_begin(d, NULL);
        dialog_send(d, buf_slice(&line));
        if (dialog_stream.paused && !dialog_is_over())
            run_out(d);
        dialog_expect(cases[i].format, cases[i].want);
    }
    log_configure(LOG_ERROR, LOG_LOGFMT);
    log_divert(NULL, NULL);
    buf_free(&blob);
    buf_free(&line);
}

static void a_session_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct session) <= 1024);
}

static int open_all(void **state)
{
    static struct dialog d;

    dialog_tarpit_ms = 1000;
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
        cmocka_unit_test(logging_in_has_one_deadline_for_all_it_does),
        cmocka_unit_test(a_logged_in_session_may_be_idle_only_so_long),
        cmocka_unit_test(data_must_come_at_the_least_rate_after_the_grace),
        cmocka_unit_test(an_implicit_door_greets_after_the_handshake),
        cmocka_unit_test(too_many_sessions_are_turned_away),
        cmocka_unit_test(a_client_that_reads_no_replies_is_not_read),
        cmocka_unit_test(a_connection_that_cannot_be_taken_costs_nothing),
        cmocka_unit_test(a_key_may_have_a_lower_limit_on_messages_and_never_a_higher_one),
        cmocka_unit_test(a_time_that_is_over_is_not_begun_anew),
        cmocka_unit_test(draining_waits_for_what_was_begun),
        cmocka_unit_test(the_last_of_several_sessions_ends_a_drain_and_nobody_need_be_told),
        cmocka_unit_test(a_refused_message_is_told_with_its_reason_and_reference),
        cmocka_unit_test(pipelined_commands_leave_the_others_their_turn),
        cmocka_unit_test(draining_ends_the_idle_now_and_the_others_after_their_message),
        cmocka_unit_test(stopping_ends_all_but_a_commit_under_way),
        cmocka_unit_test(the_end_is_told_in_one_line_without_secrets),
        cmocka_unit_test(a_key_given_as_the_user_name_is_not_logged),
        cmocka_unit_test(a_session_is_small),
        cmocka_unit_test(a_refused_login_waits_for_its_answer),
        cmocka_unit_test(a_wait_is_no_longer_than_the_time_to_log_in),
        cmocka_unit_test(nobody_waits_who_did_not_show_a_wrong_key),
        cmocka_unit_test(who_leaves_the_tarpit_early_leaves_nothing),
        cmocka_unit_test(an_address_that_guesses_is_turned_away_for_a_while),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
