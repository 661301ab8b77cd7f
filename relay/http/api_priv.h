/* api_priv.h - one call of the API, and what its handlers share. Seen by relay/http/ only. */
#ifndef LATCHPOST_API_PRIV_H
#define LATCHPOST_API_PRIV_H

#include <jansson.h>

#include "relay/base/buf.h"
#include "relay/base/ident.h"
#include "relay/http/endpoints.h"

#define API_PARAM_MAX  256
#define API_BODY_MAX   (64u * 1024 * 1024) /* of an answer */
#define API_DEPTH_MAX  32                  /* of the JSON in a request */
#define API_VALUES_MAX 20000               /* ... and of the values in it: bounds its memory */

struct api_call { /* from api_call() to its answer; the calling thread's */
    struct api *api;
    bool is_operator;
    struct auth_grant *grant;      /* the caller's key, or NULL for the operator and for nobody */
    const struct api_shape *shape; /* of its endpoint, or NULL */
    const char *actor;             /* for the audit trail: "operator" or the key's id */
    const char *client_address, *client_tls; /* or NULL */
    bool in_process;
    char param[API_PARAM_MAX];  /* what stands for {...} in the path, decoded */
    char second[API_PARAM_MAX]; /* for the second one; empty: there is none */

    char reference[IDENT_TEXT_BYTES]; /* of a refused message: for the error; or empty */

    /* What a handler needs again when the queue has answered. */
    int64_t message_id;
    enum queue_act act;
    bool hold;
    /* ... or when the DNS has: */
    char account[AUTH_ACCOUNT_MAX + 1];

    struct letter letter; /* private to endpoints.c from here on */
    bool inside;
    bool answered;
    struct api_answer answer;
    char allow[64];
    struct buf body;
    api_answer_cb *cb;
    void *owner;
};

struct api_shape;

/* A handler answers the call exactly once, now or from a callback of the queue; then the call is
 * gone or on its way. `request` is lent. */
typedef void api_handler(struct api_call *call, const struct api_request *request);

/* --- answers ---------------------------------------------------------------------------------- */

/* data and meta are consumed; meta may be NULL. */
void api_done(struct api_call *call, int status, json_t *data, json_t *meta);
/* The same with "apiKey" as data's first member. The secret never enters a json_t, whose memory
 * nobody would wipe. */
void api_done_with_key(struct api_call *call, int status, json_t *data, json_t *meta,
                       const char *secret);
