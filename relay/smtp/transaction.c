/* transaction.c - one message from MAIL to the answer of its commit.
 * The key's grant is asked three times: when an address is named, when the message is complete, and
 * by the queue's writer right before the commit. In between an operator may narrow the key, so the
 * addresses found permitted are kept until then and asked for again when the grant is another. */
#include "relay/smtp/transaction.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/message/domain.h"
#include "relay/message/fixup.h"
#include "relay/message/sender.h"
#include "relay/smtp/login.h"
#include "relay/smtp/session_priv.h"

#define DAY_S 86400

static void transaction_unref(struct transaction *tx)
{
    if (--tx->refs > 0)
        return;
    struct session *s = tx->session;
    content_free(&tx->content);
    buf_free(&tx->identities);
    queue_message_free(tx->message);
    auth_grant_unref(tx->grant);
    free(tx->verdict_detail);
    free(tx->sender);
    free(tx->token);
    free(tx->once.first_answer);
    digest_free(tx->digest);
    free(tx);
    session_unref(s);
}

/* "local@domain", NUL-ended; the null sender is "". The caller frees it. */
static char *join_address(struct slice local, struct slice domain)
{
    size_t len = local.len == 0 ? 0 : local.len + 1 + domain.len;
    char *text = xmalloc(len + 1);

    if (len > 0) {
        memcpy(text, local.data, local.len);
        text[local.len] = '@';
        memcpy(text + local.len + 1, domain.data, domain.len);
    }
    text[len] = '\0';
    return text;
}

/* The two parts of what join_address() made: a quoted local part may hold an '@', a domain not. */
static void split_address(const char *address, struct slice *local, struct slice *domain)
{
    const char *at = strrchr(address, '@');

    assert(at != NULL);
    *local = slice_make(address, (size_t)(at - address));
    *domain = slice_of(at + 1);
}

static bool is_address(const char *address, struct slice local, struct slice domain)
{
    size_t len = strlen(address);

    return len == local.len + 1 + domain.len && address[local.len] == '@' &&
           memcmp(address, local.data, local.len) == 0 &&
           memcmp(address + local.len + 1, domain.data, domain.len) == 0;
}

struct transaction *transaction_new(struct session *s, const struct address *sender)
{
    struct transaction *tx = xcalloc(1, sizeof(*tx));
    struct queue_message *message;

    session_ref(s);
    tx->session = s;
    tx->refs = 1;
    tx->id = ident_next();
    tx->grant = auth_grant_ref(s->grant);
    tx->verdict = REPLY_OK;
    tx->sender = join_address(sender->local, sender->domain);
    tx->message = message = queue_message_new(tx->id);
    message->account = xstrdup(auth_grant_account(s->grant));
    snprintf(message->key_id, sizeof(message->key_id), "%s", s->key_id);
    message->sender = xstrdup(tx->sender);
    message->sandbox = auth_grant_is_test(s->grant);
    return tx;
}

/* What is not accepted reaches nobody, so it takes nothing from the day. */
static void give_back_recipients(struct transaction *tx)
{
    if (tx->charged > 0)
        auth_return_recipients(tx->session->service->auth, tx->grant, tx->charged, tx->charged_s);
    tx->charged = 0;
}

/* A refusal for good counts in the rate, which is there to slow down whoever collects them; that we
 * could not take a message does not. */
static void give_back_message(const struct transaction *tx, enum reply refusal)
{
    if (reply_is_refusal(refusal) && reply_row(refusal)->code < 500)
        auth_return_message(tx->grant);
}

void transaction_drop(struct transaction **txp)
{
    struct transaction *tx = *txp;

    *txp = NULL;
    if (!tx->submitted) {
        content_discard(&tx->content);
        give_back_recipients(tx);
    }
    transaction_unref(tx);
}

/* --- recipients ------------------------------------------------------------------------------- */

bool transaction_has(const struct transaction *tx, struct slice local, struct slice domain)
{
    for (size_t i = 0; i < tx->message->recipient_count; i++)
        if (is_address(tx->message->recipients[i].address, local, domain))
            return true;
    return false;
}

