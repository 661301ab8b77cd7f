/* test_bounce.c - the queue's facts arrive in the letter. What a letter looks like is tested in
 * test_dsn.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/alloc.h"
#include "relay/base/ident.h"
#include "relay/bounce.h"

#define NOW_MS INT64_C(1790000000000)

static const struct queue_report_recipient recipients[] = {
    { .address = "r1@dest.example",
      .code = 550,
      .enhanced = "5.1.1",
      .text = "who?",
      .attempts = 1 },
    { .address = "r2@dest.example", .enhanced = "", .attempts = 7 },
};

/* The letter about these facts, NUL-terminated. */
static char *compose(enum queue_report_kind kind, const char *hostname,
                     const struct queue_report_recipient *list, size_t count)
{
    struct bounce_writer writer = { NULL };
    struct queue_message *about = queue_message_new(ident_next());
    struct buf content = { 0 };
    struct queue_report report = {
        .kind = kind,
        .id = ident_next(),
        .message = about,
        .now_ms = NOW_MS,
        .give_up_ms = NOW_MS + 345600000,
        .upstream = "smtp.provider.example",
        .original = SLICE("From: <a@good.example>\r\nSubject: the original\r\n\r\nbody\r\n"),
        .recipients = list,
        .recipient_count = count,
    };

    about->sender = xstrdup("a@good.example");
    about->received_ms = NOW_MS - 60000;
    atomic_store(&writer.hostname, hostname);
    assert_true(bounce_compose(&writer, &report, &content));
    char *text = slice_dup(buf_slice(&content));
    buf_free(&content);
    queue_message_free(about);
    return text;
}

static void all_that_the_queue_knows_is_in_the_letter(void **state)
{
    static const char *const wanted[] = {
        "To: <a@good.example>\r\n",
        "@relay.example",
        "Reporting-MTA: dns; relay.example\r\n",
        "Action: failed\r\n",
        "Status: 5.1.1\r\n",
        "r1@dest.example",
        "550",
        "who?",
        "r2@dest.example",
        "Subject: the original\r\n",
    };
    char *text = compose(QUEUE_BOUNCE, "relay.example", recipients, ARRAY_LEN(recipients));

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (strstr(text, wanted[i]) == NULL)
            fail_msg("no \"%s\" in\n%s", wanted[i], text);
    assert_null(strstr(text, "body\r\n"));
    free(text);
}

static void a_delay_notice_says_until_when_it_is_tried(void **state)
{
    char *text = compose(QUEUE_DELAY_NOTICE, "relay.example", recipients, 1);

    (void)state;
    assert_non_null(strstr(text, "Action: delayed\r\n"));
    assert_non_null(strstr(text, "Will-Retry-Until: "));
    free(text);
}

static void there_is_room_for_any_number_of_recipients(void **state)
{
    size_t count = 3000;
    struct queue_report_recipient *list = xcalloc(count, sizeof(*list));
    char words[513];

    (void)state;
    memset(words, 'w', sizeof(words) - 1);
    words[sizeof(words) - 1] = '\0';
    for (size_t i = 0; i < count; i++)
        list[i] = (struct queue_report_recipient){ .address = "somebody@dest.example",
                                                   .code = 550,
                                                   .enhanced = "5.1.1",
                                                   .text = words,
                                                   .attempts = 1 };
    free(compose(QUEUE_BOUNCE, "relay.example", list, count));
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_the_queue_knows_is_in_the_letter),
        cmocka_unit_test(a_delay_notice_says_until_when_it_is_tried),
        cmocka_unit_test(there_is_room_for_any_number_of_recipients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
