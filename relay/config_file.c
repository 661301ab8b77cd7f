/* config_file.c - what stands in the configuration file?
 * libconfuse does the grammar. Its gaps are closed here: every value is taken as text and checked
 * by our own types, so that an error names what is allowed; a setting given twice and a ${NAME}
 * that is not set, both of which it lets pass in silence, are errors. */
#include "relay/config_file.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"

#define FILE_BYTES_MAX (1024 * 1024)

/* libconfuse's callbacks carry no context, so the one read under way stands here. */
static struct reading {
    struct why *why;
    struct seen {
        const cfg_opt_t *opt;
        int line;
        unsigned values; /* of a list, so far */
        bool is_whole;
    } * seen;
    size_t count;
} * current;

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    char text[400];

    if (current->why->text[0] != '\0')
        return; /* the first one is the cause */
    vsnprintf(text, sizeof(text), format, args);
    why_set(current->why, "%s:%d: %s", cfg->filename, cfg->line, text);
}

static struct seen *find_seen(const struct reading *reading, const cfg_opt_t *opt)
{
    for (size_t i = reading->count; i > 0; i--)
        if (reading->seen[i - 1].opt == opt)
            return &reading->seen[i - 1];
    return NULL;
}

static void note_seen(const cfg_opt_t *opt, int line)
{
    current->seen = xrealloc(current->seen, (current->count + 1) * sizeof(*current->seen));
    current->seen[current->count++] = (struct seen){ opt, line, 1, false };
}

static const char *section_of(const cfg_t *cfg)
{
    return strcmp(cfg->name, "root") == 0 ? "" : cfg->name;
}

/* Is this value the start of a second setting of the same name? A list comes as its 1st, 2nd ...
 * value, then once more when it is whole. */
static bool is_repeated(struct seen *seen, const cfg_opt_t *opt)
{
    unsigned values = cfg_opt_size((cfg_opt_t *)opt);

    if (!(opt->flags & CFGF_LIST) || seen->is_whole)
        return true;
    if (values == seen->values)
        seen->is_whole = true;
    else if (values != seen->values + 1)
        return true;
    seen->values = values;
    return false;
}

/* Called for each value as it is read; `opt` belongs to this one section. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    struct seen *seen = find_seen(current, opt);
    const struct config_setting *setting = config_setting_find(section_of(cfg), opt->name);
    unsigned last = cfg_opt_size(opt) - 1;
    const char *text = cfg_opt_getnstr(opt, last);

    if (seen == NULL) {
        note_seen(opt, cfg->line);
    } else if (is_repeated(seen, opt)) {
        cfg_error(cfg, "'%s' is given twice; keep one", opt->name);
        return -1;
    }
    if (!config_value_check(setting->type, slice_of(text))) {
        cfg_error(cfg, "%s: '%s' is not %s", opt->name,
                  strstr(opt->name, "password") != NULL ? "..." : text,
                  config_type_hint(setting->type));
        return -1;
    }
    return 0;
}

/* Called at the end of each section. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
    if (!(opt->flags & CFGF_MULTI) && find_seen(current, opt) != NULL) {
        cfg_error(cfg, "section '%s' is given twice; join the two", opt->name);
        return -1;
    }
    note_seen(opt, cfg->line);
    return 0;
}

/* The options of one section; the top level's also holds the other sections. */
static cfg_opt_t *make_options(const struct config_section_kind *kind, cfg_opt_t **sections)
{
    bool is_top = kind->name[0] == '\0';
    cfg_opt_t *options = xcalloc(config_setting_count + config_section_count + 1, sizeof(*options));
    size_t n = 0;

    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *s = &config_settings[i];

        if (strcmp(s->section, kind->name) != 0)
            continue;
        options[n] = s->is_list ? (cfg_opt_t)CFG_STR_LIST(s->name, NULL, CFGF_NONE)
                                : (cfg_opt_t)CFG_STR(s->name, NULL, CFGF_NONE);
        options[n++].validcb = on_value;
    }
    for (size_t i = 1; is_top && i < config_section_count; i++) {
        const struct config_section_kind *s = &config_sections[i];
        cfg_flag_t flags = (s->has_title ? CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE) |
                           (s->is_many ? CFGF_MULTI : CFGF_NODEFAULT);

        options[n] = (cfg_opt_t)CFG_SEC(s->name, sections[i], flags);
        options[n++].validcb = on_section;
    }
    options[n] = (cfg_opt_t)CFG_END();
    return options;
}

