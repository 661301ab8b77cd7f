/* store_operations.h - all that can be asked of the store, asked in the world of store_world.h.
 * A row of the table asks, and tells what it heard as text, so that two answers can be compared. */
#ifndef LATCHPOST_TESTS_STORE_OPERATIONS_H
#define LATCHPOST_TESTS_STORE_OPERATIONS_H

#include "tests/support/store_world.h"

enum operation_kind {
    READS,  /* outside of a transaction, and changes nothing */
    WRITES, /* in a transaction, which is committed */
    IDLES,  /* the same, but there is nothing to be changed */
    ALONE,  /* outside, and nobody sees a difference afterwards */
};

enum operation_again { /* when it was done already, for nobody can know after a failed sync */
                       AGAIN_IS_THE_SAME,
                       AGAIN_GROWS, /* a line more in a history */
                       AGAIN_FAILS, /* the id is taken */
};

struct operation {
    const char *name;
    enum operation_kind kind;
    enum store_result (*run)(struct world *world);
    enum operation_again again;
    enum store_result want;
};

static inline void tell(struct world *world, const char *format, ...)
{
    size_t room = sizeof(world->answer) - world->answer_len;
    va_list list;

    va_start(list, format);
    int len = vsnprintf(world->answer + world->answer_len, room, format, list);
    va_end(list);
    assert_true(len >= 0 && (size_t)len < room);
    world->answer_len += (size_t)len;
}

static inline const char *or_none(const char *text)
{
    return text == NULL ? "-" : text;
}

/* --- messages come in --------------------------------------------------------------------------
 */

static enum store_result op_insert(struct world *world)
{
    return w_insert(world->store, W_NEW, "new", 6000, QUEUE_QUEUED);
}

static enum store_result op_insert_many(struct world *world)
{
    enum store_result result = STORE_OK;

    for (int64_t i = 0; i < 12 && result == STORE_OK; i++)
        result = w_insert(world->store, W_NEW + i, "new", 9000, QUEUE_SANDBOXED);
    return result;
}

static enum store_result op_claim(struct world *world)
{
    return w_insert(world->store, W_COMING, "new", 0, QUEUE_QUEUED);
}

static enum store_result op_append_first(struct world *world)
{
    return w_append(world->store, W_NEW, 0);
}

static enum store_result op_append_next(struct world *world)
{
    return w_append(world->store, W_COMING_TOO, 1);
}

static enum store_result op_append_to_nobody(struct world *world)
{
    return w_append(world->store, W_NEW, 1);
}

static enum store_result op_check(struct world *world)
{
    return store_check(world->store, W_COMING, W_CHUNKS, W_CHUNKS * W_CHUNK_BYTES);
}

static enum store_result op_check_short(struct world *world)
{
    return store_check(world->store, W_COMING_TOO, W_CHUNKS, W_CHUNKS * W_CHUNK_BYTES);
}

static enum store_result op_discard(struct world *world)
{
    enum store_result result = store_discard(world->store, W_COMING);

    return result != STORE_OK ? result : store_discard(world->store, W_LARGE); /* whose are safe */
}

static enum store_result op_remove_orphans(struct world *world)
{
    return store_remove_orphans(world->store);
}

/* --- tokens ------------------------------------------------------------------------------------
 */

static enum store_result add_once(struct world *world, const char *token)
{
    const struct queue_once once = { .token = token, .fingerprint = { 7 }, .answer = "{\"a\":1}" };

    return store_add_once(world->store, W_NEW, "7Fq2mZ81", &once, W_NOW_MS);
}

static enum store_result op_add_once(struct world *world)
{
    return add_once(world, "another");
}

static enum store_result op_replace_once(struct world *world)
{
    return add_once(world, "token-1");
}

static enum store_result op_remove_once(struct world *world)
{
    return store_remove_once(world->store, W_QUEUED);
}

static enum store_result op_prune_once(struct world *world)
{
    bool more;
    enum store_result result = store_prune_once(world->store, W_NOW_MS + 2, 10, &more);

    if (result == STORE_OK)
        tell(world, "more %d", more);
    return result;
}

static enum store_result find_once(struct world *world, const char *token)
{
    struct store_once once = { 0 };
    enum store_result result =
        store_find_once(world->store, "7Fq2mZ81", token, W_NOW_MS - 1, &once);

