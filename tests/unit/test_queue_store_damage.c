/* test_queue_store_damage.c - what does the queue do with rows that make no sense?
 * One table of things that do not belong into a column, and one loop: each column of each table
 * holds each of them, in all rows. Then the queue lives with it: it lists, shows, hands out, is
 * steered, settles, prunes and is closed. All is answered once, nothing traps, and a new message is
 * taken, handed out and settled as ever. The types and constraints of the schema are taken away for
 * the moment in which the damage is done, so a row may hold whatever a broken file could. */
#include <signal.h>

#include "tests/support/disk.h"
#include "tests/support/store_world.h"

static const char *const things[] = {
    "NULL",
    "-9223372036854775808",
    "-9223372036854775807",
    "9223372036854775807",
    "-1",
    "0",
    "1",
    "99",
    "4294967296",
    "1e300",
    "''",
    "'word'",
    "'Inf'",
    "char(0, 65, 10, 255)",
    "hex(zeroblob(10000))",
    "x''",
    "x'00ff'",
    "zeroblob(300000)",
};

static char current[128]; /* what a test is at; "": it has come through */

static void say_current(int number)
{
    static const char words[] = "it died of: ";

    (void)number;
    (void)!write(STDERR_FILENO, words, sizeof(words) - 1);
    (void)!write(STDERR_FILENO, current, strlen(current));
}

static int setup(void **state)
{
    static const struct clock_source source = { fx_clock, fx_clock };
    int result = world_setup(state);

    signal(SIGABRT, say_current);
    clock_replace(&source);
    return result;
}

static int teardown(void **state)
{
    if (current[0] != '\0')
        print_error("while %s\n", current);
    signal(SIGABRT, SIG_DFL);
    return world_teardown(state);
}

struct damage {
    char table[32], column[32];
    const char *thing;
};

static void execute(sqlite3 *handle, const char *sql)
{
    if (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(handle));
}

/* --- doing it ----------------------------------------------------------------------------------
 */

