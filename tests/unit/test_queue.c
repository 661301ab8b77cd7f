#include <limits.h>

#include "tests/support/trouble.h"

static void orphaned_chunks_are_removed_at_start_and_no_others(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    int64_t whole = message->id, orphan = ident_next();

    assert_int_equal(fx_append(f, whole, 0, 'w', 100), QUEUE_OK);
    message->chunks = 1;
    message->size = 100;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    assert_int_equal(fx_append(f, orphan, 0, 'o', QUEUE_CHUNK_BYTES), QUEUE_OK);
    assert_int_equal(fx_append(f, orphan, 1, 'o', 5), QUEUE_OK);
    fx_reopen(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 1);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
    struct got *got = xcalloc(1, sizeof(*got));
    assert_int_equal(fx_read(f, whole, 0, got), QUEUE_OK);
    assert_int_equal(got->chunk_len, 100);
    free(got);
}

static void ids_grow_although_the_clock_went_back(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message =
        desk_message(ident_at_time_ms(FX_START_MS + 3600000), "r@dest.example");
    int64_t last = message->id;

    desk_write(message, SLICE("x"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_reopen(f);
    assert_true(ident_next() > last);
}

/* Of what is on disk nothing is left: it was delivered, or its chunks were given up. */
static void an_id_is_not_given_again_when_nothing_is_left_of_it(void **state)
{
    struct fixture *f = *state;

    fx_close(f);
    f->options.retention_ms = 0;
    fx_open(f);
    for (int i = 0; i < 3; i++) {
        struct queue_message *message =
            desk_message(ident_at_time_ms(FX_START_MS + (i + 1) * 3600000), "r@dest.example");
        int64_t last = message->id;
        if (i == 0) {
            desk_write(message, SLICE("x"));
            assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
            fx_settle_all(f, fx_lease(f), QUEUE_SENT, 250, "ok");
            assert_int_equal(fx_show(f, last).result, QUEUE_NOT_FOUND);
        } else {
            assert_int_equal(fx_append(f, last, 0, 'x', 100), QUEUE_OK);
            if (i == 1)
                fx_reopen(f); /* it never came to its end, */
            else
                queue_discard(f->queue, last); /* or was given up */
            queue_message_free(message);
        }
        fx_reopen(f);
        fx_reopen(f);
        if (ident_next() <= last)
            fail_msg("round %d: it is given again", i);
    }
}

static void what_was_never_stored_gives_no_id_twice(void **state)
{
    struct fixture *f = *state;
    int64_t last = ident_next();

    fx_advance(60000); /* the moment is kept now and then */
    fx_step(f);
    assert_true(fx_number(f, "SELECT last_id FROM used") >= last);
    last = ident_next();
    fx_close(f); /* and at the end */
    fx_open(f);
    assert_true(fx_number(f, "SELECT last_id FROM used") >= last);
}

static void opening_says_why_not(void **state)
{
    struct fixture *f = *state;
    struct queue_options options = desk_options("/nonexistent/folder/queue.db");
    struct queue *queue = NULL;
    struct why why = { 0 };

    assert_false(queue_open(&queue, &options, &why));
    assert_null(queue);
    assert_non_null(strstr(why.text, "/nonexistent/folder/queue.db"));

    fx_execute(f, "PRAGMA user_version = 1000");
    fx_close(f);
    why.text[0] = '\0';
    assert_false(queue_open(&queue, &f->options, &why));
    assert_non_null(strstr(why.text, f->path));
}

static void stopping_answers_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct got got[3];

    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        fx_ask_submit(f, fx_small("r@dest.example"), false, &got[i]);
    queue_stop(f->queue);
    queue_stop(f->queue); /* twice does no harm */
    mailbox_drain(&f->desk.box);
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        assert_int_equal(got[i].calls, 1);
        assert_int_equal(got[i].result, QUEUE_OK);
    }
    fx_reopen(f);
    assert_int_equal(fx_stats(f).messages[QUEUE_QUEUED], 3);
    queue_free(NULL);
}

static void an_empty_queue_has_room_and_nothing_due(void **state)
{
    struct fixture *f = *state;
    struct got got;

    assert_true(queue_has_room(f->queue));
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(got.next_due_ms, INT64_MAX);
    struct queue_stats stats = fx_stats(f);
    assert_true(stats.database_bytes > 0);
    for (size_t i = 0; i < QUEUE_STATE_COUNT; i++)
        assert_int_equal(stats.messages[i], 0);
}

