/* admin_key.c - making, showing and revoking keys.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. */
#include "auth/auth_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

/* --- making ----------------------------------------------------------------------------------- */

/* May this account have this key, which is acceptable in itself? */
static enum auth_result check_account(struct auth *auth, const struct account *account,
                                      const struct auth_key_spec *spec, int64_t now_s,
                                      struct why *why)
{
    if (account == NULL) {
        why_set(why, "there is no account \"%.63s\"", spec->account);
        return AUTH_NOT_FOUND;
    }
    if (account->suspended) {
        why_set(why, "the account \"%s\" is suspended: no keys are made for it", account->handle);
        return AUTH_INVALID;
    }
    unsigned most = plans_get(&auth->plans, account->plan)->keys;
    if (most != 0 && account_active_keys(account, now_s) >= most) {
        why_set(why,
                "the account \"%s\" has %u active keys, as many as its plan allows: delete an "
                "unused key first",
                account->handle, most);
        return AUTH_LIMIT;
    }
    for (size_t i = 0; i < spec->domains.count; i++)
        if (!account_covers(account, spec->domains.items[i])) {
            why_set(why,
                    "\"%s\" is not a verified domain of the account \"%s\": add the domain first",
                    spec->domains.items[i], account->handle);
            return AUTH_INVALID;
        }
    return AUTH_DONE;
}

struct networks { /* of a key, each in the one spelling in which it is stored and shown */
    char texts[AUTH_LIST_MAX][NETWORK_TEXT_BYTES];
    const char *items[AUTH_LIST_MAX];
};

static struct auth_list spell_networks(const struct auth_list *from, struct networks *networks)
{
    struct network network;

    for (size_t i = 0; i < from->count; i++) {
        bool parsed = network_parse(slice_of(from->items[i]), &network);
        assert(parsed); /* spec_check() has seen to that */
        network_format(&network, networks->texts[i]);
        networks->items[i] = networks->texts[i];
    }
    return (struct auth_list){ networks->items, from->count };
}

static bool store_key(struct auth *auth, const char *actor, const struct key_row *row,
                      struct why *why)
{
    char *detail = xasprintf("account %s, name %s", row->account, row->name);
    const struct audit audit = { row->created_s, actor, "key.create", row->id, detail };
    bool ok = auth_store_add_key(auth->store, row, &audit, why);

    free(detail);
    return ok;
}

static void apply_key(struct auth *auth, const struct key_row *row, struct account *account)
{
    struct key *key = key_new();
    const char *bad;

    key_fill(key, row);
    bool parsed = key_parse_networks(key, &bad);
    assert(parsed); /* network_format() spelled them */
    key_apply_plan(key, plans_get(&auth->plans, account->plan));
    table_add_key(auth->table, key, account);
}

/* Two random ids of 62^8 are hardly ever the same, but the table is asked all the same. */
static void draw_key(struct auth *auth, const char *prefix, char *secret, char *id)
{
    do
        key_make(prefix, secret, id);
    while (table_find_key(auth->table, id) != NULL);
}

enum auth_result auth_key_create(struct auth *auth, const char *actor,
                                 const struct auth_key_spec *spec, int64_t now_s,
                                 char secret[static AUTH_KEY_TEXT_BYTES],
                                 char id[static AUTH_KEY_ID_BYTES], struct why *why)
{
    uint8_t hash[KEY_HASH_BYTES];
    struct networks networks = { 0 };

    if (!spec_check(spec, now_s, why))
        return AUTH_INVALID;
    struct account *account = table_find_account(auth->table, spec->account);
    enum auth_result result = check_account(auth, account, spec, now_s, why);
    if (result != AUTH_DONE)
        return result;

    const char *prefix = spec->test ? auth->prefix_test : auth->prefix_live;
    draw_key(auth, prefix, secret, id);
    key_hash(auth->pepper, slice_of(secret), hash);
    const struct key_row row = {
        .id = id,
        .account = account->handle,
        .name = spec->name,
        .prefix = prefix,
        .tail = secret + strlen(secret) - KEY_TAIL_DIGITS,
        .hash = hash,
        .scopes = spec->scopes,
        .test = spec->test,
        .state = KEY_ACTIVE,
        .rate_per_minute = spec->rate_per_minute,
        .recipients_per_day = spec->recipients_per_day,
        .created_s = now_s,
        .expires_s = spec->expires_s,
        .rules = { [RULE_DOMAIN] = spec->domains,
                   [RULE_SENDER] = spec->senders,
                   [RULE_RECIPIENT] = spec->recipients,
                   [RULE_NETWORK] = spell_networks(&spec->allow_from, &networks) },
    };
    if (store_key(auth, actor, &row, why)) {
        apply_key(auth, &row, account);
    } else {
        key_wipe(secret, AUTH_KEY_TEXT_BYTES);
        result = AUTH_FAILED;
    }
    key_wipe(hash, sizeof(hash));
    return result;
}

/* --- revoking --------------------------------------------------------------------------------- */

