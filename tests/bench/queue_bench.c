/* queue_bench.c - how many messages live in a second? Accepted, handed over, delivered, forgotten.
 *
 *     queue_bench [CLIENTS [MESSAGES [SIZE [RETENTION_S [DEPTH]]]]]      64 200000 5000 0 0
 *
 * CLIENTS closed loops, shared by two threads: each submits a message with a lease, waits for the
 * acknowledgement, settles it as sent, waits, and begins again. A large message goes in and comes
 * out chunk by chunk, at most two under way. DEPTH messages stand in the queue all the while.
 * RETENTION_S -1: nothing is leased nor settled, as when no upstream can be reached. Prints lives
 * per second, the latency of the acknowledgement, and CPU time, also that of the writer alone. */
#include <inttypes.h>
#include <sys/resource.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "tests/support/queue_desk.h"

#define THREADS        2

#define UNANSWERED_MAX 2 /* chunks */

struct bench {
    struct queue *queue;
    long messages, size;
    bool lease;
    int64_t *latency_us; /* one place a message */
};

struct loop { /* one thread */
    struct bench *bench;
    struct desk desk;
    long first, next, end; /* its messages */
    long clients, ended;
    char *text;
    int64_t cpu_us;
};

struct client {
    struct loop *loop;
    long number;
    int64_t id, began_us;
    struct queue_message *message; /* on its way out */
    uint32_t chunks, asked, answered;
};

static void begin(struct client *client);
static void submit(struct client *client);

static void on_settled(void *owner, enum queue_result result)
{
    (void)result;
    begin(owner);
}

static void settle(struct client *client)
{
    queue_recipient_say(&client->message->recipients[0], QUEUE_SENT, 250, "2.0.0", SLICE("ok"));
    queue_settle(client->loop->bench->queue, &client->message, "main", on_settled, client,
                 &client->loop->desk.box);
}

/* --- chunks ----------------------------------------------------------------------------------- */

static void read_chunks(struct client *client);

static void on_read(void *owner, enum queue_result result, struct buf *chunk)
{
    struct client *client = owner;

    if (result != QUEUE_OK)
        abort();
    buf_free(chunk);
    client->answered++;
    read_chunks(client);
}

static void read_chunks(struct client *client)
{
    while (client->asked < client->chunks && client->asked < client->answered + 1)
        queue_read(client->loop->bench->queue, client->id, client->asked++, on_read, client,
                   &client->loop->desk.box);
    if (client->answered == client->chunks)
        settle(client);
}

static void append_chunks(struct client *client);

static void on_appended(void *owner, enum queue_result result)
{
    struct client *client = owner;

    if (result != QUEUE_OK)
        abort();
    client->answered++;
    append_chunks(client);
}

static void append_chunks(struct client *client)
{
    struct loop *loop = client->loop;
    size_t size = (size_t)loop->bench->size;

    while (client->asked < client->chunks && client->asked < client->answered + UNANSWERED_MAX) {
        size_t from = (size_t)client->asked * QUEUE_CHUNK_BYTES;
        struct slice piece =
            slice_first(slice_make(loop->text + from, size - from), QUEUE_CHUNK_BYTES);
        struct buf chunk;
        buf_init(&chunk, QUEUE_CHUNK_BYTES);
        if (!buf_add(&chunk, piece))
            abort();
        queue_append(loop->bench->queue, client->id, client->asked++, &chunk, on_appended, client,
                     &loop->desk.box);
    }
    if (client->answered == client->chunks)
        submit(client);
}

/* --- whole messages --------------------------------------------------------------------------- */

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct client *client = owner;
    struct bench *bench = client->loop->bench;

    if (result != QUEUE_OK || (message == NULL) == bench->lease)
        abort();
    bench->latency_us[client->number] = clock_mono_us() - client->began_us;
    client->message = message;
    client->asked = client->answered = 0;
    if (bench->lease)
        read_chunks(client);
    else
        begin(client);
}

static void begin(struct client *client)
{
    struct loop *loop = client->loop;

    if (loop->next == loop->end) {
        loop->ended++;
        return;
    }
    client->number = loop->next++;
    client->id = ident_next();
    client->asked = client->answered = client->chunks = 0;
    if (loop->bench->size > QUEUE_INLINE_MAX)
        client->chunks =
            (uint32_t)((loop->bench->size + QUEUE_CHUNK_BYTES - 1) / QUEUE_CHUNK_BYTES);
    append_chunks(client);
}

static void submit(struct client *client)
{
    struct loop *loop = client->loop;
    struct queue_message *message = desk_message(client->id, "r@dest.example");

    message->chunks = client->chunks;
    message->size = (uint64_t)loop->bench->size;
    if (client->chunks == 0)
        desk_write(message, slice_make(loop->text, (size_t)loop->bench->size));
    client->began_us = clock_mono_us();
    queue_submit(loop->bench->queue, &(struct queue_submit){ .message = &message,
                                                             .lease = loop->bench->lease,
                                                             .cb = on_submitted,
                                                             .owner = client,
                                                             .answers = &loop->desk.box });
}

static int64_t cpu_us(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void *run_loop(void *owner)
{
    struct loop *loop = owner;
    struct client *clients = xcalloc((size_t)loop->clients, sizeof(*clients));

    for (long i = 0; i < loop->clients; i++) {
        clients[i].loop = loop;
        begin(&clients[i]);
    }
    while (loop->ended < loop->clients)
        desk_wait(&loop->desk);
    free(clients);
    loop->cpu_us = cpu_us(RUSAGE_THREAD);
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

static void measure(struct bench *bench, long clients)
{
    struct loop loops[THREADS];
    pthread_t threads[THREADS];
    char *text = xcalloc(1, (size_t)bench->size);
    int64_t cpu = cpu_us(RUSAGE_SELF), began = clock_mono_us(), others = 0;

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
        others += loops[i].cpu_us;
    }
    double took = (double)(clock_mono_us() - began) / 1e6;
    cpu = cpu_us(RUSAGE_SELF) - cpu;
    qsort(bench->latency_us, (size_t)bench->messages, sizeof(int64_t), by_value);
    printf("clients=%ld lives/s=%.0f ack_p50_ms=%.2f ack_p99_ms=%.2f cpu_us_per_life=%.1f"
           " of_the_writer=%.1f\n",
           clients, (double)bench->messages / took,
           (double)bench->latency_us[bench->messages / 2] / 1000,
           (double)bench->latency_us[bench->messages * 99 / 100] / 1000,
           (double)cpu / (double)bench->messages, (double)(cpu - others) / (double)bench->messages);
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

    bench.lease = number(argc, argv, 4, 0) >= 0;
    alloc_keep_spare();
    options.retention_ms = 1000 * number(argc, argv, 4, 0);
    if (bench.messages < 1 || bench.size < 1 || bench.size > INT32_MAX ||
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
