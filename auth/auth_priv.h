/* auth_priv.h - what the files of auth/ share. Nobody else includes it but their unit tests.
 * Who may touch what: accounts, domains and plans belong to the administration's thread. Of a key,
 * what is fixed at its creation may be read by any thread; its hash and its grant change under the
 * table's lock; its limits in force are atomics; its usage has a lock of its own. */
#ifndef LATCHPOST_AUTH_PRIV_H
#define LATCHPOST_AUTH_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "auth/auth.h"
#include "relay/base/macros.h"

/* --- key.c: the text of a key and its hash (libsodium) ---------------------------------------- */

#define KEY_ID_DIGITS     8
#define KEY_SECRET_DIGITS 22
#define KEY_CHECK_DIGITS  6
#define KEY_DIGITS        (KEY_ID_DIGITS + KEY_SECRET_DIGITS + KEY_CHECK_DIGITS)
#define KEY_PREFIX_MAX    12
#define KEY_TEXT_MAX      (KEY_PREFIX_MAX + KEY_DIGITS)
#define KEY_TAIL_DIGITS   4 /* of the end: stored and shown */
#define KEY_HASH_BYTES    32
#define KEY_PEPPER_BYTES  32

struct key_pepper { /* in guarded memory that is kept out of swap and core dumps */
    uint8_t bytes[KEY_PEPPER_BYTES];
};

/* Makes libsodium usable. To be called before anything else here; any number of times. */
bool key_start(struct why *why);

struct key_pepper *key_pepper_new(struct why *why); /* random; NULL when memory is refused */
void key_pepper_free(struct key_pepper *pepper);    /* wipes; accepts NULL */
bool key_pepper_from_hex(struct key_pepper *pepper, const char *hex); /* exactly 64 digits */

bool key_prefix_is_valid(struct slice prefix);

/* Is this a key as far as one can tell without knowing any: form and check digits? Whatever the
 * answer, the work is the same and id is filled (with nothing meaningful when false). The prefix
 * is not compared with the one configured now, so keys outlive a change of it. */
bool key_parse(struct slice text, char id[static KEY_ID_DIGITS]);
/* Does one stand anywhere in this text? */
bool key_is_in(struct slice text);

/* Draws a new key, NUL-ended, and its id, NUL-ended. prefix: valid. The caller wipes the text. */
void key_make(const char *prefix, char text[static AUTH_KEY_TEXT_BYTES],
              char id[static AUTH_KEY_ID_BYTES]);
/* The same for an id that exists: another secret for its key. */
void key_make_again(const char *prefix, const char *id, char text[static AUTH_KEY_TEXT_BYTES]);

/* What is stored of a key; of a longer text only the first KEY_TEXT_MAX bytes are hashed. */
void key_hash(const struct key_pepper *pepper, struct slice text,
              uint8_t hash[static KEY_HASH_BYTES]);
/* What is stored of a revoked key: recognises it, but the hash cannot be had back from it. */
void key_tombstone(const struct key_pepper *pepper, const uint8_t hash[static KEY_HASH_BYTES],
                   uint8_t tombstone[static KEY_HASH_BYTES]);
/* What is stored of the pepper: recognises it. */
void key_canary(const struct key_pepper *pepper, uint8_t canary[static KEY_HASH_BYTES]);
/* What proves that an account has a domain when it stands in the DNS: public, and nobody can tell
 * it beforehand for another account or another domain. */
void key_domain_proof(const struct key_pepper *pepper, struct slice claim,
                      uint8_t proof[static KEY_HASH_BYTES]);

bool key_hash_equal(const uint8_t a[static KEY_HASH_BYTES], const uint8_t b[static KEY_HASH_BYTES]);
void key_wipe(void *bytes, size_t len);
uint32_t key_crc32(struct slice bytes);

/* --- pepper.c: the file it lives in ----------------------------------------------------------- */

