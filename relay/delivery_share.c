/* delivery_share.c - how much of delivery's memory may one key, one account, one upstream take?
 * As much as is left free, times a factor. So whoever is alone gets a fixed part of the room, many
 * get less each, and something is always left for one that comes new, without anybody counting how
 * many there are. A key may have what is free, an account three times that, an upstream, where
 * there are several, seven times: a key alone then takes half of the room, an account three
 * quarters, a slow upstream's mail seven eighths. Where there are several upstreams, a key may have
 * at one of them half of what is free, a third of the room when it is alone: so a slow one never
 * has all that the key may have, and its fresh mail for another finds room. (In the queue, where a
 * lane knows no routes, what waits behind mail for the slow one waits.) Reserved for a fresh
 * message counts as taken. Belongs to the loop's thread. */
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/delivery_priv.h"

#define KEY_FACTOR      1
#define ACCOUNT_FACTOR  3
#define UPSTREAM_FACTOR 7
#define STAY_DIVISOR    2

struct stay { /* what a key has at one upstream */
    const struct berth *berth;
    size_t messages, bytes;
};

struct share {
    struct share *account; /* of a key; NULL: it is an account's */
    size_t messages, bytes;
    struct stay *stays; /* of a key; as many as upstreams that it met, few */
    size_t stay_count;
    size_t uses; /* it goes with the last: messages, of an account its keys, too */
    char *name;  /* of the key or account */
};

struct shares {
    struct map *accounts; /* by name */
    struct map *keys;     /* by the account's share and the name */
};

struct shares *shares_new(void)
{
    struct shares *shares = xcalloc(1, sizeof(*shares));

    shares->accounts = map_new();
    shares->keys = map_new();
    return shares;
}

void shares_free(struct shares *shares)
{
    if (shares == NULL)
        return;
    assert(map_count(shares->accounts) == 0 && map_count(shares->keys) == 0);
    map_free(shares->accounts);
    map_free(shares->keys);
    free(shares);
}

/* --- finding and letting go ------------------------------------------------------------------- */

struct key_place { /* how a key's share is found */
    const struct share *account;
    char name[sizeof(((struct queue_message *)NULL)->key_id)];
};

static struct slice place_of(const struct share *account, const char *key, struct key_place *place)
{
    *place = (struct key_place){ .account = account };
    memcpy(place->name, key, strlen(key));
    return slice_make(place, sizeof(*place));
}

static struct slice account_name(const struct queue_message *message)
{
    return slice_of(message->account == NULL ? "" : message->account);
}

static struct share *find_key(const struct shares *shares, const struct share *account,
                              const char *key)
{
    struct key_place place;

    return account == NULL ? NULL : map_find(shares->keys, place_of(account, key, &place));
}

static struct share *new_share(struct map *map, struct slice place, struct share *account,
                               struct slice name)
{
    struct share *share = xcalloc(1, sizeof(*share));

    share->account = account;
    share->name = slice_dup(name);
    map_put(map, place, share);
    if (account != NULL)
        account->uses++;
    return share;
}

/* One use less, of a key's share; its account's goes with the last key's. */
static void unuse(struct shares *shares, struct share *share)
{
    struct share *account;
    struct key_place place;

    for (; share != NULL && --share->uses == 0; share = account) {
        account = share->account;
        if (account == NULL)
            map_remove(shares->accounts, slice_of(share->name));
        else
            map_remove(shares->keys, place_of(account, share->name, &place));
        free(share->stays);
        free(share->name);
        free(share);
    }
}

struct share *share_take(struct delivery *delivery, const struct queue_message *message,
                         size_t bytes)
{
    struct shares *shares = delivery->shares;
    struct slice name = account_name(message);
    struct share *account = map_find(shares->accounts, name);
    struct key_place place;

    if (account == NULL)
        account = new_share(shares->accounts, name, NULL, name);
    struct share *key = find_key(shares, account, message->key_id);
    if (key == NULL)
        key = new_share(shares->keys, place_of(account, message->key_id, &place), account,
                        slice_of(message->key_id));
    delivery->messages++;
    delivery->bytes += bytes;
    for (struct share *share = key; share != NULL; share = share->account) {
        share->messages++;
        share->bytes += bytes;
    }
    key->uses++;
    return key;
}

void share_give(struct delivery *delivery, struct share *key, size_t bytes)
{
    delivery->messages--;
    delivery->bytes -= bytes;
    for (struct share *share = key; share != NULL; share = share->account) {
        share->messages--;
        share->bytes -= bytes;
    }
    unuse(delivery->shares, key);
}

/* A berth goes with its fleet, and then nothing is at it any more: such a place is taken again. */
static struct stay *find_stay(struct share *key, const struct berth *berth)
{
    struct stay *left = NULL;

    for (size_t i = 0; i < key->stay_count; i++) {
        if (key->stays[i].berth == berth)
            return &key->stays[i];
        if (key->stays[i].messages == 0)
            left = &key->stays[i];
    }
    if (left == NULL) {
        key->stays = xrealloc(key->stays, (key->stay_count + 1) * sizeof(*key->stays));
        left = &key->stays[key->stay_count++];
    }
    *left = (struct stay){ .berth = berth };
    return left;
}

