/* content_type.c - which media type does a client's attachment have?
 * The value is taken apart the same way to judge it and to write it, one parameter after the other.
 * Comments and blanks around the slash or the equals sign, which the grammar of RFC 822 would
 * allow, are refused: readers differ there. Pure; any thread. */
#include "relay/message/content_type.h"

#define WHOLE_MAX     600
#define PARAMETER_MAX 200

static bool is_token_char(char c)
{
    return c > ' ' && c <= '~' && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_token_char(text.data[i]))
            return false;
    return text.len > 0;
}

static bool is_quoted(struct slice text)
{
    if (text.len < 2 || text.data[0] != '"' || text.data[text.len - 1] != '"')
        return false;
    for (size_t i = 1; i < text.len - 1; i++)
        if (text.data[i] < ' ' || text.data[i] > '~' || text.data[i] == '"' ||
            text.data[i] == '\\' || text.data[i] == ';')
            return false;
    return true;
}

static bool is_parameter(struct slice text)
{
    struct slice value = text;
    struct slice name = slice_cut(&value, '=');

    if (value.data == NULL || text.len > PARAMETER_MAX || !is_token(name) ||
        slice_find(name, '*') != SLICE_NONE || slice_find(name, '%') != SLICE_NONE)
        return false;
    return !slice_equal_nocase(name, SLICE("boundary")) && (is_token(value) || is_quoted(value));
}

/* Does another parameter of `rest` have the name of this one? */
static bool is_repeated(struct slice parameter, struct slice rest)
{
    struct slice name = slice_cut(&parameter, '=');

    while (rest.data != NULL) {
        struct slice other = slice_trim(slice_cut(&rest, ';'));
        if (slice_equal_nocase(slice_cut(&other, '='), name))
            return true;
    }
    return false;
}

bool content_type_is_readable(struct slice type)
{
    struct slice rest = type;
    struct slice subtype = slice_trim(slice_cut(&rest, ';'));
    struct slice major = slice_cut(&subtype, '/');

    if (type.len > WHOLE_MAX || !is_token(major) || !is_token(subtype) ||
        slice_equal_nocase(major, SLICE("multipart")) ||
        slice_equal_nocase(major, SLICE("message")))
        return false;
    while (rest.data != NULL) {
        struct slice parameter = slice_trim(slice_cut(&rest, ';'));
        if (!is_parameter(parameter) || is_repeated(parameter, rest))
            return false;
    }
    return true;
}

void content_type_write(struct slice type, struct encode_field *field)
{
    struct slice rest = type;

    encode_word(field, slice_trim(slice_cut(&rest, ';')));
    while (rest.data != NULL)
        encode_parameter_as_is(field, slice_trim(slice_cut(&rest, ';')));
}

const char *content_type_of_file(struct slice filename)
{
    static const struct {
        const char *ending, *type;
    } rows[] = {
        { ".pdf", "application/pdf" },
        { ".png", "image/png" },
        { ".jpg", "image/jpeg" },
        { ".jpeg", "image/jpeg" },
        { ".gif", "image/gif" },
        { ".svg", "image/svg+xml" },
        { ".webp", "image/webp" },
        { ".txt", "text/plain" },
        { ".csv", "text/csv" },
        { ".html", "text/html" },
        { ".ics", "text/calendar" },
        { ".json", "application/json" },
        { ".xml", "application/xml" },
        { ".zip", "application/zip" },
        { ".gz", "application/gzip" },
        { ".mp3", "audio/mpeg" },
        { ".mp4", "video/mp4" },
        { ".doc", "application/msword" },
        { ".xls", "application/vnd.ms-excel" },
        { ".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
        { ".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
        { ".pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_ends_nocase(filename, slice_of(rows[i].ending)))
            return rows[i].type;
    return "application/octet-stream";
}
