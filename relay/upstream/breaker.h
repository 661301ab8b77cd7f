/* breaker.h - is this upstream worth a connection now, and how many at once? (pure; time is an
 * argument, whoever shares it locks) */
#ifndef LATCHPOST_BREAKER_H
#define LATCHPOST_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_options {
    unsigned failures_max; /* in a row: then it rests; 0 is taken as 1 */
    int64_t rest_first_ms, rest_longest_ms, rest_login_ms;
};

struct breaker { /* zeroed, and its options set */
    struct breaker_options options;
    unsigned failures;     /* in a row, while no connection worked */
    bool login_refused;    /* that was one of them */
    unsigned barren;       /* in a row: connections that were ready and broke at once */
    int64_t rest_until_ms; /* monotonic */
    unsigned window;       /* connections at once while it comes back slowly; 0: it is back */
};

/* A connection could not be had, and no other works. */
void breaker_note_unreachable(struct breaker *breaker, int64_t now_ms);
void breaker_note_login_refused(struct breaker *breaker, int64_t now_ms);
/* A connection is ready; true when that is news. */
bool breaker_note_ready(struct breaker *breaker);
/* A message has arrived; `most`: the ceiling on connections. */
void breaker_note_success(struct breaker *breaker, unsigned most);
/* A connection broke after it had been ready. */
void breaker_note_lost(struct breaker *breaker);
/* The same before it had answered anything of a message, and no other works. */
void breaker_note_barren(struct breaker *breaker, int64_t now_ms);
/* Whatever it rests for may have been mended: it may be tried now. */
void breaker_stir(struct breaker *breaker);

bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms);
/* After failures_max failures, until something works. */
bool breaker_is_open(const struct breaker *breaker);
/* How many connections at once, `most` at best. */
unsigned breaker_limit(const struct breaker *breaker, unsigned most);

#endif
