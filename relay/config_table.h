/* config_table.h - which settings are there? One row each: where it stands, its type, its default,
 * its help. The reader, the documentation and the tests all work from this table. */
#ifndef LATCHPOST_CONFIG_TABLE_H
#define LATCHPOST_CONFIG_TABLE_H

#include "relay/config_value.h"

struct config_setting {
    const char *section; /* "" at the top level */
    const char *name;
    enum config_type type;
    bool is_list;
    const char *standard; /* the default as one would write it; "" where there is none */
    const char *help;
};
extern const struct config_setting config_settings[];
extern const size_t config_setting_count;

struct config_section_kind {
    const char *name;
    bool has_title; /* listener "submission" { ... }: any number, each title once */
    bool is_many;   /* any number without a title: route { ... } */
};
extern const struct config_section_kind config_sections[];
extern const size_t config_section_count;

/* The row, or NULL. */
const struct config_setting *config_setting_find(const char *section, const char *name);

#endif
