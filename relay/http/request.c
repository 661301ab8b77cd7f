/* request.c - HTTP/1.1 head and body framing (pure): llhttp plus the checks it lacks.
 * Two readers look at every request. Ours goes first and is the stricter one: head.c judges each
 * line of the head as soon as it has ended, chunk.c follows the framing of a chunked body. What
 * passed is given to llhttp, the whole head at once and the body as it comes, and both must agree
 * where the request ends; so no octet of the next request is ever shown to llhttp early, and a
 * mistake in one reader is a refusal and not a smuggled request. The head is kept in one buffer of
 * its own, because what llhttp points at is the caller's read buffer. */
#include "relay/http/request.h"

#include <assert.h>
#include <stdlib.h>

#include <llhttp.h>

#include "relay/base/alloc.h"
#include "relay/http/chunk.h"
#include "relay/http/head.h"

struct span { /* of the head's buffer, which may move while it grows */
    uint16_t at, len;
};
_Static_assert(REQUEST_HEAD_MAX <= UINT16_MAX, "a span counts in 16 bits");

struct field {
    struct span name, raw; /* raw: all behind the colon */
};

enum stage {                 /* and what ends it */
             STAGE_HEAD,     /* the empty line */
             STAGE_BODY,     /* as many octets as the head said, or the last chunk */
             STAGE_COMPLETE, /* http_request_reset() */
             STAGE_REFUSED,  /* nothing */
};

struct http_request {
    llhttp_t parser;
    size_t body_max;
    enum stage stage;
    int status; /* of a refusal */
    const char *problem;

    struct buf head;
    size_t line_start;  /* where the line being collected begins */
    bool skipped_blank; /* the one empty line before a request that RFC 9112 section 2.2 allows */
    bool has_line;      /* the request line is parsed */
    struct span method, target;
    unsigned minor;
    struct field fields[REQUEST_FIELDS_MAX];
    size_t field_count;

    bool chunked;
    bool wants_continue;
    uint64_t body_left; /* when not chunked */
    struct chunk chunk;
    struct buf body;
    bool parser_done; /* llhttp has seen the end, too */
};

/* --- llhttp's side ---------------------------------------------------------------------------- */

