/* test_auth.c - who gets in, what that counts, and what a restart keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "relay/base/base64.h"
#include "tests/support/auth_place.h"

/* --- checking --------------------------------------------------------------------------------- */

static void only_the_whole_key_gets_in(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place), other = place_key(place);
    char stranger[AUTH_KEY_TEXT_BYTES], stranger_id[AUTH_KEY_ID_BYTES];
    char crossed[AUTH_KEY_TEXT_BYTES];
    struct auth_grant *grant = NULL;

    key_make("lpk_", stranger, stranger_id);
    memcpy(crossed, made.secret, sizeof(crossed)); /* the id of one, the secret of the other */
    memcpy(crossed + 4 + KEY_ID_DIGITS, other.secret + 4 + KEY_ID_DIGITS, KEY_SECRET_DIGITS);
    char *wrong[] = { stranger, crossed, made.id, "", "lpk_", "hunter2", other.secret + 1 };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (place_check(place, wrong[i], &grant) != AUTH_UNKNOWN || grant != NULL)
            fail_msg("row %zu: %s", i, wrong[i]);
    grant = place_grant(place, made.secret);
    assert_string_equal(auth_grant_key_id(grant), made.id);
    assert_string_equal(auth_grant_account(grant), "default");
    assert_true(auth_grant_is_current(grant, PLACE_NOW_S));
    auth_grant_unref(grant);
}

/* The id of a key, a strange secret, and check digits that are right: only the hash can tell. */
static void check_digits_do_not_open(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;
    char forged[AUTH_KEY_TEXT_BYTES], other_id[AUTH_KEY_ID_BYTES];
    char id[KEY_ID_DIGITS];

    key_make("lpk_", forged, other_id);
    memcpy(forged + 4, made.id, KEY_ID_DIGITS);
    base62_format(key_crc32(slice_make(forged, 34)), KEY_CHECK_DIGITS, forged + 34);
    assert_true(key_parse(slice_of(forged), id));
    assert_memory_equal(id, made.id, KEY_ID_DIGITS);
    assert_int_equal(place_check(place, forged, &grant), AUTH_UNKNOWN);
}

