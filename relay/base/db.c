/* db.c - an SQLite database of ours, opened the one way we open them.
 *
 * Opening, in this order: (1) the file: there, or created empty with mode 0600; ours alone; not an
 * empty file beside a log that still holds data. (2) EXCLUSIVE is set and the first read takes the
 * lock, so a second process is refused here. (3) Whose database and which version it is, before
 * anything is written to it. (4) WAL and the other pragmas. (5) What the log holds is put on the
 * disk. (6) The missing migrations, and then whether all that they made is there (db_schema.c).
 * Nothing here reads more than the schema and the log, so opening takes no longer when the queue is
 * deep.
 *
 * The file is looked at with stat(2) and never opened beside SQLite: POSIX drops all locks that a
 * process has on a file when the process closes any descriptor of it.
 *
 * Durability: synchronous=FULL syncs the log in each commit. The log is brought into the database
 * file by db_checkpoint() only, is reused in place, and is removed by db_close(). A log that is
 * found at the opening was left by a process that died before it could sync, or by one whose sync
 * failed: then Linux counts the lost pages as clean, shows them to whoever reads, and has nothing
 * to do at the next sync. What is read from such a log would be built upon, and be gone after a
 * power cut, with what was built upon it. So all of it is written once more, and synced, before
 * anything comes of it. */
#include "relay/base/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/db_schema.h"
#include "relay/base/gather.h"
#include "relay/base/log.h"

struct statement {
    const char *sql; /* found again by this address */
    sqlite3_stmt *handle;
};

struct db {
    sqlite3 *handle;
    char *path;
    struct statement *statements;
    size_t statement_count, statement_capacity;
    int log_pages;         /* as of the last commit or checkpoint */
    bool begun;            /* between db_begin() and its end */
    enum db_result broken; /* not DB_OK: this failure made SQLite roll back what was begun */
    bool quiet;            /* failures are not logged */
    bool in_doubt;         /* see db_is_in_doubt() */
    struct why error;
};

/* --- failures -------------------------------------------------------------------------------- */

/* SQLite says FULL when a write found no room. When the room was taken away by a quota or a limit
 * on files, or only the sync found out, it says I/O error, and errno tells the cause. (What
 * sqlite3_system_errno() returns was also errno, but it is not kept up to date by a commit.) So
 * each call of SQLite that may touch the disk starts with errno = 0. */
static bool is_disk_full(int code, int error)
{
    return (code & 0xff) == SQLITE_FULL || ((code & 0xff) == SQLITE_IOERR &&
                                            (error == ENOSPC || error == EDQUOT || error == EFBIG));
}

/* One sentence on the last failure of the handle: what we were doing, and what to do about it. */
static bool explain(const struct db *db, const char *action, struct why *why)
{
    int error = errno, code = sqlite3_extended_errcode(db->handle);
    const char *message = sqlite3_errmsg(db->handle);

    if (is_disk_full(code, error))
        return why_set(why, "%s: the disk is full (while trying to %s): make room", db->path,
                       action);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return why_set(why, "%s is in use by another latchpost: stop that one first", db->path);
    case SQLITE_NOTADB:
        return why_set(why,
                       "%s is not an SQLite database: restore it from a backup, or move it away",
                       db->path);
    case SQLITE_CORRUPT:
        return why_set(why, "%s is damaged or cut short (%s): restore it from a backup", db->path,
                       message);
    default:
        return why_set(why, "%s: cannot %s: %s (SQLite code %d)", db->path, action, message, code);
    }
}

static enum db_result failed(struct db *db, int code, const char *action)
{
    enum db_result result = is_disk_full(code, errno) ? DB_FULL : DB_FAILED;

    explain(db, action, &db->error);
    if (!db->quiet)
        LOG(LOG_ERROR, "database_failed", LOG_STR("path", db->path), LOG_STR("action", action),
            LOG_STR("result", result == DB_FULL ? "full" : "failed"), LOG_INT("code", code),
            LOG_STR("message", sqlite3_errmsg(db->handle)));
    if (db->begun && sqlite3_get_autocommit(db->handle))
        db->broken = result;
    return result;
}

/* --- the file -------------------------------------------------------------------------------- */

static bool check_file_is_ours(const char *path, const struct stat *info, struct why *why)
{
    if (!S_ISREG(info->st_mode))
        return why_set(why, "%s is not a regular file", path);
    if (info->st_uid != geteuid())
        return why_set(why, "%s belongs to user id %u, not to user id %u who runs latchpost", path,
                       (unsigned)info->st_uid, (unsigned)geteuid());
    if ((info->st_mode & 077) != 0)
        return why_set(why, "%s may be used by group or others (mode %04o): run chmod 600 %s", path,
                       (unsigned)info->st_mode & 07777, path);
    return true;
}

