/* fuzz_client.c - does the upstream client keep its word, whatever the upstream says, in whatever
 * pieces, and however long that takes?
 * The input is what the upstream sends, but for a few bytes that stand for what it cannot spell: a
 * reply that fits, the end of a piece, time that passes, the end of the handshake or of the
 * connection, a chunk from the queue. What must hold besides that nothing breaks, as seen from the
 * wire and from a count of the replies that is not the client's own:
 * what is said is commands, each ended by CR LF, and in clear only those that may be; content comes
 * only behind 354 and is the message, stuffed, or the start of it; each recipient of each job has
 * one fate, once; delivered is only who was accepted by a reply to its RCPT and by that to the dot,
 * and only a 5yz to this transaction refuses for good. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

#define assert_true(condition)  check((condition), #condition)
#define assert_false(condition) check(!(condition), "not " #condition)

#include "tests/support/upstream_dialog.h"

enum code {
    CODE_CUT = 0xf0,   /* what came so far is a piece of its own */
    CODE_WAIT = 0xf1,  /* as many seconds pass as the next byte says */
    CODE_YES = 0xf2,   /* the reply that leads on, of whatever is said now */
    CODE_TLS = 0xf3,   /* the handshake is done */
    CODE_STUCK = 0xf4, /* the kernel takes no more output, or takes it again */
    CODE_CHUNK = 0xf5, /* the chunk that was asked for has come */
    CODE_LOST = 0xf6,  /* it could not be read */
    CODE_END = 0xf7,   /* the connection ends, as the next byte says */
    CODE_JOB = 0xf8,   /* a job for an idle connection */
    CODE_QUIT = 0xf9,
    CODE_ABORT = 0xfa,
};

enum { JOBS_MAX = 6, RECIPIENTS = 3, CHUNK = 9 };

/* --- what is to be sent ----------------------------------------------------------------------- */

static const struct content {
    const char *text;
    bool eight_bit, poisoned;
} contents[] = {
    { "From: a\r\n\r\nhello\r\n", false, false },
    { ".\r\n..\r\n.x\r\n\r\n.\r\n", false, false },
    { "no line end", false, false },
    { "", false, false },
    { "a\r\n\xc3\xa4\r\n.", true, false },
    { "a line\r\n.\nMAIL FROM:<x@victim.example>\r\n", false, true },
    { "12345678\r\n.\r\n1234567\r\nb\rc\r\n", false, true }, /* a chunk ends between CR and LF */
    { "ends in CR\r", false, true },
};

struct sent { /* one job and what became of it */
    struct upstream_job job;
    struct upstream_recipient recipients[RECIPIENTS];
    const struct content *content;
    uint32_t asked; /* the chunk that was asked for last */
    bool given, judged, untouched;
};

static const char *const addresses[RECIPIENTS] = { "r1@dest.example", "\"r 2\"@dest.example",
                                                   "r3@dest.example" };

static struct sent jobs[JOBS_MAX];
static size_t job_count, jobs_given;
static struct upstream upstream;
static struct client *client; /* NULL once it has ended */
static bool aborted;

/* --- the wire --------------------------------------------------------------------------------- */

#define UNIT_NONE SIZE_MAX

/* Commands and ends of content are counted as units: the reply to unit n is number n + 1, behind
 * the greeting. */
static struct {
    char line[4096];
    size_t len;
    char last;
    size_t units;
    struct sent *now; /* of the transaction that was begun last */
    size_t mail, rcpt[RECIPIENTS], rcpts, data, dot;
    bool behind_data, in_content;
    struct buf content; /* of this transaction, without the dots that were put in */
    bool quit;
} wire;

/* The reply to this unit; 0: there is none yet. */
static int reply_to(size_t unit)
{
    return unit != UNIT_NONE && unit + 1 < dialog_replies.count ? dialog_replies.codes[unit + 1]
                                                                : 0;
}

static bool says_yes(size_t unit)
{
    return reply_to(unit) / 10 == 25;
}