/* Fills *pepper from `hex` when it is not NULL, else from the file, which is made from the random
 * bytes that *pepper holds when it is missing and `may_create`. */
bool pepper_load(struct key_pepper *pepper, const char *path, const char *hex, bool may_create,
                 struct why *why);

/* --- pattern.c: domain patterns (pure) -------------------------------------------------------- */

#define PATTERN_MAX 255

/* "*.x" covers every name that ends in ".x", patterns too, but not "x"; any other only itself. */
bool pattern_covers(struct slice pattern, struct slice name);
/* Could it be "a.b" or "*.a.b" in its one spelling? */
bool pattern_is_valid(struct slice pattern);

struct pattern_set; /* many patterns, immutable, shared, counted */
struct pattern_set *pattern_set_new(const char *const *patterns, size_t count);
struct pattern_set *pattern_set_ref(struct pattern_set *set);
void pattern_set_unref(struct pattern_set *set); /* accepts NULL */
bool pattern_set_covers(const struct pattern_set *set, struct slice name);

/* --- network.c: addresses and CIDR (pure) ----------------------------------------------------- */

struct network {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d; host bits are zero */
    unsigned bits;       /* of the 16 bytes: IPv4's /8 is 104 */
    bool ipv4;
};
#define NETWORK_TEXT_BYTES 64

/* "10.0.0.0/8", "2001:db8::/32" or a bare address. IPv4 in IPv6's clothes is IPv4. */
bool network_parse(struct slice text, struct network *network);
void network_format(const struct network *network, char text[static NETWORK_TEXT_BYTES]);
bool network_holds(const struct network *network, const uint8_t address[static 16]);
bool network_is_ipv4(const uint8_t address[static 16]);
bool network_parse_address(const char *text, uint8_t address[static 16]);
void network_format_address(const uint8_t address[static 16], char text[static NETWORK_TEXT_BYTES]);

/* --- plan.c: named bundles of limits; administration's thread --------------------------------- */

struct plans {
    struct auth_plan *plans;
    size_t count;
};
void plans_set(struct plans *plans, const struct auth_plan *from, size_t count); /* copies */
void plans_free(struct plans *plans);
const struct auth_plan *plans_find(const struct plans *plans, const char *name); /* or NULL */
const struct auth_plan *plans_get(const struct plans *plans, const char *name);  /* or "default" */
/* What this account may have: of each limit the lower one of its own plan and its parent's. The
 * name is its own plan's. */
struct account;
struct auth_plan plans_of(const struct plans *plans, const struct account *account);

/* --- limit.c: token bucket and day count (pure) ----------------------------------------------- */

uint64_t limit_least(uint64_t a, uint64_t b); /* the smaller of two limits; 0: none */

struct limit_rate {  /* zeroed: full */
    int64_t credit;  /* in tokens/60000: what one a minute earns in a millisecond */
    int64_t last_ms; /* when credit was right */
    bool started;
};
/* per_minute 0: no limit. False: *wait_s (at least 1) says when the next token is there. */
bool limit_take_rate(struct limit_rate *rate, unsigned per_minute, int64_t now_ms,
                     unsigned *wait_s);

struct limit_day {
    int64_t day; /* days since 1970, UTC */
    uint64_t count;
};
/* per_day 0: no limit, but counted, so that a limit set later today finds the right number. */
bool limit_take_day(struct limit_day *day, uint64_t per_day, int64_t now_s, unsigned *wait_s);

/* What is left, and in how many seconds all of it will be there again; the limit is not 0. */
unsigned limit_rate_left(const struct limit_rate *rate, unsigned per_minute, int64_t now_ms,
                         unsigned *reset_s);
uint64_t limit_day_left(const struct limit_day *day, uint64_t per_day, int64_t now_s,
                        unsigned *reset_s);

/* Gives back one message; or so many recipients that were taken then, if that is the day still. */
void limit_give_rate(struct limit_rate *rate, unsigned per_minute);
void limit_give_day(struct limit_day *day, uint64_t count, int64_t taken_s);

