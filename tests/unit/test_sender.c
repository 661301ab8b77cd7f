/* test_sender.c - the From rule: which header and which path may go out for good.example. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/domain.h"
#include "relay/message/sender.h"

#define GOOD "a@good.example"
#define EVIL "admin@victim.example"

/* The owner is the pattern of the only permitted domain. */
static bool permit_pattern(void *owner, struct slice local, struct slice domain)
{
    assert_true(local.len > 0);
    return domain_covers(slice_of(owner), domain);
}

static struct sender_reason check_block(struct slice block, char *pattern)
{
    struct header header;
    enum header_error parsed = header_parse(block, &header);
    struct sender_reason reason = sender_check(parsed, &header, permit_pattern, pattern);

    header_free(&header);
    return reason;
}

static void check_rule_text(const struct sender_reason *reason)
{
    assert_int_equal(reason->verdict == SENDER_OK, reason->rule[0] == '\0');
    for (const char *at = reason->rule; *at != '\0'; at++)
        assert_true(*at >= 32 && *at <= 126);
}

struct row {
    struct slice text;
    enum sender_verdict want;
};

static void check_blocks(const struct row *rows, size_t count, char *pattern)
{
    for (size_t i = 0; i < count; i++) {
        struct sender_reason reason = check_block(rows[i].text, pattern);
        if (reason.verdict != rows[i].want)
            fail_msg("row %zu '%.*s': got %d '%s', want %d", i, SLICE_ARG(rows[i].text),
                     (int)reason.verdict, reason.rule, (int)rows[i].want);
        check_rule_text(&reason);
    }
}

