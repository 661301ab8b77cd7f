/* db.h - an SQLite database of ours, opened the one way we open them.
 * SQLite before 3.51.3 can corrupt a WAL database when one connection writes while another
 * checkpoints. So each database has exactly one connection, EXCLUSIVE is set before WAL (which also
 * keeps other processes out), and checkpoints run only where db_checkpoint() is called. A struct db
 * belongs to one thread at a time. Only stores (auth/..store, queue/..store) use this. */
#ifndef LATCHPOST_DB_H
#define LATCHPOST_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "relay/base/macros.h"
#include "relay/base/why.h"

struct db;

struct db_options {
    const char *path;
    /* steps[i] is the SQL that brings schema version i to i + 1; each runs in a transaction of its
     * own together with the new PRAGMA user_version. */
    const char *const *steps;
    size_t step_count;
    int application_id; /* PRAGMA application_id: another program's database is refused */
    bool secure_delete; /* overwrite what is deleted (keys); off where speed matters (queue) */
    int cache_kib;
};

/* Opens or creates (mode 0600) and migrates; what a log holds is first put on the disk. Refuses,
 * with the reason: a log that cannot be, a database of a newer version or of another program, one
 * without all that the migrations make, one that another process holds ("... is in use by another
 * latchpost"), a file that group or others may read or write, or that is not ours. Never creates a
 * database beside a broken one. */
bool db_open(struct db **db, const struct db_options *options, struct why *why);
/* Checkpoints, truncates the log and closes. Accepts NULL. False (and closed all the same) when
 * the last checkpoint failed: nothing is lost, the log still has it. */
bool db_close(struct db *db, struct why *why);

sqlite3 *db_handle(struct db *db); /* borrowed */

/* A prepared statement, kept for the life of the db and found again by the address of its text:
 * pass a string constant. It comes reset, with its bindings cleared. Aborts on SQL that does not
 * compile: that is a bug of ours. NULL, which sqlite3_bind_*() and db_step() answer with failure,
 * in the one other case: the disk failed while SQLite looked at the schema. */
sqlite3_stmt *db_prepare(struct db *db, const char *sql);

/* The result of a step or commit. FULL: the disk has no room; BUSY never happens. A constraint that
 * does not hold is FAILED too: where that can happen, say so in the SQL (ON CONFLICT). */
enum db_result { DB_OK, DB_ROW, DB_FULL, DB_FAILED };
/* Logs what SQLite says. A statement left before DB_OK must be reset: an open read keeps the log
 * from being reused. Once a failure has undone the transaction (a full disk does), all steps up to
 * its end return that failure. */
enum db_result db_step(struct db *db, sqlite3_stmt *statement);
/* While quiet, a failure is told by its result alone: for whoever feels his way along a damaged
 * place, whose first failure was logged. */
void db_set_quiet(struct db *db, bool quiet);
/* Steps a statement that returns no row, then resets it. */
enum db_result db_run(struct db *db, sqlite3_stmt *statement);

enum db_result db_begin(struct db *db) MUST_USE; /* BEGIN IMMEDIATE */
/* Returns after the sync (synchronous=FULL). When it fails, all is rolled back. */
enum db_result db_commit(struct db *db) MUST_USE;
void db_rollback(struct db *db); /* harmless when nothing was begun */
/* Did the last commit fail in a way that may have left all of the transaction in the log (a sync
 * that failed, for want of room too)? It is rolled back here, but whoever opens the database next
 * may find it there. */
bool db_is_in_doubt(const struct db *db);

/* Pages in the log, as of the last commit or checkpoint (0: the log is reused from its start); and
 * bring them into the database file. Call the latter when nobody waits and nothing is begun. */
int db_log_pages(const struct db *db);
enum db_result db_checkpoint(struct db *db);

/* The sentence behind the last failure. Borrowed until the next call. */
const char *db_error(const struct db *db);

#endif
