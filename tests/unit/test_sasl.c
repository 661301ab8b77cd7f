/* test_sasl.c - PLAIN and LOGIN exchanges, line by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/base64.h"
#include "relay/base/macros.h"
#include "relay/smtp/sasl.h"

#define LINES_MAX     3
#define USER_PROMPT   "VXNlcm5hbWU6"
#define SECRET_PROMPT "UGFzc3dvcmQ6"

/* Rows are in base64 as on the wire; "k1" is azE=, "secret" c2VjcmV0. */
static const struct row {
    const char *name, *mechanism, *initial; /* initial NULL: none */
    const char *lines[LINES_MAX];
    const char *challenges[LINES_MAX]; /* in the order in which they are expected */
    enum sasl_result want;
    const char *user, *secret;
} rows[] = {
    { "PLAIN at once", "PLAIN", "AGsxAHNlY3JldA==", { 0 }, { 0 }, SASL_DONE, "k1", "secret" },
    { "C-18 lower case", "plain", "AGsxAHNlY3JldA==", { 0 }, { 0 }, SASL_DONE, "k1", "secret" },
    { "PLAIN asked", "PLAIN", NULL, { "AGsxAHNlY3JldA==" }, { "" }, SASL_DONE, "k1", "secret" },
    { "authzid equal", "PLAIN", "azEAazEAc2VjcmV0", { 0 }, { 0 }, SASL_DONE, "k1", "secret" },
    { "C-19 no user", "PLAIN", "AABzZWNyZXQ=", { 0 }, { 0 }, SASL_DONE, "", "secret" },
    { "no secret", "PLAIN", "AGsxAA==", { 0 }, { 0 }, SASL_DONE, "k1", "" },
    { "C-06", "PLAIN", "YWRtaW4AazEAc2VjcmV0", { 0 }, { 0 }, SASL_IDENTITY, NULL, NULL },
    { "authzid alone", "PLAIN", "YWRtaW4AAHNlY3JldA==", { 0 }, { 0 }, SASL_IDENTITY, NULL, NULL },
    { "C-03", "PLAIN", "!!!!", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-04 no padding", "PLAIN", "AGEAYg", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-04 spare bits", "PLAIN", "AGEAYh==", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-04 blank", "PLAIN", "AGE AYg==", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-04 padding", "PLAIN", "AGEAYg======", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-04 url-safe", "PLAIN", "AGEA_-==", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-05 no NUL", "PLAIN", "YWJj", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-05 one NUL", "PLAIN", "YQBi", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-05 three NULs", "PLAIN", "AGEAYgBj", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-09", "PLAIN", "=", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "C-07", "PLAIN", NULL, { "*" }, { "" }, SASL_CANCELLED, NULL, NULL },
    { "star at once", "PLAIN", "*", { 0 }, { 0 }, SASL_BAD, NULL, NULL },
    { "empty line", "PLAIN", NULL, { "" }, { "" }, SASL_BAD, NULL, NULL },
    { "equals as a line", "PLAIN", NULL, { "=" }, { "" }, SASL_BAD, NULL, NULL },
    { "LOGIN",
      "LOGIN",
      NULL,
      { "azE=", "c2VjcmV0" },
      { USER_PROMPT, SECRET_PROMPT },
      SASL_DONE,
      "k1",
      "secret" },
    { "LOGIN with user",
      "login",
      "azE=",
      { "c2VjcmV0" },
      { SECRET_PROMPT },
      SASL_DONE,
      "k1",
      "secret" },
    { "LOGIN cancelled", "LOGIN", "azE=", { "*" }, { SECRET_PROMPT }, SASL_CANCELLED, NULL, NULL },
    { "LOGIN no user", "LOGIN", NULL, { "" }, { USER_PROMPT }, SASL_IDENTITY, NULL, NULL },
    { "LOGIN no user at once", "LOGIN", "=", { 0 }, { 0 }, SASL_IDENTITY, NULL, NULL },
    { "LOGIN bad user", "LOGIN", NULL, { "azE" }, { USER_PROMPT }, SASL_BAD, NULL, NULL },
    { "LOGIN bad secret", "LOGIN", "azE=", { "c2Vj!" }, { SECRET_PROMPT }, SASL_BAD, NULL, NULL },
    { "LOGIN empty secret", "LOGIN", "azE=", { "" }, { SECRET_PROMPT }, SASL_DONE, "k1", "" },
    { "C-02", "CRAM-MD5", NULL, { 0 }, { 0 }, SASL_UNKNOWN_MECHANISM, NULL, NULL },
    { "C-02 with response", "XOAUTH2", "x", { 0 }, { 0 }, SASL_UNKNOWN_MECHANISM, NULL, NULL },
};

static enum sasl_result run(const struct row *row, struct sasl *sasl)
{
    const char *challenge = NULL;
    size_t line = 0;
    enum sasl_result result = sasl_start(sasl, slice_of(row->mechanism), row->initial != NULL,
                                         slice_of(row->initial), &challenge);

    while (result == SASL_CHALLENGE) {
        if (line == LINES_MAX || row->challenges[line] == NULL || row->lines[line] == NULL ||
            strcmp(challenge, row->challenges[line]) != 0)
            fail_msg("%s: unexpected challenge '%s'", row->name, challenge);
        result = sasl_next(sasl, slice_of(row->lines[line++]), &challenge);
    }
    return result;
}

static void exchanges_end_as_the_rows_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sasl sasl = { 0 };
        enum sasl_result got = run(&rows[i], &sasl);
        if (got != rows[i].want)
            fail_msg("%s: got %d, want %d", rows[i].name, (int)got, (int)rows[i].want);
        if (got == SASL_DONE && (!slice_equal(buf_slice(&sasl.user), slice_of(rows[i].user)) ||
                                 !slice_equal(buf_slice(&sasl.secret), slice_of(rows[i].secret))))
            fail_msg("%s: user '%.*s', secret '%.*s'", rows[i].name,
                     SLICE_ARG(buf_slice(&sasl.user)), SLICE_ARG(buf_slice(&sasl.secret)));
        if (got != SASL_DONE && (sasl.user.data != NULL || sasl.secret.data != NULL))
            fail_msg("%s: something is left behind", rows[i].name);
        sasl_reset(&sasl);
        assert_null(sasl.user.data);
        assert_null(sasl.secret.data);
    }
}

