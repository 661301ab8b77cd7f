/* db_schema.c - is everything there that the migrations have made?
 * The version in a file's header says what should be there, and one flipped bit in the text of the
 * schema makes another table of one, which every statement about it would meet long after the
 * start. So what is there is held against a database in memory, made by the same migrations: their
 * tables, columns and indexes, by name. What there is besides is none of our business. It reads
 * nothing but the schema. */
#include "relay/base/db_schema.h"

#include <string.h>

/* Nobody wants the automatic indexes, whose names follow from their tables. */
static const char list[] =
    "SELECT m.name || '.' || c.name FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c"
    " WHERE m.type = 'table'"
    " UNION ALL SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    " ORDER BY 1";

static const char *next_name(sqlite3_stmt *statement)
{
    return sqlite3_step(statement) == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0)
                                                 : NULL;
}

/* Both lists are in order. The first name that is missing, or NULL. */
static const char *find_missing(sqlite3_stmt *wanted, sqlite3_stmt *there)
{
    const char *name, *found = next_name(there);

    while ((name = next_name(wanted)) != NULL) {
        while (found != NULL && strcmp(found, name) < 0)
            found = next_name(there);
        if (found == NULL || strcmp(found, name) != 0)
            return name;
    }
    return NULL;
}

static bool make_model(sqlite3 *model, const char *const *steps, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (sqlite3_exec(model, steps[i], NULL, NULL, NULL) != SQLITE_OK)
            return false;
    return true;
}

bool db_schema_is_whole(sqlite3 *handle, const char *path, const char *const *steps, size_t count,
                        struct why *why)
{
    bool ok = false;
    sqlite3 *model = NULL;
    sqlite3_stmt *wanted = NULL, *there = NULL;

    if (sqlite3_open(":memory:", &model) != SQLITE_OK || !make_model(model, steps, count) ||
        sqlite3_prepare_v2(model, list, -1, &wanted, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(handle, list, -1, &there, NULL) != SQLITE_OK) {
        why_set(why, "%s: cannot check its schema: %s", path,
                sqlite3_errmsg(wanted == NULL ? model : handle));
        goto out;
    }
    const char *missing = find_missing(wanted, there);
    ok = missing == NULL ||
         why_set(why, "%s is damaged (its schema has no %s): restore it from a backup", path,
                 missing);
out:
    sqlite3_finalize(wanted);
    sqlite3_finalize(there);
    sqlite3_close(model);
    return ok;
}
