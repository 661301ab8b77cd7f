/* gather.c - how do many small writes and reads of SQLite become a few large ones?
 * In its log SQLite writes each page in two pieces, its header and itself, and a checkpoint writes
 * page by page. Each of these system calls touches the kernel's pages anew, which under load was a
 * fifth of the writer's time. Here what is written end to end is gathered, and written when
 * something else is wanted of the file: another place, a read, its size, and above all the sync.
 *
 * A checkpoint and the content of a large message are read page by page, too, mostly one behind the
 * other. What follows a few such reads is read with them at once, and answers for the file until
 * something is written there: nobody else writes to it. Where that much cannot be read (the end is
 * near, or a bad sector), just what is wanted is asked for.
 *
 * Durability: what is held back is what a power cut would have taken anyway, since nothing is on
 * disk before a sync, and the sync writes first. A write that fails late makes the sync fail, or
 * whatever else forced it; what was held back is then gone, as after a write that failed at once,
 * and SQLite neither commits nor counts it. */
#include "relay/base/gather.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#define VFS_NAME      "latchpost"
#define HELD_BACK_MAX 0x1f000 /* SQLite cuts longer writes at 0x1ffff octets */
#define AHEAD_BYTES   0x10000
#define AHEAD_AFTER   3  /* reads, each behind the one before ... */
#define GAP_MAX       64 /* ... but for a header, as between the pages of a log */

struct gathered { /* an open file, in memory that SQLite gives */
    sqlite3_file base;
    sqlite3_file *real;     /* of the VFS below */
    char *bytes;            /* HELD_BACK_MAX of them; made with the first write */
    size_t len;             /* what is held back; 0: nothing ... */
    sqlite3_int64 at;       /* ... and where it belongs */
    char *ahead;            /* AHEAD_BYTES of them as they stand in the file, when has_ahead ... */
    sqlite3_int64 ahead_at; /* ... from here on */
    bool has_ahead;
    sqlite3_int64 read_to; /* the end of the last read ... */
    unsigned run;          /* ... and how many before it stood one behind the other */
};

static sqlite3_file *real(sqlite3_file *file)
{
    return ((struct gathered *)file)->real;
}

/* --- holding back ----------------------------------------------------------------------------- */

static int write_held(struct gathered *file)
{
    int len = (int)file->len;

    if (len == 0)
        return SQLITE_OK;
    file->len = 0;
    return file->real->pMethods->xWrite(file->real, file->bytes, len, file->at);
}

/* The same for what is neither a write nor the sync of a commit. That the disk is full is told as a
 * write that failed: "full" from a read makes SQLite undo the one statement and commit the others,
 * with a hole in the log where these bytes belong. After an I/O error it undoes them all. */
static int write_held_first(sqlite3_file *base)
{
    int code = write_held((struct gathered *)base);

    return code == SQLITE_FULL ? SQLITE_IOERR_WRITE : code;
}

/* Does the write go on where the one before ended, and is there room? */
static bool fits(const struct gathered *file, size_t len, sqlite3_int64 offset)
{
    return file->len > 0 && offset == file->at + (sqlite3_int64)file->len &&
           len <= HELD_BACK_MAX - file->len;
}

/* Does a write here make it untrue? */
static bool overlaps_ahead(const struct gathered *file, int len, sqlite3_int64 offset)
{
    return file->has_ahead && offset < file->ahead_at + AHEAD_BYTES &&
           offset + len > file->ahead_at;
}

static int gather_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset)
{
    struct gathered *file = (struct gathered *)base;

    if (overlaps_ahead(file, len, offset))
        file->has_ahead = false;
    if (!fits(file, (size_t)len, offset)) {
        int code = write_held(file);
        if (code != SQLITE_OK)
            return code;
        if (file->bytes == NULL)
            file->bytes = malloc(HELD_BACK_MAX);
        if (file->bytes == NULL || len > HELD_BACK_MAX)
            return file->real->pMethods->xWrite(file->real, data, len, offset);
        file->at = offset;
    }
    memcpy(file->bytes + file->len, data, (size_t)len);
    file->len += (size_t)len;
    return SQLITE_OK;
}

static int gather_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    int code = write_held_first(base);

    ((struct gathered *)base)->has_ahead = false;
    return code != SQLITE_OK ? code : real(base)->pMethods->xTruncate(real(base), size);
}

static int gather_sync(sqlite3_file *base, int flags)
{
    int code = write_held((struct gathered *)base);

    return code != SQLITE_OK ? code : real(base)->pMethods->xSync(real(base), flags);
}

static int gather_size(sqlite3_file *base, sqlite3_int64 *size)
{
    int code = write_held_first(base);

    return code != SQLITE_OK ? code : real(base)->pMethods->xFileSize(real(base), size);
}

static int gather_close(sqlite3_file *base)
{
    struct gathered *file = (struct gathered *)base;
    int written = write_held(file);
    int closed = file->real->pMethods->xClose(file->real);

    free(file->bytes);
    free(file->ahead);
    free(file->real);
    return written != SQLITE_OK ? written : closed;
}

/* --- reading ahead ---------------------------------------------------------------------------- */

