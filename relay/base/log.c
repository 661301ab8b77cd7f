/* log.c - what happened? One line per event on standard error.
 * A line is put together on the stack, at most LINE_BYTES long, and written at once. A value that
 * is too long is cut between two characters and ends in "..."; a field that finds no room is left
 * out; the line stays well-formed. Characters that could end a line, drive a terminal or turn the
 * reading direction are escaped in both forms, and so is every byte that is not UTF-8. */
#include "relay/base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/macros.h"

#define LINE_BYTES  4096
#define VALUE_BYTES 1024 /* so that one value does not push out the others */
#define TAIL_BYTES  8    /* kept for what ends a cut value and the line: ..."}\n */
#define FIELD_BYTES 32   /* a field starts only where its name and this much have room */

struct line {
    char text[LINE_BYTES];
    size_t len;
};

static _Atomic int least_level = LOG_INFO;
static _Atomic int chosen_format = LOG_LOGFMT;

static _Atomic bool diverted; /* tells that `sink` must be asked for, under its lock */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *sink;
static void *sink_owner;

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARNING] = "warning",
    [LOG_ERROR] = "error",
};
static const char *const format_names[] = { [LOG_LOGFMT] = "logfmt", [LOG_JSON] = "json" };

/* --- putting text into a line ---------------------------------------------------------------- */

/* All of it or nothing; the tail's room is used by put_tail() alone. */
static bool put(struct line *line, const char *text, size_t len)
{
    if (line->len + len > LINE_BYTES - TAIL_BYTES)
        return false;
    memcpy(line->text + line->len, text, len);
    line->len += len;
    return true;
}

static void put_tail(struct line *line, const char *text)
{
    size_t len = strlen(text);

    assert(line->len + len <= LINE_BYTES);
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* Length of the UTF-8 character at the start of s, and the character; 0 when it is not one (RFC
 * 3629: no surrogates, nothing above U+10FFFF, no longer form than needed). */
static size_t utf8_decode(struct slice s, uint32_t *character)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 }
    };
    unsigned char first = (unsigned char)s.data[0];

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if ((first & forms[i].mask) != forms[i].lead)
            continue;
        if (i >= s.len)
            return 0;
        uint32_t value = first & (unsigned char)~forms[i].mask;
        for (size_t j = 1; j <= i; j++) {
            unsigned char next = (unsigned char)s.data[j];
            if ((next & 0xc0) != 0x80)
                return 0;
            value = value << 6 | (next & 0x3f);
        }
        if (value < forms[i].least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return 0;
        *character = value;
        return i + 1;
    }
    return 0;
}

/* C0, DEL and C1 drive terminals; U+2028 and U+2029 end lines for some readers; the others of these
 * two ranges turn the direction in which the rest of the line is shown. */
static bool must_hide(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* How one character, or one byte that is none, is written inside quotes. Returns the length. */
static size_t escape(uint32_t c, bool is_character, enum log_format format, char out[static 8])
{
    static const struct {
        char c;
        char letter;
    } named[] = { { '"', '"' }, { '\\', '\\' }, { '\n', 'n' }, { '\r', 'r' }, { '\t', 't' } };

    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        if (is_character && c == (unsigned char)named[i].c)
            return (size_t)sprintf(out, "\\%c", named[i].letter);
    if (format == LOG_JSON || c > 0xff || (is_character && c >= 0x80))
        return (size_t)sprintf(out, "\\u%04x", (unsigned)c & 0xffff);
    return (size_t)sprintf(out, "\\x%02x", (unsigned)c & 0xff);
}

/* How many bytes at the start mean themselves: nearly all that is ever logged. */
static size_t plain_len(struct slice text)
{
    size_t len = 0;

    while (len < text.len && text.data[len] >= ' ' && text.data[len] <= '~' &&
           text.data[len] != '"' && text.data[len] != '\\')
        len++;
    return len;
}

static void put_escaped(struct line *line, enum log_format format, struct slice text)
{
    size_t most = line->len + VALUE_BYTES;

    while (text.len > 0) {
        /* Not looked at beyond what may be put, or a long one would be counted for each byte. */
        size_t plain = plain_len(slice_first(text, most - line->len));
        if (plain > 0 && put(line, text.data, plain)) {
            text = slice_from(text, plain);
            continue;
        }
        char escaped[8];
        uint32_t c = (unsigned char)text.data[0];
        size_t taken = utf8_decode(text, &c);
        const char *unit = text.data;
        size_t len = taken;
        if (taken == 0 || must_hide(c) || c == '"' || c == '\\') {
            len = escape(c, taken > 0, format, escaped);
            unit = escaped;
        }
        if (line->len + len > most || !put(line, unit, len)) {
            put_tail(line, "...");
            return;
        }
        text = slice_from(text, taken == 0 ? 1 : taken);
    }
}

/* --- the two forms --------------------------------------------------------------------------- */

static bool is_bare_word(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return text.len > 0;
}

/* The name and what stands before the value. False when no sensible part of a value would fit. */
static bool start_field(struct line *line, enum log_format format, const char *name)
{
    if (line->len + strlen(name) + FIELD_BYTES > LINE_BYTES - TAIL_BYTES)
        return false;
    if (format == LOG_JSON)
        return put_text(line, line->len == 0 ? "{\"" : ",\"") && put_text(line, name) &&
               put_text(line, "\":");
    return (line->len == 0 || put_text(line, " ")) && put_text(line, name) && put_text(line, "=");
}

static void put_text_field(struct line *line, enum log_format format, const char *name,
                           struct slice text)
{
    bool quoted = format == LOG_JSON || !is_bare_word(text);

    if (!start_field(line, format, name))
        return;
    if (quoted)
        put_tail(line, "\"");
    put_escaped(line, format, text);
    if (quoted)
        put_tail(line, "\"");
}

static void put_int_field(struct line *line, enum log_format format, const char *name,
                          int64_t number)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        digits[--at] = '-';
    if (start_field(line, format, name))
        put(line, digits + at, sizeof(digits) - at); /* fits: start_field() saw to it */
}

