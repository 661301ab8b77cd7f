/* test_answer.c - what is a reply, however it is cut, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/upstream/answer.h"

/* All of the text, shown from `cut` bytes on as a stream would: what is not used comes again. */
static enum answer_result read_cut(const char *text, size_t len, size_t cut, struct answer *answer,
                                   size_t *used)
{
    enum answer_result result = ANSWER_MORE;

    answer_start(answer);
    *used = 0;
    for (size_t shown = cut; shown <= len && result <= ANSWER_LINE; shown += cut) {
        struct slice input = slice_make(text + *used, (shown > len ? len : shown) - *used);
        size_t before = input.len;

        while (input.len > 0 && result <= ANSWER_LINE) {
            result = answer_read(answer, &input);
            if (result == ANSWER_MORE)
                break;
        }
        *used += before - input.len;
        if (shown < len && shown + cut > len)
            shown = len - cut;
    }
    return result;
}

static void answer_reads_replies_at_every_cut(void **state)
{
    static const struct {
        const char *input;
        enum answer_result want;
        int code;
        const char *enhanced, *text;
    } cases[] = {
        { "250 ok\r\n", ANSWER_DONE, 250, "", "ok" },
        { "250\r\n", ANSWER_DONE, 250, "", "" },
        { "250 \r\n", ANSWER_DONE, 250, "", "" },
        { "550 5.1.1 no such user\r\n", ANSWER_DONE, 550, "5.1.1", "no such user" },
        { "550 5.1.1\r\n", ANSWER_DONE, 550, "5.1.1", "" },
        { "451 4.10.123 later\r\n", ANSWER_DONE, 451, "4.10.123", "later" },
        { "550 4.1.1 class of another code\r\n", ANSWER_DONE, 550, "",
          "4.1.1 class of another code" },
        { "550 5.1234.1 too long\r\n", ANSWER_DONE, 550, "", "5.1234.1 too long" },
        { "550 5.1.1.1 four parts\r\n", ANSWER_DONE, 550, "", "5.1.1.1 four parts" },
        { "550-5.7.1 first\r\n550-5.7.1 second\r\n550 5.7.1 third\r\n", ANSWER_DONE, 550, "5.7.1",
          "first second third" },
        { "250-a\r\n250-\r\n250-b\r\n250\r\n", ANSWER_DONE, 250, "", "a b" },
        { "354 go \x1b[2J\xff on\r\n", ANSWER_DONE, 354, "", "go ?[2J? on" },
        { "571 unusual but a refusal\r\n", ANSWER_DONE, 571, "", "unusual but a refusal" },
        { "250-never ended\r\n", ANSWER_LINE, 250, "", "never ended" },
        { "250 no line end", ANSWER_MORE, 0, "", "" },
        { "250 ok\r", ANSWER_MORE, 0, "", "" },
        { "\r\n", ANSWER_BROKEN, 0, "", "" },
        { "banana\r\n", ANSWER_BROKEN, 0, "", "" },
        { "25\r\n", ANSWER_BROKEN, 0, "", "" },
        { "3540\r\n", ANSWER_BROKEN, 0, "", "" },
        { "3540 go\r\n", ANSWER_BROKEN, 0, "", "" },
        { "150 hm\r\n", ANSWER_BROKEN, 0, "", "" },
        { "600 hm\r\n", ANSWER_BROKEN, 0, "", "" },
        { "2a0 hm\r\n", ANSWER_BROKEN, 0, "", "" },
        { " 250 ok\r\n", ANSWER_BROKEN, 0, "", "" },
        { "250\tok\r\n", ANSWER_BROKEN, 0, "", "" },
        { "250 ok\n", ANSWER_BROKEN, 0, "", "" },
        { "\n", ANSWER_BROKEN, 0, "", "" },
        { "250 o\rk\r\n", ANSWER_BROKEN, 0, "", "" },
        { "250 ok\r\r\n", ANSWER_BROKEN, 0, "", "" },
        { "250-a\r\n251 b\r\n", ANSWER_BROKEN, 250, "", "a" },
        { "250-a\r\nhello\r\n", ANSWER_BROKEN, 250, "", "a" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].input);

        for (size_t cut = 1; cut <= len; cut++) {
            struct answer got;
            size_t used;
            enum answer_result result = read_cut(cases[i].input, len, cut, &got, &used);

            if (result != cases[i].want || got.code != cases[i].code ||
                strcmp(got.enhanced, cases[i].enhanced) != 0 ||
                strcmp(got.text, cases[i].text) != 0)
                fail_msg("row %zu cut %zu: result %d code %d \"%s\" \"%s\"", i, cut, (int)result,
                         got.code, got.enhanced, got.text);
            if (result == ANSWER_BROKEN && got.fault == NULL)
                fail_msg("row %zu: no fault is named", i);
        }
    }
}

