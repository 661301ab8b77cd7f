/* delivery_attempt.c - one leased message on its way: which upstream, what became of each
 * recipient, and what is written down. One attempt is one walk along the route's list: all
 * recipients go to the first usable upstream in one transaction, those that it could not even try
 * go to the next. What is left at the end of the list waits for the next attempt. A message's
 * memory is here from the lease to queue_settle(). */
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/delivery_priv.h"

struct attempt {
    struct delivery *delivery;
    struct fleet *fleet;
    struct queue_message *message;
    size_t next;         /* in the route's list */
    struct berth *tried; /* the one that has the job, or had it last; NULL: none yet */
    struct share *share;
    int64_t started_ms;
    char id[IDENT_TEXT_BYTES];
    struct upstream_job job;
    struct upstream_recipient recipients[]; /* of the job: those that have no fate yet, in order */
};

static size_t content_bytes(const struct queue_message *message)
{
    return buf_len(&message->content);
}

/* --- the end ---------------------------------------------------------------------------------- */

static const struct { /* how a fate is told in the log and counted */
    const char *name;
    enum metric metric; /* METRIC_COUNT: not counted */
} fates[] = {
    [QUEUE_UNTRIED] = { "untried", METRIC_COUNT },
    [QUEUE_SENT] = { "delivered", METRIC_RECIPIENTS_DELIVERED },
    [QUEUE_LATER] = { "deferred", METRIC_RECIPIENTS_DEFERRED },
    [QUEUE_NEVER] = { "failed", METRIC_RECIPIENTS_FAILED },
    [QUEUE_DOUBTFUL] = { "uncertain", METRIC_RECIPIENTS_UNCERTAIN },
};

static void count_fates(const struct queue_message *message, size_t counts[static ARRAY_LEN(fates)],
                        const char **reason)
{
    *reason = NULL;
    for (size_t i = 0; i < message->recipient_count; i++) {
        const struct queue_recipient *recipient = &message->recipients[i];

        counts[recipient->fate]++;
        if (recipient->fate != QUEUE_SENT && recipient->text != NULL)
            *reason = recipient->text;
    }
}

static void report(const struct attempt *attempt, const char *upstream)
{
    const struct queue_message *message = attempt->message;
    size_t counts[ARRAY_LEN(fates)] = { 0 };
    const char *reason;

    count_fates(message, counts, &reason);
    for (size_t i = 0; i < ARRAY_LEN(fates); i++)
        if (counts[i] > 0 && fates[i].metric != METRIC_COUNT)
            metrics_add(fates[i].metric, (int64_t)counts[i]);
    LOG(LOG_INFO, "attempt", LOG_STR("message", attempt->id), LOG_STR("key", message->key_id),
        LOG_STR("upstream", upstream), LOG_INT(fates[QUEUE_SENT].name, counts[QUEUE_SENT]),
        LOG_INT(fates[QUEUE_LATER].name, counts[QUEUE_LATER]),
        LOG_INT(fates[QUEUE_NEVER].name, counts[QUEUE_NEVER]),
        LOG_INT(fates[QUEUE_DOUBTFUL].name, counts[QUEUE_DOUBTFUL]),
        LOG_INT(fates[QUEUE_UNTRIED].name, counts[QUEUE_UNTRIED]),
        LOG_INT("ms", clock_mono_ms() - attempt->started_ms), LOG_STR("reason", reason));
}

/* upstream: the last one that was tried, or NULL. */
static void settle(struct attempt *attempt, const char *upstream)
{
    struct delivery *delivery = attempt->delivery;
    size_t bytes = content_bytes(attempt->message);

    report(attempt, upstream);
    queue_settle(delivery->options.queue, &attempt->message, upstream, NULL, NULL,
                 &delivery->loop->mailbox);
    struct share *share = attempt->share;

    free(attempt);
    delivery_release(delivery, share, bytes);
}

