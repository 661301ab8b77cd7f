/* compose.c - structured fields to a MIME message.
 * First everything that a client may get wrong is checked, field by field, then the message is
 * written from top to bottom; only the content of attachments is judged while it is written. What a
 * client said in a header goes through encode.h and comes out as printable ASCII, so no value can
 * end its line. The parts, where they are needed:
 *
 *   mixed        alternative ( text, related ( html, what html shows ) ), attachments
 *
 * Pure; any thread. */
#include "relay/message/compose.h"

#include <assert.h>
#include <stdio.h>

#include "relay/message/content_type.h"
#include "relay/message/encode.h"

#define BOUNDARY_BYTES 70 /* RFC 2046 section 5.1.1 */
#define PART_SLACK     1024

/* --- checks ----------------------------------------------------------------------------------- */

static const struct compose_reason fine = { .error = COMPOSE_OK };

static struct compose_reason reason_make(enum compose_error error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct compose_reason reason_make(enum compose_error error, const char *format, ...)
{
    struct compose_reason reason = { .error = error };
    va_list args;

    va_start(args, format);
    vsnprintf(reason.where, sizeof(reason.where), format, args);
    va_end(args);
    return reason;
}

static bool holds(struct slice text, const char *part)
{
    return text.len > 0 && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

static struct compose_reason check_names(const struct compose_addresses *addresses,
                                         const char *where)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (encode_has_control(addresses->items[i].name))
            return reason_make(COMPOSE_BAD_VALUE, "%s[%zu]", where, i);
    return fine;
}

/* Those that have a field of their own, those that only servers write, and those that decide how
 * the content is read. */
static bool is_forbidden(struct slice name)
{
    static const char *const names[] = {
        "From",
        "Sender",
        "To",
        "Cc",
        "Bcc",
        "Reply-To",
        "Subject",
        "Date",
        "Return-Path",
        "Received",
        "Delivered-To",
        "MIME-Version",
        "Received-SPF",
        "Authentication-Results",
        "DKIM-Signature",
        "DomainKey-Signature",
        "Apparently-To",
        "Idempotency-Key",
    };
    static const char *const beginnings[] = { "Content-", "Resent-", "ARC-" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_equal_nocase(name, slice_of(names[i])))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++)
        if (slice_starts_nocase(name, slice_of(beginnings[i])))
            return true;
    return false;
}

static bool is_header_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!ascii_is_alnum(name.data[i]) &&
            (name.data[i] == '\0' || strchr("!#$%&'*+-.^_`|~", name.data[i]) == NULL))
            return false;
    return name.len > 0 && name.len <= ENCODE_NAME_MAX;
}

/* <local@domain> without a blank in it, and nothing else. */
static bool is_message_id(struct slice id)
{
    size_t signs = 0;

    if (id.len < 5 || id.data[0] != '<' || id.data[id.len - 1] != '>')
        return false;
    for (size_t i = 1; i < id.len - 1; i++) {
        if (id.data[i] <= ' ' || id.data[i] > '~' || strchr("<>()[]\\\",;:", id.data[i]) != NULL)
            return false;
        signs += id.data[i] == '@';
    }
    return signs == 1 && !holds(id, "=?") && id.data[1] != '@' && id.data[id.len - 2] != '@';
}

/* These are not text: encoded words would change them. */
static bool is_readable_id_field(struct slice name, struct slice value)
{
    if (slice_equal_nocase(name, SLICE("Message-ID")))
        return is_message_id(value) && value.len <= 250;
    if (slice_equal_nocase(name, SLICE("In-Reply-To")) ||
        slice_equal_nocase(name, SLICE("References")))
        return encode_is_plain(value) && value.len > 0 && !holds(value, "=?");
    return true;
}

static struct compose_reason check_header(const struct compose_header *header)
{
    struct slice name = slice_first(header->name, 60);
    enum compose_error error = COMPOSE_OK;

    if (encode_has_control(header->name) || encode_has_control(header->value))
        error = COMPOSE_BAD_VALUE;
    else if (!is_header_name(header->name))
        error = COMPOSE_BAD_NAME;
    else if (is_forbidden(header->name))
        error = COMPOSE_FORBIDDEN_HEADER;
    else if (!is_readable_id_field(header->name, header->value))
        error = COMPOSE_BAD_MESSAGE_ID;
    return error == COMPOSE_OK ? fine : reason_make(error, "headers.%.*s", SLICE_ARG(name));
}

