/* upstream.c - one configured mail service, as seen from one loop: which kind is it, and when do
 * its owners hear of their jobs? Belongs to the loop's thread. Nothing is reported from inside a
 * call: finished jobs wait for the upstream's turn, a task of the loop. So neither the kinds nor
 * their owners need to fear that the world changes while they are in the middle of something. */
#include "relay/upstream/upstream.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/upstream/answer.h"
#include "relay/upstream/gate.h"
#include "relay/upstream/maildir.h"
#include "relay/upstream/pool.h"
#include "relay/upstream/stuff.h"
#include "relay/upstream/upstream_priv.h"

#define PASSWORD_MAX (8 * 1024)

/* --- its own copy of the options -------------------------------------------------------------- */

/* The texts that are plain copies; the password is kept apart, because it must be wiped. */
static const size_t texts[] = {
    offsetof(struct upstream_options, name),
    offsetof(struct upstream_options, maildir),
    offsetof(struct upstream_options, host),
    offsetof(struct upstream_options, ca_file),
    offsetof(struct upstream_options, client_certificate),
    offsetof(struct upstream_options, client_key),
    offsetof(struct upstream_options, username),
    offsetof(struct upstream_options, helo),
};

static char **text_at(struct upstream_options *options, size_t i)
{
    return (char **)(void *)((char *)options + texts[i]);
}

static bool complain_of_password(const struct upstream_options *options, struct why *why)
{
    return why_set(why, "upstream %s: the password is longer than %d bytes", options->name,
                   PASSWORD_MAX - 1);
}

static bool copy_options(struct upstream *upstream, const struct upstream_options *options,
                         struct why *why)
{
    upstream->options = *options;
    upstream->options.password = NULL;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (*text_at(&upstream->options, i) != NULL)
            *text_at(&upstream->options, i) = xstrdup(*text_at(&upstream->options, i));
    buf_init(&upstream->password, PASSWORD_MAX);
    if (options->password == NULL)
        return true;
    if (!buf_add(&upstream->password, slice_make(options->password, strlen(options->password) + 1)))
        return complain_of_password(options, why);
    upstream->options.password = buf_slice(&upstream->password).data;
    return true;
}

/* --- what all loops share --------------------------------------------------------------------- */

static struct gate_options gate_options(const struct upstream_options *options)
{
    return (struct gate_options){
        .max_connections = options->max_connections,
        .rate = options->rate,
        .breaker = { .failures_max = options->failures_max,
                     .rest_first_ms = (int64_t)options->rest_first_ms,
                     .rest_longest_ms = (int64_t)options->rest_longest_ms,
                     .rest_login_ms = (int64_t)options->rest_login_ms },
    };
}

struct gate *upstream_gate_new(const struct upstream_options *options)
{
    struct gate_options gate = gate_options(options);

    return gate_new(&gate);
}

void upstream_gate_configure(struct gate *gate, const struct upstream_options *options)
{
    struct gate_options changed = gate_options(options);

    gate_configure(gate, &changed);
}

/* --- life ------------------------------------------------------------------------------------- */

static const struct upstream_kind *kind_of(const struct upstream_options *options)
{
    return options->maildir != NULL ? &maildir_kind : &pool_kind;
}

bool upstream_check(const struct upstream_options *options, struct why *why)
{
    const struct upstream_kind *kind = kind_of(options);

    if (options->password != NULL && strlen(options->password) >= PASSWORD_MAX)
        return complain_of_password(options, why);
    return kind->check == NULL || kind->check(options, why);
}

static void upstream_free(struct upstream *upstream)
{
    upstream->kind->free(upstream);
    loop_task_cancel(&upstream->turn);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(*text_at(&upstream->options, i));
    buf_wipe(&upstream->password);
    free(upstream);
}

static void end(struct upstream *upstream)
{
    void (*closed)(void *owner) = upstream->closed;
    void *closed_owner = upstream->owner;

    upstream_free(upstream);
    closed(closed_owner);
}

