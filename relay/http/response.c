/* response.c - how does an answer look on the wire? (pure but for the date) */
#include "relay/http/response.h"

#include <time.h>

#include "relay/base/clock.h"

static const struct status_row {
    int status;
    const char *phrase;
    const char *code; /* in an error that comes before any endpoint */
} statuses[] = {
    { 200, "OK", NULL },
    { 201, "Created", NULL },
    { 202, "Accepted", NULL },
    { 400, "Bad Request", "bad_request" },
    { 401, "Unauthorized", "unauthorized" },
    { 403, "Forbidden", "forbidden" },
    { 404, "Not Found", "not_found" },
    { 405, "Method Not Allowed", "method_not_allowed" },
    { 408, "Request Timeout", "timeout" },
    { 409, "Conflict", "conflict" },
    { 413, "Content Too Large", "too_large" },
    { 415, "Unsupported Media Type", "unsupported_media_type" },
    { 417, "Expectation Failed", "expectation_failed" },
    { 422, "Unprocessable Content", "invalid_value" },
    { 429, "Too Many Requests", "too_many_requests" },
    { 431, "Request Header Fields Too Large", "head_too_large" },
    { 500, "Internal Server Error", "internal" },
    { 501, "Not Implemented", "not_implemented" },
    { 503, "Service Unavailable", "unavailable" },
    { 504, "Gateway Timeout", "timeout" },
    { 505, "HTTP Version Not Supported", "version_not_supported" },
    { 507, "Insufficient Storage", "store_full" },
};

static const struct status_row *status_row(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (statuses[i].status == status)
            return &statuses[i];
    return status_row(500); /* which the table has */
}

/* IMF-fixdate, RFC 9110 section 5.6.7. */
static void format_date(char *text, size_t size)
{
    time_t now = (time_t)clock_wall_s();
    struct tm tm;

    if (gmtime_r(&now, &tm) == NULL || strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
        text[0] = '\0';
}

bool response_format_head(const struct api_answer *answer, const struct response_traits *traits,
                          struct buf *out)
{
    char date[40];
    bool ok;

    format_date(date, sizeof(date));
    ok = buf_printf(out,
                    "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                    "Referrer-Policy: no-referrer\r\n"
                    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n",
                    answer->status, status_row(answer->status)->phrase, date, answer->content_type,
                    answer->body.len);
    if (traits->tls)
        ok = ok && buf_add(out, SLICE("Strict-Transport-Security: max-age=31536000\r\n"));
    if (answer->status == 401)
        ok = ok && buf_add(out, SLICE("WWW-Authenticate: Bearer\r\n"));
    if (answer->allow != NULL)
        ok = ok && buf_printf(out, "Allow: %s\r\n", answer->allow);
    if (answer->retry_after_s > 0)
        ok = ok && buf_printf(out, "Retry-After: %u\r\n", answer->retry_after_s);
    if (answer->rate.limit > 0)
        ok = ok && buf_printf(out,
                              "RateLimit-Limit: %llu\r\nRateLimit-Remaining: %llu\r\n"
                              "RateLimit-Reset: %u\r\n",
                              (unsigned long long)answer->rate.limit,
                              (unsigned long long)answer->rate.left, answer->rate.reset_s);
    if (traits->closes)
        ok = ok && buf_add(out, SLICE("Connection: close\r\n"));
    return ok && buf_add(out, SLICE("\r\n"));
}

const char *response_code(int status)
{
    const char *code = status_row(status)->code;

    return code != NULL ? code : "internal";
}
