/* fuzz_header.c - is there a header that the sender rule accepts and another reader reads
 * otherwise? The input is a header block; good.example is the only permitted domain. What
 * sender_check() lets pass is read again by the parser below, which shares nothing with ours: it is
 * slow, knows the whole obsolete grammar (nested comments, groups, routes, lists, blanks before the
 * colon), and must find exactly one address in each field that names a sender, of the permitted
 * domain. Then the fix-ups run, and their result must be accepted as well, without a dropped field.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/message/fixup.h"
#include "relay/message/sender.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool permit_good(void *owner, struct slice local, struct slice domain)
{
    (void)owner;
    (void)local;
    return slice_equal(domain, SLICE("good.example"));
}

/* --- the other reader ------------------------------------------------------------------------- */

/* Unfolds, cuts at the empty line, and makes every line end a newline. The result is a string. */
static char *unfold(const char *data, size_t len)
{
    char *text = calloc(1, len + 2);
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (c == '\r' && i + 1 < len && data[i + 1] == '\n')
            continue;
        bool ends = c == '\n' || c == '\r' || c == '\v' || c == '\f';
        if (ends && (used == 0 || text[used - 1] == '\n'))
            break; /* the empty line */
        if (ends && i + 1 < len && (data[i + 1] == ' ' || data[i + 1] == '\t'))
            continue;
        text[used++] = ends ? '\n' : c == '\0' ? '\n' : c;
    }
    return text;
}

struct seen {
    unsigned at_signs; /* outside of quotes and comments */
    unsigned angles;
    unsigned separators; /* commas, semicolons, colons */
    char domain[512];
};

/* Reads one value. `knows_backslash`: some readers do not. */
static struct seen read_value(const char *at, bool knows_backslash)
{
    struct seen seen = { 0 };
    unsigned depth = 0;
    bool quoted = false;
    bool in_domain = false;
    size_t len = 0;

    for (; *at != '\0' && *at != '\n'; at++) {
        if (*at == '\\' && knows_backslash && at[1] != '\0' && (quoted || depth > 0)) {
            at++;
            continue;
        }
        if (depth == 0 && *at == '"')
            quoted = !quoted;
        if (quoted || *at == '"')
            continue;
        if (*at == '(')
            depth++;
        if (depth > 0) {
            depth -= *at == ')';
            in_domain = false;
            continue;
        }
        seen.angles += *at == '<';
        seen.separators += *at == ',' || *at == ';' || *at == ':';
        if (*at == '@') {
            seen.at_signs++;
            in_domain = true;
            len = 0;
        } else if (in_domain && (isalnum((unsigned char)*at) || strchr("-.[]:_", *at) != NULL)) {
            if (len + 1 < sizeof(seen.domain))
                seen.domain[len++] = (char)tolower((unsigned char)*at);
            seen.domain[len] = '\0';
        } else {
            in_domain = false;
        }
    }
    return seen;
}

static bool names_a_sender(const char *line, size_t len)
{
    static const char *const names[] = { "from", "sender", "resent-from", "resent-sender" };

    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && strncasecmp(line, names[i], len) == 0)
            return true;
    return false;
}

static void check_with_other_reader(const char *data, size_t len)
{
    char *text = unfold(data, len);
    unsigned froms = 0;

    for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        next = next == NULL ? NULL : next + 1;
        size_t name_len = strcspn(line, ":\n");
        if (line[name_len] != ':' || !names_a_sender(line, name_len))
            continue;
        froms += tolower((unsigned char)line[0]) == 'f';
        struct seen seen = read_value(line + name_len + 1, true);
        CHECK(seen.at_signs == 1);
        CHECK(seen.angles <= 1);
        CHECK(seen.separators == 0);
        CHECK(strcmp(seen.domain, "good.example") == 0);
        struct seen naive = read_value(line + name_len + 1, false);
        CHECK(naive.at_signs <= 1);
        CHECK(naive.at_signs == 0 || strcmp(naive.domain, "good.example") == 0);
    }
    CHECK(froms == 1);
    free(text);
}

/* --- the target ------------------------------------------------------------------------------- */

static void check_fields(struct slice block, const struct header *header)
{
    const char *at = block.data;

    for (size_t i = 0; i < header->count; i++) {
        const struct header_field *field = &header->fields[i];
        CHECK(field->whole.data == at && field->name.data == at);
        CHECK(field->name.len > 0 && field->name.data[field->name.len] == ':');
        CHECK(field->value.data == at + field->name.len + 1);
        CHECK(field->name.len + 1 + field->value.len <= field->whole.len);
        at += field->whole.len;
    }
    CHECK(header->count > 0 && at <= block.data + block.len);
}

static void check_fixup(const struct header *header, enum sender_verdict verdict)
{
    static const struct fixup_facts facts = {
        .hostname = "relay.example",
        .message_id = "01j5r2k8xq4vd",
        .key_id = "7Fq2mZ81",
        .helo = { "me", 2 },
        .client_address = "192.0.2.1",
        .protocol = "ESMTPSA",
        .tls = "TLSv1.3 TLS_AES_256_X",
        .now_s = 1795265786,
    };
    struct header fixed;
    struct buf out;

    buf_init(&out, (1 << 20) + FIXUP_GROWTH_MAX);
    CHECK(fixup_apply(header, &facts, &out));
    CHECK(header_find_end(buf_slice(&out), 0) == buf_len(&out));
    CHECK(header_parse(buf_slice(&out), &fixed) == HEADER_OK ||
          header->count >= HEADER_FIELDS_MAX - 3);
    if (fixed.count > 0) {
        CHECK(sender_check(HEADER_OK, &fixed, permit_good, NULL).verdict == verdict);
        CHECK(header_count(&fixed, SLICE("Bcc"), NULL) == 0);
        CHECK(header_count(&fixed, SLICE("Resent-Bcc"), NULL) == 0);
        CHECK(header_count(&fixed, SLICE("Return-Path"), NULL) == 0);
        CHECK(header_count(&fixed, SLICE("Date"), NULL) > 0);
        CHECK(header_count(&fixed, SLICE("Message-ID"), NULL) > 0);
    }
    header_free(&fixed);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice block = slice_make(data, size);
    struct header header;

    if (size > 1 << 16)
        return 0;
    enum header_error parsed = header_parse(block, &header);
    struct sender_reason reason = sender_check(parsed, &header, permit_good, NULL);
    CHECK(memchr(reason.rule, '\0', sizeof(reason.rule)) != NULL);
    for (const char *at = reason.rule; *at != '\0'; at++)
        CHECK(*at >= 32 && *at <= 126);
    if (reason.verdict == SENDER_OK)
        check_with_other_reader(block.data, block.len);
    if (parsed == HEADER_OK) {
        check_fields(block, &header);
        check_fixup(&header, reason.verdict);
    }
    header_free(&header);
    return 0;
}
