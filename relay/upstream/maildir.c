/* maildir.c - an upstream for trying things out: messages land as files.
 * PATH/{tmp,new,cur} are made when missing (0700). A message becomes one file in new/, named
 * <unix time>.<message id>.<host name>: written in tmp/, synced, renamed, and new/ synced, so that
 * a message that was reported as delivered survives a power cut.
 *
 * The file holds the envelope in front of the message, because nothing else would keep it: one line
 * "Return-Path: <sender>", then one line "X-Envelope-To: <address>" for each recipient, each ended
 * by CRLF; then the content byte for byte, with its CRLF line ends and without dot-stuffing.
 *
 * The loop's thread owns everything but a file's fields between uv_queue_work() and on_worked(),
 * when libuv's thread pool does one step: make and write, write on, or complete. At most
 * WRITING_MAX files are under way. A disk that fails or is full makes the recipients
 * UPSTREAM_LATER.
 *
 * A step on a disk that hangs (a network's, say) cannot be stopped. After the time that any other
 * upstream has for answering the final dot, its message is given up by us: uncertain, when the step
 * may still complete the file. The thread keeps its file until it comes back, so it touches nothing
 * of the job; and while all places are taken by such files, the upstream is not usable. */
#include "relay/upstream/maildir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/upstream/upstream_priv.h"

#define WRITING_MAX   4
#define NAME_BYTES    320
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
    char host[HOST_NAME_MAX * 4 + 1]; /* with '/' and ':' as the Maildir rules write them */
};

struct file {         /* one message on its way */
    struct list node; /* in maildir->files */
    uv_work_t work;
    struct maildir *maildir;
    struct upstream_job *job; /* NULL: given up */
    uint32_t seq;             /* the next chunk to ask for */
    int64_t step_began_ms;    /* monotonic; 0: no step runs */
    /* for the thread, in one step: */
    struct buf bytes; /* the lines in front and a small content, or a chunk */
    bool complete;    /* this step writes the last bytes */
    int fd;           /* -1: not made yet */
    char name[NAME_BYTES];
    struct why why; /* not empty: it has failed */
};

static struct maildir *maildir_of(const struct upstream *upstream)
{
    return upstream->self;
}

static const char *root_of(const struct maildir *maildir)
{
    return maildir->upstream->options.maildir;
}

/* --- in the thread pool ----------------------------------------------------------------------- */

static bool sub_path(const char *root, const char *sub, char path[static PATH_MAX], struct why *why)
{
    if (snprintf(path, PATH_MAX, "%s%s", root, sub) >= PATH_MAX)
        return why_set(why, "maildir %s: the path is too long", root);
    return true;
}

