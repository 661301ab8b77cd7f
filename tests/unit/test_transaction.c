/* test_transaction.c - what becomes of a message: stored, refused or thrown away, and what is told.
 * Rows are messages as they stand on the wire; the ids are those of the case list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

#include "tests/support/smtp_dialog.h"

#define EOD       "\r\n.\r\n"
#define GOOD_FROM "From: <a@good.example>\r\n"

static const struct row {
    const char *name;
    struct slice data;
    const char *want; /* to the data and a NOOP behind it */
} rows[] = {
    { "M0", SLICE(M0 ".\r\n"), "250 2.0.0|250 2.0.0" },
    { "A-01", SLICE(M0 "text\n.\nMAIL FROM:<x@victim.example>\r\nDATA\r\nhi" EOD), "550 5.5.2!" },
    { "A-05", SLICE(M0 "text\n.\r\nRSET" EOD), "550 5.5.2!" },
    { "A-09", SLICE(M0 "\0.\r\ntext" EOD), "550 5.6.0|250 2.0.0" },
    { "A-14", SLICE(".\r\n"), "550 5.6.0|250 2.0.0" },
    { "D-01", SLICE("From: <admin@victim.example>\r\n\r\nx" EOD), "550 5.7.1|250 2.0.0" },
    { "D-02", SLICE(GOOD_FROM "From: <admin@victim.example>\r\n\r\nx" EOD), "550 5.6.0|250 2.0.0" },
    { "D-16", SLICE("Subject: x\r\n\r\nx" EOD), "550 5.6.0|250 2.0.0" },
    { "D-27", SLICE(GOOD_FROM "Sender: <admin@victim.example>\r\n\r\nx" EOD),
      "550 5.7.1|250 2.0.0" },
    { "D-33", SLICE("From: Jos\xc3\xa9 <a@good.example>\r\n\r\nx" EOD), "550 5.6.7|250 2.0.0" },
    { "D-50", SLICE("\r\n" GOOD_FROM "\r\nx" EOD), "550 5.6.0|250 2.0.0" },
    { "D-51", SLICE(GOOD_FROM "\r\n\r\nFrom: <admin@victim.example>" EOD), "250 2.0.0|250 2.0.0" },
    { "clients 10", SLICE(GOOD_FROM "Subject: \xc3\xbc\r\n\r\nx" EOD), "250 2.0.0|250 2.0.0" },
    { "all header", SLICE("From: a@good.example" EOD), "250 2.0.0|250 2.0.0" },
    { "A-01 before the header ends", SLICE("From: a\n\r\n\r\nx" EOD), "550 5.5.2!" },
};

static void a_message_is_answered_once_at_its_true_end(void **state)
{
    struct dialog *d = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t before = dialog_queued(d);
        bool taken = strncmp(rows[i].want, "250", 3) == 0;
        dialog_begin(d, d->key);
        dialog_envelope(d);
        for (size_t at = 0; at < rows[i].data.len; at += 7)
            dialog_send(d, slice_first(slice_from(rows[i].data, at), 7));
        dialog_say(d, "NOOP\r\n");
        dialog_expect(rows[i].name, rows[i].want);
        dialog_end(d, STREAM_EOF);
        if (dialog_queued(d) != before + taken)
            fail_msg("%s: queued %d", rows[i].name, (int)(dialog_queued(d) - before));
    }
}

static void what_is_pipelined_behind_a_message_waits_for_its_commit(void **state)
{
    static const char next[] = "MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\n";
    struct dialog *d = *state;
    char *text;

    dialog_begin(d, d->key);
    dialog_envelope(d);
    text = xasprintf("%s.\r\n%s", M0, next);
    assert_true(buf_add(&dialog_stream.kept, slice_of(text)));
    dialog_pump();
    assert_true(dialog_stream.paused);
    assert_int_equal(buf_len(&dialog_stream.out), 0);
    assert_int_equal(dialog_stream.deadline_ms, 0);
    dialog_settle(d);
    dialog_expect("A-21", "250 2.0.0|250 2.1.0|250 2.1.5|354");
    dialog_say(d, M0 ".\r\nRSET\r\nMAIL FROM:<x@victim.example>\r\nQUIT\r\n");
    dialog_expect("A-30, E-35", "250 2.0.0|250 2.0.0|550 5.7.1|221 2.0.0!");
    free(text);
}

