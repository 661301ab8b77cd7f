/* client.h - one connection to an upstream: it logs in, then takes one transaction at a time.
 * Belongs to its loop's thread. The events come from the loop, except on_judged and on_end, which
 * client_quit() and client_abort() may call, too. Inside an event no call to the client may be
 * made: it only takes note. After on_end the pointer is dead. */
#ifndef LATCHPOST_CLIENT_H
#define LATCHPOST_CLIENT_H

#include "relay/upstream/upstream.h"

struct client;
struct gate_pass;

enum client_end {
    CLIENT_UNREACHABLE,   /* it never became ready: name, connection, greeting, TLS */
    CLIENT_LOGIN_REFUSED, /* the upstream does not take our credentials (5yz) */
    CLIENT_BARREN,        /* it was ready, and broke before it had answered anything of a message */
    CLIENT_LOST,          /* it broke after that */
    CLIENT_FINISHED,      /* we said QUIT, or the upstream closed an idle connection */
};

struct client_events {
    /* It is free: after the login, and after each job. Returns the job to do now, as client_run()
     * would (what client_refuses() comes back as on_judged and another one is asked for), or NULL.
     */
    struct upstream_job *(*on_ready)(void *owner);
    /* Every recipient of the job has its fate. */
    void (*on_judged)(void *owner, struct upstream_job *job);
    /* The last event. text: why. untouched: a job that the upstream has not answered with a
     * readable word, to be given to a fresh connection, because this one had died or gone astray
     * while it was idle; or NULL. */
    void (*on_end)(void *owner, enum client_end end, const char *text,
                   struct upstream_job *untouched);
};

struct client_setup {
    struct upstream *upstream;
    struct tls_context *tls; /* NULL only for UPSTREAM_TLS_NONE */
    struct gate_pass
        *pass; /* NULL, or held until its socket is closed, which may be after on_end */
};

struct client *client_open(const struct client_setup *setup, const struct client_events *events,
                           void *owner);

/* True when this connection cannot take the job at all: too large, eight-bit where only seven are
 * offered, or not fit to leave. Every recipient then has its fate and the connection is still
 * ready. */
bool client_refuses(struct client *client, struct upstream_job *job);
/* Only when it is free. */
void client_run(struct client *client, struct upstream_job *job);

/* QUIT as soon as no job is under way; a connection that is not ready yet is given up. */
void client_quit(struct client *client);
/* Now; a job under way is UPSTREAM_UNTRIED, after its dot UPSTREAM_UNCERTAIN. */
void client_abort(struct client *client);

/* "192.0.2.1:587, TLSv1.3 ..., logged in as u". Once it was ready; also inside on_ready. */
void client_describe(const struct client *client, struct why *text);

#endif
