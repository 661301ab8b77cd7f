/* api_keys.c - /v1/api-keys: the keys of an account.
 * A key with the scope `keys` manages those of its own account and of its sub-accounts, and makes
 * none that can do more than itself (bounds.c); the operator manages all. A domain that the
 * operator names at creation and that nobody has yet is added, verified, to the key's account: that
 * is the operator's word, and it is said in meta.notes. When the key then cannot be made, the
 * domain goes again. */
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"
#include "relay/http/bounds.h"
#include "relay/message/address.h"
#include "relay/message/date.h"
#include "relay/message/domain.h"

#define DAY_S               86400
#define EXPIRATION_DAYS_MAX 365
#define RATE_MAX            1000000
#define RECIPIENTS_MAX      INT64_C(1000000000)
#define MESSAGE_SIZE_MAX    (INT64_C(1) << 40)
#define SESSIONS_MAX        1000000
#define PAGE_OCTETS         (2 * 1024 * 1024) /* of the lists in a page of keys, about */
#define KEY_WARNING                                                                                \
    "This is the only time the key is shown. Store it now; if it is lost, rotate it, or revoke "   \
    "it "                                                                                          \
    "and make another."

/* --- showing ---------------------------------------------------------------------------------- */

json_t *api_scopes_json(unsigned scopes)
{
    json_t *array = json_array();
    const char *name;
    unsigned bit;

    for (size_t i = 0; (name = auth_scope_name(i, &bit)) != NULL; i++)
        if (scopes & bit)
            json_array_append_new(array, json_string(name));
    return array;
}

static json_t *secrets_json(const struct auth_key_view *view)
{
    json_t *array = json_array();

    for (size_t i = 0; i < view->secret_count; i++) {
        const struct auth_secret_view *secret = &view->secrets[i];
        json_array_append_new(array,
                              json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "masked", secret->masked,
                                        "createdAt", api_json_time(secret->made_s), "expirationTs",
                                        api_json_time(secret->until_s), "lastUsed",
                                        api_json_time(secret->last_used_s), "lastAddress",
                                        api_json_text(secret->last_address), "lastProtocol",
                                        api_json_text(secret->last_protocol)));
    }
    return array;
}

static json_t *limit_json(uint64_t limit)
{
    return limit == 0 ? json_null() : json_integer((json_int_t)limit);
}

json_t *api_key_json(const struct auth_key_view *view)
{
    char prefix[sizeof(view->prefix) + 4];
    json_t *json = json_object();

    snprintf(prefix, sizeof(prefix), "%s****", view->prefix);
    json_object_set_new(json, "keyId", json_string(view->id));
    json_object_set_new(json, "name", api_json_text(view->name));
    json_object_set_new(json, "keyPrefix", json_string(prefix));
    json_object_set_new(json, "masked", json_string(view->masked));
    json_object_set_new(json, "scopes", api_scopes_json(view->scopes));
    json_object_set_new(json, "domain", api_json_text(view->domains[0]));
    json_object_set_new(json, "domains", api_json_texts(view->domains));
    json_object_set_new(json, "status", json_string(view->state));
    json_object_set_new(json, "account", api_json_text(view->account));
    json_object_set_new(json, "plan", api_json_text(view->plan));
    json_object_set_new(json, "rateLimit", limit_json(view->rate_per_minute));
    json_object_set_new(json, "recipientsPerDay", limit_json(view->recipients_per_day));
    json_object_set_new(json, "messageSize", limit_json(view->message_size_bytes));
    json_object_set_new(json, "maxSessions", limit_json(view->sessions));
    json_object_set_new(json, "allowFrom", api_json_texts(view->allow_from));
    json_object_set_new(json, "senders", api_json_texts(view->senders));
    json_object_set_new(json, "recipients", api_json_texts(view->recipients));
    json_object_set_new(json, "test", json_boolean(view->test));
    json_object_set_new(json, "lastUsed", api_json_time(view->last_used_s));
    json_object_set_new(json, "lastAddress", api_json_text(view->last_address));
    json_object_set_new(json, "lastProtocol", api_json_text(view->last_protocol));
    json_object_set_new(json, "secrets", secrets_json(view));
    json_object_set_new(json, "createdAt", api_json_time(view->created_s));
    json_object_set_new(json, "expirationTs", api_json_time(view->expires_s));
    return json;
}

