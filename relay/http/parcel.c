/* parcel.c - a draft to what the queue stores.
 * The sender is judged by the header that was composed, read again by the same strict parsers that
 * read a client's header over SMTP: whatever a name or a custom header did to it, what leaves is
 * what was judged. */
#include "relay/http/parcel.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/message/fixup.h"
#include "relay/message/sender.h"

/* --- recipients ------------------------------------------------------------------------------- */

static bool holds(const struct api_texts *texts, struct slice text)
{
    for (size_t i = 0; i < texts->count; i++)
        if (slice_equal(slice_of(texts->items[i]), text))
            return true;
    return false;
}

/* A local part is never quoted here, so that there is one at sign. */
static void split(struct slice address, struct slice *local, struct slice *domain)
{
    *domain = address;
    *local = slice_cut(domain, '@');
    assert(domain->data != NULL);
}

static bool add_recipients(struct parcel *parcel, const struct compose_addresses *addresses,
                           const struct parcel_facts *facts, struct mail_refusal *refusal)
{
    for (size_t i = 0; i < addresses->count; i++) {
        struct slice address = addresses->items[i].address;
        struct slice local, domain;
        split(address, &local, &domain);
        if (!auth_grant_permits_recipient(facts->grant, local, domain)) {
            mail_refuse(refusal, 403, "recipient_not_permitted",
                        "This key may not send to the recipient %.*s.",
                        SLICE_ARG(slice_first(address, 100)));
            return false;
        }
        if (!holds(&parcel->recipients, address))
            api_texts_add(&parcel->recipients, address);
    }
    return true;
}

static bool take_recipients(struct parcel *parcel, const struct mail_draft *draft,
                            const struct parcel_facts *facts, struct mail_refusal *refusal)
{
    size_t named = draft->mail.to.count + draft->mail.cc.count + draft->bcc.count;

    if (named > facts->rules.recipients) {
        mail_refuse(refusal, 422, "too_many_recipients",
                    "The message has %zu recipients: at most %u are allowed.", named,
                    facts->rules.recipients);
        return false;
    }
    return add_recipients(parcel, &draft->mail.to, facts, refusal) &&
           add_recipients(parcel, &draft->mail.cc, facts, refusal) &&
           add_recipients(parcel, &draft->bcc, facts, refusal);
}

/* --- composing -------------------------------------------------------------------------------- */

static void refuse_composing(const struct compose_reason *reason, uint64_t limit,
                             struct mail_refusal *refusal)
{
    static const struct {
        int status;
        const char *code;
    } rows[] = {
        [COMPOSE_BAD_VALUE] = { 422, "invalid_header_value" },
        [COMPOSE_BAD_NAME] = { 422, "invalid_header_name" },
        [COMPOSE_FORBIDDEN_HEADER] = { 422, "forbidden_header" },
        [COMPOSE_BAD_MESSAGE_ID] = { 422, "invalid_header_value" },
        [COMPOSE_BAD_TYPE] = { 422, "invalid_value" },
        [COMPOSE_BAD_CONTENT_ID] = { 422, "invalid_value" },
        [COMPOSE_BAD_CONTENT] = { 422, "invalid_value" },
        [COMPOSE_LONG_FILENAME] = { 422, "invalid_value" },
        [COMPOSE_NUL] = { 422, "invalid_value" },
    };

    if (reason->error == COMPOSE_TOO_LARGE) {
        mail_refuse(refusal, 413, "too_large",
                    "The message, or all messages of the request together, would be larger than "
                    "%llu octets.",
                    (unsigned long long)limit);
        return;
    }
    assert((size_t)reason->error < ARRAY_LEN(rows) && rows[reason->error].code != NULL);
    mail_refuse(refusal, rows[reason->error].status, rows[reason->error].code,
                "The field \"%s\": %s.", reason->where, compose_error_text(reason->error));
}

static bool compose(struct parcel *parcel, struct mail_draft *draft, const char *id,
                    const struct parcel_facts *facts, struct mail_refusal *refusal)
{
    draft->mail.id = id;
    buf_init(&parcel->composed, facts->room);
    struct compose_reason reason = compose_mail(&draft->mail, &parcel->composed);
    if (reason.error == COMPOSE_OK)
        return true;
    refuse_composing(&reason, facts->rules.message_bytes, refusal);
    return false;
}

