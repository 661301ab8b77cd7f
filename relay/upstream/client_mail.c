/* client_mail.c - one transaction: MAIL, RCPT, DATA, the content, the dot, and what each reply
 * means for each recipient. A recipient without a fate is one that the upstream has not refused. So
 * MAIL, DATA and the dot speak to all that have none yet, and at the dot these are the accepted
 * ones. Until the dot nothing is delivered (RFC 5321 section 4.2.5), after it and before its reply
 * nobody knows. */
#include "relay/upstream/client_priv.h"

/* --- before the first command ----------------------------------------------------------------- */

static bool is_too_large(const struct client *client, const struct upstream_job *job)
{
    return (client->offers & OFFERS_SIZE) && client->size_limit > 0 &&
           job->size > client->size_limit;
}

bool client_refuses(struct client *client, struct upstream_job *job)
{
    enum stuff_error error = job->chunks == 0 ? stuff_check(job->content) : STUFF_OK;

    if (upstream_job_bad_envelope(client->upstream, job))
        return true;
    if (error != STUFF_OK)
        upstream_job_quarantine(client->upstream, job, stuff_error_text(error));
    else if (is_too_large(client, job))
        upstream_job_say(job, UPSTREAM_NEVER, 0, "5.3.4",
                         SLICE("the message is larger than the upstream takes"));
    else if (job->eight_bit && !(client->offers & OFFERS_8BITMIME))
        upstream_job_say(job, UPSTREAM_NEVER, 0, "5.6.3",
                         SLICE("the upstream does not take 8-bit content"));
    else
        return false;
    return true;
}

void client_run(struct client *client, struct upstream_job *job)
{
    client->job = job;
    client->pipelined = (client->offers & OFFERS_PIPELINING) != 0;
    client->heard = false;
    client->rcpt = 0;
    client->accepted = 0;
    client->strayed = false;
    client->seq = 0;
    stuff_start(&client->stuff);
    client_enter(client, CLIENT_MAIL);
}

/* --- envelope --------------------------------------------------------------------------------- */

static void say_rcpt(struct client *client, size_t i)
{
    client_say(client, "RCPT TO:<%s>", client->job->recipients[i].address);
}

void client_send_mail(struct client *client)
{
    const struct upstream_job *job = client->job;
    const char *body = job->eight_bit ? " BODY=8BITMIME" : "";

    if (client->offers & OFFERS_SIZE)
        client_say(client, "MAIL FROM:<%s> SIZE=%llu%s", job->sender, (unsigned long long)job->size,
                   body);
    else
        client_say(client, "MAIL FROM:<%s>%s", job->sender, body);
    if (!client->pipelined)
        return;
    for (size_t i = 0; i < job->recipient_count; i++)
        say_rcpt(client, i);
    client_say(client, "DATA");
}

void client_send_rcpt(struct client *client)
{
    if (!client->pipelined)
        say_rcpt(client, client->rcpt);
}

void client_send_data(struct client *client)
{
    if (!client->pipelined)
        client_say(client, "DATA");
}

static bool is_yes(const struct answer *answer)
{
    return answer->code / 10 ==
           25; /* 250, and for RCPT 251 and 252; 220 or 221 is no answer to these */
}

static bool is_refusal(const struct answer *answer)
{
    return answer_class(answer) == ANSWER_LATER || answer_class(answer) == ANSWER_NEVER;
}

static enum upstream_fate refusal_fate(const struct answer *answer)
{
    return answer_class(answer) == ANSWER_NEVER ? UPSTREAM_NEVER : UPSTREAM_LATER;
}

/* To all that have no fate. */
static void say_all(struct client *client, enum upstream_fate fate, const struct answer *answer)
{
    upstream_job_say(client->job, fate, answer->code, answer->enhanced, slice_of(answer->text));
}

static void break_senseless(struct client *client, const struct answer *answer)
{
    client_break_out_of_step(client, "protocol error: a reply that makes no sense here: %d %s",
                             answer->code, answer->text);
}

/* The job has its fates, but the upstream may still have a transaction open. */
static void reset(struct client *client)
{
    client_judged(client);
    client_enter(client, CLIENT_RSET);
}

void client_judge_mail(struct client *client, const struct answer *answer)
{
    if (!is_yes(answer) && !is_refusal(answer)) {
        break_senseless(client, answer);
        return;
    }
    if (is_refusal(answer))
        say_all(client, refusal_fate(answer), answer);
    if (is_yes(answer) || client->pipelined) /* the replies to the rest of the group must be read */
        client_enter(client, CLIENT_RCPT);
    else
        reset(client);
}

static void judge_recipient(struct client *client, const struct answer *answer)
{
    struct upstream_recipient *recipient = &client->job->recipients[client->rcpt];

    if (recipient->fate != UPSTREAM_UNTRIED) /* MAIL was refused; this reply follows from it */
        client->strayed = client->strayed || is_yes(answer);
    else if (is_yes(answer))
        client->accepted++;
    else
        upstream_recipient_say(recipient, refusal_fate(answer), answer->code, answer->enhanced,
                               slice_of(answer->text));
}

