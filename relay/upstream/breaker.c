/* breaker.c - is this upstream worth a connection now, and how many at once? (pure)
 * Enough failures in a row, and it rests: for rest_first, then twice as long with each further
 * failure, up to rest_longest. After each rest one connection tries it. When that works, the
 * connections come back one by one: each message that arrives makes room for one more, which
 * doubles them with each round, so an upstream that has just been started is not met by all that
 * has waited for it. What counts is messages, because a service that greets everybody may still not
 * be able to work: where connections break before anything of a message was answered, it rests in
 * the same way. */
#include "relay/upstream/breaker.h"

#include <limits.h>

static unsigned failures_max(const struct breaker *breaker)
{
    return breaker->options.failures_max > 0 ? breaker->options.failures_max : 1;
}

static int64_t rest_ms(const struct breaker *breaker)
{
    int64_t longest_ms = breaker->options.rest_longest_ms;
    int64_t for_ms = breaker->options.rest_first_ms;

    for (unsigned i = failures_max(breaker); i < breaker->failures && for_ms < longest_ms; i++)
        for_ms *= 2;
    return for_ms < longest_ms ? for_ms : longest_ms;
}

static void rest_if_open(struct breaker *breaker, int64_t now_ms)
{
    if (breaker_is_open(breaker)) {
        breaker->rest_until_ms = now_ms + rest_ms(breaker);
        breaker->window = 1;
    }
}

void breaker_note_unreachable(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->failures < UINT_MAX)
        breaker->failures++;
    rest_if_open(breaker, now_ms);
}

void breaker_note_login_refused(struct breaker *breaker, int64_t now_ms)
{
    breaker->login_refused = true;
    if (breaker->failures < failures_max(breaker))
        breaker->failures = failures_max(breaker);
    breaker->rest_until_ms = now_ms + breaker->options.rest_login_ms;
    breaker->window = 1;
}

bool breaker_note_ready(struct breaker *breaker)
{
    bool was_down = breaker->failures > 0;

    breaker->failures = 0;
    breaker->login_refused = false;
    breaker->rest_until_ms = 0; /* another connection, opened before it, has failed meanwhile */
    return was_down;
}

void breaker_note_success(struct breaker *breaker, unsigned most)
{
    breaker->barren = 0;
    if (breaker->window > 0 && ++breaker->window >= most)
        breaker->window = 0;
}

void breaker_note_lost(struct breaker *breaker)
{
    if (breaker->window > 0)
        breaker->window = 1;
}

/* Being ready ends the failures, so these are counted apart, until a message arrives. */
void breaker_note_barren(struct breaker *breaker, int64_t now_ms)
{
    breaker_note_lost(breaker);
    if (breaker->barren < UINT_MAX)
        breaker->barren++;
    if (breaker->barren < failures_max(breaker))
        return;
    if (breaker->failures < breaker->barren)
        breaker->failures = breaker->barren;
    rest_if_open(breaker, now_ms);
}

void breaker_stir(struct breaker *breaker)
{
    breaker->rest_until_ms = 0;
}

bool breaker_is_resting(const struct breaker *breaker, int64_t now_ms)
{
    return now_ms < breaker->rest_until_ms;
}

bool breaker_is_open(const struct breaker *breaker)
{
    return breaker->failures >= failures_max(breaker);
}

unsigned breaker_limit(const struct breaker *breaker, unsigned most)
{
    unsigned limit = most > 0 ? most : 1;

    if (breaker->window > 0 && breaker->window < limit)
        limit = breaker->window;
    return breaker->failures > 0 ? 1 : limit;
}
