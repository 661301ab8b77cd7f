/* wire.c - bytes over one socket, plain or TLS, the same for the generator and the sink.
 * The only file of the benchmark that knows OpenSSL. It reads ahead, so that a flight costs one
 * read(2) with TLS too; what it has read and not yet given is invisible to epoll, hence *more. */
#include "tests/bench/wire.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "relay/base/alloc.h"

#define UNSENT_MAX (64 * 1024 * 1024)

/* --- contexts -------------------------------------------------------------------------------- */

static SSL_CTX *context(struct wire_tls *tls)
{
    return (SSL_CTX *)(void *)tls;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set1_groups_list(ctx, "X25519:P-256");
    return ctx;
}

struct wire_tls *wire_tls_client(bool resume)
{
    SSL_CTX *ctx = new_context(TLS_client_method());

    if (ctx != NULL && !resume)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    return (struct wire_tls *)(void *)ctx;
}

static bool sign_certificate(X509 *certificate, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(certificate);

    return X509_set_version(certificate, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                      (const unsigned char *)"bench.example", -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

struct wire_tls *wire_tls_server(void)
{
    SSL_CTX *ctx = new_context(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    bool ok = ctx != NULL && key != NULL && certificate != NULL &&
              sign_certificate(certificate, key) &&
              SSL_CTX_use_certificate(ctx, certificate) == 1 &&
              SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1;

    if (ok) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    if (!ok) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    return (struct wire_tls *)(void *)ctx;
}

void wire_tls_free(struct wire_tls *tls)
{
    SSL_CTX_free(context(tls));
}

/* --- open and close -------------------------------------------------------------------------- */

static bool watch(struct wire *wire, int operation, unsigned events)
{
    struct epoll_event event = { .events = events, .data.ptr = wire->owner };

    wire->events = events;
    return epoll_ctl(wire->epoll, operation, wire->fd, &event) == 0;
}

bool wire_open(struct wire *wire, int fd, int epoll, void *owner)
{
    *wire = (struct wire){ .fd = fd, .epoll = epoll, .owner = owner };
    buf_init(&wire->unsent, UNSENT_MAX);
    buf_init(&wire->held, WIRE_ROOM_BYTES);
    if (watch(wire, EPOLL_CTL_ADD, EPOLLIN))
        return true;
    close(fd);
    wire->fd = -1;
    return false;
}

void wire_close(struct wire *wire)
{
    if (wire->fd < 0)
        return;
    SSL_free(wire->tls);
    wire->tls = NULL;
    ERR_clear_error(); /* or the next wire would be blamed for what ended this one */
    close(wire->fd);   /* also leaves epoll: the fd was never duplicated */
    wire->fd = -1;
    buf_free(&wire->unsent);
    buf_free(&wire->held);
}

/* Asks epoll for writability only while there is something to write: one call less a flight. */
static bool watch_writing(struct wire *wire, bool wanted)
{
    unsigned events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN;

    return events == wire->events || watch(wire, EPOLL_CTL_MOD, events);
}

/* --- TLS ------------------------------------------------------------------------------------- */

bool wire_begin_tls(struct wire *wire, struct wire_tls *tls, bool server)
{
    wire->tls = SSL_new(context(tls));
    if (wire->tls == NULL || SSL_set_fd(wire->tls, wire->fd) != 1)
        return false;
    if (server)
        SSL_set_accept_state(wire->tls);
    else
        SSL_set_connect_state(wire->tls);
    wire->handshaking = true;
    return true;
}

enum wire_progress wire_handshake(struct wire *wire)
{
    int result = SSL_do_handshake(wire->tls);

    if (result == 1) {
        wire->handshaking = false;
        return watch_writing(wire, false) ? WIRE_DONE : WIRE_FAILED;
    }
    int error = SSL_get_error(wire->tls, result);
    /* Before the connection is made, writing fails with ENOTCONN or EAGAIN; both pass. */
    if (error == SSL_ERROR_SYSCALL && errno == ENOTCONN) {
        ERR_clear_error();
        error = SSL_ERROR_WANT_WRITE;
    }
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return WIRE_FAILED;
    return watch_writing(wire, error == SSL_ERROR_WANT_WRITE) ? WIRE_AGAIN : WIRE_FAILED;
}

const char *wire_version(const struct wire *wire)
{
    return wire->tls == NULL ? "none" : SSL_get_version(wire->tls);
}

/* --- writing --------------------------------------------------------------------------------- */

/* Bytes that went, 0 when the socket is full, -1 when the connection is lost. */
static ssize_t write_some(struct wire *wire, struct slice bytes)
{
    size_t sent = 0;

    if (wire->tls == NULL) {
        ssize_t n = send(wire->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        return n >= 0 ? n : errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
    }
    while (sent < bytes.len) { /* a record at a time */
        size_t n;
        int result = SSL_write_ex(wire->tls, bytes.data + sent, bytes.len - sent, &n);
        if (result != 1) {
            int error = SSL_get_error(wire->tls, result);
            return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? (ssize_t)sent
                                                                                 : -1;
        }
        sent += n;
    }
    return (ssize_t)sent;
}

bool wire_write(struct wire *wire, struct slice bytes)
{
    if (buf_len(&wire->unsent) > 0)
        return buf_add(&wire->unsent, bytes);
    ssize_t sent = write_some(wire, bytes);
    if (sent < 0)
        return false;
    if ((size_t)sent == bytes.len)
        return true;
    return buf_add(&wire->unsent, slice_from(bytes, (size_t)sent)) && watch_writing(wire, true);
}

bool wire_flush(struct wire *wire)
{
    if (buf_len(&wire->unsent) == 0)
        return true;
    ssize_t sent = write_some(wire, buf_slice(&wire->unsent));
    if (sent < 0)
        return false;
    buf_consume(&wire->unsent, (size_t)sent);
    if (buf_len(&wire->unsent) > 0)
        return true;
    buf_free(&wire->unsent);
    return watch_writing(wire, false);
}

/* --- reading --------------------------------------------------------------------------------- */

/* Bytes that came, 0 when none wait, -1 when none will come any more. */
static ssize_t read_some(struct wire *wire, char *room, size_t size, bool *more)
{
    size_t got = 0, n;
    int result = 1;

    if (wire->tls == NULL) {
        ssize_t count = recv(wire->fd, room, size, 0);
        *more = count == (ssize_t)size;
        return count > 0 ? count : count < 0 && errno == EAGAIN ? 0 : -1;
    }
    while (got < size && (result = SSL_read_ex(wire->tls, room + got, size - got, &n)) == 1) {
        got += n;
        if (SSL_has_pending(wire->tls) == 0)
            break;
    }
    *more = got == size;
    if (got > 0)
        return (ssize_t)got;
    return SSL_get_error(wire->tls, result) == SSL_ERROR_WANT_READ ? 0 : -1;
}

enum wire_progress wire_read(struct wire *wire, char room[static WIRE_ROOM_BYTES],
                             struct slice *got, bool *more)
{
    struct slice held = buf_slice(&wire->held);
    ssize_t n = read_some(wire, room + held.len, WIRE_ROOM_BYTES - held.len, more);

    if (n <= 0)
        return n == 0 ? WIRE_AGAIN : WIRE_FAILED;
    *got = slice_make(room, held.len + (size_t)n);
    if (held.len > 0) {
        memcpy(room, held.data, held.len);
        buf_free(&wire->held);
    }
    return WIRE_DONE;
}

bool wire_hold(struct wire *wire, struct slice rest)
{
    return rest.len < WIRE_ROOM_BYTES && buf_add(&wire->held, rest);
}
