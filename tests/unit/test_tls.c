#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"
#include "relay/base/macros.h"
#include "relay/net/tls.h"
#include "tests/support/harness_certs.h"

#define ANY_LEN 65536

static struct certs certs;

static int make_certs(void **state)
{
    static const struct certs_options rows[] = {
        { .name = "ca", .is_ca = true },
        { .name = "stranger", .is_ca = true },
        { .name = "good",
          .issuer = "ca",
          .san = "DNS:mail.example,DNS:*.wild.example,IP:192.0.2.1" },
        { .name = "expired", .issuer = "ca", .san = "DNS:mail.example", .is_expired = true },
        { .name = "unknown", .issuer = "stranger", .san = "DNS:mail.example" },
        { .name = "alone", .san = "DNS:mail.example" },
    };

    (void)state;
    certs_open(&certs);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        certs_make(&certs, &rows[i]);
    return 0;
}

static int remove_certs(void **state)
{
    (void)state;
    certs_close(&certs);
    return 0;
}

static struct tls_context *server_context(const char *name, const char *alpn)
{
    char *certificate = certs_path(&certs, name, ".pem"), *key = certs_path(&certs, name, ".key");
    struct why why = { "" };
    struct tls_context *context = tls_context_server(
        &(struct tls_server_options){ .certificate = certificate, .key = key, .alpn = alpn }, &why);

    if (context == NULL)
        fail_msg("%s", why.text);
    free(certificate);
    free(key);
    return context;
}

static struct tls_context *client_context(bool verify, const char *ca)
{
    char *ca_file = certs_path(&certs, ca, ".pem");
    struct why why = { "" };
    struct tls_context *context = tls_context_client(
        &(struct tls_client_options){ .verify = verify, .ca_file = ca_file }, &why);

    if (context == NULL)
        fail_msg("%s", why.text);
    free(ca_file);
    return context;
}

/* --- two engines, face to face --------------------------------------------------------------- */

struct end {
    struct tls *tls;
    struct buf sent; /* to the other */
    struct buf got;  /* plain text */
    enum tls_result state;
};

static void on_send(void *owner, const char *data, size_t len)
{
    struct end *end = owner;

    assert_true(buf_add(&end->sent, slice_make(data, len)));
}

static void end_open(struct end *end, struct tls_context *context, const char *hostname)
{
    *end = (struct end){ .state = TLS_OK };
    buf_init(&end->sent, 1 << 22);
    buf_init(&end->got, 1 << 22);
    end->tls = tls_new(context, hostname, (struct tls_io){ on_send, end });
    tls_context_unref(context); /* the engine has its own reference */
}

static void end_close(struct end *end)
{
    tls_free(end->tls);
    buf_free(&end->sent);
    buf_free(&end->got);
}

/* Gives up to `most` bytes at once, takes plain text in pieces of `room`. */
static void feed(struct end *end, struct buf *from, size_t most, size_t room)
{
    char plain[ANY_LEN];

    for (bool again = true; again && end->state == TLS_OK;) {
        struct slice input = slice_first(buf_slice(from), most);
        size_t used = 0, len = 0;
        end->state = tls_receive(end->tls, input, &used, plain, room, &len);
        assert_true(used <= input.len);
        assert_true(len <= room);
        if (len < room)
            assert_int_equal(used, input.len); /* left over only when `plain` was full */
        buf_consume(from, used);
        assert_true(buf_add(&end->got, slice_make(plain, len)));
        again = buf_len(from) > 0 || len == room;
    }
}

static void talk(struct end *server, struct end *client, size_t most, size_t room)
{
    feed(client, &(struct buf){ .max = 0 }, most, room); /* a client speaks first */
    while (buf_len(&client->sent) > 0 || buf_len(&server->sent) > 0) {
        feed(server, &client->sent, most, room);
        buf_clear(&client->sent); /* nobody reads on after a final result */
        feed(client, &server->sent, most, room);
        buf_clear(&server->sent);
    }
}

