/* test_compose.c - whole messages byte for byte, what is refused and where, and what holds of every
 * message. (tests/system/emails.py has two other languages read them.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/message/address.h"
#include "relay/message/compose.h"
#include "relay/message/encode.h"
#include "relay/message/header.h"

static struct compose_address ann = { { "Ann", 3 }, { "ann@good.example", 16 } };
static struct compose_address bob = { { "", 0 }, { "bob@dest.example", 16 } };

static struct compose_mail small_mail(void)
{
    return (struct compose_mail){ .from = ann,
                                  .to = { &bob, 1 },
                                  .has_subject = true,
                                  .subject = SLICE("Hi"),
                                  .has_text = true,
                                  .text = SLICE("Hello\n"),
                                  .id = "01id" };
}

static char *compose(const struct compose_mail *mail, struct compose_reason *reason)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    *reason = compose_mail(mail, &out);
    char *text = slice_dup(buf_slice(&out));
    buf_free(&out);
    return text;
}

static void assert_composes(const struct compose_mail *mail, const char *want)
{
    struct compose_reason reason;
    char *got = compose(mail, &reason);

    if (reason.error != COMPOSE_OK || strcmp(got, want) != 0)
        fail_msg("%d %s\n%s", (int)reason.error, reason.where, got);
    free(got);
}

#define TOP "From: Ann <ann@good.example>\r\nTo: bob@dest.example\r\n"
#define SUB "Subject: Hi\r\n"
#define ONE "MIME-Version: 1.0\r\n"
#define TXT                                                                                        \
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHello\r\n"
#define HTM                                                                                        \
    "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>\r\n"
#define ATT                                                                                        \
    "Content-Type: text/csv\r\nContent-Disposition: attachment; filename=\"a.csv\"\r\n"            \
    "Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n"
#define IMG                                                                                        \
    "Content-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <logo>\r\n"             \
    "Content-Transfer-Encoding: base64\r\n\r\nQQ==\r\n"
#define OPEN(kind, letter)                                                                         \
    "Content-Type: multipart/" kind ";\r\n boundary=\"=_" letter "0.01id\"\r\n\r\n"

static void the_parts_nest_as_they_must(void **state)
{
    const struct compose_attachment csv = { .filename = SLICE("a.csv"), .base64 = SLICE("QQ==") };
    const struct compose_attachment logo = {
        .type = SLICE("image/png"),
        .content_id = SLICE("logo"),
        .base64 = SLICE("QQ=="),
        .is_inline = true,
    };
    const struct compose_attachment both[] = { logo, csv };
    struct compose_mail mail = small_mail();

    (void)state;
    assert_composes(&mail, TOP SUB ONE TXT);
    mail.has_html = true;
    mail.html = SLICE("<p>");
    assert_composes(&mail, TOP SUB ONE OPEN("alternative", "a") "--=_a0.01id\r\n" TXT
                                                                "\r\n--=_a0.01id\r\n" HTM
                                                                "\r\n--=_a0.01id--\r\n");
    mail.attachments = both;
    mail.attachment_count = 2;
    assert_composes(
        &mail, TOP SUB ONE OPEN("mixed", "m") "--=_m0.01id\r\n" OPEN(
                   "alternative", "a") "--=_a0.01id\r\n" TXT "\r\n--=_a0.01id\r\n"
                                       "Content-Type: multipart/related; type=\"text/html\";\r\n"
                                       " boundary=\"=_r0.01id\"\r\n\r\n"
                                       "--=_r0.01id\r\n" HTM "\r\n--=_r0.01id\r\n" IMG
                                       "\r\n--=_r0.01id--\r\n"
                                       "\r\n--=_a0.01id--\r\n"
                                       "\r\n--=_m0.01id\r\n" ATT "\r\n--=_m0.01id--\r\n");
    mail.has_html = false;
    mail.attachment_count = 1; /* without html nothing shows it */
    assert_composes(&mail,
                    TOP SUB ONE OPEN("mixed", "m") "--=_m0.01id\r\n" TXT "\r\n--=_m0.01id\r\n" IMG
                                                   "\r\n--=_m0.01id--\r\n");
    mail.has_text = false;
    mail.attachments = &csv;
    assert_composes(&mail,
                    TOP SUB ONE OPEN("mixed", "m") "--=_m0.01id\r\n" ATT "\r\n--=_m0.01id--\r\n");
}

