/* held.h - which upstreams did the operator put on hold? A list of names in a file of its own in
 * the state directory, so that a hold outlives the process. Belongs to one thread. */
#ifndef LATCHPOST_HELD_H
#define LATCHPOST_HELD_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/why.h"

struct held;

/* Reads what was kept; none when there is no file. */
bool held_open(struct held **held, const char *state_dir, struct why *why);
void held_close(struct held *held); /* accepts NULL */

bool held_has(const struct held *held, const char *name);
/* The i-th name (borrowed until the next change), NULL behind the last. */
const char *held_name(const struct held *held, size_t i);
/* True once it is on disk. False and why: what was before still counts in this process. */
bool held_set(struct held *held, const char *name, bool hold, struct why *why);

#endif
