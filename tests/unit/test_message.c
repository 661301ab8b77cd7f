#include "tests/support/queue_fixture.h"

static void state_names_are_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < QUEUE_STATE_COUNT; i++) {
        enum queue_state got = QUEUE_STATE_COUNT;
        const char *name = queue_state_name((enum queue_state)i);
        if (!queue_state_parse(slice_of(name), &got) || (int)got != i)
            fail_msg("%d (%s) came back as %d", i, name, (int)got);
    }
    enum queue_state untouched = QUEUE_HELD;
    assert_false(queue_state_parse(SLICE("Queued"), &untouched));
    assert_false(queue_state_parse(SLICE(""), &untouched));
    assert_int_equal(untouched, QUEUE_HELD);
}

static void the_liveliest_state_speaks_for_the_message(void **state)
{
    static const struct {
        enum queue_state a, b, want;
    } rows[] = {
        { QUEUE_QUEUED, QUEUE_DEFERRED, QUEUE_QUEUED },
        { QUEUE_DELIVERED, QUEUE_DEFERRED, QUEUE_DEFERRED },
        { QUEUE_UNCERTAIN, QUEUE_DEFERRED, QUEUE_DEFERRED },
        { QUEUE_DELIVERED, QUEUE_FAILED_FOR_GOOD, QUEUE_FAILED_FOR_GOOD },
        { QUEUE_BOUNCED, QUEUE_DELIVERED, QUEUE_BOUNCED },
        { QUEUE_HELD, QUEUE_FAILED_FOR_GOOD, QUEUE_HELD },
        { QUEUE_DELIVERED, QUEUE_DELIVERED, QUEUE_DELIVERED },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(state_livelier(rows[i].a, rows[i].b), rows[i].want);
        assert_int_equal(state_livelier(rows[i].b, rows[i].a), rows[i].want);
    }
}

static void the_numbers_on_disk_never_change(void **state)
{
    static const struct {
        enum queue_state state;
        int number;
    } rows[] = {
        { QUEUE_QUEUED, 0 },          { QUEUE_DEFERRED, 2 },
        { QUEUE_UNCERTAIN, 3 },       { QUEUE_HELD, 4 },
        { QUEUE_DELIVERED, 5 },       { QUEUE_BOUNCED, 6 },
        { QUEUE_FAILED_FOR_GOOD, 7 }, { QUEUE_CANCELLED, 8 },
        { QUEUE_SANDBOXED, 9 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(rows[i].state, rows[i].number);
        assert_true(state_is_stored(rows[i].number));
    }
    assert_false(state_is_stored(QUEUE_DELIVERING));
    assert_false(state_is_stored(-1));
    assert_false(state_is_stored(QUEUE_STATE_COUNT));
}

static void recipients_are_numbered_and_owned(void **state)
{
    struct queue_message *message = queue_message_new(7);
    char address[16];

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(address, sizeof(address), "r%d@x.example", i);
        struct queue_recipient *recipient = queue_message_add(message, slice_of(address));
        assert_int_equal(recipient->position, i);
        assert_int_equal(recipient->fate, QUEUE_UNTRIED);
    }
    assert_int_equal(message->recipient_count, 100);
    assert_string_equal(message->recipients[0].address, "r0@x.example");
    assert_string_equal(message->recipients[99].address, "r99@x.example");
    queue_message_free(message);
    queue_message_free(NULL);
}

static void what_an_upstream_says_is_bounded(void **state)
{
    struct queue_message *message = queue_message_new(7);
    struct queue_recipient *recipient = queue_message_add(message, SLICE("r@x.example"));
    char words[2000];

    (void)state;
    memset(words, 'w', sizeof(words));
    words[3] = '\0';
    queue_recipient_say(recipient, QUEUE_LATER, 450, "4.2.0 and far too long",
                        slice_make(words, sizeof(words)));
    assert_int_equal(strlen(recipient->text), 512);
    assert_memory_equal(recipient->text, "www?w", 5);
    assert_int_equal(strlen(recipient->enhanced), sizeof(recipient->enhanced) - 1);
    queue_recipient_say(recipient, QUEUE_SENT, 250, NULL, SLICE(""));
    assert_null(recipient->text);
    assert_string_equal(recipient->enhanced, "");
    assert_int_equal(recipient->fate, QUEUE_SENT);
    queue_message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_names_are_read_back),
        cmocka_unit_test(the_liveliest_state_speaks_for_the_message),
        cmocka_unit_test(the_numbers_on_disk_never_change),
        cmocka_unit_test(recipients_are_numbered_and_owned),
        cmocka_unit_test(what_an_upstream_says_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