static bool sync_folder(const char *root, const char *sub, struct why *why)
{
    char path[PATH_MAX];

    if (!sub_path(root, sub, path, why))
        return false;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        why_errno(why, errno, "cannot sync %s", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool make_folder(const char *root, const char *sub, bool *made, struct why *why)
{
    char path[PATH_MAX];

    if (!sub_path(root, sub, path, why))
        return false;
    if (mkdir(path, 0700) == 0)
        *made = true;
    else if (errno != EEXIST)
        return why_errno(why, errno, "cannot make the folder %s", path);
    return true;
}

static bool make_folders(const char *root, struct why *why)
{
    static const char *const subs[] = { "", "/tmp", "/new", "/cur" };
    bool made = false;

    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (!make_folder(root, subs[i], &made, why))
            return false;
    return !made || (sync_folder(root, "", why) && sync_folder(root, "/..", why));
}

static bool path_of(const struct file *file, const char *sub, char path[static PATH_MAX],
                    struct why *why)
{
    if (snprintf(path, PATH_MAX, "%s/%s/%s", root_of(file->maildir), sub, file->name) >= PATH_MAX)
        return why_set(why, "maildir %s: the path is too long", root_of(file->maildir));
    return true;
}

static bool create(struct file *file, struct why *why)
{
    char path[PATH_MAX];

    if (!make_folders(root_of(file->maildir), why) || !path_of(file, "tmp", path, why))
        return false;
    /* What a crash left under this name is of the same message: it may be overwritten. */
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return file->fd >= 0 || why_errno(why, errno, "cannot create %s", path);
}

static bool write_all(struct file *file, struct slice bytes, struct why *why)
{
    while (bytes.len > 0) {
        ssize_t written = write(file->fd, bytes.data, bytes.len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return why_errno(why, errno, "cannot write into maildir %s", root_of(file->maildir));
        bytes = slice_from(bytes, (size_t)written);
    }
    return true;
}

static bool complete(struct file *file, struct why *why)
{
    char from[PATH_MAX], to[PATH_MAX];
    const char *root = root_of(file->maildir);

    if (fsync(file->fd) != 0)
        return why_errno(why, errno, "cannot sync a file in maildir %s", root);
    int closed = close(file->fd);

    file->fd = -1;
    if (closed != 0)
        return why_errno(why, errno, "cannot close a file in maildir %s", root);
    if (!path_of(file, "tmp", from, why) || !path_of(file, "new", to, why))
        return false;
    if (rename(from, to) != 0)
        return why_errno(why, errno, "cannot rename %s", from);
    return sync_folder(root, "/new", why);
}

static void remove_unfinished(struct file *file)
{
    char path[PATH_MAX];

    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
    if (path_of(file, "tmp", path, NULL))
        unlink(path); /* what cannot be removed harms nobody: readers look into new/ only */
}

static void on_work(uv_work_t *work)
{
    struct file *file = container_of(work, struct file, work);
    bool ok = (file->fd >= 0 || create(file, &file->why)) &&
              write_all(file, buf_slice(&file->bytes), &file->why);

    if (ok && file->complete)
        ok = complete(file, &file->why);
    if (!ok)
        remove_unfinished(file);
}

static void on_discard(uv_work_t *work)
{
    remove_unfinished(container_of(work, struct file, work));
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

static void finish(struct file *file)
{
    upstream_job_finish(file->maildir->upstream, file->job);
    file_free(file);
}

static void on_worked(uv_work_t *work, int status);

static void step(struct file *file)
{
    file->step_began_ms = clock_mono_ms();
    /* It fails only without a work function. */
    uv_queue_work(&file->maildir->upstream->loop->uv, &file->work, on_work, on_worked);
}

/* --- a disk that hangs ------------------------------------------------------------------------ */

static void leave_job(struct file *file, enum upstream_fate fate)
{
    struct upstream_job *job = file->job;

    upstream_job_say(job, fate, 0, "4.4.2",
                     SLICE("the disk of the maildir did not answer in time"));
    file->job = NULL;
    file->maildir->hanging++;
    upstream_job_finish(file->maildir->upstream, job);
}

static void give_up(struct file *file)
{
    if (uv_cancel((uv_req_t *)&file->work) == 0)
        return; /* it had not begun: on_worked() comes, and says so */
    leave_job(file, file->complete ? UPSTREAM_UNCERTAIN : UPSTREAM_LATER);
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

static void on_discarded(uv_work_t *work, int status)
{
    (void)status;
    file_free(container_of(work, struct file, work));
}

/* Its thread came back after all. What is not complete belongs to nobody. */
static void end_given_up(struct file *file)
{
    file->maildir->hanging--;
    if (file->fd >= 0)
        uv_queue_work(&file->maildir->upstream->loop->uv, &file->work, on_discard, on_discarded);
    else
        file_free(file);
}

/* --- step by step ----------------------------------------------------------------------------- */

static void chunk_here(struct upstream_job *job, struct buf *chunk)
{
    struct file *file = job->transport;
    bool lost = buf_len(chunk) == 0;

    buf_move(&file->bytes, chunk);
    file->complete = file->seq == job->chunks;
    if (lost)
        why_set(&file->why, "our own queue could not read the content");
    else if (file->maildir->aborted)
        why_set(&file->why, "stopped");
    if (file->why.text[0] == '\0') {
        step(file);
        return;
    }
    remove_unfinished(file); /* two quick calls; not worth a step */
    upstream_job_say(job, lost ? UPSTREAM_LATER : UPSTREAM_UNTRIED, 0, "4.3.0",
                     slice_of(file->why.text));
    finish(file);
}

static void on_worked(uv_work_t *work, int status)
{
    struct file *file = container_of(work, struct file, work);
    struct upstream_job *job = file->job;

    file->step_began_ms = 0;
    if (job == NULL) {
        end_given_up(file);
        return;
    }
    if (status == UV_ECANCELED) { /* by give_up(): the threads hang elsewhere */
        leave_job(file, UPSTREAM_LATER);
        end_given_up(file);
        return;
    }
    if (file->why.text[0] == '\0' && !file->complete) {
        upstream_job_fetch(job, file->seq++, file, chunk_here);
        return;
    }
    if (file->why.text[0] != '\0')
        upstream_job_say(job, UPSTREAM_LATER, 0, "4.3.0", slice_of(file->why.text));
    else
        upstream_job_say(job, UPSTREAM_DELIVERED, 0, "2.0.0", slice_of(file->name));
    finish(file);
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
    file->fd = -1;
    file->complete = job->chunks == 0;
    snprintf(file->name, sizeof(file->name), "%lld.%s.%s", (long long)clock_wall_s(), job->id,
             maildir->host);
    write_envelope(file);
    list_add_tail(&maildir->files, &file->node);
    if (maildir->writing++ == 0)
        loop_timer_start(&maildir->timer, TICK_MS, TICK_MS);
    step(file);
}

/* --- probes ----------------------------------------------------------------------------------- */

struct probe {
    struct list node; /* in maildir->probes once it is done */
    uv_work_t work;
    struct maildir *maildir;
    upstream_probe_cb *done;
    void *owner;
    bool ok;
    struct why why;
};

static void on_probe_work(uv_work_t *work)
{
    struct probe *probe = container_of(work, struct probe, work);
    const char *root = root_of(probe->maildir);

    probe->ok = make_folders(root, &probe->why) && sync_folder(root, "/new", &probe->why);
    if (probe->ok && access(root, W_OK | X_OK) != 0)
        probe->ok = why_errno(&probe->why, errno, "cannot write into maildir %s", root);
    if (probe->ok)
        why_set(&probe->why, "maildir %s can be written", root);
}

static void on_probe_worked(uv_work_t *work, int status)
{
    struct probe *probe = container_of(work, struct probe, work);

    (void)status;
    probe->maildir->probing--;
    list_add_tail(&probe->maildir->probes, &probe->node);
    upstream_wake(probe->maildir->upstream);
}

static void maildir_probe(struct upstream *upstream, upstream_probe_cb *done, void *owner)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));

    probe->maildir = maildir_of(upstream);
    probe->done = done;
    probe->owner = owner;
    probe->maildir->probing++;
    uv_queue_work(&upstream->loop->uv, &probe->work, on_probe_work, on_probe_worked);
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

/* A host name in a file name may hold neither '/' nor ':' (they are part of the Maildir syntax). */
static void learn_host(struct maildir *maildir)
{
    char name[HOST_NAME_MAX + 1] = "localhost";
    size_t len = 0;

    if (gethostname(name, sizeof(name)) != 0)
        snprintf(name, sizeof(name), "localhost");
    name[sizeof(name) - 1] = '\0';
    for (const char *c = name; *c != '\0'; c++) {
        const char *as = *c == '/' ? "\\057" : *c == ':' ? "\\072" : NULL;
        size_t room = sizeof(maildir->host) - len;

        len += (size_t)(as != NULL ? snprintf(maildir->host + len, room, "%s", as)
                                   : snprintf(maildir->host + len, room, "%c", *c));
    }
}

static bool maildir_open(struct upstream *upstream, struct why *why)
{
    struct maildir *maildir = xcalloc(1, sizeof(*maildir));

    (void)why; /* folders are made when the first message comes, and looked at by the probe */
    maildir->upstream = upstream;
    maildir->waiting = turns_new();
    list_init(&maildir->probes);
    list_init(&maildir->files);
    loop_timer_init(upstream->loop, &maildir->timer, on_tick, maildir);
    learn_host(maildir);
    upstream->self = maildir;
    return true;
}

static void maildir_deliver(struct upstream *upstream, struct upstream_job *job)
{
    upstream_jobs_add(maildir_of(upstream)->waiting, job);
}

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
}

static void on_timer_closed(void *owner)
{
    struct maildir *maildir = owner;

    maildir->timer_closed = true;
    upstream_wake(maildir->upstream);
}

static void maildir_close(struct upstream *upstream)
{
    struct maildir *maildir = maildir_of(upstream);

    upstream_jobs_return(upstream, maildir->waiting, "the upstream is being closed");
    loop_timer_close(&maildir->timer, on_timer_closed);
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
