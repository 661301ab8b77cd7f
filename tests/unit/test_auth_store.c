/* test_auth_store.c - what keys.db keeps, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <sys/stat.h>

#include "relay/base/ident.h"
#include "tests/support/auth_place.h"

static const struct audit by_operator = { PLACE_NOW_S, "operator", "test",     "subject",
                                          "detail",    "default",  "192.0.2.7" };
static const uint8_t hash_a[KEY_HASH_BYTES] = "aaaabbbbccccddddeeeeffffgggghhh";
static const uint8_t hash_b[KEY_HASH_BYTES] = "the tombstone, as long as a hash";

static struct auth_store *open_store(struct place *place)
{
    struct auth_store *store = NULL;

    if (!auth_store_open(&store, place->keys, &place->why))
        fail_msg("%s", place->why.text);
    return store;
}

static struct auth_store *found_store(struct place *place)
{
    struct auth_store *store = open_store(place);

    assert_true(auth_store_found(store, hash_a, PLACE_NOW_S, &place->why));
    return store;
}

/* From outside, while no store is open. */
static int64_t ask(struct place *place, const char *sql)
{
    sqlite3 *handle;
    sqlite3_stmt *st;
    int64_t number = -1;

    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    if (sqlite3_prepare_v2(handle, sql, -1, &st, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(handle));
    if (sqlite3_step(st) == SQLITE_ROW)
        number = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(handle);
    return number;
}

static void run(struct place *place, const char *sql)
{
    sqlite3 *handle;

    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    if (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(handle));
    sqlite3_close(handle);
}

static const char *const domains[] = { "good.example", "*.good.example" };
static const char *const networks[] = { "10.0.0.0/8" };

static struct key_row row_of(const char *id)
{
    return (struct key_row){
        .id = id,
        .account = "default",
        .name = "cron",
        .prefix = "lpk_",
        .secrets = { [SECRET_CURRENT] = { .hash = hash_a, .tail = "wxyz", .made_s = PLACE_NOW_S } },
        .scopes = AUTH_SEND | AUTH_METRICS,
        .test = true,
        .state = KEY_HELD,
        .rate_per_minute = UINT32_MAX,
        .recipients_per_day = INT64_MAX,
        .message_size_bytes = INT64_MAX,
        .sessions_max = UINT32_MAX,
        .created_s = PLACE_NOW_S,
        .expires_s = PLACE_NOW_S + 9,
        .rules = { [RULE_DOMAIN] = { domains, 2 }, [RULE_NETWORK] = { networks, 1 } },
    };
}

struct seen {
    unsigned accounts, parents, domains, keys, rules, usages;
    uint8_t hash[KEY_HASH_BYTES];
    uint8_t former_hash[KEY_HASH_BYTES];
    struct secret_row former; /* but for its texts */
    enum key_state state;
    enum auth_rank held_by;
    struct usage_row usage;
    char order[64]; /* of the rules: their first letters and values */
    bool refuse;
};

static bool on_account(void *owner, const struct account_row *row, struct why *why)
{
    (void)why;
    assert_string_equal(row->plan, "default");
    ((struct seen *)owner)->accounts++;
    return true;
}

static bool on_parent(void *owner, const char *handle, const char *parent, struct why *why)
{
    (void)why;
    assert_string_equal(handle, "below");
    assert_string_equal(parent, "default");
    ((struct seen *)owner)->parents++;
    return true;
}

static bool on_domain(void *owner, const struct domain_row *row, struct why *why)
{
    (void)why;
    assert_string_equal(row->account, "default");
    assert_true(row->verified);
    ((struct seen *)owner)->domains++;
    return true;
}

static bool on_key(void *owner, const struct key_row *row, struct why *why)
{
    struct seen *seen = owner;
    struct key_row want = row_of(row->id);

    assert_string_equal(row->account, want.account);
    assert_string_equal(row->name, want.name);
    assert_string_equal(row->prefix, want.prefix);
    assert_string_equal(row->secrets[SECRET_CURRENT].tail, "wxyz");
    assert_int_equal(row->scopes, want.scopes);
    assert_true(row->test);
    assert_int_equal(row->rate_per_minute, want.rate_per_minute);
    assert_int_equal(row->recipients_per_day, want.recipients_per_day);
    assert_int_equal(row->message_size_bytes, want.message_size_bytes);
    assert_int_equal(row->sessions_max, want.sessions_max);
    assert_int_equal(row->created_s, want.created_s);
    assert_int_equal(row->expires_s, want.expires_s);
    memcpy(seen->hash, row->secrets[SECRET_CURRENT].hash, KEY_HASH_BYTES);
    seen->former = row->secrets[SECRET_FORMER];
    if (seen->former.hash != NULL)
        memcpy(seen->former_hash, seen->former.hash, KEY_HASH_BYTES);
    seen->held_by = row->held_by;
    seen->state = row->state;
    seen->keys++;
    return !seen->refuse || why_set(why, "refused");
}

static bool on_rule(void *owner, const struct rule_row *row, struct why *why)
{
    struct seen *seen = owner;
    size_t len = strlen(seen->order);

    (void)why;
    seen->rules++;
    snprintf(seen->order + len, sizeof(seen->order) - len, "%d%s ", (int)row->kind, row->value);
    return true;
}

static bool on_usage(void *owner, const struct usage_row *row, struct why *why)
{
    struct seen *seen = owner;

    (void)why;
    seen->usage = *row;
    seen->usages++;
    return true;
}

static const struct auth_store_visitor visitor = { on_account, on_parent, on_domain,
                                                   on_key,     on_rule,   on_usage };

static void what_was_stored_is_there_after_a_restart(void **state)
{
    static const struct domain_row domain = { "good.example", "default", false, PLACE_NOW_S };
    struct usage_row usage = { .key = "AAAAAAAA",
                               .uses = { { 7, "::1", "smtp" }, { 5, "", "http" } },
                               .day = 20000,
                               .recipients = 3 };
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct key_row key = row_of("AAAAAAAA");
    struct domain_row verified = domain;
    struct seen seen = { 0 };
    uint8_t canary[KEY_HASH_BYTES];
    bool found;

    verified.verified = true;
    assert_true(auth_store_put_domain(store, &domain, &by_operator, &place->why));
    assert_true(auth_store_put_domain(store, &verified, &by_operator, &place->why));
    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
    assert_true(auth_store_save_usage(store, &usage, 1, &place->why));
    usage.recipients = 4;
    assert_true(auth_store_save_usage(store, &usage, 1, &place->why));
    auth_store_close(store);

    store = open_store(place);
    assert_true(auth_store_read_canary(store, canary, &found, &place->why));
    assert_true(found);
    assert_memory_equal(canary, hash_a, sizeof(canary));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_int_equal(seen.accounts, 1);
    assert_int_equal(seen.domains, 1);
    assert_int_equal(seen.keys, 1);
    assert_memory_equal(seen.hash, hash_a, sizeof(seen.hash));
    assert_int_equal(seen.state, KEY_HELD);
    assert_string_equal(seen.order, "0good.example 0*.good.example 310.0.0.0/8 ");
    assert_int_equal(seen.usages, 1);
    assert_int_equal(seen.usage.uses[SECRET_CURRENT].last_s, 7);
    assert_string_equal(seen.usage.uses[SECRET_CURRENT].address, "::1");
    assert_string_equal(seen.usage.uses[SECRET_CURRENT].protocol, "smtp");
    assert_int_equal(seen.usage.uses[SECRET_FORMER].last_s, 5);
    assert_string_equal(seen.usage.uses[SECRET_FORMER].protocol, "http");
    assert_int_equal(seen.usage.day, 20000);
    assert_int_equal(seen.usage.recipients, 4);
    auth_store_close(store);
    assert_int_equal(ask(place, "SELECT count(*) FROM audit WHERE actor = 'operator'"), 3);
    assert_int_equal(ask(place, "PRAGMA application_id"), 0x4c504b59);
}

/* keys.db as the first version made it. */
static const char first_version[] =
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
    ") STRICT;"
    "INSERT INTO account VALUES ('default', 'default', 0, 5), ('acme', 'default', 0, 6);"
    "INSERT INTO domain VALUES ('a.example', 'default', 1, 7), ('b.example', 'acme', 0, 8);"
    "INSERT INTO audit VALUES (1, 1600000000, 'operator', 'account.create', 'acme', ''),"
    "  (2, 1600000000, 'operator', 'domain.add', 'b.example', 'acme'),"
    "  (3, -5, 'operator', 'key.create', 'gone0000', ''),"
    "  (4, 9000000000000000000, 'operator', 'key.revoke', 'gone0000', '');"
    "PRAGMA application_id = 1280330585;"
    "PRAGMA user_version = 1;";

static void the_first_version_is_brought_up_to_date_with_all_it_has(void **state)
{
    struct place *place = *state;

    run(place, first_version);
    assert_int_equal(chmod(place->keys, 0600), 0);
    auth_store_close(open_store(place));
    assert_int_equal(ask(place, "SELECT count(*) FROM account"), 2);
    assert_int_equal(ask(place, "SELECT count(*) FROM domain"), 2);
    assert_int_equal(ask(place, "SELECT count(*) FROM audit WHERE account = 'acme'"), 2);
    assert_int_equal(ask(place, "SELECT id FROM audit WHERE seq = 2"),
                     ident_at_time_ms(INT64_C(1600000000000)) + 2);
    assert_int_equal(ask(place, "SELECT count(DISTINCT id) FROM audit WHERE id > 0"), 4);
    assert_int_equal(ask(place, "SELECT created_s FROM domain WHERE account = 'default'"
                                " AND pattern = 'a.example' AND verified = 1"),
                     7);
    assert_int_equal(ask(place, "SELECT created_s FROM domain WHERE account = 'acme'"
                                " AND pattern = 'b.example' AND verified = 0"),
                     8);
}

static void two_accounts_may_claim_a_domain_and_one_may_have_it(void **state)
{
    static const struct account_row acme = { .handle = "acme", .plan = "default" };
    struct domain_row rows[] = {
        { "good.example", "default", false, PLACE_NOW_S },
        { "good.example", "acme", false, PLACE_NOW_S },
    };
    struct place *place = *state;
    struct auth_store *store = found_store(place);

    assert_true(auth_store_add_account(store, &acme, &by_operator, &place->why));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(auth_store_put_domain(store, &rows[i], &by_operator, &place->why));
    rows[0].verified = rows[1].verified = true;
    assert_true(auth_store_put_domain(store, &rows[0], &by_operator, &place->why));
    assert_false(auth_store_put_domain(store, &rows[1], &by_operator, &place->why));
    assert_true(
        auth_store_remove_domain(store, "default", "good.example", &by_operator, &place->why));
    assert_true(auth_store_put_domain(store, &rows[1], &by_operator, &place->why));
    auth_store_close(store);
    assert_int_equal(ask(place, "SELECT count(*) FROM domain WHERE account = 'acme'"), 1);
    assert_int_equal(ask(place, "SELECT count(*) FROM domain"), 1);
}

static const struct audit by_key = {
    PLACE_NOW_S, "AAAAAAAA", "test", "subject", "", "default", ""
};

static void rotating_and_revoking_leave_no_hash_in_any_file(void **state)
{
    static const uint8_t hash_c[KEY_HASH_BYTES] = "another secret of the same key.";
    struct place *place = *state;
    struct auth_store *store = open_store(place);
    struct key_row key = row_of("AAAAAAAA");
    struct secrets_change change = { .key = "AAAAAAAA", .rotated = true, .audit = by_key };
    struct usage_row usage = { .key = "AAAAAAAA", .uses = { { 7, "::1", "smtp" } } };
    struct seen seen = { 0 };

    assert_true(auth_store_found(store, hash_b, PLACE_NOW_S, &place->why));
    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
    assert_true(auth_store_save_usage(store, &usage, 1, &place->why));
    change.secrets[SECRET_CURRENT] = (struct secret_row){ hash_c, "wxyz", 11, 0, false };
    change.secrets[SECRET_FORMER] = (struct secret_row){ hash_a, "abcd", 10, 20, false };
    assert_true(auth_store_put_secrets(store, &change, 1, &place->why));
    assert_true(place_holds(place, slice_make(hash_a, sizeof(hash_a))));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_memory_equal(seen.hash, hash_c, sizeof(seen.hash));
    assert_memory_equal(seen.former_hash, hash_a, sizeof(seen.former_hash));
    assert_int_equal(seen.former.made_s, 10);
    assert_int_equal(seen.former.until_s, 20);
    assert_false(seen.former.erased);
    assert_int_equal(seen.usage.uses[SECRET_CURRENT].last_s, 0);
    assert_int_equal(seen.usage.uses[SECRET_FORMER].last_s, 7);
    assert_string_equal(seen.usage.uses[SECRET_FORMER].address, "::1");

    change.rotated = false;
    change.secrets[SECRET_FORMER] = (struct secret_row){ hash_b, "abcd", 10, 20, true };
    assert_true(auth_store_put_secrets(store, &change, 1, &place->why));
    assert_false(place_holds(place, slice_make(hash_a, sizeof(hash_a))));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_true(seen.former.erased);

    assert_true(place_holds(place, slice_make(hash_c, sizeof(hash_c))));
    change.revoked = true;
    change.secrets[SECRET_CURRENT].hash = hash_b;
    assert_true(auth_store_put_secrets(store, &change, 1, &place->why));
    assert_false(place_holds(place, slice_make(hash_c, sizeof(hash_c))));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_int_equal(seen.state, KEY_REVOKED);
    assert_memory_equal(seen.hash, hash_b, sizeof(seen.hash));
    auth_store_close(store);
}

static void accounts_and_what_they_are_to_each_other_are_kept(void **state)
{
    static const struct account_row below = { .handle = "below",
                                              .plan = "gone",
                                              .parent = "default" };
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct seen seen = { 0 };

    assert_true(auth_store_add_account(store, &below, &by_operator, &place->why));
    assert_true(auth_store_set_suspended(store, "below", true, AUTH_RANK_PARENT, &by_operator,
                                         &place->why));
    assert_true(auth_store_set_plan(store, "below", "default", &by_operator, &place->why));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_int_equal(seen.accounts, 2);
    assert_int_equal(seen.parents, 1);
    auth_store_close(store);
    assert_int_equal(ask(place, "SELECT suspended * 10 + suspended_by FROM account"
                                " WHERE handle = 'below'"),
                     11);
    assert_int_equal(ask(place, "SELECT count(*) FROM audit"), 3);
}

static void a_state_and_its_rank_are_kept(void **state)
{
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct key_row key = row_of("AAAAAAAA");
    struct seen seen = { 0 };

    key.state = KEY_ACTIVE;
    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
    assert_true(auth_store_set_state(store, "AAAAAAAA", KEY_HELD, AUTH_RANK_PARENT, &by_operator,
                                     &place->why));
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    assert_int_equal(seen.state, KEY_HELD);
    assert_int_equal(seen.held_by, AUTH_RANK_PARENT);
    auth_store_close(store);
}

/* Nobody logs in meanwhile, so nothing else brings the log in. */
static void many_changes_leave_a_short_log(void **state)
{
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    const struct key_row row = row_of("AAAAAAAA");
    char path[512];
    struct stat info;

    assert_true(auth_store_add_key(store, &row, &by_operator, &place->why));
    for (int i = 0; i < 400; i++)
        assert_true(auth_store_set_state(store, row.id, i % 2 == 0 ? KEY_HELD : KEY_ACTIVE,
                                         AUTH_RANK_OPERATOR, &by_operator, &place->why));
    snprintf(path, sizeof(path), "%s-wal", place->keys);
    assert_int_equal(stat(path, &info), 0);
    assert_in_range(info.st_size, 0, 1100 * 4120); /* a page and its header */
    auth_store_close(store);
    assert_int_equal(ask(place, "SELECT count(*) FROM audit"), 401);
}

static void a_failing_change_changes_nothing(void **state)
{
    static const struct account_row twice = { .handle = "default", .plan = "default" };
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct key_row key = row_of("AAAAAAAA");

    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
    assert_false(auth_store_add_key(store, &key, &by_operator, &place->why)); /* the same id */
    assert_true(place->why.text[0] != '\0');
    assert_false(auth_store_add_account(store, &twice, &by_operator, &place->why));
    key.id = "BBBBBBBB";
    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why)); /* it goes on */
    assert_true(
        auth_store_remove_domain(store, "default", "none.example", &by_operator, &place->why));
    auth_store_close(store);
    assert_int_equal(ask(place, "SELECT count(*) FROM api_key"), 2);
    assert_int_equal(ask(place, "SELECT count(*) FROM key_rule"), 6);
    assert_int_equal(ask(place, "SELECT count(*) FROM audit"), 3);
}

