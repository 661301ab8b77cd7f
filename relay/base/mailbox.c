/* mailbox.c - many senders, one receiver, in order.
 * A list under a mutex that is held for a few instructions. The wake-up comes after the unlock, so
 * that a receiver that wakes at once does not run into the lock; what it needs is copied before,
 * because from the unlock on the letter, and with it its sender's interest, belong to others. */
#include "relay/base/mailbox.h"

#include <assert.h>
#include <stdbool.h>

void mailbox_init(struct mailbox *box, void (*wake)(void *owner), void *owner)
{
    int error = pthread_mutex_init(&box->lock, NULL);

    assert(error == 0); /* a default mutex needs no resource */
    (void)error;
    box->head = NULL;
    box->tail = &box->head;
    box->wake = wake;
    box->owner = owner;
}

void mailbox_destroy(struct mailbox *box)
{
    assert(box->head == NULL);
    pthread_mutex_destroy(&box->lock);
}

void mailbox_post(struct mailbox *box, struct letter *letter)
{
    void (*wake)(void *owner) = box->wake;
    void *owner = box->owner;

    letter->next = NULL;
    pthread_mutex_lock(&box->lock);
    bool was_empty = box->head == NULL;
    *box->tail = letter;
    box->tail = &letter->next;
    pthread_mutex_unlock(&box->lock);
    if (was_empty)
        wake(owner);
}

struct letter *mailbox_take(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct letter *first = box->head;
    box->head = NULL;
    box->tail = &box->head;
    pthread_mutex_unlock(&box->lock);
    return first;
}

size_t mailbox_drain(struct mailbox *box)
{
    size_t count = 0;

    for (struct letter *letter = mailbox_take(box), *next; letter != NULL; letter = next) {
        next = letter->next; /* deliver() may free the letter */
        letter->deliver(letter);
        count++;
    }
    return count;
}
