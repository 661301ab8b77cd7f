/* chunk.h - where does a chunked body end? (pure)
 * Follows the framing of RFC 9112 section 7.1 beside llhttp, which takes extensions of any length,
 * trailers and any number of leading zeros. Seen by relay/http/request.c and tests only. */
#ifndef LATCHPOST_CHUNK_H
#define LATCHPOST_CHUNK_H

#include "relay/base/slice.h"

#define CHUNK_DIGITS_MAX    16  /* of a size: 64 bits */
#define CHUNK_EXTENSION_MAX 128 /* octets behind the size of one chunk, semicolon included */

struct chunk { /* all of it private */
    enum chunk_place {
        CHUNK_SIZE,
        CHUNK_EXTENSION,
        CHUNK_SIZE_LF,
        CHUNK_DATA,
        CHUNK_DATA_CR,
        CHUNK_DATA_LF,
        CHUNK_LAST_CR,
        CHUNK_LAST_LF,
        CHUNK_ENDED,
    } place;
    unsigned digits;    /* of the size being read */
    unsigned extension; /* octets of the extension being read */
    uint64_t left;      /* octets of the chunk that are still to come */
};

void chunk_init(struct chunk *chunk);

enum chunk_verdict { CHUNK_MORE, CHUNK_END, CHUNK_BAD };
/* Goes through `data`. *used: up to and with the end of the body on CHUNK_END, up to and with the
 * octet that is wrong on CHUNK_BAD, else all. */
enum chunk_verdict chunk_follow(struct chunk *chunk, struct slice data, size_t *used);

#endif
