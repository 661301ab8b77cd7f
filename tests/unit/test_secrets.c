/* test_secrets.c - rotation, its overlap and its end, and revocation within it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>

#include <sqlite3.h>

#include "tests/support/auth_place.h"

#define HOUR_S 3600

static enum auth_result rotate(struct place *place, const char *id, int64_t overlap_s,
                               int64_t now_s, struct made *made)
{
    memcpy(made->id, id, sizeof(made->id));
    return auth_key_rotate(place->auth, "operator", id, overlap_s, now_s, made->secret,
                           &place->why);
}

static enum auth_verdict check_at(struct place *place, const char *secret, int64_t now_s)
{
    struct auth_peer peer = place_peer("192.0.2.1");
    struct auth_grant *grant = NULL;
    enum auth_verdict verdict =
        auth_check(place->auth, slice_of(secret), AUTH_SEND, &peer, now_s, &grant);

    auth_grant_unref(grant);
    return verdict;
}

static void both_secrets_work_until_the_end_of_the_overlap(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second;
    int64_t end_s = PLACE_NOW_S + HOUR_S;

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    assert_int_equal(strlen(second.secret), strlen(first.secret));
    assert_memory_equal(second.secret, first.secret, 12); /* prefix and id */
    assert_memory_not_equal(second.secret + 12, first.secret + 12, 22);
    for (int i = 0; i < 2; i++) { /* and after a restart */
        assert_int_equal(check_at(place, first.secret, end_s - 1), AUTH_OK);
        assert_int_equal(check_at(place, second.secret, end_s - 1), AUTH_OK);
        assert_int_equal(check_at(place, first.secret, end_s), AUTH_REPLACED);
        assert_int_equal(check_at(place, second.secret, end_s), AUTH_OK);
        place_reopen(place);
    }
}

static void a_session_ends_with_the_secret_that_it_was_opened_with(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second, third;
    struct auth_grant *old = place_grant(place, first.secret);

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    struct auth_grant *fresh = place_grant(place, second.secret);
    assert_false(auth_grant_is_current(old, PLACE_NOW_S));
    assert_int_equal(auth_grant_renew(place->auth, &old, PLACE_NOW_S), AUTH_OK);
    assert_true(auth_grant_is_current(old, PLACE_NOW_S + HOUR_S - 1));
    assert_false(auth_grant_is_current(old, PLACE_NOW_S + HOUR_S));
    assert_int_equal(auth_grant_renew(place->auth, &old, PLACE_NOW_S + HOUR_S), AUTH_REPLACED);
    assert_true(auth_grant_is_current(fresh, PLACE_NOW_S + HOUR_S));

    /* Without an overlap both end at once, the older one for good. */
    assert_int_equal(rotate(place, first.id, 0, PLACE_NOW_S, &third), AUTH_DONE);
    struct auth_grant *const ended[] = { old, fresh };
    for (size_t i = 0; i < ARRAY_LEN(ended); i++) {
        struct auth_grant *grant = ended[i];
        assert_false(auth_grant_is_current(grant, PLACE_NOW_S));
        assert_int_equal(auth_grant_renew(place->auth, &grant, PLACE_NOW_S), AUTH_REPLACED);
        auth_grant_unref(grant);
    }
    assert_int_equal(check_at(place, first.secret, PLACE_NOW_S), AUTH_UNKNOWN);
    assert_int_equal(check_at(place, second.secret, PLACE_NOW_S), AUTH_REPLACED);
    assert_int_equal(check_at(place, third.secret, PLACE_NOW_S), AUTH_OK);
}

static void a_second_overlap_is_refused_while_the_first_lasts(void **state)
{
    static const struct {
        int64_t overlap_s, after_s;
        enum auth_result want;
        const char *word;
    } cases[] = {
        { HOUR_S, HOUR_S - 1, AUTH_CONFLICT, "is being rotated" },
        { -1, 0, AUTH_INVALID, "from 0 to 90 days" },
        { AUTH_OVERLAP_MAX_S + 1, 0, AUTH_INVALID, "from 0 to 90 days" },
        { AUTH_OVERLAP_MAX_S, HOUR_S, AUTH_DONE, "" }, /* over, though not erased yet */
        { 0, HOUR_S + 1, AUTH_DONE, "" },
    };
    struct place *place = *state;
    struct made first = place_key(place), next;

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &next), AUTH_DONE);
    assert_int_equal(check_at(place, next.secret, PLACE_NOW_S), AUTH_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum auth_result got =
            rotate(place, first.id, cases[i].overlap_s, PLACE_NOW_S + cases[i].after_s, &next);
        if (got != cases[i].want ||
            (got != AUTH_DONE && strstr(place->why.text, cases[i].word) == NULL))
            fail_msg("row %zu: %d, %s", i, (int)got, place->why.text);
    }
}