static int on_body(llhttp_t *parser, const char *data, size_t len)
{
    struct http_request *request = parser->data;

    return buf_add(&request->body, slice_make(data, len)) ? 0 : -1;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_request *request = parser->data;

    request->parser_done = true;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* --- life ------------------------------------------------------------------------------------- */

struct http_request *http_request_new(size_t body_max)
{
    struct http_request *request = xcalloc(1, sizeof(*request));

    request->body_max = body_max;
    buf_init(&request->head, REQUEST_HEAD_MAX);
    buf_init(&request->body, body_max);
    http_request_reset(request);
    return request;
}

void http_request_free(struct http_request *request)
{
    if (request == NULL)
        return;
    buf_wipe(&request->head);
    buf_wipe(&request->body);
    free(request);
}

void http_request_reset(struct http_request *request)
{
    buf_wipe(&request->head);
    buf_wipe(&request->body);
    request->body.max = request->body_max; /* http_request_narrow(), or a mover, changed it */
    llhttp_init(&request->parser, HTTP_REQUEST, &settings);
    request->parser.data = request;
    request->stage = STAGE_HEAD;
    request->status = 0;
    request->problem = "";
    request->line_start = 0;
    request->skipped_blank = false;
    request->has_line = false;
    request->method = request->target = (struct span){ 0, 0 };
    request->minor = 1;
    request->field_count = 0;
    request->chunked = false;
    request->wants_continue = false;
    request->body_left = 0;
    request->parser_done = false;
    chunk_init(&request->chunk);
}

/* --- the head --------------------------------------------------------------------------------- */

static bool refuse(struct http_request *request, int status, const char *problem)
{
    request->stage = STAGE_REFUSED;
    request->status = status;
    request->problem = problem;
    return false;
}

static struct span span_of(const struct http_request *request, struct slice part)
{
    return (struct span){ (uint16_t)(part.data - buf_slice(&request->head).data),
                          (uint16_t)part.len };
}

static struct slice span_text(const struct http_request *request, struct span span)
{
    return slice_first(slice_from(buf_slice(&request->head), span.at), span.len);
}

static struct slice raw_field(const struct http_request *request, struct slice name)
{
    for (size_t i = 0; i < request->field_count; i++)
        if (slice_equal_nocase(span_text(request, request->fields[i].name), name))
            return span_text(request, request->fields[i].raw);
    return slice_make(NULL, 0);
}

static bool take_line(struct http_request *request, struct slice text)
{
    struct head_line line;
    struct head_refusal refusal = head_parse_line(text, &line);

    if (refusal.status != 0)
        return refuse(request, refusal.status, refusal.problem);
    request->has_line = true;
    request->method = span_of(request, line.method);
    request->target = span_of(request, line.target);
    request->minor = line.minor;
    return true;
}

static bool take_field(struct http_request *request, struct slice text)
{
    struct slice name, raw;
    struct head_refusal refusal = head_parse_field(text, &name, &raw);

    if (refusal.status != 0)
        return refuse(request, refusal.status, refusal.problem);
    if (request->field_count == REQUEST_FIELDS_MAX)
        return refuse(request, 431, "the head has too many fields");
    if (head_is_single(name) && raw_field(request, name).data != NULL)
        return refuse(request, 400, "a field that may stand once is given twice");
    request->fields[request->field_count++] =
        (struct field){ span_of(request, name), span_of(request, raw) };
    return true;
}

static bool check_host(struct http_request *request)
{
    struct slice host = http_request_field(request, SLICE("Host"));

    if (host.data == NULL)
        return request->minor == 0 || refuse(request, 400, "the Host field is missing");
    for (size_t i = 0; i < host.len; i++)
        if (!ascii_is_alnum(host.data[i]) && strchr(".-_:[]", host.data[i]) == NULL)
            return refuse(request, 400, "the Host field is not readable");
    return true;
}

/* Where the body will end, or why nobody can say. */
static bool check_framing(struct http_request *request)
{
    struct slice length = raw_field(request, SLICE("Content-Length"));
    struct slice coding = http_request_field(request, SLICE("Transfer-Encoding"));

    if (coding.data != NULL && (length.data != NULL || request->minor == 0))
        return refuse(request, 400, "Transfer-Encoding cannot stand here");
    if (coding.data != NULL && !slice_equal_nocase(coding, SLICE("chunked")))
        return refuse(request, 400, "the only transfer coding is chunked");
    request->chunked = coding.data != NULL;
    if (length.data != NULL && !head_parse_length(length, &request->body_left))
        return refuse(request, 400, "the Content-Length is not a number");
    if (request->body_left > request->body_max)
        return refuse(request, 413, "the body is larger than is allowed");
    return true;
}

static bool check_expectations(struct http_request *request)
{
    struct slice coding = http_request_field(request, SLICE("Content-Encoding"));
    struct slice expect = http_request_field(request, SLICE("Expect"));

    if (http_request_field(request, SLICE("Upgrade")).data != NULL)
        return refuse(request, 400, "no other protocol is spoken here");
    if (coding.data != NULL && !slice_equal_nocase(coding, SLICE("identity")))
        return refuse(request, 415, "the body must come without a content coding");
    if (expect.data != NULL && !slice_equal_nocase(expect, SLICE("100-continue")))
        return refuse(request, 417, "the only expectation that can be met is 100-continue");
    /* A client of HTTP/1.0 would take the interim answer for the answer. */
    request->wants_continue = expect.data != NULL && request->minor == 1;
    return true;
}

/* What llhttp says to a head that passed our own checks. */
static bool ask_parser(struct http_request *request)
{
    struct slice head = buf_slice(&request->head);
    llhttp_errno_t error = llhttp_execute(&request->parser, head.data, head.len);

    if (error == HPE_INVALID_METHOD)
        return refuse(request, 501, "the method is not known");
    if (error != HPE_OK)
        return refuse(request, 400, "the head is not well-formed");
    return true;
}

static bool end_head(struct http_request *request)
{
    if (!check_host(request) || !check_framing(request) || !check_expectations(request) ||
        !ask_parser(request))
        return false;
    bool has_body = request->chunked || request->body_left > 0;
    if (has_body == request->parser_done)
        return refuse(request, 400, "the length of the body is not clear");
    request->stage = has_body ? STAGE_BODY : STAGE_COMPLETE;
    return true;
}

/* The head's buffer ends with a line feed. */
static bool end_line(struct http_request *request)
{
    struct slice line = slice_from(buf_slice(&request->head), request->line_start);

    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return refuse(request, 400, "a line does not end with CR LF");
    struct slice text = slice_first(line, line.len - 2);
    if (text.len == 0 && !request->has_line) {
        if (request->skipped_blank)
            return refuse(request, 400, "the request line is empty");
        request->skipped_blank = true;
        buf_clear(&request->head);
        return true;
    }
    request->line_start += line.len;
    if (!request->has_line)
        return take_line(request, text);
    return text.len == 0 ? end_head(request) : take_field(request, text);
}

static void take_head(struct http_request *request, struct slice data, size_t *used)
{
    while (request->stage == STAGE_HEAD && *used < data.len) {
        struct slice rest = slice_from(data, *used);
        size_t feed = slice_find(rest, '\n');
        struct slice piece = feed == SLICE_NONE ? rest : slice_first(rest, feed + 1);
        if (!buf_add(&request->head, piece)) {
            refuse(request, 431, "the head is larger than is allowed");
            return;
        }
        *used += piece.len;
        if (feed != SLICE_NONE)
            end_line(request);
    }
}

/* --- the body --------------------------------------------------------------------------------- */

/* What our own reader makes of these octets: how many belong to the body, and whether it ends
 * there. False when they are wrong; *len then counts the first wrong one in. */
static bool measure_body(struct http_request *request, struct slice data, size_t *len, bool *ended)
{
    if (request->chunked) {
        enum chunk_verdict verdict = chunk_follow(&request->chunk, data, len);
        *ended = verdict == CHUNK_END;
        return verdict != CHUNK_BAD;
    }
    *len = request->body_left < data.len ? (size_t)request->body_left : data.len;
    request->body_left -= *len;
    *ended = request->body_left == 0;
    return true;
}

/* llhttp is shown what our reader found wrong, too, so that what came before it counts first: the
 * same octets get the same answer however they were cut. */
static void take_body(struct http_request *request, struct slice data, size_t *used)
{
    size_t len;
    bool ended;

    if (data.len == 0)
        return;
    request->wants_continue = false;
    bool ok = measure_body(request, data, &len, &ended);
    *used += len;
    llhttp_errno_t error = llhttp_execute(&request->parser, data.data, len);
    if (error == HPE_USER)
        refuse(request, 413, "the body is larger than is allowed");
    else if (!ok || error != HPE_OK || ended != request->parser_done)
        refuse(request, 400, "the body is not well-formed");
    else if (ended)
        request->stage = STAGE_COMPLETE;
}

enum http_request_state http_request_feed(struct http_request *request, struct slice data,
                                          size_t *used)
{
    *used = 0;
    if (request->stage == STAGE_HEAD)
        take_head(request, data, used);
    if (request->stage == STAGE_BODY)
        take_body(request, slice_from(data, *used), used);
    switch (request->stage) {
    case STAGE_COMPLETE:
        return REQUEST_COMPLETE;
    case STAGE_REFUSED:
        return REQUEST_REFUSED;
    case STAGE_HEAD:
    case STAGE_BODY:
        break;
    }
    return REQUEST_MORE;
}

/* --- what it says ----------------------------------------------------------------------------- */

int http_request_status(const struct http_request *request)
{
    return request->status;
}

const char *http_request_problem(const struct http_request *request)
{
    return request->problem;
}

struct slice http_request_method(const struct http_request *request)
{
    return span_text(request, request->method);
}

struct slice http_request_path(const struct http_request *request)
{
    struct slice rest = span_text(request, request->target);

    return slice_cut(&rest, '?');
}

struct slice http_request_query(const struct http_request *request)
{
    struct slice rest = span_text(request, request->target);

    slice_cut(&rest, '?');
    return rest;
}

struct slice http_request_body(const struct http_request *request)
{
    return buf_slice(&request->body);
}

struct buf *http_request_content(struct http_request *request)
{
    return &request->body;
}

struct slice http_request_field(const struct http_request *request, struct slice name)
{
    struct slice raw = raw_field(request, name);

    return raw.data == NULL ? raw : slice_trim(raw);
}

struct slice http_request_field_exact(const struct http_request *request, struct slice name)
{
    struct slice raw = raw_field(request, name);

    return slice_from(raw, slice_starts_nocase(raw, SLICE(" ")) ? 1 : 0);
}

bool http_request_keeps_alive(const struct http_request *request)
{
    for (size_t i = 0; i < request->field_count; i++)
        if (slice_equal_nocase(span_text(request, request->fields[i].name), SLICE("Connection")) &&
            head_lists(span_text(request, request->fields[i].raw), SLICE("close")))
            return false;
    return request->minor == 1;
}

bool http_request_began(const struct http_request *request)
{
    return buf_len(&request->head) > 0 || request->stage != STAGE_HEAD;
}

bool http_request_in_body(const struct http_request *request)
{
    return request->stage == STAGE_BODY;
}

bool http_request_wants_continue(struct http_request *request)
{
    bool wants = request->wants_continue && request->stage == STAGE_BODY;

    request->wants_continue = wants ? false : request->wants_continue;
    return wants;
}

size_t http_request_body_length(const struct http_request *request)
{
    return request->chunked ? 0 : buf_len(&request->body) + (size_t)request->body_left;
}

size_t http_request_body_read(const struct http_request *request)
{
    return buf_len(&request->body);
}

bool http_request_narrow(struct http_request *request, size_t body_max)
{
    assert(request->stage == STAGE_BODY && body_max <= request->body_max);
    request->body.max = body_max;
    return http_request_body_length(request) <= body_max && buf_len(&request->body) <= body_max;
}

void http_request_make_room(struct http_request *request)
{
    bool fits = request->chunked || buf_reserve(&request->body, (size_t)request->body_left) != NULL;

    assert(fits); /* http_request_narrow() has said so */
    (void)fits;
}
