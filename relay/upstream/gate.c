/* gate.c - may one more connection to this upstream be opened, over all loops?
 * Threads: a lock around a few numbers, held for some instructions (like that of
 * listener_limits.c); what is asked once a message looks at an atomic first. Sides are woken by
 * letters, which are posted under the lock, so that a side that has left the gate can be sure that
 * none is on its way but the one it knows of.
 *
 * Room is given, not taken: whatever may make room (a connection has gone, is ready, was refused;
 * other ceilings) gives passes to those in the line while there is any. So nobody overtakes the
 * line, and what is given and not wanted any more goes to the next. */
#include "relay/upstream/gate.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"

#define WIDEN_REST_MS     5000 /* one more connection was refused while others work */
#define TENURE_FACTOR     10 /* a connection that took 1 s to open is not given up before 10 s ... */
#define TENURE_LEAST_MS   100 /* ... and within these two */
#define TENURE_LONGEST_MS 10000

struct gate {
    _Atomic unsigned refs;
    struct pace pace;
    _Atomic unsigned in_line; /* how many sides; written under the lock */
    _Atomic bool troubled;    /* the breaker has something to say; written under the lock */
    pthread_mutex_t lock;     /* all below */
    unsigned max_connections;
    struct breaker breaker;
    struct why reason;
    struct list sides, line;
    unsigned places;         /* passes, until their sockets are closed, and those that are kept */
    unsigned opening, ready; /* of these: without and with a login; the others are leaving */
    unsigned recalled;       /* of these: given up for a side in the line */
    unsigned wide;           /* so many worked when one more was refused ... */
    int64_t widen_after_ms;  /* ... so no more than those before this time */
};

struct gate_side {
    struct gate *gate; /* a reference */
    struct loop *loop;
    void (*wake)(void *owner); /* NULL once closed */
    void *owner;
    bool asks;          /* the loop's thread's own: it waits, or a pass is kept for it */
    unsigned idle_told; /* the same */
    /* under the gate's lock: */
    struct list node, line_node;
    struct letter letter;
    bool posted;
    bool kept; /* a pass waits to be fetched */
    bool sent_away;
    unsigned idle;
    unsigned holds; /* passes that are not over */
};

enum pass_state { PASS_OPENING, PASS_READY, PASS_OVER };

struct gate_pass {
    struct gate *gate;      /* a reference */
    struct gate_side *side; /* until it is over */
    unsigned refs;
    enum pass_state state;
    bool recalled;
    int64_t given_ms, ready_ms;
};

/* --- letters ---------------------------------------------------------------------------------- */

static void side_free(struct gate_side *side)
{
    gate_unref(side->gate);
    free(side);
}

static void on_letter(struct letter *letter)
{
    struct gate_side *side = container_of(letter, struct gate_side, letter);

    pthread_mutex_lock(&side->gate->lock);
    side->posted = false;
    pthread_mutex_unlock(&side->gate->lock);
    if (side->wake == NULL)
        side_free(side);
    else
        side->wake(side->owner);
}

static void post(struct gate_side *side)
{
    if (side->posted)
        return;
    side->posted = true;
    side->letter.deliver = on_letter;
    mailbox_post(&side->loop->mailbox, &side->letter);
}

/* --- the line; under the lock, all of it ------------------------------------------------------ */

static void join_line(struct gate_side *side)
{
    if (!list_is_empty(&side->line_node))
        return;
    list_add_tail(&side->gate->line, &side->line_node);
    atomic_fetch_add(&side->gate->in_line, 1);
}

static void leave_line(struct gate_side *side)
{
    if (list_is_empty(&side->line_node))
        return;
    list_remove(&side->line_node);
    atomic_fetch_sub(&side->gate->in_line, 1);
}

/* Of those that hold least, the one that has waited longest; NULL when nobody waits. */
static struct gate_side *next_in_line(struct gate *gate)
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

