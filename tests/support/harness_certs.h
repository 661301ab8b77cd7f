/* harness_certs.h - certificates made on the fly, in a temporary folder.
 * For tests only: everything here asserts. A test includes it, links OpenSSL, and removes the
 * folder at the end. */
#ifndef LATCHPOST_HARNESS_CERTS_H
#define LATCHPOST_HARNESS_CERTS_H

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct certs {
    char dir[200];
};

struct certs_options {
    const char *name;   /* of the files NAME.pem and NAME.key */
    const char *issuer; /* name of another one, or NULL: self-signed */
    const char *san;    /* as in openssl.cnf: "DNS:a.example,IP:127.0.0.1"; NULL: none */
    bool is_ca;
    bool is_expired;
};

static inline void certs_open(struct certs *certs)
{
    const char *base = getenv("TMPDIR");

    snprintf(certs->dir, sizeof(certs->dir), "%s/latchpost-test-XXXXXX",
             base != NULL ? base : "/tmp");
    char *made = mkdtemp(certs->dir);
    assert(made != NULL);
    (void)made;
}

/* The path of a file in the folder; the caller frees it. */
static inline char *certs_path(const struct certs *certs, const char *name, const char *extension)
{
    char *path = NULL;
    int len = asprintf(&path, "%s/%s%s", certs->dir, name, extension);

    assert(len > 0);
    (void)len;
    return path;
}

static inline void certs_close(struct certs *certs)
{
    DIR *dir = opendir(certs->dir);

    assert(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(certs->dir);
}

static inline FILE *certs_file(const struct certs *certs, const char *name, const char *extension,
                               const char *mode)
{
    char *path = certs_path(certs, name, extension);
    FILE *file = fopen(path, mode);

    assert(file != NULL);
    free(path);
    return file;
}

static inline void certs_write_key(const struct certs *certs, const char *name, EVP_PKEY *key)
{
    FILE *file = certs_file(certs, name, ".key", "w");

    fchmod(fileno(file), 0600);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

static inline void certs_add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert(extension != NULL);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline void certs_make(const struct certs *certs, const struct certs_options *options)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = key;
    X509 *certificate = X509_new(), *issuer = certificate;
    X509_NAME *subject = X509_get_subject_name(certificate);

    if (options->issuer != NULL) {
        FILE *file = certs_file(certs, options->issuer, ".key", "r");
        issuer_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
        file = certs_file(certs, options->issuer, ".pem", "r");
        issuer = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
    }
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), random());
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400 * 10);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400 * (options->is_expired ? -1 : 10));
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)options->name,
                               -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    certs_add_extension(certificate, NID_basic_constraints,
                        options->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (options->san != NULL)
        certs_add_extension(certificate, NID_subject_alt_name, options->san);
    X509_sign(certificate, issuer_key, EVP_sha256());

    FILE *file = certs_file(certs, options->name, ".pem", "w");
    PEM_write_X509(file, certificate);
    fclose(file);
    certs_write_key(certs, options->name, key);
    if (options->issuer != NULL) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

#endif
