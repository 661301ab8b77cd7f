#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/support/disk.h"

/* --- answers --------------------------------------------------------------------------------- */

struct order {
    int numbers[1000];
    int count;
};
struct numbered {
    struct order *order;
    int number;
};

static void on_numbered(void *owner, enum queue_result result, struct queue_message *message)
{
    struct numbered *numbered = owner;

    assert_int_equal(result, QUEUE_OK);
    assert_null(message);
    numbered->order->numbers[numbered->order->count++] = numbered->number;
}

static void on_numbered_stats(void *owner, const struct queue_stats *stats)
{
    struct numbered *numbered = owner;

    (void)stats;
    numbered->order->numbers[numbered->order->count++] = numbered->number;
}

static void answers_come_in_the_order_asked_over_many_batches(void **state)
{
    struct fixture *f = *state;
    struct order *order = xcalloc(1, sizeof(*order));
    struct numbered numbered[700];

    for (int i = 0; i < 700; i++) {
        numbered[i] = (struct numbered){ order, i };
        if (i % 7 == 3) { /* reads among the writes */
            queue_stats(f->queue, on_numbered_stats, &numbered[i], &f->desk.box);
            continue;
        }
        struct queue_message *message = fx_small("r@dest.example");
        queue_submit(f->queue, &(struct queue_submit){ .message = &message,
                                                       .cb = on_numbered,
                                                       .owner = &numbered[i],
                                                       .answers = &f->desk.box });
    }
    fx_step(f);
    assert_int_equal(order->count, 700);
    for (int i = 0; i < 700; i++)
        assert_int_equal(order->numbers[i], i);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 600);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 600);
    free(order);
}

/* --- a disk without room --------------------------------------------------------------------- */

/* No new page can be had. Holds until the store is opened again. */
static void fill_up(struct fixture *f)
{
    fx_execute(f, "PRAGMA max_page_count = 1"); /* SQLite takes the present size for it */
}

static void make_room(struct fixture *f)
{
    fx_execute(f, "PRAGMA max_page_count = 1000000");
}

static struct queue_message *large(void)
{
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    char *text = xcalloc(1, QUEUE_INLINE_MAX);

    desk_write(message, slice_make(text, QUEUE_INLINE_MAX));
    free(text);
    return message;
}

static void without_room_a_submission_is_refused_and_nothing_is_stored(void **state)
{
    struct fixture *f = *state;

    fill_up(f);
    assert_int_equal(fx_submit_message(f, large()), QUEUE_FULL);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM recipient"), 0);
    assert_false(queue_has_room(f->queue));
    assert_false(queue_is_failing(f->queue));
    struct queue_stats stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_QUEUED], 0);
    make_room(f);
    assert_int_equal(fx_submit_message(f, large()), QUEUE_OK);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 1);
}

/* They share a batch, but not its fate. */
static void a_read_beside_a_write_that_failed_is_answered(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct shown shown = { 0 };
    struct got got;

    fill_up(f);
    queue_show(f->queue, id, fx_on_show, &shown, &f->desk.box);
    fx_ask_submit(f, large(), true, &got);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    assert_int_equal(got.result, QUEUE_FULL);
    assert_null(got.message);
    assert_int_equal(shown.calls, 1);
    assert_int_equal(shown.result, QUEUE_OK);
    assert_int_equal(shown.state, QUEUE_QUEUED);
}

static void room_is_noticed_without_a_submission(void **state)
{
    struct fixture *f = *state;

    fill_up(f);
    assert_int_equal(fx_submit_message(f, large()), QUEUE_FULL);
    make_room(f);
    fx_step(f);
    assert_false(queue_has_room(f->queue)); /* looked at once a second */
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
}

static void chunks_of_a_message_that_failed_go_too(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    for (int i = 0; i < 200; i++) /* so that its row needs new pages */
        queue_message_add(message, SLICE("someone-with-a-long-name@dest.example"));
    assert_int_equal(fx_append(f, message->id, 0, 'x', QUEUE_CHUNK_BYTES), QUEUE_OK);
    message->chunks = 1;
    message->size = QUEUE_CHUNK_BYTES;
    fill_up(f);
    assert_int_equal(fx_submit_message(f, message), QUEUE_FULL);
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
    assert_int_equal(fx_stats(f).unsettled, 0);
}