static void report_finished(struct upstream *upstream)
{
    struct list jobs;
    struct list *node;

    list_init(&jobs);
    list_splice_tail(&jobs, &upstream->finished);
    while ((node = list_take_head(&jobs)) != NULL) {
        struct upstream_job *job = list_entry(node, struct upstream_job, node);

        job->done(job->owner, job);
    }
}

static void on_turn(void *owner)
{
    struct upstream *upstream = owner;

    report_finished(upstream);
    upstream->kind->turn(upstream);
    if (upstream->closing && upstream->late == 0 && list_is_empty(&upstream->finished) &&
        upstream->kind->is_empty(upstream))
        end(upstream);
}

void upstream_wake(struct upstream *upstream)
{
    loop_later(upstream->loop, &upstream->turn);
}

struct upstream *upstream_open(struct loop *loop, struct resolver *resolver,
                               const struct upstream_options *options, struct why *why)
{
    struct upstream *upstream = xcalloc(1, sizeof(*upstream));

    upstream->loop = loop;
    upstream->resolver = resolver;
    upstream->kind = kind_of(options);
    loop_task_init(&upstream->turn, on_turn, upstream);
    list_init(&upstream->finished);
    if (!copy_options(upstream, options, why) || !upstream->kind->open(upstream, why)) {
        upstream_free(upstream);
        return NULL;
    }
    return upstream;
}

void upstream_close(struct upstream *upstream, void (*closed)(void *owner), void *owner)
{
    assert(!upstream->closing);
    upstream->closing = true;
    upstream->closed = closed;
    upstream->owner = owner;
    upstream->kind->close(upstream);
    upstream_wake(upstream);
}

void upstream_abort(struct upstream *upstream)
{
    assert(upstream->closing);
    upstream->kind->abort(upstream);
    upstream_wake(upstream);
}

const char *upstream_name(const struct upstream *upstream)
{
    return upstream->options.name;
}

bool upstream_is_usable(const struct upstream *upstream)
{
    return !upstream->closing && !upstream->held && upstream->kind->is_usable(upstream);
}

const char upstream_held_text[] = "the upstream is held by the operator";

/* The kinds give back what waits in their next turn. */
void upstream_hold(struct upstream *upstream, bool hold)
{
    upstream->held = hold;
    upstream_wake(upstream);
}

bool upstream_is_held(const struct upstream *upstream)
{
    return upstream->held;
}

void upstream_look(const struct upstream *upstream, struct upstream_view *view)
{
    *view = (struct upstream_view){ .name = upstream_name(upstream) };
    upstream->kind->look(upstream, view);
    if (upstream->held)
        view->condition = UPSTREAM_HELD;
}

void upstream_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner)
{
    upstream->kind->probe(upstream, done, owner);
}

/* --- jobs ------------------------------------------------------------------------------------- */

void upstream_deliver(struct upstream *upstream, struct upstream_job *job)
{
    assert(!upstream->closing && !job->fetching);
    upstream_job_clear(job);
    list_init(&job->node);
    job->retried = false;
    upstream->kind->deliver(upstream, job);
    upstream_wake(upstream);
}

/* The chunk of a job that finished meanwhile: the last thing its end has waited for. */
static void late_chunk(struct upstream_job *job, struct buf *chunk)
{
    struct upstream *upstream = job->transport;

    buf_free(chunk);
    upstream->late--;
    upstream_job_finish(upstream, job);
}

void upstream_job_finish(struct upstream *upstream, struct upstream_job *job)
{
    list_remove(&job->node);
    if (job->fetching) {
        upstream->late++;
        job->transport = upstream;
        job->chunk_here = late_chunk;
        return;
    }
    list_add_tail(&upstream->finished, &job->node);
    upstream_wake(upstream);
}

