/* fuzz_address.c - are the addresses that are read what the text says, and inside of it?
 * The input is a path, a mailbox and a bare address at once. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/message/address.h"
#include "relay/message/domain.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "does not hold: %s\n", #condition);                                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool is_inside(struct slice part, struct slice text)
{
    return part.data >= text.data && part.data + part.len <= text.data + text.len;
}

static void check_address(struct slice text, const struct address *address, bool may_be_quoted)
{
    CHECK(address->local.len > 0 && address->local.len <= ADDRESS_LOCAL_MAX);
    CHECK(address->domain.len > 0 && address->domain.len <= ADDRESS_DOMAIN_MAX);
    CHECK(is_inside(address->local, text) && is_inside(address->domain, text));
    CHECK(address->local.data + address->local.len + 1 == address->domain.data);
    CHECK(address->domain.data[-1] == '@');
    CHECK(may_be_quoted || address->local.data[0] != '"');
    CHECK(address->is_literal == (address->domain.data[0] == '['));
    for (size_t i = 0; i < address->local.len; i++)
        CHECK(address->local.data[i] >= 32 && address->local.data[i] <= 126);
    if (!address->is_literal && (uint8_t)address->domain.data[0] < 128) {
        char spelling[DOMAIN_TEXT_MAX];
        CHECK(domain_parse(address->domain, spelling) == DOMAIN_OK ||
              domain_check(address->domain) == DOMAIN_OK);
    }
}

/* An address that a mailbox gave must be the same read as a path and as a bare address. */
static void check_the_same_elsewhere(const struct address *address)
{
    struct slice text =
        slice_make(address->local.data, address->local.len + 1 + address->domain.len);
    struct address again;

    CHECK(address_parse_path(text, (struct address_path_options){ 0 }, &again) == ADDRESS_OK);
    CHECK(slice_equal(again.local, address->local) && slice_equal(again.domain, address->domain));
    CHECK(address_parse_bare(text, &again) == ADDRESS_OK);
    CHECK(address_parse_mailbox(text, &again) == ADDRESS_OK);
    CHECK(slice_equal(again.local, address->local) && slice_equal(again.domain, address->domain));
}

static void try_path(struct slice text)
{
    struct address address;

    for (unsigned bits = 0; bits < 4; bits++) {
        struct address_path_options options = { .allow_null = (bits & 1) != 0,
                                                .allow_quoted = (bits & 2) != 0 };
        if (address_parse_path(text, options, &address) != ADDRESS_OK)
            continue;
        CHECK(!address.is_null || (options.allow_null && slice_equal(text, SLICE("<>"))));
        if (address.is_null)
            continue;
        check_address(text, &address, options.allow_quoted);
        size_t used = address.local.len + 1 + address.domain.len;
        CHECK(text.len == used || (text.len == used + 2 && text.data[0] == '<'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    struct address address;

    try_path(text);
    if (address_parse_bare(text, &address) == ADDRESS_OK) {
        check_address(text, &address, false);
        CHECK(text.len == address.local.len + 1 + address.domain.len);
    }
    enum address_error error = address_parse_mailbox(text, &address);
    CHECK(address_error_text(error) != NULL);
    if (error == ADDRESS_OK) {
        check_address(text, &address, false);
        check_the_same_elsewhere(&address);
    }
    return 0;
}
