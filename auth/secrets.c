/* secrets.c - what becomes of the secrets of a key: rotated, ended, revoked.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed.
 *
 * A rotation makes the current secret the former one, with an end. While that lasts, another one
 * would end a secret that is in use, and is refused, unless nobody has used the new secret yet:
 * then it was lost on its way, and is replaced. Uses are written some seconds late (usage.c), so
 * after a crash it is not known that nobody has, and it is not replaced: a row that is there while
 * such a secret is watched, and goes when all uses are written, tells of the crash. From that end
 * on it lets nobody in, whatever else happens: the grants know it. Some seconds later, or at the
 * next start, its hash is replaced by a tombstone, which recognises it, so that whoever still uses
 * it can be told why it does not work, and is of no other use. The next rotation drops that, too.
 */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

/* --- what is to be, and how it is stored ------------------------------------------------------ */

static void erase(const struct auth *auth, struct secret *secret)
{
    uint8_t hash[KEY_HASH_BYTES];

    if (secret->number == 0 || secret->erased)
        return;
    memcpy(hash, secret->hash, sizeof(hash));
    key_tombstone(auth->pepper, hash, secret->hash);
    key_wipe(hash, sizeof(hash));
    secret->erased = true;
}

static void describe(const struct secret *secrets, struct secret_row *rows)
{
    for (size_t i = 0; i < KEY_SECRETS; i++)
        if (secrets[i].number != 0)
            rows[i] = (struct secret_row){ .hash = secrets[i].hash,
                                           .tail = secrets[i].tail,
                                           .made_s = secrets[i].made_s,
                                           .until_s = secrets[i].until_s,
                                           .erased = secrets[i].erased };
}

static struct key *find_key(struct auth *auth, const char *id, struct why *why)
{
    struct key *key = table_find_key(auth->table, id);

    if (key == NULL)
        why_set(why, "there is no key \"%.20s\"", id);
    return key;
}

/* --- rotating --------------------------------------------------------------------------------- */

static bool former_works(const struct key *key, int64_t now_s)
{
    const struct secret *former = &key->secrets[SECRET_FORMER];

    return former->number != 0 && !former->erased && now_s < former->until_s;
}

static bool current_was_used(struct key *key)
{
    struct usage_row usage;

    usage_copy(key, &usage);
    return usage.uses[SECRET_CURRENT].last_s != 0;
}

/* Why it must not be replaced, or NULL. */
static const char *why_not_lost(struct key *key)
{
    if (current_was_used(key))
        return "";
    return key->secrets[SECRET_CURRENT].doubtful
               ? ", and whether its new one was used before a crash is not known"
               : NULL;
}

static enum auth_result check_rotation(struct key *key, int64_t overlap_s, int64_t now_s,
                                       struct why *why)
{
    if (overlap_s < 0 || overlap_s > AUTH_OVERLAP_MAX_S) {
        why_set(why, "the overlap is from 0 to %d days", AUTH_OVERLAP_MAX_S / 86400);
        return AUTH_INVALID;
    }
    if (key->state == KEY_REVOKED) {
        why_set(why, "the key %s has been revoked, and that is final: make another", key->id);
        return AUTH_CONFLICT;
    }
    if (!key_is_active(key, now_s)) {
        why_set(why, "the key %s has expired: make another", key->id);
        return AUTH_CONFLICT;
    }
    const char *in_use = overlap_s > 0 && former_works(key, now_s) ? why_not_lost(key) : NULL;
    if (in_use == NULL)
        return AUTH_DONE;
    why_set(why,
            "the key %s is being rotated, and its former secret works for %lld seconds more%s: "
            "wait for that, or rotate without overlap, which ends both that are in use",
            key->id, (long long)(key->secrets[SECRET_FORMER].until_s - now_s), in_use);
    return AUTH_CONFLICT;
}

