/* domain.c - a domain name to its one spelling, or the reason why not (the only user of libidn2).
 * libidn2 converts and does not judge: without its STD3 flag it lets blanks, '@' and empty labels
 * pass, and with it it deletes them, so that vic_tim.com becomes victim.com. So the
 * letters-digits-hyphen check here runs on every result, and a name that libidn2 changed by more
 * than case is refused: it is one that another name spells too. Plain names (no label starting
 * "xn--") never reach libidn2 and allocate nothing. Pure; any thread. */
#include "relay/message/domain.h"

#include <stdlib.h>
#include <string.h>

#include <idn2.h>

#include "relay/base/macros.h"

#define LABEL_MAX     63
#define NAME_MAX_TEXT 253  /* 255 octets on the wire, RFC 1035 section 2.3.4 */
#define INPUT_MAX     1024 /* no name of U-labels that fits the above is longer in UTF-8 */
#define IDN_FLAGS     (IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL)

static enum domain_error check_label(struct slice label)
{
    if (label.len == 0 || label.len > LABEL_MAX)
        return DOMAIN_BAD_LABEL;
    if (label.data[0] == '-' || label.data[label.len - 1] == '-')
        return DOMAIN_BAD_LABEL;
    for (size_t i = 0; i < label.len; i++)
        if (!ascii_is_alnum(label.data[i]) && label.data[i] != '-')
            return DOMAIN_BAD_LABEL;
    return DOMAIN_OK;
}

static bool all_digits(struct slice label)
{
    for (size_t i = 0; i < label.len; i++)
        if (!ascii_is_digit(label.data[i]))
            return false;
    return true;
}

enum domain_error domain_check(struct slice name)
{
    struct slice label;

    if (name.len == 0)
        return DOMAIN_EMPTY;
    if (name.len > NAME_MAX_TEXT)
        return DOMAIN_TOO_LONG;
    /* Behind a trailing dot slice_cut() leaves an empty rest, not none, and so one empty label. */
    for (struct slice rest = name; rest.data != NULL;) {
        label = slice_cut(&rest, '.');
        enum domain_error error = check_label(label);
        if (error != DOMAIN_OK)
            return error;
    }
    return all_digits(label) ? DOMAIN_NUMERIC : DOMAIN_OK;
}

/* Has the lower-case name a label starting "xn--"? */
static bool has_a_label(const char *text)
{
    for (const char *at = strstr(text, "xn--"); at != NULL; at = strstr(at + 1, "xn--"))
        if (at == text || at[-1] == '.')
            return true;
    return false;
}

/* A-labels to U-labels and back must give the same text: "xn--good-" is another spelling of "good",
 * and libidn2 alone does not refuse all of these. */
static bool a_labels_round_trip(const char *text)
{
    bool ok = false;
    char *unicode = NULL;
    char *ascii = NULL;

    if (idn2_to_unicode_8z8z(text, &unicode, IDN_FLAGS) != IDN2_OK)
        goto out;
    if (idn2_to_ascii_8z(unicode, &ascii, IDN_FLAGS) != IDN2_OK)
        goto out;
    ok = strcmp(text, ascii) == 0;
out:
    idn2_free(ascii);
    idn2_free(unicode);
    return ok;
}

enum domain_error domain_parse_ascii(struct slice name, char text[static DOMAIN_TEXT_MAX])
{
    text[0] = '\0';
    enum domain_error error = domain_check(name);
    if (error != DOMAIN_OK)
        return error;
    for (size_t i = 0; i < name.len; i++)
        text[i] = ascii_lower(name.data[i]);
    text[name.len] = '\0';
    if (has_a_label(text) && !a_labels_round_trip(text)) {
        text[0] = '\0';
        return DOMAIN_BAD_IDN;
    }
    return DOMAIN_OK;
}

/* The capital letters of the scripts that have case, one mapped to one. A capital outside of this
 * table is refused, which only means that it must be typed small. */
