/* domain.h - a domain name to its one spelling, or the reason why not (pure; the only user of
 * libidn2). The one spelling is the lower-case A-label form without a trailing dot; only it is
 * stored and compared. Our own letters-digits-hyphen check runs on the result: libidn2's STD3 flag
 * is never used, because it deletes instead of refusing. */
#ifndef LATCHPOST_DOMAIN_H
#define LATCHPOST_DOMAIN_H

#include "relay/base/slice.h"

#define DOMAIN_TEXT_MAX 256 /* 255 octets with a "*." in front at most, and the NUL */

enum domain_error {
    DOMAIN_OK,
    DOMAIN_EMPTY,
    DOMAIN_TOO_LONG,
    DOMAIN_BAD_LABEL,    /* empty, over 63, not letters-digits-hyphen, hyphen at an end */
    DOMAIN_BAD_IDN,      /* not a valid internationalised name, or one that another spells too */
    DOMAIN_BAD_WILDCARD, /* "*" elsewhere than as a first label, or over fewer than two labels */
    DOMAIN_NUMERIC,      /* all digits in the last label: an IP address */
};

/* What an operator types: A-labels or U-labels, any case, one trailing dot allowed; a pattern may
 * start with "*." (then at least two labels must follow: "*.com" is refused). Writes a NUL-ended
 * text; on an error *text is empty. */
enum domain_error domain_parse(struct slice name, char text[static DOMAIN_TEXT_MAX]);
enum domain_error domain_parse_pattern(struct slice name, char text[static DOMAIN_TEXT_MAX]);

/* A pattern for recipients. It is compared with what stands on the wire, so A-labels that IDNA2008
 * refuses (emoji) are taken as they are: such names do receive mail. Never for an identity. */
enum domain_error domain_parse_recipient(struct slice name, char text[static DOMAIN_TEXT_MAX]);

/* Is it a host name at all: labels of letters, digits and hyphens, at most 253 octets (RFC 1035
 * section 2.3.4 in text), no trailing dot? For recipients: labels starting "xn--" are not looked
 * into, because names that IDNA2008 refuses (emoji) do receive mail. */
enum domain_error domain_check(struct slice name);

/* What stands in an address on the wire: ASCII only, no trailing dot, letters-digits-hyphen; lowers
 * the case and checks labels starting "xn--". For U-labels DOMAIN_BAD_LABEL. */
enum domain_error domain_parse_ascii(struct slice name, char text[static DOMAIN_TEXT_MAX]);

/* Does the pattern ("good.example" or "*.good.example") cover this domain? Both in the one
 * spelling. "*.good.example" covers every sub-domain at any depth, and not good.example itself. */
bool domain_covers(struct slice pattern, struct slice domain);

const char *domain_error_text(enum domain_error error); /* a phrase for people; never NULL */

#endif