static void plan_rotation(const struct auth *auth, const struct key *key, const char *text,
                          bool replaces_lost, int64_t overlap_s, int64_t now_s, struct secret *next)
{
    struct secret *current = &next[SECRET_CURRENT], *former = &next[SECRET_FORMER];

    *former = key->secrets[replaces_lost ? SECRET_FORMER : SECRET_CURRENT];
    former->until_s = now_s + overlap_s;
    if (overlap_s == 0)
        erase(auth, former);
    *current =
        (struct secret){ .number = key->secrets[SECRET_CURRENT].number + 1, .made_s = now_s };
    memcpy(current->tail, text + strlen(text) - KEY_TAIL_DIGITS, KEY_TAIL_DIGITS + 1);
    key_hash(auth->pepper, slice_of(text), current->hash);
}

static bool store_rotation(struct auth *auth, const char *actor, const struct key *key,
                           const struct secret *next, bool replaces_lost, int64_t overlap_s,
                           int64_t now_s, struct why *why)
{
    char *detail = xasprintf("overlap %lld s", (long long)overlap_s);
    struct secrets_change change = { .key = key->id,
                                     .rotated = !replaces_lost,
                                     .watched = overlap_s > 0,
                                     .audit = { now_s, actor, "key.rotate", key->id, detail,
                                                key->account->handle, auth->origin } };

    describe(next, change.secrets);
    bool ok = auth_store_put_secrets(auth->store, &change, 1, why);
    free(detail);
    return ok;
}

enum auth_result auth_key_rotate(struct auth *auth, const char *actor, const char *id,
                                 int64_t overlap_s, int64_t now_s,
                                 char secret[static AUTH_KEY_TEXT_BYTES], struct why *why)
{
    struct secret next[KEY_SECRETS];
    struct key *key = find_key(auth, id, why);

    if (key == NULL)
        return AUTH_NOT_FOUND;
    enum auth_result result = check_rotation(key, overlap_s, now_s, why);
    if (result != AUTH_DONE)
        return result;
    bool replaces_lost = overlap_s > 0 && former_works(key, now_s);
    key_make_again(key->prefix, key->id, secret);
    plan_rotation(auth, key, secret, replaces_lost, overlap_s, now_s, next);
    if (store_rotation(auth, actor, key, next, replaces_lost, overlap_s, now_s, why)) {
        usage_rotate(&auth->pending, key, !replaces_lost, next[SECRET_CURRENT].number);
        table_refresh_key(auth->table, key, next);
        if (overlap_s > 0)
            secrets_note_end(auth, next[SECRET_FORMER].until_s);
    } else {
        key_wipe(secret, AUTH_KEY_TEXT_BYTES);
        result = AUTH_FAILED;
    }
    key_wipe(next, sizeof(next));
    return result;
}

/* --- watching for the first use --------------------------------------------------------------- */

/* Is it being rotated, and nothing known of a use of its new secret? */
static bool is_watched(struct key *key)
{
    const struct secret *former = &key->secrets[SECRET_FORMER];

    return key->state != KEY_REVOKED && former->number != 0 && !former->erased &&
           !current_was_used(key);
}

static void set_doubtful(struct auth *auth, bool doubtful, bool *any)
{
    struct key *key;

    *any = false;
    for (size_t i = 0; (key = table_key(auth->table, i)) != NULL; i++)
        if (is_watched(key)) {
            key->secrets[SECRET_CURRENT].doubtful = doubtful;
            *any = true;
        }
}

bool secrets_begin_watch(struct auth *auth, struct why *why)
{
    bool missed, any;

    if (!auth_store_missed_first_uses(auth->store, &missed, why))
        return false;
    set_doubtful(auth, missed, &any);
    /* A full disk is no reason not to start: what cannot be watched is in doubt. */
    if (any && !missed && !auth_store_watch_first_uses(auth->store, true, why))
        set_doubtful(auth, true, &any);
    return true;
}

/* What is in doubt stays so, in the next process too. */
void secrets_end_watch(struct auth *auth)
{
    struct why why; /* the store has logged it, and the row stays */
    struct key *key;
    bool set;

    if (!auth_store_missed_first_uses(auth->store, &set, &why) || !set)
        return;
    for (size_t i = 0; (key = table_key(auth->table, i)) != NULL; i++)
        if (is_watched(key) && key->secrets[SECRET_CURRENT].doubtful)
            return;
    (void)auth_store_watch_first_uses(auth->store, false, &why);
}

