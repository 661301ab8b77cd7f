/* queue_store.h - what is written in queue.db, and what does it say?
 * The one place that knows the schema. Nothing here decides: writer, lease, settle and admin do. A
 * struct store belongs to one thread at a time. All functions that change something run between
 * store_begin() and store_commit(); the reading ones may run outside. After STORE_FULL or
 * STORE_FAILED the transaction must be rolled back; after STORE_FAILED the store must be closed and
 * opened again before anything is acknowledged (SQLite's view of a file whose sync failed cannot be
 * trusted). */
#ifndef LATCHPOST_QUEUE_STORE_H
#define LATCHPOST_QUEUE_STORE_H

#include "queue/queue.h"

struct db;
struct record;         /* queue_priv.h */
struct timeline_point; /* timeline.h */

enum store_result {
    STORE_OK,
    STORE_NONE, /* no such row */
    STORE_FULL, /* no room */
    STORE_FAILED,
};

struct store_tally {
    int64_t messages, bytes;
};

struct store {
    struct db *db; /* private to queue_store*.c, all of it */
    char *path;
    struct store_tally total[QUEUE_STATE_COUNT]; /* as committed */
    struct store_tally delta[QUEUE_STATE_COUNT]; /* of the transaction under way */
    int64_t used_id, used_id_next;               /* as committed; with the transaction under way */
};

bool store_open(struct store **store, const char *path, struct why *why);
void store_close(struct store *store); /* accepts NULL; checkpoints */

enum store_result store_begin(struct store *store);
enum store_result store_commit(struct store *store); /* returns after the sync */
void store_rollback(struct store *store);
/* Did the last commit fail, and may yet be found on disk when the store is opened again? */
bool store_is_in_doubt(const struct store *store);
const char *store_error(const struct store *store);

int store_log_pages(const struct store *store);
enum store_result store_checkpoint(struct store *store);
/* The smallest write there is, for the question whether writing works again. */
enum store_result store_touch(struct store *store);
void store_file_bytes(const struct store *store, uint64_t *database, uint64_t *log);

/* The largest id that is or was taken, chunks of unfinished messages included; 0: none. */
enum store_result store_last_id(struct store *store, int64_t *id);
/* This id was given to a message, of which nothing is left to say so. In a transaction. */
void store_use_id(struct store *store, int64_t id);
/* The latest moment that was kept. STORE_NONE: none was, or it makes no sense. */
enum store_result store_load_point(struct store *store, struct timeline_point *point);
enum store_result store_save_point(struct store *store, const struct timeline_point *point);
/* Removes the chunks of messages that were never submitted. Only at start: later they may still
 * come. */
enum store_result store_remove_orphans(struct store *store);

/* As committed. Counters by state: never counted by a scan. */
static inline const struct store_tally *store_tally(const struct store *store)
{
    return store->total;
}

/* --- messages come in (queue_store_write.c) -------------------------------------------------- */

/* Times: due_ms is by the queue's `now`, aged_from_ms and ended_ms are by its `lived` (timeline.c),
 * all others are wall time. */

struct store_birth {
    enum queue_state state;
    int64_t due_ms; /* 0: never */
    int64_t wall_ms, aged_from_ms;
    bool with_content;
    bool attempt; /* it is leased with this, so an attempt begins */
};
enum store_result store_insert(struct store *store, const struct queue_message *message,
                               const struct store_birth *birth);
/* STORE_NONE when chunk 0 was never stored: nothing is stored then. */
enum store_result store_append(struct store *store, int64_t id, uint32_t seq, struct slice data);
/* STORE_NONE when the chunks are not exactly numbers 0 to chunks - 1 with `size` bytes together. */
enum store_result store_check(struct store *store, int64_t id, uint32_t chunks, uint64_t size);
/* Makes them those of a message about to be inserted, if they are. */
enum store_result store_claim(struct store *store, int64_t id, uint32_t chunks, uint64_t size);
/* Removes chunks that were not claimed. */
enum store_result store_discard(struct store *store, int64_t id);

/* --- tokens (queue_store_once.c) -------------------------------------------------------------- */

struct store_once {
    int64_t id; /* of the first message; the row is as old as that */
    uint8_t fingerprint[QUEUE_FINGERPRINT_BYTES];
    char *answer; /* the caller frees it */
};
/* after_ms, by the queue's clock: an older row does not count. STORE_NONE: there is none; *once is
 * untouched then. */
enum store_result store_find_once(struct store *store, const char *key_id, const char *token,
                                  int64_t after_ms, struct store_once *once);
/* Takes the place of an older row of the same token. */
enum store_result store_add_once(struct store *store, int64_t id, const char *key_id,
                                 const struct queue_once *once, int64_t now_ms);
