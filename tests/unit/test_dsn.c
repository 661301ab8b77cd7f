/* test_dsn.c - what a report says, and that nothing a stranger said can change its form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/dsn.h"

#define RECIPIENTS_MAX 100

static const struct dsn_recipient bob = { .address = "bob@example.org",
                                          .code = 550,
                                          .enhanced = "5.1.1",
                                          .text = "No such user",
                                          .upstream = "mx.example.net",
                                          .attempts = 1 };

static const struct dsn_facts facts = {
    .action = DSN_FAILED,
    .hostname = "relay.example",
    .report_id = "01j5r2k8xq4vf",
    .message_id = "01j5r2k8xq4vd",
    .sender = "ann@good.example",
    .arrived_s = 1795265786,
    .now_s = 1795265790,
    .retry_until_s = 1795611386,
    .original = { "From: ann@good.example\r\nSubject: hello\r\n\r\nBody\r\n", 48 },
    .recipients = &bob,
    .recipient_count = 1,
};

static const char *compose(const struct dsn_facts *with, struct buf *out)
{
    buf_init(out, DSN_BYTES_MAX(with->recipient_count) + 1);
    assert_true(dsn_compose(with, out));
    assert_true(buf_len(out) < out->max);
    assert_true(buf_add_byte(out, '\0'));
    return buf_slice(out).data;
}

#define BOUNDARY "=_0.01j5r2k8xq4vf"
#define START                                                                                      \
    "Content-Type: multipart/report; report-type=delivery-status;\r\n"                             \
    " boundary=\"" BOUNDARY "\"\r\n"                                                               \
    "\r\n"                                                                                         \
    "--" BOUNDARY "\r\n"                                                                           \
    "Content-Type: text/plain; charset=us-ascii\r\n"                                               \
    "\r\n"                                                                                         \
    "This is the mail system at relay.example.\r\n"                                                \
    "\r\n"
#define STATUS                                                                                     \
    "--" BOUNDARY "\r\n"                                                                           \
    "Content-Type: message/delivery-status\r\n"                                                    \
    "\r\n"                                                                                         \
    "Reporting-MTA: dns; relay.example\r\n"                                                        \
    "Arrival-Date: Sat, 21 Nov 2026 12:56:26 +0000\r\n"
#define END                                                                                        \
    "\r\n"                                                                                         \
    "--" BOUNDARY "\r\n"                                                                           \
    "Content-Type: text/rfc822-headers\r\n"                                                        \
    "Content-Transfer-Encoding: 7bit\r\n"                                                          \
    "\r\n"                                                                                         \
    "From: ann@good.example\r\n"                                                                   \
    "Subject: hello\r\n"                                                                           \
    "\r\n"                                                                                         \
    "--" BOUNDARY "--\r\n"

static void a_bounce_reads_like_this(void **state)
{
    static const char want[] =
        "From: Mail Delivery System <MAILER-DAEMON@relay.example>\r\n"
        "To: <ann@good.example>\r\n"
        "Subject: Your message could not be delivered\r\n"
        "Date: Sat, 21 Nov 2026 12:56:30 +0000\r\n"
        "Message-ID: <01j5r2k8xq4vf@relay.example>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n" START
        "Your message of Sat, 21 Nov 2026 12:56:26 +0000 could not be delivered to\r\n"
        "the following address. No further attempt will be made.\r\n"
        "\r\n"
        "  bob@example.org\r\n"
        "    mx.example.net replied:\r\n"
        "        550 5.1.1 No such user\r\n"
        "\r\n"
        "Please check the address for typing errors, and read the reason above: it\r\n"
        "often says what to change. Then you can send the message again. If that does\r\n"
        "not help, show this report to your mail administrator.\r\n"
        "\r\n"
        "If you ask for help, name the queue id of your message: 01j5r2k8xq4vd\r\n"
        "\r\n" STATUS "\r\n"
        "Final-Recipient: rfc822; bob@example.org\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns; mx.example.net\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n"
        "Last-Attempt-Date: Sat, 21 Nov 2026 12:56:30 +0000\r\n" END;
    struct buf out;

    (void)state;
    assert_string_equal(compose(&facts, &out), want);
    buf_free(&out);
}

static void a_delay_notice_reads_like_this(void **state)
{
    static const char want[] =
        "From: Mail Delivery System <MAILER-DAEMON@relay.example>\r\n"
        "To: <ann@good.example>\r\n"
        "Subject: Your message is delayed\r\n"
        "Date: Sat, 21 Nov 2026 12:56:30 +0000\r\n"
        "Message-ID: <01j5r2k8xq4vf@relay.example>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n" START
        "Your message of Sat, 21 Nov 2026 12:56:26 +0000 has not reached the\r\n"
        "following addresses yet. We keep trying until Wed, 25 Nov 2026 12:56:26\r\n"
        "+0000.\r\n"
        "\r\n"
        "  bob@example.org\r\n"
        "  \"b o b\"@example.net\r\n"
        "    What went wrong at attempt 7:\r\n"
        "        no upstream is usable\r\n"
        "\r\n"
        "  cy@example.net\r\n"
        "    The next mail server replied:\r\n"
        "        450\r\n"
        "\r\n"
        "There is nothing that you need to do; please do not send the message again.\r\n"
        "If it cannot be delivered by then, we shall tell you.\r\n"
        "\r\n"
        "If you ask for help, name the queue id of your message: 01j5r2k8xq4vd\r\n"
        "\r\n" STATUS "\r\n"
        "Final-Recipient: rfc822; bob@example.org\r\n"
        "Action: delayed\r\n"
        "Status: 4.4.1\r\n"
        "Diagnostic-Code: X-Latchpost; no upstream is usable\r\n"
        "Last-Attempt-Date: Sat, 21 Nov 2026 12:56:30 +0000\r\n"
        "Will-Retry-Until: Wed, 25 Nov 2026 12:56:26 +0000\r\n"
        "\r\n"
        "Final-Recipient: rfc822; \"b o b\"@example.net\r\n"
        "Action: delayed\r\n"
        "Status: 4.4.1\r\n"
        "Diagnostic-Code: X-Latchpost; no upstream is usable\r\n"
        "Last-Attempt-Date: Sat, 21 Nov 2026 12:56:30 +0000\r\n"
        "Will-Retry-Until: Wed, 25 Nov 2026 12:56:26 +0000\r\n"
        "\r\n"
        "Final-Recipient: rfc822; cy@example.net\r\n"
        "Action: delayed\r\n"
        "Status: 4.0.0\r\n"
        "Diagnostic-Code: smtp; 450\r\n"
        "Will-Retry-Until: Wed, 25 Nov 2026 12:56:26 +0000\r\n" END;
    static const struct dsn_recipient recipients[] = {
        { "bob@example.org", 0, "4.4.1", "no upstream is usable", NULL, 7 },
        { "\"b o b\"@example.net", 0, "4.4.1", "no upstream is usable", NULL, 7 },
        { "cy@example.net", 450, "", NULL, "main", 0 },
    };
    struct dsn_facts with = facts;
    struct buf out;

    (void)state;
    with.action = DSN_DELAYED;
    with.recipients = recipients;
    with.recipient_count = ARRAY_LEN(recipients);
    assert_string_equal(compose(&with, &out), want);
    buf_free(&out);
}

/* Composes a report for one recipient, and fails unless it holds `want`. */
static void report_holds(size_t row, enum dsn_action action, struct dsn_recipient recipient,
                         const char *want)
{
    struct dsn_facts with = facts;
    struct buf out;

    with.action = action;
    with.recipients = &recipient;
    if (strstr(compose(&with, &out), want) == NULL)
        fail_msg("row %zu: want\n%s\ngot\n%s", row, want, buf_slice(&out).data);
    buf_free(&out);
}