static bool stored(const struct dialog *d, const char *text)
{
    struct slice content = buf_slice(&d->stored);

    return memmem(content.data, content.len, text, strlen(text)) != NULL;
}

static void a_leased_message_is_fixed_up_and_handed_over(void **state)
{
    struct dialog *d = *state;
    unsigned before = d->leased;

    d->wants_lease = true;
    dialog_begin(d, d->key);
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nRCPT "
                  "TO:<r@DEST.example>\r\nDATA\r\n");
    dialog_say(d, GOOD_FROM "Bcc: <secret@dest.example>\r\n\r\n..b\r\n.\r\n");
    dialog_expect("accepted", "250 2.1.0|250 2.1.5|250 2.1.5|354|250 2.0.0");
    assert_int_equal(d->leased, before + 1);
    assert_true(stored(d, "Received: from ok.example"));
    assert_true(stored(d, "ESMTPSA"));
    assert_true(stored(d, d->key_id));
    assert_true(stored(d, "192.0.2.7"));
    assert_true(stored(d, "Message-ID: "));
    assert_true(stored(d, "\r\n\r\n.b\r\n"));
    assert_false(stored(d, "secret@dest.example"));
    assert_false(stored(d, "evil.victim.example")); /* B-18 */
    assert_false(stored(d, d->key));
    d->wants_lease = false;
    dialog_end(d, STREAM_EOF);
}

/* Sends `size` octets of body in lines, in pieces as a stream would show them; the queue answers
 * after each piece. Returns the most bytes that the stream had to keep. */
static size_t send_body(struct dialog *d, size_t size)
{
    char piece[64 * 1024];
    size_t most = 0;

    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
    while (size > 0) {
        size_t len = size < sizeof(piece) ? size : sizeof(piece);
        assert_true(buf_add(&dialog_stream.kept, slice_make(piece, len)));
        dialog_pump();
        if (buf_len(&dialog_stream.kept) > most)
            most = buf_len(&dialog_stream.kept);
        if (dialog_stream.paused)
            dialog_settle(d);
        size -= len;
    }
    return most;
}

static void large_messages_go_to_the_queue_in_chunks(void **state)
{
    static const size_t sizes[] = { 64 * 1024 - 512, 64 * 1024, 64 * 1024 + 512, 1 << 20,
                                    26000000 / 64 * 64 };
    struct dialog *d = *state;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t before = dialog_queued(d);
        dialog_begin(d, d->key);
        dialog_envelope(d);
        dialog_say(d, GOOD_FROM "\r\n");
        size_t most = send_body(d, sizes[i]);
        assert_true(most <= 128 * 1024);
        dialog_say(d, ".\r\nNOOP\r\n");
        dialog_expect("large", "250 2.0.0|250 2.0.0");
        assert_int_equal(dialog_queued(d), before + 1);
        dialog_end(d, STREAM_EOF);
    }
}

static void reading_stops_while_two_chunks_wait_for_the_disk(void **state)
{
    struct dialog *d = *state;
    char piece[64 * 1024];

    memset(piece, 'x', sizeof(piece));
    for (size_t i = 0; i < sizeof(piece) / 512; i++)
        memcpy(piece + i * 512, "\r\n", 2);
    dialog_begin(d, d->key);
    dialog_envelope(d);
    dialog_say(d, GOOD_FROM "\r\n");
    for (int i = 0; i < 4; i++) {
        assert_true(buf_add(&dialog_stream.kept, slice_make(piece, sizeof(piece))));
        if (!dialog_stream.paused)
            dialog_pump();
    }
    assert_true(dialog_stream.paused);
    assert_true(buf_len(&dialog_stream.kept) > 0);
    assert_int_equal(dialog_stream.deadline_ms, 0); /* not the client's fault */
    dialog_stream.events->on_drained(dialog_stream.owner);
    assert_int_equal(dialog_stream.deadline_ms, 0); /* still not */
    dialog_settle(d);
    assert_false(dialog_stream.paused);
    assert_true(dialog_stream.deadline_ms > 0);
    assert_int_equal(buf_len(&dialog_stream.kept), 0);
    dialog_say(d, "\r\n.\r\n");
    dialog_expect("stalled", "250 2.0.0");
    dialog_end(d, STREAM_EOF);
}

