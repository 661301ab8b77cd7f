/* test_gather.c - is a file that is used through the gathering VFS always what it was told to be,
 * and is all of it below when a sync returns? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "relay/base/alloc.h"
#include "relay/base/gather.h"
#include "relay/base/macros.h"

#define FILE_MAX (1 << 20)

struct place {
    char folder[128], path[160];
    sqlite3_file *file;
    char *below; /* what the file system has; FILE_MAX bytes */
};

static int make_place(void **state)
{
    struct place *place = xcalloc(1, sizeof(*place));
    const char *tmp = getenv("TMPDIR");
    sqlite3_vfs *vfs = sqlite3_vfs_find(gather_vfs());

    snprintf(place->folder, sizeof(place->folder), "%.90s/latchpost-gather-XXXXXX",
             tmp == NULL ? "/tmp" : tmp);
    if (vfs == NULL || mkdtemp(place->folder) == NULL)
        return -1;
    snprintf(place->path, sizeof(place->path), "%s/file", place->folder);
    place->file = xcalloc(1, (size_t)vfs->szOsFile);
    place->below = xmalloc(FILE_MAX);
    *state = place;
    return vfs->xOpen(vfs, place->path, place->file,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB, NULL);
}

static int remove_place(void **state)
{
    struct place *place = *state;

    if (place->file->pMethods != NULL)
        place->file->pMethods->xClose(place->file);
    unlink(place->path);
    rmdir(place->folder);
    free(place->file);
    free(place->below);
    free(place);
    return 0;
}

static int put(struct place *place, const void *data, size_t len, size_t offset)
{
    return place->file->pMethods->xWrite(place->file, data, (int)len, (sqlite3_int64)offset);
}

static int sync_file(struct place *place)
{
    return place->file->pMethods->xSync(place->file, SQLITE_SYNC_NORMAL);
}

/* Its length in the file system, its bytes in place->below. */
static size_t look_below(struct place *place)
{
    int fd = open(place->path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, place->below, FILE_MAX);

    assert_true(fd >= 0 && len >= 0);
    close(fd);
    return (size_t)len;
}

static void what_is_written_end_to_end_goes_below_with_the_sync(void **state)
{
    struct place *place = *state;

    assert_int_equal(put(place, "header", 6, 0), SQLITE_OK);
    assert_int_equal(put(place, "page", 4, 6), SQLITE_OK);
    assert_int_equal(look_below(place), 0);
    assert_int_equal(sync_file(place), SQLITE_OK);
    assert_int_equal(look_below(place), 10);
    assert_memory_equal(place->below, "headerpage", 10);
    assert_int_equal(put(place, "H", 1, 0), SQLITE_OK);
    assert_int_equal(put(place, "!", 1, 9), SQLITE_OK); /* another place: the first goes */
    look_below(place);
    assert_memory_equal(place->below, "Headerpage", 10);
    place->file->pMethods->xClose(place->file);
    place->file->pMethods = NULL;
    assert_int_equal(look_below(place), 10);
    assert_memory_equal(place->below, "Headerpag!", 10);
}

