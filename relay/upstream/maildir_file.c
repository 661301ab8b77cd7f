/* maildir_file.c - one file of a maildir on its way to the disk: in tmp/, and once it is complete
 * in new/. A message becomes one file, named <unix time>.<message id>.<host name>: written in tmp/,
 * synced, renamed, and new/ synced, so that a message that was reported as delivered survives a
 * power cut. PATH/{tmp,new,cur} are made when missing (0700). */
#include "relay/upstream/maildir_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_BYTES (HOST_NAME_MAX * 3 + 1)

/* --- folders ---------------------------------------------------------------------------------- */

static bool sub_path(const char *root, const char *sub, char path[static PATH_MAX], struct why *why)
{
    if (snprintf(path, PATH_MAX, "%s%s", root, sub) >= PATH_MAX)
        return why_set(why, "maildir %s: the path is too long", root);
    return true;
}

static bool sync_folder(const char *root, const char *sub, struct why *why)
{
    char path[PATH_MAX];

    if (!sub_path(root, sub, path, why))
        return false;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        why_errno(why, errno, "cannot sync %s", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool make_folder(const char *root, const char *sub, bool *made, struct why *why)
{
    char path[PATH_MAX];

    if (!sub_path(root, sub, path, why))
        return false;
    if (mkdir(path, 0700) == 0)
        *made = true;
    else if (errno != EEXIST)
        return why_errno(why, errno, "cannot make the folder %s", path);
    return true;
}

static bool make_folders(const char *root, struct why *why)
{
    static const char *const subs[] = { "", "/tmp", "/new", "/cur" };
    bool made = false;

    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (!make_folder(root, subs[i], &made, why))
            return false;
    return !made || (sync_folder(root, "", why) && sync_folder(root, "/..", why));
}

bool maildir_check(const char *root, struct why *why)
{
    if (!make_folders(root, why) || !sync_folder(root, "/new", why))
        return false;
    return access(root, W_OK | X_OK) == 0 ||
           why_errno(why, errno, "cannot write into maildir %s", root);
}

/* --- a file ----------------------------------------------------------------------------------- */

/* A host name in a file name may hold neither '/' nor ':' (they are part of the Maildir syntax). */
static void learn_host(char host[static HOST_BYTES])
{
    char name[HOST_NAME_MAX + 1] = "";
    size_t len = 0;

    if (gethostname(name, sizeof(name)) != 0 || name[0] == '\0')
        snprintf(name, sizeof(name), "localhost");
    name[sizeof(name) - 1] = '\0';
    for (const char *c = name; *c != '\0' && len < HOST_BYTES; c++) {
        const char *as = *c == '/' ? "\\057" : *c == ':' ? "\\072" : NULL;
        size_t room = HOST_BYTES - len;

        len += (size_t)(as != NULL ? snprintf(host + len, room, "%s", as)
                                   : snprintf(host + len, room, "%c", *c));
    }
}

void maildir_file_init(struct maildir_file *file, const char *root, const char *id, int64_t now_s)
{
    char host[HOST_BYTES];

    learn_host(host);
    file->root = root;
    file->fd = -1;
    /* Where it is cut, what makes it unique stands in front. */
    if (snprintf(file->name, sizeof(file->name), "%lld.%s.%s", (long long)now_s, id, host) < 0)
        file->name[0] = '\0';
}

static bool path_of(const struct maildir_file *file, const char *sub, char path[static PATH_MAX],
                    struct why *why)
{
    if (snprintf(path, PATH_MAX, "%s/%s/%s", file->root, sub, file->name) >= PATH_MAX)
        return why_set(why, "maildir %s: the path is too long", file->root);
    return true;
}

static bool create(struct maildir_file *file, struct why *why)
{
    char path[PATH_MAX];

    if (!make_folders(file->root, why) || !path_of(file, "tmp", path, why))
        return false;
    /* What a crash left under this name is of the same message: it may be overwritten. */
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return file->fd >= 0 || why_errno(why, errno, "cannot create %s", path);
}

static bool write_all(struct maildir_file *file, struct slice bytes, struct why *why)
{
    while (bytes.len > 0) {
        ssize_t written = write(file->fd, bytes.data, bytes.len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return why_errno(why, errno, "cannot write into maildir %s", file->root);
        bytes = slice_from(bytes, (size_t)written);
    }
    return true;
}

static bool move_to_new(const struct maildir_file *file, struct why *why)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (!path_of(file, "tmp", from, why) || !path_of(file, "new", to, why))
        return false;
    if (rename(from, to) != 0)
        return why_errno(why, errno, "cannot rename %s", from);
    if (sync_folder(file->root, "/new", why))
        return true;
    unlink(to); /* it will be sent again, and might be there twice */
    return false;
}

static bool complete(struct maildir_file *file, struct why *why)
{
    if (fsync(file->fd) != 0)
        return why_errno(why, errno, "cannot sync a file in maildir %s", file->root);
    int closed = close(file->fd);

    file->fd = -1;
    if (closed != 0)
        return why_errno(why, errno, "cannot close a file in maildir %s", file->root);
    return move_to_new(file, why);
}

void maildir_file_remove(struct maildir_file *file)
{
    char path[PATH_MAX];

    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
    if (path_of(file, "tmp", path, NULL))
        unlink(path); /* what cannot be removed harms nobody: readers look into new/ only */
}

bool maildir_file_write(struct maildir_file *file, struct slice bytes, bool last, struct why *why)
{
    bool ok = (file->fd >= 0 || create(file, why)) && write_all(file, bytes, why);

    if (ok && last)
        ok = complete(file, why);
    if (!ok)
        maildir_file_remove(file);
    return ok;
}
