/* response.h - how does an answer look on the wire? Seen by relay/http/ only. */
#ifndef LATCHPOST_RESPONSE_H
#define LATCHPOST_RESPONSE_H

#include "relay/http/endpoints.h"

#define RESPONSE_HEAD_MAX 2048

struct response_traits {
    bool tls;    /* came by it: say that it should stay so */
    bool closes; /* no other answer follows on this connection */
};
/* Appends status line, fields and the empty line; answer->body follows as it is. */
bool response_format_head(const struct api_answer *answer, const struct response_traits *traits,
                          struct buf *out) MUST_USE;

/* The code in the body of an error that comes before any endpoint. Never NULL. */
const char *response_code(int status);

#endif
