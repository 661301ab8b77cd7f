/* queue_store_write.c - every statement that puts a message into queue.db, records what became of
 * it, or takes it out. Each runs inside the writer's transaction. */
#include "queue/queue_priv.h"
#include "queue/queue_store_column.h"
#include "queue/queue_store_priv.h"
#include "relay/base/clock.h"

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    if (text != NULL)
        sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

static void bind_time(sqlite3_stmt *statement, int index, int64_t ms)
{
    if (ms != 0)
        sqlite3_bind_int64(statement, index, ms);
}

/* --- messages come in ------------------------------------------------------------------------ */

static enum store_result insert_recipient(struct store *store, int64_t id,
                                          const struct queue_recipient *recipient,
                                          const struct store_birth *birth)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "INSERT INTO recipient (message, position, address, state, attempts, due_ms,"
                   " updated_ms, code, enhanced) VALUES (?, ?, ?, ?, 0, ?, ?, 0, '')");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, recipient->position);
    bind_text(statement, 3, recipient->address);
    sqlite3_bind_int64(statement, 4, birth->state);
    bind_time(statement, 5, birth->due_ms);
    sqlite3_bind_int64(statement, 6, birth->wall_ms);
    return store_run(store, statement);
}

static enum store_result insert_message(struct store *store, const struct queue_message *message,
                                        const struct store_birth *birth)
{
    sqlite3_stmt *statement = db_prepare(
        store->db,
        "INSERT INTO message (id, due_ms, state, received_ms, aged_from_ms, ended_ms, account,"
        " key_id, sender, size, chunks, flags, recipients, content)"
        " VALUES (?1, ?2, ?3, ?4, ?14, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    struct slice content = buf_slice(&message->content);

    sqlite3_bind_int64(statement, 1, message->id);
    bind_time(statement, 2, birth->due_ms);
    sqlite3_bind_int64(statement, 3, birth->state);
    sqlite3_bind_int64(statement, 4, message->received_ms);
    bind_time(statement, 5, queue_state_is_final(birth->state) ? birth->aged_from_ms : 0);
    bind_text(statement, 6, message->account == NULL ? "" : message->account);
    bind_text(statement, 7, message->key_id);
    bind_text(statement, 8, message->sender == NULL ? "" : message->sender);
    sqlite3_bind_int64(statement, 9, (int64_t)message->size);
    sqlite3_bind_int64(statement, 10, message->chunks);
    sqlite3_bind_int64(statement, 11,
                       STORE_ALWAYS | (message->eight_bit ? STORE_EIGHT_BIT : 0) |
                           (message->sandbox ? STORE_SANDBOX : 0) |
                           (birth->attempt ? STORE_ATTEMPT : 0));
    sqlite3_bind_int64(statement, 12, (int64_t)message->recipient_count);
    sqlite3_bind_int64(statement, 14, birth->aged_from_ms);
    if (birth->with_content && message->chunks == 0)
        sqlite3_bind_blob64(statement, 13, content.len == 0 ? "" : content.data, content.len,
                            SQLITE_STATIC);
    return store_run(store, statement);
}

enum store_result store_insert(struct store *store, const struct queue_message *message,
                               const struct store_birth *birth)
{
    enum store_result result = insert_message(store, message, birth);

    for (size_t i = 0; i < message->recipient_count && result == STORE_OK; i++)
        result = insert_recipient(store, message->id, &message->recipients[i], birth);
    store_count(store, birth->state, 1, message->size);
    return result;
}

enum store_result store_append(struct store *store, int64_t id, uint32_t seq, struct slice data)
{
    enum store_result result = STORE_OK;

    if (seq == 0)
        result = store_run_for(store, "INSERT INTO incoming (message) VALUES (?)", id);
    if (result != STORE_OK)
        return result;
    sqlite3_stmt *statement =
        db_prepare(store->db, "INSERT INTO body (message, seq, data) SELECT ?1, ?2, ?3"
                              " WHERE EXISTS (SELECT 1 FROM incoming WHERE message = ?1)");
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, seq);
    sqlite3_bind_blob64(statement, 3, data.data, data.len, SQLITE_STATIC);
    result = store_run(store, statement);
    if (result == STORE_OK && !store_changed_a_row(store))
        return STORE_NONE;
    return result;
}

