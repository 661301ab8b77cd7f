/* txt_lookup.c - which TXT records has this name?
 * c-ares on the loop: one uv_poll for each of its sockets, made and closed as its socket-state
 * callback says, and one timer for its retries and for the end of our patience, whichever is first.
 * c-ares may close a socket, and may answer, inside any call into it. So a look-up remembers what
 * it was told and looks at that only when c-ares has returned; then it answers, once, destroys the
 * channel (which calls all callbacks again: they see that it is over), and goes when the last of
 * its handles is closed. A server that answers with the wrong id, from elsewhere, or about another
 * question is not heard by c-ares, records of another name are found by us; a truncated answer is
 * asked for again by TCP. */
#include "relay/net/txt_lookup.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/net/txt_owner.h"

#define TRIES           4
#define SERVER_TEXT_MAX 64
#define ANSWER_MAX      65536 /* what TCP can carry */

struct txt_resolver {
    struct loop *loop;
    char *servers; /* as c-ares takes them, "a:53,b:53"; empty: the system's */
    uint64_t timeout_ms;
    struct list lookups;
    size_t lookup_count;
};

struct watch { /* one socket of c-ares */
    uv_poll_t poll;
    struct lookup *lookup;
    ares_socket_t fd;
    struct list node; /* in lookup->watches */
};

struct lookup {
    struct loop *loop;
    struct txt_resolver *resolver; /* NULL when answered */
    struct list node;              /* in resolver->lookups */
    char *name;
    ares_channel channel;
    bool has_channel;
    struct list watches;
    struct loop_timer timer;
    unsigned handles; /* not closed yet: watches and the timer */
    int64_t deadline_ms;
    bool is_told; /* c-ares has answered: */
    enum txt_result result;
    const char *problem;
    struct buf octets; /* the texts, one behind the other */
    struct slice texts[TXT_TEXTS_MAX];
    size_t text_ends[TXT_TEXTS_MAX], text_count;
    txt_answer_cb *cb;
    void *owner;
};

/* --- servers ---------------------------------------------------------------------------------- */

static bool is_address(struct slice text, int family)
{
    char room[SERVER_TEXT_MAX];
    uint8_t bytes[16];

    if (text.len == 0 || text.len >= sizeof(room))
        return false;
    memcpy(room, text.data, text.len);
    room[text.len] = '\0';
    return inet_pton(family, room, bytes) == 1;
}

static bool is_port(struct slice text)
{
    uint64_t port;

    return slice_to_u64(text, &port) && port > 0 && port <= UINT16_MAX;
}

bool txt_server_is_valid(struct slice text)
{
    size_t end;

    if (text.len > 0 && text.data[0] == '[') {
        end = slice_find(text, ']');
        if (end == SLICE_NONE || !is_address(slice_first(slice_from(text, 1), end - 1), AF_INET6))
            return false;
        struct slice rest = slice_from(text, end + 1);
        return rest.len == 0 || (rest.data[0] == ':' && is_port(slice_from(rest, 1)));
    }
    if (is_address(text, AF_INET6))
        return true;
    end = slice_find(text, ':');
    if (end == SLICE_NONE)
        return is_address(text, AF_INET);
    return is_address(slice_first(text, end), AF_INET) && is_port(slice_from(text, end + 1));
}

/* With brackets and a port whatever is left out: c-ares does not take every form. */
static char *spell_server(const char *server)
{
    bool is_ipv6 = is_address(slice_of(server), AF_INET6);
    size_t len = strlen(server);

    if (is_ipv6)
        return xasprintf("[%s]:53", server);
    if (server[len - 1] == ']' || strchr(server, ':') == NULL)
        return xasprintf("%s:53", server);
    return xstrdup(server);
}

static char *join_servers(const struct txt_options *options)
{
    char *text = xstrdup("");

    assert(options->server_count <= TXT_SERVERS_MAX);
    for (size_t i = 0; i < options->server_count; i++) {
        assert(txt_server_is_valid(slice_of(options->servers[i])));
        char *server = spell_server(options->servers[i]);
        char *more = xasprintf("%s%s%s", text, i > 0 ? "," : "", server);
        free(server);
        free(text);
        text = more;
    }
    return text;
}

/* --- the end of a look-up --------------------------------------------------------------------- */

static void on_handle_closed(struct lookup *lookup)
{
    if (--lookup->handles > 0)
        return;
    buf_free(&lookup->octets);
    free(lookup->name);
    free(lookup);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct lookup *lookup = watch->lookup;

    free(watch);
    on_handle_closed(lookup);
}

