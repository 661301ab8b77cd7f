/* queue_store_column.h - what does this column of this row say, whatever stands in it?
 * A damaged file may have filled it with anything, of any type. What is read is brought into a
 * range in which sums and differences can be taken, so that nothing a file says can overflow. Only
 * the files of the store use this. */
#ifndef LATCHPOST_QUEUE_STORE_COLUMN_H
#define LATCHPOST_QUEUE_STORE_COLUMN_H

#include <sqlite3.h>

#include "queue/queue.h"
#include "queue/timeline.h"

/* The clocks of the queue may be ahead of all calendars by the times for which nobody was there. */
#define COLUMN_TIME_MAX_MS  (2 * TIMELINE_LAST_MS)
#define COLUMN_ATTEMPTS_MAX 1000000 /* nobody counts on */

const char *column_text(sqlite3_stmt *statement, int column); /* "" for NULL; until the next step */
char *column_word(sqlite3_stmt *statement, int column);       /* the same, to be freed */
char *column_dup(sqlite3_stmt *statement, int column);        /* to be freed; NULL for NULL */
/* The same, as much of it as there is room for. */
void column_copy(sqlite3_stmt *statement, int column, char *to, size_t size);

/* QUEUE_FAILED_FOR_GOOD for what is no state: it is never delivered. */
enum queue_state column_state(sqlite3_stmt *statement, int column);
/* 0 for NULL, 1 for what is before 1970. */
int64_t column_time(sqlite3_stmt *statement, int column);
uint64_t column_size(sqlite3_stmt *statement, int column);
unsigned column_attempts(sqlite3_stmt *statement, int column);

#endif
