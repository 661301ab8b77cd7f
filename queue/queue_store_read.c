/* queue_store_read.c - every statement that reads messages from queue.db.
 * Each question looks at a bounded number of rows, for it runs on the writer's thread and whoever
 * waits for a commit waits for it too. A row that makes no sense (a number that is no state) is
 * read as failed, never as something to be delivered; nor is one that could not be written again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "queue/queue_store_priv.h"
#include "relay/base/alloc.h"

#define EVENTS_SHOWN    1000
#define BRIEF_BYTES_MAX (UINT64_C(4) * 1024 * 1024) /* of messages to be changed in one step */

static char *column_dup(sqlite3_stmt *statement, int column) /* NULL for NULL */
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? NULL : xstrdup(text);
}

static const char *column_text(sqlite3_stmt *statement, int column) /* "" for NULL */
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? "" : text;
}

static char *column_word(sqlite3_stmt *statement, int column) /* the same, to be freed */
{
    return xstrdup(column_text(statement, column));
}

static void column_copy(sqlite3_stmt *statement, int column, char *to, size_t size)
{
    snprintf(to, size, "%s", column_text(statement, column));
}

static unsigned column_attempts(sqlite3_stmt *statement, int column)
{
    int64_t attempts = sqlite3_column_int64(statement, column);

    return attempts < 0                    ? 0
           : attempts > STORE_ATTEMPTS_MAX ? STORE_ATTEMPTS_MAX
                                           : (unsigned)attempts;
}

static enum queue_state column_state(sqlite3_stmt *statement, int column)
{
    int64_t number = sqlite3_column_int64(statement, column);

    return state_is_stored(number) ? (enum queue_state)number : QUEUE_FAILED_FOR_GOOD;
}

/* --- what is due ----------------------------------------------------------------------------- */

static char *column_bytes(sqlite3_stmt *statement, int column, size_t *len)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    *len = text == NULL ? 0 : (size_t)sqlite3_column_bytes(statement, column);
    return slice_dup(slice_make(text, *len));
}

static enum store_result read_lane(struct store *store, sqlite3_stmt *statement,
                                   struct store_lane *lane)
{
    enum db_result step = db_step(store->db, statement);

    *lane = (struct store_lane){ 0 };
    if (step == DB_ROW) {
        lane->account = column_bytes(statement, 0, &lane->account_len);
        lane->key = column_bytes(statement, 1, &lane->key_len);
        lane->due_ms = sqlite3_column_int64(statement, 2);
    }
    sqlite3_reset(statement);
    return step == DB_OK ? STORE_NONE : store_result_of(step);
}

/* A name that is no text is none of ours, and where it stands in the order a text cannot say: it
 * would keep the walk from coming to the names behind it. */
#define LANE_QUERY                                                                                 \
    "SELECT account, key_id, due_ms FROM message INDEXED BY message_lane WHERE due_ms IS NOT NULL" \
    " AND account < x'' AND typeof(key_id) = 'text'"

static enum store_result read_first_lane(struct store *store, struct store_lane *lane)
{
    return read_lane(store, /* no name is less than this */
                     db_prepare(store->db, LANE_QUERY " AND account >= ''"
                                                      " ORDER BY account, key_id, due_ms LIMIT 1"),
                     lane);
}

/* Two questions where one on (account, key_id) > (?, ?) would do, for that one SQLite answers by
 * reading through the whole lane that it is to leave behind. */
static enum store_result read_lane_after(struct store *store, const struct store_lane *before,
                                         struct store_lane *lane)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, LANE_QUERY " AND account = ?1 AND key_id > ?2"
                                         " ORDER BY account, key_id, due_ms LIMIT 1");

    sqlite3_bind_text(statement, 1, before->account, (int)before->account_len, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, before->key, (int)before->key_len, SQLITE_STATIC);
    enum store_result result = read_lane(store, statement, lane);
    if (result != STORE_NONE)
        return result;
    statement = db_prepare(store->db, LANE_QUERY " AND account > ?1"
                                                 " ORDER BY account, key_id, due_ms LIMIT 1");
    sqlite3_bind_text(statement, 1, before->account, (int)before->account_len, SQLITE_STATIC);
    return read_lane(store, statement, lane);
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static bool is_behind(const struct store_lane *lane, const struct store_lane *before)
{
    int order =
        compare_bytes(lane->account, lane->account_len, before->account, before->account_len);

    return order > 0 || (order == 0 &&
                         compare_bytes(lane->key, lane->key_len, before->key, before->key_len) > 0);
}

enum store_result store_next_lane(struct store *store, struct store_lane *lane)
{
    struct store_lane before = *lane;
    enum store_result result = before.account == NULL ? read_first_lane(store, lane)
                                                      : read_lane_after(store, &before, lane);

    if (result == STORE_OK && before.account != NULL && !is_behind(lane, &before)) {
        free(lane->account);
        free(lane->key);
        *lane = (struct store_lane){ 0 };
        result = STORE_FAILED;
    }
    free(before.account);
    free(before.key);
    return result;
}

