/* json_lift.c - how is a long text in JSON read without a look at each octet by a general parser?
 * Nearly all of a request that sends mail is one text, or the base64 of an attachment, and jansson
 * takes 8 ns for each octet of it. So long texts are lifted out: read here, many octets at a time,
 * while a number, the index of the text, stands in its place in what jansson reads; then the
 * numbers are exchanged for the texts. No request to send mail has a number of its own. One that
 * does is left to jansson, and so is each text with what is seldom: \u escapes, bad UTF-8, control
 * characters. Blanks around a number keep it apart from what stands beside it, so what is no JSON
 * with the texts is none with the numbers either. */
#include "relay/http/json_lift.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/buf.h"

#define LIFTED_MAX 64 /* texts; more long ones than that stay where they are */
#define DEPTH_MAX  64 /* of containers in each other */

struct lift {
    struct buf rest; /* the document with numbers */
    json_t *texts[LIFTED_MAX];
    size_t count, used;
};

/* --- one text --------------------------------------------------------------------------------- */

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* Is one of the eight octets a quote, a backslash, a control character or not ASCII? May say so of
 * other octets behind such a one. */
static bool has_special(uint64_t word)
{
    uint64_t quote = word ^ (ONES * '"'), backslash = word ^ (ONES * '\\');

    return (((word - ONES * 0x20) | (quote - ONES) | (backslash - ONES) | word) & HIGHS) != 0;
}

/* How many octets from here on stand for themselves? */
static size_t plain_len(const char *text, size_t len)
{
    size_t at = 0;
    uint64_t word;

    for (; at + sizeof(word) <= len; at += sizeof(word)) {
        memcpy(&word, text + at, sizeof(word));
        if (has_special(word))
            break;
    }
    while (at < len && (unsigned char)text[at] >= 0x20 && (unsigned char)text[at] < 0x80 &&
           text[at] != '"' && text[at] != '\\')
        at++;
    return at;
}

/* The octet that a backslash and this one stand for; 0: it is for jansson to say. */
static char unescape(char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c == '\0' ? NULL : strchr(from, c);

    return found == NULL ? '\0' : to[found - from];
}

/* The length of the UTF-8 character of several octets at `at` (RFC 3629); 0: it is none. */
static size_t wide_len(const char *at, size_t len)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t wants = c[0] >= 0xc2 && c[0] < 0xe0   ? 2
                   : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
                   : c[0] >= 0xf0 && c[0] < 0xf5 ? 4
                                                 : 0;

    if (wants == 0 || wants > len)
        return 0;
    for (size_t i = 1; i < wants; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
        return 0;
    return wants;
}

/* Reads the text without its quotes. NULL: jansson must. */
static json_t *read_text(struct slice text)
{
    size_t plain = plain_len(text.data, text.len);
    struct buf out;

    if (plain == text.len)
        return json_stringn_nocheck(text.data, text.len);
    buf_init(&out, text.len); /* nothing grows by being read */
    bool ok = buf_reserve(&out, text.len) != NULL;
    for (size_t at = 0; ok && at < text.len;) {
        plain = plain_len(text.data + at, text.len - at);
        ok = buf_add(&out, slice_make(text.data + at, plain));
        at += plain;
        if (!ok || at == text.len)
            break;
        if (text.data[at] == '\\') {
            char c = at + 1 < text.len ? unescape(text.data[at + 1]) : '\0';
            ok = c != '\0' && buf_add_byte(&out, c);
            at += 2;
        } else {
            size_t wide = wide_len(text.data + at, text.len - at);
            ok = wide > 0 && buf_add(&out, slice_make(text.data + at, wide));
            at += wide;
        }
    }
    json_t *json = ok ? json_stringn_nocheck(buf_slice(&out).data, buf_len(&out)) : NULL;
    buf_free(&out);
    return json;
}

/* --- the document ----------------------------------------------------------------------------- */

size_t json_lift_text_len(struct slice rest)
{
    for (size_t at = 0; at < rest.len;) {
        const char *quote = memchr(rest.data + at, '"', rest.len - at);
        size_t back = 0;
        if (quote == NULL)
            return SLICE_NONE;
        size_t end = (size_t)(quote - rest.data);
        while (back < end && rest.data[end - 1 - back] == '\\')
            back++;
        if (back % 2 == 0)
            return end;
        at = end + 1;
    }
    return SLICE_NONE;
}

