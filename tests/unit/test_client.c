/* test_client.c - what does a connection say to an upstream, and what does it make of the replies?
 * Each row is a script for the fake upstream and the fates that must come of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/fake_upstream.h"
#include "tests/support/job_desk.h"

#define U          UPSTREAM_UNTRIED
#define D          UPSTREAM_DELIVERED
#define L          UPSTREAM_LATER
#define N          UPSTREAM_NEVER
#define Q          UPSTREAM_UNCERTAIN

#define EHLO_PLAIN "250 fake\r\n" /* nothing offered: one command at a time */

struct row {
    const char *name;
    struct fake_row script[5];  /* the last one ends it */
    enum upstream_fate want[3]; /* of r1, r2, r3 */
    int code;                   /* of r1 */
    const char *text;           /* part of r1's */
    unsigned messages;          /* taken by the upstream */
    bool hangs;                 /* the timeouts are short */
};

static void check_row(const struct row *row, const struct desk_job *asked,
                      const struct fake_upstream *fake)
{
    for (size_t i = 0; i < 3; i++)
        if (asked->recipients[i].fate != row->want[i])
            fail_msg("%s: r%zu came to %d (%s), not %d", row->name, i + 1,
                     (int)asked->recipients[i].fate, asked->recipients[i].text, (int)row->want[i]);
    if (asked->recipients[0].code != row->code)
        fail_msg("%s: code %d, not %d", row->name, asked->recipients[0].code, row->code);
    if (asked->recipients[0].text == NULL || strstr(asked->recipients[0].text, row->text) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", row->name, asked->recipients[0].text, row->text);
    if (fake->messages != row->messages)
        fail_msg("%s: %u messages were taken", row->name, fake->messages);
    bool content_sent = row->want[0] == D || row->want[1] == D || row->want[2] == D ||
                        row->want[0] == Q || row->messages > 0;
    if (content_sent != fake_heard(fake, "hello") &&
        (row->script[0].when == NULL || strcmp(row->script[0].when, ".") != 0))
        fail_msg("%s: the content was %s", row->name, content_sent ? "not sent" : "sent");
}

static void run_row(const struct row *row, const char *ehlo)
{
    struct fake_options options = { .rows = row->script, .ehlo = ehlo };
    struct fake_upstream fake;
    struct job_desk desk;
    struct desk_job asked;

    desk_open(&desk);
    fake_start(&fake, &desk.loop, &options);
    struct upstream_options upstream = desk_options(fake.port);

    if (row->hangs)
        upstream.timeouts = (struct upstream_timeouts){ 40, 40, 40, 40, 40, 40, 40 };
    desk_open_upstream(&desk, &upstream);
    desk_job_init(&desk, &asked, 3);
    desk_send(&desk, &asked);
    check_row(row, &asked, &fake);
    desk_job_free(&asked);
    desk_close_upstream(&desk);
    fake_stop(&fake);
    desk_close(&desk);
}

/* Recipient by recipient and all at once must come to the same. */
static void run_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        run_row(&rows[i], FAKE_EHLO);
        run_row(&rows[i], EHLO_PLAIN);
    }
}

static void each_recipient_has_the_fate_that_the_replies_give_it(void **state)
{
    static const struct row rows[] = {
        { "all is well", { { NULL, NULL, 0, 0 } }, { D, D, D }, 250, "taken", 1, false },
        { "F-14",
          { { "RCPT TO:<r2", "450 4.2.1 busy\r\n", 0, 0 },
            { "RCPT TO:<r3", "550 5.1.1 unknown\r\n", 0, 0 } },
          { D, L, N },
          250,
          "taken",
          1,
          false },
        { "251 and 252 are yes",
          { { "RCPT TO:<r1", "251 forwarded\r\n", 0, 0 },
            { "RCPT TO:<r2", "252 we shall see\r\n", 0, 0 } },
          { D, D, D },
          250,
          "taken",
          1,
          false },
        { "MAIL 4yz",
          { { "MAIL", "451 4.3.0 later\r\n", 0, 0 },
            { "RCPT", "503 no\r\n", 0, 0 },
            { "DATA", "503 no\r\n", 0, 0 } },
          { L, L, L },
          451,
          "later",
          0,
          false },
        { "MAIL 5yz",
          { { "MAIL", "553 5.1.8 not you\r\n", 0, 0 },
            { "RCPT", "503 no\r\n", 0, 0 },
            { "DATA", "503 no\r\n", 0, 0 } },
          { N, N, N },
          553,
          "not you",
          0,
          false },
        { "every RCPT 5yz",
          { { "RCPT", "550 5.1.1 unknown\r\n", 0, 0 }, { "DATA", "554 5.5.1 nobody\r\n", 0, 0 } },
          { N, N, N },
          550,
          "unknown",
          0,
          false },
        { "DATA 4yz",
          { { "DATA", "452 4.3.1 full\r\n", 0, 0 } },
          { L, L, L },
          452,
          "full",
          0,
          false },
        { "DATA 5yz behind a refused RCPT",
          { { "DATA", "554 5.7.1 spam\r\n", 0, 0 }, { "RCPT TO:<r2", "450 busy\r\n", 0, 0 } },
          { N, L, N },
          554,
          "spam",
          0,
          false },
        { "dot 4yz",
          { { ".", "451 4.7.1 greylisted\r\n", 0, 0 } },
          { L, L, L },
          451,
          "greylisted",
          0,
          false },
        { "dot 5yz",
          { { ".", "554 5.7.1 spam\r\n", 0, 0 }, { "RCPT TO:<r2", "450 busy\r\n", 0, 0 } },
          { N, L, N },
          554,
          "spam",
          0,
          false },
        { "many lines",
          { { ".", "550-5.7.1 first\r\n550 5.7.1 second\r\n", 0, 0 } },
          { N, N, N },
          550,
          "first second",
          0,
          false },
        { "RSET 500 after a refusal",
          { { "MAIL", "451 later\r\n", 0, 0 },
            { "RSET", "500 what\r\n", 0, 0 },
            { "RCPT", "503 no\r\n", 0, 0 },
            { "DATA", "503 no\r\n", 0, 0 } },
          { L, L, L },
          451,
          "later",
          0,
          false },
        { "QUIT 354", { { "QUIT", "354 go on\r\n", 0, 0 } }, { D, D, D }, 250, "taken", 1, false },
    };

    (void)state;
    run_rows(rows, ARRAY_LEN(rows));
}

