/* chunk.c - where does a chunked body end? (pure)
 * One octet, one step; data is skipped in one go. Only CR LF ends a line, a size is 1 to 16 hex
 * digits without blanks, an extension is short and printable, and the last chunk is followed by the
 * empty line at once: a trailer field would stand where two readers may differ about what it does.
 */
#include "relay/http/chunk.h"

void chunk_init(struct chunk *chunk)
{
    *chunk = (struct chunk){ .place = CHUNK_SIZE };
}

static int hex_value(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool step_size(struct chunk *chunk, char c)
{
    int digit = hex_value(c);

    if (digit >= 0) {
        chunk->left = chunk->left << 4 | (uint64_t)digit;
        return ++chunk->digits <= CHUNK_DIGITS_MAX;
    }
    chunk->place = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
    chunk->extension = 1;
    return chunk->digits > 0 && (c == '\r' || c == ';');
}

static bool step_extension(struct chunk *chunk, char c)
{
    if (c == '\r') {
        chunk->place = CHUNK_SIZE_LF;
        return true;
    }
    return ++chunk->extension <= CHUNK_EXTENSION_MAX && c > ' ' && c < 127;
}

static bool step_to(struct chunk *chunk, bool as_expected, enum chunk_place next)
{
    chunk->place = next;
    return as_expected;
}

static bool step(struct chunk *chunk, char c)
{
    switch (chunk->place) {
    case CHUNK_SIZE:
        return step_size(chunk, c);
    case CHUNK_EXTENSION:
        return step_extension(chunk, c);
    case CHUNK_SIZE_LF:
        return step_to(chunk, c == '\n', chunk->left > 0 ? CHUNK_DATA : CHUNK_LAST_CR);
    case CHUNK_DATA_CR:
        return step_to(chunk, c == '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        chunk->digits = 0;
        return step_to(chunk, c == '\n', CHUNK_SIZE);
    case CHUNK_LAST_CR:
        return step_to(chunk, c == '\r', CHUNK_LAST_LF);
    case CHUNK_LAST_LF:
        return step_to(chunk, c == '\n', CHUNK_ENDED);
    case CHUNK_DATA:
    case CHUNK_ENDED:
        break;
    }
    return false;
}

static size_t skip_data(struct chunk *chunk, size_t available)
{
    size_t len = chunk->left < available ? (size_t)chunk->left : available;

    chunk->left -= len;
    if (chunk->left == 0)
        chunk->place = CHUNK_DATA_CR;
    return len;
}

enum chunk_verdict chunk_follow(struct chunk *chunk, struct slice data, size_t *used)
{
    *used = 0;
    while (*used < data.len && chunk->place != CHUNK_ENDED) {
        if (chunk->place == CHUNK_DATA) {
            *used += skip_data(chunk, data.len - *used);
            continue;
        }
        if (!step(chunk, data.data[(*used)++]))
            return CHUNK_BAD;
    }
    return chunk->place == CHUNK_ENDED ? CHUNK_END : CHUNK_MORE;
}
