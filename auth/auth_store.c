/* auth_store.c - what is in keys.db?
 * Its schema, its migrations and every statement. Speaks in rows; what they mean is decided by who
 * reads them. Belongs to the administration's thread.
 *
 * Durability: each change is one transaction, together with its line in the audit trail, and on
 * disk when the function returns true; else nothing of it is. What is deleted or replaced is
 * overwritten (secure_delete), and a revocation also empties the write-ahead log, so that the
 * hash of a revoked key is in no file any more. */
#include "auth/auth_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/db.h"
#include "relay/base/log.h"

#define APPLICATION_ID 0x4c504b59 /* "LPKY" */
#define CACHE_KIB      4096
#define LOG_PAGES_MAX  1000 /* then the log is brought into the database */

/* Times are unix seconds, UTC; 0 is "never". A key's row stays after its revocation, with its
 * tombstone for a hash. What changes with every login is apart from what is precious. */
static const char *const steps[] = {
    "CREATE TABLE meta ("
    "  name TEXT PRIMARY KEY,"
    "  value BLOB NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE account ("
    "  handle TEXT PRIMARY KEY,"
    "  plan TEXT NOT NULL,"
    "  suspended INTEGER NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1)),"
    "  created_s INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE domain ("
    "  pattern TEXT PRIMARY KEY," /* a domain belongs to one account */
    "  account TEXT NOT NULL REFERENCES account (handle),"
    "  verified INTEGER NOT NULL CHECK (verified IN (0, 1)),"
    "  created_s INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE api_key ("
    "  seq INTEGER PRIMARY KEY," /* the order of creation */
    "  id TEXT NOT NULL UNIQUE,"
    "  account TEXT NOT NULL REFERENCES account (handle),"
    "  name TEXT NOT NULL,"
    "  prefix TEXT NOT NULL,"
    "  tail TEXT NOT NULL," /* its last four characters, to be shown */
    "  hash BLOB NOT NULL CHECK (length(hash) = 32),"
    "  scopes INTEGER NOT NULL," /* bits, see scope.c */
    "  test INTEGER NOT NULL CHECK (test IN (0, 1)),"
    "  state TEXT NOT NULL CHECK (state IN ('active', 'held', 'revoked')),"
    "  rate_per_minute INTEGER NOT NULL," /* 0: the plan's */
    "  recipients_per_day INTEGER NOT NULL,"
    "  created_s INTEGER NOT NULL,"
    "  expires_s INTEGER NOT NULL,"
    "  revoked_s INTEGER NOT NULL DEFAULT 0"
    ") STRICT;"

    "CREATE TABLE key_rule ("
    "  key TEXT NOT NULL REFERENCES api_key (id),"
    "  kind TEXT NOT NULL CHECK (kind IN ('domain', 'sender', 'recipient', 'network')),"
    "  position INTEGER NOT NULL,"
    "  value TEXT NOT NULL,"
    "  PRIMARY KEY (key, kind, position)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE key_usage ("
    "  key TEXT PRIMARY KEY REFERENCES api_key (id),"
    "  last_s INTEGER NOT NULL,"
    "  address TEXT NOT NULL," /* empty: through a Unix socket */
    "  protocol TEXT NOT NULL,"
    "  day INTEGER NOT NULL,"       /* days since 1970, UTC */
    "  recipients INTEGER NOT NULL" /* of that day */
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE audit ("
    "  seq INTEGER PRIMARY KEY,"
    "  at_s INTEGER NOT NULL,"
    "  actor TEXT NOT NULL,"
    "  action TEXT NOT NULL,"
    "  subject TEXT NOT NULL,"
    "  detail TEXT NOT NULL"
    ") STRICT;",

    /* Any number of accounts may claim a domain, one has it. */
    "CREATE TABLE domain_claim ("
    "  account TEXT NOT NULL REFERENCES account (handle),"
    "  pattern TEXT NOT NULL,"
    "  verified INTEGER NOT NULL CHECK (verified IN (0, 1)),"
    "  created_s INTEGER NOT NULL,"
    "  PRIMARY KEY (account, pattern)"
    ") STRICT, WITHOUT ROWID;"
    "INSERT INTO domain_claim (account, pattern, verified, created_s)"
    "  SELECT account, pattern, verified, created_s FROM domain;"
    "DROP TABLE domain;"
    "ALTER TABLE domain_claim RENAME TO domain;"
    "CREATE UNIQUE INDEX domain_verified ON domain (pattern) WHERE verified = 1;",
};

/* The words of the enums in the tables above. */
static const char *const state_words[] = {
    [KEY_ACTIVE] = "active",
    [KEY_HELD] = "held",
    [KEY_REVOKED] = "revoked",
};
static const char *const rule_words[RULE_KINDS] = {
    [RULE_DOMAIN] = "domain",
    [RULE_SENDER] = "sender",
    [RULE_RECIPIENT] = "recipient",
    [RULE_NETWORK] = "network",
};

struct auth_store {
    struct db *db;
    char *path;
};

/* --- opening and closing ---------------------------------------------------------------------- */

/* The database is small and precious: all of its structure is looked at before anything is believed
 * of it. */
static bool check_structure(struct auth_store *store, struct why *why)
{
    sqlite3_stmt *st = db_prepare(store->db, "PRAGMA quick_check(1)");
    enum db_result result = db_step(store->db, st);
    const char *word = result == DB_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    bool ok = word != NULL && strcmp(word, "ok") == 0;

    if (!ok)
        why_set(why, "%s is damaged (%s): restore it from a backup", store->path,
                word != NULL ? word : db_error(store->db));
    sqlite3_reset(st);
    return ok;
}

bool auth_store_open(struct auth_store **out, const char *path, struct why *why)
{
    const struct db_options options = {
        .path = path,
        .steps = steps,
        .step_count = ARRAY_LEN(steps),
        .application_id = APPLICATION_ID,
        .secure_delete = true,
        .cache_kib = CACHE_KIB,
    };
    struct auth_store *store = xcalloc(1, sizeof(*store));

    store->path = xstrdup(path);
    if (!db_open(&store->db, &options, why) || !check_structure(store, why)) {
        auth_store_close(store);
        return false;
    }
    *out = store;
    return true;
}

void auth_store_close(struct auth_store *store)
{
    struct why why;

    if (store == NULL)
        return;
    if (!db_close(store->db, &why))
        LOG(LOG_ERROR, "keys_not_closed", LOG_STR("reason", why.text));
    free(store->path);
    free(store);
}

/* --- the little that all statements share ----------------------------------------------------- */

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
    sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

static const char *column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *text = sqlite3_column_text(st, i);

    return text == NULL ? "" : (const char *)text;
}

