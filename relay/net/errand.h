/* errand.h - what may hang is done beside the loop, on a thread of its own.
 * libuv's pool has a few threads for the whole process, and the look-ups of names need them: what
 * waits for a disk that does not answer would take them all. So whatever has no end that we decide
 * goes here. A thread costs some microseconds; how many there are at once is for the caller to
 * bound. */
#ifndef LATCHPOST_ERRAND_H
#define LATCHPOST_ERRAND_H

#include <pthread.h>

#include "relay/base/macros.h"
#include "relay/net/loop.h"

struct errand; /* embedded in its owner, who leaves alone what `run` uses until `done` */
typedef void errand_fn(struct errand *errand);
struct errand { /* private */
    struct letter letter;
    struct loop *loop;
    pthread_t thread;
    errand_fn *run, *done;
};

/* The loop's thread. Calls run on another thread, then done, once, from the loop, which is held
 * until then. False: no thread can be had; nothing is called. */
bool errand_start(struct loop *loop, struct errand *errand, errand_fn *run,
                  errand_fn *done) MUST_USE;

#endif