static void the_longest_response_is_decoded_and_a_longer_one_is_not(void **state)
{
    struct sasl sasl = { 0 };
    const char *challenge;
    char *line = malloc(SASL_LINE_MAX + 4);

    (void)state;
    memset(line, 'A', SASL_LINE_MAX + 4);
    assert_int_equal(sasl_start(&sasl, SLICE("LOGIN"), true, SLICE("azE="), &challenge),
                     SASL_CHALLENGE);
    assert_int_equal(sasl_next(&sasl, slice_make(line, SASL_LINE_MAX), &challenge), SASL_DONE);
    assert_int_equal(buf_len(&sasl.secret), SASL_LINE_MAX / 4 * 3);
    assert_int_equal(sasl_start(&sasl, SLICE("LOGIN"), true, SLICE("azE="), &challenge),
                     SASL_CHALLENGE);
    assert_int_equal(sasl_next(&sasl, slice_make(line, SASL_LINE_MAX + 4), &challenge), SASL_BAD);
    free(line);
}

static void a_long_user_name_is_cut(void **state)
{
    struct sasl sasl = { 0 };
    const char *challenge;
    struct buf text;
    char name[400];

    (void)state;
    memset(name, 'n', sizeof(name));
    buf_init(&text, 1000);
    assert_true(base64_encode(slice_make(name, sizeof(name)), &text));
    assert_int_equal(sasl_start(&sasl, SLICE("LOGIN"), true, buf_slice(&text), &challenge),
                     SASL_CHALLENGE);
    assert_int_equal(buf_len(&sasl.user), 255);
    sasl_reset(&sasl);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges_end_as_the_rows_say),
        cmocka_unit_test(the_longest_response_is_decoded_and_a_longer_one_is_not),
        cmocka_unit_test(a_long_user_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