static bool run(struct auth_store *store, sqlite3_stmt *st)
{
    return db_run(store->db, st) == DB_OK;
}

static bool begin(struct auth_store *store, struct why *why)
{
    if (db_begin(store->db) == DB_OK)
        return true;
    return why_set(why, "%s", db_error(store->db));
}

/* Ends what begin() began: commits when all went well so far. */
static bool finish(struct auth_store *store, bool ok, struct why *why)
{
    if (ok && db_commit(store->db) == DB_OK)
        return true;
    why_set(why, "%s", db_error(store->db));
    if (!ok)
        db_rollback(store->db);
    return false;
}

static bool insert_audit(struct auth_store *store, const struct audit *audit)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO audit (at_s, actor, action, subject, detail)"
                              " VALUES (?1, ?2, ?3, ?4, ?5)");

    sqlite3_bind_int64(st, 1, audit->at_s);
    bind_text(st, 2, audit->actor);
    bind_text(st, 3, audit->action);
    bind_text(st, 4, audit->subject);
    bind_text(st, 5, audit->detail);
    return run(store, st);
}

/* --- the canary ------------------------------------------------------------------------------- */

bool auth_store_read_canary(struct auth_store *store, uint8_t canary[static KEY_HASH_BYTES],
                            bool *found, struct why *why)
{
    sqlite3_stmt *st = db_prepare(store->db, "SELECT value FROM meta WHERE name = 'canary'");
    enum db_result result = db_step(store->db, st);
    bool ok = result == DB_OK;

    *found = result == DB_ROW;
    if (result == DB_ROW && sqlite3_column_bytes(st, 0) == KEY_HASH_BYTES) {
        memcpy(canary, sqlite3_column_blob(st, 0), KEY_HASH_BYTES);
        ok = true;
    } else if (result == DB_ROW) {
        why_set(why, "%s is damaged (the canary): restore it from a backup", store->path);
    } else if (!ok) {
        why_set(why, "%s", db_error(store->db));
    }
    sqlite3_reset(st);
    return ok;
}