/* Every operation that SQLite has, at random, beside the same done in memory. */
static void it_is_always_what_it_was_told_to_be(void **state)
{
    struct place *place = *state;
    const sqlite3_io_methods *io = place->file->pMethods;
    char *want = xcalloc(1, FILE_MAX), *data = xmalloc(FILE_MAX);
    size_t len = 0, offset = 0;
    sqlite3_int64 size;

    srandom(4711);
    for (unsigned step = 0; step < 20000; step++) {
        size_t piece = (size_t)random() % (random() % 50 == 0 ? 100000 : 5000) + 1;
        if (random() % 4 == 0 || offset + piece > FILE_MAX)
            offset = (size_t)random() % (FILE_MAX - piece);
        switch (random() % 8) {
        case 0:
            assert_int_equal(io->xFileSize(place->file, &size), SQLITE_OK);
            assert_int_equal(size, len);
            break;
        case 1: {
            int code = io->xRead(place->file, data, (int)piece, (sqlite3_int64)offset);
            assert_int_equal(code, offset + piece <= len ? SQLITE_OK : SQLITE_IOERR_SHORT_READ);
            assert_memory_equal(data, want + offset, piece); /* zeros behind the end */
            break;
        }
        case 4: /* page by page, as a log is read */
            for (unsigned page = 0; page < 8 && offset + 5000 <= len; page++, offset += 4120) {
                assert_int_equal(io->xRead(place->file, data, 4096, (sqlite3_int64)offset),
                                 SQLITE_OK);
                assert_memory_equal(data, want + offset, 4096);
            }
            break;
        case 2:
            assert_int_equal(sync_file(place), SQLITE_OK);
            assert_int_equal(look_below(place), len);
            assert_memory_equal(place->below, want, len);
            break;
        case 3:
            if (random() % 20 > 0 || offset > len)
                break;
            assert_int_equal(io->xTruncate(place->file, (sqlite3_int64)offset), SQLITE_OK);
            memset(want + offset, 0, len - offset);
            len = offset;
            break;
        default:
            memset(data, (int)(random() % 255 + 1), piece);
            assert_int_equal(put(place, data, piece, offset), SQLITE_OK);
            memcpy(want + offset, data, piece);
            offset += piece;
            len = offset > len ? offset : len;
        }
    }
    free(want);
    free(data);
}

static int get(struct place *place, char *to, size_t len, size_t offset)
{
    return place->file->pMethods->xRead(place->file, to, (int)len, (sqlite3_int64)offset);
}

/* What lies behind five pages that are read in order has been read with them: it is changed below,
 * where nobody but this test would, and the change is not seen. */
static void what_follows_a_few_reads_is_read_with_them(void **state)
{
    static const struct {
        const char *when;
        bool writes, locks;
        size_t at; /* the write */
        const char *want;
    } rows[] = {
        { "nothing happens", false, false, 0, "old" },
        { "something is written elsewhere", true, false, 500000, "old" },
        { "its page is written", true, false, 4096 * 6 + 3, "new" },
        { "the lock is taken anew", false, true, 0, "new" },
    };
    struct place *place = *state;
    char *data = xcalloc(1, FILE_MAX), found[4] = "";

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        memcpy(data + 4096L * 6, "old", 3);
        for (size_t piece = 0; piece < 4; piece++)
            assert_int_equal(put(place, data + piece * 65536, 65536, piece * 65536), SQLITE_OK);
        assert_int_equal(sync_file(place), SQLITE_OK);
        for (size_t page = 0; page < 5; page++)
            assert_int_equal(get(place, data, 4096, page * 4096), SQLITE_OK);
        int fd = open(place->path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "new", 3, 4096L * 6), 3);
        close(fd);
        if (rows[i].writes)
            assert_int_equal(put(place, "w", 1, rows[i].at), SQLITE_OK);
        if (rows[i].locks)
            assert_int_equal(place->file->pMethods->xLock(place->file, SQLITE_LOCK_SHARED),
                             SQLITE_OK);
        assert_int_equal(get(place, found, 3, 4096L * 6), SQLITE_OK);
        if (strcmp(found, rows[i].want) != 0)
            fail_msg("when %s: %s, not %s", rows[i].when, found, rows[i].want);
    }
    free(data);
}

static void the_end_is_read_page_by_page(void **state)
{
    struct place *place = *state;
    char data[4096];

    memset(data, 'p', sizeof(data));
    for (size_t page = 0; page < 20; page++)
        assert_int_equal(put(place, data, sizeof(data), page * sizeof(data)), SQLITE_OK);
    for (size_t page = 0; page < 20; page++) {
        memset(data, 0, sizeof(data));
        assert_int_equal(get(place, data, sizeof(data), page * sizeof(data)), SQLITE_OK);
        assert_int_equal(data[0], 'p');
        assert_int_equal(data[4095], 'p');
    }
    assert_int_equal(get(place, data, sizeof(data), 20 * sizeof(data)), SQLITE_IOERR_SHORT_READ);
    assert_int_equal(data[0], 0);
}

