/* client_direct.c - the endpoints in this process, with the daemon stopped.
 * The stores are opened as the daemon would, and the queue is stepped by whoever waits for an
 * answer. The loop is there for the DNS alone: when an answer waits for that, it is turned. While a
 * name server is asked no daemon can start, so that ends in time (dns.timeout). */
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/cli/client_priv.h"
#include "relay/config.h"
#include "relay/http/endpoints.h"

struct direct {
    struct client_way way; /* first */
    struct config *config;
    int lock;
    struct auth *auth;
    struct queue *queue;
    struct mailbox answers;
    struct loop loop;
    bool has_mailbox, has_loop;
    struct txt_resolver *txt;
    struct api api;
};

static void on_answer(void *owner, const struct api_answer *answer)
{
    struct client_reply *reply = owner;

    if (buf_add(&reply->body, answer->body))
        reply->status = answer->status;
    else
        reply->status = 500;
}

static int ask(struct client_way *way, const struct client_question *question,
               struct client_reply *reply)
{
    struct direct *direct = (struct direct *)way;
    struct slice rest = slice_of(question->target);
    struct api_caller caller = { .is_operator = true, .in_process = true };
    struct api_request request = {
        .method = slice_of(question->method),
        .path = slice_cut(&rest, '?'),
        .body = slice_of(question->body),
        .content_type = SLICE("application/json"),
    };

    request.query = rest;
    void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* a name server may hang up */
    api_call(&direct->api, &caller, &request, on_answer, reply);
    for (;;) {
        queue_step(direct->queue);
        mailbox_drain(&direct->answers);
        if (reply->status != 0)
            break;
        loop_turn(&direct->loop);
    }
    signal(SIGPIPE, before);
    return EX_OK;
}

static void close_direct(struct client_way *way)
{
    struct direct *direct = (struct direct *)way;

    txt_resolver_free(direct->txt);
    if (direct->queue != NULL)
        queue_stop(direct->queue);
    if (direct->has_mailbox) {
        while (mailbox_drain(&direct->answers) > 0) {
        }
        mailbox_destroy(&direct->answers);
    }
    queue_free(direct->queue);
    if (direct->auth != NULL)
        auth_flush(direct->auth);
    auth_close(direct->auth);
    if (direct->has_loop)
        loop_close(&direct->loop);
    config_free(direct->config);
    close(direct->lock); /* only now may a daemon start */
    free(direct);
}

static void wake_nobody(void *owner)
{
    (void)owner; /* the asker looks by itself */
}

static bool open_stores(struct direct *direct, struct why *why)
{
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);

    direct->has_loop = loop_init(&direct->loop, why); /* ignores SIGPIPE, which printing needs */
    signal(SIGPIPE, before);
    if (!direct->has_loop || !auth_open(&direct->auth, &direct->config->auth, why) ||
        !queue_open(&direct->queue, &direct->config->queue, why))
        return false;
    mailbox_init(&direct->answers, wake_nobody, NULL);
    direct->has_mailbox = true;
    direct->txt = txt_resolver_new(&direct->loop, &direct->config->dns);
    direct->api = (struct api){
        .auth = direct->auth,
        .queue = direct->queue,
        .answers = &direct->answers,
        .txt = direct->txt,
        .version = LATCHPOST_VERSION,
    };
    return true;
}

int client_open_direct(struct client_way **way, struct config **config, int lock)
{
    struct direct *direct = xcalloc(1, sizeof(*direct));
    struct why why = { "" };

    direct->way =
        (struct client_way){ .ask = ask, .close = close_direct, .answer_max = CLIENT_ANSWER_MAX };
    direct->config = *config;
    *config = NULL;
    direct->lock = lock;
    if (open_stores(direct, &why)) {
        *way = &direct->way;
        return EX_OK;
    }
    close_direct(&direct->way);
    return cli_fail(EX_UNAVAILABLE, "%s", why.text);
}