static void the_status_fits_the_action(void **state)
{
    static const struct {
        enum dsn_action action;
        const char *enhanced, *want;
    } rows[] = {
        { DSN_FAILED, "5.1.1", "\r\nStatus: 5.1.1\r\n" },
        { DSN_FAILED, "5.123.999", "\r\nStatus: 5.123.999\r\n" },
        { DSN_FAILED, "4.4.7", "\r\nStatus: 4.4.7\r\n" },
        { DSN_FAILED, "", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "2.0.0", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1.", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1.1.1", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1.1 ", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1234.1", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "5.1.1\r\nX: y", "\r\nStatus: 5.0.0\r\n" },
        { DSN_FAILED, "6.1.1", "\r\nStatus: 5.0.0\r\n" },
        { DSN_DELAYED, "4.2.2", "\r\nStatus: 4.2.2\r\n" },
        { DSN_DELAYED, "5.7.8", "\r\nStatus: 4.0.0\r\n" },
        { DSN_DELAYED, "", "\r\nStatus: 4.0.0\r\n" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_recipient recipient = bob;
        recipient.enhanced = rows[i].enhanced;
        report_holds(i, rows[i].action, recipient, rows[i].want);
    }
}

#define FIFTY "0123456789abcdef0123456789abcdef0123456789abcdef01"

static void what_others_said_is_cleaned_and_folded(void **state)
{
    static const struct {
        int code;
        const char *enhanced, *text, *want;
    } rows[] = {
        { 550, "5.1.1", "x", "\r\nDiagnostic-Code: smtp; 550 5.1.1 x\r\n" },
        { 550, "", "x", "\r\nDiagnostic-Code: smtp; 550 x\r\n" },
        { 550, "5.1", "x", "\r\nDiagnostic-Code: smtp; 550 x\r\n" },
        { 550, "5.1.1", NULL, "\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n" },
        { 550, "5.1.1", " \t ", "\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n" },
        { 0, "5.1.1", "why", "\r\nDiagnostic-Code: X-Latchpost; why\r\n" },
        { 0, "", NULL, "\r\nDiagnostic-Code: X-Latchpost; no reason is known\r\n" },
        { 0, "", "\r\n", "\r\nDiagnostic-Code: X-Latchpost; no reason is known\r\n" },
        { 550, "", "  a\r\n\tb  c \r\n", "\r\nDiagnostic-Code: smtp; 550 a b c\r\n" },
        { 550, "", "\r\n\r\n--" BOUNDARY "--\r\n",
          "\r\nDiagnostic-Code: smtp; 550 --" BOUNDARY "--\r\n" },
        { 550, "", "\x1b[2J\x7f \xc3\xbc\xff", "smtp; 550 \\x1b[2J\\x7f \\xc3\\xbc\\xff\r\n" },
        { 550, "", "%s%n \"q\" \\", "\r\nDiagnostic-Code: smtp; 550 %s%n \"q\" \\\r\n" },
        { 550, "5.0.0", FIFTY " " FIFTY " " FIFTY FIFTY " e",
          "\r\nDiagnostic-Code: smtp; 550 5.0.0\r\n " FIFTY "\r\n " FIFTY "\r\n " FIFTY FIFTY
          "\r\n e\r\n" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_recipient recipient = bob;
        recipient.code = rows[i].code;
        recipient.enhanced = rows[i].enhanced;
        recipient.text = rows[i].text;
        report_holds(i, DSN_FAILED, recipient, rows[i].want);
    }
}

static void only_a_host_name_is_told_of_the_upstream(void **state)
{
    static const struct {
        const char *upstream, *want;
    } rows[] = {
        { "smtp.provider.example",
          "\r\nStatus: 5.1.1\r\nRemote-MTA: dns; smtp.provider.example\r\n" },
        { "main", "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
        { NULL, "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
        { "", "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
        { "192.0.2.1", "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
        { "a.b\r\nX: y", "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
        { "maildir:/var/x.y", "\r\nStatus: 5.1.1\r\nDiagnostic-Code" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_recipient recipient = bob;
        recipient.upstream = rows[i].upstream;
        report_holds(i, DSN_FAILED, recipient, rows[i].want);
    }
}

static void the_report_is_addressed_to_a_readable_sender_only(void **state)
{
    static const struct {
        const char *sender, *want;
    } rows[] = {
        { "ann@good.example", "\r\nTo: <ann@good.example>\r\n" },
        { "\"a, b\\\"\"@good.example", "\r\nTo: <\"a, b\\\"\"@good.example>\r\n" },
        { "", "\r\nTo: undisclosed-recipients:;\r\n" },
        { "a@b.example, c@d.example", "\r\nTo: undisclosed-recipients:;\r\n" },
        { "a@b.example\r\nBcc: c@d.example", "\r\nTo: undisclosed-recipients:;\r\n" },
        { "\xc3\xbc@b.example", "\r\nTo: undisclosed-recipients:;\r\n" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_facts with = facts;
        struct buf out;
        with.sender = rows[i].sender;
        if (strstr(compose(&with, &out), rows[i].want) == NULL)
            fail_msg("row %zu: got\n%s", i, buf_slice(&out).data);
        buf_free(&out);
    }
}

static void the_boundary_is_in_nothing_that_others_said(void **state)
{
    static const struct {
        struct slice original;
        const char *text, *address;
        const char *want;
    } rows[] = {
        { SLICE("A: b\r\n"), "x", "a@b", "=_0.01j5r2k8xq4vf" },
        { SLICE("--=_0.01j5r2k8xq4vf: b\r\n"), "x", "a@b", "=_1.01j5r2k8xq4vf" },
        { SLICE("A: b\r\n"), "=_0.01j5r2k8xq4vf", "a@b", "=_1.01j5r2k8xq4vf" },
        { SLICE("A: b\r\n"), NULL, "=_0.01j5r2k8xq4vf@b", "=_1.01j5r2k8xq4vf" },
        { SLICE("A: =_0.01j5r2k8xq4vf\r\n"), "--=_2.01j5r2k8xq4vf--", "=_1.01j5r2k8xq4vf@b",
          "=_3.01j5r2k8xq4vf" },
        { SLICE("A: b\r\n\r\n=_0.01j5r2k8xq4vf"), "x", "a@b", "=_0.01j5r2k8xq4vf" },
    };
    char want[80];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_recipient recipient = bob;
        struct dsn_facts with = facts;
        struct buf out;
        recipient.text = rows[i].text;
        recipient.address = rows[i].address;
        with.recipients = &recipient;
        with.original = rows[i].original;
        snprintf(want, sizeof(want), " boundary=\"%s\"\r\n", rows[i].want);
        if (strstr(compose(&with, &out), want) == NULL)
            fail_msg("row %zu: got\n%s", i, buf_slice(&out).data);
        buf_free(&out);
    }
}

/* Facts as long as they can be, and longer where a stranger chose them. */
struct vast {
    char host[254], address[255], text[3000], original[70000];
    struct dsn_recipient recipients[RECIPIENTS_MAX];
};

/* `fill`, with a `blank` after each `every` of them. */
static void vast_init(struct vast *vast, char fill, char blank, size_t every)
{
    memset(vast, 0, sizeof(*vast));
    for (size_t at = 0; at < sizeof(vast->host) - 1; at++)
        vast->host[at] = at % 64 == 63 ? '.' : 'h';
    snprintf(vast->address, sizeof(vast->address), "\"%062d\"@%.189s", 0, vast->host);
    for (size_t at = 0; at < sizeof(vast->text) - 1; at++)
        vast->text[at] = at % (every + 1) == every ? blank : fill;
    for (size_t at = 0; at < sizeof(vast->original); at += 700) {
        memcpy(vast->original + at, vast->text, 700);
        memcpy(vast->original + at, "X:", 2);
        memcpy(vast->original + at + 698, "\r\n", 2);
    }
    for (size_t i = 0; i < RECIPIENTS_MAX; i++)
        vast->recipients[i] = (struct dsn_recipient){ vast->address, 550,        "5.123.123",
                                                      vast->text,    vast->host, UINT32_MAX };
}

static void check_lines(size_t row, struct slice report)
{
    for (size_t at = 0; at < report.len; at++)
        assert_in_range(report.data[at], '\t', '~');
    while (report.len > 0) {
        struct slice line = slice_cut(&report, '\n');
        if (line.len > 998 + 1 || slice_find(line, '\r') != line.len - 1)
            fail_msg("row %zu: not a line: '%.*s'", row, SLICE_ARG(line));
    }
}

static void facts_of_any_length_stay_within_the_maximum_and_the_line(void **state)
{
    static const struct {
        char fill, blank;
        size_t every, recipients;
    } rows[] = {
        { 'a', 'a', 1, 1 },     { 'a', ' ', 2, 1 },   { 'a', ' ', 34, 1 },
        { 'a', ' ', 67, 1 },    { 'a', '\n', 34, 1 }, { 'a', ' ', 34, RECIPIENTS_MAX },
        { '\xff', ' ', 99, 1 }, { '=', '\r', 5, 1 },  { '\x1b', '\n', 66, RECIPIENTS_MAX },
    };
    static struct vast vast;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        struct dsn_facts with = facts;
        struct buf out;
        vast_init(&vast, rows[i / 2].fill, rows[i / 2].blank, rows[i / 2].every);
        with.action = i % 2 == 0 ? DSN_FAILED : DSN_DELAYED;
        with.hostname = vast.host;
        with.sender = vast.address;
        with.arrived_s = with.now_s = with.retry_until_s = i % 2 == 0 ? INT64_MAX : INT64_MIN;
        with.original = slice_make(vast.original, sizeof(vast.original));
        with.recipients = vast.recipients;
        with.recipient_count = rows[i / 2].recipients;
        const char *report = compose(&with, &out);
        check_lines(i / 2, slice_of(report));
        buf_free(&out);
    }
}

static void a_full_buffer_is_told(void **state)
{
    struct buf out;

    (void)state;
    compose(&facts, &out);
    size_t need = buf_len(&out) - 1;
    buf_free(&out);
    for (size_t max = 0; max <= need; max++) {
        buf_init(&out, max);
        if (dsn_compose(&facts, &out) != (max == need))
            fail_msg("a maximum of %zu bytes", max);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounce_reads_like_this),
        cmocka_unit_test(a_delay_notice_reads_like_this),
        cmocka_unit_test(the_status_fits_the_action),
        cmocka_unit_test(what_others_said_is_cleaned_and_folded),
        cmocka_unit_test(only_a_host_name_is_told_of_the_upstream),
        cmocka_unit_test(the_report_is_addressed_to_a_readable_sender_only),
        cmocka_unit_test(the_boundary_is_in_nothing_that_others_said),
        cmocka_unit_test(facts_of_any_length_stay_within_the_maximum_and_the_line),
        cmocka_unit_test(a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
