/* fuzz_config.c - can a configuration file, however broken, do more than be refused with a reason?
 * Each input is a file. What must hold: it is either taken, or refused in one printable line that
 * names the file; and what was taken passes the same checks when it is read again. Only reading is
 * fuzzed, not opening what a file names, so nothing outside of the file is touched. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/macros.h"
#include "relay/base/slice.h"
#include "relay/config_file.h"

static char path[64];

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static void remove_file(void)
{
    unlink(path);
}

static void write_file(const uint8_t *data, size_t size)
{
    if (path[0] == '\0') {
        snprintf(path, sizeof(path), "/dev/shm/fuzz_config.%ld", (long)getpid());
        atexit(remove_file);
    }
    FILE *file = fopen(path, "wb");
    check(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0, "a file");
}

static void check_refusal(const struct why *why)
{
    check(strncmp(why->text, path, strlen(path)) == 0, "the file is named");
    for (const char *at = why->text; *at != '\0'; at++)
        check((unsigned char)*at >= ' ' && *at != 0x7f, "the reason is one printable line");
}

static void check_values(const struct config_file *file)
{
    for (size_t i = 0; i < file->section_count; i++) {
        const struct config_section *section = &file->sections[i];
        for (size_t j = 0; j < section->value_count; j++) {
            const struct config_value *value = &section->values[j];
            check(value->setting != NULL && value->line > 0, "a value has a setting and a line");
            check(config_value_of(section, value->setting->name) != NULL, "it is found by name");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_file *file = NULL;

    write_file(data, size);
    for (int top_only = 0; top_only <= 1; top_only++) {
        struct why why = { "" };
        if (config_file_read(&file, path, top_only, &why))
            check_values(file);
        else
            check_refusal(&why);
        config_file_free(file);
        file = NULL;
    }
    return 0;
}
