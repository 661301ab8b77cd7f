#include "tests/support/trouble.h"

#define HOUR INT64_C(3600000)

/* What the composing function was told, and what it is to answer. */
static struct {
    int calls;
    bool refuses;
    size_t bytes; /* of the report */
    enum queue_report_kind kind;
    int64_t about, id, give_up_ms;
    char original[64];
    size_t original_len, count;
    char told[600]; /* the recipients: "address code enhanced text attempts;" */
} scribe;

static bool compose(void *owner, const struct queue_report *report, struct buf *content)
{
    struct buf told;

    assert_ptr_equal(owner, &scribe);
    scribe.calls++;
    scribe.kind = report->kind;
    scribe.about = report->message->id;
    scribe.id = report->id;
    scribe.give_up_ms = report->give_up_ms;
    scribe.original_len = report->original.len;
    scribe.count = report->recipient_count;
    snprintf(scribe.original, sizeof(scribe.original), "%.*s",
             report->original.len < 60 ? (int)report->original.len : 60, report->original.data);
    buf_init(&told, sizeof(scribe.told) - 1);
    for (size_t i = 0; i < report->recipient_count && i < 5; i++)
        if (!buf_printf(&told, "%s %d %s %s %u;", report->recipients[i].address,
                        report->recipients[i].code, report->recipients[i].enhanced,
                        report->recipients[i].text, report->recipients[i].attempts))
            fail_msg("too much was told");
    snprintf(scribe.told, sizeof(scribe.told), "%.*s", (int)buf_len(&told), buf_slice(&told).data);
    buf_free(&told);
    buf_init(content, 1 << 20);
    char *text = buf_reserve(content, scribe.bytes);
    memset(text, 'r', scribe.bytes);
    buf_commit(content, scribe.bytes);
    return !scribe.refuses;
}

static void open_with_scribe(struct fixture *f)
{
    memset(&scribe, 0, sizeof(scribe));
    scribe.bytes = 100;
    f->options.report = compose;
    f->options.report_owner = &scribe;
    f->options.schedule.notice_ms = 4 * HOUR;
    fx_reopen(f);
}

static int64_t submit_two(struct fixture *f)
{
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;

    queue_message_add(message, SLICE("r2@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    return id;
}

static void no_report_waits(struct fixture *f)
{
    struct got got;

    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
}

/* --- bounces ---------------------------------------------------------------------------------- */

static void a_refused_recipient_bounces_to_the_sender(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    int64_t id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "who?");
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_BOUNCED);
    assert_int_equal(shown.states[0], QUEUE_BOUNCED);
    assert_string_equal(shown.text[0], "who?");
    assert_string_equal(shown.event[0], "attempt");
    assert_string_equal(shown.event[1], "bounce");
    assert_int_equal(
        fx_number(f, "SELECT count(*) FROM message WHERE state = 6 AND content IS NULL"), 1);
    assert_int_equal(scribe.kind, QUEUE_BOUNCE);
    assert_true(scribe.about == id);
    assert_string_equal(scribe.original, "From: <a@good.example>\r\n\r\nhello\r\n");
    assert_string_equal(scribe.told, "r@dest.example 550  who? 1;");

    struct queue_message *report = fx_lease(f);
    assert_true(report->id == scribe.id);
    assert_string_equal(report->sender, "");
    assert_string_equal(report->account, "acme");
    assert_string_equal(report->key_id, "7Fq2mZ81");
    assert_int_equal(report->recipient_count, 1);
    assert_string_equal(report->recipients[0].address, "a@good.example");
    assert_int_equal(report->received_ms, fx_now_ms());
    assert_int_equal(buf_len(&report->content), 100);
    fx_settle_all(f, report, QUEUE_SENT, 250, "ok");
    assert_int_equal(scribe.calls, 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_BOUNCED], 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], 1);
}