enum auth_result auth_key_revoke(struct auth *auth, const char *actor, const char *id,
                                 int64_t now_s, struct why *why)
{
    struct key *key = table_find_key(auth->table, id);
    uint8_t tombstone[KEY_HASH_BYTES];

    if (key == NULL) {
        why_set(why, "there is no key \"%.20s\"", id);
        return AUTH_NOT_FOUND;
    }
    if (key->state == KEY_REVOKED)
        return AUTH_DONE;
    const struct audit audit = { now_s, actor, "key.revoke", key->id, key->name };
    key_tombstone(auth->pepper, key->hash, tombstone);
    if (!auth_store_revoke_key(auth->store, key->id, tombstone, &audit, why))
        return AUTH_FAILED;
    table_revoke_key(auth->table, key, tombstone);
    return AUTH_DONE;
}

/* --- showing ---------------------------------------------------------------------------------- */

static const char *state_word(const struct key *key, int64_t now_s)
{
    if (key->state == KEY_REVOKED)
        return "revoked";
    if (!key_is_active(key, now_s))
        return "expired";
    return key->state == KEY_HELD ? "held" : "active";
}

static char **copy_texts(const struct texts *texts)
{
    char **copy = xcalloc(texts->count + 1, sizeof(*copy));

    for (size_t i = 0; i < texts->count; i++)
        copy[i] = xstrdup(texts->items[i]);
    return copy;
}

static void show_last_use(struct key *key, struct auth_key_view *view)
{
    struct usage_row usage;

    usage_copy(key, &usage);
    view->last_used_s = usage.last_s;
    if (usage.last_s == 0)
        return;
    view->last_address = xstrdup(usage.address[0] != '\0' ? usage.address : "unix");
    view->last_protocol = xstrdup(usage.protocol);
}

static void show_key(struct key *key, int64_t now_s, struct auth_key_view *view)
{
    char head[KEY_PREFIX_MAX + KEY_ID_DIGITS + 1];

    snprintf(head, sizeof(head), "%s%s", key->prefix, key->id);
    snprintf(view->prefix, sizeof(view->prefix), "%s%.4s", key->prefix, key->id);
    snprintf(view->masked, sizeof(view->masked), "%.8s...%s", head, key->tail);
    memcpy(view->id, key->id, sizeof(view->id));
    view->account = xstrdup(key->account->handle);
    view->plan = xstrdup(key->account->plan);
    view->name = xstrdup(key->name);
    view->scopes = key->scopes;
    view->domains = copy_texts(&key->rules[RULE_DOMAIN]);
    view->senders = copy_texts(&key->rules[RULE_SENDER]);
    view->recipients = copy_texts(&key->rules[RULE_RECIPIENT]);
    view->allow_from = copy_texts(&key->rules[RULE_NETWORK]);
    view->rate_per_minute = atomic_load(&key->rate_in_force);
    view->recipients_per_day = atomic_load(&key->recipients_in_force);
    view->state = state_word(key, now_s);
    view->created_s = key->created_s;
    view->expires_s = key->expires_s;
    view->test = key->test;
    show_last_use(key, view);
}

void auth_key_list(struct auth *auth, const char *account, int64_t now_s, struct auth_keys *keys)
{
    const struct account *owner = account == NULL ? NULL : table_find_account(auth->table, account);
    size_t room = 0;
    struct key *key;

    *keys = (struct auth_keys){ 0 };
    if (account != NULL && owner == NULL)
        return;
    for (size_t i = 0;; i++) {
        if (owner == NULL)
            key = table_key(auth->table, i);
        else
            key = i < owner->key_count ? owner->keys[i] : NULL;
        if (key == NULL)
            return;
        if (key->state == KEY_REVOKED)
            continue;
        if (keys->count == room) {
            room = room == 0 ? 16 : room * 2;
            keys->keys = xrealloc(keys->keys, room * sizeof(*keys->keys));
        }
        keys->keys[keys->count] = (struct auth_key_view){ 0 };
        show_key(key, now_s, &keys->keys[keys->count++]);
    }
}

enum auth_result auth_key_find(struct auth *auth, const char *id, int64_t now_s,
                               struct auth_keys *keys)
{
    struct key *key = table_find_key(auth->table, id);

    *keys = (struct auth_keys){ 0 };
    if (key == NULL)
        return AUTH_NOT_FOUND;
    keys->keys = xcalloc(1, sizeof(*keys->keys));
    keys->count = 1;
    show_key(key, now_s, &keys->keys[0]);
    return AUTH_DONE;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts[i] != NULL; i++)
        free(texts[i]);
    free(texts);
}

void auth_keys_free(struct auth_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        struct auth_key_view *view = &keys->keys[i];
        char **const lists[] = { view->domains, view->senders, view->recipients, view->allow_from };
        for (size_t list = 0; list < ARRAY_LEN(lists); list++)
            free_texts(lists[list]);
        free(view->account);
        free(view->name);
        free(view->plan);
        free(view->last_address);
        free(view->last_protocol);
    }
    free(keys->keys);
    *keys = (struct auth_keys){ 0 };
}
