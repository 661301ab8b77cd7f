/* queue_fixture.h - a queue in direct mode with a clock of its own, for the unit tests of queue/.
 * Each fx_ function asks, lets the queue step and opens the answers, so a test reads as a list of
 * what happens. The answers are counted: one is expected for each question. */
#ifndef LATCHPOST_TESTS_QUEUE_FIXTURE_H
#define LATCHPOST_TESTS_QUEUE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/queue_priv.h"
#include "relay/base/clock.h"
#include "relay/base/db.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "tests/support/queue_desk.h"

#define FX_START_MS INT64_C(1790000000000) /* in 2026 */

static int64_t fx_now_us;

static inline int64_t fx_clock(void)
{
    return fx_now_us;
}

static inline void fx_advance(int64_t ms)
{
    fx_now_us += ms * 1000;
}

static inline int64_t fx_now_ms(void)
{
    return fx_now_us / 1000;
}

struct fixture {
    char *folder, *path;
    struct queue_options options;
    struct queue *queue;
    struct desk desk;
};

static inline void fx_no_log(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static inline void fx_open(struct fixture *f)
{
    struct why why = { 0 };

    if (!queue_open(&f->queue, &f->options, &why))
        fail_msg("%s", why.text);
}

static inline void fx_close(struct fixture *f)
{
    queue_stop(f->queue);
    mailbox_drain(&f->desk.box);
    queue_free(f->queue);
    f->queue = NULL;
}

static inline void fx_reopen(struct fixture *f)
{
    fx_close(f);
    fx_open(f);
}

static inline int fx_setup(void **state)
{
    static const struct clock_source source = { fx_clock, fx_clock };
    struct fixture *f = xcalloc(1, sizeof(*f));

    fx_now_us = FX_START_MS * 1000;
    clock_replace(&source);
    log_divert(fx_no_log, NULL);
    f->folder = desk_folder_new();
    f->path = xasprintf("%s/queue.db", f->folder);
    f->options = desk_options(f->path);
    desk_open(&f->desk);
    fx_open(f);
    *state = f;
    return 0;
}

static inline int fx_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->queue != NULL)
        fx_close(f);
    desk_close(&f->desk);
    free(f->path);
    desk_folder_remove(f->folder);
    free(f);
    clock_replace(NULL);
    log_divert(NULL, NULL);
    return 0;
}

/* A row of the table of tests. */
#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

static inline void fx_step(struct fixture *f)
{
    queue_step(f->queue);
    mailbox_drain(&f->desk.box);
}

static inline sqlite3 *fx_sqlite(struct fixture *f)
{
    return db_handle(f->queue->store->db);
}

