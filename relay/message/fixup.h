/* fixup.h - what does a submission server add or remove? (pure; RFC 6409 section 8)
 * Edits over the original header block; the body is never touched. Adds Received on top, Date and
 * Message-ID where missing (at the end of the block); drops Bcc, Resent-Bcc, Return-Path,
 * and Idempotency-Key, which is for us. */
#ifndef LATCHPOST_FIXUP_H
#define LATCHPOST_FIXUP_H

#include "relay/base/buf.h"
#include "relay/message/header.h"

#define FIXUP_RECEIVED_MAX 50 /* fields of that name: more is a loop (554 5.4.6) */

/* Most bytes by which fixup_apply() can make a block longer. */
#define FIXUP_GROWTH_MAX 2048

struct fixup_facts {
    const char *hostname;       /* ours */
    const char *message_id;     /* the queue id, text; the local part of a Message-ID we add */
    const char *key_id;         /* never the name or the secret; or NULL to leave it out */
    struct slice helo;          /* as the client said it inside TLS; may be empty */
    const char *client_address; /* textual, or NULL to leave it out */
    const char *protocol;       /* "ESMTPSA", "ESMTPA", "HTTP" */
    const char *tls;            /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or NULL */
    int64_t now_s;              /* unix seconds */
};

bool fixup_is_loop(const struct header *header);

/* Appends the edited block, ending with the empty line, to *out. False when *out is full (its
 * maximum must allow the block and FIXUP_GROWTH_MAX); then it holds a part of it. Our own lines are
 * folded under 78 columns where their words allow it, and never exceed 998 octets whatever the
 * facts hold. */
bool fixup_apply(const struct header *header, const struct fixup_facts *facts,
                 struct buf *out) MUST_USE;

#endif