/* Like api_account(), but a parent may also ask about its sub-accounts. */
static bool managed_account(struct api_call *call, const char *asked, const char **account)
{
    const char *parent = asked == NULL ? NULL : auth_account_parent(call->api->auth, asked);

    if (call->is_operator || parent == NULL || strcmp(parent, auth_grant_account(call->grant)) != 0)
        return api_account(call, asked, account);
    *account = asked;
    return true;
}

/* Of what may be long in a key. */
static size_t octets_of(const struct auth_key_view *view)
{
    char *const *const lists[] = { view->domains, view->senders, view->recipients,
                                   view->allow_from };
    size_t octets = strlen(view->name);

    for (size_t list = 0; list < ARRAY_LEN(lists); list++)
        for (size_t i = 0; lists[list][i] != NULL; i++)
            octets += strlen(lists[list][i]);
    return octets;
}

/* A page ends early where keys are bound by long lists: whoever makes such keys must not keep the
 * operator from reading the list of all. */
static void list_keys(struct api_call *call, const char *account, const char *limit,
                      const char *after)
{
    struct auth_page page;
    struct auth_keys keys;

    if (!api_page_read(call, limit, after, &page))
        return;
    if (auth_key_page(call->api->auth, account, &page, clock_wall_s(), &keys) != AUTH_DONE) {
        api_fail(call, 422, "invalid_value", "The parameter \"after\" is no key of this list.");
        return;
    }
    json_t *array = json_array();
    size_t shown = 0, octets = 0;
    for (; shown < keys.count && octets < PAGE_OCTETS; shown++) {
        json_array_append_new(array, api_key_json(&keys.keys[shown]));
        octets += octets_of(&keys.keys[shown]);
    }
    bool more = page.more || shown < keys.count;
    api_done(call, 200, array, api_page_json(&page, more ? keys.keys[shown - 1].id : NULL));
    auth_keys_free(&keys);
}

static const char *const list_names[] = { "limit", "after", "account", NULL };

void api_keys_list(struct api_call *call, const struct api_request *request)
{
    char values[3][API_QUERY_MAX];
    const char *account;

    if (api_query(call, request->query, list_names, values) &&
        managed_account(call, values[2][0] == '\0' ? NULL : values[2], &account))
        list_keys(call, account, values[0], values[1]);
}

static bool manages(const struct api_call *call, const struct auth_key_view *view)
{
    const char *own = call->is_operator ? NULL : auth_grant_account(call->grant);

    if (call->second[0] != '\0' && strcmp(view->account, call->param) != 0)
        return false;
    return own == NULL || strcmp(view->account, own) == 0 ||
           (view->parent != NULL && strcmp(view->parent, own) == 0);
}

enum auth_rank api_rank(const struct api_call *call, const struct auth_key_view *view)
{
    if (call->is_operator)
        return AUTH_RANK_OPERATOR;
    return strcmp(view->account, auth_grant_account(call->grant)) == 0 ? AUTH_RANK_ACCOUNT
                                                                       : AUTH_RANK_PARENT;
}

bool api_key_of_path(struct api_call *call, struct auth_keys *keys)
{
    const char *id = call->second[0] != '\0' ? call->second : call->param;
    enum auth_result result = auth_key_find(call->api->auth, id, clock_wall_s(), keys);

    if (result == AUTH_DONE && manages(call, &keys->keys[0]))
        return true;
    if (result == AUTH_DONE)
        auth_keys_free(keys);
    api_fail(call, 404, "not_found", "There is no key with this id.");
    return false;
}

/* A key that was just made or changed is there. */
static json_t *key_json(struct api_call *call, const char *id)
{
    struct auth_keys keys;

    if (auth_key_find(call->api->auth, id, clock_wall_s(), &keys) != AUTH_DONE)
        return json_pack("{s:s}", "keyId", id);
    json_t *json = api_key_json(&keys.keys[0]);
    auth_keys_free(&keys);
    return json;
}

void api_done_key(struct api_call *call, int status, const char *id)
{
    api_done(call, status, key_json(call, id), NULL);
}

void api_done_with_new_key(struct api_call *call, int status, const char *id, json_t *notes,
                           const char *secret)
{
    json_t *meta = json_pack("{s:s}", "warning", KEY_WARNING);

    if (json_array_size(notes) > 0)
        json_object_set(meta, "notes", notes);
    json_decref(notes);
    api_done_with_key(call, status, key_json(call, id), meta, secret);
}

void api_keys_show(struct api_call *call, const struct api_request *request)
{
    struct auth_keys keys;

    (void)request;
    if (!api_key_of_path(call, &keys))
        return;
    api_done(call, 200, api_key_json(&keys.keys[0]), NULL);
    auth_keys_free(&keys);
}

