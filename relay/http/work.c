/* work.c - what takes long is done beside the loop. */
#include "relay/http/work.h"

#include <assert.h>

static void begin_next(struct work_queue *queue);

static void on_run(uv_work_t *uv)
{
    struct work *work = uv->data;

    work->run(work);
}

static void on_done(uv_work_t *uv, int status)
{
    struct work *work = uv->data;
    struct work_queue *queue = work->queue;

    (void)status; /* nothing is ever cancelled */
    queue->running--;
    work->done(work);
    begin_next(queue);
}

static void begin_next(struct work_queue *queue)
{
    struct list *node;

    while (queue->running < WORK_THREADS && (node = turns_take(queue->waiting)) != NULL) {
        struct work *work = container_of(node, struct work, node);
        queue->running++;
        work->uv.data = work;
        int error = uv_queue_work(&queue->loop->uv, &work->uv, on_run, on_done);
        assert(error == 0); /* there is a function to run: no other reason is known */
        (void)error;
    }
}

void work_queue_open(struct work_queue *queue, struct loop *loop)
{
    *queue = (struct work_queue){ .loop = loop, .waiting = turns_new() };
}

void work_queue_close(struct work_queue *queue)
{
    assert(queue->running == 0);
    turns_free(queue->waiting);
    queue->waiting = NULL;
}

void work_start(struct work_queue *queue, struct work *work, struct slice account, struct slice key)
{
    work->queue = queue;
    turns_add(queue->waiting, &work->node, account, key);
    begin_next(queue);
}
