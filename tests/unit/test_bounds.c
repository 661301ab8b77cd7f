/* test_bounds.c - can this new key do no more than the key that makes it? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/bounds.h"

static void patterns_and_networks_cover_what_lies_within(void **state)
{
    static const struct {
        bool network;
        const char *wide, *narrow;
        bool want;
    } cases[] = {
        { false, "a.example", "a.example", true },
        { false, "a.example", "b.a.example", false },
        { false, "a.example", "*.a.example", false },
        { false, "*.a.example", "b.a.example", true },
        { false, "*.a.example", "c.b.a.example", true },
        { false, "*.a.example", "*.a.example", true },
        { false, "*.a.example", "*.b.a.example", true },
        { false, "*.a.example", "a.example", false },
        { false, "*.b.a.example", "*.a.example", false },
        { false, "*.a.example", "evila.example", false },
        { true, "10.0.0.0/8", "10.1.2.3", true },
        { true, "10.0.0.0/8", "10.0.0.0/8", true },
        { true, "10.0.0.0/8", "10.0.0.0/7", false },
        { true, "10.0.0.0/8", "11.0.0.1", false },
        { true, "10.0.0.0/8", "0.0.0.0/0", false },
        { true, "0.0.0.0/0", "192.0.2.1", true },
        { true, "0.0.0.0/0", "2001:db8::1", false },
        /* As auth/network.c has it: ::/0 holds no IPv4 address, so it covers none either. */
        { true, "::/0", "10.0.0.1", false },
        { true, "::/0", "0.0.0.0/0", false },
        { true, "::/0", "2001:db8::1", true },
        { true, "::ffff:0:0/95", "10.0.0.1", false },
        { true, "::ffff:0:0/96", "10.0.0.0/8", true },
        { true, "2001:db8::/32", "2001:db8:1::/48", true },
        { true, "2001:db8::/32", "2001:db9::/48", false },
        { true, "::ffff:10.0.0.1", "10.0.0.1", true },
        { true, "10.0.0.1", "10.0.0.1/32", true },
        { true, "10.0.0.0/33", "10.0.0.1", false },
        { true, "10.0.0.0/", "10.0.0.1", false },
        { true, "rubbish", "10.0.0.1", false },
        { true, "10.0.0.0/8", "rubbish", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool got = (cases[i].network ? bounds_network_covers : bounds_pattern_covers)(
            slice_of(cases[i].wide), slice_of(cases[i].narrow));
        if (got != cases[i].want)
            fail_msg("%s over %s: got %d", cases[i].wide, cases[i].narrow, got);
    }
}

#define LIST(...)                                                                                  \
    {                                                                                              \
        (const char *const[]){ __VA_ARGS__ },                                                      \
            sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)                               \
    }

static void each_restriction_of_the_maker_binds_the_new_key(void **state)
{
    char *none[] = { NULL }, *domains[] = { "*.a.example", "b.example", NULL };
    char *senders[] = { "x@b.example", NULL }, *networks[] = { "10.0.0.0/8", NULL };
    char *recipients[] = { "c.example", "y@d.example", NULL };
    const struct auth_key_view free_maker = {
        .domains = none, .senders = none, .recipients = none, .allow_from = none
    };
    const struct auth_key_view maker = { .domains = domains,
                                         .senders = senders,
                                         .recipients = recipients,
                                         .allow_from = networks,
                                         .rate_per_minute = 10,
                                         .recipients_per_day = 100,
                                         .message_size_bytes = 5000,
                                         .sessions = 2,
                                         .expires_s = 1000,
                                         .test = true };
    const struct auth_key_spec good = { .domains = LIST("b.example", "c.a.example"),
                                        .senders = LIST("x@b.example"),
                                        .recipients =
                                            LIST("c.example", "z@c.example", "y@d.example"),
                                        .allow_from = LIST("10.1.0.0/16"),
                                        .rate_per_minute = 10,
                                        .recipients_per_day = 100,
                                        .message_size_bytes = 5000,
                                        .sessions = 2,
                                        .expires_s = 1000,
                                        .test = true };
    struct auth_key_spec specs[18];
    struct why why = { "" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        specs[i] = good;
    specs[0].domains = (struct auth_list){ NULL, 0 };
    specs[1].domains = (struct auth_list)LIST("b.example", "victim.example");
    specs[2].senders = (struct auth_list){ NULL, 0 };
    specs[3].senders = (struct auth_list)LIST("other@b.example");
    specs[4].recipients = (struct auth_list){ NULL, 0 };
    specs[5].recipients = (struct auth_list)LIST("w@d.example");
    specs[6].allow_from = (struct auth_list){ NULL, 0 };
    specs[7].allow_from = (struct auth_list)LIST("0.0.0.0/0");
    specs[8].rate_per_minute = 11;
    specs[9].rate_per_minute = 0;
    specs[10].expires_s = 1001;
    specs[11].expires_s = 0;
    specs[12].test = false;
    specs[13].recipients_per_day = 101;
    specs[14].message_size_bytes = 5001;
    specs[15].message_size_bytes = 0;
    specs[16].sessions = 3;
    specs[17].sessions = 0;
    assert_true(bounds_permit(&maker, &good, &why));
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        why.text[0] = '\0';
        if (bounds_permit(&maker, &specs[i], &why) || why.text[0] == '\0')
            fail_msg("spec %zu: permitted, or no reason", i);
        if (!bounds_permit(&free_maker, &specs[i], &why))
            fail_msg("spec %zu: refused to an unrestricted key: %s", i, why.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_and_networks_cover_what_lies_within),
        cmocka_unit_test(each_restriction_of_the_maker_binds_the_new_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
