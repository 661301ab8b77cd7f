/* slice.c - which bytes are meant? (pure) */
#include "relay/base/slice.h"

#include "relay/base/alloc.h"

bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
            return false;
    return true;
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
    return prefix.len <= s.len && slice_equal_nocase(slice_first(s, prefix.len), prefix);
}

bool slice_ends_nocase(struct slice s, struct slice suffix)
{
    return suffix.len <= s.len && slice_equal_nocase(slice_from(s, s.len - suffix.len), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(s.data[0]))
        s = slice_from(s, 1);
    return s;
}

struct slice slice_cut(struct slice *rest, char separator)
{
    struct slice all = *rest;
    size_t at = slice_find(all, separator);

    if (at == SLICE_NONE) {
        *rest = slice_make(NULL, 0);
        return all;
    }
    *rest = slice_from(all, at + 1);
    return slice_first(all, at);
}

bool slice_to_u64(struct slice s, uint64_t *value)
{
    uint64_t sum = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.data[i]))
            return false;
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        sum = sum > (UINT64_MAX - digit) / 10 ? UINT64_MAX : sum * 10 + digit;
    }
    *value = sum;
    return true;
}

char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Without a branch, whose prediction would take a time of its own with each secret. */
bool ascii_is_alnum(char c)
{
    unsigned char digit = (unsigned char)(c - '0'), letter = (unsigned char)((c | 0x20) - 'a');

    return (bool)((digit < 10) | (letter < 26));
}

bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

char *slice_dup(struct slice s)
{
    return xstrndup(s.data, s.len);
}