void transaction_add(struct transaction *tx, struct slice local, struct slice domain)
{
    char *address = join_address(local, domain);

    queue_message_add(tx->message, slice_of(address));
    free(address);
}

void transaction_charge(struct transaction *tx, int64_t now_s)
{
    if (now_s / DAY_S != tx->charged_s / DAY_S)
        tx->charged = 0; /* those of yesterday are not given back today */
    tx->charged++;
    tx->charged_s = now_s;
}

/* --- the sender rule -------------------------------------------------------------------------- */

/* For sender_check(): asks the session's grant, which may be newer than the one that allowed the
 * envelope, and remembers whom else it allowed. */
static bool permit_and_remember(void *owner, struct slice local, struct slice domain)
{
    struct transaction *tx = owner;

    if (!auth_grant_permits_sender(tx->session->grant, local, domain))
        return false;
    return is_address(tx->sender, local, domain) ||
           (buf_add(&tx->identities, local) && buf_add_byte(&tx->identities, '@') &&
            buf_add(&tx->identities, domain) && buf_add_byte(&tx->identities, '\0'));
}

static bool permit(void *owner, struct slice local, struct slice domain)
{
    return auth_grant_permits_sender(owner, local, domain);
}

static const enum reply sender_refusals[] = {
    [SENDER_OK] = REPLY_OK,
    [SENDER_NOT_PERMITTED] = REPLY_SENDER_REFUSED,
    [SENDER_NOT_READABLE] = REPLY_SENDER_UNREADABLE,
    [SENDER_NON_ASCII] = REPLY_SENDER_NON_ASCII,
};

static void judge_header(struct transaction *tx, enum header_error parsed,
                         const struct header *header)
{
    if (parsed == HEADER_OK && fixup_is_loop(header)) {
        tx->verdict = REPLY_LOOP;
        return;
    }
    struct sender_reason reason = sender_check(parsed, header, permit_and_remember, tx);
    assert((size_t)reason.verdict < ARRAY_LEN(sender_refusals));
    tx->verdict = sender_refusals[reason.verdict];
    if (tx->verdict != REPLY_OK)
        tx->verdict_detail = xstrdup(reason.rule);
}

/* --- the token -------------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The order in which a client names them is no difference. */
static void digest_recipients(struct digest *digest, const struct queue_message *message)
{
    const char **sorted = xcalloc(message->recipient_count, sizeof(*sorted));

    for (size_t i = 0; i < message->recipient_count; i++)
        sorted[i] = message->recipients[i].address;
    qsort(sorted, message->recipient_count, sizeof(*sorted), compare_texts);
    for (size_t i = 0; i < message->recipient_count; i++)
        digest_add_part(digest, slice_of(sorted[i]));
    free(sorted);
}

/* What makes two messages the same: sender, recipients, subject and body. The rest of the header is
 * not looked at, for a client that tries again may well write a new Date and Message-ID. */
static void begin_digest(struct transaction *tx, const struct header *header)
{
    const struct header_field *subject = NULL;

    header_count(header, SLICE("Subject"), &subject);
    tx->digest = digest_new();
    digest_add_part(tx->digest, SLICE("smtp"));
    digest_add_part(tx->digest, slice_of(tx->sender));
    digest_recipients(tx->digest, tx->message);
    digest_add_part(tx->digest, SLICE("")); /* no recipient is that */
    digest_add_part(tx->digest, subject == NULL ? slice_make(NULL, 0) : slice_trim(subject->value));
    tx->content.digest = tx->digest;
}

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < ' ' || text.data[i] > '~')
            return false;
    return text.len > 0 && text.len <= QUEUE_TOKEN_MAX;
}

