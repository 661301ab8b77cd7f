/* key_view.c - what may be shown of a key?
 * Copies, so that they may be kept while the key changes; never a secret nor a hash. The
 * administration's thread. */
#include "auth/auth_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

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

static void show_use(const struct use_row *use, int64_t *last_s, char **address, char **protocol)
{
    *last_s = use->last_s;
    if (use->last_s == 0)
        return;
    *address = xstrdup(use->address[0] != '\0' ? use->address : "unix");
    *protocol = xstrdup(use->protocol);
}

static void mask(const struct key *key, const struct secret *secret, char *masked, size_t size)
{
    char head[KEY_PREFIX_MAX + KEY_ID_DIGITS + 1];

    snprintf(head, sizeof(head), "%s%s", key->prefix, key->id);
    snprintf(masked, size, "%.8s...%s", head, secret->tail);
}

static void show_secrets(struct key *key, const struct usage_row *usage, int64_t now_s,
                         struct auth_key_view *view)
{
    for (size_t i = 0; i < KEY_SECRETS; i++) {
        const struct secret *secret = &key->secrets[i];
        struct auth_secret_view *shown = &view->secrets[view->secret_count];
        if (secret->number == 0 || secret->erased ||
            (secret->until_s != 0 && now_s >= secret->until_s))
            continue;
        mask(key, secret, shown->masked, sizeof(shown->masked));
        shown->made_s = secret->made_s;
        shown->until_s = secret->until_s;
        show_use(&usage->uses[i], &shown->last_used_s, &shown->last_address, &shown->last_protocol);
        view->secret_count++;
    }
}

static void show_usage(struct key *key, int64_t now_s, struct auth_key_view *view)
{
    struct usage_row usage;

    usage_copy(key, &usage);
    const struct use_row *uses = usage.uses;
    bool former = uses[SECRET_FORMER].last_s > uses[SECRET_CURRENT].last_s;
    show_use(&uses[former ? SECRET_FORMER : SECRET_CURRENT], &view->last_used_s,
             &view->last_address, &view->last_protocol);
    show_secrets(key, &usage, now_s, view);
}

static void show_key(struct key *key, int64_t now_s, struct auth_key_view *view)
{
    snprintf(view->prefix, sizeof(view->prefix), "%s%.4s", key->prefix, key->id);
    mask(key, &key->secrets[SECRET_CURRENT], view->masked, sizeof(view->masked));
    memcpy(view->id, key->id, sizeof(view->id));
    view->account = xstrdup(key->account->handle);
    view->plan = xstrdup(key->account->plan);
    view->parent = key->account->parent == NULL ? NULL : xstrdup(key->account->parent->handle);
    view->name = xstrdup(key->name);
    view->scopes = key->scopes;
    view->domains = copy_texts(&key->rules[RULE_DOMAIN]);
    view->senders = copy_texts(&key->rules[RULE_SENDER]);
    view->recipients = copy_texts(&key->rules[RULE_RECIPIENT]);
    view->allow_from = copy_texts(&key->rules[RULE_NETWORK]);
    view->rate_per_minute = atomic_load(&key->rate_in_force);
    view->recipients_per_day = atomic_load(&key->recipients_in_force);
    view->own_rate_per_minute = key->rate_per_minute;
    view->own_recipients_per_day = key->recipients_per_day;
    view->message_size_bytes = key->message_size_bytes;
    view->sessions = key->sessions_max;
    view->state = state_word(key, now_s);
    view->created_s = key->created_s;
    view->expires_s = key->expires_s;
    view->test = key->test;
    show_usage(key, now_s, view);
}

/* The i-th of an account's, or of all. */
static struct key *listed_key(const struct auth *auth, const struct account *owner, size_t i)
{
    if (owner == NULL)
        return table_key(auth->table, i);
    return i < owner->key_count ? owner->keys[i] : NULL;
}

/* Where in the list the key stands that is at this place in the table: places rise with the list.
 */
static size_t position_of(const struct account *owner, const struct key *key)
{
    size_t low = 0, high = owner == NULL ? 0 : owner->key_count;

    if (owner == NULL)
        return key->place;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (owner->keys[middle]->place < key->place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool find_start(const struct auth *auth, const struct account *owner, const char *after,
                       size_t *start)
{
    const struct key *key = after == NULL ? NULL : table_find_key(auth->table, after);

    *start = key == NULL ? 0 : position_of(owner, key) + 1;
    return after == NULL || (key != NULL && (owner == NULL || key->account == owner));
}

enum auth_result auth_key_page(struct auth *auth, const char *account, struct auth_page *page,
                               int64_t now_s, struct auth_keys *keys)
{
    const struct account *owner = account == NULL ? NULL : table_find_account(auth->table, account);
    size_t room = 0, start = 0;
    struct key *key;

    *keys = (struct auth_keys){ 0 };
    page->total = 0;
    page->more = false;
    if (account != NULL && owner == NULL)
        return page->after == NULL ? AUTH_DONE : AUTH_NOT_FOUND;
    if (!find_start(auth, owner, page->after, &start))
        return AUTH_NOT_FOUND;
    for (size_t i = 0; (key = listed_key(auth, owner, i)) != NULL; i++) {
        if (key->state == KEY_REVOKED)
            continue;
        page->total++;
        if (i < start || page->more)
            continue;
        if (keys->count == page->limit) {
            page->more = true;
            continue;
        }
        if (keys->count == room) {
            room = room == 0 ? 16 : room * 2;
            keys->keys = xrealloc(keys->keys, room * sizeof(*keys->keys));
        }
        keys->keys[keys->count] = (struct auth_key_view){ 0 };
        show_key(key, now_s, &keys->keys[keys->count++]);
    }
    return AUTH_DONE;
}

void auth_key_list(struct auth *auth, const char *account, int64_t now_s, struct auth_keys *keys)
{
    struct auth_page all = { .limit = SIZE_MAX };

    auth_key_page(auth, account, &all, now_s, keys);
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
        free(view->parent);
        for (size_t secret = 0; secret < ARRAY_LEN(view->secrets); secret++) {
            free(view->secrets[secret].last_address);
            free(view->secrets[secret].last_protocol);
        }
        free(view->last_address);
        free(view->last_protocol);
    }
    free(keys->keys);
    *keys = (struct auth_keys){ 0 };
}
