/* options.c - what did the operator ask for? Nouns, verbs and options by table.
 * getopt_long() reads them from an array made of the verb's table and the options that all verbs
 * share. A misuse names what is wrong and where help is; nothing runs then. */
#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/cli/cli.h"

enum { SHARED_OPTIONS = 6 }; /* --config, --url, --key-file, --ca-file, --json, --help */

int cli_fail(int code, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char *escaped = cli_escape(text);
    fprintf(stderr, "latchpost: %s\n", escaped);
    free(escaped);
    return code;
}

int cli_end(int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EX_OK)
        code = cli_fail(EX_IOERR, "Standard output could not be written.");
    return code;
}

const char *cli_value(const struct cli_arguments *arguments, size_t option)
{
    size_t count = arguments->counts[option];

    return count == 0 ? NULL : arguments->values[option][count - 1];
}

/* --- help ------------------------------------------------------------------------------------- */

static void print_option(const char *name, const char *value, const char *help)
{
    char left[128];

    snprintf(left, sizeof(left), "%s%s%s", name, value != NULL ? " " : "",
             value != NULL ? value : "");
    printf("      %-26s %s\n", left, help);
}

static void print_verb(const char *noun, const struct cli_verb *verb)
{
    printf("  latchpost %s%s%s%s%s\n      %s\n", noun, verb->name[0] != '\0' ? " " : "", verb->name,
           verb->operand != NULL ? " " : "", verb->operand != NULL ? verb->operand : "",
           verb->help);
    for (size_t i = 0; i < verb->option_count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "--%s", verb->options[i].name);
        print_option(name, verb->options[i].value, verb->options[i].help);
    }
}

static void print_shared(void)
{
    printf("\nAlways:\n");
    print_option("-c, --config", "FILE",
                 "else $LATCHPOST_CONFIG, else /etc/latchpost/latchpost.conf");
    print_option("--url", "URL", "a relay elsewhere, with a key, instead; else $LATCHPOST_URL");
    print_option("--key-file", "FILE",
                 "whose key, 0600, or - for standard input; else $LATCHPOST_KEY_FILE");
    print_option("--ca-file", "FILE",
                 "CAs to trust instead of the system's; else $LATCHPOST_CA_FILE");
    print_option("--json", NULL, "print the answer of the API");
    print_option("-h, --help", NULL, "print this");
}

