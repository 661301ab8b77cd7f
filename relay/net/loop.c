/* loop.c - one event loop and what every connection on it shares.
 * One turn of libuv: timers, tasks, wait, sockets and mailbox, close callbacks. Tasks hang on a
 * uv_prepare, the last thing before the wait, so that whatever timers, sockets and letters caused
 * is finished in the same turn; an idle handle, which forbids waiting, is active while there are
 * any. The prepare handle never keeps the loop alive; the mailbox's handle does only while somebody
 * holds the loop; the idle handle does, so that tasks are not forgotten. */
#include "relay/net/loop.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

#include "relay/base/alloc.h"

static void wake(void *owner) /* any thread */
{
    struct loop *loop = owner;

    uv_async_send(&loop->wake);
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;

    mailbox_drain(&loop->mailbox);
    if (atomic_exchange(&loop->stop_asked, false))
        uv_stop(&loop->uv);
}

static void on_no_wait(uv_idle_t *handle)
{
    (void)handle; /* it is there to be active, nothing else */
}

static void on_before_wait(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    struct list now;
    struct list *node;

    loop->turn++;
    list_init(&now);
    list_splice_tail(&now, &loop->tasks);
    while ((node = list_take_head(&now)) != NULL) {
        struct loop_task *task = list_entry(node, struct loop_task, node);
        task->cb(task->owner);
    }
    if (list_is_empty(&loop->tasks))
        uv_idle_stop(&loop->no_wait);
}

/* --- life ------------------------------------------------------------------------------------ */

bool loop_init(struct loop *loop, struct why *why)
{
    signal(SIGPIPE, SIG_IGN); /* libuv writes with write(2): else a peer's leaving would end us */
    *loop = (struct loop){ .holds = 0 };
    int error = uv_loop_init(&loop->uv);
    if (error != 0)
        return why_set(why, "cannot create an event loop: %s", uv_strerror(error));
    error = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (error != 0) {
        uv_loop_close(&loop->uv);
        return why_set(why, "cannot create an event loop's wake-up: %s", uv_strerror(error));
    }
    uv_prepare_init(&loop->uv, &loop->before_wait); /* these cannot fail */
    uv_prepare_start(&loop->before_wait, on_before_wait);
    uv_idle_init(&loop->uv, &loop->no_wait);
    loop->wake.data = loop;
    loop->before_wait.data = loop;
    uv_unref((uv_handle_t *)&loop->wake);
    uv_unref((uv_handle_t *)&loop->before_wait);
    mailbox_init(&loop->mailbox, wake, loop);
    list_init(&loop->tasks);
    list_init(&loop->leaving);
    loop->raw = xmalloc(LOOP_READ_BYTES);
    loop->plain = xmalloc(LOOP_READ_BYTES);
    return true;
}

void loop_run(struct loop *loop)
{
    if (!atomic_exchange(&loop->stop_asked, false))
        uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_turn(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop_asked, true);
    uv_async_send(&loop->wake);
}

void loop_hold(struct loop *loop)
{
    if (loop->holds++ == 0)
        uv_ref((uv_handle_t *)&loop->wake);
}

void loop_release(struct loop *loop)
{
    assert(loop->holds > 0);
    if (--loop->holds == 0)
        uv_unref((uv_handle_t *)&loop->wake);
}

/* A stop that was asked for late makes uv_run() return early: hence the loop. */
static void run_dry(struct loop *loop)
{
    do
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    while (uv_loop_alive(&loop->uv));
}

void loop_close(struct loop *loop)
{
    /* Letters may close streams, and closing streams may be what letters wait for. */
    do
        run_dry(loop);
    while (mailbox_drain(&loop->mailbox) > 0);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->before_wait, NULL);
    uv_close((uv_handle_t *)&loop->no_wait, NULL);
    run_dry(loop);
    int error = uv_loop_close(&loop->uv);
    assert(error == 0); /* an owner left a handle open */
    (void)error;
    mailbox_destroy(&loop->mailbox);
    free(loop->raw);
    free(loop->plain);
}

/* --- tasks ----------------------------------------------------------------------------------- */

void loop_task_init(struct loop_task *task, loop_task_cb *cb, void *owner)
{
    *task = (struct loop_task){ .cb = cb, .owner = owner };
    list_init(&task->node);
}

void loop_later(struct loop *loop, struct loop_task *task)
{
    if (!list_is_empty(&task->node))
        return; /* already asked for */
    list_add_tail(&loop->tasks, &task->node);
    uv_idle_start(&loop->no_wait, on_no_wait); /* nothing happens when it is active already */
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->node);
}

/* --- timers ---------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;

    timer->cb(timer->owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct loop_timer *timer = handle->data;

    if (timer->closed != NULL)
        timer->closed(timer->owner);
}

void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_cb *cb, void *owner)
{
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->cb = cb;
    timer->closed = NULL;
    timer->owner = owner;
}

/* libuv counts from the time at which the turn began; a long turn, or a loop that does not run yet,
 * would shorten the wait. */
void loop_timer_start(struct loop_timer *timer, uint64_t after_ms, uint64_t repeat_ms)
{
    if (uv_is_closing((uv_handle_t *)&timer->uv))
        return;
    uv_update_time(timer->uv.loop);
    uv_timer_start(&timer->uv, on_timer, after_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void loop_timer_close(struct loop_timer *timer, loop_timer_cb *closed)
{
    if (uv_is_closing((uv_handle_t *)&timer->uv))
        return;
    timer->closed = closed;
    uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
}
