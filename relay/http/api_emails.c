/* api_emails.c - /v1/emails and /tx/v1/send: mail that comes by HTTP.
 * From the request to the answer of its commit, like smtp/transaction.c:
 *
 *   work        the JSON is read, messages are composed and judged (parcel.c); beside the loop when
 *               that may take long
 *   recall      with an Idempotency-Key: was this asked before? Then nothing is taken from limits
 *   admit       the key's rate and recipients of the day
 *   append      large messages go to the queue in chunks, at most two of them unanswered
 *   submit      all messages in one transaction, with the token; the permit is asked right before
 *
 * Whoever sends needs a key: what the operator's socket could send would have no sender rule, no
 * account and no limit. A token belongs to its key; what it stands for is the form of the request
 * and its body, octet by octet. */
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/digest.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/http/budget.h"
#include "relay/http/parcel.h"
#include "relay/http/work.h"

#define UNANSWERED_MAX  2
#define BUSY_S          5 /* after so long a refused large request may come again */
#define DRAFT_SLACK     4096
#define UPLOAD_CAN_HOLD 2 /* times its body: what the server has taken from the budget for it */

_Static_assert(DIGEST_BYTES == QUEUE_FINGERPRINT_BYTES, "one is kept as the other");

struct sending { /* the loop's, but for the time between work_start() and on_worked() */
    struct work work;
    struct api_call *call;
    enum mail_form form;
    struct api_mail rules;
    struct buf body;
    size_t taken; /* from the budget */

    struct mail_refusal refusal;
    struct parcel *parcels;
    size_t count, recipients;
    char *answer; /* the data of the answer, as JSON */
    bool has_token;
    char token[QUEUE_TOKEN_MAX + 1];
    struct queue_once once;

    /* From the key's limits, and not given back. */
    size_t messages_taken;
    unsigned recipients_taken;
    int64_t taken_s;

    size_t at, offset; /* what of the parcels is on its way */
    uint32_t *chunks;  /* of each, handed to the queue */
    unsigned unanswered;
    enum queue_result stored; /* QUEUE_OK until a chunk was not */
};

/* --- limits ----------------------------------------------------------------------------------- */

/* The recipients of mail that is not sent are given back, and the messages too where it is not the
 * sender's fault: as over SMTP. */
static void give_back(struct sending *sending, bool messages_too)
{
    const struct auth_grant *grant = sending->call->grant;

    for (; messages_too && sending->messages_taken > 0; sending->messages_taken--)
        auth_return_message(grant);
    if (sending->recipients_taken > 0)
        auth_return_recipients(sending->call->api->auth, grant, sending->recipients_taken,
                               sending->taken_s);
    sending->recipients_taken = 0;
}

static bool take_limits(struct sending *sending, unsigned *wait_s, const char **code)
{
    const struct auth_grant *grant = sending->call->grant;
    struct auth *auth = sending->call->api->auth;

    sending->taken_s = clock_wall_s();
    *code = "rate_limited";
    for (; sending->messages_taken < sending->count; sending->messages_taken++)
        if (!auth_take_message(auth, grant, clock_wall_ms(), wait_s))
            return false;
    *code = "daily_limit";
    for (; sending->recipients_taken < sending->recipients; sending->recipients_taken++)
        if (!auth_take_recipient(auth, grant, sending->taken_s, wait_s))
            return false;
    return true;
}

/* Is anything left at all? Asked before the body is looked at, so that a key without an allowance
 * does not keep others waiting with large mail. */
static bool has_allowance(const struct auth_grant *grant, unsigned *wait_s, const char **code)
{
    struct auth_allowances now;

    auth_look_at_limits(grant, clock_wall_ms(), &now);
    bool has_rate = now.messages.limit == 0 || now.messages.left > 0;
    bool has_day = now.recipients.limit == 0 || now.recipients.left > 0;
    *wait_s = has_day ? 1 : now.recipients.reset_s;
    *code = has_day ? "rate_limited" : "daily_limit";
    return has_rate && has_day;
}

/* --- the end ---------------------------------------------------------------------------------- */

static struct slice account_of(const struct sending *sending)
{
    return slice_of(auth_grant_account(sending->call->grant));
}

static void sending_free(struct sending *sending)
{
    if (sending->taken > 0)
        budget_give(sending->call->api->budget, account_of(sending), sending->taken);
    for (size_t i = 0; i < sending->count; i++)
        parcel_free(&sending->parcels[i]);
    free(sending->parcels);
    free(sending->chunks);
    free(sending->answer);
    free(sending->once.first_answer);
    buf_free(&sending->body);
    free(sending);
}

