/* watchdog.h - does every event loop still turn? One thread of its own, made and ended by the main
 * thread. */
#ifndef LATCHPOST_WATCHDOG_H
#define LATCHPOST_WATCHDOG_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/mailbox.h"
#include "relay/base/why.h"

struct watchdog;

struct watchdog_options {
    uint64_t limit_ms; /* so long may a loop not answer; a tenth of it, and it is logged */
    /* What is done then, on the watchdog's thread; NULL: the process ends with EX_SOFTWARE. */
    void (*bite)(void *owner, const char *name);
    void *owner;
};

struct watchdog *watchdog_new(const struct watchdog_options *options);
/* The loop of this mailbox is watched, too. It is called by that name, and its number unless that
 * is 0. Before watchdog_start(). */
void watchdog_add(struct watchdog *watchdog, struct mailbox *mailbox, const char *name,
                  size_t number);
bool watchdog_start(struct watchdog *watchdog, struct why *why);
/* From now on nothing is watched: loops may end. Accepts NULL. */
void watchdog_stop(struct watchdog *watchdog);
/* After the loops were closed, for they may hold letters of ours. Accepts NULL. */
void watchdog_free(struct watchdog *watchdog);

#endif
