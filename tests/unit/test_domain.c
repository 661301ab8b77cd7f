/* test_domain.c - the one spelling of a name, and the traps of libidn2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/domain.h"

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct row {
    struct slice name;
    enum domain_error want;
    const char *text; /* NULL: empty */
};

typedef enum domain_error parse_fn(struct slice name, char text[static DOMAIN_TEXT_MAX]);

static void check_rows(parse_fn *parse, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[DOMAIN_TEXT_MAX] = "left over";
        enum domain_error error = parse(rows[i].name, text);
        const char *want = rows[i].text == NULL ? "" : rows[i].text;
        if (error != rows[i].want || strcmp(text, want) != 0)
            fail_msg("'%.*s': got %d '%s', want %d '%s'", SLICE_ARG(rows[i].name), (int)error, text,
                     (int)rows[i].want, want);
    }
}

static void a_name_on_the_wire_is_lowered_and_strict(void **state)
{
    static const struct row rows[] = {
        { SLICE("good.example"), DOMAIN_OK, "good.example" },
        { SLICE("GOOD.Example"), DOMAIN_OK, "good.example" },
        { SLICE("localhost"), DOMAIN_OK, "localhost" },
        { SLICE("1.2.3.4a"), DOMAIN_OK, "1.2.3.4a" },
        { SLICE("ab--cd.example"), DOMAIN_OK, "ab--cd.example" },
        { SLICE("x-xn--y.example"), DOMAIN_OK, "x-xn--y.example" },
        { SLICE("xn--bcher-kva.example"), DOMAIN_OK, "xn--bcher-kva.example" },
        { SLICE("XN--BCHER-KVA.example"), DOMAIN_OK, "xn--bcher-kva.example" },
        { SLICE(LABEL63 ".example"), DOMAIN_OK, LABEL63 ".example" },
        { SLICE("a" LABEL63 ".example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE(""), DOMAIN_EMPTY, NULL },
        { SLICE("."), DOMAIN_BAD_LABEL, NULL },
        { SLICE("good.example."), DOMAIN_BAD_LABEL, NULL },
        { SLICE(".good.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("good..example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("-x.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("x-.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("a_b.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("a b.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("a\n.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("good.example\0.victim.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("*.good.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("b\xc3\xbc"
                "cher.example"),
          DOMAIN_BAD_LABEL, NULL },
        { SLICE("192.0.2.1"), DOMAIN_NUMERIC, NULL },
        { SLICE("a.123"), DOMAIN_NUMERIC, NULL },
        { SLICE("[192.0.2.1]"), DOMAIN_BAD_LABEL, NULL },
        /* A-labels that do not come back: ASCII in disguise, nothing behind the prefix, a capital
         * and a full-width letter encoded, bad punycode, an emoji. */
        { SLICE("xn--good-.example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("xn--good-9.example"), DOMAIN_BAD_IDN, NULL },
        { SLICE("xn--a.example"), DOMAIN_BAD_IDN, NULL },
        { SLICE("xn--bcher-exa.example"), DOMAIN_BAD_IDN, NULL },
        { SLICE("xn--99999999.example"), DOMAIN_BAD_IDN, NULL },
        { SLICE("xn--i-7iq.example"), DOMAIN_BAD_IDN, NULL },
    };
    (void)state;
    check_rows(domain_parse_ascii, rows, ARRAY_LEN(rows));
}

static void what_an_operator_types_gets_one_spelling_or_is_refused(void **state)
{
    static const struct row rows[] = {
        { SLICE("Good.Example."), DOMAIN_OK, "good.example" },
        { SLICE("b\xc3\xbc"
                "cher.example"),
          DOMAIN_OK, "xn--bcher-kva.example" },
        { SLICE("b\xc3\xbc"
                "cher.example."),
          DOMAIN_OK, "xn--bcher-kva.example" },
        { SLICE("B\xc3\x9c"
                "CHER.Example"),
          DOMAIN_OK, "xn--bcher-kva.example" },
        { SLICE("xn--bcher-kva.b\xc3\xbc"
                "cher.example"),
          DOMAIN_OK, "xn--bcher-kva.xn--bcher-kva.example" },
        { SLICE("XN--BCHER-KVA.b\xc3\xbc"
                "cher.example"),
          DOMAIN_OK, "xn--bcher-kva.xn--bcher-kva.example" },
        { SLICE("fa\xc3\x9f.example"), DOMAIN_OK, "xn--fa-hia.example" },
        { SLICE("\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.example"), DOMAIN_OK,
          "xn--e1afmkfd.example" }, /* Cyrillic */
        { SLICE("\xd0\x9f\xd0\xa0\xd0\x98\xd0\x9c\xd0\x95\xd0\xa0.example"), DOMAIN_OK,
          "xn--e1afmkfd.example" }, /* the same in capitals */
        { SLICE("\xc5\x81\xc3\xb3"
                "d\xc5\xba.example"),
          DOMAIN_OK, "xn--d-uga0v4h.example" },
        { SLICE("\xe4\xbe\x8b.example"), DOMAIN_OK, "xn--fsq.example" },
        /* ASCII that libidn2 would pass or mend. */
        { SLICE("a..b"), DOMAIN_BAD_LABEL, NULL },
        { SLICE(".a"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("a.."), DOMAIN_BAD_LABEL, NULL },
        { SLICE("."), DOMAIN_BAD_LABEL, NULL },
        { SLICE("@"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("[1.2.3.4]"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("ex@ample.com"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("exa mple.com"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("vic_tim.com"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("b\xc3\xbc"
                "cher_x.example"),
          DOMAIN_BAD_LABEL, NULL },
        { SLICE("b\xc3\xbc"
                "cher..example"),
          DOMAIN_BAD_LABEL, NULL },
        { SLICE("b\xc3\xbc"
                "cher@x.example"),
          DOMAIN_BAD_IDN, NULL },
        { SLICE("b\xc3\xbc"
                "cher.example\n"),
          DOMAIN_BAD_LABEL, NULL },
        { SLICE("b\xc3\xbc"
                "cher.example\0.victim.example"),
          DOMAIN_BAD_LABEL, NULL },
        /* Names that another name spells too. */
        { SLICE("ex\xe2\x80\x8b"
                "ample.com"),
          DOMAIN_BAD_IDN, NULL }, /* zero-width space */
        { SLICE("ex\xc2\xad"
                "ample.com"),
          DOMAIN_BAD_IDN, NULL },                                  /* soft hyphen */
        { SLICE("\xe2\x93\x94xample.com"), DOMAIN_BAD_IDN, NULL }, /* circled e */
        { SLICE("\xef\xbd\x85xample.com"), DOMAIN_BAD_IDN, NULL }, /* full-width e */
        { SLICE("example\xe3\x80\x82"
                "com"),
          DOMAIN_BAD_IDN, NULL }, /* ideographic dot */
        { SLICE("bu\xcc\x88"
                "cher.example"),
          DOMAIN_BAD_IDN, NULL },                                /* decomposed */
        { SLICE("\xe1\xba\x9e.example"), DOMAIN_BAD_IDN, NULL }, /* capital sharp s */
        { SLICE("\xe2\x84\xaa.example"), DOMAIN_BAD_IDN, NULL }, /* Kelvin sign */
        { SLICE("\xc4\xb0.example"), DOMAIN_BAD_IDN, NULL },     /* capital dotted i */
        { SLICE("\xe2\x98\x83.example"), DOMAIN_BAD_IDN, NULL }, /* snowman */
        { SLICE("\xff\xfe.example"), DOMAIN_BAD_IDN, NULL },     /* not UTF-8 */
        { SLICE("a\xcc"), DOMAIN_BAD_IDN, NULL },                /* cut UTF-8 */
        { SLICE("*.good.example"), DOMAIN_BAD_LABEL, NULL },
    };
    (void)state;
    check_rows(domain_parse, rows, ARRAY_LEN(rows));
}

static void a_pattern_has_its_star_in_front_of_two_labels(void **state)
{
    static const struct row rows[] = {
        { SLICE("good.example"), DOMAIN_OK, "good.example" },
        { SLICE("*.Good.Example."), DOMAIN_OK, "*.good.example" },
        { SLICE("*.b\xc3\xbc"
                "cher.example"),
          DOMAIN_OK, "*.xn--bcher-kva.example" },
        { SLICE(""), DOMAIN_EMPTY, NULL },
        { SLICE("."), DOMAIN_BAD_LABEL, NULL },
        { SLICE("@"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("good..example"), DOMAIN_BAD_LABEL, NULL },
        { SLICE("*"), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("*."), DOMAIN_EMPTY, NULL },
        { SLICE("*.com"), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("*.com."), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("*good.example"), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("a.*.example"), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("*.*.example"), DOMAIN_BAD_WILDCARD, NULL },
        { SLICE("**.good.example"), DOMAIN_BAD_WILDCARD, NULL },
    };
    (void)state;
    check_rows(domain_parse_pattern, rows, ARRAY_LEN(rows));
}

/* A name of `len` octets in labels of at most 63. */
static struct slice name_of_length(char *name, size_t len)
{
    memset(name, 'a', len);
    for (size_t i = 63; i + 1 < len; i += 64)
        name[i] = '.';
    return slice_make(name, len);
}

static void a_name_of_253_octets_is_the_longest(void **state)
{
    static const size_t lengths[] = { 252, 253, 254, 255, 256, 4000 };
    char name[4096];
    char text[DOMAIN_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        enum domain_error want = lengths[i] > 253 ? DOMAIN_TOO_LONG : DOMAIN_OK;
        enum domain_error error = domain_parse(name_of_length(name, lengths[i]), text);
        if (error != want)
            fail_msg("%zu octets: got %d, want %d", lengths[i], (int)error, (int)want);
    }
    memcpy(name, "*.", 2);
    name_of_length(name + 2, 253);
    assert_int_equal(domain_parse_pattern(slice_make(name, 255), text), DOMAIN_OK);
    assert_int_equal(strlen(text), 255);
    memset(name, 0xc3, sizeof(name));
    assert_int_equal(domain_parse(slice_make(name, sizeof(name)), text), DOMAIN_TOO_LONG);
}

static void domain_check_does_not_look_into_a_labels(void **state)
{
    (void)state;
    assert_int_equal(domain_check(SLICE("xn--i-7iq.example")), DOMAIN_OK);
    assert_int_equal(domain_check(SLICE("dest..example")), DOMAIN_BAD_LABEL);
    assert_int_equal(domain_check((struct slice){ 0 }), DOMAIN_EMPTY);
}

static void a_pattern_for_recipients_may_name_what_idna_refuses(void **state)
{
    static const struct {
        struct slice name;
        enum domain_error want;
        const char *text;
    } rows[] = {
        { SLICE("Dest.Example"), DOMAIN_OK, "dest.example" },
        { SLICE("*.dest.example"), DOMAIN_OK, "*.dest.example" },
        { SLICE("XN--i-7iq.ws"), DOMAIN_OK, "xn--i-7iq.ws" },
        { SLICE("xn--i-7iq.ws."), DOMAIN_OK, "xn--i-7iq.ws" },
        { SLICE("*.XN--i-7iq.ws"), DOMAIN_OK, "*.xn--i-7iq.ws" },
        { SLICE("xn--i-7iq..ws"), DOMAIN_BAD_LABEL, "" },
        { SLICE("xn--i-7iq.ws.."), DOMAIN_BAD_LABEL, "" },
        { SLICE("*.*.xn--i-7iq.ws"), DOMAIN_BAD_WILDCARD, "" },
        { SLICE("*.xn--i-7iq"), DOMAIN_BAD_WILDCARD, "" },
        { SLICE("i\xe2\x9d\xa4.ws"), DOMAIN_BAD_IDN, "" },
        { SLICE(""), DOMAIN_EMPTY, "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[DOMAIN_TEXT_MAX];
        enum domain_error error = domain_parse_recipient(rows[i].name, text);
        if (error != rows[i].want || strcmp(text, rows[i].text) != 0)
            fail_msg("%.*s: %d '%s'", SLICE_ARG(rows[i].name), (int)error, text);
    }
}

static void a_wildcard_covers_what_is_under_it_and_nothing_else(void **state)
{
    static const struct {
        const char *pattern, *domain;
        bool want;
    } rows[] = {
        { "good.example", "good.example", true },
        { "good.example", "sub.good.example", false },
        { "good.example", "evilgood.example", false },
        { "good.example", "good.example.victim.example", false },
        { "*.good.example", "sub.good.example", true },
        { "*.good.example", "a.b.good.example", true },
        { "*.good.example", "good.example", false },
        { "*.good.example", ".good.example", false },
        { "*.good.example", "evilgood.example", false },
        { "*.good.example", "good.example.victim.example", false },
        { "*", "good.example", false },
        { "*good.example", "evilgood.example", false },
        { "", "", false },
        { "", "good.example", false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (domain_covers(slice_of(rows[i].pattern), slice_of(rows[i].domain)) != rows[i].want)
            fail_msg("'%s' over '%s': want %d", rows[i].pattern, rows[i].domain, rows[i].want);
}

static void every_domain_error_has_its_own_text(void **state)
{
    (void)state;
    for (int i = DOMAIN_OK; i <= DOMAIN_NUMERIC; i++)
        for (int j = DOMAIN_OK; j < i; j++)
            assert_string_not_equal(domain_error_text((enum domain_error)i),
                                    domain_error_text((enum domain_error)j));
    assert_non_null(domain_error_text((enum domain_error)99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_on_the_wire_is_lowered_and_strict),
        cmocka_unit_test(what_an_operator_types_gets_one_spelling_or_is_refused),
        cmocka_unit_test(a_pattern_has_its_star_in_front_of_two_labels),
        cmocka_unit_test(a_name_of_253_octets_is_the_longest),
        cmocka_unit_test(domain_check_does_not_look_into_a_labels),
        cmocka_unit_test(a_pattern_for_recipients_may_name_what_idna_refuses),
        cmocka_unit_test(a_wildcard_covers_what_is_under_it_and_nothing_else),
        cmocka_unit_test(every_domain_error_has_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