static void a_boundary_is_one_that_the_text_does_not_hold(void **state)
{
    struct compose_mail mail = small_mail();
    struct compose_reason reason;

    (void)state;
    mail.has_html = true;
    mail.html = SLICE("<p>");
    mail.text = SLICE("--=_a0.01id\n--=_m1.01id--\n");
    char *got = compose(&mail, &reason);
    assert_non_null(strstr(got, "boundary=\"=_a2.01id\""));
    free(got);
    mail.html = SLICE("<p>=_a2.01id");
    got = compose(&mail, &reason);
    assert_non_null(strstr(got, "boundary=\"=_a3.01id\""));
    free(got);
}

static void fields_stand_in_their_order_and_are_folded(void **state)
{
    struct compose_address many[] = {
        ann, { SLICE("Bob, \xc3\xa9"), SLICE("bob@dest.example") }, bob, bob
    };
    const struct compose_header headers[] = {
        { SLICE("X-One"), SLICE("1") },
        { SLICE("Message-ID"), SLICE("<a@good.example>") },
        { SLICE("List-Unsubscribe"),
          SLICE(
              "<https://good.example/unsubscribe?token=0123456789012345678901234567890123456789>, "
              "<mailto:u@good.example>") },
    };
    struct compose_mail mail = small_mail();

    (void)state;
    mail.to = (struct compose_addresses){ many, ARRAY_LEN(many) };
    mail.cc = (struct compose_addresses){ &ann, 1 };
    mail.reply_to = (struct compose_addresses){ &bob, 1 };
    mail.headers = headers;
    mail.header_count = ARRAY_LEN(headers);
    assert_composes(
        &mail,
        "From: Ann <ann@good.example>\r\n"
        "Reply-To: bob@dest.example\r\n"
        "To: Ann <ann@good.example>, =?utf-8?B?Qm9iLCDDqQ==?= <bob@dest.example>,\r\n"
        " bob@dest.example, bob@dest.example\r\n"
        "Cc: Ann <ann@good.example>\r\n"
        "Subject: Hi\r\n"
        "X-One: 1\r\n"
        "Message-ID: <a@good.example>\r\n"
        "List-Unsubscribe: "
        "<https://good.example/unsubscribe?token=0123456789012345678901234567890123456789>,\r\n"
        " <mailto:u@good.example>\r\n" ONE TXT);
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const line_ends[] = { "a\r\nBcc: x@victim.example", "a\rb", "a\nb",
                                             "a\x0b"
                                             "b",
                                             "\x7f" };
    struct compose_reason reason;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(line_ends) + 1; i++) {
        struct slice bad = i < ARRAY_LEN(line_ends) ? slice_of(line_ends[i]) : SLICE("a\0b");
        struct compose_address victim = { bad, SLICE("bob@dest.example") };
        struct compose_address list[] = { bob, victim };
        struct compose_header header = { SLICE("X-A"), bad }, named = { bad, SLICE("v") };
        struct compose_attachment files[] = { { .filename = bad },
                                              { .type = bad },
                                              { .content_id = bad } };
        struct compose_mail mails[10];
        static const char *const wants[] = {
            "subject",
            "from",
            "to[1]",
            "cc[1]",
            "reply_to[1]",
            "headers.X-A",
            "headers.",
            "attachments[0].filename",
            "attachments[0].content_type",
            "attachments[0].content_id",
        };
        for (size_t at = 0; at < ARRAY_LEN(mails); at++)
            mails[at] = small_mail();
        mails[0].subject = bad;
        mails[1].from.name = bad;
        mails[2].to = mails[3].cc = mails[4].reply_to = (struct compose_addresses){ list, 2 };
        mails[5].headers = &header;
        mails[6].headers = &named;
        mails[5].header_count = mails[6].header_count = 1;
        for (size_t at = 0; at < 3; at++) {
            mails[7 + at].attachments = &files[at];
            mails[7 + at].attachment_count = 1;
        }
        for (size_t at = 0; at < ARRAY_LEN(mails); at++) {
            free(compose(&mails[at], &reason));
            if (reason.error != COMPOSE_BAD_VALUE ||
                strncmp(reason.where, wants[at], strlen(wants[at])) != 0)
                fail_msg("%zu %s: %d %s", i, wants[at], (int)reason.error, reason.where);
        }
    }
}

