/* queue_store_priv.h - what the files of the store share; the only ones that know SQLite. */
#ifndef LATCHPOST_QUEUE_STORE_PRIV_H
#define LATCHPOST_QUEUE_STORE_PRIV_H

#include "queue/queue_store.h"
#include "relay/base/db.h"

/* message.flags */
#define STORE_EIGHT_BIT 1
#define STORE_SANDBOX   2
#define STORE_ATTEMPT   4  /* an attempt has begun, and nothing is known of its end */
#define STORE_NOTICED   8  /* the sender has been told of the delay */
#define STORE_RESERVED  16 /* the operator holds it, and nobody else lets it go */
/* Set in each row, so that the number is always one byte wide: then setting another flag writes one
 * page, while a row that changes its length is written anew with all of its content. */
#define STORE_ALWAYS 64

enum store_result store_result_of(enum db_result result);

/* Runs a statement that returns no row. */
enum store_result store_run(struct store *store, sqlite3_stmt *statement);
/* The same for one whose only parameter is a message. */
enum store_result store_run_for(struct store *store, const char *sql, int64_t id);

/* Did the last statement find a row to write? */
static inline bool store_changed_a_row(const struct store *store)
{
    return sqlite3_changes(db_handle(store->db)) > 0;
}

/* queue_store_time.c: the largest id that store_use_id() was told of; written with the commit. */
enum store_result store_load_used_id(struct store *store);
enum store_result store_save_used_id(struct store *store);

/* Counts `messages` more (or fewer) of this size in this state, from the commit on. */
void store_count(struct store *store, enum queue_state state, int messages, uint64_t size);

#endif
