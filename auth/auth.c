/* auth.c - is this a key, and may it be used now, from here, for that?
 * Opening, checking and counting; what changes keys and accounts is in admin_*.c and secrets.c. The
 * head of auth.h says which call may come from which thread.
 *
 * A check does the same work whatever it is given: form and check digits, the hash, its tombstone,
 * a look into the table, four comparisons. Only then it decides; so neither the time nor the answer
 * tells an id that exists from one that does not, and the reason of a refusal is told only to
 * whoever has shown the secret. */
#include "auth/auth_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"

/* --- opening and closing ---------------------------------------------------------------------- */

static bool check_options(const struct auth_options *options, struct why *why)
{
    const char *const prefixes[] = { options->prefix_live, options->prefix_test };

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (!key_prefix_is_valid(slice_of(prefixes[i])))
            return why_set(why,
                           "\"%.20s\" is not a valid prefix for keys: it has 1 to 11 of a-z, 0-9 "
                           "and \"_\", and ends in \"_\"",
                           prefixes[i] == NULL ? "" : prefixes[i]);
    if (strcmp(prefixes[0], prefixes[1]) == 0)
        return why_set(why, "live and test keys need different prefixes, both are \"%s\"",
                       prefixes[0]);
    return true;
}

/* A pepper may be made only while there can be no key yet. What cannot be looked at is taken to be
 * there; opening it will say what is wrong. */
static bool open_pepper(struct auth *auth, const struct auth_options *options, struct why *why)
{
    struct stat info;
    bool fresh = stat(options->path, &info) != 0 && errno == ENOENT;

    auth->pepper = key_pepper_new(why);
    return auth->pepper != NULL &&
           pepper_load(auth->pepper, options->pepper_path, options->pepper_hex, fresh, why);
}

static bool check_canary(struct auth *auth, const struct auth_options *options, struct why *why)
{
    uint8_t ours[KEY_HASH_BYTES], stored[KEY_HASH_BYTES];
    bool found;

    key_canary(auth->pepper, ours);
    if (!auth_store_read_canary(auth->store, stored, &found, why))
        return false;
    if (!found)
        return auth_store_found(auth->store, ours, clock_wall_s(), why);
    if (key_hash_equal(ours, stored))
        return true;
    return why_set(
        why, "the keys in %s were hashed with another pepper than %s: restore the right one",
        options->path,
        options->pepper_hex != NULL ? "the one in the environment" : options->pepper_path);
}

static void apply_plans(struct auth *auth)
{
    struct account *account;

    for (size_t i = 0; (account = table_account(auth->table, i)) != NULL; i++) {
        if (plans_find(&auth->plans, account->plan) == NULL)
            LOG(LOG_WARNING, "plan_unknown", LOG_STR("account", account->handle),
                LOG_STR("plan", account->plan), LOG_STR("instead", "default"));
        if (account->parent == NULL)
            account_apply_plan(account, &auth->plans);
    }
}

/* What a refusal is known by must not be what another is known by, though the clock went back. */
static bool raise_ids(struct auth_store *store, struct why *why)
{
    int64_t last_id;
    bool ok = auth_store_last_id(store, &last_id, why);

    if (ok)
        ident_raise_floor(last_id);
    return ok;
}

static void note_ends(struct auth *auth)
{
    struct key *key;

    for (size_t i = 0; (key = table_key(auth->table, i)) != NULL; i++)
        if (!key->secrets[SECRET_FORMER].erased)
            secrets_note_end(auth, key->secrets[SECRET_FORMER].until_s);
}

static void free_auth(struct auth *auth)
{
    auth_store_close(auth->store);
    table_free(auth->table);
    penalty_free(auth->penalty);
    refusals_free(auth->refusals);
    plans_free(&auth->plans);
    key_pepper_free(auth->pepper);
    free(auth->prefix_live);
    free(auth->prefix_test);
    free(auth);
}

