/* fuzz_command.c - are command lines cut alike however they arrive, and do their parts lie inside?
 * The first byte of the input chooses the cuts; the rest is a client's side of a session. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/buf.h"
#include "relay/smtp/line.h"
#include "relay/smtp/parse.h"

#define LINE_LIMIT 64

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool is_inside(struct slice part, struct slice whole)
{
    return part.len == 0 ||
           (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 32 || text.data[i] > 126)
            return false;
    return true;
}

static void check_path(struct slice path, struct slice args)
{
    CHECK(path.len > 0 && is_inside(path, args));
    CHECK(path.data[0] != '<' || path.data[path.len - 1] == '>');
}

static void check_line(struct slice line)
{
    struct command_line command;
    struct mail_args mail;
    struct slice name, initial;
    bool has_initial;

    CHECK(line.len + 2 <= LINE_LIMIT);
    if (parse_line(line, &command) != PARSE_OK)
        return;
    CHECK(command.verb.len > 0 && is_printable(command.verb));
    CHECK(is_inside(command.verb, line) && is_inside(command.args, line));
    CHECK(command.args.len == 0 ||
          (command.args.data[0] != ' ' && command.args.data[command.args.len - 1] != ' '));
    if (parse_mail(command.args, &mail) == PARSE_OK)
        check_path(mail.path, line);
    if (parse_rcpt(command.args, &name) == PARSE_OK)
        check_path(name, line);
    if (parse_helo(command.args, &name) == PARSE_OK)
        CHECK(is_printable(name) && slice_find(name, ' ') == SLICE_NONE);
    if (parse_auth(command.args, &name, &initial, &has_initial) == PARSE_OK)
        CHECK(is_inside(name, line) && is_inside(initial, line) &&
              has_initial == (initial.len > 0));
}

/* What came out, as text: results and lines. */
static void note(struct buf *story, enum line_result result, struct slice line)
{
    bool ok = buf_add_byte(story, (char)('0' + result));

    if (result == LINE_READ) {
        check_line(line);
        ok = ok && buf_add(story, line) && buf_add_byte(story, '\n');
    }
    CHECK(ok);
}

/* Shows the input as a stream does: what was not taken comes again, with more behind it. */
static void run(struct slice input, unsigned seed, struct buf *story)
{
    struct line_reader reader = { 0 };
    size_t taken = 0, shown = 0;

    while (shown < input.len) {
        seed = seed * 1103515245 + 12345;
        shown += seed == 12345 ? input.len : 1 + (seed >> 16) % 20;
        if (shown > input.len)
            shown = input.len;
        enum line_result result;
        do {
            struct slice line;
            size_t used;
            result = line_cut(&reader, slice_make(input.data + taken, shown - taken), LINE_LIMIT,
                              &line, &used);
            CHECK(used <= shown - taken && (result == LINE_MORE || used > 0));
            taken += used;
            if (result != LINE_MORE)
                note(story, result, line);
            if (result == LINE_ENDLESS || result == LINE_BARE_LF)
                return; /* the session ends */
        } while (result != LINE_MORE);
        CHECK(shown - taken < LINE_LIMIT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, cut;

    if (size < 2 || size > 16 * 1024)
        return 0;
    struct slice input = slice_make(data + 1, size - 1);
    buf_init(&whole, 2 * size);
    buf_init(&cut, 2 * size);
    run(input, 0, &whole);
    run(input, 1 + data[0], &cut);
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
