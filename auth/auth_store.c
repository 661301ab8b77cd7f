/* auth_store.c - what is in keys.db?
 * Its schema, its migrations and every statement. Speaks in rows; what they mean is decided by who
 * reads them. Belongs to the administration's thread.
 *
 * Durability: each change is one transaction, together with its line in the audit trail, and on
 * disk when the function returns true; else nothing of it is. What is deleted or replaced is
 * overwritten (secure_delete). What changes a key or an account that exists is in
 * auth_store_state.c, the audit trail in auth_store_audit.c. */
#include "auth/auth_store_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
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

    /* While a key is rotated its former secret stands in old_*; when that has ended,
     * what is left of it is a tombstone. A rank (enum auth_rank) says who holds a key or suspends
     * an account. */
    "ALTER TABLE account ADD COLUMN parent TEXT REFERENCES account (handle);"
    "ALTER TABLE account ADD COLUMN suspended_by INTEGER NOT NULL DEFAULT 2;"

    "ALTER TABLE api_key ADD COLUMN held_by INTEGER NOT NULL DEFAULT 2;"
    "ALTER TABLE api_key ADD COLUMN message_size INTEGER NOT NULL DEFAULT 0;" /* 0: no limit */
    "ALTER TABLE api_key ADD COLUMN max_sessions INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE api_key ADD COLUMN made_s INTEGER NOT NULL DEFAULT 0;" /* 0: created_s */
    "ALTER TABLE api_key ADD COLUMN old_hash BLOB"
    "  CHECK (old_hash IS NULL OR length(old_hash) = 32);"
    "ALTER TABLE api_key ADD COLUMN old_tail TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE api_key ADD COLUMN old_made_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE api_key ADD COLUMN old_until_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE api_key ADD COLUMN old_erased INTEGER NOT NULL DEFAULT 0"
    "  CHECK (old_erased IN (0, 1));"

    "ALTER TABLE key_usage ADD COLUMN old_last_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE key_usage ADD COLUMN old_address TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE key_usage ADD COLUMN old_protocol TEXT NOT NULL DEFAULT '';",

    /* Changes and refusals are one list to their readers, in the order of their ids (base/ident.h);
     * those from before this step get one that says their time. What a stranger can cause without
     * end has a table of its own, so that it takes the place of nothing else. */
    "ALTER TABLE audit ADD COLUMN id INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE audit ADD COLUMN account TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE audit ADD COLUMN origin TEXT NOT NULL DEFAULT '';" /* empty: not known, or us */
    "UPDATE audit SET"
    "  id = ((min(max(at_s - 1577836800, 0), 2000000000) * 1000) << 22) | (seq & 4194303),"
    "  account = CASE"
    "    WHEN action LIKE 'key.%' THEN"
    "      coalesce((SELECT account FROM api_key WHERE api_key.id = audit.subject), '')"
    "    WHEN action LIKE 'domain.%' THEN detail"
    "    ELSE subject END;"
    "CREATE INDEX audit_id ON audit (id);"
    "CREATE INDEX audit_account ON audit (account, id);"

    "CREATE TABLE refusal ("
    "  id INTEGER PRIMARY KEY,"
    "  action TEXT NOT NULL,"
    "  at_s INTEGER NOT NULL," /* of the first ... */
    "  last_s INTEGER NOT NULL,"
    "  count INTEGER NOT NULL," /* ... of so many that were the same */
    "  actor TEXT NOT NULL,"    /* the key's id; empty: there was none */
    "  account TEXT NOT NULL,"
    "  origin TEXT NOT NULL,"
    "  protocol TEXT NOT NULL,"
    "  subject TEXT NOT NULL,"
    "  rule TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX refusal_action ON refusal (action, id);"
    "CREATE INDEX refusal_account ON refusal (account, id);",
};