static void a_new_secret_that_nobody_has_used_is_replaced(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), lost, second;
    struct auth_keys keys;

    assert_int_equal(check_at(place, first.secret, PLACE_NOW_S), AUTH_OK);
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &lost), AUTH_DONE);
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 10, &second), AUTH_DONE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check_at(place, first.secret, PLACE_NOW_S + HOUR_S + 9), AUTH_OK);
        assert_int_equal(check_at(place, lost.secret, PLACE_NOW_S + 10), AUTH_UNKNOWN);
        auth_key_find(place->auth, first.id, PLACE_NOW_S + 10, &keys);
        assert_int_equal(keys.keys[0].secrets[1].made_s, PLACE_NOW_S);
        assert_int_not_equal(keys.keys[0].secrets[1].last_used_s, 0);
        auth_keys_free(&keys);
        place_reopen(place);
    }
    assert_int_equal(check_at(place, second.secret, PLACE_NOW_S + HOUR_S + 10), AUTH_OK);
    assert_int_equal(check_at(place, first.secret, PLACE_NOW_S + HOUR_S + 10), AUTH_REPLACED);
}

/* keys.db and its log as they are now, which is what a crash leaves. */
static void copy_files(const struct place *place, const char *from, const char *to)
{
    static const char *const suffixes[] = { "", "-wal" };

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char *command =
            xasprintf("cp %s/%s%s %s/%s%s 2>/dev/null || rm -f %s/%s%s", place->folder, from,
                      suffixes[i], place->folder, to, suffixes[i], place->folder, to, suffixes[i]);
        assert_int_equal(system(command), 0);
        free(command);
    }
}

static void crash(struct place *place)
{
    copy_files(place, "keys.db", "crashed.db");
    place_close(place);
    copy_files(place, "crashed.db", "keys.db");
    place_reopen(place);
}

/* The use is on disk some seconds later, and a crash comes first. */
static void after_a_crash_a_new_secret_is_not_taken_for_one_that_was_lost(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second, third;

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    assert_int_equal(check_at(place, second.secret, PLACE_NOW_S), AUTH_OK);
    crash(place);
    for (int i = 0; i < 3; i++) { /* in each process that comes after it */
        if (rotate(place, first.id, HOUR_S, PLACE_NOW_S + 10, &third) != AUTH_CONFLICT ||
            strstr(place->why.text, "crash") == NULL)
            fail_msg("process %d: %s", i, place->why.text);
        if (i == 0)
            place_reopen(place);
        else
            crash(place);
    }
    assert_int_equal(check_at(place, second.secret, PLACE_NOW_S + 10), AUTH_OK);
    place_reopen(place); /* now its use is written, and nothing is in doubt */
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 10, &third), AUTH_CONFLICT);
    assert_null(strstr(place->why.text, "crash"));
    assert_int_equal(rotate(place, first.id, 0, PLACE_NOW_S + 10, &third), AUTH_DONE);

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 20, &second), AUTH_DONE);
    place_reopen(place); /* no crash: what nobody has used is lost */
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 30, &third), AUTH_DONE);
    place_reopen(place);
    assert_int_equal(check_at(place, third.secret, PLACE_NOW_S + 30), AUTH_OK);
    crash(place); /* of what was made before the process began, too */
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 40, &second), AUTH_CONFLICT);
}

static void keys_that_are_no_more_are_not_rotated(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    struct made gone = place_key(place), next;

    spec.expires_s = PLACE_NOW_S + 1;
    struct made late = place_key_of(place, &spec);
    assert_int_equal(auth_key_revoke(place->auth, "operator", gone.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_int_equal(rotate(place, gone.id, 0, PLACE_NOW_S, &next), AUTH_CONFLICT);
    assert_int_equal(rotate(place, late.id, 0, PLACE_NOW_S + 1, &next), AUTH_CONFLICT);
    assert_int_equal(rotate(place, "nobody00", 0, PLACE_NOW_S, &next), AUTH_NOT_FOUND);
}

static void revoking_ends_both_secrets(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second;

    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    struct auth_grant *session = place_grant(place, first.secret);
    assert_int_equal(auth_key_revoke(place->auth, "operator", first.id, PLACE_NOW_S, &place->why),
                     AUTH_DONE);
    assert_int_equal(auth_grant_renew(place->auth, &session, PLACE_NOW_S), AUTH_REVOKED);
    auth_grant_unref(session);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check_at(place, first.secret, PLACE_NOW_S), AUTH_REVOKED);
        assert_int_equal(check_at(place, second.secret, PLACE_NOW_S), AUTH_REVOKED);
        place_reopen(place);
    }
}

