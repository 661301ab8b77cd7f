/* fuzz_json_lift.c - is what is lifted out of a document what jansson reads there? */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/http/json_lift.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *lifted = json_lift(slice_make(data, size));

    if (lifted == NULL)
        return 0;
    json_t *read =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (read == NULL || !json_equal(lifted, read)) {
        fprintf(stderr, "lifted and read differ\n");
        abort();
    }
    json_decref(lifted);
    json_decref(read);
    return 0;
}
