/* connect.c - a connection to a host name: the first of its addresses that answers.
 * RFC 8305 ("happy eyeballs"), as far as it fits getaddrinfo: the addresses come in its order, the
 * two families taking turns (resolve.c); when one neither answers nor fails within a quarter of a
 * second, or as soon as it fails, the next is tried beside it; the first that stands wins, the
 * others are dropped before they have heard a byte (a service behind several addresses may see two
 * connections for a moment, of which one says nothing). Name and addresses have one time limit in
 * all, which dead addresses cannot multiply; as many addresses are tried as an answer holds
 * (RESOLVE_MAX). */
#include "relay/net/connect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

#define NEXT_MS       250 /* RFC 8305 section 5, "Connection Attempt Delay" */
#define NEXT_LEAST_MS 10  /* where the time limit leaves too little for all addresses */

struct candidate { /* one address */
    struct connect *connect;
    struct stream *stream; /* NULL: it failed, or was dropped */
};

struct connect {
    struct loop *loop;
    connect_cb *cb; /* NULL once it is over */
    void *owner;
    struct resolve *question; /* NULL: answered */
    struct sockaddr_storage addresses[RESOLVE_MAX];
    size_t count, next, under_way;
    struct candidate candidates[RESOLVE_MAX];
    struct loop_timer timer;
    uint64_t next_ms;
    uint64_t ends_at, next_at; /* the loop's milliseconds; next_at 0: nothing to wait for */
    char error[256];           /* of the address that failed last */
};

/* --- the end ---------------------------------------------------------------------------------- */

static void on_timer_closed(void *owner)
{
    struct connect *connect = owner;

    loop_release(connect->loop);
    free(connect);
}

/* Its memory goes once the timer has. */
static void finish(struct connect *connect)
{
    if (connect->question != NULL)
        resolve_cancel(connect->question);
    for (size_t i = 0; i < connect->next; i++)
        stream_close(connect->candidates[i].stream);
    connect->cb = NULL;
    loop_timer_close(&connect->timer, on_timer_closed);
}

static void succeed(struct connect *connect, struct stream *stream)
{
    connect_cb *cb = connect->cb;
    void *owner = connect->owner;

    finish(connect);
    cb(owner, stream, NULL);
}

static void fail(struct connect *connect, const char *doing, const char *error)
{
    connect_cb *cb = connect->cb;
    void *owner = connect->owner;
    char text[sizeof(connect->error) + 64];

    snprintf(text, sizeof(text), "%s: %s", doing, error);
    finish(connect);
    cb(owner, NULL, text);
}

/* --- addresses -------------------------------------------------------------------------------- */

static uint64_t now_ms(struct connect *connect)
{
    uv_update_time(&connect->loop->uv); /* the loop's time is as old as its turn */
    return uv_now(&connect->loop->uv);
}

static void arm(struct connect *connect)
{
    uint64_t due = connect->ends_at;
    uint64_t now = now_ms(connect);

    if (connect->next_at != 0 && connect->next_at < due)
        due = connect->next_at;
    loop_timer_start(&connect->timer, due > now ? due - now : 0, 0);
}

static const struct stream_events candidate_events;

static void try_next(struct connect *connect)
{
    struct candidate *candidate = &connect->candidates[connect->next];
    const struct sockaddr_storage *address = &connect->addresses[connect->next++];

    candidate->connect = connect;
    candidate->stream = stream_connect(connect->loop, (const struct sockaddr *)address,
                                       &candidate_events, candidate);
    connect->under_way++;
    connect->next_at = connect->next < connect->count ? now_ms(connect) + connect->next_ms : 0;
    arm(connect);
}

static void on_connected(void *owner)
{
    struct candidate *candidate = owner;
    struct stream *stream = candidate->stream;

    candidate->stream = NULL; /* it is not ours to close any more */
    succeed(candidate->connect, stream);
}

static void on_end(void *owner, enum stream_end end)
{
    struct candidate *candidate = owner;
    struct connect *connect = candidate->connect;

    (void)end; /* it never stood */
    snprintf(connect->error, sizeof(connect->error), "%s", stream_error(candidate->stream));
    candidate->stream = NULL; /* it frees itself */
    connect->under_way--;
    if (connect->next < connect->count)
        try_next(connect);
    else if (connect->under_way == 0)
        fail(connect, "cannot connect", connect->error);
}

static size_t on_data(void *owner, struct slice data)
{
    (void)owner;
    return data.len; /* not before on_connected, which hands the stream over */
}

static const struct stream_events candidate_events = {
    .on_data = on_data,
    .on_connected = on_connected,
    .on_end = on_end,
};

/* --- the beginning ---------------------------------------------------------------------------- */

static void on_timer(void *owner)
{
    struct connect *connect = owner;

    if (now_ms(connect) < connect->ends_at) {
        if (connect->next_at != 0 && connect->next_at <= now_ms(connect))
            try_next(connect);
        else
            arm(connect);
    } else if (connect->question != NULL) {
        fail(connect, "cannot resolve the name", "no answer in time");
    } else {
        fail(connect, "cannot connect", "timed out");
    }
}

/* All addresses get their chance, if there is time for it. */
static uint64_t share_ms(uint64_t left_ms, size_t count)
{
    uint64_t share = left_ms / (count + 1);

    if (share > NEXT_MS)
        return NEXT_MS;
    return share > NEXT_LEAST_MS ? share : NEXT_LEAST_MS;
}

static void on_resolved(void *owner, const struct resolve_answer *answer)
{
    struct connect *connect = owner;
    uint64_t now = now_ms(connect);

    connect->question = NULL;
    if (answer->count == 0) {
        fail(connect, "cannot resolve the name", answer->error);
        return;
    }
    connect->count = answer->count;
    memcpy(connect->addresses, answer->addresses, answer->count * sizeof(connect->addresses[0]));
    connect->next_ms = share_ms(connect->ends_at > now ? connect->ends_at - now : 0, answer->count);
    try_next(connect);
}

struct connect *connect_open(struct loop *loop, struct resolver *resolver,
                             const struct connect_target *target, connect_cb *cb, void *owner)
{
    struct connect *connect = xcalloc(1, sizeof(*connect));

    connect->loop = loop;
    connect->cb = cb;
    connect->owner = owner;
    connect->ends_at = now_ms(connect) + target->timeout_ms;
    loop_hold(loop);
    loop_timer_init(loop, &connect->timer, on_timer, connect);
    connect->question = resolve_host(resolver, target->host, target->port, on_resolved, connect);
    arm(connect);
    return connect;
}

void connect_cancel(struct connect *connect)
{
    assert(connect->cb != NULL);
    finish(connect);
}
