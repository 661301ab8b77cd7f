/* fuzz_domain.c - does every name that is accepted have one spelling, and keep it? */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/message/domain.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Lower-case letters, digits, hyphens and dots, and every parser leaves it as it is. */
static void check_spelling(const char *text)
{
    char again[DOMAIN_TEXT_MAX];

    for (const char *at = text; *at != '\0'; at++)
        CHECK((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-' ||
              (*at == '.' && at != text && at[-1] != '.' && at[1] != '\0'));
    CHECK(strlen(text) > 0 && strlen(text) <= 253);
    CHECK(domain_check(slice_of(text)) == DOMAIN_OK);
    CHECK(domain_parse_ascii(slice_of(text), again) == DOMAIN_OK && strcmp(again, text) == 0);
    CHECK(domain_parse(slice_of(text), again) == DOMAIN_OK && strcmp(again, text) == 0);
    CHECK(domain_parse_pattern(slice_of(text), again) == DOMAIN_OK && strcmp(again, text) == 0);
    CHECK(domain_covers(slice_of(text), slice_of(again)));
}

/* ASCII that was accepted is spelled as it was typed, but for case and a trailing dot: nothing was
 * mapped or deleted. */
static void check_ascii_is_kept(struct slice name, const char *text)
{
    for (size_t i = 0; i < name.len; i++)
        if ((uint8_t)name.data[i] > 127)
            return;
    if (name.data[name.len - 1] == '.')
        name.len--;
    CHECK(slice_equal_nocase(name, slice_of(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice name = slice_make(data, size);
    char text[DOMAIN_TEXT_MAX];

    if (domain_parse_ascii(name, text) == DOMAIN_OK) {
        check_spelling(text);
        CHECK(slice_equal_nocase(name, slice_of(text)));
    } else {
        CHECK(text[0] == '\0');
    }
    if (domain_parse(name, text) == DOMAIN_OK) {
        check_spelling(text);
        check_ascii_is_kept(name, text);
    } else {
        CHECK(text[0] == '\0');
    }
    if (domain_parse_pattern(name, text) != DOMAIN_OK)
        CHECK(text[0] == '\0');
    else if (text[0] != '*')
        check_spelling(text);
    else
        check_spelling(text + 2);
    return 0;
}
