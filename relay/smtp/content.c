/* content.c - the bytes of one message on their way from the client to the queue.
 * A small message, the common case, takes one pass: raw collects it while its header is looked for,
 * then the rewritten header and what stood behind it become the piece. From there on the body is
 * read straight into the piece. */
#include "relay/smtp/content.h"

#include <assert.h>

#include "relay/message/fixup.h"

#define UNANSWERED_MAX 2
#define RAW_SLACK      4096 /* of body that may stand behind the header in raw */
#define HEADER_GROWTH  512  /* what the rewritten header is usually longer */

_Static_assert(HEADER_GROWTH <= FIXUP_GROWTH_MAX, "it fits under the maximum");
_Static_assert(QUEUE_CHUNK_BYTES <= QUEUE_INLINE_MAX, "a piece that is no chunk yet fits inline");

void content_start(struct content *content, const struct content_setup *setup)
{
    *content = (struct content){ .setup = *setup };
    body_start(&content->body, setup->size_max, setup->line_max);
    buf_init(&content->raw, setup->header_max + RAW_SLACK);
    buf_init(&content->piece, QUEUE_CHUNK_BYTES);
}

void content_free(struct content *content)
{
    buf_free(&content->raw);
    buf_free(&content->piece);
}

void content_discard(struct content *content)
{
    if (content->chunks > 0 && content->phase != CONTENT_DISCARDED)
        queue_discard(content->setup.queue, content->setup.id);
    content->phase = CONTENT_DISCARDED;
    content_free(content);
}

/* --- chunks ----------------------------------------------------------------------------------- */

static void on_appended(void *owner, enum queue_result result) /* our loop, once per chunk */
{
    struct content *content = owner;

    content->unanswered--;
    if (result != QUEUE_OK && content->stored == QUEUE_OK) {
        content->stored = result;
        content_discard(content);
    }
    content->setup.appended(content->setup.owner);
}

void content_digest_rest(struct content *content)
{
    struct slice piece = buf_slice(&content->piece);
    size_t skip = content->undigested < piece.len ? content->undigested : piece.len;

    if (content->digest == NULL)
        return;
    content->undigested -= skip;
    digest_add(content->digest, slice_from(piece, skip));
}

static void send_chunk(struct content *content)
{
    content_digest_rest(content);
    content->chunk_bytes += buf_len(&content->piece);
    content->unanswered++;
    content->setup.hold(content->setup.owner);
    queue_append(content->setup.queue, content->setup.id, content->chunks++, &content->piece,
                 on_appended, content, content->setup.answers);
}

static size_t piece_room(const struct content *content)
{
    return QUEUE_CHUNK_BYTES - buf_len(&content->piece);
}

/* Moves from raw what the piece has room for. */
static void fill_piece(struct content *content)
{
    struct slice part = slice_first(buf_slice(&content->raw), piece_room(content));
    bool fits = buf_add(&content->piece, part);

    assert(fits);
    (void)fits;
    buf_consume(&content->raw, part.len);
    if (buf_len(&content->raw) == 0)
        buf_free(&content->raw);
}

/* True when the piece can take more of the body. */
static bool make_room(struct content *content)
{
    while (buf_len(&content->raw) > 0 || piece_room(content) == 0) {
        if (piece_room(content) > 0) {
            fill_piece(content);
            continue;
        }
        if (content->unanswered == UNANSWERED_MAX)
            return false;
        send_chunk(content);
    }
    return true;
}

bool content_has_room(const struct content *content)
{
    return content->phase != CONTENT_BODY || content->unanswered < UNANSWERED_MAX ||
           (buf_len(&content->raw) == 0 && piece_room(content) > 0);
}

bool content_flush(struct content *content)
{
    if (content->chunks == 0 && buf_len(&content->raw) == 0)
        return true;
    if (!make_room(content))
        return false;
    if (buf_len(&content->piece) > 0) {
        if (content->unanswered == UNANSWERED_MAX)
            return false;
        send_chunk(content);
    }
    return content->unanswered == 0;
}

uint64_t content_size(const struct content *content)
{
    return content->chunk_bytes + buf_len(&content->piece);
}

/* --- the header ------------------------------------------------------------------------------- */

/* The rewritten header with what already came behind it takes the place of raw, or is the piece at
 * once when it fits. */
static void take_header(struct content *content, size_t header_len)
{
    struct slice raw = buf_slice(&content->raw);
    struct slice behind = slice_from(raw, header_len);
    struct buf out;

    buf_init(&out, raw.len + FIXUP_GROWTH_MAX);
    bool ok = buf_reserve(&out, raw.len + HEADER_GROWTH) != NULL && /* once, not in steps */
              content->setup.header(content->setup.owner, slice_first(raw, header_len), &out);
    content->undigested = buf_len(&out);
    bool fits = !ok || buf_add(&out, behind);
    assert(fits); /* what FIXUP_GROWTH_MAX promises: else the body would be lost with a 250 */
    (void)fits;
    if (content->body.eight_bit) /* perhaps only in a field that was dropped */
        content->body.eight_bit = body_has_eight_bit(buf_slice(&out));
    if (!ok) {
        content_discard(content);
    } else if (buf_len(&out) <= QUEUE_CHUNK_BYTES) {
        content->phase = CONTENT_BODY;
        buf_free(&content->raw);
        buf_move(&content->piece, &out);
        content->piece.max = QUEUE_CHUNK_BYTES;
    } else {
        content->phase = CONTENT_BODY;
        buf_move(&content->raw, &out);
    }
    buf_free(&out);
}

static void look_for_header(struct content *content, bool ended)
{
    struct slice raw = buf_slice(&content->raw);
    size_t end = header_find_end(raw, content->scanned);

    content->scanned = raw.len;
    if (end == SLICE_NONE && ended)
        end = raw.len; /* a message may be all header */
    if ((end == SLICE_NONE ? raw.len : end) > content->setup.header_max) {
        content->header_too_large = true;
        content_discard(content);
    } else if (end != SLICE_NONE) {
        take_header(content, end);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static struct buf *target(struct content *content)
{
    struct buf *const targets[] = {
        [CONTENT_HEADER] = &content->raw,
        [CONTENT_BODY] = &content->piece,
        [CONTENT_DISCARDED] = NULL,
    };
    return targets[content->phase];
}

size_t content_read(struct content *content, struct slice data, bool *ended)
{
    size_t used = 0;

    *ended = false;
    while (!*ended && used < data.len && (content->phase != CONTENT_BODY || make_room(content))) {
        size_t step;
        *ended = body_read(&content->body, slice_from(data, used), &step, target(content));
        used += step;
        if (content->body.faults != 0)
            content_discard(content);
        else if (content->phase == CONTENT_HEADER)
            look_for_header(content, *ended);
    }
    content->received += used;
    return used;
}
