/* test_once.c - a client that asks again, and several messages that are one. */
#include "tests/support/trouble.h"

#define DAY INT64_C(86400000)

struct asked {
    struct queue_once once;
    struct got got;
};

static void ask(struct fixture *f, struct queue_message **messages, size_t count,
                struct asked *asked)
{
    queue_submit(f->queue, &(struct queue_submit){ .message = messages,
                                                   .others = messages + 1,
                                                   .other_count = count - 1,
                                                   .once = &asked->once,
                                                   .cb = fx_on_submit,
                                                   .owner = &asked->got,
                                                   .answers = &f->desk.box });
}

/* What is submitted is told by one letter. */
static struct asked *asked_new(const char *token, char letter, const char *answer)
{
    struct asked *asked = xcalloc(1, sizeof(*asked));

    asked->once.token = token;
    asked->once.answer = answer;
    memset(asked->once.fingerprint, letter, QUEUE_FINGERPRINT_BYTES);
    return asked;
}

static void asked_free(struct asked *asked)
{
    free(asked->once.first_answer);
    free(asked);
}

static enum queue_result submit(struct fixture *f, struct queue_message *message, const char *token,
                                char letter)
{
    struct asked *asked = asked_new(token, letter, "");

    ask(f, &message, 1, asked);
    fx_step(f);
    assert_int_equal(asked->got.calls, 1);
    enum queue_result result = asked->got.result;
    asked_free(asked);
    return result;
}

static enum queue_result recall(struct fixture *f, const char *key_id, const char *token,
                                char letter)
{
    struct asked *asked = asked_new(token, letter, "");

    queue_recall(f->queue, key_id, &asked->once, fx_on_done, &asked->got, &f->desk.box);
    assert_int_equal(asked->got.calls, 0);
    fx_step(f);
    assert_int_equal(asked->got.calls, 1);
    enum queue_result result = asked->got.result;
    asked_free(asked);
    return result;
}

static void what_was_submitted_is_answered_again_after_a_restart_too(void **state)
{
    struct fixture *f = *state;

    for (int round = 0; round < 4; round++) {
        struct queue_message *message = fx_small("r@dest.example");
        struct asked *asked = asked_new("order-1", 'a', round == 0 ? "the first" : "another");
        int64_t id = message->id;
        static int64_t first_id;
        ask(f, &message, 1, asked);
        assert_null(message);
        fx_step(f);
        assert_int_equal(asked->got.calls, 1);
        if (round == 0) {
            assert_int_equal(asked->got.result, QUEUE_OK);
            first_id = id;
        } else {
            assert_int_equal(asked->got.result, QUEUE_REPEATED);
            assert_int_equal(asked->once.first_id, first_id);
            assert_string_equal(asked->once.first_answer, "the first");
        }
        asked_free(asked);
        if (round == 1)
            fx_reopen(f);
    }
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 1);
    assert_int_equal(recall(f, "7Fq2mZ81", "order-1", 'a'), QUEUE_REPEATED);
}

static void another_content_is_refused_and_leaves_no_chunk(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_OK);
    assert_int_equal(fx_append(f, message->id, 0, 'x', 10), QUEUE_OK);
    message->chunks = 1;
    message->size = 10;
    assert_int_equal(submit(f, message, "order-1", 'b'), QUEUE_CONFLICT);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM body"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM incoming"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 1);
    assert_int_equal(recall(f, "7Fq2mZ81", "order-1", 'b'), QUEUE_CONFLICT);
}

static void a_token_belongs_to_its_key(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = fx_small("r@dest.example");

    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_OK);
    assert_int_equal(submit(f, fx_small("r@dest.example"), "ORDER-1", 'b'), QUEUE_OK);
    snprintf(message->key_id, sizeof(message->key_id), "otherkey");
    assert_int_equal(recall(f, "otherkey", "order-1", 'b'), QUEUE_NOT_FOUND);
    assert_int_equal(submit(f, message, "order-1", 'b'), QUEUE_OK);
}

static void of_many_at_once_one_is_stored(void **state)
{
    struct fixture *f = *state;
    struct asked *asked[50];
    size_t stored = 0;

    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct queue_message *message = fx_small("r@dest.example");
        asked[i] = asked_new("order-1", 'a', "the answer");
        ask(f, &message, 1, asked[i]);
    }
    fx_step(f);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        stored += asked[i]->got.result == QUEUE_OK;
        if (asked[i]->got.result != QUEUE_OK) {
            assert_int_equal(asked[i]->got.result, QUEUE_REPEATED);
            assert_string_equal(asked[i]->once.first_answer, "the answer");
        }
        asked_free(asked[i]);
    }
    assert_int_equal(stored, 1);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 1);
}

static void after_a_day_a_token_is_new(void **state)
{
    struct fixture *f = *state;

    fx_advance(10 * DAY); /* ids never go back, whatever the clock of another test said */
    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_OK);
    fx_advance(DAY - 1000);
    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_REPEATED);
    fx_advance(1001);
    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'b'), QUEUE_OK);
    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'b'), QUEUE_REPEATED);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 1);
}

