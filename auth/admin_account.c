/* admin_account.c - accounts and their domains: making, showing, removing.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"

/* --- accounts --------------------------------------------------------------------------------- */

static enum auth_result check_account(struct auth *auth, const char *handle, const char *plan,
                                      struct why *why)
{
    if (!account_handle_is_valid(slice_of(handle))) {
        why_set(why,
                "\"%.80s\" is not a valid account name: it has 1 to %d of a-z, 0-9 "
                "and \"-\", and does not start with \"-\"",
                handle, AUTH_ACCOUNT_MAX);
        return AUTH_INVALID;
    }
    if (plans_find(&auth->plans, plan) == NULL) {
        why_set(why, "there is no plan \"%.80s\" in the configuration", plan);
        return AUTH_INVALID;
    }
    if (table_find_account(auth->table, handle) != NULL) {
        why_set(why, "the account \"%s\" exists already", handle);
        return AUTH_CONFLICT;
    }
    return AUTH_DONE;
}

/* parent: NULL for none. */
static enum auth_result create_account(struct auth *auth, const char *actor, struct account *parent,
                                       const char *handle, const char *plan, int64_t now_s,
                                       struct why *why)
{
    const struct account_row row = { .handle = handle,
                                     .plan = plan,
                                     .created_s = now_s,
                                     .parent = parent == NULL ? NULL : parent->handle };
    enum auth_result result = check_account(auth, handle, plan, why);

    if (result != AUTH_DONE)
        return result;
    char *detail = parent == NULL ? xstrdup(plan) : xasprintf("%s, of %s", plan, parent->handle);
    const struct audit audit = { now_s, actor, "account.create", handle, detail };
    bool ok = auth_store_add_account(auth->store, &row, &audit, why);
    free(detail);
    if (!ok)
        return AUTH_FAILED;
    struct account *account = account_new(handle, plan, false, now_s);
    if (parent != NULL)
        account_adopt(parent, account);
    table_add_account(auth->table, account);
    return AUTH_DONE;
}

enum auth_result auth_account_create(struct auth *auth, const char *actor, const char *handle,
                                     const char *plan, int64_t now_s, struct why *why)
{
    return create_account(auth, actor, NULL, handle, plan == NULL ? "default" : plan, now_s, why);
}

enum auth_result auth_sub_account_create(struct auth *auth, const char *actor, const char *parent,
                                         const char *handle, const char *plan, int64_t now_s,
                                         struct why *why)
{
    struct account *above = table_find_account(auth->table, parent);

    if (above == NULL) {
        why_set(why, "there is no account \"%.63s\"", parent);
        return AUTH_NOT_FOUND;
    }
    if (above->parent != NULL || account_is_suspended(above)) {
        why_set(why, "the account \"%s\" is %s: it can have no sub-accounts", above->handle,
                above->parent != NULL ? "a sub-account itself" : "suspended");
        return AUTH_INVALID;
    }
    if (above->child_count >= AUTH_SUB_ACCOUNTS_MAX) {
        why_set(why, "the account \"%s\" has %d sub-accounts, as many as it may have",
                above->handle, AUTH_SUB_ACCOUNTS_MAX);
        return AUTH_LIMIT;
    }
    /* The parent's plan may have gone from the configuration: then it is the default one, here as
     * there. */
    const char *inherited = plans_get(&auth->plans, above->plan)->name;
    return create_account(auth, actor, above, handle, plan == NULL ? inherited : plan, now_s, why);
}

const char *auth_account_parent(struct auth *auth, const char *handle)
{
    const struct account *account = table_find_account(auth->table, handle);

    return account == NULL || account->parent == NULL ? NULL : account->parent->handle;
}

void auth_account_list(struct auth *auth, struct auth_accounts *accounts)
{
    int64_t now_s = clock_wall_s();
    struct account *account;
    size_t count = 0;

    while (table_account(auth->table, count) != NULL)
        count++;
    accounts->accounts = xcalloc(count + 1, sizeof(*accounts->accounts));
    accounts->count = count;
    for (size_t i = 0; (account = table_account(auth->table, i)) != NULL; i++)
        accounts->accounts[i] = (struct auth_account_view){
            .handle = xstrdup(account->handle),
            .plan = xstrdup(account->plan),
            .parent = account->parent == NULL ? NULL : xstrdup(account->parent->handle),
            .suspended = account_is_suspended(account),
            .created_s = account->created_s,
            .active_keys = account_active_keys(account, now_s),
        };
}

void auth_accounts_free(struct auth_accounts *accounts)
{
    for (size_t i = 0; i < accounts->count; i++) {
        free(accounts->accounts[i].handle);
        free(accounts->accounts[i].plan);
        free(accounts->accounts[i].parent);
    }
    free(accounts->accounts);
    *accounts = (struct auth_accounts){ 0 };
}

