/* grant.c - may whoever holds this grant send as this address, to that recipient?
 * A grant is a picture of a key taken when it, its account or the account's domains last changed.
 * It never changes but for one flag, which says that a newer picture exists; so it is read without
 * a lock, by any thread, for as long as a reference is held. It borrows what is fixed in the key,
 * which lives until auth_close(). */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

struct auth_grant *grant_new(struct key *key, const struct secret *secret,
                             struct pattern_set *verified, atomic_size_t *living)
{
    struct auth_grant *grant = xcalloc(1, sizeof(*grant));

    atomic_init(&grant->refs, 1);
    atomic_init(&grant->outdated, false);
    grant->living = living;
    grant->key = key;
    grant->verified = pattern_set_ref(verified);
    grant->secret = secret->number;
    grant->until_s = secret->until_s;
    grant->erased = secret->erased;
    grant->state = key->state;
    grant->suspended = account_is_suspended(key->account);
    atomic_fetch_add(living, 1);
    return grant;
}

struct auth_grant *auth_grant_ref(struct auth_grant *grant)
{
    atomic_fetch_add_explicit(&grant->refs, 1, memory_order_relaxed);
    return grant;
}

void auth_grant_unref(struct auth_grant *grant)
{
    if (grant == NULL || atomic_fetch_sub_explicit(&grant->refs, 1, memory_order_acq_rel) > 1)
        return;
    atomic_fetch_sub(grant->living, 1);
    pattern_set_unref(grant->verified);
    free(grant);
}

void grant_outdate(struct auth_grant *grant)
{
    atomic_store(&grant->outdated, true);
}

static bool is_expired(const struct auth_grant *grant, int64_t now_s)
{
    return grant->key->expires_s != 0 && now_s >= grant->key->expires_s;
}

static bool is_replaced(const struct auth_grant *grant, int64_t now_s)
{
    return grant->erased || (grant->until_s != 0 && now_s >= grant->until_s);
}

bool auth_grant_is_current(const struct auth_grant *grant, int64_t now_s)
{
    return !atomic_load(&grant->outdated) && !is_expired(grant, now_s) &&
           !is_replaced(grant, now_s);
}

enum auth_verdict grant_verdict(const struct auth_grant *grant, int64_t now_s)
{
    if (grant->state == KEY_REVOKED)
        return AUTH_REVOKED;
    if (is_replaced(grant, now_s))
        return AUTH_REPLACED;
    if (is_expired(grant, now_s))
        return AUTH_EXPIRED;
    if (grant->state == KEY_HELD)
        return AUTH_HELD;
    return grant->suspended ? AUTH_SUSPENDED : AUTH_OK;
}

/* A key that names networks asks where its holder is; whoever comes through a Unix socket cannot
 * say, and is refused. */
bool grant_permits_address(const struct auth_grant *grant, const struct auth_peer *peer)
{
    size_t count = grant->key->rules[RULE_NETWORK].count;

    for (size_t i = 0; peer->has_address && i < count; i++)
        if (network_holds(&grant->key->networks[i], peer->address))
            return true;
    return count == 0;
}

const char *auth_grant_key_id(const struct auth_grant *grant)
{
    return grant->key->id;
}

const char *auth_grant_account(const struct auth_grant *grant)
{
    return grant->key->account->handle;
}

bool auth_grant_is_test(const struct auth_grant *grant)
{
    return grant->key->test;
}

bool auth_grant_is_former(const struct auth_grant *grant)
{
    return grant->until_s != 0;
}

bool auth_grant_has(const struct auth_grant *grant, unsigned scopes)
{
    return (grant->key->scopes & scopes) == scopes;
}

uint64_t auth_grant_message_size(const struct auth_grant *grant)
{
    return grant->key->message_size_bytes;
}

static bool any_covers(const struct texts *patterns, struct slice domain)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (pattern_covers(slice_of(patterns->items[i]), domain))
            return true;
    return false;
}

/* Is "local@domain" this entry? A local part may hold an "@" in quotes, a domain none, so the
 * lengths say where the entry must have its own. */
static bool is_address(struct slice entry, struct slice local, struct slice domain)
{
    return entry.len == local.len + 1 + domain.len && entry.data[local.len] == '@' &&
           slice_equal(slice_first(entry, local.len), local) &&
           slice_equal_nocase(slice_from(entry, local.len + 1), domain);
}

static bool any_is_address(const struct texts *addresses, struct slice local, struct slice domain)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (is_address(slice_of(addresses->items[i]), local, domain))
            return true;
    return false;
}

bool auth_grant_permits_sender(const struct auth_grant *grant, struct slice local,
                               struct slice domain)
{
    const struct texts *domains = &grant->key->rules[RULE_DOMAIN];
    const struct texts *senders = &grant->key->rules[RULE_SENDER];

    if (!pattern_set_covers(grant->verified, domain))
        return false;
    if (domains->count > 0 && !any_covers(domains, domain))
        return false;
    return senders->count == 0 || any_is_address(senders, local, domain);
}

bool auth_grant_permits_recipient(const struct auth_grant *grant, struct slice local,
                                  struct slice domain)
{
    const struct texts *recipients = &grant->key->rules[RULE_RECIPIENT];

    /* The list holds both; a pattern has no "@" and so is never taken for an address. */
    return recipients->count == 0 || any_is_address(recipients, local, domain) ||
           any_covers(recipients, domain);
}