static void a_message_over_the_limit_is_read_to_its_end(void **state)
{
    struct dialog *d = *state;
    uint64_t before = dialog_queued(d);

    dialog_begin(d, d->key);
    dialog_say(
        d, "MAIL FROM:<a@good.example> SIZE=10\r\nRCPT TO:<r@dest.example>\r\nDATA\r\n" GOOD_FROM
           "\r\n");
    dialog_codes();
    send_body(d, 40 << 20);
    dialog_say(d, ".\r\n"
                  "MAIL FROM:<a@good.example>\r\n");
    dialog_expect("E-12", "552 5.3.4|250 2.1.0");
    assert_int_equal(dialog_queued(d), before);
    dialog_end(d, STREAM_EOF);
}

static void a_header_may_be_large_but_not_larger(void **state)
{
    struct dialog *d = *state;
    struct {
        size_t size;
        const char *want;
    } cases[] = {
        { 65000, "250 2.0.0" },
        { 66000, "550 5.6.0" },
        { 300000, "550 5.6.0" },
    };
    struct buf header;

    buf_init(&header, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&header);
        assert_true(buf_add(&header, SLICE(GOOD_FROM "Subject: x")));
        while (buf_len(&header) < cases[i].size)
            assert_true(
                buf_add(&header, SLICE("\r\n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")));
        assert_true(buf_add(&header, SLICE("\r\n\r\nbody" EOD)));
        dialog_begin(d, d->key);
        dialog_envelope(d);
        dialog_send(d, buf_slice(&header));
        dialog_expect("header", cases[i].want);
        dialog_end(d, STREAM_EOF);
    }
    buf_free(&header);
}

/* A header of exactly `size` octets, its empty line included where there is one. */
static void make_header(struct buf *header, size_t size, bool has_empty_line)
{
    size_t end = has_empty_line ? 4 : 2;

    buf_clear(header);
    assert_true(buf_add(header, SLICE(GOOD_FROM "Subject: x")));
    while (buf_len(header) + 100 < size - end)
        assert_true(
            buf_add(header, SLICE("\r\n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")));
    while (buf_len(header) < size - end)
        assert_true(buf_add_byte(header, 'y'));
    assert_true(buf_add(header, slice_first(SLICE("\r\n\r\n"), end)));
}

static void the_limit_of_the_header_is_the_same_at_any_cut(void **state)
{
    static const struct {
        size_t size;
        bool has_empty_line;
        const char *want;
    } cases[] = {
        { 65535, false, "250 2.0.0" }, { 65536, false, "250 2.0.0" }, { 65537, false, "550 5.6.0" },
        { 65535, true, "250 2.0.0" },  { 65536, true, "250 2.0.0" },  { 65537, true, "550 5.6.0" },
    };
    struct dialog *d = *state;
    struct buf header;

    buf_init(&header, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases) * 6; i++) {
        size_t row = i / 6, behind = i % 6; /* octets shown later, but for 5: all at once */
        make_header(&header, cases[row].size, cases[row].has_empty_line);
        assert_true(buf_add(&header, SLICE(".\r\n")));
        size_t first = behind == 5 ? buf_len(&header) : cases[row].size - behind;
        dialog_begin(d, d->key);
        dialog_envelope(d);
        dialog_send(d, slice_first(buf_slice(&header), first));
        dialog_send(d, slice_from(buf_slice(&header), first));
        char name[64];
        snprintf(name, sizeof(name), "%zu octets, %zu later", cases[row].size, behind);
        dialog_expect(name, cases[row].want);
        dialog_end(d, STREAM_EOF);
    }
    buf_free(&header);
}

static void a_message_that_goes_in_circles_is_refused(void **state)
{
    struct dialog *d = *state;
    struct buf header;

    buf_init(&header, 1 << 16);
    for (int i = 0; i < 60; i++)
        assert_true(
            buf_add(&header, SLICE("Received: from a by b; Sat, 21 Nov 2026 12:56:26 +0000\r\n")));
    assert_true(buf_add(&header, SLICE(M0 ".\r\n")));
    dialog_begin(d, d->key);
    dialog_envelope(d);
    dialog_send(d, buf_slice(&header));
    dialog_expect("E-47", "554 5.4.6");
    dialog_end(d, STREAM_EOF);
    buf_free(&header);
}