void api_keys_revoke(struct api_call *call, const struct api_request *request)
{
    struct auth_keys keys;
    struct why why = { "" };
    json_t *body = api_body(call, request, NULL, 0);

    if (body == NULL)
        return;
    json_decref(body);
    if (!api_key_of_path(call, &keys))
        return;
    enum auth_result result =
        auth_key_revoke(call->api->auth, call->actor, keys.keys[0].id, clock_wall_s(), &why);
    if (result == AUTH_DONE)
        api_done(call, 200, json_pack("{s:s, s:b}", "keyId", keys.keys[0].id, "revoked", 1), NULL);
    else
        api_fail_auth(call, result, &why);
    auth_keys_free(&keys);
}

/* --- creating: reading what is asked for ------------------------------------------------------ */

struct wish { /* what the body asks for; owns the texts that spec borrows */
    struct auth_key_spec spec;
    struct api_texts scopes, domains, senders, recipients, allow_from;
    struct api_texts added;  /* domains that were added for this key ... */
    struct api_texts marked; /* ... or waited to be verified before */
    bool for_sub_account;    /* that the path names, in spec.account */
    char *name;              /* made up, where none was given */
    json_t *notes;
};

static void wish_free(struct wish *wish)
{
    api_texts_free(&wish->scopes);
    api_texts_free(&wish->domains);
    api_texts_free(&wish->senders);
    api_texts_free(&wish->recipients);
    api_texts_free(&wish->allow_from);
    api_texts_free(&wish->added);
    api_texts_free(&wish->marked);
    free(wish->name);
    json_decref(wish->notes);
}

static bool refuse_value(struct api_call *call, const char *field, const char *value,
                         const char *problem)
{
    api_fail(call, 422, "invalid_value", "The field \"%s\" holds \"%.100s\": %s.", field, value,
             problem);
    return false;
}

typedef enum domain_error domain_parse_fn(struct slice name, char text[static DOMAIN_TEXT_MAX]);

/* Replaces the i-th text by its one spelling. */
static bool spell_pattern(struct api_call *call, const char *field, struct api_texts *texts,
                          size_t i, domain_parse_fn *parse)
{
    char text[DOMAIN_TEXT_MAX];
    enum domain_error error = parse(slice_of(texts->items[i]), text);

    if (error != DOMAIN_OK)
        return refuse_value(call, field, texts->items[i], domain_error_text(error));
    free(texts->items[i]);
    texts->items[i] = xstrdup(text);
    return true;
}

static bool spell_mailbox(struct api_call *call, const char *field, struct api_texts *texts,
                          size_t i, domain_parse_fn *parse)
{
    struct address address;
    char text[DOMAIN_TEXT_MAX];
    enum address_error error = address_parse_bare(slice_of(texts->items[i]), &address);

    if (error != ADDRESS_OK)
        return refuse_value(call, field, texts->items[i], address_error_text(error));
    if (address.is_literal)
        return refuse_value(call, field, texts->items[i], "an IP address is no domain");
    if (slice_equal(address.local, SLICE("*"))) /* legal, but what is meant is never that */
        return refuse_value(call, field, texts->items[i], "it is no pattern: name the domain");
    enum domain_error wrong = parse(address.domain, text);
    if (wrong != DOMAIN_OK)
        return refuse_value(call, field, texts->items[i], domain_error_text(wrong));
    char *spelt = xasprintf("%.*s@%s", SLICE_ARG(address.local), text);
    free(texts->items[i]);
    texts->items[i] = spelt;
    return true;
}

static bool spell_domain(struct api_call *call, const char *field, struct api_texts *texts,
                         size_t i)
{
    return spell_pattern(call, field, texts, i, domain_parse_pattern);
}

static bool spell_address(struct api_call *call, const char *field, struct api_texts *texts,
                          size_t i)
{
    return spell_mailbox(call, field, texts, i, domain_parse);
}

static bool spell_recipient(struct api_call *call, const char *field, struct api_texts *texts,
                            size_t i)
{
    bool is_address = strchr(texts->items[i], '@') != NULL;

    return (is_address ? spell_mailbox : spell_pattern)(call, field, texts, i,
                                                        domain_parse_recipient);
}

typedef bool spell_fn(struct api_call *call, const char *field, struct api_texts *texts, size_t i);

