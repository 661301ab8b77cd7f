/* line.c - where does a command line end? (pure)
 * While a line is short enough its bytes stay with the caller, who shows them again with what comes
 * behind; that is at most max_bytes scanned again an arrival. Bytes of a longer line are taken away
 * as they come and only counted. */
#include "relay/smtp/line.h"

static enum line_result skip(struct line_reader *reader, struct slice data, size_t *used)
{
    size_t lf = slice_find(data, '\n');
    size_t len = lf == SLICE_NONE ? data.len : lf + 1;
    bool crlf = lf != SLICE_NONE && (lf == 0 ? reader->cr : data.data[lf - 1] == '\r');

    *used = len;
    reader->skipping = true;
    reader->skipped += len;
    if (reader->skipped > LINE_SKIP_MAX)
        return LINE_ENDLESS;
    if (lf == SLICE_NONE) {
        if (len > 0)
            reader->cr = data.data[len - 1] == '\r';
        return LINE_MORE;
    }
    *reader = (struct line_reader){ 0 };
    return crlf ? LINE_TOO_LONG : LINE_BARE_LF;
}

enum line_result line_cut(struct line_reader *reader, struct slice data, size_t max_bytes,
                          struct slice *line, size_t *used)
{
    *used = 0;
    if (reader->skipping)
        return skip(reader, data, used);
    size_t lf = slice_find(slice_first(data, max_bytes), '\n');
    if (lf == SLICE_NONE)
        return data.len < max_bytes ? LINE_MORE : skip(reader, data, used);
    *used = lf + 1;
    if (lf == 0 || data.data[lf - 1] != '\r')
        return LINE_BARE_LF;
    *line = slice_first(data, lf - 1);
    return LINE_READ;
}