/* The list is at its end: whoever has no fate waits, with the last reason that was heard. */
static void settle_exhausted(struct attempt *attempt, const char *upstream, const char *reason)
{
    struct queue_message *message = attempt->message;

    message->stranded = true;
    for (size_t i = 0; i < message->recipient_count; i++) {
        struct queue_recipient *recipient = &message->recipients[i];

        if (recipient->fate != QUEUE_UNTRIED) { /* an upstream had something to say */
            message->stranded = false;
            continue;
        }
        if (recipient->text == NULL)
            queue_recipient_say(recipient, QUEUE_LATER, 0, "4.4.1", slice_of(reason));
        else
            recipient->fate = QUEUE_LATER;
    }
    settle(attempt, upstream);
}

/* --- one upstream after the other ------------------------------------------------------------- */

static const unsigned *find_list(const struct delivery *delivery,
                                 const struct queue_message *message, size_t *count)
{
    return route_find(delivery->options.routes, slice_of(message->account),
                      slice_of(message->key_id), slice_of(message->sender), count);
}

/* Why `rests`, the first of those that were passed over, is not usable: what an operator who looks
 * at a message wants to know. */
static void explain_rest(const struct upstream *rests, struct why *reason)
{
    struct upstream_view view;

    why_set(reason, "no upstream is usable");
    if (rests == NULL)
        return;
    upstream_look(rests, &view);
    if (view.reason.text[0] != '\0')
        why_set(reason, "no upstream is usable; \"%s\" rests: %s", view.name, view.reason.text);
}

/* The next usable upstream of the route's list, or NULL and the reason. The routes belong to the
 * current fleet. *held: the first that was passed over because it is held, or NULL: then the
 * message waits for that one, and is found by its name when it is let go. */
static struct berth *next_berth(struct attempt *attempt, struct why *reason, const char **held)
{
    const struct upstream *rests = NULL;
    size_t count;
    const unsigned *list = find_list(attempt->delivery, attempt->message, &count);

    *held = NULL;
    while (attempt->next < count) {
        unsigned index = list[attempt->next++];

        assert(index < attempt->fleet->count);
        struct berth *berth = &attempt->fleet->berths[index];
        const struct upstream *upstream = berth->upstream;

        if (upstream_is_usable(upstream))
            return berth;
        if (upstream_is_held(upstream) && *held == NULL)
            *held = upstream_name(upstream);
        else if (rests == NULL)
            rests = upstream;
    }
    if (*held != NULL)
        why_set(reason, "%s", upstream_held_text);
    else if (count == 0)
        why_set(reason, "no upstream is configured for this message");
    else
        explain_rest(rests, reason);
    return NULL;
}

bool attempt_is_possible(const struct delivery *delivery, const struct queue_message *message,
                         const struct room *room)
{
    size_t count;
    const unsigned *list = find_list(delivery, message, &count);

    for (size_t i = 0; i < count; i++) {
        const struct berth *berth = &delivery->fleet->berths[list[i]];

        if (upstream_is_usable(berth->upstream))
            return berth_has_room_for(delivery, message, berth, room);
    }
    return false;
}

static void fill_job(struct attempt *attempt)
{
    struct queue_message *message = attempt->message;
    size_t count = 0;

    for (size_t i = 0; i < message->recipient_count; i++)
        if (message->recipients[i].fate == QUEUE_UNTRIED)
            attempt->recipients[count++].address = message->recipients[i].address;
    attempt->job.recipients = attempt->recipients;
    attempt->job.recipient_count = count;
}

/* upstream: the one that was tried last, or NULL. */
static void go_on(struct attempt *attempt, const char *upstream)
{
    struct why reason;
    const char *held;

    if (attempt->delivery->draining) {
        settle(attempt, upstream);
        return;
    }
    if (attempt->fleet != attempt->delivery->fleet) { /* a reload: the list is another one now */
        attempt->fleet = attempt->delivery->fleet;
        attempt->next = 0;
    }
    struct berth *next = next_berth(attempt, &reason, &held);

    if (next == NULL) {
        settle_exhausted(attempt, upstream != NULL ? upstream : held, reason.text);
        return;
    }
    /* It comes again in a moment, and the queue then knows where this key's mail goes. */
    struct room room = delivery_room(attempt->delivery);
    if (attempt->tried == NULL && !berth_has_room(next, attempt->share, &room)) {
        settle(attempt, upstream_name(next->upstream));
        return;
    }
    fill_job(attempt);
    attempt->tried = next;
    berth_take(next, attempt->share, content_bytes(attempt->message));
    upstream_deliver(next->upstream, &attempt->job);
}

