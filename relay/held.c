/* held.c - which upstreams did the operator put on hold?
 * The file has one name a line. It is written anew for each change: to a file beside it, synced,
 * renamed, and the folder synced, so there is always a whole one. Names with a line end in them
 * cannot be kept, and are refused. */
#include "relay/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"
#include "relay/base/slice.h"

#define FILE_MAX (1024 * 1024)

struct held {
    char *folder, *path, *fresh_path;
    char **names;
    size_t count;
};

static size_t place_of(const struct held *held, const char *name)
{
    size_t i = 0;

    while (i < held->count && strcmp(held->names[i], name) != 0)
        i++;
    return i;
}

bool held_has(const struct held *held, const char *name)
{
    return place_of(held, name) < held->count;
}

const char *held_name(const struct held *held, size_t i)
{
    return i < held->count ? held->names[i] : NULL;
}

static void add(struct held *held, struct slice name)
{
    held->names = xrealloc(held->names, (held->count + 1) * sizeof(*held->names));
    held->names[held->count++] = slice_dup(name);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool read_all(int fd, struct buf *out)
{
    for (;;) {
        char *room = buf_reserve(out, 4096);
        if (room == NULL) {
            errno = EFBIG;
            return false;
        }
        ssize_t got = read(fd, room, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        buf_commit(out, (size_t)got);
    }
}

static bool load(struct held *held, struct why *why)
{
    struct buf text;
    int fd = open(held->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT || why_errno(why, errno, "cannot open %s", held->path);
    buf_init(&text, FILE_MAX);
    bool ok = read_all(fd, &text) || why_errno(why, errno, "cannot read %s", held->path);
    close(fd);
    for (struct slice rest = buf_slice(&text); ok && rest.data != NULL;) {
        struct slice name = slice_cut(&rest, '\n');
        if (name.len > 0)
            add(held, name);
    }
    buf_free(&text);
    return ok;
}

bool held_open(struct held **opened, const char *state_dir, struct why *why)
{
    struct held *held = xcalloc(1, sizeof(*held));

    held->folder = xstrdup(state_dir);
    held->path = xasprintf("%s/held-upstreams", state_dir);
    held->fresh_path = xasprintf("%s/held-upstreams.new", state_dir);
    if (!load(held, why)) {
        held_close(held);
        return false;
    }
    *opened = held;
    return true;
}

void held_close(struct held *held)
{
    if (held == NULL)
        return;
    for (size_t i = 0; i < held->count; i++)
        free(held->names[i]);
    free(held->names);
    free(held->folder);
    free(held->path);
    free(held->fresh_path);
    free(held);
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool write_all(int fd, struct slice data)
{
    while (data.len > 0) {
        ssize_t wrote = write(fd, data.data, data.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        data = slice_from(data, (size_t)wrote);
    }
    return fsync(fd) == 0;
}

static bool write_file(const char *path, struct slice text, struct why *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return why_errno(why, errno, "cannot make %s", path);
    bool ok = write_all(fd, text) || why_errno(why, errno, "cannot write %s", path);
    if (close(fd) != 0 && ok)
        ok = why_errno(why, errno, "cannot write %s", path);
    return ok;
}

static bool sync_folder(const char *path, struct why *why)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return why_errno(why, errno, "cannot open %s", path);
    bool ok = fsync(fd) == 0 || why_errno(why, errno, "cannot sync %s", path);
    close(fd);
    return ok;
}

/* All names but that at `without`, and `with`, if there is one. */
static bool save(const struct held *held, size_t without, const char *with, struct why *why)
{
    struct buf text;
    bool fits = true;

    buf_init(&text, FILE_MAX);
    for (size_t i = 0; i < held->count; i++)
        fits = fits && (i == without || buf_printf(&text, "%s\n", held->names[i]));
    if (with != NULL)
        fits = fits && buf_printf(&text, "%s\n", with);
    bool ok = fits || why_set(why, "%s would be too long", held->path);
    ok = ok && write_file(held->fresh_path, buf_slice(&text), why);
    if (ok && rename(held->fresh_path, held->path) != 0)
        ok = why_errno(why, errno, "cannot rename %s", held->fresh_path);
    ok = ok && sync_folder(held->folder, why);
    buf_free(&text);
    return ok;
}

bool held_set(struct held *held, const char *name, bool hold, struct why *why)
{
    size_t at = place_of(held, name);

    if (hold == (at < held->count))
        return true;
    if (name[0] == '\0' || strchr(name, '\n') != NULL)
        return why_set(why, "an upstream of this name cannot be held");
    if (!save(held, at, hold ? name : NULL, why))
        return false;
    if (hold) {
        add(held, slice_of(name));
    } else {
        free(held->names[at]);
        held->names[at] = held->names[--held->count];
    }
    return true;
}