/* --- penalty.c: refused logins by address; any thread ----------------------------------------- */

#define PENALTY_ADDRESSES_MAX 100000

struct penalty;
struct penalty_options {
    unsigned failures, window_s, penalty_s; /* any of them 0: nothing is counted */
    size_t addresses_max;
    uint64_t tarpit_ms; /* after the first failure; 0: none */
};
struct penalty *penalty_new(const struct penalty_options *options);
void penalty_free(struct penalty *penalty); /* accepts NULL */
void penalty_failed(struct penalty *penalty, const uint8_t address[static 16], int64_t now_s);
void penalty_succeeded(struct penalty *penalty, const uint8_t address[static 16]);
unsigned penalty_left_s(struct penalty *penalty, const uint8_t address[static 16], int64_t now_s);
/* How long the failure that was counted last has to wait for its answer. */
uint64_t penalty_tarpit_ms(struct penalty *penalty, const uint8_t address[static 16],
                           int64_t now_s);
size_t penalty_count(struct penalty *penalty);

/* --- usage.c: what is only counted; any thread ------------------------------------------------ */

#define USAGE_PROTOCOL_BYTES 8

/* A key has one secret, and while it is rotated two. */
enum { SECRET_CURRENT, SECRET_FORMER, KEY_SECRETS };

struct use {         /* the last one of a secret */
    unsigned secret; /* its number; 0: there is no such secret */
    int64_t last_s;  /* 0: never used */
    uint8_t address[16];
    bool has_address;
    char protocol[USAGE_PROTOCOL_BYTES];
};
struct usage {
    pthread_mutex_t lock; /* guards the following */
    struct use uses[KEY_SECRETS];
    struct limit_rate rate;
    struct limit_day day;
};

struct key;
struct usage_row;
struct auth_store;

/* Keys whose usage is not on disk yet: pushed by any thread, taken all at once by one. */
struct usage_stack {
    struct key *_Atomic top;
};
void usage_init(struct usage *usage);
void usage_destroy(struct usage *usage);
void usage_changed(struct usage_stack *stack, struct key *key);
/* secret: the number of the one that was shown. */
void usage_note(struct usage_stack *stack, struct key *key, unsigned secret,
                const struct auth_peer *peer, int64_t now_s);
/* The secret with this number is the current one; what was is the former one (keep), or gone. */
void usage_rotate(struct usage_stack *stack, struct key *key, bool keep, unsigned secret);
/* The fields of *row point into the key and the row itself. */
void usage_copy(struct key *key, struct usage_row *row);
void usage_restore(struct key *key, const struct usage_row *row);
/* Administration's thread: writes what waits, in one transaction. False when it still waits. */
bool usage_flush(struct usage_stack *stack, struct auth_store *store);

/* --- keys and accounts, and the table that holds them ----------------------------------------- */

enum key_state { KEY_ACTIVE, KEY_HELD, KEY_REVOKED };
enum rule_kind { RULE_DOMAIN, RULE_SENDER, RULE_RECIPIENT, RULE_NETWORK, RULE_KINDS };

struct texts { /* owned, `items` ends with NULL unless it is NULL itself */
    char **items;
    size_t count;
};
void texts_add(struct texts *texts, const char *text);
void texts_free(struct texts *texts);

struct account;

/* Numbers tell the secrets of a key apart in the grants that are out; they count from 1 (the former
 * secret of a key that was loaded: 1, its current one: 2) and are in memory only. */
struct secret {
    /* administration's thread */
    unsigned number; /* 0: there is no such secret */
    char tail[KEY_TAIL_DIGITS + 1];
    int64_t made_s;
    int64_t until_s; /* of the former one: its end; 0: none */
    bool erased;     /* what is left of it is its tombstone */
    bool doubtful;   /* of the current one: it may have been used though no use of it is known */
    /* the table's lock */
    uint8_t hash[KEY_HASH_BYTES]; /* its tombstone once erased */
    struct auth_grant *grant;     /* NULL where there is no secret */
};

