/* parse.h - one command line to its verb and arguments (pure; RFC 5321 section 4.1). */
#ifndef LATCHPOST_PARSE_H
#define LATCHPOST_PARSE_H

#include "relay/base/slice.h"

struct command_line {
    struct slice verb; /* letters as sent; compare without case */
    struct slice args; /* behind the verb, without the blanks around it; may be empty */
};

enum parse_error {
    PARSE_OK,
    PARSE_BAD_LINE, /* empty, leading blank, NUL or another control byte, byte above 127 in the verb
                     */
    PARSE_BAD_SYNTAX,    /* 501 5.5.4 */
    PARSE_BAD_PATH,      /* caller decides 501 5.1.7 or 5.1.3: no path could be cut out */
    PARSE_BAD_SIZE,      /* SIZE= is not a number: 501 5.5.4 */
    PARSE_BAD_BODY,      /* BODY= is neither 7BIT nor 8BITMIME: 501 5.5.4 */
    PARSE_UNKNOWN_PARAM, /* 555 5.5.4 */
};

/* line: without its CRLF. */
enum parse_error parse_line(struct slice line, struct command_line *command);

struct mail_args {
    struct slice path; /* "<a@b>", or what stood there without brackets */
    bool has_size;
    uint64_t size;  /* saturated */
    bool eight_bit; /* BODY=8BITMIME */
};
/* args of MAIL: "FROM:<a@b> SIZE=10". A blank behind the colon is tolerated, keywords in any case,
 * a parameter given twice is not; AUTH= is accepted and dropped (RFC 4954 section 5). */
enum parse_error parse_mail(struct slice args, struct mail_args *mail);
/* args of RCPT: no parameter is known yet. */
enum parse_error parse_rcpt(struct slice args, struct slice *path);
/* EHLO, HELO: one domain-like word or address literal, at most 255 octets; what real clients send
 * (localhost, a bare host name, me, names with underscores) is fine. */
enum parse_error parse_helo(struct slice args, struct slice *name);
/* AUTH: mechanism and initial response; has_initial false when there is none. */
enum parse_error parse_auth(struct slice args, struct slice *mechanism, struct slice *initial,
                            bool *has_initial);

#endif
