/* secret.c - which key does a request carry? (pure)
 * Two fields may hold it and nothing else may: not the query, which ends up in logs, and not a
 * cookie, which a browser sends by itself. Read to the octet: a proxy that reads more kindly than
 * we do would see another client. */
#include "relay/http/secret.h"

static bool is_secret(struct slice text)
{
    return text.len > 0 && slice_find(text, ' ') == SLICE_NONE &&
           slice_find(text, '\t') == SLICE_NONE;
}

/* Exactly "Bearer", in any case, one blank, and the key. */
static bool bearer_secret(struct slice field, struct slice *secret)
{
    *secret = slice_from(field, sizeof("Bearer ") - 1);
    return slice_starts_nocase(field, SLICE("Bearer ")) && is_secret(*secret);
}

enum secret_verdict secret_find(const struct http_request *request, struct slice *secret)
{
    struct slice bearer = http_request_field_exact(request, SLICE("Authorization"));
    struct slice plain = http_request_field_exact(request, SLICE("X-API-Key"));
    struct slice token = plain;

    if (bearer.data == NULL && plain.data == NULL)
        return SECRET_NONE;
    if (bearer.data != NULL && !bearer_secret(bearer, &token))
        return SECRET_UNREADABLE;
    if (plain.data != NULL && !is_secret(plain))
        return SECRET_UNREADABLE;
    if (plain.data != NULL && !slice_equal(plain, token))
        return SECRET_AMBIGUOUS;
    *secret = token;
    return SECRET_GIVEN;
}
