/* mail.c - what does a message of the benchmark look like, and did it arrive whole?
 * Making one is three copies. A pool of random lines is made once, with the hash of each and in
 * dot-stuffed form; a body is one line of its own followed by a stretch of the pool whose start
 * depends on the id, so no two bodies are alike and the hash of a body is folded from the known
 * hashes of its lines. The header is a template with the numbers written over it. */
#include "tests/bench/mail.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"

#define HEX_BYTES      16
#define LINE_BYTES     76 /* of content: what base64 and quoted-printable make */
#define POOL_LINES     1021
#define DOT_LINE_EVERY 61 /* so often a line begins with a dot */
#define MARK_FIELD     "X-Bench: "
#define ZEROS          "0000000000000000"

static const char hex_digits[] = "0123456789abcdef";

struct mail_maker {
    char *from;     /* "MAIL FROM:<...>\r\n" */
    char *rcpt;     /* "RCPT TO:<...>\r\n" with zeros for the id */
    size_t rcpt_id; /* offset of these, or SLICE_NONE */
    char *header;   /* the header, its empty line included, with zeros for the numbers */
    size_t header_len;
    size_t message_id; /* offset of the id in Message-ID */
    size_t mark_id;    /* offsets in the mark */
    size_t mark_hash;
    size_t lines; /* of the body, its own first line included */
    char *pool;   /* POOL_LINES lines, stuffed, with their ends */
    size_t start[POOL_LINES + 1];
    uint64_t hash[POOL_LINES];
};

/* --- hash and mark --------------------------------------------------------------------------- */

/* Each step is a bijection of what came before, so a single damaged word always shows. */
static uint64_t add_word(uint64_t hash, uint64_t word)
{
    return ((hash << 5 | hash >> 59) ^ word) * UINT64_C(0x517cc1b727220a95);
}

uint64_t mail_hash_line(struct slice line)
{
    uint64_t hash = line.len + 1, word;

    for (; line.len >= sizeof(word); line.data += sizeof(word), line.len -= sizeof(word)) {
        memcpy(&word, line.data, sizeof(word));
        hash = add_word(hash, word);
    }
    word = 0;
    if (line.len > 0)
        memcpy(&word, line.data, line.len);
    hash = add_word(hash, word);
    return hash ^ hash >> 32;
}

static void hex_format(uint64_t value, char *out)
{
    for (size_t i = HEX_BYTES; i > 0; value >>= 4)
        out[--i] = hex_digits[value & 15];
}

bool mail_hex_parse(struct slice text, uint64_t *value)
{
    uint64_t sum = 0;

    if (text.len != HEX_BYTES)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = memchr(hex_digits, text.data[i], HEX_BYTES);
        if (digit == NULL)
            return false;
        sum = sum << 4 | (uint64_t)(digit - hex_digits);
    }
    *value = sum;
    return true;
}

bool mail_mark_parse(struct slice line, struct mail_mark *mark)
{
    const size_t field = sizeof(MARK_FIELD) - 1;

    if (line.len != field + 3 * HEX_BYTES + 2 || memcmp(line.data, MARK_FIELD, field) != 0)
        return false;
    const char *run = line.data + field;
    const char *id = run + HEX_BYTES + 1;
    const char *hash = id + HEX_BYTES + 1;
    return mail_hex_parse(slice_make(run, HEX_BYTES), &mark->run) &&
           mail_hex_parse(slice_make(id, HEX_BYTES), &mark->id) &&
           mail_hex_parse(slice_make(hash, HEX_BYTES), &mark->hash);
}

/* --- making ---------------------------------------------------------------------------------- */

/* SplitMix64: the same pool in every run, so runs compare. */
static uint64_t mix(uint64_t value)
{
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

static void make_pool(struct mail_maker *maker)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = maker->pool = xmalloc(POOL_LINES * (size_t)(LINE_BYTES + 3));

    for (size_t i = 0; i < POOL_LINES; i++) {
        bool dot = i % DOT_LINE_EVERY == 0;
        maker->start[i] = (size_t)(at - maker->pool);
        if (dot)
            *at++ = '.'; /* the stuffing */
        char *line = at;
        for (size_t column = 0; column < LINE_BYTES; column++)
            *at++ = digits[mix(i * LINE_BYTES + column) & 63];
        if (dot)
            line[0] = '.';
        maker->hash[i] = mail_hash_line(slice_make(line, LINE_BYTES));
        *at++ = '\r';
        *at++ = '\n';
    }
    maker->start[POOL_LINES] = (size_t)(at - maker->pool);
}

/* The address with zeros in place of "{id}", and where they are (SLICE_NONE: nowhere). */
static char *expand(const char *address, size_t *id)
{
    const char *mark = strstr(address, "{id}");

    *id = mark == NULL ? SLICE_NONE : (size_t)(mark - address);
    if (mark == NULL)
        return xstrdup(address);
    return xasprintf("%.*s" ZEROS "%s", (int)(mark - address), address, mark + 4);
}

