/* test_key.c - the form of a key, its check digits, its hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "auth/auth_priv.h"
#include "relay/base/base64.h"

/* Made with Python's zlib.crc32() and hashlib.blake2b(). */
static const char text[] = "lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9";
static const char hash_hex[] = "1b8cfb205713eb48dcb42319d3f72be979409df571a53752a97cda7f0be2862d";
static const char tombstone_hex[] =
    "1932d8a3b692067041bc102ab6f616d4ed50e6e96eaeb7030cf8d4ddd66c4486";

static struct key_pepper counting_pepper(void)
{
    struct key_pepper pepper;

    for (size_t i = 0; i < sizeof(pepper.bytes); i++)
        pepper.bytes[i] = (uint8_t)i;
    return pepper;
}

static void assert_hex(const uint8_t hash[static KEY_HASH_BYTES], const char *want)
{
    struct key_pepper bytes; /* a hash has as many */

    assert_true(key_pepper_from_hex(&bytes, want));
    assert_memory_equal(hash, bytes.bytes, KEY_HASH_BYTES);
}

static void crc_is_that_of_zlib(void **state)
{
    (void)state;
    assert_int_equal(key_crc32(slice_of("123456789")), 0xcbf43926);
    assert_int_equal(key_crc32(slice_of("")), 0);
}