struct key { /* lives until auth_close(), revoked or not */
    /* fixed at its creation */
    char id[AUTH_KEY_ID_BYTES];
    char prefix[KEY_PREFIX_MAX + 1];
    struct account *account;
    size_t place; /* in the table, oldest first */
    char *name;
    unsigned scopes;
    bool test;
    struct texts rules[RULE_KINDS];
    struct network *networks; /* rules[RULE_NETWORK], parsed */
    unsigned rate_per_minute; /* 0: the plan's */
    uint64_t recipients_per_day;
    uint64_t message_size_bytes; /* 0: none */
    unsigned sessions_max;       /* 0: none */
    int64_t created_s, expires_s;
    /* administration's thread */
    enum key_state state;
    enum auth_rank held_by;
    /* what each secret says of itself */
    struct secret secrets[KEY_SECRETS];
    /* any thread */
    _Atomic unsigned rate_in_force;
    _Atomic uint64_t recipients_in_force;
    _Atomic unsigned sessions;
    struct usage usage;
    atomic_bool usage_pending;
    struct key *usage_next;
};
struct key_row;
struct key *key_new(void);
void key_fill(struct key *key, const struct key_row *row); /* a fresh one; copies, but no account */
void key_free(struct key *key); /* accepts NULL; its grants must be gone */
bool key_is_active(const struct key *key, int64_t now_s); /* counts for its account's limit */
void key_apply_plan(struct key *key, const struct auth_plan *plan);
/* Parses rules[RULE_NETWORK]; false at the first that is none, which *bad then names. */
bool key_parse_networks(struct key *key, const char **bad);

struct domain {
    char *pattern;
    bool verified;
    int64_t created_s;
};

struct account { /* administration's thread */
    char *handle, *plan;
    struct account *parent;    /* NULL: none; a parent has none itself */
    struct account **children; /* its sub-accounts, oldest first; the table owns them */
    size_t child_count;
    bool suspended;
    enum auth_rank suspended_by;
    int64_t created_s;
    struct domain *domains;
    size_t domain_count;
    struct pattern_set *verified; /* those that are verified; shared by the grants of its keys */
    struct key **keys;            /* oldest first; the table owns them */
    size_t key_count;
};
struct account *account_new(const char *handle, const char *plan, bool suspended,
                            int64_t created_s);
void account_free(struct account *account);
bool account_handle_is_valid(struct slice handle);
struct domain *account_find_domain(const struct account *account, const char *pattern);
void account_add_domain(struct account *account, const char *pattern, bool verified,
                        int64_t created_s);
void account_remove_domain(struct account *account, struct domain *domain);
bool account_covers(const struct account *account, const char *pattern); /* verified ones only */
void account_adopt(struct account *parent, struct account *child);
void account_apply_plan(struct account *account, const struct plans *plans); /* and below it */
bool account_is_suspended(const struct account *account);                    /* it, or its parent */
size_t account_active_keys(const struct account *account, int64_t now_s);

struct table;
struct table *table_new(void);
void table_free(struct table *table); /* accepts NULL; all grants must have been given back */

/* Administration's thread: looking. */
struct key *table_find_key(const struct table *table, const char *id);
struct key *table_key(const struct table *table,
                      size_t i); /* i-th oldest, or NULL behind the last */
struct account *table_find_account(const struct table *table, const char *handle);
struct account *table_account(const struct table *table, size_t i);

/* Administration's thread: changing, after the commit. Grants that no longer tell the truth are
 * out of date when these return. The table owns what is added. After a change of an account's
 * domains, table_refresh_account() brings it into force. */
void table_add_account(struct table *table, struct account *account);
void table_add_key(struct table *table, struct key *key, struct account *account);
/* After a change of the key's state; next: its secrets from now on (their grants are ignored), or
 * NULL when they stay as they are. */
