/* login.c - who is this session, and is that still so?
 * Every way to fail is counted in the session; those in which a secret was shown are counted
 * against the address by auth_check(), and their refusal waits the longer the more there were, in
 * this session alone. The secret lives in s->sasl, which is wiped before anything is said. */
#include "relay/smtp/login.h"

#include <stdio.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/smtp/parse.h"
#include "relay/smtp/refusal.h"
#include "relay/smtp/session_priv.h"

#define SECRET_LETTERS 30 /* of a key: its id and its secret, in letters and digits */
#define PUBLIC_LETTERS 8  /* of these, the id */

/* Clients that were set up wrongly send the key as the user name. Letters and digits in a row that
 * could hold a secret are cut behind what would be the key's id: nothing more reaches the log. */
static struct slice user_to_show(struct slice user)
{
    size_t row = 0;

    for (size_t i = 0; i < user.len; i++) {
        row = ascii_is_alnum(user.data[i]) ? row + 1 : 0;
        if (row == SECRET_LETTERS)
            return slice_first(user, i + 1 - SECRET_LETTERS + PUBLIC_LETTERS);
    }
    return user;
}

static void count_refusal(struct session *s, struct slice user, const char *reason)
{
    s->auth_failures++;
    metrics_add(METRIC_AUTH_REFUSED, 1);
    LOG(LOG_WARNING, "login_refused", LOG_STR("session", s->id), LOG_STR("peer", s->peer.text),
        LOG_SLICE("user", user), LOG_STR("reason", reason));
}

static void accept_grant(struct session *s, struct auth_grant *grant, struct slice user)
{
    s->grant = grant;
    snprintf(s->key_id, sizeof(s->key_id), "%s", auth_grant_key_id(grant));
    s->user = slice_dup(user);
    s->facts |= FACT_AUTHED;
    s->auth_failures = 0;
    metrics_add(METRIC_AUTH_ACCEPTED, 1);
    LOG(LOG_DEBUG, "login_accepted", LOG_STR("session", s->id), LOG_STR("peer", s->peer.text),
        LOG_STR("user", s->user), LOG_STR("key", s->key_id));
}

static enum reply check_secret(struct session *s)
{
    struct auth_peer peer;
    struct auth_grant *grant = NULL;
    struct slice user = user_to_show(buf_slice(&s->sasl.user));

    session_auth_peer(s, &peer);
    peer.user = user;
    enum auth_verdict verdict = auth_check(s->service->auth, buf_slice(&s->sasl.secret), AUTH_SEND,
                                           &peer, clock_wall_s(), &grant);
    if (verdict == AUTH_OK && !auth_session_enter(grant)) {
        refusal_note_login(s, grant, user, "this key has as many sessions as it may have");
        auth_grant_unref(grant);
        return REPLY_KEY_SESSIONS;
    }
    if (verdict == AUTH_OK) {
        accept_grant(s, grant, user);
        return REPLY_LOGGED_IN;
    }
    s->tarpit_ms = auth_tarpit_ms(s->service->auth, &peer, clock_wall_s());
    count_refusal(s, user, auth_verdict_text(verdict));
    return session_detail(s, REPLY_AUTH_REFUSED, "%s", auth_verdict_text(verdict));
}

static enum reply failed(struct session *s, enum reply reply)
{
    count_refusal(s, slice_make(NULL, 0), reply_row(reply)->text);
    refusal_note_login(s, NULL, slice_make(NULL, 0), reply_row(reply)->text);
    return reply;
}

static enum reply judge(struct session *s, enum sasl_result result, const char *challenge)
{
    switch (result) {
    case SASL_CHALLENGE:
        return session_detail(s, REPLY_CHALLENGE, "%s", challenge);
    case SASL_DONE:
        return check_secret(s);
    case SASL_CANCELLED:
        return REPLY_AUTH_CANCELLED;
    case SASL_BAD:
        return failed(s, REPLY_BAD_RESPONSE);
    case SASL_IDENTITY:
        return failed(s, REPLY_BAD_IDENTITY);
    case SASL_UNKNOWN_MECHANISM:
        break;
    }
    return REPLY_UNKNOWN_MECHANISM;
}

void login_cancel(struct session *s)
{
    sasl_reset(&s->sasl);
    if (s->state == ST_SASL)
        session_enter(s, ST_COMMAND);
}

/* After each step: the exchange goes on, or nothing of it is left. */
static enum reply conclude(struct session *s, enum reply reply)
{
    if (reply != REPLY_CHALLENGE)
        login_cancel(s);
    else if (s->state != ST_SASL)
        session_enter(s, ST_SASL);
    return reply;
}

enum reply login_start(struct session *s, struct slice args)
{
    struct slice mechanism, initial;
    bool has_initial;
    const char *challenge = "";

    if (parse_auth(args, &mechanism, &initial, &has_initial) != PARSE_OK)
        return REPLY_BAD_AUTH;
    enum sasl_result result = sasl_start(&s->sasl, mechanism, has_initial, initial, &challenge);
    return conclude(s, judge(s, result, challenge));
}

enum reply login_in_clear(struct session *s, struct slice args)
{
    struct slice mechanism, initial;
    bool has_initial;

    if (parse_auth(args, &mechanism, &initial, &has_initial) == PARSE_OK && has_initial)
        LOG(LOG_WARNING, "secret_exposed_in_clear", LOG_STR("session", s->id),
            LOG_STR("peer", s->peer.text), LOG_STR("door", s->door->name));
    return REPLY_AUTH_NEEDS_TLS;
}

void login_line(struct session *s, struct slice line)
{
    const char *challenge = "";
    enum sasl_result result = sasl_next(&s->sasl, line, &challenge);

    command_answer(s, TALLY_AUTH, conclude(s, judge(s, result, challenge)));
}

enum auth_verdict login_refresh(struct session *s)
{
    int64_t now_s = clock_wall_s();
    enum auth_verdict verdict = AUTH_OK;

    if (!auth_grant_is_current(s->grant, now_s))
        verdict = auth_grant_renew(s->service->auth, &s->grant, now_s);
    if (verdict == AUTH_OK && !auth_grant_has(s->grant, AUTH_SEND))
        return AUTH_WRONG_SCOPE;
    return verdict;
}