static sqlite3 *connect(const struct world *world)
{
    sqlite3 *handle = NULL;

    assert_int_equal(sqlite3_open_v2(world->path, &handle, SQLITE_OPEN_READWRITE, disk.real->zName),
                     SQLITE_OK);
    execute(handle, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = 0");
    return handle;
}

static void rewrite_schema(const struct world *world, const char *sql)
{
    sqlite3 *handle = connect(world);

    execute(handle, "PRAGMA writable_schema = ON");
    execute(handle, sql);
    sqlite3_close(handle);
}

/* False when there cannot be such a row: a rowid that is no number, say. */
static bool do_damage(const struct world *world, const struct damage *damage)
{
    char *sql =
        xasprintf("UPDATE OR IGNORE %s SET %s = %s", damage->table, damage->column, damage->thing);

    rewrite_schema(world, "CREATE TABLE kept AS SELECT name, sql FROM sqlite_schema;"
                          "UPDATE sqlite_schema SET sql = replace(replace(replace(replace(replace("
                          "replace(sql, ' INTEGER NOT NULL', ''), ' TEXT', ''), ' NOT NULL', ''),"
                          " 'STRICT, ', ''), 'STRICT', ''), ' CHECK (one = 1)', '')"
                          " WHERE type = 'table' AND name <> 'kept'");
    sqlite3 *handle = connect(world);
    bool done = sqlite3_exec(handle, sql, NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_close(handle);
    rewrite_schema(world, "UPDATE sqlite_schema AS s SET sql = kept.sql FROM kept"
                          " WHERE kept.name = s.name");
    handle = connect(world);
    execute(handle, "DROP TABLE kept");
    sqlite3_close(handle);
    free(sql);
    return done;
}

/* --- living with it ----------------------------------------------------------------------------
 */

static struct queue_message *fresh(void)
{
    struct queue_message *message = fx_small("fresh@dest.example");

    free(message->account);
    message->account = xstrdup("fresh");
    return message;
}

static void on_list(void *owner, enum queue_result result, struct queue_page *page)
{
    (void)page;
    ((struct got *)owner)->result = result;
    ((struct got *)owner)->calls++;
}

static void list(struct fixture *f, struct queue_filter filter)
{
    struct got got = { 0 };

    filter.limit = 100;
    queue_list(f->queue, &filter, on_list, &got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got.calls, 1);
}

static void look_at_all(struct fixture *f)
{
    struct got got;

    fx_stats(f);
    list(f, (struct queue_filter){ 0 });
    list(f, (struct queue_filter){ .recipient = "dest.example", .upstream = "main" });
    list(f, (struct queue_filter){ .has_state = true, .state = QUEUE_DEFERRED });
    list(f, (struct queue_filter){ .sender = "good.example", .received_after_ms = 1 });
    for (int64_t id = W_QUEUED; id < W_CROWD + 3; id++)
        fx_show(f, id);
    fx_read(f, W_LARGE, 0, &got);
    fx_read(f, W_FAILED, W_CHUNKS, &got);
}

static int64_t now_of(const struct fixture *f)
{
    return timeline_now_ms(&f->queue->timeline);
}

static void lease(struct fixture *f, struct got *got)
{
    *got = (struct got){ 0 };
    queue_lease(f->queue, 64, 1 << 24, now_of(f), fx_on_lease, got, &f->desk.box);
    fx_step(f);
    assert_int_equal(got->calls, 1);
}

/* What has come to its end is never handed out again: somebody would get it again and again. */
static void note_end(struct map *ended, int64_t id)
{
    if (map_put(ended, slice_make(&id, sizeof(id)), ended) != NULL)
        fail_msg("message %lld is handed out after its end", (long long)id);
}

/* What is handed out comes to an end of one kind or another. */
static void deliver_all(struct fixture *f, int64_t fresh_id)
{
    bool found = false;
    struct got got = { 0 };
    struct map *ended = map_new();

    for (int round = 0; round < 60 || !found; round++) {
        assert_true(round < 200);
        lease(f, &got);
        if (got.count == 0)
            fx_advance(1000); /* after a row that cannot be written the store pauses */
        for (size_t i = 0; i < got.count; i++) {
            struct queue_message *message = got.messages[i];
            enum queue_fate fates[] = { QUEUE_SENT, QUEUE_LATER, QUEUE_NEVER };
            enum queue_fate fate = message->id == fresh_id ? QUEUE_SENT : fates[i % 3];
            found = found || message->id == fresh_id;
            if (fate != QUEUE_LATER)
                note_end(ended, message->id);
            fx_settle_all(f, message, fate, 250, "words");
        }
    }
    map_free(ended);
    assert_true(found);
    assert_int_equal(fx_show(f, fresh_id).state, QUEUE_DELIVERED);
}

static void steer_all(struct fixture *f)
{
    static const enum queue_act acts[] = { QUEUE_HOLD, QUEUE_RELEASE, QUEUE_RETRY, QUEUE_CANCEL };
    const struct queue_filter filter = { .account = "a1" };

    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        fx_steer(f, acts[i], W_HELD, NULL);
        fx_steer(f, acts[i], W_DEFERRED, NULL);
        fx_steer(f, acts[i], W_FAILED, NULL);
        fx_steer(f, acts[i], W_LARGE, NULL);
        fx_steer(f, acts[i], W_CROWD + 2, NULL);
        fx_steer(f, acts[i], 0, &filter);
    }
}

static void take_with_token(struct fixture *f, const char *token)
{
    struct queue_message *message = fx_small("r@dest.example");
    struct queue_once once = { .token = token, .answer = "" };
    struct got got = { 0 };

    queue_submit(f->queue, &(struct queue_submit){ .message = &message,
                                                   .once = &once,
                                                   .cb = fx_on_submit,
                                                   .owner = &got,
                                                   .answers = &f->desk.box });
    fx_step(f);
    assert_int_equal(got.calls, 1);
    assert_int_not_equal(got.result, QUEUE_FAILED);
    assert_int_not_equal(got.result, QUEUE_FULL);
    free(once.first_answer);
}

static void take_chunks(struct fixture *f)
{
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    assert_int_equal(fx_append(f, message->id, 0, 'z', 10), QUEUE_OK);
    message->chunks = 1;
    message->size = 10;
    assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
}

static void live(struct fixture *f)
{
    for (int day = 0; day < 3; day++) {
        struct queue_message *message = fresh();
        int64_t id = message->id;
        look_at_all(f);
        assert_int_equal(fx_submit_message(f, message), QUEUE_OK);
        take_chunks(f);
        take_with_token(f, "token-1");
        take_with_token(f, "a new token");
        deliver_all(f, id);
        steer_all(f);
        fx_advance(86400000);
        for (int step = 0; step < 3; step++) { /* pruning goes on in steps */
            fx_step(f);
            fx_advance(1000);
        }
        assert_true(queue_has_room(f->queue));
        if (day == 1)
            fx_reopen(f);
    }
}

static void live_with(struct world *world, const struct damage *damage)
{
    struct fixture f = { .folder = world->folder, .path = world->path };

    snprintf(current, sizeof(current), "%.30s.%.30s is %.60s", damage->table, damage->column,
             damage->thing);
    fx_now_us = W_NOW_MS * 1000;
    world_lay(world);
    if (do_damage(world, damage)) {
        f.options = desk_options(f.path);
        desk_open(&f.desk);
        fx_open(&f);
        live(&f);
        fx_close(&f);
        desk_close(&f.desk);
    }
    world_leave(world);
}

static void whatever_a_row_holds_the_queue_lives_on(void **state)
{
    struct world *world = *state;
    struct damage damage[100];
    size_t count = 0;

    world_lay(world);
    sqlite3 *handle = connect(world);
    sqlite3_stmt *columns = w_prepare(
        handle, "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c"
                " WHERE t.type = 'table'");
    for (; sqlite3_step(columns) == SQLITE_ROW; count++) {
        assert_true(count < ARRAY_LEN(damage));
        snprintf(damage[count].table, 32, "%s", sqlite3_column_text(columns, 0));
        snprintf(damage[count].column, 32, "%s", sqlite3_column_text(columns, 1));
    }
    sqlite3_finalize(columns);
    sqlite3_close(handle);
    world_leave(world);
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < ARRAY_LEN(things); j++) {
            damage[i].thing = things[j];
            live_with(world, &damage[i]);
        }
    current[0] = '\0';
}