/* --- Idempotency-Key -------------------------------------------------------------------------- */

/* Sends it with a body of `size` octets in lines, or the text when size is 0. */
static void send_with_token(struct dialog *d, const char *header, const char *text, size_t size)
{
    dialog_begin(d, d->key);
    dialog_say(d, "MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nRCPT "
                  "TO:<q@dest.example>\r\nDATA\r\n");
    dialog_say(d, header);
    if (size > 0)
        send_body(d, size);
    dialog_say(d, text);
    dialog_say(d, "\r\n.\r\n");
    dialog_settle(d);
}

#define TOKEN "Idempotency-Key: order-1\r\n"

static void a_message_that_comes_again_is_answered_and_not_queued(void **state)
{
    static const struct {
        const char *name, *header, *text;
        size_t size;
        const char *want;
        unsigned queued;
    } messages[] = {
        { "first", GOOD_FROM TOKEN "Subject: a\r\n\r\n", "text", 0, "250 2.0.0", 1 },
        { "again", GOOD_FROM TOKEN "Subject: a\r\n\r\n", "text", 0, "250 2.0.0", 0 },
        { "another Date and place",
          "Date: x\r\n" GOOD_FROM "Subject: a\r\nidempotency-key:order-1 \r\n\r\n", "text", 0,
          "250 2.0.0", 0 },
        { "another body", GOOD_FROM TOKEN "Subject: a\r\n\r\n", "texts", 0, "550 5.6.0", 0 },
        { "another subject", GOOD_FROM TOKEN "Subject: b\r\n\r\n", "text", 0, "550 5.6.0", 0 },
        { "another key", GOOD_FROM "Idempotency-Key: order-2\r\n\r\n", "text", 0, "250 2.0.0", 1 },
        { "large", GOOD_FROM "Idempotency-Key: large\r\n\r\n", "", 200000, "250 2.0.0", 1 },
        { "large again", "X: y\r\n" GOOD_FROM "Idempotency-Key: large\r\n\r\n", "", 200000,
          "250 2.0.0", 0 },
        { "larger", GOOD_FROM "Idempotency-Key: large\r\n\r\n", "", 200064, "550 5.6.0", 0 },
        { "two keys", GOOD_FROM TOKEN TOKEN "\r\n", "text", 0, "550 5.6.0", 0 },
        { "no key", GOOD_FROM "Idempotency-Key: \r\n\r\n", "text", 0, "550 5.6.0", 0 },
        { "8-bit", GOOD_FROM "Idempotency-Key: \xc3\xa9\r\n\r\n", "text", 0, "550 5.6.0", 0 },
        { "folded", GOOD_FROM "Idempotency-Key: a\r\n b\r\n\r\n", "text", 0, "550 5.6.0", 0 },
    };
    struct dialog *d = *state;
    char *want;

    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        uint64_t before = dialog_queued(d);
        send_with_token(d, messages[i].header, messages[i].text, messages[i].size);
        want = xasprintf("250 2.1.0|250 2.1.5|250 2.1.5|354|%s", messages[i].want);
        dialog_expect(messages[i].name, want);
        free(want);
        dialog_end(d, STREAM_EOF);
        if (dialog_queued(d) != before + messages[i].queued)
            fail_msg("%s: queued %d", messages[i].name, (int)(dialog_queued(d) - before));
    }
}

static void a_token_is_not_relayed(void **state)
{
    struct dialog *d = *state;

    d->wants_lease = true;
    send_with_token(d, GOOD_FROM "Idempotency-Key: not-relayed\r\n\r\n", "text", 0);
    assert_false(stored(d, "not-relayed"));
    assert_false(stored(d, "Idempotency"));
    assert_true(stored(d, "text"));
    d->wants_lease = false;
    dialog_end(d, STREAM_EOF);
}

static void leaving_in_the_middle_leaves_nothing_behind(void **state)
{
    struct dialog *d = *state;
    uint64_t before = dialog_queued(d);

    for (size_t size = 0; size < 400000; size += 100000) {
        dialog_begin(d, d->key);
        dialog_envelope(d);
        dialog_say(d, GOOD_FROM "\r\n");
        send_body(d, size / 64 * 64);
        dialog_end(d, STREAM_RESET);
        assert_int_equal(d->service.session_count, 0);
    }
    assert_int_equal(dialog_queued(d), before);
}

