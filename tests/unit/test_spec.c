/* test_spec.c - what is acceptable for a new key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "auth/auth_priv.h"

#define NOW_S INT64_C(1800000000)

static void name_is_one_line_of_utf8(void **state)
{
    static const struct {
        const char *name;
        bool want;
    } cases[] = {
        { "a", true },
        { "Jos\xc3\xa9's printer", true },
        { "\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xac", true },
        { "", false },
        { "a\nb", false },
        { "a\tb", false },
        { "a\x1b[2J", false },
        { "a\x7f", false },
        { "a\xc2\x85", false },     /* C1: next line */
        { "a\xe2\x80\xa8", false }, /* U+2028 */
        { "a\xe2\x80\xae"
          "b",
          false }, /* U+202E turns the direction */
        { "a\xe2\x81\xa6"
          "b",
          false }, /* U+2066 too */
        { "a\xe2\x80\xaf"
          "b",
          true },           /* U+202F, a blank */
        { "a\xc3", false }, /* cut short */
        { "a\xff", false },
        { "a\xc0\x80", false }, /* overlong */
        { "a\xe0\x80\x80", false },
        { "a\xed\xa0\x80", false },     /* a surrogate */
        { "a\xf4\x90\x80\x80", false }, /* above U+10FFFF */
        { "a\x80", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (spec_name_is_valid(cases[i].name) != cases[i].want)
            fail_msg("row %zu: \"%s\"", i, cases[i].name);
}

static void name_has_at_most_100_characters(void **state)
{
    char name[2 * AUTH_NAME_MAX + 3];

    (void)state;
    for (size_t i = 0; i <= AUTH_NAME_MAX; i++)
        memcpy(name + 2 * i, "\xc3\xa9", 2);
    name[2 * AUTH_NAME_MAX] = '\0';
    assert_true(spec_name_is_valid(name));
    name[2 * AUTH_NAME_MAX] = '\xc3';
    name[2 * AUTH_NAME_MAX + 2] = '\0';
    assert_false(spec_name_is_valid(name));
}

static struct auth_key_spec good_spec(void)
{
    return (struct auth_key_spec){ .account = "default", .name = "cron", .scopes = AUTH_SEND };
}

static void good_specs_pass(void **state)
{
    static const char *const senders[] = { "a@good.example", "\"a b@c\"@good.example" };
    static const char *const recipients[] = { "b@dest.example", "dest.example", "*.dest.example" };
    static const char *const networks[] = { "10.1.2.3/8", "2001:db8::/32", "192.0.2.1" };
    static const char *const domains[] = { "good.example", "*.good.example" };
    struct auth_key_spec spec = good_spec();
    struct why why;

    (void)state;
    assert_true(spec_check(&spec, NOW_S, &why));
    spec.domains = (struct auth_list){ domains, ARRAY_LEN(domains) };
    spec.senders = (struct auth_list){ senders, ARRAY_LEN(senders) };
    spec.recipients = (struct auth_list){ recipients, ARRAY_LEN(recipients) };
    spec.allow_from = (struct auth_list){ networks, ARRAY_LEN(networks) };
    spec.expires_s = NOW_S + 1;
    spec.recipients_per_day = INT64_MAX;
    if (!spec_check(&spec, NOW_S, &why))
        fail_msg("%s", why.text);
}

static void bad_specs_are_refused_with_a_sentence(void **state)
{
    static const char *const bad_domain[] = { "good.example", "good..example" };
    static const char *const bad_sender[] = { "@good.example" };
    static const char *const bad_recipient[] = { "b@*.dest.example" };
    static const char *const bad_network[] = { "10.0.0.0/33" };
    static const char *const line_end[] = { "a\n@good.example" };
    static const char *many[AUTH_LIST_MAX + 1];
    struct auth_key_spec specs[13];
    const char *words[ARRAY_LEN(specs)];
    struct why why;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = "a.example";
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        specs[i] = good_spec();
    specs[0].name = NULL, words[0] = "name";
    specs[1].name = "a\r\nb", words[1] = "name";
    specs[2].scopes = 0, words[2] = "scope";
    specs[3].scopes = 64, words[3] = "scope";
    specs[4].expires_s = NOW_S, words[4] = "future";
    specs[5].recipients_per_day = UINT64_MAX, words[5] = "recipients";
    specs[6].domains = (struct auth_list){ bad_domain, 2 }, words[6] = "good..example";
    specs[7].senders = (struct auth_list){ bad_sender, 1 }, words[7] = "@good.example";
    specs[8].recipients = (struct auth_list){ bad_recipient, 1 }, words[8] = "b@*.dest.example";
    specs[9].allow_from = (struct auth_list){ bad_network, 1 }, words[9] = "10.0.0.0/33";
    specs[10].senders = (struct auth_list){ line_end, 1 }, words[10] = "a?@good.example";
    specs[11].domains = (struct auth_list){ many, ARRAY_LEN(many) }, words[11] = "100";
    specs[12].name = "for lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9", words[12] = "API key";
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        if (spec_check(&specs[i], NOW_S, &why) || strstr(why.text, words[i]) == NULL)
            fail_msg("row %zu: %s", i, why.text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_is_one_line_of_utf8),
        cmocka_unit_test(name_has_at_most_100_characters),
        cmocka_unit_test(good_specs_pass),
        cmocka_unit_test(bad_specs_are_refused_with_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