static void hash_of(struct place *place, const struct made *made, uint8_t *hash)
{
    key_hash(place->auth->pepper, slice_of(made->secret), hash);
}

static void an_ended_secret_is_erased_from_every_file(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), other = place_key(place), second, later;
    uint8_t hash[KEY_HASH_BYTES];

    hash_of(place, &first, hash);
    assert_int_equal(rotate(place, other.id, 2 * HOUR_S, PLACE_NOW_S, &later), AUTH_DONE);
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    assert_true(secrets_end(place->auth, PLACE_NOW_S + HOUR_S - 1));
    assert_true(place_holds(place, slice_make(hash, sizeof(hash))));
    place_reopen(place); /* the end is known again */
    assert_int_equal(place->auth->next_end_s, PLACE_NOW_S + HOUR_S);
    assert_true(secrets_end(place->auth, PLACE_NOW_S + HOUR_S));
    assert_false(place_holds(place, slice_make(hash, sizeof(hash))));
    assert_int_equal(place->auth->next_end_s, PLACE_NOW_S + 2 * HOUR_S);
    /* Its holder still hears why, and the clock may go back without reviving it. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(check_at(place, first.secret, PLACE_NOW_S), AUTH_REPLACED);
        assert_int_equal(check_at(place, second.secret, PLACE_NOW_S), AUTH_OK);
        assert_int_equal(check_at(place, other.secret, PLACE_NOW_S), AUTH_OK);
        place_reopen(place);
    }
    assert_true(secrets_end(place->auth, PLACE_NOW_S + 2 * HOUR_S));
    assert_int_equal(place->auth->next_end_s, 0);
    assert_false(place_holds(place, slice_of(second.secret)));
}

static void the_last_use_of_each_secret_is_shown(void **state)
{
    struct place *place = *state;
    struct made first = place_key(place), second;
    struct auth_keys keys;

    assert_int_equal(check_at(place, first.secret, PLACE_NOW_S + 1), AUTH_OK);
    assert_int_equal(rotate(place, first.id, HOUR_S, PLACE_NOW_S + 2, &second), AUTH_DONE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(auth_key_find(place->auth, first.id, PLACE_NOW_S + 3, &keys), AUTH_DONE);
        const struct auth_key_view *view = &keys.keys[0];
        assert_int_equal(view->secret_count, 2);
        assert_int_equal(view->secrets[0].made_s, PLACE_NOW_S + 2);
        assert_int_equal(view->secrets[0].until_s, 0);
        assert_int_equal(view->secrets[0].last_used_s, i == 0 ? 0 : PLACE_NOW_S + 2);
        assert_string_equal(view->secrets[0].masked + 11, second.secret + 36);
        assert_int_equal(view->secrets[1].made_s, PLACE_NOW_S);
        assert_int_equal(view->secrets[1].until_s, PLACE_NOW_S + 2 + HOUR_S);
        assert_int_equal(view->secrets[1].last_used_s, PLACE_NOW_S + (i == 2 ? 3 : 1));
        assert_string_equal(view->secrets[1].last_address, "192.0.2.1");
        assert_string_equal(view->secrets[1].masked + 11, first.secret + 36);
        assert_string_equal(view->masked, view->secrets[0].masked);
        assert_int_equal(view->last_used_s, PLACE_NOW_S + 1 + i); /* the latest of both */
        auth_keys_free(&keys);
        place_reopen(place);
        if (i < 2)
            assert_int_equal(
                check_at(place, i == 0 ? second.secret : first.secret, PLACE_NOW_S + 2 + i),
                AUTH_OK);
    }
    auth_key_find(place->auth, first.id, PLACE_NOW_S + 2 + HOUR_S, &keys);
    assert_int_equal(keys.keys[0].secret_count, 1);
    auth_keys_free(&keys);
}