/* F-14 to its end. */
static void each_recipient_is_told_of_once_and_with_those_of_its_settlement(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    struct queue_message *message = fx_small("r1@dest.example");
    int64_t id = message->id;
    for (int i = 2; i <= 5; i++) {
        char address[32];
        snprintf(address, sizeof(address), "r%d@dest.example", i);
        queue_message_add(message, slice_of(address));
    }
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "2.1.5", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "4.2.1", SLICE("busy"));
    queue_recipient_say(&message->recipients[2], QUEUE_NEVER, 550, "5.1.1", SLICE("who?"));
    queue_recipient_say(&message->recipients[3], QUEUE_NEVER, 554, "5.7.1", SLICE("no"));
    queue_recipient_say(&message->recipients[4], QUEUE_DOUBTFUL, 0, "", SLICE("ended"));
    fx_settle(f, message);
    assert_int_equal(scribe.calls, 1);
    assert_string_equal(scribe.told,
                        "r3@dest.example 550 5.1.1 who? 1;r4@dest.example 554 5.7.1 no 1;");
    assert_int_equal(fx_show(f, id).state, QUEUE_DEFERRED);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok"); /* the report */
    fx_advance(120000);
    message = fx_lease(f);
    assert_int_equal(message->recipient_count, 2);
    queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "5.2.1", SLICE("gone"));
    queue_recipient_say(&message->recipients[1], QUEUE_SENT, 250, "", SLICE("ok"));
    fx_settle(f, message);
    assert_int_equal(scribe.calls, 2);
    assert_string_equal(scribe.told, "r2@dest.example 550 5.2.1 gone 2;");
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    no_report_waits(f);
}

