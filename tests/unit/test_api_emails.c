/* test_api_emails.c - sending by HTTP over real stores: what is taken, what is refused, and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/budget.h"
#include "relay/http/work.h"
#include "tests/support/api_place.h"

#define TO       "\"to\":\"r@dest.example\""
#define FROM     "\"from\":\"a@good.example\""
#define TEXT     "\"text\":\"hi\""
#define BODY     "{" FROM "," TO "," TEXT "}"

#define TEN      "0123456789"
#define BODY_PAD TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

struct bench {
    struct api_place place;
    struct auth_grant *key;
};

static int make_bench(void **state)
{
    struct bench *bench = xcalloc(1, sizeof(*bench));
    struct why why = { "" };

    *state = bench;
    if (!api_place_open(&bench->place, &why))
        fail_msg("%s", why.text);
    assert_int_equal(
        api_place_ask(&bench->place, NULL, "POST", "/v1/domains", "{\"name\":\"good.example\"}"),
        201);
    bench->key = api_place_key(&bench->place, "{\"name\":\"k\",\"domain\":\"good.example\"}");
    return 0;
}

static int remove_bench(void **state)
{
    struct bench *bench = *state;

    auth_grant_unref(bench->key);
    api_place_close(&bench->place);
    free(bench);
    return 0;
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, make_bench, remove_bench)

static int send_to(struct bench *bench, struct auth_grant *grant, const char *path,
                   struct slice body, const char *token)
{
    struct api_caller caller = { .grant = grant, .address = "192.0.2.7", .tls = "TLSv1.3 X" };
    struct api_request request = { .method = SLICE("POST"),
                                   .path = slice_of(path),
                                   .body = body,
                                   .content_type = SLICE("application/json"),
                                   .idempotency_key = slice_of(token) };

    return api_place_call(&bench->place, &caller, &request);
}

static int send_mail(struct bench *bench, const char *body)
{
    return send_to(bench, bench->key, "/v1/emails", slice_of(body), NULL);
}

static void on_stats(void *owner, const struct queue_stats *stats)
{
    *(struct queue_stats *)owner = *stats;
}

static uint64_t count(struct bench *bench, enum queue_state state)
{
    struct queue_stats stats = { 0 };

    queue_stats(bench->place.queue, on_stats, &stats, &bench->place.answers);
    queue_step(bench->place.queue);
    mailbox_drain(&bench->place.answers);
    return stats.messages[state];
}

static void on_lease(void *owner, struct queue_message **messages, size_t leased, int64_t next_ms)
{
    (void)next_ms;
    *(struct queue_message **)owner = leased > 0 ? messages[0] : NULL;
}

/* The only message that is due. */
static struct queue_message *lease(struct bench *bench)
{
    struct queue_message *message = NULL;

    queue_lease(bench->place.queue, 1, 1 << 20, clock_wall_ms() + 1000, on_lease, &message,
                &bench->place.answers);
    queue_step(bench->place.queue);
    mailbox_drain(&bench->place.answers);
    assert_non_null(message);
    return message;
}

static void settle(struct bench *bench, struct queue_message *message)
{
    for (size_t i = 0; i < message->recipient_count; i++)
        queue_recipient_say(&message->recipients[i], QUEUE_SENT, 250, "", SLICE("ok"));
    queue_settle(bench->place.queue, &message, "main", NULL, NULL, NULL);
    queue_step(bench->place.queue);
}

/* --- what is taken ---------------------------------------------------------------------------- */

