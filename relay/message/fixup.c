/* fixup.c - what does a submission server add or remove? (RFC 6409 section 8)
 * The fields that stay are copied in runs, byte for byte. What we add is made of facts, some of
 * which a client said; each is cut to a length and cleaned to the letters that its place in the
 * grammar of RFC 5321 section 4.4 can hold, so that no fact can end a comment or a line. Pure. */
#include "relay/message/fixup.h"

#include <stdio.h>

#include "relay/base/macros.h"
#include "relay/message/date.h"
#include "relay/message/domain.h"

#define FOLD_COLUMN 76  /* a line grows up to here, and so stays under 78 with a sign behind it */
#define NAME_BYTES  255 /* most of a HELO name or our host name */
#define WORD_BYTES  64  /* most of any other fact */
#define TLS_BYTES   128

static const char *const dropped[] = { "Bcc", "Resent-Bcc", "Return-Path", "Idempotency-Key" };

bool fixup_is_loop(const struct header *header)
{
    return header_count(header, SLICE("Received"), NULL) > FIXUP_RECEIVED_MAX;
}

/* What is written so far: for our own fields words with a blank between them, folded. */
struct writer {
    struct buf *out;
    size_t column;
    bool ok; /* false once *out was full */
};

static void put(struct writer *w, struct slice text)
{
    w->ok = w->ok && buf_add(w->out, text);
    w->column += text.len;
}

static void put_field_name(struct writer *w, const char *name)
{
    w->column = 0;
    put(w, slice_of(name));
}

static void put_word(struct writer *w, struct slice word)
{
    if (w->column + 1 + word.len > FOLD_COLUMN) {
        put(w, SLICE("\r\n"));
        w->column = 0;
    }
    put(w, SLICE(" "));
    put(w, word);
}

/* At most NAME_BYTES of `fact`, with everything but letters, digits and `marks` replaced. */
static size_t clean(struct slice fact, const char *marks, char text[static NAME_BYTES])
{
    fact = slice_first(fact, NAME_BYTES);
    for (size_t i = 0; i < fact.len; i++) {
        char c = fact.data[i];
        bool fits = ascii_is_alnum(c) || (c != '\0' && strchr(marks, c) != NULL);
        text[i] = fits ? c : '-';
    }
    return fact.len;
}

/* The cleaned fact between `before` and `after`, both short, as one word. */
static void put_fact(struct writer *w, const char *before, struct slice fact, const char *marks,
                     const char *after)
{
    char text[NAME_BYTES];
    char word[NAME_BYTES + 32];
    size_t len = clean(fact, marks, text);
    int total = snprintf(word, sizeof(word), "%s%.*s%s", before, (int)len, text, after);

    put_word(w, slice_make(word, (size_t)total));
}

static struct slice cut(const char *fact, size_t max_bytes)
{
    return slice_first(slice_of(fact), max_bytes);
}

/* An IP address as RFC 5321 section 4.1.3 writes it; a scope (fe80::1%eth0) means nothing here. */
static void put_literal(struct writer *w, const char *address, const char *before,
                        const char *after)
{
    struct slice rest = cut(address, WORD_BYTES);
    struct slice number = slice_cut(&rest, '%');
    char start[16];
    bool is_v6 = slice_find(number, ':') != SLICE_NONE;

    snprintf(start, sizeof(start), "%s%s", before, is_v6 ? "[IPv6:" : "[");
    put_fact(w, start, number, ".:", after);
}

/* from HELO ([ADDRESS]); the grammar wants a name, so the address stands in for none. */
static void put_client(struct writer *w, const struct fixup_facts *facts)
{
    bool is_literal = facts->helo.len > 1 && facts->helo.data[0] == '[' &&
                      facts->helo.data[facts->helo.len - 1] == ']';

    if (facts->helo.len == 0 && facts->client_address == NULL)
        return;
    put_word(w, SLICE("from"));
    if (facts->helo.len == 0)
        put_literal(w, facts->client_address, "", "]");
    else
        put_fact(w, "", facts->helo, is_literal ? "[]:.-" : "-._", "");
    if (facts->client_address != NULL)
        put_literal(w, facts->client_address, "(", "])");
}

