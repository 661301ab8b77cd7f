/* tally.h - which messages of this run have arrived, and how often?
 * One bit an id; ids of a run begin at 0, so the bits are dense. One thread. */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#define TALLY_ID_MAX (UINT64_C(1) << 32) /* 512 MiB of bits */

struct tally {
    uint64_t received;   /* all that follow but foreign ones */
    uint64_t unique;     /* whole, and the first with its id */
    uint64_t duplicates; /* whole, but seen before */
    uint64_t corrupt;    /* no mark, a wrong hash, a bare line end, or somebody else's recipient */
    uint64_t foreign;    /* of another run: late ones of the run before */
    int64_t first_ns;    /* when the first and the last unique one came; CLOCK_MONOTONIC, 0: none */
    int64_t last_ns;
    uint64_t *bits;
    uint64_t bit_count;
};

void tally_init(struct tally *tally);
void tally_free(struct tally *tally);
void tally_clear(struct tally *tally); /* a new run; memory is kept */

/* A whole message with this id, at this time. False: the id is larger than any may be. */
bool tally_add(struct tally *tally, uint64_t id, int64_t now_ns);
/* How many of the ids 0 to `count` - 1 have not come. */
uint64_t tally_missing(const struct tally *tally, uint64_t count);

#endif
