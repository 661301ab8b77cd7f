/* reach.h - which places in the file system does a configuration need?
 * The folders that are written (state, control socket, maildirs), the files that are read again at
 * a reload with the folders they stand in, since a renewed file is another one of that name, and
 * what the libraries read (CAs, resolver, name service). Made from the file alone, before anything
 * that it names is opened. Main thread. */
#ifndef LATCHPOST_REACH_H
#define LATCHPOST_REACH_H

#include <stddef.h>

#include "relay/base/why.h"

enum reach_access {
    REACH_LIST,  /* the names in a folder */
    REACH_READ,  /* a file, or a folder with all below it */
    REACH_WRITE, /* a file, or a folder with all below it: also make, rename and remove */
};

struct reach_place {
    char *path;   /* as it stands in the configuration */
    char *actual; /* the absolute path behind it, without symbolic links; NULL: there is none */
    enum reach_access access;
    bool is_ours; /* of a setting that a reload can change */
};

struct reach {
    struct reach_place *places;
    size_t count;
};

/* NULL and why: the configuration cannot be read. What is not
 * there is left out, unless a setting names it. */
struct reach *reach_new(const char *config_path, struct why *why);
/* Does `reach` hold every place that `wanted` has by its settings? False and why, with the path. */
bool reach_covers(const struct reach *reach, const struct reach *wanted, struct why *why);
/* Files that this process (as it is now) cannot read, one after the other: NULL at the end. */
const char *reach_unreadable(const struct reach *reach, size_t *at);
void reach_free(struct reach *reach); /* accepts NULL */

#endif
