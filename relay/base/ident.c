/* ident.c - the names of messages and sessions.
 * Both kinds come from a number that only grows: the larger of "the last one and one" and "the time
 * now, shifted". A clock that stands still or goes back, or more names in a millisecond than there
 * are sequence numbers, only makes the number run ahead of the clock for a while. Lock-free. */
#include "relay/base/ident.h"

#include <stdatomic.h>

#include "relay/base/clock.h"

#define EPOCH_MS      INT64_C(1577836800000) /* 2020-01-01T00:00:00Z */
#define SEQUENCE_BITS 22
/* Times after this one (in 2089) count as this one, which leaves 2^42 ids that can still grow. */
#define LAST_MS ((INT64_C(1) << 41) - (INT64_C(1) << 20))

/* A session's number has fewer sequence bits, to be short: 41 + 4 bits are nine characters. */
#define SESSION_SEQUENCE_BITS 4

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

static _Atomic int64_t last_id;
static _Atomic int64_t last_session;

/* Milliseconds since our epoch, of a clock that may say anything. */
static int64_t clamp_ms(int64_t wall_ms)
{
    if (wall_ms <= EPOCH_MS)
        return 0;
    return wall_ms > EPOCH_MS + LAST_MS ? LAST_MS : wall_ms - EPOCH_MS;
}

static int64_t advance(_Atomic int64_t *last, int64_t at_least)
{
    int64_t seen = atomic_load_explicit(last, memory_order_relaxed);
    int64_t next;

    do {
        next = seen < at_least ? at_least : seen + 1;
    } while (!atomic_compare_exchange_weak_explicit(last, &seen, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

int64_t ident_next(void)
{
    return advance(&last_id, clamp_ms(clock_wall_ms()) << SEQUENCE_BITS);
}

int64_t ident_last(void)
{
    return atomic_load_explicit(&last_id, memory_order_relaxed);
}

/* The floor comes from a file. One near the end of the range would leave nothing larger to give
 * out; it is cut, and the primary key of the queue refuses what may then be used twice. */
void ident_raise_floor(int64_t floor)
{
    int64_t seen = atomic_load_explicit(&last_id, memory_order_relaxed);

    if (floor > LAST_MS << SEQUENCE_BITS)
        floor = LAST_MS << SEQUENCE_BITS;
    while (seen < floor)
        if (atomic_compare_exchange_weak_explicit(&last_id, &seen, floor, memory_order_relaxed,
                                                  memory_order_relaxed))
            return;
}

int64_t ident_time_ms(int64_t id)
{
    return (id >> SEQUENCE_BITS) + EPOCH_MS;
}

int64_t ident_at_time_ms(int64_t wall_ms)
{
    return clamp_ms(wall_ms) << SEQUENCE_BITS;
}

static void write_base32(uint64_t value, char *text, size_t width)
{
    text[width] = '\0';
    while (width > 0) {
        text[--width] = digits[value % 32];
        value /= 32;
    }
}

void ident_format(int64_t id, char text[static IDENT_TEXT_BYTES])
{
    write_base32((uint64_t)id, text, IDENT_TEXT_BYTES - 1);
}

bool ident_parse(struct slice text, int64_t *id)
{
    uint64_t value = 0;

    if (text.len != IDENT_TEXT_BYTES - 1)
        return false;
    if (text.data[0] > '7') /* thirteen digits are 65 bits; an id has 63 */
        return false;
    for (size_t i = 0; i < text.len; i++) {
        size_t digit = slice_find(SLICE(digits), ascii_lower(text.data[i]));
        if (digit == SLICE_NONE)
            return false;
        value = value << 5 | digit;
    }
    if (value == 0)
        return false;
    *id = (int64_t)value;
    return true;
}

void ident_session(char text[static IDENT_SESSION_BYTES])
{
    int64_t number = advance(&last_session, clamp_ms(clock_wall_ms()) << SESSION_SEQUENCE_BITS);

    write_base32((uint64_t)number, text, IDENT_SESSION_BYTES - 1);
}
