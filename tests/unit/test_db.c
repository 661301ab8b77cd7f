/* test_db.c - what is opened and what is refused, migrations, and what survives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/db.h"
#include "relay/base/log.h"
#include "relay/base/macros.h"

static const char *const steps[] = {
    "CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE extra (id INTEGER PRIMARY KEY); INSERT INTO extra VALUES (7)",
};

static const char insert_sql[] = "INSERT INTO item (id, body) VALUES (?1, zeroblob(?2))";
static const char count_sql[] = "SELECT count(*) FROM item";

struct place {
    char folder[128];
    char path[160], log[168], shm[168];
    struct db_options options;
    struct why why;
};

static void ignore_line(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static int make_place(void **state)
{
    struct place *place = xcalloc(1, sizeof(*place));
    const char *tmp = getenv("TMPDIR");

    snprintf(place->folder, sizeof(place->folder), "%.90s/latchpost-db-XXXXXX",
             tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(place->folder) == NULL)
        return -1;
    snprintf(place->path, sizeof(place->path), "%s/test.db", place->folder);
    snprintf(place->log, sizeof(place->log), "%s-wal", place->path);
    snprintf(place->shm, sizeof(place->shm), "%s-shm", place->path);
    place->options = (struct db_options){ .path = place->path,
                                          .steps = steps,
                                          .step_count = 2,
                                          .application_id = 0x4c504b31,
                                          .cache_kib = 1024 };
    log_divert(ignore_line, NULL);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;

    log_divert(NULL, NULL);
    unlink(place->path);
    unlink(place->log);
    unlink(place->shm);
    int error = rmdir(place->folder); /* fails when anything else was left there */
    free(place);
    return error;
}

static struct db *open_place(struct place *place)
{
    struct db *db = NULL;

    if (!db_open(&db, &place->options, &place->why))
        fail_msg("%s", place->why.text);
    return db;
}

static void assert_refused(struct place *place, const char *reason)
{
    struct db *db = NULL;

    place->why.text[0] = '\0';
    if (db_open(&db, &place->options, &place->why))
        fail_msg("opened, want a refusal with '%s'", reason);
    assert_null(db);
    if (strstr(place->why.text, reason) == NULL || strstr(place->why.text, place->path) == NULL)
        fail_msg("refused with '%s', want '%s' and the path", place->why.text, reason);
}

static enum db_result insert(struct db *db, int64_t id, int size)
{
    sqlite3_stmt *statement = db_prepare(db, insert_sql);

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int(statement, 2, size);
    return db_run(db, statement);
}