static bool is_content_id(struct slice id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i] <= ' ' || id.data[i] > '~' || strchr("<>()[]\\\",;:", id.data[i]) != NULL)
            return false;
    return id.len <= COMPOSE_CONTENT_ID_MAX;
}

static struct compose_reason check_attachment(const struct compose_attachment *attachment, size_t i)
{
    if (encode_has_control(attachment->filename))
        return reason_make(COMPOSE_BAD_VALUE, "attachments[%zu].filename", i);
    if (attachment->filename.len > COMPOSE_FILENAME_MAX)
        return reason_make(COMPOSE_LONG_FILENAME, "attachments[%zu].filename", i);
    if (encode_has_control(attachment->type))
        return reason_make(COMPOSE_BAD_VALUE, "attachments[%zu].content_type", i);
    if (attachment->type.len > 0 && !content_type_is_readable(attachment->type))
        return reason_make(COMPOSE_BAD_TYPE, "attachments[%zu].content_type", i);
    if (encode_has_control(attachment->content_id))
        return reason_make(COMPOSE_BAD_VALUE, "attachments[%zu].content_id", i);
    if (!is_content_id(attachment->content_id))
        return reason_make(COMPOSE_BAD_CONTENT_ID, "attachments[%zu].content_id", i);
    return fine;
}

static struct compose_reason check_texts(const struct compose_mail *mail)
{
    if (encode_has_control(mail->from.name))
        return reason_make(COMPOSE_BAD_VALUE, "from");
    if (encode_has_control(mail->subject))
        return reason_make(COMPOSE_BAD_VALUE, "subject");
    if (slice_find(mail->text, '\0') != SLICE_NONE)
        return reason_make(COMPOSE_NUL, "text");
    if (slice_find(mail->html, '\0') != SLICE_NONE)
        return reason_make(COMPOSE_NUL, "html");
    return fine;
}

static struct compose_reason check(const struct compose_mail *mail)
{
    const struct {
        const struct compose_addresses *addresses;
        const char *where;
    } lists[] = { { &mail->to, "to" }, { &mail->cc, "cc" }, { &mail->reply_to, "reply_to" } };
    struct compose_reason reason = check_texts(mail);

    for (size_t i = 0; i < ARRAY_LEN(lists) && reason.error == COMPOSE_OK; i++)
        reason = check_names(lists[i].addresses, lists[i].where);
    for (size_t i = 0; i < mail->header_count && reason.error == COMPOSE_OK; i++)
        reason = check_header(&mail->headers[i]);
    for (size_t i = 0; i < mail->attachment_count && reason.error == COMPOSE_OK; i++)
        reason = check_attachment(&mail->attachments[i], i);
    return reason;
}

const char *compose_error_text(enum compose_error error)
{
    static const char *const texts[] = {
        [COMPOSE_OK] = "it is well-formed",
        [COMPOSE_TOO_LARGE] = "the message is too large",
        [COMPOSE_BAD_VALUE] = "it holds a line end or another control character",
        [COMPOSE_BAD_NAME] = "a header's name is 1 to 76 letters, digits and hyphens",
        [COMPOSE_FORBIDDEN_HEADER] = "this header cannot be set here",
        [COMPOSE_BAD_MESSAGE_ID] = "it is not <local@domain>, or several of those",
        [COMPOSE_BAD_TYPE] =
            ("it is not a media type that can be attached (send those of multipart "
             "and message as application/octet-stream)"),
        [COMPOSE_BAD_CONTENT_ID] = "a content id is up to 200 letters, digits and signs",
        [COMPOSE_BAD_CONTENT] = "it is not base64",
        [COMPOSE_LONG_FILENAME] = "it is longer than 255 octets",
        [COMPOSE_NUL] = "it holds a NUL",
    };

    return (size_t)error < ARRAY_LEN(texts) ? texts[error] : "it is not readable";
}

/* --- writing ---------------------------------------------------------------------------------- */

enum level { LEVEL_MIXED, LEVEL_ALTERNATIVE, LEVEL_RELATED, LEVEL_COUNT };

