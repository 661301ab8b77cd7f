/* generation.h - one reading of the configuration in the form that the threads borrow.
 * Each reload makes a new one; older ones are kept until the process ends, since sessions and
 * deliveries that are under way finish with what they began with. Main thread. */
#ifndef LATCHPOST_GENERATION_H
#define LATCHPOST_GENERATION_H

#include "relay/config.h"
#include "relay/inherited.h"
#include "relay/worker.h"

struct generation {
    struct generation *older;
    struct config *config;
    struct worker_settings *settings;   /* one a worker */
    struct upstream_options *upstreams; /* the configuration's, each with the gate that the workers
                                            share: of the generation before, where it is the same */
    int *sockets;                       /* the listeners' inherited sockets, one after the other */
    int http_socket;                    /* inherited, or 0 */
};

/* Takes over the configuration, and the older generation, or NULL, whose upstreams' ceilings change
 * at once. The numbers of the sockets are copied. */
struct generation *generation_new(struct config *config, size_t workers, struct generation *older,
                                  const struct inherited *inherited);
/* With all that are older. Accepts NULL. */
void generations_free(struct generation *generation);

/* contexts: workers + 1 places, NULL before. One TLS context a worker (OpenSSL's locks are then
 * taken within one thread) and one for HTTP, last; references that the caller owes. All stay NULL
 * when nothing needs TLS. False and why: none was made. */
bool generation_contexts(const struct config *config, size_t workers, struct tls_context **contexts,
                         struct why *why);

/* Can each upstream be opened? Its files are read and let go again, so that a reload with one that
 * is broken changes nothing anywhere. loop: where they are closed, in one of its next turns. */
bool generation_upstreams_are_sound(const struct config *config, struct loop *loop,
                                    struct why *why);

/* Has the configuration a use for this socket? */
bool generation_uses(const struct generation *generation, int socket);
/* False and why: a listener that lets keys travel in the clear, on loopback, was given a socket
 * that others can reach. */
bool generation_sockets_are_safe(const struct config *config, const struct inherited *inherited,
                                 struct why *why);

/* The name of a setting that differs and that a running process cannot change (where its stores and
 * its control socket are, its threads), or NULL. */
const char *generation_fixed(const struct config *was, const struct config *is);

#endif
