/* test_lane.c - does each account and key with something due get its turn, and is nothing missed?
 */
#include "tests/support/trouble.h"

static int64_t submit_for(struct fixture *f, const char *account, const char *key)
{
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;

    free(message->account);
    message->account = xstrdup(account);
    snprintf(message->key_id, sizeof(message->key_id), "%s", key);
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    return id;
}

static void submit_many(struct fixture *f, const char *account, const char *key, size_t count)
{
    for (size_t i = 0; i < count; i++)
        submit_for(f, account, key);
}

static void lease_but(struct fixture *f, const struct queue_pass *passes, size_t count, size_t max,
                      struct got *got)
{
    *got = (struct got){ 0 };
    queue_lease_but(f->queue, passes, count, max, 1 << 20, fx_now_ms(), fx_on_lease, got,
                    &f->desk.box);
    fx_step(f);
    assert_int_equal(got->calls, 1);
}

static void settle_as(struct fixture *f, struct got *got, enum queue_fate fate)
{
    for (size_t i = 0; i < got->count; i++)
        fx_settle_all(f, got->messages[i], fate, 0, "words");
}

static void accounts_take_turns_and_keys_within_them(void **state)
{
    static const struct {
        const char *account, *key;
        size_t count;
    } rows[] = { { "large", "one", 200 },
                 { "large", "two", 200 },
                 { "small", "one", 2 },
                 { "tiny", "one", 1 } };
    static const char *const want[] = { "large one", "small one", "tiny one", "large two",
                                        "small one", "large one", "large two" };
    struct fixture *f = *state;
    struct got got;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        submit_many(f, rows[i].account, rows[i].key, rows[i].count);
        fx_advance(1000); /* whoever comes later is due later */
    }
    fx_lease_some(f, ARRAY_LEN(want), 1 << 20, &got);
    assert_int_equal(got.count, ARRAY_LEN(want));
    for (size_t i = 0; i < got.count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s %s", got.messages[i]->account, got.messages[i]->key_id);
        if (strcmp(name, want[i]) != 0)
            fail_msg("turn %zu: got %s, want %s", i, name, want[i]);
    }
    settle_as(f, &got, QUEUE_SENT);
}

static void what_is_deferred_gets_its_turn_beside_a_backlog(void **state)
{
    struct fixture *f = *state;
    struct got got;
    int64_t id = submit_for(f, "small", "one");

    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    submit_many(f, "large", "one", 500);
    fx_lease_some(f, 64, 1 << 20, &got);
    settle_as(f, &got, QUEUE_SENT);
    fx_advance(80000);
    fx_lease_some(f, 2, 1 << 20, &got); /* 436 of the other have waited longer */
    assert_int_equal(got.count, 2);
    assert_true(got.messages[0]->id == id || got.messages[1]->id == id);
    settle_as(f, &got, QUEUE_SENT);
}

static void within_a_key_the_longest_due_comes_first(void **state)
{
    struct fixture *f = *state;
    struct got got;
    int64_t ids[3];

    for (size_t i = 0; i < 3; i++) {
        ids[i] = submit_for(f, "large", "one");
        fx_advance(1);
    }
    for (size_t i = 0; i < 3; i++) {
        fx_lease_some(f, 1, 1 << 20, &got);
        assert_int_equal(got.messages[0]->id, ids[i]);
        settle_as(f, &got, QUEUE_SENT);
    }
}

static void what_is_passed_over_is_neither_leased_nor_told_of(void **state)
{
    static const struct queue_pass passes[] = {
        { .account = "large" },
        { .account = "medium", .key = "one" },
        { .upstream = "slow" },
    };
    struct fixture *f = *state;
    struct got got;

    submit_for(f, "other", "one"); /* its last one went there */
    struct queue_message *message = fx_lease(f);
    submit_for(f, "other", "one");
    struct got settled = { 0 };
    message->recipients[0].fate = QUEUE_SENT;
    queue_settle(f->queue, &message, "slow", fx_on_done, &settled, &f->desk.box);
    fx_step(f);
    submit_for(f, "large", "one");
    submit_for(f, "large", "two");
    submit_for(f, "medium", "one");
    int64_t id = submit_for(f, "medium", "two");
    lease_but(f, passes, ARRAY_LEN(passes), 64, &got);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.messages[0]->id, id);
    assert_int_equal(got.next_due_ms, INT64_MAX);
    settle_as(f, &got, QUEUE_SENT);
    lease_but(f, passes, ARRAY_LEN(passes), 64, &got);
    assert_int_equal(got.count, 0);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 4);
    settle_as(f, &got, QUEUE_SENT);
}