/* The words of the enums in the tables above. */
const char *const auth_store_state_words[] = {
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

void auth_store_bind_text(sqlite3_stmt *st, int i, const char *text)
{
    sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

static const char *column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *text = sqlite3_column_text(st, i);

    return text == NULL ? "" : (const char *)text;
}

bool auth_store_run(struct auth_store *store, sqlite3_stmt *st)
{
    return db_run(store->db, st) == DB_OK;
}

bool auth_store_begin(struct auth_store *store, struct why *why)
{
    if (db_begin(store->db) == DB_OK)
        return true;
    return why_set(why, "%s", db_error(store->db));
}

/* Ends what auth_store_begin() began: commits when all went well so far. */
bool auth_store_finish(struct auth_store *store, bool ok, struct why *why)
{
    if (ok && db_commit(store->db) == DB_OK) {
        if (db_log_pages(store->db) > LOG_PAGES_MAX)
            db_checkpoint(store->db); /* logs what fails; the log has everything still */
        return true;
    }
    why_set(why, "%s", db_error(store->db));
    if (!ok)
        db_rollback(store->db);
    return false;
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
    return auth_store_run(store, st);
}

static bool insert_account(struct auth_store *store, const struct account_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO account (handle, plan, suspended, created_s,"
                              " suspended_by, parent) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");

    auth_store_bind_text(st, 1, row->handle);
    auth_store_bind_text(st, 2, row->plan);
    sqlite3_bind_int(st, 3, row->suspended);
    sqlite3_bind_int64(st, 4, row->created_s);
    sqlite3_bind_int(st, 5, (int)row->suspended_by);
    if (row->parent != NULL) /* else it stays NULL */
        auth_store_bind_text(st, 6, row->parent);
    return auth_store_run(store, st);
}

bool auth_store_found(struct auth_store *store, const uint8_t canary[static KEY_HASH_BYTES],
                      int64_t now_s, struct why *why)
{
    const struct account_row account = { .handle = AUTH_DEFAULT_ACCOUNT,
                                         .plan = "default",
                                         .created_s = now_s };

    return auth_store_begin(store, why) &&
           auth_store_finish(store, insert_canary(store, canary) && insert_account(store, &account),
                             why);
}

/* --- changes ---------------------------------------------------------------------------------- */

bool auth_store_add_account(struct auth_store *store, const struct account_row *row,
                            const struct audit *audit, struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(
               store, insert_account(store, row) && auth_store_insert_audit(store, audit), why);
}

static bool upsert_domain(struct auth_store *store, const struct domain_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO domain (pattern, account, verified, created_s)"
                              " VALUES (?1, ?2, ?3, ?4)"
                              " ON CONFLICT (account, pattern) DO UPDATE SET verified = ?3");

    auth_store_bind_text(st, 1, row->pattern);
    auth_store_bind_text(st, 2, row->account);
    sqlite3_bind_int(st, 3, row->verified);
    sqlite3_bind_int64(st, 4, row->created_s);
    return auth_store_run(store, st);
}

bool auth_store_put_domain(struct auth_store *store, const struct domain_row *row,
                           const struct audit *audit, struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(
               store, upsert_domain(store, row) && auth_store_insert_audit(store, audit), why);
}

static bool delete_domain(struct auth_store *store, const char *account, const char *pattern)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "DELETE FROM domain WHERE account = ?1 AND pattern = ?2");

    auth_store_bind_text(st, 1, account);
    auth_store_bind_text(st, 2, pattern);
    return auth_store_run(store, st);
}

bool auth_store_remove_domain(struct auth_store *store, const char *account, const char *pattern,
                              const struct audit *audit, struct why *why)
{
    return auth_store_begin(store, why) &&
           auth_store_finish(store,
                             delete_domain(store, account, pattern) &&
                                 auth_store_insert_audit(store, audit),
                             why);
}

static bool insert_key(struct auth_store *store, const struct key_row *row)
{
    sqlite3_stmt *st =
        db_prepare(store->db, "INSERT INTO api_key (id, account, name, prefix, tail, hash, scopes,"
                              " test, state, rate_per_minute, recipients_per_day, created_s,"
                              " expires_s, made_s, message_size, max_sessions)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
                              " ?12, ?14, ?15)");

    auth_store_bind_text(st, 1, row->id);
    auth_store_bind_text(st, 2, row->account);
    auth_store_bind_text(st, 3, row->name);
    auth_store_bind_text(st, 4, row->prefix);
    auth_store_bind_text(st, 5, row->secrets[SECRET_CURRENT].tail);
    sqlite3_bind_blob(st, 6, row->secrets[SECRET_CURRENT].hash, KEY_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 7, row->scopes);
    sqlite3_bind_int(st, 8, row->test);
    auth_store_bind_text(st, 9, auth_store_state_words[row->state]);
    sqlite3_bind_int64(st, 10, row->rate_per_minute);
    sqlite3_bind_int64(st, 11, (int64_t)row->recipients_per_day);
    sqlite3_bind_int64(st, 12, row->created_s);
    sqlite3_bind_int64(st, 13, row->expires_s);
    sqlite3_bind_int64(st, 14, (int64_t)row->message_size_bytes);
    sqlite3_bind_int64(st, 15, row->sessions_max);
    return auth_store_run(store, st);
}