void berth_take(struct berth *berth, struct share *key, size_t bytes)
{
    struct stay *stay = find_stay(key, berth);

    berth->messages++;
    berth->bytes += bytes;
    stay->messages++;
    stay->bytes += bytes;
}

void berth_give(struct berth *berth, struct share *key, size_t bytes)
{
    struct stay *stay = find_stay(key, berth);

    berth->messages--;
    berth->bytes -= bytes;
    stay->messages--;
    stay->bytes -= bytes;
}

/* --- limits ----------------------------------------------------------------------------------- */

static bool is_within(size_t messages, size_t bytes, size_t factor, const struct room *room)
{
    return messages < factor * room->messages && bytes < factor * room->bytes;
}

bool share_has_room(const struct delivery *delivery, const struct queue_message *message,
                    const struct room *room)
{
    const struct share *account = map_find(delivery->shares->accounts, account_name(message));
    const struct share *key = find_key(delivery->shares, account, message->key_id);

    if (account != NULL && !is_within(account->messages, account->bytes, ACCOUNT_FACTOR, room))
        return false;
    return key == NULL ? room->messages > 0 && room->bytes > 0
                       : is_within(key->messages, key->bytes, KEY_FACTOR, room);
}

static bool stay_is_within(const struct stay *stay, const struct room *room)
{
    return STAY_DIVISOR * stay->messages < room->messages &&
           STAY_DIVISOR * stay->bytes < room->bytes;
}

static bool key_has_room_at(const struct share *key, const struct berth *berth,
                            const struct room *room)
{
    for (size_t i = 0; key != NULL && i < key->stay_count; i++)
        if (key->stays[i].berth == berth)
            return stay_is_within(&key->stays[i], room);
    return true;
}

/* With one upstream there is no mail for another that it could keep waiting. */
static bool all_have_room_at(const struct berth *berth, const struct room *room)
{
    return berth->fleet->count < 2 ||
           is_within(berth->messages, berth->bytes, UPSTREAM_FACTOR, room);
}

bool berth_has_room(const struct berth *berth, const struct share *key, const struct room *room)
{
    return all_have_room_at(berth, room) &&
           (berth->fleet->count < 2 || key_has_room_at(key, berth, room));
}

bool berth_has_room_for(const struct delivery *delivery, const struct queue_message *message,
                        const struct berth *berth, const struct room *room)
{
    const struct share *account = map_find(delivery->shares->accounts, account_name(message));

    return berth_has_room(berth, find_key(delivery->shares, account, message->key_id), room);
}

/* --- who has enough --------------------------------------------------------------------------- */

struct collection {
    struct room room;
    const struct fleet *fleet;
    struct queue_pass *passes;
    size_t count, capacity;
};

static struct queue_pass *add_pass(struct collection *collection)
{
    if (collection->count == collection->capacity) {
        collection->capacity = collection->capacity == 0 ? 16 : collection->capacity * 2;
        collection->passes =
            xrealloc(collection->passes, collection->capacity * sizeof(*collection->passes));
    }
    collection->passes[collection->count] = (struct queue_pass){ 0 };
    return &collection->passes[collection->count++];
}

static void collect_stays(struct collection *collection, const struct share *key)
{
    for (size_t i = 0; i < key->stay_count; i++) {
        const struct stay *stay = &key->stays[i];

        if (stay->messages == 0 || stay->berth->fleet != collection->fleet ||
            stay_is_within(stay, &collection->room))
            continue;
        struct queue_pass *pass = add_pass(collection);
        pass->account = key->account->name;
        pass->key = key->name;
        pass->upstream = upstream_name(stay->berth->upstream);
    }
}

static void collect(void *owner, struct slice place, void *value)
{
    struct collection *collection = owner;
    const struct share *share = value;

    (void)place;
    if (is_within(share->messages, share->bytes,
                  share->account == NULL ? ACCOUNT_FACTOR : KEY_FACTOR, &collection->room)) {
        if (share->account != NULL && collection->fleet->count > 1)
            collect_stays(collection, share);
        return;
    }
    struct queue_pass *pass = add_pass(collection);
    pass->account = share->account == NULL ? share->name : share->account->name;
    pass->key = share->account == NULL ? NULL : share->name;
}

size_t share_passes(const struct delivery *delivery, const struct room *room,
                    struct queue_pass **passes)
{
    const struct shares *shares = delivery->shares;
    const struct fleet *fleet = delivery->fleet;
    struct collection collection = { .room = *room, .fleet = fleet };

    for (size_t i = 0; i < fleet->count; i++)
        if (!all_have_room_at(&fleet->berths[i], room))
            add_pass(&collection)->upstream = upstream_name(fleet->berths[i].upstream);
    map_each(shares->accounts, collect, &collection);
    map_each(shares->keys, collect, &collection);
    *passes = collection.passes;
    return collection.count;
}
