/* maildir.c - an upstream for trying things out: messages land as files (maildir_file.c).
 *
 * The file holds the envelope in front of the message, because nothing else would keep it: one line
 * "Return-Path: <sender>", then one line "X-Envelope-To: <address>" for each recipient, each ended
 * by CRLF; then the content byte for byte, with its CRLF line ends and without dot-stuffing.
 *
 * The loop's thread owns everything but a file's fields while its errand runs, which is one step:
 * make and write, write on, or complete. At most WRITING_MAX files are under way. A disk that fails
 * or is full makes the recipients UPSTREAM_LATER.
 *
 * A step on a disk that hangs (a network's, say) cannot be stopped. After the time that any other
 * upstream has for answering the final dot, its message is given up by us: uncertain, when the step
 * may still complete the file. The thread keeps its file until it comes back, so it touches nothing
 * of the job; and while all places are taken by such files, the upstream is not usable. */
#include "relay/upstream/maildir.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/net/errand.h"
#include "relay/upstream/maildir_file.h"
#include "relay/upstream/upstream_priv.h"

#define WRITING_MAX   4
#define TICK_MS       1000
#define HEAD_PER_RCPT 600 /* "X-Envelope-To: <" and a path that stuff_path_is_safe() let pass */

struct maildir {
    struct upstream *upstream;
    struct turns *waiting; /* jobs */
    struct list files;     /* under way */
    struct list probes;
    size_t writing;          /* how many files */
    size_t hanging;          /* of them were given up, and their thread has not come back */
    struct loop_timer timer; /* runs while files are under way */
    bool timer_closed;
    size_t probing; /* probes whose thread runs */
    bool aborted;
};

struct file {         /* one message on its way */
    struct list node; /* in maildir->files */
    struct errand errand;
    struct maildir *maildir;
    struct upstream_job *job; /* NULL: given up */
    uint32_t seq;             /* the next chunk to ask for */
    int64_t step_began_ms;    /* monotonic; 0: no step runs */
    /* for the thread, in one step: */
    struct maildir_file disk;
    struct buf bytes; /* the lines in front and a small content, or a chunk */
    bool complete;    /* this step writes the last bytes */
    bool ok;          /* it went well; else why */
    struct why why;
};

static struct maildir *maildir_of(const struct upstream *upstream)
{
    return upstream->self;
}

static const char *root_of(const struct maildir *maildir)
{
    return maildir->upstream->options.maildir;
}

/* --- beside the loop -------------------------------------------------------------------------- */

static void write_bytes(struct errand *errand)
{
    struct file *file = container_of(errand, struct file, errand);

    file->ok = maildir_file_write(&file->disk, buf_slice(&file->bytes), file->complete, &file->why);
}

static void discard(struct errand *errand)
{
    maildir_file_remove(&container_of(errand, struct file, errand)->disk);
}

/* --- on the loop ------------------------------------------------------------------------------ */

static void file_free(struct file *file)
{
    struct maildir *maildir = file->maildir;

    list_remove(&file->node);
    if (--maildir->writing == 0)
        loop_timer_stop(&maildir->timer);
    upstream_wake(maildir->upstream);
    buf_free(&file->bytes);
    free(file);
}

/* Hands the job back: its recipients have their fates. */
static void finish(struct file *file)
{
    upstream_job_finish(file->maildir->upstream, file->job);
    file_free(file);
}

static void on_written(struct errand *errand);

static void step(struct file *file)
{
    struct loop *loop = file->maildir->upstream->loop;

    file->step_began_ms = clock_mono_ms();
    if (errand_start(loop, &file->errand, write_bytes, on_written))
        return;
    maildir_file_remove(&file->disk); /* two quick calls at most, like those of chunk_here() */
    upstream_job_say(file->job, UPSTREAM_LATER, 0, "4.3.0", SLICE("no thread can be started"));
    finish(file);
}

/* --- a disk that hangs ------------------------------------------------------------------------ */

static void give_up(struct file *file)
{
    struct upstream_job *job = file->job;

    upstream_job_say(job, file->complete ? UPSTREAM_UNCERTAIN : UPSTREAM_LATER, 0, "4.4.2",
                     SLICE("the disk of the maildir did not answer in time"));
    file->job = NULL;
    file->maildir->hanging++;
    upstream_job_finish(file->maildir->upstream, job);
}

