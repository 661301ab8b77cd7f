/* resolve.c - which addresses does this host name have?
 * A question ends in an entry (the addresses, or why there are none), which is counted: the cache
 * and the questions to be answered from it hold it. All answers leave in a task, so none comes from
 * inside the call, and whatever an owner does in its callback meets no loop of ours. Questions
 * about one host share one look-up. Belongs to its loop's thread; getaddrinfo runs in libuv's pool,
 * which gives look-ups half of its threads, so names are better few.
 *
 * How long getaddrinfo takes is for the system's configuration to say, and a hanging name service
 * may take for ever. Nobody waits for longer than WAIT_MS; the look-up stays, and who asks for the
 * same name meanwhile joins it. */
#include "relay/net/resolve.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/map.h"

#define KEEP_MS        5000 /* getaddrinfo tells no TTL: long enough for a burst of questions */
#define KEEP_FAILED_MS 5000
#define WAIT_MS        60000
#define TICK_MS        1000
#define CACHE_MAX      256 /* names: the operator's upstreams, so it is hardly ever reached */
#define NAME_MAX_LEN   255 /* RFC 1035 section 2.3.4 */

struct entry {
    unsigned refs;
    int64_t expires_ms;
    size_t count;
    const char *error;
    struct sockaddr_storage addresses[RESOLVE_MAX];
};

struct lookup { /* one getaddrinfo at work */
    uv_getaddrinfo_t request;
    struct resolver *resolver; /* NULL: it was freed meanwhile */
    char *host;
    struct list waiting; /* of struct resolve, by `lookup_node` */
};

struct resolver {
    struct loop *loop;
    struct map *cache;       /* host to struct entry */
    struct map *lookups;     /* host to struct lookup */
    struct list questions;   /* of struct resolve, by `node` */
    size_t waiting;          /* how many of them wait for a look-up */
    struct loop_timer timer; /* runs while some do */
};

struct resolve {
    struct list node, lookup_node;
    struct loop_task task;
    struct resolver *resolver;
    struct entry *entry; /* NULL until it can be answered */
    int64_t asked_ms;
    uint16_t port;
    resolve_cb *cb;
    void *owner;
};

/* --- entries --------------------------------------------------------------------------------- */

static struct entry *entry_new(const char *error)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));

    entry->refs = 1;
    entry->error = error;
    return entry;
}

static void entry_unref(struct entry *entry)
{
    if (entry != NULL && --entry->refs == 0)
        free(entry);
}

static void entry_add(struct entry *entry, const struct sockaddr *address, size_t len)
{
    bool is_ip = (address->sa_family == AF_INET && len == sizeof(struct sockaddr_in)) ||
                 (address->sa_family == AF_INET6 && len == sizeof(struct sockaddr_in6));

    if (is_ip && entry->count < RESOLVE_MAX)
        memcpy(&entry->addresses[entry->count++], address, len);
}

/* An address needs no look-up; NULL when it is a name. */
static struct entry *entry_of_address(const char *host)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct entry *entry;

    if (uv_ip4_addr(host, 0, &v4) == 0) {
        entry = entry_new(NULL);
        entry_add(entry, (struct sockaddr *)&v4, sizeof(v4));
        return entry;
    }
    if (uv_ip6_addr(host, 0, &v6) == 0) {
        entry = entry_new(NULL);
        entry_add(entry, (struct sockaddr *)&v6, sizeof(v6));
        return entry;
    }
    return NULL;
}

static const char *error_text(int error)
{
    switch (error) {
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
        return "name not known";
    case UV_EAI_AGAIN:
        return "the name servers do not answer";
    default:
        return uv_strerror(error);
    }
}

static const struct addrinfo *next_of_family(const struct addrinfo *info, int family, bool same)
{
    while (info != NULL && (info->ai_family == family) != same)
        info = info->ai_next;
    return info;
}

/* In the order of getaddrinfo (RFC 6724), but the two families take turns (RFC 8305 section 4):
 * when one of them leads nowhere, the next address is of the other. */
