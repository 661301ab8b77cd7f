/* filter.c - is this message one of those that somebody asked for?
 * Asked on the writer's thread for each row that a scan looks at, so nothing is allocated here but
 * the copy of the filter's texts. An address is compared without regard to ASCII case, the local
 * part too: whoever looks for mail would rather find one letter too many. */
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/ident.h"

/* An id is made when a message begins, and it is received when it has ended: at the slowest rate
 * that a session may keep, the largest message takes most of a day. */
#define ID_LEAD_MS (2 * INT64_C(86400000))

static const size_t texts[] = {
    offsetof(struct queue_filter, account),  offsetof(struct queue_filter, key),
    offsetof(struct queue_filter, sender),   offsetof(struct queue_filter, recipient),
    offsetof(struct queue_filter, upstream),
};

static const char **text_at(struct queue_filter *filter, size_t i)
{
    return (const char **)(void *)((char *)filter + texts[i]);
}

struct queue_filter filter_copy(const struct queue_filter *filter)
{
    struct queue_filter copy = *filter;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (*text_at(&copy, i) != NULL)
            *text_at(&copy, i) = xstrdup(*text_at(&copy, i));
    return copy;
}

void filter_clear(struct queue_filter *filter)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free((char *)*text_at(filter, i));
    *filter = (struct queue_filter){ 0 };
}

/* The null sender is "" in the store, and "<>" to whoever looks for it. */
static bool address_is(const char *wanted, struct slice address)
{
    struct slice want = slice_of(wanted);
    size_t at = address.len;

    if (address.len == 0)
        return slice_equal(want, SLICE("<>"));
    if (slice_find(want, '@') != SLICE_NONE)
        return slice_equal_nocase(want, address);
    while (at > 0 && address.data[at - 1] != '@')
        at--;
    return at > 0 && slice_equal_nocase(want, slice_from(address, at));
}

static bool is_text(const char *wanted, const char *text)
{
    return wanted == NULL || strcmp(wanted, text) == 0;
}

/* On disk a leased message still waits; whoever asks means that it is on its way. */
static enum queue_state state_seen(const struct queue *queue, const struct store_look *look)
{
    if (!queue_state_is_final(look->state) && lease_exists(queue, look->id))
        return QUEUE_DELIVERING;
    return look->state;
}

bool filter_wants(const struct queue *queue, const struct queue_filter *filter,
                  const struct store_look *look)
{
    if (!is_text(filter->account, look->account) || !is_text(filter->key, look->key_id))
        return false;
    if (filter->sender != NULL && !address_is(filter->sender, slice_of(look->sender)))
        return false;
    if (filter->received_before_ms != 0 && look->received_ms >= filter->received_before_ms)
        return false;
    if (filter->received_after_ms != 0 && look->received_ms <= filter->received_after_ms)
        return false;
    return !filter->has_state || state_seen(queue, look) == filter->state;
}

bool filter_wants_recipient(const struct queue_filter *filter,
                            const struct store_recipient_look *look)
{
    return is_text(filter->upstream, look->upstream) &&
           (filter->recipient == NULL || address_is(filter->recipient, slice_of(look->address)));
}

bool filter_asks_recipients(const struct queue_filter *filter)
{
    return filter->recipient != NULL || filter->upstream != NULL;
}

int64_t filter_after_id(const struct queue_filter *filter)
{
    if (filter->received_after_ms <= ID_LEAD_MS)
        return 0;
    return ident_at_time_ms(filter->received_after_ms - ID_LEAD_MS) - 1;
}
