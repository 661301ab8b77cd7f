/* fuzz_session.c - does a whole session keep its word, whatever comes, in whatever pieces, and
 * however long that takes?
 * The input is what the client sends, but for a few bytes that stand for what it cannot spell: the
 * end of a piece, time that passes, a login with a key that works. What must hold besides that
 * nothing breaks: every reply is one (dialog_codes() looks), what was stored has CR LF at the end
 * of its lines and nowhere else, one From field, that of the key, and no Bcc, and there is nothing
 * stored that was not acknowledged to somebody who had logged in. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* What smtp_dialog.h asks of cmocka. */
#define assert_true(condition)   check((condition), #condition)
#define assert_false(condition)  check(!(condition), "not " #condition)
#define assert_non_null(pointer) check((pointer) != NULL, #pointer)
#define assert_int_equal(a, b)   check((a) == (b), #a " == " #b)
#define fail_msg(...)            (fprintf(stderr, __VA_ARGS__), abort())

#include "tests/support/smtp_dialog.h"

enum code {
    CODE_CUT = 0xf0,    /* what came so far is a piece of its own */
    CODE_WAIT = 0xf1,   /* as many seconds pass as the next byte says */
    CODE_LOGIN = 0xf2,  /* "AUTH PLAIN ..." with the key */
    CODE_STUCK = 0xf3,  /* the client stops reading, or begins again */
    CODE_MESSAGE = 0xf4 /* a good message up to its end */
};

static struct dialog dialog;
static char *login;

static void put_away(void)
{
    free(login);
    dialog_close(&dialog);
}

/* Once: the stores outlive an input, since opening them takes longer than the rest. */
static void prepare(void)
{
    if (login != NULL)
        return;
    setenv("TMPDIR", "/dev/shm", 0);
    dialog_open(&dialog);
    dialog.wants_lease = true;
    dialog.service.limits.recipients = 3;
    dialog.service.limits.header_bytes = 2000;
    dialog.service.limits.message_bytes = 200000;
    login = dialog_plain(dialog.key);
    atexit(put_away);
}

/* --- what was stored -------------------------------------------------------------------------- */

static void check_content(struct slice content)
{
    struct slice rest = content;
    unsigned froms = 0;
    bool in_header = true;

    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        check(line.len > 0 && line.data[line.len - 1] == '\r', "a line ends with CR LF");
        line = slice_first(line, line.len - 1);
        check(slice_find(line, '\r') == SLICE_NONE, "no CR stands alone");
        in_header = in_header && line.len > 0;
        if (!in_header)
            continue;
        check(!slice_starts_nocase(line, SLICE("Bcc:")), "there is no Bcc");
        froms += slice_starts_nocase(line, SLICE("From:"));
    }
    check(content.len > 0 && content.data[content.len - 1] == '\n', "the last line ends");
    check(froms == 1, "there is one From");
}

/* --- playing ---------------------------------------------------------------------------------- */

static void send_piece(struct buf *piece)
{
    if (buf_len(piece) == 0)
        return;
    dialog_send(&dialog, buf_slice(piece));
    buf_clear(piece);
    if (!dialog_is_over() && dialog_stream.tls_asked && !dialog_stream.secure)
        dialog_secure(&dialog);
}

static void pass_time(int64_t seconds)
{
    dialog_now_us += seconds * 1000000;
    if (dialog_is_over() || dialog_stream.deadline_ms == 0)
        return;
    if (dialog_stream.deadline_ms > (uint64_t)seconds * 1000) {
        dialog_stream.deadline_ms -= (uint64_t)seconds * 1000;
        return;
    }
    dialog_stream.deadline_ms = 0;
    dialog_stream.events->on_deadline(dialog_stream.owner);
    dialog_settle(&dialog);
}

static void toggle_reading(void)
{
    if (dialog_is_over())
        return;
    dialog_stream.unwritten = dialog_stream.unwritten > 0 ? 0 : STREAM_HIGH_WATER + 1;
    if (dialog_stream.unwritten == 0)
        dialog_stream.events->on_drained(dialog_stream.owner);
    dialog_settle(&dialog);
}

static void play(struct slice input, struct buf *piece)
{
    bool ok = true;

    for (size_t i = 0; i < input.len && !dialog_is_over(); i++) {
        switch ((unsigned char)input.data[i]) {
        case CODE_CUT:
            send_piece(piece);
            break;
        case CODE_WAIT:
            send_piece(piece);
            pass_time(++i < input.len ? (unsigned char)input.data[i] : 0);
            break;
        case CODE_LOGIN:
            ok = buf_add(piece, slice_of(login));
            break;
        case CODE_STUCK:
            send_piece(piece);
            toggle_reading();
            break;
        case CODE_MESSAGE:
            ok = buf_add(piece, SLICE(M0 ".\r\n"));
            break;
        default:
            ok = buf_add_byte(piece, input.data[i]);
        }
        check(ok, "there is room");
    }
    send_piece(piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum smtp_tls doors[] = { SMTP_TLS_STARTTLS, SMTP_TLS_IMPLICIT, SMTP_TLS_NONE };
    struct buf piece;

    if (size < 1)
        return 0;
    prepare();
    buf_init(&piece, 64 << 20);
    dialog.leased = 0;
    buf_clear(&dialog.stored);
    dialog_now_us += 3600000000; /* the failed logins of the input before are forgotten */
    dialog.door.tls = doors[data[0] % ARRAY_LEN(doors)];
    dialog.door.auth_without_tls = dialog.door.tls == SMTP_TLS_NONE;
    dialog_connect(&dialog);
    if (dialog.door.tls == SMTP_TLS_IMPLICIT)
        dialog_secure(&dialog);
    play(slice_make(data + 1, size - 1), &piece);
    if (buf_len(&dialog.stored) > 0) /* else it was stored in chunks */
        check_content(buf_slice(&dialog.stored));
    dialog_end(&dialog, STREAM_EOF);

    struct slice said = buf_slice(&dialog_stream.out);
    unsigned queued = 0;
    bool logged_in = false;
    while (said.len > 0) {
        struct slice line = slice_cut(&said, '\n');
        logged_in = logged_in || slice_starts_nocase(line, SLICE("235 "));
        queued += slice_starts_nocase(line, SLICE("250 2.0.0 queued as "));
    }
    check(queued == 0 || logged_in, "only who logged in hears of a queued message");
    check(queued <= dialog.leased && dialog.leased <= queued + 1,
          "what is stored is acknowledged, unless the client left meanwhile");
    dialog_codes();
    check(dialog.service.session_count == 0, "the session is gone");
    buf_free(&piece);
    return 0;
}