static void entry_add_all(struct entry *entry, const struct addrinfo *result)
{
    int first = result->ai_family;
    const struct addrinfo *rests[] = { result, next_of_family(result, first, false) };

    for (size_t turn = 0; rests[0] != NULL || rests[1] != NULL; turn = 1 - turn) {
        if (rests[turn] == NULL)
            continue;
        entry_add(entry, rests[turn]->ai_addr, rests[turn]->ai_addrlen);
        rests[turn] = next_of_family(rests[turn]->ai_next, first, turn == 0);
    }
}

static struct entry *entry_of_result(int status, const struct addrinfo *result)
{
    struct entry *entry = entry_new(NULL);

    if (status == 0 && result != NULL)
        entry_add_all(entry, result);
    if (entry->count == 0)
        entry->error = error_text(status == 0 ? UV_EAI_NODATA : status);
    return entry;
}

/* --- the cache ------------------------------------------------------------------------------- */

static void drop_entry(void *owner, struct slice key, void *value)
{
    (void)owner;
    (void)key;
    entry_unref(value);
}

static struct entry *cache_find(struct resolver *resolver, struct slice host)
{
    struct entry *entry = map_find(resolver->cache, host);

    return entry != NULL && clock_mono_ms() < entry->expires_ms ? entry : NULL;
}

/* A full cache is emptied: simpler than finding the oldest, and it does not happen. */
static void cache_add(struct resolver *resolver, struct slice host, struct entry *entry)
{
    if (map_count(resolver->cache) >= CACHE_MAX && map_find(resolver->cache, host) == NULL) {
        map_each(resolver->cache, drop_entry, NULL);
        map_free(resolver->cache);
        resolver->cache = map_new();
    }
    entry->refs++;
    entry->expires_ms = clock_mono_ms() + (entry->count > 0 ? KEEP_MS : KEEP_FAILED_MS);
    entry_unref(map_put(resolver->cache, host, entry));
}

/* --- answers --------------------------------------------------------------------------------- */

/* Its answer is there, or not wanted any more. */
static void stop_waiting(struct resolve *question)
{
    if (list_is_empty(&question->lookup_node))
        return;
    list_remove(&question->lookup_node);
    if (--question->resolver->waiting == 0)
        loop_timer_stop(&question->resolver->timer);
}

static void question_free(struct resolve *question)
{
    list_remove(&question->node);
    stop_waiting(question);
    loop_task_cancel(&question->task);
    entry_unref(question->entry);
    free(question);
}

static void on_answer(void *owner)
{
    struct resolve *question = owner;
    const struct entry *entry = question->entry;
    struct resolve_answer answer = { .count = entry->count, .error = entry->error };
    resolve_cb *cb = question->cb;
    void *asker = question->owner;

    memcpy(answer.addresses, entry->addresses, sizeof(answer.addresses));
    for (size_t i = 0; i < answer.count; i++) {
        /* The port stands at the same place in both families. */
        struct sockaddr_in *address = (struct sockaddr_in *)&answer.addresses[i];
        address->sin_port = htons(question->port);
    }
    question_free(question); /* from here on there is nothing to cancel */
    cb(asker, &answer);
}

/* Takes over one reference. */
static void answer_later(struct resolve *question, struct entry *entry)
{
    stop_waiting(question);
    question->entry = entry;
    loop_later(question->resolver->loop, &question->task);
}

static void lookup_free(struct lookup *lookup)
{
    free(lookup->host);
    free(lookup);
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *result)
{
    struct lookup *lookup = request->data;
    struct resolver *resolver = lookup->resolver;

    if (resolver != NULL) { /* else there is nobody left to be told */
        struct slice host = slice_of(lookup->host);
        struct entry *entry = entry_of_result(status, result);
        map_remove(resolver->lookups, host);
        cache_add(resolver, host, entry);
        list_for_each(node, following, &lookup->waiting) {
            entry->refs++;
            answer_later(list_entry(node, struct resolve, lookup_node), entry);
        }
        entry_unref(entry);
    }
    uv_freeaddrinfo(result);
    lookup_free(lookup);
}

/* --- questions ------------------------------------------------------------------------------- */

