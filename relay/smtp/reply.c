/* reply.c - what do we say, and what does it mean for the session? (pure)
 * The texts are for the person who reads a log of the client: they say what was wrong and, where it
 * is not plain, what to do. What costs: a line or a sequence that no working client would send is
 * an error; a refusal by policy is only a step that leads nowhere, because an honest forwarder may
 * well collect several; what is full or comes too fast costs nothing. */
#include "relay/smtp/reply.h"

#include <assert.h>
#include <string.h>

/* clang-format off */
static const struct reply_row table[REPLY_COUNT] = {
    [REPLY_GREETING] = { 220, "", COST_NONE, CLOSE_NOT, "%s ESMTP Latchpost" },
    [REPLY_OK] = { 250, "2.0.0", COST_NONE, CLOSE_NOT, "ok" },
    [REPLY_HELLO] = { 250, "", COST_NONE, CLOSE_NOT, "%s" },
    [REPLY_SENDER_OK] = { 250, "2.1.0", COST_NONE, CLOSE_NOT, "sender ok" },
    [REPLY_RECIPIENT_OK] = { 250, "2.1.5", COST_NONE, CLOSE_NOT, "recipient ok" },
    [REPLY_START_DATA] = { 354, "", COST_NONE, CLOSE_NOT,
        "send the message, end it with a line of one dot" },
    [REPLY_QUEUED] = { 250, "2.0.0", COST_NONE, CLOSE_NOT, "queued as %s" },
    [REPLY_START_TLS] = { 220, "2.0.0", COST_NONE, CLOSE_NOT, "ready for TLS" },
    [REPLY_CHALLENGE] = { 334, "", COST_NONE, CLOSE_NOT, "%s" },
    [REPLY_LOGGED_IN] = { 235, "2.7.0", COST_NONE, CLOSE_NOT, "logged in" },
    [REPLY_HELP] = { 214, "2.0.0", COST_NONE, CLOSE_NOT,
        "log in with any user name and an API key as the password, then send" },
    [REPLY_BYE] = { 221, "2.0.0", COST_NONE, CLOSE_QUIT, "bye" },

    [REPLY_BAD_LINE] = { 500, "5.5.2", COST_ERROR, CLOSE_NOT, "this line is not readable" },
    [REPLY_LINE_TOO_LONG] = { 500, "5.5.2", COST_ERROR, CLOSE_NOT, "this line is too long" },
    [REPLY_RESPONSE_TOO_LONG] = { 500, "5.5.6", COST_ERROR, CLOSE_NOT,
        "this response is too long" },
    [REPLY_BARE_LF] = { 500, "5.5.2", COST_ERROR, CLOSE_BARE_LINE_END,
        "a line must end with CR LF" },
    [REPLY_ENDLESS_LINE] = { 421, "4.7.0", COST_ERROR, CLOSE_ENDLESS_LINE, "this line has no end" },
    [REPLY_NOT_SMTP] = { 500, "5.5.2", COST_ERROR, CLOSE_NOT_SMTP, "this is not SMTP" },
    [REPLY_HTTP] = { 502, "5.7.0", COST_ERROR, CLOSE_NOT_SMTP,
        "this is an SMTP server, not an HTTP server" },
    [REPLY_UNKNOWN_COMMAND] = { 500, "5.5.1", COST_ERROR, CLOSE_NOT, "unknown command" },
    [REPLY_NOT_IMPLEMENTED] = { 502, "5.5.1", COST_ERROR, CLOSE_NOT,
        "this command is not offered" },
    [REPLY_BDAT] = { 502, "5.5.1", COST_ERROR, CLOSE_AMBIGUOUS, "CHUNKING is not offered" },
    [REPLY_NOTHING_TO_CANCEL] = { 500, "5.5.1", COST_JUNK, CLOSE_NOT,
        "there is nothing to cancel" },
    [REPLY_NO_ARGUMENT] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT, "this command takes no argument" },
    [REPLY_BAD_HELLO] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT,
        "give one host name or address literal" },
    [REPLY_BAD_AUTH] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT,
        "AUTH needs a mechanism: PLAIN or LOGIN" },
    [REPLY_BAD_MAIL] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT,
        "expected MAIL FROM:<address> and parameters, each once" },
    [REPLY_BAD_RCPT] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT, "expected RCPT TO:<address>" },
    [REPLY_BAD_SIZE] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT, "SIZE must be a number" },
    [REPLY_BAD_BODY] = { 501, "5.5.4", COST_ERROR, CLOSE_NOT, "BODY must be 7BIT or 8BITMIME" },
    [REPLY_UNKNOWN_PARAMETER] = { 555, "5.5.4", COST_ERROR, CLOSE_NOT,
        "a parameter is not known here" },

    [REPLY_TLS_FIRST] = { 530, "5.7.0", COST_ERROR, CLOSE_NOT,
        "encrypt the connection first (STARTTLS)" },
    [REPLY_AUTH_NEEDS_TLS] = { 538, "5.7.11", COST_ERROR, CLOSE_NOT,
        "an API key must not be sent in clear: encrypt the connection first (STARTTLS)" },
    [REPLY_HELLO_FIRST] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT, "say EHLO first" },
    [REPLY_AUTH_FIRST] = { 530, "5.7.0", COST_ERROR, CLOSE_NOT,
        "not logged in: log in first, with an API key as the password" },
    [REPLY_MAIL_FIRST] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT,
        "there is no accepted MAIL before this" },
    [REPLY_RCPT_FIRST] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT, "there is no RCPT before this" },
    [REPLY_ALL_REFUSED] = { 554, "5.5.1", COST_NONE, CLOSE_NOT, "no recipient was accepted" },
    [REPLY_TLS_ALREADY] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT,
        "the connection is encrypted already" },
    [REPLY_LOGGED_IN_ALREADY] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT, "logged in already" },
    [REPLY_MAIL_ALREADY] = { 503, "5.5.1", COST_ERROR, CLOSE_NOT,
        "a message is under way: finish it or say RSET" },
    [REPLY_NO_TLS_HERE] = { 502, "5.5.1", COST_ERROR, CLOSE_NOT,
        "TLS is not offered on this port" },
    [REPLY_TLS_UNAVAILABLE] = { 454, "4.7.0", COST_NONE, CLOSE_NOT, "TLS is not available now" },
    [REPLY_INJECTION] = { 554, "5.5.0", COST_ERROR, CLOSE_AMBIGUOUS,
        "there was input behind STARTTLS" },

    [REPLY_UNKNOWN_MECHANISM] = { 504, "5.5.4", COST_ERROR, CLOSE_NOT,
        "this mechanism is not offered: use PLAIN or LOGIN" },
    [REPLY_AUTH_CANCELLED] = { 501, "5.7.0", COST_JUNK, CLOSE_NOT, "login cancelled" },
    [REPLY_BAD_RESPONSE] = { 501, "5.5.2", COST_NONE, CLOSE_NOT, "this response is not readable" },
    [REPLY_BAD_IDENTITY] = { 535, "5.7.8", COST_NONE, CLOSE_NOT,
        "the user name is empty or another identity is asked for" },
    [REPLY_AUTH_REFUSED] = { 535, "5.7.8", COST_NONE, CLOSE_NOT, "%s" },
    [REPLY_AUTH_FAILURES] = { 421, "4.7.0", COST_NONE, CLOSE_AUTH_FAILURES,
        "too many failed logins" },
    [REPLY_KEY_SESSIONS] = { 421, "4.7.0", COST_NONE, CLOSE_LIMIT,
        "this key has as many sessions as it may have: try again later" },
    [REPLY_KEY_GONE] = { 421, "4.7.0", COST_NONE, CLOSE_KEY, "%s" },

    [REPLY_BAD_SENDER_PATH] = { 501, "5.1.7", COST_ERROR, CLOSE_NOT, "%s" },
    [REPLY_SENDER_PATH_NON_ASCII] = { 553, "5.6.7", COST_ERROR, CLOSE_NOT, "%s" },
    [REPLY_SENDER_REFUSED] = { 550, "5.7.1", COST_JUNK, CLOSE_NOT, "%s" },
    [REPLY_SENDER_UNREADABLE] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT, "%s" },
    [REPLY_SENDER_NON_ASCII] = { 550, "5.6.7", COST_JUNK, CLOSE_NOT, "%s" },
    [REPLY_BAD_RECIPIENT] = { 501, "5.1.3", COST_ERROR, CLOSE_NOT, "%s" },
    [REPLY_RECIPIENT_NON_ASCII] = { 553, "5.6.7", COST_ERROR, CLOSE_NOT, "%s" },
    [REPLY_RECIPIENT_REFUSED] = { 550, "5.7.1", COST_JUNK, CLOSE_NOT, "%s" },
    [REPLY_KEY_REFUSED] = { 550, "5.7.1", COST_NONE, CLOSE_NOT, "%s" },
    [REPLY_RATE] = { 450, "4.7.1", COST_NONE, CLOSE_NOT,
        "this key sends too fast: try again in %s s" },
    [REPLY_DAY_FULL] = { 452, "4.5.3", COST_NONE, CLOSE_NOT,
        "this key has used up its recipients of the day: try again in %s s" },
    [REPLY_TOO_MANY_RECIPIENTS] = { 452, "4.5.3", COST_NONE, CLOSE_NOT,
        "too many recipients: send to the others in another message" },
    [REPLY_TOO_LARGE] = { 552, "5.3.4", COST_JUNK, CLOSE_NOT, "the message is too large" },
    [REPLY_NO_ROOM] = { 452, "4.3.1", COST_NONE, CLOSE_NOT,
        "no room to store the message: try again later" },
    [REPLY_STORE_FAILED] = { 451, "4.3.0", COST_NONE, CLOSE_NOT,
        "the message could not be stored: try again later" },
    [REPLY_KEY_CHANGED] = { 451, "4.3.0", COST_NONE, CLOSE_NOT,
        "the key was changed at this moment: try again" },
    [REPLY_BARE_LINE_END] = { 550, "5.5.2", COST_JUNK, CLOSE_BARE_LINE_END,
        "the message holds a CR without LF or an LF without CR" },
    [REPLY_NUL] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT, "the message holds a NUL" },
    [REPLY_LONG_DATA_LINE] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT,
        "a line of the message is too long" },
    [REPLY_HEADER_TOO_LARGE] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT,
        "the header of the message is too large" },
    [REPLY_LOOP] = { 554, "5.4.6", COST_JUNK, CLOSE_NOT,
        "too many Received fields: the message goes in circles" },
    [REPLY_BAD_TOKEN] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT,
        "Idempotency-Key must stand once, with 1 to 255 printable ASCII characters" },
    [REPLY_TOKEN_CONFLICT] = { 550, "5.6.0", COST_JUNK, CLOSE_NOT,
        "this Idempotency-Key was used for another message in the last 24 hours" },

    [REPLY_LOGIN_TIMEOUT] = { 421, "4.4.2", COST_NONE, CLOSE_LOGIN_TIMEOUT,
        "logging in took too long" },
    [REPLY_IDLE_TIMEOUT] = { 421, "4.4.2", COST_NONE, CLOSE_IDLE, "nothing was said for too long" },
    [REPLY_DATA_TIMEOUT] = { 421, "4.4.2", COST_NONE, CLOSE_DATA_TIMEOUT,
        "the message came too slowly" },
    [REPLY_TOO_MANY_ERRORS] = { 421, "4.7.0", COST_NONE, CLOSE_ERRORS, "too many errors" },
    [REPLY_TOO_MUCH_JUNK] = { 421, "4.7.0", COST_NONE, CLOSE_JUNK,
        "too many commands without a message" },
    [REPLY_STOPPING] = { 421, "4.3.2", COST_NONE, CLOSE_STOPPING,
        "the service is stopping: try again" },
    [REPLY_FULL] = { 421, "4.3.2", COST_NONE, CLOSE_LIMIT,
        "too many connections: try again later" },
    [REPLY_ADDRESS_FULL] = { 421, "4.7.0", COST_NONE, CLOSE_LIMIT,
        "too many connections from this address" },
    [REPLY_PENALTY] = { 421, "4.7.0", COST_NONE, CLOSE_LIMIT,
        "too many failed logins from this address: try again later" },
};
/* clang-format on */

