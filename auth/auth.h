/* auth.h - may this API key send mail, as whom, and how much?
 * One struct auth serves all threads. Checking does no I/O: it reads the in-memory table of keys,
 * which only this process changes, after the change was committed to keys.db. Administration is for
 * one thread (the daemon's main thread, or a command while no daemon runs) and blocks for the
 * commit. Everything given in is already parsed: domains and patterns in their one spelling
 * (message/domain.h), addresses with their domain likewise. */
#ifndef LATCHPOST_AUTH_H
#define LATCHPOST_AUTH_H

#include "relay/base/slice.h"
#include "relay/base/why.h"

struct auth;       /* opaque; auth_open() makes it, auth_close() frees it and accepts NULL */
struct auth_grant; /* whose key it was and what it may do; shared, read-only, counted */

#define AUTH_KEY_ID_BYTES     9   /* 8 base62 digits and the NUL */
#define AUTH_ACCOUNT_MAX      63  /* a handle: [a-z0-9][a-z0-9-]*, without the NUL */
#define AUTH_NAME_MAX         100 /* characters of a key's name */
#define AUTH_KEY_TEXT_BYTES   49  /* the longest key (12-character prefix) and the NUL */
#define AUTH_LIST_MAX         100 /* domains, senders, recipients, networks of a key: each at most */
#define AUTH_OVERLAP_MAX_S    (90 * 86400) /* of a rotation */
#define AUTH_SUB_ACCOUNTS_MAX 1000
#define AUTH_DEFAULT_ACCOUNT  "default"
#define AUTH_FROM_SOCKET      "unix socket"  /* where the audit trail has no address ... */
#define AUTH_FROM_COMMAND     "command line" /* ... or no daemon */

/* Scopes are bits (scope.c has the table of names). */
enum auth_scope {
    AUTH_SEND = 1,
    AUTH_KEYS = 2,
    AUTH_MESSAGES = 4,
    AUTH_DOMAINS = 8,
    AUTH_ACCOUNTS = 16,
    AUTH_METRICS = 32,
};
/* "send,keys" (blanks tolerated) to bits; false for an unknown or empty word. */
bool auth_scopes_parse(struct slice text, unsigned *scopes);
/* The name of the i-th scope and its bit, or NULL behind the last: to print and to document. */
const char *auth_scope_name(size_t i, unsigned *bit);

struct auth_plan { /* a named bundle of limits; 0: no limit */
    const char *name;
    unsigned rate_per_minute;
    uint64_t recipients_per_day;
    unsigned keys; /* active keys an account may hold */
};

struct auth_options {
    const char *path;        /* keys.db */
    const char *pepper_path; /* 32 random bytes, 0600; made when there is no keys.db yet */
    const char *pepper_hex;  /* 64 hex digits that replace the file, or NULL */
    const char *prefix_live; /* "lpk_": [a-z0-9_]{1,11}_ */
    const char *prefix_test; /* "lpt_" */
    /* Copied; "default" (no rate, 100 keys) exists without being named. */
    const struct auth_plan *plans;
    size_t plan_count;
    unsigned penalty_failures; /* refused logins from one address ... */
    unsigned penalty_window_s; /* ... within this time ... */
    unsigned penalty_s;        /* ... close the door to it for this long; 0: never */
    uint64_t tarpit_ms;        /* how long the answer to the first of them waits; 0: not at all */
};

/* Opens or creates the database and the pepper and loads the table. Refuses, naming the file: wrong
 * modes or owner, a pepper that is missing while keys exist or that is not the one the keys were
 * hashed with (a canary row tells), a damaged database. */
bool auth_open(struct auth **auth, const struct auth_options *options, struct why *why);
void auth_close(struct auth *auth); /* every grant must have been given back */

/* New plans after a reload; the limits of existing keys follow. Main thread. */
void auth_set_plans(struct auth *auth, const struct auth_plan *plans, size_t plan_count);

/* --- checking: any thread --------------------------------------------------------------------- */

struct auth_peer {       /* where the client is */
    uint8_t address[16]; /* network order, IPv4 as ::ffff:a.b.c.d */
    /* False on a Unix socket: no failure is counted, and a key that names networks is refused. */
    bool has_address;
    const char *protocol; /* "smtp" or "http" */
    struct slice user;    /* as the client said it: for the audit trail; or empty */
};

