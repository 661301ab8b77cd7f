/* test_request.c - HTTP/1.1 head and body framing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/http/request.h"

#define BODY_MAX 64
#define HOST     "Host: x\r\n"
#define POST     "POST /v1/api-keys HTTP/1.1\r\n" HOST
#define CHUNKED  POST "Transfer-Encoding: chunked\r\n\r\n"

struct row {
    const char *text;
    size_t len;              /* 0: strlen */
    int status;              /* of the refusal; 0: complete; -1: more is needed */
    const char *body, *rest; /* when complete */
};

static struct slice row_text(const struct row *row)
{
    return slice_make(row->text, row->len > 0 ? row->len : strlen(row->text));
}

/* Feeds `text` in two parts. -1: more; 0: complete; else the status. *used: in all. */
static int feed(struct http_request *request, struct slice text, size_t cut, size_t *used)
{
    size_t second = 0;
    enum http_request_state state = http_request_feed(request, slice_first(text, cut), used);

    if (state == REQUEST_MORE) {
        assert_int_equal(*used, cut);
        state = http_request_feed(request, slice_from(text, cut), &second);
        *used += second;
    }
    return state == REQUEST_MORE ? -1 : state == REQUEST_REFUSED ? http_request_status(request) : 0;
}

static void check_row(const struct row *row, size_t cut)
{
    struct http_request *request = http_request_new(BODY_MAX);
    struct slice text = row_text(row);
    size_t used;
    int got = feed(request, text, cut, &used);

    if (got != row->status)
        fail_msg("%s cut at %zu: got %d (%s), want %d", row->text, cut, got,
                 http_request_problem(request), row->status);
    if (got == 0 && (!slice_equal(http_request_body(request), slice_of(row->body)) ||
                     !slice_equal(slice_from(text, used), slice_of(row->rest))))
        fail_msg("%s cut at %zu: body \"%.*s\", %zu used", row->text, cut,
                 SLICE_ARG(http_request_body(request)), used);
    if (got > 0)
        assert_true(strlen(http_request_problem(request)) > 0);
    http_request_free(request);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t cut = 0; cut <= row_text(&rows[i]).len; cut++)
            check_row(&rows[i], cut);
}

