/* metrics.h - how often did it happen? Counters that only grow, and gauges.
 * One table (metrics.c) has name, unit, kind and help of each; it is rendered, documented and
 * tested from there. Each thread counts in a slot of its own, summed when read: counting costs one
 * uncontended add. Any thread. */
#ifndef LATCHPOST_METRICS_H
#define LATCHPOST_METRICS_H

#include "relay/base/buf.h"

enum metric {
    METRIC_SESSIONS_ACCEPTED,
    METRIC_SESSIONS_REFUSED,
    METRIC_SESSIONS_OPEN, /* gauge */
    METRIC_TLS_FAILED,
    METRIC_AUTH_ACCEPTED,
    METRIC_AUTH_REFUSED,
    METRIC_SENDER_REFUSED,
    METRIC_MESSAGES_ACCEPTED,
    METRIC_MESSAGES_REFUSED,
    METRIC_BYTES_ACCEPTED,
    METRIC_COMMITS,
    METRIC_COMMIT_FAILURES,
    METRIC_RECIPIENTS_DELIVERED,
    METRIC_RECIPIENTS_DEFERRED,
    METRIC_RECIPIENTS_FAILED,
    METRIC_RECIPIENTS_UNCERTAIN,
    METRIC_BOUNCES,
    METRIC_DELAY_NOTICES,
    METRIC_UPSTREAM_CONNECTIONS,
    METRIC_UPSTREAM_FAILURES,
    METRIC_UPSTREAM_AUTH_REFUSED,
    METRIC_UPSTREAMS_HELD, /* gauge */
    METRIC_COUNT           /* not a metric */
};

void metrics_add(enum metric metric, int64_t amount); /* amount < 0 for gauges only */
int64_t metrics_read(enum metric metric);             /* the sum over all threads, living or gone */

/* A row of the table. */
struct metric_info {
    const char *name; /* as Prometheus knows it */
    const char *unit;
    bool gauge; /* may go down */
    const char *help;
};
const struct metric_info *metrics_info(enum metric metric);

/* Appends all in Prometheus' text format 0.0.4, each with HELP and TYPE. */
bool metrics_render(struct buf *out) MUST_USE;

#endif
