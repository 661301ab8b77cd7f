/* table.c - which key has this id, and what may it do now?
 * Many readers (each login on each worker), one writer (the administration's thread), which changes
 * it only after the change was committed to keys.db.
 *
 * The lock is split in slots. A reader takes the slot of the CPU it runs on, so readers share no
 * cache line; the writer, who comes rarely, takes them all. What a reader takes away is a copy of
 * the hash and a reference to a grant, both made under the lock; the hashing and comparing happens
 * outside. New grants are built before the lock is taken, so that it is held only for the exchange
 * of pointers.
 *
 * Keys and accounts are never removed before the end: a revoked key stays, to be recognised. */
#include "auth/auth_priv.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/map.h"

#define SLOTS 32

struct slot {
    pthread_rwlock_t lock;
    char apart[128 - sizeof(pthread_rwlock_t)]; /* no two locks on one cache line */
};

struct table {
    struct slot slots[SLOTS];
    struct map *keys_by_id;     /* under the lock, like the next two */
    struct key **keys;          /* oldest first */
    size_t key_count, key_room; /* allocated; administration's thread, like all that follows */
    struct map *accounts_by_handle;
    struct account **accounts;
    size_t account_count;
    atomic_size_t grants_living; /* any thread */
};

struct table *table_new(void)
{
    struct table *table = xcalloc(1, sizeof(*table));
    pthread_rwlockattr_t attributes;

    /* A stream of logins must not keep a revocation waiting. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    for (size_t i = 0; i < SLOTS; i++)
        pthread_rwlock_init(&table->slots[i].lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    table->keys_by_id = map_new();
    table->accounts_by_handle = map_new();
    return table;
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->key_count * KEY_SECRETS; i++) {
        struct secret *secret = &table->keys[i / KEY_SECRETS]->secrets[i % KEY_SECRETS];
        auth_grant_unref(secret->grant);
        secret->grant = NULL;
    }
    assert(atomic_load(&table->grants_living) == 0); /* a grant points to its key */
    for (size_t i = 0; i < table->key_count; i++)
        key_free(table->keys[i]);
    for (size_t i = 0; i < table->account_count; i++)
        account_free(table->accounts[i]);
    for (size_t i = 0; i < SLOTS; i++)
        pthread_rwlock_destroy(&table->slots[i].lock);
    map_free(table->keys_by_id);
    map_free(table->accounts_by_handle);
    free(table->keys);
    free(table->accounts);
    free(table);
}

static pthread_rwlock_t *lock_to_read(struct table *table)
{
    int cpu = sched_getcpu(); /* negative when the kernel does not say */
    pthread_rwlock_t *lock = &table->slots[cpu < 0 ? 0 : (size_t)cpu % SLOTS].lock;

    pthread_rwlock_rdlock(lock);
    return lock;
}

static void lock_to_write(struct table *table)
{
    for (size_t i = 0; i < SLOTS; i++)
        pthread_rwlock_wrlock(&table->slots[i].lock);
}

static void unlock_written(struct table *table)
{
    for (size_t i = SLOTS; i > 0; i--)
        pthread_rwlock_unlock(&table->slots[i - 1].lock);
}

/* --- readers ---------------------------------------------------------------------------------- */

/* is_own: else the secret stands in for what is missing. What depends on that is chosen by an
 * index, since a branch would be predicted well for the one and badly for the other, which takes
 * longer. */
static void fill_hit(struct table_hit *hit, size_t i, const struct secret *secret, bool is_own)
{
    static const uint8_t nothing[KEY_HASH_BYTES] = { 0 };
    const uint8_t *const hashes[] = { nothing, secret->hash };
    struct auth_grant *held = secret->grant == NULL ? NULL : auth_grant_ref(secret->grant);
    struct auth_grant *const grants[] = { NULL, held };

    memcpy(hit->secrets[i].hash, hashes[is_own], KEY_HASH_BYTES);
    hit->secrets[i].held = held;
    hit->secrets[i].grant = grants[is_own];
}

/* The same is done whether the key is there or not, and whether it has one secret or two: for the
 * key stands any other, by the id that was asked for, and for the second secret the first. They are
 * compared, copied and counted like those that are there. Else the time would tell which ids exist,
 * if only by the memory that is touched. */
void table_lookup(struct table *table, struct slice id, struct table_hit *hit)
{
    uint64_t number = 0;

    memcpy(&number, id.data, id.len < sizeof(number) ? id.len : sizeof(number));
    *hit = (struct table_hit){ 0 };
    pthread_rwlock_t *lock = lock_to_read(table);
    const struct key *found = map_find(table->keys_by_id, id);
    for (size_t i = 0; i < KEY_SECRETS && table->key_count > 0; i++) {
        const struct key *const keys[] = { table->keys[number % table->key_count], found };
        const struct key *key = keys[found != NULL];
        const size_t places[] = { SECRET_CURRENT, i };
        bool is_it = slice_equal(slice_of(key->id), id), has_it = key->secrets[i].grant != NULL;
        fill_hit(hit, i, &key->secrets[places[has_it]], is_it & has_it);
    }
    pthread_rwlock_unlock(lock);
}

void table_let_go(struct table_hit *hit)
{
    for (size_t i = 0; i < KEY_SECRETS; i++)
        auth_grant_unref(hit->secrets[i].held);
    key_wipe(hit, sizeof(*hit));
}

struct auth_grant *table_grant_of(struct table *table, struct key *key, unsigned secret)
{
    struct auth_grant *found = NULL;
    pthread_rwlock_t *lock = lock_to_read(table);

