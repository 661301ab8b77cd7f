/* usage.c - when was this key last used, and how much of its day is gone?
 * Noted in memory by any thread, under the key's own lock, and written to keys.db every few seconds
 * for the keys that changed. Those are kept on a stack: a key is pushed when its first change comes
 * and is not pushed again before it was taken. Everything is taken at once, so the stack needs no
 * lock and cannot mistake one generation of it for another.
 *
 * Durability: a crash loses the last seconds. For the time of the last use that is no matter; of a
 * day's recipients it gives back what was counted since. */
#include "auth/auth_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

void usage_init(struct usage *usage)
{
    *usage = (struct usage){ 0 };
    pthread_mutex_init(&usage->lock, NULL);
}

void usage_destroy(struct usage *usage)
{
    pthread_mutex_destroy(&usage->lock);
}

void usage_changed(struct usage_stack *stack, struct key *key)
{
    if (atomic_exchange(&key->usage_pending, true))
        return;
    struct key *top = atomic_load(&stack->top);
    do
        key->usage_next = top;
    while (!atomic_compare_exchange_weak(&stack->top, &top, key));
}

/* A secret that was replaced between the check and now leaves no trace: nobody would show it. */
void usage_note(struct usage_stack *stack, struct key *key, unsigned secret,
                const struct auth_peer *peer, int64_t now_s)
{
    struct usage *usage = &key->usage;

    pthread_mutex_lock(&usage->lock);
    for (size_t i = 0; i < KEY_SECRETS; i++) {
        struct use *use = &usage->uses[i];
        if (use->secret != secret)
            continue;
        use->last_s = now_s;
        use->has_address = peer->has_address;
        memcpy(use->address, peer->address, sizeof(use->address));
        snprintf(use->protocol, sizeof(use->protocol), "%s", peer->protocol);
    }
    pthread_mutex_unlock(&usage->lock);
    usage_changed(stack, key);
}

void usage_rotate(struct usage_stack *stack, struct key *key, bool keep, unsigned secret)
{
    struct usage *usage = &key->usage;

    pthread_mutex_lock(&usage->lock);
    if (keep)
        usage->uses[SECRET_FORMER] = usage->uses[SECRET_CURRENT];
    usage->uses[SECRET_CURRENT] = (struct use){ .secret = secret };
    pthread_mutex_unlock(&usage->lock);
    usage_changed(stack, key);
}

void usage_copy(struct key *key, struct usage_row *row)
{
    struct usage *usage = &key->usage;

    *row = (struct usage_row){ .key = key->id };
    pthread_mutex_lock(&usage->lock);
    for (size_t i = 0; i < KEY_SECRETS; i++) {
        const struct use *use = &usage->uses[i];
        row->uses[i].last_s = use->last_s;
        if (use->has_address)
            network_format_address(use->address, row->uses[i].address);
        memcpy(row->uses[i].protocol, use->protocol, sizeof(use->protocol));
    }
    row->day = usage->day.day;
    row->recipients = usage->day.count;
    pthread_mutex_unlock(&usage->lock);
}

void usage_restore(struct key *key, const struct usage_row *row)
{
    struct usage *usage = &key->usage;

    for (size_t i = 0; i < KEY_SECRETS; i++) {
        struct use *use = &usage->uses[i];
        use->last_s = row->uses[i].last_s;
        use->has_address = network_parse_address(row->uses[i].address, use->address);
        memcpy(use->protocol, row->uses[i].protocol, sizeof(use->protocol));
    }
    usage->day = (struct limit_day){ .day = row->day, .count = row->recipients };
}

struct batch { /* of keys taken from the stack, and what is to be written of them */
    struct key **keys;
    struct usage_row *rows;
    size_t count, room;
};

/* The flag goes down before the numbers are copied: a change that comes between is copied, and
 * pushes its key once more, which does no harm; the other way round it would be lost. */
static void batch_add(struct batch *batch, struct key *key)
{
    if (batch->count == batch->room) {
        batch->room = batch->room == 0 ? 64 : batch->room * 2;
        batch->keys = xrealloc(batch->keys, batch->room * sizeof(*batch->keys));
        batch->rows = xrealloc(batch->rows, batch->room * sizeof(*batch->rows));
    }
    atomic_store(&key->usage_pending, false);
    usage_copy(key, &batch->rows[batch->count]);
    batch->keys[batch->count++] = key;
}

bool usage_flush(struct usage_stack *stack, struct auth_store *store)
{
    struct batch batch = { 0 };
    struct why why; /* the store has logged it */
    bool ok = true;

    for (struct key *key = atomic_exchange(&stack->top, NULL), *next; key != NULL; key = next) {
        next = key->usage_next; /* once its flag is down the key may be pushed again */
        batch_add(&batch, key);
    }
    if (batch.count > 0)
        ok = auth_store_save_usage(store, batch.rows, batch.count, &why);
    for (size_t i = 0; !ok && i < batch.count; i++)
        usage_changed(stack, batch.keys[i]);
    free(batch.keys);
    free(batch.rows);
    return ok;
}