void table_refresh_key(struct table *table, struct key *key, const struct secret *next);
void table_refresh_account(struct table *table, struct account *account);

/* At start only, while nobody checks: adds without granting; table_refresh_account() follows. */
void table_load_key(struct table *table, struct key *key, struct account *account);

/* Any thread. */
struct table_hit {
    struct {
        uint8_t hash[KEY_HASH_BYTES]; /* zeros when there is no such key or secret */
        struct auth_grant *grant;     /* NULL then; else the same as `held` */
        struct auth_grant *held;      /* a reference, in any case: to be let go, or taken out */
    } secrets[KEY_SECRETS];
};
/* Takes the same time for a key that is not there. table_let_go() must follow. */
void table_lookup(struct table *table, struct slice id, struct table_hit *hit);
void table_let_go(struct table_hit *hit); /* wipes it, too */
/* What the secret with this number allows now: a reference, or NULL when it is gone. */
struct auth_grant *table_grant_of(struct table *table, struct key *key, unsigned secret);

/* --- grant.c ---------------------------------------------------------------------------------- */

struct auth_grant {
    atomic_uint refs;
    atomic_bool outdated;  /* set once, when the key, its account or its domains changed */
    atomic_size_t *living; /* counts all grants of the table */
    struct key *key;
    struct pattern_set *verified; /* the domains of its account */
    unsigned secret;              /* the number of the one that it is for */
    int64_t until_s;              /* the end of that; 0: none */
    bool erased;                  /* that is known by its tombstone only */
    enum key_state state;
    bool suspended;
};
/* secret: of the key. */
struct auth_grant *grant_new(struct key *key, const struct secret *secret,
                             struct pattern_set *verified, atomic_size_t *living);
void grant_outdate(struct auth_grant *grant);
/* May it be used now? AUTH_OK, or revoked, replaced, expired, held, suspended: the first that is
 * true. */
enum auth_verdict grant_verdict(const struct auth_grant *grant, int64_t now_s);
bool grant_permits_address(const struct auth_grant *grant, const struct auth_peer *peer);

/* --- spec.c: is what is asked for a new key acceptable? (pure) -------------------------------- */

#define SCOPES_ALL                                                                                 \
    (AUTH_SEND | AUTH_KEYS | AUTH_MESSAGES | AUTH_DOMAINS | AUTH_ACCOUNTS | AUTH_METRICS)

bool spec_check(const struct auth_key_spec *spec, int64_t now_s, struct why *why);
bool spec_name_is_valid(const char *name);

/* --- auth_store.c: keys.db; administration's thread ------------------------------------------- */

struct account_row {
    const char *handle, *plan;
    bool suspended;
    int64_t created_s;
    enum auth_rank suspended_by;
    const char *parent; /* NULL: none; to be stored; when loading each comes by itself */
};
struct domain_row {
    const char *pattern, *account;
    bool verified;
    int64_t created_s;
};
struct secret_row {
    const uint8_t *hash; /* KEY_HASH_BYTES; NULL: there is no such secret */
    const char *tail;
    int64_t made_s, until_s;
    bool erased;
};
struct key_row {
    const char *id, *account, *name, *prefix;
    struct secret_row secrets[KEY_SECRETS];
    unsigned scopes;
    bool test;
    enum key_state state;
    enum auth_rank held_by;
    unsigned rate_per_minute;
    uint64_t recipients_per_day;
    uint64_t message_size_bytes;
    unsigned sessions_max;
    int64_t created_s, expires_s;
    struct auth_list rules[RULE_KINDS]; /* to be stored; when loading each comes as a rule_row */
};
struct rule_row {
    const char *key, *value;
    enum rule_kind kind;
};
struct usage_row {
    const char *key;
    struct use_row {
        int64_t last_s;
        char address[NETWORK_TEXT_BYTES]; /* empty: none */
        char protocol[USAGE_PROTOCOL_BYTES];
    } uses[KEY_SECRETS];
    int64_t day;
    uint64_t recipients;
};
struct audit { /* who did it; each change is stored together with its line */
    int64_t at_s;
    const char *actor, *action, *subject, *detail;
    const char *account; /* whose key, domain or account it is */
    const char *from;    /* empty: nobody asked for it */
};