static void what_is_too_old_bounces_with_the_last_words(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    f->options.schedule.notice_ms = 0;
    fx_reopen(f);
    int64_t id = fx_submit(f, "r@dest.example");
    fx_advance(4 * 24 * HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    assert_int_equal(scribe.kind, QUEUE_BOUNCE);
    assert_string_equal(scribe.told, "r@dest.example 450  gave up after 4d: busy 1;");
}

static void nobody_is_told_of_a_null_sender(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;

    open_with_scribe(f);
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;
    message->sender[0] = '\0';
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_advance(5 * HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy"); /* no notice either */
    fx_advance(HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_show(f, id).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(scribe.calls, 0);
    no_report_waits(f);
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_OK); /* its content was kept */
}

/* A message that was leased with its submission is what its asker made, never read from the disk.
 */
static void what_was_handed_over_without_a_sender_or_an_account_is_no_riddle(void **state)
{
    static const struct {
        bool sender, account;
        int reports;
    } rows[] = { { false, true, 0 }, { true, false, 1 } };
    struct fixture *f = *state;

    open_with_scribe(f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct queue_message *message = fx_small("r@dest.example");
        char **unset = rows[i].sender ? &message->account : &message->sender;
        struct got got;
        free(*unset);
        *unset = NULL;
        scribe.calls = 0;
        fx_ask_submit(f, message, true, &got);
        fx_step(f);
        fx_settle_all(f, got.message, QUEUE_NEVER, 550, "no");
        assert_int_equal(scribe.calls, rows[i].reports);
        if (rows[i].reports == 0)
            continue;
        message = fx_lease(f);
        assert_string_equal(message->account, "");
        assert_string_equal(message->recipients[0].address, "a@good.example");
        fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    }
    no_report_waits(f);
}

static void a_bounce_that_bounces_is_failed(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    struct queue_message *report = fx_lease(f);
    int64_t id = report->id;
    fx_settle_all(f, report, QUEUE_NEVER, 550, "no such sender");
    assert_int_equal(fx_show(f, id).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(scribe.calls, 1);
    no_report_waits(f);
}

static void what_bounced_cannot_be_retried(void **state)
{
    struct fixture *f = *state;
    uint64_t changed;

    open_with_scribe(f);
    int64_t id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_retry(f, id, &changed), QUEUE_CONFLICT);
}

static void without_a_report_a_recipient_is_failed(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    scribe.refuses = true;
    int64_t id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(scribe.calls, 1);
    assert_int_equal(fx_show(f, id).state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(fx_show(f, id).event_count, 1);
    no_report_waits(f);
}

static void without_retention_the_bounce_is_all_that_is_left(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    queue_set_schedule(f->queue, &f->options.schedule, 0);
    int64_t id = fx_submit(f, "r@dest.example");
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    struct queue_message *report = fx_lease(f);
    assert_true(report->id == scribe.id);
    fx_settle_all(f, report, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_number(f, "SELECT (SELECT count(*) FROM message) +"
                                  " (SELECT count(*) FROM recipient) +"
                                  " (SELECT count(*) FROM event)"),
                     0);
}

/* --- large ones ------------------------------------------------------------------------------- */

static int64_t submit_chunked(struct fixture *f)
{
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    int64_t id = message->id;

    assert_int_equal(fx_append(f, id, 0, 'a', QUEUE_CHUNK_BYTES), QUEUE_OK);
    assert_int_equal(fx_append(f, id, 1, 'b', 10), QUEUE_OK);
    message->chunks = 2;
    message->size = QUEUE_CHUNK_BYTES + 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    return id;
}

static void a_report_on_a_large_message_has_its_first_chunk(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    int64_t id = submit_chunked(f);
    fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    assert_int_equal(scribe.original_len, QUEUE_CHUNK_BYTES);
    assert_int_equal(scribe.original[0], 'a');
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
}

static void a_report_on_a_message_without_its_chunks_goes_all_the_same(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    int64_t id = submit_chunked(f);
    struct queue_message *message = fx_lease(f);
    fx_execute(f, "DELETE FROM body");
    fx_settle_all(f, message, QUEUE_NEVER, 550, "no");
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    assert_int_equal(scribe.original_len, 0);
}

/* It can be neither quoted nor removed. What became of it is written all the same, for until then
 * nothing else would be delivered. */
static void a_message_on_a_bad_sector_bounces_all_the_same(void **state)
{
    static const int64_t retentions[] = { 86400000, 0 };
    struct fixture *f = *state;

    open_with_scribe(f);
    for (size_t i = 0; i < ARRAY_LEN(retentions); i++) {
        queue_set_schedule(f->queue, &f->options.schedule, retentions[i]);
        int64_t id = submit_chunked(f);
        fx_reopen(f); /* all of it is in the file, and nothing in memory */
        f->queue->retention_ms = retentions[i];
        struct queue_message *message = fx_lease(f);
        struct got settled = { 0 };
        disk.unreadable_at = disk_page_of(f->path, 'a') + 8;
        queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "", SLICE("no"));
        queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
        fx_step(f);
        assert_int_equal(settled.calls, 0);
        fx_advance(1000);
        fx_step(f);
        assert_int_equal(settled.calls, 1);
        assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
        assert_int_equal(scribe.original_len, 0);
        fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
        disk.unreadable_at = 0;
        fx_execute(f, "DELETE FROM message; DELETE FROM body");
    }
}

static void a_large_report_is_stored_in_chunks(void **state)
{
    static const size_t sizes[] = { QUEUE_INLINE_MAX, QUEUE_INLINE_MAX + 1,
                                    3 * QUEUE_CHUNK_BYTES + 5 };
    struct fixture *f = *state;
    struct got *got = xcalloc(1, sizeof(*got));

    open_with_scribe(f);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        scribe.bytes = sizes[i];
        fx_submit(f, "r@dest.example");
        fx_settle_all(f, fx_lease(f), QUEUE_NEVER, 550, "no");
        struct queue_message *report = fx_lease(f);
        assert_int_equal(report->size, sizes[i]);
        assert_int_equal(report->chunks, i == 0 ? 0 : i == 1 ? 2 : 4);
        size_t found = buf_len(&report->content);
        for (uint32_t seq = 0; seq < report->chunks; seq++) {
            assert_int_equal(fx_read(f, report->id, seq, got), QUEUE_OK);
            found += got->chunk_len;
        }
        assert_int_equal(found, sizes[i]);
        fx_settle_all(f, report, QUEUE_SENT, 250, "ok");
    }
    fx_reopen(f);
    assert_int_equal(fx_number(f, "SELECT (SELECT count(*) FROM body) +"
                                  " (SELECT count(*) FROM incoming)"),
                     0);
    free(got);
}

/* --- delay notices ---------------------------------------------------------------------------- */

static void a_late_message_is_told_of_once(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    int64_t id = submit_two(f);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    fx_advance(4 * HOUR - 1);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(scribe.calls, 0);
    fx_advance(HOUR);
    struct queue_message *message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_recipient_say(&message->recipients[1], QUEUE_DOUBTFUL, 0, "", SLICE("ended"));
    fx_settle(f, message);
    assert_int_equal(scribe.calls, 1);
    assert_int_equal(scribe.kind, QUEUE_DELAY_NOTICE);
    assert_string_equal(scribe.told, "r2@dest.example 0  ended 3;");
    assert_true(scribe.give_up_ms == FX_START_MS + 96 * HOUR);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_UNCERTAIN);
    assert_string_equal(shown.event[shown.event_count - 1], "delay notice");

    struct queue_message *notice = fx_lease(f);
    assert_true(notice->id == scribe.id);
    assert_string_equal(notice->sender, "");
    fx_settle_all(f, notice, QUEUE_SENT, 250, "ok");
    fx_reopen(f); /* and a restart does not forget it */
    fx_advance(HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(scribe.calls, 1);
    fx_advance(96 * HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(scribe.calls, 2); /* the bounce */
    assert_int_equal(scribe.kind, QUEUE_BOUNCE);
}

static void who_failed_gets_a_bounce_and_who_is_late_a_notice(void **state)
{
    struct fixture *f = *state;
    struct got got;

    open_with_scribe(f);
    submit_two(f);
    fx_advance(5 * HOUR);
    struct queue_message *message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "", SLICE("no"));
    queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
    fx_settle(f, message);
    assert_int_equal(scribe.calls, 2);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 2);
    for (size_t i = 0; i < got.count; i++)
        fx_settle_all(f, got.messages[i], QUEUE_SENT, 250, "ok");
}

