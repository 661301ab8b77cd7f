/* queue_store_look.c - what do operators see? Lists of messages, what a filter wants of them, and
 * all that is known of one. Each question looks at a bounded number of rows, for it runs on the
 * writer's thread and whoever waits for a commit waits for it too. */
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"
#include "relay/base/alloc.h"

#define EVENTS_SHOWN    1000
#define BRIEF_BYTES_MAX (UINT64_C(4) * 1024 * 1024) /* of messages to be changed in one step */

/* --- rows ------------------------------------------------------------------------------------ */

#define ROW_COLUMNS                                                                                \
    "id, received_ms, due_ms, state, size, account, key_id, sender, recipients,"                   \
    " chunks, flags"

/* The state in the columns above. An attempt that nobody has in hand (else it is shown as
 * delivering) was under way when an earlier process ended. */
static enum queue_state row_state(sqlite3_stmt *statement)
{
    enum queue_state state = column_state(statement, 3);
    bool is_open = (sqlite3_column_int64(statement, 10) & STORE_ATTEMPT) != 0;
    bool waits = state == QUEUE_QUEUED || state == QUEUE_DEFERRED;

    return is_open && waits ? QUEUE_UNCERTAIN : state;
}

/* The columns above. */
static void fill_row(struct queue_row *row, sqlite3_stmt *statement)
{
    row->id = sqlite3_column_int64(statement, 0);
    row->received_ms = column_time(statement, 1);
    row->due_ms = column_time(statement, 2);
    row->state = row_state(statement);
    row->size = column_size(statement, 4);
    row->account = column_word(statement, 5);
    row->key_id = column_word(statement, 6);
    row->sender = column_word(statement, 7);
    row->recipient_count = (size_t)sqlite3_column_int64(statement, 8);
}

/* What a list shows of the recipients; counts those looked at. */
static enum store_result add_recipients(struct store *store, struct queue_row *row, size_t *looked)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT address, attempts, updated_ms, state, text FROM recipient"
                              " WHERE message = ? ORDER BY position");
    int64_t latest_ms = -1;
    enum db_result result;

    sqlite3_bind_int64(statement, 1, row->id);
    while ((result = db_step(store->db, statement)) == DB_ROW) {
        unsigned attempts = column_attempts(statement, 1);
        int64_t updated_ms = column_time(statement, 2);
        (*looked)++;
        if (row->recipient == NULL)
            row->recipient = column_word(statement, 0);
        if (attempts > row->attempts)
            row->attempts = attempts;
        if (column_state(statement, 3) == QUEUE_DELIVERED || updated_ms <= latest_ms ||
            sqlite3_column_type(statement, 4) == SQLITE_NULL)
            continue;
        latest_ms = updated_ms;
        free(row->last_text);
        row->last_text = column_dup(statement, 4);
    }
    sqlite3_reset(statement);
    if (row->recipient == NULL)
        row->recipient = xstrdup("");
    return store_result_of(result);
}

/* Has one of the recipients what the scan asks for? Counts those looked at. */
static enum store_result find_recipient(struct store *store, const struct store_scan *scan,
                                        int64_t id, size_t *looked, bool *found)
{
    sqlite3_stmt *statement = db_prepare(
        store->db,
        "SELECT address, state, coalesce(upstream, '') FROM recipient WHERE message = ?");
    enum db_result result = DB_OK;

    *found = scan->wants_recipient == NULL;
    sqlite3_bind_int64(statement, 1, id);
    while (!*found && (result = db_step(store->db, statement)) == DB_ROW) {
        const struct store_recipient_look look = {
            .address = column_text(statement, 0),
            .state = column_state(statement, 1),
            .upstream = column_text(statement, 2),
        };
        (*looked)++;
        *found = scan->wants_recipient(scan->owner, &look);
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

/* --- walking from newer to older ------------------------------------------------------------- */

/* What is done with a message that is wanted. The statement has the columns of a row. */
typedef enum store_result take_fn(void *taker, struct store *store, sqlite3_stmt *statement,
                                  size_t *looked, bool *enough);

static bool row_is_wanted(const struct store_scan *scan, sqlite3_stmt *statement)
{
    const struct store_look look = {
        .id = sqlite3_column_int64(statement, 0),
        .received_ms = column_time(statement, 1),
        .state = row_state(statement),
        .account = column_text(statement, 5),
        .key_id = column_text(statement, 6),
        .sender = column_text(statement, 7),
    };
    return scan->wants(scan->owner, &look);
}

static enum store_result walk(struct store *store, const struct store_scan *scan, take_fn *take,
                              void *taker, int64_t *next_id)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT " ROW_COLUMNS " FROM message WHERE id < ? AND id > ?"
                              " ORDER BY id DESC");
    enum store_result result = STORE_OK;
    enum db_result step = DB_OK;
    size_t looked = 0;
    bool wanted, enough = false;

    sqlite3_bind_int64(statement, 1, scan->before_id);
    sqlite3_bind_int64(statement, 2, scan->after_id);
    *next_id = 0;
    while (result == STORE_OK && (step = db_step(store->db, statement)) == DB_ROW) {
        if (enough || looked >= scan->look)
            break; /* there is more: next_id says where */
        looked++;
        *next_id = sqlite3_column_int64(statement, 0);
        if (!row_is_wanted(scan, statement))
            continue;
        result = find_recipient(store, scan, *next_id, &looked, &wanted);
        if (result == STORE_OK && wanted)
            result = take(taker, store, statement, &looked, &enough);
    }
    sqlite3_reset(statement);
    if (step == DB_OK)
        *next_id = 0;
    return result == STORE_OK ? store_result_of(step) : result;
}

struct page_taker {
    struct queue_page *page;
    size_t limit;
};

