/* tls_priv.h - what the files of the TLS door share: OpenSSL is used by tls*.c and nobody else. */
#ifndef LATCHPOST_TLS_PRIV_H
#define LATCHPOST_TLS_PRIV_H

#include <stdatomic.h>

#include <openssl/ssl.h>

#include "relay/net/tls.h"

struct tls_context {
    _Atomic unsigned refs;
    SSL_CTX *ssl_ctx;
    BIO_METHOD *method;
    bool is_server;
    bool verify;            /* client side */
    unsigned char alpn[32]; /* server side: length octet and name, as on the wire; empty: any */
};

/* What OpenSSL met first since ERR_clear_error(), for the end of a sentence; never NULL. */
const char *tls_reason(void);

/* The way from OpenSSL to tls->io; BIO_meth_free() is owed. NULL when there is no memory. */
BIO_METHOD *tls_bio_method(void);

#endif
