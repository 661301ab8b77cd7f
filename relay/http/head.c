/* head.c - is this line of a request head read the same by everyone? (pure)
 * RFC 9112 sections 2.2, 3 and 5, without the liberties they give to the reader: no folded lines,
 * no blank before a colon, no control octet anywhere. Only the origin form of a target is taken; we
 * are nobody's proxy. */
#include "relay/http/head.h"

#include <string.h>

#include "relay/base/macros.h"

#define METHOD_MAX 32

static const struct head_refusal fine = { 0, NULL };

static struct head_refusal refusal(int status, const char *problem)
{
    return (struct head_refusal){ status, problem };
}

/* tchar of RFC 9110 section 5.6.2. */
static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!ascii_is_alnum(text.data[i]) &&
            (text.data[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text.data[i]) == NULL))
            return false;
    return text.len > 0;
}

static bool is_target(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 127 || text.data[i] == '#')
            return false;
    return text.len > 0 && text.data[0] == '/';
}

static struct head_refusal parse_version(struct slice version, unsigned *minor)
{
    if (slice_equal(version, SLICE("HTTP/1.1")))
        *minor = 1;
    else if (slice_equal(version, SLICE("HTTP/1.0")))
        *minor = 0;
    else if (version.len == 8 && memcmp(version.data, "HTTP/", 5) == 0 &&
             ascii_is_digit(version.data[5]) && version.data[6] == '.' &&
             ascii_is_digit(version.data[7]))
        return refusal(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    else
        return refusal(400, "the request line has no readable HTTP version");
    return fine;
}

struct head_refusal head_parse_line(struct slice text, struct head_line *line)
{
    struct slice rest = text;

    line->method = slice_cut(&rest, ' ');
    line->target = slice_cut(&rest, ' ');
    if (!is_token(line->method) || line->method.len > METHOD_MAX)
        return refusal(400, "the method is not readable");
    if (slice_equal(line->method, SLICE("CONNECT")))
        return refusal(400, "this is no proxy");
    if (!is_target(line->target))
        return refusal(400, "the request target must be a path of printable ASCII");
    return parse_version(rest, &line->minor);
}

struct head_refusal head_parse_field(struct slice text, struct slice *name, struct slice *raw)
{
    if (text.data[0] == ' ' || text.data[0] == '\t')
        return refusal(400, "a field is folded over lines");
    struct slice rest = text;
    *name = slice_cut(&rest, ':');
    if (rest.data == NULL || !is_token(*name))
        return refusal(400, "a field name is not readable");
    *raw = rest;
    for (size_t i = 0; i < rest.len; i++)
        if (((uint8_t)rest.data[i] < ' ' && rest.data[i] != '\t') || rest.data[i] == 127)
            return refusal(400, "a field holds a control character");
    return fine;
}

bool head_is_single(struct slice name)
{
    static const char *const singles[] = {
        "Authorization", "Content-Encoding", "Content-Length", "Content-Type",      "Expect",
        "Host",          "Idempotency-Key",  "Origin",         "Transfer-Encoding", "X-API-Key",
    };

    for (size_t i = 0; i < ARRAY_LEN(singles); i++)
        if (slice_equal_nocase(name, slice_of(singles[i])))
            return true;
    return false;
}

bool head_parse_length(struct slice raw, uint64_t *length)
{
    return slice_to_u64(slice_from(raw, raw.len > 0 && raw.data[0] == ' '), length);
}

bool head_lists(struct slice value, struct slice word)
{
    for (struct slice rest = value; rest.data != NULL;)
        if (slice_equal_nocase(slice_trim(slice_cut(&rest, ',')), word))
            return true;
    return false;
}
