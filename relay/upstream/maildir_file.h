/* maildir_file.h - one file of a maildir on its way to the disk.
 * Blocks, for as long as the disk does. Any thread, one at a time. */
#ifndef LATCHPOST_MAILDIR_FILE_H
#define LATCHPOST_MAILDIR_FILE_H

#include <stdint.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/base/why.h"

#define MAILDIR_NAME_BYTES 256 /* most that a file system takes, and the NUL */

struct maildir_file {
    const char *root; /* borrowed */
    int fd;           /* -1: not made yet, complete, or removed */
    char name[MAILDIR_NAME_BYTES];
};

/* id: of the message; the name is made of it, the time and this machine's name. Does not block. */
void maildir_file_init(struct maildir_file *file, const char *root, const char *id, int64_t now_s);
/* Appends to it; makes it, and the folders, where it is not there yet. last: then it is complete,
 * and survives a power cut. When it fails nothing is left of it. */
bool maildir_file_write(struct maildir_file *file, struct slice bytes, bool last,
                        struct why *why) MUST_USE;
/* Drops what is not complete. */
void maildir_file_remove(struct maildir_file *file);

/* Makes the folders where they are missing. Can mail be written there? */
bool maildir_check(const char *root, struct why *why);

#endif