static bool read_list(struct api_call *call, const json_t *body, const char *field,
                      struct api_texts *texts, spell_fn *spell)
{
    if (!api_texts_read(call, body, field, texts))
        return false;
    for (size_t i = 0; i < texts->count; i++)
        if (spell != NULL && !spell(call, field, texts, i))
            return false;
    return true;
}

static bool read_domains(struct api_call *call, const json_t *body, struct wish *wish)
{
    const char *one = api_text(body, "domain");

    if (one == NULL)
        return read_list(call, body, "domains", &wish->domains, spell_domain);
    if (!json_is_null(json_object_get(body, "domains")) &&
        json_object_get(body, "domains") != NULL) {
        api_fail(call, 422, "invalid_value", "Give either \"domain\" or \"domains\".");
        return false;
    }
    api_texts_add(&wish->domains, slice_of(one));
    return spell_domain(call, "domain", &wish->domains, 0);
}

static bool read_scopes(struct api_call *call, const json_t *body, struct wish *wish)
{
    wish->spec.scopes = 0;
    if (!api_texts_read(call, body, "scopes", &wish->scopes))
        return false;
    for (size_t i = 0; i < wish->scopes.count; i++) {
        unsigned bits;
        if (!auth_scopes_parse(slice_of(wish->scopes.items[i]), &bits))
            return refuse_value(call, "scopes", wish->scopes.items[i], "there is no such scope");
        wish->spec.scopes |= bits;
    }
    if (wish->scopes.count == 0)
        wish->spec.scopes = AUTH_SEND;
    return true;
}

static void make_up_name(struct wish *wish)
{
    char now[DATE_ISO_BYTES];

    date_format_iso(clock_wall_s(), now);
    wish->name = xasprintf("%s %s", wish->spec.account, now);
    wish->spec.name = wish->name;
}

/* A key that a parent makes for its sub-account needs no name. */
static bool read_name(struct api_call *call, const json_t *body, struct wish *wish)
{
    const char *name = api_text(body, "name");
    size_t characters = 0;

    if (name == NULL && wish->for_sub_account) {
        make_up_name(wish);
        return true;
    }
    if (name == NULL) {
        api_fail(call, 422, "missing_field", "The field \"name\" is missing.");
        return false;
    }
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 127)
            return refuse_value(call, "name", name, "it holds a control character");
        characters += ((unsigned char)*at & 0xc0) != 0x80;
    }
    if (characters < 1 || characters > AUTH_NAME_MAX)
        return refuse_value(call, "name", name, "it must have from 1 to 100 characters");
    wish->spec.name = name;
    return true;
}

static bool read_limits(struct api_call *call, const json_t *body, struct wish *wish)
{
    int64_t days, rate, recipients, size, sessions;

    if (!api_number(call, body, "expirationDays", 1, EXPIRATION_DAYS_MAX, &days) ||
        !api_number(call, body, "rateLimit", 1, RATE_MAX, &rate) ||
        !api_number(call, body, "recipientsPerDay", 1, RECIPIENTS_MAX, &recipients) ||
        !api_number(call, body, "messageSize", 1, MESSAGE_SIZE_MAX, &size) ||
        !api_number(call, body, "maxSessions", 1, SESSIONS_MAX, &sessions))
        return false;
    wish->spec.expires_s = days == 0 ? 0 : clock_wall_s() + days * DAY_S;
    wish->spec.rate_per_minute = (unsigned)rate;
    wish->spec.recipients_per_day = (uint64_t)recipients;
    wish->spec.message_size_bytes = (uint64_t)size;
    wish->spec.sessions = (unsigned)sessions;
    wish->spec.test = api_flag(body, "test");
    return true;
}

static bool read_account(struct api_call *call, const json_t *body, struct wish *wish)
{
    const char *asked = api_text(body, "account");

    if (wish->for_sub_account) {
        if (asked == NULL || strcmp(asked, wish->spec.account) == 0)
            return true;
        return refuse_value(call, "account", asked, "the path names another");
    }
    if (!managed_account(call, asked, &wish->spec.account))
        return false;
    if (wish->spec.account == NULL)
        wish->spec.account = AUTH_DEFAULT_ACCOUNT;
    return true;
}