/* --- variables -------------------------------------------------------------------------------- */

static bool is_variable(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!ascii_is_alnum(name.data[i]) && name.data[i] != '_')
            return false;
    return name.len > 0;
}

static bool check_variable(const char *path, int line, struct slice inside, struct why *why)
{
    struct slice rest = inside;
    struct slice name = slice_cut(&rest, ':');

    /* Where the "}" is missing, `inside` is whatever stands in the file up to the next one. */
    if (!is_variable(name))
        return why_set(why, "%s:%d: ${ is not followed by a name and }, as in \"${NAME}\"", path,
                       line);
    char *copy = slice_dup(name);
    bool ok = rest.data != NULL || getenv(copy) != NULL;

    if (!ok)
        why_set(why, "%s:%d: ${%s} is not set in the environment; set it, or write ${%s:-default}",
                path, line, copy, copy);
    free(copy);
    return ok;
}

/* What the lexer of libconfuse is in behind this byte: 0 plain text, '#' a comment to the end of
 * the line,
 * '*' a long comment, or the quote that a string began with. */
static char lex(char in, char c, char next)
{
    switch (in) {
    case '#':
        return c == '\n' ? 0 : in;
    case '*':
        return c == '*' && next == '/' ? 0 : in;
    case '"':
    case '\'':
        return c == in ? 0 : in;
    }
    if (c == '#' || (c == '/' && next == '/'))
        return '#';
    if (c == '/' && next == '*')
        return '*';
    return c == '"' || c == '\'' ? c : 0;
}

/* Where the file ends inside a section, a list or a long comment, it was cut short: libconfuse
 * takes the first and the last for closed. */
static bool check_end(const char *path, int brace_line, int comment_line, struct why *why)
{
    if (comment_line > 0)
        return why_set(why, "%s:%d: the comment that begins here has no end", path, comment_line);
    return brace_line == 0 ||
           why_set(why, "%s:%d: what the { of this line begins has no end", path, brace_line);
}

/* Only what libconfuse expands counts: comments, single quotes and a backslash hide a ${NAME}. With
 * top_only, what stands inside a section is left to whoever uses the section. */
static bool check_lexemes(const char *path, struct slice text, bool top_only, struct why *why)
{
    int line = 1, depth = 0, brace_line = 0, comment_line = 0;
    char in = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i], next = i + 1 < text.len ? text.data[i + 1] : '\0';
        bool expands = in == 0 || in == '"';

        line += c == '\n';
        if (c == '\\' && in != '#' && in != '*') {
            line += next == '\n';
            i++;
        } else if (c == '$' && next == '{' && expands) {
            struct slice inside = slice_from(text, i + 2);
            size_t len = slice_find(inside, '}');

            if (!(top_only && depth > 0) &&
                !check_variable(path, line, slice_first(inside, len), why))
                return false;
            i += len == SLICE_NONE ? 1 : len + 2;
        } else {
            depth += in == 0 ? (c == '{') - (c == '}') : 0;
            brace_line = depth <= 0 ? 0 : brace_line == 0 ? line : brace_line;
            in = lex(in, c, next);
            comment_line = in != '*' ? 0 : comment_line == 0 ? line : comment_line;
        }
    }
    return check_end(path, brace_line, comment_line, why);
}

static struct slice skip_space(struct slice text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) != NULL)
        text = slice_from(text, 1);
    return text;
}

/* Does a value follow that stands in the file, and not in the environment? */
static bool is_inline_value(struct slice text)
{
    text = skip_space(text);
    return text.len > 0 && text.data[0] == '=' &&
           !slice_starts_nocase(skip_space(slice_from(text, 1)), SLICE("\"${"));
}

