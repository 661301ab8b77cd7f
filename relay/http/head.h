/* head.h - is this line of a request head read the same by everyone? (pure)
 * The rules that llhttp lacks or leaves open. Seen by relay/http/request.c and tests only. */
#ifndef LATCHPOST_HEAD_H
#define LATCHPOST_HEAD_H

#include "relay/base/slice.h"

struct head_refusal { /* status 0: nothing to refuse */
    int status;
    const char *problem; /* a phrase for the answer; static */
};

struct head_line { /* borrows the line */
    struct slice method, target;
    unsigned minor; /* HTTP/1.<minor>: 0 or 1 */
};
/* The request line, without its line end. */
struct head_refusal head_parse_line(struct slice text, struct head_line *line);

/* A field line, without its line end. `raw`: all behind the colon; it is trimmed by the caller. */
struct head_refusal head_parse_field(struct slice text, struct slice *name, struct slice *raw);

/* Must this field not be given twice? Where one reader takes the first and another the last, a
 * request would mean two things. */
bool head_is_single(struct slice name);

/* The value of a Content-Length: at most one blank, then only digits. A number that does not fit is
 * UINT64_MAX. */
bool head_parse_length(struct slice raw, uint64_t *length);

/* Does a comma-separated value hold this word (without case)? */
bool head_lists(struct slice value, struct slice word);

#endif