static void some_headers_are_not_for_a_client(void **state)
{
    static const struct {
        const char *name, *value;
        enum compose_error want;
    } rows[] = {
        /* G-08 */
        { "From", "x@victim.example", COMPOSE_FORBIDDEN_HEADER },
        { "from ", "x@victim.example", COMPOSE_BAD_NAME },
        { "Sender", "x@victim.example", COMPOSE_FORBIDDEN_HEADER },
        { "resent-from", "x@victim.example", COMPOSE_FORBIDDEN_HEADER },
        { "Return-Path", "<>", COMPOSE_FORBIDDEN_HEADER },
        { "Received", "x", COMPOSE_FORBIDDEN_HEADER },
        { "BCC", "x@victim.example", COMPOSE_FORBIDDEN_HEADER },
        { "DKIM-Signature", "x", COMPOSE_FORBIDDEN_HEADER },
        { "Content-Length", "1", COMPOSE_FORBIDDEN_HEADER },
        { "Content-Type", "text/html", COMPOSE_FORBIDDEN_HEADER },
        { "X:Y", "1", COMPOSE_BAD_NAME },
        { "", "1", COMPOSE_BAD_NAME },
        { "X Y", "1", COMPOSE_BAD_NAME },
        { "X-\xc3\xa9", "1", COMPOSE_BAD_NAME },
        { "ARC-Seal", "x", COMPOSE_FORBIDDEN_HEADER },
        { "Idempotency-Key", "x", COMPOSE_FORBIDDEN_HEADER },
        { "Message-ID", "<a@b>", COMPOSE_OK },
        { "Message-ID", "a@b", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<a@b> <c@d>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<a@b@c>", COMPOSE_BAD_MESSAGE_ID },
        { "message-id", "", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<@b>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<@bcd>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<abc@>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<abcd>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<a@bc", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "a@bcd>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<a b@c>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<a@b>c>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<\xc3\xa9@b>", COMPOSE_BAD_MESSAGE_ID },
        { "Message-ID", "<=?utf-8?q?a?=@b>", COMPOSE_BAD_MESSAGE_ID },
        { "References", "", COMPOSE_BAD_MESSAGE_ID },
        { "References", "=?utf-8?q?a?=", COMPOSE_BAD_MESSAGE_ID },
        { "References", "<a@b> <c@d>", COMPOSE_OK },
        { "In-Reply-To", "<\xc3\xa9@b>", COMPOSE_BAD_MESSAGE_ID },
        { "X-Empty", "", COMPOSE_OK },
        { "X-Text", "\xc3\xa9\t", COMPOSE_OK },
        { "List-Id", "x", COMPOSE_OK },
    };
    struct compose_reason reason;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct compose_header header = { slice_of(rows[i].name), slice_of(rows[i].value) };
        struct compose_mail mail = small_mail();
        mail.headers = &header;
        mail.header_count = 1;
        free(compose(&mail, &reason));
        if (reason.error != rows[i].want)
            fail_msg("%s: %s: %d", rows[i].name, rows[i].value, (int)reason.error);
    }
}

static void names_and_ids_have_a_longest(void **state)
{
    static const struct {
        const char *name, *before, *after;
        size_t times;
        enum compose_error want;
    } rows[] = {
        { "", "", "", ENCODE_NAME_MAX, COMPOSE_OK },
        { "", "", "", ENCODE_NAME_MAX + 1, COMPOSE_BAD_NAME },
        { "Message-ID", "<", "@b>", 246, COMPOSE_OK },
        { "Message-ID", "<", "@b>", 247, COMPOSE_BAD_MESSAGE_ID },
    };
    struct compose_reason reason;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *x = xcalloc(1, rows[i].times + 1);
        memset(x, 'x', rows[i].times);
        char *text = xasprintf("%s%s%s", rows[i].before, x, rows[i].after);
        bool is_name = rows[i].name[0] == '\0';
        struct compose_header header = { slice_of(is_name ? text : rows[i].name),
                                         slice_of(is_name ? "v" : text) };
        struct compose_mail mail = small_mail();
        mail.headers = &header;
        mail.header_count = 1;
        free(compose(&mail, &reason));
        if (reason.error != rows[i].want)
            fail_msg("%s: %zu: %d", rows[i].name, rows[i].times, (int)reason.error);
        free(x);
        free(text);
    }
}

