/* config_file.h - what stands in the configuration file? Its sections and values, each with its
 * line and already checked against the table of settings. The only user of libconfuse. Main thread
 * only: its lexer is global. */
#ifndef LATCHPOST_CONFIG_FILE_H
#define LATCHPOST_CONFIG_FILE_H

#include "relay/base/why.h"
#include "relay/config_table.h"

struct config_value {
    const struct config_setting *setting;
    int line;
    char **items; /* one, or any number for a list */
    size_t count;
};

struct config_section {
    const char *name; /* "" for the top level, which is always the first */
    char *title;      /* "" where there is none */
    bool has_title;
    int line;                    /* of its last line */
    struct config_value *values; /* only those that the file sets */
    size_t value_count;
};

struct config_file {
    char *path;
    struct config_section *sections; /* in the order of the file within each kind */
    size_t section_count;
    bool has_inline_password; /* a password stands in the file itself, not as ${NAME} */
};

/* top_only: a ${NAME} that is not set is an error at the top level only; inside a section it is
 * empty. */
bool config_file_read(struct config_file **file, const char *path, bool top_only, struct why *why);
void config_file_free(struct config_file *file); /* accepts NULL; wipes every value */

/* The i-th section of this name, or NULL. */
const struct config_section *config_section_at(const struct config_file *file, const char *name,
                                               size_t i);
/* The value as the file sets it, or NULL. section may be NULL. */
const struct config_value *config_value_of(const struct config_section *section, const char *name);
/* The text of a scalar: the file's, else the default. */
const char *config_text(const struct config_section *section, const char *section_name,
                        const char *name);

#endif
