/* address.c - is this one mail address, and which?
 * The header grammar is RFC 5322 section 3.4 without comments, groups, routes and obsolete forms,
 * except for the plain comment that cron writes. It is smaller than the RFC on purpose: each thing
 * left out is one that two readers (Python's email, Perl's Email::Address::XS, addressparser,
 * Outlook, milters) have been seen to read in two ways. Encoded words are opaque: they are checked
 * for their form and never decoded, so nothing that they hold can decide. Every function moves
 * forward only: linear. Pure; any thread. */
#include "relay/message/address.h"

#include <arpa/inet.h>

#include "relay/base/macros.h"
#include "relay/message/domain.h"

static bool is_atext(char c) /* RFC 5322 section 3.2.3 */
{
    static const char marks[] = "!#$%&'*+-/=?^_`{|}~";
    return ascii_is_alnum(c) || (c != '\0' && strchr(marks, c) != NULL);
}

static bool is_printable(char c)
{
    return c >= 32 && c <= 126;
}

static bool is_space(char c) /* in a value whose folds check_bytes() has seen */
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first byte of a slice, or NUL, which no text that got this far can hold. */
static char first_of(struct slice s)
{
    return s.len == 0 ? '\0' : s.data[0];
}

static struct slice skip_spaces(struct slice s)
{
    while (s.len > 0 && is_space(s.data[0]))
        s = slice_from(s, 1);
    return s;
}

/* How many bytes at the front are atext or dots. */
static size_t word_len(struct slice s)
{
    size_t len = 0;

    while (len < s.len && (is_atext(s.data[len]) || s.data[len] == '.'))
        len++;
    return len;
}

/* Before any grammar: no control byte, nothing above 127. A header value may have TABs, and folds
 * with a blank behind them. */
static enum address_error check_bytes(struct slice text, bool is_value)
{
    enum address_error error = ADDRESS_OK;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if ((uint8_t)c > 127)
            return ADDRESS_NON_ASCII;
        if (is_printable(c) || (is_value && c == '\t'))
            continue;
        bool fold = is_value && text.len - i > 2 && memcmp(text.data + i, "\r\n", 2) == 0 &&
                    (text.data[i + 2] == ' ' || text.data[i + 2] == '\t');
        if (fold)
            i += 2;
        else
            error = ADDRESS_BAD_BYTE; /* NON_ASCII further on says more, so the look goes on */
    }
    return error;
}

/* The letters of an atom can spell an encoded word (RFC 2047). Readers exist that decode one in a
 * local part too, where the RFC has none, and find another address in it. */
static bool holds_encoded_word(struct slice atom)
{
    const char *start = memmem(atom.data, atom.len, "=?", 2);

    if (start == NULL)
        return false;
    struct slice rest = slice_from(atom, (size_t)(start - atom.data) + 2);
    return rest.len > 0 && memmem(rest.data, rest.len, "?=", 2) != NULL;
}

static enum address_error check_dot_atom(struct slice local) /* RFC 5322 section 3.2.3 */
{
    char before = '.';

    for (size_t i = 0; i < local.len; i++) {
        char c = local.data[i];
        if (c == '.' ? before == '.' : !is_atext(c))
            return ADDRESS_BAD_LOCAL;
        before = c;
    }
    if (before == '.' || holds_encoded_word(local))
        return ADDRESS_BAD_LOCAL;
    return local.len > ADDRESS_LOCAL_MAX ? ADDRESS_TOO_LONG : ADDRESS_OK;
}

/* [192.0.2.1] or [IPv6:2001:db8::1], RFC 5321 section 4.1.3; the general form has no user. */
static enum address_error check_literal(struct slice literal)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char binary[16];

    if (literal.len < 2 || literal.data[literal.len - 1] != ']')
        return ADDRESS_BAD_LITERAL;
    struct slice inner = slice_make(literal.data + 1, literal.len - 2);
    bool is_v6 = slice_starts_nocase(inner, SLICE("IPv6:"));
    if (is_v6)
        inner = slice_from(inner, 5);
    if (inner.len >= sizeof(text))
        return ADDRESS_BAD_LITERAL;
    memcpy(text, inner.data, inner.len);
    text[inner.len] = '\0';
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, text, binary) == 1 ? ADDRESS_OK
                                                                    : ADDRESS_BAD_LITERAL;
}

static enum address_error check_domain(struct slice domain)
{
    if (domain.len == 0)
        return ADDRESS_NO_DOMAIN;
    if (domain.data[0] == '[')
        return check_literal(domain);
    switch (domain_check(domain)) {
    case DOMAIN_OK:
        return ADDRESS_OK;
    case DOMAIN_TOO_LONG:
        return ADDRESS_TOO_LONG;
    default:
        return ADDRESS_BAD_DOMAIN;
    }
}

