/* queue_store_column.c - what does this column of this row say, whatever stands in it? */
#include "queue/queue_store_column.h"

#include <stdio.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

char *column_dup(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? NULL : xstrdup(text);
}

const char *column_text(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? "" : text;
}

char *column_word(sqlite3_stmt *statement, int column)
{
    return xstrdup(column_text(statement, column));
}

void column_copy(sqlite3_stmt *statement, int column, char *to, size_t size)
{
    snprintf(to, size, "%s", column_text(statement, column));
}

unsigned column_attempts(sqlite3_stmt *statement, int column)
{
    int64_t attempts = sqlite3_column_int64(statement, column);

    return attempts < 0                     ? 0
           : attempts > COLUMN_ATTEMPTS_MAX ? COLUMN_ATTEMPTS_MAX
                                            : (unsigned)attempts;
}

enum queue_state column_state(sqlite3_stmt *statement, int column)
{
    int64_t number = sqlite3_column_int64(statement, column);

    return state_is_stored(number) ? (enum queue_state)number : QUEUE_FAILED_FOR_GOOD;
}

int64_t column_time(sqlite3_stmt *statement, int column)
{
    int64_t ms = sqlite3_column_int64(statement, column);

    return ms < 0 ? 1 : ms > COLUMN_TIME_MAX_MS ? COLUMN_TIME_MAX_MS : ms;
}

uint64_t column_size(sqlite3_stmt *statement, int column)
{
    int64_t size = sqlite3_column_int64(statement, column);

    return size < 0 ? 0 : (uint64_t)size;
}