void client_judge_rcpt(struct client *client, const struct answer *answer)
{
    if (!is_yes(answer) && !is_refusal(answer)) {
        break_senseless(client, answer);
        return;
    }
    judge_recipient(client, answer);
    if (++client->rcpt < client->job->recipient_count)
        client_enter(client, CLIENT_RCPT);
    else if (client->accepted > 0 || client->pipelined)
        client_enter(client, CLIENT_DATA);
    else
        reset(client);
}

/* --- content ---------------------------------------------------------------------------------- */

static void to_stream(void *owner, struct slice bytes)
{
    struct client *client = owner;

    stream_write(client->stream, bytes);
}

/* What was found only when part of the content had gone: without the dot, the upstream drops it
 * (RFC 5321 section 4.1.1.4), so the connection goes before there is one. */
static void break_poisoned(struct client *client, enum stuff_error error)
{
    upstream_job_quarantine(client->upstream, client->job, stuff_error_text(error));
    client_judged(client);
    client_finish(client, CLIENT_LOST, "its transaction was broken off");
}

static void end_content(struct client *client)
{
    enum stuff_error error = stuff_end(&client->stuff, to_stream, client);

    if (error != STUFF_OK) {
        break_poisoned(client, error);
        return;
    }
    client->owed = 1; /* also where that reply has begun already */
    client_enter(client, CLIENT_DOT);
}

static void chunk_here(struct upstream_job *job, struct buf *chunk);

static void fetch_next(struct client *client)
{
    if (client->seq == client->job->chunks)
        end_content(client);
    else
        upstream_job_fetch(client->job, client->seq++, client, chunk_here);
}

/* A chunk goes out whole; the next is asked for while the stream holds at most a chunk, so there
 * are never more than two in memory. Above STREAM_HIGH_WATER the stream promises on_drained. */
static void chunk_here(struct upstream_job *job, struct buf *chunk)
{
    struct client *client = job->transport;
    enum stuff_error error = STUFF_OK;

    if (buf_len(chunk) == 0) {
        buf_free(chunk);
        client_break(client, "our own queue could not read the content");
        return;
    }
    client_enter(client, CLIENT_CONTENT); /* its timeout starts anew */
    error = stuff_add(&client->stuff, buf_slice(chunk), to_stream, client);
    buf_free(chunk);
    if (error != STUFF_OK)
        break_poisoned(client, error);
    else if (stream_unwritten(client->stream) <= STREAM_HIGH_WATER)
        fetch_next(client);
}

void client_drained(struct client *client)
{
    if (client->state == CLIENT_CONTENT && !client->job->fetching)
        fetch_next(client);
}

/* A content in one piece was checked by client_refuses(). */
static void start_content(struct client *client)
{
    client_enter(client, CLIENT_CONTENT);
    if (client->job->chunks > 0) {
        fetch_next(client);
        return;
    }
    stuff_add_checked(&client->stuff, client->job->content, to_stream, client);
    end_content(client);
}

/* A lone dot would be an empty message for those whom an upstream has accepted although it refused
 * MAIL: there the connection ends instead. */
static void end_without_content(struct client *client)
{
    if (!client->strayed) {
        client_enter(client, CLIENT_LONE_DOT);
        return;
    }
    client_judged(client);
    client_finish(client, CLIENT_LOST, "it accepted recipients behind a refused MAIL");
}

/* Nothing but 354 opens the way for content; anything else than that or a refusal means that
 * replies and commands are out of step, and then not one byte more is said. */
void client_judge_data(struct client *client, const struct answer *answer)
{
    if (answer->code == 354) {
        if (client->accepted > 0)
            start_content(client);
        else
            end_without_content(client);
    } else if (is_refusal(answer)) {
        say_all(client, refusal_fate(answer), answer);
        reset(client);
    } else {
        break_senseless(client, answer);
    }
}

/* A refusal that does not wait for the dot (too large, or going away) is the reply to it all the
 * same. In the middle of the content nothing else can be said on this connection. */
void client_judge_early(struct client *client, const struct answer *answer)
{
    if (!is_refusal(answer)) {
        client_break_out_of_step(client, "it spoke without being asked");
        return;
    }
    say_all(client, refusal_fate(answer), answer);
    client_judged(client);
    client_finish(client, CLIENT_LOST, "it did not want to see the end of the message");
}

/* --- the dot ---------------------------------------------------------------------------------- */

void client_judge_dot(struct client *client, const struct answer *answer)
{
    if (!is_yes(answer) && !is_refusal(answer)) {
        break_senseless(client, answer); /* it may have taken the message: uncertain */
        return;
    }
    say_all(client, is_yes(answer) ? UPSTREAM_DELIVERED : refusal_fate(answer), answer);
    client_judged(client);
    client_rest(client);
}

/* RFC 2920 section 3.1: DATA of a group was answered 354 although no recipient is left. An empty
 * message for nobody ends the transaction; what the upstream thinks of it concerns no recipient. */
void client_send_lone_dot(struct client *client)
{
    client_say(client, ".");
}

void client_judge_lone_dot(struct client *client, const struct answer *answer)
{
    if (!is_yes(answer) && !is_refusal(answer)) {
        break_senseless(client, answer);
        return;
    }
    client_judged(client);
    client_rest(client);
}

void client_send_rset(struct client *client)
{
    client_say(client, "RSET");
}

void client_judge_rset(struct client *client, const struct answer *answer)
{
    if (!is_yes(answer))
        client->quitting = true; /* it has a state that we cannot clear */
    client_rest(client);
}
