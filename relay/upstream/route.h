/* route.h - which upstreams, in which order, for this message? (pure, over the configured table) */
#ifndef LATCHPOST_ROUTE_H
#define LATCHPOST_ROUTE_H

#include "relay/base/slice.h"

struct route { /* a list that is empty (count 0) matches everything */
    const char *const *accounts;
    size_t account_count;
    const char *const *keys; /* key ids */
    size_t key_count;
    const char *const *sender_domains; /* patterns in their one spelling */
    size_t sender_domain_count;
    const unsigned *upstreams; /* indices into the configured upstreams, in order */
    size_t upstream_count;
};
struct route_table {
    const struct route *routes; /* first match wins */
    size_t route_count;
    const unsigned *default_upstreams;
    size_t default_count;
};

/* The list for a message; *count may be 0 (then it waits). sender: of the envelope, "" is null. */
const unsigned *route_find(const struct route_table *table, struct slice account, struct slice key,
                           struct slice sender, size_t *count);

#endif