static void the_answer_has_the_id_of_what_is_queued(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;

    assert_int_equal(send_mail(bench,
                               "{\"from\":\"Ann <a@good.example>\",\"to\":[\"r@DEST.example\","
                               "{\"email\":\"s@dest.example\",\"name\":\"S\"}],"
                               "\"cc\":\"r@dest.example\",\"bcc\":[\"b@dest.example\"],"
                               "\"subject\":\"Hi\",\"text\":\"hello\"}"),
                     202);
    struct queue_message *message = lease(bench);
    char id[IDENT_TEXT_BYTES];
    ident_format(message->id, id);
    assert_string_equal(api_place_text(place, "data.id"), id);
    assert_string_equal(api_place_text(place, "data.status"), "queued");
    assert_int_equal(json_integer_value(api_place_at(place, "data.recipients")), 3);
    assert_int_equal(message->recipient_count, 3);
    assert_string_equal(message->recipients[0].address, "r@dest.example");
    assert_string_equal(message->recipients[2].address, "b@dest.example");
    assert_string_equal(message->sender, "a@good.example");
    assert_string_equal(message->key_id, auth_grant_key_id(bench->key));
    struct slice text = buf_slice(&message->content);
    char *want = xasprintf(
        "Received: from [192.0.2.7] ([192.0.2.7]) by relay.test (Latchpost) with HTTP\r\n id %s "
        "(key %s; TLSv1.3 X); ",
        id, message->key_id);
    assert_true(slice_equal(slice_first(text, strlen(want)), slice_of(want)));
    free(want);
    assert_non_null(memmem(text.data, text.len, "\r\nDate: ", 8));
    assert_null(memmem(text.data, text.len, "b@dest.example", 14)); /* a blind copy is blind */
    want =
        xasprintf("\r\nMessage-ID: %s\r\n\r\nhello\r\n", api_place_text(place, "data.messageId"));
    assert_true(slice_equal(slice_from(text, text.len - strlen(want)), slice_of(want)));
    free(want);
    settle(bench, message);
}

