/* test_digest.c - one text, one fingerprint; another text, another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/digest.h"

static void fingerprint_of(const char *const *parts, bool delimited, uint8_t out[DIGEST_BYTES])
{
    struct digest *digest = digest_new();

    for (; *parts != NULL; parts++)
        if (delimited)
            digest_add_part(digest, slice_of(*parts));
        else
            digest_add(digest, slice_of(*parts));
    digest_finish(digest, out);
    digest_free(digest);
}

static void how_the_bytes_are_cut_matters_only_for_parts(void **state)
{
    static const char *const one[] = { "abc", NULL }, *const two[] = { "a", "", "bc", NULL };
    uint8_t first[DIGEST_BYTES], second[DIGEST_BYTES];

    (void)state;
    fingerprint_of(one, false, first);
    fingerprint_of(two, false, second);
    assert_memory_equal(first, second, DIGEST_BYTES);
    fingerprint_of(one, true, first);
    fingerprint_of(two, true, second);
    assert_memory_not_equal(first, second, DIGEST_BYTES);
}

static void it_is_blake2b_256(void **state)
{
    static const char *const text[] = { "abc", NULL };
    static const uint8_t want[] = { 0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72 };
    uint8_t got[DIGEST_BYTES];

    (void)state;
    fingerprint_of(text, false, got);
    assert_memory_equal(got, want, sizeof(want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_the_bytes_are_cut_matters_only_for_parts),
        cmocka_unit_test(it_is_blake2b_256),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