static void old_tokens_are_pruned_in_steps(void **state)
{
    struct fixture *f = *state;
    char token[16];

    fx_advance(20 * DAY); /* ids never go back, whatever the clock of another test said */
    for (int i = 0; i < 1203; i++) {
        snprintf(token, sizeof(token), "t%d", i);
        assert_int_equal(submit(f, fx_small("r@dest.example"), token, 'a'), QUEUE_OK);
    }
    fx_advance(DAY - 60000);
    fx_step(f);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 1203);
    fx_advance(120000);
    fx_step(f);
    fx_step(f);
    int64_t left = fx_number(f, "SELECT count(*) FROM once");
    assert_int_equal(left, 703);
    for (int i = 0; i < 10; i++) {
        fx_advance(60000);
        fx_step(f);
    }
    assert_int_equal(fx_number(f, "SELECT count(*) FROM once"), 0);
    assert_int_equal(fx_number(f, "SELECT count(*) FROM message"), 1203); /* they still wait */
}

static void a_refused_submission_leaves_no_token(void **state)
{
    struct fixture *f = *state;
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    message->chunks = 1; /* which never came */
    message->size = 10;
    assert_int_equal(submit(f, message, "order-1", 'a'), QUEUE_FAILED);
    assert_int_equal(recall(f, "7Fq2mZ81", "order-1", 'a'), QUEUE_NOT_FOUND);
    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_OK);
}

static void a_test_key_has_tokens_too(void **state)
{
    struct fixture *f = *state;

    for (int round = 0; round < 2; round++) {
        struct queue_message *message = fx_small("r@dest.example");
        message->sandbox = true;
        assert_int_equal(submit(f, message, "order-1", 'a'),
                         round == 0 ? QUEUE_OK : QUEUE_REPEATED);
    }
    assert_int_equal(fx_stats(f).messages[QUEUE_SANDBOXED], 1);
}

/* --- several -----------------------------------------------------------------------------------
 */

static void several_are_stored_as_one(void **state)
{
    struct fixture *f = *state;
    struct queue_message *messages[] = { fx_small("a@dest.example"), fx_small("b@dest.example"),
                                         desk_message(ident_next(), "c@dest.example") };
    struct asked *asked = asked_new("batch", 'a', "");
    struct got leased;

    assert_int_equal(fx_append(f, messages[2]->id, 0, 'x', 10), QUEUE_OK);
    messages[2]->chunks = 1;
    messages[2]->size = 10;
    ask(f, messages, 3, asked);
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        assert_null(messages[i]);
    fx_step(f);
    assert_int_equal(asked->got.result, QUEUE_OK);
    assert_int_equal(asked->got.calls, 1);
    asked_free(asked);
    fx_lease_some(f, 64, 1 << 20, &leased);
    assert_int_equal(leased.count, 3);
    for (size_t i = 0; i < leased.count; i++)
        fx_settle_all(f, leased.messages[i], QUEUE_SENT, 250, "ok");
}

static void of_several_none_is_stored_when_one_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct queue_message *messages[] = { desk_message(ident_next(), "a@dest.example"),
                                         fx_small("b@dest.example"),
                                         desk_message(ident_next(), "c@dest.example") };
    struct asked *asked = asked_new("batch", 'a', "");

    assert_int_equal(fx_append(f, messages[0]->id, 0, 'x', 10), QUEUE_OK);
    assert_int_equal(fx_append(f, messages[2]->id, 0, 'x', 10), QUEUE_OK);
    messages[0]->chunks = messages[2]->chunks = 1;
    messages[0]->size = 10;
    messages[2]->size = 11;
    ask(f, messages, 3, asked);
    fx_step(f);
    assert_int_equal(asked->got.result, QUEUE_FAILED);
    asked_free(asked);
    assert_int_equal(fx_number(f,
                               "SELECT (SELECT count(*) FROM message) +"
                               " (SELECT count(*) FROM body) + (SELECT count(*) FROM incoming) +"
                               " (SELECT count(*) FROM once) + (SELECT count(*) FROM recipient)"),
                     0);
}

/* "Not found" would make it be sent again. */
static void on_a_failing_disk_a_repetition_is_never_taken_for_something_new(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(submit(f, fx_small("r@dest.example"), "order-1", 'a'), QUEUE_OK);
    for (EACH_TROUBLE(trouble)) {
        trouble_begin(f, &trouble);
        enum queue_result recalled = recall(f, "7Fq2mZ81", "order-1", 'a');
        enum queue_result result = submit(f, fx_small("r@dest.example"), "order-1", 'a');
        trouble_end(f, &trouble);
        if (recalled != QUEUE_REPEATED && (recalled == QUEUE_NOT_FOUND || !trouble.was_met))
            fail_msg("%s: recalled, the answer is %d", trouble.name, (int)recalled);
        if (result != QUEUE_REPEATED && (result == QUEUE_OK || !trouble.was_met))
            fail_msg("%s: submitted again, the answer is %d", trouble.name, (int)result);
        if (fx_number(f, "SELECT count(*) FROM message") != 1 ||
            recall(f, "7Fq2mZ81", "order-1", 'a') != QUEUE_REPEATED)
            fail_msg("%s: the first is not what is there", trouble.name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(what_was_submitted_is_answered_again_after_a_restart_too),
        QUEUE_TEST(another_content_is_refused_and_leaves_no_chunk),
        QUEUE_TEST(a_token_belongs_to_its_key),
        QUEUE_TEST(of_many_at_once_one_is_stored),
        QUEUE_TEST(after_a_day_a_token_is_new),
        QUEUE_TEST(old_tokens_are_pruned_in_steps),
        QUEUE_TEST(a_refused_submission_leaves_no_token),
        QUEUE_TEST(a_test_key_has_tokens_too),
        QUEUE_TEST(several_are_stored_as_one),
        QUEUE_TEST(of_several_none_is_stored_when_one_cannot_be),
        DISK_TEST(on_a_failing_disk_a_repetition_is_never_taken_for_something_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
