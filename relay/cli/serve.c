/* serve.c - run the relay in the foreground. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "relay/cli/cli.h"
#include "relay/daemon.h"

static const char usage[] =
    "usage: latchpost serve [-c FILE]\n"
    "\n"
    "Runs in the foreground and logs to standard error. SIGTERM finishes what is under way and "
    "ends,\n"
    "SIGHUP reads the configuration and certificates again.\n"
    "\n"
    "  -c, --config FILE   the configuration (else $LATCHPOST_CONFIG, else\n"
    "                      /etc/latchpost/latchpost.conf)\n"
    "  -h, --help          this text\n";

int cli_serve(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    const char *path = NULL;
    struct config *config;
    struct why why = { "" };
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'c') {
            path = optarg;
        } else if (option == 'h') {
            fputs(usage, stdout);
            return cli_end(EX_OK);
        } else {
            fputs(usage, stderr);
            return EX_USAGE;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "latchpost serve: '%s' is too much\n%s", argv[optind], usage);
        return EX_USAGE;
    }
    if (!config_load(&config, path, &why))
        return cli_fail(EX_CONFIG, "%s", why.text);
    return daemon_run(config);
}