/* --- names ------------------------------------------------------------------------------------ */

static void mail_without_an_account_has_its_turn_too(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;
    struct got got;

    free(message->account);
    message->account = NULL;
    fx_ask_submit(f, message, true, &got);
    fx_step(f);
    fx_settle_all(f, got.message, QUEUE_LATER, 450, "busy");
    fx_advance(120000);
    message = fx_lease(f);
    assert_int_equal(message->id, id);
    assert_string_equal(message->account, "");
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

/* Cut at its NUL it would be the lane of another. */
static void a_name_that_is_none_of_ours_takes_no_turn(void **state)
{
    static const char *const foreign[] = {
        "UPDATE message SET account = CAST(x'6f6e650074776f' AS TEXT)",
        "UPDATE message SET key_id = CAST(x'6b65790074776f' AS TEXT)",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        struct got got;
        submit_for(f, "one", "key");
        fx_execute(f, foreign[i]);
        int64_t id = submit_for(f, "one", "key");
        fx_reopen(f);
        fx_lease_some(f, 64, 1 << 20, &got);
        if (got.count != 1 || got.messages[0]->id != id)
            fail_msg("%s: %zu are leased", foreign[i], got.count);
        settle_as(f, &got, QUEUE_SENT);
        fx_execute(f, "DELETE FROM message");
    }
}

/* Names so long that a page of the index holds few of them, so the disk may fail between them. */
static void whatever_fails_each_lane_gets_its_turn_in_the_end(void **state)
{
    enum { LANES = 12 };
    struct fixture *f = *state;
    char account[900];

    memset(account, 'a', sizeof(account));
    account[sizeof(account) - 1] = '\0';
    for (EACH_TROUBLE(trouble)) {
        struct got got;
        size_t leased = 0;
        for (int i = 0; i < LANES; i++) {
            account[0] = (char)('a' + i);
            submit_for(f, account, "one");
        }
        fx_reopen(f);
        trouble_begin(f, &trouble);
        for (int i = 0; i < 4; i++) {
            fx_lease_some(f, 64, 1 << 20, &got);
            if (i == 0)
                trouble_end(f, &trouble);
            leased += got.count;
            settle_as(f, &got, QUEUE_SENT);
            fx_advance(600000); /* what could not be read is looked at again */
            fx_step(f);
        }
        if (leased != LANES)
            fail_msg("%s: %zu were leased", trouble.name, leased);
        fx_execute(f, "DELETE FROM message; DELETE FROM recipient; DELETE FROM tally");
    }
}

/* --- lanes without an upstream ---------------------------------------------------------------- */

static void strand(struct fixture *f, struct queue_message *message)
{
    message->stranded = true;
    fx_settle_all(f, message, QUEUE_LATER, 0, "no upstream is usable");
}

static void strand_all(struct fixture *f, struct got *got)
{
    for (size_t i = 0; i < got->count; i++)
        strand(f, got->messages[i]);
}

static void a_backlog_without_an_upstream_is_looked_at_slowly(void **state)
{
    struct fixture *f = *state;
    struct got got;
    size_t looked = 0, most = 20 + 100;

    submit_many(f, "large", "one", 600);
    fx_lease_some(f, 1, 1 << 20, &got);
    strand(f, got.messages[0]);
    for (int i = 0; i < 1000; i++) { /* in one second, as often as one likes */
        fx_lease_some(f, 64, 1 << 20, &got);
        strand_all(f, &got);
        looked += got.count;
        assert_true(got.next_due_ms <= fx_now_ms() + 200);
        fx_advance(1);
    }
    assert_in_range(looked, most / 2, most);

    int64_t id = submit_for(f, "small", "one"); /* another is not held up */
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_true(got.count >= 1);
    assert_int_equal(got.messages[got.count - 1]->id, id);
    settle_as(f, &got, QUEUE_SENT);
}

/* Whatever may be had now. */
static void strand_what_comes(struct fixture *f)
{
    struct got got;

    do {
        fx_lease_some(f, 64, 1 << 20, &got);
        strand_all(f, &got);
    } while (got.count > 0);
}

static void one_that_finds_its_upstream_opens_all_again(void **state)
{
    struct fixture *f = *state;
    struct got got;

    submit_many(f, "large", "one", 200);
    submit_many(f, "huge", "one", 200);
    strand_what_comes(f);
    fx_advance(200);
    fx_lease_some(f, 1, 1 << 20, &got);
    assert_int_equal(got.count, 1);
    settle_as(f, &got, QUEUE_SENT);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 64);
    assert_string_not_equal(got.messages[0]->account, got.messages[1]->account);
    strand_all(f, &got);

    strand_what_comes(f); /* not again at once, if it was wrong */
    fx_advance(200);
    fx_lease_some(f, 1, 1 << 20, &got);
    settle_as(f, &got, QUEUE_SENT);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 64);
    for (size_t i = 40; i < 64; i++) /* but for the one that found it */
        assert_string_equal(got.messages[i]->account, got.messages[40]->account);
    settle_as(f, &got, QUEUE_SENT);
}