static void refusals_come_in_their_order(void **state)
{
    static const char *const network = "10.0.0.0/8";
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct auth_grant *grant = NULL;

    spec.expires_s = PLACE_NOW_S + 10;
    spec.allow_from = place_one(&network);
    struct made made = place_key_of(place, &spec);
    static const struct {
        const char *address;
        unsigned scopes;
        int64_t after_s;
        enum auth_verdict want;
    } cases[] = {
        { "10.1.1.1", AUTH_SEND, 0, AUTH_OK },
        { "10.1.1.1", 0, 9, AUTH_OK },
        { "10.1.1.1", AUTH_KEYS, 0, AUTH_WRONG_SCOPE },
        { "10.1.1.1", AUTH_SEND | AUTH_KEYS, 0, AUTH_WRONG_SCOPE },
        { "11.1.1.1", AUTH_KEYS, 0, AUTH_WRONG_ADDRESS },
        { "2001:db8::1", AUTH_SEND, 0, AUTH_WRONG_ADDRESS },
        { NULL, AUTH_SEND, 0, AUTH_WRONG_ADDRESS },
        { "11.1.1.1", AUTH_KEYS, 10, AUTH_EXPIRED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct auth_peer peer = place_peer(cases[i].address);
        enum auth_verdict got = auth_check(place->auth, slice_of(made.secret), cases[i].scopes,
                                           &peer, PLACE_NOW_S + cases[i].after_s, &grant);
        if (got != cases[i].want || (grant != NULL) != (got == AUTH_OK))
            fail_msg("row %zu: %s", i, auth_verdict_text(got));
        auth_grant_unref(grant);
        grant = NULL;
    }
    assert_int_equal(auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    struct auth_peer stranger = place_peer("11.1.1.1");
    assert_int_equal(auth_check(place->auth, slice_of(made.secret), AUTH_KEYS, &stranger,
                                PLACE_NOW_S + 10, &grant),
                     AUTH_REVOKED);
}

static void every_verdict_has_a_text(void **state)
{
    (void)state;
    for (int verdict = AUTH_OK; verdict <= AUTH_WRONG_SCOPE; verdict++)
        assert_true(strlen(auth_verdict_text((enum auth_verdict)verdict)) > 5);
    assert_string_equal(auth_verdict_text((enum auth_verdict)99), auth_verdict_text(AUTH_UNKNOWN));
}

static void renewing_gives_what_the_key_may_do_now(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = place_grant(place, made.secret);

    assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    place_domain(place, "default", "good.example");
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    assert_int_equal(auth_grant_renew(place->auth, &grant, PLACE_NOW_S), AUTH_OK);
    assert_true(auth_grant_is_current(grant, PLACE_NOW_S));
    assert_true(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    assert_int_equal(auth_domain_remove(place->auth, "operator", "default", "good.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    assert_int_equal(auth_grant_renew(place->auth, &grant, PLACE_NOW_S), AUTH_OK);
    assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    assert_int_equal(auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    struct auth_grant *kept = grant;
    assert_int_equal(auth_grant_renew(place->auth, &grant, PLACE_NOW_S), AUTH_REVOKED);
    assert_ptr_equal(grant, kept);
    auth_grant_unref(grant);
}

/* --- counting --------------------------------------------------------------------------------- */

static void refusals_close_the_door_and_successes_do_not(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_peer peer = place_peer("192.0.2.1"), local = place_peer(NULL);
    struct auth_grant *grant = NULL;

    for (int i = 0; i < 1000; i++)
        auth_grant_unref(place_grant(place, made.secret));
    for (int i = 0; i < 9; i++)
        place_check(place, "wrong", &grant);
    auth_grant_unref(place_grant(place, made.secret)); /* takes the nine back */
    for (int i = 0; i < 9; i++)
        place_check(place, "wrong", &grant);
    assert_int_equal(auth_penalty_s(place->auth, &peer, PLACE_NOW_S), 0);
    place_check(place, "wrong", &grant);
    assert_int_equal(auth_penalty_s(place->auth, &peer, PLACE_NOW_S), 900);
    for (int i = 0; i < 20; i++)
        auth_check(place->auth, SLICE("wrong"), AUTH_SEND, &local, PLACE_NOW_S, &grant);
    assert_int_equal(auth_penalty_s(place->auth, &local, PLACE_NOW_S), 0);
    assert_int_equal(auth_tarpit_ms(place->auth, &local, PLACE_NOW_S), 0);
    assert_int_equal(auth_tarpit_ms(place->auth, &peer, PLACE_NOW_S), 8000);
}

static void limits_come_from_the_key_or_else_its_plan(void **state)
{
    static const struct auth_plan plans[] = { { "default", 2, 3, 10 }, { "free", 1, 1, 1 } };
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct made plain = place_key(place);
    unsigned wait_s = 0;

    spec.rate_per_minute = 1;
    spec.recipients_per_day = 1;
    struct made own = place_key_of(place, &spec);
    struct auth_grant *by_plan = place_grant(place, plain.secret);
    struct auth_grant *by_key = place_grant(place, own.secret);
    int64_t now_ms = PLACE_NOW_S * 1000;

    for (int i = 0; i < 1000; i++)
        assert_true(auth_take_message(place->auth, by_plan, now_ms, &wait_s));
    assert_true(auth_take_message(place->auth, by_key, now_ms, &wait_s));
    assert_false(auth_take_message(place->auth, by_key, now_ms, &wait_s));
    assert_int_equal(wait_s, 60);
    auth_set_plans(place->auth, plans, ARRAY_LEN(plans));
    assert_true(auth_grant_is_current(by_plan, PLACE_NOW_S)); /* but its limits follow */
    assert_true(auth_take_message(place->auth, by_plan, now_ms, &wait_s));
    assert_true(auth_take_message(place->auth, by_plan, now_ms, &wait_s));
    assert_false(auth_take_message(place->auth, by_plan, now_ms, &wait_s));
    assert_int_equal(wait_s, 30);
    for (int i = 0; i < 3; i++)
        assert_true(auth_take_recipient(place->auth, by_plan, PLACE_NOW_S, &wait_s));
    assert_false(auth_take_recipient(place->auth, by_plan, PLACE_NOW_S, &wait_s));
    assert_true(auth_take_recipient(place->auth, by_key, PLACE_NOW_S, &wait_s));
    assert_false(auth_take_recipient(place->auth, by_key, PLACE_NOW_S, &wait_s));
    assert_int_equal(wait_s, 86400 - PLACE_NOW_S % 86400);
    auth_grant_unref(by_plan);
    auth_grant_unref(by_key);
}

enum { TAKERS = 4, RATE = 1000 };

struct taking {
    struct auth *auth;
    struct auth_grant *grant;
    atomic_uint messages, recipients;
};

static void *take_all(void *owner)
{
    struct taking *taking = owner;
    unsigned wait_s;

    while (auth_take_message(taking->auth, taking->grant, PLACE_NOW_S * 1000, &wait_s))
        atomic_fetch_add(&taking->messages, 1);
    while (auth_take_recipient(taking->auth, taking->grant, PLACE_NOW_S, &wait_s))
        atomic_fetch_add(&taking->recipients, 1);
    return NULL;
}

static void limits_are_exact_under_many_threads(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    pthread_t threads[TAKERS];

    spec.rate_per_minute = RATE;
    spec.recipients_per_day = RATE;
    struct made made = place_key_of(place, &spec);
    struct taking taking = { .auth = place->auth, .grant = place_grant(place, made.secret) };
    for (size_t i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &taking), 0);
    for (int i = 0; i < 10; i++) /* meanwhile the main thread writes what was counted */
        assert_true(auth_flush(place->auth));
    for (size_t i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&taking.messages), RATE);
    assert_int_equal(atomic_load(&taking.recipients), RATE);
    auth_grant_unref(taking.grant);
    place_reopen(place);
    taking.grant = place_grant(place, made.secret);
    unsigned wait_s;
    assert_false(auth_take_recipient(place->auth, taking.grant, PLACE_NOW_S, &wait_s));
    assert_true(auth_take_recipient(place->auth, taking.grant, PLACE_NOW_S + 86400, &wait_s));
    auth_grant_unref(taking.grant);
}

/* --- sessions --------------------------------------------------------------------------------- */

enum { VISITORS = 8, VISITS = 20000, SEATS = 3 };

struct visiting {
    struct auth_grant *grant;
    atomic_uint inside, refused;
    atomic_bool crowded;
};

static void *visit(void *owner)
{
    struct visiting *visiting = owner;

    for (int i = 0; i < VISITS; i++) {
        if (!auth_session_enter(visiting->grant)) {
            atomic_fetch_add(&visiting->refused, 1);
            continue;
        }
        if (atomic_fetch_add(&visiting->inside, 1) >= SEATS)
            atomic_store(&visiting->crowded, true);
        atomic_fetch_sub(&visiting->inside, 1);
        auth_session_leave(visiting->grant);
    }
    return NULL;
}

static void a_key_has_no_more_sessions_than_it_may(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct visiting visiting = { 0 };
    pthread_t threads[VISITORS];

    spec.sessions = SEATS;
    spec.message_size_bytes = 5000;
    struct made made = place_key_of(place, &spec);
    place_reopen(place);
    visiting.grant = place_grant(place, made.secret);
    assert_int_equal(auth_grant_message_size(visiting.grant), 5000);
    for (size_t i = 0; i < VISITORS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &visiting), 0);
    for (size_t i = 0; i < VISITORS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&visiting.crowded));
    for (int i = 0; i < SEATS; i++) /* all have left */
        assert_true(auth_session_enter(visiting.grant));
    assert_false(auth_session_enter(visiting.grant));
    auth_grant_unref(visiting.grant);
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { CHECKERS = 3, ROUNDS = 12 };

struct duty { /* what the checking threads are to check now */
    struct auth *auth;
    pthread_mutex_t lock; /* guards secret */
    char secret[AUTH_KEY_TEXT_BYTES];
    atomic_bool revoked; /* the secret's key, as far as anybody may know */
    atomic_uint checks;
    atomic_bool hole, over;
};

static void check_once(struct duty *duty)
{
    char secret[AUTH_KEY_TEXT_BYTES];
    struct auth_grant *grant = NULL;
    struct auth_peer peer = { .has_address = false, .protocol = "http" };

    pthread_mutex_lock(&duty->lock);
    memcpy(secret, duty->secret, sizeof(secret));
    bool revoked = atomic_load(&duty->revoked);
    pthread_mutex_unlock(&duty->lock);
    enum auth_verdict verdict =
        auth_check(duty->auth, slice_of(secret), AUTH_SEND, &peer, PLACE_NOW_S, &grant);
    if (revoked ? verdict != AUTH_REVOKED : verdict != AUTH_OK && verdict != AUTH_REVOKED)
        atomic_store(&duty->hole, true);
    if (grant != NULL && !auth_grant_is_current(grant, PLACE_NOW_S))
        auth_grant_renew(duty->auth, &grant, PLACE_NOW_S);
    auth_grant_unref(grant);
    atomic_fetch_add(&duty->checks, 1);
}

static void *check_on_and_on(void *owner)
{
    struct duty *duty = owner;

    while (!atomic_load(&duty->over))
        check_once(duty);
    return NULL;
}

static void let_them_check(struct duty *duty)
{
    unsigned checks = atomic_load(&duty->checks);

    while (atomic_load(&duty->checks) < checks + 2 * CHECKERS)
        sched_yield();
}

static void revocation_is_in_force_at_once_in_all_threads(void **state)
{
    struct place *place = *state;
    struct duty duty = { .auth = place->auth, .lock = PTHREAD_MUTEX_INITIALIZER };
    struct made made = place_key(place);
    pthread_t threads[CHECKERS];

    memcpy(duty.secret, made.secret, sizeof(duty.secret));
    for (size_t i = 0; i < CHECKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_on_and_on, &duty), 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct auth_grant *session = place_grant(place, made.secret);
        let_them_check(&duty);
        place_domain(place, "default", "good.example");
        assert_int_equal(
            auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why), AUTH_DONE);
        assert_false(auth_grant_is_current(session, PLACE_NOW_S));
        auth_grant_unref(session);
        atomic_store(&duty.revoked, true);
        let_them_check(&duty);
        auth_domain_remove(place->auth, "operator", "default", "good.example", PLACE_NOW_S,
                           &place->why);
        made = place_key(place);
        pthread_mutex_lock(&duty.lock);
        memcpy(duty.secret, made.secret, sizeof(duty.secret));
        atomic_store(&duty.revoked, false);
        pthread_mutex_unlock(&duty.lock);
        assert_true(auth_flush(place->auth));
    }
    atomic_store(&duty.over, true);
    for (size_t i = 0; i < CHECKERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&duty.hole));
}

