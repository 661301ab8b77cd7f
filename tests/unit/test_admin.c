#include "tests/support/queue_fixture.h"

#define ROWS_SEEN 6000

struct seen {
    int calls;
    enum queue_result result;
    int64_t ids[ROWS_SEEN];
    enum queue_state states[ROWS_SEEN];
    size_t count, page_count;
    int64_t next_id;
    struct queue_row first; /* its strings are gone */
    char account[32], recipient[64], last_text[64];
};

static void on_list(void *owner, enum queue_result result, struct queue_page *page)
{
    struct seen *seen = owner;

    seen->calls++;
    seen->result = result;
    seen->next_id = page->next_id;
    seen->page_count = page->count;
    for (size_t i = 0; i < page->count; i++) {
        seen->ids[seen->count] = page->rows[i].id;
        seen->states[seen->count++] = page->rows[i].state;
    }
    if (page->count == 0)
        return;
    seen->first = page->rows[0];
    snprintf(seen->account, sizeof(seen->account), "%s", page->rows[0].account);
    snprintf(seen->recipient, sizeof(seen->recipient), "%s", page->rows[0].recipient);
    snprintf(seen->last_text, sizeof(seen->last_text), "%s",
             page->rows[0].last_text == NULL ? "" : page->rows[0].last_text);
}

static void list(struct fixture *f, const struct queue_filter *filter, struct seen *seen)
{
    int calls = seen->calls;

    queue_list(f->queue, filter, on_list, seen, &f->desk.box);
    fx_step(f);
    assert_int_equal(seen->calls, calls + 1);
}

/* Page after page until next_id says that was all; returns the number of pages. */
static int list_all(struct fixture *f, struct queue_filter filter, struct seen *seen)
{
    int pages = 0;

    do {
        list(f, &filter, seen);
        assert_int_equal(seen->result, QUEUE_OK);
        filter.before_id = seen->next_id;
        pages++;
    } while (seen->next_id != 0);
    return pages;
}

static struct seen *seen_new(void)
{
    return xcalloc(1, sizeof(struct seen));
}

static void a_list_pages_through_everything_newest_first(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = seen_new();
    int64_t ids[25];

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = fx_submit(f, "r@dest.example");
    assert_int_equal(list_all(f, (struct queue_filter){ .limit = 10 }, seen), 3);
    assert_int_equal(seen->count, 25);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(seen->ids[i], ids[24 - i]);
    free(seen);

    seen = seen_new(); /* a page that is full and the last */
    list(f, &(struct queue_filter){ .limit = 25 }, seen);
    assert_int_equal(seen->count, 25);
    assert_int_equal(seen->next_id, 0);
    free(seen);
}

