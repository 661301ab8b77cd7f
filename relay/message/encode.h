/* encode.h - how do text and names travel in a message that is 7-bit? (pure)
 * Bodies: quoted-printable and base64 (RFC 2045 section 6). Header fields: folding, encoded words
 * (RFC 2047), display names, parameters (RFC 2231). Text is UTF-8; a byte that is none is carried
 * as it is. Nothing written here has a line over 998 octets or a CR or LF that ends none. */
#ifndef LATCHPOST_ENCODE_H
#define LATCHPOST_ENCODE_H

#include "relay/base/buf.h"

#define ENCODE_NAME_MAX 76 /* octets of a field's name */

/* The length of the UTF-8 character that `text` starts with (RFC 3629); 1 for a byte that starts
 * none. text is not empty. */
size_t encode_char_len(struct slice text);
/* Is there a byte that no header value holds: a control character other than a tab? */
bool encode_has_control(struct slice text);

/* --- bodies ----------------------------------------------------------------------------------- */

enum encode_transfer { ENCODE_7BIT, ENCODE_QUOTED_PRINTABLE, ENCODE_BASE64 };
const char *encode_transfer_name(enum encode_transfer transfer);

/* The plainest way in which this text survives, whatever ends its lines. */
enum encode_transfer encode_choose(struct slice text);

/* Appends the text, each of its lines (ended by CR LF, LF or CR) ended by CR LF, the last one too.
 * The empty text stays empty. False when *out is full. */
bool encode_text(struct slice text, enum encode_transfer transfer, struct buf *out) MUST_USE;

enum encode_wrap { ENCODE_WRAPPED, ENCODE_NOT_BASE64, ENCODE_FULL };
/* Base64 (strict, but for CR and LF that may stand anywhere) into lines of 76 characters. On
 * anything but ENCODE_WRAPPED *out holds a part of it. */
enum encode_wrap encode_wrap_base64(struct slice base64, struct buf *out);

/* --- header fields ---------------------------------------------------------------------------- */

/* One field being written: encode_start(), what it holds, encode_end(). */
struct encode_field {
    struct buf *out;
    size_t column;
    bool is_empty; /* nothing stands behind the colon yet */
    bool ok;       /* false once *out was full */
};

/* name: at most ENCODE_NAME_MAX octets, checked by the caller, like the words below. */
void encode_start(struct encode_field *field, struct buf *out, struct slice name);
bool encode_end(struct encode_field *field) MUST_USE; /* false when *out was full */

/* A word of at most 900 octets, with a blank or a fold before it. */
void encode_word(struct encode_field *field, struct slice word);
/* Unstructured text (RFC 5322 section 3.2.5): as it is where it can be, else in encoded words. */
void encode_unstructured(struct encode_field *field, struct slice text);
/* A display name: words, a quoted string, or encoded words. Not empty. */
void encode_phrase(struct encode_field *field, struct slice name);
/* "; name=value": a quoted string, or as RFC 2231 writes it, in pieces where it is long. */
void encode_parameter(struct encode_field *field, const char *name, struct slice value);
/* "; name=value" that somebody has written already and the caller has checked. */
void encode_parameter_as_is(struct encode_field *field, struct slice parameter);

/* Can it stand in a field as it is, folded at its blanks: printable ASCII in words of at most 900
 * octets, single blanks between them? */
bool encode_is_plain(struct slice text);

#endif