/* Of several messages the last one that was looked at is the one that is refused. */
static void note_refusal(struct sending *sending, const char *rule)
{
    const char *sender = sending->count == 0 ? NULL : sending->parcels[sending->count - 1].sender;

    api_note_refusal(sending->call, AUTH_REFUSED_MESSAGE, sender == NULL ? "" : sender, rule);
}

static void refuse(struct sending *sending, int status, const char *code, const char *message,
                   unsigned retry_after_s)
{
    struct api_call *call = sending->call;

    if (status < 500) /* by a rule, not because of ourselves */
        note_refusal(sending, message);
    call->answer.retry_after_s = retry_after_s;
    give_back(sending, status == 429 || status >= 500);
    api_note_rate(call);
    sending_free(sending);
    metrics_add(METRIC_MESSAGES_REFUSED, 1);
    api_fail(call, status, code, "%s", message);
}

static void refuse_drained(struct sending *sending)
{
    refuse(sending, 503, "draining", "The relay is stopping: nothing was sent.", BUSY_S);
}

static void answer(struct sending *sending, const char *text)
{
    struct api_call *call = sending->call;
    json_t *data = json_loads(text, 0, NULL);
    size_t total = json_array_size(json_object_get(data, "messages"));

    if (data == NULL) /* the token was used over SMTP, which keeps no answer */
        data =
            json_pack("{s:o, s:s}", "id", api_json_id(sending->once.first_id), "status", "queued");
    api_note_rate(call);
    sending_free(sending);
    api_done(call, 202, data, json_pack("{s:I}", "total", (json_int_t)(total > 0 ? total : 1)));
}

/* --- the answer ------------------------------------------------------------------------------- */

static json_t *parcel_json(const struct parcel *parcel)
{
    return json_pack("{s:o, s:o, s:I}", "id", api_json_id(parcel->id), "messageId",
                     api_json_text(parcel->message_id), "recipients",
                     (json_int_t)parcel->recipients.count);
}

/* The first message speaks for all, so that whoever looks for "id" finds one. */
static char *format_answer(const struct sending *sending, bool is_test)
{
    const struct parcel *first = &sending->parcels[0];
    json_t *data =
        json_pack("{s:o, s:s, s:o, s:I}", "id", api_json_id(first->id), "status",
                  is_test ? "sandboxed" : "queued", "messageId", api_json_text(first->message_id),
                  "recipients", (json_int_t)sending->recipients);

    if (sending->form == MAIL_PERSONALIZED) {
        json_t *messages = json_array();
        for (size_t i = 0; i < sending->count; i++)
            json_array_append_new(messages, parcel_json(&sending->parcels[i]));
        json_object_set_new(data, "messages", messages);
    }
    char *text = json_dumps(data, JSON_COMPACT);
    json_decref(data);
    return text;
}

/* --- submit ----------------------------------------------------------------------------------- */

static void log_accepted(const struct sending *sending)
{
    char id[IDENT_TEXT_BYTES];

    for (size_t i = 0; i < sending->count; i++) {
        const struct parcel *parcel = &sending->parcels[i];
        ident_format(parcel->id, id);
        LOG(LOG_INFO, "message_accepted", LOG_STR("protocol", "http"), LOG_STR("message", id),
            LOG_STR("key", sending->call->actor), LOG_STR("sender", parcel->sender),
            LOG_INT("recipients", parcel->recipients.count), LOG_INT("size", parcel_size(parcel)));
        metrics_add(METRIC_MESSAGES_ACCEPTED, 1);
        metrics_add(METRIC_BYTES_ACCEPTED, (int64_t)parcel_size(parcel));
    }
}

/* The writer saw that the key is not what it was when the request came. */
static void refuse_key(struct sending *sending)
{
    struct auth_grant *grant = auth_grant_ref(sending->call->grant);
    enum auth_verdict verdict = auth_grant_renew(sending->call->api->auth, &grant, clock_wall_s());

    auth_grant_unref(grant);
    if (verdict == AUTH_OK)
        refuse(sending, 503, "key_changed", "The key was changed meanwhile: try again.", 1);
    else
        refuse(sending, 401, "unauthorized", auth_verdict_text(verdict), 0);
}

static void refuse_token(struct sending *sending)
{
    refuse(sending, 409, "idempotency_conflict",
           "This Idempotency-Key was used for another request in the last 24 hours.", 0);
}

