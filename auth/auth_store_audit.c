/* auth_store_audit.c - what does keys.db know of changes and refusals?
 * The statements behind the audit trail; the head of auth_store.c says what holds for them all. A
 * change has one line, written in its own transaction; a refusal may be many that were the same,
 * and is written again when their number has grown. */
#include "auth/auth_store_priv.h"

#include "relay/base/ident.h"

bool auth_store_insert_audit(struct auth_store *store, const struct audit *audit)
{
    sqlite3_stmt *st = db_prepare(
        store->db, "INSERT INTO audit (id, at_s, actor, action, subject, detail, account, origin)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");

    sqlite3_bind_int64(st, 1, ident_next());
    sqlite3_bind_int64(st, 2, audit->at_s);
    auth_store_bind_text(st, 3, audit->actor);
    auth_store_bind_text(st, 4, audit->action);
    auth_store_bind_text(st, 5, audit->subject);
    auth_store_bind_text(st, 6, audit->detail);
    auth_store_bind_text(st, 7, audit->account);
    auth_store_bind_text(st, 8, audit->from);
    return auth_store_run(store, st);
}

bool auth_store_last_id(struct auth_store *store, int64_t *id, struct why *why)
{
    sqlite3_stmt *st = db_prepare(store->db, "SELECT max(coalesce((SELECT max(id) FROM audit), 0),"
                                             " coalesce((SELECT max(id) FROM refusal), 0))");
    bool ok = db_step(store->db, st) == DB_ROW || why_set(why, "%s", db_error(store->db));

    *id = ok ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return ok;
}

/* --- refusals --------------------------------------------------------------------------------- */

static bool upsert_refusal(struct auth_store *store, const struct refusal *row)
{
    sqlite3_stmt *st = db_prepare(
        store->db, "INSERT INTO refusal (id, action, at_s, last_s, count, actor, account, origin,"
                   " protocol, subject, rule)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
                   " ON CONFLICT (id) DO UPDATE SET last_s = ?4, count = ?5");

    sqlite3_bind_int64(st, 1, row->id);
    auth_store_bind_text(st, 2, row->texts.action);
    sqlite3_bind_int64(st, 3, row->at_s);
    sqlite3_bind_int64(st, 4, row->last_s);
    sqlite3_bind_int64(st, 5, (int64_t)row->count);
    auth_store_bind_text(st, 6, row->texts.actor);
    auth_store_bind_text(st, 7, row->texts.account);
    auth_store_bind_text(st, 8, row->texts.from);
    auth_store_bind_text(st, 9, row->texts.protocol);
    auth_store_bind_text(st, 10, row->texts.subject);
    auth_store_bind_text(st, 11, row->texts.rule);
    return auth_store_run(store, st);
}

bool auth_store_save_refusals(struct auth_store *store, const struct refusal *rows, size_t count,
                              struct why *why)
{
    bool ok = true;

    if (!auth_store_begin(store, why))
        return false;
    for (size_t i = 0; ok && i < count; i++)
        ok = upsert_refusal(store, &rows[i]);
    return auth_store_finish(store, ok, why);
}

bool auth_store_count_refusals(struct auth_store *store, const char *action, int64_t *count)
{
    sqlite3_stmt *st = db_prepare(store->db, "SELECT count(*) FROM refusal WHERE action = ?1");

    auth_store_bind_text(st, 1, action);
    bool ok = db_step(store->db, st) == DB_ROW;
    if (ok)
        *count = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return ok;
}