const struct reply_row *reply_row(enum reply reply)
{
    assert(reply > REPLY_LATER && reply < REPLY_COUNT);
    return &table[reply];
}

bool reply_is_refusal(enum reply reply)
{
    return reply != REPLY_LATER && reply_row(reply)->code >= 400;
}

/* The line under construction; its last two bytes are kept for CR LF. */
struct out {
    char *text;
    size_t len;
};

static void put(struct out *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len && out->len < REPLY_BYTES - 2; i++)
        out->text[out->len++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
}

static void put_text(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

size_t reply_format(enum reply reply, const char *detail, char out[static REPLY_BYTES])
{
    const struct reply_row *row = reply_row(reply);
    char code[] = { (char)('0' + row->code / 100), (char)('0' + row->code / 10 % 10),
                    (char)('0' + row->code % 10), ' ' };
    const char *slot = strstr(row->text, "%s");
    struct out line = { out, 0 };

    put(&line, code, sizeof(code));
    put_text(&line, row->enhanced);
    if (row->enhanced[0] != '\0')
        put_text(&line, " ");
    if (slot == NULL) {
        put_text(&line, row->text);
    } else {
        put(&line, row->text, (size_t)(slot - row->text));
        put_text(&line, detail == NULL ? "" : detail);
        put_text(&line, slot + 2);
    }
    out[line.len++] = '\r';
    out[line.len++] = '\n';
    return line.len;
}

size_t reply_add_reference(char out[static REPLY_BYTES], size_t len, const char *reference)
{
    size_t added = strlen(" (ref )") + strlen(reference);
    struct out line = { out, len - 2 };

    if (line.len > REPLY_BYTES - 2 - added)
        line.len = REPLY_BYTES - 2 - added;
    put_text(&line, " (ref ");
    put_text(&line, reference);
    put_text(&line, ")");
    out[line.len] = '\r';
    out[line.len + 1] = '\n';
    return line.len + 2;
}
