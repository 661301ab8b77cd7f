/* digest.h - are these the same bytes as those of another time?
 * A fingerprint of 32 bytes (BLAKE2b-256, unkeyed): two texts with one fingerprint cannot be found.
 * Not for secrets. Any thread; one owner at a time. */
#ifndef LATCHPOST_DIGEST_H
#define LATCHPOST_DIGEST_H

#include "relay/base/slice.h"

#define DIGEST_BYTES 32

struct digest; /* opaque */

struct digest *digest_new(void);
void digest_free(struct digest *digest); /* accepts NULL */
/* The bytes only, so that it does not matter how they were cut. */
void digest_add(struct digest *digest, struct slice bytes);
/* Its length, then the bytes: where one part ends and the next begins is in the fingerprint, too.
 */
void digest_add_part(struct digest *digest, struct slice part);
/* Nothing may be added behind this. */
void digest_finish(struct digest *digest, uint8_t fingerprint[static DIGEST_BYTES]);

#endif
