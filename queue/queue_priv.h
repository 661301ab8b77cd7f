/* queue_priv.h - what the files of queue/ share, and nobody else sees.
 * A question is a struct request (embedded in a struct of its kind) that travels: from the asker's
 * thread through the inbox to the writer, and back through the asker's mailbox. It belongs to
 * whoever holds it; there is one holder at any time. */
#ifndef LATCHPOST_QUEUE_PRIV_H
#define LATCHPOST_QUEUE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/queue.h"
#include "queue/queue_store.h"
#include "queue/timeline.h"
#include "relay/base/list.h"
#include "relay/base/map.h"

/* --- messages -------------------------------------------------------------------------------- */

/* A message as the queue holds it: the public face and what settling needs to know. Every
 * queue_message is the first member of one of these. */
struct record {
    struct queue_message message;
    size_t recipient_capacity;
    /* as of the lease: */
    enum queue_state state; /* on disk */
    uint32_t recipients;    /* in all; message.recipient_count may be fewer */
    int64_t aged_from_ms;   /* max_age counts from here, in time lived: acceptance, or an
                               operator's retry */
    bool fresh;             /* handed over in memory: nothing was ever recorded of it */
    bool interrupted;       /* an attempt was under way when an earlier process ended */
    bool noticed;           /* the sender has been told of the delay */
    int64_t due_ms;         /* when the index had it; 0 for a fresh one */
};

static inline struct record *record_of(struct queue_message *message)
{
    return (struct record *)message;
}

/* The livelier of two states: the one that says what the message still needs. */
enum queue_state state_livelier(enum queue_state a, enum queue_state b);
bool state_is_stored(int64_t number); /* is this a number that may stand in the database? */

/* --- requests -------------------------------------------------------------------------------- */

struct request;

/* For each request that reached the writer exactly one of done() and fail() is called, on the
 * writer's thread (a kept one is never failed: it waits for done()); then answer() on the asker's;
 * then release(). Each may be NULL. */
struct request_kind {
    const char *name;
    bool writes; /* it runs in the batch's transaction; the others run after the commit */
    bool kept;   /* never given up: it waits in memory while the store cannot write */
    bool
        first; /* it begins a batch: what was asked before it is done, leases have begun or ended */
    /* For a writing kind any result but STORE_OK fails the whole batch, and nothing may have been
     * changed in memory; a refusal is STORE_OK with request->result set. It may run again (kept).
     */
    enum store_result (*run)(struct queue *queue, struct request *request);
    void (*done)(struct queue *queue, struct request *request); /* it is on disk */
    void (*fail)(struct queue *queue, struct request *request); /* request->result says why */
    void (*answer)(struct request *request);
    void (*release)(struct request *request); /* frees what it holds, not itself */
};

struct request {
    struct letter letter;
    const struct request_kind *kind;
    struct request *next;    /* in a request_list */
    struct mailbox *answers; /* NULL: nobody wants to know */
    size_t bytes;            /* what it adds to the size of a batch */
    enum queue_result result;
    bool again; /* set by done() or fail(): there is more to do, not to be answered yet */
};

struct request_list {
    struct request *head, *tail;
    size_t count;
};
void request_list_add(struct request_list *list, struct request *request);
struct request *request_list_take(struct request_list *list); /* the oldest, or NULL */

/* A zeroed struct of `size` bytes whose first member is the request. */
void *request_new(size_t size, const struct request_kind *kind, struct mailbox *answers);
void request_post(struct queue *queue, struct request *request); /* to the writer; any thread */
void request_answer(struct request *request);                    /* to the asker, or frees it */

/* --- the queue ------------------------------------------------------------------------------- */

enum queue_room { ROOM_NONE, ROOM_THERE_IS, ROOM_STORE_FAILS };

struct queue {
    /* Set by queue_open(), then constant (but see timeline.h). */
    struct timeline timeline;
    char *path, *folder;
    uint64_t free_space_floor;
    queue_report_fn *report;
    void *report_owner;

    /* Any thread. */
    struct mailbox inbox;
    atomic_int room;      /* enum queue_room */
    pthread_mutex_t lock; /* for the next three */
    pthread_cond_t wakeup;
    bool awake;
    bool stop_asked;