enum auth_verdict {
    AUTH_OK,
    AUTH_UNKNOWN,  /* not a key, unknown id, wrong secret: one answer for all, in equal time */
    AUTH_REVOKED,  /* from here on the secret was right, so the reason may be told */
    AUTH_REPLACED, /* the key was rotated, and the overlap is over */
    AUTH_EXPIRED,
    AUTH_HELD,
    AUTH_SUSPENDED, /* its account is */
    AUTH_WRONG_ADDRESS,
    AUTH_WRONG_SCOPE,
};
/* "this key has expired", ... for replies; for AUTH_UNKNOWN the one text for all. Never NULL. */
const char *auth_verdict_text(enum auth_verdict verdict);

/* Finds the key with this secret, in time that does not depend on it, and checks that it may be
 * used now, from there, with all of `scopes`. Counts a refusal against the address, a success
 * never. now_s: unix seconds. On AUTH_OK *grant is a reference the caller owes to
 * auth_grant_unref(); else it is untouched. The caller wipes its copy of the secret. */
enum auth_verdict auth_check(struct auth *auth, struct slice secret, unsigned scopes,
                             const struct auth_peer *peer, int64_t now_s,
                             struct auth_grant **grant);

/* Must connections from this address be turned away for too many refused logins? Returns the
 * seconds that are left, 0 when it is welcome; the audit trail hears of the others. IPv6 addresses
 * count by their /64. The table holds at most 100,000 addresses, the oldest leave first. */
unsigned auth_penalty_s(struct auth *auth, const struct auth_peer *peer, int64_t now_s);

/* How long should the answer to what auth_check() refused just now be kept back? Twice as long for
 * each refusal that was counted against the address of late, up to eight times tarpit_ms. The same
 * whatever was wrong; 0 where nothing is counted. Whoever waits must not hold up anybody else. */
uint64_t auth_tarpit_ms(struct auth *auth, const struct auth_peer *peer, int64_t now_s);

/* Is the grant still exactly what its key may do? One atomic load and a comparison: for each
 * command and, in the queue writer, right before the commit. */
bool auth_grant_is_current(const struct auth_grant *grant, int64_t now_s);

/* When it is not: exchanges *grant for what the key may do now (domains narrowed, say) and returns
 * AUTH_OK, or says why the key may nothing any more and leaves *grant as it is. */
enum auth_verdict auth_grant_renew(struct auth *auth, struct auth_grant **grant, int64_t now_s);

/* A refusal for the audit trail: of a login (those that auth_check() and auth_penalty_s() find are
 * recorded by them) or of a message. Equal ones of a minute are one line with a count. The texts
 * are copied, and cut where they could hold a key. Returns the reference under which it will be
 * found (base/ident.h), or 0: too many were recorded at this moment, and this one was counted. */
enum auth_refused { AUTH_REFUSED_LOGIN, AUTH_REFUSED_MESSAGE, AUTH_REFUSED_KINDS };
struct auth_refusal {
    enum auth_refused what;
    const struct auth_grant *grant; /* whose key it was; NULL: nobody's */
    const char *from;               /* an address, or NULL: a Unix socket */
    const char *protocol;           /* "smtp" or "http" */
    struct slice subject;           /* the user name, or the sender of the message */
    const char *rule;               /* a sentence */
};
int64_t auth_note_refusal(struct auth *auth, const struct auth_refusal *refusal, int64_t now_s);

struct auth_grant *auth_grant_ref(struct auth_grant *grant);
void auth_grant_unref(struct auth_grant *grant); /* accepts NULL */

const char *auth_grant_key_id(const struct auth_grant *grant); /* borrowed, as long as the grant */
const char *auth_grant_account(const struct auth_grant *grant);
bool auth_grant_is_test(const struct auth_grant *grant);
/* Was it got with a secret that a rotation has replaced, and that ends soon? Until then it sends
 * mail, but whoever asks for a change must refuse it. */
bool auth_grant_is_former(const struct auth_grant *grant);
bool auth_grant_has(const struct auth_grant *grant, unsigned scopes);

/* May it send as local@domain? domain in its one spelling. A domain is permitted when a pattern of
 * the key covers it (none: any) and a verified domain of its account covers that; the address list,
 * if there is one, must hold it (local part compared as written, domain folded). */
bool auth_grant_permits_sender(const struct auth_grant *grant, struct slice local,
                               struct slice domain);
bool auth_grant_permits_recipient(const struct auth_grant *grant, struct slice local,
                                  struct slice domain);

