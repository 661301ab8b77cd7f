/* content_type.h - which media type does a client's attachment have? (pure; RFC 2045 section 5.1)
 * Seen by compose.c and tests only. */
#ifndef LATCHPOST_CONTENT_TYPE_H
#define LATCHPOST_CONTENT_TYPE_H

#include "relay/message/encode.h"

/* type/subtype, then parameters that are not ours to set (boundary), each a token or a quoted
 * string of printable ASCII, each once. Not multipart/ or message/, which cannot be in base64 (RFC
 * 2046 section 5.2.1). */
bool content_type_is_readable(struct slice type);
/* Writes what content_type_is_readable() has accepted, folded between its parameters. */
void content_type_write(struct slice type, struct encode_field *field);

/* By the last part of its name; "application/octet-stream" where that says nothing. */
const char *content_type_of_file(struct slice filename);

#endif