/* NULL and *error when it cannot even be asked. */
static struct lookup *lookup_start(struct resolver *resolver, const char *host, int *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct lookup *lookup = xcalloc(1, sizeof(*lookup));

    lookup->request.data = lookup;
    lookup->resolver = resolver;
    lookup->host = xstrdup(host);
    list_init(&lookup->waiting);
    *error =
        uv_getaddrinfo(&resolver->loop->uv, &lookup->request, on_looked_up, host, NULL, &hints);
    if (*error != 0) {
        lookup_free(lookup);
        return NULL;
    }
    map_put(resolver->lookups, slice_of(host), lookup);
    return lookup;
}

static void wait_for(struct lookup *lookup, struct resolve *question)
{
    struct resolver *resolver = question->resolver;

    question->asked_ms = clock_mono_ms();
    list_add_tail(&lookup->waiting, &question->lookup_node);
    if (resolver->waiting++ == 0)
        loop_timer_start(&resolver->timer, TICK_MS, TICK_MS);
}

static void on_tick(void *owner)
{
    struct resolver *resolver = owner;
    int64_t now_ms = clock_mono_ms();

    list_for_each(node, following, &resolver->questions) {
        struct resolve *question = list_entry(node, struct resolve, node);
        if (!list_is_empty(&question->lookup_node) && now_ms - question->asked_ms >= WAIT_MS)
            answer_later(question, entry_new("the name service did not answer in time"));
    }
}

static void ask(struct resolver *resolver, struct resolve *question, const char *host)
{
    struct lookup *lookup = map_find(resolver->lookups, slice_of(host));
    int error = 0;

    if (lookup == NULL)
        lookup = lookup_start(resolver, host, &error);
    if (lookup == NULL)
        answer_later(question, entry_new(error_text(error)));
    else
        wait_for(lookup, question);
}

/* The name as the cache knows it, or an empty one when it cannot be a name. */
static void fold_name(const char *host, char name[static NAME_MAX_LEN + 1])
{
    size_t len = strlen(host);

    if (len > NAME_MAX_LEN)
        len = 0;
    for (size_t i = 0; i < len; i++)
        name[i] = ascii_lower(host[i]);
    name[len] = '\0';
}

struct resolve *resolve_host(struct resolver *resolver, const char *host, uint16_t port,
                             resolve_cb *cb, void *owner)
{
    struct resolve *question = xcalloc(1, sizeof(*question));
    struct entry *entry = entry_of_address(host);
    char name[NAME_MAX_LEN + 1];

    question->resolver = resolver;
    question->port = port;
    question->cb = cb;
    question->owner = owner;
    list_init(&question->lookup_node);
    loop_task_init(&question->task, on_answer, question);
    list_add_tail(&resolver->questions, &question->node);
    fold_name(host, name);
    if (entry == NULL && name[0] == '\0')
        entry = entry_new("not a host name");
    if (entry == NULL && (entry = cache_find(resolver, slice_of(name))) != NULL)
        entry->refs++;
    if (entry != NULL)
        answer_later(question, entry);
    else
        ask(resolver, question, name);
    return question;
}

void resolve_cancel(struct resolve *question)
{
    question_free(question);
}

/* --- life ------------------------------------------------------------------------------------ */

struct resolver *resolver_new(struct loop *loop)
{
    struct resolver *resolver = xcalloc(1, sizeof(*resolver));

    resolver->loop = loop;
    resolver->cache = map_new();
    resolver->lookups = map_new();
    list_init(&resolver->questions);
    loop_timer_init(loop, &resolver->timer, on_tick, resolver);
    return resolver;
}

/* A look-up that has not started is taken back; one that runs cannot be, and ends by itself. */
static void abandon_lookup(void *owner, struct slice key, void *value)
{
    struct lookup *lookup = value;

    (void)owner;
    (void)key;
    lookup->resolver = NULL;
    uv_cancel((uv_req_t *)&lookup->request);
}

static void on_timer_closed(void *owner)
{
    free(owner);
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    list_for_each(node, next, &resolver->questions)
        question_free(list_entry(node, struct resolve, node));
    map_each(resolver->lookups, abandon_lookup, NULL);
    map_each(resolver->cache, drop_entry, NULL);
    map_free(resolver->lookups);
    map_free(resolver->cache);
    loop_timer_close(&resolver->timer, on_timer_closed);
}
