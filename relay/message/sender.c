/* sender.c - may this message go out under this name? The From rule of the design.
 * First what makes a header readable in one way (each field that RFC 5322 section 3.6 allows once
 * stands there once), then each field that names a sender, in the order of the table. The first
 * failure decides. Pure; any thread. */
#include "relay/message/sender.h"

#include <stdarg.h>
#include <stdio.h>

#include "relay/base/macros.h"
#include "relay/message/domain.h"

/* Bcc is allowed once as well, but it is dropped before anybody reads it. */
static const char *const once[] = {
    "From", "Sender",  "Reply-To",   "To",          "Cc",
    "Date", "Subject", "Message-ID", "In-Reply-To", "References",
};

/* The fields that say who sends. Blocks of resent fields may repeat, so each of those is asked. */
static const char *const sender_fields[] = { "From", "Sender", "Resent-From", "Resent-Sender" };

static struct sender_reason reason_make(enum sender_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct sender_reason reason_make(enum sender_verdict verdict, const char *format, ...)
{
    struct sender_reason reason = { .verdict = verdict };
    va_list args;

    va_start(args, format);
    vsnprintf(reason.rule, sizeof(reason.rule), format, args);
    va_end(args);
    for (char *at = reason.rule; *at != '\0'; at++)
        if (*at < 32 || *at > 126)
            *at = '?';
    return reason;
}

static const struct sender_reason permitted = { .verdict = SENDER_OK };

/* The part of the rule that envelope and header share. `where` names the field or command. */
static struct sender_reason check_address(const char *where, const struct address *address,
                                          enum sender_verdict unreadable, sender_permit_fn *permit,
                                          void *owner)
{
    char domain[DOMAIN_TEXT_MAX];

    if (address->is_literal)
        return reason_make(SENDER_NOT_PERMITTED, "%s: an address literal is not permitted", where);
    if (address_local_routes(address->local))
        return reason_make(SENDER_NOT_PERMITTED,
                           "%s: a local part with routing characters is not permitted", where);
    enum domain_error error = domain_parse_ascii(address->domain, domain);
    if (error != DOMAIN_OK)
        return reason_make(unreadable, "%s: %s", where, domain_error_text(error));
    if (permit(owner, address->local, slice_of(domain)))
        return permitted;
    /* The key may list domains or addresses: the sentence is true for both. */
    return reason_make(SENDER_NOT_PERMITTED,
                       "%s: the address %.*s@%.70s is not permitted for this key", where,
                       SLICE_ARG(slice_first(address->local, 30)), domain);
}

static bool has_eight_bit(struct slice s)
{
    unsigned seen = 0;

    for (size_t i = 0; i < s.len; i++)
        seen |= (uint8_t)s.data[i];
    return seen > 127;
}

static struct sender_reason check_field(const char *name, struct slice value,
                                        sender_permit_fn *permit, void *owner)
{
    struct address address;

    if (has_eight_bit(value))
        return reason_make(SENDER_NON_ASCII, "%s: not ASCII; a name must be encoded (RFC 2047)",
                           name);
    enum address_error error = address_parse_mailbox(value, &address);
    if (error != ADDRESS_OK)
        return reason_make(SENDER_NOT_READABLE, "%s: %s", name, address_error_text(error));
    return check_address(name, &address, SENDER_NOT_READABLE, permit, owner);
}

static struct sender_reason check_fields(const struct header *header, const char *name,
                                         sender_permit_fn *permit, void *owner)
{
    for (size_t i = 0; i < header->count; i++) {
        const struct header_field *field = &header->fields[i];
        if (!slice_equal_nocase(field->name, slice_of(name)))
            continue;
        struct sender_reason reason = check_field(name, field->value, permit, owner);
        if (reason.verdict != SENDER_OK)
            return reason;
    }
    return permitted;
}

struct sender_reason sender_check(enum header_error parsed, const struct header *header,
                                  sender_permit_fn *permit, void *owner)
{
    if (parsed != HEADER_OK)
        return reason_make(SENDER_NOT_READABLE, "%s", header_error_text(parsed));
    if (header_count(header, SLICE("From"), NULL) == 0)
        return reason_make(SENDER_NOT_READABLE, "the message has no From field");
    for (size_t i = 0; i < ARRAY_LEN(once); i++)
        if (header_count(header, slice_of(once[i]), NULL) > 1)
            return reason_make(SENDER_NOT_READABLE, "there is more than one %s field", once[i]);
    for (size_t i = 0; i < ARRAY_LEN(sender_fields); i++) {
        struct sender_reason reason = check_fields(header, sender_fields[i], permit, owner);
        if (reason.verdict != SENDER_OK)
            return reason;
    }
    return permitted;
}

struct sender_reason sender_check_path(struct slice path, sender_permit_fn *permit, void *owner,
                                       struct address *address)
{
    static const struct address_path_options options = { .allow_null = true };
    struct address found;

    enum address_error error = address_parse_path(path, options, &found);
    if (error == ADDRESS_NON_ASCII)
        return reason_make(SENDER_PATH_NON_ASCII, "MAIL FROM: %s", address_error_text(error));
    if (error != ADDRESS_OK)
        return reason_make(SENDER_BAD_PATH, "MAIL FROM: %s", address_error_text(error));
    struct sender_reason reason = permitted;
    if (!found.is_null)
        reason = check_address("MAIL FROM", &found, SENDER_BAD_PATH, permit, owner);
    if (reason.verdict == SENDER_OK)
        *address = found;
    return reason;
}
