/* base64.h - bytes to text and back, strictly (pure).
 * Base64 is RFC 4648 section 4: padding required, spare bits zero, no blanks, no url-safe letters.
 * Base62 is for keys: digits 0-9A-Za-z, most significant first. */
#ifndef LATCHPOST_BASE64_H
#define LATCHPOST_BASE64_H

#include "relay/base/buf.h"

/* Decodes all of `text` and appends it to *out. False when it is not exactly one encoding, or *out
 * is full; *out is then unchanged. The empty text decodes to nothing. Constant time in the content
 * (libsodium). */
bool base64_decode(struct slice text, struct buf *out) MUST_USE;
bool base64_encode(struct slice bytes, struct buf *out) MUST_USE;

extern const char base62_digits[63];
/* Exactly `width` digits, zero-filled; the value modulo 62^width. */
void base62_format(uint64_t value, size_t width, char *text); /* no NUL is written */
bool base62_is_text(struct slice text);                       /* only base62 digits, at least one */

#endif
