/* answer.c - what did the upstream reply? Reply lines to code, enhanced code, text and class
 * (pure). RFC 5321 section 4.2, strictly: whoever accepts half an answer sees two replies where the
 * peer sent one, and then takes each later reply for the one before it. Bare line feeds, which some
 * clients tolerate here, are refused for that reason. */
#include "relay/upstream/answer.h"

#include <assert.h>

void answer_start(struct answer *answer)
{
    answer->code = 0;
    answer->enhanced[0] = '\0';
    answer->text[0] = '\0';
    answer->text_len = 0;
    answer->line = slice_make(NULL, 0);
    answer->lines = 0;
    answer->bytes = 0;
    answer->fault = NULL;
}

static enum answer_result broken(struct answer *answer, const char *fault)
{
    answer->fault = fault;
    return ANSWER_BROKEN;
}

/* --- one line --------------------------------------------------------------------------------- */

/* Three digits of which the first is 2 to 5 (RFC 5321 section 4.2.1 knows no 1yz any more), then
 * nothing, a space or a hyphen. 0 when it is something else. */
static int line_code(struct slice line)
{
    if (line.len < 3 || line.data[0] < '2' || line.data[0] > '5' || !ascii_is_digit(line.data[1]) ||
        !ascii_is_digit(line.data[2]))
        return 0;
    if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-')
        return 0;
    return (line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 + (line.data[2] - '0');
}

/* Length of "5.1.1" at the front of the words (RFC 2034: class, subject and detail, of which the
 * class must be that of the code), or 0. */
static size_t enhanced_length(struct slice words, int code)
{
    size_t at = 1;

    if (words.len < 5 || words.data[0] != (char)('0' + code / 100))
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t first = at + 1;

        if (at >= words.len || words.data[at] != '.')
            return 0;
        for (at = first; at < words.len && at < first + 3 && ascii_is_digit(words.data[at]);)
            at++;
        if (at == first)
            return 0;
    }
    return at == words.len || words.data[at] == ' ' ? at : 0;
}

static void add_words(struct answer *answer, struct slice words)
{
    size_t enhanced = enhanced_length(words, answer->code);
    size_t space = answer->text_len > 0 ? 1 : 0;

    if (answer->lines == 1 && enhanced > 0) {
        memcpy(answer->enhanced, words.data, enhanced); /* at most 9: "5.123.123" */
        answer->enhanced[enhanced] = '\0';
    }
    words = slice_trim(slice_from(words, enhanced));
    if (words.len == 0 || answer->text_len + space + 1 >= ANSWER_TEXT_BYTES)
        return;
    if (space == 1)
        answer->text[answer->text_len++] = ' ';
    answer->text_len +=
        answer_clean(words, answer->text + answer->text_len, ANSWER_TEXT_BYTES - answer->text_len);
}

static enum answer_result take_line(struct answer *answer, struct slice line)
{
    int code = line_code(line);

    if (code == 0)
        return broken(answer, "a line is not a reply");
    if (answer->lines > 0 && code != answer->code)
        return broken(answer, "the code changes between the lines of one reply");
    if (memchr(line.data, '\0', line.len) != NULL)
        return broken(answer, "a NUL in a reply");
    if (memchr(line.data, '\r', line.len) != NULL)
        return broken(answer, "a bare CR in a reply");
    answer->code = code;
    answer->lines++;
    answer->line = slice_from(line, 4);
    add_words(answer, answer->line);
    return line.len > 3 && line.data[3] == '-' ? ANSWER_LINE : ANSWER_DONE;
}

/* --- the front of the input ------------------------------------------------------------------- */

enum answer_result answer_read(struct answer *answer, struct slice *input)
{
    size_t end = slice_find(slice_first(*input, ANSWER_LINE_MAX), '\n');

    if (end == SLICE_NONE)
        return input->len >= ANSWER_LINE_MAX ? broken(answer, "a reply line is too long")
                                             : ANSWER_MORE;
    if (end == 0 || input->data[end - 1] != '\r')
        return broken(answer, "a bare LF in a reply");
    answer->bytes += end + 1;
    if (answer->lines >= ANSWER_LINES_MAX || answer->bytes > ANSWER_BYTES_MAX)
        return broken(answer, "a reply has too many lines");
    struct slice line = slice_first(*input, end - 1);

    *input = slice_from(*input, end + 1);
    return take_line(answer, line);
}

enum answer_class answer_class(const struct answer *answer)
{
    assert(answer->code >= 200 && answer->code <= 599);
    return (enum answer_class)(answer->code / 100 - 2);
}

size_t answer_clean(struct slice text, char *out, size_t capacity)
{
    size_t len = text.len < capacity - 1 ? text.len : capacity - 1;

    assert(capacity > 0);
    for (size_t i = 0; i < len; i++)
        out[i] = text.data[i] >= ' ' && text.data[i] <= '~' ? text.data[i] : '?';
    out[len] = '\0';
    return len;
}