struct auth_store;
bool auth_store_open(struct auth_store **store, const char *path, struct why *why);
void auth_store_close(struct auth_store *store); /* accepts NULL; logs what fails */

/* The canary: *found tells whether there is one. */
bool auth_store_read_canary(struct auth_store *store, uint8_t canary[static KEY_HASH_BYTES],
                            bool *found, struct why *why);
/* Writes the canary and the account AUTH_DEFAULT_ACCOUNT, in one transaction. */
bool auth_store_found(struct auth_store *store, const uint8_t canary[static KEY_HASH_BYTES],
                      int64_t now_s, struct why *why);

/* Shows every row: accounts, parents of accounts, domains, keys (oldest first), rules, usage. A
 * visitor that returns false has set *why and ends it. The texts are borrowed for the call. */
struct auth_store_visitor {
    bool (*account)(void *owner, const struct account_row *row, struct why *why);
    bool (*parent)(void *owner, const char *handle, const char *parent, struct why *why);
    bool (*domain)(void *owner, const struct domain_row *row, struct why *why);
    bool (*key)(void *owner, const struct key_row *row, struct why *why);
    bool (*rule)(void *owner, const struct rule_row *row, struct why *why);
    bool (*usage)(void *owner, const struct usage_row *row, struct why *why);
};
bool auth_store_load(struct auth_store *store, const struct auth_store_visitor *visitor,
                     void *owner, struct why *why);

/* Each is one transaction; false with *why when nothing was changed. */
bool auth_store_add_account(struct auth_store *store, const struct account_row *row,
                            const struct audit *audit, struct why *why);
bool auth_store_put_domain(struct auth_store *store, const struct domain_row *row,
                           const struct audit *audit, struct why *why);
bool auth_store_remove_domain(struct auth_store *store, const char *account, const char *pattern,
                              const struct audit *audit, struct why *why);
bool auth_store_add_key(struct auth_store *store, const struct key_row *row,
                        const struct audit *audit, struct why *why);
bool auth_store_save_usage(struct auth_store *store, const struct usage_row *rows, size_t count,
                           struct why *why);

/* Of keys and accounts that exist (auth_store_state.c). The secrets and whose they are; what they
 * replace is in no file any more when this returns. With `revoked` the key is, too. */
struct secrets_change {
    const char *key;
    struct secret_row secrets[KEY_SECRETS];
    bool revoked, rotated; /* rotated: the use of the current one becomes that of the former */
    bool watched;          /* auth_store_watch_first_uses() with it */
    struct audit audit;
};
bool auth_store_put_secrets(struct auth_store *store, const struct secrets_change *changes,
                            size_t count, struct why *why);
/* A row that says: if this is here at the start, the first use of some secret may not be written.
 */
bool auth_store_watch_first_uses(struct auth_store *store, bool watch, struct why *why);
bool auth_store_missed_first_uses(struct auth_store *store, bool *missed, struct why *why);
/* Active or held. */
bool auth_store_set_state(struct auth_store *store, const char *id, enum key_state state,
                          enum auth_rank held_by, const struct audit *audit, struct why *why);

bool auth_store_set_suspended(struct auth_store *store, const char *handle, bool suspended,
                              enum auth_rank suspended_by, const struct audit *audit,
                              struct why *why);
bool auth_store_set_plan(struct auth_store *store, const char *handle, const char *plan,
                         const struct audit *audit, struct why *why);

/* The largest id of the audit trail; 0: none. */
bool auth_store_last_id(struct auth_store *store, int64_t *id, struct why *why);
/* Of the audit trail (auth_store_audit.c). Refusals are written by their id: one that is there gets
 * its count and its latest time. */
