/* refusal.c - what of a session's refusals does the audit trail hear?
 * What a rule refused, for which somebody may ask for the reason; not what was no SMTP, and not
 * what we could not take because of ourselves (a full disk, a key changed at that moment). */
#include "relay/smtp/refusal.h"

#include <string.h>

#include "relay/base/clock.h"
#include "relay/base/macros.h"
#include "relay/smtp/session_priv.h"

static const struct {
    enum reply reply;
    enum auth_refused what;
    const char *rule; /* NULL: the reply's text, or its detail, which is the same each time */
} recorded[] = {
    { REPLY_AUTH_NEEDS_TLS, AUTH_REFUSED_LOGIN, NULL },
    { REPLY_KEY_GONE, AUTH_REFUSED_LOGIN, NULL },
    { REPLY_BAD_SENDER_PATH, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_SENDER_PATH_NON_ASCII, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_SENDER_REFUSED, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_SENDER_UNREADABLE, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_SENDER_NON_ASCII, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_BAD_RECIPIENT, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_RECIPIENT_NON_ASCII, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_RECIPIENT_REFUSED, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_KEY_REFUSED, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_RATE, AUTH_REFUSED_MESSAGE, "this key sends too fast" },
    { REPLY_DAY_FULL, AUTH_REFUSED_MESSAGE, "this key has used up its recipients of the day" },
    { REPLY_TOO_LARGE, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_BARE_LINE_END, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_NUL, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_LONG_DATA_LINE, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_HEADER_TOO_LARGE, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_LOOP, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_BAD_TOKEN, AUTH_REFUSED_MESSAGE, NULL },
    { REPLY_TOKEN_CONFLICT, AUTH_REFUSED_MESSAGE, NULL },
};

static int64_t note(struct session *s, enum auth_refused what, const struct auth_grant *grant,
                    struct slice subject, const char *rule)
{
    return auth_note_refusal(s->service->auth,
                             &(struct auth_refusal){
                                 .what = what,
                                 .grant = grant,
                                 .from = s->peer.has_address ? s->peer.text : NULL,
                                 .protocol = "smtp",
                                 .subject = subject,
                                 .rule = rule,
                             },
                             clock_wall_s());
}

void refusal_note(struct session *s, enum reply reply, struct slice sender)
{
    for (size_t i = 0; i < ARRAY_LEN(recorded); i++) {
        if (recorded[i].reply != reply)
            continue;
        const char *text = reply_row(reply)->text;
        const char *rule = recorded[i].rule != NULL  ? recorded[i].rule
                           : strcmp(text, "%s") == 0 ? s->detail
                                                     : text;
        int64_t id = note(s, recorded[i].what, s->grant, sender, rule);
        if (id != 0 && recorded[i].what == AUTH_REFUSED_MESSAGE)
            ident_format(id, s->reference);
    }
}

void refusal_note_login(struct session *s, const struct auth_grant *grant, struct slice user,
                        const char *rule)
{
    (void)note(s, AUTH_REFUSED_LOGIN, grant, user, rule);
}
