/* slice.h - which bytes are meant? A borrowed pointer and a length; never owns, never NUL-ended.
 * Pure: no allocation but slice_dup(). Case folding is ASCII only, independent of the locale.
 * An empty slice may have no data, and neither memcmp() nor pointer arithmetic likes NULL: each
 * function asks for the length before it touches the pointer. */
#ifndef LATCHPOST_SLICE_H
#define LATCHPOST_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *data; /* may be NULL only when len is 0 */
    size_t len;
};

/* For printf("%.*s", SLICE_ARG(s)). The caller has bounded s.len below INT_MAX. */
#define SLICE_ARG(s) (int)(s).len, (s).data

/* A slice of a string literal. */
#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })

static inline struct slice slice_make(const void *data, size_t len)
{
    return (struct slice){ (const char *)data, len };
}

static inline struct slice slice_of(const char *text) /* text: NUL-ended, or NULL for empty */
{
    return (struct slice){ text, text == NULL ? 0 : strlen(text) };
}

/* From `start` (clamped to the length) to the end; and the first `len` (clamped) bytes. These and
 * slice_find() stand here because parsers call them for each line. */
static inline struct slice slice_from(struct slice s, size_t start)
{
    if (start > s.len)
        start = s.len;
    return start == 0 ? s : slice_make(s.data + start, s.len - start);
}

static inline struct slice slice_first(struct slice s, size_t len)
{
    return slice_make(s.data, len < s.len ? len : s.len);
}

bool slice_equal(struct slice a, struct slice b);
bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends_nocase(struct slice s, struct slice suffix);

/* Without the spaces and tabs at both ends. */
struct slice slice_trim(struct slice s);

/* Offset of the first `byte`, or SLICE_NONE. */
#define SLICE_NONE ((size_t)-1)
static inline size_t slice_find(struct slice s, char byte)
{
    const char *found = s.len == 0 ? NULL : (const char *)memchr(s.data, byte, s.len);

    return found == NULL ? SLICE_NONE : (size_t)(found - s.data);
}

/* Cuts *rest at the first `separator`: returns what stands before it and leaves *rest behind it.
 * Without a separator returns all of *rest and leaves it empty with data == NULL. */
struct slice slice_cut(struct slice *rest, char separator);

/* Decimal digits only, at least one, no sign, no blank. False when not a number; a number that
 * does not fit becomes UINT64_MAX and returns true (callers compare it with a limit). */
bool slice_to_u64(struct slice s, uint64_t *value);

/* ASCII case and classes. */
char ascii_lower(char c);
bool ascii_is_alnum(char c);
bool ascii_is_digit(char c);

/* A NUL-ended copy that the caller frees. */
char *slice_dup(struct slice s);

#endif
