/* daemon.h - one process lifetime: open the stores, start writer and workers, serve until a signal,
 * drain, stop in reverse order. Main thread. */
#ifndef LATCHPOST_DAEMON_H
#define LATCHPOST_DAEMON_H

#include "relay/config.h"

/* Serves until SIGTERM or SIGINT. Takes over the configuration; SIGHUP reads it again from the same
 * path. Returns an exit code of sysexits.h; when it could not start, the reason was logged. */
int daemon_run(struct config *config);

#endif
