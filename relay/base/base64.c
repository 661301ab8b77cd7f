/* base64.c - bytes to text and back, strictly (pure).
 * libsodium's decoder stops at the first byte it does not like. Only without an end pointer does it
 * call that an error, so none is passed: non-zero spare bits, missing or surplus padding, blanks
 * and the url-safe letters are then all refused. */
#include "relay/base/base64.h"

#include <sodium.h>

/* Bytes that this many base64 characters hold when they are well formed. The padding is looked at,
 * so that a buf with exactly enough room is enough. */
static size_t decoded_len(struct slice text)
{
    size_t len = text.len / 4 * 3;

    if (text.data[text.len - 1] == '=')
        len -= text.data[text.len - 2] == '=' ? 2 : 1;
    return len;
}

/* Looks at all bytes, wherever the first such one is: the time tells nothing about the content. */
static bool is_seven_bit(struct slice text)
{
    unsigned char seen = 0;

    for (size_t i = 0; i < text.len; i++)
        seen |= (unsigned char)text.data[i];
    return (seen & 0x80) == 0;
}

bool base64_decode(struct slice text, struct buf *out)
{
    size_t len;

    if (text.len == 0)
        return true;
    if (text.len % 4 != 0 || !is_seven_bit(text))
        return false;
    char *room = buf_reserve(out, decoded_len(text));
    if (room == NULL)
        return false;
    if (sodium_base642bin((unsigned char *)room, decoded_len(text), text.data, text.len, NULL, &len,
                          NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    buf_commit(out, len);
    return true;
}

bool base64_encode(struct slice bytes, struct buf *out)
{
    if (bytes.len == 0)
        return true;
    size_t len = sodium_base64_ENCODED_LEN(bytes.len, sodium_base64_VARIANT_ORIGINAL) - 1;
    char *room = buf_reserve(out, len);

    if (room == NULL)
        return false;
    /* libsodium ends the text with a NUL, for which buf_reserve() leaves a byte. */
    sodium_bin2base64(room, len + 1, (const unsigned char *)bytes.data, bytes.len,
                      sodium_base64_VARIANT_ORIGINAL);
    buf_commit(out, len);
    return true;
}

const char base62_digits[63] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void base62_format(uint64_t value, size_t width, char *text)
{
    while (width > 0) {
        text[--width] = base62_digits[value % 62];
        value /= 62;
    }
}

/* Looks at all bytes, too. */
bool base62_is_text(struct slice text)
{
    size_t digits = 0;

    for (size_t i = 0; i < text.len; i++)
        digits += ascii_is_alnum(text.data[i]);
    return text.len > 0 && digits == text.len;
}