/* --- opening ---------------------------------------------------------------------------------- */

static void a_restart_keeps_everything(void **state)
{
    static const char *const domain = "*.good.example", *const network = "10.0.0.0/8";
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct auth_peer peer = place_peer("10.0.0.1");
    struct auth_grant *grant = NULL;
    struct auth_keys keys;

    place_domain(place, "default", "*.good.example");
    spec.domains = place_one(&domain);
    spec.allow_from = place_one(&network);
    spec.test = true;
    struct made narrow = place_key_of(place, &spec), gone = place_key(place);
    assert_int_equal(auth_key_revoke(place->auth, "operator", gone.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_int_equal(
        auth_check(place->auth, slice_of(narrow.secret), AUTH_SEND, &peer, PLACE_NOW_S + 5, &grant),
        AUTH_OK);
    auth_grant_unref(grant);
    place_reopen(place);

    assert_int_equal(place_check(place, narrow.secret, &grant), AUTH_WRONG_ADDRESS);
    assert_int_equal(place_check(place, gone.secret, &grant), AUTH_REVOKED);
    assert_int_equal(
        auth_check(place->auth, slice_of(narrow.secret), AUTH_SEND, &peer, PLACE_NOW_S, &grant),
        AUTH_OK);
    assert_true(auth_grant_is_test(grant));
    assert_true(auth_grant_permits_sender(grant, SLICE("a"), SLICE("sub.good.example")));
    assert_false(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    auth_grant_unref(grant);
    place_reopen(place);
    assert_int_equal(auth_key_find(place->auth, narrow.id, PLACE_NOW_S, &keys), AUTH_DONE);
    assert_int_equal(keys.keys[0].last_used_s, PLACE_NOW_S);
    assert_string_equal(keys.keys[0].last_address, "10.0.0.1");
    assert_string_equal(keys.keys[0].last_protocol, "smtp");
    auth_keys_free(&keys);
}

static void another_prefix_leaves_old_keys_alone(void **state)
{
    struct place *place = *state;
    struct made old = place_key(place);

    place->options.prefix_live = "acme_";
    place_reopen(place);
    struct made fresh = place_key(place);
    assert_memory_equal(fresh.secret, "acme_", 5);
    auth_grant_unref(place_grant(place, old.secret));
    auth_grant_unref(place_grant(place, fresh.secret));
}

static void another_pepper_is_refused_by_name(void **state)
{
    struct place *place = *state;

    place_close(place);
    place->options.pepper_hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert_false(auth_open(&place->auth, &place->options, &place->why));
    assert_non_null(strstr(place->why.text, place->keys));
    place->options.pepper_hex = NULL;
    assert_int_equal(unlink(place->pepper), 0);
    assert_false(auth_open(&place->auth, &place->options, &place->why));
    assert_non_null(strstr(place->why.text, place->pepper));
    assert_int_equal(access(place->pepper, F_OK), -1); /* and none was made */
    assert_null(place->auth);
}

static void open_modes_are_refused_by_name(void **state)
{
    struct place *place = *state;
    const char *const paths[] = { place->keys, place->pepper };

    place_close(place);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(chmod(paths[i], 0644), 0);
        if (auth_open(&place->auth, &place->options, &place->why) ||
            strstr(place->why.text, paths[i]) == NULL)
            fail_msg("%s: %s", paths[i], place->why.text);
        assert_int_equal(chmod(paths[i], 0600), 0);
    }
    place_reopen(place);
}

static void unfit_prefixes_are_refused(void **state)
{
    static const struct {
        const char *live, *test;
    } cases[] = {
        { "lpk", "lpt_" }, { "lpk_", "LPT_" }, { "lpk_", "lpk_" }, { NULL, "lpt_" }, { "", "t_" },
    };
    struct place *place = *state;

    place_close(place);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        place->options.prefix_live = cases[i].live;
        place->options.prefix_test = cases[i].test;
        if (auth_open(&place->auth, &place->options, &place->why))
            fail_msg("row %zu", i);
    }
    auth_close(NULL);
}

static void run_sql(struct place *place, const char *sql)
{
    sqlite3 *handle;

    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    if (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(handle));
    sqlite3_close(handle);
}

/* A rule that cannot be read must not become no rule. */
/* Takes the database back to what version 2 was. */
static void a_database_of_version_2_is_brought_up(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = place_grant(place, made.secret);
    char secret[AUTH_KEY_TEXT_BYTES];

    auth_grant_unref(grant);
    place_close(place);
    run_sql(place, "ALTER TABLE account DROP COLUMN parent;"
                   "ALTER TABLE account DROP COLUMN suspended_by;"
                   "ALTER TABLE api_key DROP COLUMN held_by;"
                   "ALTER TABLE api_key DROP COLUMN message_size;"
                   "ALTER TABLE api_key DROP COLUMN max_sessions;"
                   "ALTER TABLE api_key DROP COLUMN made_s;"
                   "ALTER TABLE api_key DROP COLUMN old_hash;"
                   "ALTER TABLE api_key DROP COLUMN old_tail;"
                   "ALTER TABLE api_key DROP COLUMN old_made_s;"
                   "ALTER TABLE api_key DROP COLUMN old_until_s;"
                   "ALTER TABLE api_key DROP COLUMN old_erased;"
                   "ALTER TABLE key_usage DROP COLUMN old_last_s;"
                   "ALTER TABLE key_usage DROP COLUMN old_address;"
                   "ALTER TABLE key_usage DROP COLUMN old_protocol;"
                   "DROP INDEX audit_id;"
                   "DROP INDEX audit_account;"
                   "ALTER TABLE audit DROP COLUMN id;"
                   "ALTER TABLE audit DROP COLUMN account;"
                   "ALTER TABLE audit DROP COLUMN origin;"
                   "DROP TABLE refusal;"
                   "PRAGMA user_version = 2");
    for (int i = 0; i < 2; i++) {
        struct auth_keys keys;
        place_reopen(place);
        auth_key_list(place->auth, "default", PLACE_NOW_S, &keys);
        assert_int_equal(keys.count, 1);
        assert_int_equal(keys.keys[0].secret_count, 1);
        assert_int_equal(keys.keys[0].secrets[0].made_s, PLACE_NOW_S);
        assert_int_equal(keys.keys[0].last_used_s, PLACE_NOW_S);
        auth_keys_free(&keys);
    }
    assert_int_equal(
        auth_key_rotate(place->auth, "operator", made.id, 60, PLACE_NOW_S, secret, &place->why),
        AUTH_DONE);
    auth_grant_unref(place_grant(place, made.secret));
    auth_grant_unref(place_grant(place, secret));
}

static void rows_that_make_no_sense_are_refused(void **state)
{
    static const char *const damages[] = {
        "UPDATE api_key SET account = 'nobody'",
        "UPDATE api_key SET id = 'short'",
        "UPDATE api_key SET prefix = 'LPK'",
        "UPDATE key_rule SET value = '10.0.0.0/99' WHERE kind = 'network'",
        "UPDATE key_rule SET key = 'nobody00'",
        "UPDATE domain SET account = 'nobody'",
        "UPDATE domain SET pattern = '*'",
        "UPDATE account SET handle = 'A B'",
        "UPDATE account SET parent = 'nobody'",
        "UPDATE account SET parent = handle",
        "INSERT INTO account (handle, plan, created_s, parent) VALUES ('a', 'default', 1,"
        " 'default'), ('b', 'default', 1, 'a')",
        "INSERT INTO key_usage VALUES ('nobody00', 0, '', '', 0, 0, 0, '', '')",
        "DELETE FROM meta",
    };
    static const char *const network = "10.0.0.0/8";
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();

    spec.allow_from = place_one(&network);
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        place_domain(place, "default", "good.example");
        place_key_of(place, &spec);
        place_close(place);
        run_sql(place, damages[i]);
        if (auth_open(&place->auth, &place->options, &place->why))
            fail_msg("row %zu: %s", i, damages[i]);
        if (strstr(place->why.text, place->keys) == NULL)
            fail_msg("row %zu: %s", i, place->why.text);
        assert_int_equal(unlink(place->keys), 0);
        place_reopen(place);
    }
}

