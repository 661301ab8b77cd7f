/* db_schema.h - is everything there that the migrations have made? For db.c only. */
#ifndef LATCHPOST_DB_SCHEMA_H
#define LATCHPOST_DB_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include <sqlite3.h>

#include "relay/base/why.h"

/* False and why: a table, column or index of these migrations is missing, or the schema cannot be
 * read. Costs a millisecond. */
bool db_schema_is_whole(sqlite3 *handle, const char *path, const char *const *steps, size_t count,
                        struct why *why);

#endif
