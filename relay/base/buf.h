/* buf.h - bytes that grow, up to a maximum given at birth.
 * A struct buf is embedded in its owner; buf_init() makes it usable without allocating. Adding
 * past the maximum changes nothing and returns false: that is an answer to a peer, not a bug.
 * Taken bytes leave at the front. Not thread-safe: one owner at a time. */
#ifndef LATCHPOST_BUF_H
#define LATCHPOST_BUF_H

#include <stdarg.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"

struct buf {
    char *data;      /* private: use buf_slice() */
    size_t start;    /* private: bytes already consumed */
    size_t end;      /* private */
    size_t capacity; /* private: bytes allocated */
    size_t max;      /* most bytes it may hold at once */
};

void buf_init(struct buf *buf, size_t max_bytes);

/* Frees the memory and leaves an empty buf with the same maximum. Accepts a zeroed struct. */
void buf_free(struct buf *buf);
/* The same for secrets: the memory is wiped (sodium_memzero) before it is freed. */
void buf_wipe(struct buf *buf);

static inline size_t buf_len(const struct buf *buf)
{
    return buf->end - buf->start;
}

/* What it holds. Borrowed until the buf is next changed. */
static inline struct slice buf_slice(const struct buf *buf)
{
    return buf->data == NULL ? slice_make(NULL, 0)
                             : slice_make(buf->data + buf->start, buf->end - buf->start);
}

/* Appends. False, with nothing appended, when that would pass the maximum. */
bool buf_add(struct buf *buf, struct slice bytes) MUST_USE;
bool buf_add_byte(struct buf *buf, char byte) MUST_USE;
bool buf_printf(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3))) MUST_USE;
bool buf_vprintf(struct buf *buf, const char *format, va_list args) MUST_USE;

/* Room for `len` more bytes to be written directly, followed by buf_commit() with as many as were
 * written; NULL when the maximum does not allow it. One byte more may be overwritten, for the NUL
 * that some functions add; it is not part of the content. */
char *buf_reserve(struct buf *buf, size_t len) MUST_USE;
void buf_commit(struct buf *buf, size_t len);

/* Drops `len` bytes from the front; memory is kept. When it becomes empty the space is reused. */
void buf_consume(struct buf *buf, size_t len);

/* Empties it, keeping the memory. */
void buf_clear(struct buf *buf);

/* Moves all content, memory and the maximum from *from to *to; *to is freed first, *from is left
 * empty with its maximum. */
void buf_move(struct buf *to, struct buf *from);

#endif
