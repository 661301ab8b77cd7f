/* test_encode.c - texts to what travels, byte for byte; and that nothing is lost on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/base64.h"
#include "relay/message/encode.h"

#define A10 "aaaaaaaaaa"
#define A50 A10 A10 A10 A10 A10
#define A70 A50 A10 A10

static char out_text[8192];

static const char *text_of(struct buf *out)
{
    snprintf(out_text, sizeof(out_text), "%.*s", SLICE_ARG(buf_slice(out)));
    buf_free(out);
    return out_text;
}

static const char *unstructured(const char *name, const char *text)
{
    struct encode_field field;
    struct buf out;

    buf_init(&out, sizeof(out_text));
    encode_start(&field, &out, slice_of(name));
    encode_unstructured(&field, slice_of(text));
    assert_true(encode_end(&field));
    return text_of(&out);
}

static void unstructured_text_is_as_plain_as_it_can_be(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "", "Subject: \r\n" },
        { "Hello", "Subject: Hello\r\n" },
        { "100 % of <this> \"is\" (plain); , : \\",
          "Subject: 100 % of <this> \"is\" (plain); , : \\\r\n" },
        { " Hello", "Subject: =?utf-8?Q?_Hello?=\r\n" },
        { "Hello ", "Subject: =?utf-8?Q?Hello_?=\r\n" },
        { "a  b", "Subject: =?utf-8?Q?a__b?=\r\n" },
        { "a\tb", "Subject: =?utf-8?B?YQli?=\r\n" },
        { "=?utf-8?Q?x?=", "Subject: =?utf-8?B?PT91dGYtOD9RP3g/PQ==?=\r\n" },
        { "Gr\xc3\xbc\xc3\x9f"
          "e",
          "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n" },
        { "Caf\xc3\xa9 at the corner", "Subject: =?utf-8?Q?Caf=C3=A9_at_the_corner?=\r\n" },
        { "\xe4\xb8\x96\xe7\x95\x8c", "Subject: =?utf-8?B?5LiW55WM?=\r\n" },
        /* a byte that is no UTF-8 is carried */
        { "\xff", "Subject: =?utf-8?Q?=FF?=\r\n" },
        /* at 76 columns */
        { A50 " " A10 " b", "Subject: " A50 " " A10 " b\r\n" },
        { A50 " " A10 "a bbbb c", "Subject: " A50 " " A10 "a bbbb\r\n c\r\n" },
        { A70 A70 " b", "Subject: " A70 A70 "\r\n b\r\n" },
        { A50 "\xc3\xa9" A50, "Subject: =?utf-8?Q?" A50 "?=\r\n =?utf-8?Q?=C3=A9" A50 "?=\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *got = unstructured("Subject", rows[i].text);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].text, got);
    }
}

static void a_display_name_is_quoted_or_encoded(void **state)
{
    static const struct {
        const char *name, *want;
    } rows[] = {
        { "Ann Example", "To: Ann Example\r\n" },
        { "Ann Q. Example", "To: \"Ann Q. Example\"\r\n" },
        { "Example, Ann", "To: \"Example, Ann\"\r\n" },
        { "a@b <c@d>", "To: \"a@b <c@d>\"\r\n" },
        { "the \"boss\"", "To: =?utf-8?Q?the_=22boss=22?=\r\n" },
        { "back\\slash", "To: =?utf-8?Q?back=5Cslash?=\r\n" },
        { "=?utf-8?Q?x?=", "To: =?utf-8?B?PT91dGYtOD9RP3g/PQ==?=\r\n" },
        { " Ann", "To: =?utf-8?Q?_Ann?=\r\n" },
        { "J\xc3\xb6rg (Chef)", "To: =?utf-8?B?SsO2cmcgKENoZWYp?=\r\n" },
        { A50 A10 ",", "To: =?utf-8?Q?" A50 A10 "?=\r\n =?utf-8?Q?=2C?=\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct encode_field field;
        struct buf out;
        buf_init(&out, sizeof(out_text));
        encode_start(&field, &out, SLICE("To"));
        encode_phrase(&field, slice_of(rows[i].name));
        assert_true(encode_end(&field));
        const char *got = text_of(&out);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].name, got);
    }
}

static void a_parameter_is_quoted_or_extended(void **state)
{
    static const struct {
        const char *value, *want;
    } rows[] = {
        { "a.txt", "D: x; filename=\"a.txt\"\r\n" },
        { "a b;c=d.txt", "D: x; filename=\"a b;c=d.txt\"\r\n" },
        { "a\"b\\c", "D: x;\r\n filename*=utf-8''a%22b%5Cc\r\n" },
        { "=?utf-8?Q?x?=", "D: x;\r\n filename*=utf-8''%3D%3Futf-8%3FQ%3Fx%3F%3D\r\n" },
        { "\xc3\xbc.txt", "D: x;\r\n filename*=utf-8''%C3%BC.txt\r\n" },
        { "*'%.txt ", "D: x;\r\n filename*=utf-8''%2A%27%25.txt%20\r\n" },
        { A50 A10 "\xc3\xbc.txt",
          "D: x;\r\n filename*0*=utf-8''" A50 A10 ";\r\n filename*1*=%C3%BC.txt\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct encode_field field;
        struct buf out;
        buf_init(&out, sizeof(out_text));
        encode_start(&field, &out, SLICE("D"));
        encode_word(&field, SLICE("x"));
        encode_parameter(&field, "filename", slice_of(rows[i].value));
        assert_true(encode_end(&field));
        const char *got = text_of(&out);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].value, got);
    }
}

