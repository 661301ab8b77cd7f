/* bounce.c - what is written to a sender whose mail failed, or is late? Pure, but for the hostname,
 * which any thread may set. */
#include "relay/bounce.h"

#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/ident.h"
#include "relay/message/dsn.h"

static struct dsn_recipient *list_recipients(const struct queue_report *report)
{
    struct dsn_recipient *list = xcalloc(report->recipient_count, sizeof(*list));

    for (size_t i = 0; i < report->recipient_count; i++) {
        const struct queue_report_recipient *recipient = &report->recipients[i];
        list[i] = (struct dsn_recipient){
            .address = recipient->address,
            .code = recipient->code,
            .enhanced = recipient->enhanced,
            .text = recipient->text,
            .upstream = report->upstream,
            .attempts = recipient->attempts,
        };
    }
    return list;
}

bool bounce_compose(void *owner, const struct queue_report *report, struct buf *content)
{
    struct bounce_writer *writer = owner;
    struct dsn_recipient *recipients = list_recipients(report);
    char id[IDENT_TEXT_BYTES], about[IDENT_TEXT_BYTES];
    const struct dsn_facts facts = {
        .action = report->kind == QUEUE_BOUNCE ? DSN_FAILED : DSN_DELAYED,
        .hostname = atomic_load(&writer->hostname),
        .report_id = id,
        .message_id = about,
        .sender = report->message->sender,
        .arrived_s = report->message->received_ms / 1000,
        .now_s = report->now_ms / 1000,
        .retry_until_s = report->give_up_ms / 1000,
        .original = report->original,
        .recipients = recipients,
        .recipient_count = report->recipient_count,
    };

    ident_format(report->id, id);
    ident_format(report->message->id, about);
    buf_init(content, DSN_BYTES_MAX(report->recipient_count));
    bool ok = dsn_compose(&facts, content);
    free(recipients);
    return ok;
}
