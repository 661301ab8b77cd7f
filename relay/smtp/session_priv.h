/* session_priv.h - the inside of a session, for this folder only.
 * session.c owns life, death, states and time; command.c runs command lines; login.c the AUTH
 * exchange; transaction.c and content.c the message under way; refusal.c what the audit trail
 * hears; service.c the door and the end of all. All on the loop's thread. */
#ifndef LATCHPOST_SESSION_PRIV_H
#define LATCHPOST_SESSION_PRIV_H

#include "relay/base/ident.h"
#include "relay/base/list.h"
#include "relay/smtp/command.h"
#include "relay/smtp/line.h"
#include "relay/smtp/reply.h"
#include "relay/smtp/sasl.h"
#include "relay/smtp/session.h"
#include "relay/smtp/transaction.h"

enum session_state {               /* and the one event each waits for */
                     ST_HANDSHAKE, /* on_secure */
                     ST_COMMAND,   /* on_data: a command line */
                     ST_SASL,      /* on_data: a response line */
                     ST_TARPIT,    /* on_deadline: the refusal of a login is due */
                     ST_BODY,   /* on_data: the message (on_appended while its chunks wait for the
                                   disk) */
                     ST_APPEND, /* on_appended: the last chunks of a message that is complete */
                     ST_COMMIT, /* on_submitted */
                     ST_CLOSED, /* the last unref */
};

enum fact {                   /* what a session has shown */
            FACT_SECURE = 1,  /* TLS is up */
            FACT_PRIVATE = 2, /* a secret may be said: TLS, or a door that allows it in clear */
            FACT_HELLO = 4,
            FACT_AUTHED = 8,
            FACT_SENDER = 16, /* MAIL was accepted: s->tx is there */
            FACT_RCPT = 32,   /* a RCPT was given, accepted or not */
};

#define SESSION_DETAIL_BYTES 224

struct session {
    struct list link; /* in service->sessions until closed */
    struct smtp_service *service;
    const struct smtp_door *door;
    struct stream *stream; /* NULL once closed */
    unsigned refs;         /* the stream's while open, and one for each transaction */
    enum session_state state;
    bool paused; /* what the stream was told */
    unsigned facts;

    char id[IDENT_SESSION_BYTES];
    struct stream_peer peer;
    char *helo;
    char *user;               /* as the client said it, without a key: for the log */
    struct auth_grant *grant; /* with FACT_AUTHED; its key has counted this session in */
    char key_id[AUTH_KEY_ID_BYTES];

    struct line_reader reader;
    bool spoken;       /* a line was read (since TLS started): what follows is not the first */
    bool input_behind; /* bytes stand behind the line that is being run, in the same read */
    struct sasl sasl;
    struct transaction *tx;

    int64_t accepted_ms; /* monotonic, like all times here */
    int64_t active_ms;   /* when the last line was complete or the last message answered */

    enum reply kept_back; /* in ST_TARPIT: the refusal, with s->detail, ... */
    int64_t due_ms;       /* ... and when it is said */
    uint64_t tarpit_ms;   /* how long the refusal that is on its way to command_answer() waits */

    unsigned errors, junk, auth_failures;
    unsigned
        forgiven; /* refusals that only follow from a refused MAIL: so many more cost nothing */
    struct {
        unsigned ok, total;
    } tallies[TALLY_COUNT];
    char detail[SESSION_DETAIL_BYTES]; /* what the next reply shows in place of its %s */
    char reference[IDENT_TEXT_BYTES];  /* ... and at its end: of a refusal; or empty */
};

void session_ref(struct session *s);
void session_unref(struct session *s);

/* The only writer of s->state. */
void session_enter(struct session *s, enum session_state state);

/* Sets the detail of the reply and returns it, so that handlers can `return session_detail(...)`.
 */
enum reply session_detail(struct session *s, enum reply reply, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Says it, with the detail that was set; ends the session if the reply does. REPLY_LATER: nothing.
 */
void session_reply(struct session *s, enum reply reply);
/* May be called twice, from anywhere; what was written still goes out. */
void session_close(struct session *s, enum close_reason reason);

/* 220 was said: the handshake begins, and all that was said in clear is forgotten. */
void session_start_tls(struct session *s);
/* The largest message that it may send now: by our limit or, once logged in, its key's. */
uint64_t session_message_max(const struct session *s);
/* Answers AUTH with this, and with the detail that was set, when s->tarpit_ms have passed. */
void session_keep_back(struct session *s, enum reply reply);
/* Ends the transaction, if there is one, without a reply. */
void session_reset(struct session *s);

/* From transaction.c: a chunk of s->tx was stored or not; s->tx was committed, or refused. */
void session_appended(struct session *s);
void session_submitted(struct session *s, enum reply reply);

/* The last step of whatever happens to a session: decides what it waits for next, and how long. */
void session_rest(struct session *s);

/* service.c: REPLY_LATER when the connection is welcome; it is then counted in. */
enum reply service_admit(const struct session *s);
/* Says this and ends the connection; s was never a session and stays the caller's. */
void service_turn_away(const struct session *s, enum reply reply);

void session_auth_peer(const struct session *s, struct auth_peer *peer);

#endif
