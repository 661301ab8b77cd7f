/* why.c - one full sentence about a failure, for a person.
 * Each text is formatted aside first, because an argument may be the old text itself. */
#include "relay/base/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct draft {
    char text[sizeof(((struct why *)NULL)->text)];
};

/* A text that was cut may end inside a UTF-8 character, which whoever prints it as JSON could not
 * accept: the incomplete character goes too. */
static void cut(char *text, size_t len)
{
    size_t start = len;

    text[len] = '\0';
    while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
        text[start - 1] = '\0';
}

static void format_draft(struct draft *draft, const char *format, va_list args)
{
    int len = vsnprintf(draft->text, sizeof(draft->text), format, args);

    if (len < 0)
        draft->text[0] = '\0';
    else if ((size_t)len >= sizeof(draft->text))
        cut(draft->text, sizeof(draft->text) - 1);
}

static void finish(struct why *why, const struct draft *draft)
{
    if (why == NULL)
        return;
    memcpy(why->text, draft->text, sizeof(why->text));
    for (char *c = why->text; *c != '\0'; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?';
}

bool why_set(struct why *why, const char *format, ...)
{
    struct draft draft;
    va_list args;

    va_start(args, format);
    format_draft(&draft, format, args);
    va_end(args);
    finish(why, &draft);
    return false;
}

__attribute__((format(printf, 2, 3))) static void join(struct draft *draft, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_draft(draft, format, args);
    va_end(args);
}

bool why_errno(struct why *why, int error, const char *format, ...)
{
    struct draft what, whole;
    char room[128];
    const char *reason = strerror_r(error, room, sizeof(room)); /* GNU's: always a text */
    va_list args;

    va_start(args, format);
    format_draft(&what, format, args);
    va_end(args);
    /* Of a text that is too long, the reason is the better half to keep. */
    size_t fits = sizeof(whole.text) - 1 - strlen(": ") - strlen(reason);
    if (strlen(what.text) > fits)
        cut(what.text, fits);
    join(&whole, "%s: %s", what.text, reason);
    finish(why, &whole);
    return false;
}

bool why_prefix(struct why *why, const char *format, ...)
{
    struct draft prefix, whole;
    va_list args;

    if (why == NULL)
        return false;
    va_start(args, format);
    format_draft(&prefix, format, args);
    va_end(args);
    join(&whole, "%s%s", prefix.text, why->text);
    finish(why, &whole);
    return false;
}