static const struct {
    uint32_t first, last;
    uint32_t to_small;
} capitals[] = {
    { 0x0041, 0x005a, 32 }, /* Latin */
    { 0x00c0, 0x00de, 32 }, /* Latin-1 */
    { 0x0100, 0x017e, 1 },  /* Latin Extended-A, in pairs */
    { 0x01cd, 0x0232, 1 },  /* Latin Extended-B, in pairs */
    { 0x0386, 0x0386, 38 }, /* Greek alpha with tonos */
    { 0x0388, 0x038a, 37 }, /* Greek epsilon, eta, iota with tonos */
    { 0x038c, 0x038c, 64 }, /* Greek omicron with tonos */
    { 0x038e, 0x038f, 63 }, /* Greek upsilon, omega with tonos */
    { 0x0391, 0x03ab, 32 }, /* Greek */
    { 0x0400, 0x040f, 80 }, /* Cyrillic of Serbian, Ukrainian and others */
    { 0x0410, 0x042f, 32 }, /* Cyrillic */
    { 0x0460, 0x0480, 1 },  /* Cyrillic, historic, in pairs */
    { 0x048a, 0x052e, 1 },  /* Cyrillic of other languages, in pairs */
    { 0x0531, 0x0556, 48 }, /* Armenian */
    { 0x1e00, 0x1efe, 1 },  /* Latin Extended Additional, in pairs */
};

static bool is_capital_of(uint32_t capital, uint32_t small)
{
    for (size_t i = 0; i < ARRAY_LEN(capitals); i++)
        if (capital >= capitals[i].first && capital <= capitals[i].last &&
            capital + capitals[i].to_small == small)
            return true;
    return false;
}

/* The first code point of *rest, which is not empty; *rest moves behind it. The text is UTF-8 that
 * libidn2 has accepted; on anything else this still moves by a byte at least and stays inside. */
static uint32_t take_code_point(struct slice *rest)
{
    uint8_t lead = (uint8_t)rest->data[0];
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
    size_t used = 1;

    for (; used <= more && used < rest->len; used++)
        code = code << 6 | ((uint8_t)rest->data[used] & 0x3fu);
    *rest = slice_from(*rest, used);
    return code;
}

static bool differs_by_case_only(struct slice typed, struct slice canonical)
{
    while (typed.len > 0 && canonical.len > 0) {
        uint32_t a = take_code_point(&typed);
        uint32_t b = take_code_point(&canonical);
        if (a != b && !is_capital_of(a, b))
            return false;
    }
    return typed.len == canonical.len;
}

/* The mapping of libidn2 drops zero-width characters, folds full-width and circled letters, and
 * takes other dots for dots. So each label as typed must be the A-label or the U-label of the
 * result: only a change of case is no change of the name. */
static bool is_spelling_of(struct slice typed, struct slice ascii, struct slice unicode)
{
    while (typed.data != NULL && ascii.data != NULL && unicode.data != NULL) {
        struct slice label = slice_cut(&typed, '.');
        struct slice a_label = slice_cut(&ascii, '.');
        struct slice u_label = slice_cut(&unicode, '.');
        if (!slice_equal_nocase(label, a_label) && !differs_by_case_only(label, u_label))
            return false;
    }
    return typed.data == NULL && ascii.data == NULL && unicode.data == NULL;
}

static enum domain_error convert(const char *typed, char text[static DOMAIN_TEXT_MAX])
{
    enum domain_error error = DOMAIN_BAD_IDN;
    char *ascii = NULL;
    char *unicode = NULL;

    if (idn2_to_ascii_8z(typed, &ascii, IDN_FLAGS) != IDN2_OK)
        goto out;
    if (idn2_to_unicode_8z8z(ascii, &unicode, IDN_FLAGS) != IDN2_OK)
        goto out;
    if (!is_spelling_of(slice_of(typed), slice_of(ascii), slice_of(unicode)))
        goto out;
    error = domain_parse_ascii(slice_of(ascii), text);
out:
    idn2_free(unicode);
    idn2_free(ascii);
    return error;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((uint8_t)s.data[i] > 127)
            return false;
    return true;
}