static void many_ways_to_say_it_are_taken(void **state)
{
    static const char *const bodies[] = {
        BODY,
        "{\"from_\":\"a@good.example\"," TO "," TEXT "}",
        "{\"from\":{\"email\":\"a@good.example\",\"name\":\"A\"}," TO ",\"html\":\"<p>\"}",
        "{\"from\":{\"address\":\"a@good.example\"}," TO ",\"text\":\"\"}",
        "{\"from\":\"<a@good.example>\"," TO "," TEXT "}",
        "{\"from\":\"  A B  <a@GOOD.example>  \"," TO "," TEXT "}",
        "{\"from\":\"\\\"A, \\\\\\\"B\\\\\\\"\\\" <a@good.example>\"," TO "," TEXT "}",
        "{\"from\":\"x@victim.example <a@good.example>\"," TO "," TEXT "}",
        "{\"from\":\"<x@victim.example> <a@good.example>\"," TO "," TEXT "}",
        "{" FROM ",\"to\":\"\xc3\xbc <r@b\xc3\xbc"
        "cher.example>\"," TEXT "}",
        "{" FROM "," TO "," TEXT ",\"cc\":null,\"bcc\":[],\"headers\":{},\"attachments\":[]}",
        "{" FROM "," TO ",\"attachments\":[{\"content\":\"QQ==\",\"filename\":\"a\"}]}",
        "{" FROM "," TO "," TEXT ",\"reply_to\":[\"x@victim.example\",\"y@dest.example\"]}",
        "{" FROM "," TO "," TEXT ",\"headers\":{\"X-A\":\"1\",\"Message-ID\":\"<a@b>\"}}",
        "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"QQ==\",\"content_id\":\"<x>\","
        "\"disposition\":\"INLINE\",\"content_type\":\"image/png\"}]}",
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        if (send_mail(bench, bodies[i]) != 202)
            fail_msg("%s: %s", bodies[i], bench->place.text);
    assert_int_equal(count(bench, QUEUE_QUEUED), ARRAY_LEN(bodies));
}

/* --- what is refused -------------------------------------------------------------------------- */

static void what_is_wrong_is_refused_by_its_name(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *code, *names; /* the message must hold it */
    } rows[] = {
        { "", 400, "invalid_json", "" },
        { "[]", 400, "invalid_json", "object" },
        { "{" FROM "," FROM "," TO "," TEXT "}", 400, "invalid_json", "" },
        { BODY "x", 400, "invalid_json", "" },
        { "\xef\xbb\xbf" BODY, 400, "invalid_json", "" },
        { "{" FROM "," TO ",\"text\":\"\\ud800\"}", 400, "invalid_json", "" },
        { "{" FROM "," TO ",\"text\":\"\xff\"}", 400, "invalid_json", "" },
        { "{" FROM "," TO ",\"text\":1e400}", 400, "invalid_json", "" },
        { "{" FROM "," TO ",\"text\":NaN}", 400, "invalid_json", "" },
        { "{" FROM "," TO "," TEXT ",\"scheduled_at\":\"x\"}", 400, "unknown_field",
          "scheduled_at" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"\",\"path\":\"x\"}]}", 400,
          "unknown_field", "attachments[0].path" },
        { "{" TO "," TEXT "}", 422, "missing_field", "from" },
        { "{" FROM "," TEXT "}", 422, "missing_field", "to" },
        { "{" FROM ",\"to\":[]," TEXT "}", 422, "missing_field", "to" },
        { "{" FROM "," TO "}", 422, "missing_field", "text" },
        { "{" FROM ",\"from_\":\"a@good.example\"," TO "," TEXT "}", 422, "invalid_value",
          "from_" },
        { "{\"from\":5," TO "," TEXT "}", 422, "invalid_address", "from" },
        { "{\"from\":\"a\"," TO "," TEXT "}", 422, "invalid_address", "from" },
        { "{\"from\":\"a@good.example>\"," TO "," TEXT "}", 422, "invalid_address", "from" },
        { "{\"from\":{\"name\":\"A\"}," TO "," TEXT "}", 422, "missing_field", "from.email" },
        { "{\"from\":{\"email\":\"A <a@good.example>\"}," TO "," TEXT "}", 422, "invalid_address",
          "from.email" },
        { "{" FROM ",\"to\":[\"r@dest.example\",\"x\"]," TEXT "}", 422, "invalid_address",
          "to[1]" },
        { "{" FROM ",\"to\":\"a@dest.example, b@dest.example\"," TEXT "}", 422, "invalid_address",
          "to" },
        { "{" FROM ",\"to\":\"\xc3\xbc@dest.example\"," TEXT "}", 422, "invalid_address",
          "SMTPUTF8" },
        { "{" FROM "," TO ",\"subject\":[]," TEXT "}", 422, "invalid_value", "subject" },
        { "{" FROM "," TO "," TEXT ",\"headers\":[]}", 422, "invalid_value", "headers" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"X\":1}}", 422, "invalid_value", "headers.X" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":{}}", 422, "invalid_value", "attachments" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{}]}", 422, "missing_field",
          "attachments[0].content" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"Q\"}]}", 422, "invalid_value",
          "attachments[0].content" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"\",\"disposition\":\"x\"}]}",
          422, "invalid_value", "disposition" },
        { "{" FROM "," TO ",\"text\":\"a\\u0000b\"}", 422, "invalid_value", "text" },
        /* G-07 */
        { "{" FROM "," TO "," TEXT ",\"subject\":\"Hi\\r\\nBcc: x@victim.example\"}", 422,
          "invalid_header_value", "subject" },
        { "{" FROM "," TO "," TEXT ",\"subject\":\"a\\nb\"}", 422, "invalid_header_value",
          "subject" },
        { "{" FROM "," TO "," TEXT ",\"subject\":\"a\\rb\"}", 422, "invalid_header_value",
          "subject" },
        { "{" FROM "," TO "," TEXT ",\"subject\":\"a\\u0000b\"}", 422, "invalid_header_value",
          "subject" },
        { "{\"from\":\"A\\nB <a@good.example>\"," TO "," TEXT "}", 422, "invalid_header_value",
          "from" },
        { "{\"from\":{\"email\":\"a@good.example\",\"name\":\"\\u0000\"}," TO "," TEXT "}", 422,
          "invalid_header_value", "from.name" },
        { "{" FROM ",\"to\":[\"r@dest.example\\r\\nX: y\"]," TEXT "}", 422, "invalid_header_value",
          "to[0]" },
        { "{" FROM "," TO "," TEXT ",\"cc\":{\"email\":\"r@dest.example\\n\"}}", 422,
          "invalid_header_value", "cc.email" },
        { "{" FROM "," TO "," TEXT ",\"reply_to\":\"\\u0000\"}", 422, "invalid_header_value",
          "reply_to" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"X-A\":\"a\\r\\nBcc: b\"}}", 422,
          "invalid_header_value", "headers.X-A" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"X-A\\r\\nBcc\":\"a\"}}", 422,
          "invalid_header_value", "headers" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"X\\u0000\":\"a\"}}", 422,
          "invalid_header_value", "NUL" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"\",\"filename\":\"a\\nb\"}]}",
          422, "invalid_header_value", "filename" },
        { "{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\"\",\"type\":\"a/b\\n\"}]}",
          422, "invalid_header_value", "content_type" },
        /* G-08 */
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"From\":\"x@victim.example\"}}", 422,
          "forbidden_header", "headers.From" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"X:Y\":\"1\"}}", 422, "invalid_header_name",
          "X:Y" },
        { "{" FROM "," TO "," TEXT ",\"headers\":{\"\":\"1\"}}", 422, "invalid_header_name", "" },
        { "{" FROM "," TO "," TEXT
          ",\"headers\":{\"In-Reply-To\":\"<a@b>\",\"in-reply-to\":\"<c@d>\"}}",
          422, "invalid_value", "In-Reply-To" },
        /* the sender rule */
        { "{\"from\":\"a@victim.example\"," TO "," TEXT "}", 403, "sender_not_permitted",
          "victim.example" },
        { "{\"from\":\"a@good.example <a@victim.example>\"," TO "," TEXT "}", 403,
          "sender_not_permitted", "victim.example" },
        { "{\"from\":\"a%victim.example@good.example\"," TO "," TEXT "}", 403,
          "sender_not_permitted", "routing" },
        { "{\"from\":\"a@[192.0.2.1]\"," TO "," TEXT "}", 403, "sender_not_permitted", "literal" },
        { "{\"from\":\"a@evilgood.example\"," TO "," TEXT "}", 403, "sender_not_permitted",
          "From" },
        { "{" FROM "," TEXT
          ",\"to\":[\"1@d.example\",\"2@d.example\",\"3@d.example\",\"4@d.example\","
          "\"5@d.example\",\"6@d.example\",\"7@d.example\",\"8@d.example\",\"9@d.example\","
          "\"10@d.example\"],\"bcc\":\"11@d.example\"}",
          422, "too_many_recipients", "11" },
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int status = send_mail(bench, rows[i].body);
        const char *message = api_place_text(&bench->place, "error.message");
        if (status != rows[i].status ||
            strcmp(api_place_text(&bench->place, "error.code"), rows[i].code) != 0 ||
            strstr(message, rows[i].names) == NULL)
            fail_msg("%s: %d %s", rows[i].body, status, bench->place.text);
    }
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
}

