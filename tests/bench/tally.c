/* tally.c - which messages of this run have arrived, and how often? */
#include "tests/bench/tally.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"

#define FIRST_BITS (UINT64_C(1) << 20)

void tally_init(struct tally *tally)
{
    *tally = (struct tally){ 0 };
}

void tally_free(struct tally *tally)
{
    free(tally->bits);
    tally_init(tally);
}

void tally_clear(struct tally *tally)
{
    uint64_t *bits = tally->bits;
    uint64_t bit_count = tally->bit_count;

    if (bits != NULL)
        memset(bits, 0, bit_count / 8);
    *tally = (struct tally){ .bits = bits, .bit_count = bit_count };
}

static void make_room(struct tally *tally, uint64_t id)
{
    uint64_t count = tally->bit_count == 0 ? FIRST_BITS : tally->bit_count;

    while (count <= id)
        count *= 2;
    if (count == tally->bit_count)
        return;
    tally->bits = xrealloc(tally->bits, count / 8);
    memset(tally->bits + tally->bit_count / 64, 0, (count - tally->bit_count) / 8);
    tally->bit_count = count;
}

bool tally_add(struct tally *tally, uint64_t id, int64_t now_ns)
{
    if (id >= TALLY_ID_MAX)
        return false;
    make_room(tally, id);
    uint64_t *word = &tally->bits[id / 64], bit = UINT64_C(1) << id % 64;
    tally->received++;
    if (*word & bit) {
        tally->duplicates++;
        return true;
    }
    *word |= bit;
    tally->unique++;
    if (tally->first_ns == 0)
        tally->first_ns = now_ns;
    tally->last_ns = now_ns;
    return true;
}

uint64_t tally_missing(const struct tally *tally, uint64_t count)
{
    uint64_t missing = 0;

    for (uint64_t id = 0; id < count; id++)
        if (id >= tally->bit_count || !(tally->bits[id / 64] >> id % 64 & 1))
            missing++;
    return missing;
}
