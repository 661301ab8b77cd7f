/* dsn.h - how is a sender told that mail did not arrive, or not yet? (pure; RFC 3464, RFC 6522)
 * A multipart/report of three parts: a text for people, delivery-status for programs, the original
 * header block. Whatever the upstream said and the original holds, the report is 7-bit, ends its
 * lines with CRLF only, and has none over 998 octets; what others said stands in the value of a
 * field, where it cannot end a line. So every upstream can take a report, also one without 8BITMIME
 * that has just refused the original for its 8-bit header. */
#ifndef LATCHPOST_DSN_H
#define LATCHPOST_DSN_H

#include "relay/base/buf.h"

/* Most bytes of the third part. Fields of the original's header that find no room are left out,
 * the last ones first. */
#define DSN_HEADER_MAX (32 * 1024)

/* Most bytes of a report besides, for each recipient. */
#define DSN_GROWTH_MAX 6144

/* The maximum that *out needs. */
#define DSN_BYTES_MAX(recipients) (DSN_HEADER_MAX + (recipients)*DSN_GROWTH_MAX)

enum dsn_action { DSN_FAILED, DSN_DELAYED };

struct dsn_recipient {
    const char *address;
    int code; /* the upstream's reply code, 0: none */
    const char
        *enhanced;    /* "5.1.1", or "". Status is 5.0.0 or 4.0.0 where this is none that fits */
    const char *text; /* the upstream's words or our reason; may hold any bytes; NULL: none */
    const char *upstream; /* the upstream's configured name, or NULL; told when it is a host name */
    unsigned attempts;    /* 0: none was made, so there is no date of the last one */
};

struct dsn_facts {
    enum dsn_action action;
    const char *hostname;   /* ours, a host name: Reporting-MTA, From: MAILER-DAEMON@... */
    const char *report_id;  /* queue id of the report: Message-ID, boundary */
    const char *message_id; /* queue id of the message it is about */
    const char *sender;     /* the envelope sender of the original: To */
    int64_t arrived_s;
    int64_t now_s;         /* also taken for the end of the last attempt */
    int64_t retry_until_s; /* DSN_DELAYED: when we shall give up */
    struct slice original; /* the original message, or as much of its start as is at hand */
    const struct dsn_recipient *recipients;
    size_t recipient_count; /* at least 1 */
};

/* Appends the whole message (header and body) to *out. False when *out is full; then it holds a
 * part of it. */
bool dsn_compose(const struct dsn_facts *facts, struct buf *out) MUST_USE;

#endif