static void on_tick(void *owner)
{
    struct maildir *maildir = owner;
    int64_t limit_ms = (int64_t)maildir->upstream->options.timeouts.dot;
    int64_t now_ms = clock_mono_ms();

    list_for_each(node, following, &maildir->files) {
        struct file *file = list_entry(node, struct file, node);
        if (file->job != NULL && file->step_began_ms != 0 && limit_ms > 0 &&
            now_ms - file->step_began_ms >= limit_ms)
            give_up(file);
    }
}

static void on_discarded(struct errand *errand)
{
    file_free(container_of(errand, struct file, errand));
}

/* Its thread came back after all. What is not complete belongs to nobody. */
static void end_given_up(struct file *file)
{
    file->maildir->hanging--;
    if (file->disk.fd >= 0 &&
        errand_start(file->maildir->upstream->loop, &file->errand, discard, on_discarded))
        return;
    if (file->disk.fd >= 0)
        maildir_file_remove(&file->disk);
    file_free(file);
}

/* --- step by step ----------------------------------------------------------------------------- */

static void chunk_here(struct upstream_job *job, struct buf *chunk)
{
    struct file *file = job->transport;
    bool lost = buf_len(chunk) == 0;
    bool aborted = file->maildir->aborted;

    buf_move(&file->bytes, chunk);
    file->complete = file->seq == job->chunks;
    if (!lost && !aborted) {
        step(file);
        return;
    }
    maildir_file_remove(&file->disk); /* two quick calls; not worth an errand */
    upstream_job_say(job, lost ? UPSTREAM_LATER : UPSTREAM_UNTRIED, 0, "4.3.0",
                     lost ? SLICE("our own queue could not read the content") : SLICE("stopped"));
    finish(file);
}

static void on_written(struct errand *errand)
{
    struct file *file = container_of(errand, struct file, errand);
    struct upstream_job *job = file->job;

    file->step_began_ms = 0;
    if (job == NULL) {
        end_given_up(file);
    } else if (!file->ok) {
        upstream_job_say(job, UPSTREAM_LATER, 0, "4.3.0", slice_of(file->why.text));
        finish(file);
    } else if (!file->complete) {
        upstream_job_fetch(job, file->seq++, file, chunk_here);
    } else {
        upstream_job_say(job, UPSTREAM_DELIVERED, 0, "2.0.0", slice_of(file->disk.name));
        finish(file);
    }
}

static void write_envelope(struct file *file)
{
    const struct upstream_job *job = file->job;

    buf_init(&file->bytes, (job->recipient_count + 1) * HEAD_PER_RCPT + job->content.len);
    bool ok = buf_printf(&file->bytes, "Return-Path: <%s>\r\n", job->sender);

    for (size_t i = 0; i < job->recipient_count; i++)
        ok = ok && buf_printf(&file->bytes, "X-Envelope-To: <%s>\r\n", job->recipients[i].address);
    if (job->chunks == 0)
        ok = ok && buf_add(&file->bytes, job->content);
    assert(ok); /* upstream_job_bad_envelope() has bounded the addresses */
}

static void start(struct maildir *maildir, struct upstream_job *job)
{
    if (upstream_job_bad_envelope(maildir->upstream, job)) {
        upstream_job_finish(maildir->upstream, job);
        return;
    }
    struct file *file = xcalloc(1, sizeof(*file));

    file->maildir = maildir;
    file->job = job;
    file->complete = job->chunks == 0;
    maildir_file_init(&file->disk, root_of(maildir), job->id, clock_wall_s());
    write_envelope(file);
    list_add_tail(&maildir->files, &file->node);
    if (maildir->writing++ == 0)
        loop_timer_start(&maildir->timer, TICK_MS, TICK_MS);
    step(file);
}

/* --- probes ----------------------------------------------------------------------------------- */

struct probe {
    struct list node; /* in maildir->probes once it is done */
    struct errand errand;
    struct maildir *maildir;
    upstream_probe_cb *done;
    void *owner;
    bool ok;
    struct why why;
};

static void probe_disk(struct errand *errand)
{
    struct probe *probe = container_of(errand, struct probe, errand);
    const char *root = root_of(probe->maildir);

    probe->ok = maildir_check(root, &probe->why);
    if (probe->ok)
        why_set(&probe->why, "maildir %s can be written", root);
}

