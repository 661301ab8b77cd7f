/* sink.c - where does the mail of the benchmark end, and was all of it whole?
 * An SMTP server that stores nothing but a bit for each message that arrived whole. It is the
 * upstream of the relay under test, and, with --discard, the thing under test itself: no relay can
 * accept faster than a server that forgets. One thread; one run is counted at a time.
 *
 * Control, lines on standard input, one line of JSON as the answer to each:
 *   begin RUN             forget all, count messages of this run; {"run":RUN}
 *   wait COUNT MS         when COUNT are here, or after MS milliseconds: the report
 *   report COUNT          the report now; COUNT ids, from 0, are expected
 *   open                  listen now (see --closed); {"open":true}
 * The end of standard input, or SIGTERM, ends the sink; its last words are a report. */
#include "tests/bench/sink_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/alloc.h"

#define EVENTS       256
#define ACCEPT_BATCH 64 /* so that a crowd at the door does not starve those inside */

enum door_kind { DOOR_PLAIN, DOOR_TLS, DOOR_SASL };

struct door { /* a listening socket */
    struct source source;
    struct sink *sink;
    enum door_kind kind;
    int fd; /* -1: there is none */
};

struct control { /* standard input, and what it waits for */
    struct source source;
    struct source on_signal;
    struct sink *sink;
    struct door *doors; /* for "open" */
    struct buf line;
    bool waiting;
    uint64_t wait_count;
    int64_t wait_until_ns;
    bool stop;
};

struct options {
    const char *host;
    uint16_t port;
    uint16_t tls_port;
    const char *sasl_path;
    bool has_tls_port, tls, discard, closed;
};

int64_t sink_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- reports --------------------------------------------------------------------------------- */

static double cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void report(const struct sink *sink, uint64_t expected)
{
    const struct tally *tally = &sink->tally;

    printf("{\"run\":%llu,\"received\":%llu,\"unique\":%llu,\"duplicates\":%llu,\"corrupt\":%llu,"
           "\"foreign\":%llu,\"missing\":%llu,\"connections\":%llu,\"first_ns\":%lld,"
           "\"last_ns\":%lld,\"cpu_s\":%.6f}\n",
           (unsigned long long)sink->run, (unsigned long long)tally->received,
           (unsigned long long)tally->unique, (unsigned long long)tally->duplicates,
           (unsigned long long)tally->corrupt, (unsigned long long)tally->foreign,
           (unsigned long long)tally_missing(tally, expected),
           (unsigned long long)sink->connections, (long long)tally->first_ns,
           (long long)tally->last_ns, cpu_s());
    fflush(stdout);
}

/* --- listening ------------------------------------------------------------------------------- */

static void on_door(struct source *source, unsigned events)
{
    struct door *door = container_of(source, struct door, source);
    int one = 1;

    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return; /* none waits, or one left again: the next event tells */
        if (door->kind == DOOR_SASL) {
            sink_sasl_start(door->sink, fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        sink_session_start(door->sink, fd, door->kind == DOOR_TLS);
    }
}

static bool door_listen(struct door *door)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &door->source };

    return listen(door->fd, SOMAXCONN) == 0 &&
           epoll_ctl(door->sink->epoll, EPOLL_CTL_ADD, door->fd, &event) == 0;
}

