/* pool.c - which connection does a job go to, and is it worth opening another one?
 * Jobs wait in one line, in which accounts take turns, and are taken by whichever connection is
 * free first; among free connections the one used last, so that surplus ones fall idle and say
 * QUIT. New connections are opened while jobs wait and none is free, as far as the gate lets them
 * in, which knows of all loops: the ceilings, whether the upstream is down, how fast it is taken
 * back into use.
 *
 * When connecting fails and no other connection works, all jobs that wait go back to their owner.
 * A connection is left in favour of another loop's when the gate asks for it, between two messages,
 * or once it has been idle for as long as a new login takes. It is also left when it has grown old,
 * so that a changed address is followed. Belongs to the loop's thread. */
#include "relay/upstream/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/upstream/client.h"
#include "relay/upstream/gate.h"
#include "relay/upstream/upstream_priv.h"

#define LEAD_US 5000000 /* so long before a message may leave, a connection is opened for it */

enum member_state { MEMBER_OPENING, MEMBER_FREE, MEMBER_BUSY };

struct member {            /* one connection */
    struct list node;      /* in pool->members, or, a probe that ended, in pool->probed */
    struct list free_node; /* in pool->free_members while it is free */
    struct pool *pool;
    struct client *client;
    enum member_state state;
    struct gate_pass *pass; /* a reference; NULL: a probe */
    int64_t free_since_ms;
    bool leaves;              /* QUIT in the next turn */
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
    size_t free_count;
    bool renew;   /* a free connection turned out to be dead: the others may be, too */
    bool leaving; /* a member does */