static void leaving_before_the_answer_loses_no_message(void **state)
{
    struct dialog *d = *state;
    uint64_t before = dialog_queued(d);
    unsigned leased = d->leased;

    d->wants_lease = true;
    dialog_begin(d, d->key);
    dialog_envelope(d);
    assert_true(buf_add(&dialog_stream.kept, SLICE(M0 ".\r\n")));
    dialog_pump();
    dialog_stream.closed = true;
    dialog_stream.events->on_end(dialog_stream.owner, STREAM_RESET);
    assert_int_equal(d->service.session_count, 1); /* its memory waits for the answer */
    assert_true(list_is_empty(&d->service.sessions));
    dialog_settle(d);
    assert_int_equal(d->service.session_count, 0);
    assert_int_equal(d->leased, leased + 1);
    assert_int_equal(dialog_queued(d), before + 1);
    d->wants_lease = false;
}

/* --- keys that change in the middle ----------------------------------------------------------- */

struct narrowing {
    char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
};

static void begin_with_two_domains(struct dialog *d, struct narrowing *n)
{
    struct why why;

    assert_int_equal(auth_domain_add(d->auth, "operator", AUTH_DEFAULT_ACCOUNT, "other.example",
                                     true, clock_wall_s(), &why),
                     AUTH_DONE);
    dialog_add_key(d,
                   &(struct auth_key_spec){
                       .account = AUTH_DEFAULT_ACCOUNT, .name = "N", .scopes = AUTH_SEND },
                   n->secret, n->id);
    dialog_begin(d, n->secret);
}

static void remove_domain(struct dialog *d)
{
    struct why why;

    assert_int_equal(auth_domain_remove(d->auth, "operator", AUTH_DEFAULT_ACCOUNT, "other.example",
                                        clock_wall_s(), &why),
                     AUTH_DONE);
}

static void a_key_narrowed_in_the_data_is_asked_again_at_its_end(void **state)
{
    static const struct {
        const char *sender, *from, *want;
    } cases[] = {
        { "a@other.example", "a@other.example", "550 5.7.1" },
        { "a@other.example", "a@good.example", "550 5.7.1" },
        { "a@good.example", "a@other.example", "550 5.7.1" },
        { "", "a@other.example", "550 5.7.1" },
        { "a@good.example", "a@good.example", "250 2.0.0" },
        { "", "a@good.example", "250 2.0.0" },
    };
    struct dialog *d = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct narrowing n;
        begin_with_two_domains(d, &n);
        char *text =
            xasprintf("MAIL FROM:<%s>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\nFrom: %s\r\n\r\n",
                      cases[i].sender, cases[i].from);
        dialog_say(d, text);
        dialog_expect("C-26", "250 2.1.0|250 2.1.5|354");
        remove_domain(d);
        dialog_say(d, "body" EOD);
        dialog_expect(cases[i].from, cases[i].want);
        dialog_end(d, STREAM_EOF);
        free(text);
    }
}

static void a_key_revoked_in_the_data_sends_nothing(void **state)
{
    struct dialog *d = *state;
    struct narrowing n;
    struct why why;
    uint64_t before = dialog_queued(d);

    begin_with_two_domains(d, &n);
    dialog_envelope(d);
    assert_int_equal(auth_key_revoke(d->auth, "operator", n.id, clock_wall_s(), &why), AUTH_DONE);
    dialog_say(d, M0 ".\r\nNOOP\r\n");
    dialog_expect("revoked", "550 5.7.1|421 4.7.0!");
    remove_domain(d);
    assert_int_equal(dialog_queued(d), before);
}

static void a_key_that_changes_right_before_the_commit_is_asked_by_the_writer(void **state)
{
    struct dialog *d = *state;
    struct narrowing n;
    struct why why;
    uint64_t before = dialog_queued(d);

    begin_with_two_domains(d, &n);
    dialog_envelope(d);
    assert_true(buf_add(&dialog_stream.kept, SLICE(M0 ".\r\n")));
    dialog_pump();
    remove_domain(d); /* not the one this message needs */
    dialog_settle(d);
    dialog_expect("another domain", "451 4.3.0");
    dialog_envelope(d);
    assert_true(buf_add(&dialog_stream.kept, SLICE(M0 ".\r\n")));
    dialog_pump();
    assert_int_equal(auth_key_revoke(d->auth, "operator", n.id, clock_wall_s(), &why), AUTH_DONE);
    dialog_settle(d);
    dialog_expect("revoked", "550 5.7.1");
    assert_int_equal(dialog_queued(d), before);
    dialog_end(d, STREAM_EOF);
}