/* --- revoking --------------------------------------------------------------------------------- */

enum auth_result auth_key_revoke(struct auth *auth, const char *actor, const char *id,
                                 int64_t now_s, struct why *why)
{
    struct secret next[KEY_SECRETS];
    struct key *key = find_key(auth, id, why);

    if (key == NULL)
        return AUTH_NOT_FOUND;
    if (key->state == KEY_REVOKED)
        return AUTH_DONE;
    struct secrets_change change = { .key = key->id,
                                     .revoked = true,
                                     .audit = { now_s, actor, "key.revoke", key->id, key->name,
                                                key->account->handle, auth->origin } };
    memcpy(next, key->secrets, sizeof(next));
    for (size_t i = 0; i < KEY_SECRETS; i++)
        erase(auth, &next[i]);
    describe(next, change.secrets);
    bool ok = auth_store_put_secrets(auth->store, &change, 1, why);
    if (ok) {
        key->state = KEY_REVOKED;
        table_refresh_key(auth->table, key, next);
    }
    key_wipe(next, sizeof(next));
    return ok ? AUTH_DONE : AUTH_FAILED;
}

/* --- ending ----------------------------------------------------------------------------------- */

void secrets_note_end(struct auth *auth, int64_t until_s)
{
    if (until_s != 0 && (auth->next_end_s == 0 || until_s < auth->next_end_s))
        auth->next_end_s = until_s;
}

struct ending { /* keys whose former secret has ended, and what they have from now on */
    struct key **keys;
    struct secret (*next)[KEY_SECRETS];
    struct secrets_change *changes;
    size_t count;
};

/* Also finds the next end among those that go on. */
static void collect(struct auth *auth, int64_t now_s, struct ending *ending)
{
    struct key *key;

    auth->next_end_s = 0;
    for (size_t i = 0; (key = table_key(auth->table, i)) != NULL; i++) {
        const struct secret *former = &key->secrets[SECRET_FORMER];
        if (former->number == 0 || former->erased)
            continue;
        if (now_s < former->until_s) {
            secrets_note_end(auth, former->until_s);
            continue;
        }
        ending->keys = xrealloc(ending->keys, (ending->count + 1) * sizeof(*ending->keys));
        ending->keys[ending->count++] = key;
    }
}

static bool store_ending(struct auth *auth, int64_t now_s, struct ending *ending)
{
    struct why why; /* the store has logged it */

    ending->next = xcalloc(ending->count, sizeof(*ending->next));
    ending->changes = xcalloc(ending->count, sizeof(*ending->changes));
    for (size_t i = 0; i < ending->count; i++) {
        const struct key *key = ending->keys[i];
        struct secret *next = ending->next[i];
        memcpy(next, key->secrets, sizeof(key->secrets));
        erase(auth, &next[SECRET_FORMER]);
        ending->changes[i] =
            (struct secrets_change){ .key = key->id,
                                     .audit = { now_s, "latchpost", "key.rotated", key->id,
                                                key->name, key->account->handle, "" } };
        describe(next, ending->changes[i].secrets);
    }
    return auth_store_put_secrets(auth->store, ending->changes, ending->count, &why);
}

bool secrets_end(struct auth *auth, int64_t now_s)
{
    struct ending ending = { 0 };
    int64_t was_s = auth->next_end_s;
    bool ok = true;

    if (was_s == 0 || now_s < was_s)
        return true;
    collect(auth, now_s, &ending);
    if (ending.count > 0)
        ok = store_ending(auth, now_s, &ending);
    for (size_t i = 0; ok && i < ending.count; i++)
        table_refresh_key(auth->table, ending.keys[i], ending.next[i]);
    if (!ok)
        auth->next_end_s = was_s;
    if (ending.next != NULL)
        key_wipe(ending.next, ending.count * sizeof(*ending.next));
    free(ending.keys);
    free(ending.next);
    free(ending.changes);
    return ok;
}