/* --- the header ------------------------------------------------------------------------------- */

static bool permit(void *owner, struct slice local, struct slice domain)
{
    return auth_grant_permits_sender(owner, local, domain);
}

static bool judge_sender(const struct parcel *parcel, enum header_error parsed,
                         const struct header *header, const struct parcel_facts *facts,
                         struct mail_refusal *refusal)
{
    struct auth_grant *grant = (struct auth_grant *)facts->grant; /* permit() only reads it */
    struct address address;
    struct sender_reason reason = sender_check(parsed, header, permit, grant);

    if (reason.verdict == SENDER_OK)
        reason = sender_check_path(slice_of(parcel->sender), permit, grant, &address);
    if (reason.verdict == SENDER_OK)
        return true;
    if (reason.verdict == SENDER_NOT_PERMITTED)
        mail_refuse(refusal, 403, "sender_not_permitted", "%s.", reason.rule);
    else
        mail_refuse(refusal, 422, "invalid_value", "%s.", reason.rule);
    return false;
}

static void note_message_id(struct parcel *parcel, const struct header *header, const char *id,
                            const struct parcel_facts *facts)
{
    const struct header_field *field;

    if (header_count(header, SLICE("Message-ID"), &field) > 0)
        parcel->message_id = slice_dup(slice_trim(field->value));
    else
        parcel->message_id = xasprintf("<%s@%s>", id, facts->rules.hostname);
}

static bool rewrite(struct parcel *parcel, const struct header *header, const char *id,
                    const struct parcel_facts *facts)
{
    const struct fixup_facts fixup = {
        .hostname = facts->rules.hostname,
        .message_id = id,
        .key_id = auth_grant_key_id(facts->grant),
        .client_address = facts->rules.hide_client_address ? NULL : facts->address,
        .protocol = "HTTP",
        .tls = facts->tls,
        .now_s = clock_wall_s(),
    };

    buf_init(&parcel->head, parcel->body_at + FIXUP_GROWTH_MAX);
    return fixup_apply(header, &fixup, &parcel->head);
}

static bool finish_header(struct parcel *parcel, const char *id, const struct parcel_facts *facts,
                          struct mail_refusal *refusal)
{
    struct header header;
    struct slice composed = buf_slice(&parcel->composed);

    parcel->body_at = header_find_end(composed, 0);
    if (parcel->body_at > facts->rules.header_bytes) {
        mail_refuse(refusal, 422, "header_too_large",
                    "The header of the message would be larger than %zu octets.",
                    facts->rules.header_bytes);
        return false;
    }
    enum header_error parsed = header_parse(slice_first(composed, parcel->body_at), &header);
    bool ok = judge_sender(parcel, parsed, &header, facts, refusal);
    if (ok) {
        note_message_id(parcel, &header, id, facts);
        ok = rewrite(parcel, &header, id, facts);
        assert(ok); /* what FIXUP_GROWTH_MAX promises */
    }
    header_free(&header);
    return ok;
}

/* --- the whole -------------------------------------------------------------------------------- */

bool parcel_make(struct parcel *parcel, struct mail_draft *draft, const struct parcel_facts *facts,
                 struct mail_refusal *refusal)
{
    char id[IDENT_TEXT_BYTES];

    parcel->id = ident_next();
    ident_format(parcel->id, id);
    parcel->sender = slice_dup(draft->mail.from.address);
    return take_recipients(parcel, draft, facts, refusal) &&
           compose(parcel, draft, id, facts, refusal) && finish_header(parcel, id, facts, refusal);
}

void parcel_free(struct parcel *parcel)
{
    free(parcel->sender);
    free(parcel->message_id);
    api_texts_free(&parcel->recipients);
    buf_free(&parcel->head);
    buf_free(&parcel->composed);
}

void parcel_read(const struct parcel *parcel, size_t from, size_t max, struct buf *out)
{
    struct slice head = slice_first(slice_from(buf_slice(&parcel->head), from), max);
    size_t behind = from > buf_len(&parcel->head) ? from - buf_len(&parcel->head) : 0;
    struct slice body = slice_first(
        slice_from(buf_slice(&parcel->composed), parcel->body_at + behind), max - head.len);
    bool ok = buf_add(out, head) && buf_add(out, body);

    assert(ok);
    (void)ok;
}