static bool insert_canary(struct auth_store *store, const uint8_t *canary)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO meta (name, value) VALUES ('canary', ?1)");

    sqlite3_bind_blob(st, 1, canary, KEY_HASH_BYTES, SQLITE_STATIC);
    return run(store, st);
}

static bool insert_account(struct auth_store *store, const struct account_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO account (handle, plan, suspended, created_s)"
                              " VALUES (?1, ?2, ?3, ?4)");

    bind_text(st, 1, row->handle);
    bind_text(st, 2, row->plan);
    sqlite3_bind_int(st, 3, row->suspended);
    sqlite3_bind_int64(st, 4, row->created_s);
    return run(store, st);
}

bool auth_store_found(struct auth_store *store, const uint8_t canary[static KEY_HASH_BYTES],
                      int64_t now_s, struct why *why)
{
    const struct account_row account = { AUTH_DEFAULT_ACCOUNT, "default", false, now_s };

    return begin(store, why) &&
           finish(store, insert_canary(store, canary) && insert_account(store, &account), why);
}

/* --- changes ---------------------------------------------------------------------------------- */

bool auth_store_add_account(struct auth_store *store, const struct account_row *row,
                            const struct audit *audit, struct why *why)
{
    return begin(store, why) &&
           finish(store, insert_account(store, row) && insert_audit(store, audit), why);
}

static bool upsert_domain(struct auth_store *store, const struct domain_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO domain (pattern, account, verified, created_s)"
                              " VALUES (?1, ?2, ?3, ?4)"
                              " ON CONFLICT (account, pattern) DO UPDATE SET verified = ?3");

    bind_text(st, 1, row->pattern);
    bind_text(st, 2, row->account);
    sqlite3_bind_int(st, 3, row->verified);
    sqlite3_bind_int64(st, 4, row->created_s);
    return run(store, st);
}

bool auth_store_put_domain(struct auth_store *store, const struct domain_row *row,
                           const struct audit *audit, struct why *why)
{
    return begin(store, why) &&
           finish(store, upsert_domain(store, row) && insert_audit(store, audit), why);
}

static bool delete_domain(struct auth_store *store, const char *account, const char *pattern)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "DELETE FROM domain WHERE account = ?1 AND pattern = ?2");

    bind_text(st, 1, account);
    bind_text(st, 2, pattern);
    return run(store, st);
}

bool auth_store_remove_domain(struct auth_store *store, const char *account, const char *pattern,
                              const struct audit *audit, struct why *why)
{
    return begin(store, why) &&
           finish(store, delete_domain(store, account, pattern) && insert_audit(store, audit), why);
}

static bool insert_key(struct auth_store *store, const struct key_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO api_key (id, account, name, prefix, tail, hash, scopes,"
                              " test, state, rate_per_minute, recipients_per_day, created_s,"
                              " expires_s)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");

    bind_text(st, 1, row->id);
    bind_text(st, 2, row->account);
    bind_text(st, 3, row->name);
    bind_text(st, 4, row->prefix);
    bind_text(st, 5, row->tail);
    sqlite3_bind_blob(st, 6, row->hash, KEY_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 7, row->scopes);
    sqlite3_bind_int(st, 8, row->test);
    bind_text(st, 9, state_words[row->state]);
    sqlite3_bind_int64(st, 10, row->rate_per_minute);
    sqlite3_bind_int64(st, 11, (int64_t)row->recipients_per_day);
    sqlite3_bind_int64(st, 12, row->created_s);
    sqlite3_bind_int64(st, 13, row->expires_s);
    return run(store, st);
}

static bool insert_rules(struct auth_store *store, const struct key_row *row, enum rule_kind kind)
{
    for (size_t i = 0; i < row->rules[kind].count; i++) {
        sqlite3_stmt *st = db_prepare(store->db, "INSERT INTO key_rule (key, kind, position, value)"
                                                 " VALUES (?1, ?2, ?3, ?4)");
        bind_text(st, 1, row->id);
        bind_text(st, 2, rule_words[kind]);
        sqlite3_bind_int64(st, 3, (int64_t)i);
        bind_text(st, 4, row->rules[kind].items[i]);
        if (!run(store, st))
            return false;
    }
    return true;
}