/* --- domains ---------------------------------------------------------------------------------- */

static bool overlap(const char *a, const char *b)
{
    return pattern_covers(slice_of(a), slice_of(b)) || pattern_covers(slice_of(b), slice_of(a));
}

/* Would another account share names with it? Which one is not told: it is none of the asker's
 * business. A claim that was never verified keeps its very name and no other, or whoever claims
 * "*.example" would keep all others from theirs; this is asked again when it is verified. */
static bool overlaps_others(const struct table *table, const struct account *account,
                            const char *pattern)
{
    struct account *other;

    for (size_t i = 0; (other = table_account(table, i)) != NULL; i++)
        for (size_t d = 0; other != account && d < other->domain_count; d++) {
            const struct domain *domain = &other->domains[d];
            if (domain->verified ? overlap(domain->pattern, pattern)
                                 : strcmp(domain->pattern, pattern) == 0)
                return true;
        }
    return false;
}

static enum auth_result check_domain(struct auth *auth, const struct account *account,
                                     const char *handle, const char *pattern, struct why *why)
{
    if (!pattern_is_valid(slice_of(pattern))) {
        why_set(why, "\"%.80s\" is not a valid domain: it is example.com or *.example.com",
                pattern);
        return AUTH_INVALID;
    }
    if (account == NULL) {
        why_set(why, "there is no account \"%.63s\"", handle);
        return AUTH_NOT_FOUND;
    }
    if (overlaps_others(auth->table, account, pattern)) {
        why_set(why, "%s belongs to another account, or overlaps with a domain of one", pattern);
        return AUTH_CONFLICT;
    }
    return AUTH_DONE;
}

enum auth_result auth_domain_add(struct auth *auth, const char *actor, const char *handle,
                                 const char *pattern, bool verified, int64_t now_s, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);
    enum auth_result result = check_domain(auth, account, handle, pattern, why);

    if (result != AUTH_DONE)
        return result;
    struct domain *domain = account_find_domain(account, pattern);
    if (domain != NULL && (domain->verified || !verified))
        return AUTH_DONE; /* nothing new, and what was verified stays so */
    const struct domain_row row = { pattern, handle, verified, now_s };
    const struct audit audit = { now_s, actor, verified ? "domain.verify" : "domain.add", pattern,
                                 handle };
    if (!auth_store_put_domain(auth->store, &row, &audit, why))
        return AUTH_FAILED;
    if (domain != NULL)
        domain->verified = true;
    else
        account_add_domain(account, pattern, verified, now_s);
    if (verified) /* one that waits for that gives nobody anything */
        table_refresh_account(auth->table, account);
    return AUTH_DONE;
}

enum auth_result auth_domain_remove(struct auth *auth, const char *actor, const char *handle,
                                    const char *pattern, int64_t now_s, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);
    struct domain *domain = account == NULL ? NULL : account_find_domain(account, pattern);
    const struct audit audit = { now_s, actor, "domain.remove", pattern, handle };

    if (domain == NULL) {
        why_set(why, "the account \"%.63s\" has no domain \"%.255s\"", handle, pattern);
        return AUTH_NOT_FOUND;
    }
    if (!auth_store_remove_domain(auth->store, pattern, &audit, why))
        return AUTH_FAILED;
    account_remove_domain(account, domain);
    table_refresh_account(auth->table, account);
    return AUTH_DONE;
}

static void show_domains(const struct account *account, struct auth_domains *domains)
{
    size_t count = domains->count + account->domain_count;

    domains->domains = xrealloc(domains->domains, (count + 1) * sizeof(*domains->domains));
    for (size_t i = 0; i < account->domain_count; i++)
        domains->domains[domains->count++] = (struct auth_domain_view){
            .name = xstrdup(account->domains[i].pattern),
            .account = xstrdup(account->handle),
            .verified = account->domains[i].verified,
            .created_s = account->domains[i].created_s,
        };
}

void auth_domain_list(struct auth *auth, const char *handle, struct auth_domains *domains)
{
    struct account *account;

    *domains = (struct auth_domains){ 0 };
    for (size_t i = 0; (account = table_account(auth->table, i)) != NULL; i++)
        if (handle == NULL || strcmp(account->handle, handle) == 0)
            show_domains(account, domains);
}

void auth_domains_free(struct auth_domains *domains)
{
    for (size_t i = 0; i < domains->count; i++) {
        free(domains->domains[i].name);
        free(domains->domains[i].account);
    }
    free(domains->domains);
    *domains = (struct auth_domains){ 0 };
}