static void who_may_not_send_is_told_so(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;
    struct api_caller operator= { .is_operator = true };
    struct api_request request = { .method = SLICE("POST"),
                                   .path = SLICE("/v1/emails"),
                                   .body = SLICE(BODY),
                                   .content_type = SLICE("text/plain") };
    struct api_caller caller = { .grant = bench->key };
    struct auth_grant *manager =
        api_place_key(place, "{\"name\":\"m\",\"scopes\":[\"keys\",\"messages\"]}");

    assert_int_equal(api_place_call(place, &operator, & request), 403);
    assert_string_equal(api_place_text(place, "error.code"), "key_required");
    assert_int_equal(send_to(bench, manager, "/v1/emails", SLICE(BODY), NULL), 403);
    assert_int_equal(api_place_call(place, &caller, &request), 415);
    place->api.draining = true;
    assert_int_equal(send_mail(bench, BODY), 503);
    assert_true(place->retry_after_s > 0);
    place->api.draining = false;
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
    auth_grant_unref(manager);
}

static void a_key_with_recipients_sends_to_no_other(void **state)
{
    struct bench *bench = *state;
    struct auth_grant *key =
        api_place_key(&bench->place, "{\"name\":\"r\",\"domain\":\"good.example\","
                                     "\"recipients\":[\"dest.example\",\"x@other.example\"]}");

    assert_int_equal(send_to(bench, key, "/v1/emails", SLICE(BODY), NULL), 202);
    assert_int_equal(send_to(bench, key, "/v1/emails",
                             SLICE("{" FROM "," TO ",\"bcc\":\"y@other.example\"," TEXT "}"), NULL),
                     403);
    assert_string_equal(api_place_text(&bench->place, "error.code"), "recipient_not_permitted");
    auth_grant_unref(key);
}