static void take_token(struct transaction *tx, const struct header *header)
{
    const struct header_field *field = NULL;
    size_t count = header_count(header, SLICE("Idempotency-Key"), &field);

    if (count == 0)
        return;
    struct slice token = slice_trim(field->value);
    if (count > 1 || !is_token(token)) {
        tx->verdict = REPLY_BAD_TOKEN;
        return;
    }
    tx->token = slice_dup(token);
    tx->once = (struct queue_once){ .token = tx->token, .answer = "" };
    begin_digest(tx, header);
}

static bool rewrite_header(struct transaction *tx, const struct header *header, struct buf *out)
{
    const struct session *s = tx->session;
    char id[IDENT_TEXT_BYTES];
    bool with_address = s->peer.has_address && !s->service->hide_client_address;

    ident_format(tx->id, id);
    return fixup_apply(header,
                       &(struct fixup_facts){
                           .hostname = s->service->hostname,
                           .message_id = id,
                           .key_id = s->key_id,
                           .helo = slice_of(s->helo),
                           .client_address = with_address ? s->peer.text : NULL,
                           .protocol = s->facts & FACT_SECURE ? "ESMTPSA" : "ESMTPA",
                           .tls = s->facts & FACT_SECURE ? stream_tls_text(s->stream) : NULL,
                           .now_s = clock_wall_s(),
                       },
                       out);
}

static bool on_header(void *owner, struct slice block, struct buf *out)
{
    struct transaction *tx = owner;
    struct header header;
    enum header_error parsed = header_parse(block, &header);

    login_refresh(tx->session); /* the header is judged by what the key may now; if it may nothing
                                   any more, the end of the message says so */
    judge_header(tx, parsed, &header);
    if (tx->verdict == REPLY_OK)
        take_token(tx, &header);
    bool ok = tx->verdict == REPLY_OK;
    if (ok && !rewrite_header(tx, &header, out)) {
        tx->verdict = REPLY_HEADER_TOO_LARGE;
        ok = false;
    }
    header_free(&header);
    return ok;
}

/* The grant is another than the one that allowed the addresses: does it still? The first that it
 * does not is told in the session's detail. */
static bool senders_still_permitted(const struct transaction *tx, struct auth_grant *grant)
{
    struct slice rest = buf_slice(&tx->identities);
    struct slice who = slice_of(tx->sender);
    struct address address;

    for (;;) {
        if (who.len > 0) {
            struct sender_reason reason = sender_check_path(who, permit, grant, &address);
            if (reason.verdict != SENDER_OK) {
                session_detail(tx->session, REPLY_LATER, "%s", reason.rule);
                return false;
            }
        }
        if (rest.len == 0)
            return true;
        who = slice_cut(&rest, '\0');
    }
}

static bool recipients_still_permitted(const struct transaction *tx, const struct auth_grant *grant)
{
    for (size_t i = 0; i < tx->message->recipient_count; i++) {
        struct slice local, domain;
        split_address(tx->message->recipients[i].address, &local, &domain);
        if (!auth_grant_permits_recipient(grant, local, domain)) {
            session_detail(tx->session, REPLY_LATER,
                           "this key may no longer send to one of the recipients");
            return false;
        }
    }
    return true;
}

/* --- the data --------------------------------------------------------------------------------- */

static void on_hold(void *owner)
{
    struct transaction *tx = owner;

    tx->refs++;
}

static void on_content_appended(void *owner)
{
    struct transaction *tx = owner;

    if (tx->session->tx == tx)
        session_appended(tx->session);
    transaction_unref(tx);
}

void transaction_start_data(struct transaction *tx)
{
    struct smtp_service *service = tx->session->service;

    content_start(&tx->content, &(struct content_setup){
                                    .queue = service->queue,
                                    .answers = &service->loop->mailbox,
                                    .id = tx->id,
                                    .header_max = service->limits.header_bytes,
                                    .size_max = session_message_max(tx->session),
                                    .line_max = service->limits.data_line,
                                    .header = on_header,
                                    .hold = on_hold,
                                    .appended = on_content_appended,
                                    .owner = tx,
                                });
    buf_init(&tx->identities, service->limits.header_bytes);
    tx->started_ms = clock_mono_ms();
}

