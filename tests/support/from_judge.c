/* from_judge.c - what does the sender rule say about each of many header blocks?
 * For tests/system/from_differential.py. Standard input is a sequence of blocks, each preceded by a
 * line with its length in decimal; for each one line with the verdict and its rule is written. The
 * only permitted domain is good.example. Exit 1 when the input is not such a sequence. */
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/message/sender.h"

#define BLOCK_MAX_BYTES (1 << 20)

static bool permit_good(void *owner, struct slice local, struct slice domain)
{
    (void)owner;
    (void)local;
    return slice_equal(domain, SLICE("good.example"));
}

static void judge(struct slice block)
{
    static const char *const names[] = {
        [SENDER_OK] = "ok",
        [SENDER_NOT_PERMITTED] = "not-permitted",
        [SENDER_NOT_READABLE] = "not-readable",
        [SENDER_NON_ASCII] = "non-ascii",
    };
    struct header header;
    enum header_error parsed = header_parse(block, &header);
    struct sender_reason reason = sender_check(parsed, &header, permit_good, NULL);

    printf("%s %s\n", names[reason.verdict], reason.rule);
    header_free(&header);
}

int main(void)
{
    char line[32];
    char *block = xmalloc(BLOCK_MAX_BYTES);
    int status = EXIT_FAILURE;

    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *end;
        unsigned long len = strtoul(line, &end, 10);
        if (*end != '\n' || end == line || len > BLOCK_MAX_BYTES)
            goto out;
        if (fread(block, 1, len, stdin) != len)
            goto out;
        judge(slice_make(block, len));
    }
    status = ferror(stdin) || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
out:
    free(block);
    return status;
}
