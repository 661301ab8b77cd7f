/* line.h - where does a command line end? (pure)
 * Cuts lines off the input and bounds what a client may send without ending one. Only CR LF ends a
 * line: an LF alone is told apart, because whoever sends it speaks something else. */
#ifndef LATCHPOST_LINE_H
#define LATCHPOST_LINE_H

#include "relay/base/slice.h"

#define LINE_SKIP_MAX (64 * 1024) /* octets of one too long line that are read and thrown away */

struct line_reader { /* zeroed: at the start of a line */
    bool skipping;   /* private: inside a line that is too long already */
    bool cr;         /* private: and its last byte was a CR */
    size_t skipped;  /* private */
};

enum line_result {
    LINE_MORE,     /* no line yet: come again with more behind it */
    LINE_READ,     /* *line, without its CRLF; borrows data */
    LINE_BARE_LF,  /* an LF without CR */
    LINE_TOO_LONG, /* over max_bytes; read to its end and thrown away */
    LINE_ENDLESS,  /* LINE_SKIP_MAX thrown away and still no end */
};

/* max_bytes: of a line with its CRLF. *used: bytes of data to be taken away, also with LINE_MORE.
 */
enum line_result line_cut(struct line_reader *reader, struct slice data, size_t max_bytes,
                          struct slice *line, size_t *used);

#endif
