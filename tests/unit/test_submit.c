#include "tests/support/trouble.h"

static void an_accepted_message_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;

    message->eight_bit = true;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_reopen(f);
    message = fx_lease(f);
    assert_int_equal(message->id, id);
    assert_int_equal(message->received_ms, FX_START_MS);
    assert_string_equal(message->account, "acme");
    assert_string_equal(message->key_id, "7Fq2mZ81");
    assert_string_equal(message->sender, "a@good.example");
    assert_true(message->eight_bit);
    assert_false(message->sandbox);
    assert_int_equal(message->size, buf_len(&message->content));
    assert_true(slice_equal(buf_slice(&message->content),
                            SLICE("From: <a@good.example>\r\n\r\nhello\r\n")));
    assert_int_equal(message->recipient_count, 1);
    assert_string_equal(message->recipients[0].address, "r@dest.example");
    assert_int_equal(message->recipients[0].state, QUEUE_QUEUED);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

static void the_answer_never_comes_from_inside_the_call(void **state)
{
    struct fixture *f = *state;
    struct got got;

    fx_ask_submit(f, fx_small("r@dest.example"), false, &got);
    assert_int_equal(got.calls, 0);
    mailbox_drain(&f->desk.box);
    assert_int_equal(got.calls, 0);
    queue_step(f->queue);
    assert_int_equal(got.calls, 0); /* posted, but the asker has not looked */
    mailbox_drain(&f->desk.box);
    assert_int_equal(got.calls, 1);
}

static void a_lease_with_the_submission_hands_the_message_over_in_memory(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    struct queue_message *same = message;
    struct got got, other;

    fx_ask_submit(f, message, true, &got);
    fx_step(f);
    assert_int_equal(got.result, QUEUE_OK);
    assert_ptr_equal(got.message, same);
    fx_lease_some(f, 64, 1 << 20, &other);
    assert_int_equal(other.count, 0);
    assert_int_equal(fx_show(f, same->id).state, QUEUE_DELIVERING);
    fx_settle_all(f, got.message, QUEUE_SENT, 250, "ok");
}

struct permit {
    bool yes;
    int calls;
    int64_t rows_before; /* in the store when asked */
    struct fixture *f;
};

static bool on_permit(void *owner)
{
    struct permit *permit = owner;

    permit->calls++;
    permit->rows_before = fx_number(permit->f, "SELECT count(*) FROM message");
    return permit->yes;
}

static enum queue_result submit_permitted(struct fixture *f, struct queue_message *message,
                                          struct permit *permit)
{
    struct got got = { 0 };

    queue_submit(f->queue, &(struct queue_submit){ .message = &message,
                                                   .lease = true,
                                                   .permit = on_permit,
                                                   .permit_owner = permit,
                                                   .cb = fx_on_submit,
                                                   .owner = &got,
                                                   .answers = &f->desk.box });
    assert_int_equal(permit->calls, 0);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    assert_int_equal(permit->calls, 1);
    if (got.message != NULL)
        fx_settle_all(f, got.message, QUEUE_SENT, 250, "ok");
    return got.result;
}

static void the_permit_is_asked_once_right_before_the_insert(void **state)
{
    struct fixture *f = *state;
    struct permit yes = { .yes = true, .f = f }, no = { .f = f };

    assert_int_equal(submit_permitted(f, fx_small("r@dest.example"), &yes), QUEUE_OK);
    assert_int_equal(yes.rows_before, 0);
    assert_int_equal(submit_permitted(f, fx_small("r@dest.example"), &no), QUEUE_REFUSED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 1);
}