    if (result == STORE_OK)
        tell(world, "%d %d %s", (int)once.id, once.fingerprint[0], once.answer);
    free(once.answer);
    return result;
}

static enum store_result op_find_once(struct world *world)
{
    return find_once(world, "token-1");
}

static enum store_result op_find_no_once(struct world *world)
{
    return find_once(world, "nobody's");
}

/* --- what became of them -----------------------------------------------------------------------
 */

static enum store_result set_outcome(struct world *world, int64_t id, enum queue_state state)
{
    const struct store_outcome outcome = {
        .position = 0,
        .state = state,
        .attempts = 1,
        .due_ms = queue_state_is_final(state) ? 0 : W_NOW_MS + 5000,
        .wall_ms = W_NOW_MS,
        .code = 250,
        .enhanced = "2.0.0",
        .text = "a text so long that its row is longer than before",
        .upstream = "main",
    };

    return store_set_outcome(world->store, id, &outcome);
}

static enum store_result op_set_outcome(struct world *world)
{
    return set_outcome(world, W_QUEUED, QUEUE_DELIVERED);
}

static enum store_result op_postpone(struct world *world)
{
    return store_postpone(world->store, W_QUEUED, 1, W_NOW_MS + 7000);
}

static enum store_result op_add_event(struct world *world)
{
    return store_add_event(world->store, W_QUEUED, &w_event);
}

static enum store_result change(struct world *world, int64_t id, enum queue_state from,
                                enum queue_state to, bool drops)
{
    const struct store_change asked = {
        .id = id,
        .from = from,
        .to = to,
        .size = id == W_LARGE ? W_CHUNKS * W_CHUNK_BYTES : 6000,
        .due_ms = queue_state_is_final(to) ? 0 : W_NOW_MS + 5000,
        .ended_ms = queue_state_is_final(to) ? W_NOW_MS : 0,
        .ends_attempt = true,
        .noticed = !drops,
        .drop_content = drops,
        .has_chunks = id == W_LARGE,
    };

    return store_change(world->store, &asked);
}

static enum store_result op_change(struct world *world)
{
    return change(world, W_QUEUED, QUEUE_QUEUED, QUEUE_DEFERRED, false);
}

static enum store_result op_change_and_drop(struct world *world)
{
    return change(world, W_LARGE, QUEUE_QUEUED, QUEUE_DELIVERED, true);
}

/* The caller knew it in another state. */
static enum store_result op_change_what_changed(struct world *world)
{
    return change(world, W_QUEUED, QUEUE_DEFERRED, QUEUE_DELIVERED, true);
}

static enum store_result op_change_nobody(struct world *world)
{
    return change(world, W_NEW, QUEUE_QUEUED, QUEUE_DELIVERED, true);
}

static enum store_result op_mark_attempt(struct world *world)
{
    return store_mark_attempt(world->store, W_CROWD, true);
}

static enum store_result op_settle(struct world *world)
{
    enum queue_state state;
    int64_t due_ms;
    enum store_result result = set_outcome(world, W_QUEUED, QUEUE_DEFERRED);

    if (result == STORE_OK)
        result = store_add_event(world->store, W_QUEUED, &w_event);
    if (result == STORE_OK)
        result = store_summarize(world->store, W_QUEUED, &state, &due_ms);
    if (result == STORE_OK)
        result = change(world, W_QUEUED, QUEUE_QUEUED, state, false);
    return result;
}

static enum store_result op_remove(struct world *world)
{
    const struct store_removal removal = {
        .id = W_LARGE,
        .from = QUEUE_QUEUED,
        .size = W_CHUNKS * W_CHUNK_BYTES,
        .has_chunks = true,
        .has_events = true,
    };

    return store_remove(world->store, &removal);
}

/* --- an operator's acts ------------------------------------------------------------------------
 */

static enum store_result act(struct world *world, int64_t id, bool only_later, bool with_failed,
                             enum store_result (*steer)(struct store *, const struct store_act *,
                                                        struct store_acted *))
{
    const struct store_act asked = {
        .id = id,
        .wall_ms = W_NOW_MS + 1,
        .due_ms = W_NOW_MS,
        .only_later = only_later,
        .with_failed = with_failed,
    };
    struct store_acted acted = { 0 };
    enum store_result result = steer(world->store, &asked, &acted);

    if (result != STORE_OK)
        assert_false(acted.changed && !with_failed);
    return result;
}

