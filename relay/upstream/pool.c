/* pool.c - which connection does a job go to, and is it worth opening another one?
 * Jobs wait in one line, in which accounts take turns, and are taken by whichever connection is
 * free first; among free connections the one used last, so that surplus ones fall idle and say
 * QUIT. New connections are opened while jobs wait and none is free: one at first, then at most as
 * many at a time as already work, so an upstream that is down or slow to greet is met by one
 * attempt and not by a storm.
 *
 * When connecting fails and no other connection works, all jobs that wait go back to their owner.
 * Three failures in a row make the upstream unusable for 5 s, then 10, 20, 40 and 60 s; after each
 * pause one job may try it. A refused login pauses it for 60 s at once. Belongs to the loop's
 * thread. */
#include "relay/upstream/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/upstream/client.h"
#include "relay/upstream/upstream_priv.h"

#define FAILURES_MAX    3     /* in a row, before it rests */
#define REST_FIRST_MS   5000  /* doubles with each further failure ... */
#define REST_LONGEST_MS 60000 /* ... up to this */
#define LOGIN_REST_MS   60000 /* after a refused login */
#define WIDEN_REST_MS   5000  /* one more connection was refused while others work */
#define TOKEN           60000 /* parts of a message: one millisecond adds `rate` of them */

enum member_state { MEMBER_OPENING, MEMBER_FREE, MEMBER_BUSY };

struct member {            /* one connection */
    struct list node;      /* in pool->members, or, a probe that ended, in pool->probed */
    struct list free_node; /* in pool->free_members while it is free */
    struct pool *pool;
    struct client *client;
    enum member_state state;
    upstream_probe_cb *probe; /* NULL: an ordinary one */
    void *probe_owner;
    bool reached; /* a probe that got through */
    struct why said;
};

struct pool {
    struct upstream *upstream;
    struct tls_context *tls; /* NULL: without */
    struct turns *waiting;   /* jobs */
    struct list members;
    struct list free_members; /* the one used last is first */
    struct list probed;
    size_t opening, ready; /* members without and with a login; probes are not counted */
    bool renew;            /* a free connection turned out to be dead: the others may be, too */

    unsigned failures;     /* in a row, while no connection worked */
    bool login_refused;    /* that was one of them */
    int64_t rest_until_ms; /* monotonic, like the next two */
    int64_t widen_after_ms;
    int64_t tokens, tokens_at_ms;
    struct why reason; /* of the last failure */
    struct loop_timer token_timer;
    bool timer_closed;
};

static struct pool *pool_of(const struct upstream *upstream)
{
    return upstream->self;
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void return_all(struct pool *pool, const char *text)
{
    upstream_jobs_return(pool->upstream, pool->waiting, text);
}

/* A bucket that holds a tenth of a second's worth, at least one message: the ceiling is kept over
 * any second, and a timer that is late by some milliseconds costs no throughput. */
static bool has_token(struct pool *pool)
{
    int64_t rate = pool->upstream->options.rate;
    int64_t most = rate * 100 > TOKEN ? rate * 100 : TOKEN;
    int64_t now_ms = clock_mono_ms();

    if (rate == 0)
        return true;
    if (now_ms - pool->tokens_at_ms > TOKEN) /* full; and far away from an overflow */
        pool->tokens = most;
    else
        pool->tokens += (now_ms - pool->tokens_at_ms) * rate;
    pool->tokens_at_ms = now_ms;
    if (pool->tokens > most)
        pool->tokens = most;
    if (pool->tokens < TOKEN) {
        loop_timer_start(&pool->token_timer, (uint64_t)((TOKEN - pool->tokens + rate - 1) / rate),
                         0);
        return false;
    }
    return true;
}

static struct upstream_job *next_job(struct pool *pool)
{
    if (pool->upstream->held || turns_count(pool->waiting) == 0 || !has_token(pool))
        return NULL;
    if (pool->upstream->options.rate > 0)
        pool->tokens -= TOKEN;
    return upstream_jobs_take(pool->waiting);
}

static void on_token(void *owner)
{
    struct pool *pool = owner;

    upstream_wake(pool->upstream);
}

/* --- failures --------------------------------------------------------------------------------- */

static void rest(struct pool *pool, int64_t for_ms)
{
    pool->rest_until_ms = clock_mono_ms() + for_ms;
}

static void note_unreachable(struct pool *pool, const char *text)
{
    if (pool->ready > 0) {
        pool->widen_after_ms = clock_mono_ms() + WIDEN_REST_MS;
        return; /* the others go on */
    }
    pool->failures++;
    if (pool->failures >= FAILURES_MAX) {
        unsigned doublings = pool->failures - FAILURES_MAX;
        int64_t for_ms = doublings < 4 ? (int64_t)REST_FIRST_MS << doublings : REST_LONGEST_MS;

        rest(pool, for_ms);
    }
    if (pool->opening == 0)
        return_all(pool, text);
}

/* The next login would be refused, too, and enough of them lock the account. */
static void note_login_refused(struct pool *pool, const char *text)
{
    metrics_add(METRIC_UPSTREAM_AUTH_REFUSED, 1);
    pool->login_refused = true;
    if (pool->failures < FAILURES_MAX)
        pool->failures = FAILURES_MAX;
    rest(pool, LOGIN_REST_MS);
    return_all(pool, text);
}

static void note_end(struct pool *pool, enum client_end end, const char *text)
{
    if (end == CLIENT_FINISHED)
        return;
    why_set(&pool->reason, "%s", text);
    metrics_add(METRIC_UPSTREAM_FAILURES, 1);
    LOG(end == CLIENT_LOGIN_REFUSED ? LOG_ERROR : LOG_WARNING,
        end == CLIENT_LOGIN_REFUSED ? "upstream_login_refused" : "upstream_failed",
        LOG_STR("upstream", upstream_name(pool->upstream)), LOG_STR("reason", text));
    if (end == CLIENT_UNREACHABLE)
        note_unreachable(pool, text);
    else if (end == CLIENT_LOGIN_REFUSED)
        note_login_refused(pool, text);
}

static void note_ready(struct pool *pool)
{
    pool->opening--;
    pool->ready++;
    metrics_add(METRIC_UPSTREAM_CONNECTIONS, 1);
    if (pool->failures > 0)
        LOG(LOG_INFO, "upstream_back", LOG_STR("upstream", upstream_name(pool->upstream)));
    pool->failures = 0;
    pool->login_refused = false;
}

/* --- members: their events only take note ----------------------------------------------------- */

static struct upstream_job *on_ready(void *owner)
{
    struct member *member = owner;
    struct pool *pool = member->pool;