static void a_write_that_fails_late_fails_the_sync_and_is_forgotten(void **state)
{
    struct place *place = *state;
    struct rlimit old, tight;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(put(place, "first", 5, 0), SQLITE_OK);
    assert_int_equal(sync_file(place), SQLITE_OK);
    tight = (struct rlimit){ 5, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(put(place, "second", 6, 5), SQLITE_OK);
    int failing = sync_file(place), next = sync_file(place);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_not_equal(failing, SQLITE_OK);
    assert_int_equal(next, SQLITE_OK);
    assert_int_equal(look_below(place), 5);
    assert_int_equal(put(place, "third", 5, 5), SQLITE_OK);
    assert_int_equal(sync_file(place), SQLITE_OK);
    assert_int_equal(look_below(place), 10);
    assert_memory_equal(place->below, "firstthird", 10);
}

/* --- a disk that is full for a moment --------------------------------------------------------- */

static unsigned refused_writes; /* so many of the next ones find no room */

static ssize_t write_unless_full(int fd, const void *data, size_t len)
{
    if (refused_writes == 0)
        return write(fd, data, len);
    refused_writes--;
    errno = ENOSPC;
    return -1;
}

static ssize_t write_at_unless_full(int fd, const void *data, size_t len, off_t offset)
{
    if (refused_writes == 0)
        return pwrite(fd, data, len, offset);
    refused_writes--;
    errno = ENOSPC;
    return -1;
}

/* Which of these SQLite uses is a matter of how it was built. */
static void replace_writes(bool replace)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    static const char *const at[] = { "pwrite", "pwrite64" };

    vfs->xSetSystemCall(vfs, "write", replace ? (sqlite3_syscall_ptr)write_unless_full : NULL);
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        vfs->xSetSystemCall(vfs, at[i], replace ? (sqlite3_syscall_ptr)write_at_unless_full : NULL);
}

static sqlite3 *open_small_cache(const char *path)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, gather_vfs()), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                                  "PRAGMA synchronous=FULL; PRAGMA cache_size=10;"
                                  "PRAGMA wal_autocheckpoint=0;"
                                  "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, u TEXT UNIQUE)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    return db;
}

/* A transaction that outgrew its cache has pages in the log, some of them held back here, and reads
 * them again: the read is where the full disk is met. What goes on then must not be committed
 * without those pages. */
static void a_transaction_whose_pages_found_no_room_is_undone_as_a_whole(void **state)
{
    struct place *place = *state;
    sqlite3 *db = open_small_cache(place->path);

    replace_writes(true);
    int filled =
        sqlite3_exec(db,
                     "BEGIN IMMEDIATE; WITH RECURSIVE c (i) AS (VALUES (1) UNION ALL SELECT i + 1"
                     " FROM c WHERE i < 60) INSERT INTO t SELECT i, printf('%01000d', i), i FROM c",
                     NULL, NULL, NULL);
    refused_writes = 1;
    errno = 0;
    int failed = sqlite3_exec(db, "UPDATE t SET u = u || 'x' WHERE id < 20", NULL, NULL, NULL);
    int error = errno;
    unsigned left = refused_writes;
    refused_writes = 0;
    bool is_undone = sqlite3_get_autocommit(db) != 0;
    replace_writes(false);
    sqlite3_close(db);
    assert_int_equal(filled, SQLITE_OK);
    assert_int_equal(left, 0);
    assert_int_equal(failed & 0xff, SQLITE_IOERR);
    assert_int_equal(error, ENOSPC); /* by this db.c knows that the disk was full */
    assert_true(is_undone);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_is_written_end_to_end_goes_below_with_the_sync),
        TEST(it_is_always_what_it_was_told_to_be),
        TEST(what_follows_a_few_reads_is_read_with_them),
        TEST(the_end_is_read_page_by_page),
        TEST(a_write_that_fails_late_fails_the_sync_and_is_forgotten),
        TEST(a_transaction_whose_pages_found_no_room_is_undone_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