static void below_the_floor_of_free_space_there_is_no_room(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_close(f);
    f->options.free_space_floor = UINT64_MAX;
    fx_open(f);
    assert_false(queue_has_room(f->queue));
    fx_submit(f, "r@dest.example"); /* what is under way is still taken */
    fx_lease_some(f, 1, 1, &got);   /* and mail still drains */
    assert_int_equal(got.count, 1);
    fx_settle_all(f, got.messages[0], QUEUE_SENT, 250, "ok");
}

/* --- settlements are never lost -------------------------------------------------------------- */

/* A refusal so long that recording it needs a page, of several recipients. */
static struct queue_message *with_many_words(struct fixture *f)
{
    struct queue_message *message = fx_small("r0@dest.example");

    for (int i = 1; i < 50; i++)
        queue_message_add(message, SLICE("r@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    for (size_t i = 0; i < message->recipient_count; i++) {
        char words[500];
        memset(words, 'w', sizeof(words));
        queue_recipient_say(&message->recipients[i], QUEUE_LATER, 450, "4.2.0",
                            slice_make(words, sizeof(words)));
    }
    return message;
}

static void without_room_a_settlement_waits_and_nothing_is_leased(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = with_many_words(f);
    int64_t id = message->id, other = fx_submit(f, "other@dest.example");
    struct got settled = { 0 }, leased;

    fill_up(f);
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    fx_step(f);
    assert_int_equal(settled.calls, 0);
    assert_false(queue_has_room(f->queue));
    assert_int_equal(fx_stats(f).unsettled, 1);
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERING);
    fx_lease_some(f, 64, 1 << 20, &leased);
    assert_int_equal(leased.count, 0);
    assert_int_equal(leased.next_due_ms, fx_now_ms() + 1000);

    make_room(f);
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    assert_int_equal(settled.result, QUEUE_OK);
    assert_int_equal(fx_stats(f).unsettled, 0);
    assert_true(queue_has_room(f->queue));
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_DEFERRED);
    assert_int_equal(shown.attempts, 1);
    message = fx_lease(f);
    assert_int_equal(message->id, other);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void a_settlement_that_never_could_be_written_is_answered_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = with_many_words(f);
    struct got settled = { 0 };

    fill_up(f);
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    fx_step(f);
    queue_stop(f->queue);
    mailbox_drain(&f->desk.box);
    assert_int_equal(settled.calls, 1);
    assert_int_equal(settled.result, QUEUE_FAILED);
    fx_reopen(f);
    message = fx_lease(f); /* so it is tried again */
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

/* --- a store that fails ---------------------------------------------------------------------- */

/* Every write is an error from now on. Opening the store again heals it, unless the file may not be
 * opened, which its mode decides. */
static void break_store(struct fixture *f, bool for_good)
{
    fx_execute(f, "PRAGMA query_only = ON");
    assert_int_equal(chmod(f->path, for_good ? 0644 : 0600), 0);
}

static void after_a_failed_write_nothing_is_acknowledged_until_reopened(void **state)
{
    struct fixture *f = *state;
    int64_t before = fx_submit(f, "r@dest.example");
    struct got leased;

    break_store(f, true);
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    assert_null(f->queue->store);
    assert_false(queue_has_room(f->queue));
    assert_true(queue_is_failing(f->queue));
    for (int i = 0; i < 3; i++) {
        fx_advance(1000);
        assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    }
    assert_int_equal(fx_show(f, before).result, QUEUE_FAILED);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 1); /* known without the store */
    fx_lease_some(f, 1, 1, &leased);
    assert_int_equal(leased.count, 0);

    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    assert_false(queue_is_failing(f->queue));
    int64_t after = fx_submit(f, "r@dest.example");
    assert_int_equal(fx_show(f, before).state, QUEUE_QUEUED);
    assert_int_equal(fx_show(f, after).state, QUEUE_QUEUED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 2);
}

