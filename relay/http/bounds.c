/* bounds.c - can this new key do no more than the key that makes it? (pure)
 * One row per kind of restriction: the two lists and the function that says whether an item of the
 * maker's covers an item of the new key's. */
#include "relay/http/bounds.h"

#include <stdio.h>

#include <arpa/inet.h>

#include "relay/base/macros.h"
#include "relay/message/domain.h"

bool bounds_pattern_covers(struct slice pattern, struct slice other)
{
    if (slice_equal(pattern, other))
        return true;
    bool is_wildcard = other.len > 2 && other.data[0] == '*';
    return domain_covers(pattern, is_wildcard ? slice_from(other, 2) : other) &&
           pattern.data[0] == '*';
}

/* An address or a domain pattern, as recipients are restricted by: a domain holds its addresses. */
static bool recipient_covers(struct slice allowed, struct slice other)
{
    struct slice domain = other;

    if (slice_equal(allowed, other))
        return true;
    if (slice_find(allowed, '@') != SLICE_NONE)
        return false;
    if (slice_find(other, '@') == SLICE_NONE)
        return bounds_pattern_covers(allowed, other);
    for (size_t at; (at = slice_find(domain, '@')) != SLICE_NONE;)
        domain = slice_from(domain, at + 1);
    return domain_covers(allowed, domain);
}

struct network {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;       /* of the 16 bytes */
    bool is_ipv4;        /* as auth/network.c sees it: ::/0 holds no IPv4 address */
};

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool parse_address(struct slice text, struct network *network, bool *dotted)
{
    char room[64];

    if (text.len >= sizeof(room))
        return false;
    snprintf(room, sizeof(room), "%.*s", SLICE_ARG(text));
    *dotted = inet_pton(AF_INET, room, network->address + 12) == 1;
    if (*dotted)
        memcpy(network->address, mapped, sizeof(mapped));
    else if (inet_pton(AF_INET6, room, network->address) != 1)
        return false;
    return true;
}

static bool parse_network(struct slice text, struct network *network)
{
    bool dotted;
    uint64_t bits;
    struct slice rest = text;

    if (!parse_address(slice_cut(&rest, '/'), network, &dotted))
        return false;
    bits = dotted ? 32 : 128;
    if (rest.data != NULL && (!slice_to_u64(rest, &bits) || bits > (dotted ? 32 : 128)))
        return false;
    network->bits = (unsigned)bits + (dotted ? 96 : 0);
    network->is_ipv4 = network->bits >= 96 && memcmp(network->address, mapped, sizeof(mapped)) == 0;
    return true;
}

bool bounds_network_covers(struct slice network, struct slice other)
{
    struct network wide, narrow;

    if (!parse_network(network, &wide) || !parse_network(other, &narrow) ||
        narrow.bits < wide.bits || narrow.is_ipv4 != wide.is_ipv4)
        return false;
    for (unsigned bit = 0; bit < wide.bits; bit++) {
        uint8_t mask = (uint8_t)(0x80u >> bit % 8);
        if ((wide.address[bit / 8] & mask) != (narrow.address[bit / 8] & mask))
            return false;
    }
    return true;
}

typedef bool covers_fn(struct slice allowed, struct slice other);

static bool list_permits(char *const *allowed, struct slice other, covers_fn *covers)
{
    for (size_t i = 0; allowed[i] != NULL; i++)
        if (covers(slice_of(allowed[i]), other))
            return true;
    return false;
}

static bool lists_permit(const char *what, char *const *allowed, const struct auth_list *asked,
                         covers_fn *covers, struct why *why)
{
    if (allowed[0] == NULL)
        return true;
    if (asked->count == 0)
        return why_set(why,
                       "The key that makes this one is restricted in \"%s\", so the new key must "
                       "name its own.",
                       what);
    for (size_t i = 0; i < asked->count; i++)
        if (!list_permits(allowed, slice_of(asked->items[i]), covers))
            return why_set(why, "The key that makes this one is not permitted \"%s\" in \"%s\".",
                           asked->items[i], what);
    return true;
}

static bool limits_permit(const struct auth_key_view *maker, const struct auth_key_spec *spec,
                          struct why *why)
{
    if (maker->expires_s != 0 && (spec->expires_s == 0 || spec->expires_s > maker->expires_s))
        return why_set(why, "The new key must not outlive the key that makes it: set "
                            "\"expirationDays\" to end before that.");
    if (maker->rate_per_minute != 0 &&
        (spec->rate_per_minute == 0 || spec->rate_per_minute > maker->rate_per_minute))
        return why_set(why, "The new key's \"rateLimit\" must be at most %u a minute.",
                       maker->rate_per_minute);
    if (maker->recipients_per_day != 0 &&
        (spec->recipients_per_day == 0 || spec->recipients_per_day > maker->recipients_per_day))
        return why_set(why, "The new key must not have more recipients a day than the key that "
                            "makes it.");
    if (maker->message_size_bytes != 0 &&
        (spec->message_size_bytes == 0 || spec->message_size_bytes > maker->message_size_bytes))
        return why_set(why, "The new key's \"messageSize\" must be at most %llu.",
                       (unsigned long long)maker->message_size_bytes);
    if (maker->sessions != 0 && (spec->sessions == 0 || spec->sessions > maker->sessions))
        return why_set(why, "The new key's \"maxSessions\" must be at most %u.", maker->sessions);
    if (maker->test && !spec->test)
        return why_set(why, "A test key can only make test keys.");
    return true;
}

bool bounds_permit(const struct auth_key_view *maker, const struct auth_key_spec *spec,
                   struct why *why)
{
    return lists_permit("domains", maker->domains, &spec->domains, bounds_pattern_covers, why) &&
           lists_permit("senders", maker->senders, &spec->senders, slice_equal, why) &&
           lists_permit("recipients", maker->recipients, &spec->recipients, recipient_covers,
                        why) &&
           lists_permit("allowFrom", maker->allow_from, &spec->allow_from, bounds_network_covers,
                        why) &&
           limits_permit(maker, spec, why);
}
