/* test_budget.c - is memory shared out so that everybody finds some? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "relay/base/macros.h"
#include "relay/http/budget.h"

/* One step: somebody asks for so much, or gives it back. */
struct step {
    const char *account;
    size_t held;
    int octets; /* below 0: given back */
    bool want;
};

static void play(const char *what, size_t max, const struct step *steps, size_t count)
{
    struct budget *budget = budget_new(max);
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        const struct step *step = &steps[i];
        struct slice account = slice_of(step->account);
        if (step->octets < 0) {
            budget_give(budget, account, (size_t)-step->octets);
            used -= (size_t)-step->octets;
            continue;
        }
        bool got = budget_take(budget, account, step->held, (size_t)step->octets);
        if (got != step->want)
            fail_msg("%s: step %zu, %s asks for %d: %s", what, i, step->account, step->octets,
                     got ? "gets it" : "is refused");
        used += got ? (size_t)step->octets : 0;
        assert_int_equal(budget_used(budget), used);
    }
    assert_int_equal(used, 0); /* else budget_free() would not do */
    budget_free(budget);
}

static void an_account_leaves_something_for_others(void **state)
{
    static const struct step alone[] = {
        { "a", 0, 40, true },  { "a", 0, 30, true }, { "a", 0, 5, true },
        { "a", 0, 1, false },  { "b", 0, 25, true }, { "c", 0, 1, false },
        { "b", 0, -25, true }, { "a", 0, -5, true }, { "a", 0, -70, true },
    };
    static const struct step beside[] = {
        { "b", 0, 60, true }, { "a", 0, 20, true },  { "a", 0, 10, true },
        { "a", 0, 1, false }, { "c", 0, 10, true },  { "b", 0, -60, true },
        { "a", 0, 15, true }, { "a", 0, -45, true }, { "c", 0, -10, true },
    };

    (void)state;
    play("alone", 100, alone, ARRAY_LEN(alone));
    play("beside others", 100, beside, ARRAY_LEN(beside));
}

static void one_request_is_measured_by_the_whole(void **state)
{
    static const struct step grows[] = {
        { "a", 0, 60, true },   { "a", 60, 20, true },  { "a", 80, 20, true },
        { "a", 100, 1, false }, { "a", 0, -100, true }, { "a", 0, 300, true },
        { "b", 0, 1, false },   { "a", 0, -300, true },
    };
    static const struct step second[] = {
        { "a", 0, 20, true },  { "b", 0, 10, true },   { "a", 0, 30, true },
        { "a", 30, 2, true },  { "a", 30, 20, false }, /* with the other one it would be more than
                                                          three times the rest */
        { "b", 0, -10, true }, { "a", 0, -52, true },
    };

    (void)state;
    play("one that grows", 100, grows, ARRAY_LEN(grows));
    play("a second one", 100, second, ARRAY_LEN(second));
}

static void the_size_may_change_while_it_is_used(void **state)
{
    struct budget *budget = budget_new(100);

    (void)state;
    assert_true(budget_take(budget, SLICE("a"), 0, 90));
    budget_set_max(budget, 50);
    assert_false(budget_take(budget, SLICE("b"), 0, 1));
    assert_false(budget_take(budget, SLICE("b"), 0, SIZE_MAX));
    budget_set_max(budget, 200);
    assert_true(budget_take(budget, SLICE("b"), 0, 1));
    assert_false(budget_take(budget, SLICE("b"), 0, SIZE_MAX));
    budget_give(budget, SLICE("a"), 90);
    budget_give(budget, SLICE("b"), 1);
    budget_free(budget);
    budget_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_leaves_something_for_others),
        cmocka_unit_test(one_request_is_measured_by_the_whole),
        cmocka_unit_test(the_size_may_change_while_it_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