static void a_test_key_never_asks_for_a_lease(void **state)
{
    struct dialog *d = *state;
    char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
    unsigned before = d->leased;

    dialog_add_key(
        d,
        &(struct auth_key_spec){
            .account = AUTH_DEFAULT_ACCOUNT, .name = "T", .scopes = AUTH_SEND, .test = true },
        secret, id);
    d->wants_lease = true;
    dialog_begin(d, secret);
    dialog_envelope(d);
    dialog_say(d, M0 ".\r\n");
    dialog_expect("test key", "250 2.0.0");
    assert_int_equal(d->leased, before);
    d->wants_lease = false;
    dialog_end(d, STREAM_EOF);
}

static void recipients_are_the_same_only_where_every_octet_is(void **state)
{
    static const struct {
        const char *second; /* of one length with the first, a@bc.example */
        size_t want;
    } cases[] = {
        { "ab@c.example", 2 }, { "a@bd.example", 2 }, { "b@bc.example", 2 },
        { "a@bc.example", 1 }, { "a@BC.EXAMPLE", 1 },
    };
    struct dialog *d = *state;

    d->wants_lease = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = xasprintf("MAIL FROM:<a@good.example>\r\nRCPT TO:<a@bc.example>\r\n"
                               "RCPT TO:<%s>\r\nDATA\r\n" M0 ".\r\n",
                               cases[i].second);
        dialog_begin(d, d->key);
        dialog_say(d, text);
        dialog_expect(cases[i].second, "250 2.1.0|250 2.1.5|250 2.1.5|354|250 2.0.0");
        if (d->leased_recipients != cases[i].want)
            fail_msg("%s: %zu recipients", cases[i].second, d->leased_recipients);
        dialog_end(d, STREAM_EOF);
        free(text);
    }
    d->wants_lease = false;
}

static void without_tls_the_trace_says_so_and_can_hide_who_it_was(void **state)
{
    struct dialog *d = *state;
    char *login = dialog_plain(d->key);

    d->door.tls = SMTP_TLS_NONE;
    d->door.auth_without_tls = true;
    d->wants_lease = true;
    for (int hidden = 0; hidden < 2; hidden++) {
        d->service.hide_client_address = hidden;
        dialog_connect(d);
        dialog_say(d, "EHLO ok.example\r\n");
        dialog_say(d, login);
        dialog_expect("begin", "220|250|235 2.7.0");
        dialog_envelope(d);
        dialog_say(d, M0 ".\r\n");
        dialog_expect("accepted", "250 2.0.0");
        assert_true(stored(d, "ESMTPA"));
        assert_false(stored(d, "ESMTPSA"));
        assert_false(stored(d, "TLSv1"));
        assert_int_equal(stored(d, "192.0.2.7"), !hidden);
        dialog_end(d, STREAM_EOF);
    }
    d->wants_lease = d->service.hide_client_address = false;
    d->door = (struct smtp_door){ .name = "test", .tls = SMTP_TLS_STARTTLS };
    free(login);
}

static void a_service_that_delivers_nothing_leaves_messages_to_the_queue(void **state)
{
    struct dialog *d = *state;
    uint64_t before = dialog_queued(d);
    unsigned leased = d->leased;

    d->service.wants_lease = NULL;
    dialog_begin(d, d->key);
    dialog_envelope(d);
    dialog_say(d, M0 ".\r\n");
    dialog_expect("accepted", "250 2.0.0");
    dialog_end(d, STREAM_EOF);
    d->service.wants_lease = dialog_wants;
    assert_int_equal(d->leased, leased);
    assert_int_equal(dialog_queued(d), before + 1);
}

