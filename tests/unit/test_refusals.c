/* test_refusals.c - what becomes of refusals between the moment they are noted and keys.db. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "relay/base/ident.h"
#include "tests/support/auth_place.h"

struct desk {
    struct auth_store *store;
    struct refusals *refusals;
};

static struct desk desk_open(struct place *place, int64_t kept_max)
{
    struct desk desk = { .refusals = refusals_new(kept_max) };

    if (!auth_store_open(&desk.store, place->keys, &place->why))
        fail_msg("%s", place->why.text);
    return desk;
}

static void desk_close(struct desk *desk)
{
    refusals_free(desk->refusals);
    auth_store_close(desk->store);
}

/* Of subject "0", "1", ... */
static int64_t note(struct desk *desk, enum auth_refused what, unsigned subject, int64_t now_s)
{
    struct refusal_texts texts = { .from = "192.0.2.7", .rule = "no" };

    snprintf(texts.subject, sizeof(texts.subject), "%u", subject);
    return refusals_note(desk->refusals, what, &texts, now_s);
}

/* The time of the flush is the clock's, as ids are: else what was noted would be too old. */
static bool flush(struct desk *desk)
{
    return refusals_flush(desk->refusals, desk->store, ident_time_ms(ident_next()) / 1000);
}

struct seen {
    size_t lines;
    uint64_t sum, last_count;
    int64_t newest;
    char subject[16];
};

static void on_view(void *owner, const struct auth_audit_view *view)
{
    struct seen *seen = owner;

    if (seen->lines++ == 0)
        seen->newest = view->reference;
    seen->sum += view->count;
    seen->last_count = view->count;
    snprintf(seen->subject, sizeof(seen->subject), "%s", view->subject);
}

static struct seen look(struct desk *desk, const char *action, int64_t reference)
{
    struct auth_audit_filter filter = { .action = action, .reference = reference, .limit = 5000 };
    struct seen seen = { 0 };
    struct why why;

    assert_true(auth_store_read_audit(desk->store, &filter, on_view, &seen, &(int64_t){ 0 }, &why));
    return seen;
}

static void equal_refusals_of_a_minute_are_one_line_with_a_count(void **state)
{
    struct desk desk = desk_open(*state, REFUSALS_KEPT_MAX);
    int64_t id = note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S);

    assert_true(id > 0);
    assert_int_equal(note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S), id);
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, NULL, id).sum, 2);
    assert_int_equal(note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S + 59), id);
    assert_true(flush(&desk)); /* what was written grows */
    assert_int_equal(look(&desk, NULL, id).sum, 3);
    assert_true(note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S + 60) != id);
    assert_true(note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S - 1) != id); /* the clock */
    assert_true(note(&desk, AUTH_REFUSED_MESSAGE, 2, PLACE_NOW_S) != id);
    assert_true(note(&desk, AUTH_REFUSED_LOGIN, 1, PLACE_NOW_S) != id);
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, "message.refused", 0).lines, 4);
    assert_int_equal(look(&desk, "login", 0).lines, 1);
    desk_close(&desk);
}

static void what_finds_no_place_is_counted_and_logins_take_none_of_messages(void **state)
{
    struct desk desk = desk_open(*state, REFUSALS_KEPT_MAX);
    unsigned extra = 88;

    for (unsigned i = 0; i < REFUSALS_WAITING_MAX + extra; i++)
        assert_int_equal(note(&desk, AUTH_REFUSED_LOGIN, i, PLACE_NOW_S) != 0,
                         i < REFUSALS_WAITING_MAX);
    assert_true(note(&desk, AUTH_REFUSED_LOGIN, 5, PLACE_NOW_S) != 0); /* has its place */
    assert_true(note(&desk, AUTH_REFUSED_MESSAGE, 1, PLACE_NOW_S) != 0);
    assert_true(flush(&desk));
    struct seen seen = look(&desk, "login.refused", 0);
    assert_int_equal(seen.lines, REFUSALS_WAITING_MAX + 1);
    assert_int_equal(seen.sum, REFUSALS_WAITING_MAX + extra + 1);
    assert_int_equal(look(&desk, NULL, seen.newest).sum, extra);
    assert_true(note(&desk, AUTH_REFUSED_LOGIN, 9999, PLACE_NOW_S) != 0); /* there is room again */
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, "login.refused", 0).lines, REFUSALS_WAITING_MAX + 2);
    desk_close(&desk);
}

static void run_sql(struct place *place, const char *sql)
{
    sqlite3 *handle;

    assert_int_equal(sqlite3_open(place->keys, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(handle);
}

static void what_cannot_be_written_waits(void **state)
{
    struct desk desk = desk_open(*state, REFUSALS_KEPT_MAX);

    desk_close(&desk);
    run_sql(*state, "CREATE TRIGGER full BEFORE INSERT ON refusal WHEN NEW.subject = '3' BEGIN"
                    " SELECT RAISE(FAIL, 'no'); END");
    desk = desk_open(*state, REFUSALS_KEPT_MAX);
    for (unsigned i = 0; i < REFUSALS_WAITING_MAX + 1; i++)
        note(&desk, AUTH_REFUSED_LOGIN, i, PLACE_NOW_S);
    assert_false(flush(&desk));
    assert_int_equal(look(&desk, NULL, 0).lines, 0);
    assert_false(flush(&desk));
    struct auth_store *store = desk.store;
    auth_store_close(store);
    run_sql(*state, "DROP TRIGGER full");
    assert_true(auth_store_open(&desk.store, ((struct place *)*state)->keys,
                                &((struct place *)*state)->why));
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, NULL, 0).sum, REFUSALS_WAITING_MAX + 1);
    desk_close(&desk);
}

