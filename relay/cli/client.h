/* client.h - one command's way to the API: the control socket, a relay elsewhere, or this process.
 * Failures are told on standard error by the function that met them (with --json the API's refusal
 * is printed on standard output, too) and come as an exit code of sysexits.h. */
#ifndef LATCHPOST_CLIENT_H
#define LATCHPOST_CLIENT_H

#include "relay/cli/cli.h"

struct cli_client;

/* With a URL (--url, or $LATCHPOST_URL when no configuration is named): makes ready to ask there,
 * with the key of a file. Else reads the configuration, then finds the daemon, or, where none runs,
 * opens the state directory itself, which until cli_close() keeps a daemon from starting. EX_OK, or
 * *client is NULL. */
int cli_open(struct cli_client **client, const struct cli_arguments *arguments);
void cli_close(struct cli_client *client); /* accepts NULL */

/* Is there a daemon, or is this process its stand-in? */
bool cli_has_daemon(const struct cli_client *client);

/* How long an answer may take: 30 s unless set. */
void cli_set_patience(struct cli_client *client, unsigned seconds);

/* One request: a method, a path with its query, and an object that is consumed (NULL: no body).
 * EX_OK: *answer is the whole envelope, the caller's to decref. */
int cli_ask(struct cli_client *client, const char *method, const char *target, json_t *body,
            json_t **answer);

/* open, ask, close: for commands with one question. */
int cli_ask_once(const struct cli_arguments *arguments, const char *method, const char *target,
                 json_t *body, json_t **answer);

/* The same for a list, with all its pages as one answer (pages.c). */
int cli_ask_all(const struct cli_arguments *arguments, const char *target, json_t **answer);

/* "%40" for "@" and the like: a text as part of a path or query. The caller frees. */
char *cli_encode(const char *text);

/* 404 and 422 are the asker's mistake, 503 is not: status to exit code. Success is 200 to 299. */
int cli_exit_code(int status);

#endif