static void a_row_tells_what_a_list_shows(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = seen_new();
    struct queue_message *message = fx_small("first@dest.example");
    int64_t id = message->id;
    uint64_t size = buf_len(&message->content);

    queue_message_add(message, SLICE("second@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    list(f, &(struct queue_filter){ .limit = 10 }, seen);
    assert_int_equal(seen->count, 1);
    assert_int_equal(seen->first.id, id);
    assert_int_equal(seen->first.received_ms, FX_START_MS);
    assert_true(seen->first.due_ms > FX_START_MS);
    assert_int_equal(seen->first.state, QUEUE_DEFERRED);
    assert_int_equal(seen->first.size, size);
    assert_int_equal(seen->first.recipient_count, 2);
    assert_int_equal(seen->first.attempts, 1);
    assert_string_equal(seen->account, "acme");
    assert_string_equal(seen->recipient, "first@dest.example");
    assert_string_equal(seen->last_text, "busy");
    free(seen);
}

static void a_list_filters_by_the_state_that_people_see(void **state)
{
    struct fixture *f = *state;
    int64_t delivered = fx_submit(f, "a@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    int64_t deferred = fx_submit(f, "b@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    int64_t leased = fx_submit(f, "c@dest.example");
    struct queue_message *message = fx_lease(f);
    int64_t queued = fx_submit(f, "d@dest.example");
    const struct {
        enum queue_state state;
        int64_t want; /* 0: none */
    } rows[] = {
        { QUEUE_DELIVERED, delivered }, { QUEUE_DEFERRED, deferred }, { QUEUE_DELIVERING, leased },
        { QUEUE_QUEUED, queued },       { QUEUE_FAILED_FOR_GOOD, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct seen *seen = seen_new();
        list_all(f, (struct queue_filter){ .has_state = true, .state = rows[i].state, .limit = 10 },
                 seen);
        if (seen->count != (rows[i].want != 0) ||
            (seen->count == 1 &&
             (seen->ids[0] != rows[i].want || seen->states[0] != rows[i].state)))
            fail_msg("%s: %zu rows", queue_state_name(rows[i].state), seen->count);
        free(seen);
    }
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_list_filters_by_account(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = seen_new();
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;

    free(message->account);
    message->account = xstrdup("other");
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_submit(f, "r@dest.example");
    list_all(f, (struct queue_filter){ .account = "other", .limit = 10 }, seen);
    assert_int_equal(seen->count, 1);
    assert_int_equal(seen->ids[0], id);
    assert_string_equal(seen->account, "other");
    free(seen);
}

static void the_work_of_one_page_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct seen *seen = seen_new();

    fx_execute(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)"
                  " INSERT INTO message (id, state, received_ms, aged_from_ms, account, key_id,"
                  " sender, size, chunks, flags, recipients)"
                  " SELECT i, 5, 1, 1, 'acme', '', '', 1, 0, 0, 1 FROM n");
    struct queue_filter filter = { .has_state = true, .state = QUEUE_HELD, .limit = 10 };
    list(f, &filter, seen);
    assert_int_equal(seen->page_count, 0);
    assert_int_equal(seen->next_id, 12000 - 5000 + 1);
    assert_int_equal(list_all(f, filter, seen), 3);
    assert_int_equal(seen->count, 0);
    free(seen);
}

static void a_story_tells_recipients_and_events(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;
    int64_t id = fx_submit(f, "r@dest.example");

    assert_int_equal(fx_show(f, id + 1).result, QUEUE_NOT_FOUND);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "unknown user");
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.result, QUEUE_OK);
    assert_int_equal(shown.state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.recipient_count, 1);
    assert_int_equal(shown.event_count, 3);
    assert_string_equal(shown.event[0], "attempt");
    assert_string_equal(shown.event_text[0], "busy");
    assert_string_equal(shown.event[1], "retry");
    assert_string_equal(shown.event[2], "attempt");
    assert_string_equal(shown.event_text[2], "unknown user");
}

static void a_retry_is_for_what_waits_or_failed(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;
    int64_t id = fx_submit(f, "r@dest.example");

    assert_int_equal(fx_retry(f, id, &changed), QUEUE_CONFLICT); /* queued */
    assert_int_equal(fx_retry(f, id + 1, &changed), QUEUE_NOT_FOUND);
    struct queue_message *message = fx_lease(f);
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_CONFLICT); /* delivering */
    fx_settle_all(f, message, QUEUE_DOUBTFUL, 0, "");
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK); /* uncertain */
    assert_int_equal(changed, 1);
    assert_int_equal(fx_show(f, id).state, QUEUE_UNCERTAIN);
    message = fx_lease(f);
    assert_int_equal(message->recipients[0].attempts, 1);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_CONFLICT); /* delivered */
    assert_int_equal(changed, 0);
}

