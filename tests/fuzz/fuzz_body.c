/* fuzz_body.c - does the DATA machine agree with one that a reader can check at a glance?
 * The first bytes of the input choose where it is cut and how much room there is; the rest is given
 * to both. They must agree on the end, the content, the faults and what is left for the next
 * command. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/smtp/body.h"

#define SIZE_LIMIT 300
#define LINE_LIMIT 40

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct verdict {
    bool ended, eight_bit;
    size_t used;
    unsigned faults;
    struct buf content;
};

static bool is(struct slice data, size_t at, const char *text)
{
    size_t len = strlen(text);

    return at <= data.len && data.len - at >= len && memcmp(data.data + at, text, len) == 0;
}

/* With all of the input in sight: no states, no cuts. */
static void read_plainly(struct slice data, struct verdict *v)
{
    size_t line = 0;
    bool at_start = true, kept;

    for (size_t i = 0; i < data.len; i++) {
        char c = data.data[i];
        if (at_start && is(data, i, ".\r\n")) {
            v->ended = true;
            v->used = i + 3;
            return;
        }
        if (at_start && c == '.') {
            at_start = false;
            continue; /* and what follows is an ordinary line */
        }
        bool ends_line = c == '\n' && i > 0 && data.data[i - 1] == '\r';
        if ((c == '\n' && !ends_line) || (c == '\r' && i + 1 < data.len && !is(data, i, "\r\n")))
            v->faults |= BODY_BARE_LINE_END;
        if (c == '\0')
            v->faults |= BODY_NUL;
        if (c != '\r' && c != '\n' && ++line > LINE_LIMIT)
            v->faults |= BODY_LONG_LINE;
        v->eight_bit = v->eight_bit || (c & 0x80) != 0;
        kept = buf_add_byte(&v->content, c);
        CHECK(kept);
        if (buf_len(&v->content) > SIZE_LIMIT)
            v->faults |= BODY_TOO_LARGE;
        at_start = ends_line;
        line = ends_line ? 0 : line;
    }
    v->used = data.len;
}

static void read_in_cuts(struct slice data, unsigned seed, struct verdict *v)
{
    struct body body;
    struct buf room;

    body_start(&body, SIZE_LIMIT, LINE_LIMIT);
    buf_init(&room, 1 + seed % 64);
    while (!v->ended && v->used < data.len) {
        size_t used;
        seed = seed * 1103515245 + 12345;
        v->ended = body_read(&body, slice_first(slice_from(data, v->used), 1 + (seed >> 16) % 50),
                             &used, &room);
        CHECK(used > 0 && buf_len(&room) <= used);
        v->used += used;
        bool ok = buf_add(&v->content, buf_slice(&room));
        CHECK(ok);
        buf_clear(&room);
    }
    v->faults = body.faults;
    v->eight_bit = body.eight_bit;
    buf_free(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verdict want = { 0 }, got = { 0 };

    if (size < 2)
        return 0;
    struct slice input = slice_make(data + 2, size - 2);
    buf_init(&want.content, size);
    buf_init(&got.content, size);
    read_plainly(input, &want);
    read_in_cuts(input, (unsigned)data[0] << 8 | data[1], &got);
    CHECK(got.ended == want.ended && got.used == want.used);
    /* A CR that is the last byte there is may still become a line end, or the end. */
    bool open_end = !want.ended && input.len > 0 && input.data[input.len - 1] == '\r';
    /* The machine counts no CR that looked like part of the end; what it poisons is refused anyway.
     */
    unsigned ignored = want.faults & BODY_BARE_LINE_END ? BODY_TOO_LARGE : 0;
    CHECK(open_end || (got.faults | ignored) == (want.faults | ignored));
    CHECK(got.eight_bit == want.eight_bit);
    CHECK(got.faults != 0 || open_end ||
          slice_equal(buf_slice(&got.content), buf_slice(&want.content)));
    CHECK(buf_len(&got.content) <= SIZE_LIMIT);
    buf_free(&want.content);
    buf_free(&got.content);
    return 0;
}