static void settlements_outlive_a_store_that_failed(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);
    struct got settled = { 0 };

    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    break_store(f, false);
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    fx_step(f);
    assert_int_equal(settled.calls, 0);
    fx_advance(1000);
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    assert_int_equal(settled.result, QUEUE_OK);
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERING], 0);
}

static void the_chunks_of_an_open_session_outlive_a_reopening(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(fx_append(f, message->id, 0, 'x', 10), QUEUE_OK);
    break_store(f, false);
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    fx_advance(1000);
    fx_step(f);
    message->chunks = 1;
    message->size = 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
}

static int refuse_commit(void *owner)
{
    (*(int *)owner)++;
    return 1;
}

static void a_commit_that_fails_is_never_answered_with_ok(void **state)
{
    struct fixture *f = *state;
    struct got got[5];
    int commits = 0;

    sqlite3_commit_hook(fx_sqlite(f), refuse_commit, &commits);
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        fx_ask_submit(f, fx_small("r@dest.example"), true, &got[i]);
    fx_step(f);
    assert_int_equal(commits, 1);
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        assert_int_equal(got[i].calls, 1);
        assert_int_equal(got[i].result, QUEUE_FAILED);
        assert_null(got[i].message);
    }
    fx_advance(1000);
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 0);
}

/* When a sync fails the transaction may be in the log all the same; the settlement is then written
 * a second time. */
static void a_settlement_written_twice_counts_once(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);

    fx_execute(f, "UPDATE message SET state = 5, due_ms = NULL, content = NULL");
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_show(f, id).state, QUEUE_DELIVERED);
    assert_int_equal(fx_stats(f).messages[QUEUE_DELIVERED], 0); /* counted with the first writing */
}

/* The clients do not know, and come again and again. */
static void submissions_do_not_keep_a_store_from_being_reopened(void **state)
{
    struct fixture *f = *state;
    enum queue_result result = QUEUE_FAILED;

    break_store(f, false);
    for (int i = 0; i < 6 && result != QUEUE_OK; i++) {
        result = fx_submit_message(f, fx_small("r@dest.example"));
        fx_advance(250);
    }
    assert_int_equal(result, QUEUE_OK);
}

static void a_store_whose_file_went_away_is_not_made_anew(void **state)
{
    struct fixture *f = *state;
    char *aside = xasprintf("%s/aside", f->folder);
    int64_t id = fx_submit(f, "r@dest.example");

    break_store(f, false);
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    assert_int_equal(rename(f->path, aside), 0);
    fx_advance(1000);
    fx_step(f);
    assert_false(queue_has_room(f->queue));
    assert_int_not_equal(access(f->path, F_OK), 0);
    assert_int_equal(rename(aside, f->path), 0);
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_show(f, id).state, QUEUE_QUEUED);
    free(aside);
}

/* --- a disk that does not sync ---------------------------------------------------------------- */

static void while_the_log_cannot_be_synced_nothing_is_taken_or_handed_out(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_submit(f, "r@dest.example");
    disk.failing_syncs = 1000;
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FAILED);
    for (int i = 0; i < 5; i++) {
        fx_advance(1000);
        fx_lease_some(f, 64, 1 << 20, &got);
        assert_int_equal(got.count, 0);
        assert_false(queue_has_room(f->queue));
    }
    disk.failing_syncs = 0;
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
}

/* The transaction is in the log all the same, and comes to life when the store is opened again. */
static void a_submission_refused_because_of_a_failed_sync_is_taken_back(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "large@dest.example");
    struct got small, large, leased;

    assert_int_equal(fx_append(f, message->id, 0, 'x', 10), QUEUE_OK);
    message->chunks = 1;
    message->size = 10;
    disk.failing_syncs = 2; /* of the commit, and of bringing in the log when the store is closed */
    fx_ask_submit(f, message, true, &large);
    fx_ask_submit(f, fx_small("r@dest.example"), true, &small);
    fx_step(f);
    assert_int_equal(disk.failing_syncs, 0);
    assert_int_equal(large.result, QUEUE_FAILED);
    assert_int_equal(small.result, QUEUE_FAILED);
    fx_advance(1000);
    fx_lease_some(f, 64, 1 << 20, &leased);
    assert_int_equal(leased.count, 0);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM recipient"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 0);
    assert_int_equal(fx_stats(f).active_bytes, 0);
}