static void an_attachment_is_refused_for_what_is_wrong_with_it(void **state)
{
    static char name[COMPOSE_FILENAME_MAX + 1], id[COMPOSE_CONTENT_ID_MAX + 1];
    const struct {
        struct compose_attachment attachment;
        enum compose_error want;
        const char *where;
    } rows[] = {
        { { .filename = slice_make(name, COMPOSE_FILENAME_MAX) }, COMPOSE_OK, "" },
        { { .filename = slice_make(name, COMPOSE_FILENAME_MAX + 1) },
          COMPOSE_LONG_FILENAME,
          "attachments[0].filename" },
        { { .type = SLICE("image/png; name=\"a b\"") }, COMPOSE_OK, "" },
        { { .type = SLICE("image") }, COMPOSE_BAD_TYPE, "attachments[0].content_type" },
        { { .type = SLICE("message/rfc822") }, COMPOSE_BAD_TYPE, "attachments[0].content_type" },
        { { .content_id = slice_make(id, COMPOSE_CONTENT_ID_MAX) }, COMPOSE_OK, "" },
        { { .content_id = slice_make(id, COMPOSE_CONTENT_ID_MAX + 1) },
          COMPOSE_BAD_CONTENT_ID,
          "attachments[0].content_id" },
        { { .content_id = SLICE("a b") }, COMPOSE_BAD_CONTENT_ID, "attachments[0].content_id" },
        { { .content_id = SLICE("<a>") }, COMPOSE_BAD_CONTENT_ID, "attachments[0].content_id" },
        { { .content_id = SLICE("\xc3\xa9") },
          COMPOSE_BAD_CONTENT_ID,
          "attachments[0].content_id" },
    };
    struct compose_reason reason;

    (void)state;
    memset(name, 'n', sizeof(name));
    memset(id, 'i', sizeof(id));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct compose_mail mail = small_mail();
        mail.attachments = &rows[i].attachment;
        mail.attachment_count = 1;
        free(compose(&mail, &reason));
        if (reason.error != rows[i].want ||
            (reason.error != COMPOSE_OK && strcmp(reason.where, rows[i].where) != 0))
            fail_msg("row %zu: %d %s", i, (int)reason.error, reason.where);
    }
}

static void each_error_has_its_words(void **state)
{
    (void)state;
    for (int error = 0; error <= COMPOSE_NUL; error++)
        for (int other = error + 1; other <= COMPOSE_NUL; other++)
            assert_string_not_equal(compose_error_text((enum compose_error)error),
                                    compose_error_text((enum compose_error)other));
    assert_non_null(compose_error_text((enum compose_error)1000));
}

/* Whatever part it is at which the room ends. */
static void a_message_that_does_not_fit_is_too_large_wherever_it_ends(void **state)
{
    const struct compose_header headers[] = { { SLICE("X-Long"),
                                                SLICE("w\xc3\xb6rds and words") } };
    const struct compose_attachment files[] = {
        { .filename = SLICE("a.csv"), .base64 = SLICE("QQ==") },
        { .is_inline = true, .content_id = SLICE("logo"), .base64 = SLICE("QUFB") },
        { .is_inline = true, .type = SLICE("text/x; a=b"), .base64 = SLICE("") },
    };
    struct compose_mail mail = small_mail();
    struct compose_reason reason;

    (void)state;
    mail.cc = mail.reply_to = mail.to;
    mail.has_html = true;
    mail.html = SLICE("<img src=\"cid:logo\">\n");
    mail.headers = headers;
    mail.header_count = ARRAY_LEN(headers);
    mail.attachments = files;
    mail.attachment_count = ARRAY_LEN(files);
    char *whole = compose(&mail, &reason);
    assert_int_equal(reason.error, COMPOSE_OK);
    for (size_t max = 0; max <= strlen(whole); max++) {
        struct buf out;
        buf_init(&out, max);
        reason = compose_mail(&mail, &out);
        if (reason.error != (max < strlen(whole) ? COMPOSE_TOO_LARGE : COMPOSE_OK))
            fail_msg("room for %zu: %d", max, (int)reason.error);
        buf_free(&out);
    }
    free(whole);
}