static void a_reply_that_makes_no_sense_is_a_protocol_error(void **state)
{
    static const struct row rows[] = {
        { "DATA 250", { { "DATA", "250 ok\r\n", 0, 0 } }, { L, L, L }, 0, "250 ok", 0, false },
        { "DATA 220", { { "DATA", "220 ok\r\n", 0, 0 } }, { L, L, L }, 0, "220 ok", 0, false },
        { "DATA banana",
          { { "DATA", "banana\r\n", 0, 0 } },
          { L, L, L },
          0,
          "not a reply",
          0,
          false },
        { "DATA 3540", { { "DATA", "3540\r\n", 0, 0 } }, { L, L, L }, 0, "not a reply", 0, false },
        { "DATA empty line",
          { { "DATA", "\r\n", 0, 0 } },
          { L, L, L },
          0,
          "not a reply",
          0,
          false },
        { "DATA 334", { { "DATA", "334 go on\r\n", 0, 0 } }, { L, L, L }, 0, "334", 0, false },
        { "DATA 354 by LF",
          { { "DATA", "354 go on\n", 0, 0 } },
          { L, L, L },
          0,
          "bare LF",
          0,
          false },
        { "MAIL 354", { { "MAIL", "354 go on\r\n", 0, 0 } }, { L, L, L }, 0, "354", 0, false },
        { "MAIL 220", { { "MAIL", "220 hello\r\n", 0, 0 } }, { L, L, L }, 0, "220", 0, false },
        { "RCPT 354",
          { { "RCPT TO:<r2", "354 go on\r\n", 0, 0 } },
          { L, L, L },
          0,
          "354",
          0,
          false },
        { "RCPT 354 behind a refusal, which may have been meant for another command",
          { { "RCPT TO:<r2", "354 go on\r\n", 0, 0 }, { "RCPT TO:<r1", "550 no\r\n", 0, 0 } },
          { L, L, L },
          0,
          "354",
          0,
          false },
        { "DATA banana behind refusals",
          { { "DATA", "banana\r\n", 0, 0 },
            { "RCPT TO:<r1", "450 busy\r\n", 0, 0 },
            { "RCPT TO:<r2", "550 no\r\n", 0, 0 } },
          { L, L, L },
          450,
          "busy",
          0,
          false },
        { "dot banana behind a refusal, which 354 has shown to be in its place",
          { { ".", "banana\r\n", 0, 0 }, { "RCPT TO:<r1", "550 no\r\n", 0, 0 } },
          { N, Q, Q },
          550,
          "no",
          0,
          false },
        { "dot 354", { { ".", "354 more\r\n", 0, 0 } }, { Q, Q, Q }, 0, "354", 0, false },
        { "dot banana", { { ".", "banana\r\n", 0, 0 } }, { Q, Q, Q }, 0, "not a reply", 0, false },
        { "two replies to one dot",
          { { ".", "250 taken\r\n250 again\r\n", 0, 0 } },
          { D, D, D },
          250,
          "taken",
          1,
          false },
        { "two replies to EHLO",
          { { "EHLO", "250 a\r\n250 b\r\n", 0, 0 } },
          { U, U, U },
          0,
          "more than it was asked",
          0,
          false },
    };

    (void)state;
    run_rows(rows, ARRAY_LEN(rows));
}