/* The largest message that the key may send; 0: it has no limit of its own. */
uint64_t auth_grant_message_size(const struct auth_grant *grant);

/* Counts a session in, unless the key has as many as it may have: then false. Each true is owed one
 * auth_session_leave(), with any grant of the key. */
bool auth_session_enter(const struct auth_grant *grant);
void auth_session_leave(const struct auth_grant *grant);

/* Takes one message from the key's rate, or one recipient from its day (UTC). False when there is
 * none left: *wait_s says in how many seconds there will be. */
bool auth_take_message(struct auth *auth, const struct auth_grant *grant, int64_t now_ms,
                       unsigned *wait_s);
bool auth_take_recipient(struct auth *auth, const struct auth_grant *grant, int64_t now_s,
                         unsigned *wait_s);

/* Gives back what was taken for a message that was not accepted: one message; or so many recipients
 * that were taken at taken_s, unless the day is over. */
void auth_return_message(const struct auth_grant *grant);
void auth_return_recipients(struct auth *auth, const struct auth_grant *grant, unsigned count,
                            int64_t taken_s);

struct auth_allowance {
    uint64_t limit; /* 0: there is none, and nothing else is said */
    uint64_t left;
    unsigned reset_s; /* until all of it is there again */
};
struct auth_allowances {
    struct auth_allowance messages;   /* a minute */
    struct auth_allowance recipients; /* a day */
};
void auth_look_at_limits(const struct auth_grant *grant, int64_t now_ms,
                         struct auth_allowances *allowances);

/* --- administration: one thread --------------------------------------------------------------- */

enum auth_result {
    AUTH_DONE,
    AUTH_NOT_FOUND,
    AUTH_INVALID,      /* why says which value and what is allowed */
    AUTH_LIMIT,        /* the plan's number of keys is reached; why says what to do */
    AUTH_CONFLICT,     /* exists already, is another account's, or not in a state for that */
    AUTH_DENIED,       /* somebody of a higher rank has said otherwise */
    AUTH_FAILED,       /* keys.db could not be written */
    AUTH_DOMAIN_LIMIT, /* the account has too many domains; why says what to do */
};

/* Who holds a key or suspends an account. Nobody of a lower rank takes that back. */
enum auth_rank { AUTH_RANK_ACCOUNT, AUTH_RANK_PARENT, AUTH_RANK_OPERATOR };

struct auth_list { /* borrowed texts */
    const char *const *items;
    size_t count;
};

struct auth_key_spec {
    const char *account;
    const char *name;
    unsigned scopes;
    struct auth_list domains;    /* patterns; each must be covered by a verified domain */
    struct auth_list senders;    /* addresses */
    struct auth_list recipients; /* addresses or domain patterns */
    struct auth_list allow_from; /* CIDR, or a bare address */
    unsigned rate_per_minute;    /* 0: the plan's */
    uint64_t recipients_per_day; /* 0: the plan's */
    uint64_t message_size_bytes; /* 0: no limit of its own */
    unsigned sessions;           /* SMTP sessions at a time; 0: no limit */
    int64_t expires_s;           /* unix seconds; 0: never */
    bool test;
};

struct auth_secret_view {                 /* what may be shown of a secret */
    char masked[24];                      /* of the key: first 8 characters, "...", last 4 */
    int64_t made_s, until_s, last_used_s; /* 0: never */
    char *last_address, *last_protocol;   /* NULL: never used */
};

struct auth_key_view { /* what may be shown of a key; owned by the auth_keys that holds it */
    char id[AUTH_KEY_ID_BYTES];
    char *account, *name, *plan;
    char *parent;    /* of its account; NULL: none */
    char prefix[20]; /* "lpk_a1b2": with **** the form keyPrefix */
    char masked[24]; /* first 8 characters, "...", last 4 */
    unsigned scopes;
    char **domains, **senders, **recipients,
        **allow_from;         /* each ends with NULL; never NULL itself */
    unsigned rate_per_minute; /* in force: the key's, at most the plans'; 0: none */
    uint64_t recipients_per_day;
    unsigned own_rate_per_minute; /* the key's alone; 0: none */
    uint64_t own_recipients_per_day;
    uint64_t message_size_bytes; /* 0: none, here and below */
    unsigned sessions;
    const char *state;                         /* "active", "held", "revoked", "expired" */
    int64_t created_s, expires_s, last_used_s; /* 0: never */
    char *last_address, *last_protocol;        /* NULL: never used */
    bool test;
    struct auth_secret_view secrets[2]; /* that work, the newest first */
    size_t secret_count;                /* two while the key is rotated */
};
struct auth_keys {
    struct auth_key_view *keys;
    size_t count;
};
void auth_keys_free(struct auth_keys *keys);

