/* turns.c - who is next? A line in which accounts take turns, and within an account its keys do.
 * Two rings, one in the other: accounts that have somebody waiting, and of each its keys. Whoever
 * is first in a ring goes to its end when one of its own was taken, or leaves when that was its
 * last. Parties are made when the first of a name comes and freed when the last one goes, so there
 * are never more of them than nodes that wait. */
#include "relay/base/turns.h"

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/map.h"

#define NAME_BYTES 128 /* of an account's number and a key; what is longer shares its turns */

struct account_party {
    struct list node; /* in turns->ring */
    struct list keys; /* the ring of its keys */
    size_t name_len;
    char name[];
};

struct key_party {
    struct list node; /* in its account's ring */
    struct list waiting;
    struct account_party *account;
    size_t name_len; /* as in turns->keys */
    char name[];
};

struct turns {
    struct list ring;     /* accounts */
    struct map *accounts; /* by name */
    struct map *keys;     /* by the account party's address, then the key's name */
    size_t count;
};

struct turns *turns_new(void)
{
    struct turns *turns = xcalloc(1, sizeof(*turns));

    list_init(&turns->ring);
    turns->accounts = map_new();
    turns->keys = map_new();
    return turns;
}

void turns_free(struct turns *turns)
{
    if (turns == NULL)
        return;
    turns_clear(turns);
    map_free(turns->accounts);
    map_free(turns->keys);
    free(turns);
}

size_t turns_count(const struct turns *turns)
{
    return turns->count;
}

/* --- parties ---------------------------------------------------------------------------------- */

static struct account_party *account_get(struct turns *turns, struct slice name)
{
    struct account_party *party = map_find(turns->accounts, name);

    if (party != NULL)
        return party;
    party = xmalloc(sizeof(*party) + name.len);
    list_init(&party->keys);
    party->name_len = name.len;
    if (name.len > 0)
        memcpy(party->name, name.data, name.len);
    map_put(turns->accounts, name, party);
    list_add_tail(&turns->ring, &party->node);
    return party;
}

static struct slice key_name(const struct account_party *account, struct slice key,
                             char text[static NAME_BYTES])
{
    key = slice_first(key, NAME_BYTES - sizeof(account));
    memcpy(text, &account, sizeof(account));
    if (key.len > 0)
        memcpy(text + sizeof(account), key.data, key.len);
    return slice_make(text, sizeof(account) + key.len);
}

static struct key_party *key_get(struct turns *turns, struct slice account_name, struct slice key)
{
    struct account_party *account = account_get(turns, account_name);
    char text[NAME_BYTES];
    struct slice name = key_name(account, key, text);
    struct key_party *party = map_find(turns->keys, name);

    if (party != NULL)
        return party;
    party = xmalloc(sizeof(*party) + name.len);
    list_init(&party->waiting);
    party->account = account;
    party->name_len = name.len;
    memcpy(party->name, name.data, name.len);
    map_put(turns->keys, name, party);
    list_add_tail(&account->keys, &party->node);
    return party;
}

static void move_to_end(struct list *ring, struct list *node)
{
    list_remove(node);
    list_add_tail(ring, node);
}

static void end_key_turn(struct turns *turns, struct key_party *key)
{
    if (!list_is_empty(&key->waiting)) {
        move_to_end(&key->account->keys, &key->node);
        return;
    }
    list_remove(&key->node);
    map_remove(turns->keys, slice_make(key->name, key->name_len));
    free(key);
}

static void end_account_turn(struct turns *turns, struct account_party *account)
{
    if (!list_is_empty(&account->keys)) {
        move_to_end(&turns->ring, &account->node);
        return;
    }
    list_remove(&account->node);
    map_remove(turns->accounts, slice_make(account->name, account->name_len));
    free(account);
}

/* --- the line --------------------------------------------------------------------------------- */

void turns_add(struct turns *turns, struct list *node, struct slice account, struct slice key)
{
    list_add_tail(&key_get(turns, account, key)->waiting, node);
    turns->count++;
}

void turns_add_first(struct turns *turns, struct list *node, struct slice account, struct slice key)
{
    struct key_party *party = key_get(turns, account, key);

    list_add_head(&party->waiting, node);
    list_remove(&party->node);
    list_add_head(&party->account->keys, &party->node);
    list_remove(&party->account->node);
    list_add_head(&turns->ring, &party->account->node);
    turns->count++;
}

static struct key_party *first_key(const struct turns *turns)
{
    struct account_party *account = list_entry(turns->ring.next, struct account_party, node);

    return list_entry(account->keys.next, struct key_party, node);
}

struct list *turns_first(const struct turns *turns)
{
    return list_is_empty(&turns->ring) ? NULL : first_key(turns)->waiting.next;
}

struct list *turns_take(struct turns *turns)
{
    if (list_is_empty(&turns->ring))
        return NULL;
    struct key_party *key = first_key(turns);
    struct account_party *account = key->account;
    struct list *node = list_take_head(&key->waiting);

    end_key_turn(turns, key);
    end_account_turn(turns, account);
    turns->count--;
    return node;
}

void turns_clear(struct turns *turns)
{
    for (size_t count = turns->count; count > 0; count--)
        (void)turns_take(turns);
}