static void limits_are_those_of_the_key(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;
    struct auth_grant *slow =
        api_place_key(place, "{\"name\":\"s\",\"domain\":\"good.example\",\"rateLimit\":2}");
    const struct auth_plan few = { .name = "default", .recipients_per_day = 2, .keys = 100 };

    /* G-20 */
    assert_int_equal(send_to(bench, slow, "/v1/emails", SLICE(BODY), "a"), 202);
    assert_int_equal(send_to(bench, slow, "/v1/emails", SLICE(BODY), NULL), 202);
    assert_int_equal(send_to(bench, slow, "/v2/emails", SLICE(BODY), NULL), 429);
    assert_string_equal(api_place_text(place, "error.code"), "rate_limited");
    assert_in_range(place->retry_after_s, 1, 60);
    assert_int_equal(send_to(bench, slow, "/v1/emails", SLICE(BODY), "a"), 202); /* costs nothing */
    auth_set_plans(place->auth, &few, 1);
    auth_grant_unref(bench->key);
    bench->key = api_place_key(place, "{\"name\":\"f\",\"domain\":\"good.example\"}");
    assert_int_equal(
        send_mail(bench, "{" FROM "," TO ",\"cc\":[\"1@d.example\",\"2@d.example\"]," TEXT "}"),
        429);
    assert_string_equal(api_place_text(place, "error.code"), "daily_limit");
    assert_true(place->retry_after_s > 0);
    auth_grant_unref(slow);
}

static void a_key_revoked_meanwhile_sends_nothing(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;
    char *path = xasprintf("/v1/api-keys/%s", auth_grant_key_id(bench->key));

    assert_int_equal(api_place_ask(place, NULL, "DELETE", path, NULL), 200);
    assert_int_equal(send_mail(bench, BODY), 401);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
    free(path);
}

static void a_key_narrowed_right_before_the_commit_is_asked_by_the_writer(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;
    struct api_caller caller = { .grant = bench->key };
    struct api_request request = { .method = SLICE("POST"),
                                   .path = SLICE("/v1/emails"),
                                   .body = SLICE(BODY),
                                   .content_type = SLICE("application/json") };
    struct why why = { "" };
    unsigned before = place->answered;

    api_place_forget(place);
    api_call(&place->api, &caller, &request, api_place_answer, place); /* now it is submitted */
    assert_int_equal(auth_key_revoke(place->auth, "operator", auth_grant_key_id(bench->key),
                                     clock_wall_s(), &why),
                     AUTH_DONE);
    queue_step(place->queue);
    mailbox_drain(&place->answers);
    assert_int_equal(place->answered, before + 1);
    assert_int_equal(place->status, 401);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
}

