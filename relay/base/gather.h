/* gather.h - how do many small writes of SQLite become a few large ones?
 * A VFS of SQLite over the default one. Only for databases that one connection holds in EXCLUSIVE
 * mode: shared memory is not offered. Only db.c uses it. */
#ifndef LATCHPOST_GATHER_H
#define LATCHPOST_GATHER_H

/* The name to give sqlite3_open_v2(); registers the VFS at the first call. Any thread. NULL when
 * SQLite has no memory for that. */
const char *gather_vfs(void);

#endif