    upstream_wake(pool->upstream);
    if (member->probe != NULL) {
        member->reached = true;
        client_describe(member->client, &member->said);
        return NULL;
    }
    if (member->state == MEMBER_OPENING)
        note_ready(pool);
    struct upstream_job *job = next_job(pool);

    if (job != NULL) {
        member->state = MEMBER_BUSY;
    } else {
        member->state = MEMBER_FREE;
        list_add_head(&pool->free_members, &member->free_node);
    }
    return job;
}

static void on_judged(void *owner, struct upstream_job *job)
{
    struct member *member = owner;

    upstream_job_finish(member->pool->upstream, job);
}

static void take_back(struct pool *pool, struct upstream_job *job)
{
    job->retried = true;
    upstream_jobs_add_first(pool->waiting, job);
    pool->renew = true;
    if (pool->upstream->closing)
        return_all(pool, "the upstream is being closed");
}

static void on_end(void *owner, enum client_end end, const char *text,
                   struct upstream_job *untouched)
{
    struct member *member = owner;
    struct pool *pool = member->pool;

    upstream_wake(pool->upstream);
    list_remove(&member->node);
    list_remove(&member->free_node);
    if (member->probe != NULL) {
        if (!member->reached)
            why_set(&member->said, "%s", text);
        list_add_tail(&pool->probed, &member->node);
        return;
    }
    if (member->state == MEMBER_OPENING)
        pool->opening--;
    else
        pool->ready--;
    free(member);
    if (untouched != NULL)
        take_back(pool, untouched);
    else
        note_end(pool, end, text);
}

static const struct client_events client_events = {
    .on_ready = on_ready,
    .on_judged = on_judged,
    .on_end = on_end,
};

static struct member *open_member(struct pool *pool, upstream_probe_cb *probe, void *probe_owner)
{
    struct member *member = xcalloc(1, sizeof(*member));
    struct client_setup setup = { .upstream = pool->upstream, .tls = pool->tls };