bool auth_store_prune_refusals(struct auth_store *store, const char *action, int64_t before_id,
                               int64_t most, int64_t *removed, struct why *why)
{
    *removed = 0;
    if (!auth_store_begin(store, why))
        return false;
    sqlite3_stmt *st =
        db_prepare(store->db, "DELETE FROM refusal WHERE id IN (SELECT id FROM refusal"
                              " WHERE action = ?1 AND id < ?2 ORDER BY id LIMIT ?3)");
    auth_store_bind_text(st, 1, action);
    sqlite3_bind_int64(st, 2, before_id);
    sqlite3_bind_int64(st, 3, most);
    bool ok = auth_store_run(store, st);
    int64_t changed = ok ? sqlite3_changes64(db_handle(store->db)) : 0;
    if (!auth_store_finish(store, ok, why))
        return false;
    *removed = changed;
    return true;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* ?1 before, ?2 the limit, ?3 since, ?4 the first id, ?5 the action, ?6 the key, ?7 the account */
#define WANTED                                                                                     \
    " WHERE id < ?1 AND id >= ?4 AND at_s >= ?3"                                                   \
    " AND (?5 = '' OR action = ?5 OR substr(action, 1, length(?5) + 1) = ?5 || '.')"               \
    " AND (?6 = '' OR actor = ?6 OR subject = ?6)"
#define OF_ACCOUNT                                                                                 \
    " AND account IN (SELECT ?7 UNION ALL SELECT handle FROM account WHERE parent = ?7)"
#define NEWEST_FIRST " ORDER BY id DESC LIMIT ?2"
/* Each table gives no more than is wanted of both. */
#define READ(which)                                                                                \
    "SELECT * FROM (SELECT id, at_s, at_s AS last_s, 1 AS count, actor, origin, '' AS protocol,"   \
    " account, action, subject, detail FROM audit" WANTED which NEWEST_FIRST ")"                   \
    " UNION ALL "                                                                                  \
    "SELECT * FROM (SELECT id, at_s, last_s, count, actor, origin, protocol,"                      \
    " account, action, subject, rule FROM refusal" WANTED which NEWEST_FIRST ")" NEWEST_FIRST

static int64_t before_of(const struct auth_audit_filter *filter)
{
    int64_t before = filter->before == 0 ? INT64_MAX : filter->before;

    /* With ?4 nothing else need be looked at. */
    return filter->reference != 0 && filter->reference < before ? filter->reference + 1 : before;
}

/* The id of the line that stands so far before the others, or 0; ?1 before, ?2 how far, ?3 the
 * account. Read from an index alone, but for the refusals of all. */
static int64_t ask_id(struct auth_store *store, sqlite3_stmt *st, int64_t before, int64_t distance,
                      const char *account)
{
    sqlite3_bind_int64(st, 1, before);
    sqlite3_bind_int64(st, 2, distance);
    if (account != NULL)
        auth_store_bind_text(st, 3, account);
    int64_t id = db_step(store->db, st) == DB_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return id;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#define FAR_BEFORE(table, which)                                                                   \
    "SELECT id FROM " table " WHERE " which "id < ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2"

static int64_t first_of_all(struct auth_store *store, int64_t before)
{
    return later(
        ask_id(store, db_prepare(store->db, FAR_BEFORE("audit", "")), before, AUDIT_LOOK_MAX, NULL),
        ask_id(store, db_prepare(store->db, FAR_BEFORE("refusal", "")), before, AUDIT_LOOK_MAX,
               NULL));
}

/* Each account has its part of what is looked at, however many lines others have in between. */
static int64_t first_of_accounts(struct auth_store *store, const char *account, int64_t before)
{
    sqlite3_stmt *st = db_prepare(store->db, "SELECT count(*) FROM account WHERE parent = ?1");
    int64_t first = 0, children = 0;

    auth_store_bind_text(st, 1, account);
    if (db_step(store->db, st) == DB_ROW)
        children = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    int64_t distance = AUDIT_LOOK_MAX / (children + 1) + 1;
    st = db_prepare(store->db, "SELECT ?1 UNION ALL SELECT handle FROM account WHERE parent = ?1");
    auth_store_bind_text(st, 1, account);
    while (db_step(store->db, st) == DB_ROW) {
        const char *handle = (const char *)sqlite3_column_text(st, 0);
        first = later(first,
                      ask_id(store, db_prepare(store->db, FAR_BEFORE("audit", "account = ?3 AND ")),
                             before, distance, handle));
        first = later(
            first, ask_id(store, db_prepare(store->db, FAR_BEFORE("refusal", "account = ?3 AND ")),
                          before, distance, handle));
    }
    sqlite3_reset(st);
    return first;
}

/* No line before this one is looked at in one question: those who ask for few of many must not hold
 * up the thread. 0: all are. */
static int64_t first_looked_at(struct auth_store *store, const struct auth_audit_filter *filter)
{
    int64_t before = before_of(filter);

    if (filter->reference != 0)
        return 0;
    return filter->account == NULL ? first_of_all(store, before)
                                   : first_of_accounts(store, filter->account, before);
}

static sqlite3_stmt *prepare_read(struct auth_store *store, const struct auth_audit_filter *filter,
                                  int64_t first_id)
{
    sqlite3_stmt *st = filter->account == NULL ? db_prepare(store->db, READ(""))
                                               : db_prepare(store->db, READ(OF_ACCOUNT));

    sqlite3_bind_int64(st, 1, before_of(filter));
    sqlite3_bind_int64(st, 2, (int64_t)filter->limit);
    sqlite3_bind_int64(st, 3, filter->since_s);
    sqlite3_bind_int64(st, 4, first_id);
    auth_store_bind_text(st, 5, filter->action == NULL ? "" : filter->action);
    auth_store_bind_text(st, 6, filter->key == NULL ? "" : filter->key);
    if (filter->account != NULL)
        auth_store_bind_text(st, 7, filter->account);
    return st;
}

static const char *column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *text = sqlite3_column_text(st, i);

    return text == NULL ? "" : (const char *)text;
}

static struct auth_audit_view read_view(sqlite3_stmt *st)
{
    int64_t count = sqlite3_column_int64(st, 3);

    return (struct auth_audit_view){
        .reference = sqlite3_column_int64(st, 0),
        .at_s = sqlite3_column_int64(st, 1),
        .last_s = sqlite3_column_int64(st, 2),
        .count = count > 0 ? (uint64_t)count : 0,
        .actor = column_text(st, 4),
        .from = column_text(st, 5),
        .protocol = column_text(st, 6),
        .account = column_text(st, 7),
        .action = column_text(st, 8),
        .subject = column_text(st, 9),
        .detail = column_text(st, 10),
    };
}

bool auth_store_read_audit(struct auth_store *store, const struct auth_audit_filter *filter,
                           void (*show)(void *owner, const struct auth_audit_view *view),
                           void *owner, int64_t *next, struct why *why)
{
    int64_t first_id = first_looked_at(store, filter);
    sqlite3_stmt *st = prepare_read(store, filter, later(first_id, filter->reference));
    enum db_result result;
    size_t count = 0;

    *next = first_id;
    while ((result = db_step(store->db, st)) == DB_ROW) {
        struct auth_audit_view view = read_view(st);
        show(owner, &view);
        if (++count == filter->limit)
            *next = view.reference;
    }
    bool ok = result == DB_OK || why_set(why, "%s", db_error(store->db));
    sqlite3_reset(st);
    return ok;
}