static void a_refused_message_leaves_no_chunk(void **state)
{
    struct fixture *f = *state;
    struct permit no = { .f = f };
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(fx_append(f, message->id, 0, 'a', QUEUE_CHUNK_BYTES), QUEUE_OK);
    message->chunks = 1;
    message->size = QUEUE_CHUNK_BYTES;
    assert_int_equal(submit_permitted(f, message, &no), QUEUE_REFUSED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
}

static void chunks_become_one_message(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    int64_t id = message->id;
    struct got *got = xcalloc(1, sizeof(*got));

    assert_int_equal(fx_append(f, id, 0, 'a', QUEUE_CHUNK_BYTES), QUEUE_OK);
    assert_int_equal(fx_append(f, id, 1, 'b', QUEUE_CHUNK_BYTES), QUEUE_OK);
    assert_int_equal(fx_append(f, id, 2, 'c', 10), QUEUE_OK);
    message->chunks = 3;
    message->size = 2 * QUEUE_CHUNK_BYTES + 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    fx_reopen(f);                /* now they are no orphans any more */
    queue_discard(f->queue, id); /* and cannot be discarded */
    message = fx_lease(f);
    assert_int_equal(message->chunks, 3);
    assert_int_equal(buf_len(&message->content), 0);
    assert_int_equal(fx_read(f, id, 1, got), QUEUE_OK);
    assert_int_equal(got->chunk_len, QUEUE_CHUNK_BYTES);
    assert_int_equal(got->chunk[0], 'b');
    assert_int_equal(fx_read(f, id, 2, got), QUEUE_OK);
    assert_int_equal(got->chunk_len, 10);
    assert_int_equal(fx_read(f, id, 3, got), QUEUE_NOT_FOUND);
    assert_int_equal(got->chunk_len, 0);
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    free(got);
}

static void a_message_with_missing_chunks_is_not_accepted(void **state)
{
    static const struct {
        const char *name;
        uint32_t seqs[3];
        size_t count;
        uint32_t chunks;
        uint64_t size;
    } rows[] = {
        { "one too few", { 0, 1 }, 2, 3, 30 }, { "one too many", { 0, 1 }, 2, 1, 10 },
        { "a gap", { 0, 2 }, 2, 2, 20 },       { "the wrong size", { 0, 1 }, 2, 2, 21 },
        { "none at all", { 0 }, 0, 1, 10 },
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct queue_message *message = desk_message(ident_next(), "r@dest.example");
        for (size_t c = 0; c < rows[i].count; c++)
            assert_int_equal(fx_append(f, message->id, rows[i].seqs[c], 'x', 10), QUEUE_OK);
        message->chunks = rows[i].chunks;
        message->size = rows[i].size;
        enum queue_result result = fx_submit_message(f, message);
        if (result != QUEUE_FAILED || fx_number(f, "SELECT count(*) FROM body") != 0 ||
            fx_number(f, "SELECT count(*) FROM incoming") != 0 ||
            fx_number(f, "SELECT count(*) FROM message") != 0)
            fail_msg("%s: got %d, or something was left", rows[i].name, (int)result);
    }
}

static void a_chunk_without_its_first_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fx_append(f, ident_next(), 1, 'x', 10), QUEUE_FAILED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
}

static void a_discarded_message_leaves_no_chunk(void **state)
{
    struct fixture *f = *state;
    int64_t id = ident_next();

    assert_int_equal(fx_append(f, id, 0, 'x', 10), QUEUE_OK);
    queue_discard(f->queue, id);
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
}

static void a_sandboxed_message_is_recorded_and_never_due(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");
    int64_t id = message->id;
    struct got got;

    message->sandbox = true;
    fx_ask_submit(f, message, true, &got);
    fx_step(f);
    assert_int_equal(got.result, QUEUE_OK);
    assert_null(got.message);
    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 0);
    assert_int_equal(got.next_due_ms, INT64_MAX);
    struct shown shown = fx_show(f, id);
    assert_int_equal(shown.state, QUEUE_SANDBOXED);
    assert_int_equal(shown.states[0], QUEUE_SANDBOXED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message WHERE content IS NOT NULL"), 0);
    assert_int_equal(fx_stats(f).messages[QUEUE_SANDBOXED], 1);
    assert_int_equal(fx_stats(f).active_bytes, 0);
}

