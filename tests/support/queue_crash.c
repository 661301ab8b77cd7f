/* queue_crash.c - does the queue keep its promise when it is killed?
 *
 *     queue_crash write DIR           submits as fast as it can until it is killed
 *     queue_crash verify DIR <LEDGER  is everything there that was acknowledged, and nothing
 * broken?
 *
 * The writer prints one line for each acknowledgement, with one write(2) at the moment it came:
 * "accepted ID" and, for the messages that it also delivers, "settled ID". What a message contains
 * follows from its id, so verify needs nothing but the ids. It opens the queue as the daemon does
 * after a crash and asks: is each accepted message there? Is each settled one delivered, and no
 * other (but a settlement may be on disk before its answer)? Is each waiting content whole, byte by
 * byte? Are there chunks of nobody? Does SQLite find its file sound? Do the counters agree? */
#include <inttypes.h>
#include <stdatomic.h>
#include <sqlite3.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "tests/support/queue_desk.h"

#define THREADS 4
#define AT_ONCE 8 /* messages under way of each thread */

/* --- contents that follow from the id -------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Most are small; one of eight comes in chunks. */
static size_t content_size(int64_t id)
{
    uint64_t x = mix((uint64_t)id);

    return x % 8 == 0 ? QUEUE_INLINE_MAX + 1 + (size_t)(x >> 8) % (3 * QUEUE_CHUNK_BYTES)
                      : 1 + (size_t)(x >> 8) % 8000;
}

static bool is_settled(int64_t id)
{
    return mix((uint64_t)id + 1) % 3 == 0;
}

static void content_fill(int64_t id, size_t offset, char *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (char)(mix((uint64_t)id + (offset + i) / 8) >> (offset + i) % 8 * 8);
}

/* --- write ----------------------------------------------------------------------------------- */

struct writer { /* one thread */
    struct queue *queue;
    struct desk desk;
};

struct job { /* one message on its way */
    struct writer *writer;
    int64_t id;
    uint32_t next_seq;
};

static void say(const char *what, int64_t id)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "%s %" PRId64 "\n", what, id);

    if (write(STDOUT_FILENO, line, (size_t)len) != len)
        _exit(3);
}

static void begin(struct job *job);

static void expect_ok(enum queue_result result)
{
    if (result == QUEUE_OK)
        return;
    fprintf(stderr, "queue_crash: the queue answered %d\n", (int)result);
    _exit(3);
}

static void on_settled(void *owner, enum queue_result result)
{
    struct job *job = owner;

    expect_ok(result);
    say("settled", job->id);
    begin(job);
}

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct job *job = owner;

    expect_ok(result);
    say("accepted", job->id);
    if (message == NULL) {
        begin(job);
        return;
    }
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "2.0.0", SLICE("ok"));
    queue_settle(job->writer->queue, &message, "main", on_settled, job, &job->writer->desk.box);
}

static void submit(struct job *job)
{
    struct queue_message *message = desk_message(job->id, "r@dest.example");

    message->chunks = job->next_seq;
    message->size = content_size(job->id);
    if (message->chunks == 0) {
        char text[QUEUE_INLINE_MAX];
        content_fill(job->id, 0, text, (size_t)message->size);
        desk_write(message, slice_make(text, (size_t)message->size));
    }
    queue_submit(job->writer->queue, &(struct queue_submit){ .message = &message,
                                                             .lease = is_settled(job->id),
                                                             .cb = on_submitted,
                                                             .owner = job,
                                                             .answers = &job->writer->desk.box });
}

static void append(struct job *job);

static void on_appended(void *owner, enum queue_result result)
{
    struct job *job = owner;

    expect_ok(result);
    if ((size_t)job->next_seq * QUEUE_CHUNK_BYTES < content_size(job->id)) {
        append(job);
    } else if (mix((uint64_t)job->id + 2) % 5 == 0) { /* the client went away */
        queue_discard(job->writer->queue, job->id);
        begin(job);
    } else {
        submit(job);
    }
}

