/* reply.h - what do we say, and what does it mean for the session? (pure)
 * One row a reply: code, enhanced code (RFC 3463), text, what it costs the client, and whether the
 * session ends with it. Handlers return an enum reply; only reply_format() makes bytes of it. */
#ifndef LATCHPOST_REPLY_H
#define LATCHPOST_REPLY_H

#include <stdbool.h>
#include <stddef.h>

/* Why a session ended: the closed set of `reason` in the log (session.c has the texts). */
enum close_reason {
    CLOSE_NOT, /* it goes on */
    CLOSE_QUIT,
    CLOSE_LEFT,
    CLOSE_RESET,
    CLOSE_TRUNCATED,
    CLOSE_TLS_FAILED,
    CLOSE_LOGIN_TIMEOUT,
    CLOSE_IDLE,
    CLOSE_DATA_TIMEOUT,
    CLOSE_STOPPING,
    CLOSE_LIMIT, /* turned away */
    CLOSE_NOT_SMTP,
    CLOSE_BARE_LINE_END,
    CLOSE_ENDLESS_LINE,
    CLOSE_AMBIGUOUS,
    CLOSE_ERRORS,
    CLOSE_JUNK,
    CLOSE_AUTH_FAILURES,
    CLOSE_KEY,
    CLOSE_REASON_COUNT
};

enum reply_cost {
    COST_NONE,
    COST_JUNK,  /* counts as a command that leads nowhere (smtp_limits.junk_commands) */
    COST_ERROR, /* counts as an error (smtp_limits.errors) */
};

enum reply {
    REPLY_LATER, /* no reply: a callback will answer, or the handler has said it already */

    REPLY_GREETING, /* detail: our host name */
    REPLY_OK,
    REPLY_HELLO, /* detail: our host name */
    REPLY_SENDER_OK,
    REPLY_RECIPIENT_OK,
    REPLY_START_DATA,
    REPLY_QUEUED, /* detail: the message's id */
    REPLY_START_TLS,
    REPLY_CHALLENGE, /* detail: in base64 */
    REPLY_LOGGED_IN,
    REPLY_HELP,
    REPLY_BYE,

    REPLY_BAD_LINE,
    REPLY_LINE_TOO_LONG,
    REPLY_RESPONSE_TOO_LONG,
    REPLY_BARE_LF,
    REPLY_ENDLESS_LINE,
    REPLY_NOT_SMTP,
    REPLY_HTTP,
    REPLY_UNKNOWN_COMMAND,
    REPLY_NOT_IMPLEMENTED,
    REPLY_BDAT,
    REPLY_NOTHING_TO_CANCEL,
    REPLY_NO_ARGUMENT,
    REPLY_BAD_HELLO,
    REPLY_BAD_AUTH,
    REPLY_BAD_MAIL,
    REPLY_BAD_RCPT,
    REPLY_BAD_SIZE,
    REPLY_BAD_BODY,
    REPLY_UNKNOWN_PARAMETER,

    REPLY_TLS_FIRST,
    REPLY_AUTH_NEEDS_TLS,
    REPLY_HELLO_FIRST,
    REPLY_AUTH_FIRST,
    REPLY_MAIL_FIRST,
    REPLY_RCPT_FIRST,
    REPLY_ALL_REFUSED,
    REPLY_TLS_ALREADY,
    REPLY_LOGGED_IN_ALREADY,
    REPLY_MAIL_ALREADY,
    REPLY_NO_TLS_HERE,
    REPLY_TLS_UNAVAILABLE,
    REPLY_INJECTION,

    REPLY_UNKNOWN_MECHANISM,
    REPLY_AUTH_CANCELLED,
    REPLY_BAD_RESPONSE,
    REPLY_BAD_IDENTITY,
    REPLY_AUTH_REFUSED, /* detail: the verdict */
    REPLY_AUTH_FAILURES,
    REPLY_KEY_SESSIONS,
    REPLY_KEY_GONE, /* detail: the verdict */

    REPLY_BAD_SENDER_PATH, /* detail: what is wrong, here and in the next nine */
    REPLY_SENDER_PATH_NON_ASCII,
    REPLY_SENDER_REFUSED,
    REPLY_SENDER_UNREADABLE,
    REPLY_SENDER_NON_ASCII,
    REPLY_BAD_RECIPIENT,
    REPLY_RECIPIENT_NON_ASCII,
    REPLY_RECIPIENT_REFUSED,
    REPLY_KEY_REFUSED, /* at the end of data */
    REPLY_RATE,        /* seconds */
    REPLY_DAY_FULL,    /* seconds */
    REPLY_TOO_MANY_RECIPIENTS,
    REPLY_TOO_LARGE,
    REPLY_NO_ROOM,
    REPLY_STORE_FAILED,
    REPLY_KEY_CHANGED,
    REPLY_BARE_LINE_END,
    REPLY_NUL,
    REPLY_LONG_DATA_LINE,
    REPLY_HEADER_TOO_LARGE,
    REPLY_LOOP,
    REPLY_BAD_TOKEN,
    REPLY_TOKEN_CONFLICT,

    REPLY_LOGIN_TIMEOUT,
    REPLY_IDLE_TIMEOUT,
    REPLY_DATA_TIMEOUT,
    REPLY_TOO_MANY_ERRORS,
    REPLY_TOO_MUCH_JUNK,
    REPLY_STOPPING,
    REPLY_FULL,
    REPLY_ADDRESS_FULL,
    REPLY_PENALTY,
    REPLY_COUNT /* not a reply */
};

struct reply_row {
    int code;
    const char *enhanced; /* "5.7.1", or "" where RFC 2034 wants none */
    enum reply_cost cost;
    enum close_reason closes;
    const char *text; /* at most one %s, for the detail */
};
const struct reply_row *reply_row(enum reply reply); /* not for REPLY_LATER */
bool reply_is_refusal(enum reply reply);             /* 4yz or 5yz */

#define REPLY_BYTES 512 /* RFC 5321 section 4.5.3.1.5: a reply line with its CRLF */

/* Writes the line with its CRLF, without a NUL, and returns its length. detail: NULL for none; cut
 * where it is too long, and every byte of it that is not printable ASCII becomes '?', so that
 * nothing a client sent can end or forge a line. */
size_t reply_format(enum reply reply, const char *detail, char out[static REPLY_BYTES]);
/* Puts " (ref ...)" at the end of such a line of `len` octets, which gives up as much of its text
 * as that needs, and returns the new length. */
size_t reply_add_reference(char out[static REPLY_BYTES], size_t len, const char *reference);

#endif