bool auth_open(struct auth **out, const struct auth_options *options, struct why *why)
{
    const struct penalty_options penalty = {
        .failures = options->penalty_failures,
        .window_s = options->penalty_window_s,
        .penalty_s = options->penalty_s,
        .addresses_max = PENALTY_ADDRESSES_MAX,
        .tarpit_ms = options->tarpit_ms,
    };

    if (!check_options(options, why) || !key_start(why))
        return false;
    struct auth *auth = xcalloc(1, sizeof(*auth));

    auth->prefix_live = xstrdup(options->prefix_live);
    auth->prefix_test = xstrdup(options->prefix_test);
    auth->table = table_new();
    auth->penalty = penalty_new(&penalty);
    auth->refusals = refusals_new(REFUSALS_KEPT_MAX);
    plans_set(&auth->plans, options->plans, options->plan_count);
    if (!open_pepper(auth, options, why) || !auth_store_open(&auth->store, options->path, why) ||
        !check_canary(auth, options, why) ||
        !load_table(auth->table, auth->store, options->path, why) || !raise_ids(auth->store, why) ||
        !secrets_begin_watch(auth, why)) {
        free_auth(auth);
        return false;
    }
    apply_plans(auth);
    note_ends(auth);
    *out = auth;
    return true;
}

void auth_close(struct auth *auth)
{
    if (auth == NULL)
        return;
    if (auth_flush(auth)) /* what cannot be written was logged and is lost: it was only counted */
        secrets_end_watch(auth);
    free_auth(auth);
}

void auth_set_plans(struct auth *auth, const struct auth_plan *plans, size_t plan_count)
{
    plans_set(&auth->plans, plans, plan_count);
    apply_plans(auth);
}

void auth_set_origin(struct auth *auth, const char *origin)
{
    snprintf(auth->origin, sizeof(auth->origin), "%s", origin);
}

bool auth_flush(struct auth *auth)
{
    bool ended = secrets_end(auth, clock_wall_s());
    bool noted = refusals_flush(auth->refusals, auth->store, clock_wall_s());

    return usage_flush(&auth->pending, auth->store) && ended && noted;
}

/* --- checking --------------------------------------------------------------------------------- */

const char *auth_verdict_text(enum auth_verdict verdict)
{
    static const char *const texts[] = {
        [AUTH_OK] = "this key may be used",
        [AUTH_UNKNOWN] = "this is not a valid API key",
        [AUTH_REVOKED] = "this key has been revoked",
        [AUTH_REPLACED] = "this key has been replaced by a newer one",
        [AUTH_EXPIRED] = "this key has expired",
        [AUTH_HELD] = "this key is on hold",
        [AUTH_SUSPENDED] = "the account of this key is suspended",
        [AUTH_WRONG_ADDRESS] = "this key may not be used from this address",
        [AUTH_WRONG_SCOPE] = "this key does not have the scope for this",
    };

    return (size_t)verdict < ARRAY_LEN(texts) ? texts[verdict] : texts[AUTH_UNKNOWN];
}

static enum auth_verdict judge(const struct auth_grant *grant, unsigned scopes,
                               const struct auth_peer *peer, int64_t now_s)
{
    enum auth_verdict verdict = grant_verdict(grant, now_s);

    if (verdict != AUTH_OK)
        return verdict;
    if (!grant_permits_address(grant, peer))
        return AUTH_WRONG_ADDRESS;
    return auth_grant_has(grant, scopes) ? AUTH_OK : AUTH_WRONG_SCOPE;
}

/* Whose secret is it? A reference to its grant, or NULL. */
static struct auth_grant *recognise(struct auth *auth, struct slice secret)
{
    uint8_t hash[KEY_HASH_BYTES], tombstone[KEY_HASH_BYTES];
    char id[KEY_ID_DIGITS];
    struct table_hit hit;
    struct auth_grant *found = NULL;
    bool shaped = key_parse(secret, id);