/* A sync that found no room may have left all of it in the log, too: the client hears that the disk
 * is full, and the store is not trusted any more than after any other failed sync. */
static void a_submission_refused_because_a_sync_found_no_room_is_taken_back(void **state)
{
    struct fixture *f = *state;

    disk.failing_syncs = 2; /* as above */
    disk.sync_errno = ENOSPC;
    assert_int_equal(fx_submit_message(f, fx_small("r@dest.example")), QUEUE_FULL);
    assert_false(queue_has_room(f->queue));
    assert_false(queue_is_failing(f->queue));
    assert_null(f->queue->store);
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM recipient"), 0);
}

static void a_token_goes_with_the_submission_that_is_taken_back(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    struct queue_once once = { .token = "order-1", .answer = "" };
    struct got got = { 0 };

    disk.failing_syncs = 2;
    queue_submit(f->queue, &(struct queue_submit){ .message = &message,
                                                   .once = &once,
                                                   .cb = fx_on_submit,
                                                   .owner = &got,
                                                   .answers = &f->desk.box });
    fx_step(f);
    assert_int_equal(got.result, QUEUE_FAILED);
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 0);
}

/* Chunks of a message that did not come, on a sector that cannot be read any more. */
static void what_cannot_be_discarded_does_not_keep_the_mail(void **state)
{
    struct fixture *f = *state;
    int64_t id = ident_next();

    assert_int_equal(fx_append(f, id, 0, 'x', QUEUE_CHUNK_BYTES), QUEUE_OK);
    assert_int_equal(store_checkpoint(f->queue->store), STORE_OK);
    assert_int_equal(sqlite3_db_release_memory(fx_sqlite(f)), SQLITE_OK);
    disk.unreadable_at = disk_page_of(f->path, 'x') + 8;
    queue_discard(f->queue, id);
    for (int i = 0; i < 5; i++) {
        fx_step(f);
        fx_advance(1000);
    }
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    fx_submit(f, "r@dest.example");
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 1);

    disk.unreadable_at = 0;
    fx_reopen(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
}

/* Its times must be the same in all rows, or nobody would find it due. */
static void a_deferral_written_twice_is_due_once(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);
    struct got settled = { 0 };

    queue_recipient_say(&message->recipients[0], QUEUE_LATER, 450, "", SLICE("busy"));
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    disk.failing_syncs = 2;
    fx_step(f);
    assert_int_equal(settled.calls, 0);
    fx_advance(1000);
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_DEFERRED);
    assert_int_equal(shown.due_ms, shown.due[0]);
    assert_int_equal(shown.event_count, 1); /* one attempt, one line of history */
    assert_int_equal(fx_stats(f).messages[QUEUE_DEFERRED], 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 0);
}

/* By the second writing it would be too old; but the first one may be on disk, and known. */
static void a_settlement_written_twice_comes_to_the_same_end(void **state)
{
    struct fixture *f = *state;
    int64_t id = fx_submit(f, "r@dest.example");
    struct queue_message *message = fx_lease(f);
    struct got settled = { 0 };

    queue_recipient_say(&message->recipients[0], QUEUE_LATER, 450, "", SLICE("busy"));
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    disk.failing_syncs = 2;
    fx_step(f);
    fx_advance(5 * 86400000LL);
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_DEFERRED);
    assert_int_equal(shown.states[0], QUEUE_DEFERRED);
    assert_in_range(shown.due_ms, FX_START_MS, FX_START_MS + 72000);
    assert_int_equal(shown.due_ms, shown.due[0]);
    assert_int_equal(fx_stats(f).messages[QUEUE_DEFERRED], 1);
    fx_settle_all(f, fx_lease(f), QUEUE_LATER, 450, "busy");
    shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.states[0], QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.due_ms, 0);
    assert_int_equal(fx_stats(f).messages[QUEUE_FAILED_FOR_GOOD], 1);
    assert_int_equal(fx_stats(f).messages[QUEUE_DEFERRED], 0);
}