static void unknown_plans_are_the_default_one(void **state)
{
    static const struct auth_plan plans[] = { { "free", 7, 0, 5 } };
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct auth_keys keys;

    auth_set_plans(place->auth, plans, 1);
    assert_int_equal(
        auth_account_create(place->auth, "operator", "acme", "free", PLACE_NOW_S, &place->why),
        AUTH_DONE);
    spec.account = "acme";
    place_key_of(place, &spec);
    for (int i = 0; i < 2; i++) {
        place->options.plans = plans;
        place->options.plan_count = i == 0 ? 0 : 1;
        place_reopen(place);
        auth_key_list(place->auth, "acme", PLACE_NOW_S, &keys);
        assert_int_equal(keys.count, 1);
        assert_int_equal(keys.keys[0].rate_per_minute, i == 0 ? 0 : 7);
        assert_string_equal(keys.keys[0].plan, "free");
        auth_keys_free(&keys);
    }
}

static void held_keys_and_suspended_accounts_say_so(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;

    place_close(place);
    run_sql(place, "UPDATE account SET suspended = 1");
    place_reopen(place);
    assert_int_equal(place_check(place, made.secret, &grant), AUTH_SUSPENDED);
    place_close(place);
    run_sql(place, "UPDATE api_key SET state = 'held'");
    place_reopen(place);
    assert_int_equal(place_check(place, made.secret, &grant), AUTH_HELD);
    assert_null(grant);
}

