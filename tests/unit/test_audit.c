/* test_audit.c - can every change and every refusal be read again, by whoever may? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "auth/auth_store_priv.h"
#include "tests/support/auth_place.h"

static struct auth_audits list(struct place *place, struct auth_audit_filter filter)
{
    struct auth_audits audits;

    if (filter.limit == 0)
        filter.limit = 1000;
    assert_int_equal(auth_audit_list(place->auth, &filter, &audits, &place->why), AUTH_DONE);
    return audits;
}

static size_t count(struct place *place, struct auth_audit_filter filter)
{
    struct auth_audits audits = list(place, filter);
    size_t found = audits.count;

    auth_audits_free(&audits);
    return found;
}

/* Lines of which few are wanted: a question comes to its end all the same, and says where to go on.
 */
static void a_question_looks_at_so_many_lines_and_the_next_goes_on(void **state)
{
    static const struct auth_audit_filter filters[] = {
        { .key = "rare", .limit = 10 },
        { .key = "rare", .account = "acme", .limit = 10 },
        { .action = "rare", .limit = 10 },
    };
    struct place *place = *state;
    struct auth_audits audits;
    sqlite3 *db = db_handle(place->auth->store->db);
    char *error = NULL;

    sqlite3_exec(db,
                 "INSERT INTO account (handle, plan, created_s, parent) VALUES ('acme', 'default',"
                 " 1, NULL), ('shop', 'default', 1, 'acme');"
                 "INSERT INTO audit (id, at_s, actor, action, subject, detail, account)"
                 " VALUES (3, 1, 'rare', 'rare', '', '', 'shop');"
                 "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
                 "INSERT INTO refusal (id, action, at_s, last_s, count, actor, account, origin,"
                 " protocol, subject, rule) SELECT i, CASE i WHEN 10 THEN 'rare' ELSE 'often' END,"
                 " 1, 1, 1, CASE i WHEN 10 THEN 'rare' ELSE 'often' END,"
                 " CASE i % 2 WHEN 0 THEN 'acme' ELSE 'shop' END, '', '', '', '' FROM n",
                 NULL, NULL, &error);
    assert_null(error);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct auth_audit_filter filter = filters[i];
        size_t found = 0, questions = 0;
        do {
            assert_int_equal(auth_audit_list(place->auth, &filter, &audits, &place->why),
                             AUTH_DONE);
            found += audits.count;
            filter.before = audits.next;
            auth_audits_free(&audits);
            questions++;
        } while (filter.before != 0);
        if (found != 2 || questions < 5 || questions > 10)
            fail_msg("row %zu: %zu found in %zu questions", i, found, questions);
    }
}

/* As an earlier process wrote it, when the clock was an hour ahead. */
static void a_reference_is_not_given_again_after_the_clock_went_back(void **state)
{
    struct place *place = *state;
    struct why why;

    for (int i = 1; i < 3; i++) {
        int64_t id = ident_at_time_ms((clock_wall_s() + i * 3600) * 1000);
        const struct refusal refusal = { .id = id, .at_s = 1, .last_s = 1, .count = 1 };
        assert_true(auth_store_save_refusals(place->auth->store, &refusal, 1, &why));
        place_reopen(place);
        assert_true(ident_last() >= id);
        assert_true(ident_next() > id);
    }
}