static void append(struct job *job)
{
    size_t offset = (size_t)job->next_seq * QUEUE_CHUNK_BYTES;
    size_t left = content_size(job->id) - offset;
    size_t len = left < QUEUE_CHUNK_BYTES ? left : QUEUE_CHUNK_BYTES;
    struct buf chunk;

    buf_init(&chunk, QUEUE_CHUNK_BYTES);
    content_fill(job->id, offset, buf_reserve(&chunk, len), len);
    buf_commit(&chunk, len);
    queue_append(job->writer->queue, job->id, job->next_seq++, &chunk, on_appended, job,
                 &job->writer->desk.box);
}

static void begin(struct job *job)
{
    job->id = ident_next();
    job->next_seq = 0;
    if (content_size(job->id) > QUEUE_INLINE_MAX)
        append(job);
    else
        submit(job);
}

static void *write_on(void *owner)
{
    struct writer *writer = owner;
    struct job jobs[AT_ONCE];

    for (size_t i = 0; i < AT_ONCE; i++) {
        jobs[i].writer = writer;
        begin(&jobs[i]);
    }
    for (;;)
        desk_wait(&writer->desk);
    return NULL;
}

static int write_until_killed(struct queue *queue, struct why *why)
{
    static struct writer writers[THREADS];
    pthread_t threads[THREADS];

    if (!queue_start(queue, why)) {
        fprintf(stderr, "queue_crash: %s\n", why->text);
        return 1;
    }
    for (size_t i = 0; i < THREADS; i++) {
        writers[i].queue = queue;
        desk_open(&writers[i].desk);
        pthread_create(&threads[i], NULL, write_on, &writers[i]);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL); /* never */
    return 0;
}

/* --- verify ---------------------------------------------------------------------------------- */

struct check {
    struct queue *queue;
    struct desk desk;
    uint64_t accepted, settled, waiting, wrong;
};

static void wrong(struct check *check, int64_t id, const char *what)
{
    fprintf(stderr, "queue_crash: message %" PRId64 ": %s\n", id, what);
    check->wrong++;
}

static void step(struct check *check)
{
    queue_step(check->queue);
    mailbox_drain(&check->desk.box);
}

struct found {
    enum queue_result result;
    enum queue_state state;
};

static void on_shown(void *owner, enum queue_result result, struct queue_story *story)
{
    struct found *found = owner;

    found->result = result;
    if (story != NULL)
        found->state = story->row.state;
}

static void check_line(struct check *check, const char *line)
{
    struct found found = { 0 };
    int64_t id;
    bool settled = sscanf(line, "settled %" SCNd64, &id) == 1;

    if (!settled && sscanf(line, "accepted %" SCNd64, &id) != 1)
        return; /* the line that the kill cut off */
    queue_show(check->queue, id, on_shown, &found, &check->desk.box);
    step(check);
    if (found.result != QUEUE_OK)
        wrong(check, id, "was acknowledged and is not there");
    else if (settled && found.state != QUEUE_DELIVERED)
        wrong(check, id, "was settled as delivered and is not");
    else if (found.state != QUEUE_QUEUED && found.state != QUEUE_UNCERTAIN && !is_settled(id))
        wrong(check, id, "ended although nobody settled it");
    check->settled += settled;
    check->accepted += !settled;
}

static void check_bytes(struct check *check, int64_t id, size_t offset, struct slice bytes)
{
    char want[QUEUE_INLINE_MAX];

    if (bytes.len > sizeof(want) || offset + bytes.len > content_size(id)) {
        wrong(check, id, "is longer than it was");
        return;
    }
    content_fill(id, offset, want, bytes.len);
    if (!slice_equal(bytes, slice_make(want, bytes.len)))
        wrong(check, id, "does not contain what was submitted");
}

struct chunk_check {
    struct check *check;
    int64_t id;
    size_t offset;
};

static void on_read(void *owner, enum queue_result result, struct buf *chunk)
{
    struct chunk_check *reading = owner;

    if (result != QUEUE_OK) {
        wrong(reading->check, reading->id, "lacks a chunk");
        return;
    }
    check_bytes(reading->check, reading->id, reading->offset, buf_slice(chunk));
    reading->offset += buf_len(chunk);
}