static enum store_result take_row(void *owner, struct store *store, sqlite3_stmt *statement,
                                  size_t *looked, bool *enough)
{
    struct page_taker *taker = owner;
    struct queue_row *row = &taker->page->rows[taker->page->count++];

    fill_row(row, statement);
    *enough = taker->page->count == taker->limit;
    return add_recipients(store, row, looked);
}

enum store_result store_list(struct store *store, const struct store_scan *scan,
                             struct queue_page *page)
{
    struct page_taker taker = { .page = page, .limit = scan->limit };

    return walk(store, scan, take_row, &taker, &page->next_id);
}

struct brief_taker {
    struct store_brief *briefs;
    size_t count, limit;
    uint64_t bytes;
};

static enum store_result take_brief(void *owner, struct store *store, sqlite3_stmt *statement,
                                    size_t *looked, bool *enough)
{
    struct brief_taker *taker = owner;
    struct store_brief *brief = &taker->briefs[taker->count++];

    (void)store;
    (void)looked;
    *brief = (struct store_brief){
        .id = sqlite3_column_int64(statement, 0),
        .due_ms = column_time(statement, 2),
        .state = column_state(statement, 3),
        .size = column_size(statement, 4),
        .has_chunks = sqlite3_column_int64(statement, 9) > 0,
        .attempt = (sqlite3_column_int64(statement, 10) & STORE_ATTEMPT) != 0,
        .reserved = (sqlite3_column_int64(statement, 10) & STORE_RESERVED) != 0,
        .account = column_word(statement, 5),
        .key = column_word(statement, 6),
    };
    taker->bytes += brief->size;
    *enough = taker->count == taker->limit || taker->bytes >= BRIEF_BYTES_MAX;
    return STORE_OK;
}

enum store_result store_find_wanted(struct store *store, const struct store_scan *scan,
                                    struct store_brief *briefs, size_t *count, int64_t *next_id)
{
    struct brief_taker taker = { .briefs = briefs, .limit = scan->limit };
    enum store_result result = walk(store, scan, take_brief, &taker, next_id);

    *count = taker.count;
    return result;
}

/* --- one message ----------------------------------------------------------------------------- */

/* Room for one more in an array of `count` elements, whose size is doubled as it grows. */
static void *grown(void *array, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return array;
    return xrealloc(array, (count == 0 ? 1 : count * 2) * size);
}

static enum store_result show_recipients(struct store *store, struct queue_story *story)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "SELECT address, state, attempts, due_ms, updated_ms, code, enhanced, text,"
                   " upstream FROM recipient WHERE message = ? ORDER BY position");
    enum db_result result;

    sqlite3_bind_int64(statement, 1, story->row.id);
    while ((result = db_step(store->db, statement)) == DB_ROW) {
        story->recipients =
            grown(story->recipients, story->recipient_count, sizeof(*story->recipients));
        struct queue_recipient_row *row = &story->recipients[story->recipient_count++];
        *row = (struct queue_recipient_row){
            .address = column_word(statement, 0),
            .state = column_state(statement, 1),
            .attempts = column_attempts(statement, 2),
            .due_ms = column_time(statement, 3),
            .updated_ms = column_time(statement, 4),
            .code = sqlite3_column_int(statement, 5),
            .text = column_dup(statement, 7),
            .upstream = column_dup(statement, 8),
        };
        column_copy(statement, 6, row->enhanced, sizeof(row->enhanced));
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

static void reverse_events(struct queue_story *story)
{
    for (size_t i = 0, j = story->event_count; i + 1 < j; i++) {
        struct queue_event_row row = story->events[i];
        story->events[i] = story->events[--j];
        story->events[j] = row;
    }
}

static enum store_result show_events(struct store *store, struct queue_story *story)
{
    /* The last ones are wanted, oldest first: read backwards, for a sort would read them all. */
    sqlite3_stmt *statement = db_prepare(
        store->db,
        "SELECT coalesce(wall_ms, at_us / 1000), what, (SELECT address FROM recipient AS r"
        "  WHERE r.message = e.message AND r.position = e.position),"
        " code, enhanced, text, upstream FROM event AS e"
        " WHERE message = ? ORDER BY at_us DESC LIMIT ?");
    enum db_result result;

    sqlite3_bind_int64(statement, 1, story->row.id);
    sqlite3_bind_int64(statement, 2, EVENTS_SHOWN);
    while ((result = db_step(store->db, statement)) == DB_ROW) {
        story->events = grown(story->events, story->event_count, sizeof(*story->events));
        struct queue_event_row *row = &story->events[story->event_count++];
        *row = (struct queue_event_row){
            .at_ms = column_time(statement, 0),
            .what = column_word(statement, 1),
            .recipient = column_dup(statement, 2),
            .code = sqlite3_column_int(statement, 3),
            .text = column_dup(statement, 5),
            .upstream = column_dup(statement, 6),
        };
        column_copy(statement, 4, row->enhanced, sizeof(row->enhanced));
    }
    sqlite3_reset(statement);
    reverse_events(story);
    return store_result_of(result);
}

enum store_result store_show(struct store *store, int64_t id, struct queue_story *story)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT " ROW_COLUMNS " FROM message WHERE id = ?");
    size_t looked = 0;

    sqlite3_bind_int64(statement, 1, id);
    enum db_result step = db_step(store->db, statement);
    if (step == DB_ROW)
        fill_row(&story->row, statement);
    sqlite3_reset(statement);
    if (step != DB_ROW)
        return step == DB_OK ? STORE_NONE : store_result_of(step);
    enum store_result result = add_recipients(store, &story->row, &looked);
    if (result == STORE_OK)
        result = show_recipients(store, story);
    if (result == STORE_OK)
        result = show_events(store, story);
    return result;
}
