/* replay.c - runs a fuzz target over files, for compilers without libFuzzer: each argument is a
 * file or a folder of files; without arguments, the target's own corpus. Prints one TAP line. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/base/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replayed;

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = xmalloc(1 << 20);
    size_t size;

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size = fread(data, 1, 1 << 20, file);
    fclose(file);
    /* A block of its own size, so that a sanitizer sees a read behind the end. */
    data = xrealloc(data, size + (size == 0));
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static void replay(const char *path)
{
    struct stat status;
    DIR *folder;

    if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
        replay_file(path);
        return;
    }
    folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char *inside = xasprintf("%s/%s", path, entry->d_name);

        if (entry->d_name[0] != '.')
            replay_file(inside);
        free(inside);
    }
    if (folder != NULL)
        closedir(folder);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    char *corpus = xasprintf("tests/fuzz/corpus/%s", slash == NULL ? argv[0] : slash + 1);

    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    if (argc == 1)
        replay(corpus);
    free(corpus);
    printf("%s 1 - %zu inputs replayed\n", replayed > 0 ? "ok" : "not ok", replayed);
    return replayed > 0 ? 0 : 1;
}
