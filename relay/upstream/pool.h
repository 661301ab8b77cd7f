/* pool.h - the kind of upstream that speaks SMTP (see upstream_priv.h). */
#ifndef LATCHPOST_POOL_H
#define LATCHPOST_POOL_H

struct upstream_kind;
extern const struct upstream_kind pool_kind;

#endif