static void well_formed_requests_end_where_they_should_at_every_cut(void **state)
{
    static const struct row rows[] = {
        { "GET / HTTP/1.1\r\n" HOST "\r\n", 0, 0, "", "" },
        { "GET /a?b=c HTTP/1.1\r\nhost:x\r\n\r\nGET /", 0, 0, "", "GET /" },
        { "\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0, 0, "", "" },
        { "GET / HTTP/1.0\r\n\r\n", 0, 0, "", "" },
        { "GET / HTTP/1.1\r\nHost: [::1]:8025\r\n\r\n", 0, 0, "", "" },
        { "GET / HTTP/1.1\r\n" HOST "X: caf\xc3\xa9\r\nY:\r\n\r\n", 0, 0, "", "" },
        { POST "Content-Length: 0\r\n\r\nX", 0, 0, "", "X" },
        { POST "Content-Length: 5\r\n\r\nhelloGET", 0, 0, "hello", "GET" },
        { POST "content-length:005\r\n\r\nhello", 0, 0, "hello", "" },
        { CHUNKED "5\r\nhello\r\n0\r\n\r\nGET", 0, 0, "hello", "GET" },
        { CHUNKED "5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n", 0, 0, "helloabc", "" },
        { POST "transfer-encoding: Chunked\r\n\r\n0\r\n\r\n", 0, 0, "", "" },
        { "DELETE /v1/x HTTP/1.1\r\n" HOST "\r\n", 0, 0, "", "" },
        { POST "Content-Encoding: identity\r\nContent-Length: 1\r\n\r\na", 0, 0, "a", "" },
        { "OPTIONS /v1 HTTP/1.1\r\n" HOST "\r\n", 0, 0, "", "" },
    };

    (void)state;
    check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void what_two_readers_could_frame_in_two_ways_is_refused_at_every_cut(void **state)
{
    static const struct row rows[] = {
        /* lengths, G-12 */
        { POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: +5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: -5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: 5,5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: 0x5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length:  5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length: 5 \r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length:\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Length : 5\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: chunked, identity\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: identity\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: xchunked\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 400, 0, 0 },
        { POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, 0 },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400, 0, 0 },
        /* chunks, G-13; all of them in test_chunk.c */
        { CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", 0, 400, 0, 0 },
        { CHUNKED "-1\r\n", 0, 400, 0, 0 },
        { CHUNKED "FFFFFFFFFFFFFFFFF\r\n", 0, 400, 0, 0 },
        { CHUNKED "5\r\nhello\n0\r\n\r\n", 0, 400, 0, 0 },
        { CHUNKED "5\r\nhello\r\n0\r\nX: y\r\n\r\n", 0, 400, 0, 0 },
        /* lines, G-14 */
        { "GET / HTTP/1.1\nHost: x\n\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\nHost: x\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n A: b\r\n" HOST "\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "\r\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n", 34, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A: \x1b[2J\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "A\xc3\xa9: b\r\n\r\n", 0, 400, 0, 0 },
        { "GET /\r\n", 0, 400, 0, 0 },
        { "GET / \r\n", 0, 400, 0, 0 },
        { "GET /\0 HTTP/1.1\r\n", 17, 400, 0, 0 },
        { "\r\n\r\nGET / HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "\nGET / HTTP/1.1\r\n", 0, 400, 0, 0 },
        { " GET / HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "GET  / HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "GET /a b HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "GET /#f HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "GET /\xc3\xa9 HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1 \r\n", 0, 400, 0, 0 },
        { "GET / http/1.1\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.10\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/2.0\r\n", 0, 505, 0, 0 },
        { "GET / HTTP/1.2\r\n", 0, 505, 0, 0 },
        { "GET http://x/ HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "OPTIONS * HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 400, 0, 0 },
        { "CONNECT x:443 HTTP/1.1\r\n", 0, 400, 0, 0 },
        { "\x16\x03\x01\x02\n", 0, 400, 0, 0 },
        /* the head as a whole */
        { "GET / HTTP/1.1\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nauthorization: b\r\n\r\n", 0, 400, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "X-API-Key: a\r\nX-API-Key: a\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Type: a\r\nContent-Type: b\r\n\r\n", 0, 400, 0, 0 },
        { POST "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n", 0, 415, 0, 0 },
        { POST "Expect: 200-ok\r\nContent-Length: 3\r\n\r\n", 0, 417, 0, 0 },
        { "FROB / HTTP/1.1\r\n" HOST "\r\n", 0, 501, 0, 0 },
        /* sizes */
        { POST "Content-Length: 65\r\n\r\n", 0, 413, 0, 0 },
        { POST "Content-Length: 99999999999999999999999\r\n\r\n", 0, 413, 0, 0 },
        { CHUNKED "41\r\n0123456789012345678901234567890123456789012345678901234567890123X\r\n", 0,
          413, 0, 0 },
        /* not there yet */
        { POST "Content-Length: 5\r\n\r\nhell", 0, -1, 0, 0 },
        { "GET / HTTP/1.1\r\n" HOST "\r", 0, -1, 0, 0 },
        { CHUNKED "5\r\nhello\r\n0\r\n\r", 0, -1, 0, 0 },
    };

    (void)state;
    check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static int status_of(struct slice text)
{
    struct http_request *request = http_request_new(BODY_MAX);
    size_t used;
    int got = feed(request, text, 0, &used);

    http_request_free(request);
    return got;
}

static void heads_are_bounded_in_fields_and_in_octets(void **state)
{
    struct buf text;

    (void)state;
    for (size_t fields = REQUEST_FIELDS_MAX; fields <= REQUEST_FIELDS_MAX + 1; fields++) {
        buf_init(&text, 100000);
        assert_true(buf_add(&text, SLICE("GET / HTTP/1.1\r\n" HOST)));
        for (size_t i = 1; i < fields; i++)
            assert_true(buf_printf(&text, "X-%zu: y\r\n", i));
        assert_true(buf_add(&text, SLICE("\r\n")));
        assert_int_equal(status_of(buf_slice(&text)), fields <= REQUEST_FIELDS_MAX ? 0 : 431);
        buf_free(&text);
    }
    for (size_t len = REQUEST_HEAD_MAX; len <= REQUEST_HEAD_MAX + 1; len++) {
        buf_init(&text, 100000);
        assert_true(buf_add(&text, SLICE("GET / HTTP/1.1\r\n" HOST "X: ")));
        while (buf_len(&text) < len - 4)
            assert_true(buf_add_byte(&text, 'y'));
        assert_true(buf_add(&text, SLICE("\r\n\r\n")));
        assert_int_equal(status_of(buf_slice(&text)), len <= REQUEST_HEAD_MAX ? 0 : 431);
        buf_free(&text);
    }
}

static void an_endless_line_is_refused_and_not_kept(void **state)
{
    char *much = xmalloc(1 << 20);

    (void)state;
    memset(much, 'a', 1 << 20);
    assert_int_equal(status_of(slice_make(much, 1 << 20)), 431);
    free(much);
}

static void the_parts_of_a_request_can_be_had(void **state)
{
    struct http_request *request = http_request_new(BODY_MAX);
    size_t used;

    (void)state;
    assert_false(http_request_began(request));
    assert_int_equal(http_request_feed(request,
                                       SLICE("POST /a/b?c=d?e HTTP/1.1\r\nHost: x\r\n"
                                             "authorization:  Bearer k \r\nContent-Length: 2\r\n"
                                             "Empty:\r\nConnection: foo, Close\r\n\r\n"),
                                       &used),
                     REQUEST_MORE);
    assert_true(http_request_began(request));
    assert_true(http_request_in_body(request));
    assert_int_equal(http_request_feed(request, SLICE("{}"), &used), REQUEST_COMPLETE);
    assert_false(http_request_in_body(request));
    assert_true(slice_equal(http_request_method(request), SLICE("POST")));
    assert_true(slice_equal(http_request_path(request), SLICE("/a/b")));
    assert_true(slice_equal(http_request_query(request), SLICE("c=d?e")));
    assert_true(slice_equal(http_request_body(request), SLICE("{}")));
    assert_true(
        slice_equal(http_request_field(request, SLICE("Authorization")), SLICE("Bearer k")));
    assert_true(slice_equal(http_request_field_exact(request, SLICE("Authorization")),
                            SLICE(" Bearer k ")));
    assert_true(http_request_field(request, SLICE("Empty")).data != NULL);
    assert_int_equal(http_request_field(request, SLICE("Empty")).len, 0);
    assert_null(http_request_field(request, SLICE("Absent")).data);
    assert_null(http_request_field_exact(request, SLICE("Absent")).data);
    assert_false(http_request_keeps_alive(request));

    http_request_reset(request);
    assert_false(http_request_began(request));
    assert_int_equal(http_request_feed(request, SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), &used),
                     REQUEST_COMPLETE);
    assert_null(http_request_field(request, SLICE("Authorization")).data);
    assert_int_equal(http_request_body(request).len, 0);
    assert_int_equal(http_request_query(request).len, 0);
    assert_true(http_request_keeps_alive(request));
    http_request_free(request);
}

static void a_client_is_told_once_to_continue_and_only_before_its_body(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        { POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", true },
        { POST "expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n", true },
        { POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{", false },
        { POST "Content-Length: 2\r\n\r\n", false },
        { "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", false },
        { POST "Expect: 100-continue\r\n", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request *request = http_request_new(BODY_MAX);
        size_t used;
        assert_int_equal(http_request_feed(request, slice_of(cases[i].text), &used), REQUEST_MORE);
        if (http_request_wants_continue(request) != cases[i].want)
            fail_msg("%s", cases[i].text);
        assert_false(http_request_wants_continue(request));
        http_request_free(request);
    }
}

static void pipelined_requests_come_out_one_by_one(void **state)
{
    static const char text[] = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" POST
                               "Content-Length: 3\r\n\r\nabc" CHUNKED "1\r\nz\r\n0\r\n\r\n"
                               "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char *const bodies[] = { "", "abc", "z", "" };
    struct http_request *request = http_request_new(BODY_MAX);
    struct slice rest = slice_of(text);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t used;
        assert_int_equal(http_request_feed(request, rest, &used), REQUEST_COMPLETE);
        assert_true(slice_equal(http_request_body(request), slice_of(bodies[i])));
        rest = slice_from(rest, used);
        http_request_reset(request);
    }
    assert_int_equal(rest.len, 0);
    http_request_free(request);
}

static void a_body_may_be_given_less_room_once_its_head_is_known(void **state)
{
    struct http_request *request = http_request_new(BODY_MAX);
    size_t used;

    (void)state;
    http_request_feed(request, SLICE(POST "Content-Length: 20\r\n\r\nabc"), &used);
    assert_true(http_request_in_body(request));
    assert_int_equal(http_request_body_length(request), 20);
    assert_int_equal(http_request_body_read(request), 3);
    assert_false(http_request_narrow(request, 19));
    assert_true(http_request_narrow(request, 20));
    http_request_make_room(request);
    assert_int_equal(http_request_feed(request, SLICE("defghijklmnopqrst"), &used),
                     REQUEST_COMPLETE);
    http_request_reset(request); /* forgets it */
    http_request_feed(request, SLICE(CHUNKED "3\r\nabc\r\n"), &used);
    assert_int_equal(http_request_body_length(request), 0); /* nobody knows */
    assert_false(http_request_narrow(request, 2));
    assert_true(http_request_narrow(request, 5));
    http_request_make_room(request);
    assert_int_equal(http_request_feed(request, SLICE("3\r\ndef\r\n"), &used), REQUEST_REFUSED);
    assert_int_equal(http_request_status(request), 413);
    http_request_free(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_requests_end_where_they_should_at_every_cut),
        cmocka_unit_test(what_two_readers_could_frame_in_two_ways_is_refused_at_every_cut),
        cmocka_unit_test(heads_are_bounded_in_fields_and_in_octets),
        cmocka_unit_test(an_endless_line_is_refused_and_not_kept),
        cmocka_unit_test(the_parts_of_a_request_can_be_had),
        cmocka_unit_test(a_client_is_told_once_to_continue_and_only_before_its_body),
        cmocka_unit_test(pipelined_requests_come_out_one_by_one),
        cmocka_unit_test(a_body_may_be_given_less_room_once_its_head_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
