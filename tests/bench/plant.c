/* plant.c - fills a queue with messages that wait, by the queue's own code.
 *
 *     plant [--deferred] [--accounts N] [--size BYTES] [--ago SECONDS] QUEUE_DB COUNT
 *
 * In direct mode, a full batch a commit, so that a million takes a minute or two. They are due
 * since they were accepted; or, --deferred, after one attempt that an upstream answered 450 they
 * are due again in a month. They are of N accounts with two keys each, in turns. --ago: accepted so
 * long ago, for mail that is there before others. One line of JSON says how long it took. */
#include <getopt.h>
#include <time.h>

#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "tests/support/queue_desk.h"

#define BATCH    250 /* requests; the writer takes 256 into a transaction */
#define MONTH_MS (30 * INT64_C(86400000))

static struct plan {
    const char *path;
    long count, accounts, size, ago_s;
    bool deferred;
} plan = { .accounts = 1, .size = 1024 };

static int64_t wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return ((int64_t)now.tv_sec - plan.ago_s) * 1000000 + now.tv_nsec / 1000;
}

static int64_t mono_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct planter {
    struct queue *queue;
    struct desk desk;
    char *text;
    struct queue_message *leased[BATCH];
    size_t leased_count;
};

static void expect(enum queue_result result)
{
    if (result == QUEUE_OK)
        return;
    fprintf(stderr, "plant: the queue answered %d\n", (int)result);
    exit(1);
}

static void on_submitted(void *owner, enum queue_result result, struct queue_message *message)
{
    struct planter *planter = owner;

    expect(result);
    if (message != NULL)
        planter->leased[planter->leased_count++] = message;
}

static void on_settled(void *owner, enum queue_result result)
{
    (void)owner;
    expect(result);
}

static void step(struct planter *planter)
{
    queue_step(planter->queue);
    mailbox_drain(&planter->desk.box);
}

static void submit(struct planter *planter, long number)
{
    struct queue_message *message = desk_message(ident_next(), "r@dest.example");

    free(message->account);
    message->account = xasprintf("account%ld", number % plan.accounts);
    snprintf(message->key_id, sizeof(message->key_id), "key%05ld", number / plan.accounts % 2);
    desk_write(message, slice_make(planter->text, (size_t)plan.size));
    queue_submit(planter->queue, &(struct queue_submit){ .message = &message,
                                                         .lease = plan.deferred,
                                                         .cb = on_submitted,
                                                         .owner = planter,
                                                         .answers = &planter->desk.box });
}

static void defer_all(struct planter *planter)
{
    while (planter->leased_count > 0) {
        struct queue_message *message = planter->leased[--planter->leased_count];
        queue_recipient_say(&message->recipients[0], QUEUE_LATER, 450, "4.2.1",
                            SLICE("4.2.1 the mailbox is busy, try again later"));
        queue_settle(planter->queue, &message, "sink", on_settled, planter, &planter->desk.box);
    }
    step(planter);
}

static void plant(struct planter *planter)
{
    for (long i = 0; i < plan.count;) {
        for (long end = i + BATCH; i < end && i < plan.count; i++)
            submit(planter, i);
        step(planter);
        if (plan.deferred)
            defer_all(planter);
    }
}

static void fill(char *text)
{
    static const char head[] = "From: a@good.example\r\nTo: r@dest.example\r\n\r\n";

    memset(text, 'x', (size_t)plan.size);
    memcpy(text, head, sizeof(head) - 1);
    for (long i = (long)sizeof(head) + 70; i + 2 < plan.size; i += 72)
        memcpy(text + i, "\r\n", 2);
    memcpy(text + plan.size - 2, "\r\n", 2);
}

static bool parse(int argc, char **argv)
{
    static const struct option names[] = { { "deferred", no_argument, NULL, 'd' },
                                           { "accounts", required_argument, NULL, 'n' },
                                           { "size", required_argument, NULL, 's' },
                                           { "ago", required_argument, NULL, 'a' },
                                           { NULL, 0, NULL, 0 } };
    int letter;

    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (letter == 'd')
            plan.deferred = true;
        else if (letter == 'n')
            plan.accounts = atol(optarg);
        else if (letter == 's')
            plan.size = atol(optarg);
        else if (letter == 'a')
            plan.ago_s = atol(optarg);
        else
            return false;
    if (optind != argc - 2)
        return false;
    plan.path = argv[optind];
    plan.count = atol(argv[optind + 1]);
    return plan.count >= 0 && plan.accounts >= 1 && plan.size >= 200 &&
           plan.size <= QUEUE_INLINE_MAX;
}

int main(int argc, char **argv)
{
    static const struct clock_source source = { wall_us, mono_us };
    struct planter planter = { 0 };
    struct why why = { 0 };

    if (!parse(argc, argv)) {
        fprintf(stderr, "usage: plant [--deferred] [--accounts N] [--size BYTES (200..65536)]"
                        " [--ago SECONDS] QUEUE_DB COUNT\n");
        return 2;
    }
    struct queue_options options = desk_options(plan.path);
    options.schedule = (struct queue_schedule){ .retry_ms = { MONTH_MS },
                                                .retry_count = 1,
                                                .max_age_ms = 12 * MONTH_MS };
    log_configure(LOG_ERROR, LOG_LOGFMT);
    clock_replace(&source);
    int64_t began_us = mono_us();
    if (!queue_open(&planter.queue, &options, &why)) {
        fprintf(stderr, "plant: %s\n", why.text);
        return 1;
    }
    desk_open(&planter.desk);
    planter.text = xmalloc((size_t)plan.size);
    fill(planter.text);
    plant(&planter);
    queue_stop(planter.queue);
    queue_free(planter.queue);
    desk_close(&planter.desk);
    free(planter.text);
    printf("{\"planted\": %ld, \"seconds\": %.1f}\n", plan.count,
           (double)(mono_us() - began_us) / 1e6);
    return 0;
}
