/* alloc.c - memory that is there, or the process is not.
 * The last words go straight to standard error: the log needs memory of its own to be polite. */
#include "relay/base/alloc.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPARE_BYTES_MAX (4 * 1024 * 1024) /* of each heap: about one a thread */

void alloc_keep_spare(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, SPARE_BYTES_MAX);
}

static _Noreturn void give_up(size_t size)
{
    char line[96];
    int len =
        snprintf(line, sizeof(line), "latchpost: out of memory (asked for %zu bytes)\n", size);

    if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
        abort(); /* nothing is left to say it with */
    abort();
}

/* Asking for nothing is allowed and yields a pointer to free, so that NULL always means failure. */
static size_t at_least_one(size_t size)
{
    return size == 0 ? 1 : size;
}

void *xmalloc(size_t size)
{
    void *pointer = malloc(at_least_one(size));

    if (pointer == NULL)
        give_up(size);
    return pointer;
}

void *xcalloc(size_t count, size_t size)
{
    void *pointer = calloc(at_least_one(count), at_least_one(size));

    if (pointer == NULL)
        give_up(count > 0 && size > SIZE_MAX / count ? SIZE_MAX : count * size);
    return pointer;
}

void *xrealloc(void *pointer, size_t size)
{
    void *moved = realloc(pointer, at_least_one(size));

    if (moved == NULL)
        give_up(size);
    return moved;
}

char *xstrdup(const char *text)
{
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *data, size_t len)
{
    if (len == SIZE_MAX)
        give_up(len);
    char *copy = xmalloc(len + 1);

    if (len > 0) /* an empty slice may have no data */
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        give_up(0);
    return text;
}
