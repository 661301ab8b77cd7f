/* parcel.h - a draft to what the queue stores: composed, judged, rewritten (no I/O; any thread)
 * The same rules as for mail that comes by SMTP: the key's senders and recipients, the header rule
 * over the header as it will be sent, the limits, the fields that a submission server adds. Seen by
 * relay/http/ and tests only. */
#ifndef LATCHPOST_PARCEL_H
#define LATCHPOST_PARCEL_H

#include "relay/http/mail_request.h"

struct parcel { /* zeroed before its first use */
    int64_t id;
    char *sender, *message_id;
    struct api_texts recipients; /* of the envelope, each once */
    struct buf head;             /* the header as it is stored, and behind it ... */
    struct buf composed;         /* ... this, from body_at on */
    size_t body_at;
};

struct parcel_facts {
    const struct auth_grant *grant;
    struct api_mail rules;
    const char *address, *tls; /* of the client; or NULL */
    size_t room;               /* most octets of this message */
};

/* False: see *refusal. *parcel is freed by parcel_free() in any case. */
bool parcel_make(struct parcel *parcel, struct mail_draft *draft, const struct parcel_facts *facts,
                 struct mail_refusal *refusal);
void parcel_free(struct parcel *parcel);

static inline size_t parcel_size(const struct parcel *parcel)
{
    return buf_len(&parcel->head) + buf_len(&parcel->composed) - parcel->body_at;
}
/* At most `max` octets from this one on, moved to *out, which has room for them. */
void parcel_read(const struct parcel *parcel, size_t from, size_t max, struct buf *out);

#endif