/* Most lines share their second with the line before: each thread keeps its text. */
static void put_time(struct line *line, enum log_format format)
{
    static _Thread_local struct {
        int64_t second;
        char text[32];
        size_t len;
    } last = { .second = INT64_MIN };
    int64_t now_ms = clock_wall_ms();
    unsigned ms = (unsigned)(now_ms % 1000);
    char whole[40];

    if (now_ms / 1000 != last.second) {
        time_t now_s = (time_t)(now_ms / 1000);
        struct tm utc = { 0 };

        gmtime_r(&now_s, &utc);
        last.len = strftime(last.text, sizeof(last.text), "%Y-%m-%dT%H:%M:%S", &utc);
        last.second = now_ms / 1000;
    }
    memcpy(whole, last.text, last.len);
    const char tail[] = { '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                          (char)('0' + ms % 10), 'Z' };
    memcpy(whole + last.len, tail, sizeof(tail));
    put_text_field(line, format, "ts", slice_make(whole, last.len + sizeof(tail)));
}

/* --- the face -------------------------------------------------------------------------------- */

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&least_level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&chosen_format, (int)format, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

/* One write(2) puts a whole line into a pipe or file; only what a full pipe or a signal left over
 * is tried again. A line that cannot be written is lost: there is nobody to tell. */
static void write_out(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDERR_FILENO, text, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        len -= (size_t)written;
    }
}

static void emit(const struct line *line)
{
    if (!atomic_load_explicit(&diverted, memory_order_relaxed)) {
        write_out(line->text, line->len);
        return;
    }
    pthread_mutex_lock(&sink_lock);
    if (sink != NULL)
        sink(sink_owner, slice_make(line->text, line->len - 1));
    pthread_mutex_unlock(&sink_lock);
}

void log_event(enum log_level level, const char *event, const struct log_field *fields)
{
    enum log_format format =
        (enum log_format)atomic_load_explicit(&chosen_format, memory_order_relaxed);
    int saved_errno = errno; /* whoever logs a failure may still want to look at it */
    struct line line;

    line.len = 0;
    put_time(&line, format);
    put_text_field(&line, format, "level", slice_of(level_names[level]));
    put_text_field(&line, format, "event", slice_of(event));
    for (const struct log_field *field = fields; field->name != NULL; field++) {
        if (field->kind == LOG_FIELD_INT)
            put_int_field(&line, format, field->name, field->number);
        else if (field->text.data != NULL)
            put_text_field(&line, format, field->name, field->text);
    }
    put_tail(&line, format == LOG_JSON ? "}\n" : "\n");
    emit(&line);
    errno = saved_errno;
}

static bool find_name(struct slice word, const char *const *names, size_t count, size_t *at)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(word, slice_of(names[i]))) {
            *at = i;
            return true;
        }
    return false;
}

bool log_level_parse(struct slice word, enum log_level *level)
{
    size_t at;

    if (!find_name(word, level_names, ARRAY_LEN(level_names), &at))
        return false;
    *level = (enum log_level)at;
    return true;
}

bool log_format_parse(struct slice word, enum log_format *format)
{
    size_t at;

    if (!find_name(word, format_names, ARRAY_LEN(format_names), &at))
        return false;
    *format = (enum log_format)at;
    return true;
}

void log_divert(log_sink_fn *new_sink, void *owner)
{
    pthread_mutex_lock(&sink_lock);
    sink = new_sink;
    sink_owner = owner;
    pthread_mutex_unlock(&sink_lock);
    atomic_store_explicit(&diverted, new_sink != NULL, memory_order_relaxed);
}