struct writer {
    const struct compose_mail *mail;
    struct buf *out;
    enum encode_transfer text, html;
    char boundary[LEVEL_COUNT][BOUNDARY_BYTES];
    bool ok;           /* false once *out was full */
    size_t not_base64; /* the first attachment that is none; SLICE_NONE */
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

static void put_address(struct encode_field *field, const struct compose_address *address,
                        const char *behind)
{
    char text[320]; /* an address has up to 254 octets */
    bool has_name = address->name.len > 0;

    if (has_name)
        encode_phrase(field, address->name);
    int len = snprintf(text, sizeof(text), "%s%.*s%s%s", has_name ? "<" : "",
                       SLICE_ARG(slice_first(address->address, 256)), has_name ? ">" : "", behind);
    encode_word(field, slice_make(text, (size_t)len));
}

static void put_addresses(struct writer *w, const char *name,
                          const struct compose_addresses *addresses)
{
    struct encode_field field;

    if (addresses->count == 0)
        return;
    encode_start(&field, w->out, slice_of(name));
    for (size_t i = 0; i < addresses->count; i++)
        put_address(&field, &addresses->items[i], i + 1 < addresses->count ? "," : "");
    w->ok = encode_end(&field) && w->ok;
}

static void put_text_field(struct writer *w, struct slice name, struct slice value)
{
    struct encode_field field;

    encode_start(&field, w->out, name);
    encode_unstructured(&field, value);
    w->ok = encode_end(&field) && w->ok;
}

static void put_header(struct writer *w)
{
    const struct compose_mail *mail = w->mail;
    struct compose_address from = mail->from;

    put_addresses(w, "From", &(struct compose_addresses){ &from, 1 });
    put_addresses(w, "Reply-To", &mail->reply_to);
    put_addresses(w, "To", &mail->to);
    put_addresses(w, "Cc", &mail->cc);
    if (mail->has_subject)
        put_text_field(w, SLICE("Subject"), mail->subject);
    for (size_t i = 0; i < mail->header_count; i++)
        put_text_field(w, mail->headers[i].name, mail->headers[i].value);
    put(w, SLICE("MIME-Version: 1.0\r\n"));
}

/* --- parts ------------------------------------------------------------------------------------ */

static void put_text_part(struct writer *w, const char *type, struct slice text,
                          enum encode_transfer transfer)
{
    putf(w,
         "Content-Type: %s; charset=utf-8\r\n"
         "Content-Transfer-Encoding: %s\r\n\r\n",
         type, encode_transfer_name(transfer));
    w->ok = w->ok && encode_text(text, transfer, w->out);
}

static void put_attachment(struct writer *w, size_t i)
{
    const struct compose_attachment *attachment = &w->mail->attachments[i];
    struct encode_field field;

    encode_start(&field, w->out, SLICE("Content-Type"));
    if (attachment->type.len > 0)
        content_type_write(attachment->type, &field);
    else
        encode_word(&field, slice_of(content_type_of_file(attachment->filename)));
    w->ok = encode_end(&field) && w->ok;
    encode_start(&field, w->out, SLICE("Content-Disposition"));
    encode_word(&field, attachment->is_inline ? SLICE("inline") : SLICE("attachment"));
    if (attachment->filename.len > 0)
        encode_parameter(&field, "filename", attachment->filename);
    w->ok = encode_end(&field) && w->ok;
    if (attachment->content_id.len > 0)
        putf(w, "Content-ID: <%.*s>\r\n", SLICE_ARG(attachment->content_id));
    put(w, SLICE("Content-Transfer-Encoding: base64\r\n\r\n"));
    if (!w->ok)
        return;
    enum encode_wrap wrapped = encode_wrap_base64(attachment->base64, w->out);
    w->ok = wrapped == ENCODE_WRAPPED;
    if (wrapped == ENCODE_NOT_BASE64 && w->not_base64 == SLICE_NONE)
        w->not_base64 = i;
}

static void put_multipart(struct writer *w, const char *type, enum level level)
{
    /* A boundary with its quotes is one word; on a line of its own there is room for the longest.
     */
    putf(w, "Content-Type: multipart/%s;\r\n boundary=\"%s\"\r\n\r\n", type, w->boundary[level]);
}

static void put_boundary(struct writer *w, enum level level)
{
    putf(w, "--%s\r\n", w->boundary[level]);
}

/* The line end before a boundary is the boundary's (RFC 2046 section 5.1.1). */
static void end_part(struct writer *w)
{
    put(w, SLICE("\r\n"));
}

static void end_multipart(struct writer *w, enum level level)
{
    putf(w, "--%s--\r\n", w->boundary[level]);
}

/* Is it shown by the html, by its Content-ID? */
static bool is_related(const struct compose_mail *mail, size_t i)
{
    return mail->has_html && mail->attachments[i].is_inline &&
           mail->attachments[i].content_id.len > 0;
}

static size_t count_attachments(const struct compose_mail *mail, bool related)
{
    size_t count = 0;

    for (size_t i = 0; i < mail->attachment_count; i++)
        count += is_related(mail, i) == related;
    return count;
}

static void put_attachments(struct writer *w, bool related, enum level level)
{
    for (size_t i = 0; i < w->mail->attachment_count && w->ok; i++) {
        if (is_related(w->mail, i) != related)
            continue;
        put_boundary(w, level);
        put_attachment(w, i);
        end_part(w);
    }
    end_multipart(w, level);
}

static void put_html(struct writer *w)
{
    bool has_related = count_attachments(w->mail, true) > 0;

    if (!has_related) {
        put_text_part(w, "text/html", w->mail->html, w->html);
        return;
    }
    putf(w, "Content-Type: multipart/related; type=\"text/html\";\r\n boundary=\"%s\"\r\n\r\n",
         w->boundary[LEVEL_RELATED]);
    put_boundary(w, LEVEL_RELATED);
    put_text_part(w, "text/html", w->mail->html, w->html);
    end_part(w);
    put_attachments(w, true, LEVEL_RELATED);
}

static void put_content(struct writer *w)
{
    const struct compose_mail *mail = w->mail;

    if (!mail->has_html) { /* without any text there are attachments, or an empty message */
        put_text_part(w, "text/plain", mail->text, w->text);
    } else if (!mail->has_text) {
        put_html(w);
    } else {
        put_multipart(w, "alternative", LEVEL_ALTERNATIVE);
        put_boundary(w, LEVEL_ALTERNATIVE);
        put_text_part(w, "text/plain", mail->text, w->text);
        end_part(w);
        put_boundary(w, LEVEL_ALTERNATIVE);
        put_html(w);
        end_part(w);
        end_multipart(w, LEVEL_ALTERNATIVE);
    }
}

static void put_body(struct writer *w)
{
    const struct compose_mail *mail = w->mail;

    if (count_attachments(mail, false) == 0) {
        put_content(w);
        return;
    }
    put_multipart(w, "mixed", LEVEL_MIXED);
    if (mail->has_text || mail->has_html) {
        put_boundary(w, LEVEL_MIXED);
        put_content(w);
        end_part(w);
    }
    put_attachments(w, false, LEVEL_MIXED);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* "=_" is in no quoted-printable text, and "_" in no base64: only what is written as it is can hold
 * a boundary. Nobody can know the id of a message that is not written yet, so the first try is as
 * good as always free; a text of bounded length cannot hold all the others. */
static void choose_boundaries(struct writer *w)
{
    static const char letters[LEVEL_COUNT] = { 'm', 'a', 'r' };
    char core[BOUNDARY_BYTES - 8];
    unsigned number = 0;

    do {
        snprintf(core, sizeof(core), "%u.%.40s", number++, w->mail->id);
    } while (holds(w->mail->text, core) || holds(w->mail->html, core));
    for (size_t i = 0; i < LEVEL_COUNT; i++)
        snprintf(w->boundary[i], BOUNDARY_BYTES, "=_%c%s", letters[i], core);
}

/* Memory is taken once, about as much as will be needed, and not in steps that copy. */
static bool reserve(const struct compose_mail *mail, struct buf *out)
{
    size_t size = mail->text.len + mail->html.len + mail->subject.len + PART_SLACK;
    size_t room = out->max - buf_len(out);

    for (size_t i = 0; i < mail->attachment_count; i++)
        size += mail->attachments[i].base64.len / 76 * 78 + PART_SLACK;
    return buf_reserve(out, size < room ? size : room) != NULL;
}

struct compose_reason compose_mail(const struct compose_mail *mail, struct buf *out)
{
    struct writer w = { .mail = mail, .out = out, .not_base64 = SLICE_NONE };
    struct compose_reason reason = check(mail);

    if (reason.error != COMPOSE_OK)
        return reason;
    w.ok = reserve(mail, out);
    w.text = encode_choose(mail->text);
    w.html = encode_choose(mail->html);
    choose_boundaries(&w);
    put_header(&w);
    put_body(&w);
    if (w.not_base64 != SLICE_NONE)
        return reason_make(COMPOSE_BAD_CONTENT, "attachments[%zu].content", w.not_base64);
    return w.ok ? fine : reason_make(COMPOSE_TOO_LARGE, "message");
}
