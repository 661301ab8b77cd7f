/* queue.h - is this message safe on disk, whose turn is it, and what became of it?
 *
 * THE PROMISE: queue_submit() answers QUEUE_OK only after SQLite's commit returned with
 * synchronous=FULL. Whatever is killed or loses power after that, the message is in queue.db until
 * each of its recipients has ended as delivered, bounced, failed or cancelled, and that is
 * committed too: for a bounced one together with the report to the sender.
 *
 * All work is done by one writer thread, which drains every waiting request into one transaction,
 * syncs once and then answers all. Each question is answered exactly once, in the order asked per
 * mailbox (but see queue_lease(), queue_settle() and queue_steer()), on the asker's thread (through
 * the mailbox given), never from inside the call. Nothing here loads the queue into memory. Any
 * thread may ask.
 */
#ifndef LATCHPOST_QUEUE_H
#define LATCHPOST_QUEUE_H

#include "relay/base/buf.h"
#include "relay/base/mailbox.h"
#include "relay/base/why.h"

struct queue; /* opaque */

#define QUEUE_INLINE_MAX  (64 * 1024) /* larger contents are stored in chunks of this size */
#define QUEUE_CHUNK_BYTES (64 * 1024)
#define QUEUE_RETRIES_MAX 32

enum queue_result {
    QUEUE_OK,
    QUEUE_FULL,    /* no room on the disk: 452 4.3.1 */
    QUEUE_FAILED,  /* the store cannot write: 451 4.3.0 */
    QUEUE_REFUSED, /* the permit asked right before the commit said no; or: the operator holds it */
    QUEUE_NOT_FOUND,
    QUEUE_CONFLICT, /* not in this state; or the token of a submission belongs to another one */
    QUEUE_REPEATED, /* its token says that it was submitted before: nothing is stored again */
};

/* The state of a recipient, and of a message: that of its liveliest recipient. Livelier is what
 * comes first here, but among the final ones failed, bounced, cancelled, delivered, sandboxed: one
 * failed recipient of many makes a failed message, which an operator finds. The numbers are on
 * disk: new states are added at the end. */
enum queue_state {
    QUEUE_QUEUED,     /* never tried */
    QUEUE_DELIVERING, /* leased to a worker; never on disk */
    QUEUE_DEFERRED,   /* refused for now; due again at due_ms */
    QUEUE_UNCERTAIN,  /* it may have arrived: the answer to the final dot was lost, or the process
                         ended during an attempt; due again at due_ms */
    QUEUE_HELD,
    QUEUE_DELIVERED,       /* from here on final */
    QUEUE_BOUNCED,         /* permanently refused or too old, and the sender is told by a report */
    QUEUE_FAILED_FOR_GOOD, /* "failed": the same, and there is nobody to tell: a null sender */
    QUEUE_CANCELLED,
    QUEUE_SANDBOXED, /* accepted with a test key: recorded, never relayed */
    QUEUE_STATE_COUNT
};
const char *queue_state_name(enum queue_state state); /* "queued", ..., "failed", ... */
bool queue_state_parse(struct slice name, enum queue_state *state);
bool queue_state_is_final(enum queue_state state);

struct queue_schedule {                  /* when to try again */
    int64_t retry_ms[QUEUE_RETRIES_MAX]; /* after the 1st, 2nd ... failure; the last one repeats */
    size_t retry_count;                  /* at least 1 */
    int64_t max_age_ms;  /* from acceptance; then it has failed for good. Like the age of a notice
                            counted while the queue is open and the machine awake */
    bool hold_uncertain; /* what may have arrived is held, not sent again by itself */
    int64_t notice_ms;   /* from acceptance; then the sender is told of a delay, once. 0: never */
};

/* A report is the mail that tells a sender what became of a message: a bounce (it failed) or a
 * notice (it is delayed). The queue decides that there is one, and stores it in the transaction of
 * the settlement that is its reason; what it says is composed by whoever opened the queue. */
enum queue_report_kind { QUEUE_BOUNCE, QUEUE_DELAY_NOTICE };

struct queue_report_recipient {
    const char *address;
    int code;                    /* of the upstream, 0: none */
    const char *enhanced, *text; /* text: NULL when there is none */
    unsigned attempts;
};
struct queue_report { /* all of it lent for the call */
    enum queue_report_kind kind;
    int64_t id; /* of the report, which is a message too */
    const struct queue_message *message;
    int64_t now_ms;
    int64_t give_up_ms;    /* when the last attempt will be made */
    const char *upstream;  /* its name, or NULL */
    struct slice original; /* the start of its content: all of a small one, else the first chunk;
                              empty when that cannot be read */
    const struct queue_report_recipient *recipients; /* at least 1 */
    size_t recipient_count;
};
/* Writes the content into *content, which comes zeroed: it is initialised with a maximum here.
 * False: there is no report. On the writer's thread, which waits: no I/O. */