enum store_result store_remove_once(struct store *store, int64_t id);
/* Of the `max` oldest rows removes those from before this. *more: there may be others. */
enum store_result store_prune_once(struct store *store, int64_t before_ms, size_t max, bool *more);

/* --- what became of them --------------------------------------------------------------------- */

struct store_outcome { /* one recipient after an attempt */
    uint32_t position;
    enum queue_state state;
    unsigned attempts;
    int64_t due_ms; /* 0: never */
    int64_t wall_ms;
    int code;
    const char *enhanced, *text, *upstream; /* text, upstream: or NULL */
};
enum store_result store_set_outcome(struct store *store, int64_t id,
                                    const struct store_outcome *outcome);
enum store_result store_postpone(struct store *store, int64_t id, uint32_t position,
                                 int64_t due_ms);

struct store_event {
    const char *what;
    int64_t position; /* of the recipient; -1: the message as a whole */
    int code;
    const char *enhanced, *text, *upstream; /* text, upstream: or NULL */
};
enum store_result store_add_event(struct store *store, int64_t id, const struct store_event *event);

struct store_change { /* of a message row */
    int64_t id;
    enum queue_state from, to;
    uint64_t size;
    int64_t due_ms;       /* 0: never */
    int64_t ended_ms;     /* 0: it has not ended */
    int64_t aged_from_ms; /* 0: as it was */
    bool ends_attempt;
    bool noticed;         /* the sender is told of the delay */
    bool reserves, frees; /* from now on the operator holds it, or does not any more */
    bool drop_content;
    bool has_chunks; /* looked at only when the content is dropped */
};
enum store_result store_change(struct store *store, const struct store_change *change);
/* An attempt begins, or one that was marked never began. */
enum store_result store_mark_attempt(struct store *store, int64_t id, bool begins);
/* The mark goes if this recipient has had more attempts than these. */
enum store_result store_unmark_noted(struct store *store, int64_t id, uint32_t position,
                                     unsigned attempts);

struct store_removal {
    int64_t id;
    enum queue_state from;
    uint64_t size;
    bool has_chunks, has_events; /* false saves looking for them */
};
enum store_result store_remove(struct store *store, const struct store_removal *removal);

/* --- an operator's acts on the recipients of a message (queue_store_steer.c) ------------------ */

struct store_act {
    int64_t id, wall_ms;
    int64_t due_ms;               /* of what is then due */
    bool with_failed, only_later; /* store_revive() only */
};
struct store_acted {
    bool changed;
    bool failed; /* it was among them that one had failed for good */
};
/* Those that wait (deferred, uncertain) are due, only_later: of those that were not; with_failed:
 * those that failed for good, too, and they are deferred again. */
enum store_result store_revive(struct store *store, const struct store_act *act,
                               struct store_acted *acted);
/* queued, deferred, uncertain: held */
enum store_result store_hold(struct store *store, const struct store_act *act,
                             struct store_acted *acted);
/* Of queued, deferred, uncertain those that are due: uncertain, after one more attempt, which ended
 * with this text. How many they were. */
enum store_result store_doubt(struct store *store, const struct store_act *act, const char *text,
                              size_t *count);
/* held: deferred where there were attempts, else queued; due */
enum store_result store_release(struct store *store, const struct store_act *act,
                                struct store_acted *acted);
/* queued, deferred, uncertain, held: cancelled */
enum store_result store_cancel(struct store *store, const struct store_act *act,
                               struct store_acted *acted);

/* --- pruning --------------------------------------------------------------------------------- */

typedef bool store_skip_fn(void *owner, int64_t id);

#define STORE_PRUNED_MAX 500 /* in one step */

struct store_pruning {
    int64_t cursor; /* rows behind this one are looked at; then the last of them, 0: the end */
    int64_t below_id, ended_ms;
    store_skip_fn *skip; /* true: leave this one */
    void *owner;
    struct store_removal removals[STORE_PRUNED_MAX];
    size_t count;
    bool has_gap; /* set when rows behind gap_at could not be read, and are left out */
    int64_t gap_at;
    int64_t failed_id; /* set when this one could not be removed */
};
/* Looks at the next rows below below_id, at most STORE_PRUNED_MAX, for those that ended before
 * ended_ms. Never in a transaction, which a read that fails would take with it. */
void store_find_ended(struct store *store, struct store_pruning *pruning);
/* Removes them, but what is in another state by now. */
enum store_result store_prune(struct store *store, struct store_pruning *pruning);
/* Can all chunks of this one be read? */
bool store_can_read_chunks(struct store *store, int64_t id);
/* Messages between these cannot be read right behind after_id (queue_store_gap.c). From where on
 * they can, exclusive; 0: none can. */
