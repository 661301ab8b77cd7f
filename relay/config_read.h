/* config_read.h - from the values of a file to C types, and complaints about them: what config.c
 * and config_upstreams.c share. The file was checked against the table of settings, so the typed
 * getters cannot fail; each takes the file's value, or the table's default where the file is silent
 * (section may be NULL, `of` is the section's name). */
#ifndef LATCHPOST_CONFIG_READ_H
#define LATCHPOST_CONFIG_READ_H

#include "relay/config.h"
#include "relay/config_file.h"

struct config_memory { /* everything allocated for a config, wiped and freed with it */
    struct config_block {
        struct config_block *next;
        size_t size;
        char data[];
    } * blocks;
    struct config_file *file; /* most texts are borrowed from it */
};

void *config_take(struct config *config, size_t size); /* zeroed */
char *config_take_text(struct config *config, const char *text);
char *config_take_path(struct config *config, const char *folder, const char *name);

uint64_t config_get_size(const struct config_section *section, const char *of, const char *name);
uint64_t config_get_duration(const struct config_section *section, const char *of,
                             const char *name); /* milliseconds */
unsigned config_get_count(const struct config_section *section, const char *of, const char *name);
bool config_get_bool(const struct config_section *section, const char *of, const char *name);
unsigned config_get_rate(const struct config_section *section, const char *of,
                         const char *name); /* a minute */
enum smtp_tls config_get_tls(const struct config_section *section, const char *of);
/* NULL when neither the file nor the table says anything. */
const char *config_get_text(const struct config_section *section, const char *of, const char *name);

/* Puts "path:line: name: " before what `why` says. Returns false. */
bool config_complain(struct why *why, const struct config *config,
                     const struct config_section *section, const char *name);
/* True, or a complaint. */
bool config_get_positive(const struct config *config, const struct config_section *section,
                         const char *name, uint64_t value, uint64_t max, struct why *why);
bool config_check_readable(const struct config *config, const struct config_section *section,
                           const char *name, const char *path, struct why *why); /* NULL is fine */

bool config_is_loopback(const char *address);
/* Do both mean the same, however they are spelled? "*" is all of IPv6, and IPv4 with it. */
bool config_is_same_address(const char *a, const char *b);
size_t config_count_sections(const struct config_file *file, const char *name);

/* config_upstreams.c; the second needs the first. */
bool config_fill_upstreams(struct config *config, const struct config_file *file, struct why *why);
bool config_fill_routes(struct config *config, const struct config_file *file, struct why *why);

#endif
