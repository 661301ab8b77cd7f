/* request.h - HTTP/1.1 head and body framing (pure): llhttp plus the checks it lacks.
 * Refuses what two readers could frame in two ways: folded fields, two Host or Content-Length
 * fields, Content-Length with Transfer-Encoding, trailers, long chunk extensions, CONNECT and
 * Upgrade, HTTP/0.9 and 1.0 oddities. Everything the handler needs is copied out of the read
 * buffer. */
#ifndef LATCHPOST_REQUEST_H
#define LATCHPOST_REQUEST_H

#include "relay/base/buf.h"

#define REQUEST_HEAD_MAX   (16 * 1024)
#define REQUEST_FIELDS_MAX 100

struct http_request; /* the parser of one connection's requests, one after the other */

struct http_request *http_request_new(size_t body_max);
void http_request_free(struct http_request *request); /* wipes: a head may hold a key */

enum http_request_state {
    REQUEST_MORE,     /* give more bytes */
    REQUEST_COMPLETE, /* head and body are there */
    REQUEST_REFUSED,  /* http_request_status() says 400, 413, 415, 431, 501 ...: answer and close */
};
/* Takes bytes. *used: how many; those behind belong to the next request. */
enum http_request_state http_request_feed(struct http_request *request, struct slice data,
                                          size_t *used);
/* Ready for the next one on the same connection. */
void http_request_reset(struct http_request *request);

int http_request_status(const struct http_request *request);          /* of a refusal */
const char *http_request_problem(const struct http_request *request); /* a phrase for the answer */

/* Of a complete request; borrowed until http_request_reset(). */
struct slice http_request_method(const struct http_request *request);
struct slice http_request_path(const struct http_request *request);  /* as sent, up to '?' */
struct slice http_request_query(const struct http_request *request); /* behind '?', may be empty */
struct slice http_request_body(const struct http_request *request);
struct buf *http_request_content(struct http_request *request); /* holds it; may be moved away */
/* The value of a field (name without case), trimmed; data NULL when absent. A field that is given
 * twice and must not be (Authorization, X-API-Key, Content-Type, Idempotency-Key, Host ...) was
 * refused. */
struct slice http_request_field(const struct http_request *request, struct slice name);
/* The same, not trimmed: all behind the colon but for the one blank that usually follows it. */
struct slice http_request_field_exact(const struct http_request *request, struct slice name);
bool http_request_keeps_alive(const struct http_request *request);

/* At any time: some byte of a request was seen; its head is complete and its body is awaited. */
bool http_request_began(const struct http_request *request);
bool http_request_in_body(const struct http_request *request);
/* While its body is awaited: how long it will be, as far as the head says (0: it does not), and how
 * much is there. */
size_t http_request_body_length(const struct http_request *request);
size_t http_request_body_read(const struct http_request *request);
/* While its body is awaited: it may have so many octets, which are no more than those given at the
 * beginning. False: the head has announced more. */
bool http_request_narrow(struct http_request *request, size_t body_max) MUST_USE;
/* After that: takes at once the memory for what is announced, and not in steps that copy. */
void http_request_make_room(struct http_request *request);
/* True once per request: its head asked for "100 Continue" before it sends the body, and none of
 * the body has come. */
bool http_request_wants_continue(struct http_request *request);

#endif