static void answer_refuses_a_nul(void **state)
{
    static const char text[] = "250 a\0b\r\n";
    struct answer answer;
    size_t used;

    (void)state;
    assert_int_equal(read_cut(text, sizeof(text) - 1, sizeof(text) - 1, &answer, &used),
                     ANSWER_BROKEN);
}

static void answer_leaves_what_follows_it(void **state)
{
    struct slice input = SLICE("250 one\r\n451 two\r\n");
    struct answer answer;

    (void)state;
    answer_start(&answer);
    assert_int_equal(answer_read(&answer, &input), ANSWER_DONE);
    assert_int_equal(answer.code, 250);
    assert_true(slice_equal(answer.line, SLICE("one")));
    assert_true(slice_equal(input, SLICE("451 two\r\n")));
}

/* A reply of so many lines, each with so many octets of words. */
static enum answer_result read_long(size_t lines, size_t words)
{
    char *line = xmalloc(words + 7);
    struct answer answer;
    enum answer_result result = ANSWER_LINE;

    answer_start(&answer);
    memcpy(line, "250-", 4);
    memset(line + 4, 'x', words);
    memcpy(line + 4 + words, "\r\n", 3);
    for (size_t i = 0; i < lines && result == ANSWER_LINE; i++) {
        struct slice input = slice_make(line, words + 6);

        line[3] = i + 1 == lines ? ' ' : '-';
        result = answer_read(&answer, &input);
    }
    free(line);
    return result;
}

static void answer_is_bounded(void **state)
{
    static const struct {
        size_t lines, words;
        enum answer_result want;
    } cases[] = {
        { 1, 506, ANSWER_DONE },      { 1, 2042, ANSWER_DONE },    { 1, 2043, ANSWER_BROKEN },
        { 1, 100000, ANSWER_BROKEN }, { 100, 10, ANSWER_DONE },    { 101, 10, ANSWER_BROKEN },
        { 32, 2042, ANSWER_DONE },    { 33, 2042, ANSWER_BROKEN },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (read_long(cases[i].lines, cases[i].words) != cases[i].want)
            fail_msg("%zu lines of %zu", cases[i].lines, cases[i].words);
}

static void answer_text_is_cut_and_the_line_is_not(void **state)
{
    char text[1100] = "250 ";
    struct answer answer;

    (void)state;
    memset(text + 4, 'x', 1000);
    memcpy(text + 1004, "\r\n", 3);
    struct slice input = slice_of(text);

    answer_start(&answer);
    assert_int_equal(answer_read(&answer, &input), ANSWER_DONE);
    assert_int_equal(answer.text_len, ANSWER_TEXT_BYTES - 1);
    assert_int_equal(strlen(answer.text), ANSWER_TEXT_BYTES - 1);
    assert_int_equal(answer.line.len, 1000);
}

static void answer_class_is_the_first_digit(void **state)
{
    static const struct {
        int code;
        enum answer_class want;
    } cases[] = {
        { 250, ANSWER_YES },   { 220, ANSWER_YES },   { 354, ANSWER_GO_ON },
        { 421, ANSWER_LATER }, { 554, ANSWER_NEVER }, { 599, ANSWER_NEVER },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer answer = { .code = cases[i].code };

        if (answer_class(&answer) != cases[i].want)
            fail_msg("%d", cases[i].code);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_reads_replies_at_every_cut),
        cmocka_unit_test(answer_refuses_a_nul),
        cmocka_unit_test(answer_leaves_what_follows_it),
        cmocka_unit_test(answer_is_bounded),
        cmocka_unit_test(answer_text_is_cut_and_the_line_is_not),
        cmocka_unit_test(answer_class_is_the_first_digit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