static void refuse_store(struct sending *sending, enum queue_result result)
{
    if (result == QUEUE_FULL)
        refuse(sending, 507, "store_full", "The queue's disk is full.", 0);
    else
        refuse(sending, 503, "store_unavailable", "The queue cannot be written now.", BUSY_S);
}

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct sending *sending = owner;

    assert(message == NULL); /* no lease was asked for */
    switch (result) {
    case QUEUE_OK:
        log_accepted(sending);
        answer(sending, sending->answer);
        break;
    case QUEUE_REPEATED:
        give_back(sending, true);
        answer(sending, sending->once.first_answer);
        break;
    case QUEUE_CONFLICT:
        refuse_token(sending);
        break;
    case QUEUE_REFUSED:
        refuse_key(sending);
        break;
    default:
        refuse_store(sending, result);
        break;
    }
}

/* On the writer's thread; the call holds the grant until the answer. */
static bool still_current(void *grant)
{
    return auth_grant_is_current(grant, clock_wall_s());
}

static struct queue_message *pack(const struct sending *sending, size_t i)
{
    const struct parcel *parcel = &sending->parcels[i];
    const struct auth_grant *grant = sending->call->grant;
    struct queue_message *message = queue_message_new(parcel->id);

    message->account = xstrdup(auth_grant_account(grant));
    snprintf(message->key_id, sizeof(message->key_id), "%s", auth_grant_key_id(grant));
    message->sender = xstrdup(parcel->sender);
    message->sandbox = auth_grant_is_test(grant);
    message->received_ms = clock_wall_ms();
    message->size = parcel_size(parcel);
    message->chunks = sending->chunks[i];
    for (size_t r = 0; r < parcel->recipients.count; r++)
        queue_message_add(message, slice_of(parcel->recipients.items[r]));
    if (message->chunks == 0)
        parcel_read(parcel, 0, QUEUE_INLINE_MAX, &message->content);
    return message;
}

static void submit(struct sending *sending)
{
    struct api *api = sending->call->api;
    struct queue_message **messages = xcalloc(sending->count, sizeof(*messages));

    for (size_t i = 0; i < sending->count; i++)
        messages[i] = pack(sending, i);
    sending->once.answer = sending->answer;
    queue_submit(api->queue, &(struct queue_submit){
                                 .message = &messages[0],
                                 .others = messages + 1,
                                 .other_count = sending->count - 1,
                                 .once = sending->has_token ? &sending->once : NULL,
                                 .permit = still_current,
                                 .permit_owner = sending->call->grant,
                                 .cb = on_submitted,
                                 .owner = sending,
                                 .answers = api->answers,
                             });
    free(messages);
}

/* --- append ----------------------------------------------------------------------------------- */

static void go_on(struct sending *sending);

static void on_appended(void *owner, enum queue_result result)
{
    struct sending *sending = owner;

    sending->unanswered--;
    if (result != QUEUE_OK)
        sending->stored = result;
    go_on(sending);
}

static void send_chunk(struct sending *sending)
{
    struct api *api = sending->call->api;
    const struct parcel *parcel = &sending->parcels[sending->at];
    struct buf chunk;

    buf_init(&chunk, QUEUE_CHUNK_BYTES);
    parcel_read(parcel, sending->offset, QUEUE_CHUNK_BYTES, &chunk);
    sending->offset += buf_len(&chunk);
    sending->unanswered++;
    queue_append(api->queue, parcel->id, sending->chunks[sending->at]++, &chunk, on_appended,
                 sending, api->answers);
}

/* To the next octet that is to be sent in a chunk; false behind the last. */
static bool find_rest(struct sending *sending)
{
    for (; sending->at < sending->count; sending->at++, sending->offset = 0) {
        size_t size = parcel_size(&sending->parcels[sending->at]);
        if (size > QUEUE_INLINE_MAX && sending->offset < size)
            return true;
    }
    return false;
}

static void discard(struct sending *sending)
{
    for (size_t i = 0; i < sending->count; i++)
        if (sending->chunks[i] > 0)
            queue_discard(sending->call->api->queue, sending->parcels[i].id);
}

static void go_on(struct sending *sending)
{
    bool stopped = sending->call->api->stopped; /* then only the chunks' answers are to come */

    while (!stopped && sending->stored == QUEUE_OK && sending->unanswered < UNANSWERED_MAX &&
           find_rest(sending))
        send_chunk(sending);
    if (sending->unanswered > 0)
        return;
    if (stopped) { /* the next start removes the chunks */
        refuse_drained(sending);
    } else if (sending->stored != QUEUE_OK) {
        discard(sending);
        refuse_store(sending, sending->stored);
    } else {
        submit(sending);
    }
}