static void a_queue_lies_in_the_folder_of_its_file_or_where_the_process_stands(void **state)
{
    static const char *const paths[] = { "queue.db", "./queue.db" };
    struct fixture *f = *state;
    char here[PATH_MAX];

    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(chdir(f->folder), 0);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        fx_close(f);
        f->options.path = paths[i];
        fx_open(f);
        assert_string_equal(f->queue->folder, ".");
        assert_true(queue_has_room(f->queue)); /* the space there was found out */
    }
    assert_int_equal(chdir(here), 0);
}

static void what_is_no_file_is_refused_even_in_the_root_folder(void **state)
{
    struct fixture *f = *state;
    struct queue_options options = desk_options("/proc");
    struct queue *queue = NULL;
    struct why why = { 0 };

    (void)f;
    assert_false(queue_open(&queue, &options, &why));
    assert_string_equal(why.text, "/proc is not a regular file");
}

/* --- a disk that fails at the beginning, and at the end --------------------------------------- */

static int64_t leave_behind(struct fixture *f)
{
    int64_t id = fx_submit(f, "r@dest.example");

    assert_int_equal(fx_append(f, ident_next(), 0, 'o', QUEUE_CHUNK_BYTES), QUEUE_OK);
    fx_advance(5000);
    return id;
}

/* Whatever was the matter: what was accepted is there, what was not is gone, and time goes on. */
static void check_whole(struct fixture *f, const struct trouble *trouble, int64_t id,
                        int64_t lived_ms)
{
    fx_step(f);
    trouble_check_books(f, trouble);
    if (fx_number(f, "SELECT count(*) FROM body") != 0)
        fail_msg("%s: an orphan is left", trouble->name);
    if (f->queue->lived_ms < lived_ms)
        fail_msg("%s: the queue has become younger", trouble->name);
    struct queue_message *message = fx_lease(f);
    if (message->id != id)
        fail_msg("%s: another message was there", trouble->name);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    fx_execute(f, "DELETE FROM message; DELETE FROM recipient; DELETE FROM tally");
    fx_reopen(f);
}

static void a_queue_opens_or_says_why_not_and_a_later_start_finds_all(void **state)
{
    struct fixture *f = *state;

    for (EACH_TROUBLE(trouble)) {
        struct why why = { 0 };
        int64_t id = leave_behind(f), lived_ms = f->queue->lived_ms;
        fx_close(f);
        trouble_begin(f, &trouble);
        bool opened = queue_open(&f->queue, &f->options, &why);
        if (opened) {
            trouble_end(f, &trouble);
            fx_close(f);
        }
        trouble_heal(&trouble);
        if (!opened && strstr(why.text, f->path) == NULL)
            fail_msg("%s: not opened, because \"%s\"", trouble.name, why.text);
        if (!opened && trouble_kinds[trouble.kind].is_full)
            fail_msg("%s: not opened, and so no room can be made", trouble.name);
        if (!opened && !trouble.was_met)
            fail_msg("%s: %s", trouble.name, why.text);
        fx_open(f);
        check_whole(f, &trouble, id, lived_ms);
    }
}

static void whatever_fails_at_the_end_the_next_start_finds_all(void **state)
{
    struct fixture *f = *state;

    for (EACH_TROUBLE(trouble)) {
        int64_t id = leave_behind(f), lived_ms = f->queue->lived_ms;
        trouble_begin(f, &trouble);
        fx_close(f);
        trouble_heal(&trouble);
        fx_open(f);
        check_whole(f, &trouble, id, lived_ms);
    }
}

/* --- with the writer's thread ---------------------------------------------------------------- */

#define ASKERS       4
#define LIVES        300 /* of each asker, MOST_AT_ONCE under way */
#define MOST_AT_ONCE 8

struct asker {
    struct queue *queue;
    struct desk desk;
    int begun, under_way, accepted, settled, listed, rings;
};

static void on_settled(void *owner, enum queue_result result)
{
    struct asker *asker = owner;

    asker->settled += result == QUEUE_OK;
    asker->under_way--;
}

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct asker *asker = owner;

    asker->accepted += result == QUEUE_OK;
    if (message == NULL) { /* another asker leases it by the due index */
        asker->under_way--;
        return;
    }
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_settle(asker->queue, &message, "main", on_settled, asker, &asker->desk.box);
}

