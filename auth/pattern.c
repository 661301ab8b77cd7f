/* pattern.c - which domains does a pattern cover? (pure)
 * A pattern is a domain, or "*." and a domain, in its one spelling (lower-case A-labels), so bytes
 * are compared. A set is searched in the logarithm of its size for each label of the name: an
 * account with thousands of domains costs a sender check no more than one with ten. */
#include "auth/auth_priv.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

struct pattern_set {
    atomic_uint refs;
    size_t count;
    char *patterns[]; /* sorted by compare_bytes() */
};

static bool is_wildcard(struct slice pattern)
{
    return pattern.len > 2 && pattern.data[0] == '*' && pattern.data[1] == '.';
}

static bool ends_with(struct slice name, struct slice end)
{
    return name.len > end.len && memcmp(name.data + name.len - end.len, end.data, end.len) == 0;
}

/* A wildcard's name ends like the names below it, so "*.b" covers "*.a.b" by the same rule. */
bool pattern_covers(struct slice pattern, struct slice name)
{
    if (is_wildcard(pattern))
        return ends_with(name, slice_from(pattern, 1));
    return name.len > 0 && slice_equal(pattern, name);
}

static bool is_label(struct slice label)
{
    if (label.len == 0 || label.len > 63)
        return false;
    for (size_t i = 0; i < label.len; i++) {
        char c = label.data[i];
        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

bool pattern_is_valid(struct slice pattern)
{
    struct slice rest = is_wildcard(pattern) ? slice_from(pattern, 2) : pattern;

    if (pattern.len > PATTERN_MAX)
        return false;
    do {
        if (!is_label(slice_cut(&rest, '.')))
            return false;
    } while (rest.data != NULL);
    return true;
}

static int compare_bytes(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);

    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int compare_items(const void *a, const void *b)
{
    return compare_bytes(slice_of(*(char *const *)a), slice_of(*(char *const *)b));
}

struct pattern_set *pattern_set_new(const char *const *patterns, size_t count)
{
    struct pattern_set *set = xmalloc(sizeof(*set) + count * sizeof(set->patterns[0]));

    atomic_init(&set->refs, 1);
    set->count = count;
    for (size_t i = 0; i < count; i++)
        set->patterns[i] = xstrdup(patterns[i]);
    qsort(set->patterns, count, sizeof(set->patterns[0]), compare_items);
    return set;
}

struct pattern_set *pattern_set_ref(struct pattern_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void pattern_set_unref(struct pattern_set *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < set->count; i++)
        free(set->patterns[i]);
    free(set);
}

static bool set_has(const struct pattern_set *set, struct slice pattern)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_bytes(pattern, slice_of(set->patterns[middle]));
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* The name itself, or "*" and what stands from one of its dots on; a leading dot has nothing for
 * the star to stand for. */
bool pattern_set_covers(const struct pattern_set *set, struct slice name)
{
    char wildcard[1 + PATTERN_MAX];

    if (name.len == 0 || name.len > PATTERN_MAX)
        return false;
    if (set_has(set, name))
        return true;
    for (size_t i = 1; i < name.len; i++) {
        if (name.data[i] != '.')
            continue;
        wildcard[0] = '*';
        memcpy(wildcard + 1, name.data + i, name.len - i);
        if (set_has(set, slice_make(wildcard, 1 + name.len - i)))
            return true;
    }
    return false;
}
