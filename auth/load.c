/* load.c - what do the rows of keys.db make, all together?
 * Called once, by auth_open(), before anybody checks. Rows that contradict each other (a key of no
 * account, a network that is none) are refused: to leave a restriction out because it cannot be
 * read would open what it closed. */
#include "auth/auth_priv.h"

struct loading {
    struct table *table;
    const char *path;
};

static bool refuse(const struct loading *loading, const char *what, const char *name,
                   struct why *why)
{
    return why_set(why, "%s is damaged (%s %.80s): restore it from a backup", loading->path, what,
                   name);
}

static bool on_account(void *owner, const struct account_row *row, struct why *why)
{
    struct loading *loading = owner;

    if (!account_handle_is_valid(slice_of(row->handle)))
        return refuse(loading, "the name of account", row->handle, why);
    struct account *account = account_new(row->handle, row->plan, row->suspended, row->created_s);
    account->suspended_by = row->suspended_by;
    table_add_account(loading->table, account);
    return true;
}

/* One level and no more: whoever came later cannot make a parent of a sub-account. */
static bool on_parent(void *owner, const char *handle, const char *parent, struct why *why)
{
    struct loading *loading = owner;
    struct account *account = table_find_account(loading->table, handle);
    struct account *found = table_find_account(loading->table, parent);

    if (account == NULL || found == NULL || found == account || found->parent != NULL ||
        account->child_count > 0)
        return refuse(loading, "the parent of account", handle, why);
    account_adopt(found, account);
    return true;
}

static bool on_domain(void *owner, const struct domain_row *row, struct why *why)
{
    struct loading *loading = owner;
    struct account *account = table_find_account(loading->table, row->account);

    if (account == NULL || !pattern_is_valid(slice_of(row->pattern)))
        return refuse(loading, "domain", row->pattern, why);
    account_add_domain(account, row->pattern, row->verified, row->created_s);
    return true;
}

static bool tails_fit(const struct key_row *row)
{
    for (size_t i = 0; i < KEY_SECRETS; i++)
        if (row->secrets[i].hash != NULL && strlen(row->secrets[i].tail) != KEY_TAIL_DIGITS)
            return false;
    return true;
}

static bool on_key(void *owner, const struct key_row *row, struct why *why)
{
    struct loading *loading = owner;
    struct account *account = table_find_account(loading->table, row->account);

    if (account == NULL || strlen(row->id) != KEY_ID_DIGITS ||
        table_find_key(loading->table, row->id) != NULL ||
        !key_prefix_is_valid(slice_of(row->prefix)) || !tails_fit(row))
        return refuse(loading, "key", row->id, why);
    struct key *key = key_new();
    key_fill(key, row);
    table_load_key(loading->table, key, account);
    return true;
}

static bool on_rule(void *owner, const struct rule_row *row, struct why *why)
{
    struct loading *loading = owner;
    struct key *key = table_find_key(loading->table, row->key);

    if (key == NULL)
        return refuse(loading, "a rule of key", row->key, why);
    texts_add(&key->rules[row->kind], row->value);
    return true;
}

static bool on_usage(void *owner, const struct usage_row *row, struct why *why)
{
    struct loading *loading = owner;
    struct key *key = table_find_key(loading->table, row->key);

    if (key == NULL)
        return refuse(loading, "the usage of key", row->key, why);
    usage_restore(key, row);
    return true;
}

bool load_table(struct table *table, struct auth_store *store, const char *path, struct why *why)
{
    static const struct auth_store_visitor visitor = {
        on_account, on_parent, on_domain, on_key, on_rule, on_usage,
    };
    struct loading loading = { table, path };
    struct key *key;
    struct account *account;
    const char *bad;

    if (!auth_store_load(store, &visitor, &loading, why))
        return false;
    for (size_t i = 0; (key = table_key(table, i)) != NULL; i++)
        if (!key_parse_networks(key, &bad))
            return refuse(&loading, "network", bad, why);
    for (size_t i = 0; (account = table_account(table, i)) != NULL; i++)
        table_refresh_account(table, account);
    return true;
}