typedef bool queue_report_fn(void *owner, const struct queue_report *report, struct buf *content);

struct queue_options {
    const char *path; /* queue.db */
    struct queue_schedule schedule;
    int64_t retention_ms;      /* final messages leave a record for this long; 0: none */
    uint64_t free_space_floor; /* bytes; below it queue_has_room() is false */
    queue_report_fn *report;   /* NULL: nobody is ever told */
    void *report_owner;        /* stays valid until queue_stop() has returned */
};

/* Opens or creates, removes the chunks of messages that never completed, raises the floor of
 * ident_next(). Cost does not depend on the depth, but for the first opening by a version that has
 * another schema. The queue then works in direct mode: requests wait until queue_step(). */
bool queue_open(struct queue **queue, const struct queue_options *options, struct why *why);
/* Starts the writer thread. */
bool queue_start(struct queue *queue, struct why *why);
/* Answers everything asked so far, then ends the writer thread (if there is one), checkpoints and
 * closes the database. No further request may be made. Letters already posted stay with their
 * mailboxes: drain those before queue_free(). */
void queue_stop(struct queue *queue);
void queue_free(struct queue *queue); /* accepts NULL */

/* Direct mode only (no writer thread): does what waits and posts the answers. */
void queue_step(struct queue *queue);

/* New schedule and retention after a reload. Any thread. */
void queue_set_schedule(struct queue *queue, const struct queue_schedule *schedule,
                        int64_t retention_ms);

/* Is there room for a message of the largest size? Looked up about once a second by the writer;
 * false also while the store refuses to write. Any thread; one atomic load. */
bool queue_has_room(const struct queue *queue);
/* When there is none: is it for want of space (false), or because the store failed? Like it. */
bool queue_is_failing(const struct queue *queue);

/* --- messages -------------------------------------------------------------------------------- */

/* What an attempt came to, for one recipient; set by delivery. */
enum queue_fate {
    QUEUE_UNTRIED,  /* nothing happened: back into the queue as it was */
    QUEUE_SENT,     /* delivered */
    QUEUE_LATER,    /* temporary: again by the schedule */
    QUEUE_NEVER,    /* permanent */
    QUEUE_DOUBTFUL, /* no answer after the final dot */
};

struct queue_recipient {
    char *address;          /* owned by the message */
    enum queue_state state; /* as of the lease */
    unsigned attempts;      /* before this one */
    uint32_t position;      /* its number in the message, from 0 */
    /* for queue_settle(): */
    enum queue_fate fate;
    int code;          /* the upstream's reply code, 0 when there was none */
    char enhanced[12]; /* "5.1.1" or empty */
    char *text;        /* the upstream's words or our own reason; owned by the message, or NULL */
};

/* A message in memory: being submitted, or leased. Exactly one owner at a time. */
struct queue_message {
    int64_t id;
    int64_t received_ms;
    char *account;
    char key_id[16];
    char *sender;    /* "" is the null sender */
    uint64_t size;   /* bytes of the whole content, CRLF line ends, without dot-stuffing */
    uint32_t chunks; /* 0: content is whole in `content`; else `content` is empty: queue_read() */
    bool eight_bit;  /* some byte above 127 */
    bool sandbox;    /* never relay */
    bool stranded;   /* for queue_settle(): none of its upstreams could be reached */
    struct buf content;
    struct queue_recipient *recipients; /* when leased: only those that are due */
    size_t recipient_count;
};
/* Everything empty; content's maximum is QUEUE_INLINE_MAX + 4096. */
struct queue_message *queue_message_new(int64_t id);
void queue_message_free(struct queue_message *message); /* accepts NULL */
/* Copies the address. Returns the new recipient (borrowed until the next call). */
struct queue_recipient *queue_message_add(struct queue_message *message, struct slice address);
void queue_recipient_say(struct queue_recipient *recipient, enum queue_fate fate, int code,
                         const char *enhanced, struct slice text); /* text is copied, at most 512 */

/* --- submitting ------------------------------------------------------------------------------ */

/* message: NULL unless result is QUEUE_OK and a lease was asked for and given; then it is yours, to
 * be delivered and settled. On any other result nothing is stored, and the chunks go too. */
typedef void queue_submit_cb(void *owner, enum queue_result result, struct queue_message *message);

/* A client that does not know whether it was heard asks again with the same token. For a day after
 * the first submission of a key with a token, the same is answered without being stored, and
 * another is refused. This is on disk with the message, in one commit. */
