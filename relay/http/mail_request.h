/* mail_request.h - what does a request to send mail say? (no I/O; any thread)
 * Reads the JSON of the endpoints that send into drafts, one for each message. What is wrong is
 * named by its field; nothing that is not understood is passed over. Seen by relay/http/ and tests
 * only. */
#ifndef LATCHPOST_MAIL_REQUEST_H
#define LATCHPOST_MAIL_REQUEST_H

#include "relay/http/api_priv.h"
#include "relay/message/compose.h"

#define MAIL_DRAFTS_MAX   1000 /* messages of one request */
#define MAIL_HEADERS_MAX  100  /* of one message, given by the client; and ... */
#define MAIL_REPLY_TO_MAX 100  /* ... addresses to reply to: each is there for each message */

enum mail_form {
    MAIL_PLAIN,        /* /v1/emails: from, to, subject, text, html ... */
    MAIL_PERSONALIZED, /* /tx/v1/send: personalizations and content */
};

struct mail_refusal {
    int status; /* 0: there is none */
    const char *code;
    char text[256];
    unsigned retry_after_s;
};
void mail_refuse(struct mail_refusal *refusal, int status, const char *code, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

struct mail_draft {
    struct compose_mail mail; /* its attachments are the request's; without an id yet */
    struct compose_addresses bcc;
    size_t index; /* in a personalized request */
};

struct mail_request { /* zeroed before its first use */
    json_t *json;
    struct api_texts texts; /* what the drafts borrow and does not stand in json as it is */
    struct mail_draft *drafts;
    size_t count;
    struct compose_attachment *attachments;
    size_t attachment_count;
    struct mail_refusal refusal;
};

/* What each kind of object may have, NULL-ended: the request of either form, and what is in it. For
 * the description of the API, which a test holds against them. */
extern const char *const mail_plain_members[], *const mail_shared_members[],
                                                   *const mail_personalization_members[],
                                                       *const mail_content_members[],
                                                           *const mail_attachment_members[],
                                                               *const mail_address_members[];

/* False: see request->refusal. body is only read; NUL-ended or not. */
bool mail_request_read(struct mail_request *request, struct slice body, enum mail_form form);
void mail_request_free(struct mail_request *request);

/* "Name <local@domain>" or "local@domain" (name.len 0); "" in *problem, or why it is none.
 * Borrows `text`, but for what it had to unquote or to spell anew, which goes to *texts. */
bool mail_address_read(struct slice text, struct api_texts *texts, struct compose_address *address,
                       const char **problem);

#endif
