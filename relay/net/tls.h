/* tls.h - contexts, certificates and one connection's TLS engine (the only user of OpenSSL).
 * A context belongs to one loop; a reload makes a new one and old connections keep theirs
 * (counted). TLS 1.2 and later, groups X25519 and P-256 (a client takes P-384, too), no
 * renegotiation, no compression, no session tickets. SNI is ignored: there is one certificate. */
#ifndef LATCHPOST_TLS_H
#define LATCHPOST_TLS_H

#include <stdint.h>

#include "relay/base/slice.h"
#include "relay/base/why.h"

struct tls_context; /* one side's settings and certificates */
struct tls;         /* one connection */

struct tls_server_options {
    const char *certificate; /* PEM chain file */
    const char *key;         /* PEM key file: ours or root's, and for nobody else to read */
    const char *alpn; /* "smtp" or "http/1.1": a client that offers ALPN without it is refused
                       * (alert 120); NULL: ALPN is ignored */
};
struct tls_client_options {
    bool verify;                   /* chain and name; the default */
    const char *ca_file;           /* NULL: the system's */
    const char *certificate, *key; /* client certificate, or both NULL */
};

/* Lets OpenSSL read its own configuration and load the modules that this names, which it does by
 * itself when the first context is made. Before any other thread starts. */
void tls_load_modules(void);

/* Reads and checks the files: a missing, unreadable, mismatching or group-readable one is an error
 * that names it. The first thread to use it is its owner from then on. */
struct tls_context *tls_context_server(const struct tls_server_options *options, struct why *why);
struct tls_context *tls_context_client(const struct tls_client_options *options, struct why *why);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* accepts NULL; any thread */

/* Makes a self-signed ECDSA P-256 certificate for `hostname` (a name or an address), localhost,
 * 127.0.0.1 and ::1, valid for ten years, into these two files (0600, each there complete or not at
 * all), unless both exist already. */
bool tls_make_self_signed(const char *certificate, const char *key, const char *hostname,
                          struct why *why);

/* --- the engine: for stream.c only ----------------------------------------------------------- */

struct tls_io { /* where the engine's encrypted bytes go; called during the calls below */
    /* Appends bytes for the peer. Never refuses: bounded by what the caller gives to encrypt. */
    void (*send)(void *owner, const char *data, size_t len);
    void *owner;
};
/* hostname: the name (or textual address) to verify and to send as SNI; NULL on the server side. It
 * never fails: what is wrong comes out of tls_receive(). */
struct tls *tls_new(struct tls_context *context, const char *hostname, struct tls_io io);
void tls_free(struct tls *tls); /* accepts NULL */

enum tls_result {
    TLS_OK,     /* may be without any plain text: more input is needed */
    TLS_CLOSED, /* the peer said close_notify; final */
    TLS_BROKEN, /* a fatal error; tls_error() says which; an alert was sent through io if one is
                 * due; final */
};
/* Gives encrypted input and takes plain output, until the input is used up or `plain` is full.
 * *used: bytes of input taken (all, unless plain filled up: then call again, even with no input
 * left). *len: bytes of plain text, with any result. Drives the handshake too: a client calls it
 * with no input to begin. */
enum tls_result tls_receive(struct tls *tls, struct slice input, size_t *used, char *plain,
                            size_t capacity, size_t *len);
bool tls_is_ready(const struct tls *tls); /* handshake done */
/* Encrypts all of `plain` and sends it. Only when ready. */
enum tls_result tls_send(struct tls *tls, struct slice plain);
/* close_notify, unless it was never ready or is broken. */
void tls_send_close(struct tls *tls);

/* "TLSv1.3 TLS_AES_256_GCM_SHA384": borrowed until tls_free(). Only when ready. */
const char *tls_describe(struct tls *tls);
/* Why it is broken, for a person (the verification's verdict where that is the reason). */
const char *tls_error(const struct tls *tls);

#endif