static void a_connection_that_ends_leaves_nobody_in_doubt_but_after_the_dot(void **state)
{
    static const struct row rows[] = {
        { "drop at once", { { "BANNER", FAKE_DROP, 0, 0 } }, { U, U, U }, 0, "greeting", 0, false },
        { "drop at EHLO", { { "EHLO", FAKE_DROP, 0, 0 } }, { U, U, U }, 0, "EHLO", 0, false },
        { "drop at MAIL", { { "MAIL", FAKE_DROP, 0, 0 } }, { L, L, L }, 0, "MAIL", 0, false },
        { "drop at RCPT",
          { { "RCPT TO:<r2", FAKE_DROP, 0, 0 } },
          { L, L, L },
          0,
          "RCPT",
          0,
          false },
        { "drop at DATA", { { "DATA", FAKE_DROP, 0, 0 } }, { L, L, L }, 0, "DATA", 0, false },
        { "F-15", { { ".", FAKE_DROP, 0, 0 } }, { Q, Q, Q }, 0, "final dot", 0, false },
        { "F-15 with a refused one",
          { { ".", FAKE_DROP, 0, 0 }, { "RCPT TO:<r1", "550 5.1.1 no\r\n", 0, 0 } },
          { N, Q, Q },
          550,
          "no",
          0,
          false },
        { "drop in a reply to the dot",
          { { ".", "250-ta", 0, true } },
          { Q, Q, Q },
          0,
          "final dot",
          1,
          false },
        { "drop at QUIT", { { "QUIT", FAKE_DROP, 0, 0 } }, { D, D, D }, 250, "taken", 1, false },
        { "421 at MAIL",
          { { "MAIL", "421 4.3.2 going down\r\n", 0, true } },
          { L, L, L },
          421,
          "going down",
          0,
          false },
        { "421 at RCPT",
          { { "RCPT TO:<r2", "421 4.3.2 going down\r\n", 0, true },
            { "RCPT TO:<r1", "550 5.1.1 no\r\n", 0, 0 } },
          { N, L, L },
          550,
          "no",
          0,
          false },
        { "421 behind a refusal, in one breath",
          { { "RCPT TO:<r3", "550 5.1.1 no\r\n421 4.3.2 going down\r\n", 0, true } },
          { L, L, N },
          421,
          "going down",
          0,
          false },
        { "421 at DATA",
          { { "DATA", "421 4.3.2 going down\r\n", 0, true } },
          { L, L, L },
          421,
          "going down",
          0,
          false },
        { "421 at the dot",
          { { ".", "421 4.3.2 going down\r\n", 0, true } },
          { L, L, L },
          421,
          "going down",
          0,
          false },
    };

    (void)state;
    run_rows(rows, ARRAY_LEN(rows));
}

static void only_220_is_ready(void **state)
{
    static const char *const greetings[] = {
        "221 bye\r\n",     "354 go on\r\n",      "421 busy\r\n", "500 what\r\n",       "530 no\r\n",
        "554 not you\r\n", "250 fake ready\r\n", "banana\r\n",   "220-a\r\n221 b\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
        struct row row = {
            greetings[i], { { "BANNER", greetings[i], 0, 0 } }, { U, U, U }, 0, "127.0.0.1 port", 0,
            false
        };

        run_row(&row, FAKE_EHLO);
    }
}

static void silence_ends_each_step(void **state)
{
    static const struct row rows[] = {
        { "banner",
          { { "BANNER", FAKE_HANG, 0, 0 } },
          { U, U, U },
          0,
          "greeting was not answered",
          0,
          true },
        { "banner that does not end",
          { { "BANNER", "220-a\r\n220-b\r\n", 0, 0 } },
          { U, U, U },
          0,
          "greeting was not answered",
          0,
          true },
        { "EHLO", { { "EHLO", FAKE_HANG, 0, 0 } }, { U, U, U }, 0, "EHLO was not", 0, true },
        { "MAIL",
          { { "MAIL", FAKE_HANG, 0, 0 }, { "RCPT", FAKE_HANG, 0, 0 }, { "DATA", FAKE_HANG, 0, 0 } },
          { L, L, L },
          0,
          "MAIL was not",
          0,
          true },
        { "RCPT",
          { { "RCPT", FAKE_HANG, 0, 0 }, { "DATA", FAKE_HANG, 0, 0 } },
          { L, L, L },
          0,
          "RCPT was not",
          0,
          true },
        { "DATA", { { "DATA", FAKE_HANG, 0, 0 } }, { L, L, L }, 0, "DATA was not", 0, true },
        { "dot", { { ".", FAKE_HANG, 0, 0 } }, { Q, Q, Q }, 0, "final dot was not", 0, true },
        { "QUIT", { { "QUIT", FAKE_HANG, 0, 0 } }, { D, D, D }, 250, "taken", 1, true },
    };

    (void)state;
    run_rows(rows, ARRAY_LEN(rows));
}

/* --- one conversation, looked at closely ------------------------------------------------------ */

struct scene {
    struct job_desk desk;
    struct fake_upstream fake;
    struct desk_job asked;
    struct upstream_options options;
};

static void scene_open(struct scene *scene, const struct fake_options *options)
{
    desk_open(&scene->desk);
    fake_start(&scene->fake, &scene->desk.loop, options);
    scene->options = desk_options(scene->fake.port);
    desk_job_init(&scene->desk, &scene->asked, 1);
}

static void scene_send(struct scene *scene)
{
    desk_open_upstream(&scene->desk, &scene->options);
    desk_send(&scene->desk, &scene->asked);
}

static void scene_close(struct scene *scene)
{
    desk_job_free(&scene->asked);
    desk_close_upstream(&scene->desk);
    fake_stop(&scene->fake);
    desk_close(&scene->desk);
}

static void expect_wire(const struct scene *scene, const char *want)
{
    if (!slice_equal(buf_slice(&scene->fake.wire), slice_of(want)))
        fail_msg("the wire had:\n%.*s\nand not:\n%s", SLICE_ARG(buf_slice(&scene->fake.wire)),
                 want);
}

