/* test_delivery_share.c - how much of the room may one key, account or upstream have?
 * The struct delivery of these tests has room and shares, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/ident.h"
#include "relay/delivery_priv.h"

#define MESSAGES_MAX 512
#define BYTES_MAX    (16 * 1024 * 1024)
#define TAKEN_MAX    (2 * MESSAGES_MAX)

struct taken {
    struct share *share;
    size_t bytes;
};

struct scene {
    struct delivery delivery;
    struct fleet fleet;
    struct taken taken[TAKEN_MAX];
    size_t count;
};

static int open_scene(void **state)
{
    struct scene *scene = xcalloc(1, sizeof(*scene));

    scene->delivery.shares = shares_new();
    scene->delivery.fleet = &scene->fleet;
    *state = scene;
    return 0;
}

static void give_all(struct scene *scene)
{
    while (scene->count > 0) {
        struct taken *taken = &scene->taken[--scene->count];
        share_give(&scene->delivery, taken->share, taken->bytes);
    }
    assert_int_equal(scene->delivery.messages, 0);
    assert_int_equal(scene->delivery.bytes, 0);
}

static int close_scene(void **state)
{
    struct scene *scene = *state;

    give_all(scene);
    shares_free(scene->delivery.shares);
    free(scene);
    return 0;
}

static struct room room_of(const struct scene *scene)
{
    const struct delivery *delivery = &scene->delivery;

    return (struct room){
        .messages = delivery->messages < MESSAGES_MAX ? MESSAGES_MAX - delivery->messages : 0,
        .bytes = delivery->bytes < BYTES_MAX ? BYTES_MAX - delivery->bytes : 0,
    };
}

static bool take_one(struct scene *scene, const char *account, const char *key, size_t bytes)
{
    struct queue_message *message = queue_message_new(ident_next());
    struct room room = room_of(scene);

    message->account = xstrdup(account);
    snprintf(message->key_id, sizeof(message->key_id), "%s", key);
    bool has_room = share_has_room(&scene->delivery, message, &room);
    if (has_room)
        scene->taken[scene->count++] =
            (struct taken){ share_take(&scene->delivery, message, bytes), bytes };
    queue_message_free(message);
    return has_room;
}

/* As many of each, in turns, as they may have; how many in all. */
static size_t fill(struct scene *scene, size_t accounts, size_t keys, size_t bytes)
{
    size_t before = scene->count;
    bool any = true;

    while (any) {
        any = false;
        for (size_t i = 0; i < accounts * keys; i++) {
            char account[32], key[32];
            snprintf(account, sizeof(account), "a%zu", i % accounts);
            snprintf(key, sizeof(key), "k%zu", i / accounts);
            any = take_one(scene, account, key, bytes) || any;
        }
    }
    return scene->count - before;
}

static void whoever_comes_new_finds_room(void **state)
{
    static const struct {
        size_t accounts, keys, bytes;
        size_t least, most; /* that they have together */
    } rows[] = {
        { 1, 1, 0, 256, 256 },   /* one key: half */
        { 1, 2, 0, 340, 344 },   /* two keys of an account: two thirds */
        { 1, 100, 0, 384, 384 }, /* an account with many keys: three quarters */
        { 2, 1, 0, 340, 344 },   /* two accounts with a key each */
        { 9, 100, 0, 490, 500 },    { 100, 1, 0, 500, 508 },
        { 1, 1, 65536, 127, 129 }, /* large messages: half of the bytes */
        { 1, 50, 65536, 191, 194 },
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t taken = fill(scene, rows[i].accounts, rows[i].keys, rows[i].bytes);
        if (taken < rows[i].least || taken > rows[i].most)
            fail_msg("%zu accounts with %zu keys: %zu", rows[i].accounts, rows[i].keys, taken);
        if (!take_one(scene, "new", "k0", rows[i].bytes))
            fail_msg("%zu accounts with %zu keys: no room for another", rows[i].accounts,
                     rows[i].keys);
        give_all(scene);
    }
}

static void a_key_with_its_share_leaves_room_for_another_key_of_its_account(void **state)
{
    struct scene *scene = *state;

    fill(scene, 1, 1, 0);
    assert_false(take_one(scene, "a0", "k0", 0));
    assert_true(take_one(scene, "a0", "k1", 0));
    assert_true(take_one(scene, "a1", "k0", 0)); /* the same name, another's key */
}

