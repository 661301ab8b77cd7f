/* test_stuff.c - which bytes may leave, and how they look on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"
#include "relay/base/macros.h"
#include "relay/upstream/stuff.h"

static void to_buf(void *owner, struct slice bytes)
{
    assert_true(bytes.len > 0);
    assert_true(buf_add(owner, bytes));
}

/* The content in pieces of `cut` bytes; *out has what reached the wire. */
static enum stuff_error stuff_cut(struct slice content, size_t cut, struct buf *out)
{
    struct stuff stuff;

    stuff_start(&stuff);
    for (size_t at = 0; at < content.len; at += cut) {
        enum stuff_error error =
            stuff_add(&stuff, slice_first(slice_from(content, at), cut), to_buf, out);

        if (error != STUFF_OK)
            return error;
    }
    return stuff_end(&stuff, to_buf, out);
}

static void stuff_writes_what_the_wire_wants_at_every_cut(void **state)
{
    static const struct {
        const char *content, *want;
    } cases[] = {
        { "", ".\r\n" },
        { "a\r\n", "a\r\n.\r\n" },
        { "a", "a\r\n.\r\n" },
        { "\r\n", "\r\n.\r\n" },
        { ".", "..\r\n.\r\n" },
        { ".\r\n", "..\r\n.\r\n" },
        { ".a\r\n..\r\n..b\r\n...\r\n", "..a\r\n...\r\n...b\r\n....\r\n.\r\n" },
        { "a.\r\nb.c\r\n", "a.\r\nb.c\r\n.\r\n" },
        { "h: v\r\n\r\n.\r\nRCPT TO:<x@y>\r\n", "h: v\r\n\r\n..\r\nRCPT TO:<x@y>\r\n.\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice content = slice_of(cases[i].content);

        for (size_t cut = 1; cut <= content.len + 1; cut++) {
            struct buf out;

            buf_init(&out, 4096);
            enum stuff_error error = stuff_cut(content, cut, &out);

            if (error != STUFF_OK || !slice_equal(buf_slice(&out), slice_of(cases[i].want)))
                fail_msg("row %zu cut %zu: %d \"%.*s\"", i, cut, (int)error,
                         SLICE_ARG(buf_slice(&out)));
            buf_free(&out);
        }
        if (stuff_check(content) != STUFF_OK)
            fail_msg("row %zu: refused as a whole", i);
    }
}

/* What stuff.c says of contents longer than it looks at in one go, beside the same said octet by
 * octet. */
static enum stuff_error plain_check(struct slice content)
{
    enum stuff_error first = STUFF_OK;

    for (size_t i = 0; i < content.len; i++) {
        bool after_cr = i > 0 && content.data[i - 1] == '\r';
        bool before_lf = i + 1 < content.len && content.data[i + 1] == '\n';
        if (content.data[i] == '\0')
            return STUFF_NUL;
        if (first == STUFF_OK && content.data[i] == '\n' && !after_cr)
            first = STUFF_BARE_LF;
        if (first == STUFF_OK && content.data[i] == '\r' && !before_lf)
            first = STUFF_BARE_CR;
    }
    return first;
}

static void plain_stuff(struct slice content, struct buf *out)
{
    for (size_t i = 0; i < content.len; i++) {
        if (content.data[i] == '.' && (i == 0 || content.data[i - 1] == '\n'))
            assert_true(buf_add_byte(out, '.'));
        assert_true(buf_add_byte(out, content.data[i]));
    }
    bool in_line = content.len > 0 && content.data[content.len - 1] != '\n';
    assert_true(buf_add(out, in_line ? SLICE("\r\n.\r\n") : SLICE(".\r\n")));
}

/* Lines of any length, many of them empty or with dots; in half of the contents one octet is put
 * where it may not be. */
static size_t make_content(char *content, size_t max)
{
    size_t len = 0, wanted = (size_t)random() % (max - 2);

    while (len < wanted) {
        long kind = random() % 8;
        if (kind == 0 || random() % 70 == 0) {
            content[len++] = '\r';
            content[len++] = '\n';
        } else {
            content[len++] = kind < 3 ? '.' : 'x';
        }
    }
    if (len > 0 && random() % 2 == 0)
        content[(size_t)random() % len] = "\r\n\0."[random() % 4];
    return len;
}

static void long_contents_are_treated_like_short_ones(void **state)
{
    char content[500];

    (void)state;
    srandom(4711);
    for (unsigned i = 0; i < 100000; i++) {
        struct slice whole = slice_make(content, make_content(content, sizeof(content)));
        enum stuff_error want = plain_check(whole), error = stuff_check(whole);
        struct buf out, plain;

        if (error != want)
            fail_msg("content %u: %s, not %s", i, stuff_error_text(error), stuff_error_text(want));
        if (want != STUFF_OK || whole.len == 0)
            continue;
        buf_init(&out, 4096);
        buf_init(&plain, 4096);
        plain_stuff(whole, &plain);
        error = stuff_cut(whole, (size_t)random() % whole.len + 1, &out);
        if (error != STUFF_OK || !slice_equal(buf_slice(&out), buf_slice(&plain)))
            fail_msg("content %u: it is not on the wire as it should", i);
        buf_free(&out);
        buf_free(&plain);
    }
}

static bool ends_like_a_message(struct slice wire)
{
    return wire.len >= 5 && memcmp(wire.data + wire.len - 5, "\r\n.\r\n", 5) == 0;
}

/* The smuggling rows, as stored content. */
static void stuff_refuses_what_could_smuggle_at_every_cut(void **state)
{
    static const struct {
        struct slice content;
        enum stuff_error want;
    } cases[] = {
        { { "x\n.\nMAIL", 8 }, STUFF_BARE_LF },   { { "x\r.\rMAIL", 8 }, STUFF_BARE_CR },
        { { "x\r.\nMAIL", 8 }, STUFF_BARE_CR },   { { "x\n.\rMAIL", 8 }, STUFF_BARE_LF },
        { { "x\n.\r\nMAIL", 9 }, STUFF_BARE_LF }, { { "x\r\n.\nMAIL", 9 }, STUFF_BARE_LF },
        { { "x\r.\r\nMAIL", 9 }, STUFF_BARE_CR }, { { "x\r\n.\rMAIL", 9 }, STUFF_BARE_CR },
        { { "x\r\n\0.\r\n", 7 }, STUFF_NUL },     { { "x\r\n.\0\r\n", 7 }, STUFF_NUL },
        { { "x\r\n.\r\r\n", 7 }, STUFF_BARE_CR }, { { "x\r\r\n.\r\r\n", 8 }, STUFF_BARE_CR },
        { { "x\r", 2 }, STUFF_BARE_CR },          { { "\n", 1 }, STUFF_BARE_LF },
        { { "\r", 1 }, STUFF_BARE_CR },           { { "\0", 1 }, STUFF_NUL },
        { { "a\r\nb\n", 5 }, STUFF_BARE_LF },     { { "a\r\rb\r\n", 6 }, STUFF_BARE_CR },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice content = cases[i].content;

        if (stuff_check(content) != cases[i].want)
            fail_msg("row %zu: as a whole %d", i, (int)stuff_check(content));
        for (size_t cut = 1; cut <= content.len; cut++) {
            struct buf out;

            buf_init(&out, 4096);
            enum stuff_error error = stuff_cut(content, cut, &out);
            struct slice wire = buf_slice(&out);

            /* Which of two faults is met first depends on the cut; that there is one does not. */
            if (error == STUFF_OK || (cut >= content.len && error != cases[i].want))
                fail_msg("row %zu cut %zu: %d", i, cut, (int)error);
            for (size_t at = 0; at < wire.len; at++)
                if (wire.data[at] == '\0' ||
                    (wire.data[at] == '\n' && (at == 0 || wire.data[at - 1] != '\r')) ||
                    (wire.data[at] == '\r' && at + 1 < wire.len && wire.data[at + 1] != '\n'))
                    fail_msg("row %zu cut %zu: it reached the wire", i, cut);
            if (ends_like_a_message(wire))
                fail_msg("row %zu cut %zu: there is a dot", i, cut);
            buf_free(&out);
        }
    }
}

static void path_is_safe_only_when_it_stays_a_path(void **state)
{
    static const struct {
        const char *address;
        bool want;
    } cases[] = {
        { "", true },
        { "a@b.example", true },
        { "a+b=c/d@b.example", true },
        { "\"a b\"@b.example", true },
        { "\"a>b\"@b.example", true },
        { "\"a\\\"b\"@b.example", true },
        { "\"a\\\\\"@b.example", true },
        { "a@[192.0.2.1]", true },
        { "a@b.example> SIZE=1", false },
        { "<a@b.example", false },
        { "a b@b.example", false },
        { "a@b.example\r\nRCPT TO:<x@y>", false },
        { "a@b.example\n", false },
        { "a\tb@b.example", false },
        { "\"a\r\n\"@b.example", false },
        { "\"a\\\n\"@b.example", false },
        { "\"a@b.example", false },
        { "\"a\\", false },
        { "a\\@b.example", false },
        { "jos\xc3\xa9@b.example", false },
        { "a\x7f@b.example", false },
    };
    char *endless = xmalloc(514);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (stuff_path_is_safe(slice_of(cases[i].address)) != cases[i].want)
            fail_msg("row %zu: %s", i, cases[i].address);
    memset(endless, 'a', 513);
    endless[513] = '\0';
    assert_false(stuff_path_is_safe(slice_of(endless)));
    free(endless);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuff_writes_what_the_wire_wants_at_every_cut),
        cmocka_unit_test(long_contents_are_treated_like_short_ones),
        cmocka_unit_test(stuff_refuses_what_could_smuggle_at_every_cut),
        cmocka_unit_test(path_is_safe_only_when_it_stays_a_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
