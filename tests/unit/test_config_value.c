/* test_config_value.c - values of the configuration, each type by rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/config_value.h"

static void each_type_takes_its_own_texts_and_no_others(void **state)
{
    static const struct {
        enum config_type type;
        const char *text;
        bool want;
    } rows[] = {
        { CONFIG_TEXT, "any thing", true },
        { CONFIG_TEXT, "", true },
        { CONFIG_TEXT, "a\nb", false },
        { CONFIG_TEXT, "a\x1b[2J", false },
        { CONFIG_NAME, "relay.example", true },
        { CONFIG_NAME, "192.0.2.1", true },
        { CONFIG_NAME, "re lay", false },
        { CONFIG_NAME, "a\r\nb", false },
        { CONFIG_NAME, "", false },
        { CONFIG_NAME, "*", false },
        { CONFIG_BOOL, "true", true },
        { CONFIG_BOOL, "off", true },
        { CONFIG_BOOL, "1", false },
        { CONFIG_BOOL, "TRUE", false },
        { CONFIG_COUNT, "0", true },
        { CONFIG_COUNT, "4294967295", true },
        { CONFIG_COUNT, "4294967296", false },
        { CONFIG_COUNT, "-1", false },
        { CONFIG_COUNT, "1e3", false },
        { CONFIG_COUNT, "", false },
        { CONFIG_PORT, "65535", true },
        { CONFIG_PORT, "65536", false },
        { CONFIG_PORT, "0", false },
        { CONFIG_SIZE, "25M", true },
        { CONFIG_SIZE, "25m", true },
        { CONFIG_SIZE, "1T", false },
        { CONFIG_SIZE, "M", false },
        { CONFIG_SIZE, "99999999999999999999", false },
        { CONFIG_DURATION, "4d", true },
        { CONFIG_DURATION, "0", true },
        { CONFIG_DURATION, "250ms", true },
        { CONFIG_DURATION, "5", false },
        { CONFIG_DURATION, "2x", false },
        { CONFIG_RATE, "20/min", true },
        { CONFIG_RATE, "5/s", true },
        { CONFIG_RATE, "0", true },
        { CONFIG_RATE, "20", false },
        { CONFIG_RATE, "20/day", false },
        { CONFIG_TLS, "starttls", true },
        { CONFIG_TLS, "ssl", false },
        { CONFIG_LEVEL, "debug", true },
        { CONFIG_LEVEL, "loud", false },
        { CONFIG_FORM, "json", true },
        { CONFIG_FORM, "xml", false },
        { CONFIG_DOUBT, "retry", true },
        { CONFIG_DOUBT, "hold", true },
        { CONFIG_DOUBT, "drop", false },
        { CONFIG_PREFIX, "lpk_", true },
        { CONFIG_PREFIX, "lpk", false },
        { CONFIG_PREFIX, "_", false },
        { CONFIG_PREFIX, "LPK_", false },
        { CONFIG_PREFIX, "abcdefghijk_", true },
        { CONFIG_PREFIX, "abcdefghijkl_", false },
        { CONFIG_ADDRESS, "*", true },
        { CONFIG_ADDRESS, "::1", true },
        { CONFIG_ADDRESS, "localhost", false },
        { CONFIG_ADDRESS, "127.0.0.256", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (config_value_check(rows[i].type, slice_of(rows[i].text)) != rows[i].want)
            fail_msg("type %d, \"%s\": want %d", (int)rows[i].type, rows[i].text, rows[i].want);
}

static void units_are_what_they_say(void **state)
{
    uint64_t value;
    unsigned rate;

    (void)state;
    assert_true(config_parse_size(SLICE("64K"), &value));
    assert_int_equal(value, 65536);
    assert_true(config_parse_size(SLICE("1G"), &value));
    assert_int_equal(value, 1073741824);
    assert_true(config_parse_duration(SLICE("2m"), &value));
    assert_int_equal(value, 120000);
    assert_true(config_parse_duration(SLICE("4d"), &value));
    assert_int_equal(value, 345600000);
    assert_true(config_parse_rate(SLICE("5/s"), &rate));
    assert_int_equal(rate, 300);
    assert_true(config_parse_rate(SLICE("1/h"), &rate));
    assert_int_equal(rate, 1); /* rounded up: never to "no limit" */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_takes_its_own_texts_and_no_others),
        cmocka_unit_test(units_are_what_they_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
