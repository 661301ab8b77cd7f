/* queue_store_read.c - what is known of one message? For those who deliver it, and for decisions.
 * A row that makes no sense (a number that is no state) is read as failed, never as something to be
 * delivered; nor is one that could not be written again. */
#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"

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
    return state_is_stored(sqlite3_column_int64(statement, 0));
}

/* False when the content is larger than any that we store, or not all there: the row is not ours,
 * or damaged. */
static bool fill_message(struct record *record, sqlite3_stmt *statement)
{
    struct queue_message *message = &record->message;
    int64_t flags = sqlite3_column_int64(statement, 7);

    record->state = column_state(statement, 0);
    message->received_ms = column_time(statement, 1);
    record->aged_from_ms = column_time(statement, 2);
    message->account = column_word(statement, 3);
    column_copy(statement, 4, message->key_id, sizeof(message->key_id));
    message->sender = column_word(statement, 5);
    message->size = column_size(statement, 6);
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
        int64_t due = column_time(statement, 1);
        *state = state_livelier(*state, column_state(statement, 0));
        if (due != 0 && (*due_ms == 0 || due < *due_ms))
            *due_ms = due;
    }
    sqlite3_reset(statement);
    return store_result_of(result);
}

static void fill_brief(struct store_brief *brief, sqlite3_stmt *statement)
{
    brief->id = sqlite3_column_int64(statement, 0);
    brief->due_ms = column_time(statement, 1);
    brief->state = column_state(statement, 2);
    brief->size = column_size(statement, 3);
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