static void print_help(const struct cli_noun *noun)
{
    printf("latchpost %s: %s\n\n", noun->name, noun->help);
    for (size_t i = 0; i < noun->verb_count; i++)
        print_verb(noun->name, &noun->verbs[i]);
    print_shared();
    printf(
        "\nExit codes (sysexits.h): 0 done, 64 misuse, 65 refused as wrong, unknown or in "
        "conflict, 66 a\nfile cannot be read, 69 the stores cannot be opened, the relay cannot be "
        "reached or the daemon is\nneeded, 75 try again later, 76 the answer makes no sense, 77 "
        "not permitted, 78 configuration.\n");
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reader {
    const struct cli_noun *noun;
    const struct cli_verb *verb;
    struct cli_arguments arguments;
    bool help;
};

static int misuse(const struct reader *reader, const char *format, const char *detail)
{
    char problem[256];

    snprintf(problem, sizeof(problem), format, detail);
    return cli_fail(EX_USAGE, "%s: see latchpost %s --help", problem, reader->noun->name);
}

/* The verb's options have the value 1000 and more, so that no letter is among them. */
#define OWN_OPTION 1000

static void make_options(const struct cli_verb *verb, struct option *options)
{
    static const struct option shared[SHARED_OPTIONS] = {
        { "config", required_argument, NULL, 'c' },   { "url", required_argument, NULL, 'u' },
        { "key-file", required_argument, NULL, 'k' }, { "ca-file", required_argument, NULL, 'a' },
        { "json", no_argument, NULL, 'j' },           { "help", no_argument, NULL, 'h' },
    };

    memcpy(options, shared, sizeof(shared));
    for (size_t i = 0; i < verb->option_count; i++)
        options[SHARED_OPTIONS + i] =
            (struct option){ verb->options[i].name,
                             verb->options[i].value != NULL ? required_argument : no_argument, NULL,
                             OWN_OPTION + (int)i };
    options[SHARED_OPTIONS + verb->option_count] = (struct option){ 0 };
}

static int take_own(struct reader *reader, size_t i, const char *value)
{
    const struct cli_option *option = &reader->verb->options[i];
    struct cli_arguments *arguments = &reader->arguments;

    if (arguments->counts[i] > 0 && !option->repeats && option->value != NULL)
        return misuse(reader, "--%s is given twice", option->name);
    arguments->values[i] =
        xrealloc(arguments->values[i], (arguments->counts[i] + 1) * sizeof(*arguments->values[i]));
    arguments->values[i][arguments->counts[i]++] = value;
    return EX_OK;
}

static int take_option(struct reader *reader, int option, char **argv)
{
    switch (option) {
    case 'c':
        reader->arguments.config = optarg;
        return EX_OK;
    case 'u':
        reader->arguments.url = optarg;
        return EX_OK;
    case 'k':
        reader->arguments.key_file = optarg;
        return EX_OK;
    case 'a':
        reader->arguments.ca_file = optarg;
        return EX_OK;
    case 'j':
        reader->arguments.json = true;
        return EX_OK;
    case 'h':
        reader->help = true;
        return EX_OK;
    case ':':
        return misuse(reader, "%s lacks its value", argv[optind - 1]);
    case '?':
        return misuse(reader, "%s is not an option here", argv[optind - 1]);
    default:
        return take_own(reader, (size_t)(option - OWN_OPTION), optarg);
    }
}

static int read_arguments(struct reader *reader, int argc, char **argv)
{
    struct option options[SHARED_OPTIONS + CLI_OPTIONS_MAX + 1];
    int code = EX_OK;

    assert(reader->verb->option_count <= CLI_OPTIONS_MAX);
    make_options(reader->verb, options);
    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (int option;
         code == EX_OK && (option = getopt_long(argc, argv, ":c:h", options, NULL)) != -1;)
        code = take_option(reader, option, argv);
    if (code != EX_OK || reader->help)
        return code;
    reader->arguments.operands = argv + optind;
    reader->arguments.operand_count = (size_t)(argc - optind);
    if (reader->arguments.operand_count < reader->verb->operands_min)
        return misuse(reader, "%s is missing", reader->verb->operand);
    if (reader->arguments.operand_count > reader->verb->operands_max)
        return misuse(reader, "\"%s\" is too much", argv[optind + (int)reader->verb->operands_max]);
    return EX_OK;
}

static int run(struct reader *reader, int argc, char **argv)
{
    int code = read_arguments(reader, argc, argv);

    if (code == EX_OK && reader->help)
        print_help(reader->noun);
    else if (code == EX_OK)
        code = reader->verb->run(&reader->arguments);
    for (size_t i = 0; i < reader->verb->option_count; i++)
        free(reader->arguments.values[i]);
    return cli_end(code);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

int cli_run(const struct cli_noun *noun, int argc, char **argv)
{
    struct reader reader = { .noun = noun };

    if (argc >= 2 && is_help(argv[1])) {
        print_help(noun);
        return cli_end(EX_OK);
    }
    if (noun->verbs[0].name[0] == '\0') {
        reader.verb = &noun->verbs[0];
        return run(&reader, argc, argv);
    }
    if (argc < 2)
        return cli_fail(EX_USAGE, "What about it? See latchpost %s --help", noun->name);
    for (size_t i = 0; i < noun->verb_count; i++)
        if (strcmp(noun->verbs[i].name, argv[1]) == 0)
            reader.verb = &noun->verbs[i];
    if (reader.verb == NULL)
        return misuse(&reader, "there is no verb \"%s\"", argv[1]);
    return run(&reader, argc - 1, argv + 1);
}
