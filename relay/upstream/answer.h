/* answer.h - what did the upstream reply? Reply lines to code, enhanced code, text and class
 * (pure). The stream keeps what was not used, so a line that has not ended yet is simply left where
 * it is: the parser holds no input of its own and does not care where reads cut it. */
#ifndef LATCHPOST_ANSWER_H
#define LATCHPOST_ANSWER_H

#include "relay/base/slice.h"

#define ANSWER_LINE_MAX   2048 /* octets with CRLF; RFC 5321 section 4.5.3.1.5 says 512 */
#define ANSWER_LINES_MAX  100
#define ANSWER_BYTES_MAX  (64 * 1024)
#define ANSWER_TEXT_BYTES 513 /* 512 octets and the NUL */

struct answer {
    int code;                     /* 200..599 once a line was read */
    char enhanced[12];            /* "5.1.1" or empty */
    char text[ANSWER_TEXT_BYTES]; /* the words of its first lines, cleaned, NUL-ended */
    size_t text_len;
    struct slice line; /* ANSWER_LINE, ANSWER_DONE: the words of the line just read, as
                          they came; borrowed from the input */
    unsigned lines;
    size_t bytes;
    const char *fault; /* ANSWER_BROKEN: a phrase that says why */
};

enum answer_result {
    ANSWER_MORE,   /* no whole line is there */
    ANSWER_LINE,   /* a line that announces another one ("250-...") */
    ANSWER_DONE,   /* the last line: the answer is whole */
    ANSWER_BROKEN, /* this is not SMTP: nothing that follows can be trusted */
};

/* Before the first line of each answer. */
void answer_start(struct answer *answer);

/* Takes one line from the front of *input. Only CRLF ends a line; a CR or LF alone, a NUL, a code
 * that changes between the lines of one answer, or anything but three digits, space or hyphen and
 * words is ANSWER_BROKEN, and so is an answer that passes the limits above. */
enum answer_result answer_read(struct answer *answer, struct slice *input);

enum answer_class { ANSWER_YES, ANSWER_GO_ON, ANSWER_LATER, ANSWER_NEVER }; /* 2yz, 3yz, 4yz, 5yz */
enum answer_class answer_class(const struct answer *answer);

/* Copies the words of a stranger as one line of printable ASCII ('?' for the rest), cut to the
 * capacity, which includes the NUL. Returns the length. */
size_t answer_clean(struct slice text, char *out, size_t capacity);

#endif
