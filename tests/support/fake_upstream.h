/* fake_upstream.h - an SMTP server that says what a test wants, on the test's own loop.
 * A script is a list of rows; a line that starts with a row's words gets the row's reply, every
 * other one what a friendly server says. All that arrives is kept as it came. */
#ifndef LATCHPOST_TESTS_FAKE_UPSTREAM_H
#define LATCHPOST_TESTS_FAKE_UPSTREAM_H

#include "relay/base/buf.h"
#include "relay/base/list.h"
#include "relay/net/listener.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"

#define FAKE_ROWS_MAX 8
#define FAKE_HANG     "hang" /* says nothing */
#define FAKE_DROP     "drop" /* closes the connection */

struct fake_row {
    const char *when; /* the start of a line, any case; "BANNER", "." (the end of the content),
                         "LINE" (what follows a 334) */
    const char *say;  /* whole lines with CRLF, FAKE_HANG or FAKE_DROP */
    unsigned times;   /* so often, then the row is not there any more; 0: always */
    bool then_drop;
};

struct fake_options {
    const struct fake_row *rows; /* ends with a row whose `when` is NULL; or NULL */
    const char *ehlo;            /* the whole reply; NULL: FAKE_EHLO */
    struct tls_context *tls;     /* for STARTTLS, or from the start */
    bool implicit_tls;
    const char *address; /* NULL: 127.0.0.1 */
};
#define FAKE_EHLO "250-fake\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"

struct fake_upstream {
    struct loop *loop;
    struct fake_options options;
    unsigned used[FAKE_ROWS_MAX]; /* how often each row was */
    struct listener *listener;
    uint16_t port;
    struct list sessions;
    struct buf wire;    /* all lines and contents, of all connections, in the order they came */
    struct buf content; /* of all messages that were answered 250, with their dots */
    unsigned connections, open, most_open;
    unsigned messages; /* dots answered 250 */
    unsigned quits;
};

void fake_start(struct fake_upstream *fake, struct loop *loop, const struct fake_options *options);
/* Another script from now on. */
void fake_set_rows(struct fake_upstream *fake, const struct fake_row *rows);
void fake_drop_all(struct fake_upstream *fake);                  /* as if it were restarted */
void fake_say_all(struct fake_upstream *fake, const char *text); /* unasked */
void fake_stop_listening(struct fake_upstream *fake);
void fake_stop(struct fake_upstream *fake);
/* Did these bytes arrive? */
bool fake_heard(const struct fake_upstream *fake, const char *bytes);

#endif
