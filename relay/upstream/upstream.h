/* upstream.h - one configured mail service, as seen from one loop: hand it a job, hear each
 * recipient's fate.
 * Two kinds behind one door: smtp (pool.c, client.c) and maildir (maildir.c). Everything belongs to
 * the loop's thread. */
#ifndef LATCHPOST_UPSTREAM_H
#define LATCHPOST_UPSTREAM_H

#include "relay/base/buf.h"
#include "relay/base/list.h"
#include "relay/net/loop.h"
#include "relay/net/resolve.h"
#include "relay/net/tls.h"

enum upstream_tls { UPSTREAM_TLS_STARTTLS, UPSTREAM_TLS_IMPLICIT, UPSTREAM_TLS_NONE };

struct upstream_timeouts { /* milliseconds, RFC 5321 section 4.5.3.2 */
    uint64_t connect, banner, command, data, block, dot, idle; /* 30 s, 300 s, 300 s, 120 s, 180 s,
                                                                  600 s; idle 30 s: then QUIT */
};

struct gate;
struct upstream_options { /* upstream_open() copies it, and wipes its copy of the password */
    const char *name;
    const char *maildir; /* a folder: then the rest is not used; else NULL */
    const char *host;
    uint16_t port;
    enum upstream_tls tls;
    bool tls_verify;
    const char *ca_file, *client_certificate, *client_key; /* NULL: none */
    const char *username, *password;                       /* NULL: no AUTH */
    const char *helo;                                      /* our host name */
    unsigned max_messages_per_connection;
    uint64_t connection_age_ms; /* then it is left after its message; 0: never */
    struct upstream_timeouts timeouts;
    struct gate *gate; /* borrowed: what all loops share of this upstream, in place of what follows;
                          NULL: this loop is alone */
    unsigned max_connections;
    unsigned rate;         /* messages a minute; 0: no ceiling */
    unsigned failures_max; /* connections in a row, then it rests */
    uint64_t rest_first_ms, rest_longest_ms, rest_login_ms; /* see breaker.h */
};
/* A gate with these ceilings; the caller owes gate_unref(). */
struct gate *upstream_gate_new(const struct upstream_options *options);
/* The same for one that is there. */
void upstream_gate_configure(struct gate *gate, const struct upstream_options *options);

/* What became of one recipient. */
enum upstream_fate {
    UPSTREAM_UNTRIED, /* could not be tried: connection, TLS, login or pool trouble; try the next
                         upstream, else later */
    UPSTREAM_DELIVERED,
    UPSTREAM_LATER,     /* 4yz, or a protocol error */
    UPSTREAM_NEVER,     /* 5yz to MAIL, RCPT, DATA or the dot; or it cannot take the message */
    UPSTREAM_UNCERTAIN, /* the dot was sent, no answer came */
};

struct upstream_recipient {
    const char *address; /* borrowed from the job's owner */
    enum upstream_fate fate;
    int code; /* 0: no reply stands behind it */
    char enhanced[12];
    char *text; /* the upstream's words (cleaned, at most 512) or our reason, or NULL; the
                   job's owner frees it by upstream_job_clear() */
};

/* One message for one upstream: one transaction. The owner fills the upper part, the upstream the
 * fates. The job and what it borrows stay valid until `done`. */
struct upstream_job {
    struct list node;          /* private to the upstream */
    const char *id;            /* the message id, for the log and maildir names */
    const char *account, *key; /* whose it is: jobs that wait take turns by it; NULL: nobody's */
    const char *sender;
    struct upstream_recipient *recipients;
    size_t recipient_count;
    uint64_t size;
    bool eight_bit;
    struct slice content; /* the whole message when chunks is 0 */
    uint32_t chunks;
    /* Asked for one chunk at a time when chunks > 0; the owner answers, later, with
     * upstream_job_chunk(). */
    void (*fetch)(void *owner, struct upstream_job *job, uint32_t seq);
    /* Once: every recipient has its fate, and no chunk is asked for any more. Never from inside a
     * call to the upstream. */
    void (*done)(void *owner, struct upstream_job *job);
    void *owner;
    /* private to the upstream: */
    void *transport; /* who asked for the chunk */
    void (*chunk_here)(struct upstream_job *job, struct buf *chunk);
    bool fetching; /* the owner was asked and has not answered */
    bool retried;  /* it once went to a connection that had died while idle */
};