static bool is_number(struct slice between)
{
    for (size_t i = 0; i < between.len; i++)
        if (between.data[i] == '-' || (between.data[i] >= '0' && between.data[i] <= '9'))
            return true;
    return false;
}

static bool keep(struct lift *lift, struct slice text)
{
    return buf_add_byte(&lift->rest, '"') && buf_add(&lift->rest, text) &&
           buf_add_byte(&lift->rest, '"');
}

static bool lift_text(struct lift *lift, struct slice text)
{
    json_t *json = read_text(text);

    if (json == NULL)
        return keep(lift, text);
    lift->texts[lift->count] = json;
    return buf_printf(&lift->rest, " %zu ", lift->count++);
}

static bool lift_all(struct lift *lift, struct slice rest)
{
    const char *quote;

    while (rest.len > 0 && (quote = memchr(rest.data, '"', rest.len)) != NULL) {
        struct slice between = slice_first(rest, (size_t)(quote - rest.data));
        rest = slice_from(rest, between.len + 1);
        size_t len = json_lift_text_len(rest);
        if (is_number(between) || len == SLICE_NONE || !buf_add(&lift->rest, between))
            return false;
        struct slice text = slice_first(rest, len);
        bool is_long = len >= JSON_LIFT_MIN && lift->count < LIFTED_MAX;
        if (!(is_long ? lift_text : keep)(lift, text))
            return false;
        rest = slice_from(rest, len + 1);
    }
    return !is_number(rest) && buf_add(&lift->rest, rest) && lift->count > 0;
}

/* --- putting it together ---------------------------------------------------------------------- */

/* Another reference to the text that this number stands for; NULL: it is no number. */
static json_t *text_of(struct lift *lift, const json_t *value)
{
    if (!json_is_integer(value))
        return NULL;
    json_int_t index = json_integer_value(value);
    assert(index >= 0 && (size_t)index < lift->count); /* all numbers are ours */
    lift->used++;
    return json_incref(lift->texts[index]);
}

struct level { /* a container that is walked, and where in it */
    json_t *container;
    void *member; /* of an object; NULL: behind the last one */
    size_t item;  /* of an array */
};

static struct level level_of(json_t *container)
{
    return (struct level){ .container = container, .member = json_object_iter(container) };
}

/* NULL: it has no more. */
static json_t *value_at(const struct level *level)
{
    return json_is_object(level->container) ? json_object_iter_value(level->member)
                                            : json_array_get(level->container, level->item);
}

static void step(struct level *level)
{
    if (json_is_object(level->container))
        level->member = json_object_iter_next(level->container, level->member);
    else
        level->item++;
}

static void exchange(const struct level *level, json_t *text)
{
    if (json_is_object(level->container))
        json_object_iter_set_new(level->container, level->member, text);
    else
        json_array_set_new(level->container, level->item, text);
}

/* False: it is nested too deeply. */
static bool put_back(struct lift *lift, json_t *json)
{
    struct level levels[DEPTH_MAX] = { level_of(json) };

    for (size_t depth = 1; depth > 0;) {
        struct level *level = &levels[depth - 1];
        json_t *value = value_at(level), *text = text_of(lift, value);
        bool is_container = json_is_object(value) || json_is_array(value);
        if (is_container && depth == DEPTH_MAX)
            return false;
        if (value == NULL) {
            depth--;
            continue;
        }
        if (text != NULL)
            exchange(level, text); /* the number is gone with that */
        step(level);
        if (is_container)
            levels[depth++] = level_of(value);
    }
    return true;
}

json_t *json_lift(struct slice text)
{
    struct lift lift = { .count = 0 };
    json_t *json = NULL;

    if (text.len < JSON_LIFT_MIN)
        return NULL;
    buf_init(&lift.rest, text.len);
    if (lift_all(&lift, text))
        json = json_loadb(buf_slice(&lift.rest).data, buf_len(&lift.rest),
                          JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (json != NULL && put_back(&lift, json)) {
        assert(lift.used == lift.count);
    } else {
        json_decref(json);
        json = NULL;
    }
    for (size_t i = 0; i < lift.count; i++)
        json_decref(lift.texts[i]);
    buf_free(&lift.rest);
    return json;
}