/* The length of a quoted local part with its quotes (RFC 5321 section 4.1.2, Quoted-string), or 0
 * when it does not end. */
static size_t quoted_len(struct slice text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == '"')
            return i + 1;
        if (text.data[i] == '\\')
            i++; /* any printable byte may follow, and check_bytes() let no other pass */
    }
    return 0;
}

/* All of `text` must be local@domain. */
static enum address_error parse_addr_spec(struct slice text, bool allow_quoted,
                                          struct address *address)
{
    enum address_error error = ADDRESS_OK;
    bool quoted = first_of(text) == '"';
    size_t at = quoted ? quoted_len(text) : slice_find(text, '@');

    if (text.len == 0)
        return ADDRESS_EMPTY;
    if (quoted && !allow_quoted)
        return ADDRESS_QUOTED_LOCAL;
    if (quoted && at == 0)
        return ADDRESS_BAD_QUOTE;
    if (at == SLICE_NONE || at == text.len)
        return ADDRESS_NO_DOMAIN;
    if (at == 0)
        return slice_find(text, ':') != SLICE_NONE ? ADDRESS_ROUTE : ADDRESS_NO_LOCAL;
    if (text.data[at] != '@')
        return ADDRESS_BAD_LOCAL;
    struct slice local = slice_first(text, at);
    struct slice domain = slice_from(text, at + 1);
    if (!quoted)
        error = check_dot_atom(local);
    if (error == ADDRESS_OK)
        error = check_domain(domain);
    if (error != ADDRESS_OK)
        return error;
    if (local.len > ADDRESS_LOCAL_MAX || text.len > ADDRESS_MAX)
        return ADDRESS_TOO_LONG;
    *address =
        (struct address){ .local = local, .domain = domain, .is_literal = domain.data[0] == '[' };
    return ADDRESS_OK;
}

enum address_error address_parse_path(struct slice text, struct address_path_options options,
                                      struct address *address)
{
    enum address_error error = check_bytes(text, false);

    if (error != ADDRESS_OK)
        return error;
    if (first_of(text) != '<')
        return parse_addr_spec(text, options.allow_quoted, address);
    if (text.data[text.len - 1] != '>')
        return ADDRESS_BAD_BRACKET;
    struct slice inner = slice_make(text.data + 1, text.len - 2);
    if (inner.len == 0 && options.allow_null) {
        *address = (struct address){ .is_null = true };
        return ADDRESS_OK;
    }
    return parse_addr_spec(inner, options.allow_quoted, address);
}

enum address_error address_parse_bare(struct slice text, struct address *address)
{
    char canonical[DOMAIN_TEXT_MAX];
    size_t at = slice_find(text, '@');

    /* An operator may type the U-labels of a domain; the rest is the same as in a path. */
    if (at == SLICE_NONE || check_bytes(slice_from(text, at), false) != ADDRESS_NON_ASCII) {
        enum address_error error = check_bytes(text, false);
        return error != ADDRESS_OK ? error : parse_addr_spec(text, false, address);
    }
    struct slice local = slice_first(text, at);
    struct slice domain = slice_from(text, at + 1);
    enum address_error error = check_bytes(local, false);
    if (error == ADDRESS_OK)
        error = local.len == 0 ? ADDRESS_NO_LOCAL : check_dot_atom(local);
    if (error != ADDRESS_OK)
        return error;
    if (slice_ends_nocase(domain, SLICE(".")) || domain_parse(domain, canonical) != DOMAIN_OK)
        return ADDRESS_BAD_DOMAIN;
    if (local.len + 1 + strlen(canonical) > ADDRESS_MAX)
        return ADDRESS_TOO_LONG;
    *address = (struct address){ .local = local, .domain = domain };
    return ADDRESS_OK;
}

/* --- the mailbox of a header field ------------------------------------------------------------ */

/* What it means that this byte stands where a name, a bracket or the end was expected. */
static enum address_error misplaced(char c)
{
    switch (c) {
    case ',':
        return ADDRESS_MORE_THAN_ONE;
    case ':':
    case ';':
        return ADDRESS_GROUP;
    case '(':
    case ')':
        return ADDRESS_BAD_COMMENT;
    default:
        return ADDRESS_TRAILING;
    }
}

static enum address_error misplaced_in_name(char c)
{
    enum address_error error = misplaced(c);
    return error == ADDRESS_TRAILING ? ADDRESS_BAD_NAME : error;
}

