/* watchdog.c - does every event loop still turn?
 * Nothing on a loop may wait: what takes long is done elsewhere and answered by letter, and each
 * step of a conversation has its deadline, which the loop's timers keep. What no timer can end is a
 * thread that is stuck itself, in a call that does not return or in a mistake of ours. Its sessions
 * and deliveries then stand still, and only the end of the process frees them: whoever supervises
 * it starts it again, and what was under way is tried anew, for none of it was settled.
 *
 * A thread of its own sends each loop a letter and counts the ticks until it is opened. It counts
 * its own ticks, not the time: a process that was stopped, or a machine that slept, is not stuck. A
 * tenth of the limit without an answer is logged, with what the kernel says the thread is doing; at
 * the limit the process ends. */
#include "relay/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/base/macros.h"

#define TICKS       60 /* in the limit */
#define LOG_TICKS   (TICKS / 10)
#define TICK_MS_MIN 10

struct watched {
    struct letter letter; /* with the loop while `asked` */
    struct mailbox *mailbox;
    char name[24];
    atomic_bool asked;
    atomic_int thread; /* its number, known from its first answer on; 0 before */
    unsigned ticks;    /* since it was asked; the watchdog's, like the next */
    bool told;
};

struct watchdog {
    struct watchdog_options options;
    uint64_t tick_ms;
    struct watched **watched;
    size_t count;
    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock; /* for `stopping` */
    pthread_cond_t wakeup;
    bool stopping;
};

static void on_letter(struct letter *letter) /* on the loop's thread */
{
    struct watched *watched = container_of(letter, struct watched, letter);

    atomic_store(&watched->thread, (int)gettid());
    atomic_store(&watched->asked, false); /* the letter may be sent again */
}

/* --- what is it doing? ------------------------------------------------------------------------ */

static void read_line(const char *path, char *line, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = file < 0 ? 0 : read(file, line, size - 1);

    if (file >= 0)
        close(file);
    line[len < 0 ? 0 : len] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

/* The kernel's letter for the thread: R runs, S sleeps, D waits for a disk; and where it waits. */
static void look_at_thread(const struct watched *watched, char state[static 2], char *place,
                           size_t size)
{
    char path[64], line[512];
    int thread = atomic_load(&watched->thread);

    state[0] = place[0] = '\0';
    if (thread == 0)
        return;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    read_line(path, line, sizeof(line));
    const char *behind_name = strrchr(line, ')');
    if (behind_name != NULL && strlen(behind_name) > 2)
        snprintf(state, 2, "%c", behind_name[2]);
    snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", thread);
    read_line(path, place, size);
}

/* --- watching --------------------------------------------------------------------------------- */

static int64_t seconds(const struct watchdog *watchdog, unsigned ticks)
{
    return (int64_t)(ticks * watchdog->tick_ms / 1000);
}

static void tell(const struct watchdog *watchdog, const struct watched *watched)
{
    char state[2], place[64];

    look_at_thread(watched, state, place, sizeof(place));
    LOG(LOG_ERROR, "thread_stuck", LOG_STR("thread", watched->name),
        LOG_INT("seconds", seconds(watchdog, watched->ticks)), LOG_STR("state", state),
        LOG_STR("waits_in", place));
}

static void bite(const struct watchdog *watchdog, const struct watched *watched)
{
    tell(watchdog, watched);
    LOG(LOG_ERROR, "watchdog_ends_the_process", LOG_STR("thread", watched->name),
        LOG_STR("reason", "it does not come back; nothing that was accepted is lost"));
    if (watchdog->options.bite == NULL)
        _exit(EX_SOFTWARE);
    watchdog->options.bite(watchdog->options.owner, watched->name);
}

static void look(const struct watchdog *watchdog, struct watched *watched)
{
    if (!atomic_load(&watched->asked)) {
        if (watched->told)
            LOG(LOG_WARNING, "thread_back", LOG_STR("thread", watched->name),
                LOG_INT("seconds", seconds(watchdog, watched->ticks)));
        watched->told = false;
        watched->ticks = 0;
        atomic_store(&watched->asked, true);
        mailbox_post(watched->mailbox, &watched->letter);
        return;
    }
    watched->ticks++;
    if (watched->ticks == LOG_TICKS) {
        tell(watchdog, watched);
        watched->told = true;
    } else if (watched->ticks == TICKS) {
        bite(watchdog, watched);
    }
}

/* True: it is to stop. */
static bool wait_a_tick(struct watchdog *watchdog)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until); /* the kernel's own, which the condition waits by */
    until.tv_nsec += (long)(watchdog->tick_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(watchdog->tick_ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->stopping)
        if (pthread_cond_timedwait(&watchdog->wakeup, &watchdog->lock, &until) == ETIMEDOUT)
            break;
    bool stopping = watchdog->stopping;
    pthread_mutex_unlock(&watchdog->lock);
    return stopping;
}

static void *run(void *argument)
{
    struct watchdog *watchdog = argument;

    (void)pthread_setname_np(pthread_self(), "watchdog");
    while (!wait_a_tick(watchdog))
        for (size_t i = 0; i < watchdog->count; i++)
            look(watchdog, watchdog->watched[i]);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

struct watchdog *watchdog_new(const struct watchdog_options *options)
{
    struct watchdog *watchdog = xcalloc(1, sizeof(*watchdog));
    pthread_condattr_t attributes;

    watchdog->options = *options;
    watchdog->tick_ms = options->limit_ms / TICKS;
    if (watchdog->tick_ms < TICK_MS_MIN)
        watchdog->tick_ms = TICK_MS_MIN;
    pthread_mutex_init(&watchdog->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->wakeup, &attributes);
    pthread_condattr_destroy(&attributes);
    return watchdog;
}

void watchdog_add(struct watchdog *watchdog, struct mailbox *mailbox, const char *name,
                  size_t number)
{
    struct watched *watched = xcalloc(1, sizeof(*watched));

    watched->letter.deliver = on_letter;
    watched->mailbox = mailbox;
    snprintf(watched->name, sizeof(watched->name), "%s %zu", name, number);
    if (number == 0)
        snprintf(watched->name, sizeof(watched->name), "%s", name);
    watchdog->watched =
        xrealloc(watchdog->watched, (watchdog->count + 1) * sizeof(*watchdog->watched));
    watchdog->watched[watchdog->count++] = watched;
}

bool watchdog_start(struct watchdog *watchdog, struct why *why)
{
    int error = pthread_create(&watchdog->thread, NULL, run, watchdog);

    if (error != 0)
        return why_errno(why, error, "cannot start the watchdog's thread");
    watchdog->is_started = true;
    return true;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (watchdog == NULL || !watchdog->is_started)
        return;
    pthread_mutex_lock(&watchdog->lock);
    watchdog->stopping = true;
    pthread_cond_signal(&watchdog->wakeup);
    pthread_mutex_unlock(&watchdog->lock);
    pthread_join(watchdog->thread, NULL);
    watchdog->is_started = false;
}

void watchdog_free(struct watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    watchdog_stop(watchdog);
    for (size_t i = 0; i < watchdog->count; i++)
        free(watchdog->watched[i]);
    free(watchdog->watched);
    pthread_cond_destroy(&watchdog->wakeup);
    pthread_mutex_destroy(&watchdog->lock);
    free(watchdog);
}