static void a_notice_can_be_switched_off_and_is_not_for_what_was_not_tried(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    fx_submit(f, "r@dest.example");
    fx_advance(5 * HOUR);
    fx_settle_all(f, fx_lease(f), QUEUE_UNTRIED, 0, "");
    f->options.schedule.notice_ms = 0;
    queue_set_schedule(f->queue, &f->options.schedule, f->options.retention_ms);
    fx_advance(2000);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    assert_int_equal(scribe.calls, 0);
}

/* --- a store that fails ----------------------------------------------------------------------- */

/* The first writing fails to sync, and is in the log all the same. */
static void a_settlement_written_twice_bounces_once(void **state)
{
    struct fixture *f = *state;
    struct got settled = { 0 };

    open_with_scribe(f);
    scribe.bytes = QUEUE_INLINE_MAX + 1; /* its chunks, too, are written twice */
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "", SLICE("no"));
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    disk.failing_syncs = 2;
    fx_step(f);
    assert_int_equal(settled.calls, 0);
    fx_advance(1000);
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    assert_int_equal(scribe.calls, 1);
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 2);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 2);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 1);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 0);
}

/* The settlement and its report are one transaction: when it is undone there is neither. */
static int refuse_commit(void *owner)
{
    (void)owner;
    return 1;
}

/* While the queue has closed its store. */
static int64_t count_in_file(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t count = -1;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return count;
}

static void there_is_both_a_settlement_and_its_report_or_neither(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);
    queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "", SLICE("no"));
    sqlite3_commit_hook(fx_sqlite(f), refuse_commit, NULL);
    queue_settle(f->queue, &message, "main", NULL, NULL, NULL);
    fx_step(f);
    assert_int_equal(count_in_file(f->path, "SELECT count(*) FROM message"), 1);
    assert_int_equal(count_in_file(f->path, "SELECT count(*) FROM event"), 0);
    fx_advance(1000);
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 2);
    assert_int_equal(fx_show(f, id).state, QUEUE_BOUNCED);
    assert_int_equal(scribe.calls, 1);
    fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
}

static int64_t count_of(struct fixture *f, int64_t about, const char *what)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM event WHERE message = %lld AND what = '%s'",
             (long long)about, what);
    return fx_number(f, sql);
}