bool auth_store_add_key(struct auth_store *store, const struct key_row *row,
                        const struct audit *audit, struct why *why)
{
    if (!begin(store, why))
        return false;
    bool ok = insert_key(store, row);
    for (size_t kind = 0; ok && kind < RULE_KINDS; kind++)
        ok = insert_rules(store, row, (enum rule_kind)kind);
    return finish(store, ok && insert_audit(store, audit), why);
}

static bool update_revoked(struct auth_store *store, const char *id, const uint8_t *tombstone,
                           int64_t at_s)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "UPDATE api_key SET state = 'revoked', hash = ?2, revoked_s = ?3"
                              " WHERE id = ?1");

    bind_text(st, 1, id);
    sqlite3_bind_blob(st, 2, tombstone, KEY_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, at_s);
    return run(store, st);
}

/* The pages that the log still holds of before a change. The revocation is in force whether or not
 * this succeeds, so a failure is only told. db_checkpoint() would leave them to be overwritten
 * some time. */
static void empty_log(struct auth_store *store)
{
    int code = sqlite3_wal_checkpoint_v2(db_handle(store->db), NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                         NULL, NULL);

    if (code != SQLITE_OK)
        LOG(LOG_WARNING, "keys_log_not_emptied", LOG_STR("path", store->path),
            LOG_INT("code", code));
}

bool auth_store_revoke_key(struct auth_store *store, const char *id,
                           const uint8_t tombstone[static KEY_HASH_BYTES],
                           const struct audit *audit, struct why *why)
{
    if (!begin(store, why))
        return false;
    bool ok = update_revoked(store, id, tombstone, audit->at_s) && insert_audit(store, audit);
    if (!finish(store, ok, why))
        return false;
    empty_log(store);
    return true;
}

static bool upsert_usage(struct auth_store *store, const struct usage_row *row)
{
    sqlite3_stmt *st = db_prepare(
        store->db, "INSERT INTO key_usage (key, last_s, address, protocol, day, recipients)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                   " ON CONFLICT (key) DO UPDATE SET last_s = ?2, address = ?3, protocol = ?4,"
                   " day = ?5, recipients = ?6");

    bind_text(st, 1, row->key);
    sqlite3_bind_int64(st, 2, row->last_s);
    bind_text(st, 3, row->address);
    bind_text(st, 4, row->protocol);
    sqlite3_bind_int64(st, 5, row->day);
    sqlite3_bind_int64(st, 6, (int64_t)row->recipients);
    return run(store, st);
}

bool auth_store_save_usage(struct auth_store *store, const struct usage_row *rows, size_t count,
                           struct why *why)
{
    bool ok = true;

    if (!begin(store, why))
        return false;
    for (size_t i = 0; ok && i < count; i++)
        ok = upsert_usage(store, &rows[i]);
    if (!finish(store, ok, why))
        return false;
    if (db_log_pages(store->db) > LOG_PAGES_MAX)
        db_checkpoint(store->db); /* logs what fails; the log has everything still */
    return true;
}

/* --- loading ---------------------------------------------------------------------------------- */

typedef bool show_fn(struct auth_store *store, sqlite3_stmt *st,
                     const struct auth_store_visitor *visitor, void *owner, struct why *why);

static bool word_index(const char *const *words, size_t count, const char *word, size_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0) {
            *index = i;
            return true;
        }
    return false;
}

/* The checks of the schema keep us from writing such a row, not a disk from making one. */
static bool refuse_row(struct auth_store *store, const char *table, const char *row,
                       struct why *why)
{
    return why_set(why, "%s is damaged (%s %.20s): restore it from a backup", store->path, table,
                   row);
}

static bool show_account(struct auth_store *store, sqlite3_stmt *st,
                         const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    const struct account_row row = {
        .handle = column_text(st, 0),
        .plan = column_text(st, 1),
        .suspended = sqlite3_column_int(st, 2) != 0,
        .created_s = sqlite3_column_int64(st, 3),
    };

    (void)store;
    return visitor->account(owner, &row, why);
}