    member->pool = pool;
    member->probe = probe;
    member->probe_owner = probe_owner;
    list_init(&member->free_node);
    list_add_tail(&pool->members, &member->node);
    member->client = client_open(&setup, &client_events, member);
    return member;
}

/* --- the turn --------------------------------------------------------------------------------- */

static void use_free_members(struct pool *pool)
{
    while (!list_is_empty(&pool->free_members)) {
        struct upstream_job *job = next_job(pool);

        if (job == NULL)
            return;
        struct member *member = list_entry(pool->free_members.next, struct member, free_node);

        if (client_refuses(member->client, job)) {
            upstream_job_finish(pool->upstream, job);
            continue;
        }
        list_remove(&member->free_node);
        member->state = MEMBER_BUSY;
        client_run(member->client, job);
    }
}

/* A job that found its connection dead wants a fresh one. */
static void quit_free_members(struct pool *pool)
{
    list_for_each(node, following, &pool->free_members)
        client_quit(list_entry(node, struct member, free_node)->client);
}

static bool may_open(const struct pool *pool, int64_t now_ms)
{
    size_t most = pool->upstream->options.max_connections;
    size_t together = pool->failures > 0 ? 1 : 1 + pool->ready;

    if (pool->opening >= turns_count(pool->waiting) || !list_is_empty(&pool->free_members))
        return false;
    if (pool->opening >= together || pool->opening + pool->ready >= (most > 0 ? most : 1))
        return false;
    return now_ms >= pool->rest_until_ms && (pool->ready == 0 || now_ms >= pool->widen_after_ms);
}

static void report_probes(struct pool *pool)
{
    struct list *node;

    list_for_each(member_node, following, &pool->members) {
        struct member *member = list_entry(member_node, struct member, node);

        if (member->probe != NULL && member->reached)
            client_quit(member->client);
    }
    while ((node = list_take_head(&pool->probed)) != NULL) {
        struct member *member = list_entry(node, struct member, node);

        member->probe(member->probe_owner, member->reached, member->said.text);
        free(member);
    }
}

static void pool_turn(struct upstream *upstream)
{
    struct pool *pool = pool_of(upstream);
    int64_t now_ms = clock_mono_ms();

    if (pool->renew)
        quit_free_members(pool);
    pool->renew = false;
    if (upstream->held)
        return_all(pool, upstream_held_text);
    use_free_members(pool);
    while (may_open(pool, now_ms) && has_token(pool)) {
        open_member(pool, NULL, NULL);
        pool->opening++;
    }
    /* While it rests nobody will come to take them; those that wait for the rate are only early. */
    if (pool->opening + pool->ready == 0 && now_ms < pool->rest_until_ms)
        return_all(pool, pool->reason.text);
    report_probes(pool);
}

/* --- the kind --------------------------------------------------------------------------------- */

static bool pool_open(struct upstream *upstream, struct why *why)
{
    const struct upstream_options *options = &upstream->options;
    struct tls_client_options tls = { .verify = options->tls_verify,
                                      .ca_file = options->ca_file,
                                      .certificate = options->client_certificate,
                                      .key = options->client_key };
    struct tls_context *context = NULL;

    if (options->tls != UPSTREAM_TLS_NONE) {
        context = tls_context_client(&tls, why);
        if (context == NULL)
            return why_prefix(why, "upstream %s: ", options->name);
    }
    struct pool *pool = xcalloc(1, sizeof(*pool));

    pool->upstream = upstream;
    pool->tls = context;
    pool->waiting = turns_new();
    list_init(&pool->members);
    list_init(&pool->free_members);
    list_init(&pool->probed);
    pool->tokens_at_ms = clock_mono_ms() - 2 * TOKEN; /* starts full */
    loop_timer_init(upstream->loop, &pool->token_timer, on_token, pool);
    upstream->self = pool;
    return true;
}

static void pool_deliver(struct upstream *upstream, struct upstream_job *job)
{
    upstream_jobs_add(pool_of(upstream)->waiting, job);
}

static void on_timer_closed(void *owner)
{
    struct pool *pool = owner;

    pool->timer_closed = true;
    upstream_wake(pool->upstream);
}

static void pool_close(struct upstream *upstream)
{
    struct pool *pool = pool_of(upstream);

    return_all(pool, "the upstream is being closed");
    list_for_each(node, following, &pool->members)
        client_quit(list_entry(node, struct member, node)->client);
    loop_timer_close(&pool->token_timer, on_timer_closed);
}

static void pool_abort(struct upstream *upstream)
{
    list_for_each(node, following, &pool_of(upstream)->members)
        client_abort(list_entry(node, struct member, node)->client);
}

/* After a rest one job may try: until it has, the others are better off elsewhere. */
static bool pool_is_usable(const struct upstream *upstream)
{
    const struct pool *pool = pool_of(upstream);
    bool being_tried = pool->opening > 0 || turns_count(pool->waiting) > 0;

    if (clock_mono_ms() < pool->rest_until_ms)
        return false;
    return pool->failures < FAILURES_MAX || pool->ready > 0 || !being_tried;
}

static void pool_look(const struct upstream *upstream, struct upstream_view *view)
{
    const struct pool *pool = pool_of(upstream);

    view->kind = "smtp";
    view->connections = pool->opening + pool->ready;
    view->waiting = turns_count(pool->waiting);
    if (pool->failures > 0)
        view->reason = pool->reason;
    if (pool->failures >= FAILURES_MAX && pool->ready == 0)
        view->condition = pool->login_refused ? UPSTREAM_PAUSED : UPSTREAM_RESTING;
}

static bool pool_is_empty(const struct upstream *upstream)
{
    const struct pool *pool = pool_of(upstream);

    return pool->timer_closed && list_is_empty(&pool->members) && list_is_empty(&pool->probed);
}

static void pool_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner)
{
    open_member(pool_of(upstream), done, owner);
}

static void pool_free(struct upstream *upstream)
{
    struct pool *pool = pool_of(upstream);

    if (pool == NULL)
        return;
    assert(list_is_empty(&pool->members) && turns_count(pool->waiting) == 0);
    turns_free(pool->waiting);
    tls_context_unref(pool->tls);
    free(pool);
}

const struct upstream_kind pool_kind = {
    .open = pool_open,
    .deliver = pool_deliver,
    .turn = pool_turn,
    .close = pool_close,
    .abort = pool_abort,
    .is_usable = pool_is_usable,
    .look = pool_look,
    .is_empty = pool_is_empty,
    .probe = pool_probe,
    .free = pool_free,
};