static struct slice name_or_none(const char *name)
{
    return name == NULL ? slice_make(NULL, 0) : slice_of(name);
}

void upstream_jobs_add(struct turns *jobs, struct upstream_job *job)
{
    turns_add(jobs, &job->node, name_or_none(job->account), name_or_none(job->key));
}

void upstream_jobs_add_first(struct turns *jobs, struct upstream_job *job)
{
    turns_add_first(jobs, &job->node, name_or_none(job->account), name_or_none(job->key));
}

struct upstream_job *upstream_jobs_take(struct turns *jobs)
{
    struct list *node = turns_take(jobs);

    return node == NULL ? NULL : list_entry(node, struct upstream_job, node);
}

void upstream_jobs_return(struct upstream *upstream, struct turns *jobs, const char *text)
{
    struct upstream_job *job;

    while ((job = upstream_jobs_take(jobs)) != NULL) {
        upstream_job_say(job, UPSTREAM_UNTRIED, 0, "4.4.1", slice_of(text));
        upstream_job_finish(upstream, job);
    }
}

void upstream_job_fetch(struct upstream_job *job, uint32_t seq, void *transport,
                        void (*chunk_here)(struct upstream_job *job, struct buf *chunk))
{
    assert(!job->fetching);
    job->fetching = true;
    job->transport = transport;
    job->chunk_here = chunk_here;
    job->fetch(job->owner, job, seq);
}

void upstream_job_chunk(struct upstream_job *job, struct buf *chunk)
{
    assert(job->fetching);
    job->fetching = false;
    job->chunk_here(job, chunk);
}

void upstream_recipient_say(struct upstream_recipient *recipient, enum upstream_fate fate, int code,
                            const char *enhanced, struct slice text)
{
    char words[ANSWER_TEXT_BYTES];
    size_t len = answer_clean(text, words, sizeof(words));

    recipient->fate = fate;
    recipient->code = code;
    answer_clean(slice_of(enhanced), recipient->enhanced, sizeof(recipient->enhanced));
    free(recipient->text);
    recipient->text = xstrndup(words, len);
}

void upstream_job_say(struct upstream_job *job, enum upstream_fate fate, int code,
                      const char *enhanced, struct slice text)
{
    for (size_t i = 0; i < job->recipient_count; i++)
        if (job->recipients[i].fate == UPSTREAM_UNTRIED)
            upstream_recipient_say(&job->recipients[i], fate, code, enhanced, text);
}

void upstream_job_clear(struct upstream_job *job)
{
    for (size_t i = 0; i < job->recipient_count; i++) {
        struct upstream_recipient *recipient = &job->recipients[i];

        free(recipient->text);
        recipient->text = NULL;
        recipient->fate = UPSTREAM_UNTRIED;
        recipient->code = 0;
        recipient->enhanced[0] = '\0';
    }
}

/* --- what may not leave ----------------------------------------------------------------------- */

void upstream_job_quarantine(struct upstream *upstream, struct upstream_job *job, const char *what)
{
    struct why why = { "" };

    why_set(&why, "quarantined: %s; the stored message is not sent", what);
    LOG(LOG_ERROR, "quarantined", LOG_STR("message", job->id),
        LOG_STR("upstream", upstream_name(upstream)), LOG_STR("reason", what));
    upstream_job_say(job, UPSTREAM_NEVER, 0, "5.6.0", slice_of(why.text));
}

bool upstream_job_bad_envelope(struct upstream *upstream, struct upstream_job *job)
{
    bool bad = !stuff_path_is_safe(slice_of(job->sender));

    for (size_t i = 0; i < job->recipient_count; i++) {
        struct slice address = slice_of(job->recipients[i].address);

        if (address.len == 0 || !stuff_path_is_safe(address))
            bad = true;
    }
    if (bad)
        upstream_job_quarantine(upstream, job, "an address of the envelope cannot be a path");
    return bad;
}