static void mail_of_a_test_key_is_recorded_and_never_due(void **state)
{
    struct bench *bench = *state;
    struct auth_grant *test =
        api_place_key(&bench->place, "{\"name\":\"t\",\"domain\":\"good.example\",\"test\":true}");

    assert_int_equal(send_to(bench, test, "/v1/emails", SLICE(BODY), NULL), 202);
    assert_string_equal(api_place_text(&bench->place, "data.status"), "sandboxed");
    assert_int_equal(count(bench, QUEUE_SANDBOXED), 1);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
    auth_grant_unref(test);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void a_request_that_comes_again_has_the_same_answer(void **state)
{
    static const char *const bad[] = { "", "\t", "\xc3\xa9", "a\x7f" };
    struct bench *bench = *state;
    char long_token[300];

    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY), "order 1"), 202);
    char *first = xstrdup(bench->place.text);
    assert_int_equal(send_to(bench, bench->key, "/v2/emails", SLICE(BODY), "order 1"), 202);
    assert_string_equal(bench->place.text, first);
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY " "), "order 1"), 409);
    assert_string_equal(api_place_text(&bench->place, "error.code"), "idempotency_conflict");
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY " "), "order 2"), 202);
    assert_string_not_equal(bench->place.text, first);
    /* what was refused was not sent: the token is free */
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE("{}"), "order 3"), 422);
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY), "order 3"), 202);
    memset(long_token, 'x', sizeof(long_token));
    long_token[256] = '\0';
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY), long_token), 422);
    long_token[255] = '\0';
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY), long_token), 202);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(send_to(bench, bench->key, "/v1/emails", SLICE(BODY), bad[i]), 422);
    assert_int_equal(count(bench, QUEUE_QUEUED), 4);
    free(first);
}

/* --- personalizations ------------------------------------------------------------------------- */

#define CONTENT "\"content\":[{\"type\":\"text/plain\",\"value\":\"hi\"}]"

static int send_many(struct bench *bench, const char *body)
{
    return send_to(bench, bench->key, "/tx/v1/send", slice_of(body), NULL);
}

static void each_personalization_is_a_message(void **state)
{
    struct bench *bench = *state;
    struct api_place *place = &bench->place;

    assert_int_equal(
        send_many(bench,
                  "{\"from\":{\"email\":\"a@good.example\",\"name\":\"A\"},"
                  "\"personalizations\":[{\"to\":[{\"email\":\"1@d.example\"}]},"
                  "{\"to\":[{\"email\":\"2@d.example\"}],\"bcc\":[{\"email\":\"3@d.example\"}],"
                  "\"subject\":\"Two\",\"headers\":{\"x-a\":\"2\"}}],"
                  "\"subject\":\"One\",\"headers\":{\"X-A\":\"1\",\"X-B\":\"b\"},"
                  "\"reply_to\":{\"email\":\"q@d.example\"}," CONTENT "}"),
        202);
    assert_int_equal(json_array_size(api_place_at(place, "data.messages")), 2);
    assert_int_equal(json_integer_value(api_place_at(place, "data.recipients")), 3);
    assert_int_equal(json_integer_value(api_place_at(place, "meta.total")), 2);
    assert_string_equal(api_place_text(place, "data.id"),
                        api_place_text(place, "data.messages.0.id"));
    static const struct {
        const char *recipient, *has, *lacks;
    } wants[] = {
        { "1@d.example",
          "To: 1@d.example\r\nSubject: One\r\nX-A: 1\r\nX-B: b\r\nMIME-Version: 1.0\r\n", "2@d" },
        { "2@d.example",
          "To: 2@d.example\r\nSubject: Two\r\nX-B: b\r\nx-a: 2\r\nMIME-Version: 1.0\r\n", "1@d" },
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        struct queue_message *message = lease(bench);
        struct slice text = buf_slice(&message->content);
        assert_string_equal(message->recipients[0].address, wants[i].recipient);
        if (memmem(text.data, text.len, wants[i].has, strlen(wants[i].has)) == NULL)
            fail_msg("%.*s", SLICE_ARG(text));
        assert_null(memmem(text.data, text.len, wants[i].lacks, strlen(wants[i].lacks)));
        settle(bench, message);
    }
}

