/* digest.c - are these the same bytes as those of another time? (libsodium's generic hash) */
#include "relay/base/digest.h"

#include <stdlib.h>

#include <sodium.h>

#include "relay/base/alloc.h"

struct digest {
    crypto_generichash_state *state; /* wants more alignment than malloc() promises */
    char room[sizeof(crypto_generichash_state) + 64];
};

_Static_assert(DIGEST_BYTES == crypto_generichash_BYTES, "the size that libsodium recommends");

struct digest *digest_new(void)
{
    struct digest *digest = xcalloc(1, sizeof(*digest));
    size_t beyond = (uintptr_t)digest->room % 64;

    digest->state = (void *)(digest->room + (64 - beyond) % 64);
    crypto_generichash_init(digest->state, NULL, 0, DIGEST_BYTES);
    return digest;
}

void digest_free(struct digest *digest)
{
    free(digest);
}

void digest_add(struct digest *digest, struct slice bytes)
{
    if (bytes.len > 0)
        crypto_generichash_update(digest->state, (const unsigned char *)bytes.data, bytes.len);
}

void digest_add_part(struct digest *digest, struct slice part)
{
    uint64_t len = part.len;

    digest_add(digest, slice_make(&len, sizeof(len)));
    digest_add(digest, part);
}

void digest_finish(struct digest *digest, uint8_t fingerprint[static DIGEST_BYTES])
{
    crypto_generichash_final(digest->state, fingerprint, DIGEST_BYTES);
}