/* --- admit ------------------------------------------------------------------------------------ */

static void refuse_limit(struct sending *sending, const char *code, unsigned wait_s)
{
    refuse(sending, 429, code,
           code[0] == 'r' ? "The key's rate is used up."
                          : "The key's recipients of the day are used up.",
           wait_s > 0 ? wait_s : 1);
}

static void admit(struct sending *sending)
{
    unsigned wait_s = 0;
    const char *code;

    if (!auth_grant_is_current(sending->call->grant, clock_wall_s())) {
        refuse_key(sending);
    } else if (take_limits(sending, &wait_s, &code)) {
        go_on(sending);
    } else {
        refuse_limit(sending, code, wait_s);
    }
}

static void on_recalled(void *owner, enum queue_result result)
{
    struct sending *sending = owner;

    if (result == QUEUE_REPEATED)
        answer(sending, sending->once.first_answer);
    else if (result == QUEUE_CONFLICT)
        refuse_token(sending);
    else if (result != QUEUE_NOT_FOUND)
        refuse_store(sending, result);
    else if (sending->call->api->stopped)
        refuse_drained(sending);
    else
        admit(sending);
}

static void recall(struct sending *sending)
{
    struct api *api = sending->call->api;

    queue_recall(api->queue, auth_grant_key_id(sending->call->grant), &sending->once, on_recalled,
                 sending, api->answers);
}

/* --- work ------------------------------------------------------------------------------------- */

static void take_fingerprint(struct sending *sending)
{
    struct digest *digest = digest_new();

    digest_add_part(digest, sending->form == MAIL_PLAIN ? SLICE("emails") : SLICE("send"));
    digest_add_part(digest, buf_slice(&sending->body));
    digest_finish(digest, sending->once.fingerprint);
    digest_free(digest);
}

/* What the messages will need beyond what was taken for the body. */
static bool take_memory(struct sending *sending, const struct mail_request *request)
{
    struct budget *budget = sending->call->api->budget;
    size_t body = buf_len(&sending->body);
    size_t held = body > API_SMALL_MAX ? body * UPLOAD_CAN_HOLD : 0;
    size_t covered = held > 0 ? held - body : API_SMALL_MAX * 2;
    size_t needed = 0;

    for (size_t i = 0; i < request->count; i++) {
        const struct compose_mail *mail = &request->drafts[i].mail;
        needed +=
            2 * (mail->text.len + mail->html.len) + DRAFT_SLACK; /* each a line end, at worst */
        for (size_t a = 0; a < mail->attachment_count; a++)
            needed += mail->attachments[a].base64.len + DRAFT_SLACK;
    }
    if (needed > sending->rules.message_bytes)
        needed = sending->rules.message_bytes; /* the rest is refused */
    if (budget == NULL || needed <= covered)
        return true;
    if (!budget_take(budget, account_of(sending), held, needed - covered))
        return false;
    sending->taken = needed - covered;
    return true;
}

static void make_parcels(struct sending *sending, struct mail_request *request)
{
    struct parcel_facts facts = {
        .grant = sending->call->grant,
        .rules = sending->rules,
        .address = sending->call->client_address,
        .tls = sending->call->client_tls,
        .room = sending->rules.message_bytes,
    };

    sending->parcels = xcalloc(request->count, sizeof(*sending->parcels));
    sending->chunks = xcalloc(request->count, sizeof(*sending->chunks));
    for (size_t i = 0; i < request->count; i++) {
        struct parcel *parcel = &sending->parcels[sending->count++];
        if (!parcel_make(parcel, &request->drafts[i], &facts, &sending->refusal))
            return;
        facts.room -= buf_len(&parcel->composed);
        sending->recipients += parcel->recipients.count;
    }
}

static void on_work(struct work *work) /* perhaps beside the loop */
{
    struct sending *sending = container_of(work, struct sending, work);
    struct mail_request request = { 0 };

    if (sending->call->api->stopped) /* it has waited for others: nothing will come of it */
        return;
    if (sending->has_token)
        take_fingerprint(sending);
    bool ok = mail_request_read(&request, buf_slice(&sending->body), sending->form);
    if (ok && !take_memory(sending, &request)) {
        mail_refuse(&sending->refusal, 503, "busy", "%s", "Too much large mail is under way.");
        sending->refusal.retry_after_s = BUSY_S;
    } else if (ok) {
        buf_free(&sending->body); /* the JSON has copies */
        make_parcels(sending, &request);
    } else {
        sending->refusal = request.refusal;
    }
    mail_request_free(&request);
    if (sending->refusal.status == 0)
        sending->answer = format_answer(sending, auth_grant_is_test(sending->call->grant));
}

