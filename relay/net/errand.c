/* errand.c - what may hang is done beside the loop, on a thread of its own.
 * The thread's last act is to post the letter that says so. It is joined when that arrives: only
 * then is it certain that it has left the mailbox, which goes with the loop. */
#include "relay/net/errand.h"

static void on_letter(struct letter *letter)
{
    struct errand *errand = container_of(letter, struct errand, letter);

    pthread_join(errand->thread, NULL);
    loop_release(errand->loop);
    errand->done(errand);
}

static void *run(void *owner)
{
    struct errand *errand = owner;

    errand->run(errand);
    mailbox_post(&errand->loop->mailbox, &errand->letter);
    return NULL;
}

bool errand_start(struct loop *loop, struct errand *errand, errand_fn *what, errand_fn *done)
{
    *errand = (struct errand){
        .letter = { .deliver = on_letter }, .loop = loop, .run = what, .done = done
    };
    /* errand->thread is written before this returns, and read only by a letter that comes later. */
    if (pthread_create(&errand->thread, NULL, run, errand) != 0)
        return false;
    loop_hold(loop);
    return true;
}