    key_hash(auth->pepper, secret, hash);
    key_tombstone(auth->pepper, hash, tombstone);
    table_lookup(auth->table, slice_make(id, sizeof(id)), &hit);
    for (size_t i = 0; i < KEY_SECRETS && found == NULL; i++) {
        struct auth_grant *held = hit.secrets[i].held;
        bool erased = held != NULL && held->erased, known = hit.secrets[i].grant != NULL;
        const bool shown[] = { key_hash_equal(hash, hit.secrets[i].hash),
                               key_hash_equal(tombstone, hit.secrets[i].hash) };
        if (shaped & known & shown[erased]) { /* the only branch on it */
            found = held;
            hit.secrets[i].held = NULL;
        }
    }
    key_wipe(hash, sizeof(hash));
    key_wipe(tombstone, sizeof(tombstone));
    table_let_go(&hit);
    return found;
}

int64_t auth_note_refusal(struct auth *auth, const struct auth_refusal *refusal, int64_t now_s)
{
    const char *const prefixes[] = { auth->prefix_live, auth->prefix_test };
    struct refusal_texts texts = { .action = "" };

    if (refusal->grant != NULL) {
        snprintf(texts.actor, sizeof(texts.actor), "%s", auth_grant_key_id(refusal->grant));
        snprintf(texts.account, sizeof(texts.account), "%s", auth_grant_account(refusal->grant));
    }
    snprintf(texts.from, sizeof(texts.from), "%s",
             refusal->from == NULL ? AUTH_FROM_SOCKET : refusal->from);
    snprintf(texts.protocol, sizeof(texts.protocol), "%s", refusal->protocol);
    refusals_text(texts.subject, sizeof(texts.subject), refusal->subject, prefixes);
    refusals_text(texts.rule, sizeof(texts.rule), slice_of(refusal->rule), prefixes);
    return refusals_note(auth->refusals, refusal->what, &texts, now_s);
}

/* found: whose secret it was, or NULL. What is known of the key is told to nobody but whoever may
 * read the audit trail of its account. */
static void note_refused_login(struct auth *auth, const struct auth_grant *found,
                               const struct auth_peer *peer, const char *rule, int64_t now_s)
{
    char from[NETWORK_TEXT_BYTES] = "";

    if (peer->has_address)
        network_format_address(peer->address, from);
    (void)auth_note_refusal(auth,
                            &(struct auth_refusal){ .what = AUTH_REFUSED_LOGIN,
                                                    .grant = found,
                                                    .from = peer->has_address ? from : NULL,
                                                    .protocol = peer->protocol,
                                                    .subject = peer->user,
                                                    .rule = rule },
                            now_s);
}

enum auth_verdict auth_check(struct auth *auth, struct slice secret, unsigned scopes,
                             const struct auth_peer *peer, int64_t now_s, struct auth_grant **grant)
{
    struct auth_grant *found = recognise(auth, secret);
    enum auth_verdict verdict = found == NULL ? AUTH_UNKNOWN : judge(found, scopes, peer, now_s);

    if (verdict != AUTH_OK) {
        note_refused_login(auth, found, peer, auth_verdict_text(verdict), now_s);
        auth_grant_unref(found);
        if (peer->has_address)
            penalty_failed(auth->penalty, peer->address, now_s);
        return verdict;
    }
    if (peer->has_address)
        penalty_succeeded(auth->penalty, peer->address);
    usage_note(&auth->pending, found->key, found->secret, peer, now_s);
    *grant = found;
    return AUTH_OK;
}

unsigned auth_penalty_s(struct auth *auth, const struct auth_peer *peer, int64_t now_s)
{
    unsigned left_s = peer->has_address ? penalty_left_s(auth->penalty, peer->address, now_s) : 0;

    if (left_s > 0)
        note_refused_login(auth, NULL, peer, "too many refused logins from this address", now_s);
    return left_s;
}