/* (key ID; TLS VERSION) */
static void put_comment(struct writer *w, const char *key_id, const char *tls)
{
    const char *open = "(";

    if (key_id != NULL) {
        put_fact(w, "(key ", cut(key_id, WORD_BYTES), "-._", tls == NULL ? ")" : ";");
        open = "";
    }
    if (tls == NULL)
        return;
    for (struct slice rest = cut(tls, TLS_BYTES); rest.data != NULL; open = "") {
        struct slice word = slice_cut(&rest, ' ');
        put_fact(w, open, word, "-._:/+", rest.data == NULL ? ")" : "");
    }
}

static void put_received(struct writer *w, const struct fixup_facts *facts)
{
    char date[DATE_MAIL_BYTES];

    date_format_mail(facts->now_s, date);
    put_field_name(w, "Received:");
    put_client(w, facts);
    put_word(w, SLICE("by"));
    put_fact(w, "", slice_of(facts->hostname), "-.", "");
    put_word(w, SLICE("(Latchpost)"));
    put_word(w, SLICE("with"));
    put_fact(w, "", cut(facts->protocol, WORD_BYTES), "", "");
    put_word(w, SLICE("id"));
    put_fact(w, "", cut(facts->message_id, WORD_BYTES), "-._", "");
    put_comment(w, facts->key_id, facts->tls);
    put(w, SLICE(";"));
    put_word(w, slice_of(date));
    put(w, SLICE("\r\n"));
}

static void put_date(struct writer *w, int64_t now_s)
{
    char date[DATE_MAIL_BYTES];

    date_format_mail(now_s, date);
    put_field_name(w, "Date: ");
    put(w, slice_of(date));
    put(w, SLICE("\r\n"));
}

/* The queue id is unique on this host and stays with the message, so an attempt that is repeated
 * bears the same Message-ID. It is not folded: some readers take a fold for an empty field. */
static void put_message_id(struct writer *w, const struct fixup_facts *facts)
{
    char text[NAME_BYTES];

    put_field_name(w, "Message-ID: <");
    put(w, slice_make(text, clean(cut(facts->message_id, WORD_BYTES), "-._", text)));
    put(w, SLICE("@"));
    put(w, slice_make(text, clean(slice_of(facts->hostname), "-.", text)));
    put(w, SLICE(">\r\n"));
}

static bool is_dropped(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
        if (slice_equal_nocase(name, slice_of(dropped[i])))
            return true;
    return false;
}

/* Fields that follow each other in the block are copied together. */
static void put_kept(struct writer *w, const struct header *header)
{
    struct slice run = { 0 };

    for (size_t i = 0; i < header->count; i++) {
        struct slice whole = header->fields[i].whole;
        if (is_dropped(header->fields[i].name))
            continue;
        if (run.len > 0 && run.data + run.len == whole.data) {
            run.len += whole.len;
            continue;
        }
        put(w, run);
        run = whole;
    }
    put(w, run);
    if (run.len > 0 && run.data[run.len - 1] != '\n') /* the message ended there */
        put(w, SLICE("\r\n"));
}

bool fixup_apply(const struct header *header, const struct fixup_facts *facts, struct buf *out)
{
    struct writer w = { .out = out, .ok = true };

    put_received(&w, facts);
    put_kept(&w, header);
    if (header_count(header, SLICE("Date"), NULL) == 0)
        put_date(&w, facts->now_s);
    if (header_count(header, SLICE("Message-ID"), NULL) == 0)
        put_message_id(&w, facts);
    put(&w, SLICE("\r\n"));
    return w.ok;
}
