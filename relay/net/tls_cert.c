/* tls_cert.c - where does a certificate come from when the operator has none yet?
 * Self-signed, for trying things out: ECDSA P-256 (a signature costs a thirtieth of RSA-2048's), no
 * CA, good for a server only. Each file is written aside, synced and renamed, key first, and a
 * certificate that has lost its key goes before that: so none ever stands there without its key, or
 * beside another one's. Any thread. */
#include "relay/net/tls_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"

#define DAY_S        (24L * 60 * 60)
#define VALID_DAYS   3650
#define MOST_CN_CHAR 64 /* X.520's ub-common-name */

/* --- the certificate ------------------------------------------------------------------------- */

/* Adds a DNS name, or an address when it reads as one. */
static bool add_name(GENERAL_NAMES *names, const char *text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(V_ASN1_IA5STRING);
    unsigned char address[16];
    int type = GEN_DNS, ok;

    if (name == NULL || value == NULL)
        goto failed;
    if (inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1) {
        type = GEN_IPADD;
        ASN1_STRING_free(value);
        value = ASN1_STRING_type_new(V_ASN1_OCTET_STRING);
        ok = value != NULL && ASN1_STRING_set(value, address, strchr(text, ':') != NULL ? 16 : 4);
    } else {
        ok = ASN1_STRING_set(value, text, -1);
    }
    if (!ok)
        goto failed;
    GENERAL_NAME_set0_value(name, type, value);
    value = NULL;
    if (sk_GENERAL_NAME_push(names, name) > 0)
        return true;
failed:
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return false;
}

static bool set_names(X509 *certificate, const char *hostname)
{
    const char *const texts[] = { hostname, "localhost", "127.0.0.1", "::1" };
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names != NULL;

    for (size_t i = 0; ok && i < ARRAY_LEN(texts); i++)
        ok = add_name(names, texts[i]);
    if (ok)
        ok =
            X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static bool set_uses(X509 *certificate)
{
    static const struct {
        int nid;
        const char *value;
    } rows[] = {
        { NID_basic_constraints, "critical,CA:FALSE" },
        { NID_key_usage, "critical,digitalSignature" },
        { NID_ext_key_usage, "serverAuth" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, rows[i].nid, rows[i].value);
        bool ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
        X509_EXTENSION_free(extension);
        if (!ok)
            return false;
    }
    return true;
}

/* Subject and issuer are one. The common name is for people: clients look at the names above. */
static bool set_subject(X509 *certificate, const char *hostname)
{
    const char *common = strlen(hostname) <= MOST_CN_CHAR ? hostname : "latchpost";
    X509_NAME *subject = X509_get_subject_name(certificate);

    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, subject) == 1;
}

/* Clients keep certificates by issuer and serial, so a new one must not look like an old one. */
static bool set_serial(X509 *certificate)
{
    uint64_t serial = 0;

    if (getrandom(&serial, sizeof(serial), 0) != (ssize_t)sizeof(serial))
        return false;
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1;
}

static X509 *make_certificate(EVP_PKEY *key, const char *hostname)
{
    X509 *certificate = X509_new();

    if (certificate != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
        set_serial(certificate) &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY_S) != NULL && /* clocks differ */
        X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_DAYS * DAY_S) != NULL &&
        X509_set_pubkey(certificate, key) == 1 && set_subject(certificate, hostname) &&
        set_uses(certificate) && set_names(certificate, hostname) &&
        X509_sign(certificate, key, EVP_sha256()) > 0)
        return certificate;
    X509_free(certificate);
    return NULL;
}

/* --- the files ------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        len -= (size_t)written;
    }
    return fsync(fd) == 0;
}

static bool remove_old(const char *path, struct why *why)
{
    return unlink(path) == 0 || errno == ENOENT ||
           why_errno(why, errno, "cannot remove the old %s", path);
}

/* Writes `pem` into path's temporary neighbour, which is never open to others, not for a moment. */
static bool write_aside(const char *aside, BIO *pem, struct why *why)
{
    char *data = NULL;
    long len = BIO_get_mem_data(pem, &data);

    if (!remove_old(aside, why))
        return false;
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return why_errno(why, errno, "cannot create %s", aside);
    bool ok = write_all(fd, data, (size_t)len);
    int error = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (!ok)
        unlink(aside);
    return ok || why_errno(why, error, "cannot write %s", aside);
}

static bool write_file(const char *path, BIO *pem, struct why *why)
{
    char *aside = xasprintf("%s.new", path);
    bool ok = write_aside(aside, pem, why);

    if (ok && rename(aside, path) != 0) {
        ok = why_errno(why, errno, "cannot rename %s to %s", aside, path);
        unlink(aside);
    }
    free(aside);
    return ok;
}

bool tls_make_self_signed(const char *certificate, const char *key, const char *hostname,
                          struct why *why)
{
    bool ok = false;
    EVP_PKEY *pair = NULL;
    X509 *signed_one = NULL;
    BIO *key_pem = NULL, *certificate_pem = NULL;

    if (access(certificate, F_OK) == 0 && access(key, F_OK) == 0)
        return true;
    ERR_clear_error();
    pair = EVP_EC_gen("P-256");
    if (pair != NULL)
        signed_one = make_certificate(pair, hostname);
    key_pem = BIO_new(BIO_s_secmem()); /* wiped when freed */
    certificate_pem = BIO_new(BIO_s_mem());
    if (signed_one == NULL || key_pem == NULL || certificate_pem == NULL ||
        PEM_write_bio_PKCS8PrivateKey(key_pem, pair, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(certificate_pem, signed_one) != 1) {
        why_set(why, "cannot make a self-signed certificate for %s: %s", hostname, tls_reason());
        goto out;
    }
    ok = remove_old(certificate, why) && write_file(key, key_pem, why) &&
         write_file(certificate, certificate_pem, why);
out:
    BIO_free(key_pem);
    BIO_free(certificate_pem);
    X509_free(signed_one);
    EVP_PKEY_free(pair);
    return ok;
}