static void a_text_is_as_plain_as_it_can_be(void **state)
{
    static const struct {
        const char *text;
        enum encode_transfer transfer;
        const char *want;
    } rows[] = {
        { "", ENCODE_7BIT, "" },
        { "a", ENCODE_7BIT, "a\r\n" },
        { "a\nb\r\nc\rd\n\re\r\n", ENCODE_7BIT, "a\r\nb\r\nc\r\nd\r\n\r\ne\r\n" },
        { "a\n.\nb\r.\rc", ENCODE_7BIT, "a\r\n.\r\nb\r\n.\r\nc\r\n" }, /* */
        { "\n", ENCODE_7BIT, "\r\n" },
        { "a \t\n", ENCODE_7BIT, "a \t\r\n" },
        { "From here\n.x", ENCODE_QUOTED_PRINTABLE, "=46rom here\r\n=2Ex\r\n" },
        { "caf\xc3\xa9 = coffee, as they say \n", ENCODE_QUOTED_PRINTABLE,
          "caf=C3=A9 =3D coffee, as they say=20\r\n" },
        { "\x01"
          "bell in the middle",
          ENCODE_QUOTED_PRINTABLE, "=01bell in the middle\r\n" },
        { "\xc3\xa9" A70 A10, ENCODE_QUOTED_PRINTABLE,
          "=C3=A9" A50 A10 "aaaaaaaaa=\r\n" A10 "a\r\n" },
        { "\xe4\xb8\x96\n", ENCODE_BASE64, "5LiWDQo=\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        buf_init(&out, sizeof(out_text));
        enum encode_transfer transfer = encode_choose(slice_of(rows[i].text));
        assert_true(encode_text(slice_of(rows[i].text), transfer, &out));
        const char *got = text_of(&out);
        if (transfer != rows[i].transfer || strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s %s", rows[i].text, encode_transfer_name(transfer), got);
    }
}

static void a_line_that_is_too_long_is_broken(void **state)
{
    struct buf text, out;

    (void)state;
    for (size_t len = 997; len < 1000; len++) {
        buf_init(&text, 1000);
        buf_init(&out, 4096);
        for (size_t i = 0; i < len; i++)
            assert_true(buf_add_byte(&text, 'x'));
        enum encode_transfer transfer = encode_choose(buf_slice(&text));
        assert_int_equal(transfer, len <= 998 ? ENCODE_7BIT : ENCODE_QUOTED_PRINTABLE);
        assert_true(encode_text(buf_slice(&text), transfer, &out));
        struct slice rest = buf_slice(&out);
        while (rest.len > 0 && transfer != ENCODE_7BIT)
            assert_true(slice_cut(&rest, '\n').len <= 77);
        buf_free(&text);
        buf_free(&out);
    }
}

static void base64_is_wrapped_strictly(void **state)
{
    static const struct {
        const char *base64, *want; /* NULL: it is none */
    } rows[] = {
        { "", "" },
        { "QQ==", "QQ==\r\n" },
        { "Q\r\nQ=\n=\r", "QQ==\r\n" },
        { "\r\n", "" },
        { A70 "aaaaaa", A70 "aaaaaa\r\n" },
        { A70 "aaaaaa"
              "QUI=",
          A70 "aaaaaa\r\nQUI=\r\n" },
        { "QQ", NULL },
        { "QQ=", NULL },
        { "QR==", NULL }, /* spare bits */
        { "QQ==QQ==", NULL },
        { A70 "aaQQ=="
              "QUI=",
          NULL },
        { "QQ ==", NULL },
        { "Q-_=", NULL },
        { "data:image/png;base64,QQ==", NULL },
        { "\xc3\xa9==", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        buf_init(&out, sizeof(out_text));
        enum encode_wrap wrapped = encode_wrap_base64(slice_of(rows[i].base64), &out);
        const char *got = text_of(&out);
        if ((wrapped == ENCODE_WRAPPED) != (rows[i].want != NULL) ||
            (rows[i].want != NULL && strcmp(got, rows[i].want) != 0))
            fail_msg("%s: %d %s", rows[i].base64, (int)wrapped, got);
    }
}

/* --- whatever goes in comes out ----------------------------------------------------------------
 */

static unsigned random_state = 1;

static unsigned draw(unsigned below)
{
    random_state = random_state * 1103515245 + 12345;
    return (random_state >> 8) % below;
}

static struct slice random_text(char *text, size_t max)
{
    static const char *const pieces[] = {
        "a",     " ",  "  ", "=",  "?", "_",  "\xc3\xbc", "\xe4\xb8\x96", "\xf0\x9f\x99\x82",
        "=?",    "?=", "\"", "\\", ".", "\t", ",",        "word",         "From ",
        "<a@b>", "%41"
    };
    size_t len = 0;

    for (size_t want = draw((unsigned)max - 8); len < want;) {
        const char *piece = pieces[draw(ARRAY_LEN(pieces))];
        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return slice_make(text, len);
}

/* A reader of encoded words that knows only what encode.c writes. */
static void read_field(struct slice field, struct buf *text)
{
    bool after_word = false;

    while (field.len > 0) {
        if (field.len > 10 && memcmp(field.data, "=?utf-8?", 8) == 0) {
            char encoding = field.data[8];
            struct slice rest = slice_from(field, 10);
            struct slice word = slice_cut(&rest, '?');
            assert_true(word.len + 12 <= 75);
            if (encoding == 'B')
                assert_true(base64_decode(word, text));
            for (size_t i = 0; encoding == 'Q' && i < word.len; i++) {
                char code[3] = { 0 };
                char c = word.data[i] == '_' ? ' ' : word.data[i];
                if (c == '=') {
                    memcpy(code, word.data + i + 1, 2);
                    c = (char)strtoul(code, NULL, 16);
                    i += 2;
                }
                assert_true(buf_add_byte(text, c));
            }
            field = slice_from(rest, 1);
            after_word = true;
        } else if (after_word) {
            assert_true(field.data[0] == ' '); /* ignored between encoded words */
            field = slice_from(field, 1);
        } else {
            assert_true(buf_add_byte(text, field.data[0]));
            field = slice_from(field, 1);
        }
    }
}

static void any_text_comes_back_from_a_field(void **state)
{
    char text[400];

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct slice want =
            random_text(text, round % sizeof(text) + 9 < sizeof(text) ? round % sizeof(text) + 9
                                                                      : sizeof(text));
        struct encode_field field;
        struct buf out, unfolded, got;
        buf_init(&out, 65536);
        buf_init(&unfolded, 65536);
        buf_init(&got, 65536);
        encode_start(&field, &out, SLICE("S"));
        encode_unstructured(&field, want);
        assert_true(encode_end(&field));
        for (struct slice rest = slice_from(buf_slice(&out), 3); rest.len > 0;) {
            struct slice line = slice_cut(&rest, '\n');
            assert_true(line.len <= 77 && line.data[line.len - 1] == '\r');
            assert_true(buf_add(&unfolded, slice_first(line, line.len - 1)));
        }
        read_field(buf_slice(&unfolded), &got);
        if (!slice_equal(buf_slice(&got), want))
            fail_msg("%.*s: %.*s", SLICE_ARG(want), SLICE_ARG(buf_slice(&out)));
        buf_free(&out);
        buf_free(&unfolded);
        buf_free(&got);
    }
}

static void a_full_buffer_is_told_and_not_passed(void **state)
{
    static const char text[] = "caf\xc3\xa9 \xe4\xb8\x96\xe7\x95\x8c and more";
    size_t whole = strlen(unstructured("Subject", text));
    struct encode_field field;

    (void)state;
    for (size_t max = 0; max <= whole; max++) {
        struct buf out;
        buf_init(&out, max);
        encode_start(&field, &out, SLICE("Subject"));
        encode_unstructured(&field, slice_of(text));
        assert_int_equal(encode_end(&field), max == whole);
        assert_true(buf_len(&out) <= max);
        buf_free(&out);
    }
}

/* Texts are looked at eight octets at a time: where one stands must not matter. */
static void one_octet_that_is_not_plain_is_seen_wherever_it_stands(void **state)
{
    char text[20];

    (void)state;
    for (int c = 0; c < 256; c++) {
        bool plain = (c >= ' ' && c <= '~') || c == '\t' || c == '\r' || c == '\n';
        for (size_t at = 0; at < sizeof(text); at++) {
            memset(text, 'a', sizeof(text));
            text[at] = (char)c;
            enum encode_transfer want = plain ? ENCODE_7BIT : ENCODE_QUOTED_PRINTABLE;
            if (encode_choose(slice_make(text, sizeof(text))) != want)
                fail_msg("octet %d at %zu", c, at);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_octet_that_is_not_plain_is_seen_wherever_it_stands),
        cmocka_unit_test(unstructured_text_is_as_plain_as_it_can_be),
        cmocka_unit_test(a_display_name_is_quoted_or_encoded),
        cmocka_unit_test(a_parameter_is_quoted_or_extended),
        cmocka_unit_test(a_text_is_as_plain_as_it_can_be),
        cmocka_unit_test(a_line_that_is_too_long_is_broken),
        cmocka_unit_test(base64_is_wrapped_strictly),
        cmocka_unit_test(any_text_comes_back_from_a_field),
        cmocka_unit_test(a_full_buffer_is_told_and_not_passed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
