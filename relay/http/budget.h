/* budget.h - how much memory may large requests have, all together?
 * A count of octets that are spoken for: taken before the memory is, given back after. The one
 * thing besides the counters that threads of the pool share with the loop. Any thread. */
#ifndef LATCHPOST_BUDGET_H
#define LATCHPOST_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
    _Atomic size_t max; /* may be changed at any time */
    _Atomic size_t used;
};

/* False, and nothing is taken: it is used up for now. Nobody is refused who finds it unused, so
 * that a budget that is smaller than one request lets them pass one by one. */
static inline bool budget_take(struct budget *budget, size_t octets)
{
    size_t used = atomic_load(&budget->used);

    do {
        if (used > 0 &&
            (octets > atomic_load(&budget->max) || used > atomic_load(&budget->max) - octets))
            return false;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + octets));
    return true;
}

static inline void budget_give(struct budget *budget, size_t octets)
{
    atomic_fetch_sub(&budget->used, octets);
}

#endif