static bool read_wish(struct api_call *call, const json_t *body, struct wish *wish)
{
    if (!read_account(call, body, wish) || !read_name(call, body, wish) ||
        !read_scopes(call, body, wish) || !read_limits(call, body, wish) ||
        !read_domains(call, body, wish) ||
        !read_list(call, body, "senders", &wish->senders, spell_address) ||
        !read_list(call, body, "recipients", &wish->recipients, spell_recipient) ||
        !read_list(call, body, "allowFrom", &wish->allow_from, NULL))
        return false;
    wish->spec.domains = api_texts_list(&wish->domains);
    wish->spec.senders = api_texts_list(&wish->senders);
    wish->spec.recipients = api_texts_list(&wish->recipients);
    wish->spec.allow_from = api_texts_list(&wish->allow_from);
    return true;
}

/* --- creating: may it be, and doing it -------------------------------------------------------- */

/* The limits that are not asked for are the maker's. */
static void take_limits(struct auth_key_spec *spec, const struct auth_key_view *maker,
                        unsigned rate_per_minute, uint64_t recipients_per_day)
{
    if (spec->rate_per_minute == 0)
        spec->rate_per_minute = rate_per_minute;
    if (spec->recipients_per_day == 0)
        spec->recipients_per_day = recipients_per_day;
    if (spec->message_size_bytes == 0)
        spec->message_size_bytes = maker->message_size_bytes;
    if (spec->sessions == 0)
        spec->sessions = maker->sessions;
}

/* A limit of the maker that the wish does not mention is taken over; anything else must be said. */
static bool check_bounds(struct api_call *call, struct wish *wish)
{
    struct why why = { "" };
    struct auth_keys keys;

    if (call->is_operator)
        return true;
    if (auth_key_find(call->api->auth, call->actor, clock_wall_s(), &keys) != AUTH_DONE) {
        api_fail(call, 403, "forbidden", "The key that asks is gone.");
        return false;
    }
    const struct auth_key_view *maker = &keys.keys[0];
    /* In the maker's own account the plan goes on to hold for both, whatever becomes of it. */
    bool same_plan = strcmp(maker->account, wish->spec.account) == 0;
    struct auth_key_spec judged = wish->spec;

    take_limits(&judged, maker, maker->rate_per_minute, maker->recipients_per_day);
    take_limits(&wish->spec, maker, same_plan ? maker->own_rate_per_minute : maker->rate_per_minute,
                same_plan ? maker->own_recipients_per_day : maker->recipients_per_day);
    bool ok = auth_grant_has(call->grant, wish->spec.scopes)
                  ? bounds_permit(maker, &judged, &why)
                  : why_set(&why, "A key can only make keys with scopes that it has itself.");
    auth_keys_free(&keys);
    if (!ok)
        api_fail(call, 403, "forbidden", "%s", why.text);
    return ok;
}

/* *known: the account has it, verified or not. */
static bool account_covers(const struct auth_domains *domains, const char *pattern, bool *known)
{
    *known = false;
    for (size_t i = 0; i < domains->count; i++) {
        const struct auth_domain_view *domain = &domains->domains[i];
        if (strcmp(domain->name, pattern) == 0)
            *known = true;
        if (domain->verified && bounds_pattern_covers(slice_of(domain->name), slice_of(pattern)))
            return true;
    }
    return false;
}

static void take_back_domains(struct api_call *call, struct wish *wish)
{
    struct why why;

    for (size_t i = 0; i < wish->added.count; i++)
        auth_domain_remove(call->api->auth, call->actor, wish->spec.account, wish->added.items[i],
                           clock_wall_s(), &why);
    for (size_t i = 0; i < wish->marked.count; i++) { /* these wait again */
        auth_domain_remove(call->api->auth, call->actor, wish->spec.account, wish->marked.items[i],
                           clock_wall_s(), &why);
        auth_domain_add(call->api->auth, call->actor, wish->spec.account, wish->marked.items[i],
                        false, clock_wall_s(), &why);
    }
}

static bool add_domain(struct api_call *call, struct wish *wish, const char *pattern, bool known)
{
    struct why why = { "" };
    enum auth_result result = auth_domain_add(call->api->auth, call->actor, wish->spec.account,
                                              pattern, true, clock_wall_s(), &why);

    if (result != AUTH_DONE) {
        take_back_domains(call, wish);
        api_fail_auth(call, result, &why);
        return false;
    }
    api_texts_add(known ? &wish->marked : &wish->added, slice_of(pattern));
    char *note = xasprintf("The domain %s was %s account %s as verified.", pattern,
                           known ? "marked in the" : "added to the", wish->spec.account);
    json_array_append_new(wish->notes, api_json_text(note));
    free(note);
    return true;
}

