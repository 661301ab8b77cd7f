/* penalty.c - has too much been refused to this address?
 * For each address the times of its refusals within the window are kept; when there are enough of
 * them, the door is closed and the count starts anew. IPv6 addresses count by their /64, which is
 * what one customer gets. Any thread: one lock, held for a look into a map; while no address has
 * failed lately, which is the rule, asking takes no lock at all.
 *
 * Bounded: when the table is full the address that has not failed for longest leaves. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/list.h"
#include "relay/base/map.h"

struct offender {
    struct list by_age; /* in penalty.offenders, last failed last */
    uint8_t address[16];
    int64_t last_s;         /* its last failure */
    int64_t closed_until_s; /* 0: open */
    int64_t *times_s;       /* oldest first */
    size_t count, capacity;
};

struct penalty {
    struct penalty_options options;
    pthread_mutex_t lock;
    struct map *by_address;
    struct list offenders;
    atomic_size_t count; /* of by_address; read without the lock */
};

struct penalty *penalty_new(const struct penalty_options *options)
{
    struct penalty *penalty = xcalloc(1, sizeof(*penalty));

    penalty->options = *options;
    pthread_mutex_init(&penalty->lock, NULL);
    penalty->by_address = map_new();
    list_init(&penalty->offenders);
    return penalty;
}

/* What an address counts as. */
static void fold(const uint8_t address[static 16], uint8_t folded[static 16])
{
    memcpy(folded, address, 16);
    if (!network_is_ipv4(address))
        memset(folded + 8, 0, 8);
}

static void drop(struct penalty *penalty, struct offender *offender)
{
    list_remove(&offender->by_age);
    map_remove(penalty->by_address, slice_make(offender->address, 16));
    atomic_store_explicit(&penalty->count, map_count(penalty->by_address), memory_order_relaxed);
    free(offender->times_s);
    free(offender);
}

void penalty_free(struct penalty *penalty)
{
    if (penalty == NULL)
        return;
    list_for_each(node, next, &penalty->offenders)
        drop(penalty, list_entry(node, struct offender, by_age));
    map_free(penalty->by_address);
    pthread_mutex_destroy(&penalty->lock);
    free(penalty);
}

static bool is_off(const struct penalty *penalty)
{
    const struct penalty_options *options = &penalty->options;

    return options->failures == 0 || options->window_s == 0 || options->penalty_s == 0 ||
           options->addresses_max == 0;
}

static struct offender *find(const struct penalty *penalty, const uint8_t address[static 16])
{
    uint8_t folded[16];

    fold(address, folded);
    return map_find(penalty->by_address, slice_make(folded, sizeof(folded)));
}

/* The seconds left behind a closed door. A clock that went back must not keep it closed for longer
 * than the penalty. */
static int64_t closed_for(const struct penalty *penalty, struct offender *offender, int64_t now_s)
{
    int64_t most = now_s + penalty->options.penalty_s;

    if (offender->closed_until_s > most)
        offender->closed_until_s = most;
    return offender->closed_until_s > now_s ? offender->closed_until_s - now_s : 0;
}

/* A failure that is far ahead of a clock that went back is as good as one of long ago. */
static bool is_forgotten(const struct penalty *penalty, struct offender *offender, int64_t now_s)
{
    return closed_for(penalty, offender, now_s) == 0 &&
           (now_s - offender->last_s >= penalty->options.window_s ||
            offender->last_s - now_s >= penalty->options.window_s);
}

/* Two leave for one that comes, so the table empties itself without a timer. */
static void forget_some(struct penalty *penalty, int64_t now_s)
{
    for (int i = 0; i < 2 && !list_is_empty(&penalty->offenders); i++) {
        struct offender *oldest = list_entry(penalty->offenders.next, struct offender, by_age);
        if (!is_forgotten(penalty, oldest, now_s))
            return;
        drop(penalty, oldest);
    }
}

static struct offender *find_or_add(struct penalty *penalty, const uint8_t address[static 16])
{
    struct offender *offender = find(penalty, address);

    if (offender != NULL) {
        list_remove(&offender->by_age);
    } else {
        if (map_count(penalty->by_address) >= penalty->options.addresses_max)
            drop(penalty, list_entry(penalty->offenders.next, struct offender, by_age));
        offender = xcalloc(1, sizeof(*offender));
        fold(address, offender->address);
        map_put(penalty->by_address, slice_make(offender->address, 16), offender);
        atomic_store_explicit(&penalty->count, map_count(penalty->by_address),
                              memory_order_relaxed);
    }
    list_add_tail(&penalty->offenders, &offender->by_age);
    return offender;
}

/* Drops the times that are outside the window, or ahead of a clock that went back. */
static void forget_old_times(struct offender *offender, unsigned window_s, int64_t now_s)
{
    size_t kept = 0;

    for (size_t i = 0; i < offender->count; i++)
        if (offender->times_s[i] <= now_s && now_s - offender->times_s[i] < window_s)
            offender->times_s[kept++] = offender->times_s[i];
    offender->count = kept;
}

static void add_time(struct offender *offender, int64_t now_s)
{
    if (offender->count == offender->capacity) {
        offender->capacity = offender->capacity == 0 ? 4 : offender->capacity * 2;
        offender->times_s =
            xrealloc(offender->times_s, offender->capacity * sizeof(*offender->times_s));
    }
    offender->times_s[offender->count++] = now_s;
    offender->last_s = now_s;
}

void penalty_failed(struct penalty *penalty, const uint8_t address[static 16], int64_t now_s)
{
    if (is_off(penalty))
        return;
    pthread_mutex_lock(&penalty->lock);
    forget_some(penalty, now_s);
    struct offender *offender = find_or_add(penalty, address);
    forget_old_times(offender, penalty->options.window_s, now_s);
    add_time(offender, now_s);
    if (offender->count >= penalty->options.failures) {
        offender->closed_until_s = now_s + penalty->options.penalty_s;
        offender->count = 0;
    }
    pthread_mutex_unlock(&penalty->lock);
}

/* A door that is closed already stays closed for its time. */
void penalty_succeeded(struct penalty *penalty, const uint8_t address[static 16])
{
    if (penalty_count(penalty) == 0)
        return;
    pthread_mutex_lock(&penalty->lock);
    struct offender *offender = find(penalty, address);
    if (offender != NULL && offender->closed_until_s == 0)
        drop(penalty, offender);
    else if (offender != NULL)
        offender->count = 0;
    pthread_mutex_unlock(&penalty->lock);
}

unsigned penalty_left_s(struct penalty *penalty, const uint8_t address[static 16], int64_t now_s)
{
    int64_t left = 0;

    if (penalty_count(penalty) == 0)
        return 0;
    pthread_mutex_lock(&penalty->lock);
    forget_some(penalty, now_s);
    struct offender *offender = find(penalty, address);
    if (offender != NULL)
        left = closed_for(penalty, offender, now_s);
    pthread_mutex_unlock(&penalty->lock);
    return (unsigned)left;
}

size_t penalty_count(struct penalty *penalty)
{
    return atomic_load_explicit(&penalty->count, memory_order_relaxed);
}
