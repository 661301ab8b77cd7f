/* disk.h - a disk that loses power, or fails at any call, for the unit tests of queue/.
 * It stands between SQLite and the real one, as the default VFS. Of each file it keeps what the
 * last sync made durable (what is there when it is first opened is) and what was written since;
 * disk_image() is what a power cut would leave: the durable bytes, and any of the later writes.
 * Header only, one thread, and only what SQLite asks for with locking_mode=EXCLUSIVE (no shared
 * memory). */
#ifndef LATCHPOST_TESTS_DISK_H
#define LATCHPOST_TESTS_DISK_H

#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/base/slice.h"
#include "tests/support/queue_fixture.h"

#define DISK_FILES_MAX 8

struct disk_write { /* not synced yet */
    struct disk_write *next;
    int64_t offset;
    size_t len;
    char *bytes; /* NULL: the file was cut at `offset` */
};

struct disk_file {
    char *path;
    char *bytes; /* durable */
    size_t len;
    struct disk_write *first, **last;
};

enum disk_call { /* for a set of them */
                 DISK_READ = 1,
                 DISK_WRITE = 2,
                 DISK_CUT = 4,
                 DISK_SYNC = 8,
                 DISK_SIZE = 16,
                 DISK_OPEN = 32,
                 DISK_DELETE = 64,
};

struct disk_fault { /* zeroed: none */
    const char *name;
    unsigned calls;  /* of these ... */
    int code, error; /* ... one fails with this result of SQLite's (0: its own), and errno ... */
    bool for_good;   /* ... or all that come behind it, too ... */
    unsigned every;  /* ... or each so-manieth of them */
    /* A sync that fails loses what it was to write, which can still be read: Linux counts the pages
     * as clean afterwards. */
    bool forgets;
    unsigned spares;  /* so many before it do not fail */
    unsigned strikes; /* the calls from the one that failed on */
};

static struct {
    sqlite3_vfs vfs, *real;
    struct disk_file files[DISK_FILES_MAX];
    size_t file_count;
    unsigned operations;     /* writes, cuts and syncs so far */
    unsigned loses_power_at; /* nothing after this operation reaches the disk; 0: never */
    unsigned log_syncs;
    int failing_syncs;     /* so many of the next syncs of a log fail */
    int sync_errno;        /* which the kernel explains so */
    int64_t unreadable_at; /* a read of this byte of the database fails; 0: none */
    struct disk_fault fault;
} disk;

struct disk_handle {
    sqlite3_file base;
    struct disk_file *file; /* NULL: a temporary one */
    sqlite3_file *real;
};

static inline bool disk_is_log(const struct disk_file *file)
{
    return slice_ends_nocase(slice_of(file->path), SLICE("-wal"));
}

static inline bool disk_lost_power(void)
{
    return disk.loses_power_at != 0 && disk.operations >= disk.loses_power_at;
}

/* How many writes to a log would a power cut lose? */
static inline unsigned disk_unsynced_log_writes(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < disk.file_count; i++)
        if (disk_is_log(&disk.files[i]))
            for (struct disk_write *w = disk.files[i].first; w != NULL; w = w->next)
                count++;
    return count;
}

/* --- what is durable ------------------------------------------------------------------------- */

static inline void disk_load(const char *path, char **bytes, size_t *len)
{
    char part[65536];
    FILE *in = fopen(path, "rb");

    *bytes = NULL;
    *len = 0;
    if (in == NULL)
        return;
    for (size_t got; (got = fread(part, 1, sizeof(part), in)) > 0; *len += got) {
        *bytes = xrealloc(*bytes, *len + got);
        memcpy(*bytes + *len, part, got);
    }
    fclose(in);
}

static inline void disk_store(const char *path, const char *bytes, size_t len)
{
    remove(path); /* a file that is cut and written anew is synced by ext4 */
    FILE *out = fopen(path, "wb");

    if (out == NULL || fwrite(bytes, 1, len, out) != len || fclose(out) != 0)
        abort();
}

