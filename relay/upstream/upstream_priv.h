/* upstream_priv.h - what upstream.c gives to its two kinds, pool.c and maildir.c, and what it asks
 * of them. */
#ifndef LATCHPOST_UPSTREAM_PRIV_H
#define LATCHPOST_UPSTREAM_PRIV_H

#include "relay/base/turns.h"
#include "relay/upstream/upstream.h"

/* A kind is asked in turns: upstream_wake() asks for one, and everything that could surprise a
 * caller (starting jobs, reporting them, ending) happens in it, from the loop, with nobody else's
 * call on the stack. */
struct upstream_kind {
    bool (*check)(const struct upstream_options *options, struct why *why); /* or NULL */
    bool (*open)(struct upstream *upstream, struct why *why);             /* sets upstream->self */
    void (*deliver)(struct upstream *upstream, struct upstream_job *job); /* only queues */
    void (*turn)(struct upstream *upstream);
    void (*close)(struct upstream *upstream); /* upstream->closing is already true */
    void (*abort)(struct upstream *upstream);
    bool (*is_usable)(const struct upstream *upstream);
    void (*look)(const struct upstream *upstream, struct upstream_view *view); /* zeroed before */
    bool (*is_empty)(const struct upstream *upstream); /* closing, and nothing is left */
    void (*probe)(struct upstream *upstream, upstream_probe_cb *done, void *owner);
    void (*free)(struct upstream *upstream); /* self may be NULL */
};

struct upstream {
    struct loop *loop;
    struct resolver *resolver;
    struct upstream_options options; /* its texts are our copies */
    struct buf password;             /* options.password points into it */
    const struct upstream_kind *kind;
    void *self;
    struct loop_task turn;
    struct list finished; /* jobs whose owners hear of it in the next turn */
    size_t late;          /* finished jobs that still wait for a chunk they asked for */
    bool closing, held;
    void (*closed)(void *owner);
    void *owner;
};

void upstream_wake(struct upstream *upstream);

/* Every recipient has its fate: the job goes back to its owner in the next turn, or once the chunk
 * that it asked for has come. */
void upstream_job_finish(struct upstream *upstream, struct upstream_job *job);
/* Jobs that wait, in their order: accounts by turns. */
void upstream_jobs_add(struct turns *jobs, struct upstream_job *job);
void upstream_jobs_add_first(struct turns *jobs, struct upstream_job *job);
struct upstream_job *upstream_jobs_take(struct turns *jobs); /* or NULL */
/* Takes back all that wait as UPSTREAM_UNTRIED. */
void upstream_jobs_return(struct upstream *upstream, struct turns *jobs, const char *text);

/* Asks the owner for a chunk; chunk_here is called later with it (to be moved out of; empty: it
 * could not be read), unless the job finishes before. */
void upstream_job_fetch(struct upstream_job *job, uint32_t seq, void *transport,
                        void (*chunk_here)(struct upstream_job *job, struct buf *chunk));

/* Says NEVER to a job whose addresses or content may not leave, and logs it as quarantined. `what`:
 * where it was found. */
void upstream_job_quarantine(struct upstream *upstream, struct upstream_job *job, const char *what);
/* True when an address of the envelope may not leave; the job is then judged. */
bool upstream_job_bad_envelope(struct upstream *upstream, struct upstream_job *job);

#endif
