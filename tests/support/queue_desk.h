/* queue_desk.h - a place from which tests, the crash tool and the benchmark ask the queue.
 * A desk is a mailbox that can be waited for, a temporary folder is a queue's home, and
 * desk_message() writes mail. Header only, for a unit test links nothing but archives. */
#ifndef LATCHPOST_TESTS_QUEUE_DESK_H
#define LATCHPOST_TESTS_QUEUE_DESK_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/queue.h"
#include "relay/base/alloc.h"

/* --- a mailbox that can be waited for -------------------------------------------------------- */

struct desk {
    struct mailbox box;
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool awake;
};

static inline void desk_wake(void *owner)
{
    struct desk *desk = owner;

    pthread_mutex_lock(&desk->lock);
    desk->awake = true;
    pthread_cond_signal(&desk->rung);
    pthread_mutex_unlock(&desk->lock);
}

static inline void desk_open(struct desk *desk)
{
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->rung, NULL);
    desk->awake = false;
    mailbox_init(&desk->box, desk_wake, desk);
}

static inline void desk_close(struct desk *desk)
{
    mailbox_drain(&desk->box);
    mailbox_destroy(&desk->box);
    pthread_cond_destroy(&desk->rung);
    pthread_mutex_destroy(&desk->lock);
}

/* Waits for at least one letter and opens all that are there. Only with a writer thread. */
static inline void desk_wait(struct desk *desk)
{
    while (mailbox_drain(&desk->box) == 0) {
        pthread_mutex_lock(&desk->lock);
        while (!desk->awake)
            pthread_cond_wait(&desk->rung, &desk->lock);
        desk->awake = false;
        pthread_mutex_unlock(&desk->lock);
    }
}

/* --- a folder for a queue -------------------------------------------------------------------- */

static inline char *desk_folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = xasprintf("%s/queue-XXXXXX", base == NULL ? "/tmp" : base);

    if (mkdtemp(path) == NULL) {
        perror(path);
        abort();
    }
    return path;
}

static inline int desk_remove_entry(const char *path, const struct stat *status, int kind,
                                    struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline void desk_folder_remove(char *path)
{
    nftw(path, desk_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

static inline struct queue_options desk_options(const char *path)
{
    return (struct queue_options){
        .path = path,
        .schedule = { .retry_ms = { 60000, 300000, 900000 },
                      .retry_count = 3,
                      .max_age_ms = 4 * 86400000LL },
        .retention_ms = 86400000,
    };
}

/* --- mail ------------------------------------------------------------------------------------ */

static inline struct queue_message *desk_message(int64_t id, const char *recipient)
{
    struct queue_message *message = queue_message_new(id);

    message->account = xstrdup("acme");
    snprintf(message->key_id, sizeof(message->key_id), "7Fq2mZ81");
    message->sender = xstrdup("a@good.example");
    queue_message_add(message, slice_of(recipient));
    return message;
}

static inline void desk_write(struct queue_message *message, struct slice content)
{
    if (!buf_add(&message->content, content))
        abort();
}

#endif