    /* The caller of start and stop. */
    pthread_t thread;
    bool threaded, stopped;

    /* The writer's: its thread's, or in direct mode that of the caller of queue_step(). */
    struct store *store; /* NULL after it failed, until it could be opened again */
    struct store_tally tally[QUEUE_STATE_COUNT]; /* as it was then */
    struct queue_schedule schedule;
    int64_t retention_ms;
    int64_t now_ms;                     /* of this turn: by this things are due; */
    int64_t lived_ms;                   /* by this they are old (timeline.c); */
    int64_t wall_ms;                    /* and this is what people see */
    struct request_list pending;        /* taken from the inbox, not yet run */
    struct request_list kept;           /* to be run before all else; meanwhile no lease is given */
    bool refuses;                       /* the last write failed and none has worked since, */
    bool fails;                         /* and not for want of space */
    bool in_doubt;                      /* the batch that failed may be in the log all the same */
    bool stopping;                      /* what takes long is cut short */
    bool patient;                       /* it has a thread of its own, which may wait */
    int64_t company_until_ms;           /* monotonic; 0: nothing waits for company */
    bool short_of_space;                /* less is free than the floor */
    int64_t tick_at_ms, mend_at_ms;     /* monotonic */
    int64_t save_at_ms;                 /* the timeline; monotonic */
    int64_t prune_cursor, prune_at_ms;  /* see prune.c; the latter is monotonic */
    int64_t prune_tokens_at_ms;         /* not before; monotonic */
    struct map *unprunable;             /* ids; see prune.c */
    bool prune_gap_told;                /* like it */
    unsigned prune_failures;            /* in a row */
    uint64_t random;                    /* state of the jitter's generator */
    struct lanes *lanes;                /* see lane.c */
    struct map *leases, *damaged;       /* see lease.c */
    struct map *damage_told;            /* ids that were reported as damaged */
    int64_t damaged_since_ms;           /* monotonic */
    uint64_t leased[QUEUE_STATE_COUNT]; /* by the state on disk */
    struct list watches;                /* see watch.c */
};

/* writer.c */
void *writer_main(void *queue); /* the thread */
/* Everything asked so far is done and answered, and then the chores that are due. */
void writer_work(struct queue *queue, bool stopping);
/* Ends what could not be written with QUEUE_FAILED. */
void writer_abandon(struct queue *queue);
/* May a message be handed out? Only if what becomes of it can be recorded. */
bool writer_may_lease(const struct queue *queue);
void writer_look_for_space(struct queue *queue);

/* lease.c */
bool lease_exists(const struct queue *queue, int64_t id);
void lease_add(struct queue *queue, int64_t id, enum queue_state state);
void lease_end(struct queue *queue, int64_t id);
/* Gives what was set aside as damaged another chance, now and then. */
void lease_look_again(struct queue *queue);

/* timeline.c */
enum store_result timeline_save(struct queue *queue); /* in a transaction */
struct request *timeline_save_new(void);              /* the same as a request */
/* lane.c */
struct lane {
    char *account, *key;
    struct store_place from; /* nothing before this is to be had */
    bool is_stranded;        /* the last that was settled of it found no upstream */
    char *upstream;          /* that it found, or NULL */
    struct list turn;        /* while it has one; asleep: */
    bool is_asleep;
    size_t heap_at;
};
struct lanes *lanes_new(void);
void lanes_free(struct lanes *lanes); /* accepts NULL */
/* After the commit that made it so: a message of this key is due then. Rings whoever must know. */
void lane_note_due(struct queue *queue, const char *account, const char *key, int64_t due_ms);
/* The same for a lease that ended. upstream: it was tried, or NULL. due_ms 0: never. */
void lane_note_settled(struct queue *queue, const struct queue_message *message,
                       const char *upstream, int64_t due_ms);
/* What is on disk may be something else: it is read anew before the next turn. */
void lanes_doubt(struct queue *queue);
/* One question of a lease: begin, then next and seat by turns, then end, which says when something
 * is due that was neither taken nor passed over. */
