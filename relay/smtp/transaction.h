/* transaction.h - one message from MAIL to the answer of its commit.
 * Belongs to a session while session->tx points at it. It lives on, by references, until the queue
 * has answered all it was asked, and keeps the session's memory alive as long. */
#ifndef LATCHPOST_TRANSACTION_H
#define LATCHPOST_TRANSACTION_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "relay/message/address.h"
#include "relay/smtp/content.h"
#include "relay/smtp/reply.h"

struct session;

struct transaction {
    struct session *session;       /* a reference */
    unsigned refs;                 /* the session's, and one for each question to the queue */
    struct auth_grant *grant;      /* under which its addresses were last found permitted */
    char *sender;                  /* "" is the null sender */
    struct queue_message *message; /* NULL once submitted */
    unsigned recipients;           /* accepted, duplicates counted too */
    struct content content;
    struct buf identities; /* "local@domain" NUL ...: who the header names, if not the sender */
    enum reply verdict;    /* over the header; REPLY_OK until refused */
    char *verdict_detail;
    bool submitted;
    void *place;            /* kept for it by the service's owner until it is accepted; or NULL */
    char *token;            /* its Idempotency-Key, or NULL; then ... */
    struct digest *digest;  /* ... what is sent ... */
    struct queue_once once; /* ... and what the queue is asked */
    int64_t id;
    uint64_t size;
    size_t stored_recipients;
    unsigned
        charged; /* recipients taken from the key's day, and when: given back unless accepted */
    int64_t charged_s;
    int64_t started_ms, stalled_ms; /* of the data; 0: not stalled. See transaction_patience_ms() */
};

/* Begun by an accepted MAIL of a logged-in session. */
struct transaction *transaction_new(struct session *s, const struct address *sender);
/* Takes it from its owner; what the queue already stored of it is discarded unless it was
 * submitted. */
void transaction_drop(struct transaction **tx);

/* domain: in its one spelling, or a literal. An address that it has already is not added again. */
bool transaction_has(const struct transaction *tx, struct slice local, struct slice domain);
void transaction_add(struct transaction *tx, struct slice local, struct slice domain);
/* One recipient was taken from the key's day for it. */
void transaction_charge(struct transaction *tx, int64_t now_s);

void transaction_start_data(struct transaction *tx);
/* How long, from now, may the client take until more of the message must be here? 0: it is us who
 * are waited for. */
uint64_t transaction_patience_ms(struct transaction *tx, int64_t now_ms);

/* After the end of data. Anything but REPLY_OK is the refusal (its detail is set in the session).
 */
enum reply transaction_verdict(struct transaction *tx);
/* After a good verdict, and when all content is stored (content_flush()): session_submitted()
 * follows. */
void transaction_submit(struct transaction *tx);

#endif