    struct gate *gate; /* a reference */
    struct gate_side *side;
    struct pace_slot slot;
    struct loop_timer timer; /* the next turn that nothing else brings */
    int64_t again_ms;
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

static void look_again_at(struct pool *pool, int64_t at_ms)
{
    if (at_ms < pool->again_ms)
        pool->again_ms = at_ms;
}

static bool is_time(struct pool *pool, int64_t at_us)
{
    if (at_us <= clock_mono_us())
        return true;
    look_again_at(pool, (at_us + 999) / 1000);
    return false;
}

/* Asked only while there is a connection for the message: what is booked, others cannot have. */
static bool is_time_to_send(struct pool *pool)
{
    struct pace *pace = gate_pace(pool->gate);

    return !pace_is_set(pace) || is_time(pool, pace_book(pace, &pool->slot, clock_mono_us()));
}

/* The first connection is opened a little early, others when those that are there do not do. */
static bool is_time_to_open(struct pool *pool)
{
    struct pace *pace = gate_pace(pool->gate);
    int64_t early_us = pool->opening + pool->ready == 0 ? LEAD_US : 0;

    return !pace_is_set(pace) ||
           is_time(pool, pace_foresee(pace, &pool->slot, clock_mono_us()) - early_us);
}

static struct upstream_job *next_job(struct pool *pool)
{
    if (pool->upstream->held || turns_count(pool->waiting) == 0 || !is_time_to_send(pool))
        return NULL;
    pace_use(&pool->slot);
    return upstream_jobs_take(pool->waiting);
}

static void on_look_again(void *owner)
{
    struct pool *pool = owner;

    upstream_wake(pool->upstream);
}

/* --- what becomes of connections -------------------------------------------------------------- */

static void log_end(const struct pool *pool, enum client_end end, const char *text)
{
    bool refused = end == CLIENT_LOGIN_REFUSED;

    if (end == CLIENT_FINISHED)
        return;
    metrics_add(METRIC_UPSTREAM_FAILURES, 1);
    if (refused)
        metrics_add(METRIC_UPSTREAM_AUTH_REFUSED, 1);
    LOG(refused ? LOG_ERROR : LOG_WARNING, refused ? "upstream_login_refused" : "upstream_failed",
        LOG_STR("upstream", upstream_name(pool->upstream)), LOG_STR("reason", text));
}

static void note_ready(struct pool *pool, struct member *member)
{
    pool->opening--;
    pool->ready++;
    metrics_add(METRIC_UPSTREAM_CONNECTIONS, 1);
    if (gate_pass_ready(member->pass))
        LOG(LOG_INFO, "upstream_back", LOG_STR("upstream", upstream_name(pool->upstream)));
}

static bool is_old(const struct member *member)
{
    int64_t most_ms = (int64_t)member->pool->upstream->options.connection_age_ms;

    return most_ms > 0 && clock_mono_ms() >= gate_pass_ready_ms(member->pass) + most_ms;
}

static void set_free(struct pool *pool, struct member *member)
{
    member->state = MEMBER_FREE;
    member->free_since_ms = clock_mono_ms();
    list_add_head(&pool->free_members, &member->free_node);
    pool->free_count++;
}

static void unset_free(struct pool *pool, struct member *member)
{
    if (list_is_empty(&member->free_node))
        return;
    list_remove(&member->free_node);
    pool->free_count--;
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
        note_ready(pool, member);
    if (is_old(member) || gate_pass_is_asked_back(member->pass)) {
        member->state = MEMBER_FREE; /* but not for a job */
        member->leaves = pool->leaving = true;
        return NULL;
    }
    struct upstream_job *job = next_job(pool);

    if (job != NULL)
        member->state = MEMBER_BUSY;
    else
        set_free(pool, member);
    return job;
}

static bool has_arrived(const struct upstream_job *job)
{
    for (size_t i = 0; i < job->recipient_count; i++)
        if (job->recipients[i].fate == UPSTREAM_DELIVERED)
            return true;
    return false;
}

static void on_judged(void *owner, struct upstream_job *job)
{
    struct member *member = owner;

    if (has_arrived(job))
        gate_note_success(member->pool->gate);
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
    static const enum gate_end ends[] = {
        [CLIENT_UNREACHABLE] = GATE_UNREACHABLE, [CLIENT_LOGIN_REFUSED] = GATE_LOGIN_REFUSED,
        [CLIENT_BARREN] = GATE_BARREN,           [CLIENT_LOST] = GATE_LOST,
        [CLIENT_FINISHED] = GATE_FINISHED,
    };
    struct member *member = owner;
    struct pool *pool = member->pool;

    upstream_wake(pool->upstream);
    list_remove(&member->node);
    unset_free(pool, member);
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
    if (untouched != NULL) {
        end = CLIENT_FINISHED; /* it had died while idle, which says nothing */
        take_back(pool, untouched);
    }
    log_end(pool, end, text);
    gate_pass_over(member->pass, ends[end], text);
    gate_pass_unref(member->pass);
    free(member);
}

static const struct client_events client_events = {
    .on_ready = on_ready,
    .on_judged = on_judged,
    .on_end = on_end,
};

/* pass: moved in; NULL for a probe. */
static void open_member(struct pool *pool, struct gate_pass *pass, upstream_probe_cb *probe,
                        void *probe_owner)
{
    struct member *member = xcalloc(1, sizeof(*member));
    struct client_setup setup = { .upstream = pool->upstream, .tls = pool->tls, .pass = pass };

    member->pool = pool;
    member->pass = pass;
    member->probe = probe;
    member->probe_owner = probe_owner;
    list_init(&member->free_node);
    list_add_tail(&pool->members, &member->node);
    member->client = client_open(&setup, &client_events, member);
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
        unset_free(pool, member);
        member->state = MEMBER_BUSY;
        client_run(member->client, job);
    }
}

/* A job that found its connection dead wants a fresh one; so does one that would find an old one.
 */
static void quit_free_members(struct pool *pool)
{
    list_for_each(node, following, &pool->free_members) {
        struct member *member = list_entry(node, struct member, free_node);

        if (pool->renew || is_old(member))
            client_quit(member->client);
    }
    pool->renew = false;
}

static void quit_leaving_members(struct pool *pool)
{
    list_for_each(node, following, &pool->members) {
        struct member *member = list_entry(node, struct member, node);

        if (member->leaves)
            client_quit(member->client);
    }
    pool->leaving = false;
}

/* True: there is no room for one more that is wanted. */
static bool open_members(struct pool *pool)
{
    while (pool->opening < turns_count(pool->waiting) && list_is_empty(&pool->free_members) &&
           is_time_to_open(pool)) {
        int64_t again_ms = INT64_MAX;
        struct gate_pass *pass = gate_enter(pool->side, &again_ms);

        look_again_at(pool, again_ms);
        if (pass == NULL)
            return true;
        pool->opening++;
        open_member(pool, pass, NULL, NULL);
    }
    return false;
}

/* Another loop waits for a connection that nobody needs here. It is kept for as long as a new one
 * would take, in case there is something to do for it until then. */
