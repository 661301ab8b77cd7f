/* admin_account.c - accounts: making and showing.
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
    const struct audit audit = { now_s,  actor,  "account.create", handle,
                                 detail, handle, auth->origin };
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