enum store_result lanes_begin(struct queue *queue, int64_t now_ms);
struct lane *lanes_next(struct queue *queue, const struct queue_pass *passes, size_t pass_count);
bool lane_is_alone(const struct queue *queue, const struct lane *lane); /* its turn may be long */
/* next: where it goes on. The lane may be gone afterwards. */
void lane_seat(struct queue *queue, struct lane *lane, struct store_place next, int64_t now_ms);
int64_t lanes_end(struct queue *queue);
/* The index cannot be read behind this place of the lane, as the question found: where it can be
 * again, for lane_seat(). What stands between is asked for again some minutes later. */
struct store_place lane_step_over(struct queue *queue, const struct lane *lane,
                                  const struct store_due_question *question,
                                  struct store_place last);

/* doubt.c */
struct doubt_mark {
    enum queue_state state; /* of the message, once this is on disk */
    bool held;              /* it is not to be handed out */
    int64_t due_ms;         /* held: when others of its recipients are due; 0: never */
};
extern const struct store_event doubt_hold_event; /* the setting holds what may have arrived */
/* In a transaction: an attempt of this leased message begins. */
enum store_result doubt_mark(struct queue *queue, const struct record *record,
                             struct doubt_mark *mark);
/* That is on disk. The message when it may be handed out; else it was freed. */
struct queue_message *doubt_marked(struct queue *queue, struct record *record,
                                   const struct doubt_mark *mark);
/* In a transaction, before an operator's act changes a message with an open attempt that nobody has
 * leased: notes the interruption and takes the mark away. *count: of how many recipients. The
 * message's row must then be written anew. */
enum store_result doubt_note(struct queue *queue, const struct store_brief *brief, size_t *count);
void doubt_noted(size_t count); /* that is on disk */
/* What a message is that nobody has leased. */
enum queue_state doubt_state(const struct store_brief *brief);
/* doubt_mark() may be on disk, and yet the message is not handed out: that mark must go. */
struct request *doubt_unmark_new(const struct record *record);

/* report.c */
/* The reports of one settlement. They are composed once, and inserted each time the settlement runs
 * until it is on disk. Zeroed: there are none. */
struct report_set {
    struct queue_message *bounce, *notice; /* or NULL */
};
/* May its sender be told? Never of what has a null sender: of a report, say. */
bool report_is_wanted(const struct queue *queue, const struct queue_message *message);
/* quotes: the original is shown, as far as it is at hand. *report: NULL when there is none after
 * all. Any result but STORE_OK fails the transaction. */
enum store_result report_compose(struct queue *queue, struct queue_report *facts, bool quotes,
                                 struct queue_message **report);
/* In the transaction; does nothing when it is there already. */
enum store_result report_insert(struct queue *queue, const struct queue_message *report);
/* In the history of the message that it is about. */
enum store_result report_note(struct queue *queue, int64_t about, enum queue_report_kind kind,
                              const struct queue_message *report);
/* It is on disk. */
void report_inserted(struct queue *queue, int64_t about, enum queue_report_kind kind,
                     const struct queue_message *report);
void report_set_free(struct report_set *set);

/* once.c */
/* *verdict: QUEUE_NOT_FOUND, QUEUE_REPEATED (and what there is to say of the first is in *once) or
 * QUEUE_CONFLICT. */
enum store_result once_judge(struct queue *queue, const char *key_id, struct queue_once *once,
                             enum queue_result *verdict);

/* watch.c */
void watch_note_due(struct queue *queue, int64_t due_ms); /* of lane.c, which all others tell */
/* This is what the askers at this mailbox are told. */
void watch_promise(struct queue *queue, const struct mailbox *answers, int64_t next_due_ms);
void watch_free_all(struct queue *queue);

/* filter.c */
/* The same filter with texts of its own, for filter_clear() to free. */
struct queue_filter filter_copy(const struct queue_filter *filter);
void filter_clear(struct queue_filter *filter);
bool filter_wants(const struct queue *queue, const struct queue_filter *filter,
                  const struct store_look *look);
bool filter_wants_recipient(const struct queue_filter *filter,
                            const struct store_recipient_look *look);
bool filter_asks_recipients(const struct queue_filter *filter);
/* No message of an id up to this one can be wanted. */
int64_t filter_after_id(const struct queue_filter *filter);

/* prune.c */
/* The next step of pruning as a request of the writer's own. */
struct request *prune_new(void);

#endif