/* One recipient bounces and the sender is told that another is late, both in reports that need
 * chunks of their own; the message had chunks to quote. */
static void whatever_fails_each_report_is_there_once_and_noted_once(void **state)
{
    struct fixture *f = *state;

    open_with_scribe(f);
    scribe.bytes = QUEUE_INLINE_MAX + 1;
    for (EACH_TROUBLE(trouble)) {
        struct got settled = { 0 }, due;
        int64_t id = submit_chunked(f);
        fx_execute(f, "INSERT INTO recipient SELECT message, 1, 'late@dest.example', state,"
                      " attempts, due_ms, updated_ms, code, enhanced, text, upstream"
                      " FROM recipient; UPDATE message SET recipients = 2");
        fx_advance(5 * HOUR);
        struct queue_message *message = fx_lease(f);
        queue_recipient_say(&message->recipients[0], QUEUE_NEVER, 550, "", SLICE("no"));
        queue_recipient_say(&message->recipients[1], QUEUE_LATER, 450, "", SLICE("busy"));
        scribe.calls = 0;
        trouble_begin(f, &trouble);
        queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
        fx_step(f);
        trouble_end(f, &trouble);
        trouble_check_books(f, &trouble);
        if (settled.calls != 1 || settled.result != QUEUE_OK || scribe.calls != 2)
            fail_msg("%s: %d answers, %d reports", trouble.name, settled.calls, scribe.calls);
        if (fx_number(f, "SELECT count(*) FROM message") != 3 || count_of(f, id, "attempt") != 2 ||
            count_of(f, id, "bounce") != 1 || count_of(f, id, "delay notice") != 1)
            fail_msg("%s: %lld messages, %lld attempts, %lld bounces, %lld notices", trouble.name,
                     (long long)fx_number(f, "SELECT count(*) FROM message"),
                     (long long)count_of(f, id, "attempt"), (long long)count_of(f, id, "bounce"),
                     (long long)count_of(f, id, "delay notice"));
        fx_lease_some(f, 64, 1 << 20, &due);
        if (due.count != 2)
            fail_msg("%s: %zu reports are due", trouble.name, due.count);
        for (size_t i = 0; i < due.count; i++)
            fx_settle_all(f, due.messages[i], QUEUE_SENT, 250, "ok");
        fx_steer(f, QUEUE_CANCEL, id, NULL);
        fx_execute(f, "DELETE FROM message; DELETE FROM recipient; DELETE FROM body;"
                      "DELETE FROM event; DELETE FROM tally");
        fx_reopen(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_refused_recipient_bounces_to_the_sender),
        QUEUE_TEST(each_recipient_is_told_of_once_and_with_those_of_its_settlement),
        QUEUE_TEST(what_is_too_old_bounces_with_the_last_words),
        QUEUE_TEST(nobody_is_told_of_a_null_sender),
        QUEUE_TEST(what_was_handed_over_without_a_sender_or_an_account_is_no_riddle),
        QUEUE_TEST(a_bounce_that_bounces_is_failed),
        QUEUE_TEST(what_bounced_cannot_be_retried),
        QUEUE_TEST(without_a_report_a_recipient_is_failed),
        QUEUE_TEST(without_retention_the_bounce_is_all_that_is_left),
        QUEUE_TEST(a_report_on_a_large_message_has_its_first_chunk),
        QUEUE_TEST(a_report_on_a_message_without_its_chunks_goes_all_the_same),
        DISK_TEST(a_message_on_a_bad_sector_bounces_all_the_same),
        QUEUE_TEST(a_large_report_is_stored_in_chunks),
        QUEUE_TEST(a_late_message_is_told_of_once),
        QUEUE_TEST(who_failed_gets_a_bounce_and_who_is_late_a_notice),
        QUEUE_TEST(a_notice_can_be_switched_off_and_is_not_for_what_was_not_tried),
        DISK_TEST(a_settlement_written_twice_bounces_once),
        QUEUE_TEST(there_is_both_a_settlement_and_its_report_or_neither),
        DISK_TEST(whatever_fails_each_report_is_there_once_and_noted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
