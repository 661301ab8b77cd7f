/* test_db_schema.c - what of a schema may be missing, and what may be there besides? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "relay/base/db_schema.h"
#include "relay/base/macros.h"

static const char *const steps[] = {
    "CREATE TABLE message (id INTEGER PRIMARY KEY, sender TEXT NOT NULL, due_ms INTEGER) STRICT;"
    "CREATE TABLE recipient (message INTEGER, position INTEGER, PRIMARY KEY (message, position))"
    " STRICT, WITHOUT ROWID;"
    "CREATE INDEX message_due ON message(due_ms) WHERE due_ms IS NOT NULL;",
    "CREATE TABLE gone (id INTEGER PRIMARY KEY) STRICT;"
    "ALTER TABLE message ADD COLUMN size INTEGER;",
    "DROP TABLE gone;",
};

static sqlite3 *make(const char *change)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        assert_int_equal(sqlite3_exec(db, steps[i], NULL, NULL, NULL), SQLITE_OK);
    if (sqlite3_exec(db, change, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", change, sqlite3_errmsg(db));
    return db;
}

static void what_the_migrations_made_must_be_there(void **state)
{
    static const struct {
        const char *change, *missing; /* NULL: nothing is */
    } rows[] = {
        { "", NULL },
        { "DROP TABLE recipient", "recipient.message" },
        { "DROP INDEX message_due", "message_due" },
        { "ALTER TABLE message RENAME COLUMN sender TO senber", "message.sender" },
        { "ALTER TABLE message DROP COLUMN size", "message.size" },
        { "ALTER TABLE recipient RENAME TO recipjent", "recipient.message" },
        { "DROP TABLE message; DROP TABLE recipient", "message.due_ms" },
        { "CREATE TABLE zzz (x)", NULL },
        { "CREATE TABLE aaa (x); CREATE INDEX message_by_me ON message(size)", NULL },
        { "ALTER TABLE message ADD COLUMN note TEXT", NULL },
        { "ANALYZE", NULL },
        { "CREATE VIEW v AS SELECT * FROM message", NULL },
        { "DROP INDEX message_due; CREATE VIEW message_due AS SELECT 1", "message_due" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        sqlite3 *db = make(rows[i].change);
        struct why why = { "" };
        char want[64];
        bool ok = db_schema_is_whole(db, "/var/x.db", steps, ARRAY_LEN(steps), &why);

        snprintf(want, sizeof(want), "no %s)", rows[i].missing == NULL ? "" : rows[i].missing);
        if (ok != (rows[i].missing == NULL))
            fail_msg("%s: %s", rows[i].change, ok ? "nothing is missing" : why.text);
        if (!ok && (strstr(why.text, want) == NULL || strstr(why.text, "/var/x.db") == NULL))
            fail_msg("%s: %s", rows[i].change, why.text);
        sqlite3_close(db);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_migrations_made_must_be_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
