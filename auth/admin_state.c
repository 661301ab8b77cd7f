/* admin_state.c - holding and releasing keys, suspending and resuming accounts, their plans.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. What somebody of a higher rank has held,
 * nobody of a lower one lets go: an account must not undo what the operator did to its key. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

/* --- keys ------------------------------------------------------------------------------------- */

/* A key that may be in either state, or NULL with the result. */
static struct key *find_changeable(struct auth *auth, const char *id, enum auth_result *result,
                                   struct why *why)
{
    struct key *key = table_find_key(auth->table, id);

    if (key == NULL) {
        why_set(why, "there is no key \"%.20s\"", id);
        *result = AUTH_NOT_FOUND;
        return NULL;
    }
    if (key->state == KEY_REVOKED) {
        why_set(why, "the key %s has been revoked, and that is final", key->id);
        *result = AUTH_CONFLICT;
        return NULL;
    }
    *result = AUTH_DONE;
    return key;
}

static enum auth_result set_state(struct auth *auth, struct key *key, enum key_state state,
                                  enum auth_rank held_by, const struct audit *audit,
                                  struct why *why)
{
    if (!auth_store_set_state(auth->store, key->id, state, held_by, audit, why))
        return AUTH_FAILED;
    key->state = state;
    key->held_by = held_by;
    table_refresh_key(auth->table, key, NULL);
    return AUTH_DONE;
}

enum auth_result auth_key_hold(struct auth *auth, const char *actor, enum auth_rank rank,
                               const char *id, int64_t now_s, struct why *why)
{
    enum auth_result result;
    struct key *key = find_changeable(auth, id, &result, why);

    if (key == NULL || (key->state == KEY_HELD && key->held_by >= rank))
        return result;
    const struct audit audit = { now_s,       actor,     "key.hold",
                                 key->id,     key->name, key->account->handle,
                                 auth->origin };
    return set_state(auth, key, KEY_HELD, rank, &audit, why);
}

enum auth_result auth_key_release(struct auth *auth, const char *actor, enum auth_rank rank,
                                  const char *id, int64_t now_s, struct why *why)
{
    enum auth_result result;
    struct key *key = find_changeable(auth, id, &result, why);

    if (key == NULL || key->state == KEY_ACTIVE)
        return result;
    if (key->held_by > rank) {
        why_set(why, "the key %s is held by the %s, who alone can release it", key->id,
                key->held_by == AUTH_RANK_OPERATOR ? "operator" : "parent of its account");
        return AUTH_DENIED;
    }
    const struct audit audit = { now_s,       actor,     "key.release",
                                 key->id,     key->name, key->account->handle,
                                 auth->origin };
    return set_state(auth, key, KEY_ACTIVE, key->held_by, &audit, why);
}

/* --- accounts --------------------------------------------------------------------------------- */

static struct account *find_account(struct auth *auth, const char *handle, struct why *why)
{
    struct account *account = table_find_account(auth->table, handle);

    if (account == NULL)
        why_set(why, "there is no account \"%.63s\"", handle);
    return account;
}

static enum auth_result set_suspended(struct auth *auth, struct account *account, bool suspended,
                                      enum auth_rank rank, const struct audit *audit,
                                      struct why *why)
{
    if (!auth_store_set_suspended(auth->store, account->handle, suspended, rank, audit, why))
        return AUTH_FAILED;
    account->suspended = suspended;
    account->suspended_by = rank;
    table_refresh_account(auth->table, account);
    for (size_t i = 0; i < account->child_count; i++)
        table_refresh_account(auth->table, account->children[i]);
    return AUTH_DONE;
}

enum auth_result auth_account_suspend(struct auth *auth, const char *actor, enum auth_rank rank,
                                      const char *handle, int64_t now_s, struct why *why)
{
    struct account *account = find_account(auth, handle, why);

    if (account == NULL)
        return AUTH_NOT_FOUND;
    if (account->suspended && account->suspended_by >= rank)
        return AUTH_DONE;
    const struct audit audit = { now_s, actor,           "account.suspend", account->handle,
                                 "",    account->handle, auth->origin };
    return set_suspended(auth, account, true, rank, &audit, why);
}

enum auth_result auth_account_resume(struct auth *auth, const char *actor, enum auth_rank rank,
                                     const char *handle, int64_t now_s, struct why *why)
{
    struct account *account = find_account(auth, handle, why);

    if (account == NULL)
        return AUTH_NOT_FOUND;
    if (!account->suspended)
        return AUTH_DONE;
    if (account->suspended_by > rank) {
        why_set(why, "the account \"%s\" is suspended by the operator, who alone can resume it",
                account->handle);
        return AUTH_DENIED;
    }
    const struct audit audit = { now_s, actor,           "account.resume", account->handle,
                                 "",    account->handle, auth->origin };
    return set_suspended(auth, account, false, account->suspended_by, &audit, why);
}

enum auth_result auth_account_set_plan(struct auth *auth, const char *actor, const char *handle,
                                       const char *plan, int64_t now_s, struct why *why)
{
    struct account *account = find_account(auth, handle, why);

    if (account == NULL)
        return AUTH_NOT_FOUND;
    if (plans_find(&auth->plans, plan) == NULL) {
        why_set(why, "there is no plan \"%.80s\" in the configuration", plan);
        return AUTH_INVALID;
    }
    const struct audit audit = { now_s, actor,           "account.plan", account->handle,
                                 plan,  account->handle, auth->origin };
    if (!auth_store_set_plan(auth->store, account->handle, plan, &audit, why))
        return AUTH_FAILED;
    free(account->plan);
    account->plan = xstrdup(plan);
    account_apply_plan(account, &auth->plans);
    return AUTH_DONE;
}