struct due_walk {
    const struct store_due_question *question;
    struct store_place *due, *next;
    size_t count;
    bool ended;
};

/* Read from the index alone. The walk ends at the first row that is neither skipped nor taken, so
 * it is bounded by what is leased and what is wanted. */
static enum store_result walk_due(struct store *store, sqlite3_stmt *statement,
                                  struct due_walk *walk)
{
    const struct store_due_question *question = walk->question;
    enum db_result step = DB_OK;

    sqlite3_bind_text(statement, 1, question->account, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, question->key, -1, SQLITE_STATIC);
    while (!walk->ended && (step = db_step(store->db, statement)) == DB_ROW) {
        const struct store_place place = { sqlite3_column_int64(statement, 0),
                                           sqlite3_column_int64(statement, 1) };
        if (question->skip(question->owner, place.id))
            continue;
        walk->ended = place.due_ms > question->now_ms || walk->count == question->max;
        if (walk->ended)
            *walk->next = place;
        else
            walk->due[walk->count++] = place;
    }
    sqlite3_reset(statement);
    return store_result_of(step);
}

/* First what has the time of the place, then what has a later one: one question for both is
 * answered by reading all that have that time, and an operator's retry gives one time to a million.
 */
enum store_result store_find_due(struct store *store, const struct store_due_question *question,
                                 struct store_place *due, size_t *count, struct store_place *next)
{
    struct due_walk walk = { .question = question, .due = due, .next = next };
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT due_ms, id FROM message INDEXED BY message_lane"
                              " WHERE account = ?1 AND key_id = ?2 AND due_ms = ?3 AND id >= ?4"
                              " ORDER BY id");

    *next = STORE_PLACE_NONE;
    sqlite3_bind_int64(statement, 3, question->from.due_ms);
    sqlite3_bind_int64(statement, 4, question->from.id);
    enum store_result result = walk_due(store, statement, &walk);
    if (result == STORE_OK && !walk.ended) {
        statement = db_prepare(store->db, "SELECT due_ms, id FROM message INDEXED BY message_lane"
                                          " WHERE account = ?1 AND key_id = ?2 AND due_ms > ?3"
                                          " ORDER BY due_ms, id");
        sqlite3_bind_int64(statement, 3, question->from.due_ms);
        result = walk_due(store, statement, &walk);
    }
    *count = walk.count;
    return result;
}

/* What becomes of it is written into this row, with these two as they are. When one of them is not
 * what the table takes, or is no number of ours, that could never be recorded, and the recipient
 * would hear of the message again and again. */
static bool recipient_is_sound(sqlite3_stmt *statement)
{
    int64_t position = sqlite3_column_int64(statement, 0);

    return sqlite3_column_type(statement, 0) == SQLITE_INTEGER && position >= 0 &&
           position <= UINT32_MAX && sqlite3_column_type(statement, 1) == SQLITE_TEXT;
}

static enum store_result load_recipients(struct store *store, struct record *record, int64_t now_ms)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT position, address, state, attempts FROM recipient"
                              " WHERE message = ? AND due_ms <= ? ORDER BY position");
    enum db_result result;

    sqlite3_bind_int64(statement, 1, record->message.id);
    sqlite3_bind_int64(statement, 2, now_ms);
    while ((result = db_step(store->db, statement)) == DB_ROW) {
        enum queue_state state = column_state(statement, 2);
        if (queue_state_is_final(state) || !recipient_is_sound(statement))
            continue;
        struct queue_recipient *recipient = queue_message_add(
            &record->message, slice_of((const char *)sqlite3_column_text(statement, 1)));
        recipient->position = (uint32_t)sqlite3_column_int64(statement, 0);
        recipient->state = state;
        recipient->attempts = column_attempts(statement, 3);
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

/* A row with something else in it can be read, but not written: nothing that becomes of its message
 * could be recorded. */
static bool message_is_sound(sqlite3_stmt *statement)
{
    static const int types[] = {
        /* of the columns of store_load() */
        SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_TEXT,    SQLITE_TEXT,
        SQLITE_TEXT,    SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_INTEGER, SQLITE_INTEGER,
    };

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (sqlite3_column_type(statement, (int)i) != types[i])
            return false;
    return true;
}

/* False when the content is larger than any that we store, or not all there: the row is not ours,
 * or damaged. */
static bool fill_message(struct record *record, sqlite3_stmt *statement)
{
    struct queue_message *message = &record->message;
    int64_t flags = sqlite3_column_int64(statement, 7);

    record->state = column_state(statement, 0);
    message->received_ms = store_time(statement, 1);
    record->aged_from_ms = store_time(statement, 2);
    message->account = column_word(statement, 3);
    column_copy(statement, 4, message->key_id, sizeof(message->key_id));
    message->sender = column_word(statement, 5);
    message->size = store_size(statement, 6);
    message->eight_bit = (flags & STORE_EIGHT_BIT) != 0;
    message->sandbox = (flags & STORE_SANDBOX) != 0;
    record->interrupted = (flags & STORE_ATTEMPT) != 0;
    record->noticed = (flags & STORE_NOTICED) != 0;
    int64_t chunks = sqlite3_column_int64(statement, 8);
    message->chunks = (uint32_t)chunks;
    record->recipients = (uint32_t)sqlite3_column_int64(statement, 9);

    const void *content = sqlite3_column_blob(statement, 10);
    size_t len = (size_t)sqlite3_column_bytes(statement, 10);
    if (chunks < 0 || chunks > UINT32_MAX || len != (chunks == 0 ? message->size : 0))
        return false;
    return len == 0 || buf_add(&message->content, slice_make(content, len));
}

enum store_result store_load(struct store *store, int64_t id, int64_t now_ms,
                             struct record **loaded)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "SELECT state, received_ms, aged_from_ms, account, key_id, sender, size, flags,"
                   " chunks, recipients, content FROM message WHERE id = ?");
    struct record *record = record_of(queue_message_new(id));
    enum store_result result = STORE_NONE;

    sqlite3_bind_int64(statement, 1, id);
    enum db_result step = db_step(store->db, statement);
    if (step != DB_ROW)
        result = step == DB_OK ? STORE_NONE : store_result_of(step);
    else if (message_is_sound(statement) && fill_message(record, statement))
        result = STORE_OK;
    sqlite3_reset(statement);
    if (result == STORE_OK)
        result = load_recipients(store, record, now_ms);
    if (result == STORE_OK)
        *loaded = record;
    else
        queue_message_free(&record->message);
    return result;
}