static bool show_domain(struct auth_store *store, sqlite3_stmt *st,
                        const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    const struct domain_row row = {
        .pattern = column_text(st, 0),
        .account = column_text(st, 1),
        .verified = sqlite3_column_int(st, 2) != 0,
        .created_s = sqlite3_column_int64(st, 3),
    };

    (void)store;
    return visitor->domain(owner, &row, why);
}

static bool show_key(struct auth_store *store, sqlite3_stmt *st,
                     const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    int64_t scopes = sqlite3_column_int64(st, 6), rate = sqlite3_column_int64(st, 9);
    int64_t recipients = sqlite3_column_int64(st, 10);
    size_t state;
    struct key_row row = {
        .id = column_text(st, 0),
        .account = column_text(st, 1),
        .name = column_text(st, 2),
        .prefix = column_text(st, 3),
        .tail = column_text(st, 4),
        .hash = sqlite3_column_blob(st, 5),
        .test = sqlite3_column_int(st, 7) != 0,
        .created_s = sqlite3_column_int64(st, 11),
        .expires_s = sqlite3_column_int64(st, 12),
    };

    if (sqlite3_column_bytes(st, 5) != KEY_HASH_BYTES || scopes <= 0 || scopes > SCOPES_ALL ||
        rate < 0 || rate > UINT32_MAX || recipients < 0 ||
        !word_index(state_words, ARRAY_LEN(state_words), column_text(st, 8), &state))
        return refuse_row(store, "api_key", row.id, why);
    row.scopes = (unsigned)scopes;
    row.state = (enum key_state)state;
    row.rate_per_minute = (unsigned)rate;
    row.recipients_per_day = (uint64_t)recipients;
    return visitor->key(owner, &row, why);
}

static bool show_rule(struct auth_store *store, sqlite3_stmt *st,
                      const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    struct rule_row row = { .key = column_text(st, 0), .value = column_text(st, 2) };
    size_t kind;

    if (!word_index(rule_words, ARRAY_LEN(rule_words), column_text(st, 1), &kind))
        return refuse_row(store, "key_rule", row.key, why);
    row.kind = (enum rule_kind)kind;
    return visitor->rule(owner, &row, why);
}

static bool show_usage(struct auth_store *store, sqlite3_stmt *st,
                       const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    int64_t recipients = sqlite3_column_int64(st, 5);
    struct usage_row row = {
        .key = column_text(st, 0),
        .last_s = sqlite3_column_int64(st, 1),
        .day = sqlite3_column_int64(st, 4),
        .recipients = recipients > 0 ? (uint64_t)recipients : 0,
    };

    (void)store;
    snprintf(row.address, sizeof(row.address), "%s", column_text(st, 2));
    snprintf(row.protocol, sizeof(row.protocol), "%s", column_text(st, 3));
    return visitor->usage(owner, &row, why);
}

bool auth_store_load(struct auth_store *store, const struct auth_store_visitor *visitor,
                     void *owner, struct why *why)
{
    static const struct {
        const char *sql;
        show_fn *show;
    } tables[] = {
        { "SELECT handle, plan, suspended, created_s FROM account ORDER BY created_s, handle",
          show_account },
        { "SELECT pattern, account, verified, created_s FROM domain ORDER BY created_s, pattern",
          show_domain },
        { "SELECT id, account, name, prefix, tail, hash, scopes, test, state, rate_per_minute,"
          " recipients_per_day, created_s, expires_s FROM api_key ORDER BY seq",
          show_key },
        { "SELECT key, kind, value FROM key_rule ORDER BY key, kind, position", show_rule },
        { "SELECT key, last_s, address, protocol, day, recipients FROM key_usage", show_usage },
    };

    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        sqlite3_stmt *st = db_prepare(store->db, tables[i].sql);
        enum db_result result;
        bool ok = true;
        while (ok && (result = db_step(store->db, st)) == DB_ROW)
            ok = tables[i].show(store, st, visitor, owner, why);
        if (ok && result != DB_OK)
            ok = why_set(why, "%s", db_error(store->db));
        sqlite3_reset(st);
        if (!ok)
            return false;
    }
    return true;
}
