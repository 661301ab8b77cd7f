/* mailbox.h - many senders, one receiver, in order.
 * The one way in which threads meet. A letter is embedded in whatever is sent and belongs to the
 * receiver from mailbox_post() on. The wake-up is a function of the receiver's (uv_async_send, a
 * condition variable), called from the sender's thread when the box goes from empty to not empty.
 */
#ifndef LATCHPOST_MAILBOX_H
#define LATCHPOST_MAILBOX_H

#include <pthread.h>
#include <stddef.h>

struct letter {
    struct letter *next;                    /* private */
    void (*deliver)(struct letter *letter); /* called on the receiver's thread, once */
};

struct mailbox {
    pthread_mutex_t lock;
    struct letter *head, **tail;
    void (*wake)(void *owner);
    void *owner;
};

/* wake: called with `owner`, from any thread, the lock not held. */
void mailbox_init(struct mailbox *box, void (*wake)(void *owner), void *owner);
/* The box must be empty, and every mailbox_post() on it must have returned. */
void mailbox_destroy(struct mailbox *box);

/* Any thread. letter->deliver is set by the caller. */
void mailbox_post(struct mailbox *box, struct letter *letter);

/* Receiver only: takes all letters, oldest first, linked by next; NULL when there are none. */
struct letter *mailbox_take(struct mailbox *box);

/* Receiver only: takes all and calls deliver of each in order; returns how many. */
size_t mailbox_drain(struct mailbox *box);

#endif
