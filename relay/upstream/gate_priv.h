/* gate_priv.h - one upstream's gate, as gate.c (its life and its sides), gate_line.c (who waits,
 * and who is given room) and gate_pass.c (what becomes of a connection) see it. */
#ifndef LATCHPOST_GATE_PRIV_H
#define LATCHPOST_GATE_PRIV_H

#include "relay/upstream/gate.h"

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

/* --- gate.c ----------------------------------------------------------------------------------- */

/* Under the lock. Most of the time there is nothing to be asked, and nobody needs the lock: this
 * says whether there is. */
void gate_look_for_trouble(struct gate *gate);
void gate_side_free(struct gate_side *side); /* not under the lock */

/* --- gate_line.c; under the lock, all of it --------------------------------------------------- */

/* Wakes a side, in its own thread. */
void gate_post(struct gate_side *side);
void gate_join_line(struct gate_side *side);
void gate_leave_line(struct gate_side *side);
/* Of those that hold least, the one that has waited longest; NULL when nobody waits. */
struct gate_side *gate_next_in_line(struct gate *gate);
/* Called after whatever may have made room. self: whoever calls sees for itself what it was given,
 * and needs no letter; or NULL. */
void gate_give_room(struct gate *gate, const struct gate_side *self);
void gate_give_back_kept(struct gate_side *side);
void gate_ask_idle_sides(struct gate *gate);
void gate_send_all_away(struct gate *gate);
/* Whoever has not heard yet that it was sent away need not go. */
void gate_call_all_back(struct gate *gate);

#endif