static bool line_starts(struct slice line, const char *verb)
{
    return slice_starts_nocase(line, slice_of(verb));
}

/* The job that was given last and is not judged yet. */
static struct sent *job_under_way(void)
{
    return jobs_given > 0 && !jobs[jobs_given - 1].judged ? &jobs[jobs_given - 1] : NULL;
}

static void begin_transaction(struct slice line)
{
    wire.now = job_under_way();
    check(wire.now != NULL, "MAIL belongs to a job");
    check(line_starts(line, "MAIL FROM:<a@good.example>"), "the sender is that of the job");
    check(!wire.now->content->poisoned || wire.now->job.chunks > 0,
          "what is seen bad is not begun");
    wire.mail = wire.units;
    wire.rcpts = 0;
    wire.data = wire.dot = UNIT_NONE;
    buf_clear(&wire.content);
}

static void name_recipient(struct slice line)
{
    char want[64];

    check(wire.now != NULL && wire.rcpts < RECIPIENTS, "a recipient of this transaction");
    snprintf(want, sizeof(want), "RCPT TO:<%s>", addresses[wire.rcpts]);
    check(slice_equal(line, slice_of(want)), "the recipients come in order");
    wire.rcpt[wire.rcpts++] = wire.units;
}

static bool is_private(void)
{
    return dialog_stream.secure || upstream.options.tls == UPSTREAM_TLS_NONE;
}

/* A line of AUTH LOGIN holds nothing but base64. */
static bool is_response(struct slice line)
{
    return slice_equal(line, SLICE("dXNlcg==")) || slice_equal(line, SLICE("c2VjcmV0"));
}

static void read_command(struct slice line)
{
    check(!wire.quit, "nothing is said behind QUIT");
    if (line_starts(line, "EHLO relay.example") || line_starts(line, "HELO relay.example")) {
    } else if (slice_equal(line, SLICE("STARTTLS"))) {
        check(!dialog_stream.secure && upstream.options.tls == UPSTREAM_TLS_STARTTLS, "STARTTLS");
    } else if (slice_equal(line, SLICE("QUIT"))) {
        wire.quit = true;
    } else if (!is_private()) {
        check(false, "in clear only what may be");
    } else if (slice_equal(line, SLICE("AUTH LOGIN")) || is_response(line) ||
               slice_equal(line, SLICE("AUTH PLAIN AHVzZXIAc2VjcmV0"))) {
        check(upstream.options.username != NULL, "nobody logs in without a name");
    } else if (line_starts(line, "MAIL ")) {
        begin_transaction(line);
    } else if (line_starts(line, "RCPT ")) {
        name_recipient(line);
    } else if (slice_equal(line, SLICE("DATA"))) {
        check(wire.now != NULL && wire.rcpts == RECIPIENTS, "DATA behind all recipients");
        wire.data = wire.units;
        wire.behind_data = true;
    } else {
        check(slice_equal(line, SLICE("RSET")), "this is a command");
    }
    wire.units++;
}

static size_t accepted_recipients(void)
{
    size_t count = 0;

    for (size_t i = 0; i < wire.rcpts; i++)
        count += says_yes(wire.rcpt[i]);
    return says_yes(wire.mail) ? count : 0;
}

static void end_content(void)
{
    struct slice want = slice_of(wire.now->content->text);
    struct slice got = buf_slice(&wire.content);

    wire.in_content = false;
    wire.dot = wire.units++;
    if (accepted_recipients() == 0) {
        check(got.len == 0, "nobody's message is empty");
        return;
    }
    check(!wire.now->content->poisoned, "what is poisoned is never ended");
    check(slice_equal(slice_first(got, want.len), want), "the message is whole");
    got = slice_from(got, want.len);
    bool open = want.len > 0 && want.data[want.len - 1] != '\n';
    check(slice_equal(got, open ? SLICE("\r\n") : SLICE("")), "and nothing stands behind it");
}

