/* sender.h - may this message go out under this name? The From rule of design section 6 (pure).
 * Exactly one From with exactly one mailbox whose domain is permitted; Sender, Resent-From and
 * Resent-Sender, where present, under the same rule (Sender once; the resent ones in every block of
 * them); Date, Message-ID, To, Cc, Subject, Reply-To, In-Reply-To, References at most once. */
#ifndef LATCHPOST_SENDER_H
#define LATCHPOST_SENDER_H

#include "relay/message/address.h"
#include "relay/message/header.h"

/* May the key send as this address? `domain` is in its one spelling (domain.h), `local` as written.
 * Called during sender_check() or sender_check_path() only. */
typedef bool sender_permit_fn(void *owner, struct slice local, struct slice domain);

enum sender_verdict {
    SENDER_OK,
    SENDER_NOT_PERMITTED, /* 550 5.7.1 */
    SENDER_NOT_READABLE,  /* 550 5.6.0 */
    SENDER_NON_ASCII,     /* 550 5.6.7: raw UTF-8 in a From, which needs SMTPUTF8 */
    SENDER_BAD_PATH,      /* 501 5.1.7: only from sender_check_path() */
    SENDER_PATH_NON_ASCII /* 553 5.6.7: only from sender_check_path() */
};

struct sender_reason {
    enum sender_verdict verdict;
    char rule[160]; /* for the reply and the log: "From: the address x@victim.example is not
                       permitted for this key" (long ones are cut); printable ASCII, no line end;
                       empty when OK */
};

/* The header rule over a parsed header, or over the error that parsing it gave. */
struct sender_reason sender_check(enum header_error parsed, const struct header *header,
                                  sender_permit_fn *permit, void *owner);

/* The envelope rule: the path of MAIL FROM. "<>" is permitted. Address literals and routing
 * characters are not. On SENDER_OK *address borrows `path`. */
struct sender_reason sender_check_path(struct slice path, sender_permit_fn *permit, void *owner,
                                       struct address *address);

#endif