static void the_wire_has_exactly_these_bytes(void **state)
{
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ 0 });
    scene.asked.job.content = SLICE("S: .\r\n\r\n.a\r\n..\r\nno end");
    scene.asked.job.size = 22;
    scene.asked.job.eight_bit = true;
    scene_send(&scene);
    desk_close_upstream(&scene.desk);
    DESK_UNTIL(&scene.desk, scene.fake.quits > 0);
    expect_wire(&scene, "EHLO relay.good.example\r\n"
                        "MAIL FROM:<a@good.example> SIZE=22 BODY=8BITMIME\r\n"
                        "RCPT TO:<r1@dest.example>\r\n"
                        "DATA\r\n"
                        "S: .\r\n\r\n..a\r\n...\r\nno end\r\n.\r\n"
                        "QUIT\r\n");
    scene_close(&scene);
}

#define CROWD 140

/* Commands are collected in a buffer of 64 KiB. The 128th recipient makes the group fill it to the
 * last byte, or to the last but one, so that its CRLF does not fit behind it. */
static void a_large_group_is_cut_between_commands(void **state)
{
    (void)state;
    for (size_t spare = 0; spare < 2; spare++) {
        static char addresses[CROWD][512];
        struct upstream_recipient recipients[CROWD] = { 0 };
        struct scene scene;

        scene_open(&scene, &(struct fake_options){ 0 });
        size_t mail = strlen("MAIL FROM:<a@good.example> SIZE=xx\r\n");
        for (size_t i = 0; i < CROWD; i++) { /* each command is as long as 1/128 of the buffer */
            size_t len = 512 - strlen("RCPT TO:<>\r\n");

            if (i == 127)
                len += 2 - mail - spare;
            memset(addresses[i], 'r', len);
            memcpy(addresses[i] + len - strlen("@dest.example"), "@dest.example", 14);
            recipients[i].address = addresses[i];
        }
        scene.asked.job.recipients = recipients;
        scene.asked.job.recipient_count = CROWD;
        scene_send(&scene);
        assert_false(fake_heard(&scene.fake, ">RCPT"));
        for (size_t i = 0; i < CROWD; i++)
            if (recipients[i].fate != UPSTREAM_DELIVERED)
                fail_msg("recipient %zu: %s", i, recipients[i].text);
        scene_close(&scene);
    }
}

static void when_nobody_is_left_a_lone_dot_ends_the_group(void **state)
{
    static const struct fake_row rows[] = { { "RCPT", "550 5.1.1 no\r\n", 1, 0 },
                                            { ".", "554 5.5.1 nobody\r\n", 1, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene scene;
    struct desk_job second;

    (void)state;
    scene_open(&scene, &(struct fake_options){ .rows = rows });
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_NEVER);
    assert_false(fake_heard(&scene.fake, "hello"));
    assert_true(fake_heard(&scene.fake, "DATA\r\n.\r\n"));
    desk_job_init(&scene.desk, &second, 1);
    desk_send(&scene.desk, &second);
    assert_int_equal(second.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_int_equal(scene.fake.connections, 1); /* and it goes on */
    desk_job_free(&second);
    scene_close(&scene);
}

static void recipients_behind_a_refused_mail_get_no_empty_message(void **state)
{
    static const struct fake_row rows[] = {
        { "MAIL", "550 5.7.1 not you\r\n", 1, 0 },
        { "RCPT", "250 ok\r\n", 1, 0 },
        { "DATA", "354 go\r\n", 1, 0 },
        { NULL, NULL, 0, 0 },
    };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ .rows = rows });
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_NEVER);
    assert_int_equal(scene.asked.recipients[0].code, 550);
    scene_close(&scene);
    assert_int_equal(scene.fake.messages, 0);
}

static void helo_is_the_way_to_servers_that_know_no_more(void **state)
{
    static const struct fake_row rows[] = {
        { "EHLO", "502-5.5.1 what\r\n502-SIZE 1\r\n502 8BITMIME\r\n", 0, 0 }, { NULL, NULL, 0, 0 }
    };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ .rows = rows });
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_true(
        fake_heard(&scene.fake, "HELO relay.good.example\r\nMAIL FROM:<a@good.example>\r\n"));
    scene_close(&scene);

    scene_open(&scene, &(struct fake_options){ .rows = rows });
    scene.options.username = "u";
    scene.options.password = "p";
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_UNTRIED);
    assert_false(fake_heard(&scene.fake, "HELO"));
    scene_close(&scene);
}

static void what_the_upstream_cannot_take_is_not_sent(void **state)
{
    static const struct {
        const char *ehlo;
        uint64_t size;
        bool eight_bit;
        const char *enhanced; /* NULL: it is sent */
    } cases[] = {
        { "250-fake\r\n250 SIZE 1000\r\n", 5000, false, "5.3.4" },
        { "250-fake\r\n250 SIZE 1000\r\n", 1000, false, NULL },
        { "250-fake\r\n250 SIZE 0\r\n", 5000, false, NULL },
        { "250-fake\r\n250 SIZE\r\n", 5000, false, NULL },
        { "250-fake\r\n250 SIZE banana\r\n", 5000, false, NULL },
        { "250-fake\r\n250 size 99999999999999999999\r\n", 5000, false, NULL },
        { "250 fake\r\n", 40, true, "5.6.3" },
        { "250-fake\r\n250 8bitmime\r\n", 40, true, NULL },
        { "250 8BITMIME\r\n", 40, true, "5.6.3" }, /* the first line is a name */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene scene;

        scene_open(&scene, &(struct fake_options){ .ehlo = cases[i].ehlo });
        scene.asked.job.size = cases[i].size;
        scene.asked.job.eight_bit = cases[i].eight_bit;
        scene_send(&scene);
        const struct upstream_recipient *got = &scene.asked.recipients[0];
        bool sent = cases[i].enhanced == NULL;

        if (got->fate != (sent ? UPSTREAM_DELIVERED : UPSTREAM_NEVER) ||
            fake_heard(&scene.fake, "MAIL") != sent ||
            (!sent && strcmp(got->enhanced, cases[i].enhanced) != 0))
            fail_msg("row %zu: %d %s %s", i, (int)got->fate, got->enhanced, got->text);
        scene_close(&scene);
    }
}