static void a_hundred_thousand_keys_are_loaded(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_accounts accounts;

    place_domain(place, "default", "good.example");
    place_close(place);
    run_sql(place,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 100000)"
            " INSERT INTO api_key (id, account, name, prefix, tail, hash, scopes, test, state,"
            " rate_per_minute, recipients_per_day, created_s, expires_s)"
            " SELECT printf('%08d', i), 'default', 'k', 'lpk_', 'wxyz', randomblob(32), 1, 0,"
            " 'active', 0, 0, 1, 0 FROM n;"
            "INSERT INTO key_rule SELECT id, 'domain', 0, 'good.example' FROM api_key");
    place_reopen(place);
    auth_account_list(place->auth, &accounts);
    assert_int_equal(accounts.count, 1);
    assert_int_equal(accounts.accounts[0].active_keys, 100001);
    auth_accounts_free(&accounts);
    struct auth_grant *grant = place_grant(place, made.secret);
    assert_true(auth_grant_permits_sender(grant, SLICE("a"), SLICE("good.example")));
    assert_int_equal(auth_domain_remove(place->auth, "operator", "default", "good.example",
                                        PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
    auth_grant_unref(grant);
}

static void no_file_holds_a_secret(void **state)
{
    struct place *place = *state;
    struct made made[20];
    struct auth_grant *grant = NULL;

    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        made[i] = place_key(place);
        auth_grant_unref(place_grant(place, made[i].secret));
        if (i % 3 == 0)
            auth_key_revoke(place->auth, "operator", made[i].id, PLACE_NOW_S, &place->why);
        place_check(place, "lpk_wrong", &grant);
    }
    assert_true(auth_flush(place->auth));
    for (int closed = 0; closed < 2; closed++) {
        assert_true(place_holds(place, slice_of(made[1].id)));
        for (size_t i = 0; i < ARRAY_LEN(made); i++) {
            struct slice secret = slice_make(made[i].secret + 4 + KEY_ID_DIGITS, 8);
            if (place_holds(place, secret) || place_holds(place, slice_of(made[i].secret)))
                fail_msg("key %zu", i);
        }
        place_close(place);
    }
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(only_the_whole_key_gets_in),
        IN_PLACE(check_digits_do_not_open),
        IN_PLACE(refusals_come_in_their_order),
        cmocka_unit_test(every_verdict_has_a_text),
        IN_PLACE(renewing_gives_what_the_key_may_do_now),
        IN_PLACE(refusals_close_the_door_and_successes_do_not),
        IN_PLACE(limits_come_from_the_key_or_else_its_plan),
        IN_PLACE(limits_are_exact_under_many_threads),
        IN_PLACE(a_key_has_no_more_sessions_than_it_may),
        IN_PLACE(revocation_is_in_force_at_once_in_all_threads),
        IN_PLACE(a_restart_keeps_everything),
        IN_PLACE(a_database_of_version_2_is_brought_up),
        IN_PLACE(another_prefix_leaves_old_keys_alone),
        IN_PLACE(another_pepper_is_refused_by_name),
        IN_PLACE(open_modes_are_refused_by_name),
        IN_PLACE(unfit_prefixes_are_refused),
        IN_PLACE(rows_that_make_no_sense_are_refused),
        IN_PLACE(unknown_plans_are_the_default_one),
        IN_PLACE(held_keys_and_suspended_accounts_say_so),
        IN_PLACE(a_hundred_thousand_keys_are_loaded),
        IN_PLACE(no_file_holds_a_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
