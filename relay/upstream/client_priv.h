/* client_priv.h - one connection, as client.c (its life), client_login.c (until it is ready) and
 * client_mail.c (one transaction) see it. */
#ifndef LATCHPOST_CLIENT_PRIV_H
#define LATCHPOST_CLIENT_PRIV_H

#include "relay/net/connect.h"
#include "relay/upstream/answer.h"
#include "relay/upstream/client.h"
#include "relay/upstream/gate.h"
#include "relay/upstream/stuff.h"
#include "relay/upstream/upstream_priv.h"

enum client_state {                    /* and what each waits for */
                    CLIENT_CONNECTING, /* on_connected */
                    CLIENT_HANDSHAKE,  /* on_secure */
                    CLIENT_BANNER, /* from here on: the reply to what the state is named after */
                    CLIENT_EHLO,
                    CLIENT_HELO,
                    CLIENT_STARTTLS,
                    CLIENT_AUTH_PLAIN,
                    CLIENT_AUTH_LOGIN,
                    CLIENT_AUTH_USER,
                    CLIENT_AUTH_PASSWORD,
                    CLIENT_IDLE, /* client_run() */
                    CLIENT_MAIL,
                    CLIENT_RCPT, /* the reply for recipients[rcpt] */
                    CLIENT_DATA,
                    CLIENT_CONTENT, /* on_chunk, or on_drained */
                    CLIENT_DOT,
                    CLIENT_LONE_DOT, /* the dot of a transaction that nobody receives */
                    CLIENT_RSET,
                    CLIENT_GONE, /* the last reference */
                    CLIENT_STATE_COUNT
};

enum client_offer { /* what the upstream's EHLO lists */
                    OFFERS_PIPELINING = 1,
                    OFFERS_SIZE = 2,
                    OFFERS_8BITMIME = 4,
                    OFFERS_STARTTLS = 8,
                    OFFERS_AUTH_PLAIN = 16,
                    OFFERS_AUTH_LOGIN = 32,
};

struct client {
    struct upstream *upstream;
    struct tls_context *tls;
    const struct client_events *events;
    void *owner;
    unsigned refs; /* one for being alive, one for each call on the stack */
    enum client_state state;

    struct connect *connecting; /* while CLIENT_CONNECTING */
    struct gate_pass *pass;     /* a reference, or NULL */
    struct stream *stream;
    struct answer answer; /* the one that is being read */
    size_t owed;          /* replies that commands already sent will bring */
    struct buf out;       /* commands of the state that is being entered */
    unsigned offers;      /* enum client_offer */
    uint64_t size_limit;  /* of SIZE; 0: none told */

    unsigned served;                /* transactions that were judged */
    bool useful;                    /* something of one was answered, other than by a farewell */
    bool quitting;                  /* QUIT when the job is over */
    struct upstream_job *job;       /* from client_run() until it is judged */
    struct upstream_job *untouched; /* for on_end */
    bool pipelined;                 /* the whole envelope was sent at once */
    bool heard;                     /* the upstream has answered something of this job */
    size_t rcpt;                    /* the recipient whose reply is due */
    size_t accepted; /* recipients with 25z: those that have no fate before the dot */
    bool strayed;    /* a recipient was accepted although MAIL was refused */
    uint32_t seq;    /* the next chunk */
    struct stuff stuff;
};

/* --- client.c --------------------------------------------------------------------------------- */

/* Writes the state's command, if it has one that was not sent yet, and starts its timeout. */
void client_enter(struct client *client, enum client_state state);
/* Puts one command, without its CRLF, into the output; one reply more is owed. */
void client_say(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ready for a job, or QUIT if that was asked or enough were served. */
void client_rest(struct client *client);
/* The connection cannot go on: gives the job its fate by what state it is in, and ends. */
void client_break(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, because replies cannot belong to the commands: before the content, no refusal for good
 * that this envelope has met is believed. */
void client_break_out_of_step(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, because of what the upstream said. */
void client_break_by_answer(struct client *client, const struct answer *answer);
/* Ends without a word about the job, which is judged or not there. */
void client_finish(struct client *client, enum client_end end, const char *text);
/* on_judged */
void client_judged(struct client *client);

static inline const struct upstream_options *client_options(const struct client *client)
{
    return &client->upstream->options;
}

/* --- client_login.c --------------------------------------------------------------------------- */

void client_connected(struct client *client);
void client_secured(struct client *client);
/* One line of the reply to EHLO, behind the first. */
void client_learn(struct client *client, struct slice line);
/* What the upstream said, unless it repeats our credentials. */
const char *client_words(const struct client *client, const struct answer *answer);

typedef void client_send_fn(struct client *client);
typedef void client_judge_fn(struct client *client, const struct answer *answer);
client_send_fn client_send_ehlo, client_send_helo, client_send_starttls, client_send_auth_plain,
    client_send_auth_login, client_send_auth_user, client_send_auth_password;
client_judge_fn client_judge_banner, client_judge_ehlo, client_judge_helo, client_judge_starttls,
    client_judge_auth, client_judge_auth_login, client_judge_auth_user;

/* --- client_mail.c ---------------------------------------------------------------------------- */

client_send_fn client_send_mail, client_send_rcpt, client_send_data, client_send_lone_dot,
    client_send_rset;
client_judge_fn client_judge_mail, client_judge_rcpt, client_judge_data, client_judge_early,
    client_judge_dot, client_judge_lone_dot, client_judge_rset;

/* The output has left for the kernel: time for the next chunk. */
void client_drained(struct client *client);

#endif
