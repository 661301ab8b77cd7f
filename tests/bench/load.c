/* load.c - how many messages a second does this server take, and how long does each wait for its
 * 250? A closed loop: each session sends its next message when the one before was accepted, so the
 * load is what the server can take with that many clients (or --rate). Sessions that are kept log
 * in before the clock starts. One thread, a few system calls a message: on the two cores that it
 * shares with the server it measures, what it takes is missing there.
 *
 * Prints one line of JSON; times are CLOCK_MONOTONIC, so that a sink's can be compared. */
#include "tests/bench/load_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/base64.h"

#define EVENTS             256
#define CONNECTING_AT_ONCE 64 /* kept sessions; a larger crowd would overflow a backlog */

int64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* --- the loop -------------------------------------------------------------------------------- */

/* One round of events, waiting at most so long. False: none came. */
static bool handle_events(struct load *load, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(load->epoll, events, EVENTS, timeout_ms);

    for (int i = 0; i < count; i++)
        load_session_event(events[i].data.ptr, events[i].events);
    return count > 0;
}

static int stall_ms(const struct load *load)
{
    return (int)(load->options->stall_s * 1000);
}

static void note_stall(struct load *load)
{
    if (load->errors++ == 0)
        snprintf(load->first_error, sizeof(load->first_error), "nothing happened for %.0f s",
                 load->options->stall_s);
}

/* Kept sessions: connects and logs in, not too many at once. False: one failed. */
static bool log_all_in(struct load *load)
{
    const size_t count = load->options->sessions;

    while (load->ready < count && load->errors == 0) {
        while (load->started < count && load->started - load->ready < CONNECTING_AT_ONCE &&
               load->errors == 0)
            load_session_start(load, load->started++);
        if (load->errors == 0 && load->ready < load->started &&
            !handle_events(load, stall_ms(load)))
            note_stall(load);
    }
    return load->errors == 0;
}

static void start_clock(struct load *load)
{
    load->phase = LOAD_SENDING;
    load->start_ns = load->last_ns = load_now_ns();
    if (load->options->seconds > 0)
        load->deadline_ns = load->start_ns + (int64_t)(load->options->seconds * 1e9);
}

/* Those that the rate held back and whose turn has come. */
static void wake_waiting(struct load *load)
{
    while (!list_is_empty(&load->waiting) && !load_must_wait(load))
        load_session_go(load_session_waiting(load->waiting.next));
}

static void send_all(struct load *load)
{
    int64_t quiet_since_ns = load_now_ns();

    while (load->errors < load->options->error_max) {
        bool waiting = !list_is_empty(&load->waiting);
        if (load->open == 0 && !waiting)
            return;
        if (handle_events(load, waiting ? 1 : stall_ms(load))) {
            quiet_since_ns = load_now_ns();
        } else if (load->open > 0 &&
                   load_now_ns() - quiet_since_ns >= (int64_t)(load->options->stall_s * 1e9)) {
            note_stall(load);
            return;
        }
        wake_waiting(load);
    }
}

/* Stays until standard input ends; a session that the server ends before counts as an error. */
static void stay(struct load *load)
{
    struct load_session *input = load_session_at(load->sessions, load->options->sessions);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = input };
    struct epoll_event events[EVENTS];
    char ignored[256];

    printf("{\"ready\":%zu,\"tls\":\"%s\"}\n", load->ready,
           load->tls_version == NULL ? "none" : load->tls_version);
    fflush(stdout);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
        return;
    for (;;) {
        int count = epoll_wait(load->epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr != input)
                load_session_event(events[i].data.ptr, events[i].events);
            else if (read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
                return;
    }
}

static void run(struct load *load)
{
    const struct load_options *options = load->options;

    if (!options->fresh && !log_all_in(load))
        return;
    if (options->idle) {
        stay(load);
        return;
    }
    start_clock(load);
    for (size_t i = 0; i < options->sessions; i++)
        if (options->fresh)
            load_session_start(load, i);
        else
            load_session_go(load_session_at(load->sessions, i));
    send_all(load);
}

/* --- the report ------------------------------------------------------------------------------ */

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < 0x20 || *text == 0x7f || (*text & 0x80) ? '?' : *text);
    putchar('"');
}

static double rank_us(const struct load *load, double percent)
{
    return (double)samples_rank(&load->dot, percent) / 1000;
}

/* How evenly were the sessions served? */
static void print_fairness(const struct load *load)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (size_t i = 0; i < load->options->sessions; i++) {
        uint64_t accepted = load_session_accepted(load->sessions, i);
        least = accepted < least ? accepted : least;
        most = accepted > most ? accepted : most;
    }
    printf("\"session_least\":%llu,\"session_most\":%llu,", (unsigned long long)least,
           (unsigned long long)most);
}

