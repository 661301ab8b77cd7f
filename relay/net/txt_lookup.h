/* txt_lookup.h - which TXT records has this name?
 * The only user of c-ares (with txt_owner.c). Each look-up has a channel of its own, so that a
 * change of the system's resolv.conf or of the configuration is seen by the next one, and nothing
 * is kept: whoever asks has just changed the zone. Belongs to its loop's thread. */
#ifndef LATCHPOST_TXT_LOOKUP_H
#define LATCHPOST_TXT_LOOKUP_H

#include "relay/base/slice.h"
#include "relay/net/loop.h"

#define TXT_SERVERS_MAX 8
#define TXT_LOOKUPS_MAX 64  /* at once; one more is answered TXT_BUSY */
#define TXT_TEXTS_MAX   100 /* records of one answer that are told */

struct txt_options {
    const char *const *servers; /* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53"; copied */
    size_t server_count;        /* 0: the system's (resolv.conf) */
    uint64_t timeout_ms;        /* of a look-up with all its tries; above 0 */
};
bool txt_server_is_valid(struct slice text);

struct txt_resolver;
struct txt_resolver *txt_resolver_new(struct loop *loop, const struct txt_options *options);
void txt_resolver_set(struct txt_resolver *resolver, const struct txt_options *options);
/* Answers whatever is under way with TXT_CANCELLED, from inside this call. Accepts NULL. */
void txt_resolver_free(struct txt_resolver *resolver);

enum txt_result {
    TXT_FOUND,   /* there is a record at least */
    TXT_NO_NAME, /* NXDOMAIN */
    TXT_NO_TEXT, /* the name has no TXT record */
    TXT_TIMEOUT, /* no server answered in time */
    TXT_FAILED,  /* the servers cannot be reached, refuse, or say what cannot be read */
    TXT_BUSY,
    TXT_CANCELLED,
};
struct txt_answer { /* lent for the call */
    enum txt_result result;
    /* One for each record, its strings joined without anything between (RFC 7208 section 3.3);
     * any octets. */
    const struct slice *texts;
    size_t count;
    const char *problem; /* of TXT_FAILED: "the server failed", ... */
};
/* Once, never from inside txt_lookup(). */
typedef void txt_answer_cb(void *owner, const struct txt_answer *answer);
/* name: in A-labels. The search list of the system is not used; a CNAME is followed by the
 * server. */
void txt_lookup(struct txt_resolver *resolver, const char *name, txt_answer_cb *cb, void *owner);

#endif
