/* test_turns.c - does each account get its turn, and each key in its account's? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "relay/base/macros.h"
#include "relay/base/turns.h"

struct waiter {
    struct list node;
    char name[4]; /* account, key, number within it: "A1c" */
};

#define WAITERS_MAX 32

struct scene {
    struct turns *turns;
    struct waiter waiters[WAITERS_MAX];
    size_t count;
};

static struct waiter *new_waiter(struct scene *scene, const char *name)
{
    struct waiter *waiter = &scene->waiters[scene->count++];

    list_init(&waiter->node);
    snprintf(waiter->name, sizeof(waiter->name), "%s", name);
    return waiter;
}

static void add(struct scene *scene, struct waiter *waiter)
{
    turns_add(scene->turns, &waiter->node, slice_make(waiter->name, 1),
              slice_make(waiter->name + 1, 1));
}

/* A list of names that come, parted by blanks; "<" before one: as the first of all; "-" takes one,
 * which is written to `taken`. */
static void play(struct scene *scene, const char *script, char taken[static 128])
{
    size_t len = 0;

    taken[0] = '\0';
    for (const char *at = script; *at != '\0'; at++) {
        char name[4] = "";

        if (*at == ' ')
            continue;
        if (*at == '-') {
            struct list *first = turns_first(scene->turns);
            struct list *node = turns_take(scene->turns);
            assert_ptr_equal(first, node);
            len += (size_t)snprintf(taken + len, 128 - len, "%s ",
                                    node == NULL ? "none"
                                                 : list_entry(node, struct waiter, node)->name);
            continue;
        }
        bool first = *at == '<';
        at += first;
        snprintf(name, sizeof(name), "%s", at);
        at += 2;
        struct waiter *waiter = new_waiter(scene, name);
        if (first)
            turns_add_first(scene->turns, &waiter->node, slice_make(name, 1),
                            slice_make(name + 1, 1));
        else
            add(scene, waiter);
    }
}

static void accounts_take_turns_and_keys_within_them(void **state)
{
    static const struct {
        const char *script, *want;
    } rows[] = {
        { "-", "none " },
        { "A1a A1b A1c ---- ", "A1a A1b A1c none " },
        { "A1a A1b A1c B1a B1b -----", "A1a B1a A1b B1b A1c " },
        /* Whoever comes late is next but one, whatever the backlog of the other. */
        { "A1a A1b A1c A1d - B1a -- B1b -- -", "A1a A1b B1a A1c B1b A1d " },
        /* The keys of an account share its turns. */
        { "A1a A1b A1c A2a A2b B1a B1b B1c B1d ---------", "A1a B1a A2a B1b A1b B1c A2b B1d A1c " },
        /* One and the same name of a key in two accounts is two keys. */
        { "A1a B1a A1b B1b ----", "A1a B1a A1b B1b " },
        /* What comes back is the next of all. */
        { "A1a A1b B1a -- <A1x ---", "A1a B1a A1x A1b none " },
        { "A1a B1a B1b <B2x ----", "B2x A1a B1a B1b " },
        { "<A1a - <A1b -", "A1a A1b " },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene = { .turns = turns_new() };
        char taken[128];

        play(&scene, rows[i].script, taken);
        if (strcmp(taken, rows[i].want) != 0)
            fail_msg("%s: got %s, want %s", rows[i].script, taken, rows[i].want);
        turns_free(scene.turns);
    }
    turns_free(NULL);
}

static void all_that_wait_are_counted_and_let_go(void **state)
{
    struct scene scene = { .turns = turns_new() };
    char taken[128];

    (void)state;
    assert_int_equal(turns_count(scene.turns), 0);
    play(&scene, "A1a A2a B1a -", taken);
    assert_int_equal(turns_count(scene.turns), 2);
    turns_clear(scene.turns);
    assert_int_equal(turns_count(scene.turns), 0);
    assert_null(turns_first(scene.turns));
    for (size_t i = 0; i < scene.count; i++)
        assert_true(list_is_empty(&scene.waiters[i].node));
    play(&scene, "A3a B2a", taken); /* and is as good as new */
    assert_int_equal(turns_count(scene.turns), 2);
    turns_free(scene.turns);
    for (size_t i = 0; i < scene.count; i++)
        assert_true(list_is_empty(&scene.waiters[i].node));
}

/* Names are bytes of any length; very long ones of keys may share their turns, no more. */
static void names_are_bytes(void **state)
{
    static const char longer[300] = "x";
    static const struct slice names[] = { { NULL, 0 }, { "\0", 1 }, { longer, sizeof(longer) } };
    struct turns *turns = turns_new();
    struct waiter waiters[ARRAY_LEN(names) * ARRAY_LEN(names)];
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            list_init(&waiters[count].node);
            turns_add(turns, &waiters[count++].node, names[i], names[j]);
        }
    for (size_t i = 0; i < count; i++) /* each account by turns, and of each its keys by turns */
        assert_ptr_equal(turns_take(turns), &waiters[i % 3 * 3 + i / 3].node);
    assert_null(turns_take(turns));
    turns_free(turns);
}

/* Of 3,000 accounts the first has as many jobs as all others: whoever has one gets it in the first
 * round. */
static void one_of_thousands_waits_for_one_round_at_most(void **state)
{
    enum { ACCOUNTS = 3000 };
    static struct waiter waiters[2 * ACCOUNTS];
    struct turns *turns = turns_new();
    char name[16];

    (void)state;
    for (size_t i = 0; i < 2 * ACCOUNTS; i++) {
        list_init(&waiters[i].node);
        snprintf(name, sizeof(name), "a%zu", i < ACCOUNTS ? 0 : i - ACCOUNTS);
        turns_add(turns, &waiters[i].node, slice_of(name), SLICE("k"));
    }
    for (size_t i = 0; i < ACCOUNTS; i++) {
        struct list *node = turns_take(turns);
        struct waiter *want = i == 0 ? &waiters[0] : &waiters[ACCOUNTS + i];
        if (node != &want->node)
            fail_msg("turn %zu is another's", i);
    }
    assert_int_equal(turns_count(turns), ACCOUNTS);
    turns_free(turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_take_turns_and_keys_within_them),
        cmocka_unit_test(all_that_wait_are_counted_and_let_go),
        cmocka_unit_test(names_are_bytes),
        cmocka_unit_test(one_of_thousands_waits_for_one_round_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
