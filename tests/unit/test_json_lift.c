/* test_json_lift.c - is what is lifted what jansson reads? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"
#include "relay/base/macros.h"
#include "relay/http/json_lift.h"

#define LONG                                                                                       \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/+/+/+/+/+/+/+/+/+/+/+/+/"     \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/+/+/+/+/+/+/+/+/+/+/+/+/"     \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/+/+/+/+/+/+/+/+/+/+/+/+/"

static json_t *load(struct slice text)
{
    return json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
}

/* Is there an answer of its own, and if so, jansson's? */
static bool is_lifted(struct slice text)
{
    char *copy = xmalloc(text.len + 1); /* its end is the end of the memory, for the sanitizers */
    memcpy(copy, text.data, text.len);
    json_t *lifted = json_lift(slice_make(copy, text.len)), *read = load(text);
    bool same = lifted == NULL || (read != NULL && json_equal(lifted, read));
    bool ours = lifted != NULL;

    if (!same)
        fail_msg("%.*s", SLICE_ARG(text));
    json_decref(lifted);
    json_decref(read);
    free(copy);
    return ours;
}

static void long_texts_are_lifted_and_are_what_they_were(void **state)
{
    static const char *const rows[] = {
        "{\"text\":\"" LONG "\"}",
        "{\"a\":\"x\",\"text\":\"" LONG "\",\"b\":[\"" LONG "\",\"y\",null,{\"c\":\"" LONG "\"}]}",
        "{\"text\":\"" LONG "\\n\\r\\t\\b\\f\\\"\\\\\\/\"}",
        "{\"text\":\"\\\\" LONG "\\\\\"}",
        "{\"text\":\"gr\xc3\xbc\xc3\x9f" LONG "\xe2\x82\xac\xf0\x9f\x98\x80\"}",
        "{\"text\":\"" LONG "\x7f\"}",
        "{\"short\":\"\\u00fc\\u0000\",\"text\":\"" LONG "\"}",
        "{\"both\":\"\\u00fc" LONG "\",\"text\":\"" LONG "\"}",
        " [ \"" LONG "\" , \"" LONG "\" ] ",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!is_lifted(slice_of(rows[i])))
            fail_msg("not lifted: %s", rows[i]);
}

static void what_is_not_simple_is_left_to_jansson(void **state)
{
    static const char *const rows[] = {
        "",
        "{\"text\":\"short\"}",
        "{\"text\":\"" LONG "\",\"n\":1}",
        "{\"text\":\"" LONG "\",\"n\":-1.5e3}",
        "{\"text\":\"" LONG "\"}7",
        "{\"text\":\"" LONG "\"",
        "{\"text\":\"" LONG,
        "{\"text\":\"" LONG "\\\"}",
        "{\"text\":\"" LONG "\"\"" LONG "\"}",
        "{\"text\":\"" LONG "\"x}",
        "{\"text\":\"" LONG "\"}}",
        "{\"" LONG "\":\"" LONG "\"}",
        "{\"a\":\"" LONG "\",\"a\":\"" LONG "\"}",
        "{\"text\":\"" LONG "\\u00fc\"}",
        "{\"text\":\"" LONG "\\x\"}",
        "{\"text\":\"" LONG "\n\"}",
        "{\"text\":\"" LONG "\xff\"}",
        "{\"text\":\"" LONG "\xc0\x80\"}",
        "{\"text\":\"" LONG "\xed\xa0\x80\"}",
        "{\"text\":\"" LONG "\xf4\x90\x80\x80\"}",
        "{\"text\":\"" LONG "\xe2\x82\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (is_lifted(slice_of(rows[i])))
            fail_msg("lifted: %s", rows[i]);
}

/* Each octet in turn is made each of some others that mean something, or goes. */
static void a_damaged_document_is_read_as_jansson_reads_it_or_not_at_all(void **state)
{
    static const char whole[] =
        "{\"a\":\"x\\\\\",\"text\":\"" LONG "\\n" LONG "\",\"b\":[\"\xc3\xbc" LONG "\",true]}";
    static const char octets[] = "\"\\{}[],:0-n\x01\x80\xc3 ";
    char text[sizeof(whole)];
    size_t lifted = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        for (size_t j = 0; j < sizeof(octets) - 1; j++) {
            memcpy(text, whole, sizeof(text));
            text[i] = octets[j];
            lifted += is_lifted(slice_make(text, sizeof(whole) - 1));
        }
        memcpy(text, whole, i);
        memcpy(text + i, whole + i + 1, sizeof(whole) - i - 1);
        lifted += is_lifted(slice_make(text, sizeof(whole) - 2));
        is_lifted(slice_make(whole, i));
    }
    assert_true(lifted > sizeof(whole));
}

static void a_document_may_have_more_long_texts_than_are_lifted(void **state)
{
    struct buf text;

    (void)state;
    buf_init(&text, 1024 * 1024);
    assert_true(buf_add_byte(&text, '['));
    for (size_t i = 0; i < 100; i++)
        assert_true(buf_printf(&text, "%s\"%zu" LONG "\"", i == 0 ? "" : ",", i));
    assert_true(buf_add_byte(&text, ']'));
    assert_true(is_lifted(buf_slice(&text)));
    buf_free(&text);
}

/* One long text in lists of lists. */
static bool is_lifted_from(size_t depth)
{
    struct buf text;

    buf_init(&text, 1024 * 1024);
    for (size_t i = 0; i < depth; i++)
        assert_true(buf_add(&text, i % 2 == 0 ? SLICE("[true,") : SLICE("{\"x\":")));
    assert_true(buf_add(&text, SLICE("\"" LONG "\"")));
    for (size_t i = depth; i > 0; i--)
        assert_true(buf_add(&text, i % 2 == 1 ? SLICE(",null]") : SLICE(",\"y\":\"\"}")));
    bool lifted = is_lifted(buf_slice(&text));
    buf_free(&text);
    return lifted;
}

static void what_is_nested_deeply_is_left_to_jansson(void **state)
{
    (void)state;
    for (size_t depth = 1; depth <= 64; depth++)
        if (!is_lifted_from(depth))
            fail_msg("not lifted from %zu levels", depth);
    for (size_t depth = 65; depth <= 2048; depth += 661)
        if (is_lifted_from(depth))
            fail_msg("lifted from %zu levels", depth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_texts_are_lifted_and_are_what_they_were),
        cmocka_unit_test(what_is_not_simple_is_left_to_jansson),
        cmocka_unit_test(a_damaged_document_is_read_as_jansson_reads_it_or_not_at_all),
        cmocka_unit_test(a_document_may_have_more_long_texts_than_are_lifted),
        cmocka_unit_test(what_is_nested_deeply_is_left_to_jansson),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