/* Takes over what the handler has written to call->body. */
void api_done_text(struct api_call *call, const char *content_type);
void api_fail(struct api_call *call, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* For the audit trail, before api_fail(), which shows the reference of a message. */
void api_note_refusal(struct api_call *call, enum auth_refused what, const char *subject,
                      const char *rule);
/* The usual answer to these refusals; result is not the good one. */
void api_fail_auth(struct api_call *call, enum auth_result result, const struct why *why);
void api_fail_queue(struct api_call *call, enum queue_result result);
/* Tells in RateLimit-* how many messages the caller's key may send now, if that is limited: for
 * calls that take from it, and those that ask. Before the answer. */
void api_note_rate(struct api_call *call);

/* --- who may see what ------------------------------------------------------------------------- */

/* The account that a caller may ask about: NULL is "all" (the operator, asking for no account).
 * `asked` may be NULL. False, and answered with 404: it is not the caller's own. */
bool api_account(struct api_call *call, const char *asked, const char **account);

/* --- requests (json.c) ------------------------------------------------------------------------ */

enum api_type {
    API_TEXT,
    API_LIST,   /* an array of texts, or one text */
    API_NUMBER, /* a whole number */
    API_FLAG,
};
struct api_field {
    const char *name;
    enum api_type type;
};
/* The body as an object (an empty body is {}), in which only these fields stand, each of its type
 * or null. Where the endpoint has a shape, they are the fields of that. NULL: answered already. The
 * caller decrefs. */
json_t *api_body(struct api_call *call, const struct api_request *request,
                 const struct api_field *fields, size_t count);
/* Is it strict JSON of an object, with our limits? NULL and a phrase when not. */
json_t *api_parse_json(struct slice text, char *problem, size_t size);
/* The same for those who look at the length of texts, in which a NUL may stand then. *nul_in_name:
 * one stands in the name of a member, which cannot be. */
json_t *api_parse_json_with_nul(struct slice text, char *problem, size_t size, bool *nul_in_name);
bool api_is_json_type(struct slice content_type);
/* The type that is wanted, with no parameter but charset=utf-8. */
bool api_is_utf8_type(struct slice content_type, struct slice wanted);

/* Members of a body that api_body() let pass; NULL, 0 and false for what is absent or null. */
const char *api_text(const json_t *body, const char *name); /* borrowed */
bool api_flag(const json_t *body, const char *name);
/* False, and answered with 422, when it is there and outside of min..max. */
bool api_number(struct api_call *call, const json_t *body, const char *name, int64_t min,
                int64_t max, int64_t *number);

struct api_texts { /* owned */
    char **items;
    size_t count;
};
void api_texts_add(struct api_texts *texts, struct slice text);
void api_texts_free(struct api_texts *texts);
struct auth_list api_texts_list(const struct api_texts *texts); /* borrowed */
/* The texts of a list; one text is taken as "a,b". False, and answered with 422: an empty list
 * (which is too easily a mistake that would mean "all"), or one of more than AUTH_LIST_MAX. */
bool api_texts_read(struct api_call *call, const json_t *body, const char *name,
                    struct api_texts *texts);

/* The value of a query parameter, decoded; `names` are those of the shape, where there is one.
 * False, and answered with 400, for a parameter that is not in `names` (NULL-ended), given twice or
 * not readable. values[i]: empty when absent. */
#define API_QUERY_MAX 320 /* an address may have 254 */
bool api_query(struct api_call *call, struct slice query, const char *const *names,
               char (*values)[API_QUERY_MAX]);

/* The parameters "limit" and "after" of a list (empty: not given); false, and answered with 422. */
#define API_PAGE_MAX 1000
bool api_page_read(struct api_call *call, const char *limit, const char *after,
                   struct auth_page *page);
/* Where an administrative call comes from, for the audit trail: before what it changes. */
void api_set_origin(struct api_call *call);
/* What a list says in its meta; next: what "after" must be for the page behind this one; NULL: it
 * is the last.
 */
json_t *api_page_json(const struct auth_page *page, const char *next);

bool api_decode(struct slice text, char *out, size_t size); /* %XX; false: not readable */

/* --- values for answers (json.c) -------------------------------------------------------------- */

/* The words that say which messages are meant (api_filter.c). */
#define API_FILTER_WORDS(row)                                                                      \
    row(API_FILTER_STATE, "state") row(API_FILTER_ACCOUNT, "account") row(API_FILTER_KEY, "key")   \
        row(API_FILTER_SENDER, "sender") row(API_FILTER_RECIPIENT, "recipient")                    \
            row(API_FILTER_UPSTREAM, "upstream") row(API_FILTER_OLDER_THAN, "olderThan")           \
                row(API_FILTER_NEWER_THAN, "newerThan")
#define API_FILTER_INDEX(which, word) which,
#define API_FILTER_NAME(which, word)  [which] = word,
#define API_FILTER_FIELD(which, word) [which] = { word, API_TEXT },
enum api_filter { API_FILTER_WORDS(API_FILTER_INDEX) API_FILTER_COUNT };
extern const char *const api_filter_names[API_FILTER_COUNT + 1]; /* NULL-ended */
/* NULL: not given. The filter borrows the values. False: answered already. */
bool api_filter_read(struct api_call *call, const char *const values[API_FILTER_COUNT],
                     struct queue_filter *filter);
/* A number with its unit s, m, h or d, like "2h". */
bool api_parse_span(struct slice text, int64_t *span_ms);
/* The id in the path into call->message_id; false, and answered with 404: there can be none. */
bool api_message_id(struct api_call *call);

json_t *api_json_id(int64_t id);            /* null for 0 */
json_t *api_json_text(const char *text);    /* null for NULL; what is not UTF-8 becomes U+FFFD */
json_t *api_json_texts(char *const *texts); /* NULL-ended; an array */
json_t *api_json_time(int64_t unix_s);      /* ISO 8601; null for 0 */
json_t *api_json_time_ms(int64_t unix_ms);

/* --- shapes: what an endpoint takes and gives, for its documentation (api_shape.c) --------------
 */

/* Stands beside the handler, in the same file; api_shape.c collects them. A handler that reads
 * another table than its shape tells of is an error of ours, and stops the process. */
struct api_shape {
    api_handler *run;
    const struct api_field *fields; /* of the body; NULL: it takes none, or has a reader ... */
    size_t field_count;
    const char *body;         /* ... of its own: a name of openapi_schema.c; else NULL */
    const char *required;     /* names of fields without which it is refused, with blanks between */
    const char *const *query; /* NULL-ended, or NULL */
    int status;               /* of success */
    /* The answer's data and meta: names of openapi_schema.c, "Key", or "[Key]" for a list. */
    const char *data, *meta;
    int refusals[4]; /* besides those that follow from the access and from the body; 0-ended */
};
#define API_FIELDS(table) .fields = (table), .field_count = ARRAY_LEN(table)
/* Each ends with a row without a handler. */
extern const struct api_shape api_accounts_shapes[], api_audit_shapes[], api_domain_verify_shapes[],
    api_domains_shapes[], api_emails_shapes[], api_key_acts_shapes[], api_keys_shapes[],
    api_sub_accounts_shapes[], api_messages_shapes[], api_queue_shapes[], api_steer_shapes[],
    api_upstreams_shapes[], api_openapi_shapes[], api_status_shapes[];
const struct api_shape *api_shape_find(api_handler *run); /* or NULL */
const struct api_shape *api_endpoint_shape(size_t i);     /* of the i-th endpoint, or NULL */

/* The schemas of answers (openapi_schema.c): all of them, and a reference to one, or a list, or
 * alternatives, as a shape names it. */
json_t *openapi_schemas(void);
json_t *openapi_schema_of(struct slice name);
json_t *openapi_body_of(const struct api_shape *shape);

/* --- handlers --------------------------------------------------------------------------------- */

api_handler api_health, api_ready, api_metrics, api_whoami; /* status.c */
api_handler api_openapi;
api_handler api_audit_list;
api_handler api_keys_list, api_keys_create, api_keys_show, api_keys_revoke;
api_handler api_keys_rotate, api_keys_hold, api_keys_release; /* api_key_acts.c */
api_handler api_domains_list, api_domains_add, api_domains_remove;
api_handler api_domains_verify; /* api_domain_verify.c */
api_handler api_accounts_list, api_accounts_create, api_accounts_suspend, api_accounts_resume,
    api_accounts_plan;
api_handler api_sub_accounts_list, api_sub_accounts_create, api_sub_keys_list, api_sub_keys_create,
    api_sub_keys_show, api_sub_keys_revoke;
api_handler api_emails_send, api_emails_send_personalized;
api_handler api_messages_list, api_messages_show, api_messages_retry, api_messages_hold,
    api_messages_release, api_messages_cancel;
api_handler api_queue_retry, api_queue_hold, api_queue_release, api_queue_cancel, api_queue_stats;
api_handler api_upstreams_list, api_upstreams_hold, api_upstreams_release;

/* A domain as answers show it, and the way to it by its name in the path (api_domains.c). */
#define API_RECORD_NAME_BYTES 280
void api_domain_record(const char *domain, char name[static API_RECORD_NAME_BYTES]);
json_t *api_domain_json(const struct api_call *call, const struct auth_domain_view *view);
/* The caller's domain of this name; of several accounts' the one that is asked for (NULL: any).
 * *domain is a member of *domains, which the caller frees whatever is returned. False: answered. */
bool api_domain_find(struct api_call *call, const char *asked, struct auth_domains *domains,
                     const struct auth_domain_view **domain);

/* A key as answers show it (api_keys.c). */
json_t *api_key_json(const struct auth_key_view *view);
/* Answers with this key as it is now; the second form with its new secret, too, and notes
 * (consumed, or NULL). */
void api_done_key(struct api_call *call, int status, const char *id);
void api_done_with_new_key(struct api_call *call, int status, const char *id, json_t *notes,
                           const char *secret);
/* Is the account of the path a sub-account that the caller manages? Else answered with 404. */
bool api_is_sub_account(struct api_call *call);
/* The key of the path if the caller manages it (its own account's, or one of a sub-account; where
 * the path names an account, of that one); else false, and answered with 404. The caller frees
 * *keys. */
bool api_key_of_path(struct api_call *call, struct auth_keys *keys);
/* What the caller is to this key's account. */
enum auth_rank api_rank(const struct api_call *call, const struct auth_key_view *view);
json_t *api_scopes_json(unsigned scopes);

/* An account as answers show it, and an answer with it as it is now (api_accounts.c). */
json_t *api_account_json(const struct auth_account_view *view);
/* The accounts that are wanted, as a page by the parameters "limit" and "after". */
typedef bool api_wanted_fn(const struct api_call *call, const struct auth_account_view *view,
                           const char *parent);
void api_done_accounts(struct api_call *call, const char *limit, const char *after,
                       api_wanted_fn *wanted, const char *parent);
void api_done_account(struct api_call *call, int status, const char *handle);

#endif