/* Are the chunks of `id` those of one whole message? length() of a blob does not read it. */
enum store_result store_check(struct store *store, int64_t id, uint32_t chunks, uint64_t size)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "SELECT count(*), coalesce(max(seq), -1), coalesce(sum(length(data)), 0)"
                   " FROM body WHERE message = ?1"
                   " AND EXISTS (SELECT 1 FROM incoming WHERE message = ?1)");
    sqlite3_bind_int64(statement, 1, id);
    enum db_result result = db_step(store->db, statement);
    bool whole = result == DB_ROW && sqlite3_column_int64(statement, 0) == chunks &&
                 sqlite3_column_int64(statement, 1) == (int64_t)chunks - 1 &&
                 sqlite3_column_int64(statement, 2) == (int64_t)size;

    sqlite3_reset(statement);
    if (result == DB_ROW && !whole)
        return STORE_NONE;
    return store_result_of(result);
}

enum store_result store_claim(struct store *store, int64_t id, uint32_t chunks, uint64_t size)
{
    enum store_result result = store_check(store, id, chunks, size);

    if (result == STORE_OK)
        result = store_run_for(store, "DELETE FROM incoming WHERE message = ?", id);
    return result;
}

enum store_result store_discard(struct store *store, int64_t id)
{
    /* A message that was submitted after all is not in `incoming`: its chunks are safe from this.
     */
    enum store_result result =
        store_run_for(store,
                      "DELETE FROM body WHERE message = ?1"
                      " AND EXISTS (SELECT 1 FROM incoming WHERE message = ?1)",
                      id);

    if (result == STORE_OK)
        result = store_run_for(store, "DELETE FROM incoming WHERE message = ?", id);
    store_use_id(store, id);
    return result;
}

/* --- what became of them --------------------------------------------------------------------- */

enum store_result store_set_outcome(struct store *store, int64_t id,
                                    const struct store_outcome *outcome)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "UPDATE recipient SET state = ?3, attempts = ?4, due_ms = ?5, updated_ms = ?6,"
                   " code = ?7, enhanced = ?8, text = ?9, upstream = ?10"
                   " WHERE message = ?1 AND position = ?2");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, outcome->position);
    sqlite3_bind_int64(statement, 3, outcome->state);
    sqlite3_bind_int64(statement, 4, outcome->attempts);
    bind_time(statement, 5, outcome->due_ms);
    sqlite3_bind_int64(statement, 6, outcome->wall_ms);
    sqlite3_bind_int64(statement, 7, outcome->code);
    bind_text(statement, 8, outcome->enhanced);
    bind_text(statement, 9, outcome->text);
    bind_text(statement, 10, outcome->upstream);
    return store_run(store, statement);
}

enum store_result store_postpone(struct store *store, int64_t id, uint32_t position, int64_t due_ms)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "UPDATE recipient SET due_ms = ?3 WHERE message = ?1 AND position = ?2");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, position);
    sqlite3_bind_int64(statement, 3, due_ms);
    return store_run(store, statement);
}

enum store_result store_add_event(struct store *store, int64_t id, const struct store_event *event)
{
    /* The wall clock may have gone back since the message's last one. OR REPLACE, and the bound,
     * which nobody reaches: a line of history from a damaged file may be lost, which is better than
     * a settlement that can never be written. */
    sqlite3_stmt *statement =
        db_prepare(store->db, "INSERT OR REPLACE INTO event (message, at_us, what, position, code,"
                              " enhanced, text, upstream, wall_ms)"
                              " VALUES (?1, max(?2 * 1000, 1 + coalesce((SELECT max(at_us)"
                              "  FROM event WHERE message = ?1 AND at_us < 1 << 62), 0)),"
                              " ?3, ?4, ?5, ?6, ?7, ?8, ?2)");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, clock_wall_ms());
    bind_text(statement, 3, event->what);
    sqlite3_bind_int64(statement, 4, event->position);
    sqlite3_bind_int64(statement, 5, event->code);
    bind_text(statement, 6, event->enhanced);
    bind_text(statement, 7, event->text);
    bind_text(statement, 8, event->upstream);
    return store_run(store, statement);
}