enum store_result store_read_chunk(struct store *store, int64_t id, uint32_t seq, struct buf *chunk)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT data FROM body WHERE message = ? AND seq = ?");
    enum store_result result = STORE_NONE;

    buf_init(chunk, QUEUE_CHUNK_BYTES);
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, seq);
    enum db_result step = db_step(store->db, statement);
    if (step == DB_ROW) {
        const void *data = sqlite3_column_blob(statement, 0);
        size_t len = (size_t)sqlite3_column_bytes(statement, 0);
        if (len > 0 && buf_add(chunk, slice_make(data, len)))
            result = STORE_OK;
    } else if (step != DB_OK) {
        result = store_result_of(step);
    }
    sqlite3_reset(statement);
    return result;
}

enum store_result store_summarize(struct store *store, int64_t id, enum queue_state *state,
                                  int64_t *due_ms)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "SELECT state, due_ms FROM recipient WHERE message = ?");
    enum db_result result;

    *state = QUEUE_SANDBOXED; /* the least lively */
    *due_ms = 0;
    sqlite3_bind_int64(statement, 1, id);
    while ((result = db_step(store->db, statement)) == DB_ROW) {
        int64_t due = store_time(statement, 1);
        *state = state_livelier(*state, column_state(statement, 0));
        if (due != 0 && (*due_ms == 0 || due < *due_ms))
            *due_ms = due;
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

/* --- for operators --------------------------------------------------------------------------- */

static void fill_brief(struct store_brief *brief, sqlite3_stmt *statement)
{
    brief->id = sqlite3_column_int64(statement, 0);
    brief->due_ms = store_time(statement, 1);
    brief->state = column_state(statement, 2);
    brief->size = store_size(statement, 3);
    brief->has_chunks = sqlite3_column_int64(statement, 4) > 0;
    brief->attempt = (sqlite3_column_int64(statement, 5) & STORE_ATTEMPT) != 0;
    brief->reserved = (sqlite3_column_int64(statement, 5) & STORE_RESERVED) != 0;
}

enum store_result store_find(struct store *store, int64_t id, struct store_brief *brief)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "SELECT id, due_ms, state, size, chunks, flags FROM message WHERE id = ?");

    sqlite3_bind_int64(statement, 1, id);
    enum db_result result = db_step(store->db, statement);
    if (result == DB_ROW)
        fill_brief(brief, statement);
    sqlite3_reset(statement);
    return result == DB_OK ? STORE_NONE : store_result_of(result);
}

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
    row->received_ms = store_time(statement, 1);
    row->due_ms = store_time(statement, 2);
    row->state = row_state(statement);
    row->size = store_size(statement, 4);
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
        int64_t updated_ms = store_time(statement, 2);
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

/* What is done with a message that is wanted. The statement has the columns of a row. */
typedef enum store_result take_fn(void *taker, struct store *store, sqlite3_stmt *statement,
                                  size_t *looked, bool *enough);

static bool row_is_wanted(const struct store_scan *scan, sqlite3_stmt *statement)
{
    const struct store_look look = {
        .id = sqlite3_column_int64(statement, 0),
        .received_ms = store_time(statement, 1),
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
        .due_ms = store_time(statement, 2),
        .state = column_state(statement, 3),
        .size = store_size(statement, 4),
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
            .due_ms = store_time(statement, 3),
            .updated_ms = store_time(statement, 4),
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
            .at_ms = store_time(statement, 0),
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
