/* test_parse.c - command lines to verbs, paths and parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/smtp/parse.h"

static bool is(struct slice got, const char *want)
{
    return want == NULL ? got.len == 0 : slice_equal(got, slice_of(want));
}

static void a_line_is_a_verb_and_arguments_or_not_readable(void **state)
{
    static const struct {
        struct slice line;
        enum parse_error want;
        const char *verb, *args;
    } rows[] = {
        { SLICE("NOOP"), PARSE_OK, "NOOP", NULL },
        { SLICE("NOOP "), PARSE_OK, "NOOP", NULL },
        { SLICE("noop  a b "), PARSE_OK, "noop", "a b" },
        { SLICE("MAIL FROM:<a@b> SIZE=1"), PARSE_OK, "MAIL", "FROM:<a@b> SIZE=1" },
        { SLICE("MAIL FROM:<jos\xc3\xa9@b>"), PARSE_OK, "MAIL", "FROM:<jos\xc3\xa9@b>" },
        { SLICE("*"), PARSE_OK, "*", NULL },
        { SLICE("Host: x"), PARSE_OK, "Host:", "x" },
        { SLICE(""), PARSE_BAD_LINE, NULL, NULL },
        { SLICE(" NOOP"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("\tNOOP"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NOOP\ta"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NO\0OP"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NOOP\0"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NOOP\r"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NOOP a\x7f"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("\x80\x81\x82\x83"), PARSE_BAD_LINE, NULL, NULL },
        { SLICE("NOO\xd0"), PARSE_BAD_LINE, NULL, NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct command_line got = { 0 };
        enum parse_error error = parse_line(rows[i].line, &got);
        if (error != rows[i].want || !is(got.verb, rows[i].verb) || !is(got.args, rows[i].args))
            fail_msg("row %zu: got %d '%.*s' '%.*s'", i, (int)error, SLICE_ARG(got.verb),
                     SLICE_ARG(got.args));
    }
}

static void mail_is_a_path_and_parameters_each_once(void **state)
{
    static const struct {
        const char *args;
        enum parse_error want;
        const char *path;
        bool has_size;
        uint64_t size;
        bool eight_bit;
    } rows[] = {
        { "FROM:<a@b>", PARSE_OK, "<a@b>", false, 0, false },
        { "from:<>", PARSE_OK, "<>", false, 0, false },
        { "FROM: <a@b>", PARSE_OK, "<a@b>", false, 0, false },
        { "FROM:a@b size=7", PARSE_OK, "a@b", true, 7, false },
        { "FROM:<a@b> SIZE=10 body=8bitmime", PARSE_OK, "<a@b>", true, 10, true },
        { "FROM:<a@b>  BODY=7BIT", PARSE_OK, "<a@b>", false, 0, false },
        { "FROM:<a@b> AUTH=<>", PARSE_OK, "<a@b>", false, 0, false },
        { "FROM:<a@b> SIZE=99999999999999999999", PARSE_OK, "<a@b>", true, UINT64_MAX, false },
        { "FROM:<\"a> b\\\"\"@c> SIZE=1", PARSE_OK, "<\"a> b\\\"\"@c>", true, 1, false },
        { "FROM:\"a b\"@c", PARSE_OK, "\"a b\"@c", false, 0, false },
        { "", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "FROM <a@b>", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "TO:<a@b>", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "FROM:", PARSE_BAD_PATH, NULL, false, 0, false },
        { "FROM:<a@b", PARSE_BAD_PATH, NULL, false, 0, false },
        { "FROM:<\"a@b>", PARSE_BAD_PATH, NULL, false, 0, false },
        { "FROM:<\"a\\", PARSE_BAD_PATH, NULL, false, 0, false },
        { "FROM:<a@b>SIZE=1", PARSE_BAD_PATH, NULL, false, 0, false },
        { "FROM:<a@b> SIZE=-1", PARSE_BAD_SIZE, NULL, false, 0, false },
        { "FROM:<a@b> SIZE=1e3", PARSE_BAD_SIZE, NULL, false, 0, false },
        { "FROM:<a@b> SIZE=", PARSE_BAD_SIZE, NULL, false, 0, false },
        { "FROM:<a@b> SIZE", PARSE_BAD_SIZE, NULL, false, 0, false },
        { "FROM:<a@b> SIZE=5 SIZE=6", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "FROM:<a@b> AUTH=", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "FROM:<a@b> =", PARSE_BAD_SYNTAX, NULL, false, 0, false },
        { "FROM:<a@b> BODY=BINARYMIME", PARSE_BAD_BODY, NULL, false, 0, false },
        { "FROM:<a@b> BODY", PARSE_BAD_BODY, NULL, false, 0, false },
        { "FROM:<a@b> FOO=BAR", PARSE_UNKNOWN_PARAM, NULL, false, 0, false },
        { "FROM:<a@b> SMTPUTF8", PARSE_UNKNOWN_PARAM, NULL, false, 0, false },
        { "FROM:<a@b> RET=FULL", PARSE_UNKNOWN_PARAM, NULL, false, 0, false },
        { "FROM:<a@b> x", PARSE_UNKNOWN_PARAM, NULL, false, 0, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mail_args got;
        enum parse_error error = parse_mail(slice_of(rows[i].args), &got);
        if (error != rows[i].want)
            fail_msg("%s: got %d, want %d", rows[i].args, (int)error, (int)rows[i].want);
        if (error != PARSE_OK)
            continue;
        if (!is(got.path, rows[i].path) || got.has_size != rows[i].has_size ||
            got.size != rows[i].size || got.eight_bit != rows[i].eight_bit)
            fail_msg("%s: got path '%.*s', size %llu", rows[i].args, SLICE_ARG(got.path),
                     (unsigned long long)got.size);
    }
}

static void rcpt_is_a_path_and_nothing_else(void **state)
{
    static const struct {
        const char *args;
        enum parse_error want;
        const char *path;
    } rows[] = {
        { "TO:<a@b>", PARSE_OK, "<a@b>" },
        { "to: a@b", PARSE_OK, "a@b" },
        { "TO:<\"x y\"@b>", PARSE_OK, "<\"x y\"@b>" },
        { "FROM:<a@b>", PARSE_BAD_SYNTAX, NULL },
        { "TO:<a@b", PARSE_BAD_PATH, NULL },
        { "TO:", PARSE_BAD_PATH, NULL },
        { "TO:<a@b> NOTIFY=NEVER", PARSE_UNKNOWN_PARAM, NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice path;
        enum parse_error error = parse_rcpt(slice_of(rows[i].args), &path);
        if (error != rows[i].want || (error == PARSE_OK && !is(path, rows[i].path)))
            fail_msg("%s: got %d, want %d", rows[i].args, (int)error, (int)rows[i].want);
    }
}

static void helo_takes_one_name_or_literal(void **state)
{
    static const struct {
        const char *args;
        enum parse_error want;
    } rows[] = {
        { "mail.example.org", PARSE_OK },
        { "localhost", PARSE_OK },
        { "me", PARSE_OK },
        { "MY_PC", PARSE_OK },
        { "[127.0.0.1]", PARSE_OK },
        { "[IPv6:fe80::1%en0]", PARSE_OK },
        { "", PARSE_BAD_SYNTAX },
        { "a b", PARSE_BAD_SYNTAX },
        { "[]", PARSE_BAD_SYNTAX },
        { "[1.2.3.4", PARSE_BAD_SYNTAX },
        { "a(b)", PARSE_BAD_SYNTAX },
        { "a\"b", PARSE_BAD_SYNTAX },
        { "<a>", PARSE_BAD_SYNTAX },
        { "a;b", PARSE_BAD_SYNTAX },
        { "b\xc3\xbc"
          "cher",
          PARSE_BAD_SYNTAX },
    };
    char many[300];
    struct slice name;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum parse_error error = parse_helo(slice_of(rows[i].args), &name);
        if (error != rows[i].want)
            fail_msg("'%s': got %d, want %d", rows[i].args, (int)error, (int)rows[i].want);
    }
    memset(many, 'a', sizeof(many));
    assert_int_equal(parse_helo(slice_make(many, 255), &name), PARSE_OK);
    assert_int_equal(parse_helo(slice_make(many, 256), &name), PARSE_BAD_SYNTAX);
}

static void auth_is_a_mechanism_and_perhaps_a_response(void **state)
{
    static const struct {
        const char *args;
        enum parse_error want;
        const char *mechanism, *initial;
        bool has_initial;
    } rows[] = {
        { "PLAIN", PARSE_OK, "PLAIN", NULL, false },
        { "plain  AGEAYg==", PARSE_OK, "plain", "AGEAYg==", true },
        { "PLAIN =", PARSE_OK, "PLAIN", "=", true },
        { "PLAIN a b", PARSE_OK, "PLAIN", "a b", true },
        { "", PARSE_BAD_SYNTAX, NULL, NULL, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice mechanism = { 0 }, initial = { 0 };
        bool has_initial = false;
        enum parse_error error =
            parse_auth(slice_of(rows[i].args), &mechanism, &initial, &has_initial);
        if (error != rows[i].want || !is(mechanism, rows[i].mechanism) ||
            !is(initial, rows[i].initial) || has_initial != rows[i].has_initial)
            fail_msg("'%s': got %d", rows[i].args, (int)error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_verb_and_arguments_or_not_readable),
        cmocka_unit_test(mail_is_a_path_and_parameters_each_once),
        cmocka_unit_test(rcpt_is_a_path_and_nothing_else),
        cmocka_unit_test(helo_takes_one_name_or_literal),
        cmocka_unit_test(auth_is_a_mechanism_and_perhaps_a_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
