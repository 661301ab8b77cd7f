/* sasl.h - PLAIN and LOGIN exchanges to one secret (pure; RFC 4616, and LOGIN as clients speak it).
 * Wipes behind itself. The user name is for the log only. */
#ifndef LATCHPOST_SASL_H
#define LATCHPOST_SASL_H

#include "relay/base/buf.h"

#define SASL_LINE_MAX 12288 /* RFC 4954 section 4: longest response in base64, without CRLF */

struct sasl {        /* one exchange; zeroed is valid and idle */
    int step;        /* private */
    struct buf user; /* at most 255 bytes are kept */
    struct buf secret;
};

enum sasl_result {
    SASL_CHALLENGE, /* say 334 and *challenge (base64 text, static), read one more line */
    SASL_DONE,      /* sasl->user and sasl->secret are there */
    SASL_CANCELLED, /* the client sent "*": 501 5.7.0, no failure */
    SASL_BAD,       /* not base64, wrong number of NULs ...: 501 5.5.2, counts as a failure */
    SASL_IDENTITY,  /* an authzid that differs from the authcid: 535 5.7.8 */
    SASL_UNKNOWN_MECHANISM, /* 504 5.5.4 */
};
enum sasl_result sasl_start(struct sasl *sasl, struct slice mechanism, bool has_initial,
                            struct slice initial, const char **challenge);
enum sasl_result sasl_next(struct sasl *sasl, struct slice line, const char **challenge);
/* Wipes everything; the struct is idle again. */
void sasl_reset(struct sasl *sasl);

#endif