static void a_header_is_permitted_refused_or_not_readable(void **state)
{
    static const struct row rows[] = {
        /* D-01 to D-08 */
        { SLICE("From: <" EVIL ">\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: <" GOOD ">\r\nFrom: <" EVIL ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" EVIL ">\r\nFrom: <" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" GOOD ">\r\nFrom: <" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" GOOD ">, <" EVIL ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" EVIL ">, <" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" GOOD ">\r\nFrom : <" EVIL ">\r\n"), SENDER_NOT_READABLE },
        { SLICE(" From: <" GOOD ">\r\nFrom: <" EVIL ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From\r\n : <" GOOD ">\r\nFrom: <" EVIL ">\r\n"), SENDER_NOT_READABLE },
        /* D-09 to D-19 */
        { SLICE("From: <@good.example,@x.example:" EVIL ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" EVIL ">\\,<" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " EVIL ",<" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <" GOOD ">" EVIL "\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: =?utf-8?B?PGFkbWluQHZpY3RpbS5leGFtcGxlPg==?=,<" GOOD ">\r\n"),
          SENDER_NOT_READABLE },
        { SLICE("From: =?utf-8?Q?a=40good.example?=\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: team:" GOOD "," EVIL ";\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: team:;\r\n"), SENDER_NOT_READABLE },
        { SLICE("To: r@dest.example\r\n"), SENDER_NOT_READABLE },
        { SLICE("From:\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: <>\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: Bob\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: \"" EVIL "\"@good.example\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: \"" EVIL "\" <" GOOD ">\r\n"), SENDER_OK },
        { SLICE("From: \"" GOOD "\" <" EVIL ">\r\n"), SENDER_NOT_PERMITTED },
        /* D-23 to D-26 */
        { SLICE("From: <a@[192.0.2.1]>\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: a@[IPv6:2001:db8::1]\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: <A@Good.Example>\r\n"), SENDER_OK },
        { SLICE("From: a@good.example.\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: a@sub.good.example\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: a@evilgood.example\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: a@good.example.victim.example\r\n"), SENDER_NOT_PERMITTED },
        /* D-27 to D-33 */
        { SLICE("From: " GOOD "\r\nSender: <" EVIL ">\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: <" EVIL ">\r\nSender: <" GOOD ">\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: " GOOD "\r\nSender: b@good.example\r\n"), SENDER_OK },
        { SLICE("From: " GOOD "\r\nSender:\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\nReply-To: <x@victim.example>\r\n"), SENDER_OK },
        { SLICE("From: " GOOD " (" EVIL ")\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD " (Cron Daemon)\r\n"), SENDER_OK },
        { SLICE("From: Bob\r\n <" GOOD ">\r\n"), SENDER_OK },
        { SLICE("From: Jos\xc3\xa9 <" GOOD ">\r\n"), SENDER_NON_ASCII },
        { SLICE("From: \"Jos\xc3\xa9\" <" GOOD ">\r\n"), SENDER_NON_ASCII },
        { SLICE("From: <a@b\xc3\xbc"
                "cher.example>\r\n"),
          SENDER_NON_ASCII },
        { SLICE("From: " GOOD "\r\nSender: Jos\xc3\xa9 <" GOOD ">\r\n"), SENDER_NON_ASCII },
        { SLICE("From: " GOOD "\r\nResent-From: Jos\xc3\xa9 <" GOOD ">\r\n"), SENDER_NON_ASCII },
        { SLICE("From: " GOOD "\r\nSubject: Jos\xc3\xa9 \xff\r\nTo: \xc3\xa9@x\r\n"), SENDER_OK },
        /* D-49, D-50 */
        { SLICE("From: " GOOD "\r\nFROM: " GOOD "\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\nfRoM: " EVIL "\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\nFrom\t: " EVIL "\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\nSubject: x\r\n\tFrom: " EVIL "\r\n"), SENDER_OK },
        { SLICE("\r\nFrom: <" GOOD ">\r\n"), SENDER_NOT_READABLE },
        { SLICE(""), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\n\r\nFrom: " EVIL "\r\n"), SENDER_OK },
        /* D-55 */
        { SLICE("From: x%victim.example@good.example\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: <victim.example!x@good.example>\r\n"), SENDER_NOT_PERMITTED },
        /* Resent blocks repeat, and every one of them counts. */
        { SLICE("From: " GOOD "\r\nResent-From: " GOOD "\r\nResent-From: b@good.example\r\n"
                "Resent-Sender: c@good.example\r\nResent-Sender: " GOOD "\r\n"),
          SENDER_OK },
        { SLICE("Resent-From: " GOOD "\r\nResent-From: " EVIL "\r\nFrom: " GOOD "\r\n"),
          SENDER_NOT_PERMITTED },
        { SLICE("Resent-Sender: " GOOD "\r\nResent-SENDER: " EVIL "\r\nFrom: " GOOD "\r\n"),
          SENDER_NOT_PERMITTED },
        { SLICE("From: " GOOD "\r\nResent-From: " GOOD ", " EVIL "\r\n"), SENDER_NOT_READABLE },
        { SLICE("From: " GOOD "\r\nX-From: " EVIL "\r\nFrom-X: " EVIL "\r\n"), SENDER_OK },
        { SLICE("From: a@xn--good-9.example\r\n"), SENDER_NOT_READABLE },
    };
    (void)state;
    check_blocks(rows, ARRAY_LEN(rows), (char[]){ "good.example" });
}

static void a_field_that_may_stand_once_stands_once(void **state)
{
    static const struct {
        const char *name;
        enum sender_verdict want;
    } rows[] = {
        { "Sender", SENDER_NOT_READABLE },
        { "Date", SENDER_NOT_READABLE },
        { "Message-ID", SENDER_NOT_READABLE },
        { "To", SENDER_NOT_READABLE },
        { "Cc", SENDER_NOT_READABLE },
        { "Subject", SENDER_NOT_READABLE },
        { "Reply-To", SENDER_NOT_READABLE },
        { "In-Reply-To", SENDER_NOT_READABLE },
        { "References", SENDER_NOT_READABLE },
        { "Bcc", SENDER_OK },
        { "Received", SENDER_OK },
        { "Resent-To", SENDER_OK },
        { "X-Anything", SENDER_OK },
    };
    char block[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int len = snprintf(block, sizeof(block), "From: %s\r\n%s: %s\r\n%s: %s\r\n", GOOD,
                           rows[i].name, GOOD, rows[i].name, GOOD);
        struct sender_reason reason =
            check_block(slice_make(block, (size_t)len), (char[]){ "good.example" });
        if (reason.verdict != rows[i].want)
            fail_msg("two %s: got %d, want %d", rows[i].name, (int)reason.verdict,
                     (int)rows[i].want);
        check_rule_text(&reason);
    }
}

static void a_pattern_permits_what_it_covers(void **state)
{
    static const struct row rows[] = {
        { SLICE("From: a@sub.good.example\r\n"), SENDER_OK },
        { SLICE("From: a@good.example\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: a@evilgood.example\r\n"), SENDER_NOT_PERMITTED },
        { SLICE("From: a@good.example.victim.example\r\n"), SENDER_NOT_PERMITTED },
    };
    static const struct row idn[] = {
        { SLICE("From: a@XN--BCHER-KVA.example\r\n"), SENDER_OK },
        { SLICE("From: a@b\xc3\xbc"
                "cher.example\r\n"),
          SENDER_NON_ASCII },
    };
    (void)state;
    check_blocks(rows, ARRAY_LEN(rows), (char[]){ "*.good.example" });
    check_blocks(idn, ARRAY_LEN(idn), (char[]){ "xn--bcher-kva.example" });
}

static void a_path_is_permitted_refused_or_not_readable(void **state)
{
    static const struct row rows[] = {
        { SLICE("<a@good.example>"), SENDER_OK },
        { SLICE("a@good.example"), SENDER_OK },
        { SLICE("<A@GOOD.EXAMPLE>"), SENDER_OK },
        { SLICE("<>"), SENDER_OK },
        { SLICE(""), SENDER_BAD_PATH },
        { SLICE("<x@victim.example>"), SENDER_NOT_PERMITTED },
        { SLICE("<a@sub.good.example>"), SENDER_NOT_PERMITTED },
        { SLICE("<@good.example:x@victim.example>"), SENDER_BAD_PATH },
        { SLICE("<a@[192.0.2.1]>"), SENDER_NOT_PERMITTED },
        { SLICE("<a@[IPv6:2001:db8::1]>"), SENDER_NOT_PERMITTED },
        { SLICE("<a@[x]>"), SENDER_BAD_PATH },
        { SLICE("<a@good.example.>"), SENDER_BAD_PATH },
        { SLICE("<jos\xc3\xa9@good.example>"), SENDER_PATH_NON_ASCII },
        { SLICE("<x%victim.example@good.example>"), SENDER_NOT_PERMITTED },
        { SLICE("<victim.example!x@good.example>"), SENDER_NOT_PERMITTED },
        { SLICE("<\"a b\"@good.example>"), SENDER_BAD_PATH },
        { SLICE("<a\0@good.example>"), SENDER_BAD_PATH },
        { SLICE("<a@xn--good-9.example>"), SENDER_BAD_PATH },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address address = { .local = SLICE("untouched") };
        struct sender_reason reason =
            sender_check_path(rows[i].text, permit_pattern, (char[]){ "good.example" }, &address);
        bool touched = !slice_equal(address.local, SLICE("untouched"));
        if (reason.verdict != rows[i].want || touched != (rows[i].want == SENDER_OK))
            fail_msg("'%.*s': got %d '%s', want %d", SLICE_ARG(rows[i].text), (int)reason.verdict,
                     reason.rule, (int)rows[i].want);
        check_rule_text(&reason);
    }
}

static void the_rule_names_the_field_and_the_address(void **state)
{
    char block[512];
    struct sender_reason reason =
        check_block(SLICE("From: " GOOD "\r\nSender: " EVIL "\r\n"), (char[]){ "good.example" });

    (void)state;
    assert_string_equal(reason.rule,
                        "Sender: the address admin@victim.example is not permitted for this key");
    /* The longest address that can be read still leaves room for the whole sentence. */
    memset(block, 'a', sizeof(block));
    memcpy(block, "Resent-Sender: ", 15);
    block[15 + 64] = '@';
    for (size_t i = 15 + 65 + 40; i < 15 + 254; i += 40)
        block[i] = '.';
    memcpy(block + 15 + 254, "\r\nFrom: " GOOD, sizeof("\r\nFrom: " GOOD));
    reason = check_block(slice_of(block), (char[]){ "good.example" });
    assert_int_equal(reason.verdict, SENDER_NOT_PERMITTED);
    assert_non_null(strstr(reason.rule, " is not permitted for this key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_permitted_refused_or_not_readable),
        cmocka_unit_test(a_field_that_may_stand_once_stands_once),
        cmocka_unit_test(a_pattern_permits_what_it_covers),
        cmocka_unit_test(a_path_is_permitted_refused_or_not_readable),
        cmocka_unit_test(the_rule_names_the_field_and_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
