/* state_lock.h - whose is this state directory?
 * One process at a time: the daemon, or a command while no daemon runs. */
#ifndef LATCHPOST_STATE_LOCK_H
#define LATCHPOST_STATE_LOCK_H

#include <stdbool.h>

#include "relay/base/why.h"

/* The exclusive right to a state directory, held until the descriptor that is returned is closed or
 * the process ends. -1 and why: another process has it (then *busy is true), or the directory
 * cannot be used. Makes the directory (0700) when it is missing. */
int state_lock(const char *state_dir, bool *busy, struct why *why);

#endif