/* Is there a password = "..." in the file itself? Then others must not read the file. */
static bool find_inline_password(struct slice text)
{
    char in = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i], next = i + 1 < text.len ? text.data[i + 1] : '\0';

        if (in == 0 && slice_starts_nocase(slice_from(text, i), SLICE("password")) &&
            is_inline_value(slice_from(text, i + 8)))
            return true;
        if (c == '\\' && in != '#' && in != '*')
            i++;
        else
            in = lex(in, c, next);
    }
    return false;
}

static bool read_text(const char *path, struct buf *text, struct why *why)
{
    FILE *file = fopen(path, "re");
    char block[4096];
    size_t len;
    bool ok = true;

    if (file == NULL)
        return why_errno(why, errno, "cannot read the configuration %s", path);
    while (ok && (len = fread(block, 1, sizeof(block), file)) > 0)
        ok = buf_add(text, slice_make(block, len));
    if (!ok)
        why_set(why, "%s is larger than 1 MiB: that is no configuration", path);
    else if (ferror(file)) {
        ok = false;
        why_errno(why, errno, "cannot read the configuration %s", path);
    }
    fclose(file);
    return ok;
}

/* Before libconfuse: what it would not notice. */
static bool check_text(struct config_file *file, bool top_only, struct why *why)
{
    struct buf text;
    struct stat status;
    bool ok = false;

    buf_init(&text, FILE_BYTES_MAX);
    if (!read_text(file->path, &text, why) ||
        !check_lexemes(file->path, buf_slice(&text), top_only, why))
        goto out;
    if (slice_find(buf_slice(&text), '\0') != SLICE_NONE) { /* a value would end there */
        why_set(why, "%s holds a NUL byte: that is no configuration", file->path);
        goto out;
    }
    file->has_inline_password = find_inline_password(buf_slice(&text));
    if (file->has_inline_password && stat(file->path, &status) == 0 && (status.st_mode & 07)) {
        why_set(why,
                "%s holds a password and every user may read it: chmod 600 %s, or use "
                "password_file or \"${NAME}\"",
                file->path, file->path);
        goto out;
    }
    ok = true;
out:
    buf_wipe(&text);
    return ok;
}

/* --- from libconfuse's tree to ours ----------------------------------------------------------- */

static void copy_value(struct config_section *section, const struct reading *reading,
                       const struct config_setting *setting, cfg_opt_t *opt)
{
    const struct seen *seen = find_seen(reading, opt);
    struct config_value *value;

    /* An empty list is not told to on_value(). */
    if (seen == NULL && !(setting->is_list && (opt->flags & CFGF_MODIFIED)))
        return; /* the file does not set it */
    section->values =
        xrealloc(section->values, (section->value_count + 1) * sizeof(*section->values));
    value = &section->values[section->value_count++];
    value->setting = setting;
    value->line = seen == NULL ? section->line : seen->line;
    value->count = cfg_opt_size(opt);
    value->items = xcalloc(value->count + 1, sizeof(*value->items));
    for (unsigned i = 0; i < value->count; i++)
        value->items[i] = xstrdup(cfg_opt_getnstr(opt, i));
}

static void copy_section(struct config_file *file, const struct reading *reading,
                         const struct config_section_kind *kind, cfg_t *cfg)
{
    struct config_section *section;

    file->sections = xrealloc(file->sections, (file->section_count + 1) * sizeof(*file->sections));
    section = &file->sections[file->section_count++];
    *section = (struct config_section){
        .name = kind->name,
        .title = xstrdup(kind->has_title ? cfg_title(cfg) : ""),
        .has_title = kind->has_title,
        .line = cfg->line,
    };
    for (size_t i = 0; i < config_setting_count; i++)
        if (strcmp(config_settings[i].section, kind->name) == 0)
            copy_value(section, reading, &config_settings[i],
                       cfg_getopt(cfg, config_settings[i].name));
}