/* A client may take the grace; after that, what came must have come at the least rate, counted from
 * the start and without the time in which it was us who did not read. Never longer than the idle
 * limit without a byte. */
uint64_t transaction_patience_ms(struct transaction *tx, int64_t now_ms)
{
    const struct smtp_limits *limits = &tx->session->service->limits;
    uint64_t allowed = tx->content.received * 1000 / limits->data_rate;

    if (!content_has_room(&tx->content)) {
        if (tx->stalled_ms == 0)
            tx->stalled_ms = now_ms;
        return 0;
    }
    if (tx->stalled_ms != 0)
        tx->started_ms += now_ms - tx->stalled_ms;
    tx->stalled_ms = 0;
    if (allowed < limits->data_grace_ms)
        allowed = limits->data_grace_ms;
    uint64_t taken = (uint64_t)(now_ms - tx->started_ms);
    uint64_t left = taken < allowed ? allowed - taken : 1;
    return left < limits->idle_ms ? left : limits->idle_ms;
}

/* --- the end ---------------------------------------------------------------------------------- */

static const struct {
    enum body_fault fault;
    enum reply refusal;
} faults[] = {
    /* asked in this order: the first may be an attack, and ends the session */
    { BODY_BARE_LINE_END, REPLY_BARE_LINE_END },
    { BODY_TOO_LARGE, REPLY_TOO_LARGE },
    { BODY_NUL, REPLY_NUL },
    { BODY_LONG_LINE, REPLY_LONG_DATA_LINE },
};

static const enum reply store_refusals[] = {
    [QUEUE_OK] = REPLY_OK,
    [QUEUE_FULL] = REPLY_NO_ROOM,
    [QUEUE_FAILED] = REPLY_STORE_FAILED,
};

static enum reply store_refusal(enum queue_result result)
{
    return (size_t)result < ARRAY_LEN(store_refusals) ? store_refusals[result] : REPLY_STORE_FAILED;
}

static enum reply content_refusal(struct transaction *tx)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (tx->content.body.faults & faults[i].fault)
            return faults[i].refusal;
    if (tx->content.header_too_large)
        return REPLY_HEADER_TOO_LARGE;
    if (tx->verdict != REPLY_OK)
        return session_detail(tx->session, tx->verdict, "%s",
                              tx->verdict_detail == NULL ? "" : tx->verdict_detail);
    return REPLY_OK;
}

/* The key as it is now; tx->grant follows when it still allows all that this message needs. */
static enum reply key_refusal(struct transaction *tx)
{
    struct session *s = tx->session;
    enum auth_verdict verdict = login_refresh(s);

    if (verdict != AUTH_OK)
        return session_detail(s, REPLY_KEY_REFUSED, "%s", auth_verdict_text(verdict));
    if (tx->grant == s->grant)
        return REPLY_OK;
    if (!senders_still_permitted(tx, s->grant))
        return REPLY_SENDER_REFUSED;
    if (tx->message != NULL && !recipients_still_permitted(tx, s->grant))
        return REPLY_RECIPIENT_REFUSED;
    auth_grant_unref(tx->grant);
    tx->grant = auth_grant_ref(s->grant);
    return REPLY_OK;
}

enum reply transaction_verdict(struct transaction *tx)
{
    enum reply refusal = content_refusal(tx);

    if (refusal == REPLY_OK)
        refusal = key_refusal(tx);
    if (refusal == REPLY_OK)
        refusal = store_refusal(tx->content.stored);
    if (refusal != REPLY_OK)
        give_back_message(tx, refusal);
    return refusal;
}

/* On the writer's thread, right before the insert; the transaction holds the grant until the
 * answer. */
static bool still_current(void *grant)
{
    return auth_grant_is_current(grant, clock_wall_s());
}

/* The writer saw that the key is not what it was. That is a refusal only if the key, as it is now,
 * does not allow this message; the recipients cannot be asked for any more, so a key that still
 * lives gets its next try. */
