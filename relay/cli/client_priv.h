/* client_priv.h - what the files of the client share: one way to the API each. Seen by them only.
 */
#ifndef LATCHPOST_CLIENT_PRIV_H
#define LATCHPOST_CLIENT_PRIV_H

#include "relay/base/buf.h"
#include "relay/base/why.h"
#include "relay/cli/client.h"

#define CLIENT_ANSWER_MAX (96u * 1024 * 1024) /* above what the API makes */
#define CLIENT_REMOTE_MAX (16u * 1024 * 1024) /* of a machine that is not this one */

struct client_reply {
    int status; /* 0: none yet */
    struct buf body;
};
struct client_question { /* borrowed */
    const char *method, *target;
    const char *body; /* JSON, or NULL */
    unsigned patience_s;
};

/* One of the three ways. ask() fills the reply or tells what is wrong and returns the exit code;
 * close() frees the way. */
struct client_way {
    int (*ask)(struct client_way *way, const struct client_question *question,
               struct client_reply *reply);
    void (*close)(struct client_way *way);
    bool has_daemon;
    size_t answer_max;
};

/* client_local.c: by the control socket or in this process, whichever the state directory says. */
int client_open_local(struct client_way **way, const char *config_path);
/* client_direct.c: in this process. `lock` is the lock on the state directory, which is taken over
 * and given up at the very end. Consumes *config. */
struct config;
int client_open_direct(struct client_way **way, struct config **config, int lock);
/* client_remote.c: by HTTPS, with a key. */
struct client_remote_options {
    const char *url, *key_file, *ca_file; /* the last may be NULL */
};
int client_open_remote(struct client_way **way, const struct client_remote_options *options);

/* --- client_http.c: HTTP itself (the only user of libcurl) ------------------------------------ */

struct client_door {         /* borrowed */
    const char *socket_path; /* NULL: by TCP */
    const char *base;        /* "https://relay.example.com:8025", without a slash at its end */
    const char *key;         /* NULL: none is sent */
    const char *ca_file;     /* NULL: the system's CAs */
};
enum client_outcome {
    CLIENT_ANSWERED,
    CLIENT_UNREACHED,  /* nothing was asked */
    CLIENT_UNANSWERED, /* it was asked, perhaps; whether it was done is not known */
    CLIENT_NONSENSE,   /* what came is no answer, or too much of one */
};
/* A connection for each question; no redirect is followed. *why and *os_error (0: none) when it is
 * not answered. What passes through is wiped from memory. */
enum client_outcome client_http_ask(const struct client_door *door,
                                    const struct client_question *question,
                                    struct client_reply *reply, struct why *why, int *os_error);
/* Is it https://host[:port][/path], or http:// to this very machine? Then *base is it without a
 * slash at its end, the caller's to free. */
bool client_http_base(const char *url, char **base, struct why *why);

/* Frees, wiped. For the libraries that a key passes through. */
void client_wipe_and_free(void *memory);

#endif
