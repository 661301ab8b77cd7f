/* key.c - what is a key, and how is one recognised without being kept?
 *
 *     prefix  id (8)    secret (22)             check (6)
 *     lpk_    7Fq2mZ81  c4Yw0R5tKd9sVbN3xQ6uJe  0hT2Lz
 *
 * All digits are base62. The check is the CRC-32 (zlib's) of everything before it, so a typo is
 * known as one without a look at any table. Stored is BLAKE2b-256 of the whole text, keyed with the
 * pepper: the secret has 131 random bits, so a slow hash would add nothing.
 *
 * The only user of libsodium in auth/. Any thread. Work does not depend on what a text holds: a
 * text that is no key is hashed like one. */
#include "auth/auth_priv.h"

#include <sodium.h>

#include "relay/base/base64.h"

_Static_assert(KEY_TEXT_MAX + 1 == AUTH_KEY_TEXT_BYTES, "the longest key and its NUL");
_Static_assert(KEY_ID_DIGITS + 1 == AUTH_KEY_ID_BYTES, "an id and its NUL");
_Static_assert(KEY_HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");
_Static_assert(KEY_PEPPER_BYTES == crypto_generichash_KEYBYTES, "BLAKE2b's key");

/* The length of an ordinary key: so much work is done for a text that cannot be one. */
#define ORDINARY_LEN (4 + KEY_DIGITS)

/* Key texts hold letters, digits and "_" only, so nothing hashed with these words before it can be
 * mistaken for the hash of a key. */
static const char tombstone_context[] = "latchpost: revoked key";
static const char canary_context[] = "latchpost: pepper canary";
static const char proof_context[] = "latchpost: domain proof";

bool key_start(struct why *why)
{
    if (sodium_init() < 0)
        return why_set(why, "libsodium cannot be initialised: no source of random bytes");
    return true;
}

struct key_pepper *key_pepper_new(struct why *why)
{
    struct key_pepper *pepper = sodium_malloc(sizeof(*pepper));

    if (pepper == NULL)
        why_set(why, "no guarded memory for the pepper");
    else
        randombytes_buf(pepper->bytes, sizeof(pepper->bytes));
    return pepper;
}

void key_pepper_free(struct key_pepper *pepper)
{
    sodium_free(pepper); /* wipes, and accepts NULL */
}

bool key_pepper_from_hex(struct key_pepper *pepper, const char *hex)
{
    const char *end;
    size_t len;

    return sodium_hex2bin(pepper->bytes, sizeof(pepper->bytes), hex, strlen(hex), NULL, &len,
                          &end) == 0 &&
           len == sizeof(pepper->bytes) && *end == '\0';
}

static bool is_prefix_letter(char c)
{
    unsigned char digit = (unsigned char)(c - '0'), letter = (unsigned char)(c - 'a');

    return (bool)((digit < 10) | (letter < 26) | (c == '_'));
}

/* [a-z0-9_]{1,11}_ Looks at all bytes, wherever the first wrong one is, and branches on none. */
bool key_prefix_is_valid(struct slice prefix)
{
    size_t good = 0;

    if (prefix.len < 2 || prefix.len > KEY_PREFIX_MAX)
        return false;
    for (size_t i = 0; i < prefix.len; i++)
        good += is_prefix_letter(prefix.data[i]);
    return good == prefix.len && prefix.data[prefix.len - 1] == '_';
}

/* Four bits at a time: sixteen words of table instead of 256, and no start-up work. */
uint32_t key_crc32(struct slice bytes)
{
    static const uint32_t steps[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (uint8_t)bytes.data[i];
        crc = (crc >> 4) ^ steps[crc & 15];
        crc = (crc >> 4) ^ steps[crc & 15];
    }
    return crc ^ 0xffffffff;
}

bool key_parse(struct slice text, char id[static KEY_ID_DIGITS])
{
    char room[KEY_TEXT_MAX];
    char check[KEY_CHECK_DIGITS];
    bool fits = text.len >= 2 + KEY_DIGITS && text.len <= KEY_TEXT_MAX;
    size_t len = fits ? text.len : ORDINARY_LEN;

    memset(room, '0', sizeof(room)); /* a digit, so that no loop below ends early */
    if (text.len > 0)
        memcpy(room, text.data, text.len < len ? text.len : len);
    struct slice before = slice_make(room, len - KEY_CHECK_DIGITS);
    base62_format(key_crc32(before), KEY_CHECK_DIGITS, check);
    bool checks = sodium_memcmp(check, room + before.len, KEY_CHECK_DIGITS) == 0;
    bool prefixed = key_prefix_is_valid(slice_make(room, len - KEY_DIGITS));
    bool digits = base62_is_text(slice_make(room + len - KEY_DIGITS, KEY_DIGITS));
    memcpy(id, room + len - KEY_DIGITS, KEY_ID_DIGITS);
    sodium_memzero(room, sizeof(room));
    return fits && checks && prefixed && digits;
}

bool key_is_in(struct slice text)
{
    char id[KEY_ID_DIGITS];

    for (size_t end = 2 + KEY_DIGITS; end <= text.len; end++)
        for (size_t len = 2 + KEY_DIGITS; len <= KEY_TEXT_MAX && len <= end; len++)
            if (key_parse(slice_from(slice_first(text, end), end - len), id))
                return true;
    return false;
}

static void draw_digits(char *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = base62_digits[randombytes_uniform(62)];
}

void key_make(const char *prefix, char text[static AUTH_KEY_TEXT_BYTES],
              char id[static AUTH_KEY_ID_BYTES])
{
    draw_digits(id, KEY_ID_DIGITS);
    id[KEY_ID_DIGITS] = '\0';
    key_make_again(prefix, id, text);
}

void key_make_again(const char *prefix, const char *id, char text[static AUTH_KEY_TEXT_BYTES])
{
    size_t len = strlen(prefix);

    memcpy(text, prefix, len);
    memcpy(text + len, id, KEY_ID_DIGITS);
    draw_digits(text + len + KEY_ID_DIGITS, KEY_SECRET_DIGITS);
    len += KEY_ID_DIGITS + KEY_SECRET_DIGITS;
    base62_format(key_crc32(slice_make(text, len)), KEY_CHECK_DIGITS, text + len);
    text[len + KEY_CHECK_DIGITS] = '\0';
}

/* BLAKE2b of a context, which may be empty, and some bytes, keyed with the pepper. Cannot fail: the
 * sizes are right, and those are all that libsodium checks. */
static void hash_parts(const struct key_pepper *pepper, struct slice context, struct slice bytes,
                       uint8_t hash[static KEY_HASH_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, pepper->bytes, sizeof(pepper->bytes), KEY_HASH_BYTES);
    crypto_generichash_update(&state, (const unsigned char *)context.data, context.len);
    crypto_generichash_update(&state, (const unsigned char *)bytes.data, bytes.len);
    crypto_generichash_final(&state, hash, KEY_HASH_BYTES);
    sodium_memzero(&state, sizeof(state));
}

void key_hash(const struct key_pepper *pepper, struct slice text,
              uint8_t hash[static KEY_HASH_BYTES])
{
    hash_parts(pepper, slice_of(""), slice_first(text, KEY_TEXT_MAX), hash);
}

void key_tombstone(const struct key_pepper *pepper, const uint8_t hash[static KEY_HASH_BYTES],
                   uint8_t tombstone[static KEY_HASH_BYTES])
{
    hash_parts(pepper, slice_of(tombstone_context), slice_make(hash, KEY_HASH_BYTES), tombstone);
}

void key_canary(const struct key_pepper *pepper, uint8_t canary[static KEY_HASH_BYTES])
{
    hash_parts(pepper, slice_of(canary_context), slice_of(""), canary);
}

void key_domain_proof(const struct key_pepper *pepper, struct slice claim,
                      uint8_t proof[static KEY_HASH_BYTES])
{
    hash_parts(pepper, slice_of(proof_context), claim, proof);
}

bool key_hash_equal(const uint8_t a[static KEY_HASH_BYTES], const uint8_t b[static KEY_HASH_BYTES])
{
    return sodium_memcmp(a, b, KEY_HASH_BYTES) == 0;
}

void key_wipe(void *bytes, size_t len)
{
    sodium_memzero(bytes, len);
}
