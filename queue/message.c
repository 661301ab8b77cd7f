/* message.c - what is a message in memory, and what are its states called?
 * The struct a session fills and delivery works on. It has one owner at a time and no lock. Its
 * sizes are bounded by its makers: content by its buf, recipients by the session's limit. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/queue_priv.h"
#include "relay/base/alloc.h"

#define SAID_MAX 512 /* bytes kept of an upstream's words */

/* The index is the number in the database: rows are added at the end, never moved. The rank says
 * which recipient speaks for its message: first whatever still waits, then whatever went wrong, for
 * an operator who looks for trouble must not be told "delivered" because of another recipient. */
static const struct {
    const char *name;
    int rank;
    bool final;
} states[QUEUE_STATE_COUNT] = {
    [QUEUE_QUEUED] = { "queued", 0, false },      [QUEUE_DELIVERING] = { "delivering", 1, false },
    [QUEUE_DEFERRED] = { "deferred", 2, false },  [QUEUE_UNCERTAIN] = { "uncertain", 3, false },
    [QUEUE_HELD] = { "held", 4, false },          [QUEUE_FAILED_FOR_GOOD] = { "failed", 5, true },
    [QUEUE_BOUNCED] = { "bounced", 6, true },     [QUEUE_CANCELLED] = { "cancelled", 7, true },
    [QUEUE_DELIVERED] = { "delivered", 8, true }, [QUEUE_SANDBOXED] = { "sandboxed", 9, true },
};

const char *queue_state_name(enum queue_state state)
{
    assert((unsigned)state < QUEUE_STATE_COUNT);
    return states[state].name;
}

bool queue_state_parse(struct slice name, enum queue_state *state)
{
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (slice_equal(name, slice_of(states[i].name))) {
            *state = (enum queue_state)i;
            return true;
        }
    return false;
}

bool queue_state_is_final(enum queue_state state)
{
    assert((unsigned)state < QUEUE_STATE_COUNT);
    return states[state].final;
}

enum queue_state state_livelier(enum queue_state a, enum queue_state b)
{
    return states[a].rank <= states[b].rank ? a : b;
}

bool state_is_stored(int64_t number)
{
    return number >= 0 && number < QUEUE_STATE_COUNT && number != QUEUE_DELIVERING;
}

struct queue_message *queue_message_new(int64_t id)
{
    struct record *record = xcalloc(1, sizeof(*record));

    record->message.id = id;
    buf_init(&record->message.content, QUEUE_INLINE_MAX + 4096);
    return &record->message;
}

void queue_message_free(struct queue_message *message)
{
    if (message == NULL)
        return;
    for (size_t i = 0; i < message->recipient_count; i++) {
        free(message->recipients[i].address);
        free(message->recipients[i].text);
    }
    free(message->recipients);
    free(message->account);
    free(message->sender);
    buf_free(&message->content);
    free(record_of(message));
}

struct queue_recipient *queue_message_add(struct queue_message *message, struct slice address)
{
    struct record *record = record_of(message);

    if (message->recipient_count == record->recipient_capacity) {
        record->recipient_capacity =
            record->recipient_capacity == 0 ? 1 : record->recipient_capacity * 2;
        message->recipients = xrealloc(message->recipients,
                                       record->recipient_capacity * sizeof(*message->recipients));
    }
    struct queue_recipient *recipient = &message->recipients[message->recipient_count];
    *recipient = (struct queue_recipient){
        .address = slice_dup(address),
        .position = (uint32_t)message->recipient_count,
    };
    message->recipient_count++;
    return recipient;
}

void queue_recipient_say(struct queue_recipient *recipient, enum queue_fate fate, int code,
                         const char *enhanced, struct slice text)
{
    recipient->fate = fate;
    recipient->code = code;
    snprintf(recipient->enhanced, sizeof(recipient->enhanced), "%s",
             enhanced == NULL ? "" : enhanced);
    free(recipient->text);
    recipient->text = NULL;
    if (text.len == 0)
        return;
    text = slice_first(text, SAID_MAX);
    recipient->text = slice_dup(text);
    for (size_t i = 0; i < text.len; i++) /* it is kept as a C string: a NUL would cut it */
        if (recipient->text[i] == '\0')
            recipient->text[i] = '?';
}
