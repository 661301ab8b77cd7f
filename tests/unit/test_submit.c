#include "tests/support/queue_fixture.h"

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
        QUEUE_TEST(a_sandboxed_message_with_chunks_keeps_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