static void read_content(struct slice line)
{
    if (slice_equal(line, SLICE("."))) {
        end_content();
        return;
    }
    if (line.len > 0 && line.data[0] == '.') {
        check(line.data[1] == '.', "a dot is stuffed");
        line = slice_from(line, 1);
    }
    check(buf_add(&wire.content, line) && buf_add(&wire.content, SLICE("\r\n")), "there is room");
}

static void read_line(struct slice line)
{
    if (wire.behind_data) {
        wire.behind_data = false;
        wire.in_content = reply_to(wire.data) == 354;
        check(reply_to(wire.data) != 0, "nothing is said before DATA is answered");
    }
    if (wire.in_content)
        read_content(line);
    else
        read_command(line);
}

/* Also when the line is not whole yet. */
static void check_first_byte(void)
{
    if (wire.behind_data)
        check(reply_to(wire.data) != 0, "not one byte before DATA is answered");
    check(upstream.options.tls != UPSTREAM_TLS_IMPLICIT || dialog_stream.secure,
          "not one byte before the handshake");
    check(!dialog_is_between(), "not one byte in the handshake");
}

static void dialog_said(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.data[i];
        if (wire.len == 0)
            check_first_byte();
        check(c != '\0', "no NUL");
        check((wire.last == '\r') == (c == '\n'), "CR and LF stand together");
        wire.last = c;
        check(wire.len < sizeof(wire.line), "lines are short");
        wire.line[wire.len++] = c;
        if (c != '\n')
            continue;
        size_t len = wire.len - 2;
        wire.len = 0;
        read_line(slice_make(wire.line, len));
    }
}

/* --- fates ------------------------------------------------------------------------------------ */

static bool is_refused_for_good(size_t unit)
{
    return reply_to(unit) / 100 == 5;
}

static void check_fate(const struct sent *sent, size_t i)
{
    const struct upstream_recipient *recipient = &sent->recipients[i];
    bool on_wire = wire.now == sent;

    switch (recipient->fate) {
    case UPSTREAM_DELIVERED:
        check(on_wire && says_yes(wire.mail) && says_yes(wire.rcpt[i]) && says_yes(wire.dot) &&
                  reply_to(wire.data) == 354,
              "delivered is who was accepted by all");
        break;
    case UPSTREAM_NEVER:
        check(recipient->code == 0 ||
                  (on_wire && recipient->code / 100 == 5 &&
                   (is_refused_for_good(wire.mail) || is_refused_for_good(wire.rcpt[i]) ||
                    is_refused_for_good(wire.data) ||
                    is_refused_for_good(wire.dot != UNIT_NONE ? wire.dot : wire.units))),
              "refused for good is who was");
        break;
    case UPSTREAM_UNCERTAIN:
        check(on_wire && wire.dot != UNIT_NONE && says_yes(wire.rcpt[i]),
              "uncertain after the dot");
        break;
    case UPSTREAM_UNTRIED:
        check(aborted, "everybody has a fate");
        break;
    case UPSTREAM_LATER:
        break;
    }
    check(recipient->text != NULL, "and a reason");
}

static struct sent *sent_of(struct upstream_job *job)
{
    return (struct sent *)(void *)((char *)job - offsetof(struct sent, job));
}

static void on_judged(void *owner, struct upstream_job *job)
{
    struct sent *sent = sent_of(job);

    (void)owner;
    check(sent->given && !sent->judged && !sent->untouched, "a job is judged once");
    for (size_t i = 0; i < RECIPIENTS; i++)
        check_fate(sent, i);
    sent->judged = true;
}

static void on_end(void *owner, enum client_end end, const char *text,
                   struct upstream_job *untouched)
{
    (void)owner;
    (void)end;
    check(client != NULL && text != NULL, "it ends once, and says why");
    client = NULL;
    if (untouched == NULL)
        return;
    struct sent *sent = sent_of(untouched);
    check(sent->given && !sent->judged && !sent->untouched, "an untouched job is not judged");
    check(wire.now == sent && (reply_to(wire.mail) == 0 || reply_to(wire.mail) == 421),
          "it was not answered");
    sent->untouched = true;
}

