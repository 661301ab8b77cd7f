/* plan.c - which limits does this plan name?
 * The plan "default" is there without being configured: no rate, 100 keys. Belongs to the thread of
 * the administration. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

#define DEFAULT_NAME "default"

static const struct auth_plan plan_default = { .name = DEFAULT_NAME, .keys = 100 };

void plans_free(struct plans *plans)
{
    for (size_t i = 0; i < plans->count; i++)
        free((char *)plans->plans[i].name);
    free(plans->plans);
    *plans = (struct plans){ 0 };
}

void plans_set(struct plans *plans, const struct auth_plan *from, size_t count)
{
    struct plans copy = { .plans = xcalloc(count + 1, sizeof(*from)), .count = count };

    for (size_t i = 0; i < count; i++) {
        copy.plans[i] = from[i];
        copy.plans[i].name = xstrdup(from[i].name);
    }
    plans_free(plans);
    *plans = copy;
}

const struct auth_plan *plans_find(const struct plans *plans, const char *name)
{
    for (size_t i = 0; i < plans->count; i++)
        if (strcmp(plans->plans[i].name, name) == 0)
            return &plans->plans[i];
    return strcmp(name, DEFAULT_NAME) == 0 ? &plan_default : NULL;
}

const struct auth_plan *plans_get(const struct plans *plans, const char *name)
{
    const struct auth_plan *plan = plans_find(plans, name);

    if (plan == NULL)
        plan = plans_find(plans, DEFAULT_NAME);
    return plan != NULL ? plan : &plan_default;
}

/* A parent's plan is a ceiling: else a sub-account that was made under a better one would keep what
 * that gave, and its parent sends through it. */
struct auth_plan plans_of(const struct plans *plans, const struct account *account)
{
    struct auth_plan plan = *plans_get(plans, account->plan);

    if (account->parent == NULL)
        return plan;
    const struct auth_plan *above = plans_get(plans, account->parent->plan);
    plan.rate_per_minute = (unsigned)limit_least(plan.rate_per_minute, above->rate_per_minute);
    plan.recipients_per_day = limit_least(plan.recipients_per_day, above->recipients_per_day);
    plan.keys = (unsigned)limit_least(plan.keys, above->keys);
    return plan;
}