static inline struct disk_file *disk_find(const char *path)
{
    for (size_t i = 0; i < disk.file_count; i++)
        if (strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    if (disk.file_count == DISK_FILES_MAX)
        abort();
    struct disk_file *file = &disk.files[disk.file_count++];
    *file = (struct disk_file){ .path = xstrdup(path), .last = &file->first };
    disk_load(path, &file->bytes, &file->len);
    return file;
}

static inline void disk_note(struct disk_file *file, int64_t offset, const void *bytes, size_t len)
{
    if (file == NULL || disk_lost_power())
        return;
    struct disk_write *write = xcalloc(1, sizeof(*write));
    write->offset = offset;
    write->len = len;
    write->bytes = bytes == NULL ? NULL : slice_dup(slice_make(bytes, len));
    *file->last = write;
    file->last = &write->next;
    disk.operations++;
}

static inline void disk_apply(char **bytes, size_t *len, const struct disk_write *write)
{
    size_t end = (size_t)write->offset + write->len;

    if (write->bytes == NULL ? end < *len : end > *len) {
        *bytes = xrealloc(*bytes, end);
        if (end > *len)
            memset(*bytes + *len, 0, end - *len);
        *len = end;
    }
    if (write->bytes != NULL)
        memcpy(*bytes + write->offset, write->bytes, write->len);
}

static inline void disk_forget(struct disk_file *file, bool durable)
{
    for (struct disk_write *write = file->first, *next; write != NULL; write = next) {
        next = write->next;
        if (durable)
            disk_apply(&file->bytes, &file->len, write);
        free(write->bytes);
        free(write);
    }
    file->first = NULL;
    file->last = &file->first;
}

/* What is there was written by a process that was killed before it synced. */
static inline void disk_doubt(const char *path)
{
    struct disk_file *file = disk_find(path);
    char *bytes = file->bytes;

    for (size_t at = 0; at < file->len; at += 512) /* sectors come to the disk one by one */
        disk_note(file, (int64_t)at, bytes + at, file->len - at < 512 ? file->len - at : 512);
    file->bytes = NULL;
    file->len = 0;
    free(bytes);
}

/* Writes to `to` what a power cut now would leave of `path`. Which of the later writes are there
 * follows from `seed`. */
static inline void disk_image(const char *path, const char *to, unsigned seed)
{
    const struct disk_file *file = disk_find(path);
    size_t len = file->len;
    char *bytes = xmalloc(len);

    if (len > 0)
        memcpy(bytes, file->bytes, len);
    for (const struct disk_write *write = file->first; write != NULL; write = write->next) {
        seed = seed * 1103515245 + 12345;
        if ((seed >> 16 & 1) != 0)
            disk_apply(&bytes, &len, write);
    }
    disk_store(to, bytes, len);
    free(bytes);
}

/* Where in the database file is a page full of this byte, but for what links it to the next? */
static inline int64_t disk_page_of(const char *path, char byte)
{
    char page[4096], wanted[4088];
    int64_t offset = 0;
    FILE *file = fopen(path, "rb");

    memset(wanted, byte, sizeof(wanted));
    if (file == NULL)
        abort();
    while (fread(page, sizeof(page), 1, file) == 1 && memcmp(page + 8, wanted, sizeof(wanted)) != 0)
        offset += (int64_t)sizeof(page);
    fclose(file);
    return offset;
}

/* --- the VFS --------------------------------------------------------------------------------- */

#define DISK_REAL(file) (((struct disk_handle *)(file))->real)

static inline int disk_error_of(enum disk_call call)
{
    return call == DISK_READ    ? SQLITE_IOERR_READ
           : call == DISK_WRITE ? SQLITE_IOERR_WRITE
           : call == DISK_CUT   ? SQLITE_IOERR_TRUNCATE
           : call == DISK_SYNC  ? SQLITE_IOERR_FSYNC
                                : SQLITE_IOERR;
}

/* SQLITE_OK, or with what the fault strikes this call. */
static inline int disk_strike(enum disk_call call)
{
    struct disk_fault *fault = &disk.fault;

    if ((fault->calls & call) == 0)
        return SQLITE_OK;
    if (fault->spares > 0) {
        fault->spares--;
        return SQLITE_OK;
    }
    unsigned behind = fault->strikes++;
    if (behind > 0 && !fault->for_good && (fault->every == 0 || behind % fault->every != 0))
        return SQLITE_OK;
    errno = fault->error;
    return fault->code != SQLITE_OK ? fault->code : disk_error_of(call);
}

static inline int disk_close(sqlite3_file *file)
{
    return DISK_REAL(file)->pMethods->xClose(DISK_REAL(file));
}

static inline int disk_read(sqlite3_file *file, void *to, int len, sqlite3_int64 offset)
{
    const struct disk_file *read = ((struct disk_handle *)file)->file;

    if (disk.unreadable_at != 0 && read != NULL && !disk_is_log(read) &&
        offset <= disk.unreadable_at && disk.unreadable_at < offset + len)
        return SQLITE_IOERR_READ;
    int struck = disk_strike(DISK_READ);
    if (struck != SQLITE_OK)
        return struck;
    return DISK_REAL(file)->pMethods->xRead(DISK_REAL(file), to, len, offset);
}

static inline int disk_put(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 offset)
{
    int struck = disk_strike(DISK_WRITE);

    if (struck != SQLITE_OK)
        len /= 2; /* it is torn */
    disk_note(((struct disk_handle *)file)->file, offset, bytes, (size_t)len);
    int code = DISK_REAL(file)->pMethods->xWrite(DISK_REAL(file), bytes, len, offset);
    if (struck != SQLITE_OK)
        errno = disk.fault.error;
    return struck != SQLITE_OK ? struck : code;
}

static inline int disk_truncate(sqlite3_file *file, sqlite3_int64 len)
{
    int struck = disk_strike(DISK_CUT);

    if (struck != SQLITE_OK)
        return struck;
    disk_note(((struct disk_handle *)file)->file, len, NULL, 0);
    return DISK_REAL(file)->pMethods->xTruncate(DISK_REAL(file), len);
}

static inline int disk_sync(sqlite3_file *file, int flags)
{
    struct disk_file *synced = ((struct disk_handle *)file)->file;

    (void)flags;
    if (synced == NULL || disk_lost_power())
        return SQLITE_OK;
    int struck = disk_strike(DISK_SYNC);
    if (struck != SQLITE_OK) {
        if (disk.fault.forgets)
            disk_forget(synced, false);
        errno = disk.fault.error;
        return struck;
    }
    disk.operations++;
    if (disk_is_log(synced)) {
        if (disk.failing_syncs > 0) {
            disk.failing_syncs--;
            errno = disk.sync_errno;
            return SQLITE_IOERR_FSYNC;
        }
        disk.log_syncs++;
    }
    disk_forget(synced, true); /* the real one is not asked: no test loses its power */
    return SQLITE_OK;
}

static inline int disk_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int struck = disk_strike(DISK_SIZE);

    if (struck != SQLITE_OK)
        return struck;
    return DISK_REAL(file)->pMethods->xFileSize(DISK_REAL(file), size);
}