/* Could it be opened? Reads the files that it needs. */
bool upstream_check(const struct upstream_options *options, struct why *why);

struct upstream;
/* NULL and why: a file that cannot be read. resolver: borrowed. */
struct upstream *upstream_open(struct loop *loop, struct resolver *resolver,
                               const struct upstream_options *options, struct why *why);
/* No upstream_deliver() any more. Jobs that wait come back as UPSTREAM_UNTRIED; those under way may
 * finish; idle connections say QUIT. `closed` is called once all has gone, from the loop; the
 * pointer is then dead. */
void upstream_close(struct upstream *upstream, void (*closed)(void *owner), void *owner);
/* After upstream_close(), when patience ends: whatever is under way stops now (UPSTREAM_UNTRIED;
 * after the dot UPSTREAM_UNCERTAIN). */
void upstream_abort(struct upstream *upstream);

const char *upstream_name(const struct upstream *upstream);
/* False while it cools down after failures, is paused after a refused login, or is held: choose the
 * next. */
bool upstream_is_usable(const struct upstream *upstream);
/* A held one takes no new job: those that only wait come back as UPSTREAM_UNTRIED, with the same
 * words as upstream_held_text; those under way may finish. */
void upstream_hold(struct upstream *upstream, bool hold);
bool upstream_is_held(const struct upstream *upstream);
extern const char upstream_held_text[];

/* Of several loops the worst condition counts, and the last is the worst. */
enum upstream_condition {
    UPSTREAM_USABLE,
    UPSTREAM_RESTING, /* after failures, or being tried again */
    UPSTREAM_PAUSED,  /* the same after a refused login */
    UPSTREAM_HELD,
    UPSTREAM_CONDITION_COUNT
};
struct upstream_view {
    const char *name; /* borrowed from the upstream */
    const char *kind; /* "smtp" or "maildir"; static */
    enum upstream_condition condition;
    size_t connections; /* open or being opened */
    size_t waiting;     /* jobs without a connection */
    struct why reason;  /* of its latest failure, if nothing has worked since */
};
void upstream_look(const struct upstream *upstream, struct upstream_view *view);

/* Waits for a free connection, opens one where the ceiling allows. When the upstream turns out not
 * to be reachable, all waiting jobs come back UPSTREAM_UNTRIED with the reason as text. The fates
 * that a recipient had before are forgotten. */
void upstream_deliver(struct upstream *upstream, struct upstream_job *job);

/* The owner's answer to fetch. chunk: moved out of; empty: it could not be read (the transaction is
 * broken off before the dot, all recipients UPSTREAM_LATER). */
void upstream_job_chunk(struct upstream_job *job, struct buf *chunk);

/* For tools: connect, greet, TLS, log in, quit. `done` once; text: what was reached, or the
 * failure. */
typedef void upstream_probe_cb(void *owner, bool ok, const char *text);
void upstream_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner);

/* For recipients' fates, used by both kinds. text is cleaned of control bytes and cut. */
void upstream_recipient_say(struct upstream_recipient *recipient, enum upstream_fate fate, int code,
                            const char *enhanced, struct slice text);
void upstream_job_say(struct upstream_job *job, enum upstream_fate fate, int code,
                      const char *enhanced, struct slice text); /* to all that are UNTRIED */
void upstream_job_clear(struct upstream_job *job); /* frees the texts; fates become UNTRIED */

#endif