static bool add_missing_domains(struct api_call *call, struct wish *wish)
{
    struct auth_domains domains;
    bool ok = true;

    if (!call->is_operator || wish->domains.count == 0)
        return true;
    auth_domain_list(call->api->auth, wish->spec.account, &domains);
    for (size_t i = 0; ok && i < wish->domains.count; i++) {
        bool known;
        if (!account_covers(&domains, wish->domains.items[i], &known))
            ok = add_domain(call, wish, wish->domains.items[i], known);
    }
    auth_domains_free(&domains);
    return ok;
}

static void create(struct api_call *call, struct wish *wish)
{
    char secret[AUTH_KEY_TEXT_BYTES];
    char id[AUTH_KEY_ID_BYTES];
    struct why why = { "" };

    if (!check_bounds(call, wish) || !add_missing_domains(call, wish))
        return;
    enum auth_result result = auth_key_create(call->api->auth, call->actor, &wish->spec,
                                              clock_wall_s(), secret, id, &why);
    if (result == AUTH_DONE) {
        api_done_with_new_key(call, 201, id, json_incref(wish->notes), secret);
    } else {
        take_back_domains(call, wish);
        api_fail_auth(call, result, &why);
    }
    explicit_bzero(secret, sizeof(secret));
}

static const struct api_field create_fields[] = {
    { "name", API_TEXT },
    { "scopes", API_LIST },
    { "domain", API_TEXT },
    { "domains", API_LIST },
    { "expirationDays", API_NUMBER },
    { "rateLimit", API_NUMBER },
    { "allowFrom", API_LIST },
    { "recipients", API_LIST },
    { "senders", API_LIST },
    { "test", API_FLAG },
    { "account", API_TEXT },
    { "recipientsPerDay", API_NUMBER },
    { "messageSize", API_NUMBER },
    { "maxSessions", API_NUMBER },
};

static void create_key(struct api_call *call, const struct api_request *request, bool below)
{
    struct wish wish = { .for_sub_account = below, .notes = json_array() };
    json_t *body = api_body(call, request, create_fields, ARRAY_LEN(create_fields));

    wish.spec.account = below ? call->param : NULL;
    if (body != NULL && (!below || api_is_sub_account(call)) && read_wish(call, body, &wish))
        create(call, &wish);
    wish_free(&wish);
    json_decref(body);
}

void api_keys_create(struct api_call *call, const struct api_request *request)
{
    create_key(call, request, false);
}

/* --- the same for sub-accounts ---------------------------------------------------------------- */

static const char *const sub_list_names[] = { "limit", "after", NULL };

void api_sub_keys_list(struct api_call *call, const struct api_request *request)
{
    char values[2][API_QUERY_MAX];

    if (api_query(call, request->query, sub_list_names, values) && api_is_sub_account(call))
        list_keys(call, call->param, values[0], values[1]);
}

void api_sub_keys_create(struct api_call *call, const struct api_request *request)
{
    create_key(call, request, true);
}

void api_sub_keys_show(struct api_call *call, const struct api_request *request)
{
    if (api_is_sub_account(call))
        api_keys_show(call, request);
}

void api_sub_keys_revoke(struct api_call *call, const struct api_request *request)
{
    if (api_is_sub_account(call))
        api_keys_revoke(call, request);
}

const struct api_shape api_keys_shapes[] = {
    { .run = api_keys_list,
      .query = list_names,
      .status = 200,
      .data = "[Key]",
      .meta = "TotalPage",
      .refusals = { 400, 404, 422 } },
    { .run = api_keys_create,
      API_FIELDS(create_fields),
      .required = "name",
      .status = 201,
      .data = "NewKey",
      .meta = "NewKeyMeta",
      .refusals = { 404, 409 } },
    { .run = api_keys_show, .status = 200, .data = "Key", .refusals = { 404 } },
    { .run = api_keys_revoke, .status = 200, .data = "RevokedKey", .refusals = { 404 } },
    { .run = api_sub_keys_list,
      .query = sub_list_names,
      .status = 200,
      .data = "[Key]",
      .meta = "TotalPage",
      .refusals = { 400, 404, 422 } },
    { .run = api_sub_keys_create,
      API_FIELDS(create_fields),
      .status = 201,
      .data = "NewKey",
      .meta = "NewKeyMeta",
      .refusals = { 404, 409 } },
    { .run = api_sub_keys_show, .status = 200, .data = "Key", .refusals = { 404 } },
    { .run = api_sub_keys_revoke, .status = 200, .data = "RevokedKey", .refusals = { 404 } },
    { 0 },
};