static void report(struct load *load, double used_s)
{
    double seconds = (double)(load->last_ns - load->start_ns) / 1e9;
    double accepted = (double)load->accepted;

    samples_sort(&load->dot);
    printf("{\"accepted\":%llu,\"seconds\":%.6f,\"rate\":%.1f,", (unsigned long long)load->accepted,
           seconds, seconds > 0 ? accepted / seconds : 0);
    printf("\"dot_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},",
           rank_us(load, 50), rank_us(load, 90), rank_us(load, 99), rank_us(load, 99.9),
           rank_us(load, 100));
    print_fairness(load);
    printf("\"sessions\":%zu,\"connections\":%llu,\"message_bytes\":%zu,\"tls\":\"%s\",",
           load->options->sessions, (unsigned long long)load->connections, mail_size(load->maker),
           load->tls_version == NULL ? "none" : load->tls_version);
    printf("\"start_ns\":%lld,\"last_ns\":%lld,\"cpu_s\":%.6f,\"cpu_us_per_message\":%.2f,",
           (long long)load->start_ns, (long long)load->last_ns, used_s,
           accepted > 0 ? used_s * 1e6 / accepted : 0);
    printf("\"errors\":%llu,\"first_error\":", (unsigned long long)load->errors);
    print_json_text(load->first_error);
    printf("}\n");
}

/* --- start ----------------------------------------------------------------------------------- */

/* "AUTH PLAIN" with its initial response (RFC 4616). */
static bool format_auth_plain(const char *username, const char *password, struct buf *out)
{
    struct buf plain;

    buf_init(&plain, 2048);
    bool ok = buf_add_byte(&plain, '\0') && buf_add(&plain, slice_of(username)) &&
              buf_add_byte(&plain, '\0') && buf_add(&plain, slice_of(password)) &&
              buf_add(out, SLICE("AUTH PLAIN ")) && base64_encode(buf_slice(&plain), out) &&
              buf_add(out, SLICE("\r\n"));
    buf_wipe(&plain);
    return ok;
}

/* The password is the first line of a file. */
static bool prepare_auth(struct load *load)
{
    const struct load_options *options = load->options;
    char password[512];
    bool ok = false;

    buf_init(&load->auth, 4096);
    if (options->password_file == NULL)
        return true;
    FILE *file =
        strcmp(options->password_file, "-") == 0 ? stdin : fopen(options->password_file, "re");
    if (file == NULL)
        return false;
    if (fgets(password, sizeof(password), file) != NULL) {
        password[strcspn(password, "\r\n")] = '\0';
        ok = options->http ? buf_printf(&load->auth, "Authorization: Bearer %s\r\n", password)
                           : format_auth_plain(options->username, password, &load->auth);
    }
    if (file != stdin)
        fclose(file);
    return ok;
}

static bool prepare(struct load *load)
{
    const struct load_options *options = load->options;

    list_init(&load->waiting);
    samples_init(&load->dot);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->maker = mail_maker_new(&options->mail);
    load->flight = xmalloc(options->http ? load_http_max(load->maker)
                                         : mail_wire_max(load->maker) + 2 * MAIL_COMMAND_MAX);
    load->scratch = xmalloc(mail_wire_max(load->maker));
    /* One more than is used: its address stands for standard input in epoll. */
    load->sessions = load_sessions_new(load, options->sessions + 1);
    load->tls = options->tls == LOAD_PLAIN ? NULL : wire_tls_client(options->resume);
    if (load->epoll < 0 || (options->tls != LOAD_PLAIN && load->tls == NULL)) {
        fputs("load: no epoll or no OpenSSL\n", stderr);
        return false;
    }
    if (!prepare_auth(load)) {
        fprintf(stderr, "load: %s: no password: %s\n", options->password_file, strerror(errno));
        return false;
    }
    return true;
}

static void finish(struct load *load)
{
    for (size_t i = 0; i < load->options->sessions; i++)
        load_session_close(load_session_at(load->sessions, i));
    wire_tls_free(load->tls);
    mail_maker_free(load->maker);
    samples_free(&load->dot);
    buf_wipe(&load->auth);
    free(load->sessions);
    free(load->flight);
    free(load->scratch);
    close(load->epoll);
}

