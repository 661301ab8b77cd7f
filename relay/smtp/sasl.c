/* sasl.c - PLAIN and LOGIN exchanges to one secret (pure; RFC 4616, and LOGIN as clients speak it).
 * Whatever was decoded lies in the two bufs of struct sasl only; sasl_reset() wipes them, and so
 * does every result but a challenge and success. */
#include "relay/smtp/sasl.h"

#include <string.h>

#include "relay/base/base64.h"

#define USER_MAX   255
#define SECRET_MAX (SASL_LINE_MAX / 4 * 3)

enum sasl_step { /* what the next line holds */
                 STEP_IDLE = 0,
                 STEP_PLAIN,
                 STEP_LOGIN_USER,
                 STEP_LOGIN_SECRET,
};

void sasl_reset(struct sasl *sasl)
{
    buf_wipe(&sasl->user);
    buf_wipe(&sasl->secret);
    sasl->step = STEP_IDLE;
}

static enum sasl_result challenge_with(struct sasl *sasl, enum sasl_step step, const char *text,
                                       const char **challenge)
{
    sasl->step = (int)step;
    *challenge = text;
    return SASL_CHALLENGE;
}

/* A line or initial response to sasl->secret. "=" is the empty initial response of RFC 4954
 * section 4; as a line it is no base64. */
static bool decode(struct sasl *sasl, struct slice text)
{
    buf_wipe(&sasl->secret);
    return base64_decode(text, &sasl->secret);
}

static void keep_user(struct sasl *sasl, struct slice name)
{
    bool fits = buf_add(&sasl->user, slice_first(name, USER_MAX));
    (void)fits; /* it was empty, and USER_MAX is its maximum */
}

/* authzid NUL authcid NUL secret. Many clients repeat the user name as authzid; to act for anybody
 * else is not on offer. */
static enum sasl_result finish_plain(struct sasl *sasl, struct slice text)
{
    if (!decode(sasl, text))
        return SASL_BAD;
    struct slice secret = buf_slice(&sasl->secret);
    size_t total = secret.len;
    struct slice authzid = slice_cut(&secret, '\0');
    if (authzid.len == total)
        return SASL_BAD;
    size_t behind_authzid = secret.len;
    struct slice authcid = slice_cut(&secret, '\0');
    if (authcid.len == behind_authzid || slice_find(secret, '\0') != SLICE_NONE)
        return SASL_BAD;
    if (authzid.len > 0 && !slice_equal(authzid, authcid))
        return SASL_IDENTITY;
    keep_user(sasl, authcid);
    buf_consume(&sasl->secret, total - secret.len);
    return SASL_DONE;
}

/* An empty name is refused at once, before the client has shown its secret: it tells of a form that
 * was not filled in. (In PLAIN it is harmless, and there are clients that have no name to send.) */
static enum sasl_result take_login_user(struct sasl *sasl, struct slice text,
                                        const char **challenge)
{
    if (!decode(sasl, text))
        return SASL_BAD;
    if (buf_len(&sasl->secret) == 0)
        return SASL_IDENTITY;
    keep_user(sasl, buf_slice(&sasl->secret));
    return challenge_with(sasl, STEP_LOGIN_SECRET, "UGFzc3dvcmQ6", challenge);
}

static enum sasl_result take(struct sasl *sasl, struct slice text, const char **challenge)
{
    enum sasl_result result = SASL_BAD;

    switch (sasl->step) {
    case STEP_PLAIN:
        result = finish_plain(sasl, text);
        break;
    case STEP_LOGIN_USER:
        result = take_login_user(sasl, text, challenge);
        break;
    case STEP_LOGIN_SECRET:
        result = decode(sasl, text) ? SASL_DONE : SASL_BAD;
        break;
    default:
        break;
    }
    if (result != SASL_CHALLENGE && result != SASL_DONE)
        sasl_reset(sasl);
    return result;
}

static const struct {
    const char *name;
    enum sasl_step step;
    const char *challenge; /* for a client that sent no initial response */
} mechanisms[] = {
    { "PLAIN", STEP_PLAIN, "" },
    { "LOGIN", STEP_LOGIN_USER, "VXNlcm5hbWU6" },
};

enum sasl_result sasl_start(struct sasl *sasl, struct slice mechanism, bool has_initial,
                            struct slice initial, const char **challenge)
{
    sasl_reset(sasl);
    buf_init(&sasl->user, USER_MAX);
    buf_init(&sasl->secret, SECRET_MAX);
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
        if (!slice_equal_nocase(mechanism, slice_of(mechanisms[i].name)))
            continue;
        if (!has_initial)
            return challenge_with(sasl, mechanisms[i].step, mechanisms[i].challenge, challenge);
        sasl->step = (int)mechanisms[i].step;
        if (slice_equal(initial, SLICE("=")))
            initial = slice_make(NULL, 0);
        return take(sasl, initial, challenge);
    }
    return SASL_UNKNOWN_MECHANISM;
}

enum sasl_result sasl_next(struct sasl *sasl, struct slice line, const char **challenge)
{
    if (slice_equal(line, SLICE("*"))) {
        sasl_reset(sasl);
        return SASL_CANCELLED;
    }
    return take(sasl, line, challenge);
}