/* actor: who asks, for the audit trail ("operator" or a key id). On AUTH_DONE `secret` holds the
 * whole key, NUL-ended: the only time it is ever seen; the caller wipes it. */
enum auth_result auth_key_create(struct auth *auth, const char *actor,
                                 const struct auth_key_spec *spec, int64_t now_s,
                                 char secret[static AUTH_KEY_TEXT_BYTES],
                                 char id[static AUTH_KEY_ID_BYTES], struct why *why);

/* The keys of an account (NULL: of all), oldest first; revoked ones are not listed. The second form
 * finds one by id, revoked ones too. keys: the caller frees. */
void auth_key_list(struct auth *auth, const char *account, int64_t now_s, struct auth_keys *keys);
/* The same, page by page. after: the id of the last key of the page before; NULL: the first page.
 * AUTH_NOT_FOUND when it is no key of that list; one that was revoked since still is. */
struct auth_page {
    const char *after;
    size_t limit;
    size_t total; /* out: of the whole list */
    bool more;    /* out: there is a page behind this one */
};
enum auth_result auth_key_page(struct auth *auth, const char *account, struct auth_page *page,
                               int64_t now_s, struct auth_keys *keys);
enum auth_result auth_key_find(struct auth *auth, const char *id, int64_t now_s,
                               struct auth_keys *keys);

/* Erases the hash for good. What remains recognises the secret, so that its holder can be told
 * "revoked", but can let nobody in. In force for open sessions when this returns. A key that is
 * revoked already is AUTH_DONE. */
enum auth_result auth_key_revoke(struct auth *auth, const char *actor, const char *id,
                                 int64_t now_s, struct why *why);

/* Gives the key another secret, which is put into `secret` like that of a new key; its id and all
 * that it may do stay. The one that it had works for overlap_s more (0: no more, from now on), at
 * most until the key expires. While a former secret still works and the current one was used, that
 * is AUTH_CONFLICT, because one of two that are in use would end without notice (with overlap_s 0
 * both end); a current one that was never used is replaced, unless a crash may have forgotten it.
 */
enum auth_result auth_key_rotate(struct auth *auth, const char *actor, const char *id,
                                 int64_t overlap_s, int64_t now_s,
                                 char secret[static AUTH_KEY_TEXT_BYTES], struct why *why);

/* On hold a key may nothing until it is released. In force for open sessions when these return. A
 * key that is in that state already is AUTH_DONE; a revoked one AUTH_CONFLICT. */
enum auth_result auth_key_hold(struct auth *auth, const char *actor, enum auth_rank rank,
                               const char *id, int64_t now_s, struct why *why);
enum auth_result auth_key_release(struct auth *auth, const char *actor, enum auth_rank rank,
                                  const char *id, int64_t now_s, struct why *why);

struct auth_domain_view {
    char *name, *account;
    bool verified;
    int64_t created_s;
};
struct auth_domains {
    struct auth_domain_view *domains;
    size_t count;
};
void auth_domains_free(struct auth_domains *domains);

#define AUTH_PENDING_MAX 100   /* domains of an account that wait for their verification */
#define AUTH_DOMAINS_MAX 10000 /* ... and all: then the operator alone adds more */

/* pattern: "example.com" or "*.example.com". Adding what the account has already is AUTH_DONE (and
 * verifies it if `verified`); one that is or overlaps with a verified domain of another account
 * (its sub-domain or its parent's wildcard), is AUTH_CONFLICT. What is not verified keeps nobody
 * out: other accounts may add it too. */
enum auth_result auth_domain_add(struct auth *auth, const char *actor, const char *account,
                                 const char *pattern, bool verified, int64_t now_s,
                                 struct why *why);
/* What to publish, so that the domain can be verified by the DNS: a TXT record at
 * AUTH_DOMAIN_LABEL and the domain (of a wildcard: what follows the star), with this value. It
 * needs the pepper to be known, so it is bound to this account and to this very pattern. */
#define AUTH_DOMAIN_LABEL       "_latchpost."
#define AUTH_DOMAIN_TOKEN_BYTES 64
void auth_domain_token(const struct auth *auth, const char *account, const char *pattern,
                       char token[static AUTH_DOMAIN_TOKEN_BYTES]);
