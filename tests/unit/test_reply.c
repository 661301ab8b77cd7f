/* test_reply.c - the reply table, row by row, and what becomes of hostile details. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/smtp/reply.h"

/* RFC 2034 section 4 and RFC 3463: enhanced codes go with 2yz, 4yz and 5yz, and begin alike. */
static void check_codes(enum reply reply, const struct reply_row *row)
{
    bool wants_none =
        row->code == 334 || row->code == 354 || reply == REPLY_GREETING || reply == REPLY_HELLO;

    if (row->code < 200 || row->code > 599)
        fail_msg("reply %d: code %d", (int)reply, row->code);
    if (wants_none != (row->enhanced[0] == '\0'))
        fail_msg("reply %d: enhanced code '%s'", (int)reply, row->enhanced);
    if (!wants_none && row->enhanced[0] != '0' + row->code / 100)
        fail_msg("reply %d: %d and %s differ", (int)reply, row->code, row->enhanced);
}

static void check_text(enum reply reply, const struct reply_row *row)
{
    const char *slot = strstr(row->text, "%s");

    if (row->text[0] == '\0')
        fail_msg("reply %d has no text", (int)reply);
    for (const char *at = row->text; *at != '\0'; at++)
        if (*at < 32 || *at > 126 || (*at == '%' && at != slot))
            fail_msg("reply %d: text '%s'", (int)reply, row->text);
}

/* RFC 5321 section 3.8: 221 and 421 are said by a server that closes, and only 5yz may close too.
 */
static void check_end(enum reply reply, const struct reply_row *row)
{
    bool closes = row->closes != CLOSE_NOT;

    if ((row->code == 221 || row->code == 421) && !closes)
        fail_msg("reply %d must end the session", (int)reply);
    if (closes && row->code < 500 && row->code != 221 && row->code != 421)
        fail_msg("reply %d must not end the session", (int)reply);
    if (row->code < 400 && row->cost != COST_NONE)
        fail_msg("reply %d: success costs something", (int)reply);
}

static void each_row_is_well_formed(void **state)
{
    (void)state;
    for (enum reply reply = REPLY_LATER + 1; reply < REPLY_COUNT; reply++) {
        const struct reply_row *row = reply_row(reply);
        check_codes(reply, row);
        check_text(reply, row);
        check_end(reply, row);
        assert_int_equal(reply_is_refusal(reply), row->code >= 400);
    }
    assert_false(reply_is_refusal(REPLY_LATER));
}

static void each_reply_is_one_line_of_the_allowed_length(void **state)
{
    char detail[1000], line[REPLY_BYTES];
    (void)state;
    memset(detail, 'd', sizeof(detail) - 1);
    detail[sizeof(detail) - 1] = '\0';
    for (enum reply reply = REPLY_LATER + 1; reply < REPLY_COUNT; reply++) {
        size_t len = reply_format(reply, detail, line);
        assert_true(len > 5 && len <= REPLY_BYTES);
        assert_memory_equal(line + len - 2, "\r\n", 2);
        assert_int_equal(slice_find(slice_make(line, len), '\r'), len - 2);
        assert_int_equal(slice_find(slice_make(line, len), '\n'), len - 1);
    }
}

static void replies_read_as_the_design_says(void **state)
{
    static const struct {
        enum reply reply;
        const char *detail, *want;
    } rows[] = {
        { REPLY_QUEUED, "0abc", "250 2.0.0 queued as 0abc\r\n" },
        { REPLY_CHALLENGE, "", "334 \r\n" },
        { REPLY_CHALLENGE, "VXNlcm5hbWU6", "334 VXNlcm5hbWU6\r\n" },
        { REPLY_OK, NULL, "250 2.0.0 ok\r\n" },
        { REPLY_HELLO, "relay.example.com", "250 relay.example.com\r\n" },
        { REPLY_SENDER_REFUSED, "no\r\n250 ok\x1b[2J\xc3\xa9", "550 5.7.1 no??250 ok?[2J??\r\n" },
        { REPLY_RATE, "12", "450 4.7.1 this key sends too fast: try again in 12 s\r\n" },
    };
    char line[REPLY_BYTES];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = reply_format(rows[i].reply, rows[i].detail, line);
        if (!slice_equal(slice_make(line, len), slice_of(rows[i].want)))
            fail_msg("row %zu: '%.*s'", i, (int)len, line);
    }
}

static void a_reference_stands_at_the_end_whatever_the_length(void **state)
{
    static const size_t lengths[] = { 0, 1, 200, 470, 480, 490, 500, 510, 999 };
    char detail[1000], line[REPLY_BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memset(detail, 'd', sizeof(detail));
        detail[lengths[i]] = '\0';
        size_t len = reply_format(REPLY_SENDER_REFUSED, detail, line);
        len = reply_add_reference(line, len, "0sa18kkmm0000");
        struct slice text = slice_make(line, len);
        struct slice end = SLICE(" (ref 0sa18kkmm0000)\r\n");
        if (len > REPLY_BYTES || !slice_equal(slice_from(text, len - end.len), end) ||
            slice_find(text, '\r') != len - 2)
            fail_msg("%zu: '%.*s'", lengths[i], (int)len, line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_well_formed),
        cmocka_unit_test(each_reply_is_one_line_of_the_allowed_length),
        cmocka_unit_test(replies_read_as_the_design_says),
        cmocka_unit_test(a_reference_stands_at_the_end_whatever_the_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
