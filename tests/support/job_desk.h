/* job_desk.h - an upstream on a loop, and jobs whose fates a test waits for.
 * Header only: each test that includes it uses most of it. */
#ifndef LATCHPOST_TESTS_JOB_DESK_H
#define LATCHPOST_TESTS_JOB_DESK_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/upstream/upstream.h"

#define DESK_PATIENCE_S 60 /* then the test program is killed: nothing here takes a second */
#define DESK_CONTENT    "From: <a@good.example>\r\nSubject: s\r\n\r\nhello\r\n"

struct job_desk {
    struct loop loop;
    struct resolver *resolver;
    struct upstream *upstream;
    struct buf log; /* every line, each with a newline */
    bool upstream_closed;
    unsigned done; /* jobs that came back */
};

struct desk_job {
    struct upstream_job job;
    struct upstream_recipient recipients[8];
    struct job_desk *desk;
    unsigned done; /* wants to be 1 */
    const struct slice *chunks;
    uint32_t asked;
    bool silent; /* does not answer fetch */
};

static inline void desk_take_log(void *owner, struct slice line)
{
    struct job_desk *desk = owner;

    if (!buf_add(&desk->log, line) || !buf_add_byte(&desk->log, '\n'))
        buf_clear(&desk->log);
}

static inline void desk_open(struct job_desk *desk)
{
    struct why why = { "" };

    alarm(DESK_PATIENCE_S);
    *desk = (struct job_desk){ .done = 0 };
    buf_init(&desk->log, 1 << 20);
    log_divert(desk_take_log, desk);
    if (!loop_init(&desk->loop, &why))
        fail_msg("%s", why.text);
    desk->resolver = resolver_new(&desk->loop);
}

/* One turn; waits for something to happen. */
static inline void desk_turn(struct job_desk *desk)
{
    uv_run(&desk->loop.uv, UV_RUN_ONCE);
}

#define DESK_UNTIL(desk, condition)                                                                \
    while (!(condition))                                                                           \
    desk_turn(desk)

static inline void desk_on_closed(void *owner)
{
    ((struct job_desk *)owner)->upstream_closed = true;
}

static inline void desk_close_upstream(struct job_desk *desk)
{
    if (desk->upstream == NULL)
        return;
    desk->upstream_closed = false;
    upstream_close(desk->upstream, desk_on_closed, desk);
    DESK_UNTIL(desk, desk->upstream_closed);
    desk->upstream = NULL;
}

/* The fakes have been stopped. */
static inline void desk_close(struct job_desk *desk)
{
    desk_close_upstream(desk);
    resolver_free(desk->resolver);
    loop_close(&desk->loop);
    log_divert(NULL, NULL);
    buf_free(&desk->log);
    alarm(0);
}

static inline void desk_open_upstream(struct job_desk *desk, const struct upstream_options *options)
{
    struct why why = { "" };

    desk->upstream = upstream_open(&desk->loop, desk->resolver, options, &why);
    if (desk->upstream == NULL)
        fail_msg("%s", why.text);
}

static inline bool desk_logged(const struct job_desk *desk, const char *words)
{
    struct slice log = buf_slice(&desk->log);

    return log.len > 0 && memmem(log.data, log.len, words, strlen(words)) != NULL;
}

/* Timeouts that nothing in a test should meet. */
static inline struct upstream_options desk_options(uint16_t port)
{
    return (struct upstream_options){
        .name = "main",
        .host = "127.0.0.1",
        .port = port,
        .tls = UPSTREAM_TLS_NONE,
        .tls_verify = true,
        .helo = "relay.good.example",
        .max_connections = 1,
        .max_messages_per_connection = 100,
        .failures_max = 3,
        .rest_first_ms = 5000,
        .rest_longest_ms = 60000,
        .rest_login_ms = 60000,
        .timeouts = { 30000, 30000, 30000, 30000, 30000, 30000, 30000 },
    };
}

/* --- jobs ------------------------------------------------------------------------------------- */

static inline void desk_on_done(void *owner, struct upstream_job *job)
{
    struct desk_job *asked = owner;

    if (job != &asked->job)
        abort();
    asked->done++;
    asked->desk->done++;
}

/* In the chunk itself, an empty one for what is not there. */
static inline void desk_give_chunk(struct desk_job *asked, uint32_t seq)
{
    struct buf chunk;

    buf_init(&chunk, 64 * 1024);
    if (seq < asked->job.chunks && !buf_add(&chunk, asked->chunks[seq]))
        abort();
    upstream_job_chunk(&asked->job, &chunk);
}

struct desk_errand { /* an answer that comes with a later turn */
    struct loop_task task;
    struct desk_job *asked;
    uint32_t seq;
};

static inline void desk_run_errand(void *owner)
{
    struct desk_errand *errand = owner;

    desk_give_chunk(errand->asked, errand->seq);
    free(errand);
}

static inline void desk_on_fetch(void *owner, struct upstream_job *job, uint32_t seq)
{
    struct desk_job *asked = owner;
    struct desk_errand *errand;

    (void)job;
    asked->asked++;
    if (asked->silent)
        return;
    errand = xcalloc(1, sizeof(*errand));
    errand->asked = asked;
    errand->seq = seq;
    loop_task_init(&errand->task, desk_run_errand, errand);
    loop_later(&asked->desk->loop, &errand->task);
}

/* To r1@dest.example, r2@..., in so many recipients. */
static inline void desk_job_init(struct job_desk *desk, struct desk_job *asked, size_t recipients)
{
    static const char *const addresses[] = {
        "r1@dest.example", "r2@dest.example", "r3@dest.example", "r4@dest.example",
        "r5@dest.example", "r6@dest.example", "r7@dest.example", "r8@dest.example",
    };

    *asked = (struct desk_job){ .desk = desk };
    for (size_t i = 0; i < recipients; i++)
        asked->recipients[i].address = addresses[i];
    asked->job = (struct upstream_job){
        .id = "01h455vb4pex5",
        .sender = "a@good.example",
        .recipients = asked->recipients,
        .recipient_count = recipients,
        .content = SLICE(DESK_CONTENT),
        .size = sizeof(DESK_CONTENT) - 1,
        .fetch = desk_on_fetch,
        .done = desk_on_done,
        .owner = asked,
    };
}

static inline void desk_deliver(struct job_desk *desk, struct desk_job *asked)
{
    upstream_deliver(desk->upstream, &asked->job);
    if (asked->done != 0)
        fail_msg("a job was reported from inside upstream_deliver()");
}

static inline void desk_job_free(struct desk_job *asked)
{
    if (asked->done != 1)
        fail_msg("a job was reported %u times", asked->done);
    upstream_job_clear(&asked->job);
}

/* Delivers it and waits. */
static inline void desk_send(struct job_desk *desk, struct desk_job *asked)
{
    desk_deliver(desk, asked);
    DESK_UNTIL(desk, asked->done > 0);
}

#endif
