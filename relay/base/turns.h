/* turns.h - who is next? A line in which accounts take turns, and within an account its keys do.
 * Whoever waits does so by a list node of its own, which the line borrows until it is taken. Each
 * account that waits comes up once before any comes up again, however many of its own wait; the
 * same holds for the keys of an account in its turns; within a key it is first come, first served.
 * Nobody has priority. Each call costs the same however many wait, of however many accounts. Not
 * thread-safe. */
#ifndef LATCHPOST_TURNS_H
#define LATCHPOST_TURNS_H

#include <stddef.h>

#include "relay/base/list.h"
#include "relay/base/slice.h"

struct turns;

struct turns *turns_new(void);
void turns_free(struct turns *turns); /* clears it; accepts NULL */

size_t turns_count(const struct turns *turns); /* nodes that wait */

/* The node goes behind all others of its key. The names are copied. */
void turns_add(struct turns *turns, struct list *node, struct slice account, struct slice key);
/* It is the next of all: for one that had its turn and could not use it. */
void turns_add_first(struct turns *turns, struct list *node, struct slice account,
                     struct slice key);

/* The next one, unlinked, and the same without taking it; NULL: nobody waits. */
struct list *turns_take(struct turns *turns);
struct list *turns_first(const struct turns *turns);
/* All of them leave the line. */
void turns_clear(struct turns *turns);

#endif