static void on_due(void *owner)
{
    (*(int *)owner)++;
}

static void mail_for_a_stranded_lane_rings_nobody(void **state)
{
    struct fixture *f = *state;
    struct got got;
    int rings = 0;

    submit_many(f, "large", "one", 200);
    fx_lease_some(f, 1, 1 << 20, &got);
    strand(f, got.messages[0]);
    queue_watch(f->queue, on_due, &rings, &f->desk.box);
    fx_lease_some(f, 64, 1 << 20, &got);
    strand_all(f, &got);
    fx_lease_some(f, 64, 1 << 20, &got);
    submit_for(f, "large", "one");
    assert_int_equal(rings, 0);
    submit_for(f, "small", "one");
    assert_int_equal(rings, 1);
    settle_as(f, &got, QUEUE_SENT);
}

/* --- what a question costs -------------------------------------------------------------------- */

/* Steps of SQLite's machine in all reading of the due index so far. */
static int64_t steps_of_walks(struct fixture *f)
{
    int64_t steps = 0;

    for (sqlite3_stmt *s = sqlite3_next_stmt(fx_sqlite(f), NULL); s != NULL;
         s = sqlite3_next_stmt(fx_sqlite(f), s))
        if (strstr(sqlite3_sql(s), "message_lane") != NULL)
            steps += sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 0);
    return steps;
}

/* Half of a long lane is leased, and an operator has made all of it due at one time; then again
 * after a restart, when the lanes are read first. */
static void a_question_costs_the_same_however_long_the_lanes_are(void **state)
{
    enum { SHORT = 300, LONG = 3000 };
    struct fixture *f = *state;
    int64_t steps[2][2];
    uint64_t changed;

    for (int round = 0; round < 2; round++) {
        size_t depth = round == 0 ? SHORT : LONG;
        struct got got;
        submit_many(f, "large", "one", depth - (round == 0 ? 0 : SHORT));
        fx_execute(f, "UPDATE message SET state = 2, due_ms = due_ms + 9000000;"
                      "UPDATE recipient SET state = 2, due_ms = due_ms + 9000000");
        fx_retry(f, 0, &changed);
        assert_int_equal(changed, depth);
        for (int half = 0; half < 2; half++) {
            struct queue_message *leased[LONG / 2];
            fx_reopen(f);
            int64_t before = steps_of_walks(f);
            for (size_t i = 0; i < depth / 2; i += 50) {
                if (half == 1)
                    before = steps_of_walks(f);
                fx_lease_some(f, 50, 1 << 20, &got);
                assert_int_equal(got.count, 50);
                memcpy(leased + i, got.messages, 50 * sizeof(*leased));
                if (i == 0 || half == 1)
                    steps[round][half] = steps_of_walks(f) - before;
            }
            for (size_t i = 0; i < depth / 2; i++)
                fx_settle_all(f, leased[i], QUEUE_UNTRIED, 0, "");
            fx_advance(1000);
        }
        fx_advance(600000);
    }
    for (int half = 0; half < 2; half++)
        if (steps[1][half] > steps[0][half] + steps[0][half] / 4)
            fail_msg("%lld steps at a depth of %d, %lld at %d", (long long)steps[0][half], SHORT,
                     (long long)steps[1][half], LONG);
}

/* --- nothing is missed ------------------------------------------------------------------------ */

struct play {
    struct fixture *f;
    uint64_t random;
    struct queue_message *leased[512];
    size_t count;
};

static uint64_t draw(struct play *play, uint64_t below)
{
    play->random = play->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (play->random >> 33) % below;
}