static void end_probe(struct probe *probe)
{
    list_add_tail(&probe->maildir->probes, &probe->node);
    upstream_wake(probe->maildir->upstream);
}

static void on_probed(struct errand *errand)
{
    struct probe *probe = container_of(errand, struct probe, errand);

    probe->maildir->probing--;
    end_probe(probe);
}

static void maildir_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));

    probe->maildir = maildir_of(upstream);
    probe->done = done;
    probe->owner = owner;
    if (errand_start(upstream->loop, &probe->errand, probe_disk, on_probed)) {
        probe->maildir->probing++;
        return;
    }
    why_set(&probe->why, "no thread can be started");
    end_probe(probe);
}

static void report_probes(struct maildir *maildir)
{
    struct list *node;

    while ((node = list_take_head(&maildir->probes)) != NULL) {
        struct probe *probe = list_entry(node, struct probe, node);

        probe->done(probe->owner, probe->ok, probe->why.text);
        free(probe);
    }
}

/* --- the kind --------------------------------------------------------------------------------- */

static bool maildir_open(struct upstream *upstream, struct why *why)
{
    struct maildir *maildir = xcalloc(1, sizeof(*maildir));

    (void)why; /* folders are made when the first message comes, and looked at by the probe */
    maildir->upstream = upstream;
    maildir->waiting = turns_new();
    list_init(&maildir->probes);
    list_init(&maildir->files);
    loop_timer_init(upstream->loop, &maildir->timer, on_tick, maildir);
    upstream->self = maildir;
    return true;
}

static void maildir_deliver(struct upstream *upstream, struct upstream_job *job)
{
    upstream_jobs_add(maildir_of(upstream)->waiting, job);
}

static void on_timer_closed(void *owner)
{
    struct maildir *maildir = owner;

    maildir->timer_closed = true;
    upstream_wake(maildir->upstream);
}

/* What is under way at the end is watched until it has ended, or was given up. */
static void maildir_turn(struct upstream *upstream)
{
    struct maildir *maildir = maildir_of(upstream);
    struct upstream_job *job;

    if (upstream->held)
        upstream_jobs_return(upstream, maildir->waiting, upstream_held_text);
    if (maildir->hanging == WRITING_MAX)
        upstream_jobs_return(upstream, maildir->waiting, "the disk of the maildir hangs");
    while (maildir->writing < WRITING_MAX && (job = upstream_jobs_take(maildir->waiting)) != NULL)
        start(maildir, job);
    report_probes(maildir);
    if (upstream->closing && maildir->writing == 0)
        loop_timer_close(&maildir->timer, on_timer_closed);
}

static void maildir_close(struct upstream *upstream)
{
    struct maildir *maildir = maildir_of(upstream);

    upstream_jobs_return(upstream, maildir->waiting, "the upstream is being closed");
}

/* A step that runs cannot be stopped, and lasts as long as the disk does. */
static void maildir_abort(struct upstream *upstream)
{
    maildir_of(upstream)->aborted = true;
}

static bool maildir_is_usable(const struct upstream *upstream)
{
    return maildir_of(upstream)->hanging < WRITING_MAX;
}

static void maildir_look(const struct upstream *upstream, struct upstream_view *view)
{
    view->kind = "maildir";
    if (!maildir_is_usable(upstream)) {
        view->condition = UPSTREAM_RESTING;
        why_set(&view->reason, "its disk hangs");
    }
    view->waiting = turns_count(maildir_of(upstream)->waiting);
}

static bool maildir_is_empty(const struct upstream *upstream)
{
    const struct maildir *maildir = maildir_of(upstream);

    return maildir->timer_closed && maildir->writing == 0 && maildir->probing == 0 &&
           list_is_empty(&maildir->probes);
}

static void maildir_free(struct upstream *upstream)
{
    struct maildir *maildir = maildir_of(upstream);

    if (maildir != NULL)
        turns_free(maildir->waiting);
    free(maildir);
}

const struct upstream_kind maildir_kind = {
    .open = maildir_open,
    .deliver = maildir_deliver,
    .turn = maildir_turn,
    .close = maildir_close,
    .abort = maildir_abort,
    .is_usable = maildir_is_usable,
    .look = maildir_look,
    .is_empty = maildir_is_empty,
    .probe = maildir_probe,
    .free = maildir_free,
};
