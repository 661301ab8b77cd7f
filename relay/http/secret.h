/* secret.h - which key does a request carry? (pure) Seen by relay/http/ only. */
#ifndef LATCHPOST_SECRET_H
#define LATCHPOST_SECRET_H

#include "relay/http/request.h"

enum secret_verdict {
    SECRET_NONE,
    SECRET_GIVEN,
    SECRET_UNREADABLE, /* a field that should hold one holds something else */
    SECRET_AMBIGUOUS,  /* Authorization and X-API-Key hold different ones */
};
/* On SECRET_GIVEN *secret borrows from the request until its reset; else it is untouched. */
enum secret_verdict secret_find(const struct http_request *request, struct slice *secret);

#endif