uint64_t auth_tarpit_ms(struct auth *auth, const struct auth_peer *peer, int64_t now_s)
{
    return peer->has_address ? penalty_tarpit_ms(auth->penalty, peer->address, now_s) : 0;
}

enum auth_verdict auth_grant_renew(struct auth *auth, struct auth_grant **grant, int64_t now_s)
{
    struct auth_grant *fresh = table_grant_of(auth->table, (*grant)->key, (*grant)->secret);
    enum auth_verdict verdict = fresh == NULL ? AUTH_REPLACED : grant_verdict(fresh, now_s);

    if (verdict != AUTH_OK) {
        auth_grant_unref(fresh);
        return verdict;
    }
    auth_grant_unref(*grant);
    *grant = fresh;
    return AUTH_OK;
}

/* --- counting --------------------------------------------------------------------------------- */

bool auth_take_message(struct auth *auth, const struct auth_grant *grant, int64_t now_ms,
                       unsigned *wait_s)
{
    struct key *key = grant->key;
    unsigned rate = atomic_load(&key->rate_in_force);

    (void)auth;
    if (rate == 0)
        return true;
    pthread_mutex_lock(&key->usage.lock);
    bool taken = limit_take_rate(&key->usage.rate, rate, now_ms, wait_s);
    pthread_mutex_unlock(&key->usage.lock);
    return taken;
}

bool auth_take_recipient(struct auth *auth, const struct auth_grant *grant, int64_t now_s,
                         unsigned *wait_s)
{
    struct key *key = grant->key;
    uint64_t per_day = atomic_load(&key->recipients_in_force);

    pthread_mutex_lock(&key->usage.lock);
    bool taken = limit_take_day(&key->usage.day, per_day, now_s, wait_s);
    pthread_mutex_unlock(&key->usage.lock);
    if (taken)
        usage_changed(&auth->pending, key);
    return taken;
}

void auth_return_message(const struct auth_grant *grant)
{
    struct key *key = grant->key;

    pthread_mutex_lock(&key->usage.lock);
    limit_give_rate(&key->usage.rate, atomic_load(&key->rate_in_force));
    pthread_mutex_unlock(&key->usage.lock);
}

void auth_return_recipients(struct auth *auth, const struct auth_grant *grant, unsigned count,
                            int64_t taken_s)
{
    struct key *key = grant->key;

    pthread_mutex_lock(&key->usage.lock);
    limit_give_day(&key->usage.day, count, taken_s);
    pthread_mutex_unlock(&key->usage.lock);
    usage_changed(&auth->pending, key);
}

void auth_look_at_limits(const struct auth_grant *grant, int64_t now_ms,
                         struct auth_allowances *allowances)
{
    struct key *key = grant->key;
    unsigned rate = atomic_load(&key->rate_in_force);
    uint64_t per_day = atomic_load(&key->recipients_in_force);
    struct auth_allowance messages = { .limit = rate }, recipients = { .limit = per_day };

    pthread_mutex_lock(&key->usage.lock);
    if (rate != 0)
        messages.left = limit_rate_left(&key->usage.rate, rate, now_ms, &messages.reset_s);
    if (per_day != 0)
        recipients.left =
            limit_day_left(&key->usage.day, per_day, now_ms / 1000, &recipients.reset_s);
    pthread_mutex_unlock(&key->usage.lock);
    *allowances = (struct auth_allowances){ messages, recipients };
}

bool auth_session_enter(const struct auth_grant *grant)
{
    struct key *key = grant->key;
    unsigned count = atomic_load(&key->sessions);

    do {
        if (key->sessions_max != 0 && count >= key->sessions_max)
            return false;
    } while (!atomic_compare_exchange_weak(&key->sessions, &count, count + 1));
    return true;
}

void auth_session_leave(const struct auth_grant *grant)
{
    atomic_fetch_sub(&grant->key->sessions, 1);
}