static void check_content(struct check *check, struct queue_message *message)
{
    struct chunk_check reading = { .check = check, .id = message->id };

    check_bytes(check, message->id, 0, buf_slice(&message->content));
    reading.offset = buf_len(&message->content);
    for (uint32_t seq = 0; seq < message->chunks; seq++) {
        queue_read(check->queue, message->id, seq, on_read, &reading, &check->desk.box);
        step(check);
    }
    if (reading.offset != content_size(message->id) || message->size != reading.offset)
        wrong(check, message->id, "is not whole");
    if (message->recipient_count != 1)
        wrong(check, message->id, "lost its recipient");
}

struct leased {
    struct queue_message *messages[64];
    size_t count;
};

static void on_leased(void *owner, struct queue_message **messages, size_t count, int64_t next_due)
{
    struct leased *leased = owner;

    (void)next_due;
    memcpy(leased->messages, messages, count * sizeof(*messages));
    leased->count = count;
}

/* Everything that waits. The leases are never settled, so the next round finds it all again, and
 * takes it for uncertain. */
static void check_waiting(struct check *check)
{
    struct leased leased;

    do {
        queue_lease(check->queue, 64, 4 << 20, INT64_MAX, on_leased, &leased, &check->desk.box);
        step(check);
        for (size_t i = 0; i < leased.count; i++) {
            check_content(check, leased.messages[i]);
            queue_message_free(leased.messages[i]);
        }
        check->waiting += leased.count;
    } while (leased.count > 0);
}

static void check_number(struct check *check, sqlite3 *db, const char *sql, const char *what)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW || sqlite3_column_int64(statement, 0) != 0) {
        fprintf(stderr, "queue_crash: %s (%s)\n", what, sqlite3_errmsg(db));
        check->wrong++;
    }
    sqlite3_finalize(statement);
}

/* With the queue closed: what only the database itself can tell. */
static void check_database(struct check *check, const char *path)
{
    static const struct {
        const char *sql, *what;
    } rows[] = {
        { "SELECT integrity_check <> 'ok' FROM pragma_integrity_check", "the file is damaged" },
        { "SELECT count(*) FROM body WHERE message NOT IN (SELECT id FROM message)",
          "there are chunks of nobody" },
        { "SELECT count(*) FROM incoming", "an unfinished message was left" },
        { "SELECT count(*) FROM recipient WHERE message NOT IN (SELECT id FROM message)",
          "there are recipients of nobody" },
        { "SELECT count(*) FROM message WHERE recipients <> (SELECT count(*) FROM recipient"
          " WHERE recipient.message = message.id)",
          "a message lacks recipients" },
        { "SELECT count(*) FROM tally WHERE messages <>"
          " (SELECT count(*) FROM message WHERE message.state = tally.state)",
          "the counters are wrong" },
    };
    sqlite3 *db = NULL;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        fprintf(stderr, "queue_crash: %s: %s\n", path, sqlite3_errmsg(db));
        check->wrong++;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_number(check, db, rows[i].sql, rows[i].what);
    sqlite3_close(db);
}

static int verify(struct queue *queue, const char *path)
{
    struct check check = { .queue = queue };
    char line[64];

    desk_open(&check.desk);
    while (fgets(line, sizeof(line), stdin) != NULL)
        if (strchr(line, '\n') != NULL)
            check_line(&check, line);
    check_waiting(&check);
    queue_stop(queue);
    desk_close(&check.desk);
    check_database(&check, path);
    printf("accepted=%" PRIu64 " settled=%" PRIu64 " waiting=%" PRIu64 " wrong=%" PRIu64 "\n",
           check.accepted, check.settled, check.waiting, check.wrong);
    return check.wrong == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct queue *queue = NULL;
    struct why why = { 0 };
    int status = 2;

    if (argc != 3 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "verify") != 0)) {
        fprintf(stderr, "usage: queue_crash write|verify DIR\n");
        return 2;
    }
    char *path = xasprintf("%s/queue.db", argv[2]);
    struct queue_options options = desk_options(path);
    log_configure(LOG_ERROR, LOG_LOGFMT);   /* each attempt that a kill interrupts is a warning */
    options.retention_ms = 30LL * 86400000; /* a delivered message leaves a record to look for */
    if (!queue_open(&queue, &options, &why))
        fprintf(stderr, "queue_crash: %s\n", why.text);
    else if (strcmp(argv[1], "write") == 0)
        status = write_until_killed(queue, &why);
    else
        status = verify(queue, path);
    queue_free(queue);
    free(path);
    return status;
}