/* --- pages -------------------------------------------------------------------------------------
 */

#define PAGE_BYTES 4096

/* All of the world in its file, and none of it in its log. */
static void bring_in(struct world *world)
{
    world_lay(world);
    world_reopen(world);
    world_leave(world);
    free(world->bytes);
    disk_load(world->path, &world->bytes, &world->len);
    world->log_len = 0;
}

static void fill_page(char *page, unsigned way)
{
    static const unsigned char bytes[] = { 0, 0xff, 0x0d };

    if (way < ARRAY_LEN(bytes)) {
        memset(page, bytes[way], PAGE_BYTES);
        return;
    }
    uint64_t seed = way; /* bits of it, here and there */
    for (int i = 0; i < 40; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        page[seed >> 33 & (PAGE_BYTES - 1)] ^= (char)(1 << (seed >> 60 & 7));
    }
}

struct answers {
    struct got got[512];
    size_t count;
};

static void settle_some(struct fixture *f, struct answers *answers)
{
    struct got leased;

    lease(f, &leased);
    for (size_t i = 0; i < leased.count; i++) {
        struct queue_message *message = leased.messages[i];
        assert_true(answers->count < ARRAY_LEN(answers->got));
        for (size_t j = 0; j < message->recipient_count; j++)
            queue_recipient_say(&message->recipients[j],
                                i % 3 == 0   ? QUEUE_SENT
                                : i % 3 == 1 ? QUEUE_LATER
                                             : QUEUE_NEVER,
                                250, "", SLICE("words"));
        queue_settle(f->queue, &message, "main", fx_on_done, &answers->got[answers->count++],
                     &f->desk.box);
        fx_step(f);
    }
}

