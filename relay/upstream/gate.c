/* gate.c - may one more connection to this upstream be opened, over all loops? Its life and its
 * sides. Threads: a lock around a few numbers, held for some instructions (like that of
 * listener_limits.c); what is asked once a message looks at an atomic first. */
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/upstream/gate_priv.h"

/* --- life ------------------------------------------------------------------------------------- */

static void set_options(struct gate *gate, const struct gate_options *options)
{
    gate->max_connections = options->max_connections > 0 ? options->max_connections : 1;
    gate->breaker.options = options->breaker;
    pace_set(&gate->pace, options->rate, clock_mono_us());
}

struct gate *gate_new(const struct gate_options *options)
{
    struct gate *gate = xcalloc(1, sizeof(*gate));
    int error = pthread_mutex_init(&gate->lock, NULL);

    assert(error == 0); /* a default mutex needs no resource */
    (void)error;
    atomic_store(&gate->refs, 1);
    list_init(&gate->sides);
    list_init(&gate->line);
    set_options(gate, options);
    return gate;
}

struct gate *gate_ref(struct gate *gate)
{
    atomic_fetch_add(&gate->refs, 1);
    return gate;
}

void gate_unref(struct gate *gate)
{
    if (gate == NULL || atomic_fetch_sub(&gate->refs, 1) > 1)
        return;
    assert(gate->places == 0 && list_is_empty(&gate->sides));
    pthread_mutex_destroy(&gate->lock);
    free(gate);
}

void gate_configure(struct gate *gate, const struct gate_options *options)
{
    pthread_mutex_lock(&gate->lock);
    set_options(gate, options);
    breaker_stir(&gate->breaker);
    gate->widen_after_ms = 0;
    gate_give_room(gate, NULL);
    pthread_mutex_unlock(&gate->lock);
}

struct pace *gate_pace(struct gate *gate)
{
    return &gate->pace;
}

enum gate_condition gate_look(struct gate *gate, struct why *reason)
{
    enum gate_condition condition = GATE_USABLE;

    *reason = (struct why){ "" };
    pthread_mutex_lock(&gate->lock);
    if (gate->breaker.failures > 0 || breaker_is_resting(&gate->breaker, clock_mono_ms()))
        *reason = gate->reason;
    if (breaker_is_open(&gate->breaker) && gate->ready == 0)
        condition = gate->breaker.login_refused ? GATE_PAUSED : GATE_RESTING;
    pthread_mutex_unlock(&gate->lock);
    return condition;
}

void gate_look_for_trouble(struct gate *gate)
{
    const struct breaker *breaker = &gate->breaker;

    atomic_store(&gate->troubled, breaker->failures > 0 || breaker->barren > 0 ||
                                      breaker->window > 0 ||
                                      breaker_is_resting(breaker, clock_mono_ms()));
}

void gate_side_free(struct gate_side *side)
{
    gate_unref(side->gate);
    free(side);
}

struct gate_side *gate_side_open(struct gate *gate, struct loop *loop, void (*wake)(void *owner),
                                 void *owner)
{
    struct gate_side *side = xcalloc(1, sizeof(*side));

    side->gate = gate_ref(gate);
    side->loop = loop;
    side->wake = wake;
    side->owner = owner;
    list_init(&side->line_node);
    pthread_mutex_lock(&gate->lock);
    list_add_tail(&gate->sides, &side->node);
    pthread_mutex_unlock(&gate->lock);
    return side;
}

static void set_asks(struct gate_side *side, bool asks)
{
    if (asks && !side->asks)
        loop_hold(side->loop);
    else if (!asks && side->asks)
        loop_release(side->loop);
    side->asks = asks;
}

void gate_side_close(struct gate_side *side)
{
    if (side == NULL)
        return;
    pthread_mutex_lock(&side->gate->lock);
    gate_leave_line(side);
    gate_give_back_kept(side);
    assert(side->holds == 0);
    list_remove(&side->node);
    bool posted = side->posted; /* then the letter's arrival frees it */
    pthread_mutex_unlock(&side->gate->lock);
    set_asks(side, false);
    side->wake = NULL;
    if (!posted)
        gate_side_free(side);
}

/* --- a side ----------------------------------------------------------------------------------- */

bool gate_is_usable(struct gate_side *side, bool has_work)
{
    struct gate *gate = side->gate;

    if (!atomic_load_explicit(&gate->troubled, memory_order_acquire))
        return true;
    pthread_mutex_lock(&gate->lock);
    bool is_tried = has_work || gate->opening > 0 || atomic_load(&gate->in_line) > 0;
    bool rests = breaker_is_resting(&gate->breaker, clock_mono_ms());
    bool usable = !rests && (!breaker_is_open(&gate->breaker) || gate->ready > 0 || !is_tried);

    gate_look_for_trouble(gate);
    pthread_mutex_unlock(&gate->lock);
    return usable;
}

bool gate_is_resting(struct gate *gate)
{
    if (!atomic_load_explicit(&gate->troubled, memory_order_acquire))
        return false;
    pthread_mutex_lock(&gate->lock);
    bool rests = breaker_is_resting(&gate->breaker, clock_mono_ms());
    pthread_mutex_unlock(&gate->lock);
    return rests;
}

static struct gate_pass *pass_new(struct gate_side *side)
{
    struct gate_pass *pass = xcalloc(1, sizeof(*pass));

    pass->gate = gate_ref(side->gate);
    pass->side = side;
    pass->refs = 1;
    pass->given_ms = clock_mono_ms();
    return pass;
}

struct gate_pass *gate_enter(struct gate_side *side, int64_t *again_ms)
{
    struct gate *gate = side->gate;

    pthread_mutex_lock(&gate->lock);
    if (!side->kept) {
        bool joins = list_is_empty(&side->line_node);

        gate_join_line(side);
        gate_give_room(gate, side);
        if (!side->kept && joins)
            gate_ask_idle_sides(gate);
    }
    bool entered = side->kept;

    side->kept = false; /* the pass has it now */
    if (!entered && gate->widen_after_ms > clock_mono_ms())
        *again_ms = gate->widen_after_ms;
    pthread_mutex_unlock(&gate->lock);
    set_asks(side, !entered);
    return entered ? pass_new(side) : NULL;
}

bool gate_settle(struct gate_side *side, bool wants, unsigned idle)
{
    struct gate *gate = side->gate;
    bool withdraws = side->asks && !wants;
    bool nobody_waits = atomic_load(&gate->in_line) == 0;

    if (!withdraws && idle == side->idle_told && (idle == 0 || nobody_waits))
        return false;
    pthread_mutex_lock(&gate->lock);
    side->idle = idle;
    if (withdraws) {
        gate_leave_line(side);
        gate_give_back_kept(side);
    }
    bool is_wanted = idle > 0 && atomic_load(&gate->in_line) > gate->recalled;
    pthread_mutex_unlock(&gate->lock);
    side->idle_told = idle;
    if (withdraws)
        set_asks(side, false);
    return is_wanted;
}

bool gate_was_sent_away(struct gate_side *side, struct why *reason)
{
    struct gate *gate = side->gate;

    if (!atomic_load_explicit(&gate->troubled, memory_order_acquire))
        return false;
    pthread_mutex_lock(&gate->lock);
    bool sent_away = side->sent_away;

    side->sent_away = false;
    if (sent_away)
        *reason = gate->reason;
    pthread_mutex_unlock(&gate->lock);
    return sent_away;
}
