/* fuzz_queue.c - does the queue survive whatever rows its database holds?
 * The input is read as rows that are planted in an otherwise sound queue.db (a disk that returns
 * other bytes than it was given, another version, an operator with the sqlite3 command) and then as
 * questions. What must hold: each question is answered once, no recipient that has ended is handed
 * out for delivery, and the database is still one afterwards. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "queue/queue.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/macros.h"
#include "tests/support/queue_desk.h"

#define NOW_MS    INT64_C(1790000000000)
#define ROWS_MAX  12
#define TURNS_MAX 2000

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* --- the input as a row of choices ------------------------------------------------------------ */

static struct slice input;

static unsigned choose(unsigned below)
{
    unsigned byte = input.len == 0 ? 0 : (unsigned char)input.data[0];

    input = slice_from(input, input.len > 0);
    return byte % below;
}

static int64_t choose_number(void)
{
    static const int64_t numbers[] = { 0,      1,          2,          3,         4,
                                       5,      6,          7,          8,         9,
                                       16,     64,         255,        -1,        NOW_MS,
                                       100000, 0x7fffffff, 0xffffffff, INT64_MAX, INT64_MIN };
    int64_t number = numbers[choose(ARRAY_LEN(numbers))];

    return number == NOW_MS ? number + (int64_t)choose(256) - 128 : number;
}

static struct slice choose_bytes(void)
{
    struct slice bytes = slice_first(input, choose(64));

    input = slice_from(input, bytes.len);
    return bytes;
}

/* --- planting --------------------------------------------------------------------------------- */

static void bind(sqlite3_stmt *insert, int i, const char *type)
{
    struct slice bytes;

    if (choose(16) == 0) {
        sqlite3_bind_null(insert, i);
    } else if (strcmp(type, "INTEGER") == 0) {
        sqlite3_bind_int64(insert, i, choose_number());
    } else if (strcmp(type, "TEXT") == 0) {
        bytes = choose_bytes();
        sqlite3_bind_text(insert, i, bytes.data == NULL ? "" : bytes.data, (int)bytes.len,
                          SQLITE_STATIC);
    } else {
        bytes = choose_bytes();
        sqlite3_bind_blob(insert, i, bytes.data == NULL ? "" : bytes.data, (int)bytes.len,
                          SQLITE_STATIC);
    }
}

/* A row of any table, with values of the types that its columns have. */
static void plant(sqlite3 *db)
{
    static const char *const tables[] = { "message", "recipient", "body",
                                          "event",   "incoming",  "tally" };
    const char *table = tables[choose(ARRAY_LEN(tables))];
    char *ask = sqlite3_mprintf("SELECT * FROM %s LIMIT 0", table);
    char *sql = NULL;
    sqlite3_stmt *look = NULL, *insert = NULL;

    check(sqlite3_prepare_v2(db, ask, -1, &look, NULL) == SQLITE_OK, "the table is there");
    sql = sqlite3_mprintf("INSERT OR REPLACE INTO %s VALUES (?1", table);
    for (int i = 2; i <= sqlite3_column_count(look); i++)
        sql = sqlite3_mprintf("%z, ?%d", sql, i);
    sql = sqlite3_mprintf("%z)", sql);
    check(sqlite3_prepare_v2(db, sql, -1, &insert, NULL) == SQLITE_OK, "a row can be inserted");
    for (int i = 0; i < sqlite3_column_count(look); i++)
        bind(insert, i + 1, sqlite3_column_decltype(look, i));
    sqlite3_step(insert); /* one that the schema refuses is none */
    sqlite3_finalize(insert);
    sqlite3_finalize(look);
    sqlite3_free(sql);
    sqlite3_free(ask);
}

/* --- asking ----------------------------------------------------------------------------------- */

static unsigned asked, answered;
static struct queue_message *leased[64];
static size_t leased_count;

static void on_done(void *owner, enum queue_result result)
{
    (void)owner, (void)result;
    answered++;
}

static void on_lease(void *owner, struct queue_message **messages, size_t count, int64_t due_ms)
{
    (void)owner, (void)due_ms;
    answered++;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < messages[i]->recipient_count; j++)
            check(!queue_state_is_final(messages[i]->recipients[j].state),
                  "who has got a message does not get it again");
        check(leased_count < ARRAY_LEN(leased), "no more is handed out than was asked for");
        leased[leased_count++] = messages[i];
    }
}

static void on_list(void *owner, enum queue_result result, struct queue_page *page)
{
    (void)owner;
    answered++;
    check(result == QUEUE_OK || page->count == 0, "a failure has no rows");
    for (size_t i = 0; i < page->count; i++)
        check(queue_state_name(page->rows[i].state) != NULL, "a state has a name");
}

static void on_show(void *owner, enum queue_result result, struct queue_story *story)
{
    (void)owner;
    answered++;
    check((result == QUEUE_OK) == (story != NULL), "a story is told or not");
}

static void on_read(void *owner, enum queue_result result, struct buf *chunk)
{
    (void)owner;
    answered++;
    check(result == QUEUE_OK || buf_len(chunk) == 0, "a failure has no content");
}

static void on_steered(void *owner, enum queue_result result, uint64_t changed, uint64_t busy)
{
    (void)owner, (void)result, (void)changed, (void)busy;
    answered++;
}