/* --- the job's owner -------------------------------------------------------------------------- */

static void fetch(void *owner, struct upstream_job *job, uint32_t seq)
{
    (void)owner;
    check(job_under_way() == sent_of(job) && seq < job->chunks, "a chunk that there is");
    sent_of(job)->asked = seq;
}

static void answer_fetch(bool well)
{
    struct sent *sent = job_under_way();
    struct buf chunk;

    if (sent == NULL || !sent->job.fetching)
        return;
    struct slice rest = slice_from(slice_of(sent->content->text), (size_t)sent->asked * CHUNK);
    buf_init(&chunk, CHUNK);
    if (well)
        check(buf_add(&chunk, slice_first(rest, CHUNK)), "it fits");
    upstream_job_chunk(&sent->job, &chunk);
}

static struct upstream_job *next_job(void *owner)
{
    (void)owner;
    if (jobs_given == job_count || job_under_way() != NULL)
        return NULL;
    jobs[jobs_given].given = true;
    return &jobs[jobs_given++].job;
}

static void give_job(void)
{
    struct upstream_job *job;

    if (client == NULL || client->state != CLIENT_IDLE || client->quitting)
        return;
    job = next_job(NULL);
    if (job == NULL)
        return;
    if (client_refuses(client, job))
        on_judged(NULL, job);
    else
        client_run(client, job);
}

/* `which` chooses the content; chunked or in one piece. */
static void make_job(struct sent *sent, unsigned which, bool chunked)
{
    const struct content *content = &contents[which % ARRAY_LEN(contents)];
    size_t len = strlen(content->text);

    *sent = (struct sent){ .content = content };
    for (size_t i = 0; i < RECIPIENTS; i++)
        sent->recipients[i].address = addresses[i];
    sent->job = (struct upstream_job){ .id = "m",
                                       .sender = "a@good.example",
                                       .recipients = sent->recipients,
                                       .recipient_count = RECIPIENTS,
                                       .size = len,
                                       .eight_bit = content->eight_bit,
                                       .content = slice_of(content->text),
                                       .fetch = fetch };
    if (chunked && len > 0) {
        sent->job.chunks = (uint32_t)((len + CHUNK - 1) / CHUNK);
        sent->job.content = slice_make(NULL, 0);
    }
}

/* --- playing ---------------------------------------------------------------------------------- */

/* What a good upstream would say now. */
static const char *fitting_reply(void)
{
    static const char *const replies[CLIENT_STATE_COUNT] = {
        [CLIENT_BANNER] = "220 hello\r\n",
        [CLIENT_EHLO] = "250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n"
                        "250-AUTH LOGIN\r\n250 STARTTLS\r\n",
        [CLIENT_STARTTLS] = "220 go\r\n",
        [CLIENT_AUTH_PLAIN] = "235 in\r\n",
        [CLIENT_AUTH_LOGIN] = "334 VXNlcm5hbWU6\r\n",
        [CLIENT_AUTH_USER] = "334 UGFzc3dvcmQ6\r\n",
        [CLIENT_AUTH_PASSWORD] = "235 in\r\n",
        [CLIENT_DATA] = "354 go\r\n",
    };

    if (client == NULL)
        return "";
    return replies[client->state] != NULL ? replies[client->state] : "250 2.0.0 ok\r\n";
}

static void show(struct buf *piece)
{
    if (buf_len(piece) > 0)
        dialog_show(buf_slice(piece));
    buf_clear(piece);
}

static void end_stream(unsigned how)
{
    static const enum stream_end ends[] = { STREAM_EOF, STREAM_RESET, STREAM_TRUNCATED,
                                            STREAM_TLS_FAILED };

    dialog_end(ends[how % ARRAY_LEN(ends)]);
}