static void on_leased(void *owner, struct queue_message **messages, size_t count, int64_t next_due)
{
    struct asker *asker = owner;

    (void)next_due;
    asker->under_way--;
    for (size_t i = 0; i < count; i++) {
        asker->under_way++;
        queue_recipient_say(&messages[i]->recipients[0], QUEUE_SENT, 250, "", SLICE("ok"));
        queue_settle(asker->queue, &messages[i], "main", on_settled, asker, &asker->desk.box);
    }
}

static void on_listed(void *owner, enum queue_result result, struct queue_page *page)
{
    struct asker *asker = owner;

    (void)page;
    asker->listed += result == QUEUE_OK;
    asker->under_way--;
}

static void on_due(void *owner)
{
    struct asker *asker = owner;

    asker->rings++;
}

static void ask_something(struct asker *asker)
{
    struct queue_filter filter = { .limit = 5 };
    int number = asker->begun++;

    asker->under_way++;
    if (number % 10 == 8) {
        queue_lease(asker->queue, 16, 1 << 20, queue_now_ms(asker->queue), on_leased, asker,
                    &asker->desk.box);
    } else if (number % 10 == 9) {
        queue_list(asker->queue, &filter, on_listed, asker, &asker->desk.box);
    } else {
        struct queue_message *message = fx_small("r@dest.example");
        queue_submit(asker->queue, &(struct queue_submit){ .message = &message,
                                                           .lease = number % 3 != 0,
                                                           .cb = on_submitted,
                                                           .owner = asker,
                                                           .answers = &asker->desk.box });
    }
}

static void *ask_on(void *owner)
{
    struct asker *asker = owner;

    queue_watch(asker->queue, on_due, asker, &asker->desk.box);
    while (asker->begun < LIVES || asker->under_way > 0) {
        while (asker->begun < LIVES && asker->under_way < MOST_AT_ONCE)
            ask_something(asker);
        desk_wait(&asker->desk);
        (void)queue_has_room(asker->queue);
    }
    queue_unwatch(asker->queue, asker);
    return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
    struct fixture *f = *state;
    struct asker askers[ASKERS] = { 0 };
    pthread_t threads[ASKERS];
    struct why why = { 0 };
    int accepted = 0, settled = 0;

    clock_replace(NULL); /* threads may not share the test's */
    assert_true(queue_start(f->queue, &why));
    for (size_t i = 0; i < ASKERS; i++) {
        askers[i].queue = f->queue;
        desk_open(&askers[i].desk);
        pthread_create(&threads[i], NULL, ask_on, &askers[i]);
    }
    queue_set_schedule(f->queue, &f->options.schedule, f->options.retention_ms);
    for (size_t i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    queue_stop(f->queue);
    for (size_t i = 0; i < ASKERS; i++) {
        desk_close(&askers[i].desk);
        accepted += askers[i].accepted;
        settled += askers[i].settled;
        assert_int_equal(askers[i].listed, LIVES / 10);
    }
    assert_int_equal(accepted, ASKERS * LIVES * 8 / 10);
    fx_reopen(f);
    struct queue_stats stats = fx_stats(f);
    assert_int_equal(stats.messages[QUEUE_DELIVERED], settled);
    assert_int_equal(stats.messages[QUEUE_QUEUED], accepted - settled);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), accepted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(orphaned_chunks_are_removed_at_start_and_no_others),
        QUEUE_TEST(ids_grow_although_the_clock_went_back),
        QUEUE_TEST(an_id_is_not_given_again_when_nothing_is_left_of_it),
        QUEUE_TEST(what_was_never_stored_gives_no_id_twice),
        QUEUE_TEST(opening_says_why_not),
        QUEUE_TEST(stopping_answers_what_was_asked),
        QUEUE_TEST(an_empty_queue_has_room_and_nothing_due),
        QUEUE_TEST(a_queue_lies_in_the_folder_of_its_file_or_where_the_process_stands),
        QUEUE_TEST(what_is_no_file_is_refused_even_in_the_root_folder),
        DISK_TEST(a_queue_opens_or_says_why_not_and_a_later_start_finds_all),
        DISK_TEST(whatever_fails_at_the_end_the_next_start_finds_all),
        QUEUE_TEST(many_threads_may_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