static void on_stats(void *owner, const struct queue_stats *stats)
{
    (void)owner, (void)stats;
    answered++;
}

static void settle_one(struct queue *queue, struct desk *desk)
{
    static const enum queue_fate fates[] = { QUEUE_UNTRIED, QUEUE_SENT, QUEUE_LATER, QUEUE_NEVER,
                                             QUEUE_DOUBTFUL };

    if (leased_count == 0)
        return;
    struct queue_message *message = leased[--leased_count];
    for (size_t i = 0; i < message->recipient_count; i++)
        queue_recipient_say(&message->recipients[i], fates[choose(ARRAY_LEN(fates))], 450, "4.0.0",
                            choose_bytes());
    asked++;
    queue_settle(queue, &message, "main", on_done, NULL, &desk->box);
}

static void steer(struct queue *queue, struct desk *desk)
{
    struct queue_steering steering = { .act = choose(QUEUE_ACT_COUNT),
                                       .id = choose(3) == 0 ? 0 : choose_number() & INT64_MAX,
                                       .by = "operator" };

    steering.filter.account = choose(4) == 0 ? "a" : NULL;
    asked++;
    queue_steer(queue, &steering, on_steered, NULL, &desk->box);
}

static void list(struct queue *queue, struct desk *desk)
{
    struct queue_filter filter = { .has_state = choose(2) == 0,
                                   .state = choose(QUEUE_STATE_COUNT),
                                   .recipient = choose(4) == 0 ? "b.example" : NULL,
                                   .limit = 1 + choose(5) };

    asked++;
    queue_list(queue, &filter, on_list, NULL, &desk->box);
}

static void ask(struct queue *queue, struct desk *desk)
{
    switch (choose(7)) {
    case 0:
        settle_one(queue, desk);
        return;
    case 1:
        steer(queue, desk);
        return;
    case 2:
        list(queue, desk);
        return;
    case 3:
        queue_show(queue, choose_number(), on_show, NULL, &desk->box);
        break;
    case 4:
        queue_read(queue, choose_number(), choose(3), on_read, NULL, &desk->box);
        break;
    case 5:
        queue_stats(queue, on_stats, NULL, &desk->box);
        break;
    default:
        queue_lease(queue, ARRAY_LEN(leased) - leased_count > 8 ? 8 : 1, 1 << 20, NOW_MS, on_lease,
                    NULL, &desk->box);
    }
    asked++;
}

static void work(struct queue *queue, struct desk *desk)
{
    for (unsigned turn = 0; turn < TURNS_MAX && answered < asked; turn++) {
        queue_step(queue);
        mailbox_drain(&desk->box);
    }
    check(answered == asked, "each question is answered once");
}

/* --- one input -------------------------------------------------------------------------------- */

static int64_t stand_still(void)
{
    return NOW_MS * 1000;
}

static void no_log(void *owner, struct slice line)
{
    (void)owner, (void)line;
}

static char *folder, *path;

static void remove_folder(void)
{
    desk_folder_remove(folder);
    free(path);
}

static void prepare(void)
{
    static const struct clock_source source = { stand_still, stand_still };

    if (folder != NULL)
        return;
    setenv("TMPDIR", "/dev/shm", 0);
    clock_replace(&source);
    log_divert(no_log, NULL);
    folder = desk_folder_new();
    path = xasprintf("%s/queue.db", folder);
    atexit(remove_folder);
}

static struct queue *open_queue(void)
{
    struct queue_options options = desk_options(path);
    struct queue *queue = NULL;
    struct why why = { "" };

    queue_open(&queue, &options, &why);
    return queue;
}

static void close_queue(struct queue *queue, struct desk *desk)
{
    queue_stop(queue);
    mailbox_drain(&desk->box);
    queue_free(queue);
}

static void plant_rows(void)
{
    sqlite3 *db = NULL;

    check(sqlite3_open(path, &db) == SQLITE_OK, "the database opens");
    sqlite3_exec(db, "PRAGMA synchronous=OFF; BEGIN", NULL, NULL, NULL);
    for (unsigned rows = choose(ROWS_MAX); rows > 0; rows--)
        plant(db);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
}

static void check_database(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *look = NULL;

    sqlite3_open(path, &db);
    check(sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &look, NULL) == SQLITE_OK &&
              sqlite3_step(look) == SQLITE_ROW &&
              strcmp((const char *)sqlite3_column_text(look, 0), "ok") == 0,
          "the database is sound");
    sqlite3_finalize(look);
    sqlite3_close(db);
    remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct desk desk;

    prepare();
    input = slice_make(data, size);
    asked = answered = 0;
    leased_count = 0;
    desk_open(&desk);
    close_queue(open_queue(), &desk); /* makes a new one */
    plant_rows();
    struct queue *queue = open_queue();
    for (unsigned questions = 0; queue != NULL && input.len > 0 && questions < 30; questions++) {
        ask(queue, &desk);
        work(queue, &desk);
    }
    while (queue != NULL && leased_count > 0) {
        settle_one(queue, &desk);
        work(queue, &desk);
    }
    if (queue != NULL)
        close_queue(queue, &desk);
    desk_close(&desk);
    check_database();
    return 0;
}
