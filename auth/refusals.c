/* refusals.c - what was refused just now, on its way to keys.db.
 * Any thread notes one: it is looked for among those of the last minute, and is one more of an
 * equal one or takes a place in the ring of its kind. The administration's thread writes them every
 * few seconds. A stranger can be refused as often as he likes, so everything has a bound: places in
 * the ring (what finds none is counted, and the count is a line of its own), lines in keys.db,
 * their age, and what is removed at a time. Logins and messages have one ring each and are counted
 * apart: who has no key cannot push out what is known of those who have one.
 *
 * Threads: a ring's lock is held for a scan of its hashes, or for the copy of a few places.
 * Durability: a crash loses what was refused in the last seconds; the log has it. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/ident.h"

#define COPIED_AT_ONCE 32   /* places, under the lock */
#define PRUNED_AT_ONCE 2000 /* lines: more than can come between two flushes */
#define PRUNE_EVERY_S  3600 /* by age */

struct place {
    uint64_t stored;  /* of refusal.count: what is in keys.db; */
    uint64_t writing; /* ... what is being written, or 0 */
    struct refusal refusal;
};

struct ring {
    pthread_mutex_t lock;
    struct place *places;                  /* REFUSALS_WAITING_MAX; not used yet: count 0 */
    uint64_t hashes[REFUSALS_WAITING_MAX]; /* of their texts: near each other, to be scanned */
    size_t next;
    uint64_t lost; /* found no place */

    /* The administration's thread: */
    int64_t rows; /* in keys.db; -1: not counted yet */
    int64_t next_prune_s;
};

struct refusals {
    int64_t kept_max;
    struct ring rings[AUTH_REFUSED_KINDS];
};

static const char *const actions[AUTH_REFUSED_KINDS] = {
    [AUTH_REFUSED_LOGIN] = "login.refused",
    [AUTH_REFUSED_MESSAGE] = "message.refused",
};

struct refusals *refusals_new(int64_t kept_max)
{
    struct refusals *refusals = xcalloc(1, sizeof(*refusals));

    refusals->kept_max = kept_max;
    for (size_t i = 0; i < AUTH_REFUSED_KINDS; i++) {
        struct ring *ring = &refusals->rings[i];
        pthread_mutex_init(&ring->lock, NULL);
        ring->places = xcalloc(REFUSALS_WAITING_MAX, sizeof(*ring->places));
        ring->rows = -1;
    }
    return refusals;
}

void refusals_free(struct refusals *refusals)
{
    if (refusals == NULL)
        return;
    for (size_t i = 0; i < AUTH_REFUSED_KINDS; i++) {
        pthread_mutex_destroy(&refusals->rings[i].lock);
        free(refusals->rings[i].places);
    }
    free(refusals);
}

/* --- noting ----------------------------------------------------------------------------------- */

/* How many letters and digits may stand in a row from here on: behind one of our prefixes a key's
 * id, elsewhere what is shorter than an id and a secret (keys outlive a change of their prefix). */
static size_t row_max(struct slice before, const char *const prefixes[static 2])
{
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(prefixes[i]);
        if (before.len >= len && memcmp(before.data + before.len - len, prefixes[i], len) == 0)
            return KEY_ID_DIGITS;
    }
    return KEY_ID_DIGITS + KEY_SECRET_DIGITS - 1;
}

void refusals_text(char *out, size_t size, struct slice text, const char *const prefixes[static 2])
{
    static const char dots[] = "...";
    size_t len = 0, row = 0, max = 0;

    for (size_t i = 0; i < text.len && len + 1 < size; i++) {
        bool in_row = ascii_is_alnum(text.data[i]);
        if (in_row && row == 0)
            max = row_max(slice_first(text, i), prefixes);
        row = in_row ? row + 1 : 0;
        if (in_row && row > max) {
            len -= row - 1 - KEY_ID_DIGITS;
            for (size_t d = 0; dots[d] != '\0' && len + 1 < size; d++)
                out[len++] = dots[d];
            break;
        }
        out[len++] = (uint8_t)text.data[i] < ' ' || text.data[i] == 127 ? '?' : text.data[i];
    }
    memset(out + len, '\0', size - len);
}

