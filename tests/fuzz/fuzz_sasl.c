/* fuzz_sasl.c - does a login exchange end, and does it leave nothing behind but what it must?
 * The input is the arguments of AUTH and the lines that follow, each ended by LF. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/base64.h"
#include "relay/smtp/parse.h"
#include "relay/smtp/sasl.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* PLAIN said back must be the line that was sent, for an exchange without an authzid. */
static void check_plain(const struct sasl *sasl, struct slice initial)
{
    struct buf blob, text;

    buf_init(&blob, SASL_LINE_MAX);
    buf_init(&text, 2 * SASL_LINE_MAX);
    bool ok = buf_add_byte(&blob, '\0') && buf_add(&blob, buf_slice(&sasl->user)) &&
              buf_add_byte(&blob, '\0') && buf_add(&blob, buf_slice(&sasl->secret)) &&
              base64_encode(buf_slice(&blob), &text);
    CHECK(ok);
    CHECK(initial.len > 2);
    /* Without one the first octet is NUL: these are the eight bits of the first two characters. */
    bool has_authzid = initial.data[0] != 'A' || initial.data[1] < 'A' || initial.data[1] > 'P';
    CHECK(has_authzid || buf_len(&sasl->user) == 255 || slice_equal(buf_slice(&text), initial));
    buf_free(&blob);
    buf_free(&text);
}

static void check_end(enum sasl_result result, const struct sasl *sasl)
{
    CHECK(result != SASL_CHALLENGE);
    if (result == SASL_DONE) {
        CHECK(buf_len(&sasl->user) <= 255);
        CHECK(buf_len(&sasl->secret) <= SASL_LINE_MAX / 4 * 3);
    } else {
        CHECK(sasl->user.data == NULL && sasl->secret.data == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_make(data, size), mechanism, initial;
    struct slice args = slice_cut(&rest, '\n');
    const char *challenge = NULL;
    struct sasl sasl = { 0 };
    bool has_initial;

    if (parse_auth(args, &mechanism, &initial, &has_initial) != PARSE_OK)
        return 0;
    enum sasl_result result = sasl_start(&sasl, mechanism, has_initial, initial, &challenge);
    for (int lines = 0; result == SASL_CHALLENGE; lines++) {
        CHECK(challenge != NULL && lines < 2);
        result = sasl_next(&sasl, slice_cut(&rest, '\n'), &challenge);
    }
    check_end(result, &sasl);
    if (result == SASL_DONE && has_initial && slice_equal_nocase(mechanism, SLICE("PLAIN")))
        check_plain(&sasl, initial);
    sasl_reset(&sasl);
    CHECK(sasl.user.data == NULL && sasl.secret.data == NULL);
    return 0;
}
