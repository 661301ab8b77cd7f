/* scope.c - which word stands for which right? (pure) */
#include "auth/auth_priv.h"

static const struct {
    const char *name;
    unsigned bit;
} scopes_known[] = {
    { "send", AUTH_SEND },       { "keys", AUTH_KEYS },         { "messages", AUTH_MESSAGES },
    { "domains", AUTH_DOMAINS }, { "accounts", AUTH_ACCOUNTS }, { "metrics", AUTH_METRICS },
};

static unsigned scope_find(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(scopes_known); i++)
        if (slice_equal(word, slice_of(scopes_known[i].name)))
            return scopes_known[i].bit;
    return 0;
}

bool auth_scopes_parse(struct slice text, unsigned *scopes)
{
    unsigned found = 0;

    /* slice_cut() tells "a" from "a,", whose last word is empty, by the NULL it leaves behind. */
    do {
        unsigned bit = scope_find(slice_trim(slice_cut(&text, ',')));
        if (bit == 0)
            return false;
        found |= bit;
    } while (text.data != NULL);
    *scopes = found;
    return true;
}

const char *auth_scope_name(size_t i, unsigned *bit)
{
    if (i >= ARRAY_LEN(scopes_known))
        return NULL;
    *bit = scopes_known[i].bit;
    return scopes_known[i].name;
}
