/* dsn.c - how is a sender told that mail did not arrive, or not yet?
 * The report is written from top to bottom. What strangers said goes through clean(): it comes out
 * as one line of printable ASCII of bounded length, which put_words() may fold at its blanks. The
 * boundary is one that occurs in nothing that they said. Pure. */
#include "relay/message/dsn.h"

#include <assert.h>
#include <stdio.h>

#include "relay/message/address.h"
#include "relay/message/date.h"
#include "relay/message/domain.h"
#include "relay/message/returned.h"

#define FOLD_COLUMN     76
#define ADDRESS_BYTES   (ADDRESS_MAX + 5) /* whole, or cut and with the dots of clean() */
#define TEXT_BYTES      520               /* the 512 octets that the queue keeps, and the dots */
#define REASON_BYTES    (TEXT_BYTES + 40) /* with codes in front */
#define PARAGRAPH_BYTES 1024
#define BOUNDARY_BYTES  70 /* RFC 2046 section 5.1.1 */

static const struct kind {
    const char *subject;
    const char *action;  /* RFC 3464 section 2.3.3 */
    const char *classes; /* of the enhanced codes that may stand in Status */
    const char *status;  /* where none is known */
} kinds[] = {
    /* Class 4 as well: a recipient may fail for a temporary reason that lasted too long. */
    [DSN_FAILED] = { "Your message could not be delivered", "failed", "45", "5.0.0" },
    [DSN_DELAYED] = { "Your message is delayed", "delayed", "4", "4.0.0" },
};

/* --- writing ---------------------------------------------------------------------------------- */

struct writer {
    struct buf *out;
    bool ok; /* false once *out was full */
};

static void put(struct writer *w, struct slice text)
{
    w->ok = w->ok && buf_add(w->out, text);
}

static __attribute__((format(printf, 2, 3))) void putf(struct writer *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    w->ok = w->ok && buf_vprintf(w->out, format, args);
    va_end(args);
}

/* The words and a line end, on a line of which `column` columns are taken. New lines start with
 * `indent`. A word is never cut: the longest that clean() gives is far from 998 octets. */
static void put_words(struct writer *w, size_t column, struct slice indent, struct slice words)
{
    while (words.data != NULL) {
        struct slice word = slice_cut(&words, ' ');
        if (word.len == 0)
            continue;
        if (column > 0 && column + 1 + word.len > FOLD_COLUMN) {
            put(w, SLICE("\r\n"));
            column = 0;
        }
        struct slice gap = column == 0 ? indent : SLICE(" ");
        put(w, gap);
        put(w, word);
        column += gap.len + word.len;
    }
    put(w, SLICE("\r\n"));
}