#define QUEUE_TOKEN_MAX         255 /* octets */
#define QUEUE_FINGERPRINT_BYTES 32
#define QUEUE_TOKEN_MS          (INT64_C(86400) * 1000)
struct queue_once { /* lent until the answer; the writer sets what is to be set in it */
    const char *token;
    uint8_t fingerprint[QUEUE_FINGERPRINT_BYTES]; /* of what is submitted */
    const char *answer;                           /* kept beside it; "" for none */
    /* set when the result is QUEUE_REPEATED: */
    int64_t first_id;   /* of the first message of the first submission */
    char *first_answer; /* the owner frees it */
};

struct queue_submit {
    struct queue_message **message; /* consumed */
    /* More of the same key, stored with it or not at all; lease must be false. The array is lent,
     * the messages are consumed. */
    struct queue_message **others;
    size_t other_count;
    struct queue_once *once; /* NULL: no token */
    bool lease;              /* hand it straight to me for delivery */
    /* Asked on the writer thread right before the insert, or NULL. Its owner must stay valid until
     * the answer. */
    bool (*permit)(void *permit_owner);
    void *permit_owner;
    queue_submit_cb *cb;
    void *owner;
    struct mailbox *answers;
};
void queue_submit(struct queue *queue, const struct queue_submit *submit);

typedef void queue_done_cb(void *owner, enum queue_result result);

/* Was this submitted before? QUEUE_REPEATED, QUEUE_CONFLICT, or QUEUE_NOT_FOUND: submit it, and
 * only that answer counts. key_id is copied. */
void queue_recall(struct queue *queue, const char *key_id, struct queue_once *once,
                  queue_done_cb *cb, void *owner, struct mailbox *answers);

/* The next chunk (of QUEUE_CHUNK_BYTES; the last may be shorter) of a message that will be
 * submitted later with message->chunks set. Takes the bytes out of *chunk. Keep at most two
 * unanswered. */
void queue_append(struct queue *queue, int64_t id, uint32_t seq, struct buf *chunk,
                  queue_done_cb *cb, void *owner, struct mailbox *answers);
/* The message will not come: its chunks may go. No answer. */
void queue_discard(struct queue *queue, int64_t id);

/* --- delivering ------------------------------------------------------------------------------ */

/* The time by the queue's own clock, which no setting of the wall clock moves and which goes on
 * while nobody has the queue open. Any thread. */
int64_t queue_now_ms(const struct queue *queue);

/* messages: `count` leases, yours (the array is only lent). next_due_ms: when to ask again at the
 * latest (by queue_now_ms(); INT64_MAX: nothing waits). */
typedef void queue_lease_cb(void *owner, struct queue_message **messages, size_t count,
                            int64_t next_due_ms);
/* At most max_messages (1..64) and about max_bytes of inline content that are due at now_ms, which
 * is queue_now_ms(). Of those accounts take turns, and within an account its keys; of one key the
 * one that is due longest comes first. When this is answered it is on disk that an attempt of each
 * has begun, for which the answer waits. */
void queue_lease(struct queue *queue, size_t max_messages, size_t max_bytes, int64_t now_ms,
                 queue_lease_cb *cb, void *owner, struct mailbox *answers);
/* The same, but whoever has enough of something passes it over. next_due_ms says nothing of what is
 * passed over: ask again once there is room for it. */
struct queue_pass { /* all that is given must hold; NULL: any */
    const char *account, *key;
    const char *upstream; /* where the last message of that key went that had waited */
};
void queue_lease_but(struct queue *queue, const struct queue_pass *passes, size_t pass_count,
                     size_t max_messages, size_t max_bytes, int64_t now_ms, queue_lease_cb *cb,
                     void *owner, struct mailbox *answers);

/* From now on `cb` is called (on the thread of `answers`) when something became due earlier than
 * the last answer of queue_lease() to this mailbox said: a message that nobody leased, an
 * operator's retry. At most one call is under way at a time, and the next comes only after
 * queue_lease() was asked again. What was due before is learned by asking queue_lease() after
 * queue_watch(). */
typedef void queue_due_cb(void *owner);
void queue_watch(struct queue *queue, queue_due_cb *cb, void *owner, struct mailbox *answers);
/* No call any more once the queue has stopped or the next answer to this mailbox has come. */
void queue_unwatch(struct queue *queue, void *owner);

/* One chunk of a leased message. *chunk (empty on failure) is yours to move away. */
typedef void queue_read_cb(void *owner, enum queue_result result, struct buf *chunk);
void queue_read(struct queue *queue, int64_t id, uint32_t seq, queue_read_cb *cb, void *owner,
                struct mailbox *answers);

/* Records what became of a leased message by the fate of each recipient and ends the lease.
 * Consumes *message. Never fails: while the store cannot write, the settlement waits in memory, is
 * tried again and again, and nothing more is leased; its answer then comes late, and only if the
 * queue is stopped meanwhile as QUEUE_FAILED (the message will be delivered again). A recipient
 * without a fate is QUEUE_UNTRIED. upstream: its name, for the record, or NULL. cb may be NULL. */
