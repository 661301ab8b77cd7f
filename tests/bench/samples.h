/* samples.h - how long did it take, at the middle and at the end?
 * Every sample is kept, so that percentiles are exact; 8 bytes each. One thread. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    int64_t *values;
    size_t count;
    size_t capacity;
};

void samples_init(struct samples *samples);
void samples_free(struct samples *samples);
void samples_add(struct samples *samples, int64_t value);

/* Sorts; then samples_rank() may be asked. */
void samples_sort(struct samples *samples);
/* The smallest value that `percent` of all do not exceed (nearest rank); 0 when there is none. */
int64_t samples_rank(const struct samples *samples, double percent);

#endif
