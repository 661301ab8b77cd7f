/* fence_priv.h - the two halves of the fence, and what comes before them, for fence.c and its test.
 * Each holds for the calling thread and for those that it starts, for ever: it is put up before any
 * other thread exists. */
#ifndef LATCHPOST_FENCE_PRIV_H
#define LATCHPOST_FENCE_PRIV_H

#include "relay/reach.h"

/* The sanitizers trace their own process and start programs for their reports. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FENCE_HAS_GATE 1
#else
#define FENCE_HAS_GATE 0
#endif

/* Loads the code that libraries would load later, when none can be loaded. nsswitch_path: which
 * modules the name service has, /etc/nsswitch.conf. */
void fence_load_modules(const char *nsswitch_path);
/* Landlock: from now on only the places of `reach` can be opened, made, renamed or removed, and no
 * program can be run. Files that are open already stay so. From version 6 on no other process can
 * be signalled, either, nor one's abstract socket be spoken to, unless keep_abstract. False and
 * why: the kernel cannot. */
bool fence_close_files(const struct reach *reach, bool keep_abstract, struct why *why);
/* seccomp: from now on the system calls that this program has no use for are refused (EPERM), and
 * no memory becomes code. */
bool fence_close_calls(struct why *why);

#endif
