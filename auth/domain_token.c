/* domain_token.c - what must stand in the DNS to prove that an account has a domain?
 * Derived from the pepper, the account and the pattern, so nothing is stored, asking twice gives
 * the same text, and what one account was told to publish is worth nothing to another one. 160 bits
 * of the hash are told: enough, and short enough for any DNS panel. Any thread. */
#include "auth/auth_priv.h"

#include <assert.h>
#include <stdio.h>

#define TOKEN_PREFIX "latchpost-verification="
#define TOKEN_BYTES  20

_Static_assert(sizeof(TOKEN_PREFIX) + 2 * TOKEN_BYTES <= AUTH_DOMAIN_TOKEN_BYTES, "it fits");

void auth_domain_token(const struct auth *auth, const char *account, const char *pattern,
                       char token[static AUTH_DOMAIN_TOKEN_BYTES])
{
    char claim[AUTH_ACCOUNT_MAX + 1 + PATTERN_MAX + 1];
    uint8_t proof[KEY_HASH_BYTES];

    /* Neither holds a blank, so two different pairs are two different texts. */
    int len = snprintf(claim, sizeof(claim), "%s %s", account, pattern);
    assert((size_t)len < sizeof(claim)); /* both were checked when they were added */
    key_domain_proof(auth->pepper, slice_make(claim, (size_t)len), proof);
    len = snprintf(token, AUTH_DOMAIN_TOKEN_BYTES, TOKEN_PREFIX);
    for (size_t i = 0; i < TOKEN_BYTES; i++)
        snprintf(token + len + 2 * i, 3, "%02x", proof[i]);
}
