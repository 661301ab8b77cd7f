/* macros.h - the three macros that every floor uses. */
#ifndef LATCHPOST_MACROS_H
#define LATCHPOST_MACROS_H

#include <stddef.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of this type whose `member` is at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* The result must be looked at: ignoring it is a bug that the compiler reports. */
#define MUST_USE __attribute__((warn_unused_result))

#endif