static void share_free_members(struct pool *pool, bool wants)
{
    int64_t now_ms = clock_mono_ms();

    while (gate_settle(pool->side, wants, (unsigned)pool->free_count)) {
        struct member *member = list_entry(pool->free_members.prev, struct member, free_node);
        int64_t until_ms = member->free_since_ms + gate_pass_opening_ms(member->pass);

        if (now_ms < until_ms) {
            look_again_at(pool, until_ms);
            return;
        }
        gate_pass_recall(member->pass);
        client_quit(member->client);
    }
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
    struct why reason;

    pool->again_ms = INT64_MAX;
    if (pool->leaving)
        quit_leaving_members(pool);
    if (pool->renew || turns_count(pool->waiting) > 0)
        quit_free_members(pool);
    if (upstream->held)
        return_all(pool, upstream_held_text);
    if (gate_was_sent_away(pool->side, &reason))
        return_all(pool, reason.text);
    use_free_members(pool);
    /* While it rests nobody will come to take them; those that wait for the rate are only early. */
    if (pool->opening + pool->ready == 0 && turns_count(pool->waiting) > 0 &&
        gate_is_resting(pool->gate)) {
        gate_look(pool->gate, &reason);
        return_all(pool, reason.text);
    }
    share_free_members(pool, open_members(pool));
    report_probes(pool);
    if (pool->again_ms < INT64_MAX) {
        int64_t wait_ms = pool->again_ms - clock_mono_ms();

        loop_timer_start(&pool->timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
    }
}

/* --- the kind --------------------------------------------------------------------------------- */

/* *context stays NULL where there is no TLS. */
static bool make_context(const struct upstream_options *options, struct tls_context **context,
                         struct why *why)
{
    struct tls_client_options tls = { .verify = options->tls_verify,
                                      .ca_file = options->ca_file,
                                      .certificate = options->client_certificate,
                                      .key = options->client_key };

    *context = NULL;
    if (options->tls == UPSTREAM_TLS_NONE)
        return true;
    *context = tls_context_client(&tls, why);
    return *context != NULL || why_prefix(why, "upstream %s: ", options->name);
}

static bool pool_check(const struct upstream_options *options, struct why *why)
{
    struct tls_context *context;
    bool ok = make_context(options, &context, why);

    tls_context_unref(context);
    return ok;
}

static bool pool_open(struct upstream *upstream, struct why *why)
{
    const struct upstream_options *options = &upstream->options;
    struct tls_context *context;

    if (!make_context(options, &context, why))
        return false;
    struct pool *pool = xcalloc(1, sizeof(*pool));

    pool->upstream = upstream;
    pool->tls = context;
    pool->waiting = turns_new();
    list_init(&pool->members);
    list_init(&pool->free_members);
    list_init(&pool->probed);
    pool->gate = options->gate != NULL ? gate_ref(options->gate) : upstream_gate_new(options);
    pool->side = gate_side_open(pool->gate, upstream->loop, on_look_again, pool);
    loop_timer_init(upstream->loop, &pool->timer, on_look_again, pool);
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
    loop_timer_close(&pool->timer, on_timer_closed);
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

    return gate_is_usable(pool->side, turns_count(pool->waiting) > 0);
}

static void pool_look(const struct upstream *upstream, struct upstream_view *view)
{
    static const enum upstream_condition conditions[] = {
        [GATE_USABLE] = UPSTREAM_USABLE,
        [GATE_RESTING] = UPSTREAM_RESTING,
        [GATE_PAUSED] = UPSTREAM_PAUSED,
    };
    const struct pool *pool = pool_of(upstream);

    view->kind = "smtp";
    view->connections = pool->opening + pool->ready;
    view->waiting = turns_count(pool->waiting);
    view->condition = conditions[gate_look(pool->gate, &view->reason)];
}

static bool pool_is_empty(const struct upstream *upstream)
{
    const struct pool *pool = pool_of(upstream);

    return pool->timer_closed && list_is_empty(&pool->members) && list_is_empty(&pool->probed);
}

static void pool_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner)
{
    open_member(pool_of(upstream), NULL, done, owner);
}

static void pool_free(struct upstream *upstream)
{
    struct pool *pool = pool_of(upstream);

    if (pool == NULL)
        return;
    assert(list_is_empty(&pool->members) && turns_count(pool->waiting) == 0);
    turns_free(pool->waiting);
    gate_side_close(pool->side);
    gate_unref(pool->gate);
    tls_context_unref(pool->tls);
    free(pool);
}

const struct upstream_kind pool_kind = {
    .check = pool_check,
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
