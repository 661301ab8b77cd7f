/* test_delivery.c - does each accepted recipient come to its end, whatever the upstreams do?
 * A real queue with its writer thread, fake upstreams, and the delivery between them, on one loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/delivery.h"
#include "tests/support/fake_upstream.h"
#include "tests/support/queue_desk.h"

#define CONTENT "From: <a@good.example>\r\nSubject: s\r\n\r\nhello\r\n"

struct scene {
    struct loop loop;
    char *folder, *path;
    struct queue *queue;
    struct fake_upstream fakes[2]; /* "main", "spare" */
    struct upstream_options upstreams[2];
    struct route_table routes;
    struct delivery_options options;
    struct delivery *delivery;
    bool closed;
};

static const unsigned both[] = { 0, 1 };

static void no_log(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static int open_scene(void **state)
{
    static const char *const names[] = { "main", "spare" };
    struct scene *scene = xcalloc(1, sizeof(*scene));
    struct why why = { "" };

    alarm(60); /* nothing here takes a second */
    log_divert(no_log, NULL);
    scene->folder = desk_folder_new();
    scene->path = xasprintf("%s/queue.db", scene->folder);
    struct queue_options queue = desk_options(scene->path);

    if (!loop_init(&scene->loop, &why) || !queue_open(&scene->queue, &queue, &why) ||
        !queue_start(scene->queue, &why))
        fail_msg("%s", why.text);
    for (size_t i = 0; i < 2; i++) {
        fake_start(&scene->fakes[i], &scene->loop, &(struct fake_options){ 0 });
        scene->upstreams[i] = (struct upstream_options){
            .name = names[i],
            .host = "127.0.0.1",
            .port = scene->fakes[i].port,
            .tls = UPSTREAM_TLS_NONE,
            .helo = "relay.good.example",
            .max_connections = 2,
            .max_messages_per_connection = 100,
            .failures_max = 3,
            .rest_first_ms = 5000,
            .rest_longest_ms = 60000,
            .timeouts = { 30000, 30000, 30000, 30000, 30000, 30000, 30000 },
        };
    }
    scene->routes = (struct route_table){ .default_upstreams = both, .default_count = 2 };
    scene->options = (struct delivery_options){ .queue = scene->queue,
                                                .upstreams = scene->upstreams,
                                                .upstream_count = 2,
                                                .routes = &scene->routes,
                                                .messages_max = 64,
                                                .bytes_max = 1 << 20 };
    *state = scene;
    return 0;
}

#define UNTIL(scene, condition)                                                                    \
    while (!(condition))                                                                           \
    uv_run(&(scene)->loop.uv, UV_RUN_ONCE)

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed = true;
}

static void close_delivery(struct scene *scene)
{
    if (scene->delivery == NULL)
        return;
    scene->closed = false;
    delivery_drain(scene->delivery, on_closed, scene);
    assert_false(scene->closed);
    UNTIL(scene, scene->closed);
    delivery_free(scene->delivery);
    scene->delivery = NULL;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;

    close_delivery(scene);
    queue_stop(scene->queue);
    fake_stop(&scene->fakes[0]);
    fake_stop(&scene->fakes[1]);
    loop_close(&scene->loop);
    queue_free(scene->queue);
    desk_folder_remove(scene->folder);
    free(scene->path);
    free(scene);
    log_divert(NULL, NULL);
    alarm(0);
    return 0;
}

#define DELIVERY_TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

static void start(struct scene *scene)
{
    struct why why = { "" };

    scene->delivery = delivery_open(&scene->loop, &scene->options, &why);
    if (scene->delivery == NULL)
        fail_msg("%s", why.text);
}

/* --- questions to the queue ------------------------------------------------------------------- */

struct submitted {
    unsigned calls;
    struct queue_message *message;
};

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct submitted *submitted = owner;

    assert_int_equal(result, QUEUE_OK);
    submitted->calls++;
    submitted->message = message;
}

static struct queue_message *make_message(const char *const *recipients, size_t count)
{
    struct queue_message *message = desk_message(ident_next(), recipients[0]);

    for (size_t i = 1; i < count; i++)
        queue_message_add(message, slice_of(recipients[i]));
    desk_write(message, SLICE(CONTENT));
    message->size = sizeof(CONTENT) - 1;
    return message;
}

