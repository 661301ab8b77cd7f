/* queue_bench.c - how many messages live in a second? Accepted, handed over, delivered, forgotten.
 *
 *     queue_bench [CLIENTS [MESSAGES [SIZE [RETENTION_S [DEPTH]]]]]      64 200000 5000 0 0
 *
 * CLIENTS closed loops, shared by two threads: each submits a message with a lease, waits for the
 * acknowledgement, settles it as sent, waits, and begins again. DEPTH messages stand in the queue
 * all the while. Prints lives per second, the latency of the acknowledgement, and CPU time. */
#include <inttypes.h>
#include <sys/resource.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "tests/support/queue_desk.h"

#define THREADS 2

struct bench {
    struct queue *queue;
    long messages, size;
    int64_t *latency_us; /* one place a message */
};

struct loop { /* one thread */
    struct bench *bench;
    struct desk desk;
    long first, next, end; /* its messages */
    long clients, ended;
    char *text;
};

struct client {
    struct loop *loop;
    long number;
    int64_t began_us;
};

static void submit(struct client *client);

static void on_settled(void *owner, enum queue_result result)
{
    (void)result;
    submit(owner);
}

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct client *client = owner;
    struct bench *bench = client->loop->bench;

    if (result != QUEUE_OK || message == NULL)
        abort();
    bench->latency_us[client->number] = clock_mono_us() - client->began_us;
    queue_recipient_say(&message->recipients[0], QUEUE_SENT, 250, "2.0.0", SLICE("ok"));
    queue_settle(bench->queue, &message, "main", on_settled, client, &client->loop->desk.box);
}

static void submit(struct client *client)
{
    struct loop *loop = client->loop;

    if (loop->next == loop->end) {
        loop->ended++;
        return;
    }
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");
    desk_write(message, slice_make(loop->text, (size_t)loop->bench->size));
    client->number = loop->next++;
    client->began_us = clock_mono_us();
    queue_submit(loop->bench->queue, &(struct queue_submit){ .message = &message,
                                                             .lease = true,
                                                             .cb = on_submitted,
                                                             .owner = client,
                                                             .answers = &loop->desk.box });
}

static void *run_loop(void *owner)
{
    struct loop *loop = owner;
    struct client *clients = xcalloc((size_t)loop->clients, sizeof(*clients));

    for (long i = 0; i < loop->clients; i++) {
        clients[i].loop = loop;
        submit(&clients[i]);
    }
    while (loop->ended < loop->clients)
        desk_wait(&loop->desk);
    free(clients);
    return NULL;
}

static void on_stored(void *owner, enum queue_result result, struct queue_message *message)
{
    long *waiting = owner;

    (void)message;
    if (result != QUEUE_OK)
        abort();
    (*waiting)--;
}

/* Messages that nobody leases. */
static void fill(struct bench *bench, long depth)
{
    struct desk desk;
    char *text = xcalloc(1, (size_t)bench->size);
    long waiting = 0;

    desk_open(&desk);
    for (long i = 0; i < depth; i++) {
        struct queue_message *message = desk_message(ident_next(), "r@dest.example");
        desk_write(message, slice_make(text, (size_t)bench->size));
        queue_submit(bench->queue, &(struct queue_submit){ .message = &message,
                                                           .cb = on_stored,
                                                           .owner = &waiting,
                                                           .answers = &desk.box });
        for (waiting++; waiting >= 256;)
            desk_wait(&desk);
    }
    while (waiting > 0)
        desk_wait(&desk);
    free(text);
    desk_close(&desk);
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static int64_t cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void measure(struct bench *bench, long clients)
{
    struct loop loops[THREADS];
    pthread_t threads[THREADS];
    char *text = xcalloc(1, (size_t)bench->size);
    int64_t cpu = cpu_us(), began = clock_mono_us();

    memset(text, 'x', (size_t)bench->size);
    for (int i = 0; i < THREADS; i++) {
        loops[i] = (struct loop){ .bench = bench,
                                  .next = bench->messages * i / THREADS,
                                  .end = bench->messages * (i + 1) / THREADS,
                                  .clients = clients * (i + 1) / THREADS - clients * i / THREADS,
                                  .text = text };
        desk_open(&loops[i].desk);
        pthread_create(&threads[i], NULL, run_loop, &loops[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        desk_close(&loops[i].desk);
    }
    double took = (double)(clock_mono_us() - began) / 1e6;
    cpu = cpu_us() - cpu;
    qsort(bench->latency_us, (size_t)bench->messages, sizeof(int64_t), by_value);
    printf("clients=%ld lives/s=%.0f ack_p50_ms=%.2f ack_p99_ms=%.2f cpu_us_per_life=%.1f\n",
           clients, (double)bench->messages / took,
           (double)bench->latency_us[bench->messages / 2] / 1000,
           (double)bench->latency_us[bench->messages * 99 / 100] / 1000,
           (double)cpu / (double)bench->messages);
    free(text);
}

static long number(int argc, char **argv, int index, long otherwise)
{
    return argc > index ? atol(argv[index]) : otherwise;
}

int main(int argc, char **argv)
{
    struct bench bench = { .messages = number(argc, argv, 2, 200000),
                           .size = number(argc, argv, 3, 5000) };
    struct why why = { 0 };
    char *folder = desk_folder_new();
    char *path = xasprintf("%s/queue.db", folder);
    struct queue_options options = desk_options(path);

    options.retention_ms = 1000 * number(argc, argv, 4, 0);
    if (bench.messages < 1 || bench.size < 1 || bench.size > QUEUE_INLINE_MAX ||
        !queue_open(&bench.queue, &options, &why) || !queue_start(bench.queue, &why)) {
        fprintf(stderr, "queue_bench: %s\n", why.text[0] == '\0' ? "bad arguments" : why.text);
        desk_folder_remove(folder);
        return 1;
    }
    bench.latency_us = xcalloc((size_t)bench.messages, sizeof(int64_t));
    fill(&bench, number(argc, argv, 5, 0));
    measure(&bench, number(argc, argv, 1, 64));
    queue_stop(bench.queue);
    queue_free(bench.queue);
    free(bench.latency_us);
    free(path);
    desk_folder_remove(folder);
    return 0;
}