static void a_bad_content_and_a_full_message_are_told_apart(void **state)
{
    struct compose_attachment files[] = { { .base64 = SLICE("QQ==") }, { .base64 = SLICE("Q") } };
    struct compose_mail mail = small_mail();
    struct compose_reason reason;
    struct buf out;

    (void)state;
    mail.attachments = files;
    mail.attachment_count = 2;
    free(compose(&mail, &reason));
    assert_int_equal(reason.error, COMPOSE_BAD_CONTENT);
    assert_string_equal(reason.where, "attachments[1].content");
    mail.attachment_count = 1;
    char *whole = compose(&mail, &reason);
    for (size_t max = 0; max <= strlen(whole); max++) {
        buf_init(&out, max);
        reason = compose_mail(&mail, &out);
        assert_int_equal(reason.error, max < strlen(whole) ? COMPOSE_TOO_LARGE : COMPOSE_OK);
        buf_free(&out);
    }
    free(whole);
    mail.text = SLICE("a\0b");
    free(compose(&mail, &reason));
    assert_int_equal(reason.error, COMPOSE_NUL);
    assert_string_equal(reason.where, "text");
    mail.text = SLICE("");
    mail.html = SLICE("a\0b");
    free(compose(&mail, &reason));
    assert_int_equal(reason.error, COMPOSE_NUL);
    assert_string_equal(reason.where, "html");
}

/* --- what holds of every message -------------------------------------------------------------- */

static unsigned random_state = 7;

static unsigned draw(unsigned below)
{
    random_state = random_state * 1103515245 + 12345;
    return (random_state >> 8) % below;
}

static struct slice random_text(char *text, size_t max)
{
    size_t len = draw((unsigned)max);

    for (size_t i = 0; i < len; i++) {
        static const char bytes[] = "ab \"\\<>@,;:=?_.()\t\xc3\xbc\xe4\xb8\x96\xff\x85-";
        text[i] = bytes[draw(sizeof(bytes) - 1)];
    }
    return slice_make(text, len);
}

static void check_lines(struct slice message)
{
    while (message.len > 0) {
        struct slice line = slice_cut(&message, '\n');
        assert_true(line.len > 0 && line.len <= 999);
        assert_int_equal(slice_find(line, '\r'), line.len - 1);
        for (size_t i = 0; i < line.len; i++)
            assert_true((uint8_t)line.data[i] < 127);
        assert_non_null(message.data); /* the last line has its end */
    }
}

static void every_message_can_be_read_by_our_own_rule(void **state)
{
    char texts[6][300];

    (void)state;
    for (unsigned round = 0; round < 5000; round++) {
        struct compose_address from = { random_text(texts[0], 200), SLICE("ann@good.example") };
        struct compose_header custom = { SLICE("X-Custom"), random_text(texts[1], 300) };
        struct compose_attachment file = { .filename = random_text(texts[2], 250),
                                           .base64 = SLICE("QUJD") };
        struct compose_mail mail = { .from = from,
                                     .to = { &from, 1 },
                                     .has_subject = true,
                                     .subject = random_text(texts[3], 300),
                                     .headers = &custom,
                                     .header_count = 1,
                                     .has_text = true,
                                     .has_html = round % 2 == 0,
                                     .text = random_text(texts[4], 300),
                                     .html = random_text(texts[5], 300),
                                     .attachments = &file,
                                     .attachment_count = round % 3 == 0,
                                     .id = "01id" };
        struct header header;
        const struct header_field *field = NULL;
        struct address address;
        struct buf out;
        buf_init(&out, 1 << 20);
        struct compose_reason reason = compose_mail(&mail, &out);
        if (reason.error != COMPOSE_OK)
            fail_msg("%d %s", (int)reason.error, reason.where);
        check_lines(buf_slice(&out));
        assert_int_equal(header_parse(buf_slice(&out), &header), HEADER_OK);
        assert_int_equal(header_count(&header, SLICE("From"), &field), 1);
        if (address_parse_mailbox(field->value, &address) != ADDRESS_OK)
            fail_msg("%.*s", SLICE_ARG(field->whole));
        assert_true(slice_equal(address.local, SLICE("ann")));
        header_free(&header);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_nest_as_they_must),
        cmocka_unit_test(a_boundary_is_one_that_the_text_does_not_hold),
        cmocka_unit_test(fields_stand_in_their_order_and_are_folded),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(some_headers_are_not_for_a_client),
        cmocka_unit_test(names_and_ids_have_a_longest),
        cmocka_unit_test(an_attachment_is_refused_for_what_is_wrong_with_it),
        cmocka_unit_test(each_error_has_its_words),
        cmocka_unit_test(a_message_that_does_not_fit_is_too_large_wherever_it_ends),
        cmocka_unit_test(a_bad_content_and_a_full_message_are_told_apart),
        cmocka_unit_test(every_message_can_be_read_by_our_own_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