/* SQLite throws a log away that lies beside an empty file. If it holds anything, somebody lost the
 * database itself, and the log is the last there is of it. */
static bool check_no_orphaned_log(const char *path, struct why *why)
{
    char *log = xasprintf("%s-wal", path);
    struct stat info;
    bool ok = stat(log, &info) != 0 || info.st_size == 0;

    if (!ok)
        why_set(why,
                "%s is empty or missing, but its log %s is not: restore both, or move the log "
                "away",
                path, log);
    free(log);
    return ok;
}

/* The mode is set apart from the creation, because the umask may be stricter than is of use. */
static bool create_file(const char *path, struct why *why)
{
    bool ok = false;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return why_errno(why, errno, "cannot create %s", path);
    ok = fchmod(fd, 0600) == 0 || why_errno(why, errno, "cannot set the mode of %s", path);
    if (close(fd) != 0)
        ok = why_errno(why, errno, "cannot create %s", path);
    return ok;
}

static bool prepare_file(const char *path, struct why *why)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        if (errno != ENOENT)
            return why_errno(why, errno, "cannot open %s", path);
        return check_no_orphaned_log(path, why) && create_file(path, why);
    }
    if (!check_file_is_ours(path, &info, why))
        return false;
    /* A file of one byte is empty to SQLite. */
    return info.st_size > 1 || check_no_orphaned_log(path, why);
}

/* --- opening --------------------------------------------------------------------------------- */

static bool execute(struct db *db, const char *sql, const char *action, struct why *why)
{
    errno = 0;
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return explain(db, action, why);
}

/* The first column of the first row: as a number, and as a word of at most 15 characters. */
struct answer {
    int64_t number;
    char word[16];
};

static bool ask(struct db *db, const char *sql, const char *action, struct answer *answer,
                struct why *why)
{
    bool ok = false;
    sqlite3_stmt *statement = NULL;

    errno = 0;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        explain(db, action, why);
        goto out;
    }
    const unsigned char *text = sqlite3_column_text(statement, 0);
    snprintf(answer->word, sizeof(answer->word), "%s", text == NULL ? "" : (const char *)text);
    answer->number = sqlite3_column_int64(statement, 0);
    ok = true;
out:
    sqlite3_finalize(statement);
    return ok;
}

static bool open_handle(struct db *db, struct why *why)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

    errno = 0;
    if (sqlite3_open_v2(db->path, &db->handle, flags, gather_vfs()) != SQLITE_OK)
        return db->handle == NULL ? why_set(why, "%s: cannot open: out of memory", db->path)
                                  : explain(db, "open it", why);
    if (sqlite3_db_readonly(db->handle, "main") != 0) /* SQLite falls back to that by itself */
        return why_set(why, "%s cannot be written to", db->path);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    /* A database that we refuse is left as it was found; db_close() decides about ours. */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return true;
}

/* Whose database is this, and can we read this version of it? A file without tables and numbers is
 * a new one, or one whose creation was cut off: it becomes ours. */
static bool check_identity(struct db *db, const struct db_options *options, bool *blank,
                           struct why *why)
{
    struct answer id, version, objects;

    if (!ask(db, "PRAGMA application_id", "read it", &id, why) ||
        !ask(db, "PRAGMA user_version", "read it", &version, why) ||
        !ask(db, "SELECT count(*) FROM sqlite_schema", "read its schema", &objects, why))
        return false;
    *blank = id.number == 0 && version.number == 0 && objects.number == 0;
    if (!*blank && id.number != options->application_id)
        return why_set(why, "%s belongs to another program (application_id %lld)", db->path,
                       (long long)id.number);
    if (version.number < 0 || (uint64_t)version.number > options->step_count)
        return why_set(
            why,
            "%s was made by a newer latchpost (version %lld, this one knows %zu): install "
            "that one",
            db->path, (long long)version.number, options->step_count);
    return true;
}

static bool enter_wal(struct db *db, struct why *why)
{
    struct answer mode;

    if (!ask(db, "PRAGMA journal_mode=WAL", "switch it to a write-ahead log", &mode, why))
        return false;
    if (strcmp(mode.word, "wal") != 0)
        return why_set(why, "%s: SQLite cannot keep a write-ahead log here (journal mode %s)",
                       db->path, mode.word);
    return true;
}

static int on_log_grown(void *owner, sqlite3 *handle, const char *name, int pages)
{
    struct db *db = owner;

    (void)handle;
    (void)name;
    db->log_pages = pages;
    return SQLITE_OK;
}