/* Binds, so that the port is ours and known, but does not listen yet: it refuses connections. */
static bool door_bind_tcp(struct door *door, const char *host, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    int one = 1;

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return false;
    door->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return door->fd >= 0 &&
           setsockopt(door->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
           bind(door->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool door_bind_unix(struct door *door, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    door->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path);
    return door->fd >= 0 && bind(door->fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           chmod(path, 0666) == 0;
}

static unsigned door_port(const struct door *door)
{
    struct sockaddr_in address = { 0 };
    socklen_t len = sizeof(address);

    if (door->fd < 0 || getsockname(door->fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.sin_port);
}

/* --- control --------------------------------------------------------------------------------- */

static void do_begin(struct control *control, uint64_t run, uint64_t unused)
{
    (void)unused;
    control->sink->run = run;
    control->sink->connections = 0;
    tally_clear(&control->sink->tally);
    printf("{\"run\":%llu}\n", (unsigned long long)run);
}

static void do_wait(struct control *control, uint64_t count, uint64_t timeout_ms)
{
    control->waiting = true;
    control->wait_count = count;
    control->wait_until_ns = sink_now_ns() + (int64_t)timeout_ms * 1000000;
}

static void do_report(struct control *control, uint64_t count, uint64_t unused)
{
    (void)unused;
    report(control->sink, count);
}

static void do_open(struct control *control, uint64_t unused, uint64_t unused_too)
{
    (void)unused, (void)unused_too;
    bool ok = door_listen(&control->doors[DOOR_PLAIN]);
    printf("{\"open\":%s}\n", ok ? "true" : "false");
}

static const struct {
    const char *name;
    void (*run)(struct control *control, uint64_t first, uint64_t second);
} controls[] = {
    { "begin", do_begin },
    { "wait", do_wait },
    { "report", do_report },
    { "open", do_open },
};

static void control_line(struct control *control, struct slice line)
{
    struct slice name = slice_cut(&line, ' ');
    uint64_t first = 0, second = 0;
    struct slice word = slice_cut(&line, ' ');
    bool ok = (word.len == 0 || slice_to_u64(word, &first)) &&
              (line.len == 0 || slice_to_u64(line, &second));

    for (size_t i = 0; ok && i < ARRAY_LEN(controls); i++)
        if (slice_equal(name, slice_of(controls[i].name))) {
            controls[i].run(control, first, second);
            fflush(stdout);
            return;
        }
    printf("{\"error\":\"unknown command\"}\n");
    fflush(stdout);
}

static void on_control(struct source *source, unsigned events)
{
    struct control *control = container_of(source, struct control, source);
    char *room = buf_reserve(&control->line, 1024);
    ssize_t n = room == NULL ? 0 : read(STDIN_FILENO, room, 1024);
    size_t end;

    (void)events;
    if (n <= 0) {
        control->stop = true;
        return;
    }
    buf_commit(&control->line, (size_t)n);
    while ((end = slice_find(buf_slice(&control->line), '\n')) != SLICE_NONE) {
        control_line(control, slice_first(buf_slice(&control->line), end));
        buf_consume(&control->line, end + 1);
    }
}

static void on_signal(struct source *source, unsigned events)
{
    struct control *control = container_of(source, struct control, on_signal);

    (void)events;
    control->stop = true;
}

/* Without a standard input that epoll can watch (a file, /dev/null) only signals control us. */
static bool control_start(struct control *control)
{
    struct epoll_event input = { .events = EPOLLIN, .data.ptr = &control->source };
    struct epoll_event ending = { .events = EPOLLIN, .data.ptr = &control->on_signal };
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC);
    control->source.on_event = on_control;
    control->on_signal.on_event = on_signal;
    buf_init(&control->line, 4096);
    if (epoll_ctl(control->sink->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0 && errno != EPERM)
        return false;
    return fd >= 0 && epoll_ctl(control->sink->epoll, EPOLL_CTL_ADD, fd, &ending) == 0;
}

/* Answers a "wait" whose time has come; returns how long epoll may sleep. */
static int control_check(struct control *control)
{
    if (!control->waiting)
        return -1;
    int64_t left_ns = control->wait_until_ns - sink_now_ns();
    if (control->sink->tally.unique < control->wait_count && left_ns > 0)
        return (int)(left_ns / 1000000) + 1;
    control->waiting = false;
    report(control->sink, control->wait_count);
    return -1;
}

/* --- start ----------------------------------------------------------------------------------- */

static void serve(struct sink *sink, struct control *control)
{
    struct epoll_event events[EVENTS];

    while (!control->stop) {
        int count = epoll_wait(sink->epoll, events, EVENTS, control_check(control));
        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            source->on_event(source, events[i].events);
        }
    }
    report(sink, 0);
}

static bool open_doors(struct sink *sink, struct door doors[static 3],
                       const struct options *options)
{
    for (int kind = DOOR_PLAIN; kind <= DOOR_SASL; kind++)
        doors[kind] = (struct door){ { on_door }, sink, (enum door_kind)kind, -1 };
    if (!door_bind_tcp(&doors[DOOR_PLAIN], options->host, options->port))
        return false;
    if (!options->closed && !door_listen(&doors[DOOR_PLAIN]))
        return false;
    if (options->has_tls_port &&
        (!door_bind_tcp(&doors[DOOR_TLS], options->host, options->tls_port) ||
         !door_listen(&doors[DOOR_TLS])))
        return false;
    return options->sasl_path == NULL || (door_bind_unix(&doors[DOOR_SASL], options->sasl_path) &&
                                          door_listen(&doors[DOOR_SASL]));
}

static const char usage[] =
    "usage: sink [--host 127.0.0.1] [--port N] [--tls] [--tls-port N] [--sasl PATH]\n"
    "            [--discard] [--closed]\n"
    "  --port N      SMTP here; 0 (default): any free port, named in the first line of output\n"
    "  --tls         offer STARTTLS\n"
    "  --tls-port N  and TLS from the first byte here\n"
    "  --sasl PATH   answer Dovecot's authentication protocol on this Unix socket\n"
    "  --discard     check nothing: the floor\n"
    "  --closed      refuse connections until the control command \"open\"\n";

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        { "host", required_argument, NULL, 'h' }, { "port", required_argument, NULL, 'p' },
        { "tls", no_argument, NULL, 't' },        { "tls-port", required_argument, NULL, 'T' },
        { "sasl", required_argument, NULL, 's' }, { "discard", no_argument, NULL, 'd' },
        { "closed", no_argument, NULL, 'c' },     { NULL, 0, NULL, 0 },
    };
    int letter;

    *options = (struct options){ .host = "127.0.0.1" };
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'h':
            options->host = optarg;
            break;
        case 'p':
            options->port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 't':
            options->tls = true;
            break;
        case 'T':
            options->tls = options->has_tls_port = true;
            options->tls_port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            options->sasl_path = optarg;
            break;
        case 'd':
            options->discard = true;
            break;
        case 'c':
            options->closed = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options options;
    struct door doors[3];

    if (!parse_options(argc, argv, &options)) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    struct sink *sink = xcalloc(1, sizeof(*sink));
    struct control control = { .sink = sink, .doors = doors };
    signal(SIGPIPE, SIG_IGN);
    sink->epoll = epoll_create1(EPOLL_CLOEXEC);
    sink->discard = options.discard;
    tally_init(&sink->tally);
    buf_init(&sink->replies, 1024 * 1024);
    if (options.tls && (sink->tls = wire_tls_server()) == NULL) {
        fputs("sink: OpenSSL cannot make a certificate\n", stderr);
        return EX_SOFTWARE;
    }
    if (!control_start(&control) || !open_doors(sink, doors, &options)) {
        fprintf(stderr, "sink: cannot listen: %s\n", strerror(errno));
        return EX_OSERR;
    }
    printf("{\"ready\":true,\"port\":%u,\"tls_port\":%u}\n", door_port(&doors[DOOR_PLAIN]),
           door_port(&doors[DOOR_TLS]));
    fflush(stdout);
    serve(sink, &control);
    buf_free(&control.line);
    buf_free(&sink->replies);
    tally_free(&sink->tally);
    wire_tls_free(sink->tls);
    free(sink);
    return 0;
}
