/* gate.h - may one more connection to this upstream be opened, and may one more message leave, over
 * all loops?
 * One gate an upstream: its ceilings, its circuit breaker, its slow restart. Each loop has a side
 * of it, through which it takes passes: the right to one connection each, from before it is opened
 * until its socket is closed. A side that finds no room waits in a line, and is woken by a letter
 * when a pass is kept for it; nobody asks again and again. Those that have least come first, so a
 * loop with much work does not keep another one waiting. */
#ifndef LATCHPOST_GATE_H
#define LATCHPOST_GATE_H

#include "relay/base/why.h"
#include "relay/net/loop.h"
#include "relay/upstream/breaker.h"
#include "relay/upstream/pace.h"

struct gate;
struct gate_options {
    unsigned max_connections; /* 0 is taken as 1 */
    unsigned rate;            /* messages a minute; 0: no ceiling */
    struct breaker_options breaker;
};

/* --- any thread ------------------------------------------------------------------------------- */

struct gate *gate_new(const struct gate_options *options); /* one reference */
struct gate *gate_ref(struct gate *gate);
void gate_unref(struct gate *gate); /* accepts NULL */
/* Other options from now on. A rest ends: what it was for may have been mended. */
void gate_configure(struct gate *gate, const struct gate_options *options);
struct pace *gate_pace(struct gate *gate);

enum gate_condition { GATE_USABLE, GATE_RESTING, GATE_PAUSED };
/* reason: of the latest failure, if nothing has worked since; else empty. */
enum gate_condition gate_look(struct gate *gate, struct why *reason);

/* --- one loop's side of it; its thread -------------------------------------------------------- */

struct gate_side;
/* wake: called from the loop when there may be something to do: see gate_enter(), gate_settle() and
 * gate_was_sent_away(). The loop is held while the side waits for a pass. */
struct gate_side *gate_side_open(struct gate *gate, struct loop *loop, void (*wake)(void *owner),
                                 void *owner);
void gate_side_close(struct gate_side *side); /* all of its passes are over; accepts NULL */

/* False while it rests, or is being tried by somebody after a rest. has_work: this side has jobs
 * that wait. */
bool gate_is_usable(struct gate_side *side, bool has_work);
bool gate_is_resting(struct gate *gate);

/* A pass, or NULL: then the side waits, and is woken when one is kept for it. *again_ms: when it is
 * worth asking again without that (monotonic), or untouched. */
struct gate_pass;
struct gate_pass *gate_enter(struct gate_side *side, int64_t *again_ms);
/* Said whenever it may have changed: does the side want one more, and how many of its connections
 * have nothing to do? True: somebody waits for one of those, so close one, with
 * gate_pass_recall(). */
bool gate_settle(struct gate_side *side, bool wants, unsigned idle);
/* True once: connecting has failed, or the login; nobody should wait for it now. */
bool gate_was_sent_away(struct gate_side *side, struct why *reason);

/* --- a pass; the thread of its side ----------------------------------------------------------- */

struct gate_pass *gate_pass_ref(struct gate_pass *pass); /* accepts NULL, like the next */
void gate_pass_unref(struct gate_pass *pass); /* with the last one there is room for another */
/* What became of the connection. */
enum gate_end { GATE_UNREACHABLE, GATE_LOGIN_REFUSED, GATE_BARREN, GATE_LOST, GATE_FINISHED };
bool gate_pass_ready(struct gate_pass *pass); /* logged in; true: the first one after failures */
void gate_pass_over(struct gate_pass *pass, enum gate_end end, const char *text);
/* It has just finished a message: is it time to leave the place to a side that has less? True: the
 * same as gate_pass_recall(). */
bool gate_pass_is_asked_back(struct gate_pass *pass);
void gate_pass_recall(struct gate_pass *pass);
/* How long logging in took; monotonic time at which that was over. */
int64_t gate_pass_opening_ms(const struct gate_pass *pass);
int64_t gate_pass_ready_ms(const struct gate_pass *pass);
void gate_note_success(struct gate *gate); /* a message has arrived */

#endif