/* A part of an encoded word: at least one byte, alphanumeric or among `marks`. */
static bool is_made_of(struct slice part, const char *marks)
{
    for (size_t i = 0; i < part.len; i++)
        if (!ascii_is_alnum(part.data[i]) && strchr(marks, part.data[i]) == NULL)
            return false;
    return part.len > 0;
}

/* =?charset?B|Q?text?= and nothing around it (RFC 2047 section 2; the charset may bear a language,
 * RFC 2231 section 5). In Q any atext may stand for itself, as clients write it. */
static bool is_encoded_word(struct slice word)
{
    if (word.len < 4 || memcmp(word.data + word.len - 2, "?=", 2) != 0)
        return false;
    struct slice rest = slice_make(word.data + 2, word.len - 4);
    struct slice charset = slice_cut(&rest, '?');
    struct slice encoding = slice_cut(&rest, '?');
    if (encoding.len != 1 || !is_made_of(charset, "-_.:+*"))
        return false;
    char letter = ascii_lower(encoding.data[0]);
    if (letter == 'b')
        return is_made_of(rest, "+/=");
    return letter == 'q' && is_made_of(rest, "!#$%&'*+-/=^_`{|}~.");
}

/* An atom of a phrase, in which dots are tolerated ("John Q. Public"), or an encoded word. Decoders
 * find encoded words in the middle of atoms as well, where the RFC has none: refused. */
static bool is_phrase_word(struct slice word)
{
    if (word.data[0] == '.')
        return false;
    if (memmem(word.data, word.len, "=?", 2) == NULL)
        return true;
    return word.len > 2 && memcmp(word.data, "=?", 2) == 0 && is_encoded_word(word);
}

/* Words up to the '<', which *rest then starts with. */
static enum address_error take_phrase(struct slice *rest)
{
    while (first_of(*rest) != '<') {
        size_t len = word_len(*rest);
        if (rest->len == 0)
            return ADDRESS_EMPTY;
        if (len == 0)
            return misplaced_in_name(first_of(*rest));
        if (!is_phrase_word(slice_first(*rest, len)))
            return ADDRESS_BAD_NAME;
        /* Python's email breaks on a dot that touches the bracket. */
        if (rest->data[len - 1] == '.' && first_of(slice_from(*rest, len)) == '<')
            return ADDRESS_BAD_NAME;
        *rest = skip_spaces(slice_from(*rest, len));
    }
    return ADDRESS_OK;
}

/* Finds the end of the quoted name that `text` starts with: *len is its length with its quotes. Two
 * kinds of reader believe that they are outside of the quotes while they are not. Some know no
 * backslash: for them "a\" <x@victim.example>, \"b" <a@good.example> holds another address; where
 * they are outside, an at sign or bracket is refused. Others, Python's getaddresses() among them,
 * end the quotes at a fold and take what stood before it for an address: a folded name may only
 * hold what needs no quotes, which is no address to anybody. */
static enum address_error check_quoted_name(struct slice text, size_t *len)
{
    bool outside = false;
    bool folded = false;
    bool needs_quotes = false;
    size_t i = 1;

    for (; i < text.len && text.data[i] != '"'; i++) {
        char c = text.data[i];
        folded = folded || c == '\r';
        needs_quotes = needs_quotes || !(is_atext(c) || is_space(c) || c == '.');
        if (c == '\\') {
            i++;
            if (i == text.len || !is_printable(text.data[i]))
                return ADDRESS_BAD_QUOTE;
            outside = outside != (text.data[i] == '"');
        }
        if (outside && strchr("@<>()[]", text.data[i]) != NULL)
            return ADDRESS_BAD_NAME;
    }
    if (i == text.len)
        return ADDRESS_BAD_QUOTE;
    *len = i + 1;
    return folded && needs_quotes ? ADDRESS_BAD_NAME : ADDRESS_OK;
}

/* A quoted name and the white space behind it, up to the '<' which *rest then starts with. Further
 * words are refused: readers do not agree on what quotes in the middle of a name mean. */
static enum address_error take_quoted_name(struct slice *rest)
{
    size_t len;

    enum address_error error = check_quoted_name(*rest, &len);
    if (error != ADDRESS_OK)
        return error;
    *rest = skip_spaces(slice_from(*rest, len));
    if (rest->len == 0)
        return ADDRESS_EMPTY;
    if (first_of(*rest) == '@')
        return ADDRESS_QUOTED_LOCAL;
    return first_of(*rest) == '<' ? ADDRESS_OK : misplaced_in_name(first_of(*rest));
}

