/* test_config_table.c - the table of settings against the documents that speak of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/alloc.h"
#include "relay/config_table.h"

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = xcalloc(1, 1 << 20);
    size_t len;

    if (file == NULL)
        fail_msg("cannot open %s: the tests run in the folder of the Makefile", path);
    len = fread(text, 1, (1 << 20) - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static void every_default_is_of_its_own_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *s = &config_settings[i];

        if (s->help[0] == '\0')
            fail_msg("%s.%s has no help", s->section, s->name);
        if (s->standard[0] != '\0' && !s->is_list &&
            !config_value_check(s->type, slice_of(s->standard)))
            fail_msg("%s.%s: the default \"%s\" is not %s", s->section, s->name, s->standard,
                     config_type_hint(s->type));
        if (config_setting_find(s->section, s->name) != s)
            fail_msg("%s.%s stands twice in the table", s->section, s->name);
    }
}

/* The text of a section in conf/latchpost.conf: from its opening line to the end of the file's text
 * for it; the top level: all. */
static const char *find_section(const char *text, const char *section)
{
    char *opening;
    const char *at;

    if (section[0] == '\0')
        return text;
    opening = xasprintf("\n#%s ", section);
    at = strstr(text, opening);
    free(opening);
    return at;
}

static void the_example_file_shows_every_setting_at_its_default(void **state)
{
    char *text = read_whole("conf/latchpost.conf");

    (void)state;
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *s = &config_settings[i];
        const char *section = find_section(text, s->section);
        char *plain = xasprintf("%s = %s\n", s->name, s->standard);
        char *noted = xasprintf("%s = %s ", s->name, s->standard);
        char *quoted = xasprintf("%s = \"%s\"", s->name, s->standard);
        char *listed = xasprintf("%s = {", s->name);
        bool shown = section != NULL &&
                     (strstr(section, plain) || strstr(section, noted) || strstr(section, quoted) ||
                      (s->is_list && strstr(section, listed)) ||
                      (s->standard[0] == '\0' && strstr(section, s->name)) ||
                      /* plan has no section of that name by default: its example shows values */
                      (strcmp(s->section, "plan") == 0 && strstr(section, s->name)));

        if (!shown)
            fail_msg("conf/latchpost.conf does not show %s.%s at its default \"%s\"", s->section,
                     s->name, s->standard);
        free(plain);
        free(noted);
        free(quoted);
        free(listed);
    }
    free(text);
}

static void the_readme_names_every_setting(void **state)
{
    char *text = read_whole("README.md");

    (void)state;
    for (size_t i = 0; i < config_setting_count; i++) {
        char *cell =
            xasprintf("`%s%s%s`", config_settings[i].section,
                      config_settings[i].section[0] == '\0' ? "" : ".", config_settings[i].name);

        if (strstr(text, cell) == NULL)
            fail_msg("README.md does not speak of %s", cell);
        free(cell);
    }
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_of_its_own_type),
        cmocka_unit_test(the_example_file_shows_every_setting_at_its_default),
        cmocka_unit_test(the_readme_names_every_setting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
