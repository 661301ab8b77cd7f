/* bounce.h - what is written to a sender whose mail failed, or is late?
 * Between the queue, which decides that there is a report and stores it, and message/dsn.h, which
 * writes one. */
#ifndef LATCHPOST_BOUNCE_H
#define LATCHPOST_BOUNCE_H

#include <stdatomic.h>

#include "queue/queue.h"

struct bounce_writer {
    _Atomic(const char *) hostname; /* ours; a reload sets another. Each stays valid to the end */
};

/* A queue_report_fn; its owner is a struct bounce_writer. */
bool bounce_compose(void *writer, const struct queue_report *report, struct buf *content);

#endif
