/* queue_steer.h - the verbs of `latchpost queue` that change something, and the options by which
 * all its verbs say which messages are meant. Seen by relay/cli/queue*.c only. */
#ifndef LATCHPOST_QUEUE_STEER_H
#define LATCHPOST_QUEUE_STEER_H

#include "relay/cli/client.h"

#define QUEUE_IDS_MAX 10000 /* in one command */

enum filter_option {
    FILTER_STATE,
    FILTER_ACCOUNT,
    FILTER_KEY,
    FILTER_SENDER,
    FILTER_RECIPIENT,
    FILTER_UPSTREAM,
    FILTER_OLDER,
    FILTER_NEWER,
    FILTER_OPTION_COUNT
};
/* The first rows of a verb's table. */
#define FILTER_OPTIONS                                                                             \
    [FILTER_STATE] = { "state", "STATE", false,                                                    \
                       "queued, delivering, deferred, uncertain, held, "                           \
                       "delivered, bounced, failed, ..." },                                        \
    [FILTER_ACCOUNT] = { "account", "ACCOUNT", false, "only the messages of this account" },       \
    [FILTER_KEY] = { "key", "ID", false, "... accepted with this key" },                           \
    [FILTER_SENDER] = { "sender", "WHO", false,                                                    \
                        "... from this address or domain; <>: from none" },                        \
    [FILTER_RECIPIENT] = { "recipient", "WHO", false,                                              \
                           "... to this address or domain, among others" },                        \
    [FILTER_UPSTREAM] = { "upstream", "NAME", false, "... last tried there, or waiting for it" },  \
    [FILTER_OLDER] = { "older-than", "AGE", false, "... accepted before that: 30m, 2h, 7d" },      \
    [FILTER_NEWER] = { "newer-than", "AGE", false, "... accepted since then" }

enum { STEER_ALL = FILTER_OPTION_COUNT, STEER_OPTION_COUNT };
extern const struct cli_option queue_steer_options[STEER_OPTION_COUNT];

/* "&state=deferred&sender=..."; the caller frees. */
char *queue_filter_query(const struct cli_arguments *arguments);
/* "/v1/messages/ID" and the rest; the caller frees. */
char *queue_message_target(const char *id, const char *rest);

int queue_retry(const struct cli_arguments *arguments);
int queue_hold(const struct cli_arguments *arguments);
int queue_release(const struct cli_arguments *arguments);
int queue_cancel(const struct cli_arguments *arguments);

#endif