static void make_header(struct mail_maker *maker, const struct mail_options *options,
                        const char *rcpt)
{
    const char *at = strrchr(options->from, '@');
    char date[64], run[HEX_BYTES + 1] = "";
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &utc);
    hex_format(options->run, run);
    maker->header = xasprintf(
        "From: <%s>\r\nTo: <%s>\r\nSubject: A message of the benchmark\r\n"
        "Date: %s\r\nMessage-ID: <%s." ZEROS "%s>\r\n" MARK_FIELD "%s " ZEROS " " ZEROS "\r\n\r\n",
        options->from, rcpt, date, run, at == NULL ? "@bench.example" : at, run);
    maker->header_len = strlen(maker->header);
    maker->mark_hash = maker->header_len - 4 - HEX_BYTES;
    maker->mark_id = maker->mark_hash - 1 - HEX_BYTES;
    const char *message_id = strstr(maker->header, "Message-ID: <");
    maker->message_id = (size_t)(message_id - maker->header) + 13 + HEX_BYTES + 1;
}

struct mail_maker *mail_maker_new(const struct mail_options *options)
{
    struct mail_maker *maker = xcalloc(1, sizeof(*maker));
    char *rcpt = expand(options->rcpt, &maker->rcpt_id);

    assert(strlen(options->from) < MAIL_COMMAND_MAX - 32 && strlen(rcpt) < MAIL_COMMAND_MAX - 32);
    maker->from = xasprintf("MAIL FROM:<%s>\r\n", options->from);
    maker->rcpt = xasprintf("RCPT TO:<%s>\r\n", rcpt);
    if (maker->rcpt_id != SLICE_NONE)
        maker->rcpt_id += strlen("RCPT TO:<");
    make_pool(maker);
    make_header(maker, options, rcpt);
    maker->lines = 1;
    if (options->size_bytes > maker->header_len + LINE_BYTES + 2)
        maker->lines = (options->size_bytes - maker->header_len) / (LINE_BYTES + 2);
    free(rcpt);
    return maker;
}

void mail_maker_free(struct mail_maker *maker)
{
    if (maker == NULL)
        return;
    free(maker->from);
    free(maker->rcpt);
    free(maker->header);
    free(maker->pool);
    free(maker);
}

size_t mail_size(const struct mail_maker *maker)
{
    return maker->header_len + maker->lines * (LINE_BYTES + 2);
}

size_t mail_wire_max(const struct mail_maker *maker)
{
    return maker->header_len + maker->lines * (LINE_BYTES + 3) + 3;
}

static size_t copy_text(const char *text, char *out)
{
    size_t len = strlen(text);

    memcpy(out, text, len);
    return len;
}

size_t mail_format_from(const struct mail_maker *maker, char *out)
{
    return copy_text(maker->from, out);
}

size_t mail_format_rcpt(const struct mail_maker *maker, uint64_t id, char *out)
{
    size_t len = copy_text(maker->rcpt, out);

    if (maker->rcpt_id != SLICE_NONE)
        hex_format(id, out + maker->rcpt_id);
    return len;
}

/* The line that only this body has, made of numbers drawn from the id. */
static char *write_own_line(uint64_t id, char *out)
{
    memset(out, '-', LINE_BYTES);
    for (size_t i = 0; i < 4; i++)
        hex_format(mix(id + i), out + i * (HEX_BYTES + 1));
    out[LINE_BYTES] = '\r';
    out[LINE_BYTES + 1] = '\n';
    return out + LINE_BYTES + 2;
}

size_t mail_format(const struct mail_maker *maker, uint64_t id, char *out)
{
    char *own = out + maker->header_len;
    char *at = write_own_line(id, own);
    uint64_t hash = mail_hash_fold(0, mail_hash_line(slice_make(own, LINE_BYTES)));
    size_t line = mix(id) % POOL_LINES;

    for (size_t left = maker->lines - 1; left > 0; line = 0) {
        size_t count = left < POOL_LINES - line ? left : POOL_LINES - line;
        size_t len = maker->start[line + count] - maker->start[line];
        memcpy(at, maker->pool + maker->start[line], len);
        at += len;
        for (size_t i = line; i < line + count; i++)
            hash = mail_hash_fold(hash, maker->hash[i]);
        left -= count;
    }
    memcpy(at, ".\r\n", 3);
    memcpy(out, maker->header, maker->header_len);
    hex_format(id, out + maker->message_id);
    hex_format(id, out + maker->mark_id);
    hex_format(hash, out + maker->mark_hash);
    return (size_t)(at + 3 - out);
}
