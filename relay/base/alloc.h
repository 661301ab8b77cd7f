/* alloc.h - memory that is there, or the process is not.
 * Each function succeeds or writes one line to standard error and aborts. The queue on disk makes
 * that safe, so callers have no out-of-memory paths. It also means that every size a peer can
 * influence must be bounded before it gets here. Any thread. */
#ifndef LATCHPOST_ALLOC_H
#define LATCHPOST_ALLOC_H

#include <stddef.h>

/* Freed memory goes back to the kernel above a few megabytes only. Without this a block of 64 KiB
 * that is freed at the end of a heap goes back at once, and the next one is cleared by the kernel
 * again: with large messages that was a sixth of all work. Before the first thread; for servers. */
void alloc_keep_spare(void);

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size); /* zeroed; aborts when count * size overflows */
void *xrealloc(void *pointer, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *data, size_t len); /* copies exactly len bytes and adds a NUL */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