static void whatever_the_cuts_the_plain_text_comes_out_whole(void **state)
{
    static const struct {
        size_t most, room;
    } rows[] = { { 1, 1 },       { 1, ANY_LEN }, { 7, 3 },
                 { ANY_LEN, 1 }, { 5000, 4096 }, { ANY_LEN, ANY_LEN } };
    static char text[100000];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct end server, client;
        size_t most = rows[i].most, room = rows[i].room;
        end_open(&server, server_context("good", NULL), NULL);
        end_open(&client, client_context(true, "ca"), "mail.example");
        talk(&server, &client, most, room);
        if (!tls_is_ready(server.tls) || !tls_is_ready(client.tls))
            fail_msg("row %zu: no handshake: %s", i, tls_error(client.tls));
        assert_string_equal(tls_describe(server.tls), "TLSv1.3 TLS_AES_256_GCM_SHA384");
        assert_int_equal(tls_send(client.tls, slice_make(text, sizeof(text))), TLS_OK);
        assert_int_equal(tls_send(server.tls, SLICE("short")), TLS_OK);
        tls_send_close(client.tls);
        talk(&server, &client, most, room);
        if (!slice_equal(buf_slice(&server.got), slice_make(text, sizeof(text))) ||
            !slice_equal(buf_slice(&client.got), SLICE("short")))
            fail_msg("row %zu: cuts of %zu, room of %zu", i, most, room);
        assert_int_equal(server.state, TLS_CLOSED);
        assert_int_equal(tls_send(server.tls, SLICE("late")), TLS_OK); /* the other half is open */
        end_close(&server);
        end_close(&client);
    }
}

static void after_the_handshake_the_server_says_nothing_by_itself(void **state)
{
    struct end server, client;

    (void)state;
    end_open(&server, server_context("good", NULL), NULL);
    end_open(&client, client_context(true, "ca"), "mail.example");
    feed(&client, &(struct buf){ .max = 0 }, 1, 1);
    feed(&server, &client.sent, ANY_LEN, ANY_LEN);
    feed(&client, &server.sent, ANY_LEN, ANY_LEN);
    feed(&server, &client.sent, ANY_LEN, ANY_LEN);
    assert_true(tls_is_ready(server.tls) && tls_is_ready(client.tls));
    assert_int_equal(buf_len(&server.sent), 0); /* no ticket */
    end_close(&server);
    end_close(&client);
}

static void the_verdict_on_a_certificate_names_its_reason(void **state)
{
    static const struct {
        const char *server, *ca, *host;
        const char *want; /* NULL: accepted */
    } rows[] = {
        { "good", "ca", "mail.example", NULL },
        { "good", "ca", "MAIL.example", NULL },
        { "good", "ca", "mail.example.", NULL },
        { "good", "ca", "a.wild.example", NULL },
        { "good", "ca", "192.0.2.1", NULL },
        { "alone", "alone", "mail.example", NULL },
        { "good", "ca", "192.0.2.2", "IP address mismatch" },
        { "good", "ca", "other.example", "hostname mismatch" },
        { "good", "ca", "a.b.wild.example", "hostname mismatch" },
        { "good", "ca", "wild.example", "hostname mismatch" },
        { "expired", "ca", "mail.example", "certificate has expired" },
        { "unknown", "ca", "mail.example", "unable to get local issuer certificate" },
        { "alone", "ca", "mail.example", "self-signed certificate" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *want = rows[i].want;
        for (int verify = 0; verify < 2; verify++) {
            struct end server, client;
            bool accepted = want == NULL || !verify;
            end_open(&server, server_context(rows[i].server, NULL), NULL);
            end_open(&client, client_context(verify, rows[i].ca), rows[i].host);
            talk(&server, &client, ANY_LEN, ANY_LEN);
            if (tls_is_ready(client.tls) != accepted || (client.state == TLS_BROKEN) == accepted)
                fail_msg("%s for %s, verify %d: %s", rows[i].server, rows[i].host, verify,
                         tls_error(client.tls));
            if (!accepted && strstr(tls_error(client.tls), want) == NULL)
                fail_msg("%s for %s: got '%s', want '%s'", rows[i].server, rows[i].host,
                         tls_error(client.tls), want);
            if (!accepted)
                assert_int_equal(server.state, TLS_BROKEN); /* it got the alert */
            end_close(&server);
            end_close(&client);
        }
    }
}

static void a_host_that_cannot_be_verified_is_an_error_not_a_crash(void **state)
{
    char name[400];
    const char *const hosts[] = { "", ".", name };

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct end client;
        end_open(&client, client_context(true, "ca"), hosts[i]);
        feed(&client, &(struct buf){ .max = 0 }, 1, 1);
        if (client.state != TLS_BROKEN || tls_error(client.tls)[0] == '\0')
            fail_msg("'%s'", hosts[i]);
        tls_send_close(client.tls);
        assert_int_equal(buf_len(&client.sent), 0);
        end_close(&client);
    }
}