static void a_personalization_may_have_a_sender_and_a_reply_address_of_its_own(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(
        send_many(bench, "{" FROM ",\"reply_to\":\"all@d.example\",\"personalizations\":[{" TO
                         "},{" TO ",\"from\":{\"email\":\"own@good.example\",\"name\":\"Own\"},"
                         "\"reply_to\":[\"one@d.example\",\"two@d.example\"]}]," CONTENT "}"),
        202);
    static const struct {
        const char *sender, *has;
    } wants[] = {
        { "a@good.example", "From: a@good.example\r\nReply-To: all@d.example\r\nTo: " },
        { "own@good.example",
          "From: Own <own@good.example>\r\nReply-To: one@d.example, two@d.example\r\nTo: " },
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        struct queue_message *message = lease(bench);
        struct slice text = buf_slice(&message->content);
        assert_string_equal(message->sender, wants[i].sender);
        if (memmem(text.data, text.len, wants[i].has, strlen(wants[i].has)) == NULL)
            fail_msg("%.*s", SLICE_ARG(text));
        settle(bench, message);
    }
}

static void of_personalizations_all_are_sent_or_none(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *code;
    } rows[] = {
        { "{" FROM "," CONTENT "}", 422, "missing_field" },
        { "{" FROM ",\"personalizations\":[]," CONTENT "}", 422, "missing_field" },
        { "{" FROM ",\"personalizations\":[{" TO "},{}]," CONTENT "}", 422, "missing_field" },
        { "{" FROM ",\"personalizations\":[{" TO "},5]," CONTENT "}", 422, "missing_field" },
        { "{" FROM ",\"personalizations\":[{" TO "},{\"to\":\"x\"}]," CONTENT "}", 422,
          "invalid_address" },
        { "{" FROM ",\"personalizations\":[{" TO "},{" TO ",\"subject\":\"a\\nb\"}]," CONTENT "}",
          422, "invalid_header_value" },
        { "{" FROM ",\"personalizations\":[{" TO
          "}],\"content\":[{\"type\":\"text/x\",\"value\":\"\"}]}",
          422, "invalid_value" },
        { "{" FROM ",\"personalizations\":[{" TO ",\"send_at\":1}]," CONTENT "}", 400,
          "unknown_field" },
        { "{" FROM ",\"personalizations\":[{" TO "}]," CONTENT ",\"template_id\":\"x\"}", 400,
          "unknown_field" },
        { "{\"from\":\"x@victim.example\",\"personalizations\":[{" TO "}]," CONTENT "}", 403,
          "sender_not_permitted" },
        { "{" FROM ",\"personalizations\":[{" TO "},{" TO
          ",\"from\":\"x@victim.example\"}]," CONTENT "}",
          403, "sender_not_permitted" },
        { "{" FROM ",\"personalizations\":[{" TO ",\"from\":[]}]," CONTENT "}", 422,
          "invalid_address" },
        { "{" FROM ",\"reply_to\":5,\"personalizations\":[{" TO
          ",\"reply_to\":\"r@d.example\"}]," CONTENT "}",
          422, "invalid_address" },
        { "{" FROM ",\"personalizations\":[{" TO
          "}],\"content\":[{\"type\":\"text/plain; charset=latin1\",\"value\":\"\"}]}",
          422, "invalid_value" },
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (send_many(bench, rows[i].body) != rows[i].status ||
            strcmp(api_place_text(&bench->place, "error.code"), rows[i].code) != 0)
            fail_msg("%s: %s", rows[i].body, bench->place.text);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
}

/* --- large ones ------------------------------------------------------------------------------- */

/* A body whose attachment has so many characters of base64. */
static struct slice large_body(struct buf *body, size_t characters)
{
    buf_init(body, characters + 4096);
    bool ok = buf_add(body, SLICE("{" FROM "," TO "," TEXT ",\"attachments\":[{\"content\":\""));
    for (size_t i = 0; ok && i < characters / 4; i++)
        ok = buf_add(body, SLICE("QUJD"));
    assert_true(ok && buf_add(body, SLICE("\"}]}")));
    return buf_slice(body);
}

