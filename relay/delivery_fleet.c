/* delivery_fleet.c - the set of upstreams of one configuration, from its opening to the end of its
 * last job. A reload opens a new fleet beside the old one, which then lives as long as what is
 * under way on it. Belongs to the loop's thread. */
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/delivery_priv.h"

static void fleet_free(struct fleet *fleet)
{
    struct delivery *delivery = fleet->delivery;

    list_remove(&fleet->node);
    free(fleet->berths);
    free(fleet);
    if (delivery != NULL)
        delivery_look_closed(delivery);
}

static void on_upstream_closed(void *owner)
{
    struct berth *berth = owner;

    berth->upstream = NULL;
    if (--berth->fleet->open == 0)
        fleet_free(berth->fleet);
}

void fleet_retire(struct fleet *fleet)
{
    if (fleet->open == 0) {
        fleet_free(fleet);
        return;
    }
    for (size_t i = 0; i < fleet->count;
         i++) /* each is still open, and closes from the loop only */
        upstream_close(fleet->berths[i].upstream, on_upstream_closed, &fleet->berths[i]);
}

void fleet_abort(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (fleet->berths[i].upstream != NULL)
            upstream_abort(fleet->berths[i].upstream);
}

struct fleet *fleet_open(struct delivery *delivery, const struct delivery_options *options,
                         struct why *why)
{
    struct fleet *fleet = xcalloc(1, sizeof(*fleet));

    list_init(&fleet->node);
    fleet->berths = xcalloc(options->upstream_count + 1, sizeof(*fleet->berths));
    for (size_t i = 0; i < options->upstream_count; i++) {
        struct upstream *upstream =
            upstream_open(delivery->loop, delivery->resolver, &options->upstreams[i], why);

        if (upstream == NULL) {
            fleet_retire(fleet); /* nobody waits for it: it goes by itself */
            return NULL;
        }
        if (map_find(delivery->held, slice_of(options->upstreams[i].name)) != NULL)
            upstream_hold(upstream, true);
        fleet->berths[i] = (struct berth){ .upstream = upstream, .fleet = fleet };
        fleet->count++;
        fleet->open++;
    }
    fleet->delivery = delivery;
    list_add_tail(&delivery->fleets, &fleet->node);
    return fleet;
}