/* lease: hand it straight to the delivery. */
static int64_t submit(struct scene *scene, struct queue_message *message, bool lease)
{
    struct submitted submitted = { 0 };
    int64_t id = message->id;

    queue_submit(scene->queue, &(struct queue_submit){ .message = &message,
                                                       .lease = lease,
                                                       .cb = on_submitted,
                                                       .owner = &submitted,
                                                       .answers = &scene->loop.mailbox });
    loop_hold(&scene->loop);
    UNTIL(scene, submitted.calls > 0);
    loop_release(&scene->loop);
    if (lease)
        delivery_take(scene->delivery, submitted.message);
    return id;
}

static int64_t submit_one(struct scene *scene, bool lease)
{
    static const char *const recipients[] = { "r1@dest.example" };

    return submit(scene, make_message(recipients, 1), lease);
}

struct shown {
    unsigned calls;
    enum queue_state state;
    enum queue_state states[4];
    unsigned attempts[4];
    char text[4][600], upstream[4][16];
};

static void on_shown(void *owner, enum queue_result result, struct queue_story *story)
{
    struct shown *shown = owner;

    assert_int_equal(result, QUEUE_OK);
    shown->calls++;
    shown->state = story->row.state;
    for (size_t i = 0; i < story->recipient_count && i < 4; i++) {
        const struct queue_recipient_row *row = &story->recipients[i];

        shown->states[i] = row->state;
        shown->attempts[i] = row->attempts;
        snprintf(shown->text[i], 600, "%s", row->text == NULL ? "" : row->text);
        snprintf(shown->upstream[i], 16, "%s", row->upstream == NULL ? "" : row->upstream);
    }
}

static struct shown show(struct scene *scene, int64_t id)
{
    struct shown shown = { 0 };

    queue_show(scene->queue, id, on_shown, &shown, &scene->loop.mailbox);
    loop_hold(&scene->loop);
    UNTIL(scene, shown.calls > 0);
    loop_release(&scene->loop);
    return shown;
}

/* Looks until the message is in this state. */
static struct shown wait_for(struct scene *scene, int64_t id, enum queue_state state)
{
    struct shown shown = show(scene, id);

    while (shown.state != state)
        shown = show(scene, id);
    return shown;
}

static void on_retried(void *owner, enum queue_result result, uint64_t changed, uint64_t busy)
{
    (void)result;
    (void)busy;
    *(bool *)owner = true;
    assert_int_equal(changed, 1);
}

