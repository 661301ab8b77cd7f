/* compose.h - structured fields to a MIME message (pure; RFC 5322, RFC 2045 to 2047, 2231, 2387)
 * The message is 7-bit, its lines end with CR LF only and are folded at 76 columns where they can
 * be, none is over 998 octets, and two readers find the same in it. There is no Bcc to be given:
 * whoever gets a blind copy stands in the envelope only. Received, Date and Message-ID are added
 * where every message gets them (fixup.h). */
#ifndef LATCHPOST_COMPOSE_H
#define LATCHPOST_COMPOSE_H

#include "relay/base/buf.h"

#define COMPOSE_WHERE_BYTES    96
#define COMPOSE_FILENAME_MAX   255
#define COMPOSE_CONTENT_ID_MAX 200

struct compose_address { /* UTF-8 name, may be empty; address: one that address.h has accepted, its
                            domain in its one spelling */
    struct slice name, address;
};
struct compose_addresses {
    struct compose_address *items;
    size_t count;
};
struct compose_header { /* one more field of the message */
    struct slice name, value;
};
struct compose_attachment {
    struct slice filename;   /* may be empty */
    struct slice type;       /* "image/png", parameters may follow; empty: by the file name */
    struct slice content_id; /* without brackets; empty: none */
    struct slice base64;     /* of the content */
    bool is_inline;
};
struct compose_mail { /* all of it borrowed; texts are UTF-8 */
    struct compose_address from;
    struct compose_addresses to, cc, reply_to;
    bool has_subject;
    struct slice subject;
    const struct compose_header *headers;
    size_t header_count;
    bool has_text, has_html; /* an empty one is one */
    struct slice text, html;
    const struct compose_attachment *attachments;
    size_t attachment_count;
    const char *id; /* of the message; boundaries are made of it */
};

enum compose_error {
    COMPOSE_OK,
    COMPOSE_TOO_LARGE,        /* *out is full */
    COMPOSE_BAD_VALUE,        /* a CR, LF, NUL or other control character in a header's value */
    COMPOSE_BAD_NAME,         /* of a header */
    COMPOSE_FORBIDDEN_HEADER, /* one that has a field of its own, or is not for a client to set */
    COMPOSE_BAD_MESSAGE_ID,   /* Message-ID, In-Reply-To, References */
    COMPOSE_BAD_TYPE,
    COMPOSE_BAD_CONTENT_ID,
    COMPOSE_BAD_CONTENT,   /* not base64 */
    COMPOSE_LONG_FILENAME, /* over COMPOSE_FILENAME_MAX octets */
    COMPOSE_NUL,           /* in text or html */
};
struct compose_reason {
    enum compose_error error;
    char where[COMPOSE_WHERE_BYTES]; /* "subject", "attachments[1].filename"; may hold any bytes of
                                        a header's name */
};
/* Appends the whole message to *out, whose maximum is the largest message there may be. On anything
 * but COMPOSE_OK it may hold a part of it. */
struct compose_reason compose_mail(const struct compose_mail *mail, struct buf *out);

const char *compose_error_text(enum compose_error error); /* a phrase for people; never NULL */

#endif
