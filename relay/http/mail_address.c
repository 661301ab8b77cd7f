/* mail_address.c - whom does a text in a request mean?
 * Programs write addresses in two ways: alone, or behind a name. The name is taken as it stands,
 * for it will be quoted or encoded when it is written; only one in quotes is unquoted. The address
 * is judged as strictly as on the wire, and its domain is given its one spelling. */
#include "relay/http/mail_request.h"
#include "relay/message/address.h"
#include "relay/message/domain.h"

static struct slice keep(struct api_texts *texts, struct slice text)
{
    api_texts_add(texts, text);
    return slice_of(texts->items[texts->count - 1]);
}

/* "a \"b\"" without its quotes. */
static struct slice unquote(struct slice quoted, struct api_texts *texts)
{
    char *text = slice_dup(slice_make(quoted.data + 1, quoted.len - 2));
    size_t len = 0;

    for (size_t i = 0; i < quoted.len - 2; i++) {
        if (text[i] == '\\' && i + 1 < quoted.len - 2)
            i++;
        text[len++] = text[i];
    }
    struct slice kept = keep(texts, slice_make(text, len));
    free(text);
    return kept;
}

static size_t last_bracket(struct slice text)
{
    for (size_t i = text.len; i > 0; i--)
        if (text.data[i - 1] == '<')
            return i - 1;
    return SLICE_NONE;
}

/* The domain in its one spelling. A recipient's label that starts with "xn--" is not looked into,
 * as over SMTP. */
static const char *spell(struct slice bare, struct api_texts *texts, struct slice *spelled)
{
    char domain[DOMAIN_TEXT_MAX];
    char text[ADDRESS_MAX + 2];
    struct address parsed;

    enum address_error error = address_parse_bare(bare, &parsed);
    if (error != ADDRESS_OK)
        return error == ADDRESS_NON_ASCII
                   ? "the part before the at sign is not ASCII, which needs SMTPUTF8"
                   : address_error_text(error);
    bool ascii = true;
    for (size_t i = 0; i < parsed.domain.len; i++)
        ascii = ascii && (uint8_t)parsed.domain.data[i] < 128;
    if (!ascii && domain_parse(parsed.domain, domain) != DOMAIN_OK)
        return address_error_text(ADDRESS_BAD_DOMAIN);
    for (size_t i = 0; ascii && i <= parsed.domain.len && i < sizeof(domain); i++)
        domain[i] = i < parsed.domain.len ? ascii_lower(parsed.domain.data[i]) : '\0';
    int len = snprintf(text, sizeof(text), "%.*s@%s", SLICE_ARG(parsed.local), domain);
    if (len < 0 || (size_t)len >= sizeof(text))
        return address_error_text(ADDRESS_TOO_LONG);
    *spelled = keep(texts, slice_make(text, (size_t)len));
    return NULL;
}

bool mail_address_read(struct slice text, struct api_texts *texts, struct compose_address *address,
                       const char **problem)
{
    struct slice whole = slice_trim(text);
    struct slice bare = whole;
    struct slice name = { 0 };

    if (whole.len > 0 && whole.data[whole.len - 1] == '>') {
        size_t open = last_bracket(whole);
        if (open == SLICE_NONE) {
            *problem = address_error_text(ADDRESS_BAD_BRACKET);
            return false;
        }
        name = slice_trim(slice_first(whole, open));
        bare = slice_make(whole.data + open + 1, whole.len - open - 2);
    }
    if (name.len >= 2 && name.data[0] == '"' && name.data[name.len - 1] == '"')
        name = unquote(name, texts);
    address->name = name;
    *problem = spell(bare, texts, &address->address);
    return *problem == NULL;
}
