/* budget.c - how much memory may large requests have, all together, and of that one account?
 * An account may have three times what is left free, as in delivery's memory
 * (relay/delivery_share.c): alone three quarters, with others less, and something is left for one
 * that comes new. That is for its second request on: one is looked at by the whole only, so that
 * what is large gets through in a small budget, too. The table has an entry for each account that
 * has something, so requests bound it; the lock is held for one look-up. */
#include "relay/http/budget.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/map.h"

#define ACCOUNT_FACTOR 3

struct share {
    size_t used;
};

struct budget {
    pthread_mutex_t lock;
    size_t max, used;
    struct map *shares; /* by account */
};

struct budget *budget_new(size_t max)
{
    struct budget *budget = xcalloc(1, sizeof(*budget));

    pthread_mutex_init(&budget->lock, NULL);
    budget->max = max;
    budget->shares = map_new();
    return budget;
}

void budget_free(struct budget *budget)
{
    if (budget == NULL)
        return;
    assert(budget->used == 0 && map_count(budget->shares) == 0);
    map_free(budget->shares);
    pthread_mutex_destroy(&budget->lock);
    free(budget);
}

void budget_set_max(struct budget *budget, size_t max)
{
    pthread_mutex_lock(&budget->lock);
    budget->max = max;
    pthread_mutex_unlock(&budget->lock);
}

size_t budget_used(struct budget *budget)
{
    pthread_mutex_lock(&budget->lock);
    size_t used = budget->used;
    pthread_mutex_unlock(&budget->lock);
    return used;
}

/* others: what the account has for other requests. */
static bool has_room(const struct budget *budget, size_t others, size_t held, size_t octets)
{
    if (budget->used == 0)
        return true;
    if (budget->used > budget->max || octets > budget->max - budget->used)
        return false;
    size_t left = budget->max - budget->used - octets;
    return others == 0 || (others + held + octets) / ACCOUNT_FACTOR <= left;
}

bool budget_take(struct budget *budget, struct slice account, size_t held, size_t octets)
{
    pthread_mutex_lock(&budget->lock);
    struct share *share = map_find(budget->shares, account);
    size_t used = share == NULL ? 0 : share->used;
    bool ok = has_room(budget, used > held ? used - held : 0, held, octets);
    if (ok && share == NULL) {
        share = xcalloc(1, sizeof(*share));
        map_put(budget->shares, account, share);
    }
    if (ok) {
        share->used += octets;
        budget->used += octets;
    }
    pthread_mutex_unlock(&budget->lock);
    return ok;
}

void budget_give(struct budget *budget, struct slice account, size_t octets)
{
    pthread_mutex_lock(&budget->lock);
    struct share *share = map_find(budget->shares, account);
    assert(share != NULL && share->used >= octets);
    share->used -= octets;
    budget->used -= octets;
    if (share->used == 0) {
        map_remove(budget->shares, account);
        free(share);
    }
    pthread_mutex_unlock(&budget->lock);
}