static enum store_result op_revive(struct world *world)
{
    return act(world, W_DEFERRED, false, false, store_revive);
}

static enum store_result op_revive_later(struct world *world)
{
    return act(world, W_DEFERRED, true, false, store_revive);
}

static enum store_result op_revive_failed(struct world *world)
{
    return act(world, W_DEFERRED, false, true, store_revive);
}

static enum store_result op_hold(struct world *world)
{
    return act(world, W_QUEUED, false, false, store_hold);
}

static enum store_result op_release(struct world *world)
{
    return act(world, W_HELD, false, false, store_release);
}

static enum store_result op_cancel(struct world *world)
{
    return act(world, W_QUEUED, false, false, store_cancel);
}

static enum store_result op_doubt(struct world *world)
{
    const struct store_act asked = { .id = W_UNCERTAIN,
                                     .wall_ms = W_NOW_MS + 1,
                                     .due_ms = W_NOW_MS + 9 };
    size_t count;

    return store_doubt(world->store, &asked, "the process ended", &count);
}

/* --- pruning, time, ids ------------------------------------------------------------------------
 */

static bool skip_nobody(void *owner, int64_t id)
{
    (void)owner;
    (void)id;
    return false;
}

static enum store_result op_find_ended(struct world *world)
{
    struct store_pruning pruning = {
        .below_id = W_NEW,
        .ended_ms = W_NOW_MS + 1,
        .skip = skip_nobody,
    };

    store_find_ended(world->store, &pruning);
    if (pruning.has_gap)
        return STORE_FAILED;
    for (size_t i = 0; i < pruning.count; i++)
        tell(world, "%d ", (int)pruning.removals[i].id);
    tell(world, "then %d", (int)pruning.cursor);
    return STORE_OK;
}

static enum store_result op_prune(struct world *world)
{
    struct store_pruning pruning = {
        .removals = { { W_FAILED, QUEUE_FAILED_FOR_GOOD, W_CHUNKS * W_CHUNK_BYTES, true, true },
                      { W_DELIVERED, QUEUE_DELIVERED, 100, true, true },
                      { W_CANCELLED, QUEUE_CANCELLED, 100, true, true } },
        .count = 3,
    };
    enum store_result result = store_prune(world->store, &pruning);

    assert_int_equal(pruning.failed_id != 0, result == STORE_FAILED);
    return result;
}

static enum store_result op_save_point(struct world *world)
{
    const struct timeline_point point = { W_NOW_MS + 1, W_NOW_MS + 1, W_NOW_MS, 5, "boot" };

    return store_save_point(world->store, &point);
}

static enum store_result op_use_id(struct world *world)
{
    store_use_id(world->store, W_NEW + 1);
    return STORE_OK;
}

static enum store_result op_load_point(struct world *world)
{
    struct timeline_point point;
    enum store_result result = store_load_point(world->store, &point);

    if (result == STORE_OK)
        tell(world, "%d %d", (int)(point.now_ms - W_NOW_MS), (int)(point.lived_ms - W_NOW_MS));
    return result;
}

static enum store_result op_last_id(struct world *world)
{
    int64_t id;
    enum store_result result = store_last_id(world->store, &id);

    if (result == STORE_OK)
        tell(world, "%d", (int)id);
    return result;
}

static enum store_result op_touch(struct world *world)
{
    return store_touch(world->store);
}

static enum store_result op_nothing(struct world *world)
{
    (void)world;
    return STORE_OK;
}

static enum store_result op_checkpoint(struct world *world)
{
    return store_checkpoint(world->store);
}

/* --- looking -----------------------------------------------------------------------------------
 */

static enum store_result op_next_lane(struct world *world)
{
    struct store_lane lane = { 0 };
    enum store_result result;

    while ((result = store_next_lane(world->store, &lane)) == STORE_OK)
        tell(world, "%s %s %d\n", lane.account, lane.key, (int)(lane.due_ms - W_NOW_MS));
    assert_null(lane.account);
    assert_null(lane.key);
    return result;
}

static enum store_result find_due(struct world *world, struct store_place from)
{
    const struct store_due_question question = {
        .account = "a1",
        .key = "7Fq2mZ81",
        .from = from,
        .now_ms = W_NOW_MS + 1,
        .skip = skip_nobody,
        .max = 4,
    };
    struct store_place due[4], next;
    size_t count;
    enum store_result result = store_find_due(world->store, &question, due, &count, &next);

