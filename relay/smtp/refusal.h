/* refusal.h - what of a session's refusals does the audit trail hear? On the loop's thread. */
#ifndef LATCHPOST_REFUSAL_H
#define LATCHPOST_REFUSAL_H

#include "auth/auth.h"
#include "relay/smtp/reply.h"

struct session;

/* Before this reply is said: if it refuses a message by a rule, it is recorded with its detail, and
 * the reply will carry the reference. sender: of that message; or empty. All other replies are let
 * pass. */
void refusal_note(struct session *s, enum reply reply, struct slice sender);

/* A login that auth_check() has not seen, or has let pass. grant: whose; or NULL. What is said to
 * the client carries no reference: all refused logins hear the same. */
void refusal_note_login(struct session *s, const struct auth_grant *grant, struct slice user,
                        const char *rule);

#endif
