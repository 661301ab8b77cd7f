/* metrics.c - how often did it happen?
 * A slot is thread-local memory, linked to the others when its thread first counts. Only that
 * thread writes it, so an add is a load and a store; readers sum all slots under the lock. When a
 * thread ends, its counts move to `gone` before its memory goes. */
#include "relay/base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

static const struct metric_info table[METRIC_COUNT] = {
    [METRIC_SESSIONS_ACCEPTED] = { "latchpost_sessions_accepted_total", "sessions", false,
                                   "SMTP sessions that were greeted." },
    [METRIC_SESSIONS_REFUSED] = { "latchpost_sessions_refused_total", "sessions", false,
                                  "SMTP connections turned away at a limit or while stopping." },
    [METRIC_SESSIONS_OPEN] = { "latchpost_sessions_open", "sessions", true,
                               "SMTP sessions open now." },
    [METRIC_TLS_FAILED] = { "latchpost_tls_failed_total", "handshakes", false,
                            "TLS handshakes with clients that did not succeed." },
    [METRIC_AUTH_ACCEPTED] = { "latchpost_auth_accepted_total", "logins", false,
                               "Logins accepted, over SMTP and HTTP." },
    [METRIC_AUTH_REFUSED] = { "latchpost_auth_refused_total", "logins", false,
                              "Logins refused, over SMTP and HTTP." },
    [METRIC_SENDER_REFUSED] = { "latchpost_sender_refused_total", "messages", false,
                                "Transactions refused because the key may not send as that "
                                "sender." },
    [METRIC_MESSAGES_ACCEPTED] = { "latchpost_messages_accepted_total", "messages", false,
                                   "Messages committed to the queue and answered with success." },
    [METRIC_MESSAGES_REFUSED] = { "latchpost_messages_refused_total", "messages", false,
                                  "Messages refused after their content was received." },
    [METRIC_BYTES_ACCEPTED] = { "latchpost_accepted_bytes_total", "bytes", false,
                                "Bytes of the messages accepted." },
    [METRIC_COMMITS] = { "latchpost_commits_total", "commits", false,
                         "Queue transactions committed to disk." },
    [METRIC_COMMIT_FAILURES] = { "latchpost_commit_failures_total", "commits", false,
                                 "Queue transactions that failed." },
    [METRIC_RECIPIENTS_DELIVERED] = { "latchpost_recipients_delivered_total", "recipients", false,
                                      "Recipients that an upstream accepted." },
    [METRIC_RECIPIENTS_DEFERRED] = { "latchpost_recipients_deferred_total", "recipients", false,
                                     "Attempts that will be repeated later." },
    [METRIC_RECIPIENTS_FAILED] = { "latchpost_recipients_failed_total", "recipients", false,
                                   "Recipients given up: refused for good or too old." },
    [METRIC_RECIPIENTS_UNCERTAIN] = { "latchpost_recipients_uncertain_total", "recipients", false,
                                      "Attempts whose final answer was lost; they are repeated "
                                      "or held." },
    [METRIC_BOUNCES] = { "latchpost_bounces_total", "messages", false,
                         "Reports to senders that recipients failed." },
    [METRIC_DELAY_NOTICES] = { "latchpost_delay_notices_total", "messages", false,
                               "Reports to senders that a message is delayed." },
    [METRIC_UPSTREAM_CONNECTIONS] = { "latchpost_upstream_connections_total", "connections", false,
                                      "Connections made to upstreams." },
    [METRIC_UPSTREAM_FAILURES] = { "latchpost_upstream_failures_total", "connections", false,
                                   "Connections to upstreams that could not be made or broke." },
    [METRIC_UPSTREAM_AUTH_REFUSED] = { "latchpost_upstream_auth_refused_total", "logins", false,
                                       "Logins that an upstream refused." },
    [METRIC_UPSTREAMS_HELD] = { "latchpost_upstreams_held", "upstreams", true,
                                "Upstreams that the operator holds; no mail leaves by them." },
};

struct slot {
    _Alignas(64) _Atomic int64_t counts[METRIC_COUNT]; /* no cache line is shared */
    bool registered;
    struct slot *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot *slots;         /* under the lock; of the threads that live */
static int64_t gone[METRIC_COUNT]; /* under the lock; sums of the threads that ended */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* has no use but that its destructor runs when a thread ends */
static _Thread_local struct slot mine;

static void retire(void *owner)
{
    struct slot *slot = owner;
    struct slot **link = &slots;

    pthread_mutex_lock(&lock);
    while (*link != slot)
        link = &(*link)->next;
    *link = slot->next;
    for (size_t i = 0; i < METRIC_COUNT; i++)
        gone[i] += atomic_exchange_explicit(&slot->counts[i], 0, memory_order_relaxed);
    pthread_mutex_unlock(&lock);
    slot->registered = false; /* another destructor may still count */
}

static void make_key(void)
{
    int error = pthread_key_create(&key, retire);

    assert(error == 0); /* the program has a handful of keys, the system a thousand */
    (void)error;
}

static void register_mine(void)
{
    pthread_once(&key_once, make_key);
    int error = pthread_setspecific(key, &mine);
    assert(error == 0);
    (void)error;
    pthread_mutex_lock(&lock);
    mine.next = slots;
    slots = &mine;
    pthread_mutex_unlock(&lock);
    mine.registered = true;
}

void metrics_add(enum metric metric, int64_t amount)
{
    assert(metric >= 0 && metric < METRIC_COUNT);
    assert(amount >= 0 || table[metric].gauge);
    if (!mine.registered)
        register_mine();
    _Atomic int64_t *count = &mine.counts[metric];
    int64_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + amount, memory_order_relaxed);
}

int64_t metrics_read(enum metric metric)
{
    assert(metric >= 0 && metric < METRIC_COUNT);
    pthread_mutex_lock(&lock);
    int64_t sum = gone[metric];
    for (struct slot *slot = slots; slot != NULL; slot = slot->next)
        sum += atomic_load_explicit(&slot->counts[metric], memory_order_relaxed);
    pthread_mutex_unlock(&lock);
    return sum;
}

const struct metric_info *metrics_info(enum metric metric)
{
    assert(metric >= 0 && metric < METRIC_COUNT);
    return &table[metric];
}

bool metrics_render(struct buf *out)
{
    for (enum metric metric = 0; metric < METRIC_COUNT; metric++) {
        const struct metric_info *info = &table[metric];
        if (!buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", info->name, info->help,
                        info->name, info->gauge ? "gauge" : "counter", info->name,
                        metrics_read(metric)))
            return false;
    }
    return true;
}