int64_t store_find_id_behind_gap(struct store *store, int64_t after_id, int64_t below_id);

/* --- what is due (queue_store_lane.c) --------------------------------------------------------- */

struct store_lane { /* the mail of one key that waits */
    char *account, *key;
    size_t account_len, key_len; /* a name that is not ours may hold a NUL */
    int64_t due_ms;              /* of its first message */
};
/* The lane behind this one in the order of their names; both texts NULL: the first. Costs the same
 * however long the lanes are. On STORE_OK the texts are replaced by others, which are owned by the
 * caller; on any other result they are freed and NULL. STORE_FAILED also when the order of the
 * index does not hold, so that a walk comes to an end. */
enum store_result store_next_lane(struct store *store, struct store_lane *lane);
/* The same in the other direction: the lane before this one; both texts NULL: the last. Its due_ms
 * is not looked for, and 0. */
enum store_result store_previous_lane(struct store *store, struct store_lane *lane);

struct store_place { /* in a lane: by time, then by id */
    int64_t due_ms, id;
};
#define STORE_PLACE_NONE ((struct store_place){ INT64_MAX, INT64_MAX })
struct store_due_question {
    const char *account, *key;
    struct store_place from; /* this one, or what is behind it */
    int64_t now_ms;
    store_skip_fn *skip; /* true: leave this one out */
    void *owner;
    size_t max;
};
/* The first `max` that are due, in order of their time. *next: the first of all others from there
 * on, or STORE_PLACE_NONE. *count of them were found also when it fails; *next is nothing then. */
enum store_result store_find_due(struct store *store, const struct store_due_question *question,
                                 struct store_place *due, size_t *count, struct store_place *next);
/* This question fails somewhere behind `last` (queue_store_gap.c). The first place from where on it
 * does not: what is to be had there, or STORE_PLACE_NONE. Much slower, and bounded. */
struct store_place store_find_behind_gap(struct store *store,
                                         const struct store_due_question *question,
                                         struct store_place last);

/* --- one message (queue_store_read.c) -------------------------------------------------------- */

/* A message with its inline content and those recipients that are due. On STORE_OK it is yours. */
enum store_result store_load(struct store *store, int64_t id, int64_t now_ms,
                             struct record **record);
/* *chunk is initialised here; empty unless STORE_OK. */
enum store_result store_read_chunk(struct store *store, int64_t id, uint32_t seq,
                                   struct buf *chunk);

/* Of all recipients: the state of the liveliest, and the earliest due time (0: none). */
enum store_result store_summarize(struct store *store, int64_t id, enum queue_state *state,
                                  int64_t *due_ms);

struct store_brief { /* the few columns that decisions need */
    int64_t id, due_ms;
    char *account, *key; /* only of store_find_wanted(): owned by the caller */
    enum queue_state state;
    uint64_t size;
    bool has_chunks;
    bool attempt;  /* one has begun, and nothing is known of its end */
    bool reserved; /* the operator holds it, and nobody else lets it go */
};
enum store_result store_find(struct store *store, int64_t id, struct store_brief *brief);

/* --- looking (queue_store_look.c) ------------------------------------------------------------ */

struct store_look { /* what decides whether a message is wanted; lent for the call */
    int64_t id, received_ms;
    enum queue_state state; /* on disk */
    const char *account, *key_id, *sender;
};
struct store_recipient_look {
    enum queue_state state;
    const char *address, *upstream; /* "" when none was tried */
};
typedef bool store_wants_fn(void *owner, const struct store_look *look);
typedef bool store_wants_recipient_fn(void *owner, const struct store_recipient_look *look);
struct store_scan {              /* from newer to older */
    int64_t after_id, before_id; /* both exclusive */
    size_t limit;                /* messages wanted */
    size_t look;                 /* rows of messages and recipients looked at, about */
    store_wants_fn *wants;
    store_wants_recipient_fn *wants_recipient; /* one of a message at least; NULL: not asked */
    void *owner;
};
/* Appends to *page, which has room for `limit` rows; the states are those on disk. Strings are
 * owned by the page. */
enum store_result store_list(struct store *store, const struct store_scan *scan,
                             struct queue_page *page);
/* Of what the scan wants at most `limit`, fewer when they are large. *next_id: to go on before; 0:
 * that was all. */
enum store_result store_find_wanted(struct store *store, const struct store_scan *scan,
                                    struct store_brief *briefs, size_t *count, int64_t *next_id);
/* Fills *story (zeroed by the caller); what is in it is owned by the caller, on failure too. */
enum store_result store_show(struct store *store, int64_t id, struct queue_story *story);

#endif