static void garbage_is_final_and_answered_by_an_alert_at_most(void **state)
{
    static const struct {
        struct slice input;
        bool alert; /* OpenSSL owes none to what does not even look like TLS */
    } rows[] = {
        { SLICE("EHLO this is not TLS\r\n"), false },
        { SLICE("GET / HTTP/1.1\r\n\r\n"), false },
        { SLICE("\x16\x03\x01\x00\x05garba"), true },
        { SLICE("\x17\x03\x03\x00\x05"
                "early"),
          true },
        { SLICE("\x16\x03\x01\xff\xffmuch"), true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct end server;
        struct buf garbage;
        size_t used = 0, len = 1;
        char plain[10];
        end_open(&server, server_context("good", NULL), NULL);
        buf_init(&garbage, 100);
        assert_true(buf_add(&garbage, rows[i].input));
        feed(&server, &garbage, ANY_LEN, ANY_LEN);
        struct slice sent = buf_slice(&server.sent);
        if (server.state != TLS_BROKEN || (sent.len > 0) != rows[i].alert ||
            (sent.len > 0 && sent.data[0] != 21) || tls_error(server.tls)[0] == '\0')
            fail_msg("row %zu: state %d, %zu bytes sent, '%s'", i, (int)server.state, sent.len,
                     tls_error(server.tls));
        buf_clear(&server.sent);
        assert_int_equal(tls_receive(server.tls, SLICE("more"), &used, plain, 10, &len),
                         TLS_BROKEN);
        assert_int_equal(used, 4);
        assert_int_equal(len, 0);
        tls_send_close(server.tls);
        assert_int_equal(buf_len(&server.sent), 0);
        buf_free(&garbage);
        end_close(&server);
    }
}

/* --- other people's clients ------------------------------------------------------------------ */

struct stranger { /* OpenSSL as it comes, with memory BIOs */
    SSL_CTX *ssl_ctx;
    SSL *ssl;
    BIO *in, *out;
};

static void stranger_open(struct stranger *stranger)
{
    stranger->ssl_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(stranger->ssl_ctx, 0);
    SSL_CTX_set_min_proto_version(stranger->ssl_ctx, 0);
    stranger->ssl = SSL_new(stranger->ssl_ctx);
    stranger->in = BIO_new(BIO_s_mem());
    stranger->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(stranger->in, -1);
    SSL_set_bio(stranger->ssl, stranger->in, stranger->out);
    SSL_set_connect_state(stranger->ssl);
}

static void stranger_close(struct stranger *stranger)
{
    SSL_free(stranger->ssl);
    SSL_CTX_free(stranger->ssl_ctx);
}

static void exchange(struct stranger *stranger, struct end *server)
{
    char bytes[ANY_LEN];
    int len;

    for (int i = 0; i < 10; i++) {
        char ignored[100];
        ERR_clear_error();
        if (SSL_is_init_finished(stranger->ssl))
            SSL_read(stranger->ssl, ignored, sizeof(ignored));
        else
            SSL_do_handshake(stranger->ssl);
        while ((len = BIO_read(stranger->out, bytes, sizeof(bytes))) > 0) {
            struct buf input;
            buf_init(&input, ANY_LEN);
            assert_true(buf_add(&input, slice_make(bytes, (size_t)len)));
            feed(server, &input, ANY_LEN, ANY_LEN);
            buf_free(&input);
        }
        BIO_write(stranger->in, buf_slice(&server->sent).data, (int)buf_len(&server->sent));
        buf_clear(&server->sent);
    }
}

enum { NO_ALERT = -1 };

static int last_alert;

static void on_info(const SSL *ssl, int where, int value)
{
    (void)ssl;
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
        last_alert = value & 0xff;
}

static void only_modern_tls_is_spoken_and_the_refusal_is_an_alert(void **state)
{
    static const struct {
        const char *label;
        int most_version;
        const char *ciphers, *groups;
        int alert; /* NO_ALERT: accepted */
    } rows[] = {
        { "anything", 0, NULL, NULL, NO_ALERT },
        { "TLS 1.2", TLS1_2_VERSION, NULL, NULL, NO_ALERT },
        { "TLS 1.2, one suite", TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", NULL, NO_ALERT },
        { "TLS 1.1", TLS1_1_VERSION, NULL, NULL, SSL_AD_PROTOCOL_VERSION },
        { "TLS 1.0", TLS1_VERSION, NULL, NULL, SSL_AD_PROTOCOL_VERSION },
        { "CBC only", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", NULL, SSL_AD_HANDSHAKE_FAILURE },
        { "no encryption", TLS1_2_VERSION, "ECDHE-ECDSA-NULL-SHA", NULL, SSL_AD_HANDSHAKE_FAILURE },
        { "no forward secrecy", TLS1_2_VERSION, "AES128-GCM-SHA256", NULL,
          SSL_AD_HANDSHAKE_FAILURE },
        { "P-384 only", 0, NULL, "P-384", SSL_AD_HANDSHAKE_FAILURE },
        { "P-256 only", 0, NULL, "P-256", NO_ALERT },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct stranger stranger;
        struct end server;
        end_open(&server, server_context("good", NULL), NULL);
        stranger_open(&stranger);
        SSL_set_max_proto_version(stranger.ssl, rows[i].most_version);
        if (rows[i].ciphers != NULL)
            assert_int_equal(SSL_set_cipher_list(stranger.ssl, rows[i].ciphers), 1);
        if (rows[i].groups != NULL)
            assert_int_equal(SSL_set1_groups_list(stranger.ssl, rows[i].groups), 1);
        SSL_set_info_callback(stranger.ssl, on_info);
        last_alert = NO_ALERT;
        exchange(&stranger, &server);
        if (tls_is_ready(server.tls) != (rows[i].alert == NO_ALERT) || last_alert != rows[i].alert)
            fail_msg("%s: ready %d, alert %d, want %d; %s", rows[i].label, tls_is_ready(server.tls),
                     last_alert, rows[i].alert, tls_error(server.tls));
        stranger_close(&stranger);
        end_close(&server);
    }
}

static void alpn_must_have_our_protocol_when_it_is_offered(void **state)
{
    static const struct {
        const char *ours, *offer; /* with length octets */
        int alert;
        const char *chosen;
    } rows[] = {
        { "smtp", NULL, NO_ALERT, "" },
        { "smtp", "\4smtp", NO_ALERT, "smtp" },
        { "smtp", "\2h2\4smtp", NO_ALERT, "smtp" },
        { "smtp", "\x08http/1.1", SSL_AD_NO_APPLICATION_PROTOCOL, "" },
        { "smtp", "\3smt\5smtps", SSL_AD_NO_APPLICATION_PROTOCOL, "" },
        { "http/1.1", "\2h2\x08http/1.1", NO_ALERT, "http/1.1" },
        { "http/1.1", "\4smtp", SSL_AD_NO_APPLICATION_PROTOCOL, "" },
        { NULL, "\4what", NO_ALERT, "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct stranger stranger;
        struct end server;
        const unsigned char *chosen = NULL;
        unsigned len = 0;
        const char *offer = rows[i].offer;
        end_open(&server, server_context("good", rows[i].ours), NULL);
        stranger_open(&stranger);
        if (offer != NULL)
            SSL_set_alpn_protos(stranger.ssl, (const unsigned char *)offer,
                                (unsigned)strlen(offer));
        SSL_set_info_callback(stranger.ssl, on_info);
        last_alert = NO_ALERT;
        exchange(&stranger, &server);
        SSL_get0_alpn_selected(stranger.ssl, &chosen, &len);
        if (last_alert != rows[i].alert ||
            !slice_equal(slice_make(chosen, len), slice_of(rows[i].chosen)))
            fail_msg("row %zu: alert %d, chosen %.*s", i, last_alert, (int)len,
                     (const char *)chosen);
        stranger_close(&stranger);
        end_close(&server);
    }
}

static void a_name_in_sni_is_ignored_however_odd(void **state)
{
    static char long_name[256];
    const char *const names[] = { "other.example", "a\\b", "\xff\xfe", "a\nb", long_name };

    (void)state;
    memset(long_name, 'a', 255);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stranger stranger;
        struct end server;
        end_open(&server, server_context("good", "smtp"), NULL);
        stranger_open(&stranger);
        assert_int_equal(SSL_set_tlsext_host_name(stranger.ssl, names[i]), 1);
        exchange(&stranger, &server);
        if (!tls_is_ready(server.tls))
            fail_msg("'%s': %s", names[i], tls_error(server.tls));
        stranger_close(&stranger);
        end_close(&server);
    }
}

static void a_second_handshake_is_refused(void **state)
{
    struct stranger stranger;
    struct end server;

    (void)state;
    end_open(&server, server_context("good", NULL), NULL);
    stranger_open(&stranger);
    SSL_set_max_proto_version(stranger.ssl, TLS1_2_VERSION);
    SSL_set_info_callback(stranger.ssl, on_info);
    exchange(&stranger, &server);
    assert_true(tls_is_ready(server.tls));
    last_alert = NO_ALERT;
    SSL_renegotiate(stranger.ssl);
    exchange(&stranger, &server);
    assert_int_equal(last_alert, SSL_AD_NO_RENEGOTIATION);
    stranger_close(&stranger);
    end_close(&server);
}

/* --- files ----------------------------------------------------------------------------------- */

static void make_odd_files(void)
{
    FILE *file = certs_file(&certs, "garbage", ".pem", "w");
    fputs("this is no PEM\n", file);
    fclose(file);
    file = certs_file(&certs, "garbage", ".key", "w");
    fchmod(fileno(file), 0600);
    fputs("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", file);
    fclose(file);

    EVP_PKEY *key = EVP_EC_gen("P-256");
    file = certs_file(&certs, "open", ".key", "w");
    fchmod(fileno(file), 0660);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    file = certs_file(&certs, "secret", ".key", "w");
    fchmod(fileno(file), 0600);
    PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)"word", 4, NULL,
                         NULL);
    fclose(file);
    EVP_PKEY_free(key);
}

static void a_bad_file_is_refused_and_named(void **state)
{
    static const struct {
        const char *certificate, *key, *named, *want;
    } rows[] = {
        { "absent", "good", "absent.pem", "No such file" },
        { "good", "absent", "absent.key", "No such file" },
        { "garbage", "good", "garbage.pem", "certificate" },
        { "good", "garbage", "garbage.key", "cannot read" },
        { "good", "open", "open.key", "mode is 660" },
        { "good", "secret", "secret.key", "password" },
        { "good", "alone", "alone.key", "does not belong" },
    };

    (void)state;
    make_odd_files();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *certificate = certs_path(&certs, rows[i].certificate, ".pem");
        char *key = certs_path(&certs, rows[i].key, ".key");
        struct why why = { "" };
        struct tls_context *context = tls_context_server(
            &(struct tls_server_options){ .certificate = certificate, .key = key }, &why);
        const char *want = rows[i].want;
        if (context != NULL || strstr(why.text, rows[i].named) == NULL ||
            strstr(why.text, want) == NULL)
            fail_msg("%s and %s: got '%s', want '%s'", rows[i].certificate, rows[i].key, why.text,
                     want);
        context = tls_context_client(
            &(struct tls_client_options){ .certificate = certificate, .key = key }, &why);
        assert_null(context);
        free(certificate);
        free(key);
    }
}

