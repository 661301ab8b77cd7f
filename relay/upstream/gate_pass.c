/* gate_pass.c - what becomes of one connection, and what does that say about the upstream?
 * A pass belongs to the thread of its side; what it tells the gate is told under the lock. */
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/upstream/gate_priv.h"

#define WIDEN_REST_MS     5000 /* one more connection was refused while others work */
#define TENURE_FACTOR     10 /* a connection that took 1 s to open is not given up before 10 s ... */
#define TENURE_LEAST_MS   100 /* ... and within these two */
#define TENURE_LONGEST_MS 10000

/* --- a pass ----------------------------------------------------------------------------------- */

struct gate_pass *gate_pass_ref(struct gate_pass *pass)
{
    if (pass != NULL)
        pass->refs++;
    return pass;
}

void gate_pass_unref(struct gate_pass *pass)
{
    if (pass == NULL || --pass->refs > 0)
        return;
    struct gate *gate = pass->gate;

    assert(pass->state == PASS_OVER);
    pthread_mutex_lock(&gate->lock);
    gate->places--;
    if (pass->recalled)
        gate->recalled--;
    gate_give_room(gate, NULL);
    pthread_mutex_unlock(&gate->lock);
    gate_unref(gate);
    free(pass);
}

bool gate_pass_ready(struct gate_pass *pass)
{
    struct gate *gate = pass->gate;

    assert(pass->state == PASS_OPENING);
    pass->state = PASS_READY;
    pass->ready_ms = clock_mono_ms();
    pthread_mutex_lock(&gate->lock);
    gate->opening--;
    gate->ready++;
    bool was_down = breaker_note_ready(&gate->breaker);
    if (was_down)
        gate_call_all_back(gate);
    gate_give_room(gate, NULL);
    pthread_mutex_unlock(&gate->lock);
    return was_down;
}

/* Under the lock. One more does not work, but others go on. */
static void stay_as_wide(struct gate *gate)
{
    gate->wide = gate->ready;
    gate->widen_after_ms = clock_mono_ms() + WIDEN_REST_MS;
    list_for_each(node, following, &gate->line)
        gate_post(list_entry(node, struct gate_side, line_node)); /* to ask again after that */
}

/* Under the lock. */
static void note_unreachable(struct gate *gate)
{
    if (gate->ready > 0) {
        stay_as_wide(gate);
        return;
    }
    breaker_note_unreachable(&gate->breaker, clock_mono_ms());
    if (gate->opening == 0)
        gate_send_all_away(gate);
}

/* Under the lock. Unlike those who wait for one that cannot be had, those who wait now need not be
 * sent away: the next one may do, unless it rests. */
static void note_barren(struct gate *gate)
{
    if (gate->ready > 0)
        stay_as_wide(gate);
    else
        breaker_note_barren(&gate->breaker, clock_mono_ms());
}

/* Under the lock. */
static void note_end(struct gate *gate, enum gate_end end, const char *text)
{
    if (end == GATE_FINISHED)
        return;
    if (end == GATE_LOST) {
        breaker_note_lost(&gate->breaker);
        return;
    }
    why_set(&gate->reason, "%s", text);
    atomic_store(&gate->troubled, true);
    if (end == GATE_UNREACHABLE) {
        note_unreachable(gate);
    } else if (end == GATE_BARREN) {
        note_barren(gate);
    } else {
        /* The next login would be refused, too, and enough of them lock the account. */
        breaker_note_login_refused(&gate->breaker, clock_mono_ms());
        gate_send_all_away(gate);
    }
}

void gate_pass_over(struct gate_pass *pass, enum gate_end end, const char *text)
{
    struct gate *gate = pass->gate;

    assert(pass->state != PASS_OVER);
    pthread_mutex_lock(&gate->lock);
    pass->side->holds--;
    if (pass->state == PASS_OPENING)
        gate->opening--;
    else
        gate->ready--;
    note_end(gate, end, text);
    gate_give_room(gate, NULL);
    pthread_mutex_unlock(&gate->lock);
    pass->state = PASS_OVER;
    pass->side = NULL;
}

/* Giving a connection up costs another login elsewhere, so that is done only once it has been of
 * use for much longer than that takes. */
static int64_t tenure_ms(const struct gate_pass *pass)
{
    int64_t for_ms = gate_pass_opening_ms(pass) * TENURE_FACTOR;

    if (for_ms < TENURE_LEAST_MS)
        return TENURE_LEAST_MS;
    return for_ms < TENURE_LONGEST_MS ? for_ms : TENURE_LONGEST_MS;
}

/* Under the lock. Is there one in the line that has none at all, or two fewer than this one's side,
 * and would get the place? */
static bool is_owed(struct gate *gate, const struct gate_side *side)
{
    const struct gate_side *next = gate_next_in_line(gate);
    unsigned itself = list_is_empty(&side->line_node) ? 0 : 1;

    if (next == NULL || next == side || atomic_load(&gate->in_line) - itself <= gate->recalled ||
        gate->opening >= gate->ready || breaker_is_resting(&gate->breaker, clock_mono_ms()))
        return false;
    return next->holds == 0 || next->holds + 2 <= side->holds;
}

/* Under the lock. Whoever gives may well want it back, but comes after those it gives to. */
static void recall(struct gate_pass *pass)
{
    struct list *place = &pass->side->line_node;

    if (!pass->recalled)
        pass->gate->recalled++;
    pass->recalled = true;
    if (!list_is_empty(place)) {
        list_remove(place);
        list_add_tail(&pass->gate->line, place);
    }
}

bool gate_pass_is_asked_back(struct gate_pass *pass)
{
    struct gate *gate = pass->gate;

    if (atomic_load(&gate->in_line) == 0 || clock_mono_ms() < pass->ready_ms + tenure_ms(pass))
        return false;
    pthread_mutex_lock(&gate->lock);
    bool asked = is_owed(gate, pass->side);

    if (asked)
        recall(pass);
    pthread_mutex_unlock(&gate->lock);
    return asked;
}

void gate_pass_recall(struct gate_pass *pass)
{
    pthread_mutex_lock(&pass->gate->lock);
    recall(pass);
    pthread_mutex_unlock(&pass->gate->lock);
}

int64_t gate_pass_opening_ms(const struct gate_pass *pass)
{
    return pass->ready_ms - pass->given_ms;
}

int64_t gate_pass_ready_ms(const struct gate_pass *pass)
{
    return pass->ready_ms;
}

void gate_note_success(struct gate *gate)
{
    if (!atomic_load_explicit(&gate->troubled, memory_order_acquire))
        return;
    pthread_mutex_lock(&gate->lock);
    if (gate->breaker.failures == 0) {
        breaker_note_success(&gate->breaker, gate->max_connections);
        gate_look_for_trouble(gate);
        gate_give_room(gate, NULL);
    }
    pthread_mutex_unlock(&gate->lock);
}