static void what_could_smuggle_is_quarantined_before_mail(void **state)
{
    static const struct {
        struct slice content;
        const char *sender, *recipient;
    } cases[] = {
        { { "x\n.\nMAIL FROM:<y@victim.example>\r\n", 33 }, "a@good.example", "r@dest.example" },
        { { "x\r.\r", 4 }, "a@good.example", "r@dest.example" },
        { { "x\0\r\n", 4 }, "a@good.example", "r@dest.example" },
        { { "x\r\n", 3 }, "a@good.example>\r\nRCPT TO:<v@victim.example", "r@dest.example" },
        { { "x\r\n", 3 }, "a@good.example", "r@dest.example> NOTIFY=NEVER" },
        { { "x\r\n", 3 }, "a@good.example", "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene scene;

        scene_open(&scene, &(struct fake_options){ 0 });
        scene.asked.job.content = cases[i].content;
        scene.asked.job.sender = cases[i].sender;
        scene.asked.recipients[0].address = cases[i].recipient;
        scene_send(&scene);
        if (scene.asked.recipients[0].fate != UPSTREAM_NEVER || fake_heard(&scene.fake, "MAIL") ||
            !desk_logged(&scene.desk, "quarantined"))
            fail_msg("row %zu: %s", i, scene.asked.recipients[0].text);
        scene_close(&scene);
    }
}

/* --- contents in chunks ----------------------------------------------------------------------- */

static void chunks_are_sent_in_order_and_stuffed_across_their_seams(void **state)
{
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r", 14 },
                                           { "\n.second\r\n", 10 },
                                           { ".third", 6 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ 0 });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = 3;
    scene.asked.chunks = chunks;
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_int_equal(scene.asked.asked, 3);
    assert_true(slice_equal(buf_slice(&scene.fake.content),
                            SLICE("a: b\r\n\r\nfirst\r\n..second\r\n..third\r\n.\r\n")));
    scene_close(&scene);
}

/* Far more than sockets hold, so that the sender has to wait for the reader. */
static void a_large_content_passes_in_full_chunks(void **state)
{
    enum { COUNT = 200, BYTES = 64 * 1024 };
    static struct slice chunks[COUNT];
    char *block = xmalloc(BYTES);
    struct scene scene;

    (void)state;
    for (size_t i = 0; i < BYTES; i += 64)
        memcpy(block + i, ".23456789012345678901234567890123456789012345678901234567890xx\r\n", 64);
    for (size_t i = 0; i < COUNT; i++)
        chunks[i] = slice_make(block, BYTES);
    scene_open(&scene, &(struct fake_options){ .ehlo = EHLO_PLAIN });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = COUNT;
    scene.asked.chunks = chunks;
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_int_equal(buf_len(&scene.fake.content), (size_t)COUNT * (BYTES + BYTES / 64) + 3);
    scene_close(&scene);
    free(block);
}

static void a_chunk_that_must_not_leave_ends_the_connection_before_the_dot(void **state)
{
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r\n", 15 },
                                           { ".\nMAIL", 6 },
                                           { "x\r\n", 3 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ 0 });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = 3;
    scene.asked.chunks = chunks;
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_NEVER);
    assert_true(desk_logged(&scene.desk, "quarantined"));
    assert_int_equal(scene.asked.asked, 2);
    DESK_UNTIL(&scene.desk, scene.fake.open == 0);
    assert_int_equal(scene.fake.messages, 0);
    assert_false(fake_heard(&scene.fake, "MAIL\r"));
    assert_false(fake_heard(&scene.fake, "\r\n.\r\n"));
    scene_close(&scene);
}

static void a_chunk_that_cannot_be_read_breaks_off_before_the_dot(void **state)
{
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r\n", 15 }, { "", 0 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ 0 });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = 2;
    scene.asked.chunks = chunks;
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_LATER);
    DESK_UNTIL(&scene.desk, scene.fake.open == 0);
    assert_int_equal(scene.fake.messages, 0);
    scene_close(&scene);
}

/* The owner must not hear the end of a job while it still owes a chunk for it. */
static void a_job_comes_back_only_after_the_chunk_it_asked_for(void **state)
{
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r\n", 15 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ 0 });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = 1;
    scene.asked.chunks = chunks;
    scene.asked.silent = true;
    desk_open_upstream(&scene.desk, &scene.options);
    desk_deliver(&scene.desk, &scene.asked);
    DESK_UNTIL(&scene.desk, scene.asked.asked > 0);
    fake_drop_all(&scene.fake);
    DESK_UNTIL(&scene.desk, desk_logged(&scene.desk, "upstream_failed"));
    for (int i = 0; i < 5; i++)
        uv_run(&scene.desk.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(scene.asked.done, 0);
    desk_give_chunk(&scene.asked, 0);
    assert_int_equal(scene.asked.done, 0); /* and not from inside */
    DESK_UNTIL(&scene.desk, scene.asked.done > 0);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_LATER);
    scene_close(&scene);
}