/* It stands there: the domain that the account has added is verified. AUTH_NOT_FOUND: the account
 * has it no more; AUTH_CONFLICT: another account was first. */
enum auth_result auth_domain_prove(struct auth *auth, const char *actor, const char *account,
                                   const char *pattern, int64_t now_s, struct why *why);
/* account: NULL for all. */
void auth_domain_list(struct auth *auth, const char *account, struct auth_domains *domains);
/* Keys that named it can no longer send as it, from now on, in open sessions too. */
enum auth_result auth_domain_remove(struct auth *auth, const char *actor, const char *account,
                                    const char *pattern, int64_t now_s, struct why *why);

struct auth_account_view {
    char *handle, *plan;
    char *parent;   /* NULL: none */
    bool suspended; /* or its parent is */
    int64_t created_s;
    size_t active_keys;
};
struct auth_accounts {
    struct auth_account_view *accounts;
    size_t count;
};
void auth_accounts_free(struct auth_accounts *accounts);
/* plan: NULL is "default". The account AUTH_DEFAULT_ACCOUNT exists from the start. */
enum auth_result auth_account_create(struct auth *auth, const char *actor, const char *handle,
                                     const char *plan, int64_t now_s, struct why *why);
/* An account below another, which must not be a sub-account itself; plan: NULL is the parent's.
 * AUTH_LIMIT: the parent has AUTH_SUB_ACCOUNTS_MAX of them. */
enum auth_result auth_sub_account_create(struct auth *auth, const char *actor, const char *parent,
                                         const char *handle, const char *plan, int64_t now_s,
                                         struct why *why);
void auth_account_list(struct auth *auth, struct auth_accounts *accounts);
/* Whose sub-account it is; NULL: nobody's, or there is none of this name. Borrowed. */
const char *auth_account_parent(struct auth *auth, const char *handle);
/* The limits of its keys follow, and of those of its sub-accounts, for which it is a ceiling; and
 * how many they may have; those that they have stay. */
enum auth_result auth_account_set_plan(struct auth *auth, const char *actor, const char *handle,
                                       const char *plan, int64_t now_s, struct why *why);

/* The keys of a suspended account and of its sub-accounts may nothing until it is resumed. In force
 * for open sessions when these return. An account in that state already is AUTH_DONE. */
enum auth_result auth_account_suspend(struct auth *auth, const char *actor, enum auth_rank rank,
                                      const char *handle, int64_t now_s, struct why *why);
enum auth_result auth_account_resume(struct auth *auth, const char *actor, enum auth_rank rank,
                                     const char *handle, int64_t now_s, struct why *why);

/* Where the changes come from that are asked for from now on: an address, or AUTH_FROM_*. */
void auth_set_origin(struct auth *auth, const char *origin);

/* The audit trail: every change of a key, domain or account, and the refusals (of each kind the
 * last 100,000, and for 90 days). Those of the last seconds are written first. */
struct auth_audit_filter { /* NULL and 0: any */
    const char *account;   /* or one of its sub-accounts */
    const char *action;    /* "key.revoke", or "key" for all that begin so */
    const char *key;       /* who did it, or to whom it was done */
    int64_t reference;
    int64_t since_s;
    int64_t before; /* only what is older than this reference */
    size_t limit;
};
struct auth_audit_view {
    int64_t reference; /* its name, in the order of time (base/ident.h) */
    int64_t at_s, last_s;
    uint64_t count; /* of equal refusals, from at_s to last_s; 1 for a change */
    const char *actor, *from, *protocol, *account, *action, *subject, *detail; /* perhaps empty */
};
struct auth_audits {
    struct auth_audit_view *views;
    size_t count;
    int64_t next; /* `before` of the next question; 0: that was all */
};
/* Looks at a bounded number of lines, so it may find few or none of many. AUTH_FAILED: keys.db
 * could not be read. audits: newest first; the caller frees. */
enum auth_result auth_audit_list(struct auth *auth, const struct auth_audit_filter *filter,
                                 struct auth_audits *audits, struct why *why);
void auth_audits_free(struct auth_audits *audits);

/* Writes what was only counted so far (last use of each key, recipients of the day) in one batch,
 * and what was refused, and erases the former secrets whose time is over; called every few seconds
 * and at stop. True when nothing is left to write. */
bool auth_flush(struct auth *auth);

#endif