/* Nothing need work, but all is answered. What could not be written is answered at the end. */
static void endure(struct fixture *f)
{
    struct answers *answers = xcalloc(1, sizeof(*answers));

    for (int i = 0; i < 12; i++) {
        if (i % 4 == 0)
            look_at_all(f);
        (void)fx_submit_message(f, fresh());
        (void)fx_append(f, ident_next(), 0, 'z', 10);
        settle_some(f, answers);
        if (i % 4 == 1)
            steer_all(f);
        fx_advance(i % 4 == 3 ? 86400000 : 1000);
        fx_step(f);
    }
    fx_close(f);
    for (size_t i = 0; i < answers->count; i++)
        assert_int_equal(answers->got[i].calls, 1);
    free(answers);
}

static void live_without(struct world *world, size_t number, unsigned way)
{
    struct fixture f = { .folder = world->folder, .path = world->path };
    struct why why = { 0 };
    char kept[PAGE_BYTES], *page = world->bytes + number * PAGE_BYTES;

    snprintf(current, sizeof(current), "page %zu is destroyed in way %u", number + 1, way);
    fx_now_us = W_NOW_MS * 1000;
    memcpy(kept, page, PAGE_BYTES);
    fill_page(page, way);
    world_lay(world);
    f.options = desk_options(f.path);
    desk_open(&f.desk);
    if (queue_open(&f.queue, &f.options, &why))
        endure(&f);
    else
        assert_string_not_equal(why.text, "");
    desk_close(&f.desk);
    world_leave(world);
    memcpy(page, kept, PAGE_BYTES);
}

static void whatever_page_is_destroyed_all_is_answered(void **state)
{
    struct world *world = *state;

    bring_in(world);
    assert_true(world->len > 20 * PAGE_BYTES);
    for (size_t number = 0; number < world->len / PAGE_BYTES; number++)
        for (unsigned way = 0; way < 7; way++)
            live_without(world, number, way);
    current[0] = '\0';
}

/* --- the index of lanes ------------------------------------------------------------------------
 */

static void replace_bytes(struct world *world, const char *from, const char *to)
{
    size_t len = strlen(from);
    char *end = world->bytes + world->len;
    unsigned count = 0;

    for (char *at = world->bytes; (at = memmem(at, (size_t)(end - at), from, len)) != NULL; count++)
        memcpy(at, to, len);
    assert_true(count > 0);
}

/* Two lanes have names that the walk passes over, and the one behind them in the index says that it
 * belongs before them. */
static void a_walk_over_an_index_out_of_order_comes_to_an_end(void **state)
{
    static const struct damage damage = { "message", "key_id",
                                          "iif(account IN ('a1', 'a2'), x'00', key_id)" };
    struct world *world = *state;
    struct store_lane lane = { 0 };
    enum store_result result;
    int steps = 0;

    snprintf(current, sizeof(current), "the index is out of order");
    world_lay(world);
    assert_true(do_damage(world, &damage));
    disk_remove();
    free(world->bytes);
    disk_load(world->path, &world->bytes, &world->len);
    world->log_len = 0;
    replace_bytes(world, "a37Fq2mZ81", "a07Fq2mZ81");
    world_lay(world);
    world_reopen(world);
    while ((result = store_next_lane(world->store, &lane)) == STORE_OK && steps++ < 10)
        continue;
    assert_int_equal(result, STORE_FAILED);
    assert_null(lane.account);
    assert_null(lane.key);
    world_leave(world);
    current[0] = '\0';
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_a_row_holds_the_queue_lives_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_walk_over_an_index_out_of_order_comes_to_an_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(whatever_page_is_destroyed_all_is_answered, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
