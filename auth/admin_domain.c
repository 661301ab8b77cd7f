/* admin_domain.c - the domains of accounts: claiming, proving, showing, removing.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed.
 *
 * A domain that is verified belongs to one account, and nobody else can have a name that it covers
 * or is covered by. One that is only claimed gives nobody anything and keeps nobody out: any number
 * of accounts may claim it, and whoever proves it first has it. So a claim is asked twice whether
 * it overlaps with a verified domain of another account: when it is made, and when it is verified.
 */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

static bool overlap(const char *a, const char *b)
{
    return pattern_covers(slice_of(a), slice_of(b)) || pattern_covers(slice_of(b), slice_of(a));
}

/* Would another account share names with it? Which one is not told: it is none of the asker's
 * business. */
static bool overlaps_others(const struct table *table, const struct account *account,
                            const char *pattern)
{
    struct account *other;

    for (size_t i = 0; (other = table_account(table, i)) != NULL; i++)
        for (size_t d = 0; other != account && d < other->domain_count; d++)
            if (other->domains[d].verified && overlap(other->domains[d].pattern, pattern))
                return true;
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

/* What anybody may ask for without proof must not grow without bounds. */
static enum auth_result check_room(const struct account *account, struct why *why)
{
    size_t pending = 0;

    for (size_t i = 0; i < account->domain_count; i++)
        pending += !account->domains[i].verified;
    if (pending < AUTH_PENDING_MAX && account->domain_count < AUTH_DOMAINS_MAX)
        return AUTH_DONE;
    if (pending >= AUTH_PENDING_MAX)
        why_set(why, "the account has %zu domains that are not verified: verify or remove some",
                pending);
    else
        why_set(why, "the account has %zu domains: remove some", account->domain_count);
    return AUTH_DOMAIN_LIMIT;
}

/* Commits and applies. domain: the account has it already, or NULL. */
static enum auth_result put_domain(struct auth *auth, const struct audit *audit,
                                   struct account *account, struct domain *domain,
                                   const char *pattern, bool verified, struct why *why)
{
    const struct domain_row row = { pattern, account->handle, verified, audit->at_s };

    if (!auth_store_put_domain(auth->store, &row, audit, why))
        return AUTH_FAILED;
    if (domain != NULL)
        domain->verified = verified;
    else
        account_add_domain(account, pattern, verified, audit->at_s);
    if (verified) /* one that waits for that gives nobody anything */
        table_refresh_account(auth->table, account);
    return AUTH_DONE;
}

enum auth_result auth_domain_add(struct auth *auth, const char *actor, const char *handle,
                                 const char *pattern, bool verified, int64_t now_s, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);
    const struct audit audit = { now_s,       actor,  verified ? "domain.verify" : "domain.add",
                                 pattern,     handle, handle,
                                 auth->origin };
    enum auth_result result = check_domain(auth, account, handle, pattern, why);

    if (result != AUTH_DONE)
        return result;
    struct domain *domain = account_find_domain(account, pattern);
    if (domain != NULL && (domain->verified || !verified))
        return AUTH_DONE; /* nothing new, and what was verified stays so */
    if (!verified && (result = check_room(account, why)) != AUTH_DONE)
        return result;
    return put_domain(auth, &audit, account, domain, pattern, verified, why);
}

static enum auth_result refuse_unknown(const char *handle, const char *pattern, struct why *why)
{
    why_set(why, "the account \"%.63s\" has no domain \"%.255s\"", handle, pattern);
    return AUTH_NOT_FOUND;
}

enum auth_result auth_domain_prove(struct auth *auth, const char *actor, const char *handle,
                                   const char *pattern, int64_t now_s, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);
    struct domain *domain = account == NULL ? NULL : account_find_domain(account, pattern);
    const struct audit audit = {
        now_s, actor, "domain.prove", pattern, handle, handle, auth->origin
    };

    if (domain == NULL)
        return refuse_unknown(handle, pattern, why);
    if (domain->verified)
        return AUTH_DONE;
    enum auth_result result = check_domain(auth, account, handle, pattern, why);
    return result != AUTH_DONE ? result
                               : put_domain(auth, &audit, account, domain, pattern, true, why);
}

enum auth_result auth_domain_remove(struct auth *auth, const char *actor, const char *handle,
                                    const char *pattern, int64_t now_s, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);
    struct domain *domain = account == NULL ? NULL : account_find_domain(account, pattern);
    const struct audit audit = { now_s,  actor,  "domain.remove", pattern,
                                 handle, handle, auth->origin };

    if (domain == NULL)
        return refuse_unknown(handle, pattern, why);
    if (!auth_store_remove_domain(auth->store, handle, pattern, &audit, why))
        return AUTH_FAILED;
    bool was_verified = domain->verified;
    account_remove_domain(account, domain);
    if (was_verified)
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
