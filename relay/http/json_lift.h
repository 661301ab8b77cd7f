/* json_lift.h - how is a long text in JSON read without a look at each octet by a general parser?
 * (pure) Seen by relay/http/ and tests only. */
#ifndef LATCHPOST_JSON_LIFT_H
#define LATCHPOST_JSON_LIFT_H

#include <jansson.h>

#include "relay/base/slice.h"

#define JSON_LIFT_MIN 256 /* octets of a text from which on it is worth it */

/* What jansson makes of this text with JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, or NULL: it has no
 * long text, or is not simple enough (nested deeply, for one), or not JSON at all. Then ask
 * jansson, which also says where it is wrong. */
json_t *json_lift(struct slice text);

/* The length, as written, of the text of which `rest` begins behind its first quote; SLICE_NONE: it
 * has no end. */
size_t json_lift_text_len(struct slice rest);

#endif
