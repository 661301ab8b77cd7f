/* key_record.c - what is held in memory of one key: its making, its limits and its end.
 * The administration's thread, but for what auth_priv.h says of the single members. */
#include "auth/auth_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

void texts_add(struct texts *texts, const char *text)
{
    texts->items = xrealloc(texts->items, (texts->count + 2) * sizeof(*texts->items));
    texts->items[texts->count++] = xstrdup(text);
    texts->items[texts->count] = NULL;
}

void texts_free(struct texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct texts){ 0 };
}

struct key *key_new(void)
{
    struct key *key = xcalloc(1, sizeof(*key));

    usage_init(&key->usage);
    return key;
}

static void fill_secrets(struct key *key, const struct key_row *row)
{
    unsigned number = 0;

    for (size_t i = KEY_SECRETS; i > 0; i--) { /* the oldest first */
        const struct secret_row *from = &row->secrets[i - 1];
        struct secret *secret = &key->secrets[i - 1];
        if (from->hash == NULL)
            continue;
        secret->number = key->usage.uses[i - 1].secret = ++number;
        snprintf(secret->tail, sizeof(secret->tail), "%s", from->tail);
        memcpy(secret->hash, from->hash, sizeof(secret->hash));
        secret->made_s = from->made_s;
        secret->until_s = from->until_s;
        secret->erased = from->erased;
    }
}

void key_fill(struct key *key, const struct key_row *row)
{
    snprintf(key->id, sizeof(key->id), "%s", row->id);
    snprintf(key->prefix, sizeof(key->prefix), "%s", row->prefix);
    fill_secrets(key, row);
    key->name = xstrdup(row->name);
    key->scopes = row->scopes;
    key->test = row->test;
    key->state = row->state;
    key->held_by = row->held_by;
    key->rate_per_minute = row->rate_per_minute;
    key->recipients_per_day = row->recipients_per_day;
    key->message_size_bytes = row->message_size_bytes;
    key->sessions_max = row->sessions_max;
    key->created_s = row->created_s;
    key->expires_s = row->expires_s;
    for (size_t kind = 0; kind < RULE_KINDS; kind++)
        for (size_t i = 0; i < row->rules[kind].count; i++)
            texts_add(&key->rules[kind], row->rules[kind].items[i]);
}

void key_free(struct key *key)
{
    if (key == NULL)
        return;
    for (size_t i = 0; i < KEY_SECRETS; i++)
        assert(key->secrets[i].grant == NULL);
    for (size_t i = 0; i < RULE_KINDS; i++)
        texts_free(&key->rules[i]);
    usage_destroy(&key->usage);
    key_wipe(key->secrets, sizeof(key->secrets));
    free(key->networks);
    free(key->name);
    free(key);
}

bool key_is_active(const struct key *key, int64_t now_s)
{
    return key->state != KEY_REVOKED && (key->expires_s == 0 || now_s < key->expires_s);
}

/* A plan is a ceiling: else a key that was made under a better one would keep what it gave. */
void key_apply_plan(struct key *key, const struct auth_plan *plan)
{
    atomic_store(&key->rate_in_force,
                 (unsigned)limit_least(key->rate_per_minute, plan->rate_per_minute));
    atomic_store(&key->recipients_in_force,
                 limit_least(key->recipients_per_day, plan->recipients_per_day));
}

bool key_parse_networks(struct key *key, const char **bad)
{
    const struct texts *texts = &key->rules[RULE_NETWORK];

    free(key->networks);
    key->networks = texts->count == 0 ? NULL : xcalloc(texts->count, sizeof(*key->networks));
    for (size_t i = 0; i < texts->count; i++) {
        if (network_parse(slice_of(texts->items[i]), &key->networks[i]))
            continue;
        *bad = texts->items[i];
        return false;
    }
    return true;
}