    if (result != STORE_OK)
        return result;
    for (size_t i = 0; i < count; i++)
        tell(world, "%d ", (int)due[i].id);
    tell(world, "next %d", (int)next.id);
    return result;
}

static enum store_result op_find_due(struct world *world)
{
    return find_due(world, (struct store_place){ 0, 0 });
}

static enum store_result op_find_due_from(struct world *world)
{
    return find_due(world, (struct store_place){ W_NOW_MS, 10 });
}

static enum store_result load(struct world *world, int64_t id)
{
    struct record *record = NULL;
    enum store_result result = store_load(world->store, id, W_NOW_MS + 9, &record);

    if (result != STORE_OK) {
        assert_null(record);
        return result;
    }
    const struct queue_message *message = &record->message;
    tell(world, "%s %s %s %d %u %zu %d %.*s\n", message->account, message->key_id, message->sender,
         (int)message->size, message->chunks, buf_len(&message->content), record->state,
         (int)buf_len(&message->content), (const char *)buf_slice(&message->content).data);
    for (size_t i = 0; i < message->recipient_count; i++)
        tell(world, "%s %d\n", message->recipients[i].address, message->recipients[i].state);
    queue_message_free(&record->message);
    return result;
}

static enum store_result op_load(struct world *world)
{
    return load(world, W_QUEUED);
}

static enum store_result op_load_nobody(struct world *world)
{
    return load(world, W_NEW);
}

static enum store_result read_chunk(struct world *world, uint32_t seq)
{
    struct buf chunk;
    enum store_result result = store_read_chunk(world->store, W_LARGE, seq, &chunk);

    tell(world, "%.*s", (int)buf_len(&chunk), (const char *)buf_slice(&chunk).data);
    if (result != STORE_OK)
        assert_int_equal(buf_len(&chunk), 0);
    buf_free(&chunk);
    return result;
}

static enum store_result op_read_chunk(struct world *world)
{
    return read_chunk(world, 1);
}

static enum store_result op_read_no_chunk(struct world *world)
{
    return read_chunk(world, W_CHUNKS);
}

static enum store_result op_summarize(struct world *world)
{
    enum queue_state state;
    int64_t due_ms;
    enum store_result result = store_summarize(world->store, W_DEFERRED, &state, &due_ms);

    if (result == STORE_OK)
        tell(world, "%d %d", state, (int)(due_ms - W_NOW_MS));
    return result;
}

static enum store_result find(struct world *world, int64_t id)
{
    struct store_brief brief = { 0 };
    enum store_result result = store_find(world->store, id, &brief);

    if (result == STORE_OK)
        tell(world, "%d %d %d %d", (int)brief.id, brief.state, brief.has_chunks, brief.attempt);
    return result;
}

static enum store_result op_find(struct world *world)
{
    return find(world, W_LARGE);
}

static enum store_result op_find_nobody(struct world *world)
{
    return find(world, W_NEW);
}

static bool wants_all(void *owner, const struct store_look *look)
{
    (void)owner;
    return look->account[0] != 'n';
}

static bool wants_two(void *owner, const struct store_recipient_look *look)
{
    (void)owner;
    return strncmp(look->address, "two@", 4) == 0;
}

static struct store_scan scan(size_t limit)
{
    return (struct store_scan){
        .before_id = INT64_MAX,
        .limit = limit,
        .look = 100,
        .wants = wants_all,
        .wants_recipient = wants_two,
    };
}

static inline void forget_row(struct queue_row *row)
{
    free(row->account);
    free(row->key_id);
    free(row->sender);
    free(row->recipient);
    free(row->last_text);
}

static inline void tell_row(struct world *world, const struct queue_row *row)
{
    tell(world, "%d %d %s %s %s %s %u %s\n", (int)row->id, row->state, row->account, row->key_id,
         row->sender, row->recipient, row->attempts, or_none(row->last_text));
}

static enum store_result op_list(struct world *world)
{
    struct queue_row rows[64] = { 0 };
    struct queue_page page = { .rows = rows };
    const struct store_scan all = scan(ARRAY_LEN(rows));
    enum store_result result = store_list(world->store, &all, &page);

    for (size_t i = 0; i < page.count; i++) {
        if (result == STORE_OK)
            tell_row(world, &rows[i]);
        forget_row(&rows[i]);
    }
    return result;
}