static void on_worked(struct work *work)
{
    struct sending *sending = container_of(work, struct sending, work);
    struct mail_refusal refusal = sending->refusal;

    if (refusal.status == 403 && strcmp(refusal.code, "sender_not_permitted") == 0)
        metrics_add(METRIC_SENDER_REFUSED, 1);
    if (refusal.status != 0)
        refuse(sending, refusal.status, refusal.code, refusal.text, refusal.retry_after_s);
    else if (sending->call->api->stopped)
        refuse_drained(sending);
    else if (sending->has_token)
        recall(sending);
    else
        admit(sending);
}

/* --- the request ------------------------------------------------------------------------------ */

static bool may_send(struct api_call *call, const struct api_request *request)
{
    if (call->is_operator) {
        api_fail(call, 403, "key_required",
                 "Sending needs an API key, which says as whom: the operator has none here.");
    } else if (call->api->draining) {
        call->answer.retry_after_s = BUSY_S;
        api_fail(call, 503, "draining", "The relay is stopping.");
    } else if (!queue_has_room(call->api->queue)) {
        call->answer.retry_after_s = BUSY_S;
        api_fail(call, 507, "store_full", "The queue has no room, or cannot be written.");
    } else if (!api_is_json_type(request->content_type)) {
        api_fail(call, 415, "unsupported_media_type", "The body must be application/json.");
    } else {
        return true;
    }
    return false;
}

static bool take_token(struct sending *sending, struct slice token)
{
    if (token.data == NULL)
        return true;
    for (size_t i = 0; i < token.len; i++)
        if (token.data[i] < ' ' || token.data[i] > '~')
            return false;
    if (token.len == 0 || token.len > QUEUE_TOKEN_MAX)
        return false;
    memcpy(sending->token, token.data, token.len);
    sending->token[token.len] = '\0';
    sending->once.token = sending->token;
    sending->has_token = true;
    return true;
}

static void take_body(struct sending *sending, const struct api_request *request)
{
    buf_init(&sending->body, request->body.len);
    if (request->content != NULL) {
        buf_move(&sending->body, request->content);
    } else {
        bool ok = buf_add(&sending->body, request->body);
        assert(ok); /* it was made for that */
        (void)ok;
    }
}

static void start(struct api_call *call, const struct api_request *request, enum mail_form form)
{
    if (!may_send(call, request))
        return;
    struct sending *sending = xcalloc(1, sizeof(*sending));
    struct work_queue *queue = call->api->work;

    sending->call = call;
    sending->form = form;
    sending->rules = call->api->mail;
    uint64_t most = auth_grant_message_size(call->grant);
    if (most > 0 && most < sending->rules.message_bytes)
        sending->rules.message_bytes = most;
    sending->work.run = on_work;
    sending->work.done = on_worked;
    if (!take_token(sending, request->idempotency_key)) {
        refuse(sending, 422, "invalid_idempotency_key",
               "The Idempotency-Key must be 1 to 255 printable ASCII characters.", 0);
        return;
    }
    unsigned wait_s;
    const char *code;
    if (!sending->has_token && !has_allowance(call->grant, &wait_s, &code)) {
        refuse_limit(sending, code, wait_s);
        return;
    }
    take_body(sending, request);
    /* A small body can be many messages. */
    bool is_long = buf_len(&sending->body) > API_SMALL_MAX || form == MAIL_PERSONALIZED;
    if (queue != NULL && is_long) {
        work_start(queue, &sending->work, account_of(sending),
                   slice_of(auth_grant_key_id(call->grant)));
        return;
    }
    on_work(&sending->work);
    on_worked(&sending->work);
}

void api_emails_send(struct api_call *call, const struct api_request *request)
{
    start(call, request, MAIL_PLAIN);
}

void api_emails_send_personalized(struct api_call *call, const struct api_request *request)
{
    start(call, request, MAIL_PERSONALIZED);
}

const struct api_shape api_emails_shapes[] = {
    { .run = api_emails_send,
      .body = "Email",
      .status = 202,
      .data = "Sent",
      .meta = "Total",
      .refusals = { 409 } },
    { .run = api_emails_send_personalized,
      .body = "PersonalizedEmail",
      .status = 202,
      .data = "Sent",
      .meta = "Total",
      .refusals = { 409 } },
    { 0 },
};