/* --- options --------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: load [options] ADDRESS:PORT\n"
    "  --sessions N          open at once (1)\n"
    "  --messages N          in all; or\n"
    "  --seconds S           as many as fit in this time\n"
    "  --size BYTES          of a message (5120)\n"
    "  --fresh               a connection for each message; else sessions are kept\n"
    "  --tls none|starttls|implicit\n"
    "  --http                POST /v1/emails instead of SMTP, without TLS\n"
    "  --resume              allow session tickets\n"
    "  --no-pipelining       wait for the reply to each command\n"
    "  --rate R              messages a second in all, no more\n"
    "  --idle                log in, print {\"ready\":N}, stay until standard input ends\n"
    "  --user NAME           for AUTH PLAIN (bench)\n"
    "  --password-file FILE  its first line is the password; - is standard input; else no AUTH\n"
    "  --from ADDRESS        sender, envelope and header (bench@bench.example)\n"
    "  --rcpt ADDRESS        recipient; {id} in it becomes the message's id ({id}@sink.example)\n"
    "  --run N               number in each message, for the sink (1)\n"
    "  --first-id N          ids of messages count up from here (0)\n"
    "  --stall S             give up when nothing happens for so long (20)\n"
    "  --max-errors N        give up after so many (100)\n";

static bool parse_server(const char *text, struct sockaddr_in *server)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (colon == NULL || (size_t)(colon - text) >= sizeof(host) ||
        !slice_to_u64(slice_of(colon + 1), &port) || port == 0 || port > UINT16_MAX)
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    *server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    return inet_pton(AF_INET, host, &server->sin_addr) == 1;
}

static bool parse_tls(const char *word, enum load_tls *tls)
{
    static const char *const words[] = {
        [LOAD_PLAIN] = "none",
        [LOAD_STARTTLS] = "starttls",
        [LOAD_IMPLICIT] = "implicit",
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *tls = (enum load_tls)i;
            return true;
        }
    return false;
}

static bool set_number(uint64_t *value)
{
    return slice_to_u64(slice_of(optarg), value);
}

static bool set_seconds(double *value)
{
    char *end;

    *value = strtod(optarg, &end);
    return *optarg != '\0' && *end == '\0' && *value >= 0;
}

static bool set_size(size_t *value)
{
    uint64_t number;
    bool ok = slice_to_u64(slice_of(optarg), &number) && number <= 1024 * 1024 * 1024;

    *value = ok ? (size_t)number : 0;
    return ok;
}

static bool set_address(const char **value)
{
    *value = optarg;
    return strlen(optarg) < MAIL_COMMAND_MAX / 2;
}

static bool set_option(struct load_options *options, int letter)
{
    switch (letter) {
    case 's':
        return set_size(&options->sessions) && options->sessions > 0;
    case 'm':
        return set_number(&options->messages);
    case 'S':
        return set_seconds(&options->seconds);
    case 'z':
        return set_size(&options->mail.size_bytes);
    case 'f':
        return options->fresh = true;
    case 't':
        return parse_tls(optarg, &options->tls);
    case 'R':
        return options->resume = true;
    case 'h':
        return options->http = true;
    case 'n':
        options->pipeline = false;
        return true;
    case 'r':
        return set_seconds(&options->rate);
    case 'i':
        return options->idle = true;
    case 'u':
        return set_address(&options->username);
    case 'p':
        options->password_file = optarg;
        return true;
    case 'F':
        return set_address(&options->mail.from);
    case 'T':
        return set_address(&options->mail.rcpt);
    case 'N':
        return set_number(&options->mail.run);
    case 'I':
        return set_number(&options->first_id);
    case 'w':
        return set_seconds(&options->stall_s);
    case 'e':
        return set_number(&options->error_max);
    default:
        return false;
    }
}

static bool parse_options(int argc, char **argv, struct load_options *options)
{
    static const struct option names[] = {
        { "sessions", required_argument, NULL, 's' },
        { "messages", required_argument, NULL, 'm' },
        { "seconds", required_argument, NULL, 'S' },
        { "size", required_argument, NULL, 'z' },
        { "fresh", no_argument, NULL, 'f' },
        { "tls", required_argument, NULL, 't' },
        { "resume", no_argument, NULL, 'R' },
        { "http", no_argument, NULL, 'h' },
        { "no-pipelining", no_argument, NULL, 'n' },
        { "rate", required_argument, NULL, 'r' },
        { "idle", no_argument, NULL, 'i' },
        { "user", required_argument, NULL, 'u' },
        { "password-file", required_argument, NULL, 'p' },
        { "from", required_argument, NULL, 'F' },
        { "rcpt", required_argument, NULL, 'T' },
        { "run", required_argument, NULL, 'N' },
        { "first-id", required_argument, NULL, 'I' },
        { "stall", required_argument, NULL, 'w' },
        { "max-errors", required_argument, NULL, 'e' },
        { NULL, 0, NULL, 0 },
    };
    int letter;

    *options = (struct load_options){
        .sessions = 1,
        .pipeline = true,
        .stall_s = 20,
        .error_max = 100,
        .username = "bench",
        .mail = { "bench@bench.example", "{id}@sink.example", 1, 5120 },
    };
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (!set_option(options, letter))
            return false;
    if (options->http && (options->tls != LOAD_PLAIN || options->idle))
        return false;
    return optind == argc - 1 && parse_server(argv[optind], &options->server) &&
           (options->idle || options->messages > 0 || options->seconds > 0);
}

int main(int argc, char **argv)
{
    struct load_options options;

    if (!parse_options(argc, argv, &options)) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    struct load *load = xcalloc(1, sizeof(*load));
    load->options = &options;
    signal(SIGPIPE, SIG_IGN);
    if (!prepare(load))
        return EX_OSERR;
    double before_s = cpu_s();
    run(load);
    report(load, cpu_s() - before_s);
    int code = load->errors == 0 ? 0 : EX_UNAVAILABLE;
    finish(load);
    free(load);
    return code;
}
