/* content.h - the bytes of one message on their way from the client to the queue.
 * Collects the header block, has its owner judge and rewrite it, and lets the body follow: all in
 * one piece when it is small, else in chunks handed to the queue as they fill. Holds at most the
 * header block and one chunk, with two more on their way to the disk; what is refused is read to
 * its end and not kept. Embedded in its transaction. */
#ifndef LATCHPOST_CONTENT_H
#define LATCHPOST_CONTENT_H

#include "queue/queue.h"
#include "relay/base/digest.h"
#include "relay/smtp/body.h"

struct content_setup {
    struct queue *queue;
    struct mailbox *answers;
    int64_t id;
    size_t header_max;
    uint64_t size_max;
    size_t line_max;
    /* The header block is complete: append what shall be stored in its place. False: refused;
     * nothing is kept from then on. */
    bool (*header)(void *owner, struct slice block, struct buf *out);
    /* A chunk was handed to the queue / was answered: the first keeps the owner alive until the
     * second, which may free it. */
    void (*hold)(void *owner);
    void (*appended)(void *owner);
    void *owner;
};

enum content_phase {
    CONTENT_HEADER,
    CONTENT_BODY,
    CONTENT_DISCARDED, /* read, not kept */
};

struct content {
    struct content_setup setup;
    enum content_phase phase;
    struct body body;
    struct buf raw;      /* the header so far; behind it, what the piece has no room for yet */
    size_t scanned;      /* of raw, for the end of the header */
    struct buf piece;    /* all of it, or what the next chunk will be */
    uint32_t chunks;     /* handed to the queue */
    unsigned unanswered; /* of these */
    uint64_t chunk_bytes;
    uint64_t received; /* octets on the wire */
    bool header_too_large;
    struct digest *digest;    /* of what stands behind the header; set by `header`, or NULL; lent */
    size_t undigested;        /* octets of the header that are still to come */
    enum queue_result stored; /* QUEUE_OK until a chunk was not */
};

void content_start(struct content *content, const struct content_setup *setup);
void content_free(struct content *content); /* accepts a zeroed struct; forgets what is in memory */

/* Reads until the message ends (*ended), data ends, or content_has_room() is false. Returns the
 * bytes taken. */
size_t content_read(struct content *content, struct slice data, bool *ended);
/* False: two chunks are unanswered and a third is full; `appended` will be called. */
bool content_has_room(const struct content *content);

/* After the end: hands over what is left of a message in chunks. True once the queue has all of it
 * (a small one stays in `piece`); else `appended` will be called, then ask again. */
bool content_flush(struct content *content);
uint64_t content_size(const struct content *content); /* as stored */
/* Of a small one, after its end: all of it is in the digest now. */
void content_digest_rest(struct content *content);

/* Keeps nothing any more and lets the queue forget what it has. May be called twice. */
void content_discard(struct content *content);

#endif
