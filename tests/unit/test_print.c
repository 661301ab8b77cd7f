/* test_print.c - answers for people: what a terminal may see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/cli/cli.h"

static void what_a_terminal_would_interpret_is_printed_as_text(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "plain", "plain" },
        { "B\xc3\xbc"
          "cher \xe2\x82\xac \xf0\x9f\x98\x80",
          "B\xc3\xbc"
          "cher \xe2\x82\xac \xf0\x9f\x98\x80" },
        { "\x1b[2J", "\\x1b[2J" },
        { "a\r\nb\tc", "a\\x0d\\x0ab\\x09c" },
        { "\x7f", "\\x7f" },
        { "\xc2\x9b"
          "2J",
          "\\u009b2J" }, /* C1's CSI */
        { "\xe2\x80\xa8\xe2\x80\xae", "\\u2028\\u202e" },
        { "\xe2\x80\x8b", "\\u200b" },
        { "\xe2\x81\xa6", "\\u2066" },
        { "\xef\xbb\xbf", "\\ufeff" },
        { "\xf3\xa0\x80\x81", "\\U000e0001" },
        { "\\n", "\\\\n" },
        { "\xff\xc0\xaf", "\\xff\\xc0\\xaf" },
        { "\xc3", "\\xc3" },
        { "\xe2\x82", "\\xe2\\x82" },
        { "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
        { "\xe0\x80\x80", "\\xe0\\x80\\x80" }, /* too long a form */
        { "%n%s%x", "%n%s%x" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = cli_escape(cases[i].text);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got %s", cases[i].want, got);
        free(got);
    }
}

static const struct cli_column columns[] = {
    { "ID", "id", CLI_PLAIN },
    { "SIZE", "size", CLI_BYTES },
    { "LIST", "list", CLI_PLAIN },
    { "ON", "on", CLI_PLAIN },
};

static char *printed(void (*print)(FILE *out, const json_t *json), const char *text)
{
    char *got = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&got, &size);
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    print(out, json);
    json_decref(json);
    fclose(out);
    return got;
}

static void print_rows(FILE *out, const json_t *json)
{
    cli_print_rows(out, json, columns, ARRAY_LEN(columns), true);
}

static void print_sheet(FILE *out, const json_t *json)
{
    cli_print_sheet(out, json, columns, ARRAY_LEN(columns));
}

static void rows_are_aligned_by_characters(void **state)
{
    char *got =
        printed(print_rows, "[{\"id\":\"\\u00fc\",\"size\":0,\"list\":[\"a\",\"b\"],\"on\":true},"
                            "{\"id\":\"long\\n\",\"size\":1536,\"list\":[],\"on\":false},"
                            "{\"id\":null,\"size\":1048576}]");

    (void)state;
    assert_string_equal(got, "ID        SIZE     LIST  ON\n"
                             "\xc3\xbc         0 B      a,b   yes\n"
                             "long\\x0a  1.5 KiB  -     no\n"
                             "-         1.0 MiB  -     -\n");
    free(got);
    got = printed(print_rows, "[]");
    assert_string_equal(got, "ID  SIZE  LIST  ON\n");
    free(got);
}

static void a_sheet_has_a_line_for_each_column(void **state)
{
    char *got = printed(print_sheet, "{\"id\":7,\"list\":[\"a\"]}");

    (void)state;
    assert_string_equal(got, "ID    7\nSIZE  -\nLIST  a\nON    -\n");
    free(got);
}

static void json_is_printed_as_one_line_of_ascii(void **state)
{
    char *got = printed(cli_print_json, "{\"a\":\"\\u001b\\u2028\\u00fc\"}");

    (void)state;
    assert_string_equal(got, "{\"a\":\"\\u001B\\u2028\\u00FC\"}\n");
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_terminal_would_interpret_is_printed_as_text),
        cmocka_unit_test(rows_are_aligned_by_characters),
        cmocka_unit_test(a_sheet_has_a_line_for_each_column),
        cmocka_unit_test(json_is_printed_as_one_line_of_ascii),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
