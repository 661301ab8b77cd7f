/* test_head.c - which lines of a request head are read, and which are refused because two readers
 * might read them in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/head.h"

#define A32 "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF"

static void a_request_line_is_a_method_a_path_and_a_version(void **state)
{
    static const struct {
        struct slice text;
        int status; /* 0: it is read */
        const char *method, *target;
        unsigned minor;
    } rows[] = {
        { SLICE("GET / HTTP/1.1"), 0, "GET", "/", 1 },
        { SLICE("POST /v1/emails?a=b%20c HTTP/1.0"), 0, "POST", "/v1/emails?a=b%20c", 0 },
        { SLICE("a.!#$%&'*+-^_`|~9 /~ HTTP/1.1"), 0, "a.!#$%&'*+-^_`|~9", "/~", 1 },
        { SLICE(A32 " / HTTP/1.1"), 0, A32, "/", 1 },
        { SLICE(A32 "G / HTTP/1.1"), 400, "", "", 0 },
        { SLICE(""), 400, "", "", 0 },
        { SLICE("GET"), 400, "", "", 0 },
        { SLICE("GET /"), 400, "", "", 0 },
        { SLICE("GET  / HTTP/1.1"), 400, "", "", 0 },
        { SLICE(" GET / HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET\t/ HTTP/1.1"), 400, "", "", 0 },
        { SLICE("G:T / HTTP/1.1"), 400, "", "", 0 },
        { SLICE("G\0T / HTTP/1.1"), 400, "", "", 0 },
        { SLICE("G\xc3\xa4T / HTTP/1.1"), 400, "", "", 0 },
        { SLICE("CONNECT a.example:25 HTTP/1.1"), 400, "", "", 0 },
        { SLICE("CONNECT / HTTP/1.1"), 400, "", "", 0 },
        { SLICE("connect / HTTP/1.1"), 0, "connect", "/", 1 },
        { SLICE("OPTIONS * HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET http://a.example/ HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET /a#b HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET /a\tb HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET /a\0b HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET /a\x7f HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET /\xc3\xa4 HTTP/1.1"), 400, "", "", 0 },
        { SLICE("GET / HTTP/1.1 "), 400, "", "", 0 },
        { SLICE("GET / HTTP/1.1\r"), 400, "", "", 0 },
        { SLICE("GET / http/1.1"), 400, "", "", 0 },
        { SLICE("GET / HTTP/1,1"), 400, "", "", 0 },
        { SLICE("GET / HTTP/x.1"), 400, "", "", 0 },
        { SLICE("GET / HTTP/1.x"), 400, "", "", 0 },
        { SLICE("GET / HTTP/11"), 400, "", "", 0 },
        { SLICE("GET / HTTP/1.10"), 400, "", "", 0 },
        { SLICE("GET / HTTP/1.2"), 505, "", "", 0 },
        { SLICE("GET / HTTP/2.0"), 505, "", "", 0 },
        { SLICE("GET / HTTP/0.9"), 505, "", "", 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct head_line line = { .minor = 7 };
        struct head_refusal got = head_parse_line(rows[i].text, &line);
        if (got.status != rows[i].status || (got.status != 0) != (got.problem != NULL))
            fail_msg("%s: got %d, want %d", rows[i].text.data, got.status, rows[i].status);
        if (got.status == 0 &&
            (!slice_equal(line.method, slice_of(rows[i].method)) ||
             !slice_equal(line.target, slice_of(rows[i].target)) || line.minor != rows[i].minor))
            fail_msg("%s: read as %.*s, %.*s, %u", rows[i].text.data, SLICE_ARG(line.method),
                     SLICE_ARG(line.target), line.minor);
    }
}