/* <local@domain> and nothing behind it. */
static enum address_error parse_angle(struct slice rest, struct address *address)
{
    struct slice inner = slice_from(rest, 1);
    size_t close = slice_find(inner, '>');

    if (first_of(inner) == '"')
        return ADDRESS_QUOTED_LOCAL;
    if (close == SLICE_NONE)
        return ADDRESS_BAD_BRACKET;
    struct slice tail = skip_spaces(slice_from(inner, close + 1));
    enum address_error error = parse_addr_spec(slice_first(inner, close), false, address);
    if (error == ADDRESS_OK && tail.len > 0)
        error = misplaced(first_of(tail));
    return error;
}

/* (Plain Name), as old mailers and cron write it behind the address, and nothing behind it. */
static enum address_error check_plain_comment(struct slice comment)
{
    size_t close = slice_find(comment, ')');

    if (close == SLICE_NONE)
        return ADDRESS_BAD_COMMENT;
    for (size_t i = 1; i < close; i++) {
        char c = comment.data[i];
        if (!ascii_is_alnum(c) && strchr(" .-'", c) == NULL)
            return ADDRESS_BAD_COMMENT;
    }
    struct slice tail = skip_spaces(slice_from(comment, close + 1));
    return tail.len == 0 ? ADDRESS_OK : misplaced(first_of(tail));
}

/* local@domain without brackets, perhaps with a plain comment behind white space. */
static enum address_error parse_plain(struct slice rest, struct address *address)
{
    size_t len = 0;

    while (len < rest.len && !is_space(rest.data[len]) && strchr(",;()", rest.data[len]) == NULL)
        len++;
    struct address found;
    enum address_error error = parse_addr_spec(slice_first(rest, len), false, &found);
    if (error != ADDRESS_OK)
        return error;
    struct slice tail = skip_spaces(slice_from(rest, len));
    bool touches = tail.len == rest.len - len;
    if (first_of(tail) == '(' && !touches)
        error = check_plain_comment(tail);
    else if (tail.len > 0)
        error = misplaced(first_of(tail));
    if (error == ADDRESS_OK)
        *address = found;
    return error;
}

enum address_error address_parse_mailbox(struct slice value, struct address *address)
{
    struct slice rest = skip_spaces(value);
    struct address found;
    enum address_error error = check_bytes(value, true);

    if (error != ADDRESS_OK)
        return error;
    if (rest.len == 0)
        return ADDRESS_EMPTY;
    if (first_of(slice_from(rest, word_len(rest))) == '@')
        return parse_plain(rest, address);
    error = first_of(rest) == '"' ? take_quoted_name(&rest) : take_phrase(&rest);
    if (error == ADDRESS_OK)
        error = parse_angle(rest, &found);
    if (error == ADDRESS_OK)
        *address = found;
    return error;
}

bool address_local_routes(struct slice local)
{
    for (size_t i = 0; i < local.len; i++)
        if (local.data[i] != '\0' && strchr("%!@:", local.data[i]) != NULL)
            return true;
    return false;
}

const char *address_error_text(enum address_error error)
{
    static const char *const texts[] = {
        [ADDRESS_OK] = "the address is readable",
        [ADDRESS_EMPTY] = "there is no address",
        [ADDRESS_NO_DOMAIN] = "the address has no domain",
        [ADDRESS_NO_LOCAL] = "the address has nothing before the at sign",
        [ADDRESS_BAD_LOCAL] = "the part before the at sign is not readable",
        [ADDRESS_QUOTED_LOCAL] = "a quoted part before the at sign is not allowed",
        [ADDRESS_BAD_DOMAIN] = "the domain is not readable",
        [ADDRESS_BAD_LITERAL] = "the address literal is not an IP address",
        [ADDRESS_ROUTE] = "a source route is not allowed",
        [ADDRESS_TOO_LONG] = "the address is too long",
        [ADDRESS_NON_ASCII] = "the address holds characters that are not ASCII",
        [ADDRESS_GROUP] = "a group is not allowed",
        [ADDRESS_MORE_THAN_ONE] = "there is more than one address",
        [ADDRESS_BAD_NAME] = "the name before the address is not readable",
        [ADDRESS_BAD_QUOTE] = "a quoted name is not readable",
        [ADDRESS_BAD_COMMENT] = "the comment is not a plain name behind the address",
        [ADDRESS_TRAILING] = "something stands behind the address",
        [ADDRESS_BAD_BYTE] = "the address holds a control character",
        [ADDRESS_BAD_BRACKET] = "an angle bracket is missing",
    };
    return (size_t)error < ARRAY_LEN(texts) ? texts[error] : "the address is not readable";
}