static void retry(struct scene *scene, int64_t id)
{
    bool done = false;

    queue_steer(scene->queue,
                &(struct queue_steering){ .act = QUEUE_RETRY, .id = id, .by = "operator" },
                on_retried, &done, &scene->loop.mailbox);
    UNTIL(scene, done);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void a_fresh_message_is_delivered_and_recorded(void **state)
{
    struct scene *scene = *state;

    start(scene);
    int64_t id = submit_one(scene, true);
    struct shown shown = wait_for(scene, id, QUEUE_DELIVERED);

    assert_string_equal(shown.upstream[0], "main");
    assert_int_equal(scene->fakes[0].messages, 1);
    assert_true(slice_equal(buf_slice(&scene->fakes[0].content), SLICE(CONTENT ".\r\n")));
}

static void what_was_due_before_the_start_is_found(void **state)
{
    struct scene *scene = *state;
    int64_t ids[20];

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = submit_one(scene, false);
    start(scene);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        wait_for(scene, ids[i], QUEUE_DELIVERED);
    assert_int_equal(scene->fakes[0].messages, ARRAY_LEN(ids));
}

static void what_nobody_leased_is_found_when_the_queue_rings(void **state)
{
    struct scene *scene = *state;

    start(scene);
    wait_for(scene, submit_one(scene, true), QUEUE_DELIVERED);
    wait_for(scene, submit_one(scene, false), QUEUE_DELIVERED);
}

static void each_recipient_gets_its_own_fate_and_only_the_deferred_is_tried_again(void **state)
{
    static const char *const recipients[] = { "r1@dest.example", "r2@dest.example",
                                              "r3@dest.example" };
    static const struct fake_row rows[] = { { "RCPT TO:<r2", "450 4.2.1 busy\r\n", 1, 0 },
                                            { "RCPT TO:<r3", "550 5.1.1 unknown\r\n", 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    const struct queue_schedule soon = { .retry_ms = { 1 },
                                         .retry_count = 1,
                                         .max_age_ms = 1 << 30 };

    queue_set_schedule(scene->queue, &soon, 86400000);
    fake_set_rows(&scene->fakes[0], rows);
    start(scene);
    int64_t id = submit(scene, make_message(recipients, 3), true);
    /* Deferred until r2 is through; then final, and one failed recipient makes a failed message. */
    struct shown shown = wait_for(scene, id, QUEUE_FAILED_FOR_GOOD);

    assert_int_equal(shown.states[0], QUEUE_DELIVERED);
    assert_int_equal(shown.states[1], QUEUE_DELIVERED);
    assert_int_equal(shown.states[2], QUEUE_FAILED_FOR_GOOD);
    assert_int_equal(shown.attempts[0], 1);
    assert_int_equal(shown.attempts[1], 2);
    assert_int_equal(shown.attempts[2], 1);
    assert_string_equal(shown.text[2], "unknown");
    assert_int_equal(scene->fakes[0].messages, 2);
    assert_true(fake_heard(&scene->fakes[0], "SIZE=45\r\nRCPT TO:<r2@dest.example>\r\nDATA\r\n"));
    assert_int_equal(scene->fakes[1].connections, 0);
}

static void the_next_upstream_takes_what_the_first_could_not_try(void **state)
{
    struct scene *scene = *state;

    fake_stop_listening(&scene->fakes[0]);
    start(scene);
    for (int i = 0; i < 5; i++) { /* the third and later find the first one resting */
        struct shown shown = wait_for(scene, submit_one(scene, true), QUEUE_DELIVERED);

        assert_string_equal(shown.upstream[0], "spare");
        assert_int_equal(shown.attempts[0], 1); /* both were one attempt */
    }
    assert_int_equal(scene->fakes[1].messages, 5);
}

static void when_none_can_be_reached_the_message_waits_with_the_reason(void **state)
{
    struct scene *scene = *state;

    fake_stop_listening(&scene->fakes[0]);
    fake_stop_listening(&scene->fakes[1]);
    start(scene);
    for (int i = 0; i < 6; i++) { /* reachable, then resting: one backoff each, no spinning */
        struct shown shown = wait_for(scene, submit_one(scene, true), QUEUE_DEFERRED);

        assert_int_equal(shown.attempts[0], 1);
        if (strstr(shown.text[0], i < 3 ? "cannot connect" : "usable; \"main\" rests: 127.0.0.1") ==
            NULL)
            fail_msg("attempt %d: %s", i, shown.text[0]);
    }
}

static void a_message_without_a_route_waits(void **state)
{
    struct scene *scene = *state;

    scene->routes.default_count = 0;
    start(scene);
    struct shown shown = wait_for(scene, submit_one(scene, true), QUEUE_DEFERRED);

    assert_non_null(strstr(shown.text[0], "no upstream is configured"));
    assert_int_equal(scene->fakes[0].connections, 0);
}

static void a_lost_answer_to_the_dot_is_uncertain_and_tried_again(void **state)
{
    static const struct fake_row rows[] = { { ".", FAKE_DROP, 1, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fakes[0], rows);
    start(scene);
    int64_t id = submit_one(scene, true);

    wait_for(scene, id, QUEUE_UNCERTAIN);
    assert_int_equal(scene->fakes[1].connections, 0); /* nobody else may try it now */
    retry(scene, id);
    wait_for(scene, id, QUEUE_DELIVERED);
}

static void on_appended(void *owner, enum queue_result result)
{
    assert_int_equal(result, QUEUE_OK);
    (*(unsigned *)owner)++;
}

static void a_message_in_chunks_is_read_while_it_is_sent(void **state)
{
    enum { CHUNKS = 20 };
    static const char *const recipients[] = { "r1@dest.example" };
    struct scene *scene = *state;
    struct queue_message *message = make_message(recipients, 1);
    unsigned appended = 0;

    start(scene);
    buf_clear(&message->content);
    for (uint32_t seq = 0; seq < CHUNKS; seq++) {
        struct buf chunk;

        buf_init(&chunk, QUEUE_CHUNK_BYTES);
        for (size_t i = 0; i < QUEUE_CHUNK_BYTES / 64; i++)
            assert_true(buf_add(&chunk, SLICE("0123456789012345678901234567890123456789"
                                              "0123456789012345678901\r\n")));
        queue_append(scene->queue, message->id, seq, &chunk, on_appended, &appended,
                     &scene->loop.mailbox);
        UNTIL(scene, appended == seq + 1);
        buf_free(&chunk);
    }
    message->chunks = CHUNKS;
    message->size = (uint64_t)CHUNKS * QUEUE_CHUNK_BYTES;
    scene->fakes[0].options.ehlo = "250 fake\r\n";
    wait_for(scene, submit(scene, message, true), QUEUE_DELIVERED);
    assert_int_equal(buf_len(&scene->fakes[0].content), CHUNKS * QUEUE_CHUNK_BYTES + 3);
}

static void what_is_in_memory_is_bounded_and_all_arrives(void **state)
{
    enum { COUNT = 100 };
    static const struct fake_row hang[] = { { "BANNER", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    static const char *const recipients[] = { "r1@dest.example" };
    struct scene *scene = *state;
    struct queue_message *fresh = make_message(recipients, 1);
    int64_t ids[COUNT];

    scene->options.messages_max = 8;
    fake_set_rows(&scene->fakes[0], hang);
    fake_set_rows(&scene->fakes[1], hang);
    for (size_t i = 0; i < COUNT; i++)
        ids[i] = submit_one(scene, false);
    start(scene);
    assert_true(delivery_has_room(scene->delivery, fresh));
    UNTIL(scene, scene->fakes[0].open == 1); /* so a lease has come, and fills the room */
    assert_false(delivery_has_room(scene->delivery, fresh));
    fake_set_rows(&scene->fakes[0], NULL);
    fake_set_rows(&scene->fakes[1], NULL);
    fake_drop_all(&scene->fakes[0]);
    for (size_t i = 0; i < COUNT; i++)
        wait_for(scene, ids[i], QUEUE_DELIVERED);
    assert_int_equal(scene->fakes[0].messages + scene->fakes[1].messages, COUNT);
    assert_true(delivery_has_room(scene->delivery, fresh));
    queue_message_free(fresh);
}

/* --- accounts take turns ---------------------------------------------------------------------- */

/* To an address that tells whose it was. */
static struct queue_message *make_for(const char *account)
{
    char *address = xasprintf("%s@dest.example", account);
    const char *const recipients[] = { address };
    struct queue_message *message = make_message(recipients, 1);

    free(address);
    free(message->account);
    message->account = xstrdup(account);
    return message;
}

/* How many of the large account's messages came before the small one's. */
static size_t count_before_small(const struct fake_upstream *fake)
{
    struct slice wire = buf_slice(&fake->wire);
    size_t count = 0, at;

    while ((at = slice_find(wire, '<')) != SLICE_NONE) {
        wire = slice_from(wire, at + 1);
        if (slice_starts_nocase(wire, SLICE("small@")))
            return count;
        count += slice_starts_nocase(wire, SLICE("large@"));
    }
    return SIZE_MAX;
}

/* One connection, which is stuck with the first message of a backlog that fills the share that a
 * key may have at one of two upstreams. Once it goes on, another account's message is one of the
 * next, however it came. */
static void a_backlog_delays_another_account_by_a_turn(void **state)
{
    enum way { FRESH, STORED, DEFERRED, WAYS };
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 1, 0 }, { NULL, NULL, 0, 0 } };
    static const struct fake_row busy[] = { { "RCPT", "450 4.2.1 busy\r\n", 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    static const unsigned only_main[] = { 0 };
    struct scene *scene = *state;
    struct upstream_view view;
    int64_t id = 0;

    scene->routes.default_upstreams = only_main;
    scene->routes.default_count = 1;
    scene->upstreams[0].max_connections = 1;
    start(scene);
    for (enum way way = FRESH; way < WAYS; way++) {
        if (way == DEFERRED) {
            fake_set_rows(&scene->fakes[0], busy);
            id = submit(scene, make_for("small"), true);
            wait_for(scene, id, QUEUE_DEFERRED);
        }
        fake_set_rows(&scene->fakes[0], hang);
        buf_clear(&scene->fakes[0].wire);
        for (int i = 0; i < 200; i++)
            submit(scene, make_for("large"), false);
        UNTIL(scene, fake_heard(&scene->fakes[0], "\r\n.\r\n"));
        do
            uv_run(&scene->loop.uv, UV_RUN_ONCE);
        while (delivery_look(scene->delivery, 0, &view) && view.waiting < 20);

        struct queue_message *message = make_for("small");
        struct share *place; /* not while a question is under way */
        while ((place = delivery_reserve(scene->delivery, message)) == NULL)
            uv_run(&scene->loop.uv, UV_RUN_ONCE);
        delivery_unreserve(scene->delivery, place);
        if (way == DEFERRED) {
            queue_message_free(message);
            retry(scene, id);
        } else {
            id = submit(scene, message, way == FRESH);
        }
        unsigned before = scene->fakes[0].messages;
        wait_for(scene, id, QUEUE_DELIVERING);
        show(scene, id); /* answered behind the lease: now it is in the line */
        buf_clear(&scene->fakes[0].wire);
        fake_drop_all(&scene->fakes[0]);
        wait_for(scene, id, QUEUE_DELIVERED);
        if (count_before_small(&scene->fakes[0]) > 2)
            fail_msg("way %d: %zu messages went first", (int)way,
                     count_before_small(&scene->fakes[0]));
        UNTIL(scene, scene->fakes[0].messages >= before + 200);
    }
}

/* Mail of many accounts that all waits for a slow upstream leaves room for mail of another that
 * goes elsewhere, fresh or not. */
static void a_slow_upstream_does_not_keep_mail_for_another_waiting(void **state)
{
    static const struct fake_row hang[] = { { "BANNER", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    static const unsigned to_main[] = { 0 }, to_spare[] = { 1 };
    static const char *const others[] = { "other" };
    static const struct route route = {
        .accounts = others, .account_count = 1, .upstreams = to_spare, .upstream_count = 1
    };
    struct scene *scene = *state;
    struct upstream_view view;
    char account[16];

    scene->options.messages_max = 32;
    scene->routes = (struct route_table){
        .routes = &route, .route_count = 1, .default_upstreams = to_main, .default_count = 1
    };
    fake_set_rows(&scene->fakes[0], hang);
    start(scene);
    for (int i = 0; i < 100; i++) {
        snprintf(account, sizeof(account), "a%d", i);
        submit(scene, make_for(account), false);
    }
    do
        uv_run(&scene->loop.uv, UV_RUN_ONCE);
    while (delivery_look(scene->delivery, 0, &view) && view.waiting < 20);
    wait_for(scene, submit(scene, make_for("other"), false), QUEUE_DELIVERED);
    struct queue_message *message = make_for("a1");
    assert_null(delivery_reserve(scene->delivery, message));
    queue_message_free(message);
    assert_true(delivery_look(scene->delivery, 0, &view));
    assert_in_range(view.waiting, 20, 30);
    fake_drop_all(&scene->fakes[0]);
    fake_set_rows(&scene->fakes[0], NULL);
    UNTIL(scene, scene->fakes[0].messages >= 60); /* the others are deferred for a minute */
}

/* The same key sends for both. */
static void
a_slow_upstream_does_not_keep_fresh_mail_of_the_same_key_for_another_waiting(void **state)
{
    static const struct fake_row hang[] = { { "BANNER", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    static const unsigned to_main[] = { 0 }, to_spare[] = { 1 };
    static const char *const domains[] = { "fast.example" };
    static const struct route route = { .sender_domains = domains,
                                        .sender_domain_count = 1,
                                        .upstreams = to_spare,
                                        .upstream_count = 1 };
    struct scene *scene = *state;
    struct upstream_view view;

    scene->routes = (struct route_table){
        .routes = &route, .route_count = 1, .default_upstreams = to_main, .default_count = 1
    };
    fake_set_rows(&scene->fakes[0], hang);
    start(scene);
    for (int i = 0; i < 200; i++)
        submit(scene, make_for("one"), false);
    do
        uv_run(&scene->loop.uv, UV_RUN_ONCE);
    while (delivery_look(scene->delivery, 0, &view) && view.waiting < 20);
    for (int i = 0; i < 5; i++) {
        struct queue_message *message = make_for("one");
        struct share *place;
        free(message->sender);
        message->sender = xstrdup("a@fast.example");
        while ((place = delivery_reserve(scene->delivery, message)) == NULL)
            uv_run(&scene->loop.uv, UV_RUN_ONCE); /* a question is under way */
        delivery_unreserve(scene->delivery, place);
        wait_for(scene, submit(scene, message, true), QUEUE_DELIVERED);
    }
    assert_true(delivery_look(scene->delivery, 0, &view));
    assert_in_range(view.waiting, 20, 32);
    fake_drop_all(&scene->fakes[0]);
    fake_set_rows(&scene->fakes[0], NULL);
    UNTIL(scene, scene->fakes[0].messages >= 100); /* the others are deferred for a minute */
}

/* --- reload and end --------------------------------------------------------------------------- */

static void a_reload_moves_what_waits_and_lets_finish_what_runs(void **state)
{
    static const struct fake_row hang[] = { { "DATA", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    static const unsigned spare[] = { 0 };
    static struct route_table routes = { .default_upstreams = spare, .default_count = 1 };
    struct scene *scene = *state;
    struct delivery_options options = scene->options;
    struct upstream_options only_spare = scene->upstreams[1];
    struct why why = { "" };
    int64_t ids[5];

    scene->upstreams[0].max_connections = 1;
    fake_set_rows(&scene->fakes[0], hang);
    start(scene);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = submit_one(scene, true);
    UNTIL(scene, fake_heard(&scene->fakes[0], "DATA\r\n"));
    options.upstreams = &only_spare;
    options.upstream_count = 1;
    options.routes = &routes;
    if (!delivery_reconfigure(scene->delivery, &options, &why))
        fail_msg("%s", why.text);
    for (size_t i = 1; i < ARRAY_LEN(ids); i++)
        assert_string_equal(wait_for(scene, ids[i], QUEUE_DELIVERED).upstream[0], "spare");
    assert_int_equal(show(scene, ids[0]).state, QUEUE_DELIVERING);
    fake_drop_all(&scene->fakes[0]);
    assert_string_equal(wait_for(scene, ids[0], QUEUE_DEFERRED).upstream[0], "main");
}

static void a_reload_that_fails_changes_nothing(void **state)
{
    struct scene *scene = *state;
    struct upstream_options broken[2] = { scene->upstreams[0], scene->upstreams[1] };
    struct delivery_options options = scene->options;
    struct why why = { "" };

    broken[1].tls = UPSTREAM_TLS_IMPLICIT;
    broken[1].tls_verify = true;
    broken[1].ca_file = "/nonexistent/ca.pem";
    options.upstreams = broken;
    start(scene);
    assert_false(delivery_reconfigure(scene->delivery, &options, &why));
    assert_non_null(strstr(why.text, "/nonexistent/ca.pem"));
    wait_for(scene, submit_one(scene, true), QUEUE_DELIVERED);
    close_delivery(scene);

    scene->options.upstreams = broken; /* and one that cannot start at all leaves nothing behind */
    assert_null(delivery_open(&scene->loop, &scene->options, &why));
    scene->options.upstreams = scene->upstreams;
}

static void a_held_upstream_leaves_its_mail_to_the_next_and_without_one_it_waits(void **state)
{
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    struct upstream_view view;
    struct why why = { "" };

    start(scene);
    delivery_hold(scene->delivery, "main", true);
    assert_string_equal(wait_for(scene, submit_one(scene, true), QUEUE_DELIVERED).upstream[0],
                        "spare");
    delivery_hold(scene->delivery, "spare", true);
    assert_true(
        delivery_reconfigure(scene->delivery, &scene->options, &why)); /* it outlives that */
    int64_t waits = submit_one(scene, true);
    struct shown shown = wait_for(scene, waits, QUEUE_DEFERRED);
    assert_string_equal(shown.text[0], upstream_held_text);
    assert_string_equal(shown.upstream[0], "main");
    assert_int_equal(scene->fakes[0].connections, 0);
    assert_true(delivery_look(scene->delivery, 1, &view));
    assert_string_equal(view.name, "spare");
    assert_int_equal(view.condition, UPSTREAM_HELD);
    assert_false(delivery_look(scene->delivery, 2, &view));

    delivery_hold(scene->delivery, "main", false);
    retry(scene, waits);
    assert_string_equal(wait_for(scene, waits, QUEUE_DELIVERED).upstream[0], "main");

    /* What is under way finishes, what only waits for a connection comes back. */
    scene->upstreams[0].max_connections = 1;
    fake_set_rows(&scene->fakes[0], hang);
    buf_clear(&scene->fakes[0].wire);
    assert_true(delivery_reconfigure(scene->delivery, &scene->options, &why));
    int64_t runs = submit_one(scene, true);
    UNTIL(scene, fake_heard(&scene->fakes[0], "\r\n.\r\n"));
    waits = submit_one(scene, true);
    delivery_hold(scene->delivery, "main", true);
    assert_string_equal(wait_for(scene, waits, QUEUE_DEFERRED).text[0], upstream_held_text);
    assert_int_equal(show(scene, runs).state, QUEUE_DELIVERING);
    fake_drop_all(&scene->fakes[0]);
}

static void draining_returns_what_waits_and_waits_for_what_runs(void **state)
{
    static const struct fake_row hang[] = { { ".", FAKE_HANG, 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;
    int64_t ids[4];

    scene->upstreams[0].max_connections = 1;
    fake_set_rows(&scene->fakes[0], hang);
    start(scene);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = submit_one(scene, true);
    UNTIL(scene, fake_heard(&scene->fakes[0], "\r\n.\r\n"));
    delivery_drain(scene->delivery, on_closed, scene);
    for (size_t i = 1; i < ARRAY_LEN(ids); i++)
        assert_int_equal(wait_for(scene, ids[i], QUEUE_QUEUED).attempts[0], 0);
    assert_int_equal(show(scene, ids[0]).state, QUEUE_DELIVERING);
    assert_false(scene->closed);
    delivery_abort(scene->delivery);
    UNTIL(scene, scene->closed);
    delivery_free(scene->delivery);
    scene->delivery = NULL;
    wait_for(scene, ids[0], QUEUE_UNCERTAIN);
    assert_int_equal(scene->fakes[1].connections, 0);
}

static void draining_lets_a_late_answer_be_recorded(void **state)
{
    static const struct fake_row hang[] = { { "BANNER", FAKE_HANG, 1, 0 },
                                            { "RCPT", FAKE_HANG, 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene *scene = *state;

    fake_set_rows(&scene->fakes[0], hang + 1);
    start(scene);
    int64_t id = submit_one(scene, true);

    UNTIL(scene, fake_heard(&scene->fakes[0], "RCPT"));
    delivery_drain(scene->delivery, on_closed, scene);
    fake_drop_all(&scene->fakes[0]);
    UNTIL(scene, scene->closed);
    delivery_free(scene->delivery);
    scene->delivery = NULL;
    wait_for(scene, id, QUEUE_DEFERRED);
}

static void one_whose_loop_never_ran_leaves_nothing_behind(void **state)
{
    struct scene *scene = *state;

    start(scene);
    delivery_drain(scene->delivery, on_closed, scene);
    delivery_abort(scene->delivery);
    delivery_free(scene->delivery);
    scene->delivery = NULL;
    assert_false(scene->closed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DELIVERY_TEST(a_fresh_message_is_delivered_and_recorded),
        DELIVERY_TEST(what_was_due_before_the_start_is_found),
        DELIVERY_TEST(what_nobody_leased_is_found_when_the_queue_rings),
        DELIVERY_TEST(each_recipient_gets_its_own_fate_and_only_the_deferred_is_tried_again),
        DELIVERY_TEST(the_next_upstream_takes_what_the_first_could_not_try),
        DELIVERY_TEST(when_none_can_be_reached_the_message_waits_with_the_reason),
        DELIVERY_TEST(a_message_without_a_route_waits),
        DELIVERY_TEST(a_lost_answer_to_the_dot_is_uncertain_and_tried_again),
        DELIVERY_TEST(a_message_in_chunks_is_read_while_it_is_sent),
        DELIVERY_TEST(what_is_in_memory_is_bounded_and_all_arrives),
        DELIVERY_TEST(a_backlog_delays_another_account_by_a_turn),
        DELIVERY_TEST(a_slow_upstream_does_not_keep_mail_for_another_waiting),
        DELIVERY_TEST(a_slow_upstream_does_not_keep_fresh_mail_of_the_same_key_for_another_waiting),
        DELIVERY_TEST(a_reload_moves_what_waits_and_lets_finish_what_runs),
        DELIVERY_TEST(a_reload_that_fails_changes_nothing),
        DELIVERY_TEST(a_held_upstream_leaves_its_mail_to_the_next_and_without_one_it_waits),
        DELIVERY_TEST(draining_returns_what_waits_and_waits_for_what_runs),
        DELIVERY_TEST(draining_lets_a_late_answer_be_recorded),
        DELIVERY_TEST(one_whose_loop_never_ran_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