static void quit(bool now)
{
    if (client == NULL)
        return;
    aborted = aborted || now;
    if (now)
        client_abort(client);
    else
        client_quit(client);
}

/* One byte of the input; `next` is the one behind it. True: that one is used up, too. */
static bool play_code(unsigned code, unsigned next, struct buf *piece)
{
    show(piece);
    switch (code) {
    case CODE_WAIT:
        dialog_wait(next * UINT64_C(1000));
        return true;
    case CODE_YES:
        check(buf_add(piece, slice_of(fitting_reply())), "there is room");
        show(piece);
        break;
    case CODE_TLS:
        dialog_secure();
        break;
    case CODE_STUCK:
        dialog_stuck(dialog_stream.unwritten == 0);
        break;
    case CODE_CHUNK:
        answer_fetch(true);
        break;
    case CODE_LOST:
        answer_fetch(false);
        break;
    case CODE_END:
        end_stream(next);
        return true;
    case CODE_JOB:
        give_job();
        break;
    case CODE_QUIT:
    case CODE_ABORT:
        quit(code == CODE_ABORT);
        break;
    default:
        break;
    }
    return false;
}

static void play(struct slice input)
{
    struct buf piece;

    buf_init(&piece, 1 << 20);
    for (size_t i = 0; i < input.len && client != NULL; i++) {
        unsigned byte = (unsigned char)input.data[i];
        unsigned next = i + 1 < input.len ? (unsigned char)input.data[i + 1] : 0;
        if (byte < CODE_CUT)
            check(buf_add_byte(&piece, input.data[i]), "there is room");
        else
            i += play_code(byte, next, &piece);
    }
    show(&piece);
    buf_free(&piece);
}

static void open_client(unsigned how)
{
    static const enum upstream_tls kinds[] = { UPSTREAM_TLS_STARTTLS, UPSTREAM_TLS_IMPLICIT,
                                               UPSTREAM_TLS_NONE };
    static const struct client_events events = { next_job, on_judged, on_end };
    struct upstream_timeouts timeouts = { 30000, 60000, 60000, 60000, 60000, 60000, 30000 };

    upstream = (struct upstream){ .options = { .name = "u",
                                               .host = "smtp.example",
                                               .port = 587,
                                               .tls = kinds[how % 3],
                                               .helo = "relay.example",
                                               .max_messages_per_connection = 3,
                                               .timeouts = timeouts } };
    if (how / 3 % 2 == 1) {
        upstream.options.username = "user";
        upstream.options.password = "secret";
    }
    struct client_setup setup = { .upstream = &upstream };
    client = client_open(&setup, &events, NULL);
    dialog_connect(how / 6 % 8 != 7);
}

static void ignore_line(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static void start_over(void)
{
    dialog_reset();
    buf_free(&wire.content);
    memset(&wire, 0, sizeof(wire));
    buf_init(&wire.content, 1 << 20);
    wire.mail = wire.data = wire.dot = UNIT_NONE;
    jobs_given = 0;
    aborted = false;
}

static void finish(void)
{
    if (client != NULL)
        quit(true);
    check(client == NULL, "it has ended");
    dialog_let_go();
    for (size_t i = 0; i < job_count; i++) {
        check(!jobs[i].given || jobs[i].judged != jobs[i].untouched, "each job has come back");
        upstream_job_clear(&jobs[i].job);
    }
    start_over();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte: what the upstream is; the second: how many jobs wait at first; then one for each
 * of six jobs: its content and its form. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 + JOBS_MAX)
        return 0;
    log_configure(LOG_ERROR, LOG_LOGFMT);
    log_divert(ignore_line, NULL);
    start_over();
    job_count = data[1] % (JOBS_MAX + 1);
    for (size_t i = 0; i < JOBS_MAX; i++)
        make_job(&jobs[i], data[2 + i] / 2, data[2 + i] % 2 == 1);
    open_client(data[0]);
    play(slice_make(data + 2 + JOBS_MAX, size - 2 - JOBS_MAX));
    finish();
    return 0;
}
