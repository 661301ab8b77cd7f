/* buf.c - bytes that grow, up to a maximum given at birth.
 * The block is one byte larger than `capacity`, so that functions which end their output with a NUL
 * can write up to the maximum. A buf cannot know whether it holds a secret; therefore a block that
 * was outgrown is wiped before it is freed, and buf_wipe() has only one block to care for. */
#include "relay/base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "relay/base/alloc.h"

#define SPARE_BYTES 256

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){ .max = max_bytes };
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    buf_init(buf, buf->max);
}

void buf_wipe(struct buf *buf)
{
    if (buf->data != NULL)
        sodium_memzero(buf->data, buf->capacity + 1);
    buf_free(buf);
}

/* Doubles, so that adding costs the same however it is sliced; never past the maximum. Behind what
 * needs more than that something short often follows, and finds room. */
static size_t next_capacity(const struct buf *buf, size_t need)
{
    size_t capacity = buf->capacity > buf->max / 2 ? buf->max : buf->capacity * 2;
    size_t spare = buf->max - need < SPARE_BYTES ? buf->max - need : SPARE_BYTES;

    return capacity < need + spare ? need + spare : capacity;
}

static void move_to_block(struct buf *buf, size_t capacity)
{
    char *data = xmalloc(capacity + 1);
    size_t len = buf_len(buf);

    if (buf->data != NULL) {
        memcpy(data, buf->data + buf->start, len);
        sodium_memzero(buf->data, buf->capacity + 1);
    }
    free(buf->data);
    buf->data = data;
    buf->start = 0;
    buf->end = len;
    buf->capacity = capacity;
}

char *buf_reserve(struct buf *buf, size_t len)
{
    size_t held = buf_len(buf);

    if (len > buf->max || held > buf->max - len)
        return NULL;
    if (buf->data == NULL || held + len > buf->capacity) {
        move_to_block(buf, next_capacity(buf, held + len));
    } else if (buf->end + len > buf->capacity) {
        memmove(buf->data, buf->data + buf->start, held);
        buf->start = 0;
        buf->end = held;
    }
    return buf->data + buf->end;
}

void buf_commit(struct buf *buf, size_t len)
{
    assert(len <= buf->capacity - buf->end);
    buf->end += len;
}

bool buf_add(struct buf *buf, struct slice bytes)
{
    if (bytes.len == 0)
        return true;
    char *room = buf_reserve(buf, bytes.len);

    if (room == NULL)
        return false;
    memcpy(room, bytes.data, bytes.len);
    buf_commit(buf, bytes.len);
    return true;
}

bool buf_add_byte(struct buf *buf, char byte)
{
    return buf_add(buf, slice_make(&byte, 1));
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    bool ok = buf_vprintf(buf, format, args);
    va_end(args);
    return ok;
}

bool buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    size_t free_bytes = buf->capacity - buf->end; /* and the spare byte, where the NUL lands */
    char *room = buf->data == NULL ? NULL : buf->data + buf->end;
    int len = vsnprintf(room, room == NULL ? 0 : free_bytes + 1, format, args);
    if (len < 0) {
        room = NULL;
    } else if (room == NULL || (size_t)len > free_bytes) {
        room = buf_reserve(buf, (size_t)len);
        if (room != NULL)
            vsnprintf(room, (size_t)len + 1, format, again);
    }
    if (room != NULL)
        buf_commit(buf, (size_t)len);
    va_end(again);
    return room != NULL;
}

void buf_consume(struct buf *buf, size_t len)
{
    assert(len <= buf_len(buf));
    buf->start += len;
    if (buf->start == buf->end)
        buf_clear(buf);
}

void buf_clear(struct buf *buf)
{
    buf->start = 0;
    buf->end = 0;
}

void buf_move(struct buf *to, struct buf *from)
{
    assert(to != from);
    buf_free(to);
    *to = *from;
    buf_init(from, to->max);
}