/* --- what the upstream says ------------------------------------------------------------------- */

/* The job's recipients are the message's that had no fate, in the same order. Returns how many
 * still have none. */
static size_t take_fates(struct attempt *attempt)
{
    static const enum queue_fate as[] = {
        [UPSTREAM_UNTRIED] = QUEUE_UNTRIED,    [UPSTREAM_DELIVERED] = QUEUE_SENT,
        [UPSTREAM_LATER] = QUEUE_LATER,        [UPSTREAM_NEVER] = QUEUE_NEVER,
        [UPSTREAM_UNCERTAIN] = QUEUE_DOUBTFUL,
    };
    struct queue_message *message = attempt->message;
    size_t told = 0;
    size_t left = 0;

    for (size_t i = 0; i < message->recipient_count; i++) {
        if (message->recipients[i].fate != QUEUE_UNTRIED)
            continue;
        const struct upstream_recipient *heard = &attempt->recipients[told++];

        queue_recipient_say(&message->recipients[i], as[heard->fate], heard->code, heard->enhanced,
                            slice_of(heard->text));
        if (heard->fate == UPSTREAM_UNTRIED)
            left++;
    }
    return left;
}

static void on_done(void *owner, struct upstream_job *job)
{
    struct attempt *attempt = owner;
    struct berth *berth = attempt->tried; /* it lives until we return, at least */
    const char *upstream = upstream_name(berth->upstream);
    size_t left = take_fates(attempt);

    berth_give(berth, attempt->share, content_bytes(attempt->message));
    upstream_job_clear(job);
    if (left > 0)
        go_on(attempt, upstream);
    else
        settle(attempt, upstream);
}

static void on_chunk(void *owner, enum queue_result result, struct buf *chunk)
{
    struct attempt *attempt = owner;

    (void)result; /* a failure is an empty chunk */
    upstream_job_chunk(&attempt->job, chunk);
}

static void fetch(void *owner, struct upstream_job *job, uint32_t seq)
{
    struct attempt *attempt = owner;

    (void)job;
    queue_read(attempt->delivery->options.queue, attempt->message->id, seq, on_chunk, attempt,
               &attempt->delivery->loop->mailbox);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static struct attempt *attempt_new(struct delivery *delivery, struct queue_message *message)
{
    struct attempt *attempt =
        xcalloc(1, sizeof(*attempt) + message->recipient_count * sizeof(struct upstream_recipient));

    attempt->delivery = delivery;
    attempt->fleet = delivery->fleet;
    attempt->message = message;
    attempt->started_ms = clock_mono_ms();
    ident_format(message->id, attempt->id);
    attempt->job = (struct upstream_job){
        .id = attempt->id,
        .account = message->account,
        .key = message->key_id,
        .sender = message->sender,
        .size = message->size,
        .eight_bit = message->eight_bit,
        .content = buf_slice(&message->content),
        .chunks = message->chunks,
        .fetch = fetch,
        .done = on_done,
        .owner = attempt,
    };
    return attempt;
}

void attempt_begin(struct delivery *delivery, struct queue_message *message)
{
    struct attempt *attempt = attempt_new(delivery, message);

    attempt->share = share_take(delivery, message, content_bytes(message));
    for (size_t i = 0; i < message->recipient_count; i++)
        message->recipients[i].fate = QUEUE_UNTRIED;
    if (message->sandbox) { /* never leased by the queue; if it were, it would not leave here */
        LOG(LOG_ERROR, "sandboxed_message_leased", LOG_STR("message", attempt->id));
        settle_exhausted(attempt, NULL, "a message of a test key is not relayed");
        return;
    }
    go_on(attempt, NULL);
}