static void parse_accepts_keys_only(void **state)
{
    static const struct {
        struct slice text;
        bool want;
    } cases[] = {
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), true },
        { SLICE("lpt_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe36RTgT"), true },
        { SLICE("a_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe3RgQS5"), true },
        { SLICE("abcdefghijk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4LFHDj"), true },
        { SLICE("zz9_0_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4X6e8M"), true },
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G8"), false },   /* one digit of the check */
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJf4O65G9"), false },   /* of the secret */
        { SLICE("lpk_7fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false },   /* case of the id */
        { SLICE("lpt_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false },   /* the prefix */
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G"), false },    /* too short */
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9\n"), false }, /* and too long */
        { SLICE(" lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false },
        { SLICE("LPK_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false },
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe\0O65G9"), false },
        { SLICE("7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false }, /* no prefix */
        { SLICE("hunter2"), false },
        { SLICE(""), false },
        { { NULL, 0 }, false },
    };
    char id[KEY_ID_DIGITS];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (key_parse(cases[i].text, id) != cases[i].want)
            fail_msg("row %zu: \"%.*s\"", i, SLICE_ARG(cases[i].text));
        if (cases[i].want)
            assert_memory_equal(id, "7Fq2mZ81", sizeof(id));
    }
}

static void parse_survives_a_long_text(void **state)
{
    char id[KEY_ID_DIGITS], *long_text = malloc(12288);

    (void)state;
    memset(long_text, 'a', 12288);
    assert_false(key_parse(slice_make(long_text, 12288), id));
    free(long_text);
}

static void a_key_is_found_within_a_text(void **state)
{
    static const struct {
        struct slice text;
        bool want;
    } cases[] = {
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), true },
        { SLICE("my key: lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9!"), true },
        { SLICE("xlpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), true },
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G90"), true },
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G8"), false },
        { SLICE("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G"), false },
        { SLICE("7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe4O65G9"), false },
        { SLICE("deploy_0123456789abcdef0123456789abcdef01234567"), false },
        { SLICE("cron"), false },
        { { NULL, 0 }, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (key_is_in(cases[i].text) != cases[i].want)
            fail_msg("row %zu: \"%.*s\"", i, SLICE_ARG(cases[i].text));
}

static void prefix_is_checked(void **state)
{
    static const struct {
        const char *prefix;
        bool want;
    } cases[] = {
        { "lpk_", true },
        { "a_", true },
        { "abcdefghijk_", true },
        { "__", true },
        { "9_", true },
        { "", false },
        { "_", false },
        { "lpk", false },
        { "LPK_", false },
        { "a-_", false },
        { "abcdefghijkl_", false },
        { "a b_", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (key_prefix_is_valid(slice_of(cases[i].prefix)) != cases[i].want)
            fail_msg("row %zu: \"%s\"", i, cases[i].prefix);
}

static void made_keys_parse_and_differ(void **state)
{
    static const char *const prefixes[] = { "lpk_", "a_", "abcdefghijk_" };
    char key[AUTH_KEY_TEXT_BYTES], other[AUTH_KEY_TEXT_BYTES];
    char id[AUTH_KEY_ID_BYTES], parsed[KEY_ID_DIGITS];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        key_make(prefixes[i], key, id);
        assert_int_equal(strlen(key), strlen(prefixes[i]) + KEY_DIGITS);
        assert_int_equal(strlen(id), KEY_ID_DIGITS);
        assert_true(key_parse(slice_of(key), parsed));
        assert_memory_equal(parsed, id, KEY_ID_DIGITS);
        key_make(prefixes[i], other, id);
        assert_string_not_equal(key, other);
    }
}

/* 62 digits in 30,000 draws: each is expected 484 times, and 300 is 8 standard deviations off. */
static void all_digits_are_drawn_alike(void **state)
{
    char key[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
    unsigned drawn[256] = { 0 };

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        key_make("lpk_", key, id);
        for (size_t at = 4; at < 4 + KEY_ID_DIGITS + KEY_SECRET_DIGITS; at++)
            drawn[(uint8_t)key[at]]++;
    }
    for (size_t i = 0; i < 62; i++)
        if (drawn[(uint8_t)base62_digits[i]] < 300 || drawn[(uint8_t)base62_digits[i]] > 680)
            fail_msg("'%c' came %u times", base62_digits[i], drawn[(uint8_t)base62_digits[i]]);
}

static void hashes_are_keyed_blake2b(void **state)
{
    struct key_pepper pepper = counting_pepper();
    uint8_t hash[KEY_HASH_BYTES], tombstone[KEY_HASH_BYTES], canary[KEY_HASH_BYTES];

    (void)state;
    key_hash(&pepper, slice_of(text), hash);
    assert_hex(hash, hash_hex);
    key_tombstone(&pepper, hash, tombstone);
    assert_hex(tombstone, tombstone_hex);
    key_canary(&pepper, canary);
    assert_false(key_hash_equal(canary, hash));
    pepper.bytes[31] ^= 1;
    key_hash(&pepper, slice_of(text), tombstone);
    assert_false(key_hash_equal(hash, tombstone));
}

static void pepper_in_hex_has_64_digits(void **state)
{
    static const struct {
        const char *hex;
        bool want;
    } cases[] = {
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", true },
        { "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", true },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1", false },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e", false },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00", false },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g", false },
        { "", false },
    };
    struct key_pepper want = counting_pepper(), got;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (key_pepper_from_hex(&got, cases[i].hex) != cases[i].want)
            fail_msg("row %zu: \"%s\"", i, cases[i].hex);
        if (cases[i].want)
            assert_memory_equal(got.bytes, want.bytes, sizeof(got.bytes));
    }
}

static void new_peppers_differ(void **state)
{
    struct why why;
    struct key_pepper *a = key_pepper_new(&why), *b = key_pepper_new(&why);

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_memory_not_equal(a->bytes, b->bytes, sizeof(a->bytes));
    key_pepper_free(a);
    key_pepper_free(b);
    key_pepper_free(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_that_of_zlib),
        cmocka_unit_test(parse_accepts_keys_only),
        cmocka_unit_test(parse_survives_a_long_text),
        cmocka_unit_test(a_key_is_found_within_a_text),
        cmocka_unit_test(prefix_is_checked),
        cmocka_unit_test(made_keys_parse_and_differ),
        cmocka_unit_test(all_digits_are_drawn_alike),
        cmocka_unit_test(hashes_are_keyed_blake2b),
        cmocka_unit_test(pepper_in_hex_has_64_digits),
        cmocka_unit_test(new_peppers_differ),
    };
    struct why why;

    if (!key_start(&why))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
