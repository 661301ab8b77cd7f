/* spec.c - is what is asked for a new key acceptable in itself? (pure)
 * Whether its account may have it is asked later. Each refusal is a sentence that names the value
 * and what is allowed. */
#include "auth/auth_priv.h"

#include <limits.h>

#define ADDRESS_MAX 320 /* RFC 5321 section 4.5.3.1: 64 + "@" + 255 */

/* The length of the UTF-8 character at `at`, its code point in *code; 0 when it is none (RFC 3629:
 * no overlong form, no surrogate, nothing above U+10FFFF). */
static size_t character(const unsigned char *at, uint32_t *code)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 }
    };

    for (size_t len = 1; len <= ARRAY_LEN(forms); len++) {
        if ((at[0] & forms[len - 1].mask) != forms[len - 1].lead)
            continue;
        *code = at[0] & ~(unsigned)forms[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return 0; /* the final NUL ends here too */
            *code = *code << 6 | (at[i] & 0x3f);
        }
        bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
        return *code < forms[len - 1].least || *code > 0x10ffff || surrogate ? 0 : len;
    }
    return 0;
}

/* C0, DEL, C1, the line and paragraph separators, and what turns the reading direction: a name is
 * one line wherever it is shown, and leaves the rest of that line as it is. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

bool spec_name_is_valid(const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    size_t count = 0;

    for (uint32_t code; *at != '\0'; count++) {
        size_t len = character(at, &code);
        if (len == 0 || is_control(code) || count == AUTH_NAME_MAX)
            return false;
        at += len;
    }
    return count > 0;
}

static bool is_plain_text(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

/* Something, "@" and a domain; what a local part may hold was decided by whoever parsed it. */
static bool is_address(struct slice text)
{
    size_t at = text.len;

    while (at > 0 && text.data[at - 1] != '@')
        at--;
    return at > 1 && text.len <= ADDRESS_MAX && is_plain_text(text) && text.data[at] != '*' &&
           pattern_is_valid(slice_from(text, at));
}

static bool is_recipient(struct slice text)
{
    return is_address(text) || pattern_is_valid(text);
}

static bool is_network(struct slice text)
{
    struct network network;

    return network_parse(text, &network);
}

static bool check_list(const struct auth_list *list, const char *what, const char *allowed,
                       bool (*is_valid)(struct slice), struct why *why)
{
    if (list->count > AUTH_LIST_MAX)
        return why_set(why, "a key has at most %d %ss, these are %zu", AUTH_LIST_MAX, what,
                       list->count);
    for (size_t i = 0; i < list->count; i++)
        if (!is_valid(slice_of(list->items[i])))
            return why_set(why, "\"%.80s\" is not a valid %s: it is %s", list->items[i], what,
                           allowed);
    return true;
}

static bool check_lists(const struct auth_key_spec *spec, struct why *why)
{
    return check_list(&spec->domains, "domain", "example.com or *.example.com", pattern_is_valid,
                      why) &&
           check_list(&spec->senders, "sender", "an address like app@example.com", is_address,
                      why) &&
           check_list(&spec->recipients, "recipient", "an address, example.com or *.example.com",
                      is_recipient, why) &&
           check_list(&spec->allow_from, "network",
                      "an address or CIDR, like 192.0.2.0/24 or 2001:db8::/32", is_network, why);
}

bool spec_check(const struct auth_key_spec *spec, int64_t now_s, struct why *why)
{
    if (spec->name == NULL || !spec_name_is_valid(spec->name))
        return why_set(
            why, "the name of a key has 1 to %d characters of UTF-8 and no control characters",
            AUTH_NAME_MAX);
    if (key_is_in(slice_of(spec->name))) /* pasted there; a name is shown, and kept for good */
        return why_set(why, "the name holds an API key: choose another, and rotate the key that it "
                            "holds, which may have been seen");
    if (spec->scopes == 0 || (spec->scopes & ~(unsigned)SCOPES_ALL) != 0)
        return why_set(why, "a key needs at least one scope, and known ones only");
    if (spec->expires_s != 0 && spec->expires_s <= now_s)
        return why_set(why, "the key would have expired already: its end must be in the future");
    if (spec->recipients_per_day > INT64_MAX || spec->message_size_bytes > INT64_MAX)
        return why_set(why, "the number of recipients per day or the message size is too large");
    return check_lists(spec, why);
}