static void a_field_is_a_name_a_colon_and_a_value_on_one_line(void **state)
{
    static const struct {
        struct slice text;
        const char *name, *raw; /* NULL: refused */
    } rows[] = {
        { SLICE("Host: a.example"), "Host", " a.example" },
        { SLICE("Host:a.example \t"), "Host", "a.example \t" },
        { SLICE("X-Empty:"), "X-Empty", "" },
        { SLICE("X: a: b"), "X", " a: b" },
        { SLICE("X: \x80\xff"), "X", " \x80\xff" },
        { SLICE("Host"), NULL, NULL },
        { SLICE(": a"), NULL, NULL },
        { SLICE("Host : a"), NULL, NULL },
        { SLICE("Ho st: a"), NULL, NULL },
        { SLICE("Host\t: a"), NULL, NULL },
        { SLICE(" Host: a"), NULL, NULL },
        { SLICE("\tfolded"), NULL, NULL },
        { SLICE("H\0st: a"), NULL, NULL },
        { SLICE("H(st: a"), NULL, NULL },
        { SLICE("H\xc3\xb6st: a"), NULL, NULL },
        { SLICE("Host: a\0b"), NULL, NULL },
        { SLICE("Host: a\rb"), NULL, NULL },
        { SLICE("Host: a\nb"), NULL, NULL },
        { SLICE("Host: a\x01"), NULL, NULL },
        { SLICE("Host: a\x7f"), NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice name, raw;
        struct head_refusal got = head_parse_field(rows[i].text, &name, &raw);
        if (got.status != (rows[i].name == NULL ? 400 : 0) ||
            (got.status != 0) != (got.problem != NULL))
            fail_msg("%s: %d %s", rows[i].text.data, got.status,
                     got.problem == NULL ? "" : got.problem);
        if (got.status == 0 && (!slice_equal(name, slice_of(rows[i].name)) ||
                                !slice_equal(raw, slice_of(rows[i].raw))))
            fail_msg("%s: read as %.*s:%.*s", rows[i].text.data, SLICE_ARG(name), SLICE_ARG(raw));
    }
}

static void a_length_is_digits_behind_at_most_one_blank(void **state)
{
    static const struct {
        const char *raw;
        bool ok;
        uint64_t want;
    } rows[] = {
        { "0", true, 0 },
        { " 12", true, 12 },
        { "007", true, 7 },
        { "18446744073709551614", true, UINT64_MAX - 1 },
        { "99999999999999999999", true, UINT64_MAX },
        { "", false, 0 },
        { " ", false, 0 },
        { "  1", false, 0 },
        { "\t1", false, 0 },
        { "1 ", false, 0 },
        { "+1", false, 0 },
        { "-1", false, 0 },
        { "1,1", false, 0 },
        { "0x1", false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t got = 0;
        bool ok = head_parse_length(slice_of(rows[i].raw), &got);
        if (ok != rows[i].ok || (ok && got != rows[i].want))
            fail_msg("'%s': %d, %llu", rows[i].raw, ok, (unsigned long long)got);
    }
}

static void what_readers_would_read_twice_may_stand_once(void **state)
{
    static const struct {
        const char *name;
        bool want;
    } rows[] = {
        { "Host", true },
        { "content-LENGTH", true },
        { "Transfer-Encoding", true },
        { "X-API-Key", true },
        { "Accept", false },
        { "Hos", false },
        { "Hosts", false },
        { "", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (head_is_single(slice_of(rows[i].name)) != rows[i].want)
            fail_msg("%s", rows[i].name);
}

static void a_word_is_found_in_a_list_as_a_whole(void **state)
{
    static const struct {
        const char *value;
        bool want;
    } rows[] = {
        { "close", true },
        { "Close", true },
        { "keep-alive, close", true },
        { "close,keep-alive", true },
        { " \tclose ", true },
        { ",,close", true },
        { "", false },
        { "closed", false },
        { "close x", false },
        { "\"close\"", false },
        { "keep-alive", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (head_lists(slice_of(rows[i].value), SLICE("close")) != rows[i].want)
            fail_msg("'%s'", rows[i].value);
    assert_false(head_lists(slice_make(NULL, 0), SLICE("close")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_line_is_a_method_a_path_and_a_version),
        cmocka_unit_test(a_field_is_a_name_a_colon_and_a_value_on_one_line),
        cmocka_unit_test(a_length_is_digits_behind_at_most_one_blank),
        cmocka_unit_test(what_readers_would_read_twice_may_stand_once),
        cmocka_unit_test(a_word_is_found_in_a_list_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
