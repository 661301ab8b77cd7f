/* address.h - is this one mail address, and which? (pure)
 * Two grammars: the path of an SMTP command (RFC 5321 section 4.1.2) and the mailbox of a header
 * field (RFC 5322 section 3.4), both without their obsolete parts. What could be read in two ways
 * is refused. Linear. Limits of RFC 5321 section 4.5.3.1: local part 64 octets, domain 255, path
 * 256 with its brackets (254 for the address itself). */
#ifndef LATCHPOST_ADDRESS_H
#define LATCHPOST_ADDRESS_H

#include "relay/base/slice.h"

#define ADDRESS_LOCAL_MAX  64
#define ADDRESS_DOMAIN_MAX 255
#define ADDRESS_MAX        254

enum address_error {
    ADDRESS_OK,
    ADDRESS_EMPTY,        /* nothing there, or only a name, or "<>" where it is not allowed */
    ADDRESS_NO_DOMAIN,    /* "ann", "ann@" */
    ADDRESS_NO_LOCAL,     /* "@example.org" */
    ADDRESS_BAD_LOCAL,    /* a character or dot that a local part cannot have */
    ADDRESS_QUOTED_LOCAL, /* "a b"@example.org: refused for senders; see below for recipients */
    ADDRESS_BAD_DOMAIN,   /* label empty, over 63, not letters-digits-hyphen, trailing dot ... */
    ADDRESS_BAD_LITERAL,  /* [1.2.3] */
    ADDRESS_ROUTE,        /* <@a,@b:c@d> */
    ADDRESS_TOO_LONG,
    ADDRESS_NON_ASCII,     /* a byte above 127 anywhere, a quoted name included */
    ADDRESS_GROUP,         /* team: a@b, c@d; */
    ADDRESS_MORE_THAN_ONE, /* a@b, c@d */
    ADDRESS_BAD_NAME,      /* the words before <...> are not a phrase */
    ADDRESS_BAD_QUOTE,     /* a quoted string that does not end */
    ADDRESS_BAD_COMMENT,   /* a comment that is nested, does not end, or holds more than letters,
                              digits, space . - ' ; or stands where section 6 does not allow it */
    ADDRESS_TRAILING,      /* something stands behind the address */
    ADDRESS_BAD_BYTE,      /* NUL, bare CR, bare LF or another control byte */
    ADDRESS_BAD_BRACKET,   /* "<a@b" or, in a path, "<a@b>x" */
};

struct address {
    struct slice local;  /* as written, case kept */
    struct slice domain; /* as written; an address literal has its brackets */
    bool is_literal;     /* [192.0.2.1] or [IPv6:...] */
    bool is_null;        /* <> (paths only); local and domain are empty */
};

/* The path of MAIL FROM or RCPT TO: "<a@b>", "a@b" without brackets (tolerated), "<>" when
 * `allow_null`. A quoted local part is ADDRESS_QUOTED_LOCAL unless allow_quoted (recipients: RFC
 * 5321 allows them and they decide nothing here). Address literals are well-formed: the caller
 * decides. All of `text` must be the path. On ADDRESS_OK *address borrows text; otherwise it is
 * untouched. */
struct address_path_options {
    bool allow_null;
    bool allow_quoted;
};
enum address_error address_parse_path(struct slice text, struct address_path_options options,
                                      struct address *address);

/* Exactly one mailbox, as the value of From, Sender and the like may hold it (design: a@d, <a@d>,
 * Name <a@d>, "Quoted name" <a@d>, encoded words in the name, folding, a@d (Plain Name)). `value`
 * may hold folds (CRLF and white space). On ADDRESS_OK *address borrows value. */
enum address_error address_parse_mailbox(struct slice value, struct address *address);

/* A bare "local@domain" as an operator types it (allow lists). The domain may have U-labels:
 * domain_parse() gives it its one spelling. */
enum address_error address_parse_bare(struct slice text, struct address *address);

/* True when the local part holds '%', '!' or another character by which old mailers route, so that
 * "x%victim.example@good.example" is not what it seems. Refused for senders. */
bool address_local_routes(struct slice local);

/* A short phrase for people, usable in an SMTP reply ("the domain is not readable"). Never NULL. */
const char *address_error_text(enum address_error error);

#endif
