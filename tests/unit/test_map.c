/* test_map.c - a map against the simplest model of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/base/map.h"

static void what_was_put_is_found_replaced_and_removed(void **state)
{
    struct map *map = map_new();
    int one = 1, two = 2;

    (void)state;
    assert_null(map_find(map, SLICE("k")));
    assert_null(map_put(map, SLICE("k"), &one));
    assert_ptr_equal(map_find(map, SLICE("k")), &one);
    assert_ptr_equal(map_put(map, SLICE("k"), &two), &one);
    assert_int_equal(map_count(map), 1);
    assert_ptr_equal(map_remove(map, SLICE("k")), &two);
    assert_null(map_remove(map, SLICE("k")));
    assert_int_equal(map_count(map), 0);
    map_free(map);
    map_free(NULL);
}

static void keys_are_bytes_and_are_copied(void **state)
{
    static const struct slice keys[] = {
        { NULL, 0 }, { "a", 1 },        { "a\0", 2 },       { "a\0b", 3 },
        { "A", 1 },  { "12345678", 8 }, { "123456789", 9 }, { "1234567\0", 8 },
    };
    struct map *map = map_new();
    char mutable[] = "mutable";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (map_put(map, keys[i], (void *)(uintptr_t)&keys[i]) != NULL)
            fail_msg("key %zu is taken for another", i);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (map_find(map, keys[i]) != &keys[i])
            fail_msg("key %zu is not found", i);
    map_put(map, slice_of(mutable), map);
    mutable[0] = 'M';
    assert_null(map_find(map, slice_of(mutable)));
    assert_ptr_equal(map_find(map, SLICE("mutable")), map);
    map_free(map);
}

struct visit {
    size_t count, sum;
};

static void on_visit(void *owner, struct slice key, void *value)
{
    struct visit *visit = owner;

    assert_true(key.len > 0);
    visit->count++;
    visit->sum += *(size_t *)value;
}

/* A fixed sequence of puts and removes over a small set of keys, checked against an array. */
static void many_changes_agree_with_a_model(void **state)
{
    enum { KEYS = 700, ROUNDS = 60000 };
    static size_t numbers[KEYS];
    static bool held[KEYS];
    struct map *map = map_new();
    size_t count = 0, sum = 0;
    uint64_t random = 1;

    (void)state;
    for (size_t round = 0; round < ROUNDS; round++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t k = (size_t)(random >> 33) % KEYS;
        /* Fill for a while, then empty, so that the holes wander. */
        bool put = (random >> 20) % 10 < (round / 10000 % 2 == 0 ? 8u : 2u);
        char key[16];
        snprintf(key, sizeof(key), "key-%zu", k);
        numbers[k] = k;
        void *before =
            put ? map_put(map, slice_of(key), &numbers[k]) : map_remove(map, slice_of(key));
        if ((before != NULL) != held[k])
            fail_msg("round %zu, %s %s: was %s", round, put ? "put" : "remove", key,
                     held[k] ? "held" : "not held");
        held[k] = put;
        if (round % 1000 != 0)
            continue;
        for (size_t i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "key-%zu", i);
            if ((map_find(map, slice_of(key)) != NULL) != held[i])
                fail_msg("round %zu: %s", round, key);
        }
    }
    for (size_t i = 0; i < KEYS; i++)
        if (held[i]) {
            count++;
            sum += i;
        }
    struct visit visit = { 0 };
    map_each(map, on_visit, &visit);
    assert_int_equal(map_count(map), count);
    assert_int_equal(visit.count, count);
    assert_int_equal(visit.sum, sum);
    map_free(map);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_replaced_and_removed),
        cmocka_unit_test(keys_are_bytes_and_are_copied),
        cmocka_unit_test(many_changes_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