static void a_refusal_need_not_wait_for_the_dot(void **state)
{
    static const struct {
        const char *said;
        enum upstream_fate want;
        int code;
    } rows[] = {
        { "552 5.3.4 too large\r\n", UPSTREAM_NEVER, 552 },
        { "452-4.3.1 full\r\n452 4.3.1 for now\r\n", UPSTREAM_LATER, 452 },
        { "421 4.3.2 going down\r\n", UPSTREAM_LATER, 421 },
        { "250 2.0.0 taken\r\n", UPSTREAM_LATER, 0 }, /* it cannot have been */
        { "banana\r\n", UPSTREAM_LATER, 0 },
    };
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r\n", 15 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scene scene;

        scene_open(&scene, &(struct fake_options){ 0 });
        scene.asked.job.content = slice_make(NULL, 0);
        scene.asked.job.chunks = 1;
        scene.asked.chunks = chunks;
        scene.asked.silent = true;
        desk_open_upstream(&scene.desk, &scene.options);
        desk_deliver(&scene.desk, &scene.asked);
        DESK_UNTIL(&scene.desk, scene.asked.asked > 0);
        fake_say_all(&scene.fake, rows[i].said);
        DESK_UNTIL(&scene.desk, desk_logged(&scene.desk, "upstream_failed"));
        desk_give_chunk(&scene.asked, 0);
        DESK_UNTIL(&scene.desk, scene.asked.done > 0);
        if (scene.asked.recipients[0].fate != rows[i].want ||
            scene.asked.recipients[0].code != rows[i].code)
            fail_msg("%s: fate %d, code %d (%s)", rows[i].said, (int)scene.asked.recipients[0].fate,
                     scene.asked.recipients[0].code, scene.asked.recipients[0].text);
        assert_false(fake_heard(&scene.fake, "first"));
        scene_close(&scene);
    }
}

static void a_reply_that_begins_before_the_dot_is_the_one_to_the_dot(void **state)
{
    static const struct slice chunks[] = { { "a: b\r\n\r\nfirst\r\n", 15 } };
    static const struct fake_row rows[] = { { ".", "5.3.4 no\r\n", 0, 0 }, { NULL, NULL, 0, 0 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ .rows = rows });
    scene.asked.job.content = slice_make(NULL, 0);
    scene.asked.job.chunks = 1;
    scene.asked.chunks = chunks;
    scene.asked.silent = true;
    desk_open_upstream(&scene.desk, &scene.options);
    desk_deliver(&scene.desk, &scene.asked);
    DESK_UNTIL(&scene.desk, scene.asked.asked > 0);
    fake_say_all(&scene.fake, "552-5.3.4 too large\r\n552 ");
    for (int i = 0; i < 5; i++)
        uv_run(&scene.desk.loop.uv, UV_RUN_NOWAIT);
    desk_give_chunk(&scene.asked, 0);
    DESK_UNTIL(&scene.desk, scene.asked.done > 0);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_NEVER);
    assert_string_equal(scene.asked.recipients[0].text, "too large no");
    desk_close_upstream(&scene.desk);
    DESK_UNTIL(&scene.desk, scene.fake.quits > 0);
    assert_false(desk_logged(&scene.desk, "upstream_failed"));
    scene_close(&scene);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void nobody_waits_for_the_reply_to_rset(void **state)
{
    static const struct fake_row rows[] = { { "MAIL", "451 later\r\n", 0, 0 },
                                            { "RSET", FAKE_HANG, 0, 0 },
                                            { NULL, NULL, 0, 0 } };
    struct scene scene;

    (void)state;
    scene_open(&scene, &(struct fake_options){ .rows = rows, .ehlo = EHLO_PLAIN });
    scene_send(&scene);
    desk_close_upstream(&scene.desk);
    DESK_UNTIL(&scene.desk, scene.fake.quits > 0);
    assert_false(desk_logged(&scene.desk, "upstream_failed")); /* a timeout */
    expect_wire(&scene, "EHLO relay.good.example\r\n"
                        "MAIL FROM:<a@good.example>\r\n"
                        "RSET\r\n"
                        "QUIT\r\n");
    scene_close(&scene);
}

/* --- TLS and login ---------------------------------------------------------------------------- */

struct certificates {
    char folder[64], certificate[96], key[96];
    struct tls_context *context;
};

static void make_certificates(struct certificates *made)
{
    struct why why = { "" };

    snprintf(made->folder, sizeof(made->folder), "/tmp/latchpost-client-XXXXXX");
    assert_non_null(mkdtemp(made->folder));
    snprintf(made->certificate, sizeof(made->certificate), "%s/cert.pem", made->folder);
    snprintf(made->key, sizeof(made->key), "%s/key.pem", made->folder);
    if (!tls_make_self_signed(made->certificate, made->key, "localhost", &why))
        fail_msg("%s", why.text);
    struct tls_server_options options = { .certificate = made->certificate, .key = made->key };

    made->context = tls_context_server(&options, &why);
    if (made->context == NULL)
        fail_msg("%s", why.text);
}

static void drop_certificates(struct certificates *made)
{
    tls_context_unref(made->context);
    unlink(made->certificate);
    unlink(made->key);
    rmdir(made->folder);
}

