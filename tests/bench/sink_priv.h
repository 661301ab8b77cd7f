/* sink_priv.h - what the files of the sink share. */
#ifndef BENCH_SINK_PRIV_H
#define BENCH_SINK_PRIV_H

#include "tests/bench/tally.h"
#include "tests/bench/wire.h"

/* What epoll reports: each kind of fd embeds one and so says who answers its events. */
struct source {
    void (*on_event)(struct source *source, unsigned events);
};

struct sink {
    int epoll;
    bool discard;         /* find the end of each message and forget it */
    struct wire_tls *tls; /* NULL: no STARTTLS */
    uint64_t run;         /* messages of other runs are foreign */
    uint64_t connections;
    struct tally tally;
    struct buf replies; /* of the flight being read, written at its end */
    char room[WIRE_ROOM_BYTES];
};

int64_t sink_now_ns(void); /* CLOCK_MONOTONIC, the same in every process of the machine */

/* A connection that was accepted; the session owns the fd and itself. */
void sink_session_start(struct sink *sink, int fd, bool implicit_tls);

/* Answers Postfix's questions about passwords, on a connection to a Unix socket: yes, always. */
void sink_sasl_start(struct sink *sink, int fd);

#endif