static bool insert_rules(struct auth_store *store, const struct key_row *row, enum rule_kind kind)
{
    for (size_t i = 0; i < row->rules[kind].count; i++) {
        sqlite3_stmt *st = db_prepare(store->db, "INSERT INTO key_rule (key, kind, position, value)"
                                                 " VALUES (?1, ?2, ?3, ?4)");
        auth_store_bind_text(st, 1, row->id);
        auth_store_bind_text(st, 2, rule_words[kind]);
        sqlite3_bind_int64(st, 3, (int64_t)i);
        auth_store_bind_text(st, 4, row->rules[kind].items[i]);
        if (!auth_store_run(store, st))
            return false;
    }
    return true;
}

bool auth_store_add_key(struct auth_store *store, const struct key_row *row,
                        const struct audit *audit, struct why *why)
{
    if (!auth_store_begin(store, why))
        return false;
    bool ok = insert_key(store, row);
    for (size_t kind = 0; ok && kind < RULE_KINDS; kind++)
        ok = insert_rules(store, row, (enum rule_kind)kind);
    return auth_store_finish(store, ok && auth_store_insert_audit(store, audit), why);
}

static bool upsert_usage(struct auth_store *store, const struct usage_row *row)
{
    sqlite3_stmt *st = db_prepare(
        store->db,
        "INSERT INTO key_usage (key, last_s, address, protocol, day, recipients, old_last_s,"
        " old_address, old_protocol) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        " ON CONFLICT (key) DO UPDATE SET last_s = ?2, address = ?3, protocol = ?4,"
        " day = ?5, recipients = ?6, old_last_s = ?7, old_address = ?8, old_protocol = ?9");
    const struct use_row *current = &row->uses[SECRET_CURRENT];
    const struct use_row *former = &row->uses[SECRET_FORMER];

    auth_store_bind_text(st, 1, row->key);
    sqlite3_bind_int64(st, 2, current->last_s);
    auth_store_bind_text(st, 3, current->address);
    auth_store_bind_text(st, 4, current->protocol);
    sqlite3_bind_int64(st, 5, row->day);
    sqlite3_bind_int64(st, 6, (int64_t)row->recipients);
    sqlite3_bind_int64(st, 7, former->last_s);
    auth_store_bind_text(st, 8, former->address);
    auth_store_bind_text(st, 9, former->protocol);
    return auth_store_run(store, st);
}

bool auth_store_save_usage(struct auth_store *store, const struct usage_row *rows, size_t count,
                           struct why *why)
{
    bool ok = true;