static void each_change_tells_by_whom_from_where_and_of_which_account(void **state)
{
    struct place *place = *state;
    char secret[AUTH_KEY_TEXT_BYTES];

    assert_int_equal(
        auth_account_create(place->auth, "operator", "acme", NULL, PLACE_NOW_S, &place->why),
        AUTH_DONE);
    auth_set_origin(place->auth, "192.0.2.7");
    place_domain(place, "acme", "good.example");
    struct auth_key_spec spec = place_spec();
    spec.account = "acme";
    struct made made = place_key_of(place, &spec);
    auth_set_origin(place->auth, AUTH_FROM_COMMAND);
    auth_key_hold(place->auth, "Abcdefgh", AUTH_RANK_ACCOUNT, made.id, PLACE_NOW_S, &place->why);
    auth_key_release(place->auth, "Abcdefgh", AUTH_RANK_ACCOUNT, made.id, PLACE_NOW_S, &place->why);
    auth_key_rotate(place->auth, "Abcdefgh", made.id, 0, PLACE_NOW_S, secret, &place->why);
    auth_key_revoke(place->auth, "Abcdefgh", made.id, PLACE_NOW_S, &place->why);
    auth_domain_remove(place->auth, "Abcdefgh", "acme", "good.example", PLACE_NOW_S, &place->why);
    auth_account_suspend(place->auth, "operator", AUTH_RANK_OPERATOR, "acme", PLACE_NOW_S,
                         &place->why);
    auth_account_resume(place->auth, "operator", AUTH_RANK_OPERATOR, "acme", PLACE_NOW_S,
                        &place->why);
    auth_account_set_plan(place->auth, "operator", "acme", "default", PLACE_NOW_S, &place->why);

    static const struct {
        const char *action, *actor, *from, *subject; /* subject NULL: the key */
    } want[] = {
        /* newest first */
        { "account.resume", "operator", AUTH_FROM_COMMAND, "acme" },
        { "account.suspend", "operator", AUTH_FROM_COMMAND, "acme" },
        { "domain.remove", "Abcdefgh", AUTH_FROM_COMMAND, "good.example" },
        { "key.revoke", "Abcdefgh", AUTH_FROM_COMMAND, NULL },
        { "key.rotate", "Abcdefgh", AUTH_FROM_COMMAND, NULL },
        { "key.release", "Abcdefgh", AUTH_FROM_COMMAND, NULL },
        { "key.hold", "Abcdefgh", AUTH_FROM_COMMAND, NULL },
        { "key.create", "operator", "192.0.2.7", NULL },
        { "domain.verify", "operator", "192.0.2.7", "good.example" },
        { "account.create", "operator", "", "acme" },
    };
    struct auth_audits audits = list(place, (struct auth_audit_filter){ .account = "acme" });
    size_t skip = audits.count - ARRAY_LEN(want); /* a plan that it has already may be no change */
    assert_true(skip <= 1);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct auth_audit_view *view = &audits.views[skip + i];
        const char *subject = want[i].subject == NULL ? made.id : want[i].subject;
        if (strcmp(view->action, want[i].action) != 0 || strcmp(view->actor, want[i].actor) != 0 ||
            strcmp(view->from, want[i].from) != 0 || strcmp(view->subject, subject) != 0 ||
            view->count != 1 || view->at_s != PLACE_NOW_S || view->reference <= 0)
            fail_msg("row %zu: %s by %s from %s: %s", i, view->action, view->actor, view->from,
                     view->subject);
    }
    auth_audits_free(&audits);
}

static void note_message(struct place *place, const struct auth_grant *grant, const char *sender,
                         int64_t *reference)
{
    *reference = auth_note_refusal(place->auth,
                                   &(struct auth_refusal){ .what = AUTH_REFUSED_MESSAGE,
                                                           .grant = grant,
                                                           .from = "2001:db8::1",
                                                           .protocol = "http",
                                                           .subject = slice_of(sender),
                                                           .rule = "not permitted" },
                                   PLACE_NOW_S);
}

static void refused_logins_are_recorded_with_what_is_known_of_the_key(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;
    struct auth_peer peer = place_peer("192.0.2.1");

    peer.user = SLICE("someone");
    for (int i = 0; i < 3; i++)
        assert_int_equal(auth_check(place->auth, SLICE("wrong"), 0, &peer, PLACE_NOW_S, &grant),
                         AUTH_UNKNOWN);
    assert_int_equal(
        auth_check(place->auth, slice_of(made.secret), AUTH_METRICS, &peer, PLACE_NOW_S, &grant),
        AUTH_WRONG_SCOPE);
    peer = place_peer(NULL);
    auth_key_revoke(place->auth, "operator", made.id, PLACE_NOW_S, &place->why);
    assert_int_equal(auth_check(place->auth, slice_of(made.secret), 0, &peer, PLACE_NOW_S, &grant),
                     AUTH_REVOKED);
    struct auth_audits audits =
        list(place, (struct auth_audit_filter){ .action = "login.refused" });
    assert_int_equal(audits.count, 3);
    const struct auth_audit_view *revoked = &audits.views[0], *scope = &audits.views[1],
                                 *unknown = &audits.views[2];
    assert_string_equal(revoked->actor, made.id);
    assert_string_equal(revoked->account, AUTH_DEFAULT_ACCOUNT);
    assert_string_equal(revoked->from, AUTH_FROM_SOCKET);
    assert_string_equal(revoked->detail, auth_verdict_text(AUTH_REVOKED));
    assert_string_equal(scope->detail, auth_verdict_text(AUTH_WRONG_SCOPE));
    assert_string_equal(unknown->actor, "");
    assert_string_equal(unknown->account, "");
    assert_string_equal(unknown->from, "192.0.2.1");
    assert_string_equal(unknown->protocol, "smtp");
    assert_string_equal(unknown->subject, "someone");
    assert_int_equal(unknown->count, 3);
    auth_audits_free(&audits);
}

