/* main.c - which subcommand is this? */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/macros.h"
#include "relay/cli/cli.h"

static int run_version(int argc, char **argv);
static int run_help(int argc, char **argv);

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} subcommands[] = {
    { "serve", cli_serve, "run in the foreground; log to standard error" },
    { "check", cli_check, "is the configuration right?" },
    { "key", cli_key, "create | list | show | rotate | hold | release | revoke" },
    { "account", cli_account, "create | list | suspend | resume | plan" },
    { "domain", cli_domain, "add | verify | list | remove" },
    { "queue", cli_queue, "list | show | retry | hold | release | cancel | stats" },
    { "upstream", cli_upstream, "list | hold | release" },
    { "audit", cli_audit, "what was changed, and what was refused" },
    { "version", run_version, "print the version" },
    { "help", run_help, "print this" },
};

static void print_usage(FILE *out)
{
    fprintf(out, "usage: latchpost SUBCOMMAND [-c FILE] ...\n\n");
    for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
        fprintf(out, "  %-8s  %s\n", subcommands[i].name, subcommands[i].help);
    fprintf(out, "\nlatchpost SUBCOMMAND --help tells more.\n");
}

static int run_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("latchpost %s\n", LATCHPOST_VERSION);
    return cli_end(EX_OK);
}

static int run_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    print_usage(stdout);
    return cli_end(EX_OK);
}

/* "--version" and "--help" (or "-h") are what people try first. */
static const char *subcommand_name(const char *word)
{
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        return "help";
    return strcmp(word, "--version") == 0 ? "version" : word;
}

/* Whoever starts us may have closed the standard streams. Their numbers must not go to a database
 * or a connection, which would then get our log. Read-only, so that what is printed is an error. */
static void occupy_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    const char *name = argc < 2 ? "" : subcommand_name(argv[1]);

    occupy_standard_streams();
    for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
        if (strcmp(subcommands[i].name, name) == 0)
            return subcommands[i].run(argc - 1, argv + 1);
    print_usage(stderr);
    return EX_USAGE;
}
