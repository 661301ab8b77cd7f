/* trouble.h - what if the disk fails just then? For the unit tests of queue/.
 * A test lets the same thing happen again and again, each time with trouble at the next operation
 * of the disk, until all went well: so it meets every place at which a disk can fail. Between
 * trouble_begin() and trouble_end() the store has next to no cache, so that each statement asks the
 * disk; then the disk is sound again and the queue has had the time to mend. */
#ifndef LATCHPOST_TESTS_TROUBLE_H
#define LATCHPOST_TESTS_TROUBLE_H

#include "tests/support/disk.h"

struct trouble {
    size_t kind;
    unsigned at; /* the operation */
    bool was_met;
    char name[40]; /* for the words of a failure */
};

static const struct {
    struct disk_fault fault;
    bool is_full;
    int seconds; /* in which the queue tries to mend, and still meets it */
} trouble_kinds[] = {
#define TROUBLE_CALLS (DISK_READ | DISK_WRITE | DISK_CUT | DISK_SYNC)
    { .fault = { .name = "one operation fails", .calls = TROUBLE_CALLS, .error = EIO } },
    { .fault = { .name = "all fail from then on",
                 .calls = TROUBLE_CALLS,
                 .error = EIO,
                 .for_good = true },
      .seconds = 1 },
    { .fault = { .name = "now and then one fails",
                 .calls = TROUBLE_CALLS,
                 .error = EIO,
                 .every = 23 },
      .seconds = 8 },
    { .fault = { .name = "no room from then on",
                 .calls = DISK_WRITE,
                 .code = SQLITE_FULL,
                 .error = ENOSPC,
                 .for_good = true },
      .is_full = true },
};

static inline void trouble_name(struct trouble *trouble)
{
    snprintf(trouble->name, sizeof(trouble->name), "%s (%u)",
             trouble_kinds[trouble->kind].fault.name, trouble->at);
}

static inline struct trouble trouble_first(void)
{
    struct trouble trouble = { .at = 1 };

    trouble_name(&trouble);
    return trouble;
}

static inline bool trouble_is_left(const struct trouble *trouble)
{
    return trouble->kind < ARRAY_LEN(trouble_kinds);
}

#define EACH_TROUBLE(t)                                                                            \
    struct trouble t = trouble_first();                                                            \
    trouble_is_left(&t);                                                                           \
    trouble_next(&t)

/* When all went well, all places of this kind were met. */
static inline void trouble_next(struct trouble *trouble)
{
    trouble->at = trouble->was_met ? trouble->at + 1 : 1;
    trouble->kind += trouble->was_met ? 0 : 1;
    if (trouble_is_left(trouble))
        trouble_name(trouble);
}

/* Nothing is in memory that could be asked of the disk instead. */
static inline void trouble_forget_pages(struct fixture *f)
{
    if (f->queue != NULL && f->queue->store != NULL)
        fx_execute(f, "PRAGMA cache_size = 1; PRAGMA shrink_memory");
}

static inline void trouble_begin(struct fixture *f, const struct trouble *trouble)
{
    trouble_forget_pages(f);
    disk.fault = trouble_kinds[trouble->kind].fault;
    disk.fault.spares = trouble->at - 1;
}

static inline void trouble_heal(struct trouble *trouble)
{
    trouble->was_met = disk.fault.strikes > 0;
    disk.fault = (struct disk_fault){ 0 };
}

static inline void trouble_end(struct fixture *f, struct trouble *trouble)
{
    for (int i = 0; i < trouble_kinds[trouble->kind].seconds + 3; i++) {
        if (i == trouble_kinds[trouble->kind].seconds)
            trouble_heal(trouble);
        fx_advance(1000);
        fx_step(f);
    }
    if (!queue_has_room(f->queue))
        fail_msg("%s: the queue did not mend", trouble->name);
}

/* Does queue.db agree with itself? Nothing belongs to nobody, and all is counted. */
static inline void trouble_check_books(struct fixture *f, const struct trouble *trouble)
{
    static const struct {
        const char *name, *sql;
    } rows[] = {
        { "chunks of nobody", "SELECT count(*) FROM body WHERE message NOT IN"
                              " (SELECT id FROM message UNION SELECT message FROM incoming)" },
        { "unfinished messages", "SELECT count(*) FROM incoming" },
        { "recipients of nobody",
          "SELECT count(*) FROM recipient WHERE message NOT IN (SELECT id FROM message)" },
        { "history of nobody",
          "SELECT count(*) FROM event WHERE message NOT IN (SELECT id FROM message)" },
        { "tokens of nobody",
          "SELECT count(*) FROM once WHERE id NOT IN (SELECT id FROM message)" },
        { "messages that are not counted",
          "SELECT count(*) FROM message WHERE state NOT IN (SELECT state FROM tally)" },
        { "wrong counters",
          "SELECT count(*) FROM tally AS t WHERE"
          " t.messages != (SELECT count(*) FROM message AS m WHERE m.state = t.state)"
          " OR t.bytes != (SELECT coalesce(sum(size), 0) FROM message AS m"
          " WHERE m.state = t.state)" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t found = fx_number(f, rows[i].sql);
        if (found != 0)
            fail_msg("%s: %s: %lld", trouble->name, rows[i].name, (long long)found);
    }
}

#endif
