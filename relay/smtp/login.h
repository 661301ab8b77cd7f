/* login.h - who is this session, and is that still so? AUTH from its first line to the grant. */
#ifndef LATCHPOST_LOGIN_H
#define LATCHPOST_LOGIN_H

#include "auth/auth.h"
#include "relay/smtp/reply.h"

struct session;

/* The AUTH command's arguments; REPLY_CHALLENGE has entered ST_SASL. */
enum reply login_start(struct session *s, struct slice args);
/* The same on a connection where no secret may be said: the key is not looked at. */
enum reply login_in_clear(struct session *s, struct slice args);
/* One line in ST_SASL. Answers it. */
void login_line(struct session *s, struct slice line);

/* Ends the exchange, if one is under way, without a word. */
void login_cancel(struct session *s);

/* Is the key still good? Takes over what it may do now if that has changed. s must be logged in. */
enum auth_verdict login_refresh(struct session *s);

#endif