    for (size_t i = 0; i < KEY_SECRETS; i++) {
        struct auth_grant *grant = key->secrets[i].grant;
        if (grant != NULL && grant->secret == secret)
            found = auth_grant_ref(grant);
    }
    pthread_rwlock_unlock(lock);
    return found;
}

/* --- the writer ------------------------------------------------------------------------------- */

/* It alone changes the map, so it may look without the lock. */
struct key *table_find_key(const struct table *table, const char *id)
{
    return map_find(table->keys_by_id, slice_of(id));
}

struct key *table_key(const struct table *table, size_t i)
{
    return i < table->key_count ? table->keys[i] : NULL;
}

struct account *table_find_account(const struct table *table, const char *handle)
{
    return map_find(table->accounts_by_handle, slice_of(handle));
}

struct account *table_account(const struct table *table, size_t i)
{
    return i < table->account_count ? table->accounts[i] : NULL;
}

void table_add_account(struct table *table, struct account *account)
{
    table->accounts =
        xrealloc(table->accounts, (table->account_count + 1) * sizeof(*table->accounts));
    table->accounts[table->account_count++] = account;
    map_put(table->accounts_by_handle, slice_of(account->handle), account);
}

/* An array that grows by powers of two needs no room of its own to remember: it is full whenever
 * its count is one. */
static void account_add_key(struct account *account, struct key *key)
{
    size_t count = account->key_count;

    if ((count & (count - 1)) == 0)
        account->keys =
            xrealloc(account->keys, (count == 0 ? 1 : count * 2) * sizeof(*account->keys));
    account->keys[account->key_count++] = key;
}

void table_load_key(struct table *table, struct key *key, struct account *account)
{
    key->account = account;
    account_add_key(account, key);
    if (table->key_count == table->key_room) {
        table->key_room = table->key_room == 0 ? 64 : table->key_room * 2;
        table->keys = xrealloc(table->keys, table->key_room * sizeof(*table->keys));
    }
    key->place = table->key_count;
    table->keys[table->key_count++] = key;
    map_put(table->keys_by_id, slice_of(key->id), key);
}

static struct pattern_set *verified_domains(const struct account *account)
{
    const char **patterns = xcalloc(account->domain_count + 1, sizeof(*patterns));
    size_t count = 0;

    for (size_t i = 0; i < account->domain_count; i++)
        if (account->domains[i].verified)
            patterns[count++] = account->domains[i].pattern;
    struct pattern_set *set = pattern_set_new(patterns, count);
    free(patterns);
    return set;
}

/* The grants that a key has by what it and its account say now; NULL where there is no secret. */
struct grants {
    struct auth_grant *of[KEY_SECRETS];
};

static struct grants make_grants(struct table *table, struct key *key)
{
    struct grants grants = { { NULL } };

    for (size_t i = 0; i < KEY_SECRETS; i++)
        if (key->secrets[i].number != 0)
            grants.of[i] =
                grant_new(key, &key->secrets[i], key->account->verified, &table->grants_living);
    return grants;
}

void table_add_key(struct table *table, struct key *key, struct account *account)
{
    key->account = account;
    struct grants fresh = make_grants(table, key);
    for (size_t i = 0; i < KEY_SECRETS; i++)
        key->secrets[i].grant = fresh.of[i];
    lock_to_write(table);
    table_load_key(table, key, account);
    unlock_written(table);
}

/* Under the lock: what was in force is in `fresh` afterwards, and out of date. */
static void exchange_grants(struct key *key, struct grants *fresh)
{
    for (size_t i = 0; i < KEY_SECRETS; i++) {
        struct auth_grant *old = key->secrets[i].grant;
        key->secrets[i].grant = fresh->of[i];
        fresh->of[i] = old;
        if (old != NULL)
            grant_outdate(old);
    }
}

static void unref_grants(const struct grants *grants)
{
    for (size_t i = 0; i < KEY_SECRETS; i++)
        auth_grant_unref(grants->of[i]);
}

/* All of a secret but what is under the lock. */
static void describe_secret(struct secret *secret, const struct secret *next)
{
    secret->number = next->number;
    memcpy(secret->tail, next->tail, sizeof(secret->tail));
    secret->made_s = next->made_s;
    secret->until_s = next->until_s;
    secret->erased = next->erased;
}

void table_refresh_key(struct table *table, struct key *key, const struct secret *next)
{
    for (size_t i = 0; next != NULL && i < KEY_SECRETS; i++)
        describe_secret(&key->secrets[i], &next[i]);
    struct grants fresh = make_grants(table, key);
    lock_to_write(table);
    exchange_grants(key, &fresh);
    for (size_t i = 0; next != NULL && i < KEY_SECRETS; i++)
        memcpy(key->secrets[i].hash, next[i].hash, KEY_HASH_BYTES);
    unlock_written(table);
    unref_grants(&fresh);
}

void table_refresh_account(struct table *table, struct account *account)
{
    struct grants *fresh = xcalloc(account->key_count + 1, sizeof(*fresh));

    pattern_set_unref(account->verified); /* the grants that are still out hold it too */
    account->verified = verified_domains(account);
    for (size_t i = 0; i < account->key_count; i++)
        fresh[i] = make_grants(table, account->keys[i]);
    lock_to_write(table);
    for (size_t i = 0; i < account->key_count; i++)
        exchange_grants(account->keys[i], &fresh[i]);
    unlock_written(table);
    for (size_t i = 0; i < account->key_count; i++)
        unref_grants(&fresh[i]);
    free(fresh);
}
