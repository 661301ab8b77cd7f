/* fence.h - what is this process still able to do once it serves?
 * The last steps as whoever started it, in one call: it becomes its user, gives up capabilities,
 * and puts up the fence: no new privileges, Landlock (files), seccomp (system calls). What the
 * kernel does not have is left out with a warning, or stops the start (`fence = "required"`).
 * Main thread, before any other thread starts: rights belong to threads and are inherited. */
#ifndef LATCHPOST_FENCE_H
#define LATCHPOST_FENCE_H

#include "relay/config.h"

struct fence;

struct fence_needs {
    bool low_ports;        /* one below 1024 will be bound, now or at a reload */
    bool abstract_sockets; /* of other programs: the service manager's */
};

/* Makes the state directory, too, as its user's. NULL and why: the process must end. */
struct fence *fence_raise(const struct config *config, const struct fence_needs *needs,
                          struct why *why);
/* One line about what is in force, warnings about what is not and about files that a reload could
 * not read again. */
void fence_log(const struct fence *fence);
/* Before a reload opens anything: could this process open what the file at this path names? */
bool fence_allows(const struct fence *fence, const char *config_path, struct why *why);
void fence_free(struct fence *fence); /* of the memory: the fence stays. Accepts NULL */

#endif