#define EHLO_TLS    "250-fake\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
#define EHLO_LOGIN  "250-fake\r\n250-STARTTLS\r\n250 AUTH LOGIN CRAM-MD5\r\n"
#define EHLO_CRAM   "250-fake\r\n250-STARTTLS\r\n250 AUTH CRAM-MD5\r\n"
#define EHLO_NO_TLS "250-fake\r\n250 AUTH PLAIN\r\n"
#define PLAIN_BLOB  "AHVzZXIAc2VjcmV0LXdvcmQ=" /* \0user\0secret-word */

struct login_row {
    const char *name;
    enum upstream_tls tls;
    bool server_implicit, verify, trusted;
    const char *host, *ehlo;
    struct fake_row script[3];
    enum upstream_fate want;
    const char *text;    /* part of the reason */
    const char *heard;   /* must be on the wire, or NULL */
    bool password_heard; /* in some form */
};

static void run_login_row(const struct login_row *row, const struct certificates *made)
{
    struct scene scene;
    struct fake_options options = { .rows = row->script,
                                    .ehlo = row->ehlo,
                                    .tls = made->context,
                                    .implicit_tls = row->server_implicit,
                                    .address = "*" };

    scene_open(&scene, &options);
    scene.options.tls = row->tls;
    scene.options.tls_verify = row->verify;
    scene.options.ca_file = row->trusted ? made->certificate : NULL;
    scene.options.host = row->host;
    scene.options.username = "user";
    scene.options.password = "secret-word";
    scene_send(&scene);
    const struct upstream_recipient *got = &scene.asked.recipients[0];

    if (got->fate != row->want || strstr(got->text, row->text) == NULL)
        fail_msg("%s: %d \"%s\"", row->name, (int)got->fate, got->text);
    if (row->heard != NULL && !fake_heard(&scene.fake, row->heard))
        fail_msg("%s: the upstream never heard %s", row->name, row->heard);
    bool password_heard =
        fake_heard(&scene.fake, PLAIN_BLOB) || fake_heard(&scene.fake, "c2VjcmV0LXdvcmQ=");

    if (password_heard != row->password_heard)
        fail_msg("%s: the password was %s", row->name, password_heard ? "sent" : "not sent");
    if (row->want != UPSTREAM_DELIVERED && fake_heard(&scene.fake, "MAIL"))
        fail_msg("%s: MAIL was sent", row->name);
    if (desk_logged(&scene.desk, "secret-word") || desk_logged(&scene.desk, "c2VjcmV0LXdvcmQ=") ||
        desk_logged(&scene.desk, PLAIN_BLOB) || strstr(got->text, "secret-word") != NULL ||
        strstr(got->text, PLAIN_BLOB) != NULL)
        fail_msg("%s: the password was told", row->name);
    scene_close(&scene);
}

static void credentials_go_only_where_the_configuration_says(void **state)
{
    static const struct login_row rows[] = {
        { "STARTTLS, PLAIN",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { NULL, NULL, 0, 0 } },
          D,
          "taken",
          "AUTH PLAIN " PLAIN_BLOB "\r\n",
          true },
        { "STARTTLS, LOGIN",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_LOGIN,
          { { "LINE", "334 UGFzc3dvcmQ6\r\n", 1, 0 } },
          D,
          "taken",
          "AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0LXdvcmQ=\r\n",
          true },
        { "implicit TLS",
          UPSTREAM_TLS_IMPLICIT,
          true,
          true,
          true,
          "127.0.0.1",
          EHLO_NO_TLS,
          { { NULL, NULL, 0, 0 } },
          D,
          "taken",
          "AUTH PLAIN",
          true },
        { "unknown CA, not verified",
          UPSTREAM_TLS_STARTTLS,
          false,
          false,
          false,
          "127.0.0.1",
          EHLO_TLS,
          { { NULL, NULL, 0, 0 } },
          D,
          "taken",
          "AUTH PLAIN",
          true },
        { "in the clear, because the configuration says so",
          UPSTREAM_TLS_NONE,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_NO_TLS,
          { { NULL, NULL, 0, 0 } },
          D,
          "taken",
          "AUTH PLAIN",
          true },
        { "F-16 unknown CA",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          false,
          "127.0.0.1",
          EHLO_TLS,
          { { NULL, NULL, 0, 0 } },
          U,
          "TLS",
          "STARTTLS",
          false },
        { "F-16 unknown CA, implicit",
          UPSTREAM_TLS_IMPLICIT,
          true,
          true,
          false,
          "127.0.0.1",
          EHLO_TLS,
          { { NULL, NULL, 0, 0 } },
          U,
          "TLS",
          NULL,
          false },
        { "F-16 wrong name",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.2",
          EHLO_TLS,
          { { NULL, NULL, 0, 0 } },
          U,
          "TLS",
          "STARTTLS",
          false },
        { "F-17 not offered",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_NO_TLS,
          { { NULL, NULL, 0, 0 } },
          U,
          "does not offer STARTTLS",
          NULL,
          false },
        { "F-17 502",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "STARTTLS", "502 5.5.1 no\r\n", 0, 0 } },
          U,
          "502",
          NULL,
          false },
        { "F-17 454",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "STARTTLS", "454 4.7.0 not now\r\n", 0, 0 } },
          U,
          "454",
          NULL,
          false },
        { "F-17 354",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "STARTTLS", "354 go on\r\n", 0, 0 } },
          U,
          "354",
          NULL,
          false },
        { "EHLO refused where TLS is required",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "EHLO", "502 what\r\n", 0, 0 } },
          U,
          "502",
          NULL,
          false },
        { "words behind the 220",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "STARTTLS", "220 go on\r\n250 injected\r\n", 0, 0 } },
          U,
          "more than it was asked",
          NULL,
          false },
        { "no mechanism of ours",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_CRAM,
          { { NULL, NULL, 0, 0 } },
          U,
          "neither AUTH PLAIN nor",
          NULL,
          false },
        { "refused",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "AUTH", "535 5.7.8 wrong\r\n", 0, 0 } },
          U,
          "refused the login: 535 wrong",
          NULL,
          true },
        { "refused, and told all about it",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "AUTH", "535 wrong: " PLAIN_BLOB "\r\n", 0, 0 } },
          U,
          "not shown",
          NULL,
          true },
        { "refused with the password in clear",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "AUTH", "454 not secret-word\r\n", 0, 0 } },
          U,
          "not shown",
          NULL,
          true },
        { "LOGIN refused at the user",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_LOGIN,
          { { "LINE", "535 5.7.8 nobody\r\n", 0, 0 } },
          U,
          "refused the login",
          NULL,
          false },
        { "AUTH answered 334",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "AUTH", "334 \r\n", 0, 0 } },
          U,
          "334",
          NULL,
          true },
        { "AUTH answered 421",
          UPSTREAM_TLS_STARTTLS,
          false,
          true,
          true,
          "127.0.0.1",
          EHLO_TLS,
          { { "AUTH", "421 4.3.2 busy\r\n", 0, 0 } },
          U,
          "421 busy",
          NULL,
          true },
    };
    struct certificates made;

    (void)state;
    make_certificates(&made);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_login_row(&rows[i], &made);
    drop_certificates(&made);
}

