/* pepper.c - where does the pepper come from?
 * From the environment, or from a file of exactly 32 bytes that is ours alone. The file is made
 * once, before there is a keys.db; when it is missing later, all keys are lost without it, so it is
 * asked for by name and never replaced.
 *
 * Durability: written beside, synced, then linked to its name, and the folder synced. Linked and
 * not renamed, because link(2) never replaces: of two first starts at the same time both end with
 * the same pepper. */
#include "auth/auth_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"

/* A pepper of root's may be lent to us by its group: so do systemd's credentials. */
static bool is_lent(const struct stat *info)
{
    return info->st_uid == 0 && geteuid() != 0 && (info->st_mode & 037) == 0;
}

static bool check_file(int fd, const char *path, struct why *why)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return why_errno(why, errno, "cannot look at the pepper %s", path);
    if (!S_ISREG(info.st_mode))
        return why_set(why, "the pepper %s is not a regular file", path);
    if (info.st_uid != geteuid() && !is_lent(&info))
        return why_set(why,
                       "the pepper %s belongs to user id %u, not to user id %u who runs latchpost",
                       path, (unsigned)info.st_uid, (unsigned)geteuid());
    if ((info.st_mode & 077) != 0 && !is_lent(&info))
        return why_set(why,
                       "the pepper %s may be used by group or others (mode %04o): run chmod 600 %s",
                       path, (unsigned)info.st_mode & 07777, path);
    if (info.st_size != KEY_PEPPER_BYTES)
        return why_set(why, "the pepper %s must have %d bytes, it has %lld: restore it", path,
                       KEY_PEPPER_BYTES, (long long)info.st_size);
    return true;
}

static bool read_file(struct key_pepper *pepper, const char *path, int fd, struct why *why)
{
    size_t got = 0;

    while (got < sizeof(pepper->bytes)) {
        ssize_t n = read(fd, pepper->bytes + got, sizeof(pepper->bytes) - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return why_errno(why, errno, "cannot read the pepper %s", path);
        if (n == 0)
            return why_set(why, "the pepper %s was cut short while it was read", path);
        got += (size_t)n;
    }
    return true;
}

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? xstrdup(".")
                   : slash == path ? xstrdup("/")
                                   : xstrndup(path, (size_t)(slash - path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int error = errno;

    if (fd >= 0)
        close(fd);
    free(folder);
    errno = error;
    return ok;
}

/* Afterwards there is a file of this name: ours, or that of another who came first. */
static bool create_file(const struct key_pepper *pepper, const char *path, struct why *why)
{
    bool ok = false;
    char *aside = xasprintf("%s.XXXXXX", path);
    int fd = mkostemp(aside, O_CLOEXEC); /* mode 0600 */

    if (fd < 0) {
        why_errno(why, errno, "cannot create the pepper %s", path);
        goto out;
    }
    if (!write_all(fd, pepper->bytes, sizeof(pepper->bytes)) || fsync(fd) != 0 ||
        (link(aside, path) != 0 && errno != EEXIST) || !sync_folder_of(path)) {
        why_errno(why, errno, "cannot write the pepper %s", path);
        goto out;
    }
    ok = true;
out:
    if (fd >= 0) {
        close(fd);
        unlink(aside);
    }
    free(aside);
    return ok;
}

bool pepper_load(struct key_pepper *pepper, const char *path, const char *hex, bool may_create,
                 struct why *why)
{
    if (hex != NULL)
        return key_pepper_from_hex(pepper, hex) ||
               why_set(why, "the pepper in the environment must be %d hexadecimal digits",
                       2 * KEY_PEPPER_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && may_create) {
        if (!create_file(pepper, path, why))
            return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    }
    if (fd < 0 && errno == ENOENT)
        return why_set(why,
                       "the pepper %s is missing, and without it no key can be recognised: restore "
                       "it from a backup",
                       path);
    if (fd < 0)
        return why_errno(why, errno, "cannot open the pepper %s", path);
    bool ok = check_file(fd, path, why) && read_file(pepper, path, fd, why);
    close(fd);
    return ok;
}
