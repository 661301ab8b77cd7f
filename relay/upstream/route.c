/* route.c - which upstreams, in which order, for this message? (pure, over the configured table)
 * The table is walked from the top; it holds tens of routes, not thousands. */
#include "relay/upstream/route.h"

#include "relay/message/domain.h"

static bool has_name(const char *const *names, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(slice_of(names[i]), name))
            return true;
    return count == 0; /* an empty list asks nothing */
}

static bool has_domain(const struct route *route, struct slice domain)
{
    for (size_t i = 0; i < route->sender_domain_count; i++)
        if (domain_covers(slice_of(route->sender_domains[i]), domain))
            return true;
    return route->sender_domain_count == 0;
}

/* The sender's domain in its one spelling; empty, which no pattern covers, for the null sender and
 * for whatever is no domain. Senders have no quoted local part, so the last "@" is the only one. */
static struct slice sender_domain(struct slice sender, char text[static DOMAIN_TEXT_MAX])
{
    size_t at = sender.len;

    while (at > 0 && sender.data[at - 1] != '@')
        at--;
    text[0] = '\0';
    if (at > 0)
        (void)domain_parse_ascii(slice_from(sender, at), text); /* leaves it empty on an error */
    return slice_of(text);
}

const unsigned *route_find(const struct route_table *table, struct slice account, struct slice key,
                           struct slice sender, size_t *count)
{
    char text[DOMAIN_TEXT_MAX];
    struct slice domain = sender_domain(sender, text);

    for (size_t i = 0; i < table->route_count; i++) {
        const struct route *route = &table->routes[i];

        if (has_name(route->accounts, route->account_count, account) &&
            has_name(route->keys, route->key_count, key) && has_domain(route, domain)) {
            *count = route->upstream_count;
            return route->upstreams;
        }
    }
    *count = table->default_count;
    return table->default_upstreams;
}