/* The trail is refused by a trigger, as a full disk would refuse it. */
static void a_rotation_that_cannot_be_written_is_none(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place), next = { "", "" }, second;
    sqlite3 *handle;

    assert_int_equal(rotate(place, made.id, HOUR_S, PLACE_NOW_S, &second), AUTH_DONE);
    place_close(place);
    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle,
                                  "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN"
                                  " SELECT RAISE(ABORT, 'no room'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(handle);
    place_reopen(place);
    assert_int_equal(rotate(place, made.id, 0, PLACE_NOW_S, &next), AUTH_FAILED);
    assert_string_equal(next.secret, "");
    assert_int_equal(auth_key_hold(place->auth, "operator", AUTH_RANK_OPERATOR, made.id,
                                   PLACE_NOW_S, &place->why),
                     AUTH_FAILED);
    assert_int_equal(check_at(place, made.secret, PLACE_NOW_S), AUTH_OK);
    assert_int_equal(check_at(place, second.secret, PLACE_NOW_S), AUTH_OK);
    assert_false(secrets_end(place->auth, PLACE_NOW_S + HOUR_S)); /* and is tried again */
    assert_int_equal(place->auth->next_end_s, PLACE_NOW_S + HOUR_S);
    assert_int_equal(check_at(place, made.secret, PLACE_NOW_S + HOUR_S), AUTH_REPLACED);
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { CHECKERS = 3, ROUNDS = 20 };

struct duty {
    struct auth *auth;
    pthread_mutex_t lock; /* guards secret */
    char secret[AUTH_KEY_TEXT_BYTES];
    atomic_uint checks;
    atomic_bool hole, over;
};

static void *check_on_and_on(void *owner)
{
    struct duty *duty = owner;
    struct auth_peer peer = { .protocol = "smtp" };
    char secret[AUTH_KEY_TEXT_BYTES];

    while (!atomic_load(&duty->over)) {
        struct auth_grant *grant = NULL;
        pthread_mutex_lock(&duty->lock);
        memcpy(secret, duty->secret, sizeof(secret));
        pthread_mutex_unlock(&duty->lock);
        /* Two rotations may have passed since, so it may be gone, but never another reason. */
        enum auth_verdict verdict =
            auth_check(duty->auth, slice_of(secret), AUTH_SEND, &peer, PLACE_NOW_S, &grant);
        if (verdict != AUTH_OK && verdict != AUTH_REPLACED && verdict != AUTH_UNKNOWN)
            atomic_store(&duty->hole, true);
        if (grant != NULL && !auth_grant_is_current(grant, PLACE_NOW_S))
            auth_grant_renew(duty->auth, &grant, PLACE_NOW_S);
        auth_grant_unref(grant);
        atomic_fetch_add(&duty->checks, 1);
    }
    return NULL;
}

static void rotation_is_in_force_at_once_in_all_threads(void **state)
{
    struct place *place = *state;
    struct duty duty = { .auth = place->auth, .lock = PTHREAD_MUTEX_INITIALIZER };
    struct made made = place_key(place), next;
    pthread_t threads[CHECKERS];

    memcpy(duty.secret, made.secret, sizeof(duty.secret));
    for (size_t i = 0; i < CHECKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_on_and_on, &duty), 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct auth_grant *session = place_grant(place, made.secret);
        assert_int_equal(rotate(place, made.id, round % 2 == 0 ? HOUR_S : 0, PLACE_NOW_S, &next),
                         AUTH_DONE);
        assert_int_equal(auth_grant_renew(place->auth, &session, PLACE_NOW_S),
                         round % 2 == 0 ? AUTH_OK : AUTH_REPLACED);
        auth_grant_unref(session);
        made = next;
        pthread_mutex_lock(&duty.lock);
        memcpy(duty.secret, made.secret, sizeof(duty.secret));
        pthread_mutex_unlock(&duty.lock);
        unsigned checks = atomic_load(&duty.checks);
        while (atomic_load(&duty.checks) < checks + CHECKERS)
            sched_yield();
        assert_true(auth_flush(place->auth));
    }
    atomic_store(&duty.over, true);
    for (size_t i = 0; i < CHECKERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&duty.hole));
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(both_secrets_work_until_the_end_of_the_overlap),
        IN_PLACE(a_session_ends_with_the_secret_that_it_was_opened_with),
        IN_PLACE(a_second_overlap_is_refused_while_the_first_lasts),
        IN_PLACE(a_new_secret_that_nobody_has_used_is_replaced),
        IN_PLACE(after_a_crash_a_new_secret_is_not_taken_for_one_that_was_lost),
        IN_PLACE(keys_that_are_no_more_are_not_rotated),
        IN_PLACE(revoking_ends_both_secrets),
        IN_PLACE(an_ended_secret_is_erased_from_every_file),
        IN_PLACE(the_last_use_of_each_secret_is_shown),
        IN_PLACE(a_rotation_that_cannot_be_written_is_none),
        IN_PLACE(rotation_is_in_force_at_once_in_all_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
