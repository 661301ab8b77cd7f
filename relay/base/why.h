/* why.h - one full sentence about a failure, for a person.
 * Filled by the function that returned false; holds what, where (path, file and line) and what to
 * do. Bounded: longer text is cut. Bytes below 32 and 127 are replaced by '?', so that it is one
 * line wherever it is printed. A NULL why is accepted where nobody will read it. */
#ifndef LATCHPOST_WHY_H
#define LATCHPOST_WHY_H

#include <stdbool.h>

struct why {
    char text[512]; /* NUL-ended; empty until set */
};

/* Sets the sentence and returns false, so that callers can `return why_set(why, ...)`. */
bool why_set(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, ending in ": " and the text of this errno value. */
bool why_errno(struct why *why, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a formatted prefix before what is there. Returns false. */
bool why_prefix(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
