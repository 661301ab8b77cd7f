/* bounds.h - can this new key do no more than the key that makes it? (pure)
 * Seen by relay/http/ and tests only. */
#ifndef LATCHPOST_BOUNDS_H
#define LATCHPOST_BOUNDS_H

#include "auth/auth.h"

/* maker: the key that asks; spec: the key it asks for, its domains and addresses in their one
 * spelling. Restrictions are compared one by one, and where the maker has one the new key must name
 * its own: what is left out means "all". The scopes are the caller's to compare. False, with the
 * reason, when the new key could do more. */
bool bounds_permit(const struct auth_key_view *maker, const struct auth_key_spec *spec,
                   struct why *why);

/* Does a pattern cover all that another one covers? "*.a.b" covers "*.c.a.b" and "c.a.b". */
bool bounds_pattern_covers(struct slice pattern, struct slice other);
/* Does a network ("10.0.0.0/8", "2001:db8::1") hold all of another one? False, too, when either is
 * not readable. */
bool bounds_network_covers(struct slice network, struct slice other);

#endif
