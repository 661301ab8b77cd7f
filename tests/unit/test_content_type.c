/* test_content_type.c - which media types a client may give an attachment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "relay/message/content_type.h"

static void a_type_is_one_that_base64_can_carry(void **state)
{
    static const struct {
        const char *type, *want; /* NULL: refused */
    } rows[] = {
        { "image/png", " image/png" },
        { "Text/Calendar; method=REQUEST; charset=\"utf-8\"",
          " Text/Calendar; method=REQUEST; charset=\"utf-8\"" },
        { "text/x;a=b;c=d", " text/x; a=b; c=d" },
        { "application/vnd.a+json", " application/vnd.a+json" },
        { "a/b; x=1234567890123456789012345678901234567890123456789012345678901234567890",
          " a/b;\r\n x=1234567890123456789012345678901234567890123456789012345678901234567890" },
        { "", NULL },
        { "image", NULL },
        { "/png", NULL },
        { "image/", NULL },
        { "image/png/x", NULL },
        { "image /png", NULL },
        { "image/png;", NULL },
        { "image/png; a", NULL },
        { "image/png; a=", NULL },
        { "image/png; a =b", NULL },
        { "image/png; a=b; A=c", NULL },
        { "image/png; a=\"b\\\"c\"", NULL },
        { "image/png; a=\"b;c\"", NULL },
        { "image/png (really)", NULL },
        { "image/png, image/gif", NULL },
        { "multipart/mixed", NULL },
        { "MULTIPART/mixed; boundary=x", NULL },
        { "message/rfc822", NULL },
        { "text/plain; boundary=x", NULL },
        { "text/plain; name*=utf-8''x", NULL },
        { "image/png; a=\"\"", " image/png; a=\"\"" },
        { "image/png; a=\"b c=d,e\"", " image/png; a=\"b c=d,e\"" },
        { "image/png; a=\"", NULL },
        { "image/png; a=\"b", NULL },
        { "image/png; a=b\"", NULL },
        { "image/png; a=\"b\"c\"", NULL },
        { "image/png; a=\"b\tc\"", NULL },
        { "image/png; a=\"\xc3\xa4\"", NULL },
        { "image/png; a=\"\x7f\"", NULL },
        { "image/png; a=b c", NULL },
        { "image/png; =b", NULL },
        { "image/png; a%=b", NULL },
        { "image/png; a*0=b", NULL },
        { "image/png; a=b; c=d; a=e", NULL },
        { "image/png;; a=b", NULL },
        { "text/pl\xc3\xa4in", NULL },
        { "image/png\r\nX: y", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct encode_field field;
        struct buf out;
        bool readable = content_type_is_readable(slice_of(rows[i].type));
        if (readable != (rows[i].want != NULL))
            fail_msg("%s: %d", rows[i].type, (int)readable);
        if (!readable)
            continue;
        buf_init(&out, 1000);
        encode_start(&field, &out, SLICE(""));
        content_type_write(slice_of(rows[i].type), &field);
        struct slice got = slice_from(buf_slice(&out), 1);
        if (!slice_equal(got, slice_of(rows[i].want)))
            fail_msg("%s: %.*s", rows[i].type, SLICE_ARG(got));
        buf_free(&out);
    }
}

static void a_type_is_not_longer_than_anyone_needs(void **state)
{
    static const struct {
        const char *name, *unit;
        size_t times;
        bool want;
    } rows[] = {
        { "a long parameter", "x", 200 - 2, true },
        { "a parameter that is too long", "x", 200 - 1, false },
        { "a type that is too long", "x; x=", 200, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf type;
        buf_init(&type, 4096);
        assert_true(buf_add(&type, SLICE("a/b; c=")));
        for (size_t n = 0; n < rows[i].times; n++)
            assert_true(buf_add(&type, slice_of(rows[i].unit)));
        if (content_type_is_readable(buf_slice(&type)) != rows[i].want)
            fail_msg("%s", rows[i].name);
        buf_free(&type);
    }
}

static void a_file_name_tells_the_usual_types(void **state)
{
    (void)state;
    assert_string_equal(content_type_of_file(SLICE("Invoice.PDF")), "application/pdf");
    assert_string_equal(content_type_of_file(SLICE("a.tar.gz")), "application/gzip");
    assert_string_equal(content_type_of_file(SLICE("README")), "application/octet-stream");
    assert_string_equal(content_type_of_file(SLICE("")), "application/octet-stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_type_is_one_that_base64_can_carry),
        cmocka_unit_test(a_type_is_not_longer_than_anyone_needs),
        cmocka_unit_test(a_file_name_tells_the_usual_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
