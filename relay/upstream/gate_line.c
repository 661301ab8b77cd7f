/* gate_line.c - who waits for a connection to this upstream, and who is given room?
 * Everything here is called under the gate's lock. Room is given, not taken: whatever may make room
 * (a connection has gone, is ready, was refused; other ceilings) gives passes to those in the line
 * while there is any. So nobody overtakes the line, and what is given and not wanted any more goes
 * to the next. Letters are posted under the lock, so that a side that has left the gate can be sure
 * that none is on its way but the one it knows of. */
#include "relay/base/clock.h"
#include "relay/upstream/gate_priv.h"

/* --- letters ---------------------------------------------------------------------------------- */

static void on_letter(struct letter *letter)
{
    struct gate_side *side = container_of(letter, struct gate_side, letter);

    pthread_mutex_lock(&side->gate->lock);
    side->posted = false;
    pthread_mutex_unlock(&side->gate->lock);
    if (side->wake == NULL)
        gate_side_free(side);
    else
        side->wake(side->owner);
}

void gate_post(struct gate_side *side)
{
    if (side->posted)
        return;
    side->posted = true;
    side->letter.deliver = on_letter;
    mailbox_post(&side->loop->mailbox, &side->letter);
}

/* --- the line --------------------------------------------------------------------------------- */

void gate_join_line(struct gate_side *side)
{
    if (!list_is_empty(&side->line_node))
        return;
    list_add_tail(&side->gate->line, &side->line_node);
    atomic_fetch_add(&side->gate->in_line, 1);
}

void gate_leave_line(struct gate_side *side)
{
    if (list_is_empty(&side->line_node))
        return;
    list_remove(&side->line_node);
    atomic_fetch_sub(&side->gate->in_line, 1);
}

struct gate_side *gate_next_in_line(struct gate *gate)
{
    struct gate_side *best = NULL;

    list_for_each(node, following, &gate->line) {
        struct gate_side *side = list_entry(node, struct gate_side, line_node);

        if (best == NULL || side->holds < best->holds)
            best = side;
    }
    return best;
}

static bool may_widen(const struct gate *gate, int64_t now_ms)
{
    return now_ms >= gate->widen_after_ms || gate->places < gate->wide;
}

/* One at first, then at most as many at a time as already work: an upstream that is down or slow to
 * greet is met by one attempt of the whole process and not by a storm. */
static bool has_room(const struct gate *gate, int64_t now_ms)
{
    unsigned together = gate->breaker.failures > 0 ? 1 : 1 + gate->ready;

    return !breaker_is_resting(&gate->breaker, now_ms) && gate->opening < together &&
           gate->places < breaker_limit(&gate->breaker, gate->max_connections) &&
           may_widen(gate, now_ms);
}

void gate_give_room(struct gate *gate, const struct gate_side *self)
{
    if (atomic_load_explicit(&gate->in_line, memory_order_relaxed) == 0)
        return;
    int64_t now_ms = clock_mono_ms();
    struct gate_side *side;

    while (has_room(gate, now_ms) && (side = gate_next_in_line(gate)) != NULL) {
        gate_leave_line(side);
        side->kept = true;
        side->holds++;
        gate->places++;
        gate->opening++;
        if (side != self)
            gate_post(side);
    }
    /* It rests, and nobody is left whose failure would tell those in the line. */
    if (gate->opening == 0 && gate->ready == 0 && breaker_is_resting(&gate->breaker, now_ms) &&
        !list_is_empty(&gate->line))
        gate_send_all_away(gate);
}

void gate_give_back_kept(struct gate_side *side)
{
    if (!side->kept)
        return;
    side->kept = false;
    side->holds--;
    side->gate->places--;
    side->gate->opening--;
    gate_give_room(side->gate, side);
}

void gate_ask_idle_sides(struct gate *gate)
{
    list_for_each(node, following, &gate->sides) {
        struct gate_side *side = list_entry(node, struct gate_side, node);

        if (side->idle > 0)
            gate_post(side);
    }
}

void gate_send_all_away(struct gate *gate)
{
    list_for_each(node, following, &gate->sides) {
        struct gate_side *side = list_entry(node, struct gate_side, node);

        side->sent_away = true;
        gate_leave_line(side);
        gate_post(side);
    }
}

void gate_call_all_back(struct gate *gate)
{
    list_for_each(node, following, &gate->sides)
        list_entry(node, struct gate_side, node)->sent_away = false;
}