/* Behind the queue's back. */
static inline void fx_execute(struct fixture *f, const char *sql)
{
    if (sqlite3_exec(fx_sqlite(f), sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(fx_sqlite(f)));
}

static inline int64_t fx_number(struct fixture *f, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(fx_sqlite(f), sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(fx_sqlite(f)));
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

/* --- answers --------------------------------------------------------------------------------- */

struct got {
    int calls; /* each question wants exactly one */
    enum queue_result result;
    struct queue_message *message;      /* of a submission: the lease */
    struct queue_message *messages[64]; /* of a lease */
    size_t count;
    int64_t next_due_ms;
    uint64_t changed, busy;
    struct queue_stats stats;
    char chunk[QUEUE_CHUNK_BYTES];
    size_t chunk_len;
};

static inline void fx_on_submit(void *owner, enum queue_result result,
                                struct queue_message *message)
{
    struct got *got = owner;

    got->calls++;
    got->result = result;
    got->message = message;
}

static inline void fx_on_done(void *owner, enum queue_result result)
{
    struct got *got = owner;

    got->calls++;
    got->result = result;
}

static inline void fx_on_lease(void *owner, struct queue_message **messages, size_t count,
                               int64_t next_due_ms)
{
    struct got *got = owner;

    got->calls++;
    for (size_t i = 0; i < count; i++)
        got->messages[i] = messages[i];
    got->count = count;
    got->next_due_ms = next_due_ms;
}

static inline void fx_on_read(void *owner, enum queue_result result, struct buf *chunk)
{
    struct got *got = owner;

    got->calls++;
    got->result = result;
    got->chunk_len = buf_len(chunk);
    if (got->chunk_len > 0)
        memcpy(got->chunk, buf_slice(chunk).data, got->chunk_len);
}

static inline void fx_on_steered(void *owner, enum queue_result result, uint64_t changed,
                                 uint64_t busy)
{
    struct got *got = owner;

    got->calls++;
    got->result = result;
    got->changed = changed;
    got->busy = busy;
}

static inline void fx_on_stats(void *owner, const struct queue_stats *stats)
{
    struct got *got = owner;

    got->calls++;
    got->stats = *stats;
}

/* --- questions ------------------------------------------------------------------------------- */

/* Asks only; the answer comes with the next step. */
static inline void fx_ask_submit(struct fixture *f, struct queue_message *message, bool lease,
                                 struct got *got)
{
    *got = (struct got){ 0 };
    queue_submit(f->queue, &(struct queue_submit){ .message = &message,
                                                   .lease = lease,
                                                   .cb = fx_on_submit,
                                                   .owner = got,
                                                   .answers = &f->desk.box });
    assert_null(message);
}

static inline enum queue_result fx_submit_message(struct fixture *f, struct queue_message *message)
{
    struct got got;

    fx_ask_submit(f, message, false, &got);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    assert_null(got.message);
    return got.result;
}

static inline struct queue_message *fx_small(const char *recipient)
{
    struct queue_message *message = desk_message(ident_next(), recipient);

    desk_write(message, SLICE("From: <a@good.example>\r\n\r\nhello\r\n"));
    return message;
}

/* One small message, stored and leased by nobody. */
static inline int64_t fx_submit(struct fixture *f, const char *recipient)
{
    struct queue_message *message = fx_small(recipient);
    int64_t id = message->id;

    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
    return id;
}

static inline void fx_lease_some(struct fixture *f, size_t max, size_t max_bytes, struct got *got)
{
    *got = (struct got){ 0 };
    queue_lease(f->queue, max, max_bytes, fx_now_ms(), fx_on_lease, got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got->calls, 1);
}

/* The one message that is due. */
static inline struct queue_message *fx_lease(struct fixture *f)
{
    struct got got;

    fx_lease_some(f, 64, 1 << 20, &got);
    assert_int_equal(got.count, 1);
    return got.messages[0];
}

static inline void fx_settle(struct fixture *f, struct queue_message *message)
{
    struct got got = { 0 };

    queue_settle(f->queue, &message, "main", fx_on_done, &got, &f->desk.box);
    assert_null(message);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    assert_int_equal(got.result, QUEUE_OK);
}

/* All its recipients come to the same. */
static inline void fx_settle_all(struct fixture *f, struct queue_message *message,
                                 enum queue_fate fate, int code, const char *text)
{
    for (size_t i = 0; i < message->recipient_count; i++)
        queue_recipient_say(&message->recipients[i], fate, code, "", slice_of(text));
    fx_settle(f, message);
}

static inline enum queue_result fx_read(struct fixture *f, int64_t id, uint32_t seq,
                                        struct got *got)
{
    *got = (struct got){ 0 };
    queue_read(f->queue, id, seq, fx_on_read, got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got->calls, 1);
    return got->result;
}

static inline enum queue_result fx_append(struct fixture *f, int64_t id, uint32_t seq, char byte,
                                          size_t len)
{
    struct got got = { 0 };
    struct buf chunk;

    buf_init(&chunk, QUEUE_CHUNK_BYTES);
    memset(buf_reserve(&chunk, len), byte, len);
    buf_commit(&chunk, len);
    queue_append(f->queue, id, seq, &chunk, fx_on_done, &got, &f->desk.box);
    assert_int_equal(buf_len(&chunk), 0);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    return got.result;
}

/* One message (0: all that the filter wants; NULL: no filter), by the operator. */
static inline struct got fx_steer(struct fixture *f, enum queue_act act, int64_t id,
                                  const struct queue_filter *filter)
{
    struct got got = { 0 };
    struct queue_steering steering = { .act = act, .id = id, .by = "operator" };

    if (filter != NULL)
        steering.filter = *filter;
    queue_steer(f->queue, &steering, fx_on_steered, &got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    return got;
}

static inline enum queue_result fx_retry(struct fixture *f, int64_t id, uint64_t *changed)
{
    struct got got = fx_steer(f, QUEUE_RETRY, id, NULL);

    *changed = got.changed;
    return got.result;
}

static inline struct queue_stats fx_stats(struct fixture *f)
{
    struct got got = { 0 };

    queue_stats(f->queue, fx_on_stats, &got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got.calls, 1);
    return got.stats;
}

/* What a show says, copied as far as tests look. */
struct shown {
    int calls;
    enum queue_result result;
    enum queue_state state;
    int64_t due_ms;
    unsigned attempts;
    size_t recipient_count, event_count;
    enum queue_state states[8]; /* of the recipients */
    int64_t due[8];
    char text[8][600], upstream[8][16];
    char event[8][16], event_text[8][600];
};

static inline void fx_on_show(void *owner, enum queue_result result, struct queue_story *story)
{
    struct shown *shown = owner;

    shown->calls++;
    shown->result = result;
    if (story == NULL)
        return;
    shown->state = story->row.state;
    shown->due_ms = story->row.due_ms;
    shown->attempts = story->row.attempts;
    shown->recipient_count = story->recipient_count;
    shown->event_count = story->event_count;
    for (size_t i = 0; i < story->recipient_count && i < 8; i++) {
        const struct queue_recipient_row *row = &story->recipients[i];
        shown->states[i] = row->state;
        shown->due[i] = row->due_ms;
        snprintf(shown->text[i], 600, "%s", row->text == NULL ? "" : row->text);
        snprintf(shown->upstream[i], 16, "%s", row->upstream == NULL ? "" : row->upstream);
    }
    for (size_t i = 0; i < story->event_count && i < 8; i++) {
        snprintf(shown->event[i], 16, "%s", story->events[i].what);
        snprintf(shown->event_text[i], 600, "%s",
                 story->events[i].text == NULL ? "" : story->events[i].text);
    }
}

static inline struct shown fx_show(struct fixture *f, int64_t id)
{
    struct shown shown = { 0 };

    queue_show(f->queue, id, fx_on_show, &shown, &f->desk.box);
    fx_step(f);
    assert_int_equal(shown.calls, 1);
    return shown;
}

#endif
