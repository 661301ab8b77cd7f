/* test_chunk.c - where does a chunked body end? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/chunk.h"

#define NINES "999999999"

static const struct {
    const char *text;
    enum chunk_verdict want;
    size_t used; /* of CHUNK_END */
} cases[] = {
    { "0\r\n\r\n", CHUNK_END, 5 },
    { "5\r\nhello\r\n0\r\n\r\n", CHUNK_END, 15 },
    { "5\r\nhello\r\n0\r\n\r\nGET", CHUNK_END, 15 },
    { "5;a=b\r\nhello\r\n0\r\n\r\n", CHUNK_END, 19 },
    { "A\r\n0123456789\r\n000\r\n\r\n", CHUNK_END, 22 },
    { "a\r\n\r\n0\r\n\r\nzzz\r\n0\r\n\r\n", CHUNK_END, 20 },
    { "5\r\nhello\r\n0\r\n", CHUNK_MORE, 0 },
    { "5\r\nhel", CHUNK_MORE, 0 },
    { "", CHUNK_MORE, 0 },
    { "0x5\r\nhello\r\n", CHUNK_BAD, 0 },
    { "-1\r\n", CHUNK_BAD, 0 },
    { "+5\r\n", CHUNK_BAD, 0 },
    { " 5\r\n", CHUNK_BAD, 0 },
    { "5 \r\n", CHUNK_BAD, 0 },
    { "\r\n", CHUNK_BAD, 0 },
    { ";a\r\n", CHUNK_BAD, 0 },
    { "00000000000000005\r\n", CHUNK_BAD, 0 }, /* 17 digits */
    { "5\nhello\r\n0\r\n\r\n", CHUNK_BAD, 0 },
    { "5\r\nhello\n0\r\n\r\n", CHUNK_BAD, 0 },
    { "5\r\nhelloX\r\n", CHUNK_BAD, 0 },
    { "5\r\nhello\r\n0\r\nX: y\r\n\r\n", CHUNK_BAD, 0 }, /* a trailer */
    { "5\r\nhello\r\n0\r\n\n", CHUNK_BAD, 0 },
    { "5;a\nb\r\n", CHUNK_BAD, 0 },
    { "5;a b\r\n", CHUNK_BAD, 0 },
    { "5;" NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES
      "\r\n",
      CHUNK_BAD, 0 },
};

static void a_body_ends_where_its_last_chunk_does_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice text = slice_of(cases[i].text);
        for (size_t cut = 0; cut <= text.len; cut++) {
            struct chunk chunk;
            size_t first = 0, second = 0;
            chunk_init(&chunk);
            enum chunk_verdict got = chunk_follow(&chunk, slice_first(text, cut), &first);
            if (got == CHUNK_MORE)
                got = chunk_follow(&chunk, slice_from(text, cut), &second);
            if (got != cases[i].want || (got == CHUNK_END && first + second != cases[i].used))
                fail_msg("%s cut at %zu: got %d after %zu, want %d after %zu", cases[i].text, cut,
                         (int)got, first + second, (int)cases[i].want, cases[i].used);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_ends_where_its_last_chunk_does_at_every_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