void queue_settle(struct queue *queue, struct queue_message **message, const char *upstream,
                  queue_done_cb *cb, void *owner, struct mailbox *answers);

/* --- looking and steering: bounded reads through the writer ---------------------------------- */

struct queue_row {                   /* one message, for lists; owned by the queue_page */
    int64_t id, received_ms, due_ms; /* due_ms: 0 when it is not waiting */
    enum queue_state state;
    uint64_t size;
    char *account, *key_id, *sender;
    char *recipient; /* the first */
    size_t recipient_count;
    unsigned attempts;
    char *last_text; /* of its latest failure, or NULL */
};
struct queue_filter { /* which messages: all that is given must hold; texts: NULL is any */
    bool has_state;
    enum queue_state state;
    const char *account, *key; /* exactly */
    const char *sender;        /* an address, or a domain; "<>" is the null sender */
    const char *recipient;     /* an address or a domain that one of the recipients has */
    const char *upstream;      /* where the last attempt for that recipient was made */
    int64_t received_before_ms, received_after_ms; /* 0: any time */
    /* of queue_list() only: */
    int64_t before_id; /* only older than this; 0: from the newest */
    size_t limit;      /* rows wanted, 1..1000 */
};
struct queue_page {
    struct queue_row *rows; /* newest first */
    size_t count;
    int64_t next_id; /* give it as before_id to go on; 0: that was all. A page may be short, even
                        empty, and not the last: the work per question is bounded */
};
/* page: lent for the call; empty on failure. */
typedef void queue_list_cb(void *owner, enum queue_result result, struct queue_page *page);
void queue_list(struct queue *queue, const struct queue_filter *filter, queue_list_cb *cb,
                void *owner, struct mailbox *answers);

struct queue_recipient_row {
    char *address;
    enum queue_state state;
    unsigned attempts;
    int64_t due_ms, updated_ms;
    int code;
    char enhanced[12];
    char *text, *upstream; /* or NULL */
};
struct queue_event_row { /* one failed attempt, or an operator's act */
    int64_t at_ms;
    char *what;      /* "attempt", "retry" ... */
    char *recipient; /* or NULL */
    int code;
    char enhanced[12];
    char *text, *upstream;
};
struct queue_story { /* all that is known of one message */
    struct queue_row row;
    struct queue_recipient_row *recipients;
    size_t recipient_count;
    struct queue_event_row *events; /* oldest first, the last 1,000 */
    size_t event_count;
};
/* story: lent for the call; NULL unless QUEUE_OK. */
typedef void queue_show_cb(void *owner, enum queue_result result, struct queue_story *story);
void queue_show(struct queue *queue, int64_t id, queue_show_cb *cb, void *owner,
                struct mailbox *answers);

struct queue_stats {
    uint64_t messages[QUEUE_STATE_COUNT]; /* by state: counters, never counted by a scan */
    uint64_t active_bytes;                /* content of messages that are not final */
    uint64_t database_bytes, log_bytes;
    uint64_t unsettled; /* settlements and discards waiting for a store that cannot write */
};
typedef void queue_stats_cb(void *owner, const struct queue_stats *stats);
void queue_stats(struct queue *queue, queue_stats_cb *cb, void *owner, struct mailbox *answers);

enum queue_act {
    /* Deferred and uncertain recipients are due now; of a message named by its id those that failed
     * for good, too: they are deferred again, and its age counts from now. */
    QUEUE_RETRY,
    QUEUE_HOLD, /* those that wait are held: never due, until they are released */
    /* Held ones are due now, as deferred or queued as they were; its age counts from now, for the
     * time on hold is nobody's failure. */
    QUEUE_RELEASE,
    QUEUE_CANCEL, /* those that wait or are held have ended as cancelled; the content goes */
    QUEUE_ACT_COUNT
};
struct queue_steering {
    enum queue_act act;
    /* One message (only if it is of filter.account, where that is given): QUEUE_NOT_FOUND;
     * QUEUE_CONFLICT when it has no such recipient or is being delivered right now. 0: every
     * message that the filter wants, newest first, in steps between which others are answered, but
     * of those being delivered none; a retry reaches their recipients that are due later. */
    int64_t id;
    struct queue_filter filter; /* texts are copied */
    const char *by;             /* "operator" or a key's id, for the message's history; copied */
    /* It is a key that asks: what the operator holds it may neither release nor cancel
     * (QUEUE_REFUSED). The operator may hold what a key, or retry.uncertain, holds already. */
    bool by_key;
};
/* changed: how many messages, on failure too. busy: how many more the filter wants that were being
 * delivered. */
typedef void queue_steer_cb(void *owner, enum queue_result result, uint64_t changed, uint64_t busy);
void queue_steer(struct queue *queue, const struct queue_steering *steering, queue_steer_cb *cb,
                 void *owner, struct mailbox *answers);

#endif
