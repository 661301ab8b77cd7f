/* config_value.h - one value of the configuration: text to what it means (pure).
 * Each parser returns false for a text that is not of its type; config.c then names file, line and
 * what is allowed (config_type_hint()). */
#ifndef LATCHPOST_CONFIG_VALUE_H
#define LATCHPOST_CONFIG_VALUE_H

#include "relay/base/slice.h"

enum config_type {
    CONFIG_TEXT,     /* anything without control bytes */
    CONFIG_NAME,     /* a host or domain name */
    CONFIG_BOOL,     /* true, false, yes, no, on, off */
    CONFIG_COUNT,    /* 0 .. 4294967295 */
    CONFIG_PORT,     /* 1 .. 65535 */
    CONFIG_SIZE,     /* bytes; K, M, G are powers of 1024 */
    CONFIG_DURATION, /* s, m, h, d */
    CONFIG_RATE,     /* 20/min, 5/s, 100/h; 0: none */
    CONFIG_TLS,      /* starttls, implicit, none */
    CONFIG_LEVEL,    /* debug, info, warning, error */
    CONFIG_FORM,     /* logfmt, json */
    CONFIG_PREFIX,   /* [a-z0-9_]{1,11}_ */
    CONFIG_ADDRESS,  /* an IP address, or * */
    CONFIG_DOUBT,    /* retry, hold */
    CONFIG_FILE,     /* the path of a file that is read, at a reload again */
    CONFIG_FENCE,    /* auto, required, off */
};

/* Is it of this type? */
bool config_value_check(enum config_type type, struct slice text);
/* What is allowed, for an error: "a duration (30s, 2m, 1h, 4d)". */
const char *config_type_hint(enum config_type type);

bool config_parse_bool(struct slice text, bool *value);
bool config_parse_size(struct slice text, uint64_t *bytes);
bool config_parse_duration(struct slice text, uint64_t *ms);
/* Messages a minute, rounded up to at least 1 unless 0. */
bool config_parse_rate(struct slice text, unsigned *per_minute);
/* An index into the NULL-ended words, or -1. */
int config_parse_word(struct slice text, const char *const *words);

extern const char
    *const config_tls_words[]; /* in the order of enum smtp_tls: none, starttls, implicit */
extern const char *const config_fence_words[]; /* in the order of enum fence_mode */

#endif
