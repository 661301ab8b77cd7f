/* tls.c - what do the bytes on a TLS connection say?
 * The engine of one connection. OpenSSL reads and writes through a BIO method of our own, straight
 * from the caller's input and into the caller's function: memory BIOs grow to the largest read and
 * never shrink, which made 110 KB a connection where this takes 40 (and about 20 when idle, thanks
 * to SSL_MODE_RELEASE_BUFFERS). Three rules of OpenSSL are kept here: the error queue is cleared
 * before every call, what was written is sent whatever the result (alerts, key updates), and after
 * a final result nothing is asked again. Belongs to its loop's thread. */
#include "relay/net/tls_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "relay/base/alloc.h"

#define NAME_BYTES 256 /* RFC 1035: a name is at most 255 octets */

struct tls {
    struct tls_context *context;
    SSL *ssl; /* NULL when it could not even be set up */
    struct tls_io io;
    struct slice
        input; /* what the BIO may still read; points into the caller's memory for one call */
    bool ready;
    enum tls_result state; /* TLS_OK until a final result */
    char text[64];         /* protocol and cipher */
    char error[160];
};

/* --- the BIO: OpenSSL's view of us ----------------------------------------------------------- */

static int bio_read(BIO *bio, char *data, size_t capacity, size_t *len)
{
    struct tls *tls = BIO_get_data(bio);
    struct slice taken = slice_first(tls->input, capacity);

    BIO_clear_retry_flags(bio);
    if (taken.len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(data, taken.data, taken.len);
    tls->input = slice_from(tls->input, taken.len);
    *len = taken.len;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *written)
{
    struct tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    tls->io.send(tls->io.owner, data, len);
    *written = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* nothing is held back, so flushing always succeeds */
}

BIO_METHOD *tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

    if (method != NULL) {
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* --- life ------------------------------------------------------------------------------------ */

static void fail(struct tls *tls, const char *text)
{
    tls->state = TLS_BROKEN;
    snprintf(tls->error, sizeof(tls->error), "%s", text);
}

static bool set_io(struct tls *tls)
{
    BIO *bio = BIO_new(tls->context->method);

    if (bio == NULL)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    return true;
}

/* Names the peer we want. RFC 6066 section 3: no address is sent as SNI, and no final dot. */
static bool set_peer(struct tls *tls, const char *hostname)
{
    X509_VERIFY_PARAM *wanted = SSL_get0_param(tls->ssl);
    char name[NAME_BYTES];
    size_t len = strlen(hostname);

    if (len > 0 && hostname[len - 1] == '.')
        len--;
    if (len == 0 || len >= sizeof(name))
        return false;
    memcpy(name, hostname, len);
    name[len] = '\0';
    if (X509_VERIFY_PARAM_set1_ip_asc(wanted, name) == 1)
        return true;
    /* RFC 9525 section 2: the subject's common name is words for people. A CA that names hosts with
     * care may let others choose those. */
    SSL_set_hostflags(tls->ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(tls->ssl, name) == 1 && SSL_set_tlsext_host_name(tls->ssl, name) == 1;
}

struct tls *tls_new(struct tls_context *context, const char *hostname, struct tls_io io)
{
    struct tls *tls = xcalloc(1, sizeof(*tls));

    tls->context = tls_context_ref(context);
    tls->io = io;
    ERR_clear_error();
    tls->ssl = SSL_new(context->ssl_ctx);
    if (tls->ssl == NULL || !set_io(tls)) {
        fail(tls, "cannot set up TLS");
        return tls;
    }
    if (context->is_server) {
        SSL_set_accept_state(tls->ssl);
        return tls;
    }
    SSL_set_connect_state(tls->ssl);
    if (!set_peer(tls, hostname))
        fail(tls, "the host's name cannot be verified");
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl); /* and the BIO; before the context, whose method the BIO uses */
    tls_context_unref(tls->context);
    free(tls);
}

/* --- verdicts -------------------------------------------------------------------------------- */

/* The verification's verdict is what a person can act on; else the first of OpenSSL's errors, which
 * is the cause, the later ones being its consequences. */
static void note_error(struct tls *tls)
{
    long verdict = SSL_get_verify_result(tls->ssl);

    tls->state = TLS_BROKEN;
    if (!tls->context->is_server && tls->context->verify && verdict != X509_V_OK)
        snprintf(tls->error, sizeof(tls->error), "the server's certificate is not accepted: %s",
                 X509_verify_cert_error_string(verdict));
    else
        snprintf(tls->error, sizeof(tls->error), "%s", tls_reason());
}

/* After a call that did not succeed. The BIO never refuses output, so only input can be missing. */
static void judge(struct tls *tls, int result)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_ZERO_RETURN:
        tls->state = TLS_CLOSED;
        break;
    default:
        note_error(tls);
        break;
    }
}

static void shake_hands(struct tls *tls)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1) {
        judge(tls, result);
        return;
    }
    tls->ready = true;
    snprintf(tls->text, sizeof(tls->text), "%s %s", SSL_get_version(tls->ssl),
             SSL_get_cipher_name(tls->ssl));
}

/* --- use ------------------------------------------------------------------------------------- */

/* True when there was some plain text. */
static bool read_some(struct tls *tls, char *plain, size_t capacity, size_t *len)
{
    size_t count = 0;

    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, plain + *len, capacity - *len, &count);
    if (result != 1)
        judge(tls, result);
    *len += count;
    return result == 1;
}

enum tls_result tls_receive(struct tls *tls, struct slice input, size_t *used, char *plain,
                            size_t capacity, size_t *len)
{
    *len = 0;
    *used = input.len;
    if (tls->state != TLS_OK)
        return tls->state;
    tls->input = input;
    if (!tls->ready)
        shake_hands(tls);
    for (bool more = tls->ready; more && *len < capacity;)
        more = read_some(tls, plain, capacity, len);
    if (tls->state == TLS_OK) /* else nothing is of interest any more */
        *used = input.len - tls->input.len;
    tls->input = slice_make(NULL, 0);
    return tls->state;
}

bool tls_is_ready(const struct tls *tls)
{
    return tls->ready;
}

enum tls_result tls_send(struct tls *tls, struct slice plain)
{
    size_t written = 0;

    assert(tls->ready);
    if (tls->state == TLS_BROKEN || plain.len == 0)
        return tls->state;
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, plain.data, plain.len, &written) != 1)
        note_error(tls);
    return tls->state == TLS_BROKEN ? TLS_BROKEN : TLS_OK;
}

void tls_send_close(struct tls *tls)
{
    if (!tls->ready || tls->state == TLS_BROKEN)
        return;
    ERR_clear_error();
    SSL_shutdown(tls->ssl); /* 0: said, and the peer has not yet; nothing else can happen */
    ERR_clear_error();
}

const char *tls_describe(struct tls *tls)
{
    return tls->text;
}

const char *tls_error(const struct tls *tls)
{
    return tls->error;
}