/* A paragraph for people. */
static __attribute__((format(printf, 2, 3))) void say(struct writer *w, const char *format, ...)
{
    char text[PARAGRAPH_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put_words(w, 0, SLICE(""), slice_of(text));
    put(w, SLICE("\r\n"));
}

static void put_date(struct writer *w, const char *name, int64_t unix_s)
{
    char date[DATE_MAIL_BYTES];

    date_format_mail(unix_s, date);
    putf(w, "%s: %s\r\n", name, date);
}

/* --- what strangers said ---------------------------------------------------------------------- */

/* As printable ASCII in one line, other bytes as \x1b; ends in "..." where it did not fit. */
static void clean(const char *text, char *out, size_t capacity)
{
    static const char dots[] = "...";
    size_t len = 0;

    for (; *text != '\0'; text++) {
        char piece[5] = { *text };
        if (strchr("\t\r\n", *text) != NULL)
            piece[0] = ' ';
        else if (*text < ' ' || *text > '~')
            snprintf(piece, sizeof(piece), "\\x%02x", (unsigned)(uint8_t)*text);
        if (len + strlen(piece) + sizeof(dots) > capacity) {
            memcpy(out + len, dots, sizeof(dots));
            return;
        }
        memcpy(out + len, piece, strlen(piece));
        len += strlen(piece);
    }
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

/* Class, subject and detail, as RFC 3463 section 2 writes them. */
static bool is_enhanced(const char *text)
{
    if (*text != '2' && *text != '4' && *text != '5')
        return false;
    text++;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;
        if (*text++ != '.')
            return false;
        while (digits < 4 && ascii_is_digit(text[digits]))
            digits++;
        if (digits == 0 || digits > 3)
            return false;
        text += digits;
    }
    return *text == '\0';
}

/* "550 5.1.1 No such user", or without codes our own reason; never empty. */
static struct slice reason_of(const struct dsn_recipient *r, char reason[static REASON_BYTES])
{
    char text[TEXT_BYTES] = "";
    const char *enhanced = is_enhanced(r->enhanced) ? r->enhanced : "";

    if (r->text != NULL)
        clean(r->text, text, sizeof(text));
    if (r->code != 0)
        snprintf(reason, REASON_BYTES, "%d %s %s", r->code, enhanced, text);
    else
        snprintf(reason, REASON_BYTES, "%s", text[0] != '\0' ? text : "no reason is known");
    return slice_of(reason);
}

/* The configured name of an upstream is often a nickname such as "main", which says nothing to a
 * stranger. */
static bool is_host(const char *upstream)
{
    return upstream != NULL && strchr(upstream, '.') != NULL &&
           domain_check(slice_of(upstream)) == DOMAIN_OK;
}

static const char *status_of(const struct kind *kind, const struct dsn_recipient *r)
{
    bool fits = is_enhanced(r->enhanced) && strchr(kind->classes, r->enhanced[0]) != NULL;

    return fits ? r->enhanced : kind->status;
}

/* --- the text for people ---------------------------------------------------------------------- */

static bool text_equal(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool is_same_story(const struct dsn_recipient *a, const struct dsn_recipient *b)
{
    return a->code == b->code && a->attempts == b->attempts &&
           text_equal(a->enhanced, b->enhanced) && text_equal(a->text, b->text) &&
           text_equal(a->upstream, b->upstream);
}

static void tell_reason(struct writer *w, const struct dsn_recipient *r)
{
    const char *who = is_host(r->upstream) ? r->upstream : "The next mail server";
    char at[32] = "";
    char reason[REASON_BYTES];

    if (r->attempts > 1)
        snprintf(at, sizeof(at), " at attempt %u", r->attempts);
    if (r->code != 0)
        putf(w, "    %s replied%s:\r\n", who, at);
    else
        putf(w, "    What went wrong%s:\r\n", at);
    put_words(w, 0, SLICE("        "), reason_of(r, reason));
    put(w, SLICE("\r\n"));
}

/* Recipients who stand next to each other and share a fate are listed above one reason. */
static void tell_recipients(struct writer *w, const struct dsn_facts *facts)
{
    for (size_t i = 0; i < facts->recipient_count; i++) {
        const struct dsn_recipient *r = &facts->recipients[i];
        char address[ADDRESS_BYTES];

        clean(r->address, address, sizeof(address));
        putf(w, "  %s\r\n", address);
        if (i + 1 == facts->recipient_count || !is_same_story(r, r + 1))
            tell_reason(w, r);
    }
}

static void say_failed(struct writer *w, const struct dsn_facts *facts, const char *arrived)
{
    const char *addresses = facts->recipient_count > 1 ? "addresses" : "address";

    say(w,
        "Your message of %s could not be delivered to the following %s. No further attempt will "
        "be made.",
        arrived, addresses);
    tell_recipients(w, facts);
    say(w,
        "Please check the %s for typing errors, and read the reason above: it often says what to "
        "change. Then you can send the message again. If that does not help, show this report to "
        "your mail administrator.",
        addresses);
}

static void say_delayed(struct writer *w, const struct dsn_facts *facts, const char *arrived)
{
    char until[DATE_MAIL_BYTES];

    date_format_mail(facts->retry_until_s, until);
    say(w, "Your message of %s has not reached the following %s yet. We keep trying until %s.",
        arrived, facts->recipient_count > 1 ? "addresses" : "address", until);
    tell_recipients(w, facts);
    say(w, "There is nothing that you need to do; please do not send the message again. If it "
           "cannot be delivered by then, we shall tell you.");
}

static void put_people_part(struct writer *w, const struct dsn_facts *facts, const char *boundary)
{
    char arrived[DATE_MAIL_BYTES];

    date_format_mail(facts->arrived_s, arrived);
    putf(w, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary);
    say(w, "This is the mail system at %s.", facts->hostname);
    if (facts->action == DSN_FAILED)
        say_failed(w, facts, arrived);
    else
        say_delayed(w, facts, arrived);
    say(w, "If you ask for help, name the queue id of your message: %s", facts->message_id);
}

/* --- the part for programs (RFC 3464) --------------------------------------------------------- */

static void put_recipient_fields(struct writer *w, const struct dsn_facts *facts,
                                 const struct dsn_recipient *r)
{
    const struct kind *kind = &kinds[facts->action];
    /* Only what came with a reply code is a reply (section 2.3.6); the rest is our own opinion. */
    const char *name = r->code != 0 ? "Diagnostic-Code: smtp;" : "Diagnostic-Code: X-Latchpost;";
    char address[ADDRESS_BYTES];
    char reason[REASON_BYTES];

    clean(r->address, address, sizeof(address));
    putf(w, "\r\nFinal-Recipient: rfc822; %s\r\n", address);
    putf(w, "Action: %s\r\n", kind->action);
    putf(w, "Status: %s\r\n", status_of(kind, r));
    if (is_host(r->upstream))
        putf(w, "Remote-MTA: dns; %s\r\n", r->upstream);
    put(w, slice_of(name));
    put_words(w, strlen(name), SLICE(" "), reason_of(r, reason));
    if (r->attempts > 0)
        put_date(w, "Last-Attempt-Date", facts->now_s);
    if (facts->action == DSN_DELAYED)
        put_date(w, "Will-Retry-Until", facts->retry_until_s);
}

static void put_status_part(struct writer *w, const struct dsn_facts *facts, const char *boundary)
{
    putf(w, "--%s\r\nContent-Type: message/delivery-status\r\n\r\n", boundary);
    putf(w, "Reporting-MTA: dns; %s\r\n", facts->hostname);
    put_date(w, "Arrival-Date", facts->arrived_s);
    for (size_t i = 0; i < facts->recipient_count; i++)
        put_recipient_fields(w, facts, &facts->recipients[i]);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void put_returned_part(struct writer *w, const struct returned *returned,
                              const char *boundary)
{
    putf(w, "\r\n--%s\r\nContent-Type: text/rfc822-headers\r\n", boundary);
    putf(w, "Content-Transfer-Encoding: %s\r\n\r\n",
         returned->encoded ? "quoted-printable" : "7bit");
    w->ok = w->ok && returned_add(returned, w->out);
    putf(w, "\r\n--%s--\r\n", boundary);
}

/* Anything but a well-formed address stays out of a field that mail programs answer to. */
static void put_to(struct writer *w, const char *sender)
{
    struct address_path_options options = { .allow_quoted = true };
    struct address address;

    if (address_parse_path(slice_of(sender), options, &address) == ADDRESS_OK)
        putf(w, "To: <%.*s@%.*s>\r\n", SLICE_ARG(address.local), SLICE_ARG(address.domain));
    else
        put(w, SLICE("To: undisclosed-recipients:;\r\n"));
}

static void put_header(struct writer *w, const struct dsn_facts *facts, const char *boundary)
{
    putf(w, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", facts->hostname);
    put_to(w, facts->sender);
    putf(w, "Subject: %s\r\n", kinds[facts->action].subject);
    put_date(w, "Date", facts->now_s);
    putf(w, "Message-ID: <%s@%s>\r\n", facts->report_id, facts->hostname);
    put(w, SLICE("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"));
    putf(w, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"\r\n",
         boundary);
    put(w, SLICE("\r\n"));
}

static bool holds(struct slice text, const char *boundary)
{
    return text.len > 0 && memmem(text.data, text.len, boundary, strlen(boundary)) != NULL;
}

static bool is_taken(const struct dsn_facts *facts, struct slice block, const char *boundary)
{
    if (holds(block, boundary))
        return true;
    for (size_t i = 0; i < facts->recipient_count; i++)
        if (holds(slice_of(facts->recipients[i].address), boundary) ||
            holds(slice_of(facts->recipients[i].text), boundary))
            return true;
    return false;
}

/* Nobody can know the id of a report that is not written yet, so the first try is as good as always
 * free; a text of bounded length cannot hold all the others. "=_" is in no quoted-printable text.
 */
static void choose_boundary(const struct dsn_facts *facts, struct slice block,
                            char boundary[static BOUNDARY_BYTES])
{
    unsigned number = 0;

    do {
        snprintf(boundary, BOUNDARY_BYTES, "=_%u.%s", number++, facts->report_id);
    } while (is_taken(facts, block, boundary));
}

bool dsn_compose(const struct dsn_facts *facts, struct buf *out)
{
    struct writer w = { .out = out, .ok = true };
    struct returned returned = returned_take(facts->original, DSN_HEADER_MAX);
    char boundary[BOUNDARY_BYTES];

    assert(facts->recipient_count > 0);
    choose_boundary(facts, returned.block, boundary);
    put_header(&w, facts, boundary);
    put_people_part(&w, facts, boundary);
    put_status_part(&w, facts, boundary);
    put_returned_part(&w, &returned, boundary);
    return w.ok;
}
