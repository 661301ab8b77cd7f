/* budget.h - how much memory may large requests have, all together, and of that one account?
 * A count of octets that are spoken for: taken before the memory is, given back after. Threads of
 * the pool share it with the loop. Any thread. */
#ifndef LATCHPOST_BUDGET_H
#define LATCHPOST_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/slice.h"

struct budget;

struct budget *budget_new(size_t max);
void budget_free(struct budget *budget); /* all was given back; accepts NULL */
void budget_set_max(struct budget *budget, size_t max);
size_t budget_used(struct budget *budget);

/* For a request that has `held` of it already. False, and nothing is taken: it is used up for now,
 * or the account has its share. Nobody is refused who finds it unused, so that a budget that is
 * smaller than one request lets them pass one by one. */
bool budget_take(struct budget *budget, struct slice account, size_t held, size_t octets);
void budget_give(struct budget *budget, struct slice account, size_t octets);

#endif