static int64_t count_items(struct db *db)
{
    sqlite3_stmt *statement = db_prepare(db, count_sql);

    assert_int_equal(db_step(db, statement), DB_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return count;
}

static char *pragma_text(struct db *db, const char *name)
{
    char sql[64];
    sqlite3_stmt *statement;

    snprintf(sql, sizeof(sql), "PRAGMA %s", name);
    assert_int_equal(sqlite3_prepare_v2(db_handle(db), sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    char *text = xstrdup((const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return text;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void a_new_database_is_private_and_set_up_as_we_want(void **state)
{
    static const struct {
        const char *pragma, *want;
    } cases[] = {
        { "journal_mode", "wal" },     { "locking_mode", "exclusive" },
        { "synchronous", "2" },        { "page_size", "4096" },
        { "wal_autocheckpoint", "0" }, { "journal_size_limit", "-1" },
        { "secure_delete", "0" },      { "temp_store", "2" },
        { "cache_size", "-1024" },     { "foreign_keys", "0" },
        { "trusted_schema", "0" },     { "cell_size_check", "1" },
        { "user_version", "2" },       { "application_id", "1280330545" },
    };
    struct place *place = *state;
    struct stat info;

    mode_t mask = umask(0);
    struct db *db = open_place(place);
    assert_int_equal(insert(db, 1, 10), DB_OK);
    umask(mask);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = pragma_text(db, cases[i].pragma);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s is %s, want %s", cases[i].pragma, got, cases[i].want);
        free(got);
    }
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(stat(place->log, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_not_equal(stat(place->shm, &info), 0);
    assert_true(db_close(db, &place->why));
    assert_int_not_equal(stat(place->log, &info), 0);
    place->options.secure_delete = true;
    db = open_place(place);
    char *secure = pragma_text(db, "secure_delete");
    assert_string_equal(secure, "1");
    free(secure);
    assert_int_equal(count_items(db), 1);
    assert_true(db_close(db, &place->why));
    assert_true(db_close(NULL, &place->why));
}

static void a_useless_umask_does_not_matter(void **state)
{
    struct place *place = *state;
    mode_t mask = umask(0777);
    struct db *db = open_place(place);

    umask(mask);
    assert_true(db_close(db, &place->why));
}

static void migrations_run_once_and_each_in_full(void **state)
{
    const char *three[3] = { steps[0], steps[1],
                             "CREATE TABLE third (x); INSERT INTO gone VALUES (1)" };
    struct place *place = *state;

    place->options.step_count = 1;
    assert_true(db_close(open_place(place), &place->why));
    place->options.step_count = 2;
    assert_true(db_close(open_place(place), &place->why));
    place->options.steps = three;
    place->options.step_count = 3;
    assert_refused(place, "version 3");
    assert_refused(place, "gone"); /* says what SQLite says, and left nothing of step 3 behind */
    three[2] = "CREATE TABLE third (x)";
    struct db *db = open_place(place);
    char *version = pragma_text(db, "user_version");
    assert_string_equal(version, "3");
    free(version);
    assert_true(db_close(db, &place->why));
    place->options.step_count = 2;
    assert_refused(place, "newer latchpost");
}

static void the_database_of_another_program_is_left_alone(void **state)
{
    struct place *place = *state;
    sqlite3 *other;
    struct stat before, after;

    assert_int_equal(sqlite3_open(place->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    chmod(place->path, 0600);
    stat(place->path, &before);
    assert_refused(place, "another program");
    stat(place->path, &after);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    assert_int_equal(before.st_size, after.st_size);
}

static void what_is_not_a_sound_database_is_refused_and_kept(void **state)
{
    static const char zeros[8192];
    struct place *place = *state;
    struct stat info;

    write_file(place->path, "This is a letter, not a database.\n", 34);
    assert_refused(place, "not an SQLite database");
    write_file(place->path, zeros, sizeof(zeros));
    assert_refused(place, "not an SQLite database");
    write_file(place->path, "SQ", 2);
    assert_refused(place, "not an SQLite database");
    stat(place->path, &info);
    assert_int_equal(info.st_size, 2);

    unlink(place->path);
    struct db *db = open_place(place);
    for (int64_t i = 0; i < 50; i++)
        assert_int_equal(insert(db, i, 4000), DB_OK);
    assert_true(db_close(db, &place->why));
    stat(place->path, &info);
    assert_int_equal(truncate(place->path, info.st_size - 4096), 0);
    assert_refused(place, "damaged or cut short");
    assert_int_equal(truncate(place->path, 100), 0);
    assert_refused(place, place->path);
}

/* The header and all pages are sound, and yet a table has a column that nobody asks for. */
static void a_letter_of_the_schema_that_is_another_is_noticed(void **state)
{
    struct place *place = *state;
    char page[4096];

    assert_true(db_close(open_place(place), &place->why));
    int fd = open(place->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, page, sizeof(page), 0), sizeof(page));
    char *column = memmem(page, sizeof(page), "body BLOB", 9);
    assert_non_null(column);
    assert_int_equal(pwrite(fd, "z", 1, column - page), 1);
    close(fd);
    assert_refused(place, "its schema has no item.body");
}

static void a_log_without_its_database_is_not_thrown_away(void **state)
{
    struct place *place = *state;
    struct stat info;

    write_file(place->log, "precious", 8);
    assert_refused(place, "is empty or missing");
    assert_int_not_equal(stat(place->path, &info), 0);
    write_file(place->path, "", 0);
    assert_refused(place, "is empty or missing");
    stat(place->log, &info);
    assert_int_equal(info.st_size, 8);
    write_file(place->log, "", 0); /* nothing to lose */
    assert_true(db_close(open_place(place), &place->why));
}

static void a_file_that_others_can_reach_is_refused(void **state)
{
    static const mode_t modes[] = { 0640, 0660, 0604, 0601, 0620 };
    struct place *place = *state;

    assert_true(db_close(open_place(place), &place->why));
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        chmod(place->path, modes[i]);
        assert_refused(place, "run chmod 600");
    }
    chmod(place->path, 0600);
    assert_true(db_close(open_place(place), &place->why));
    unlink(place->path);
    assert_int_equal(mkdir(place->path, 0700), 0);
    assert_refused(place, "not a regular file");
    rmdir(place->path);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    struct place *place = *state;

    place->options.path = "/nonexistent/folder/test.db";
    struct db *db = NULL;
    assert_false(db_open(&db, &place->options, &place->why));
    assert_non_null(strstr(place->why.text, "/nonexistent/folder/test.db"));
    assert_non_null(strstr(place->why.text, "No such file"));
}

/* In a child: opens and says how that went, by its exit code. */
static int try_in_child(struct place *place)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct db *db = NULL;
        if (db_open(&db, &place->options, &place->why))
            _exit(0);
        _exit(strstr(place->why.text, "in use by another latchpost") != NULL ? 1 : 2);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_second_opener_hears_who_is_first(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);

    assert_int_equal(try_in_child(place), 1);
    assert_refused(place, "in use by another latchpost"); /* in this process, too, and then: */
    assert_int_equal(try_in_child(place), 1);             /* the attempt did not drop our lock */
    assert_int_equal(insert(db, 1, 10), DB_OK);
    assert_int_equal(try_in_child(place), 1);
    assert_true(db_close(db, &place->why));
    db = open_place(place); /* an existing database, in which nothing was written yet */
    assert_int_equal(try_in_child(place), 1);
    assert_true(db_close(db, &place->why));
    assert_int_equal(try_in_child(place), 0);
}

static void what_was_committed_survives_a_kill(void **state)
{
    struct place *place = *state;
    int ends[2], status;
    char byte;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct db *db = NULL;
        if (!db_open(&db, &place->options, &place->why) || db_begin(db) != DB_OK ||
            insert(db, 1, 10) != DB_OK || insert(db, 2, 100000) != DB_OK ||
            db_commit(db) != DB_OK || db_begin(db) != DB_OK || insert(db, 3, 10) != DB_OK)
            _exit(1);
        if (write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    struct db *db = open_place(place);
    assert_int_equal(count_items(db), 2);
    assert_int_equal(db_log_pages(db), 0); /* opening brought the log in */
    assert_true(db_close(db, &place->why));
}

static void statements_are_kept_and_come_reset(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);
    sqlite3_stmt *statement = db_prepare(db, insert_sql);

    sqlite3_bind_int64(statement, 1, 1);
    sqlite3_bind_int64(statement, 2, 5);
    assert_int_equal(db_run(db, statement), DB_OK);
    assert_ptr_equal(db_prepare(db, insert_sql), statement);
    assert_int_equal(db_run(db, statement), DB_OK); /* without the old id, so it gets a new one */
    assert_int_equal(sqlite3_last_insert_rowid(db_handle(db)), 2);
    assert_int_equal(insert(db, 2, 5), DB_FAILED);
    assert_non_null(strstr(db_error(db), place->path));
    assert_non_null(strstr(db_error(db), "UNIQUE"));
    statement = db_prepare(db, count_sql);
    assert_int_equal(db_step(db, statement), DB_ROW);
    assert_ptr_equal(db_prepare(db, count_sql), statement);
    assert_int_equal(db_step(db, statement), DB_ROW);
    assert_int_equal(sqlite3_column_int64(statement, 0), 2);
    assert_int_equal(db_step(db, NULL), DB_FAILED);
    assert_true(db_close(db, &place->why)); /* with a statement in the middle of its rows */
}

static void a_transaction_is_all_or_nothing(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);

    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 1, 10), DB_OK);
    db_rollback(db);
    db_rollback(db);
    assert_int_equal(count_items(db), 0);
    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 1, 10), DB_OK);
    assert_int_equal(insert(db, 1, 10), DB_FAILED); /* this statement only */
    assert_int_equal(insert(db, 2, 10), DB_OK);
    assert_int_equal(db_commit(db), DB_OK);
    assert_int_equal(count_items(db), 2);
    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 3, 10), DB_OK);
    assert_true(db_close(db, &place->why)); /* what was not committed is not there */
    db = open_place(place);
    assert_int_equal(count_items(db), 2);
    assert_true(db_close(db, &place->why));
}

