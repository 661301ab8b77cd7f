/* config_read.c - from the values of a file to C types, and complaints about them. */
#include "relay/config_read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"

void *config_take(struct config *config, size_t size)
{
    struct config_memory *memory = config->memory;
    struct config_block *block = xcalloc(1, sizeof(*block) + size);

    block->size = size;
    block->next = memory->blocks;
    memory->blocks = block;
    return block->data;
}

char *config_take_text(struct config *config, const char *text)
{
    size_t len = strlen(text);
    char *copy = config_take(config, len + 1);

    memcpy(copy, text, len + 1);
    return copy;
}

char *config_take_path(struct config *config, const char *folder, const char *name)
{
    char *path = config_take(config, strlen(folder) + strlen(name) + 2);

    sprintf(path, "%s/%s", folder, name);
    return path;
}

bool config_complain(struct why *why, const struct config *config,
                     const struct config_section *section, const char *name)
{
    const struct config_value *value = config_value_of(section, name);
    int line = value != NULL ? value->line : section != NULL ? section->line : 0;

    if (line > 0)
        return why_prefix(why, "%s:%d: %s: ", config->path, line, name);
    return why_prefix(why, "%s: %s: ", config->path, name);
}

uint64_t config_get_size(const struct config_section *section, const char *of, const char *name)
{
    uint64_t value = 0;

    (void)config_parse_size(slice_of(config_text(section, of, name)), &value);
    return value;
}

uint64_t config_get_duration(const struct config_section *section, const char *of, const char *name)
{
    uint64_t value = 0;

    (void)config_parse_duration(slice_of(config_text(section, of, name)), &value);
    return value;
}

unsigned config_get_count(const struct config_section *section, const char *of, const char *name)
{
    uint64_t value = 0;

    (void)slice_to_u64(slice_of(config_text(section, of, name)), &value);
    return (unsigned)value;
}

bool config_get_bool(const struct config_section *section, const char *of, const char *name)
{
    bool value = false;

    (void)config_parse_bool(slice_of(config_text(section, of, name)), &value);
    return value;
}

unsigned config_get_rate(const struct config_section *section, const char *of, const char *name)
{
    unsigned per_minute = 0;

    (void)config_parse_rate(slice_of(config_text(section, of, name)), &per_minute);
    return per_minute;
}

enum smtp_tls config_get_tls(const struct config_section *section, const char *of)
{
    return (enum smtp_tls)config_parse_word(slice_of(config_text(section, of, "tls")),
                                            config_tls_words);
}

const char *config_get_text(const struct config_section *section, const char *of, const char *name)
{
    const char *text = config_text(section, of, name);

    return text[0] == '\0' ? NULL : text;
}

bool config_get_positive(const struct config *config, const struct config_section *section,
                         const char *name, uint64_t value, uint64_t max, struct why *why)
{
    if (value >= 1 && value <= max)
        return true;
    why_set(why, "must be from 1 to %llu", (unsigned long long)max);
    return config_complain(why, config, section, name);
}

bool config_check_readable(const struct config *config, const struct config_section *section,
                           const char *name, const char *path, struct why *why)
{
    if (path == NULL || access(path, R_OK) == 0)
        return true;
    why_errno(why, errno, "cannot read %s", path);
    return config_complain(why, config, section, name);
}

/* An address, not a name: "127.example.com" is anybody's. */
bool config_is_loopback(const char *address)
{
    static const uint8_t loopback[16] = { [15] = 1 };
    uint8_t bytes[16];

    if (inet_pton(AF_INET, address, bytes) == 1)
        return bytes[0] == 127;
    return inet_pton(AF_INET6, address, bytes) == 1 && memcmp(bytes, loopback, sizeof(bytes)) == 0;
}

/* IPv4 as ::ffff:a.b.c.d; the text was checked. */
static void read_address(const char *text, uint8_t bytes[static 16])
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

    memset(bytes, 0, 16);
    if (strcmp(text, "*") != 0 && inet_pton(AF_INET6, text, bytes) != 1) {
        memcpy(bytes, mapped, sizeof(mapped));
        (void)inet_pton(AF_INET, text, bytes + sizeof(mapped));
    }
}

bool config_is_same_address(const char *a, const char *b)
{
    uint8_t of_a[16], of_b[16];

    read_address(a, of_a);
    read_address(b, of_b);
    return memcmp(of_a, of_b, sizeof(of_a)) == 0;
}

size_t config_count_sections(const struct config_file *file, const char *name)
{
    size_t count = 0;

    while (config_section_at(file, name, count) != NULL)
        count++;
    return count;
}