static void a_bad_ca_file_or_half_a_client_certificate_is_refused(void **state)
{
    char *garbage = certs_path(&certs, "garbage", ".pem"),
         *good = certs_path(&certs, "good", ".pem");
    struct why why = { "" };
    struct tls_client_options rows[] = {
        { .verify = true, .ca_file = garbage },
        { .verify = true, .ca_file = "/nonexistent/ca.pem" },
        { .certificate = good },
        { .key = good },
    };

    (void)state;
    make_odd_files();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_context *context = tls_context_client(&rows[i], &why);
        if (context != NULL || why.text[0] == '\0')
            fail_msg("row %zu was accepted", i);
    }
    free(garbage);
    free(good);
}

static void a_self_signed_pair_works_for_its_names_and_is_private(void **state)
{
    static const char *const hosts[] = { "relay.example", "localhost", "127.0.0.1", "::1" };
    char *certificate = certs_path(&certs, "self", ".pem"),
         *key = certs_path(&certs, "self", ".key");
    struct stat info, again;
    struct why why = { "" };

    (void)state;
    if (!tls_make_self_signed(certificate, key, "relay.example", &why))
        fail_msg("%s", why.text);
    assert_int_equal(stat(key, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(certificate, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct end server, client;
        end_open(&server, server_context("self", NULL), NULL);
        end_open(&client, client_context(true, "self"), hosts[i]);
        talk(&server, &client, ANY_LEN, ANY_LEN);
        if (!tls_is_ready(client.tls))
            fail_msg("%s: %s", hosts[i], tls_error(client.tls));
        end_close(&server);
        end_close(&client);
    }
    assert_true(tls_make_self_signed(certificate, key, "other.example", &why));
    assert_int_equal(stat(certificate, &again), 0);
    assert_int_equal(info.st_ino, again.st_ino); /* what is there stays */
    free(certificate);
    free(key);
}

static void a_self_signed_pair_takes_any_hostname_and_tells_what_it_cannot_write(void **state)
{
    char *certificate = certs_path(&certs, "odd", ".pem"), *key = certs_path(&certs, "odd", ".key");
    char name[254];
    const char *const hosts[] = { name, "192.0.2.7", "2001:db8::7" };
    struct why why = { "" };

    (void)state;
    for (size_t i = 0; i < sizeof(name) - 1; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[sizeof(name) - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct end server, client;
        if (!tls_make_self_signed(certificate, key, hosts[i], &why))
            fail_msg("%s", why.text);
        end_open(&server, server_context("odd", NULL), NULL);
        end_open(&client, client_context(true, "odd"), hosts[i]);
        talk(&server, &client, ANY_LEN, ANY_LEN);
        if (!tls_is_ready(client.tls))
            fail_msg("%s: %s", hosts[i], tls_error(client.tls));
        end_close(&server);
        end_close(&client);
        unlink(key); /* half a pair is made again */
    }
    assert_false(tls_make_self_signed("/nonexistent/x.pem", "/nonexistent/x.key", "a", &why));
    assert_non_null(strstr(why.text, "/nonexistent/x.key"));
    free(certificate);
    free(key);
}

/* As after a crash between the two files. */
static void half_a_pair_is_never_completed_by_half_of_another(void **state)
{
    char *certificate = certs_path(&certs, "half", ".pem"),
         *key = certs_path(&certs, "half", ".key"), *aside = certs_path(&certs, "half", ".pem.new");
    struct why why = { "" };

    (void)state;
    assert_true(tls_make_self_signed(certificate, key, "relay.example", &why));
    unlink(key);
    assert_int_equal(mkdir(aside, 0700), 0); /* the certificate cannot be written */
    assert_false(tls_make_self_signed(certificate, key, "relay.example", &why));
    assert_int_equal(rmdir(aside), 0);
    assert_true(tls_make_self_signed(certificate, key, "relay.example", &why));
    tls_context_unref(server_context("half", NULL)); /* they belong together */
    free(certificate);
    free(key);
    free(aside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_cuts_the_plain_text_comes_out_whole),
        cmocka_unit_test(after_the_handshake_the_server_says_nothing_by_itself),
        cmocka_unit_test(the_verdict_on_a_certificate_names_its_reason),
        cmocka_unit_test(a_host_that_cannot_be_verified_is_an_error_not_a_crash),
        cmocka_unit_test(garbage_is_final_and_answered_by_an_alert_at_most),
        cmocka_unit_test(only_modern_tls_is_spoken_and_the_refusal_is_an_alert),
        cmocka_unit_test(alpn_must_have_our_protocol_when_it_is_offered),
        cmocka_unit_test(a_name_in_sni_is_ignored_however_odd),
        cmocka_unit_test(a_second_handshake_is_refused),
        cmocka_unit_test(a_bad_file_is_refused_and_named),
        cmocka_unit_test(a_bad_ca_file_or_half_a_client_certificate_is_refused),
        cmocka_unit_test(a_self_signed_pair_works_for_its_names_and_is_private),
        cmocka_unit_test(a_self_signed_pair_takes_any_hostname_and_tells_what_it_cannot_write),
        cmocka_unit_test(half_a_pair_is_never_completed_by_half_of_another),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
