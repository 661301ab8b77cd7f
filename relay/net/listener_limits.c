/* listener_limits.c - may one more session come in?
 * The total is an atomic; who holds how many is a table under a lock that is held for one look-up.
 * The table has one entry for each address that has a session, so the total bounds it. Sessions are
 * counted whatever the limits are, so that a reload can change those at any time. */
#include "relay/net/listener.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/map.h"

#define LOOPBACK_RESERVE 16

struct listener_limits {
    _Atomic unsigned open, most, most_per_address;
    pthread_mutex_t lock;
    struct map *counts; /* address to struct count */
};

struct count {
    unsigned sessions;
};

struct listener_limits *listener_limits_new(unsigned sessions, unsigned sessions_per_address)
{
    struct listener_limits *limits = xcalloc(1, sizeof(*limits));

    pthread_mutex_init(&limits->lock, NULL);
    limits->counts = map_new();
    listener_limits_set(limits, sessions, sessions_per_address);
    return limits;
}

void listener_limits_set(struct listener_limits *limits, unsigned sessions,
                         unsigned sessions_per_address)
{
    atomic_store(&limits->most, sessions);
    atomic_store(&limits->most_per_address, sessions_per_address);
}

void listener_limits_free(struct listener_limits *limits)
{
    if (limits == NULL)
        return;
    assert(map_count(limits->counts) == 0); /* each admitted session has left */
    map_free(limits->counts);
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

/* --- addresses ------------------------------------------------------------------------------- */

static bool is_ipv4(const struct stream_peer *peer)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

    return memcmp(peer->address, mapped, sizeof(mapped)) == 0;
}

/* On this machine: 127.0.0.0/8, ::1, a Unix socket. */
static bool is_local(const struct stream_peer *peer)
{
    static const uint8_t loopback[16] = { [15] = 1 };

    if (!peer->has_address)
        return strcmp(peer->text, "unix") == 0;
    return is_ipv4(peer) ? peer->address[12] == 127
                         : memcmp(peer->address, loopback, sizeof(loopback)) == 0;
}

/* Whoever has one IPv6 address has the /64 around it. */
static struct slice counted_part(const struct stream_peer *peer)
{
    return slice_make(peer->address, is_ipv4(peer) ? 16 : 8);
}

/* --- counting -------------------------------------------------------------------------------- */

static bool enter_address(struct listener_limits *limits, const struct stream_peer *peer)
{
    struct slice address = counted_part(peer);
    bool ok = false;

    pthread_mutex_lock(&limits->lock);
    struct count *count = map_find(limits->counts, address);
    if (count == NULL && atomic_load(&limits->most_per_address) > 0) {
        count = xcalloc(1, sizeof(*count));
        map_put(limits->counts, address, count);
    }
    if (count != NULL && count->sessions < atomic_load(&limits->most_per_address)) {
        count->sessions++;
        ok = true;
    }
    pthread_mutex_unlock(&limits->lock);
    return ok;
}

static void leave_address(struct listener_limits *limits, const struct stream_peer *peer)
{
    struct slice address = counted_part(peer);

    pthread_mutex_lock(&limits->lock);
    struct count *count = map_find(limits->counts, address);
    assert(count != NULL && count->sessions > 0); /* left without having entered */
    if (--count->sessions == 0) {
        map_remove(limits->counts, address);
        free(count);
    }
    pthread_mutex_unlock(&limits->lock);
}

enum listener_admission listener_enter(struct listener_limits *limits,
                                       const struct stream_peer *peer)
{
    bool local = is_local(peer);
    unsigned most = atomic_load(&limits->most);

    if (local && most <= UINT_MAX - LOOPBACK_RESERVE)
        most += LOOPBACK_RESERVE;
    if (atomic_fetch_add(&limits->open, 1) >= most) {
        atomic_fetch_sub(&limits->open, 1);
        return LISTENER_FULL;
    }
    if (local || !peer->has_address || enter_address(limits, peer))
        return LISTENER_ADMITTED;
    atomic_fetch_sub(&limits->open, 1);
    return LISTENER_ADDRESS_FULL;
}

void listener_leave(struct listener_limits *limits, const struct stream_peer *peer)
{
    unsigned before = atomic_fetch_sub(&limits->open, 1);

    assert(before > 0);
    (void)before;
    if (!is_local(peer) && peer->has_address)
        leave_address(limits, peer);
}