static void a_failed_message_can_be_sent_after_all_and_its_age_begins_anew(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;
    struct queue_message *message = fx_small("good@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("bad@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_NEVER, 550, "", SLICE("no"));
    fx_settle(f, message);
    fx_advance(10 * 86400000LL); /* the record is pruned only by a step that has not come yet */
    f->queue->prune_at_ms = INT64_MAX;
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK);
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED);
    assert_int_equal(fx_stats(f).messages[QUEUE_FAILED_FOR_GOOD], 0);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 1);
    assert_string_equal(message->recipients[0].address, "bad@dest.example");
    assert_int_equal(buf_len(&message->content), message->size);
    fx_settle_all(f, message, QUEUE_LATER, 450, "busy"); /* not given up: it is young again */
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED);
    assert_int_equal(fx_stats(f).messages[QUEUE_DEFERRED], 1);
}

static void retrying_all_goes_in_steps_and_counts(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;
    struct got got;
    int64_t failed = fx_submit(f, "x@dest.example");

    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    for (int i = 0; i < 250; i++) {
        fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), i % 2 == 0 ? QUEUE_LATER : QUEUE_DOUBTFUL, 450, "busy");
    }
    int64_t untouched = fx_submit(f, "queued@dest.example");
    assert_int_equal(fx_retry(f, 0, &changed), QUEUE_OK);
    assert_int_equal(changed, 250);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event WHERE what = 'retry'"), 250);
    assert_int_equal(fx_show(f, failed).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(fx_show(f, untouched).state, QUEUE_QUEUED);
    for (int left = 251; left > 0; left -= (int)got.count) {
        fx_lease_some(f, 64, 1 << 20, &got);
        assert_true(got.count > 0);
        for (size_t i = 0; i < got.count; i++)
            queue_message_free(got.messages[i]);
    }
    assert_int_equal(fx_retry(f, 0, &changed), QUEUE_OK); /* all are leased */
    assert_int_equal(changed, 0);
}

/* The clock runs on between the steps: what a step made due must not be met, and counted, again. */
static int64_t fx_running_clock(void)
{
    fx_advance(700);
    return fx_now_us;
}

static void retrying_all_meets_each_message_once_however_long_it_takes(void **state)
{
    static const struct clock_source running = { fx_running_clock, fx_clock };
    struct fixture *f = *state;
    uint64_t changed;

    for (int i = 0; i < 350; i++) {
        fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    }
    clock_replace(&running);
    assert_int_equal(fx_retry(f, 0, &changed), QUEUE_OK);
    assert_in_range(changed, 1, 350);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM event WHERE what = 'retry'"), changed);
    assert_int_equal(fx_number(f, "SELECT count(DISTINCT due_ms) FROM message"), 1);
}

static void stats_follow_a_message_through_its_life(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    uint64_t size = buf_len(&message->content);

    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    struct queue_stats stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_QUEUED], 1);
    assert_int_equal(stats.active_bytes, size);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    fx_reopen(f); /* the counters are on disk */
    stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_QUEUED], 0);
    assert_int_equal(stats.messages[QUEUE_DEFERRED], 1);
    assert_int_equal(stats.active_bytes, size);
    fx_advance(120000);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_DELIVERED], 1);
    assert_int_equal(stats.active_bytes, 0);
    assert_int_equal(stats.unsettled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_list_pages_through_everything_newest_first),
        QUEUE_TEST(a_row_tells_what_a_list_shows),
        QUEUE_TEST(a_list_filters_by_the_state_that_people_see),
        QUEUE_TEST(a_list_filters_by_account),
        QUEUE_TEST(the_work_of_one_page_is_bounded),
        QUEUE_TEST(a_story_tells_recipients_and_events),
        QUEUE_TEST(a_retry_is_for_what_waits_or_failed),
        QUEUE_TEST(a_failed_message_can_be_sent_after_all_and_its_age_begins_anew),
        QUEUE_TEST(retrying_all_goes_in_steps_and_counts),
        QUEUE_TEST(retrying_all_meets_each_message_once_however_long_it_takes),
        QUEUE_TEST(stats_follow_a_message_through_its_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
