/* client.c - where does the request go? To the control socket of the daemon or, when no daemon
 * runs, to the same endpoints in this process. Which of the two is decided by the lock on the state
 * directory and by nothing else: a socket that nobody answers may be a leftover, and a daemon that
 * starts or stops has the lock before and after it has the socket. So: connect; else take the lock;
 * else wait a little and begin again. Blocking sockets, one connection a request; what passed
 * through here may be a new key, so buffers are wiped, and jansson's memory with them. */
#include "relay/cli/client.h"

#include <errno.h>
#include <malloc.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/config.h"
#include "relay/state_lock.h"
#include "relay/user.h"
#include "relay/http/endpoints.h"

#define PATIENCE_S     30
#define RETRY_FOR_MS   5000
#define RETRY_EVERY_MS 100
#define ANSWER_MAX     (96u * 1024 * 1024) /* above what the API makes */

struct cli_client {
    struct config *config;
    bool json;
    unsigned patience_s;
    /* only when there is no daemon: */
    int lock; /* -1: there is one */
    struct auth *auth;
    struct queue *queue;
    struct mailbox answers;
    bool has_mailbox;
    struct api api;
};

struct reply {
    int status;
    struct buf body;
};

/* --- small things ----------------------------------------------------------------------------- */

static void wipe_and_free(void *memory)
{
    if (memory != NULL)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

int cli_exit_code(int status)
{
    static const struct {
        int status, code;
    } rows[] = {
        { 200, EX_OK },       { 201, EX_OK },       { 400, EX_DATAERR },  { 401, EX_NOPERM },
        { 403, EX_NOPERM },   { 404, EX_DATAERR },  { 405, EX_SOFTWARE }, { 409, EX_DATAERR },
        { 413, EX_DATAERR },  { 415, EX_SOFTWARE }, { 422, EX_DATAERR },  { 429, EX_TEMPFAIL },
        { 503, EX_TEMPFAIL }, { 507, EX_TEMPFAIL },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].code;
    return EX_SOFTWARE;
}

char *cli_encode(const char *text)
{
    char *out = xmalloc(strlen(text) * 3 + 1);
    size_t len = 0;

    for (; *text != '\0'; text++) {
        if (ascii_is_alnum(*text) || strchr("-._~", *text) != NULL)
            out[len++] = *text;
        else
            len += (size_t)sprintf(out + len, "%%%02X", (unsigned char)*text);
    }
    out[len] = '\0';
    return out;
}

static int64_t mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- by the socket ---------------------------------------------------------------------------- */

/* A connected socket, or -1 and errno. */
static int connect_control(const char *path, unsigned patience_s)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = (time_t)patience_s };

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool send_all(int fd, struct slice data)
{
    while (data.len > 0) {
        ssize_t sent = send(fd, data.data, data.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        data = slice_from(data, (size_t)sent);
    }
    return true;
}

static bool receive_all(int fd, struct buf *out)
{
    for (;;) {
        char *room = buf_reserve(out, 16 * 1024);
        if (room == NULL)
            return false;
        ssize_t got = recv(fd, room, 16 * 1024, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        buf_commit(out, (size_t)got);
    }
}

/* The answer of our own server: a status line, fields, an empty line, and a body to the end. */
static bool split_answer(struct slice whole, int *status, struct slice *body)
{
    uint64_t code;
    struct slice head = whole;

    if (!slice_starts_nocase(whole, SLICE("HTTP/1.1 ")) ||
        !slice_to_u64(slice_first(slice_from(whole, 9), 3), &code))
        return false;
    for (size_t at = 0; (at = slice_find(head, '\n')) != SLICE_NONE;) {
        head = slice_from(head, at + 1);
        if (head.len >= 2 && head.data[0] == '\r' && head.data[1] == '\n') {
            *status = (int)code;
            *body = slice_from(head, 2);
            return true;
        }
    }
    return false;
}

static bool exchange(int fd, const char *method, const char *target, const char *body,
                     struct reply *reply)
{
    bool ok = false;
    struct buf request, answer;
    struct slice content;

    buf_init(&request, ANSWER_MAX);
    buf_init(&answer, ANSWER_MAX);
    if (!buf_printf(&request,
                    "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                    method, target, body == NULL ? 0 : strlen(body), body == NULL ? "" : body))
        goto out;
    if (!send_all(fd, buf_slice(&request)) || !receive_all(fd, &answer))
        goto out;
    ok = split_answer(buf_slice(&answer), &reply->status, &content) &&
         buf_add(&reply->body, content);
out:
    buf_wipe(&request);
    buf_wipe(&answer);
    return ok;
}

/* --- in this process -------------------------------------------------------------------------- */

static void on_answer(void *owner, const struct api_answer *answer)
{
    struct reply *reply = owner;

    if (buf_add(&reply->body, answer->body))
        reply->status = answer->status;
    else
        reply->status = 500;
}

static void call_directly(struct cli_client *client, const char *method, const char *target,
                          const char *body, struct reply *reply)
{
    struct slice rest = slice_of(target);
    struct api_caller caller = { .is_operator = true };
    struct api_request request = {
        .method = slice_of(method),
        .path = slice_cut(&rest, '?'),
        .body = slice_of(body),
        .content_type = SLICE("application/json"),
    };

    request.query = rest;
    api_call(&client->api, &caller, &request, on_answer, reply);
    while (reply->status == 0) {
        queue_step(client->queue);
        mailbox_drain(&client->answers);
    }
}

static void wake_nobody(void *owner)
{
    (void)owner; /* the asker looks by itself */
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

static int open_stores(struct cli_client *client)
{
    struct why why = { "" };

    if (!auth_open(&client->auth, &client->config->auth, &why) ||
        !queue_open(&client->queue, &client->config->queue, &why))
        return cli_fail(EX_UNAVAILABLE, "%s", why.text);
    mailbox_init(&client->answers, wake_nobody, NULL);
    client->has_mailbox = true;
    client->api = (struct api){
        .auth = client->auth,
        .queue = client->queue,
        .answers = &client->answers,
        .version = LATCHPOST_VERSION,
    };
    return EX_OK;
}

/* --- which of the two ------------------------------------------------------------------------- */

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

/* Leaves client->lock at -1 when a daemon answers the socket. */
static int find_daemon(struct cli_client *client)
{
    const char *path = client->config->control_path;
    int64_t until_ms = mono_ms() + RETRY_FOR_MS;
    struct why why = { "" };

    for (;;) {
        int fd = connect_control(path, PATIENCE_S);
        if (fd >= 0) {
            close(fd);
            return EX_OK;
        }
        if (!nobody_listens(errno))
            return explain_connect(path, errno);
        int code = check_owner(client->config);
        if (code != EX_OK)
            return code;
        bool busy = false;
        client->lock = state_lock(client->config->state_dir, &busy, &why);
        if (client->lock >= 0)
            return open_stores(client);
        if (!busy)
            return cli_fail(EX_CANTCREAT, "%s", why.text);
        if (mono_ms() >= until_ms)
            return cli_fail(EX_TEMPFAIL,
                            "A process holds %s but nobody answers at %s: the daemon is starting "
                            "or stopping, or another command is running. Try again.",
                            client->config->state_dir, path);
        nanosleep(&(struct timespec){ .tv_nsec = RETRY_EVERY_MS * 1000000L }, NULL);
    }
}

int cli_open(struct cli_client **client, const struct cli_arguments *arguments)
{
    struct cli_client *fresh = xcalloc(1, sizeof(*fresh));
    struct why why = { "" };

    *client = NULL;
    json_set_alloc_funcs(malloc, wipe_and_free);
    log_configure(LOG_WARNING, LOG_LOGFMT); /* a command is no daemon: only what is wrong */
    fresh->lock = -1;
    fresh->json = arguments->json;
    fresh->patience_s = PATIENCE_S;
    int code = config_load_state(&fresh->config, arguments->config, &why)
                   ? find_daemon(fresh)
                   : cli_fail(EX_CONFIG, "%s", why.text);
    if (code == EX_OK)
        *client = fresh;
    else
        cli_close(fresh);
    return code;
}

void cli_close(struct cli_client *client)
{
    if (client == NULL)
        return;
    if (client->queue != NULL)
        queue_stop(client->queue);
    if (client->has_mailbox) {
        while (mailbox_drain(&client->answers) > 0) {
        }
        mailbox_destroy(&client->answers);
    }
    queue_free(client->queue);
    if (client->auth != NULL)
        auth_flush(client->auth);
    auth_close(client->auth);
    if (client->lock >= 0)
        close(client->lock); /* only now may a daemon start */
    config_free(client->config);
    free(client);
}

bool cli_has_daemon(const struct cli_client *client)
{
    return client->lock < 0;
}

void cli_set_patience(struct cli_client *client, unsigned seconds)
{
    client->patience_s = seconds;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask_daemon(struct cli_client *client, const char *method, const char *target,
                      const char *body, struct reply *reply)
{
    const char *path = client->config->control_path;
    int fd = connect_control(path, client->patience_s);

    if (fd < 0)
        return explain_connect(path, errno);
    bool ok = exchange(fd, method, target, body, reply);
    close(fd);
    if (!ok)
        return cli_fail(EX_TEMPFAIL,
                        "The daemon did not answer at %s. Whether it did what was asked is not "
                        "known: look before trying again.",
                        path);
    return EX_OK;
}

/* EX_OK and the envelope in *answer; else what the API refused is told. */
static int judge(const struct cli_client *client, const struct reply *reply, json_t **answer)
{
    struct slice text = buf_slice(&reply->body);
    json_t *json =
        json_loadb(text.data == NULL ? "" : text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    int code = cli_exit_code(reply->status);

    if (json == NULL)
        return cli_fail(EX_PROTOCOL, "The answer of the API cannot be read (status %d).",
                        reply->status);
    if (code == EX_OK) {
        *answer = json;
        return EX_OK;
    }
    if (client->json)
        cli_print_json(stdout, json);
    const char *message =
        json_string_value(json_object_get(json_object_get(json, "error"), "message"));
    cli_fail(code, "%s", message != NULL ? message : "The API refused that.");
    json_decref(json);
    return code;
}

int cli_ask(struct cli_client *client, const char *method, const char *target, json_t *body,
            json_t **answer)
{
    struct reply reply = { 0 };
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    int code = EX_OK;

    *answer = NULL;
    json_decref(body);
    buf_init(&reply.body, ANSWER_MAX);
    if (client->lock >= 0)
        call_directly(client, method, target, text, &reply);
    else
        code = ask_daemon(client, method, target, text, &reply);
    if (code == EX_OK)
        code = judge(client, &reply, answer);
    buf_wipe(&reply.body);
    free(text);
    return code;
}

int cli_ask_once(const struct cli_arguments *arguments, const char *method, const char *target,
                 json_t *body, json_t **answer)
{
    struct cli_client *client;
    int code = cli_open(&client, arguments);

    *answer = NULL;
    if (code != EX_OK) {
        json_decref(body);
        return code;
    }
    code = cli_ask(client, method, target, body, answer);
    cli_close(client);
    return code;
}