static void the_log_is_counted_brought_in_and_reused(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);
    struct stat before, after;

    assert_int_equal(db_log_pages(db), 0);
    for (int64_t i = 0; i < 100; i++)
        assert_int_equal(insert(db, i, 4000), DB_OK);
    int pages = db_log_pages(db);
    assert_true(pages >= 100);
    stat(place->log, &before);
    assert_int_equal(db_checkpoint(db), DB_OK);
    assert_int_equal(db_log_pages(db), 0);
    assert_int_equal(insert(db, 100, 4000), DB_OK);
    assert_true(db_log_pages(db) > 0 && db_log_pages(db) < pages);
    stat(place->log, &after);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(db_checkpoint(db), DB_OK);
    assert_true(db_close(db, &place->why));
}

/* A full disk is played by SQLite's own limit on pages, which fails in the same way. */
static void a_full_disk_undoes_the_whole_transaction(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);

    assert_int_equal(insert(db, 1, 10), DB_OK);
    assert_int_equal(sqlite3_exec(db_handle(db), "PRAGMA max_page_count=20", NULL, NULL, NULL), 0);
    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 2, 10), DB_OK);
    assert_int_equal(insert(db, 3, 1000000), DB_FULL);
    assert_non_null(strstr(db_error(db), "disk is full"));
    assert_true(sqlite3_get_autocommit(db_handle(db)));
    assert_int_equal(insert(db, 4, 10), DB_FULL); /* would be a transaction of its own */
    assert_int_equal(db_commit(db), DB_FULL);
    assert_int_equal(count_items(db), 1);
    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 5, 10), DB_OK);
    assert_int_equal(db_commit(db), DB_OK);
    assert_int_equal(count_items(db), 2);
    assert_true(db_close(db, &place->why));
}

