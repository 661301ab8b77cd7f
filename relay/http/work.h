/* work.h - what takes long is done beside the loop (libuv's pool of threads).
 * At most WORK_THREADS at a time, the others wait, and accounts take turns, and keys in those of
 * their account (turns.h): what each needs of memory while it runs is needed so often and no more,
 * and name look-ups keep threads of their own. Belongs to the loop's thread, but for run(). */
#ifndef LATCHPOST_WORK_H
#define LATCHPOST_WORK_H

#include "relay/base/turns.h"
#include "relay/net/loop.h"

#define WORK_THREADS 2

struct work {                        /* embedded in its owner, who must live until done() */
    void (*run)(struct work *work);  /* on a thread of the pool */
    void (*done)(struct work *work); /* on the loop's thread, once, after run() */
    struct list node;                /* private from here on */
    struct work_queue *queue;
    uv_work_t uv;
};

struct work_queue {
    struct loop *loop;
    struct turns *waiting; /* private from here on */
    unsigned running;
};

void work_queue_open(struct work_queue *queue, struct loop *loop);
void work_queue_close(struct work_queue *queue); /* all is done; accepts one never opened */
/* run and done are set. done() is never called from inside. What has begun keeps the loop alive. */
void work_start(struct work_queue *queue, struct work *work, struct slice account,
                struct slice key);

#endif