static enum store_result op_find_wanted(struct world *world)
{
    struct store_brief briefs[5];
    const struct store_scan some = scan(ARRAY_LEN(briefs));
    size_t count;
    int64_t next_id;
    enum store_result result = store_find_wanted(world->store, &some, briefs, &count, &next_id);

    for (size_t i = 0; i < count; i++) {
        tell(world, "%d %s %s\n", (int)briefs[i].id, briefs[i].account, briefs[i].key);
        free(briefs[i].account);
        free(briefs[i].key);
    }
    if (result == STORE_OK)
        tell(world, "next %d", (int)next_id);
    return result;
}

static inline void forget_story(struct queue_story *story)
{
    for (size_t i = 0; i < story->recipient_count; i++) {
        free(story->recipients[i].address);
        free(story->recipients[i].text);
        free(story->recipients[i].upstream);
    }
    for (size_t i = 0; i < story->event_count; i++) {
        free(story->events[i].what);
        free(story->events[i].recipient);
        free(story->events[i].text);
        free(story->events[i].upstream);
    }
    free(story->recipients);
    free(story->events);
    forget_row(&story->row);
}

static enum store_result show(struct world *world, int64_t id)
{
    struct queue_story story = { 0 };
    enum store_result result = store_show(world->store, id, &story);

    if (result == STORE_OK)
        tell_row(world, &story.row);
    for (size_t i = 0; i < story.recipient_count && result == STORE_OK; i++)
        tell(world, "%s %d %s %s\n", story.recipients[i].address, story.recipients[i].state,
             or_none(story.recipients[i].text), or_none(story.recipients[i].upstream));
    for (size_t i = 0; i < story.event_count && result == STORE_OK; i++)
        tell(world, "%s %s %s\n", story.events[i].what, or_none(story.events[i].recipient),
             or_none(story.events[i].text));
    forget_story(&story);
    return result;
}

static enum store_result op_show(struct world *world)
{
    return show(world, W_DEFERRED);
}

static enum store_result op_show_nobody(struct world *world)
{
    return show(world, W_NEW);
}

/* --- the table ---------------------------------------------------------------------------------
 */