static void a_visitor_may_end_the_loading(void **state)
{
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct key_row key = row_of("AAAAAAAA");
    struct seen seen = { .refuse = true };

    assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
    assert_false(auth_store_load(store, &visitor, &seen, &place->why));
    assert_string_equal(place->why.text, "refused");
    assert_int_equal(seen.rules, 0);
    seen = (struct seen){ 0 };
    assert_true(auth_store_load(store, &visitor, &seen, &place->why));
    auth_store_close(store);
}

static void damage_is_refused_by_name(void **state)
{
    static const char *const damages[] = {
        "UPDATE api_key SET scopes = 4096",
        "UPDATE api_key SET rate_per_minute = -1",
        "UPDATE api_key SET recipients_per_day = -1",
        "UPDATE meta SET value = x'00' WHERE name = 'canary'",
        "UPDATE account SET suspended_by = 3",
        "UPDATE api_key SET message_size = -1",
        "UPDATE api_key SET max_sessions = -1",
        "UPDATE api_key SET held_by = 3",
        "UPDATE api_key SET old_hash = hash", /* and no end */
        "PRAGMA ignore_check_constraints=ON; UPDATE api_key SET old_until_s = 1, old_hash = x'00'",
        "PRAGMA ignore_check_constraints=ON; UPDATE api_key SET state = 'free'",
        "PRAGMA ignore_check_constraints=ON; UPDATE api_key SET hash = x'00'",
        "PRAGMA ignore_check_constraints=ON; UPDATE key_rule SET kind = 'any' WHERE position = 0"
        " AND kind = 'network'",
    };
    struct place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        struct auth_store *store = found_store(place);
        struct key_row key = row_of("AAAAAAAA");
        struct seen seen = { 0 };
        uint8_t canary[KEY_HASH_BYTES];
        bool found;
        assert_true(auth_store_add_key(store, &key, &by_operator, &place->why));
        auth_store_close(store);
        run(place, damages[i]);
        store = NULL;
        if (auth_store_open(&store, place->keys, &place->why) &&
            auth_store_read_canary(store, canary, &found, &place->why) &&
            auth_store_load(store, &visitor, &seen, &place->why))
            fail_msg("row %zu: %s", i, damages[i]);
        if (strstr(place->why.text, place->keys) == NULL)
            fail_msg("row %zu: %s", i, place->why.text);
        auth_store_close(store);
        unlink(place->keys);
    }
}

static void a_broken_file_is_refused(void **state)
{
    struct place *place = *state;
    struct auth_store *store = found_store(place);
    struct stat info;

    auth_store_close(store);
    assert_int_equal(stat(place->keys, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(truncate(place->keys, info.st_size / 2), 0);
    assert_false(auth_store_open(&store, place->keys, &place->why));
    assert_non_null(strstr(place->why.text, place->keys));
    auth_store_close(NULL);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make_folder, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(what_was_stored_is_there_after_a_restart),
        IN_PLACE(the_first_version_is_brought_up_to_date_with_all_it_has),
        IN_PLACE(two_accounts_may_claim_a_domain_and_one_may_have_it),
        IN_PLACE(rotating_and_revoking_leave_no_hash_in_any_file),
        IN_PLACE(accounts_and_what_they_are_to_each_other_are_kept),
        IN_PLACE(a_state_and_its_rank_are_kept),
        IN_PLACE(many_changes_leave_a_short_log),
        IN_PLACE(a_failing_change_changes_nothing),
        IN_PLACE(a_visitor_may_end_the_loading),
        IN_PLACE(damage_is_refused_by_name),
        IN_PLACE(a_broken_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
