/* mail.h - what does a message of the benchmark look like, and did it arrive whole?
 * The generator makes messages here and the sink checks them, so both agree on the mark: a header
 * field with the number of the run, the id of the message and a 64-bit hash of its body. The hash
 * covers the lines without their ends and without dot-stuffing (RFC 5321 section 4.5.2), so it
 * survives exactly what a relay may do. It finds accidents, not forgeries. Any thread. */
#ifndef BENCH_MAIL_H
#define BENCH_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/slice.h"

/* --- checking -------------------------------------------------------------------------------- */

struct mail_mark {
    uint64_t run;
    uint64_t id;
    uint64_t hash;
};

/* `line`: a header line without its end. False when it is not a mark, or a damaged one. */
bool mail_mark_parse(struct slice line, struct mail_mark *mark);
/* Exactly 16 lower-case hex digits, the form of every number in a mark and in a recipient. */
bool mail_hex_parse(struct slice text, uint64_t *value);

/* The hash of a body is 0, folded with the hash of each of its lines in order. */
uint64_t mail_hash_line(struct slice line);

static inline uint64_t mail_hash_fold(uint64_t hash, uint64_t line_hash)
{
    return ((hash << 5 | hash >> 59) ^ line_hash) * UINT64_C(0x9fb21c651e98df25);
}

/* --- making ---------------------------------------------------------------------------------- */

struct mail_maker; /* opaque; read-only once it is made */

struct mail_options {
    const char *from;  /* address of the sender, in the envelope and in the header */
    const char *rcpt;  /* address of the recipient; "{id}" in it becomes the id of the message */
    uint64_t run;      /* tells the runs that share a sink apart */
    size_t size_bytes; /* wanted size; the real one differs by less than a line */
};

/* Both addresses are copied. */
struct mail_maker *mail_maker_new(const struct mail_options *options);
void mail_maker_free(struct mail_maker *maker); /* accepts NULL */

/* Size of each message: header and body, without dot-stuffing and the final dot. */
size_t mail_size(const struct mail_maker *maker);

/* The commands of message `id`, each with its line end. Written to `out`, which has room for
 * MAIL_COMMAND_MAX bytes for each; returns the bytes written. */
#define MAIL_COMMAND_MAX 512
size_t mail_format_from(const struct mail_maker *maker, char *out);
size_t mail_format_rcpt(const struct mail_maker *maker, uint64_t id, char *out);

/* Message `id` as it goes after DATA, final dot included, written to `out` with room for
 * mail_wire_max() bytes; returns the bytes written. Costs well under 2 us for 5 KB. */
size_t mail_wire_max(const struct mail_maker *maker);
size_t mail_format(const struct mail_maker *maker, uint64_t id, char *out);

#endif