static int bring_in_log(struct db *db, int mode)
{
    int in_log = -1, brought = -1;

    errno = 0;
    int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &in_log, &brought);

    if (in_log >= 0) /* a log that was brought in completely is reused from its start */
        db->log_pages = brought == in_log ? 0 : in_log;
    return code;
}

static bool set_pragmas(struct db *db, const struct db_options *options, struct why *why)
{
    char sql[512];

    snprintf(sql, sizeof(sql),
             "PRAGMA synchronous=FULL;"
             "PRAGMA wal_autocheckpoint=0;"
             "PRAGMA journal_size_limit=-1;" /* a log in use is never cut: growing it costs more */
             "PRAGMA secure_delete=%s;"
             "PRAGMA temp_store=MEMORY;"
             "PRAGMA cache_size=%d;"
             "PRAGMA mmap_size=0;"
             "PRAGMA foreign_keys=OFF;"
             "PRAGMA cell_size_check=ON;",
             options->secure_delete ? "ON" : "OFF",
             options->cache_kib > 0 ? -options->cache_kib : -2048);
    if (!execute(db, sql, "set it up", why))
        return false;
    sqlite3_wal_hook(db->handle, on_log_grown, db); /* after wal_autocheckpoint, which unsets it */
    return true;
}

static int write_anew(sqlite3_file *file)
{
    char piece[64 * 1024];
    sqlite3_int64 size = 0;
    int code = file->pMethods->xFileSize(file, &size);

    for (sqlite3_int64 at = 0; at < size && code == SQLITE_OK; at += (int)sizeof(piece)) {
        int len = size - at < (int)sizeof(piece) ? (int)(size - at) : (int)sizeof(piece);
        code = file->pMethods->xRead(file, piece, len, at);
        if (code == SQLITE_OK)
            code = file->pMethods->xWrite(file, piece, len, at);
    }
    return size == 0 || code != SQLITE_OK ? code : file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

/* After the first read, which opened the log if there is one, and before the first write. */
static bool make_log_durable(struct db *db, struct why *why)
{
    sqlite3_file *log = NULL;

    errno = 0;
    int code = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (code == SQLITE_OK && log != NULL && log->pMethods != NULL)
        code = write_anew(log);
    if (code == SQLITE_OK)
        return true;
    if (is_disk_full(code, errno))
        return why_set(why, "%s: the disk is full (while trying to sync its log): make room",
                       db->path);
    return why_set(why, "%s: cannot read, write and sync its log: %s (SQLite code %d)", db->path,
                   sqlite3_errstr(code), code);
}

/* One migration, or the stamp that makes a blank file ours: all of it or nothing. */
static bool apply(struct db *db, const char *sql, const char *action, struct why *why)
{
    if (!execute(db, "BEGIN IMMEDIATE", action, why))
        return false;
    if (execute(db, sql, action, why) && execute(db, "COMMIT", action, why))
        return true;
    db_rollback(db);
    return false;
}

static bool migrate(struct db *db, const struct db_options *options, struct why *why)
{
    struct answer version;

    if (!ask(db, "PRAGMA user_version", "read it", &version, why))
        return false;
    for (size_t step = (size_t)version.number; step < options->step_count; step++) {
        char action[64];
        snprintf(action, sizeof(action), "bring it to version %zu", step + 1);
        char *sql = xasprintf("%s;PRAGMA user_version=%zu;", options->steps[step], step + 1);
        bool ok = apply(db, sql, action, why);
        free(sql);
        if (!ok)
            return false;
    }
    return true;
}

static bool open_database(struct db *db, const struct db_options *options, struct why *why)
{
    char stamp[64];
    bool blank;
    struct answer objects;

    snprintf(stamp, sizeof(stamp), "PRAGMA application_id=%d", options->application_id);
    if (!open_handle(db, why) ||
        !execute(db, "PRAGMA page_size=4096; PRAGMA locking_mode=EXCLUSIVE", "lock it", why) ||
        !check_identity(db, options, &blank, why) || !enter_wal(db, why) ||
        !set_pragmas(db, options, why) || !make_log_durable(db, why))
        return false;
    /* Empty, but it writes: from here on the lock is held whatever the file was before. */
    if (!apply(db, blank ? stamp : "", "lock it", why) || !migrate(db, options, why) ||
        !db_schema_is_whole(db->handle, db->path, options->steps, options->step_count, why))
        return false;
    /* A log that a crash left behind is brought in now. When the disk is too full for that, the
     * log is as good a place as before. */
    bring_in_log(db, SQLITE_CHECKPOINT_PASSIVE);
    /* The schema is in memory when this returns, so that db_prepare() needs no disk. */
    return ask(db, "SELECT count(*) FROM sqlite_schema", "read its schema", &objects, why);
}

static void free_db(struct db *db)
{
    for (size_t i = 0; i < db->statement_count; i++)
        sqlite3_finalize(db->statements[i].handle);
    int code = sqlite3_close(db->handle);
    assert(code == SQLITE_OK); /* else one of our own statements or blobs is still open */
    (void)code;
    free(db->statements);
    free(db->path);
    free(db);
}

bool db_open(struct db **out, const struct db_options *options, struct why *why)
{
    if (!prepare_file(options->path, why))
        return false;
    struct db *db = xcalloc(1, sizeof(*db));

    db->path = xstrdup(options->path);
    if (!open_database(db, options, why)) {
        free_db(db);
        return false;
    }
    *out = db;
    return true;
}

bool db_close(struct db *db, struct why *why)
{
    bool ok = true;

    if (db == NULL)
        return true;
    db_rollback(db);
    for (size_t i = 0; i < db->statement_count; i++)
        sqlite3_reset(
            db->statements[i].handle); /* an open read would keep the log from being cut */
    if (bring_in_log(db, SQLITE_CHECKPOINT_TRUNCATE) == SQLITE_OK)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL); /* removes it */
    else
        ok = explain(db, "bring its log in (nothing is lost, the next start will)", why);
    free_db(db);
    return ok;
}

sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

/* --- statements ------------------------------------------------------------------------------ */

static sqlite3_stmt *compile(struct db *db, const char *sql)
{
    sqlite3_stmt *handle = NULL;

    errno = 0;
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL);

    if (code == SQLITE_OK)
        return handle;
    failed(db, code, sql);
    if ((code & 0xff) == SQLITE_ERROR)
        abort(); /* it does not compile, and never will */
    return NULL;
}

sqlite3_stmt *db_prepare(struct db *db, const char *sql)
{
    for (size_t i = 0; i < db->statement_count; i++)
        if (db->statements[i].sql == sql) {
            sqlite3_reset(db->statements[i].handle);
            sqlite3_clear_bindings(db->statements[i].handle);
            return db->statements[i].handle;
        }
    sqlite3_stmt *handle = compile(db, sql);
    if (handle == NULL)
        return NULL;
    if (db->statement_count == db->statement_capacity) {
        db->statement_capacity = db->statement_capacity == 0 ? 16 : db->statement_capacity * 2;
        db->statements = xrealloc(db->statements, db->statement_capacity * sizeof(*db->statements));
    }
    db->statements[db->statement_count++] = (struct statement){ sql, handle };
    return handle;
}

/* After some failures SQLite rolls back by itself. What follows in the same transaction would then
 * be committed statement by statement, so it is refused until the caller has come to the end. */
enum db_result db_step(struct db *db, sqlite3_stmt *statement)
{
    if (db->broken != DB_OK)
        return db->broken;
    if (statement == NULL) /* db_prepare() could not read the schema, and has said so */
        return DB_FAILED;
    errno = 0;
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW)
        return DB_ROW;
    return code == SQLITE_DONE ? DB_OK : failed(db, code, sqlite3_sql(statement));
}

void db_set_quiet(struct db *db, bool quiet)
{
    db->quiet = quiet;
}

enum db_result db_run(struct db *db, sqlite3_stmt *statement)
{
    enum db_result result = db_step(db, statement);

    sqlite3_reset(statement);
    assert(result != DB_ROW);
    return result;
}

enum db_result db_begin(struct db *db)
{
    assert(!db->begun);
    enum db_result result = db_run(db, db_prepare(db, "BEGIN IMMEDIATE"));

    db->begun = result == DB_OK;
    return result;
}

enum db_result db_commit(struct db *db)
{
    assert(db->begun);
    enum db_result result = db_run(db, db_prepare(db, "COMMIT"));

    db->in_doubt = result != DB_OK && sqlite3_extended_errcode(db->handle) == SQLITE_IOERR_FSYNC;
    if (result != DB_OK)
        db_rollback(db);
    db->begun = false;
    return result;
}

/* What a failing rollback leaves is seen by the next db_begin(), which fails. */
void db_rollback(struct db *db)
{
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    db->begun = false;
    db->broken = DB_OK;
}

/* Where a write failed, the end of the transaction is not there, and what has no end counts for
 * nothing. */
bool db_is_in_doubt(const struct db *db)
{
    return db->in_doubt;
}

/* --- the log --------------------------------------------------------------------------------- */

int db_log_pages(const struct db *db)
{
    return db->log_pages;
}

enum db_result db_checkpoint(struct db *db)
{
    int code = bring_in_log(db, SQLITE_CHECKPOINT_PASSIVE);

    return code == SQLITE_OK ? DB_OK : failed(db, code, "bring its log in");
}

const char *db_error(const struct db *db)
{
    return db->error.text;
}
