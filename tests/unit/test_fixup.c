/* test_fixup.c - what is added to a header and what is dropped from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/fixup.h"

static const struct fixup_facts facts = {
    .hostname = "relay.example",
    .message_id = "01j5r2k8xq4vd",
    .key_id = "7Fq2mZ81",
    .helo = { "client.example", 14 },
    .client_address = "192.0.2.1",
    .protocol = "ESMTPSA",
    .tls = "TLSv1.3 TLS_AES_256_GCM_SHA384",
    .now_s = 1795265786,
};

#define RECEIVED                                                                                   \
    "Received: from client.example ([192.0.2.1]) by relay.example (Latchpost)\r\n"                 \
    " with ESMTPSA id 01j5r2k8xq4vd (key 7Fq2mZ81; TLSv1.3\r\n"                                    \
    " TLS_AES_256_GCM_SHA384); Sat, 21 Nov 2026 12:56:26 +0000\r\n"
#define DATE       "Date: Sat, 21 Nov 2026 12:56:26 +0000\r\n"
#define MESSAGE_ID "Message-ID: <01j5r2k8xq4vd@relay.example>\r\n"

static void apply(struct slice block, const struct fixup_facts *with, struct buf *out)
{
    struct header header;

    buf_init(out, 128 * 1024);
    assert_int_equal(header_parse(block, &header), HEADER_OK);
    assert_true(fixup_apply(&header, with, out));
    header_free(&header);
}

static void fields_are_added_and_dropped_and_the_rest_is_kept(void **state)
{
    static const struct {
        struct slice block, want;
    } rows[] = {
        { SLICE("From: a@b\r\n\r\n"), SLICE(RECEIVED "From: a@b\r\n" DATE MESSAGE_ID "\r\n") },
        { SLICE("From: a@b\r\nDATE: x\r\nmessage-id: y\r\n\r\n"),
          SLICE(RECEIVED "From: a@b\r\nDATE: x\r\nmessage-id: y\r\n\r\n") },
        { SLICE("From: a@b\r\nDate:\r\nMessage-ID:\r\n\r\n"),
          SLICE(RECEIVED "From: a@b\r\nDate:\r\nMessage-ID:\r\n\r\n") },
        { SLICE("Bcc: x\r\n y\r\nFrom: a@b\r\nReturn-Path: <z>\r\nRESENT-bcc:\r\n q\r\n"
                "Subject: s\r\n\tt\r\nDate: d\r\nBCC: w\r\nMessage-ID: m\r\n\r\n"),
          SLICE(RECEIVED "From: a@b\r\nSubject: s\r\n\tt\r\nDate: d\r\nMessage-ID: m\r\n\r\n") },
        { SLICE("Bcc: x\r\n\r\n"), SLICE(RECEIVED DATE MESSAGE_ID "\r\n") },
        { SLICE("Bccx: x\r\nDate: d\r\nMessage-ID: m\r\n\r\nBody"),
          SLICE(RECEIVED "Bccx: x\r\nDate: d\r\nMessage-ID: m\r\n\r\n") },
        { SLICE("Date: d\r\nMessage-ID: m\r\nSubject: \xff\xfe\x1b  \r\n"),
          SLICE(RECEIVED "Date: d\r\nMessage-ID: m\r\nSubject: \xff\xfe\x1b  \r\n\r\n") },
        { SLICE("Message-ID: m\r\nDate: d"), SLICE(RECEIVED "Message-ID: m\r\nDate: d\r\n\r\n") },
        { SLICE("Date: d\r\nMessage-ID: m\r\nBcc: x"),
          SLICE(RECEIVED "Date: d\r\nMessage-ID: m\r\n\r\n") },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        apply(rows[i].block, &facts, &out);
        if (!slice_equal(buf_slice(&out), rows[i].want))
            fail_msg("row %zu: got\n%.*s", i, SLICE_ARG(buf_slice(&out)));
        buf_free(&out);
    }
}

/* The value of the Received field that these facts give, unfolded. */
static const char *received_for(const struct fixup_facts *with, char text[static 2048])
{
    struct buf out;
    struct header header;
    size_t len = 0;

    apply(SLICE("Date: d\r\nMessage-ID: m\r\n\r\n"), with, &out);
    assert_int_equal(header_parse(buf_slice(&out), &header), HEADER_OK);
    assert_int_equal(header.count, 3);
    assert_true(header.fields[0].value.len < 2048);
    for (size_t i = 0; i < header.fields[0].value.len; i++)
        if (strchr("\r\n", header.fields[0].value.data[i]) == NULL)
            text[len++] = header.fields[0].value.data[i];
    text[len] = '\0';
    header_free(&header);
    buf_free(&out);
    return text;
}

#define TAIL "; Sat, 21 Nov 2026 12:56:26 +0000"

