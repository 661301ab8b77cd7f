/* admin_account.c - accounts: making and showing.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"

/* --- accounts --------------------------------------------------------------------------------- */

enum auth_result auth_account_create(struct auth *auth, const char *actor, const char *handle,
                                     const char *plan, int64_t now_s, struct why *why)
{
    const char *named = plan == NULL ? "default" : plan;

    if (!account_handle_is_valid(slice_of(handle))) {
        why_set(why,
                "\"%.80s\" is not a valid account name: it has 1 to %d of a-z, 0-9 "
                "and \"-\", and does not start with \"-\"",
                handle, AUTH_ACCOUNT_MAX);
        return AUTH_INVALID;
    }
    if (plans_find(&auth->plans, named) == NULL) {
        why_set(why, "there is no plan \"%.80s\" in the configuration", named);
        return AUTH_INVALID;
    }
    if (table_find_account(auth->table, handle) != NULL) {
        why_set(why, "the account \"%s\" exists already", handle);
        return AUTH_CONFLICT;
    }
    const struct account_row row = { handle, named, false, now_s };
    const struct audit audit = { now_s, actor, "account.create", handle, named };
    if (!auth_store_add_account(auth->store, &row, &audit, why))
        return AUTH_FAILED;
    table_add_account(auth->table, account_new(handle, named, false, now_s));
    return AUTH_DONE;
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
            .suspended = account->suspended,
            .created_s = account->created_s,
            .active_keys = account_active_keys(account, now_s),
        };
}

void auth_accounts_free(struct auth_accounts *accounts)
{
    for (size_t i = 0; i < accounts->count; i++) {
        free(accounts->accounts[i].handle);
        free(accounts->accounts[i].plan);
    }
    free(accounts->accounts);
    *accounts = (struct auth_accounts){ 0 };
}
