/* txt_owner.h - whose are the TXT records of this answer? (pure; for txt_lookup.c) */
#ifndef LATCHPOST_TXT_OWNER_H
#define LATCHPOST_TXT_OWNER_H

#include <stdbool.h>

/* packet: an answer whose form c-ares has accepted. True when all of its TXT records are of `asked`
 * or of the name that its aliases lead to. */
bool txt_owner_is(const unsigned char *packet, int len, const char *asked);

#endif