/* FNV-1a: only to find equal ones; they are compared then. */
static uint64_t hash_texts(const struct refusal_texts *texts)
{
    const uint8_t *bytes = (const uint8_t *)texts;
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < sizeof(*texts); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static struct place *find_equal(struct ring *ring, uint64_t hash, const struct refusal_texts *texts,
                                int64_t now_s)
{
    for (size_t i = 0; i < REFUSALS_WAITING_MAX; i++) {
        struct place *place = &ring->places[i];
        if (ring->hashes[i] != hash || place->refusal.count == 0)
            continue;
        int64_t age_s = now_s - place->refusal.at_s;
        if (age_s >= 0 && age_s < REFUSALS_FOLD_S &&
            memcmp(&place->refusal.texts, texts, sizeof(*texts)) == 0)
            return place;
    }
    return NULL;
}

/* The oldest place whose refusal is all in keys.db. */
static struct place *take_place(struct ring *ring)
{
    for (size_t i = 0; i < REFUSALS_WAITING_MAX; i++) {
        struct place *place = &ring->places[ring->next];
        ring->next = (ring->next + 1) % REFUSALS_WAITING_MAX;
        if (place->refusal.count == place->stored && place->writing == 0)
            return place;
    }
    return NULL;
}

int64_t refusals_note(struct refusals *refusals, enum auth_refused what,
                      const struct refusal_texts *texts, int64_t now_s)
{
    struct ring *ring = &refusals->rings[what];
    struct refusal_texts own = *texts;
    int64_t id = 0;

    snprintf(own.action, sizeof(own.action), "%s", actions[what]);
    uint64_t hash = hash_texts(&own);
    pthread_mutex_lock(&ring->lock);
    struct place *place = find_equal(ring, hash, &own, now_s);
    if (place == NULL && (place = take_place(ring)) != NULL) {
        ring->hashes[place - ring->places] = hash;
        *place = (struct place){ .refusal = { .id = ident_next(), .at_s = now_s, .texts = own } };
    }
    if (place == NULL) {
        ring->lost++;
    } else {
        place->refusal.count++;
        place->refusal.last_s = now_s;
        id = place->refusal.id;
    }
    pthread_mutex_unlock(&ring->lock);
    return id;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct batch {                                     /* what is to be written of a ring */
    struct refusal rows[REFUSALS_WAITING_MAX + 1]; /* and the line of those that were lost */
    size_t count;
    int64_t fresh; /* of them: not in keys.db yet */
    uint64_t lost;
};

static void copy_places(struct ring *ring, size_t first, struct batch *batch)
{
    for (size_t i = first; i < first + COPIED_AT_ONCE && i < REFUSALS_WAITING_MAX; i++) {
        struct place *place = &ring->places[i];
        if (place->refusal.count == place->stored)
            continue;
        place->writing = place->refusal.count;
        batch->fresh += place->stored == 0;
        batch->rows[batch->count++] = place->refusal;
    }
}

static void add_lost(struct batch *batch, enum auth_refused what, int64_t now_s)
{
    if (batch->lost == 0)
        return;
    struct refusal *row = &batch->rows[batch->count++];
    *row = (struct refusal){
        .id = ident_next(), .at_s = now_s, .last_s = now_s, .count = batch->lost
    };
    snprintf(row->texts.action, sizeof(row->texts.action), "%s", actions[what]);
    snprintf(row->texts.rule, sizeof(row->texts.rule),
             "so many were not recorded: too many came at a time");
    batch->fresh++;
}

static void collect(struct ring *ring, enum auth_refused what, struct batch *batch, int64_t now_s)
{
    batch->count = 0;
    batch->fresh = 0;
    for (size_t i = 0; i < REFUSALS_WAITING_MAX; i += COPIED_AT_ONCE) {
        pthread_mutex_lock(&ring->lock);
        copy_places(ring, i, batch);
        batch->lost = ring->lost;
        pthread_mutex_unlock(&ring->lock);
    }
    add_lost(batch, what, now_s);
}

static void settle(struct ring *ring, const struct batch *batch, bool ok)
{
    pthread_mutex_lock(&ring->lock);
    for (size_t i = 0; i < REFUSALS_WAITING_MAX; i++) {
        struct place *place = &ring->places[i];
        if (place->writing != 0 && ok)
            place->stored = place->writing;
        place->writing = 0;
    }
    if (ok)
        ring->lost -= batch->lost;
    pthread_mutex_unlock(&ring->lock);
    if (ok)
        ring->rows += batch->fresh;
}

static bool prune_some(struct ring *ring, struct auth_store *store, const char *action,
                       int64_t before_id, int64_t most, int64_t *removed)
{
    struct why why; /* the store has logged it */

    if (!auth_store_prune_refusals(store, action, before_id, most, removed, &why))
        return false;
    ring->rows -= *removed;
    return true;
}

static bool prune(struct refusals *refusals, enum auth_refused what, struct auth_store *store,
                  int64_t now_s)
{
    struct ring *ring = &refusals->rings[what];
    int64_t excess = ring->rows - refusals->kept_max, removed = 0;
    bool ok = true;

    if (excess > 0)
        ok = prune_some(ring, store, actions[what], INT64_MAX,
                        excess < PRUNED_AT_ONCE ? excess : PRUNED_AT_ONCE, &removed);
    /* A clock that went back is asked again, too. */
    if (ok && (now_s >= ring->next_prune_s || now_s < ring->next_prune_s - PRUNE_EVERY_S)) {
        int64_t before_id = ident_at_time_ms((now_s - REFUSALS_KEPT_S) * 1000);
        ok = prune_some(ring, store, actions[what], before_id, PRUNED_AT_ONCE, &removed);
        ring->next_prune_s = removed == PRUNED_AT_ONCE ? now_s : now_s + PRUNE_EVERY_S;
    }
    return ok;
}

static bool flush_ring(struct refusals *refusals, enum auth_refused what, struct auth_store *store,
                       struct batch *batch, int64_t now_s)
{
    struct ring *ring = &refusals->rings[what];
    struct why why; /* the store has logged it */
    bool ok = true;

    if (ring->rows < 0 && !auth_store_count_refusals(store, actions[what], &ring->rows))
        return false;
    collect(ring, what, batch, now_s);
    if (batch->count > 0) {
        ok = auth_store_save_refusals(store, batch->rows, batch->count, &why);
        settle(ring, batch, ok);
    }
    return ok && prune(refusals, what, store, now_s);
}

bool refusals_flush(struct refusals *refusals, struct auth_store *store, int64_t now_s)
{
    struct batch *batch = xmalloc(sizeof(*batch));
    bool ok = true;

    for (size_t i = 0; i < AUTH_REFUSED_KINDS; i++)
        ok = flush_ring(refusals, (enum auth_refused)i, store, batch, now_s) && ok;
    free(batch);
    return ok;
}
