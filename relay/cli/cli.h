/* cli.h - the subcommands and the little they share: options by table, output, exit codes.
 * A noun ("key") is a table of verbs ("create"), a verb has a table of options; usage and help are
 * printed from them. One thread; what goes wrong is told on standard error and in the exit code. */
#ifndef LATCHPOST_CLI_H
#define LATCHPOST_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* Each takes the arguments behind the program's name (argv[0] is the subcommand) and returns an
 * exit code of sysexits.h. */
int cli_serve(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_key(int argc, char **argv);
int cli_account(int argc, char **argv);
int cli_domain(int argc, char **argv);
int cli_queue(int argc, char **argv);
int cli_upstream(int argc, char **argv);
int cli_audit(int argc, char **argv);

/* --- options (options.c) ---------------------------------------------------------------------- */

#define CLI_OPTIONS_MAX 16

struct cli_option {
    const char *name;
    const char *value; /* how the help calls it; NULL: a flag */
    bool repeats;
    const char *help;
};

struct cli_arguments {  /* borrows argv */
    const char *config; /* -c FILE, or NULL */
    bool json;
    const char *url, *key_file, *ca_file; /* of a relay elsewhere, or NULL */
    /* By the option's place in its table: */
    const char **values[CLI_OPTIONS_MAX];
    size_t counts[CLI_OPTIONS_MAX]; /* of values; of a flag, how often it was given */
    char **operands;
    size_t operand_count;
};
/* The only or last value, or NULL. */
const char *cli_value(const struct cli_arguments *arguments, size_t option);

struct cli_verb {
    const char *name;    /* empty: the noun is all that is said, and this is its only verb */
    const char *operand; /* how the help calls it: "ID", "[ID]"; NULL: there is none */
    size_t operands_min, operands_max;
    const struct cli_option *options;
    size_t option_count;
    int (*run)(const struct cli_arguments *arguments);
    const char *help;
};
struct cli_noun {
    const char *name, *help;
    const struct cli_verb *verbs;
    size_t verb_count;
};
/* Finds the verb, reads its options, runs it, and sees to it that what was printed has arrived. */
int cli_run(const struct cli_noun *noun, int argc, char **argv);

/* "latchpost: <sentence>" on standard error, escaped; returns `code`. */
int cli_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last thing of every command: EX_OK becomes a failure when what was printed did not arrive. */
int cli_end(int code);

/* --- output (print.c) ------------------------------------------------------------------------- */

/* What a terminal must not interpret (controls, ESC, C1, line and direction marks, what is not
 * UTF-8) written as text, like \x1b or \u2028. The caller frees. */
char *cli_escape(const char *text);

enum cli_form { CLI_PLAIN, CLI_BYTES };
struct cli_column {
    const char *title;
    const char *member; /* of the row: a text, number, boolean, null, or a list of texts */
    enum cli_form form;
};
/* Rows as an aligned table; with its titles, if wanted. */
void cli_print_rows(FILE *out, const json_t *rows, const struct cli_column *columns, size_t count,
                    bool titles);
/* One object, a line for each column. */
void cli_print_sheet(FILE *out, const json_t *row, const struct cli_column *columns, size_t count);
/* One line of pure ASCII. */
void cli_print_json(FILE *out, const json_t *json);

#endif
