/* tls_context.c - with which certificates and rules do we speak TLS?
 * Everything a context needs is read and checked here, at start or reload, so that a connection
 * finds nothing to fail on. One context serves one loop (OpenSSL 3.0 takes locks in a shared one);
 * connections count themselves in, so a replaced context goes with its last connection.
 *
 * No session tickets, neither in TLS 1.3 nor in 1.2: with an ECDSA certificate resumption saves a
 * 1.3 server nothing, ticket keys would be a secret to share between loops and to rotate, and there
 * is a client (libesmtp 1.1) that now and then hangs on a ticket that comes after the handshake. */
#include "relay/net/tls_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "relay/base/alloc.h"

/* RFC 7525 and its successor RFC 9325: forward secrecy and AEAD only. The order is ours, cheap
 * first. */
static const char server_ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
/* P-384 costs a server ten times as much, which makes it a cheap attack; as a client we do not
 * mind. */
static const char server_groups[] = "X25519:P-256";
static const char client_groups[] = "X25519:P-256:P-384";

const char *tls_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "OpenSSL does not say why";
}

void tls_load_modules(void)
{
    (void)OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL); /* what is wrong there is told later */
}

/* --- files ----------------------------------------------------------------------------------- */

static bool file_is_readable(const char *path, const char *what, struct why *why)
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return why_errno(why, errno, "cannot open the %s %s", what, path);
    fclose(file);
    return true;
}

static bool use_certificate(SSL_CTX *ssl_ctx, const char *path, struct why *why)
{
    if (!file_is_readable(path, "TLS certificate", why))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ssl_ctx, path) != 1)
        return why_set(why, "cannot use the TLS certificate %s: %s", path, tls_reason());
    return true;
}

/* Nobody but its owner may read a key, and nobody but us and root may have written it. A key of
 * root's may be lent to a group: so do a daemon that is not root, and systemd's credentials. */
static bool key_file_is_private(FILE *file, const char *path, struct why *why)
{
    struct stat info;
    mode_t allowed;

    if (fstat(fileno(file), &info) != 0)
        return why_errno(why, errno, "cannot look at the TLS key %s", path);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return why_set(why, "the TLS key %s belongs to user %u; it must belong to user %u or root",
                       path, (unsigned)info.st_uid, (unsigned)geteuid());
    allowed = info.st_uid == 0 ? S_IRWXU | S_IRGRP : S_IRWXU;
    if ((info.st_mode & 0777 & ~allowed) != 0)
        return why_set(why, "the TLS key %s can be used by others (its mode is %03o): chmod 600 it",
                       path, (unsigned)info.st_mode & 0777);
    return true;
}

/* Instead of OpenSSL's own, which would ask on the terminal. */
static int refuse_password(char *text, int size, int writing, void *owner)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)owner;
    return -1;
}

static EVP_PKEY *read_key(const char *path, struct why *why)
{
    EVP_PKEY *key = NULL;
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        why_errno(why, errno, "cannot open the TLS key %s", path);
        return NULL;
    }
    if (!key_file_is_private(file, path, why))
        goto out;
    key = PEM_read_PrivateKey(file, NULL, refuse_password, NULL);
    if (key == NULL)
        why_set(why, "cannot read the TLS key %s (PEM, without a password): %s", path,
                tls_reason());
out:
    fclose(file);
    return key;
}

static bool use_pair(SSL_CTX *ssl_ctx, const char *certificate, const char *key_path,
                     struct why *why)
{
    bool ok = false;
    EVP_PKEY *key = NULL;

    ERR_clear_error();
    if (!use_certificate(ssl_ctx, certificate, why))
        return false;
    key = read_key(key_path, why);
    if (key == NULL)
        return false;
    if (X509_check_private_key(SSL_CTX_get0_certificate(ssl_ctx), key) != 1) {
        why_set(why, "the TLS key %s does not belong to the certificate %s", key_path, certificate);
        goto out;
    }
    if (SSL_CTX_use_PrivateKey(ssl_ctx, key) != 1) {
        why_set(why, "cannot use the TLS key %s: %s", key_path, tls_reason());
        goto out;
    }
    ok = true;
out:
    EVP_PKEY_free(key);
    return ok;
}