static enum domain_error parse_u_labels(struct slice name, char text[static DOMAIN_TEXT_MAX])
{
    char typed[INPUT_MAX + 1];

    text[0] = '\0';
    if (name.len > INPUT_MAX)
        return DOMAIN_TOO_LONG;
    if (slice_find(name, '\0') != SLICE_NONE)
        return DOMAIN_BAD_LABEL;
    memcpy(typed, name.data, name.len);
    typed[name.len] = '\0';
    return convert(typed, text);
}

enum domain_error domain_parse(struct slice name, char text[static DOMAIN_TEXT_MAX])
{
    if (name.len > 1 && name.data[name.len - 1] == '.')
        name.len--;
    return is_ascii(name) ? domain_parse_ascii(name, text) : parse_u_labels(name, text);
}

enum domain_error domain_parse_pattern(struct slice name, char text[static DOMAIN_TEXT_MAX])
{
    static const char wildcard[] = "*.";
    char base[DOMAIN_TEXT_MAX];

    text[0] = '\0';
    if (slice_find(name, '*') == SLICE_NONE)
        return domain_parse(name, text);
    if (!slice_starts_nocase(name, SLICE("*.")) ||
        slice_find(slice_from(name, 2), '*') != SLICE_NONE)
        return DOMAIN_BAD_WILDCARD;
    enum domain_error error = domain_parse(slice_from(name, 2), base);
    if (error != DOMAIN_OK)
        return error;
    if (strchr(base, '.') == NULL)
        return DOMAIN_BAD_WILDCARD;
    memcpy(text, wildcard, 2);
    memcpy(text + 2, base, strlen(base) + 1); /* 2 + 253 + 1 */
    return DOMAIN_OK;
}

enum domain_error domain_parse_recipient(struct slice name, char text[static DOMAIN_TEXT_MAX])
{
    enum domain_error error = domain_parse_pattern(name, text);
    bool is_wildcard = slice_starts_nocase(name, SLICE("*."));
    struct slice base = slice_from(name, is_wildcard ? 2 : 0);

    if (error != DOMAIN_BAD_IDN || !is_ascii(name))
        return error;
    if (base.len > 1 && base.data[base.len - 1] == '.')
        base.len--;
    if (domain_check(base) != DOMAIN_OK)
        return error;
    if (is_wildcard && slice_find(base, '.') == SLICE_NONE)
        return DOMAIN_BAD_WILDCARD;
    memcpy(text, "*.", 2);
    size_t len = is_wildcard ? 2 : 0;
    for (size_t i = 0; i < base.len; i++) /* domain_check() has bounded it */
        text[len++] = ascii_lower(base.data[i]);
    text[len] = '\0';
    return DOMAIN_OK;
}

bool domain_covers(struct slice pattern, struct slice domain)
{
    if (pattern.len < 2 || memcmp(pattern.data, "*.", 2) != 0)
        return pattern.len > 0 && slice_equal(pattern, domain);
    /* The suffix keeps its dot, so that evilgood.example is not under *.good.example. */
    struct slice suffix = slice_from(pattern, 1);
    if (domain.len <= suffix.len)
        return false;
    return slice_equal(slice_from(domain, domain.len - suffix.len), suffix);
}

const char *domain_error_text(enum domain_error error)
{
    static const char *const texts[] = {
        [DOMAIN_OK] = "the domain is well-formed",
        [DOMAIN_EMPTY] = "the domain is empty",
        [DOMAIN_TOO_LONG] = "the domain is longer than 253 characters",
        [DOMAIN_BAD_LABEL] = "a label is empty, over 63, or not letters, digits and hyphens",
        [DOMAIN_BAD_IDN] = "the domain is not an internationalised name in its one spelling",
        [DOMAIN_BAD_WILDCARD] = "a wildcard is only allowed as *. in front of two labels or more",
        [DOMAIN_NUMERIC] = "the domain is an IP address or ends in a number",
    };
    return (size_t)error < ARRAY_LEN(texts) ? texts[error] : "the domain is not readable";
}