static void a_sandboxed_message_of_which_nothing_is_kept_uses_up_its_id(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message =
        desk_message(ident_at_time_ms(FX_START_MS + 3600000), "r@dest.example");
    int64_t id = message->id;

    queue_set_schedule(f->queue, &f->options.schedule, 0);
    fx_step(f);
    message->sandbox = true;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    assert_int_equal(fx_show(f, id).result, QUEUE_NOT_FOUND);
    assert_int_equal(fx_stats(f).messages[QUEUE_SANDBOXED], 0);
    fx_reopen(f);
    assert_true(ident_next() > id);
}

static void a_message_is_as_old_as_its_asker_says(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");

    message->received_ms = FX_START_MS - 5000; /* when its first octet came */
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    assert_int_equal(fx_number(f, "SELECT received_ms FROM message"), FX_START_MS - 5000);
}

static void a_sandboxed_message_with_chunks_keeps_none(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(fx_append(f, message->id, 0, 'x', 10), QUEUE_OK);
    message->chunks = 1;
    message->size = 10;
    message->sandbox = true;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
}

/* --- a store that fails ----------------------------------------------------------------------- */

/* A large message and a small one, submitted as one with a token. */
struct parcel {
    struct queue_message *messages[2];
    int64_t ids[2];
    struct queue_once once;
    struct permit permit;
    bool lost_a_chunk;
    struct got got;
};

static void pack(struct fixture *f, struct parcel *parcel, bool sandbox, bool permitted)
{
    *parcel = (struct parcel){ .once = { .token = "token", .answer = "answer" },
                               .permit = { .yes = permitted } };
    for (size_t i = 0; i < ARRAY_LEN(parcel->ids); i++) {
        parcel->messages[i] = fx_small("r@dest.example");
        parcel->messages[i]->sandbox = sandbox;
        parcel->ids[i] = parcel->messages[i]->id;
    }
    buf_free(&parcel->messages[0]->content);
    parcel->messages[0]->chunks = 2;
    parcel->messages[0]->size = QUEUE_CHUNK_BYTES + 10;
    parcel->lost_a_chunk = fx_append(f, parcel->ids[0], 0, 'a', QUEUE_CHUNK_BYTES) != QUEUE_OK ||
                           fx_append(f, parcel->ids[0], 1, 'b', 10) != QUEUE_OK;
}

static bool is_permitted(void *owner)
{
    return ((struct permit *)owner)->yes;
}

/* As a session does: where a chunk could not be stored, it gives up. */
static void hand_in(struct fixture *f, struct parcel *parcel)
{
    if (parcel->lost_a_chunk) {
        queue_discard(f->queue, parcel->ids[0]);
        for (size_t i = 0; i < ARRAY_LEN(parcel->messages); i++)
            queue_message_free(parcel->messages[i]);
        parcel->got = (struct got){ .calls = 1, .result = QUEUE_FAILED };
    } else {
        queue_submit(f->queue, &(struct queue_submit){ .message = &parcel->messages[0],
                                                       .others = &parcel->messages[1],
                                                       .other_count = 1,
                                                       .once = &parcel->once,
                                                       .permit = is_permitted,
                                                       .permit_owner = &parcel->permit,
                                                       .cb = fx_on_submit,
                                                       .owner = &parcel->got,
                                                       .answers = &f->desk.box });
    }
    fx_step(f);
}

/* Messages, chunks, tokens: as many as there are for what was answered? */
static void check_parcel(struct fixture *f, const struct trouble *trouble, bool sandbox,
                         const struct parcel *parcel)
{
    bool accepted = parcel->got.result == QUEUE_OK;
    int64_t rows = fx_number(f, "SELECT (SELECT count(*) FROM message) * 100 +"
                                " (SELECT count(*) FROM body) * 10 +"
                                " (SELECT count(*) FROM once)");

    trouble_check_books(f, trouble);
    if (parcel->got.calls != 1)
        fail_msg("%s: %d answers", trouble->name, parcel->got.calls);
    if (rows != (!accepted ? 0 : sandbox ? 201 : 221))
        fail_msg("%s: answered with %d, and there is %lld", trouble->name, (int)parcel->got.result,
                 (long long)rows);
}

