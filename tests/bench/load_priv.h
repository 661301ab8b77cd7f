/* load_priv.h - what the files of the load generator share. */
#ifndef BENCH_LOAD_PRIV_H
#define BENCH_LOAD_PRIV_H

#include <netinet/in.h>

#include "relay/base/list.h"
#include "tests/bench/mail.h"
#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

enum load_tls { LOAD_PLAIN, LOAD_STARTTLS, LOAD_IMPLICIT };

struct load_options {
    struct sockaddr_in server;
    size_t sessions;
    uint64_t messages; /* most to send; 0: as many as fit in seconds */
    uint64_t first_id; /* of the ids, which count up from here */
    double seconds;    /* begin no message later; 0: no limit */
    double rate;       /* messages a second in all; 0: as fast as they are taken */
    bool fresh;        /* a connection for each message */
    bool pipeline;     /* MAIL, RCPT and DATA in one write */
    bool idle;         /* log in, send nothing, stay until standard input ends */
    bool resume;
    bool http; /* POST /v1/emails instead of SMTP */
    enum load_tls tls;
    double stall_s; /* give up when nothing happens for so long */
    uint64_t error_max;
    struct mail_options mail;
    const char *username;
    const char *password_file; /* "-": standard input; NULL: no AUTH */
};

enum load_phase {
    LOAD_CONNECTING, /* sessions log in, and wait for each other (kept) */
    LOAD_SENDING,    /* the part that is measured */
    LOAD_DONE,
};

struct load_session;

struct load {
    const struct load_options *options;
    int epoll;
    enum load_phase phase;
    struct wire_tls *tls;
    struct mail_maker *maker;
    struct buf auth; /* "AUTH PLAIN ...\r\n", over HTTP "Authorization: ...\r\n"; empty: none */
    struct load_session *sessions;
    size_t started;      /* sessions that have begun to connect */
    size_t ready;        /* sessions logged in, while connecting */
    size_t open;         /* connections now */
    struct list waiting; /* sessions that the rate holds back */
    /* of the measured part: */
    int64_t start_ns, deadline_ns, last_ns;
    uint64_t taken; /* ids that were given to a session */
    uint64_t accepted;
    uint64_t connections;
    struct samples dot;
    uint64_t errors;
    char first_error[256];
    const char *tls_version; /* of the first connection that had one */
    char room[WIRE_ROOM_BYTES];
    char *flight;  /* the flight being composed */
    char *scratch; /* the message for it, over HTTP */
};

int64_t load_now_ns(void); /* CLOCK_MONOTONIC, the same in every process of the machine */

/* --- load_session.c -------------------------------------------------------------------------- */

struct load_session *load_sessions_new(struct load *load, size_t count);
/* Connects one more session; its events go on from there. */
void load_session_start(struct load *load, size_t index);
/* Does the rate allow no message now? */
bool load_must_wait(const struct load *load);
/* The measured part has begun, or it is the turn of one that waited: takes the next message. */
void load_session_go(struct load_session *session);
struct load_session *load_session_waiting(struct list *node); /* the owner of a node of `waiting` */
void load_session_event(struct load_session *session, unsigned events);
void load_session_close(struct load_session *session);
uint64_t load_session_accepted(const struct load_session *sessions, size_t index);
struct load_session *load_session_at(struct load_session *sessions, size_t index);

/* --- load_http.c ------------------------------------------------------------------------------ */

size_t load_http_max(const struct mail_maker *maker); /* room for a request */
/* The request that sends message `id`, written to `out`; returns its bytes. */
size_t load_http_format(const struct load *load, uint64_t id, char *out);

#endif
