/* map.h - what belongs to this key? A hash map from byte strings to pointers.
 * Open addressing, the hash is seeded at random per process so that peers cannot choose
 * collisions. Keys are copied; values are borrowed. Not thread-safe. */
#ifndef LATCHPOST_MAP_H
#define LATCHPOST_MAP_H

#include "relay/base/slice.h"

struct map;

struct map *map_new(void);
void map_free(struct map *map); /* accepts NULL; the values stay with whoever owns them */

size_t map_count(const struct map *map);
void *map_find(const struct map *map, struct slice key); /* or NULL */
/* Adds or replaces; returns the value replaced, or NULL. value: not NULL. */
void *map_put(struct map *map, struct slice key, void *value);
void *map_remove(struct map *map, struct slice key); /* the value removed, or NULL */

/* Calls visit for each pair in no particular order. The map must not be changed meanwhile. */
typedef void map_visit_fn(void *owner, struct slice key, void *value);
void map_each(const struct map *map, map_visit_fn *visit, void *owner);

#endif