static enum reply refusal_at_commit(struct transaction *tx)
{
    if (tx->session->grant == NULL)
        return REPLY_KEY_CHANGED; /* the session is gone, and nobody will hear this */
    enum reply refusal = key_refusal(tx);
    return refusal == REPLY_OK ? REPLY_KEY_CHANGED : refusal;
}

static void log_outcome(const struct transaction *tx, enum reply reply)
{
    char id[IDENT_TEXT_BYTES];
    bool accepted = reply == REPLY_QUEUED;

    ident_format(tx->id, id);
    LOG(LOG_INFO, accepted ? "message_accepted" : "message_not_stored",
        LOG_STR("session", tx->session->id), LOG_STR("message", id),
        LOG_STR("key", tx->session->key_id), LOG_STR("sender", tx->sender),
        LOG_INT("recipients", tx->stored_recipients), LOG_INT("size", tx->size),
        LOG_STR("reason", accepted ? NULL : reply_row(reply)->text));
}

static void log_repeated(const struct transaction *tx, const char *first_id)
{
    LOG(LOG_INFO, "message_repeated", LOG_STR("session", tx->session->id),
        LOG_STR("message", first_id), LOG_STR("key", tx->session->key_id),
        LOG_STR("sender", tx->sender));
}

static void count_accepted(const struct transaction *tx)
{
    metrics_add(METRIC_MESSAGES_ACCEPTED, 1);
    metrics_add(METRIC_BYTES_ACCEPTED, (int64_t)tx->size);
}

static void on_submitted(void *owner, enum queue_result result,
                         struct queue_message *message) /* our loop, once per submit */
{
    struct transaction *tx = owner;
    struct session *s = tx->session;
    char id[IDENT_TEXT_BYTES];
    enum reply reply = REPLY_QUEUED;

    if (result == QUEUE_REFUSED)
        reply = refusal_at_commit(tx);
    else if (result == QUEUE_CONFLICT)
        reply = REPLY_TOKEN_CONFLICT;
    else if (result != QUEUE_OK && result != QUEUE_REPEATED)
        reply = store_refusal(result);
    ident_format(result == QUEUE_REPEATED ? tx->once.first_id : tx->id, id);
    if (result == QUEUE_OK) {
        count_accepted(tx);
    } else {
        give_back_recipients(tx);
        if (result == QUEUE_REPEATED)
            auth_return_message(tx->grant);
        else
            give_back_message(tx, reply);
    }
    if (result == QUEUE_REPEATED)
        log_repeated(tx, id);
    else
        log_outcome(tx, reply);
    if (s->tx == tx) /* else the client left while we waited */
        session_submitted(s, reply == REPLY_QUEUED ? session_detail(s, reply, "%s", id) : reply);
    if (tx->place != NULL)
        s->service->accepted(s->service->owner, tx->place, message);
    transaction_unref(tx);
}

void transaction_submit(struct transaction *tx)
{
    struct smtp_service *service = tx->session->service;
    struct queue_message *message = tx->message;

    tx->submitted = true;
    tx->size = message->size = content_size(&tx->content);
    tx->stored_recipients = message->recipient_count;
    message->received_ms = clock_wall_ms();
    message->eight_bit = tx->content.body.eight_bit;
    message->chunks = tx->content.chunks;
    if (message->chunks == 0) {
        content_digest_rest(&tx->content);
        buf_move(&message->content, &tx->content.piece);
    }
    if (tx->token != NULL)
        digest_finish(tx->digest, tx->once.fingerprint);
    if (!message->sandbox && service->wants_lease != NULL)
        tx->place = service->wants_lease(service->owner, message);
    tx->refs++;
    queue_submit(service->queue, &(struct queue_submit){
                                     .message = &tx->message,
                                     .lease = tx->place != NULL,
                                     .once = tx->token == NULL ? NULL : &tx->once,
                                     .permit = still_current,
                                     .permit_owner = tx->grant,
                                     .cb = on_submitted,
                                     .owner = tx,
                                     .answers = &service->loop->mailbox,
                                 });
}
