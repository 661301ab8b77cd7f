/* admin_key.c - making keys.
 * The administration's thread. Each change is committed first, then applied to the table, then
 * answered; when the commit fails nothing has changed. */
#include "auth/auth_priv.h"

#include <assert.h>
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
    if (account_is_suspended(account)) {
        why_set(why, "the account \"%s\" is suspended: no keys are made for it", account->handle);
        return AUTH_INVALID;
    }
    unsigned most = plans_of(&auth->plans, account).keys;
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
    const struct audit audit = { row->created_s, actor,        "key.create", row->id,
                                 detail,         row->account, auth->origin };
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
    const struct auth_plan plan = plans_of(&auth->plans, account);
    key_apply_plan(key, &plan);
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
        .secrets = { [SECRET_CURRENT] = { .hash = hash,
                                          .tail = secret + strlen(secret) - KEY_TAIL_DIGITS,
                                          .made_s = now_s } },
        .scopes = spec->scopes,
        .test = spec->test,
        .state = KEY_ACTIVE,
        .rate_per_minute = spec->rate_per_minute,
        .recipients_per_day = spec->recipients_per_day,
        .message_size_bytes = spec->message_size_bytes,
        .sessions_max = spec->sessions,
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
