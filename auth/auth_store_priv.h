/* auth_store_priv.h - the inside of keys.db's store, for auth_store*.c only. */
#ifndef LATCHPOST_AUTH_STORE_PRIV_H
#define LATCHPOST_AUTH_STORE_PRIV_H

#include "auth/auth_priv.h"
#include "relay/base/db.h"

struct auth_store {
    struct db *db;
    char *path;
};

/* The words of the enums in the tables. */
extern const char *const auth_store_state_words[];

void auth_store_bind_text(sqlite3_stmt *st, int i, const char *text);
bool auth_store_run(struct auth_store *store, sqlite3_stmt *st); /* steps and resets */
bool auth_store_begin(struct auth_store *store, struct why *why);
/* Ends what auth_store_begin() began: commits when all went well so far. */
bool auth_store_finish(struct auth_store *store, bool ok, struct why *why);
bool auth_store_insert_audit(struct auth_store *store, const struct audit *audit);

#endif