static void close_watch(struct watch *watch)
{
    list_remove(&watch->node);
    uv_poll_stop(&watch->poll); /* before c-ares closes the socket */
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static void on_timer_closed(void *owner)
{
    on_handle_closed(owner);
}

static void finish(struct lookup *lookup, enum txt_result result)
{
    struct txt_answer answer = { .result = result,
                                 .texts = lookup->texts,
                                 .count = result == TXT_FOUND ? lookup->text_count : 0,
                                 .problem = lookup->problem };

    list_remove(&lookup->node);
    lookup->resolver->lookup_count--;
    lookup->resolver = NULL;
    if (lookup->has_channel)
        ares_destroy(lookup->channel); /* closes its sockets, so the watches go with it */
    list_for_each(node, next, &lookup->watches)
        close_watch(list_entry(node, struct watch, node)); /* should it have left one */
    loop_timer_close(&lookup->timer, on_timer_closed);
    lookup->cb(lookup->owner, &answer);
}

/* --- what c-ares tells ------------------------------------------------------------------------ */

static void tell(struct lookup *lookup, enum txt_result result, const char *problem)
{
    lookup->is_told = true;
    lookup->result = result;
    lookup->problem = problem;
}

static void tell_failure(struct lookup *lookup, int status)
{
    static const struct {
        int status;
        enum txt_result result;
        const char *problem;
    } rows[] = {
        { ARES_ENOTFOUND, TXT_NO_NAME, NULL },
        { ARES_ENODATA, TXT_NO_TEXT, NULL },
        { ARES_ETIMEOUT, TXT_TIMEOUT, NULL },
        { ARES_ESERVFAIL, TXT_FAILED, "the name server failed to find it out (SERVFAIL)" },
        { ARES_EREFUSED, TXT_FAILED, "the name server refused the question" },
        { ARES_ENOTIMP, TXT_FAILED, "the name server does not know the question" },
        { ARES_EFORMERR, TXT_FAILED, "the name server could not read the question" },
        { ARES_EBADRESP, TXT_FAILED, "the answer of the name server cannot be read" },
        { ARES_EBADNAME, TXT_FAILED, "the name cannot be asked for" },
        /* c-ares 1.18 says this, too, when the last of them failed or refused. */
        { ARES_ECONNREFUSED, TXT_FAILED, "every name server refuses, fails or cannot be reached" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status) {
            tell(lookup, rows[i].result, rows[i].problem);
            return;
        }
    tell(lookup, TXT_FAILED, "the question could not be asked");
}

/* The strings come one by one; each says whether it begins a record. */
static void keep_texts(struct lookup *lookup, const struct ares_txt_ext *string)
{
    for (; string != NULL; string = string->next) {
        if (string->record_start && lookup->text_count == TXT_TEXTS_MAX)
            break;
        if (string->record_start)
            lookup->text_count++;
        if (lookup->text_count == 0 ||
            !buf_add(&lookup->octets, slice_make(string->txt, string->length)))
            break;
        lookup->text_ends[lookup->text_count - 1] = buf_len(&lookup->octets);
    }
    struct slice all = buf_slice(&lookup->octets);
    for (size_t i = 0, begin = 0; i < lookup->text_count; begin = lookup->text_ends[i++])
        lookup->texts[i] = slice_first(slice_from(all, begin), lookup->text_ends[i] - begin);
}

static void on_told(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
    struct lookup *lookup = arg;
    struct ares_txt_ext *strings = NULL;

    (void)timeouts;
    if (lookup->resolver == NULL || lookup->is_told)
        return; /* the channel is being destroyed */
    if (status == ARES_SUCCESS)
        status = ares_parse_txt_reply_ext(packet, len, &strings);
    if (status == ARES_SUCCESS && !txt_owner_is(packet, len, lookup->name)) {
        tell(lookup, TXT_FAILED, "the name server told of another name");
    } else if (status == ARES_SUCCESS) {
        keep_texts(lookup, strings);
        tell(lookup, lookup->text_count > 0 ? TXT_FOUND : TXT_NO_TEXT, NULL);
    } else {
        tell_failure(lookup, status);
    }
    ares_free_data(strings);
}

/* --- driving it ------------------------------------------------------------------------------- */

/* After every call into c-ares: answer, or wait until it wants to be called again. */
static void go_on(struct lookup *lookup)
{
    struct timeval longest, wait;
    int64_t left_ms = lookup->deadline_ms - clock_mono_ms();

    if (lookup->is_told || left_ms <= 0) {
        finish(lookup, lookup->is_told ? lookup->result : TXT_TIMEOUT);
        return;
    }
    longest = (struct timeval){ .tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000 };
    struct timeval *next = ares_timeout(lookup->channel, &longest, &wait);
    /* A millisecond more, or it would be called just before it sees anything to do. */
    loop_timer_start(&lookup->timer,
                     (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1, 0);
}

static void on_timer(void *owner)
{
    struct lookup *lookup = owner;

    if (lookup->has_channel && !lookup->is_told)
        ares_process_fd(lookup->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    go_on(lookup);
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct watch *watch = handle->data;
    struct lookup *lookup = watch->lookup;
    ares_socket_t fd = watch->fd; /* the watch may be gone when c-ares returns */
    bool reads = status < 0 || (events & UV_READABLE) != 0;
    bool writes = status < 0 || (events & UV_WRITABLE) != 0;

    ares_process_fd(lookup->channel, reads ? fd : ARES_SOCKET_BAD, writes ? fd : ARES_SOCKET_BAD);
    go_on(lookup);
}

static struct watch *find_watch(struct lookup *lookup, ares_socket_t fd)
{
    list_for_each(node, next, &lookup->watches) {
        struct watch *watch = list_entry(node, struct watch, node);
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

static struct watch *watch_new(struct lookup *lookup, ares_socket_t fd)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));

    if (uv_poll_init_socket(&lookup->loop->uv, &watch->poll, fd) != 0) {
        free(watch); /* no memory in the kernel: then the timer ends this try */
        return NULL;
    }
    watch->poll.data = watch;
    watch->lookup = lookup;
    watch->fd = fd;
    lookup->handles++;
    list_add_tail(&lookup->watches, &watch->node);
    return watch;
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct lookup *lookup = data;
    struct watch *watch = find_watch(lookup, fd);

    if (readable == 0 && writable == 0) {
        if (watch != NULL)
            close_watch(watch);
        return;
    }
    if (watch == NULL)
        watch = watch_new(lookup, fd);
    if (watch != NULL)
        uv_poll_start(&watch->poll,
                      (readable != 0 ? UV_READABLE : 0) | (writable != 0 ? UV_WRITABLE : 0),
                      on_ready);
}

/* --- asking ----------------------------------------------------------------------------------- */

static bool open_channel(struct lookup *lookup)
{
    const struct txt_resolver *resolver = lookup->resolver;
    struct ares_options options = {
        .timeout =
            (int)(resolver->timeout_ms / TRIES + 1), /* of the first try; later ones double */
        .tries = TRIES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = lookup,
    };

    if (ares_init_options(&lookup->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
        ARES_SUCCESS)
        return false;
    lookup->has_channel = true;
    return resolver->servers[0] == '\0' ||
           ares_set_servers_ports_csv(lookup->channel, resolver->servers) == ARES_SUCCESS;
}

void txt_lookup(struct txt_resolver *resolver, const char *name, txt_answer_cb *cb, void *owner)
{
    struct lookup *lookup = xcalloc(1, sizeof(*lookup));

    lookup->loop = resolver->loop;
    lookup->resolver = resolver;
    lookup->name = xstrdup(name);
    lookup->cb = cb;
    lookup->owner = owner;
    lookup->deadline_ms = clock_mono_ms() + (int64_t)resolver->timeout_ms;
    list_init(&lookup->watches);
    buf_init(&lookup->octets, ANSWER_MAX);
    list_add_tail(&resolver->lookups, &lookup->node);
    loop_timer_init(resolver->loop, &lookup->timer, on_timer, lookup);
    lookup->handles = 1;
    if (resolver->lookup_count++ >= TXT_LOOKUPS_MAX)
        tell(lookup, TXT_BUSY, NULL);
    else if (!open_channel(lookup))
        tell(lookup, TXT_FAILED, "the resolver cannot be set up");
    else
        ares_query(lookup->channel, name, ns_c_in, ns_t_txt, on_told, lookup);
    if (lookup->is_told)
        loop_timer_start(&lookup->timer, 0, 0); /* never from inside this call */
    else
        go_on(lookup);
}

/* --- life ------------------------------------------------------------------------------------- */

struct txt_resolver *txt_resolver_new(struct loop *loop, const struct txt_options *options)
{
    struct txt_resolver *resolver = xcalloc(1, sizeof(*resolver));

    ares_library_init(ARES_LIB_INIT_ALL); /* counted; does nothing that can fail here */
    resolver->loop = loop;
    list_init(&resolver->lookups);
    txt_resolver_set(resolver, options);
    return resolver;
}

void txt_resolver_set(struct txt_resolver *resolver, const struct txt_options *options)
{
    free(resolver->servers);
    resolver->servers = join_servers(options);
    resolver->timeout_ms = options->timeout_ms;
}

void txt_resolver_free(struct txt_resolver *resolver)
{
    if (resolver == NULL)
        return;
    list_for_each(node, next, &resolver->lookups)
        finish(list_entry(node, struct lookup, node), TXT_CANCELLED);
    free(resolver->servers);
    free(resolver);
    ares_library_cleanup();
}