static void received_says_what_is_known_in_the_grammar_of_rfc_5321(void **state)
{
    static const struct {
        struct slice helo;
        const char *address, *protocol, *key_id, *tls, *want;
    } rows[] = {
        { SLICE("me"), "::1", "ESMTPSA", "k", "TLSv1.2 X",
          " from me ([IPv6:::1]) by relay.example (Latchpost) with ESMTPSA id 01j5r2k8xq4vd"
          " (key k; TLSv1.2 X)" TAIL },
        { SLICE("[127.0.0.1]"), "127.0.0.1", "ESMTPA", "k", NULL,
          " from [127.0.0.1] ([127.0.0.1]) by relay.example (Latchpost) with ESMTPA"
          " id 01j5r2k8xq4vd (key k)" TAIL },
        { SLICE("MY_PC"), "fe80::1%eth0", "ESMTPSA", NULL, "TLSv1.3",
          " from MY_PC ([IPv6:fe80::1]) by relay.example (Latchpost) with ESMTPSA"
          " id 01j5r2k8xq4vd (TLSv1.3)" TAIL },
        { SLICE(""), "192.0.2.1", "HTTP", "k", NULL,
          " from [192.0.2.1] ([192.0.2.1]) by relay.example (Latchpost) with HTTP"
          " id 01j5r2k8xq4vd (key k)" TAIL },
        { SLICE(""), NULL, "HTTP", NULL, NULL,
          " by relay.example (Latchpost) with HTTP id 01j5r2k8xq4vd" TAIL },
        { SLICE("x"), NULL, "HTTP", NULL, "",
          " from x by relay.example (Latchpost) with HTTP id 01j5r2k8xq4vd ()" TAIL },
        /* Hostile facts end no line, comment or clause. */
        { SLICE("x (\r\nFrom: y;\0\x1b\xff\""), "1)\r\nA: b", "E;S P", "k)\r\n", "v (x\\ )\n",
          " from x----From--y----- ([IPv6:1---A:-b]) by relay.example (Latchpost) with E-S-P"
          " id 01j5r2k8xq4vd (key k---; v -x- --)" TAIL },
    };
    char text[2048];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixup_facts with = facts;
        with.helo = rows[i].helo;
        with.client_address = rows[i].address;
        with.protocol = rows[i].protocol;
        with.key_id = rows[i].key_id;
        with.tls = rows[i].tls;
        if (strcmp(received_for(&with, text), rows[i].want) != 0)
            fail_msg("row %zu: got\n%s\nwant\n%s", i, text, rows[i].want);
    }
}

static void facts_of_any_length_stay_within_the_growth_and_the_line(void **state)
{
    char vast[4096];
    struct fixup_facts with = { .helo = { vast, sizeof(vast) - 1 }, .now_s = INT64_MAX };
    struct slice block = SLICE("From: a@b\r\n\r\n");
    struct buf out;

    (void)state;
    memset(vast, 'a', sizeof(vast) - 1);
    vast[sizeof(vast) - 1] = '\0';
    with.hostname = with.message_id = with.key_id = with.client_address = with.protocol = vast;
    for (int spaced = 0; spaced < 2; spaced++) {
        char tls[4096];
        memset(tls, spaced ? ' ' : 'a', sizeof(tls) - 1);
        tls[sizeof(tls) - 1] = '\0';
        with.tls = tls;
        apply(block, &with, &out);
        struct slice rest = buf_slice(&out);
        assert_true(rest.len <= block.len + FIXUP_GROWTH_MAX);
        while (rest.data != NULL)
            assert_true(slice_cut(&rest, '\n').len + 1 <= 998);
        buf_free(&out);
    }
}

static void a_full_buffer_is_told(void **state)
{
    struct header header;

    (void)state;
    assert_int_equal(header_parse(SLICE("From: a@b\r\n\r\n"), &header), HEADER_OK);
    size_t need = strlen(RECEIVED "From: a@b\r\n" DATE MESSAGE_ID "\r\n");
    for (size_t max = 0; max <= need; max++) {
        struct buf out;
        buf_init(&out, max);
        if (fixup_apply(&header, &facts, &out) != (max == need))
            fail_msg("a maximum of %zu bytes", max);
        buf_free(&out);
    }
    header_free(&header);
}

static void more_than_fifty_received_fields_are_a_loop(void **state)
{
    static const struct {
        size_t count;
        bool want;
    } rows[] = { { 0, false }, { 50, false }, { 51, true }, { 60, true } };
    char block[4096];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct header header;
        strcpy(block, "From: a@b\r\n");
        for (size_t n = 0; n < rows[i].count; n++)
            strcat(block, n % 2 == 0 ? "Received: by x\r\n" : "RECEIVED: by y\r\n");
        assert_int_equal(header_parse(slice_of(block), &header), HEADER_OK);
        if (fixup_is_loop(&header) != rows[i].want)
            fail_msg("%zu fields: want %d", rows[i].count, rows[i].want);
        header_free(&header);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_added_and_dropped_and_the_rest_is_kept),
        cmocka_unit_test(received_says_what_is_known_in_the_grammar_of_rfc_5321),
        cmocka_unit_test(facts_of_any_length_stay_within_the_growth_and_the_line),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(more_than_fifty_received_fields_are_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