/* --- settings -------------------------------------------------------------------------------- */

static bool set_common(SSL_CTX *ssl_ctx, const char *groups)
{
    SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_TICKET |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_num_tickets(ssl_ctx, 0) == 1 &&
           SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set1_groups_list(ssl_ctx, groups) == 1;
}

/* RFC 7301 section 3.2: no protocol in common is the fatal alert no_application_protocol. It keeps
 * a browser's requests from being read as mail (the ALPACA attack). */
static int on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_len,
                   const unsigned char *offered, unsigned offered_len, void *owner)
{
    const struct tls_context *context = owner;
    unsigned char *match = NULL;

    (void)ssl;
    if (SSL_select_next_proto(&match, chosen_len, context->alpn, context->alpn[0] + 1u, offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = match;
    return SSL_TLSEXT_ERR_OK;
}

static void set_alpn(struct tls_context *context, const char *protocol)
{
    size_t len = strlen(protocol);

    assert(len > 0 && len < sizeof(context->alpn)); /* "smtp" or "http/1.1" */
    context->alpn[0] = (unsigned char)len;
    memcpy(context->alpn + 1, protocol, len);
    SSL_CTX_set_alpn_select_cb(context->ssl_ctx, on_alpn, context);
}

static bool set_trust(SSL_CTX *ssl_ctx, const char *ca_file, struct why *why)
{
    SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
    if (ca_file == NULL) {
        if (SSL_CTX_set_default_verify_paths(ssl_ctx) != 1)
            return why_set(why, "cannot find the system's certificates: %s", tls_reason());
        return true;
    }
    if (!file_is_readable(ca_file, "CA file", why))
        return false;
    if (SSL_CTX_load_verify_file(ssl_ctx, ca_file) != 1)
        return why_set(why, "cannot use the CA file %s: %s", ca_file, tls_reason());
    return true;
}

/* --- life ------------------------------------------------------------------------------------ */

static struct tls_context *context_new(const SSL_METHOD *method, bool is_server, struct why *why)
{
    struct tls_context *context = xcalloc(1, sizeof(*context));

    ERR_clear_error();
    atomic_init(&context->refs, 1);
    context->is_server = is_server;
    context->ssl_ctx = SSL_CTX_new(method);
    context->method = tls_bio_method();
    if (context->ssl_ctx == NULL || context->method == NULL ||
        !set_common(context->ssl_ctx, is_server ? server_groups : client_groups)) {
        why_set(why, "cannot set up TLS: %s", tls_reason());
        tls_context_unref(context);
        return NULL;
    }
    return context;
}

struct tls_context *tls_context_server(const struct tls_server_options *options, struct why *why)
{
    struct tls_context *context = context_new(TLS_server_method(), true, why);

    if (context == NULL)
        return NULL;
    if (SSL_CTX_set_cipher_list(context->ssl_ctx, server_ciphers) != 1) {
        why_set(why, "cannot set up TLS: %s", tls_reason());
        goto failed;
    }
    if (!use_pair(context->ssl_ctx, options->certificate, options->key, why))
        goto failed;
    if (options->alpn != NULL)
        set_alpn(context, options->alpn);
    return context;
failed:
    tls_context_unref(context);
    return NULL;
}

struct tls_context *tls_context_client(const struct tls_client_options *options, struct why *why)
{
    struct tls_context *context = context_new(TLS_client_method(), false, why);

    if (context == NULL)
        return NULL;
    context->verify = options->verify;
    if (options->verify && !set_trust(context->ssl_ctx, options->ca_file, why))
        goto failed;
    if ((options->certificate == NULL) != (options->key == NULL)) {
        why_set(why, "a client certificate needs its key, and a key its certificate");
        goto failed;
    }
    if (options->certificate != NULL &&
        !use_pair(context->ssl_ctx, options->certificate, options->key, why))
        goto failed;
    return context;
failed:
    tls_context_unref(context);
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add(&context->refs, 1);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->refs, 1) > 1)
        return;
    SSL_CTX_free(context->ssl_ctx);
    BIO_meth_free(context->method);
    free(context);
}
