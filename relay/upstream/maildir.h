/* maildir.h - the kind of upstream that writes files (see upstream_priv.h). */
#ifndef LATCHPOST_MAILDIR_H
#define LATCHPOST_MAILDIR_H

struct upstream_kind;
extern const struct upstream_kind maildir_kind;

#endif