static void those_who_have_enough_are_named(void **state)
{
    struct scene *scene = *state;
    struct queue_pass *passes;
    struct room room = room_of(scene);

    assert_int_equal(share_passes(&scene->delivery, &room, &passes), 0);
    free(passes);
    fill(scene, 1, 1, 0);
    take_one(scene, "a0", "k1", 0);
    take_one(scene, "a1", "k0", 0);
    room = room_of(scene);
    assert_int_equal(share_passes(&scene->delivery, &room, &passes), 1);
    assert_string_equal(passes[0].account, "a0");
    assert_string_equal(passes[0].key, "k0");
    assert_null(passes[0].upstream);
    free(passes);
    room.messages = 10; /* as if others had more: then it is the account, too */
    assert_int_equal(share_passes(&scene->delivery, &room, &passes), 2);
    assert_null(passes[0].key);
    assert_string_equal(passes[0].account, "a0");
    free(passes);
}

static void an_upstream_has_a_share_where_there_is_another(void **state)
{
    struct scene *scene = *state;
    struct berth berth = { .fleet = &scene->fleet, .messages = 448 };
    const struct room little = { 64, BYTES_MAX }, more = { 65, BYTES_MAX }, none = { 0, 0 };

    scene->fleet.count = 1;
    assert_true(berth_has_room(&berth, NULL, &none));
    scene->fleet.count = 2;
    assert_false(berth_has_room(&berth, NULL, &little));
    assert_true(berth_has_room(&berth, NULL, &more));
    scene->fleet.count = 0; /* of nothing, for the end of the test */
}

/* Takes for the first upstream as much as a key may have there; how many. */
static size_t fill_berth(struct scene *scene, struct berth *berth, struct queue_message *message)
{
    struct room room;
    size_t taken = 0;

    while (room = room_of(scene), share_has_room(&scene->delivery, message, &room) &&
                                      berth_has_room_for(&scene->delivery, message, berth, &room)) {
        struct share *share = share_take(&scene->delivery, message, 0);
        berth_take(berth, share, 0);
        scene->taken[scene->count++] = (struct taken){ share, 0 };
        taken++;
    }
    return taken;
}

static void a_slow_upstream_leaves_a_key_room_at_another(void **state)
{
    struct scene *scene = *state;
    struct berth berths[2] = { { .fleet = &scene->fleet }, { .fleet = &scene->fleet } };
    struct queue_message *message = queue_message_new(ident_next());
    struct queue_pass *passes;
    struct room room;

    message->account = xstrdup("a0");
    snprintf(message->key_id, sizeof(message->key_id), "k0");
    scene->fleet.count = 2;
    assert_in_range(fill_berth(scene, &berths[0], message), 170, 172);
    room = room_of(scene);
    assert_false(berth_has_room_for(&scene->delivery, message, &berths[0], &room));
    assert_true(share_has_room(&scene->delivery, message, &room));
    assert_true(berth_has_room_for(&scene->delivery, message, &berths[1], &room));
    assert_in_range(fill_berth(scene, &berths[1], message), 60, 130);
    while (scene->count > 0) {
        struct taken *taken = &scene->taken[--scene->count];
        berth_give(berths[0].messages > 0 ? &berths[0] : &berths[1], taken->share, 0);
        share_give(&scene->delivery, taken->share, 0);
    }
    assert_int_equal(berths[0].messages + berths[1].messages, 0);

    scene->fleet.count = 1; /* there is no other */
    assert_int_equal(fill_berth(scene, &berths[0], message), 256);
    scene->fleet.count = 0;
    room = room_of(scene);
    assert_int_equal(share_passes(&scene->delivery, &room, &passes), 1);
    assert_null(passes[0].upstream);
    free(passes);
    queue_message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whoever_comes_new_finds_room, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(
            a_key_with_its_share_leaves_room_for_another_key_of_its_account, open_scene,
            close_scene),
        cmocka_unit_test_setup_teardown(those_who_have_enough_are_named, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(an_upstream_has_a_share_where_there_is_another, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(a_slow_upstream_leaves_a_key_room_at_another, open_scene,
                                        close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
