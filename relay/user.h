/* user.h - as whom does this process go on?
 * Started as root, it becomes the user of the configuration, or else the owner of its state: files
 * that root left there would lock the daemon out of its own folder. Single-threaded: before any
 * other thread starts, since rights belong to threads. */
#ifndef LATCHPOST_USER_H
#define LATCHPOST_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "relay/base/why.h"

struct user {
    uid_t uid;
    gid_t gid;
    bool is_other;  /* than whom we run as: there is something to become */
    char name[256]; /* "" when the user database does not know them */
};

/* Whom to become: `name`, or, when NULL, the owner of state_dir where it exists, or whom we are.
 * False and why: nobody has the name. */
bool user_find(struct user *user, const char *name, const char *state_dir, struct why *why);
/* Makes the folder (0700) when it is missing. False and why: it belongs to somebody else. */
bool user_own_folder(const struct user *user, const char *path, struct why *why);

/* For good: groups, group, user, and every capability but that of binding ports below 1024, which
 * is kept when keep_bind (and we have it). Looks whether the way back is closed. Whoever is the
 * user already only loses capabilities. False and why: the process must end. */
bool user_become(const struct user *user, bool keep_bind, struct why *why);
/* Has this thread the capability of binding ports below 1024? */
bool user_may_bind(void);

#endif