static void what_a_failing_disk_accepts_is_whole_and_what_it_refuses_is_gone(void **state)
{
    static const struct {
        bool sandbox, permitted;
        enum queue_result best; /* without trouble */
    } rows[] = {
        { false, true, QUEUE_OK },
        { true, true, QUEUE_OK },
        { false, false, QUEUE_REFUSED },
    };
    struct fixture *f = *state;
    struct parcel *parcel = xcalloc(1, sizeof(*parcel));

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (EACH_TROUBLE(trouble)) {
            trouble_begin(f, &trouble);
            pack(f, parcel, rows[i].sandbox, rows[i].permitted);
            hand_in(f, parcel);
            trouble_end(f, &trouble);
            check_parcel(f, &trouble, rows[i].sandbox, parcel);
            if (!trouble.was_met)
                assert_int_equal(parcel->got.result, rows[i].best);
            free(parcel->once.first_answer);
            fx_execute(f, "DELETE FROM message; DELETE FROM recipient; DELETE FROM body;"
                          "DELETE FROM once; DELETE FROM tally");
            fx_reopen(f); /* with counters at zero */
        }
    free(parcel);
}

/* Its retry would need a page, and there is none. */
static void while_a_settlement_waits_a_message_is_taken_but_not_handed_out(void **state)
{
    struct fixture *f = *state;
    struct got settled = { 0 }, got;
    struct queue_message *message = fx_small("r@dest.example");

    for (int i = 0; i < 100; i++)
        queue_message_add(message, SLICE("r@dest.example"));
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    message = fx_lease(f);
    char words[400];
    memset(words, 'w', sizeof(words));
    for (size_t i = 0; i < message->recipient_count; i++)
        queue_recipient_say(&message->recipients[i], QUEUE_LATER, 450, "",
                            slice_make(words, sizeof(words)));
    fx_execute(f, "PRAGMA max_page_count = 1"); /* SQLite takes the present size for it */
    queue_settle(f->queue, &message, "main", fx_on_done, &settled, &f->desk.box);
    fx_ask_submit(f, fx_small("new@dest.example"), true, &got);
    fx_step(f);
    fx_ask_submit(f, fx_small("new@dest.example"), true, &got);
    fx_step(f);
    assert_int_equal(settled.calls, 0);
    assert_int_equal(got.result, QUEUE_OK);
    assert_null(got.message);
    fx_execute(f, "PRAGMA max_page_count = 1000000");
    fx_step(f);
    assert_int_equal(settled.calls, 1);
    message = fx_lease(f);
    assert_string_equal(message->recipients[0].address, "new@dest.example");
    fx_settle_all(f, message, QUEUE_SENT, 250, "ok");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(an_accepted_message_is_there_after_a_restart),
        QUEUE_TEST(the_answer_never_comes_from_inside_the_call),
        QUEUE_TEST(a_lease_with_the_submission_hands_the_message_over_in_memory),
        QUEUE_TEST(the_permit_is_asked_once_right_before_the_insert),
        QUEUE_TEST(a_refused_message_leaves_no_chunk),
        QUEUE_TEST(chunks_become_one_message),
        QUEUE_TEST(a_message_with_missing_chunks_is_not_accepted),
        QUEUE_TEST(a_chunk_without_its_first_is_refused),
        QUEUE_TEST(a_discarded_message_leaves_no_chunk),
        QUEUE_TEST(a_sandboxed_message_is_recorded_and_never_due),
        QUEUE_TEST(a_sandboxed_message_of_which_nothing_is_kept_uses_up_its_id),
        QUEUE_TEST(a_message_is_as_old_as_its_asker_says),
        QUEUE_TEST(a_sandboxed_message_with_chunks_keeps_none),
        DISK_TEST(what_a_failing_disk_accepts_is_whole_and_what_it_refuses_is_gone),
        QUEUE_TEST(while_a_settlement_waits_a_message_is_taken_but_not_handed_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
