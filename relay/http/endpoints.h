/* endpoints.h - the HTTP API: which method and path does what, and who may call it?
 * One table: method, path, who may call, needed scope, handler, one line of documentation. The same
 * endpoints serve the Unix socket, TCP, and, with the daemon stopped, the command line in its own
 * process. Belongs to one thread: the one that administrates `auth` and drains `answers`. */
#ifndef LATCHPOST_ENDPOINTS_H
#define LATCHPOST_ENDPOINTS_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "relay/base/slice.h"

/* The upstreams, which floors above this one have: asked for by functions that the daemon gives. */
struct api_upstream { /* over all workers; lent */
    const char *name, *kind, *state;
    const char *reason; /* of the latest failure, or NULL */
    size_t connections, waiting;
};
typedef void api_upstreams_cb(void *owner, const struct api_upstream *rows, size_t count);
struct api_upstreams {
    void *owner;
    /* Once, later, on this thread, and after all that was asked before has taken effect. Not to be
     * asked while the API drains. */
    void (*look)(void *owner, api_upstreams_cb *cb, void *cb_owner);
    /* Is one of this name configured, or held? */
    bool (*knows)(void *owner, const char *name);
    /* False and why: it could not be recorded, and nothing has changed. */
    bool (*hold)(void *owner, const char *name, bool hold, struct why *why);
};

struct txt_resolver;
struct api_mail {         /* the rules of mail that comes by HTTP: those of SMTP */
    const char *hostname; /* stays valid as long as the API */
    uint64_t message_bytes;
    unsigned recipients; /* of one message */
    size_t header_bytes;
    bool hide_client_address;
};

struct work_queue; /* work.h */
struct budget;     /* budget.h */
struct api {
    struct auth *auth;
    struct queue *queue;
    struct mailbox *answers;               /* of the thread that calls */
    const struct api_upstreams *upstreams; /* NULL: no daemon runs */
    struct txt_resolver *txt;              /* NULL: the DNS cannot be asked */
    const char *version;
    struct api_mail mail;    /* may be changed between two calls */
    struct work_queue *work; /* for what takes long; NULL: it is done at once */
    struct budget *budget;   /* for large requests; NULL: without bounds */
    bool draining;           /* /readyz says 503, and no mail is taken */
    _Atomic bool stopped;    /* the queue takes no more questions */
};

struct api_caller {
    bool is_operator;         /* came by the Unix socket or in this process: may do everything */
    struct auth_grant *grant; /* else the key; NULL: none was given, or it was not accepted */
    const char *refusal;      /* why the key that was given is not accepted; static, or NULL */
    unsigned penalty_s;       /* too many refused logins: for so long no key is looked at */
    const char *address;      /* of the client, or NULL; this and the next: until the answer */
    const char *tls;          /* "TLSv1.3 ...", or NULL */
    bool in_process;          /* the operator's command, while no daemon runs */
};

#define API_REQUEST_MAX                                                                            \
    (1024 * 1024)                 /* octets of the largest body that an endpoint takes; those      \
                                     that send mail take more */
#define API_SMALL_MAX (64 * 1024) /* up to here a body is dealt with at once */

struct api_request { /* borrowed for the call */
    struct slice method, path, query, body, content_type;
    struct slice idempotency_key; /* data NULL: there is none */
    struct buf *content;          /* what holds body: may be moved away; or NULL */
};

struct api_answer { /* lent for the call */
    int status;
    const char *content_type;
    struct slice body;      /* JSON (or text for /metrics); it may hold a new key: wipe copies */
    const char *allow;      /* of a 405: the methods of this path; else NULL */
    unsigned retry_after_s; /* of a 429 or 503; else 0 */
    /* Of the key's message rate: what RateLimit-* say; limit 0: they say nothing. */
    struct api_rate {
        uint64_t limit, left;
        unsigned reset_s;
    } rate;
    const char *endpoint; /* the path as the table has it: fit for a log, where the path as sent may
                             hold a secret by mistake; NULL: unknown */
    const char *code;     /* of an error, as in its body; else NULL */
};

/* Once, never from inside api_call(). */
typedef void api_answer_cb(void *owner, const struct api_answer *answer);
void api_call(struct api *api, const struct api_caller *caller, const struct api_request *request,
              api_answer_cb *cb, void *owner);

/* May this caller send mail at this path, so that a body may be larger than API_REQUEST_MAX? */
bool api_takes_mail(const struct api_caller *caller, struct slice method, struct slice path);

/* The body of an error answer, for those that come before any endpoint. */
bool api_format_error(struct buf *out, const char *code, const char *message) MUST_USE;

enum api_access {
    API_OPEN,     /* no key needed */
    API_KEY,      /* any key, or the operator */
    API_SCOPED,   /* a key with the scope, or the operator */
    API_OPERATOR, /* nobody else */
};
/* For documentation and tests: the i-th endpoint, false behind the last. */
struct api_endpoint_row {
    const char *method, *path, *help;
    enum api_access access;
    unsigned scopes; /* of API_SCOPED, else 0 */
    bool governs;    /* it changes what keys, messages or accounts are: no replaced secret may */
};
bool api_endpoint(size_t i, struct api_endpoint_row *row);

#endif
