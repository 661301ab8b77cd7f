/* state_lock.c - whose is this state directory? */
#include "relay/state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"

int state_lock(const char *state_dir, bool *busy, struct why *why)
{
    struct stat status;
    char *path;
    int fd;

    *busy = false;
    if (mkdir(state_dir, 0700) != 0 && errno != EEXIST) {
        why_errno(why, errno, "cannot make state_dir %s", state_dir);
        return -1;
    }
    if (stat(state_dir, &status) != 0 || !S_ISDIR(status.st_mode)) {
        why_set(why, "state_dir %s is not a folder", state_dir);
        return -1;
    }
    path = xasprintf("%s/lock", state_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        why_errno(why, errno, "cannot open %s", path);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        *busy = errno == EWOULDBLOCK;
        if (*busy)
            why_set(why,
                    "%s is in use by another latchpost; stop it, or give this one a state_dir "
                    "of its own",
                    state_dir);
        else
            why_errno(why, errno, "cannot lock %s", path);
        close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}