static void a_handshake_that_hangs_is_given_up(void **state)
{
    struct certificates made;
    struct scene scene;

    (void)state;
    make_certificates(&made);
    /* A server that waits for clear text never says anything to a ClientHello. */
    scene_open(&scene,
               &(struct fake_options){ .rows = (const struct fake_row[]){ { "", FAKE_HANG, 0, 0 },
                                                                          { NULL, NULL, 0, 0 } } });
    scene.options.tls = UPSTREAM_TLS_IMPLICIT;
    scene.options.timeouts.connect = 60;
    scene_send(&scene);
    assert_int_equal(scene.asked.recipients[0].fate, UPSTREAM_UNTRIED);
    assert_non_null(strstr(scene.asked.recipients[0].text, "TLS"));
    scene_close(&scene);
    drop_certificates(&made);
}

static void nobody_at_the_port_or_no_such_name_is_untried(void **state)
{
    static const char *const hosts[] = { "127.0.0.1", "no-such-host.invalid" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct scene scene;

        scene_open(&scene, &(struct fake_options){ 0 });
        fake_stop_listening(&scene.fake);
        scene.options.host = hosts[i];
        scene_send(&scene);
        if (scene.asked.recipients[0].fate != UPSTREAM_UNTRIED ||
            strstr(scene.asked.recipients[0].text, hosts[i]) == NULL)
            fail_msg("%s: %s", hosts[i], scene.asked.recipients[0].text);
        scene_close(&scene);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_recipient_has_the_fate_that_the_replies_give_it),
        cmocka_unit_test(a_reply_that_makes_no_sense_is_a_protocol_error),
        cmocka_unit_test(a_connection_that_ends_leaves_nobody_in_doubt_but_after_the_dot),
        cmocka_unit_test(only_220_is_ready),
        cmocka_unit_test(silence_ends_each_step),
        cmocka_unit_test(the_wire_has_exactly_these_bytes),
        cmocka_unit_test(a_large_group_is_cut_between_commands),
        cmocka_unit_test(when_nobody_is_left_a_lone_dot_ends_the_group),
        cmocka_unit_test(recipients_behind_a_refused_mail_get_no_empty_message),
        cmocka_unit_test(helo_is_the_way_to_servers_that_know_no_more),
        cmocka_unit_test(what_the_upstream_cannot_take_is_not_sent),
        cmocka_unit_test(what_could_smuggle_is_quarantined_before_mail),
        cmocka_unit_test(chunks_are_sent_in_order_and_stuffed_across_their_seams),
        cmocka_unit_test(a_large_content_passes_in_full_chunks),
        cmocka_unit_test(a_chunk_that_must_not_leave_ends_the_connection_before_the_dot),
        cmocka_unit_test(a_chunk_that_cannot_be_read_breaks_off_before_the_dot),
        cmocka_unit_test(a_job_comes_back_only_after_the_chunk_it_asked_for),
        cmocka_unit_test(a_refusal_need_not_wait_for_the_dot),
        cmocka_unit_test(a_reply_that_begins_before_the_dot_is_the_one_to_the_dot),
        cmocka_unit_test(nobody_waits_for_the_reply_to_rset),
        cmocka_unit_test(credentials_go_only_where_the_configuration_says),
        cmocka_unit_test(a_handshake_that_hangs_is_given_up),
        cmocka_unit_test(nobody_at_the_port_or_no_such_name_is_untried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