static void submit_some(struct play *play)
{
    char account[8], key[8];

    snprintf(account, sizeof(account), "a%d", (int)draw(play, 5));
    snprintf(key, sizeof(key), "k%d", (int)draw(play, 3));
    submit_many(play->f, account, key, 1 + draw(play, 5));
}

static void lease_some(struct play *play)
{
    char account[8];
    const struct queue_pass passes[] = { { .account = account } };
    struct got got;

    snprintf(account, sizeof(account), "a%d", (int)draw(play, 8));
    lease_but(play->f, passes, 1, 1 + draw(play, 20), &got);
    for (size_t i = 0; i < got.count; i++)
        play->leased[play->count++] = got.messages[i];
}

static void settle_some(struct play *play)
{
    static const enum queue_fate fates[] = { QUEUE_SENT, QUEUE_LATER, QUEUE_UNTRIED, QUEUE_NEVER,
                                             QUEUE_DOUBTFUL };

    for (uint64_t n = draw(play, 30); n > 0 && play->count > 0; n--) {
        size_t i = draw(play, play->count);
        struct queue_message *message = play->leased[i];
        play->leased[i] = play->leased[--play->count];
        fx_settle_all(play->f, message, fates[draw(play, ARRAY_LEN(fates))], 0, "words");
    }
}

static void steer_some(struct play *play)
{
    char account[8];
    const struct queue_filter filter = { .account = account };

    snprintf(account, sizeof(account), "a%d", (int)draw(play, 5));
    fx_steer(play->f, (enum queue_act)draw(play, QUEUE_CANCEL), 0, &filter);
}

static void restart(struct play *play)
{
    while (play->count > 0)
        queue_message_free(play->leased[--play->count]);
    fx_reopen(play->f);
}

/* What the index says that is due, and when the next one is, of what is not leased. */
static void check(struct play *play)
{
    struct fixture *f = play->f;
    struct got got;
    int64_t next_ms = INT64_MAX;

    do { /* all that is due */
        fx_lease_some(f, 64, 1 << 20, &got);
        for (size_t i = 0; i < got.count; i++)
            play->leased[play->count++] = got.messages[i];
        if (play->count > 400)
            settle_some(play);
    } while (got.count > 0);
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(fx_sqlite(f),
                                        "SELECT id, due_ms FROM message"
                                        " WHERE due_ms IS NOT NULL",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        int64_t due_ms = sqlite3_column_int64(statement, 1);
        if (!lease_exists(f->queue, sqlite3_column_int64(statement, 0)) && due_ms < next_ms)
            next_ms = due_ms;
    }
    sqlite3_finalize(statement);
    if (next_ms <= fx_now_ms())
        fail_msg("something is due, and is not leased");
    if (got.next_due_ms > next_ms)
        fail_msg("something is due %lld ms before it is told of",
                 (long long)(got.next_due_ms - next_ms));
}

static void nothing_that_is_due_is_ever_missed(void **state)
{
    static void (*const moves[])(struct play * play) = { submit_some, submit_some, lease_some,
                                                         lease_some,  settle_some, settle_some,
                                                         steer_some };
    struct play play = { .f = *state, .random = 20260729 };

    for (int i = 0; i < 1500; i++) {
        moves[draw(&play, ARRAY_LEN(moves))](&play);
        fx_advance((int64_t)draw(&play, 2000));
        if (i % 10 == 0)
            check(&play);
        if (i % 97 == 0)
            restart(&play);
        if (play.count > 400)
            settle_some(&play);
    }
    restart(&play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(accounts_take_turns_and_keys_within_them),
        QUEUE_TEST(what_is_deferred_gets_its_turn_beside_a_backlog),
        QUEUE_TEST(within_a_key_the_longest_due_comes_first),
        QUEUE_TEST(what_is_passed_over_is_neither_leased_nor_told_of),
        QUEUE_TEST(mail_without_an_account_has_its_turn_too),
        QUEUE_TEST(a_name_that_is_none_of_ours_takes_no_turn),
        DISK_TEST(whatever_fails_each_lane_gets_its_turn_in_the_end),
        QUEUE_TEST(a_backlog_without_an_upstream_is_looked_at_slowly),
        QUEUE_TEST(one_that_finds_its_upstream_opens_all_again),
        QUEUE_TEST(mail_for_a_stranded_lane_rings_nobody),
        QUEUE_TEST(a_question_costs_the_same_however_long_the_lanes_are),
        QUEUE_TEST(nothing_that_is_due_is_ever_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
