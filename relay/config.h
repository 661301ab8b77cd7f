/* config.h - what did the operator ask for?
 * One table row per setting (config.c): name, type, default, unit, help. config_load() reads the
 * file, checks everything that can be checked without the network, and fills the option structs of
 * the modules below. An unknown setting, a wrong type, a missing file, a variable that is not set:
 * an error that names file and line, and nothing starts. Main thread. */
#ifndef LATCHPOST_CONFIG_H
#define LATCHPOST_CONFIG_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "relay/base/log.h"
#include "relay/http/server.h"
#include "relay/net/tls.h"
#include "relay/net/txt_lookup.h"
#include "relay/smtp/session.h"
#include "relay/upstream/route.h"
#include "relay/upstream/upstream.h"

struct config_listener {
    struct smtp_door door; /* door.name is the section's title */
    const char *address;
    uint16_t port;
};

struct config_http {
    bool enabled;
    const char *address;
    uint16_t port;
    bool tls;
    size_t body_memory; /* of all large bodies */
    unsigned connections_per_address;
    struct http_limits limits;
};

/* In the order of config_fence_words. */
enum fence_mode { FENCE_AUTO, FENCE_REQUIRED, FENCE_OFF };

struct config { /* everything in it is owned by it and lives as long as it */
    const char *path;
    const char *hostname;
    const char *state_dir;    /* keys.db, queue.db, pepper, self-signed certificate */
    const char *control_path; /* control.sock */
    const char *user;         /* NULL: see user.h */
    enum fence_mode fence;
    enum log_level log_level;
    enum log_format log_format;
    unsigned workers;              /* never 0 here: "0: one a core" is resolved */
    uint64_t grace_ms;             /* how long sessions may finish at SIGTERM */
    uint64_t watchdog_ms;          /* how long a thread may be stuck; 0: for ever */
    struct tls_server_options tls; /* the self-signed pair in state_dir when none is configured */
    bool tls_self_signed;
    struct config_listener *listeners;
    size_t listener_count;
    struct config_http http;
    struct txt_options dns;
    unsigned sessions, sessions_per_address;
    struct smtp_limits smtp;
    bool hide_client_address;
    struct auth_options auth;
    struct queue_options queue;
    struct upstream_options *upstreams; /* without gates: see generation.c */
    size_t upstream_count;
    struct route_table routes;
    void *memory; /* private */
};

/* path: -c FILE, else $LATCHPOST_CONFIG, else /etc/latchpost/latchpost.conf when NULL. */
bool config_load(struct config **config, const char *path, struct why *why);
/* Only what a command needs that talks to the daemon or opens the stores: no listeners, upstreams,
 * routes, certificates. Passwords that come from the daemon's environment need not be in the
 * operator's. */
bool config_load_state(struct config **config, const char *path, struct why *why);
void config_free(struct config *config); /* accepts NULL; wipes the passwords */

/* Are the files of the upstreams what upstream_open() can use? Asked as the user who will open
 * them. */
bool config_check_upstreams(const struct config *config, struct why *why);

#endif
