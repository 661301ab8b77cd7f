/* dsn_sample.c - what does dsn_compose() write for these facts?
 * For tests/system/dsn_parsers.py. Standard input is a sequence of reports, each made of texts that
 * end in a NUL: the facts in the order of struct dsn_facts, with the number of bytes of the
 * original in front of them and the number of recipients in front of these. An empty text or name
 * of an upstream is handed over as NULL. For each report a line with its length in decimal is
 * written, and the report. Exit 1 when the input is not such a sequence. */
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/message/dsn.h"

#define ORIGINAL_MAX   (1 << 20)
#define RECIPIENTS_MAX 1000

/* What was read for the report at hand, which borrows it. */
static struct {
    char *texts[16 + 6 * RECIPIENTS_MAX];
    size_t count;
    char *original;
} input;

static void forget_input(void)
{
    while (input.count > 0)
        free(input.texts[--input.count]);
    free(input.original);
    input.original = NULL;
}

static void fail(const char *why)
{
    fprintf(stderr, "dsn_sample: %s\n", why);
    exit(EXIT_FAILURE);
}

/* NULL at the end of the input. */
static const char *next_text(void)
{
    char *text = NULL;
    size_t capacity = 0;
    ssize_t len = getdelim(&text, &capacity, '\0', stdin);

    if (len <= 0 || text[len - 1] != '\0') {
        free(text);
        return NULL;
    }
    input.texts[input.count++] = text;
    return text;
}

static const char *need_text(void)
{
    const char *text = next_text();

    if (text == NULL)
        fail("the input ends in the middle of a report");
    return text;
}

static const char *need_text_or_null(void)
{
    const char *text = need_text();

    return *text == '\0' ? NULL : text;
}

static int64_t need_number(void)
{
    return strtoll(need_text(), NULL, 10);
}

static struct slice need_original(void)
{
    size_t len = (size_t)need_number();

    if (len > ORIGINAL_MAX)
        fail("an original of more than 1 MiB");
    input.original = xmalloc(len + 1);
    if (fread(input.original, 1, len, stdin) != len)
        fail("the input ends in an original");
    return slice_make(input.original, len);
}

static void read_recipient(struct dsn_recipient *recipient)
{
    recipient->address = need_text();
    recipient->code = (int)need_number();
    recipient->enhanced = need_text();
    recipient->text = need_text_or_null();
    recipient->upstream = need_text_or_null();
    recipient->attempts = (unsigned)need_number();
}

static void write_report(const struct dsn_facts *facts)
{
    struct buf out;

    buf_init(&out, DSN_BYTES_MAX(facts->recipient_count));
    if (!dsn_compose(facts, &out))
        fail("a report is larger than DSN_BYTES_MAX");
    printf("%zu\n", buf_len(&out));
    fwrite(buf_slice(&out).data, 1, buf_len(&out), stdout);
    buf_free(&out);
}

static void answer(const char *action)
{
    static struct dsn_recipient recipients[RECIPIENTS_MAX];
    struct dsn_facts facts = { .recipients = recipients };

    facts.action = strcmp(action, "delayed") == 0 ? DSN_DELAYED : DSN_FAILED;
    facts.hostname = need_text();
    facts.report_id = need_text();
    facts.message_id = need_text();
    facts.sender = need_text();
    facts.arrived_s = need_number();
    facts.now_s = need_number();
    facts.retry_until_s = need_number();
    facts.original = need_original();
    facts.recipient_count = (size_t)need_number();
    if (facts.recipient_count == 0 || facts.recipient_count > RECIPIENTS_MAX)
        fail("too many recipients, or none");
    for (size_t i = 0; i < facts.recipient_count; i++)
        read_recipient(&recipients[i]);
    write_report(&facts);
}

int main(void)
{
    const char *action;

    while ((action = next_text()) != NULL) {
        answer(action);
        forget_input();
    }
    return ferror(stdin) || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
