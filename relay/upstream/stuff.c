/* stuff.c - may these bytes leave, and as what? (pure)
 * Messages are stored with CRLF line ends and without dot-stuffing, and what comes in is checked
 * where it comes in. It is checked again here, because a body that holds "LF . LF" smuggles a
 * second message past any upstream that is less strict than we are, and the queue is a file that
 * others than we may have written. Bytes go to the sink in runs as long as possible: a content
 * without a dot at the start of a line is one run. */
#include "relay/upstream/stuff.h"

#define PATH_MAX_BYTES                                                                             \
    512 /* far above RFC 5321's 256; far below a command line that anyone takes */

void stuff_start(struct stuff *stuff)
{
    *stuff = (struct stuff){ .in_line = false, .held_cr = false };
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Most of what leaves is in order, and has no dot where it would matter. Of a block nothing else is
 * asked, without a branch, so that the compiler looks at many octets at once; the line by line that
 * follows sees only where there was something, and the end. */
#define BLOCK 64

/* With the octet behind it: a NUL, a CR without LF, or an LF without CR. */
static bool block_is_odd(const char *at)
{
    uint8_t odd = 0;

    for (size_t i = 0; i < BLOCK; i++)
        odd |= (uint8_t)(((at[i] == '\r') ^ (at[i + 1] == '\n')) | (at[i] == '\0'));
    return odd != 0;
}

static bool block_has_dot(const char *at)
{
    uint8_t found = 0;

    for (size_t i = 0; i < BLOCK; i++)
        found |= (uint8_t)((at[i] == '\n') & (at[i + 1] == '.'));
    return found != 0;
}

/* So much at the start is in order for sure. It does not end between CR and LF. */
static size_t clean_len(struct slice piece)
{
    size_t len = 0;

    if (piece.len == 0 || piece.data[0] == '\n')
        return 0;
    while (len + BLOCK < piece.len && !block_is_odd(piece.data + len))
        len += BLOCK;
    return len > 0 && piece.data[len - 1] == '\r' ? len - 1 : len;
}

/* The first dot behind `from` that starts a line, or the length. */
static size_t next_dot(struct slice piece, size_t from)
{
    size_t at = from;

    while (at + BLOCK < piece.len && !block_has_dot(piece.data + at))
        at += BLOCK;
    for (; at + 1 < piece.len; at++)
        if (piece.data[at] == '\n' && piece.data[at + 1] == '.')
            return at + 1;
    return piece.len;
}

/* --- checking --------------------------------------------------------------------------------- */

/* Each CR must be followed by LF and each LF preceded by CR. A CR at the very end is left open. */
static enum stuff_error check_lines(struct slice piece)
{
    struct slice rest = slice_from(piece, clean_len(piece));

    if (rest.len > 0 && memchr(rest.data, '\0', rest.len) != NULL)
        return STUFF_NUL;
    while (rest.len > 0) {
        const char *cr = memchr(rest.data, '\r', rest.len);
        const char *lf = memchr(rest.data, '\n', rest.len);

        if (lf == NULL)
            return cr == NULL || cr == rest.data + rest.len - 1 ? STUFF_OK : STUFF_BARE_CR;
        if (cr == NULL || cr > lf)
            return STUFF_BARE_LF;
        if (cr + 1 != lf)
            return STUFF_BARE_CR;
        rest = slice_from(rest, (size_t)(lf - rest.data) + 1);
    }
    return STUFF_OK;
}

/* Between pieces a CR was held back: what comes now must start with its LF. */
static enum stuff_error check_piece(const struct stuff *stuff, struct slice piece)
{
    if (!stuff->held_cr)
        return check_lines(piece);
    return piece.data[0] == '\n' ? check_lines(slice_from(piece, 1)) : STUFF_BARE_CR;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Cuts the piece before each dot that starts a line; a second dot goes between the runs. */
static void write_runs(const struct stuff *stuff, struct slice piece, stuff_sink_fn *sink,
                       void *owner)
{
    size_t from = 0; /* start of the run that is not written yet */
    size_t dot = !stuff->in_line && piece.data[0] == '.' ? 0 : next_dot(piece, 0);

    for (; dot < piece.len; dot = next_dot(piece, dot)) {
        if (dot > from)
            sink(owner, slice_make(piece.data + from, dot - from));
        sink(owner, SLICE("."));
        from = dot;
    }
    sink(owner, slice_from(piece, from));
}

void stuff_add_checked(struct stuff *stuff, struct slice piece, stuff_sink_fn *sink, void *owner)
{
    if (piece.len == 0)
        return;
    if (stuff->held_cr)
        sink(owner, SLICE("\r"));
    stuff->held_cr = piece.data[piece.len - 1] == '\r';
    bool in_line = piece.data[piece.len - 1] != '\n';

    if (stuff->held_cr)
        piece.len--;
    if (piece.len > 0)
        write_runs(stuff, piece, sink, owner);
    stuff->in_line = in_line;
}

enum stuff_error stuff_add(struct stuff *stuff, struct slice piece, stuff_sink_fn *sink,
                           void *owner)
{
    enum stuff_error error = piece.len == 0 ? STUFF_OK : check_piece(stuff, piece);

    if (error == STUFF_OK)
        stuff_add_checked(stuff, piece, sink, owner);
    return error;
}

enum stuff_error stuff_end(struct stuff *stuff, stuff_sink_fn *sink, void *owner)
{
    if (stuff->held_cr)
        return STUFF_BARE_CR;
    sink(owner, stuff->in_line ? SLICE("\r\n.\r\n") : SLICE(".\r\n"));
    return STUFF_OK;
}

enum stuff_error stuff_check(struct slice content)
{
    if (content.len > 0 && content.data[content.len - 1] == '\r')
        return STUFF_BARE_CR;
    return check_lines(content);
}

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

/* "<a> SIZE=1" or a line end in an address would be a parameter or a command of the attacker's; in
 * quotes the brackets and the blank are harmless (RFC 5321 section 4.1.2). Raw UTF-8 would need
 * SMTPUTF8. */
bool stuff_path_is_safe(struct slice address)
{
    bool quoted = false;

    if (address.len > PATH_MAX_BYTES)
        return false;
    for (size_t i = 0; i < address.len; i++) {
        char c = address.data[i];

        if (c == '\\' && (!quoted || ++i == address.len))
            return false;
        if (!is_printable(address.data[i]))
            return false;
        if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '<' || c == '>' || c == ' '))
            return false;
    }
    return !quoted;
}

const char *stuff_error_text(enum stuff_error error)
{
    static const char *const texts[] = {
        [STUFF_OK] = "nothing is wrong",
        [STUFF_BARE_CR] = "a CR without LF",
        [STUFF_BARE_LF] = "an LF without CR",
        [STUFF_NUL] = "a NUL",
    };

    return texts[error];
}
