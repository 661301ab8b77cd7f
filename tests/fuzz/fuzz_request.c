/* fuzz_request.c - any bytes as HTTP requests on one connection.
 * However they are cut, the same requests must come out, or the same refusal; nothing may be used
 * that was not given, and nothing kept that is over the limits. The first byte chooses the cut. */
#include <assert.h>

#include "relay/http/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BODY_MAX 512

static void add(struct buf *out, struct slice text)
{
    bool ok = buf_add(out, text) && buf_add_byte(out, '\n');

    assert(ok);
    (void)ok;
}

static void describe(const struct http_request *request, struct buf *out)
{
    assert(http_request_body(request).len <= BODY_MAX);
    assert(http_request_path(request).len > 0 && http_request_path(request).data[0] == '/');
    add(out, http_request_method(request));
    add(out, http_request_path(request));
    add(out, http_request_query(request));
    add(out, http_request_body(request));
    add(out, http_request_field(request, SLICE("Authorization")));
    add(out, http_request_field_exact(request, SLICE("X-API-Key")));
    add(out, http_request_keeps_alive(request) ? SLICE("on") : SLICE("off"));
}

/* Everything that comes out, as text. */
static void run(struct slice text, size_t step, struct buf *out)
{
    struct http_request *request = http_request_new(BODY_MAX);
    enum http_request_state state = REQUEST_MORE;

    while (text.len > 0 && state != REQUEST_REFUSED) {
        size_t used;
        struct slice part = slice_first(text, step);
        state = http_request_feed(request, part, &used);
        assert(used <= part.len && (state != REQUEST_MORE || used == part.len));
        text = slice_from(text, used);
        if (state == REQUEST_COMPLETE) {
            describe(request, out);
            http_request_reset(request);
        }
    }
    if (state == REQUEST_REFUSED) {
        assert(http_request_status(request) >= 400 && http_request_status(request) <= 505);
        add(out, slice_of(http_request_problem(request)));
    }
    http_request_free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, cut;

    if (size < 2)
        return 0;
    buf_init(&whole, 64 << 20);
    buf_init(&cut, 64 << 20);
    run(slice_make(data + 1, size - 1), size, &whole);
    run(slice_make(data + 1, size - 1), 1 + data[0] % 61, &cut);
    assert(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