static void whoever_left_is_asked_about_no_key_that_was_revoked_meanwhile(void **state)
{
    struct dialog *d = *state;
    struct narrowing n;
    struct why why;
    uint64_t before = dialog_queued(d);

    begin_with_two_domains(d, &n);
    dialog_envelope(d);
    assert_true(buf_add(&dialog_stream.kept, SLICE(M0 ".\r\n")));
    dialog_pump();
    dialog_stream.closed = true;
    dialog_stream.events->on_end(dialog_stream.owner, STREAM_RESET);
    assert_int_equal(auth_key_revoke(d->auth, "operator", n.id, clock_wall_s(), &why), AUTH_DONE);
    dialog_settle(d);
    assert_int_equal(d->service.session_count, 0);
    assert_int_equal(dialog_queued(d), before);
    remove_domain(d);
}

/* A queue of its own, so that the usual one does not get to know a full disk. */
static struct queue *open_another_queue(const struct dialog *d)
{
    char *path = xasprintf("%s/another.db", d->folder);
    struct queue_options options = {
        .path = path,
        .schedule = { .retry_ms = { 60000 }, .retry_count = 1, .max_age_ms = 86400000 },
    };
    struct queue *queue = NULL;
    struct why why = { "" };

    if (!queue_open(&queue, &options, &why))
        fail_msg("%s", why.text);
    free(path);
    return queue;
}

/* No file of this process can grow: that fails as a full disk does. */
static void fill_disk(bool full)
{
    static struct rlimit usual;
    struct rlimit tight;

    if (full) {
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
        tight = (struct rlimit){ 0, usual.rlim_max };
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, full ? &tight : &usual), 0);
}

static void a_disk_that_fills_while_the_data_comes_is_told_at_the_end(void **state)
{
    static const size_t sizes[] = { 640, 128 * 1024, 1 << 20 }; /* in the row, in chunks */
    struct dialog *d = *state;
    struct queue *usual = d->queue, *other;

    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        other = open_another_queue(d);
        d->queue = d->service.queue = other;
        dialog_begin(d, d->key);
        dialog_envelope(d);
        fill_disk(true);
        dialog_say(d, GOOD_FROM "\r\n");
        send_body(d, sizes[i]);
        dialog_say(d, ".\r\n");
        fill_disk(false);
        dialog_expect("full", "452 4.3.1");
        dialog_end(d, STREAM_EOF);
        assert_int_equal(dialog_queued(d), 0);
        d->queue = d->service.queue = usual;
        queue_stop(other);
        mailbox_drain(&d->loop.mailbox);
        queue_free(other);
    }
}

static int open_all(void **state)
{
    static struct dialog d;

    dialog_open(&d);
    *state = &d;
    return 0;
}

static int close_all(void **state)
{
    dialog_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_answered_once_at_its_true_end),
        cmocka_unit_test(what_is_pipelined_behind_a_message_waits_for_its_commit),
        cmocka_unit_test(a_leased_message_is_fixed_up_and_handed_over),
        cmocka_unit_test(large_messages_go_to_the_queue_in_chunks),
        cmocka_unit_test(reading_stops_while_two_chunks_wait_for_the_disk),
        cmocka_unit_test(a_message_over_the_limit_is_read_to_its_end),
        cmocka_unit_test(a_header_may_be_large_but_not_larger),
        cmocka_unit_test(the_limit_of_the_header_is_the_same_at_any_cut),
        cmocka_unit_test(a_message_that_goes_in_circles_is_refused),
        cmocka_unit_test(a_message_that_comes_again_is_answered_and_not_queued),
        cmocka_unit_test(a_token_is_not_relayed),
        cmocka_unit_test(leaving_in_the_middle_leaves_nothing_behind),
        cmocka_unit_test(leaving_before_the_answer_loses_no_message),
        cmocka_unit_test(a_key_narrowed_in_the_data_is_asked_again_at_its_end),
        cmocka_unit_test(a_key_revoked_in_the_data_sends_nothing),
        cmocka_unit_test(a_key_that_changes_right_before_the_commit_is_asked_by_the_writer),
        cmocka_unit_test(a_test_key_never_asks_for_a_lease),
        cmocka_unit_test(recipients_are_the_same_only_where_every_octet_is),
        cmocka_unit_test(without_tls_the_trace_says_so_and_can_hide_who_it_was),
        cmocka_unit_test(a_service_that_delivers_nothing_leaves_messages_to_the_queue),
        cmocka_unit_test(whoever_left_is_asked_about_no_key_that_was_revoked_meanwhile),
        cmocka_unit_test(a_disk_that_fills_while_the_data_comes_is_told_at_the_end),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
