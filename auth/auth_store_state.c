/* auth_store_state.c - how do the rows of a key or an account change after its creation?
 * The statements behind rotation, revocation, hold and release, suspension and plans; the head of
 * auth_store.c says what holds for them all. A change of secrets also empties the write-ahead log,
 * so that the hash of a secret that ended is in no file any more. */
#include "auth/auth_store_priv.h"

#include "relay/base/log.h"

/* The pages that the log still holds of before a change. The change is in force whether or not this
 * succeeds, so a failure is only told. db_checkpoint() would leave them to be overwritten some
 * time.
 */
static void empty_log(struct auth_store *store)
{
    int code = sqlite3_wal_checkpoint_v2(db_handle(store->db), NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                         NULL, NULL);

    if (code != SQLITE_OK)
        LOG(LOG_WARNING, "keys_log_not_emptied", LOG_STR("path", store->path),
            LOG_INT("code", code));
}

/* --- secrets ---------------------------------------------------------------------------------- */

static bool update_secrets(struct auth_store *store, const struct secrets_change *change)
{
    sqlite3_stmt *st = db_prepare(store->db, "UPDATE api_key SET hash = ?2, tail = ?3, made_s = ?4,"
                                             " old_hash = ?5, old_tail = ?6, old_made_s = ?7,"
                                             " old_until_s = ?8, old_erased = ?9 WHERE id = ?1");
    const struct secret_row *current = &change->secrets[SECRET_CURRENT];
    const struct secret_row *former = &change->secrets[SECRET_FORMER];

    auth_store_bind_text(st, 1, change->key);
    sqlite3_bind_blob(st, 2, current->hash, KEY_HASH_BYTES, SQLITE_STATIC);
    auth_store_bind_text(st, 3, current->tail);
    sqlite3_bind_int64(st, 4, current->made_s);
    if (former->hash != NULL) /* else it stays NULL */
        sqlite3_bind_blob(st, 5, former->hash, KEY_HASH_BYTES, SQLITE_STATIC);
    auth_store_bind_text(st, 6, former->hash != NULL ? former->tail : "");
    sqlite3_bind_int64(st, 7, former->made_s);
    sqlite3_bind_int64(st, 8, former->until_s);
    sqlite3_bind_int(st, 9, former->erased);
    return auth_store_run(store, st);
}

static bool update_revoked(struct auth_store *store, const struct secrets_change *change)
{
    sqlite3_stmt *st = db_prepare(store->db, "UPDATE api_key SET state = 'revoked', revoked_s = ?2"
                                             " WHERE id = ?1");

    auth_store_bind_text(st, 1, change->key);
    sqlite3_bind_int64(st, 2, change->audit.at_s);
    return auth_store_run(store, st);
}

static bool rotate_usage(struct auth_store *store, const struct secrets_change *change)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "UPDATE key_usage SET old_last_s = last_s, old_address = address,"
                              " old_protocol = protocol, last_s = 0, address = '', protocol = ''"
                              " WHERE key = ?1");

    auth_store_bind_text(st, 1, change->key);
    return auth_store_run(store, st);
}

static bool set_watch(struct auth_store *store, bool watch)
{
    static const char set[] = "INSERT OR IGNORE INTO meta (name, value) VALUES ('watch', x'')";
    static const char clear[] = "DELETE FROM meta WHERE name = 'watch'";

    return auth_store_run(store, db_prepare(store->db, watch ? set : clear));
}

bool auth_store_watch_first_uses(struct auth_store *store, bool watch, struct why *why)
{
    return auth_store_begin(store, why) && auth_store_finish(store, set_watch(store, watch), why);
}

bool auth_store_missed_first_uses(struct auth_store *store, bool *missed, struct why *why)
{
    sqlite3_stmt *st = db_prepare(store->db, "SELECT 1 FROM meta WHERE name = 'watch'");
    enum db_result result = db_step(store->db, st);

    *missed = result == DB_ROW;
    sqlite3_reset(st);
    return result == DB_ROW || result == DB_OK || why_set(why, "%s", db_error(store->db));
}

static bool put_secrets(struct auth_store *store, const struct secrets_change *change)
{
    return update_secrets(store, change) && (!change->revoked || update_revoked(store, change)) &&
           (!change->rotated || rotate_usage(store, change)) &&
           (!change->watched || set_watch(store, true)) &&
           auth_store_insert_audit(store, &change->audit);
}

bool auth_store_put_secrets(struct auth_store *store, const struct secrets_change *changes,
                            size_t count, struct why *why)
{
    bool ok = true;

    if (!auth_store_begin(store, why))
        return false;
    for (size_t i = 0; ok && i < count; i++)
        ok = put_secrets(store, &changes[i]);
    if (!auth_store_finish(store, ok, why))
        return false;
    empty_log(store);
    return true;
}

/* --- states ----------------------------------------------------------------------------------- */

static bool update_state(struct auth_store *store, const char *id, enum key_state state,
                         enum auth_rank held_by)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "UPDATE api_key SET state = ?2, held_by = ?3 WHERE id = ?1");

    auth_store_bind_text(st, 1, id);
    auth_store_bind_text(st, 2, auth_store_state_words[state]);
    sqlite3_bind_int(st, 3, (int)held_by);
    return auth_store_run(store, st);
}

bool auth_store_set_state(struct auth_store *store, const char *id, enum key_state state,
                          enum auth_rank held_by, const struct audit *audit, struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(store,
                             update_state(store, id, state, held_by) &&
                                 auth_store_insert_audit(store, audit),
                             why);
}

static bool update_suspended(struct auth_store *store, const char *handle, bool suspended,
                             enum auth_rank suspended_by)
{
    sqlite3_stmt *st = db_prepare(
        store->db, "UPDATE account SET suspended = ?2, suspended_by = ?3 WHERE handle = ?1");

    auth_store_bind_text(st, 1, handle);
    sqlite3_bind_int(st, 2, suspended);
    sqlite3_bind_int(st, 3, (int)suspended_by);
    return auth_store_run(store, st);
}

bool auth_store_set_suspended(struct auth_store *store, const char *handle, bool suspended,
                              enum auth_rank suspended_by, const struct audit *audit,
                              struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(store,
                             update_suspended(store, handle, suspended, suspended_by) &&
                                 auth_store_insert_audit(store, audit),
                             why);
}

static bool update_plan(struct auth_store *store, const char *handle, const char *plan)
{
    sqlite3_stmt *st = db_prepare(store->db, "UPDATE account SET plan = ?2 WHERE handle = ?1");

    auth_store_bind_text(st, 1, handle);
    auth_store_bind_text(st, 2, plan);
    return auth_store_run(store, st);
}

bool auth_store_set_plan(struct auth_store *store, const char *handle, const char *plan,
                         const struct audit *audit, struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(
               store, update_plan(store, handle, plan) && auth_store_insert_audit(store, audit),
               why);
}
