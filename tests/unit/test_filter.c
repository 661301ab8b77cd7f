#include "tests/support/queue_fixture.h"

static void a_filter_wants_what_has_all_that_it_names(void **state)
{
    struct fixture *f = *state;
    const struct store_look look = {
        .id = ident_next(),
        .received_ms = 5000,
        .state = QUEUE_DEFERRED,
        .account = "acme",
        .key_id = "7Fq2mZ81",
        .sender = "Ann@Good.example",
    };
    const struct {
        const char *what;
        struct queue_filter filter;
        bool want;
    } rows[] = {
        { "nothing asked", { 0 }, true },
        { "state", { .has_state = true, .state = QUEUE_DEFERRED }, true },
        { "other state", { .has_state = true, .state = QUEUE_QUEUED }, false },
        { "account", { .account = "acme" }, true },
        { "account by its beginning", { .account = "ac" }, false },
        { "key", { .key = "7Fq2mZ81" }, true },
        { "key in other letters", { .key = "7fq2mZ81" }, false },
        { "address", { .sender = "ann@good.example" }, true },
        { "other address", { .sender = "bob@good.example" }, false },
        { "domain", { .sender = "good.EXAMPLE" }, true },
        { "domain by its end", { .sender = "example" }, false },
        { "domain above", { .sender = "d.example" }, false },
        { "null sender", { .sender = "<>" }, false },
        { "older", { .received_before_ms = 5001 }, true },
        { "not older", { .received_before_ms = 5000 }, false },
        { "newer", { .received_after_ms = 4999 }, true },
        { "not newer", { .received_after_ms = 5000 }, false },
        { "two, one wrong", { .account = "acme", .key = "x" }, false },
        { "two", { .account = "acme", .sender = "good.example" }, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (filter_wants(f->queue, &rows[i].filter, &look) != rows[i].want)
            fail_msg("%s: %s", rows[i].what, rows[i].want ? "not wanted" : "wanted");
}

static void the_null_sender_has_a_name_of_its_own(void **state)
{
    struct fixture *f = *state;
    const struct store_look look = { .account = "", .key_id = "", .sender = "" };

    assert_true(filter_wants(f->queue, &(struct queue_filter){ .sender = "<>" }, &look));
    assert_false(filter_wants(f->queue, &(struct queue_filter){ .sender = "" }, &look));
    assert_false(filter_wants(f->queue, &(struct queue_filter){ .sender = "a.example" }, &look));
}

static void a_recipient_is_wanted_by_address_domain_and_upstream_together(void **state)
{
    const struct store_recipient_look look = { QUEUE_DEFERRED, "r@dest.example", "main" };
    static const struct {
        struct queue_filter filter;
        bool want;
    } rows[] = {
        { { .recipient = "R@dest.example" }, true },
        { { .recipient = "dest.example" }, true },
        { { .recipient = "other.example" }, false },
        { { .upstream = "main" }, true },
        { { .upstream = "spare" }, false },
        { { .recipient = "dest.example", .upstream = "spare" }, false },
        { { .recipient = "dest.example", .upstream = "main" }, true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(filter_asks_recipients(&rows[i].filter));
        if (filter_wants_recipient(&rows[i].filter, &look) != rows[i].want)
            fail_msg("row %zu", i);
    }
    assert_false(filter_asks_recipients(&(struct queue_filter){ .sender = "x" }));
}

static void a_copy_lives_longer_than_its_texts(void **state)
{
    char account[] = "acme";
    struct queue_filter copy =
        filter_copy(&(struct queue_filter){ .account = account, .limit = 3 });

    (void)state;
    account[0] = 'x';
    assert_string_equal(copy.account, "acme");
    assert_null(copy.key);
    assert_int_equal(copy.limit, 3);
    filter_clear(&copy);
    assert_null(copy.account);
}

static void ids_that_are_too_old_to_be_wanted_are_not_looked_at(void **state)
{
    struct queue_filter filter = { .received_after_ms = FX_START_MS };

    (void)state;
    assert_int_equal(filter_after_id(&(struct queue_filter){ 0 }), 0);
    assert_int_equal(filter_after_id(&(struct queue_filter){ .received_after_ms = 5 }), 0);
    int64_t id = filter_after_id(&filter);
    assert_in_range(FX_START_MS - ident_time_ms(id), 86400000, 3 * 86400000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_filter_wants_what_has_all_that_it_names),
        QUEUE_TEST(the_null_sender_has_a_name_of_its_own),
        QUEUE_TEST(a_recipient_is_wanted_by_address_domain_and_upstream_together),
        QUEUE_TEST(a_copy_lives_longer_than_its_texts),
        QUEUE_TEST(ids_that_are_too_old_to_be_wanted_are_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
