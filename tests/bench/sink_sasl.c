/* sink_sasl.c - may Postfix's client log in? Yes.
 * Postfix checks no passwords itself. It asks a server over a Unix socket in Dovecot's protocol
 * (lines of fields separated by tabs); this one answers at once, so that AUTH costs Postfix the
 * least it can. https://doc.dovecot.org/developer_manual/design/auth_protocol/ */
#include "tests/bench/sink_priv.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "relay/base/alloc.h"

#define ANSWERS_MAX 65536

struct sasl {
    struct source source;
    struct sink *sink;
    struct wire wire;
};

static void sasl_close(struct sasl *sasl)
{
    wire_close(&sasl->wire);
    free(sasl);
}

/* "AUTH <tab> id <tab> PLAIN ..." and "CONT <tab> id ..." are the only questions. */
static bool answer_line(struct slice line, struct buf *answers)
{
    struct slice verb = slice_cut(&line, '\t');
    struct slice id = slice_cut(&line, '\t');

    if (!slice_equal(verb, SLICE("AUTH")) && !slice_equal(verb, SLICE("CONT")))
        return true; /* VERSION, CPID */
    return id.len < 64 && buf_printf(answers, "OK\t%.*s\tuser=bench\n", SLICE_ARG(id));
}

static bool answer(struct sasl *sasl, struct slice bytes)
{
    struct buf answers;
    bool ok = true;
    size_t end;

    buf_init(&answers, ANSWERS_MAX);
    while (ok && (end = slice_find(bytes, '\n')) != SLICE_NONE) {
        ok = answer_line(slice_first(bytes, end), &answers);
        bytes = slice_from(bytes, end + 1);
    }
    ok = ok && (buf_len(&answers) == 0 || wire_write(&sasl->wire, buf_slice(&answers))) &&
         (bytes.len == 0 || wire_hold(&sasl->wire, bytes));
    buf_free(&answers);
    return ok;
}

static void on_event(struct source *source, unsigned events)
{
    struct sasl *sasl = container_of(source, struct sasl, source);
    struct slice bytes;
    bool more;

    if ((events & EPOLLOUT) && !wire_flush(&sasl->wire)) {
        sasl_close(sasl);
        return;
    }
    enum wire_progress progress = wire_read(&sasl->wire, sasl->sink->room, &bytes, &more);
    if (progress == WIRE_FAILED || (progress == WIRE_DONE && !answer(sasl, bytes)))
        sasl_close(sasl);
}

void sink_sasl_start(struct sink *sink, int fd)
{
    struct sasl *sasl = xcalloc(1, sizeof(*sasl));

    sasl->source.on_event = on_event;
    sasl->sink = sink;
    if (!wire_open(&sasl->wire, fd, sink->epoll, &sasl->source)) {
        free(sasl);
        return;
    }
    if (!wire_write(&sasl->wire, SLICE("VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\n"
                                       "COOKIE\t00000000000000000000000000000000\nDONE\n")))
        sasl_close(sasl);
}