/* --- a file system that is really full ------------------------------------------------------- */

static void on_a_full_file_system_mail_is_refused_and_later_taken(void **state)
{
    struct fixture *f = *state;
    char *mount_point = desk_folder_new();
    int accepted = 0;
    enum queue_result result;

    if (mount("tmpfs", mount_point, "tmpfs", 0, "size=4m") != 0) {
        desk_folder_remove(mount_point);
        skip(); /* only root may */
    }
    fx_close(f);
    free(f->path);
    f->path = xasprintf("%s/queue.db", mount_point);
    f->options.path = f->path;
    fx_open(f);
    do
        result = fx_submit_message(f, large());
    while (result == QUEUE_OK && ++accepted < 1000);
    assert_int_equal(result, QUEUE_FULL);
    assert_in_range(accepted, 10, 999);
    assert_int_equal(mount(NULL, mount_point, NULL, MS_REMOUNT, "size=16m"), 0);
    fx_advance(1000);
    fx_step(f);
    assert_true(queue_has_room(f->queue));
    assert_int_equal(fx_submit_message(f, large()), QUEUE_OK);
    fx_reopen(f);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], accepted + 1);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), accepted + 1);
    fx_close(f);
    assert_int_equal(umount(mount_point), 0);
    desk_folder_remove(mount_point);
}

static void the_log_is_brought_in_when_the_queue_is_idle(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 80; i++) {
        struct got got;
        fx_ask_submit(f, large(), false, &got);
        queue_step(f->queue);
        mailbox_drain(&f->desk.box);
    }
    assert_true(store_log_pages(f->queue->store) <= 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(answers_come_in_the_order_asked_over_many_batches),
        QUEUE_TEST(without_room_a_submission_is_refused_and_nothing_is_stored),
        QUEUE_TEST(a_read_beside_a_write_that_failed_is_answered),
        QUEUE_TEST(room_is_noticed_without_a_submission),
        QUEUE_TEST(chunks_of_a_message_that_failed_go_too),
        QUEUE_TEST(below_the_floor_of_free_space_there_is_no_room),
        QUEUE_TEST(without_room_a_settlement_waits_and_nothing_is_leased),
        QUEUE_TEST(a_settlement_that_never_could_be_written_is_answered_at_the_end),
        QUEUE_TEST(after_a_failed_write_nothing_is_acknowledged_until_reopened),
        QUEUE_TEST(settlements_outlive_a_store_that_failed),
        QUEUE_TEST(the_chunks_of_an_open_session_outlive_a_reopening),
        QUEUE_TEST(a_commit_that_fails_is_never_answered_with_ok),
        QUEUE_TEST(a_settlement_written_twice_counts_once),
        QUEUE_TEST(submissions_do_not_keep_a_store_from_being_reopened),
        QUEUE_TEST(a_store_whose_file_went_away_is_not_made_anew),
        DISK_TEST(while_the_log_cannot_be_synced_nothing_is_taken_or_handed_out),
        DISK_TEST(a_submission_refused_because_of_a_failed_sync_is_taken_back),
        DISK_TEST(a_submission_refused_because_a_sync_found_no_room_is_taken_back),
        DISK_TEST(a_token_goes_with_the_submission_that_is_taken_back),
        DISK_TEST(what_cannot_be_discarded_does_not_keep_the_mail),
        DISK_TEST(a_deferral_written_twice_is_due_once),
        DISK_TEST(a_settlement_written_twice_comes_to_the_same_end),
        QUEUE_TEST(on_a_full_file_system_mail_is_refused_and_later_taken),
        QUEUE_TEST(the_log_is_brought_in_when_the_queue_is_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