static void the_oldest_leave_when_there_are_too_many_and_changes_never(void **state)
{
    struct place *place = *state;
    struct desk desk = desk_open(place, 100);
    const struct audit change = {
        PLACE_NOW_S, "operator", "account.create", "acme", "", "acme", ""
    };
    const struct account_row acme = { .handle = "acme", .plan = "default" };

    assert_true(auth_store_add_account(desk.store, &acme, &change, &place->why));
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(note(&desk, AUTH_REFUSED_LOGIN, i, PLACE_NOW_S) != 0);
        if (i % 50 == 49)
            assert_true(flush(&desk));
    }
    struct seen seen = look(&desk, "login", 0);
    assert_int_equal(seen.lines, 100);
    assert_string_equal(seen.subject, "900"); /* the oldest that is left */
    assert_int_equal(look(&desk, "account", 0).lines, 1);
    desk_close(&desk);
    desk = desk_open(place, 10); /* it counts what is there */
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, "login", 0).lines, 10);
    desk_close(&desk);
}

static void what_is_too_old_leaves(void **state)
{
    struct desk desk = desk_open(*state, REFUSALS_KEPT_MAX);
    int64_t now_s = ident_time_ms(ident_next()) / 1000;

    note(&desk, AUTH_REFUSED_LOGIN, 1, now_s);
    assert_true(refusals_flush(desk.refusals, desk.store, now_s + REFUSALS_KEPT_S - 2));
    assert_int_equal(look(&desk, NULL, 0).lines, 1);
    assert_true(refusals_flush(desk.refusals, desk.store, now_s + REFUSALS_KEPT_S + 3600));
    assert_int_equal(look(&desk, NULL, 0).lines, 0);
    desk_close(&desk);
}

static void a_text_is_cut_where_it_could_hold_a_key(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "", "" },
        { "apikey", "apikey" },
        { "someone@example.org", "someone@example.org" },
        { "a\r\nb\x1b[2J\x7f", "a??b?[2J?" },
        { "lpk_Abcdefgh0123456789012345678901", "lpk_Abcdefgh..." },
        { "x@Abcdefgh0123456789012345678901.example", "x@Abcdefgh..." },
        { "Abcdefgh012345678901234567890", "Abcdefgh012345678901234567890" }, /* 29 */
        { "the address lpt_Abcdefgh01", "the address lpt_Abcdefgh..." },
        { "lpk_Abcdefgh@x.example", "lpk_Abcdefgh@x.example" },
        { "lpx_Abcdefgh01@x.example", "lpx_Abcdefgh01@x.example" },
    };
    static const char *const prefixes[] = { "lpk_", "lpt_" };
    char out[64], tiny[8];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        refusals_text(out, sizeof(out), slice_of(rows[i].text), prefixes);
        if (strcmp(out, rows[i].want) != 0)
            fail_msg("%s: got %s", rows[i].text, out);
    }
    refusals_text(tiny, sizeof(tiny), SLICE("much too long"), prefixes);
    assert_string_equal(tiny, "much to");
    refusals_text(out, 14, SLICE("lpk_Abcdefgh01"), prefixes);
    assert_string_equal(out, "lpk_Abcdefgh.");
}

static void *note_many(void *owner)
{
    for (unsigned i = 0; i < 2000; i++)
        note(owner, i % 2 == 0 ? AUTH_REFUSED_LOGIN : AUTH_REFUSED_MESSAGE, i % 700, PLACE_NOW_S);
    return NULL;
}

static void none_is_lost_when_threads_note_while_it_is_written(void **state)
{
    struct desk desk = desk_open(*state, REFUSALS_KEPT_MAX);
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, note_many, &desk), 0);
    for (int i = 0; i < 10; i++)
        assert_true(flush(&desk));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_true(flush(&desk));
    assert_int_equal(look(&desk, NULL, 0).sum, 2000 * ARRAY_LEN(threads));
    desk_close(&desk);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, place_make_folder, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(equal_refusals_of_a_minute_are_one_line_with_a_count),
        IN_FOLDER(what_finds_no_place_is_counted_and_logins_take_none_of_messages),
        IN_FOLDER(what_cannot_be_written_waits),
        IN_FOLDER(the_oldest_leave_when_there_are_too_many_and_changes_never),
        IN_FOLDER(what_is_too_old_leaves),
        cmocka_unit_test(a_text_is_cut_where_it_could_hold_a_key),
        IN_FOLDER(none_is_lost_when_threads_note_while_it_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