struct refusal { /* many that were the same are one */
    int64_t id, at_s, last_s;
    uint64_t count;
    struct refusal_texts { /* no padding, zeroed behind the NULs: compared as bytes */
        char action[24];
        char actor[AUTH_KEY_ID_BYTES];
        char account[AUTH_ACCOUNT_MAX + 1];
        char from[NETWORK_TEXT_BYTES];
        char protocol[USAGE_PROTOCOL_BYTES];
        char subject[256];
        char rule[224];
    } texts;
};
bool auth_store_save_refusals(struct auth_store *store, const struct refusal *rows, size_t count,
                              struct why *why);
bool auth_store_count_refusals(struct auth_store *store, const char *action, int64_t *count);
/* Removes the oldest of this action, at most `most`, and none with this id or a larger one. */
bool auth_store_prune_refusals(struct auth_store *store, const char *action, int64_t before_id,
                               int64_t most, int64_t *removed, struct why *why);
#define AUDIT_LOOK_MAX 5000 /* lines of each table, in one question, about */

/* Shows changes and refusals, newest first; the view and its texts are borrowed for the call.
 * *next: to go on before; 0: that was all. */
bool auth_store_read_audit(struct auth_store *store, const struct auth_audit_filter *filter,
                           void (*show)(void *owner, const struct auth_audit_view *view),
                           void *owner, int64_t *next, struct why *why);

/* --- refusals.c: those of the last minute, on their way to keys.db ---------------------------- */

#define REFUSALS_WAITING_MAX 512          /* of each kind */
#define REFUSALS_KEPT_MAX    100000       /* of each kind, in keys.db ... */
#define REFUSALS_KEPT_S      (90 * 86400) /* ... and for so long */
#define REFUSALS_FOLD_S      60

struct refusals;
/* kept_max: REFUSALS_KEPT_MAX, unless a test wants to see it reached. */
struct refusals *refusals_new(int64_t kept_max);
void refusals_free(struct refusals *refusals); /* accepts NULL */
/* Any thread. The id under which it will be found; 0: there is no room until the next flush, and it
 * is only counted. */
int64_t refusals_note(struct refusals *refusals, enum auth_refused what,
                      const struct refusal_texts *texts, int64_t now_s);
/* A text as it may be kept: what could be a key ends it, cut behind what would be its id. prefixes:
 * those of our keys. */
void refusals_text(char *out, size_t size, struct slice text, const char *const prefixes[static 2]);
/* The administration's thread. False: it could not be written, and is tried again. */
bool refusals_flush(struct refusals *refusals, struct auth_store *store, int64_t now_s);

/* --- secrets.c: what becomes of a key's secrets ----------------------------------------------- */

/* Erases what has ended until now_s, and finds out when the next one ends. False when that could
 * not be written; it is tried again. */
bool secrets_end(struct auth *auth, int64_t now_s);
/* After loading, and whenever one may end earlier than was known. */
void secrets_note_end(struct auth *auth, int64_t until_s);
/* After loading: what a crash may have kept from being written of first uses is in doubt. */
bool secrets_begin_watch(struct auth *auth, struct why *why);
/* Before closing, once the usage is written. */
void secrets_end_watch(struct auth *auth);

/* --- auth.c ----------------------------------------------------------------------------------- */

struct auth {
    struct auth_store *store;
    struct table *table;
    struct key_pepper *pepper;
    struct penalty *penalty;
    struct plans plans;
    struct usage_stack pending;
    struct refusals *refusals;
    char origin[NETWORK_TEXT_BYTES]; /* of the changes. Administration's thread */
    char *prefix_live, *prefix_test;
    int64_t next_end_s; /* of a former secret; 0: none has one. Administration's thread */
};

/* --- load.c: from keys.db to the table -------------------------------------------------------- */

/* Fills an empty table, but for the limits in force. path: of keys.db, to be named in *why. */
bool load_table(struct table *table, struct auth_store *store, const char *path, struct why *why);

#endif