static void an_address_that_is_turned_away_is_told_of(void **state)
{
    struct place *place = *state;
    struct auth_peer peer = place_peer("192.0.2.1");
    struct auth_grant *grant = NULL;

    for (int i = 0; i < 10; i++)
        auth_check(place->auth, SLICE("wrong"), 0, &peer, PLACE_NOW_S, &grant);
    assert_int_equal(count(place, (struct auth_audit_filter){ 0 }), 1);
    assert_true(auth_penalty_s(place->auth, &peer, PLACE_NOW_S) > 0);
    assert_int_equal(count(place, (struct auth_audit_filter){ 0 }), 2);
}

static void a_list_is_narrowed_by_account_action_key_reference_and_time(void **state)
{
    struct place *place = *state;
    struct auth_key_spec spec = place_spec();
    int64_t first, second;

    auth_account_create(place->auth, "operator", "acme", NULL, PLACE_NOW_S - 50, &place->why);
    auth_sub_account_create(place->auth, "operator", "acme", "below", NULL, PLACE_NOW_S,
                            &place->why);
    spec.account = "acme";
    struct made above = place_key_of(place, &spec);
    spec.account = "below";
    struct made below = place_key_of(place, &spec);
    struct auth_grant *grant = place_grant(place, below.secret);
    note_message(place, grant, "a@x.example", &first);
    note_message(place, grant, "b@x.example", &second);
    auth_grant_unref(grant);
    place_check(place, "nonsense", &grant);

    const struct {
        const char *what;
        struct auth_audit_filter filter;
        size_t want;
    } rows[] = {
        { "all", { 0 }, 7 },
        { "an account and what is below it", { .account = "acme" }, 6 },
        { "a sub-account", { .account = "below" }, 4 },
        { "another account", { .account = "default" }, 0 },
        { "an action", { .action = "key.create" }, 2 },
        { "a kind of action", { .action = "account" }, 2 },
        { "half a word is none", { .action = "acc" }, 0 },
        { "a key that was made", { .key = above.id }, 1 },
        { "a key that was made and refused", { .key = below.id }, 3 },
        { "a reference", { .reference = first }, 1 },
        { "a reference of somebody else", { .reference = first, .account = "default" }, 0 },
        { "since", { .since_s = PLACE_NOW_S }, 6 },
        { "before", { .before = first, .action = "message" }, 0 },
        { "before the second", { .before = second, .action = "message" }, 1 },
        { "at most", { .limit = 3 }, 3 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t got = count(place, rows[i].filter);
        if (got != rows[i].want)
            fail_msg("%s: got %zu, want %zu", rows[i].what, got, rows[i].want);
    }
}

static void pages_follow_one_another_through_changes_and_refusals(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = place_grant(place, made.secret);
    struct auth_audit_filter filter = { .limit = 3 };
    int64_t reference, last = INT64_MAX;
    size_t lines = 0;

    for (int i = 0; i < 5; i++) {
        char sender[] = { (char)('a' + i), '\0' };
        note_message(place, grant, sender, &reference);
        place_key(place);
    }
    auth_grant_unref(grant);
    for (;;) {
        struct auth_audits audits = list(place, filter);
        for (size_t i = 0; i < audits.count; i++) {
            assert_true(audits.views[i].reference < last);
            last = audits.views[i].reference;
        }
        lines += audits.count;
        size_t got = audits.count;
        auth_audits_free(&audits);
        if (got < filter.limit)
            break;
        filter.before = last;
    }
    assert_int_equal(lines, 11);
}

static void no_secret_is_in_any_file(void **state)
{
    struct place *place = *state;
    struct made made = place_key(place);
    struct auth_grant *grant = NULL;
    struct auth_peer peer = place_peer("192.0.2.1");
    int64_t reference;

    peer.user = slice_of(made.secret);
    auth_check(place->auth, slice_of(made.secret), AUTH_METRICS, &peer, PLACE_NOW_S, &grant);
    note_message(place, NULL, made.secret, &reference);
    assert_true(auth_flush(place->auth));
    place_close(place);
    assert_true(place_holds(place, slice_of(made.id)));
    assert_false(place_holds(place, slice_make(made.secret + 12, 22)));
    assert_false(place_holds(place, slice_make(made.secret + 12, 8)));
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(each_change_tells_by_whom_from_where_and_of_which_account),
        IN_PLACE(refused_logins_are_recorded_with_what_is_known_of_the_key),
        IN_PLACE(an_address_that_is_turned_away_is_told_of),
        IN_PLACE(a_list_is_narrowed_by_account_action_key_reference_and_time),
        IN_PLACE(pages_follow_one_another_through_changes_and_refusals),
        IN_PLACE(a_reference_is_not_given_again_after_the_clock_went_back),
        IN_PLACE(a_question_looks_at_so_many_lines_and_the_next_goes_on),
        IN_PLACE(no_secret_is_in_any_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
