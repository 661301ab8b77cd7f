/* test_network.c - which addresses a network holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"

static void network_holds_what_it_says(void **state)
{
    static const struct {
        const char *network, *address;
        bool want;
    } cases[] = {
        { "10.0.0.0/31", "10.0.0.0", true },
        { "10.0.0.0/31", "10.0.0.1", true },
        { "10.0.0.0/31", "10.0.0.2", false },
        { "10.0.0.0/31", "::ffff:10.0.0.1", true },
        { "10.0.0.0/31", "2001:db8::1", false },
        { "0.0.0.0/0", "203.0.113.9", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "0.0.0.0/0", "::1", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "203.0.113.9", false },
        { "192.0.2.7", "192.0.2.7", true },
        { "192.0.2.7", "192.0.2.6", false },
        { "192.0.2.99/24", "192.0.2.1", true }, /* host bits are masked */
        { "192.0.2.99/24", "192.0.3.1", false },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::1", false },
        { "::ffff:10.0.0.0/120", "10.0.0.200", true },
        { "::ffff:10.0.0.0/120", "10.0.1.0", false },
        { "::ffff:0:0/96", "203.0.113.9", true },
        { "::ffff:0:0/96", "::1", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct network network;
        uint8_t address[16];
        if (!network_parse(slice_of(cases[i].network), &network) ||
            !network_parse_address(cases[i].address, address) ||
            network_holds(&network, address) != cases[i].want)
            fail_msg("row %zu: %s and %s", i, cases[i].network, cases[i].address);
    }
}

static void network_has_one_spelling(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: is none */
    } cases[] = {
        { "10.0.0.0/31", "10.0.0.0/31" },
        { "10.1.2.3/8", "10.0.0.0/8" },
        { "10.1.2.3", "10.1.2.3" },
        { "10.1.2.3/32", "10.1.2.3" },
        { "0.0.0.0/0", "0.0.0.0/0" },
        { "2001:DB8:0:0::1/32", "2001:db8::/32" },
        { "2001:db8::1", "2001:db8::1" },
        { "::ffff:192.0.2.1", "192.0.2.1" },
        { "::ffff:192.0.2.1/120", "192.0.2.0/24" },
        { "::/0", "::/0" },
        { "10.0.0.0/33", NULL },
        { "2001:db8::/129", NULL },
        { "10.0.0.0/", NULL },
        { "10.0.0.0/-1", NULL },
        { "10.0.0.0/0x8", NULL },
        { "10.0.0.0/8/8", NULL },
        { "10.0.0/8", NULL },
        { "010.0.0.1", NULL },
        { "10.0.0.256", NULL },
        { "fe80::1%eth0", NULL },
        { "example.com", NULL },
        { " 10.0.0.1", NULL },
        { "/8", NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct network network, again;
        char text[NETWORK_TEXT_BYTES] = "";
        bool ok = network_parse(slice_of(cases[i].text), &network);
        if (ok)
            network_format(&network, text);
        if (ok != (cases[i].want != NULL) || (ok && strcmp(text, cases[i].want) != 0))
            fail_msg("row %zu: \"%s\" became \"%s\"", i, cases[i].text, text);
        if (ok) {
            assert_true(network_parse(slice_of(text), &again));
            assert_memory_equal(again.address, network.address, sizeof(again.address));
            assert_int_equal(again.bits, network.bits);
            assert_int_equal(again.ipv4, network.ipv4);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_holds_what_it_says),
        cmocka_unit_test(network_has_one_spelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