    if (!auth_store_begin(store, why))
        return false;
    for (size_t i = 0; ok && i < count; i++)
        ok = upsert_usage(store, &rows[i]);
    return auth_store_finish(store, ok, why);
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

static bool is_rank(int64_t number)
{
    return number >= AUTH_RANK_ACCOUNT && number <= AUTH_RANK_OPERATOR;
}

static bool show_account(struct auth_store *store, sqlite3_stmt *st,
                         const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    int64_t suspended_by = sqlite3_column_int64(st, 4);
    const struct account_row row = {
        .handle = column_text(st, 0),
        .plan = column_text(st, 1),
        .suspended = sqlite3_column_int(st, 2) != 0,
        .created_s = sqlite3_column_int64(st, 3),
        .suspended_by = (enum auth_rank)suspended_by,
    };

    if (!is_rank(suspended_by))
        return refuse_row(store, "account", row.handle, why);
    return visitor->account(owner, &row, why);
}

static bool show_parent(struct auth_store *store, sqlite3_stmt *st,
                        const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    (void)store;
    return visitor->parent(owner, column_text(st, 0), column_text(st, 1), why);
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

static int64_t secret_made_s(int64_t made_s, int64_t created_s)
{
    return made_s != 0 ? made_s : created_s;
}

/* What a revoked key has is tombstones. False: the former one cannot be right. */
static bool read_secrets(sqlite3_stmt *st, struct key_row *row)
{
    bool has_former = sqlite3_column_type(st, 15) != SQLITE_NULL;

    row->secrets[SECRET_CURRENT] = (struct secret_row){
        .hash = sqlite3_column_blob(st, 5),
        .tail = column_text(st, 4),
        .made_s = secret_made_s(sqlite3_column_int64(st, 14), row->created_s),
        .erased = row->state == KEY_REVOKED,
    };
    if (!has_former)
        return true;
    row->secrets[SECRET_FORMER] = (struct secret_row){
        .hash = sqlite3_column_blob(st, 15),
        .tail = column_text(st, 16),
        .made_s = secret_made_s(sqlite3_column_int64(st, 17), row->created_s),
        .until_s = sqlite3_column_int64(st, 18),
        .erased = row->state == KEY_REVOKED || sqlite3_column_int(st, 19) != 0,
    };
    return sqlite3_column_bytes(st, 15) == KEY_HASH_BYTES && sqlite3_column_int64(st, 18) > 0;
}

static bool show_key(struct auth_store *store, sqlite3_stmt *st,
                     const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    int64_t scopes = sqlite3_column_int64(st, 6), rate = sqlite3_column_int64(st, 9);
    int64_t recipients = sqlite3_column_int64(st, 10), held_by = sqlite3_column_int64(st, 13);
    int64_t size = sqlite3_column_int64(st, 20), sessions = sqlite3_column_int64(st, 21);
    size_t state;
    struct key_row row = {
        .id = column_text(st, 0),
        .account = column_text(st, 1),
        .name = column_text(st, 2),
        .prefix = column_text(st, 3),
        .test = sqlite3_column_int(st, 7) != 0,
        .created_s = sqlite3_column_int64(st, 11),
        .expires_s = sqlite3_column_int64(st, 12),
    };

    if (sqlite3_column_bytes(st, 5) != KEY_HASH_BYTES || scopes <= 0 || scopes > SCOPES_ALL ||
        rate < 0 || rate > UINT32_MAX || recipients < 0 || size < 0 || sessions < 0 ||
        sessions > UINT32_MAX || !is_rank(held_by) ||
        !word_index(auth_store_state_words, ARRAY_LEN(auth_store_state_words), column_text(st, 8),
                    &state))
        return refuse_row(store, "api_key", row.id, why);
    row.scopes = (unsigned)scopes;
    row.state = (enum key_state)state;
    row.held_by = (enum auth_rank)held_by;
    row.rate_per_minute = (unsigned)rate;
    row.recipients_per_day = (uint64_t)recipients;
    row.message_size_bytes = (uint64_t)size;
    row.sessions_max = (unsigned)sessions;
    if (!read_secrets(st, &row))
        return refuse_row(store, "api_key", row.id, why);
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

static void read_use(sqlite3_stmt *st, int first, struct use_row *use)
{
    use->last_s = sqlite3_column_int64(st, first);
    snprintf(use->address, sizeof(use->address), "%s", column_text(st, first + 1));
    snprintf(use->protocol, sizeof(use->protocol), "%s", column_text(st, first + 2));
}

static bool show_usage(struct auth_store *store, sqlite3_stmt *st,
                       const struct auth_store_visitor *visitor, void *owner, struct why *why)
{
    int64_t recipients = sqlite3_column_int64(st, 5);
    struct usage_row row = {
        .key = column_text(st, 0),
        .day = sqlite3_column_int64(st, 4),
        .recipients = recipients > 0 ? (uint64_t)recipients : 0,
    };

    (void)store;
    read_use(st, 1, &row.uses[SECRET_CURRENT]);
    read_use(st, 6, &row.uses[SECRET_FORMER]);
    return visitor->usage(owner, &row, why);
}

bool auth_store_load(struct auth_store *store, const struct auth_store_visitor *visitor,
                     void *owner, struct why *why)
{
    static const struct {
        const char *sql;
        show_fn *show;
    } tables[] = {
        { "SELECT handle, plan, suspended, created_s, suspended_by FROM account"
          " ORDER BY created_s, handle",
          show_account },
        { "SELECT handle, parent FROM account WHERE parent IS NOT NULL", show_parent },
        { "SELECT pattern, account, verified, created_s FROM domain ORDER BY created_s, pattern",
          show_domain },
        { "SELECT id, account, name, prefix, tail, hash, scopes, test, state, rate_per_minute,"
          " recipients_per_day, created_s, expires_s, held_by, made_s, old_hash, old_tail,"
          " old_made_s, old_until_s, old_erased, message_size, max_sessions"
          " FROM api_key ORDER BY seq",
          show_key },
        { "SELECT key, kind, value FROM key_rule ORDER BY key, kind, position", show_rule },
        { "SELECT key, last_s, address, protocol, day, recipients, old_last_s, old_address,"
          " old_protocol FROM key_usage",
          show_usage },
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
