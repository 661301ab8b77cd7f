/* fuzz_answer.c - does the reply parser keep its promises about any input, however it is cut?
 * The first byte says where the reads cut. The input is read once whole and once in pieces, and
 * both must come to the same; what is accepted must be what a plain reading of the grammar finds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/macros.h"
#include "relay/upstream/answer.h"
#include "relay/upstream/stuff.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct outcome {
    enum answer_result result;
    struct answer answer;
    size_t used;
};

/* As a stream shows it: what was not used comes again, with what arrived behind it. */
static struct outcome read_in_pieces(struct slice input, size_t piece)
{
    struct outcome outcome = { .result = ANSWER_MORE };
    size_t shown = 0;

    answer_start(&outcome.answer);
    while (outcome.result <= ANSWER_LINE && shown < input.len) {
        shown = input.len - shown < piece ? input.len : shown + piece;
        struct slice rest = slice_from(slice_first(input, shown), outcome.used);

        while (rest.len > 0 && outcome.result <= ANSWER_LINE) {
            enum answer_result result = answer_read(&outcome.answer, &rest);

            if (result == ANSWER_MORE)
                break;
            outcome.result = result;
        }
        outcome.used = shown - rest.len;
    }
    return outcome;
}

static void check_accepted(const struct outcome *outcome, struct slice input)
{
    struct slice taken = slice_first(input, outcome->used);

    CHECK(outcome->answer.code >= 200 && outcome->answer.code <= 599);
    CHECK(taken.len >= 5 && taken.data[taken.len - 1] == '\n');
    CHECK(stuff_check(taken) == STUFF_OK); /* the other reader: CRLF only, no NUL */
    CHECK(strlen(outcome->answer.text) == outcome->answer.text_len);
    CHECK(outcome->answer.text_len < ANSWER_TEXT_BYTES);
    for (const char *c = outcome->answer.text; *c != '\0'; c++)
        CHECK(*c >= ' ' && *c <= '~');
    CHECK(outcome->answer.enhanced[0] == '\0' ||
          outcome->answer.enhanced[0] == (char)('0' + outcome->answer.code / 100));
    CHECK(outcome->answer.lines <= ANSWER_LINES_MAX && outcome->answer.bytes <= ANSWER_BYTES_MAX);
    CHECK(outcome->answer.bytes == outcome->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice input = slice_make(data + 1, size - 1);
    struct outcome whole = read_in_pieces(input, input.len + 1);
    struct outcome cut = read_in_pieces(input, (size_t)data[0] + 1);

    CHECK(whole.result == cut.result && whole.used == cut.used);
    CHECK(whole.answer.code == cut.answer.code);
    CHECK(strcmp(whole.answer.text, cut.answer.text) == 0);
    CHECK(strcmp(whole.answer.enhanced, cut.answer.enhanced) == 0);
    CHECK((whole.result == ANSWER_BROKEN) == (whole.answer.fault != NULL));
    if (whole.result == ANSWER_DONE)
        check_accepted(&whole, input);
    return 0;
}
