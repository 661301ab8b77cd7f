/* account.c - what does this account have, and what does that allow? (pure)
 * Accounts belong to the administration's thread; other threads see of them only what a grant
 * says. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

struct account *account_new(const char *handle, const char *plan, bool suspended, int64_t created_s)
{
    struct account *account = xcalloc(1, sizeof(*account));

    account->handle = xstrdup(handle);
    account->plan = xstrdup(plan);
    account->suspended = suspended;
    account->created_s = created_s;
    account->verified = pattern_set_new(NULL, 0);
    return account;
}

void account_free(struct account *account)
{
    if (account == NULL)
        return;
    for (size_t i = 0; i < account->domain_count; i++)
        free(account->domains[i].pattern);
    free(account->domains);
    pattern_set_unref(account->verified);
    free(account->children);
    free(account->keys);
    free(account->plan);
    free(account->handle);
    free(account);
}

/* [a-z0-9][a-z0-9-]* */
bool account_handle_is_valid(struct slice handle)
{
    if (handle.len == 0 || handle.len > AUTH_ACCOUNT_MAX || handle.data[0] == '-')
        return false;
    for (size_t i = 0; i < handle.len; i++) {
        char c = handle.data[i];
        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '-')
            return false;
    }
    return true;
}

struct domain *account_find_domain(const struct account *account, const char *pattern)
{
    for (size_t i = 0; i < account->domain_count; i++)
        if (strcmp(account->domains[i].pattern, pattern) == 0)
            return &account->domains[i];
    return NULL;
}

void account_add_domain(struct account *account, const char *pattern, bool verified,
                        int64_t created_s)
{
    account->domains =
        xrealloc(account->domains, (account->domain_count + 1) * sizeof(*account->domains));
    account->domains[account->domain_count++] = (struct domain){ .pattern = xstrdup(pattern),
                                                                 .verified = verified,
                                                                 .created_s = created_s };
}

void account_remove_domain(struct account *account, struct domain *domain)
{
    size_t behind = account->domain_count - (size_t)(domain - account->domains) - 1;

    free(domain->pattern);
    memmove(domain, domain + 1, behind * sizeof(*domain));
    account->domain_count--;
}

bool account_covers(const struct account *account, const char *pattern)
{
    for (size_t i = 0; i < account->domain_count; i++) {
        const struct domain *domain = &account->domains[i];
        if (domain->verified && pattern_covers(slice_of(domain->pattern), slice_of(pattern)))
            return true;
    }
    return false;
}

void account_adopt(struct account *parent, struct account *child)
{
    parent->children =
        xrealloc(parent->children, (parent->child_count + 1) * sizeof(struct account *));
    parent->children[parent->child_count++] = child;
    child->parent = parent;
}

static void apply_plan(struct account *account, const struct plans *plans)
{
    const struct auth_plan plan = plans_of(plans, account);

    for (size_t i = 0; i < account->key_count; i++)
        key_apply_plan(account->keys[i], &plan);
}

void account_apply_plan(struct account *account, const struct plans *plans)
{
    apply_plan(account, plans);
    for (size_t i = 0; i < account->child_count; i++) /* who have none themselves */
        apply_plan(account->children[i], plans);
}

bool account_is_suspended(const struct account *account)
{
    return account->suspended || (account->parent != NULL && account->parent->suspended);
}

size_t account_active_keys(const struct account *account, int64_t now_s)
{
    size_t active = 0;

    for (size_t i = 0; i < account->key_count; i++)
        active += key_is_active(account->keys[i], now_s);
    return active;
}