/* self: whoever calls sees for itself what it was given, and needs no letter; or NULL. */
static void give_room(struct gate *gate, const struct gate_side *self)
{
    if (atomic_load_explicit(&gate->in_line, memory_order_relaxed) == 0)
        return;
    int64_t now_ms = clock_mono_ms();
    struct gate_side *side;

    while (has_room(gate, now_ms) && (side = next_in_line(gate)) != NULL) {
        leave_line(side);
        side->kept = true;
        side->holds++;
        gate->places++;
        gate->opening++;
        if (side != self)
            post(side);
    }
}

static void give_back_kept(struct gate_side *side)
{
    if (!side->kept)
        return;
    side->kept = false;
    side->holds--;
    side->gate->places--;
    side->gate->opening--;
    give_room(side->gate, side);
}

static void ask_idle_sides(struct gate *gate)
{
    list_for_each(node, following, &gate->sides) {
        struct gate_side *side = list_entry(node, struct gate_side, node);

        if (side->idle > 0)
            post(side);
    }
}

static void send_all_away(struct gate *gate)
{
    list_for_each(node, following, &gate->sides) {
        struct gate_side *side = list_entry(node, struct gate_side, node);

        side->sent_away = true;
        leave_line(side);
        post(side);
    }
}

/* Whoever has not heard yet that it was sent away need not go. */
static void call_all_back(struct gate *gate)
{
    list_for_each(node, following, &gate->sides)
        list_entry(node, struct gate_side, node)->sent_away = false;
}

/* Most of the time there is nothing to be asked, and nobody needs the lock. */
static void look_for_trouble(struct gate *gate)
{
    const struct breaker *breaker = &gate->breaker;

    atomic_store(&gate->troubled, breaker->failures > 0 || breaker->window > 0 ||
                                      breaker_is_resting(breaker, clock_mono_ms()));
}

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
    give_room(gate, NULL);
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
    if (gate->breaker.failures > 0)
        *reason = gate->reason;
    if (breaker_is_open(&gate->breaker) && gate->ready == 0)
        condition = gate->breaker.login_refused ? GATE_PAUSED : GATE_RESTING;
    pthread_mutex_unlock(&gate->lock);
    return condition;
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
    leave_line(side);
    give_back_kept(side);
    assert(side->holds == 0);
    list_remove(&side->node);
    bool posted = side->posted; /* then the letter's arrival frees it */
    pthread_mutex_unlock(&side->gate->lock);
    set_asks(side, false);
    side->wake = NULL;
    if (!posted)
        side_free(side);
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

    look_for_trouble(gate);
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

        join_line(side);
        give_room(gate, side);
        if (!side->kept && joins)
            ask_idle_sides(gate);
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
        leave_line(side);
        give_back_kept(side);
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
    give_room(gate, NULL);
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
        call_all_back(gate);
    give_room(gate, NULL);
    pthread_mutex_unlock(&gate->lock);
    return was_down;
}

/* Under the lock. */
static void note_unreachable(struct gate *gate)
{
    if (gate->ready > 0) { /* the others go on */
        gate->wide = gate->ready;
        gate->widen_after_ms = clock_mono_ms() + WIDEN_REST_MS;
        list_for_each(node, following, &gate->line)
            post(list_entry(node, struct gate_side, line_node)); /* to ask again after that */
        return;
    }
    breaker_note_unreachable(&gate->breaker, clock_mono_ms());
    if (gate->opening == 0)
        send_all_away(gate);
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
    } else {
        /* The next login would be refused, too, and enough of them lock the account. */
        breaker_note_login_refused(&gate->breaker, clock_mono_ms());
        send_all_away(gate);
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
    give_room(gate, NULL);
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
    const struct gate_side *next = next_in_line(gate);
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
        look_for_trouble(gate);
        give_room(gate, NULL);
    }
    pthread_mutex_unlock(&gate->lock);
}
