/* test_options.c - nouns, verbs and options of the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "relay/base/macros.h"
#include "relay/cli/client.h"

static const struct cli_arguments *seen; /* by the verb that ran, during the run */
static char seen_text[512];

static int record(const struct cli_arguments *arguments)
{
    size_t len = 0;

    seen = arguments;
    len += (size_t)snprintf(seen_text, sizeof(seen_text), "c=%s j=%d",
                            arguments->config == NULL ? "-" : arguments->config, arguments->json);
    if (arguments->url != NULL)
        len += (size_t)snprintf(seen_text + len, sizeof(seen_text) - len, " u=%s", arguments->url);
    if (arguments->key_file != NULL)
        len += (size_t)snprintf(seen_text + len, sizeof(seen_text) - len, " k=%s",
                                arguments->key_file);
    if (arguments->ca_file != NULL)
        len +=
            (size_t)snprintf(seen_text + len, sizeof(seen_text) - len, " a=%s", arguments->ca_file);
    for (size_t option = 0; option < 3; option++)
        for (size_t i = 0; i < arguments->counts[option]; i++)
            len += (size_t)snprintf(
                seen_text + len, sizeof(seen_text) - len, " %zu=%s", option,
                arguments->values[option][i] == NULL ? "yes" : arguments->values[option][i]);
    for (size_t i = 0; i < arguments->operand_count; i++)
        len += (size_t)snprintf(seen_text + len, sizeof(seen_text) - len, " [%s]",
                                arguments->operands[i]);
    return EX_OK;
}

static const struct cli_option options[] = {
    { "name", "NAME", false, "once" },
    { "domain", "DOMAIN", true, "often" },
    { "test", NULL, false, "a flag" },
};
static const struct cli_verb verbs[] = {
    { "make", NULL, 0, 0, options, ARRAY_LEN(options), record, "Make one." },
    { "show", "ID", 1, 1, NULL, 0, record, "Show one." },
    { "some", "[ID]", 0, 2, NULL, 0, record, "Some." },
};
static const struct cli_noun noun = { "thing", "things", verbs, ARRAY_LEN(verbs) };

static void arguments_are_read_by_the_tables(void **state)
{
    static const struct {
        const char *words[10];
        int want;
        const char *text; /* what the verb saw, when it ran */
    } cases[] = {
        { { "make" }, EX_OK, "c=- j=0" },
        { { "make", "--name", "a", "--domain", "b", "--domain=c", "--test" },
          EX_OK,
          "c=- j=0 0=a 1=b 1=c 2=yes" },
        { { "make", "-c", "f", "--json" }, EX_OK, "c=f j=1" },
        { { "make", "--config=f" }, EX_OK, "c=f j=0" },
        { { "show", "--url=u", "--key-file", "k", "x" }, EX_OK, "c=- j=0 u=u k=k [x]" },
        { { "show", "--ca-file", "a", "x" }, EX_OK, "c=- j=0 a=a [x]" },
        { { "show", "x", "-c", "f" }, EX_OK, "c=f j=0 [x]" },
        { { "show", "--", "--name" }, EX_OK, "c=- j=0 [--name]" },
        { { "some", "a", "b" }, EX_OK, "c=- j=0 [a] [b]" },
        { { "make", "--name", "a", "--name", "b" }, EX_USAGE, NULL },
        { { "make", "--name" }, EX_USAGE, NULL },
        { { "make", "--frob" }, EX_USAGE, NULL },
        { { "make", "-x" }, EX_USAGE, NULL },
        { { "make", "extra" }, EX_USAGE, NULL },
        { { "make", "--test=1" }, EX_USAGE, NULL },
        { { "show" }, EX_USAGE, NULL },
        { { "show", "a", "b" }, EX_USAGE, NULL },
        { { "frob" }, EX_USAGE, NULL },
        { { NULL }, EX_USAGE, NULL },
        { { "--help" }, EX_OK, NULL },
        { { "make", "--help" }, EX_OK, NULL },
        { { "show", "-h" }, EX_OK, NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *argv[12] = { (char *)"thing" };
        int argc = 1;
        for (; cases[i].words[argc - 1] != NULL; argc++)
            argv[argc] = (char *)cases[i].words[argc - 1];
        seen = NULL;
        int got = cli_run(&noun, argc, argv);
        if (got != cases[i].want || (seen != NULL) != (cases[i].text != NULL) ||
            (seen != NULL && strcmp(seen_text, cases[i].text) != 0))
            fail_msg("row %zu: got %d \"%s\"", i, got, seen == NULL ? "(not run)" : seen_text);
    }
}

static void every_noun_prints_its_help(void **state)
{
    static int (*const nouns[])(int argc, char **argv) = { cli_key, cli_account, cli_domain,
                                                           cli_queue, cli_upstream };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nouns); i++) {
        char *help[] = { (char *)"noun", (char *)"--help", NULL };
        char *frob[] = { (char *)"noun", (char *)"frob", NULL };
        if (nouns[i](2, help) != EX_OK || nouns[i](2, frob) != EX_USAGE ||
            nouns[i](1, help) != EX_USAGE)
            fail_msg("noun %zu", i);
    }
}

static void the_status_of_an_answer_becomes_an_exit_code(void **state)
{
    static const struct {
        int status, want;
    } cases[] = {
        { 200, EX_OK },       { 201, EX_OK },       { 400, EX_DATAERR },  { 401, EX_NOPERM },
        { 403, EX_NOPERM },   { 404, EX_DATAERR },  { 409, EX_DATAERR },  { 422, EX_DATAERR },
        { 429, EX_TEMPFAIL }, { 503, EX_TEMPFAIL }, { 507, EX_TEMPFAIL }, { 500, EX_SOFTWARE },
        { 302, EX_SOFTWARE },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (cli_exit_code(cases[i].status) != cases[i].want)
            fail_msg("%d: got %d", cases[i].status, cli_exit_code(cases[i].status));
}

static void texts_are_encoded_for_a_path(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "abc-._~", "abc-._~" },
        { "*.a/b", "%2A.a%2Fb" },
        { "a b&c=d?%", "a%20b%26c%3Dd%3F%25" },
        { "\xc3\xbc\r\n", "%C3%BC%0D%0A" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = cli_encode(cases[i].text);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_read_by_the_tables),
        cmocka_unit_test(every_noun_prints_its_help),
        cmocka_unit_test(the_status_of_an_answer_becomes_an_exit_code),
        cmocka_unit_test(texts_are_encoded_for_a_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
