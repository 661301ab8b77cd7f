/* samples.c - how long did it take, at the middle and at the end? */
#include "tests/bench/samples.h"

#include <stdlib.h>

#include "relay/base/alloc.h"

#define FIRST_CAPACITY 65536

void samples_init(struct samples *samples)
{
    *samples = (struct samples){ 0 };
}

void samples_free(struct samples *samples)
{
    free(samples->values);
    samples_init(samples);
}

void samples_add(struct samples *samples, int64_t value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? FIRST_CAPACITY : samples->capacity * 2;
        samples->values = xrealloc(samples->values, samples->capacity * sizeof(samples->values[0]));
    }
    samples->values[samples->count++] = value;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return (a > b) - (a < b);
}

void samples_sort(struct samples *samples)
{
    if (samples->count > 0)
        qsort(samples->values, samples->count, sizeof(samples->values[0]), compare);
}

int64_t samples_rank(const struct samples *samples, double percent)
{
    if (samples->count == 0)
        return 0;
    double rank = (double)samples->count * percent / 100;
    size_t index = (size_t)rank;
    if ((double)index == rank && index > 0)
        index--;
    return samples->values[index < samples->count ? index : samples->count - 1];
}