static void copy_all(struct config_file *file, const struct reading *reading, cfg_t *root)
{
    copy_section(file, reading, &config_sections[0], root);
    for (size_t k = 1; k < config_section_count; k++)
        for (unsigned i = 0; i < cfg_size(root, config_sections[k].name); i++)
            copy_section(file, reading, &config_sections[k],
                         cfg_getnsec(root, config_sections[k].name, i));
}

static bool parse(struct config_file *file, struct why *why)
{
    struct reading reading = { .why = why };
    cfg_opt_t *options[16] = { NULL };
    cfg_t *root;
    bool ok = false;

    for (size_t i = config_section_count; i > 0; i--)
        options[i - 1] = make_options(&config_sections[i - 1], options);
    current = &reading;
    root = cfg_init(options[0], CFGF_NONE);
    cfg_set_error_function(root, on_error);
    why->text[0] = '\0';
    if (cfg_parse(root, file->path) == CFG_SUCCESS) {
        copy_all(file, &reading, root);
        ok = true;
    } else if (why->text[0] == '\0') {
        why_set(why, "%s: cannot be read as a configuration", file->path);
    }
    current = NULL;
    cfg_free(root);
    free(reading.seen);
    for (size_t i = 0; i < config_section_count; i++)
        free(options[i]);
    return ok;
}

/* A title is a name: it is given to commands, and stands in answers and in the log. */
static bool check_titles(const struct config_file *file, struct why *why)
{
    for (size_t s = 0; s < file->section_count; s++) {
        const struct config_section *section = &file->sections[s];

        if (section->has_title && (section->title[0] == '\0' ||
                                   !config_value_check(CONFIG_TEXT, slice_of(section->title))))
            return why_set(why, "%s:%d: %s: the title must be %s", file->path, section->line,
                           section->name, config_type_hint(CONFIG_TEXT));
    }
    return true;
}

/* No list means anything when it is empty, and "any" is what it would be taken for. */
static bool check_lists(const struct config_file *file, struct why *why)
{
    for (size_t s = 0; s < file->section_count; s++)
        for (size_t v = 0; v < file->sections[s].value_count; v++) {
            const struct config_value *value = &file->sections[s].values[v];

            if (value->count == 0)
                return why_set(why,
                               "%s:%d: %s: the list is empty; name something, or leave the "
                               "setting out",
                               file->path, value->line, value->setting->name);
        }
    return true;
}

bool config_file_read(struct config_file **file, const char *path, bool top_only, struct why *why)
{
    struct config_file *made = xcalloc(1, sizeof(*made));

    made->path = xstrdup(path);
    if (!check_text(made, top_only, why) || !parse(made, why) || !check_titles(made, why) ||
        !check_lists(made, why)) {
        config_file_free(made);
        return false;
    }
    *file = made;
    return true;
}

static void wipe_text(char *text)
{
    explicit_bzero(text, strlen(text));
    free(text);
}

void config_file_free(struct config_file *file)
{
    if (file == NULL)
        return;
    for (size_t s = 0; s < file->section_count; s++) {
        struct config_section *section = &file->sections[s];

        for (size_t v = 0; v < section->value_count; v++) {
            for (size_t i = 0; i < section->values[v].count; i++)
                wipe_text(section->values[v].items[i]);
            free(section->values[v].items);
        }
        free(section->values);
        free(section->title);
    }
    free(file->sections);
    free(file->path);
    free(file);
}

const struct config_section *config_section_at(const struct config_file *file, const char *name,
                                               size_t i)
{
    for (size_t s = 0; s < file->section_count; s++)
        if (strcmp(file->sections[s].name, name) == 0 && i-- == 0)
            return &file->sections[s];
    return NULL;
}

const struct config_value *config_value_of(const struct config_section *section, const char *name)
{
    for (size_t i = 0; section != NULL && i < section->value_count; i++)
        if (strcmp(section->values[i].setting->name, name) == 0)
            return &section->values[i];
    return NULL;
}

const char *config_text(const struct config_section *section, const char *section_name,
                        const char *name)
{
    const struct config_value *value = config_value_of(section, name);

    return value != NULL ? value->items[0] : config_setting_find(section_name, name)->standard;
}
