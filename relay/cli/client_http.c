/* client_http.c - how is one question asked by HTTP?
 * libcurl, for the control socket and for TLS alike: one request, one connection, HTTP/1.1, no
 * redirect (a key is for the server that was named), certificates and names verified. All memory
 * that libcurl takes is wiped when it is given back, because the key passes through its request and
 * new keys through its answers. Plain HTTP is spoken with this machine only, and never through a
 * proxy. */
#include <curl/curl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/base/alloc.h"
#include "relay/cli/client_priv.h"

#define CONNECT_MS 10000

/* --- memory ----------------------------------------------------------------------------------- */

void client_wipe_and_free(void *memory)
{
    if (memory != NULL)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

/* realloc() may move and leave the old place as it was. */
static void *wipe_and_realloc(void *memory, size_t size)
{
    void *moved = malloc(size);

    if (moved == NULL || memory == NULL)
        return moved;
    size_t old = malloc_usable_size(memory);
    memcpy(moved, memory, old < size ? old : size);
    client_wipe_and_free(memory);
    return moved;
}

static bool start_curl(struct why *why)
{
    static bool started;

    if (!started)
        started = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, client_wipe_and_free,
                                       wipe_and_realloc, strdup, calloc) == CURLE_OK;
    return started || why_set(why, "libcurl cannot be started");
}

/* --- where to --------------------------------------------------------------------------------- */

static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;

    return curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool has_part(CURLU *url, CURLUPart part)
{
    char *text = url_part(url, part);
    bool there = text != NULL;

    curl_free(text);
    return there;
}

/* A name is what libcurl resolves to loopback by itself, or an address. */
static bool is_this_machine(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static bool check_url(CURLU *url, const char *text, struct why *why)
{
    char *scheme = url_part(url, CURLUPART_SCHEME);
    char *host = url_part(url, CURLUPART_HOST);
    bool ok = false;

    if (scheme == NULL || host == NULL ||
        (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        why_set(why, "%.200s is no URL of a relay: it is like https://relay.example.com:8025",
                text);
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD) ||
             has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
        why_set(why, "the URL holds more than a server and a path; a key goes into a file");
    else if (strcmp(scheme, "http") == 0 && !is_this_machine(host))
        why_set(why, "the key would travel in the clear: use https://%.200s", host);
    else
        ok = true;
    curl_free(host);
    curl_free(scheme);
    return ok;
}

bool client_http_base(const char *text, char **base, struct why *why)
{
    CURLU *url;
    bool ok = false;

    if (!start_curl(why))
        return false;
    url = curl_url();
    if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        why_set(why, "%.200s is no URL of a relay: it is like https://relay.example.com:8025",
                strchr(text, '@') != NULL ? "that" : text);
    else if (check_url(url, text, why)) {
        char *whole = url_part(url, CURLUPART_URL);
        *base = xstrdup(whole);
        for (size_t len = strlen(*base); len > 0 && (*base)[len - 1] == '/'; len--)
            (*base)[len - 1] = '\0';
        curl_free(whole);
        ok = true;
    }
    curl_url_cleanup(url);
    return ok;
}

/* --- asking ----------------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t one, size_t len, void *owner)
{
    struct client_reply *reply = owner;

    (void)one;
    return buf_add(&reply->body, slice_make(data, len)) ? len : 0; /* 0: that is too much */
}

static bool add_field(struct curl_slist **fields, const char *field)
{
    struct curl_slist *more = curl_slist_append(*fields, field);

    if (more != NULL)
        *fields = more;
    return more != NULL;
}

static bool make_fields(const struct client_door *door, struct curl_slist **fields)
{
    bool ok = add_field(fields, "Content-Type: application/json") &&
              add_field(fields, "Accept: application/json") && add_field(fields, "Expect:");

    if (door->key == NULL)
        return ok;
    char *field = xasprintf("Authorization: Bearer %s", door->key);
    ok = ok && add_field(fields, field);
    client_wipe_and_free(field);
    return ok;
}

static void set_door(CURL *curl, const struct client_door *door)
{
    bool direct = door->socket_path != NULL || strncmp(door->base, "https:", 6) != 0;

    if (door->socket_path != NULL)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, door->socket_path);
    if (direct)
        curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, direct ? "http" : "https");
    curl_easy_setopt(curl, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* nothing for a proxy */
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (door->ca_file != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, door->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL); /* those of the file, and no others */
    }
}

static void set_question(CURL *curl, const struct client_question *question,
                         struct client_reply *reply)
{
    const char *body = question->body == NULL ? "" : question->body;

    if (strcmp(question->method, "GET") != 0) { /* then a length is sent, be it 0 */
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, question->method);
    }
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)question->patience_s * 1000);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
}

/* Once the connection stands, TLS and all, the request may have arrived. */
static enum client_outcome judge(CURL *curl, CURLcode code)
{
    curl_off_t ready_us = 0;

    curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    switch (code) {
    case CURLE_OK:
        return CLIENT_ANSWERED;
    case CURLE_WRITE_ERROR:          /* on_body() had no room */
    case CURLE_UNSUPPORTED_PROTOCOL: /* no HTTP at all */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return CLIENT_NONSENSE;
    default:
        return ready_us > 0 ? CLIENT_UNANSWERED : CLIENT_UNREACHED;
    }
}

static enum client_outcome perform(CURL *curl, struct client_reply *reply, struct why *why,
                                   int *os_error)
{
    char problem[CURL_ERROR_SIZE] = "";
    long status = 0, number = 0;

    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
    CURLcode code = curl_easy_perform(curl);
    enum client_outcome outcome = judge(curl, code);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
    reply->status = (int)status;
    if (outcome == CLIENT_ANSWERED)
        return outcome;
    *os_error = (int)number;
    if (code == CURLE_WRITE_ERROR)
        why_set(why, "the answer is larger than any that the API gives");
    else
        why_set(why, "%s", problem[0] != '\0' ? problem : curl_easy_strerror(code));
    return outcome;
}

enum client_outcome client_http_ask(const struct client_door *door,
                                    const struct client_question *question,
                                    struct client_reply *reply, struct why *why, int *os_error)
{
    enum client_outcome outcome = CLIENT_UNREACHED;
    struct curl_slist *fields = NULL;
    char *url = xasprintf("%s%s", door->base, question->target);
    CURL *curl = NULL;

    *os_error = 0;
    if (!start_curl(why))
        goto out;
    curl = curl_easy_init();
    if (curl == NULL || !make_fields(door, &fields)) {
        why_set(why, "libcurl has no memory");
        goto out;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    set_door(curl, door);
    set_question(curl, question, reply);
    outcome = perform(curl, reply, why, os_error);
out:
    curl_easy_cleanup(curl);
    curl_slist_free_all(fields);
    free(url);
    return outcome;
}
