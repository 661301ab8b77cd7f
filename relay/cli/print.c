/* print.c - answers for people: aligned tables, and text that a terminal only shows.
 * What is printed was written by clients, upstreams and other people's keys: nothing of it may move
 * a cursor, change a title or reverse a line. */
#include <stdlib.h>
#include <string.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/cli/cli.h"

/* --- escaping --------------------------------------------------------------------------------- */

/* The UTF-8 character at `text` as a code point and its length, or false. */
static bool read_character(const unsigned char *text, uint32_t *code, size_t *len)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    *len = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] >= 0x80 && (text[0] < 0xc2 || text[0] > 0xf4))
        return false;
    *code = *len == 1 ? text[0] : text[0] & (0x7fu >> *len);
    for (size_t i = 1; i < *len; i++) {
        if ((text[i] & 0xc0) != 0x80) /* the NUL at the end is no continuation either */
            return false;
        *code = *code << 6 | (text[i] & 0x3fu);
    }
    return *code >= least[*len] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
}

static bool is_dangerous(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } rows[] = {
        { 0x00, 0x1f },       /* C0 */
        { 0x7f, 0x9f },       /* DEL, C1 */
        { 0xad, 0xad },       /* soft hyphen */
        { 0x200b, 0x200f },   /* zero width, direction marks */
        { 0x2028, 0x202e },   /* line and paragraph separators, direction overrides */
        { 0x2060, 0x206f },   /* invisible operators, direction isolates */
        { 0xfeff, 0xfeff },   /* byte order mark */
        { 0xfff9, 0xfffb },   /* annotations */
        { 0xe0000, 0xe007f }, /* tags */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (code >= rows[i].first && code <= rows[i].last)
            return true;
    return false;
}

char *cli_escape(const char *text)
{
    size_t size = strlen(text) * 10 + 1; /* \U000e0001 */
    char *out = xmalloc(size);
    size_t at = 0;

    for (const unsigned char *in = (const unsigned char *)text; *in != '\0';) {
        uint32_t code = 0;
        size_t len;
        if (!read_character(in, &code, &len)) {
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", *in++);
            continue;
        }
        if (code == '\\')
            at += (size_t)snprintf(out + at, size - at, "\\\\");
        else if (code < 0x80 && is_dangerous(code))
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", (unsigned)code);
        else if (is_dangerous(code))
            at += (size_t)snprintf(out + at, size - at, code > 0xffff ? "\\U%08x" : "\\u%04x",
                                   (unsigned)code);
        else
            at += (size_t)snprintf(out + at, size - at, "%.*s", (int)len, (const char *)in);
        in += len;
    }
    out[at] = '\0';
    return out;
}

/* --- cells ------------------------------------------------------------------------------------ */

static char *join(const json_t *list)
{
    char *text = xstrdup("");
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        const char *word = json_string_value(item);
        char *longer = xasprintf("%s%s%s", text, i > 0 ? "," : "", word != NULL ? word : "?");
        free(text);
        text = longer;
    }
    return text;
}

static char *format_bytes(json_int_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit++;
    }
    return xasprintf(unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static char *format_cell(const json_t *value, enum cli_form form)
{
    char *raw;

    if (json_is_string(value))
        raw = xstrdup(json_string_value(value));
    else if (json_is_array(value) && json_array_size(value) > 0)
        raw = join(value);
    else if (json_is_integer(value) && form == CLI_BYTES)
        raw = format_bytes(json_integer_value(value));
    else if (json_is_integer(value))
        raw = xasprintf("%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        raw = xstrdup(json_is_true(value) ? "yes" : "no");
    else
        raw = xstrdup("-");
    char *cell = cli_escape(raw);
    free(raw);
    return cell;
}

/* In characters; wide ones count as one, which at worst shifts a column. */
static size_t width_of(const char *cell)
{
    size_t width = 0;

    for (; *cell != '\0'; cell++)
        width += ((unsigned char)*cell & 0xc0) != 0x80;
    return width;
}

static void print_cell(FILE *out, const char *cell, size_t width, bool last)
{
    fputs(cell, out);
    for (size_t i = width_of(cell); i < width + 2 && !last; i++)
        fputc(' ', out);
    if (last)
        fputc('\n', out);
}

void cli_print_rows(FILE *out, const json_t *rows, const struct cli_column *columns, size_t count,
                    bool titles)
{
    size_t height = json_array_size(rows);
    char **cells = xcalloc(height * count + 1, sizeof(*cells));
    size_t *widths = xcalloc(count, sizeof(*widths));

    for (size_t column = 0; column < count; column++) {
        widths[column] = width_of(columns[column].title);
        for (size_t row = 0; row < height; row++) {
            const json_t *value =
                json_object_get(json_array_get(rows, row), columns[column].member);
            char *cell = format_cell(value, columns[column].form);
            cells[row * count + column] = cell;
            if (width_of(cell) > widths[column])
                widths[column] = width_of(cell);
        }
    }
    for (size_t column = 0; titles && column < count; column++)
        print_cell(out, columns[column].title, widths[column], column + 1 == count);
    for (size_t i = 0; i < height * count; i++) {
        print_cell(out, cells[i], widths[i % count], i % count + 1 == count);
        free(cells[i]);
    }
    free(cells);
    free(widths);
}

void cli_print_sheet(FILE *out, const json_t *row, const struct cli_column *columns, size_t count)
{
    size_t width = 0;

    for (size_t i = 0; i < count; i++)
        if (width_of(columns[i].title) > width)
            width = width_of(columns[i].title);
    for (size_t i = 0; i < count; i++) {
        char *cell = format_cell(json_object_get(row, columns[i].member), columns[i].form);
        print_cell(out, columns[i].title, width, false);
        print_cell(out, cell, 0, true);
        free(cell);
    }
}

static int write_json(const char *text, size_t len, void *out)
{
    return fwrite(text, 1, len, out) == len ? 0 : -1;
}

void cli_print_json(FILE *out, const json_t *json)
{
    /* A failure stays with the stream: cli_run() looks there at the end. */
    if (json_dump_callback(json, write_json, out, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
        fputc('\n', out);
}