static enum store_result update_message(struct store *store, const struct store_change *change)
{
    static const char keep[] =
        "UPDATE message SET state = ?2, due_ms = ?3, ended_ms = ?4,"
        " aged_from_ms = coalesce(?5, aged_from_ms, 0), flags = flags & ~?7 | ?8"
        " WHERE id = ?1 AND state = ?6";
    static const char drop[] =
        "UPDATE message SET state = ?2, due_ms = ?3, ended_ms = ?4,"
        " aged_from_ms = coalesce(?5, aged_from_ms, 0), flags = flags & ~?7 | ?8, content = NULL"
        " WHERE id = ?1 AND state = ?6";
    sqlite3_stmt *statement = db_prepare(store->db, change->drop_content ? drop : keep);

    sqlite3_bind_int64(statement, 1, change->id);
    sqlite3_bind_int64(statement, 2, change->to);
    bind_time(statement, 3, change->due_ms);
    bind_time(statement, 4, change->ended_ms);
    bind_time(statement, 5, change->aged_from_ms);
    sqlite3_bind_int64(statement, 6, change->from);
    sqlite3_bind_int64(statement, 7,
                       (change->ends_attempt ? STORE_ATTEMPT : 0) |
                           (change->frees ? STORE_RESERVED : 0));
    sqlite3_bind_int64(statement, 8,
                       STORE_ALWAYS | (change->noticed ? STORE_NOTICED : 0) |
                           (change->reserves ? STORE_RESERVED : 0));
    return store_run(store, statement);
}

/* A change or removal may be asked for twice: when a sync failed, what it was to write may be there
 * all the same once the log was read again. Then the message is gone or in another state than the
 * caller knew. It is written from there, and nothing is counted twice. */
enum store_result store_change(struct store *store, const struct store_change *asked)
{
    struct store_change found = *asked;
    const struct store_change *change = &found;
    struct store_brief brief;
    enum store_result result = update_message(store, change);

    if (result == STORE_OK && !store_changed_a_row(store)) {
        result = store_find(store, change->id, &brief);
        if (result != STORE_OK)
            return result == STORE_NONE ? STORE_OK : result;
        found.from = brief.state;
        result = update_message(store, change);
    }
    if (result != STORE_OK || !store_changed_a_row(store))
        return result;
    if (change->drop_content && change->has_chunks)
        result = store_run_for(store, "DELETE FROM body WHERE message = ?", change->id);
    store_count(store, change->from, -1, change->size);
    store_count(store, change->to, 1, change->size);
    return result;
}

enum store_result store_mark_attempt(struct store *store, int64_t id, bool begins)
{
    sqlite3_stmt *statement =
        db_prepare(store->db, "UPDATE message SET flags = flags & ~?2 | ?3 WHERE id = ?1");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, STORE_ATTEMPT);
    sqlite3_bind_int64(statement, 3, STORE_ALWAYS | (begins ? STORE_ATTEMPT : 0));
    return store_run(store, statement);
}

enum store_result store_unmark_noted(struct store *store, int64_t id, uint32_t position,
                                     unsigned attempts)
{
    sqlite3_stmt *statement = db_prepare(
        store->db, "UPDATE message SET flags = flags & ~?4 WHERE id = ?1 AND EXISTS (SELECT 1"
                   " FROM recipient WHERE message = ?1 AND position = ?2 AND attempts > ?3)");

    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, position);
    sqlite3_bind_int64(statement, 3, attempts);
    sqlite3_bind_int64(statement, 4, STORE_ATTEMPT);
    return store_run(store, statement);
}

enum store_result store_remove(struct store *store, const struct store_removal *removal)
{
    enum store_result result =
        store_run_for(store, "DELETE FROM recipient WHERE message = ?", removal->id);

    if (result == STORE_OK && removal->has_chunks)
        result = store_run_for(store, "DELETE FROM body WHERE message = ?", removal->id);
    if (result == STORE_OK && removal->has_events)
        result = store_run_for(store, "DELETE FROM event WHERE message = ?", removal->id);
    if (result == STORE_OK)
        result = store_run_for(store, "DELETE FROM message WHERE id = ?", removal->id);
    if (result == STORE_OK && store_changed_a_row(store))
        store_count(store, removal->from, -1, removal->size);
    store_use_id(store, removal->id);
    return result;
}
