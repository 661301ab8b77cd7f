/* fence_files.c - the fence around files, signals and abstract sockets: Landlock.
 * By its system calls, which glibc does not wrap. The kernel's and the headers' versions differ
 * (Debian 12's headers know version 2), so what is newer is named here. */
#include "relay/fence_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* version 3 */
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15) /* version 5 */
#endif

/* Of version 6: what is kept within us. */
#define SCOPE_ABSTRACT_SOCKETS (1ULL << 0)
#define SCOPE_SIGNALS          (1ULL << 1)

/* The attributes of a ruleset. A kernel that knows fewer takes them as long as the rest is zero. */
enum { FILES, PORTS, SCOPES, ATTRIBUTES };

#define VERSION_MIN 2 /* in version 1 no file moves between folders, as maildirs need it */

#define RIGHTS_V2   ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)
#define RIGHTS_OF_FILES                                                                            \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

static const uint64_t rights[] = {
    [REACH_LIST] = LANDLOCK_ACCESS_FS_READ_DIR,
    [REACH_READ] = LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_READ_FILE,
    [REACH_WRITE] = LANDLOCK_ACCESS_FS_READ_DIR | RIGHTS_OF_FILES | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                    LANDLOCK_ACCESS_FS_REFER,
};

static uint64_t rights_of_version(long version)
{
    return RIGHTS_V2 | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0) |
           (version >= 5 ? LANDLOCK_ACCESS_FS_IOCTL_DEV : 0);
}

static bool allow(int ruleset, uint64_t handled, const struct reach_place *place, struct why *why)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = rights[place->access] & handled,
        .parent_fd = open(place->path, O_PATH | O_CLOEXEC),
    };
    struct stat status;
    bool ok = true;

    if (rule.parent_fd < 0)
        return true; /* it does not exist, or we could not open it either way */
    if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
        rule.allowed_access &= RIGHTS_OF_FILES;
    if (rule.allowed_access != 0 &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        ok = why_errno(why, errno, "Landlock does not take %s", place->path);
    close(rule.parent_fd);
    return ok;
}

bool fence_close_files(const struct reach *reach, bool keep_abstract, struct why *why)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const uint64_t attributes[ATTRIBUTES] = {
        [FILES] = rights_of_version(version),
        [SCOPES] = version < 6 ? 0 : SCOPE_SIGNALS | (keep_abstract ? 0 : SCOPE_ABSTRACT_SOCKETS),
    };
    bool ok = true;
    int ruleset;

    if (version < 0)
        return why_errno(why, errno, "this kernel has no Landlock");
    if (version < VERSION_MIN)
        return why_set(why, "this kernel's Landlock has version %ld, and %d is needed", version,
                       VERSION_MIN);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, attributes, sizeof(attributes), 0);
    if (ruleset < 0)
        return why_errno(why, errno, "Landlock does not begin");
    for (size_t i = 0; ok && i < reach->count; i++)
        ok = allow(ruleset, attributes[FILES], &reach->places[i], why);
    if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        ok = why_errno(why, errno, "Landlock does not hold");
    close(ruleset);
    return ok;
}
