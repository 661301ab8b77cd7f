/* map.c - what belongs to this key?
 * Linear probing in a power of two of slots, at most three quarters full; what is removed is closed
 * up by moving its followers back, so there are no tombstones to collect. The hash is SipHash-1-3
 * (Aumasson and Bernstein) with a seed from the kernel: peers choose keys, and must not be able to
 * choose collisions. Its 64 bits are kept, so growing does not touch the keys. Short keys stand in
 * their slots: finding one touches no more memory than not finding one, so that the time does not
 * tell which ids of API keys there are (auth/table.c). */
#include "relay/base/map.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"

#define FEWEST_SLOTS 16
#define NEAR_MAX     8 /* as long a key stands in its slot */

struct slot {
    uint64_t hash;
    void *value; /* NULL: the slot is free */
    size_t key_len;
    union {
        char *far;
        char near[NEAR_MAX]; /* where it fits */
    } key;
};

struct map {
    struct slot *slots;
    size_t slot_count; /* a power of two */
    size_t used;
};

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    if (getrandom(seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
        return;
    /* A kernel that forbids getrandom: where and when we run is still not known to a peer. */
    seed[0] ^= (uint64_t)clock_mono_us() * UINT64_C(0x9e3779b97f4a7c15);
    seed[1] ^= (uint64_t)(uintptr_t)seed ^ (uint64_t)clock_wall_ms() << 20;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[static 4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_of(struct slice key)
{
    uint64_t v[4] = { seed[0] ^ UINT64_C(0x736f6d6570736575),
                      seed[1] ^ UINT64_C(0x646f72616e646f6d),
                      seed[0] ^ UINT64_C(0x6c7967656e657261),
                      seed[1] ^ UINT64_C(0x7465646279746573) };
    uint64_t last = (uint64_t)key.len << 56;
    size_t whole = key.len - key.len % 8;

    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, key.data + i, sizeof(word));
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = whole; i < key.len; i++)
        last |= (uint64_t)(unsigned char)key.data[i] << 8 * (i - whole);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool is_near(const struct slot *slot)
{
    return slot->key_len <= NEAR_MAX;
}

static struct slice key_of(const struct slot *slot)
{
    return slice_make(is_near(slot) ? slot->key.near : slot->key.far, slot->key_len);
}

static void forget_key(struct slot *slot)
{
    if (slot->value != NULL && !is_near(slot))
        free(slot->key.far);
}

struct map *map_new(void)
{
    struct map *map = xcalloc(1, sizeof(*map));

    pthread_once(&seed_once, make_seed);
    map->slot_count = FEWEST_SLOTS;
    map->slots = xcalloc(map->slot_count, sizeof(*map->slots));
    return map;
}

void map_free(struct map *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->slot_count; i++)
        forget_key(&map->slots[i]);
    free(map->slots);
    free(map);
}

size_t map_count(const struct map *map)
{
    return map->used;
}

/* The slot that holds the key, or the free one where it belongs. */
static struct slot *find_slot(const struct map *map, struct slice key, uint64_t hash)
{
    size_t mask = map->slot_count - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct slot *slot = &map->slots[i];
        if (slot->value == NULL)
            return slot;
        if (slot->hash == hash && slice_equal(key_of(slot), key))
            return slot;
    }
}

void *map_find(const struct map *map, struct slice key)
{
    return find_slot(map, key, hash_of(key))->value; /* NULL in a free slot */
}

static void grow(struct map *map)
{
    struct slot *old = map->slots;
    size_t old_count = map->slot_count;

    map->slot_count = old_count * 2;
    map->slots = xcalloc(map->slot_count, sizeof(*map->slots));
    for (size_t i = 0; i < old_count; i++) {
        size_t mask = map->slot_count - 1, at = old[i].hash & mask;
        if (old[i].value == NULL)
            continue;
        while (map->slots[at].value != NULL)
            at = (at + 1) & mask;
        map->slots[at] = old[i];
    }
    free(old);
}

void *map_put(struct map *map, struct slice key, void *value)
{
    uint64_t hash = hash_of(key);
    struct slot *slot = find_slot(map, key, hash);
    void *replaced = slot->value;

    assert(value != NULL);
    if (replaced != NULL) {
        slot->value = value;
        return replaced;
    }
    if (map->used + 1 > map->slot_count / 4 * 3) {
        grow(map);
        slot = find_slot(map, key, hash);
    }
    *slot = (struct slot){ .hash = hash, .value = value, .key_len = key.len };
    if (!is_near(slot))
        slot->key.far = slice_dup(key);
    else if (key.len > 0)
        memcpy(slot->key.near, key.data, key.len);
    map->used++;
    return NULL;
}

/* Moves back whatever was pushed past the hole: a follower whose own place does not lie between
 * the hole and where it stands now would otherwise not be found any more. */
static void close_hole(struct map *map, size_t hole)
{
    size_t mask = map->slot_count - 1;

    for (size_t i = (hole + 1) & mask; map->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct slot){ 0 };
}

void *map_remove(struct map *map, struct slice key)
{
    struct slot *slot = find_slot(map, key, hash_of(key));
    void *removed = slot->value;

    if (removed == NULL)
        return NULL;
    forget_key(slot);
    close_hole(map, (size_t)(slot - map->slots));
    map->used--;
    return removed;
}

void map_each(const struct map *map, map_visit_fn *visit, void *owner)
{
    for (size_t i = 0; i < map->slot_count; i++) {
        const struct slot *slot = &map->slots[i];
        if (slot->value != NULL)
            visit(owner, key_of(slot), slot->value);
    }
}