/* And by a limit on the size of files, which the write of a commit or checkpoint runs into. */
static void a_disk_that_fills_up_at_the_commit_keeps_what_was_there(void **state)
{
    struct place *place = *state;
    struct db *db = open_place(place);
    struct rlimit old, tight;
    struct stat info;

    for (int64_t i = 0; i < 20; i++)
        assert_int_equal(insert(db, i, 4000), DB_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    stat(place->log, &info);
    tight = (struct rlimit){ (rlim_t)info.st_size + 8000, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(db_begin(db), DB_OK);
    assert_int_equal(insert(db, 100, 20000), DB_OK); /* in memory */
    enum db_result committed = db_commit(db);
    int64_t count = count_items(db);
    tight.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum db_result brought_in = db_checkpoint(db);
    bool closed_well = db_close(db, &place->why);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(committed, DB_FULL);
    assert_int_equal(count, 20);
    assert_int_equal(brought_in, DB_FULL);
    assert_false(closed_well);
    assert_non_null(strstr(place->why.text, "disk is full"));
    db = open_place(place); /* the log had it all */
    assert_int_equal(count_items(db), 20);
    assert_int_equal(insert(db, 100, 20000), DB_OK);
    assert_true(db_close(db, &place->why));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_new_database_is_private_and_set_up_as_we_want),
        TEST(a_useless_umask_does_not_matter),
        TEST(migrations_run_once_and_each_in_full),
        TEST(the_database_of_another_program_is_left_alone),
        TEST(what_is_not_a_sound_database_is_refused_and_kept),
        TEST(a_letter_of_the_schema_that_is_another_is_noticed),
        TEST(a_log_without_its_database_is_not_thrown_away),
        TEST(a_file_that_others_can_reach_is_refused),
        TEST(a_folder_that_is_not_there_is_named),
        TEST(a_second_opener_hears_who_is_first),
        TEST(what_was_committed_survives_a_kill),
        TEST(statements_are_kept_and_come_reset),
        TEST(a_transaction_is_all_or_nothing),
        TEST(the_log_is_counted_brought_in_and_reused),
        TEST(a_full_disk_undoes_the_whole_transaction),
        TEST(a_disk_that_fills_up_at_the_commit_keeps_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