static const struct operation operations[] = {
    { "insert", WRITES, op_insert, AGAIN_FAILS, STORE_OK },
    { "insert many", WRITES, op_insert_many, AGAIN_FAILS, STORE_OK },
    { "claim and insert", WRITES, op_claim, AGAIN_FAILS, STORE_OK },
    { "append the first", WRITES, op_append_first, AGAIN_FAILS, STORE_OK },
    { "append the next", WRITES, op_append_next, AGAIN_FAILS, STORE_OK },
    { "append to nobody", IDLES, op_append_to_nobody, AGAIN_IS_THE_SAME, STORE_NONE },
    { "check", READS, op_check, AGAIN_IS_THE_SAME, STORE_OK },
    { "check too few", READS, op_check_short, AGAIN_IS_THE_SAME, STORE_NONE },
    { "discard", WRITES, op_discard, AGAIN_IS_THE_SAME, STORE_OK },
    { "remove orphans", WRITES, op_remove_orphans, AGAIN_IS_THE_SAME, STORE_OK },
    { "add a token", WRITES, op_add_once, AGAIN_IS_THE_SAME, STORE_OK },
    { "replace a token", WRITES, op_replace_once, AGAIN_IS_THE_SAME, STORE_OK },
    { "remove a token", WRITES, op_remove_once, AGAIN_IS_THE_SAME, STORE_OK },
    { "prune tokens", WRITES, op_prune_once, AGAIN_IS_THE_SAME, STORE_OK },
    { "find a token", READS, op_find_once, AGAIN_IS_THE_SAME, STORE_OK },
    { "find no token", READS, op_find_no_once, AGAIN_IS_THE_SAME, STORE_NONE },
    { "set an outcome", WRITES, op_set_outcome, AGAIN_IS_THE_SAME, STORE_OK },
    { "postpone", WRITES, op_postpone, AGAIN_IS_THE_SAME, STORE_OK },
    { "add an event", WRITES, op_add_event, AGAIN_GROWS, STORE_OK },
    { "change", WRITES, op_change, AGAIN_IS_THE_SAME, STORE_OK },
    { "change and drop the content", WRITES, op_change_and_drop, AGAIN_IS_THE_SAME, STORE_OK },
    { "change what changed", WRITES, op_change_what_changed, AGAIN_IS_THE_SAME, STORE_OK },
    { "change nobody", IDLES, op_change_nobody, AGAIN_IS_THE_SAME, STORE_OK },
    { "mark an attempt", WRITES, op_mark_attempt, AGAIN_IS_THE_SAME, STORE_OK },
    { "settle", WRITES, op_settle, AGAIN_GROWS, STORE_OK },
    { "remove", WRITES, op_remove, AGAIN_IS_THE_SAME, STORE_OK },
    { "revive", WRITES, op_revive, AGAIN_IS_THE_SAME, STORE_OK },
    { "revive what is due later", WRITES, op_revive_later, AGAIN_IS_THE_SAME, STORE_OK },
    { "revive what failed", WRITES, op_revive_failed, AGAIN_IS_THE_SAME, STORE_OK },
    { "hold", WRITES, op_hold, AGAIN_IS_THE_SAME, STORE_OK },
    { "release", WRITES, op_release, AGAIN_IS_THE_SAME, STORE_OK },
    { "cancel", WRITES, op_cancel, AGAIN_IS_THE_SAME, STORE_OK },
    { "doubt", WRITES, op_doubt, AGAIN_GROWS, STORE_OK },
    { "find what has ended", READS, op_find_ended, AGAIN_IS_THE_SAME, STORE_OK },
    { "prune", WRITES, op_prune, AGAIN_IS_THE_SAME, STORE_OK },
    { "save the time", WRITES, op_save_point, AGAIN_IS_THE_SAME, STORE_OK },
    { "use an id", WRITES, op_use_id, AGAIN_IS_THE_SAME, STORE_OK },
    { "load the time", READS, op_load_point, AGAIN_IS_THE_SAME, STORE_OK },
    { "find the last id", READS, op_last_id, AGAIN_IS_THE_SAME, STORE_OK },
    { "touch", IDLES, op_touch, AGAIN_IS_THE_SAME, STORE_OK },
    { "commit nothing", IDLES, op_nothing, AGAIN_IS_THE_SAME, STORE_OK },
    { "checkpoint", ALONE, op_checkpoint, AGAIN_IS_THE_SAME, STORE_OK },
    { "walk the lanes", READS, op_next_lane, AGAIN_IS_THE_SAME, STORE_NONE },
    { "find what is due", READS, op_find_due, AGAIN_IS_THE_SAME, STORE_OK },
    { "find what is due behind", READS, op_find_due_from, AGAIN_IS_THE_SAME, STORE_OK },
    { "load", READS, op_load, AGAIN_IS_THE_SAME, STORE_OK },
    { "load nobody", READS, op_load_nobody, AGAIN_IS_THE_SAME, STORE_NONE },
    { "read a chunk", READS, op_read_chunk, AGAIN_IS_THE_SAME, STORE_OK },
    { "read no chunk", READS, op_read_no_chunk, AGAIN_IS_THE_SAME, STORE_NONE },
    { "summarize", READS, op_summarize, AGAIN_IS_THE_SAME, STORE_OK },
    { "find", READS, op_find, AGAIN_IS_THE_SAME, STORE_OK },
    { "find nobody", READS, op_find_nobody, AGAIN_IS_THE_SAME, STORE_NONE },
    { "list", READS, op_list, AGAIN_IS_THE_SAME, STORE_OK },
    { "find what is wanted", READS, op_find_wanted, AGAIN_IS_THE_SAME, STORE_OK },
    { "show", READS, op_show, AGAIN_IS_THE_SAME, STORE_OK },
    { "show nobody", READS, op_show_nobody, AGAIN_IS_THE_SAME, STORE_NONE },
};

/* As the writer does it: what fails is rolled back. */
static inline enum store_result operation_run(struct world *world,
                                              const struct operation *operation)
{
    world->answer_len = 0;
    world->answer[0] = '\0';
    if (operation->kind == READS || operation->kind == ALONE)
        return operation->run(world);
    enum store_result result = store_begin(world->store);
    if (result != STORE_OK)
        return result;
    result = operation->run(world);
    enum store_result committed = STORE_OK;
    if (result == operation->want)
        committed = store_commit(world->store);
    if (result != operation->want || committed != STORE_OK)
        store_rollback(world->store);
    return committed != STORE_OK ? committed : result;
}

#endif
