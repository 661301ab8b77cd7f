/* fuzz_key.c - any bytes as a key, as scopes, as a network, as a domain pattern.
 * What is accepted must come back the same when it is written and read again. */
#include <assert.h>

#include "auth/auth_priv.h"
#include "relay/base/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_key(struct slice text)
{
    char id[KEY_ID_DIGITS], check[KEY_CHECK_DIGITS];

    if (!key_parse(text, id))
        return;
    assert(text.len <= KEY_TEXT_MAX && base62_is_text(slice_make(id, sizeof(id))));
    base62_format(key_crc32(slice_first(text, text.len - KEY_CHECK_DIGITS)), KEY_CHECK_DIGITS,
                  check);
    assert(memcmp(check, text.data + text.len - KEY_CHECK_DIGITS, KEY_CHECK_DIGITS) == 0);
}

static void try_network(struct slice text)
{
    struct network network, again;
    char spelled[NETWORK_TEXT_BYTES];

    if (!network_parse(text, &network))
        return;
    assert(network_holds(&network, network.address));
    network_format(&network, spelled);
    assert(network_parse(slice_of(spelled), &again));
    assert(memcmp(again.address, network.address, sizeof(again.address)) == 0);
    assert(again.bits == network.bits && again.ipv4 == network.ipv4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    unsigned scopes;
    struct why why;

    if (!key_start(&why))
        return 0;
    try_key(text);
    try_network(text);
    if (auth_scopes_parse(text, &scopes))
        assert(scopes != 0 && (scopes & ~(unsigned)SCOPES_ALL) == 0);
    if (pattern_is_valid(text))
        assert(text.len <= PATTERN_MAX && pattern_covers(text, text));
    return 0;
}