static bool is_in_ahead(const struct gathered *file, int len, sqlite3_int64 offset)
{
    return file->has_ahead && offset >= file->ahead_at &&
           offset + len <= file->ahead_at + AHEAD_BYTES;
}

static void note_read(struct gathered *file, int len, sqlite3_int64 offset)
{
    sqlite3_int64 gap = offset - file->read_to;

    file->run = gap >= 0 && gap <= GAP_MAX ? file->run + 1 : 0;
    file->read_to = offset + len;
}

/* Where it fails, nothing is lost but the time, and the next try is some reads away. */
static void read_ahead(struct gathered *file, sqlite3_int64 offset)
{
    if (file->ahead == NULL)
        file->ahead = malloc(AHEAD_BYTES);
    file->ahead_at = offset;
    file->has_ahead =
        file->ahead != NULL &&
        file->real->pMethods->xRead(file->real, file->ahead, AHEAD_BYTES, offset) == SQLITE_OK;
    if (!file->has_ahead)
        file->run = 0;
}

static int gather_read(sqlite3_file *base, void *to, int len, sqlite3_int64 offset)
{
    struct gathered *file = (struct gathered *)base;
    int code = write_held_first(base);

    if (code != SQLITE_OK)
        return code;
    note_read(file, len, offset);
    if (file->run >= AHEAD_AFTER && !is_in_ahead(file, len, offset))
        read_ahead(file, offset);
    if (!is_in_ahead(file, len, offset))
        return file->real->pMethods->xRead(file->real, to, len, offset);
    memcpy(to, file->ahead + (offset - file->ahead_at), (size_t)len);
    return SQLITE_OK;
}

/* --- passing on: the rest of a file ----------------------------------------------------------- */

/* Until now others may have written. */
static int gather_lock(sqlite3_file *file, int level)
{
    ((struct gathered *)file)->has_ahead = false;
    return real(file)->pMethods->xLock(real(file), level);
}

static int gather_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}

static int gather_check_lock(sqlite3_file *file, int *held)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), held);
}

static int gather_control(sqlite3_file *file, int code, void *argument)
{
    return real(file)->pMethods->xFileControl(real(file), code, argument);
}

static int gather_sector(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}

static int gather_traits(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static const sqlite3_io_methods methods = {
    .iVersion = 1, /* without shared memory */
    .xClose = gather_close,
    .xRead = gather_read,
    .xWrite = gather_write,
    .xTruncate = gather_truncate,
    .xSync = gather_sync,
    .xFileSize = gather_size,
    .xLock = gather_lock,
    .xUnlock = gather_unlock,
    .xCheckReservedLock = gather_check_lock,
    .xFileControl = gather_control,
    .xSectorSize = gather_sector,
    .xDeviceCharacteristics = gather_traits,
};

/* --- passing on: the rest of the VFS ---------------------------------------------------------- */

/* The default is looked up each time, because tests put a disk of their own below. */
static sqlite3_vfs *below(void)
{
    return sqlite3_vfs_find(NULL);
}

static int gather_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags,
                       int *out_flags)
{
    struct gathered *file = (struct gathered *)base;
    sqlite3_vfs *under = below();

    (void)vfs;
    memset(file, 0, sizeof(*file));
    file->real = calloc(1, (size_t)under->szOsFile);
    if (file->real == NULL)
        return SQLITE_NOMEM;
    int code = under->xOpen(under, path, file->real, flags, out_flags);

    if (code == SQLITE_OK) {
        file->base.pMethods = &methods;
        return SQLITE_OK;
    }
    if (file->real->pMethods != NULL) /* SQLite closes what has methods, opened or not */
        file->real->pMethods->xClose(file->real);
    free(file->real);
    return code;
}

static int gather_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    (void)vfs;
    return below()->xDelete(below(), path, sync_folder);
}

static int gather_access(sqlite3_vfs *vfs, const char *path, int flags, int *result)
{
    (void)vfs;
    return below()->xAccess(below(), path, flags, result);
}

static int gather_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    return below()->xFullPathname(below(), path, size, out);
}

static int gather_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    return below()->xRandomness(below(), size, out);
}

static int gather_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return below()->xSleep(below(), microseconds);
}

static int gather_time(sqlite3_vfs *vfs, double *julian_day)
{
    (void)vfs;
    return below()->xCurrentTime(below(), julian_day);
}

static int gather_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    return below()->xGetLastError(below(), size, out);
}

static sqlite3_vfs vfs = {
    .iVersion = 1,
    .szOsFile = sizeof(struct gathered),
    .zName = VFS_NAME,
    .xOpen = gather_open,
    .xDelete = gather_delete,
    .xAccess = gather_access,
    .xFullPathname = gather_full_path,
    .xRandomness = gather_randomness,
    .xSleep = gather_sleep,
    .xCurrentTime = gather_time,
    .xGetLastError = gather_last_error,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int registered;

static void register_vfs(void)
{
    vfs.mxPathname = below()->mxPathname;
    registered = sqlite3_vfs_register(&vfs, 0);
}

const char *gather_vfs(void)
{
    pthread_once(&once, register_vfs);
    return registered == SQLITE_OK ? VFS_NAME : NULL;
}
