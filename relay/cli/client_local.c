/* client_local.c - to the control socket of the daemon or, when no daemon runs, to the same
 * endpoints in this process? Which of the two is decided by the lock on the state directory and by
 * nothing else: a socket that nobody answers may be a leftover, and a daemon that starts or stops
 * has the lock before and after it has the socket. So: connect; else take the lock; else wait a
 * little and begin again. */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/cli/client_priv.h"
#include "relay/config.h"
#include "relay/state_lock.h"
#include "relay/user.h"

#define RETRY_FOR_MS   5000
#define RETRY_EVERY_MS 100

struct daemon_way {
    struct client_way way; /* first */
    struct config *config;
    struct client_door door;
};

static bool nobody_listens(int error)
{
    return error == ENOENT || error == ECONNREFUSED;
}

static int explain_connect(const char *path, int error)
{
    if (error == EACCES || error == EPERM)
        return cli_fail(EX_NOPERM,
                        "%s: not permitted. Run this as root or as the user of the daemon.", path);
    bool passes = nobody_listens(error) || error == EAGAIN; /* it ends or begins just now */
    return cli_fail(passes ? EX_TEMPFAIL : EX_UNAVAILABLE, "%s: %s", path, strerror(error));
}

/* --- the daemon ------------------------------------------------------------------------------- */

static int ask(struct client_way *way, const struct client_question *question,
               struct client_reply *reply)
{
    struct daemon_way *daemon = (struct daemon_way *)way;
    const char *path = daemon->door.socket_path;
    struct why why = { "" };
    int os_error;
    enum client_outcome outcome = client_http_ask(&daemon->door, question, reply, &why, &os_error);

    if (outcome == CLIENT_ANSWERED)
        return EX_OK;
    if (outcome == CLIENT_NONSENSE)
        return cli_fail(EX_PROTOCOL, "What answers at %s is no relay: %s", path, why.text);
    if (outcome == CLIENT_UNREACHED && os_error != 0)
        return explain_connect(path, os_error);
    return cli_fail(EX_TEMPFAIL,
                    "The daemon did not answer at %s: %s. Whether it did what was asked is not "
                    "known: look before trying again.",
                    path, why.text);
}

static void close_daemon(struct client_way *way)
{
    struct daemon_way *daemon = (struct daemon_way *)way;

    config_free(daemon->config);
    free(daemon);
}

static struct client_way *daemon_new(struct config **config)
{
    struct daemon_way *daemon = xcalloc(1, sizeof(*daemon));

    daemon->way = (struct client_way){
        .ask = ask, .close = close_daemon, .has_daemon = true, .answer_max = CLIENT_ANSWER_MAX
    };
    daemon->config = *config;
    *config = NULL;
    daemon->door = (struct client_door){ .socket_path = daemon->config->control_path,
                                         .base = "http://localhost" };
    return &daemon->way;
}

/* --- which of the two ------------------------------------------------------------------------- */

/* 0 when somebody listens, else the reason. */
static int probe(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int error = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
    close(fd);
    return error;
}

/* Files made by another user would lock the daemon out of its own directory, so root goes on as
 * that user. */
static int become_owner(const struct config *config)
{
    struct user user;
    struct why why = { "" };

    if (user_find(&user, config->user, config->state_dir, &why) &&
        user_own_folder(&user, config->state_dir, &why) && user_become(&user, false, &why))
        return EX_OK;
    return cli_fail(EX_NOPERM, "%s", why.text);
}

static int check_owner(const struct config *config)
{
    const char *state_dir = config->state_dir;
    struct stat status;

    if (geteuid() == 0)
        return become_owner(config);
    if (stat(state_dir, &status) != 0 || status.st_uid == geteuid())
        return EX_OK;
    const struct passwd *owner = getpwuid(status.st_uid);
    return cli_fail(EX_NOPERM,
                    "No daemon runs, and %s belongs to another user: run this as %s (sudo -u %s "
                    "latchpost ...).",
                    state_dir, owner != NULL ? owner->pw_name : "its owner",
                    owner != NULL ? owner->pw_name : "OWNER");
}

static int64_t mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int find(struct client_way **way, struct config **config)
{
    const char *path = (*config)->control_path, *state_dir = (*config)->state_dir;
    int64_t until_ms = mono_ms() + RETRY_FOR_MS;
    struct why why = { "" };

    for (;;) {
        int error = probe(path);
        if (error == 0) {
            *way = daemon_new(config);
            return EX_OK;
        }
        if (!nobody_listens(error))
            return explain_connect(path, error);
        int code = check_owner(*config);
        if (code != EX_OK)
            return code;
        bool busy = false;
        int lock = state_lock(state_dir, &busy, &why);
        if (lock >= 0)
            return client_open_direct(way, config, lock);
        if (!busy)
            return cli_fail(EX_CANTCREAT, "%s", why.text);
        if (mono_ms() >= until_ms)
            return cli_fail(EX_TEMPFAIL,
                            "A process holds %s but nobody answers at %s: the daemon is starting "
                            "or stopping, or another command is running. Try again.",
                            state_dir, path);
        nanosleep(&(struct timespec){ .tv_nsec = RETRY_EVERY_MS * 1000000L }, NULL);
    }
}

int client_open_local(struct client_way **way, const char *config_path)
{
    struct config *config = NULL;
    struct why why = { "" };
    int code = config_load_state(&config, config_path, &why) ? find(way, &config)
                                                             : cli_fail(EX_CONFIG, "%s", why.text);

    config_free(config); /* unless the way has it */
    return code;
}