static void a_large_message_goes_in_chunks(void **state)
{
    struct bench *bench = *state;
    struct buf body;

    assert_int_equal(send_to(bench, bench->key, "/v1/emails", large_body(&body, 400000), "l"), 202);
    struct queue_message *message = lease(bench);
    assert_int_equal(message->chunks, (message->size + QUEUE_CHUNK_BYTES - 1) / QUEUE_CHUNK_BYTES);
    assert_in_range(message->size, 400000 / 76 * 78, 400000 / 76 * 78 + 2048);
    settle(bench, message);
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", buf_slice(&body), "l"), 202);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
    buf_free(&body);
}

static void what_is_too_large_is_refused(void **state)
{
    struct bench *bench = *state;
    struct buf body;

    bench->place.api.mail.message_bytes = 100000;
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", large_body(&body, 99000), NULL), 413);
    buf_free(&body);
    assert_int_equal(send_to(bench, bench->key, "/v1/emails", large_body(&body, 96000), NULL), 202);
    buf_free(&body);
    bench->place.api.mail.header_bytes = 300;
    assert_int_equal(send_mail(bench, BODY), 202);
    assert_int_equal(send_mail(bench, "{" FROM "," TO "," TEXT ",\"subject\":\"" BODY_PAD "\"}"),
                     422);
    assert_string_equal(api_place_text(&bench->place, "error.code"), "header_too_large");
}

/* Many messages of a small request count, too. */
static void a_request_that_becomes_too_much_waits_for_others(void **state)
{
    struct bench *bench = *state;
    struct budget *budget = budget_new(300000);
    struct buf body;

    bench->place.api.budget = budget;
    assert_true(budget_take(budget, SLICE("other"), 0, 200000)); /* somebody else's */
    buf_init(&body, 1 << 20);
    assert_true(
        buf_add(&body, SLICE("{" FROM ",\"content\":[{\"type\":\"text/plain\",\"value\":\"")));
    for (int i = 0; i < 10000; i++)
        assert_true(buf_add(&body, SLICE("word ")));
    assert_true(buf_add(&body, SLICE("\"}],\"personalizations\":[{" TO "}")));
    for (int i = 0; i < 7; i++)
        assert_true(buf_add(&body, SLICE(",{" TO "}")));
    assert_true(buf_add(&body, SLICE("]}")));
    assert_int_equal(send_to(bench, bench->key, "/tx/v1/send", buf_slice(&body), NULL), 503);
    assert_string_equal(api_place_text(&bench->place, "error.code"), "busy");
    assert_true(bench->place.retry_after_s > 0);
    assert_int_equal(budget_used(budget), 200000);
    assert_int_equal(count(bench, QUEUE_QUEUED), 0);
    budget_give(budget, SLICE("other"), 200000);
    assert_int_equal(send_to(bench, bench->key, "/tx/v1/send", buf_slice(&body), NULL), 202);
    assert_int_equal(budget_used(budget), 0);
    assert_int_equal(count(bench, QUEUE_QUEUED), 8);
    buf_free(&body);
    bench->place.api.budget = NULL;
    budget_free(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(the_answer_has_the_id_of_what_is_queued),
        BENCH_TEST(many_ways_to_say_it_are_taken),
        BENCH_TEST(what_is_wrong_is_refused_by_its_name),
        BENCH_TEST(who_may_not_send_is_told_so),
        BENCH_TEST(a_key_with_recipients_sends_to_no_other),
        BENCH_TEST(limits_are_those_of_the_key),
        BENCH_TEST(a_key_revoked_meanwhile_sends_nothing),
        BENCH_TEST(a_key_narrowed_right_before_the_commit_is_asked_by_the_writer),
        BENCH_TEST(mail_of_a_test_key_is_recorded_and_never_due),
        BENCH_TEST(a_request_that_comes_again_has_the_same_answer),
        BENCH_TEST(each_personalization_is_a_message),
        BENCH_TEST(a_personalization_may_have_a_sender_and_a_reply_address_of_its_own),
        BENCH_TEST(of_personalizations_all_are_sent_or_none),
        BENCH_TEST(a_large_message_goes_in_chunks),
        BENCH_TEST(what_is_too_large_is_refused),
        BENCH_TEST(a_request_that_becomes_too_much_waits_for_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
