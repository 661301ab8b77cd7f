/* body.c - where does the message end, and what is in it? (pure)
 * RFC 5321 section 4.5.2, and nothing but it: a dot counts only behind CR LF (or as the very first
 * byte), and only ".CR LF" there ends the message. A bare CR or LF never makes a new line, so that
 * no two readers can see different ends (SMTP smuggling); it poisons the message instead. No byte
 * is ever held back: a CR is content as soon as it is seen, because a CR that turns out to be bare
 * poisons everything anyway, and the dot at the start of a line is dropped in any case. So a step
 * never puts out more bytes than it takes in. */
#include "relay/smtp/body.h"

#include <assert.h>

enum body_state {               /* what was read last */
                  AT_START = 0, /* CR LF, or nothing yet */
                  IN_LINE,
                  AFTER_CR,
                  AFTER_DOT,    /* the dot at the start of a line */
                  AFTER_DOT_CR, /* that and a CR: an LF now ends the message */
};

void body_start(struct body *body, uint64_t size_max, size_t line_max)
{
    *body = (struct body){ .size_max = size_max, .line_max = line_max };
}

/* Where content goes; NULL once nothing is kept any more. */
struct sink {
    char *room;
    size_t len;
};

static void put(struct body *body, struct sink *sink, const char *bytes, size_t len)
{
    body->size += len;
    if (body->size > body->size_max)
        body->faults |= BODY_TOO_LARGE;
    if (sink->room == NULL || body->faults != 0)
        return;
    memcpy(sink->room + sink->len, bytes, len);
    sink->len += len;
}

#define WINDOW                                                                                     \
    256 /* looked through at once: most lines are shorter, and what is looked through in vain      \
           must not be much where every other byte is a CR */

/* How many bytes stand before the first CR or LF, as far as the window goes. */
static size_t text_len(struct slice data)
{
    data = slice_first(data, WINDOW);
    data = slice_first(data, slice_find(data, '\n'));
    return slice_first(data, slice_find(data, '\r')).len;
}

bool body_has_eight_bit(struct slice text)
{
    uint64_t seen = 0, words[4];
    size_t i = 0;

    for (; i + sizeof(words) <= text.len; i += sizeof(words)) {
        memcpy(words, text.data + i, sizeof(words));
        seen |= words[0] | words[1] | words[2] | words[3];
    }
    for (; i < text.len; i++)
        seen |= (unsigned char)text.data[i];
    return (seen & UINT64_C(0x8080808080808080)) != 0;
}

/* The length of the line that `data` starts with, if it is an ordinary one: text without a dot in
 * front, CR LF, not longer than the window. 0: it must be looked at step by step. */
static size_t ordinary_line_len(struct slice data)
{
    data = slice_first(data, WINDOW);
    size_t lf = slice_find(data, '\n');

    if (lf == SLICE_NONE || lf == 0 || data.data[0] == '.')
        return 0;
    return slice_find(data, '\r') == lf - 1 ? lf + 1 : 0;
}

static void read_ordinary_line(struct body *body, struct sink *sink, struct slice line)
{
    if (line.len - 2 > body->line_max)
        body->faults |= BODY_LONG_LINE;
    put(body, sink, line.data, line.len);
}

/* Bytes of a line that are neither CR nor LF; there is at least one. Returns how many were read. */
static size_t read_text(struct body *body, struct sink *sink, struct slice data)
{
    struct slice text = slice_first(data, text_len(data));

    body->line += text.len;
    if (body->line > body->line_max)
        body->faults |= BODY_LONG_LINE;
    put(body, sink, text.data, text.len);
    return text.len;
}

/* A CR or LF. Returns true when it ended the message. */
static bool read_line_end(struct body *body, struct sink *sink, const char *byte)
{
    bool after_cr = body->state == AFTER_CR || body->state == AFTER_DOT_CR;

    if (*byte == '\n' && body->state == AFTER_DOT_CR)
        return true;
    if (after_cr != (*byte == '\n'))
        body->faults |= BODY_BARE_LINE_END;
    if (*byte == '\r' && body->state == AFTER_DOT) {
        body->state = AFTER_DOT_CR; /* content only if no LF follows, and then it is bare */
        return false;
    }
    put(body, sink, byte, 1);
    if (*byte == '\r')
        body->state = AFTER_CR;
    else
        body->state = after_cr ? AT_START : IN_LINE;
    if (body->state == AT_START)
        body->line = 0;
    return false;
}

/* One line, one byte or one run of text. Returns how many bytes were taken. */
static size_t read_step(struct body *body, struct sink *sink, struct slice data, bool *ended)
{
    char first = data.data[0];
    size_t line = body->state == AT_START ? ordinary_line_len(data) : 0;

    if (line > 0) {
        read_ordinary_line(body, sink, slice_first(data, line));
        return line;
    }
    if (first == '\r' || first == '\n') {
        *ended = read_line_end(body, sink, data.data);
        return 1;
    }
    if (body->state == AFTER_CR || body->state == AFTER_DOT_CR)
        body->faults |= BODY_BARE_LINE_END;
    if (body->state == AT_START && first == '.') {
        body->state = AFTER_DOT;
        return 1;
    }
    body->state = IN_LINE;
    return read_text(body, sink, data);
}

/* What may stand anywhere is looked for in all that one call has read, for the line ends and dots
 * of the message are neither. */
static void look_for_odd_bytes(struct body *body, struct slice taken)
{
    if (slice_find(taken, '\0') != SLICE_NONE)
        body->faults |= BODY_NUL;
    body->eight_bit = body->eight_bit || body_has_eight_bit(taken);
}

bool body_read(struct body *body, struct slice data, size_t *used, struct buf *out)
{
    struct sink sink = { NULL, 0 };
    bool ended = false;

    *used = 0;
    if (out != NULL && body->faults == 0) {
        data = slice_first(data, out->max - buf_len(out));
        sink.room = buf_reserve(out, data.len);
        assert(sink.room != NULL);
    }
    while (!ended && *used < data.len)
        *used += read_step(body, &sink, slice_from(data, *used), &ended);
    look_for_odd_bytes(body, slice_first(data, *used));
    if (sink.room != NULL && body->faults == 0)
        buf_commit(out, sink.len);
    return ended;
}
