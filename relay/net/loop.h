/* loop.h - one event loop and what every connection on it shares.
 * A thin binding of libuv: the loop, its mailbox (woken by uv_async), the buffers that reads land
 * in (one pair per loop, so an idle connection owns none), tasks and timers. Everything here
 * belongs to the loop's own thread, except posting to the mailbox and loop_stop(). */
#ifndef LATCHPOST_LOOP_H
#define LATCHPOST_LOOP_H

#include <stdatomic.h>
#include <stdint.h>

#include <uv.h>

#include "relay/base/list.h"
#include "relay/base/mailbox.h"
#include "relay/base/why.h"

#define LOOP_READ_BYTES (64 * 1024)

struct loop {
    uv_loop_t uv;
    struct mailbox mailbox; /* letters are delivered on the loop's thread */
    char *raw;              /* private to stream.c: what the kernel gave, LOOP_READ_BYTES */
    char *plain;            /* private to stream.c: what TLS made of it, LOOP_READ_BYTES */
    uint64_t turn;          /* private to stream.c: how many turns have begun */
    struct list leaving;    /* private to stream.c: streams that only take their leave ... */
    unsigned finishing;     /* ... how many they are ... */
    uint64_t leave_by;      /* ... and when they must have gone, in uv_now(); 0: unset */
    bool leaves_early;      /* none is waited for that has got everything and says nothing */
    uv_async_t wake;        /* private, this and all below */
    uv_prepare_t before_wait;
    uv_idle_t no_wait;
    struct list tasks;
    unsigned holds;
    _Atomic bool stop_asked;
};

/* The process ignores SIGPIPE from then on. */
bool loop_init(struct loop *loop, struct why *why);
/* Runs until nothing is left alive on it, or loop_stop(). Alive are open handles, every stream
 * until it is freed (paused or not), pending tasks, and whoever called loop_hold(). The mailbox by
 * itself is not: whoever only waits for a letter holds the loop. */
void loop_run(struct loop *loop);
/* One turn: waits for something to happen, if anything is alive, and does what follows from it. For
 * a program that is not made of callbacks. */
void loop_turn(struct loop *loop);
/* Any thread: loop_run() returns after the current turn, or at once when it is called later. */
void loop_stop(struct loop *loop);
/* Keeps loop_run() running, counted. */
void loop_hold(struct loop *loop);
void loop_release(struct loop *loop);
/* Runs the loop until nothing is alive (a finishing stream takes a few seconds at most, a running
 * name look-up as long as it takes), delivers the letters that are left, closes what loop_init()
 * opened, frees. All streams, timers, listeners and resolvers must have been closed by their owners
 * before (they may still be closing), and nobody may post any more. */
void loop_close(struct loop *loop);

/* Something to do before the loop waits for events again, once for any number of loop_later(). A
 * task that is asked for while tasks run is done in the next turn, so tasks cannot starve the
 * sockets. Embedded in its owner; cancelled before its memory goes. */
typedef void loop_task_cb(void *owner);
struct loop_task {
    struct list node; /* private */
    loop_task_cb *cb;
    void *owner;
};
void loop_task_init(struct loop_task *task, loop_task_cb *cb, void *owner);
void loop_later(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop_task *task);

/* A timer that is embedded in its owner. loop_timer_close() may be called at any time after
 * loop_timer_init(); `closed` (or NULL) is called once, from the loop, when the memory may go. */
typedef void loop_timer_cb(void *owner);
struct loop_timer {
    uv_timer_t uv; /* private */
    loop_timer_cb *cb, *closed;
    void *owner;
};
void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_cb *cb, void *owner);
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_close(struct loop_timer *timer, loop_timer_cb *closed);

#endif
