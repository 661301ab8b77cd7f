/* load_http.c - a message of the benchmark as a request of POST /v1/emails.
 * The same messages as over SMTP: the mark is one of the headers, the body is the text, in lines of
 * printable ASCII that a relay has no reason to encode, so the sink's check of the hash holds. The
 * request's size is the same for every id. */
#include <stdio.h>

#include "relay/base/alloc.h"
#include "tests/bench/load_priv.h"

#define HEAD_MAX 2048

/* The value of this field in the message's header, which has it. */
static struct slice field(struct slice message, const char *name)
{
    const char *at = memmem(message.data, message.len, name, strlen(name));
    struct slice value = slice_from(message, (size_t)(at - message.data) + strlen(name));

    return slice_cut(&value, '\r');
}

/* Dot-stuffed lines with CRLF, up to the final dot, as a text of JSON: a line end takes as many
 * octets in both, and nothing else in them needs an escape. */
static char *add_text(struct slice lines, char *at)
{
    while (lines.len > 3) {
        const char *end = memchr(lines.data, '\r', lines.len);
        size_t len = (size_t)(end - lines.data), stuffing = lines.data[0] == '.';

        memcpy(at, lines.data + stuffing, len - stuffing);
        at += len - stuffing;
        memcpy(at, "\\n", 2);
        at += 2;
        lines = slice_from(lines, len + 2);
    }
    return at;
}

size_t load_http_max(const struct mail_maker *maker)
{
    return 2 * HEAD_MAX + mail_wire_max(maker);
}

size_t load_http_format(const struct load *load, uint64_t id, char *out)
{
    const struct load_options *options = load->options;
    struct slice message = slice_make(load->scratch, mail_format(load->maker, id, load->scratch));
    struct slice mark = field(message, "\r\nX-Bench: ");
    char command[MAIL_COMMAND_MAX]; /* "RCPT TO:<...>\r\n": the header's has no id */
    struct slice rcpt = slice_make(command, mail_format_rcpt(load->maker, id, command));

    rcpt = slice_first(slice_from(rcpt, strlen("RCPT TO:<")), rcpt.len - strlen("RCPT TO:<>\r\n"));
    const char *empty = memmem(message.data, message.len, "\r\n\r\n", 4);
    char *body = out + HEAD_MAX, head[HEAD_MAX];
    char *at = body + snprintf(body, HEAD_MAX,
                               "{\"from\":\"%s\",\"to\":\"%.*s\",\"subject\":\"A message of the "
                               "benchmark\",\"headers\":{\"X-Bench\":\"%.*s\"},\"text\":\"",
                               options->mail.from, SLICE_ARG(rcpt), SLICE_ARG(mark));

    at = add_text(slice_from(message, (size_t)(empty + 4 - message.data)), at);
    memcpy(at, "\"}", 2);
    at += 2;
    size_t body_len = (size_t)(at - body);
    size_t head_len = (size_t)snprintf(head, sizeof(head),
                                       "POST /v1/emails HTTP/1.1\r\nHost: localhost\r\n%.*s"
                                       "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                                       "\r\n",
                                       SLICE_ARG(buf_slice(&load->auth)), body_len);

    memmove(out + head_len, body, body_len);
    memcpy(out, head, head_len);
    return head_len + body_len;
}
