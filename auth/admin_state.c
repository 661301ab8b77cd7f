/* admin_state.c - holding and releasing keys.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. What somebody of a higher rank has held,
 * nobody of a lower one lets go: an account must not undo what the operator did to its key. */
#include "auth/auth_priv.h"

#include <stdlib.h>

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
    const struct audit audit = { now_s, actor, "key.hold", key->id, key->name };
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
    const struct audit audit = { now_s, actor, "key.release", key->id, key->name };
    return set_state(auth, key, KEY_ACTIVE, key->held_by, &audit, why);
}
