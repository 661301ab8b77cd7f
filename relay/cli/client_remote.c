/* client_remote.c - the API of a relay on another machine: its URL, and a key from a file.
 * The key is never an argument, nor in the environment: both can be read by others. It comes from a
 * file that is ours alone, or from standard input, is kept in one place, and is wiped from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/auth.h"
#include "relay/base/alloc.h"
#include "relay/cli/client_priv.h"

#define KEY_FILE_MAX 256 /* a key and the blanks around it */

struct remote {
    struct client_way way; /* first */
    struct client_door door;
    char *base;
    char key[AUTH_KEY_TEXT_BYTES];
};

/* --- the key ---------------------------------------------------------------------------------- */

static int check_key_file(int fd, const char *path)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return cli_fail(EX_CONFIG, "%s is no file; \"-\" reads the key from standard input.", path);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return cli_fail(EX_CONFIG, "%s belongs to another user.", path);
    if ((info.st_mode & 077) != 0)
        return cli_fail(EX_CONFIG,
                        "%s may be used by group or others (mode %04o): run chmod 600 %s", path,
                        (unsigned)info.st_mode & 07777, path);
    return EX_OK;
}

/* All there is, up to `size`; -1 and errno. */
static ssize_t read_all(int fd, char *room, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t got = read(fd, room + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

/* Nothing but its characters may stand there: it goes into the head of a request. */
static bool take_key(struct slice text, char key[static AUTH_KEY_TEXT_BYTES])
{
    struct slice bare = slice_trim(text);

    while (bare.len > 0 && strchr("\r\n", bare.data[bare.len - 1]) != NULL)
        bare = slice_trim(slice_first(bare, bare.len - 1));
    if (bare.len == 0 || bare.len >= AUTH_KEY_TEXT_BYTES)
        return false;
    for (size_t i = 0; i < bare.len; i++)
        if (!ascii_is_alnum(bare.data[i]) && bare.data[i] != '_')
            return false;
    memcpy(key, bare.data, bare.len);
    key[bare.len] = '\0';
    return true;
}

static int read_key(int fd, const char *name, char key[static AUTH_KEY_TEXT_BYTES])
{
    char room[KEY_FILE_MAX];
    int code = EX_OK;
    ssize_t len = read_all(fd, room, sizeof(room));

    if (len < 0)
        code = cli_fail(EX_NOINPUT, "%s: %s", name, strerror(errno));
    else if (!take_key(slice_make(room, (size_t)len), key))
        code = cli_fail(EX_CONFIG, "%s holds no API key, or more than that.", name);
    explicit_bzero(room, sizeof(room));
    return code;
}

static int load_key(const char *path, char key[static AUTH_KEY_TEXT_BYTES])
{
    if (strcmp(path, "-") == 0)
        return read_key(STDIN_FILENO, "Standard input", key);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    int code = check_key_file(fd, path);
    if (code == EX_OK)
        code = read_key(fd, path, key);
    close(fd);
    return code;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask(struct client_way *way, const struct client_question *question,
               struct client_reply *reply)
{
    struct remote *remote = (struct remote *)way;
    struct why why = { "" };
    int os_error;

    switch (client_http_ask(&remote->door, question, reply, &why, &os_error)) {
    case CLIENT_ANSWERED:
        break;
    case CLIENT_UNREACHED:
        return cli_fail(EX_UNAVAILABLE, "%s cannot be reached: %s", remote->base, why.text);
    case CLIENT_UNANSWERED:
        return cli_fail(EX_TEMPFAIL,
                        "%s did not answer: %s. Whether it did what was asked is not known: look "
                        "before trying again.",
                        remote->base, why.text);
    case CLIENT_NONSENSE:
        return cli_fail(EX_PROTOCOL, "%s is no relay: %s", remote->base, why.text);
    }
    if (reply->status >= 300 && reply->status < 400)
        return cli_fail(EX_PROTOCOL,
                        "%s answers with a redirect (status %d), which is not followed, as the key "
                        "is for nobody else. Give the URL of the relay itself.",
                        remote->base, reply->status);
    return EX_OK;
}

static void close_remote(struct client_way *way)
{
    struct remote *remote = (struct remote *)way;

    explicit_bzero(remote->key, sizeof(remote->key));
    free(remote->base);
    free(remote);
}

int client_open_remote(struct client_way **way, const struct client_remote_options *options)
{
    struct remote *remote = xcalloc(1, sizeof(*remote));
    struct why why = { "" };
    int code = EX_OK;

    remote->way = (struct client_way){
        .ask = ask, .close = close_remote, .has_daemon = true, .answer_max = CLIENT_REMOTE_MAX
    };
    if (!client_http_base(options->url, &remote->base, &why))
        code = cli_fail(EX_USAGE, "%s", why.text);
    else if (options->ca_file != NULL && access(options->ca_file, R_OK) != 0)
        code = cli_fail(EX_NOINPUT, "%s: %s", options->ca_file, strerror(errno));
    else
        code = load_key(options->key_file, remote->key);
    if (code != EX_OK) {
        close_remote(&remote->way);
        return code;
    }
    remote->door = (struct client_door){ .base = remote->base,
                                         .key = remote->key,
                                         .ca_file = options->ca_file };
    *way = &remote->way;
    return EX_OK;
}