static inline int disk_lock(sqlite3_file *file, int level)
{
    return DISK_REAL(file)->pMethods->xLock(DISK_REAL(file), level);
}

static inline int disk_unlock(sqlite3_file *file, int level)
{
    return DISK_REAL(file)->pMethods->xUnlock(DISK_REAL(file), level);
}

static inline int disk_check_lock(sqlite3_file *file, int *held)
{
    return DISK_REAL(file)->pMethods->xCheckReservedLock(DISK_REAL(file), held);
}

static inline int disk_control(sqlite3_file *file, int code, void *argument)
{
    return DISK_REAL(file)->pMethods->xFileControl(DISK_REAL(file), code, argument);
}

static inline int disk_sector(sqlite3_file *file)
{
    return DISK_REAL(file)->pMethods->xSectorSize(DISK_REAL(file));
}

static inline int disk_traits(sqlite3_file *file)
{
    return DISK_REAL(file)->pMethods->xDeviceCharacteristics(DISK_REAL(file));
}

static inline int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                            int *out_flags)
{
    static const sqlite3_io_methods methods = {
        1,
        disk_close,
        disk_read,
        disk_put,
        disk_truncate,
        disk_sync,
        disk_size,
        disk_lock,
        disk_unlock,
        disk_check_lock,
        disk_control,
        disk_sector,
        disk_traits,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
    };
    struct disk_handle *handle = (struct disk_handle *)file;
    int struck = disk_strike(DISK_OPEN);

    (void)vfs;
    handle->base.pMethods = NULL;
    if (struck != SQLITE_OK)
        return struck;
    handle->real = (sqlite3_file *)(handle + 1);
    handle->file = path == NULL ? NULL : disk_find(path);
    int code = disk.real->xOpen(disk.real, path, handle->real, flags, out_flags);
    handle->base.pMethods = handle->real->pMethods == NULL ? NULL : &methods;
    return code;
}

static inline int disk_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    int struck = disk_strike(DISK_DELETE);

    (void)vfs;
    (void)sync_folder; /* as with files */
    if (struck != SQLITE_OK)
        return struck;
    disk_note(disk_find(path), 0, NULL, 0); /* an empty log is as good as none */
    return disk.real->xDelete(disk.real, path, 0);
}

/* From now on, and until disk_remove(), what SQLite opens lies on this disk. */
static inline void disk_insert(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "latchpost-test-disk";
    disk.vfs.szOsFile = (int)sizeof(struct disk_handle) + disk.real->szOsFile;
    disk.vfs.xOpen = disk_open;
    disk.vfs.xDelete = disk_delete;
    disk.file_count = disk.operations = disk.loses_power_at = disk.log_syncs = 0;
    disk.failing_syncs = disk.sync_errno = 0;
    disk.unreadable_at = 0;
    disk.fault = (struct disk_fault){ 0 };
    sqlite3_vfs_register(&disk.vfs, 1);
}

static inline void disk_remove(void)
{
    sqlite3_vfs_unregister(&disk.vfs);
    sqlite3_vfs_register(disk.real, 1);
    for (size_t i = 0; i < disk.file_count; i++) {
        disk_forget(&disk.files[i], false);
        free(disk.files[i].bytes);
        free(disk.files[i].path);
    }
    disk.file_count = 0;
}

static inline int disk_setup(void **state)
{
    disk_insert();
    return fx_setup(state);
}

static inline int disk_teardown(void **state)
{
    int result = fx_teardown(state);

    disk_remove();
    return result;
}

/* A row of the table of tests: QUEUE_TEST() on this disk. */
#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, disk_setup, disk_teardown)

#endif
