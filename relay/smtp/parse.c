/* parse.c - one command line to its verb and arguments (pure; RFC 5321 section 4.1).
 * The dispatcher has bounded the line, so everything here is one or two linear passes. Blanks are
 * spaces: a tab is a control byte like the others, and a line that holds one is not readable. */
#include "relay/smtp/parse.h"

#include "relay/base/macros.h"

#define HELO_MAX 255

enum parse_error parse_line(struct slice line, struct command_line *command)
{
    for (size_t i = 0; i < line.len; i++)
        if ((unsigned char)line.data[i] < ' ' || line.data[i] == 0x7f)
            return PARSE_BAD_LINE;
    struct slice verb = slice_first(line, slice_find(line, ' '));
    for (size_t i = 0; i < verb.len; i++)
        if ((unsigned char)verb.data[i] > 0x7f)
            return PARSE_BAD_LINE;
    if (verb.len == 0)
        return PARSE_BAD_LINE;
    command->verb = verb;
    command->args = slice_trim(slice_from(line, verb.len));
    return PARSE_OK;
}

/* Takes the first word, up to a blank, and the blanks behind it. */
static struct slice take_word(struct slice *rest)
{
    struct slice word = slice_first(*rest, slice_find(*rest, ' '));

    *rest = slice_trim(slice_from(*rest, word.len));
    return word;
}

/* How long is the path at the start of text? Blanks and '>' inside a quoted local part are part of
 * it. Returns 0 when a bracket or a quote is left open. */
static size_t path_len(struct slice text)
{
    bool bracketed = text.len > 0 && text.data[0] == '<';
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (quoted && c == '\\')
            i++; /* whatever stands behind it is quoted too */
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && bracketed && c == '>')
            return i + 1;
        else if (!quoted && !bracketed && c == ' ')
            return i;
    }
    return bracketed || quoted ? 0 : text.len;
}

/* "FROM:<a@b> REST" to path and rest. */
static enum parse_error take_path(struct slice *rest, struct slice keyword, struct slice *path)
{
    if (!slice_starts_nocase(*rest, keyword))
        return PARSE_BAD_SYNTAX;
    struct slice text = slice_trim(slice_from(*rest, keyword.len));
    size_t len = path_len(text);
    if (len == 0 || (len < text.len && text.data[len] != ' '))
        return PARSE_BAD_PATH;
    *path = slice_first(text, len);
    *rest = slice_trim(slice_from(text, len));
    return PARSE_OK;
}

/* --- parameters of MAIL ----------------------------------------------------------------------- */

static enum parse_error read_size(struct slice value, struct mail_args *mail)
{
    mail->has_size = true;
    return slice_to_u64(value, &mail->size) ? PARSE_OK : PARSE_BAD_SIZE;
}

static enum parse_error read_body(struct slice value, struct mail_args *mail)
{
    mail->eight_bit = slice_equal_nocase(value, SLICE("8BITMIME"));
    return mail->eight_bit || slice_equal_nocase(value, SLICE("7BIT")) ? PARSE_OK : PARSE_BAD_BODY;
}

/* RFC 4954 section 5: who submitted the message elsewhere. Nobody here may vouch for that, so the
 * value is not kept. */
static enum parse_error read_auth(struct slice value, struct mail_args *mail)
{
    (void)mail;
    return value.len > 0 ? PARSE_OK : PARSE_BAD_SYNTAX;
}

static const struct {
    const char *keyword;
    enum parse_error (*read)(struct slice value, struct mail_args *mail);
} mail_parameters[] = {
    { "SIZE", read_size },
    { "BODY", read_body },
    { "AUTH", read_auth },
};

/* seen: bits by row, because a parameter given twice is one too many (RFC 5321 section 4.1.1.11).
 */
static enum parse_error read_parameter(struct slice word, unsigned *seen, struct mail_args *mail)
{
    struct slice value = word;
    struct slice keyword = slice_cut(&value, '=');

    for (size_t i = 0; i < ARRAY_LEN(mail_parameters); i++) {
        if (!slice_equal_nocase(keyword, slice_of(mail_parameters[i].keyword)))
            continue;
        if (*seen & 1u << i)
            return PARSE_BAD_SYNTAX;
        *seen |= 1u << i;
        return mail_parameters[i].read(value, mail);
    }
    return keyword.len > 0 ? PARSE_UNKNOWN_PARAM : PARSE_BAD_SYNTAX;
}

enum parse_error parse_mail(struct slice args, struct mail_args *mail)
{
    unsigned seen = 0;

    *mail = (struct mail_args){ 0 };
    enum parse_error error = take_path(&args, SLICE("FROM:"), &mail->path);
    while (error == PARSE_OK && args.len > 0)
        error = read_parameter(take_word(&args), &seen, mail);
    return error;
}

enum parse_error parse_rcpt(struct slice args, struct slice *path)
{
    enum parse_error error = take_path(&args, SLICE("TO:"), path);

    return error == PARSE_OK && args.len > 0 ? PARSE_UNKNOWN_PARAM : error;
}

/* --- EHLO and AUTH ---------------------------------------------------------------------------- */

/* The name goes into our Received field, so only what can stand there. '%' is for the zone that
 * some clients leave in a link-local IPv6 literal. */
static bool helo_byte_is_good(char c, bool literal)
{
    return ascii_is_alnum(c) || c == '-' || c == '.' || (literal ? c == ':' || c == '%' : c == '_');
}

enum parse_error parse_helo(struct slice args, struct slice *name)
{
    bool literal = args.len > 2 && args.data[0] == '[' && args.data[args.len - 1] == ']';
    struct slice inner = literal ? slice_make(args.data + 1, args.len - 2) : args;

    if (args.len == 0 || args.len > HELO_MAX)
        return PARSE_BAD_SYNTAX;
    for (size_t i = 0; i < inner.len; i++)
        if (!helo_byte_is_good(inner.data[i], literal))
            return PARSE_BAD_SYNTAX;
    *name = args;
    return PARSE_OK;
}

enum parse_error parse_auth(struct slice args, struct slice *mechanism, struct slice *initial,
                            bool *has_initial)
{
    if (args.len == 0)
        return PARSE_BAD_SYNTAX;
    *mechanism = take_word(&args);
    *initial = args; /* a blank inside makes it bad base64, which is for sasl.c to say */
    *has_initial = args.len > 0;
    return PARSE_OK;
}
