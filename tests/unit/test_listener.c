#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "tests/support/harness_net.h"

#define CONNECTIONS 200

struct counter { /* takes what comes, and closes when it has seen enough */
    struct loop loop;
    struct listener *listener;
    struct side side;
    struct stream_peer peer;
    uid_t uid;
    bool has_uid;
    unsigned accepted;
    _Atomic unsigned *total;
};

static void counter_open(struct counter *counter)
{
    struct why why;

    *counter = (struct counter){ .listener = NULL };
    if (!loop_init(&counter->loop, &why))
        fail_msg("%s", why.text);
    side_init(&counter->side, &counter->loop, NULL);
}

static void counter_close(struct counter *counter)
{
    stream_close(counter->side.stream);
    listener_close(counter->listener);
    loop_close(&counter->loop);
    buf_free(&counter->side.got);
}

/* Looks who it is, and stops listening. */
static void take_one(void *owner, uv_stream_t *server)
{
    struct counter *counter = owner;

    counter->accepted++;
    counter->side.stream = stream_accept(&counter->loop, server, &side_events, &counter->side);
    assert_non_null(counter->side.stream);
    stream_peer(counter->side.stream, &counter->peer);
    counter->has_uid = stream_peer_uid(counter->side.stream, &counter->uid);
    side_close(&counter->side);
    listener_close(counter->listener);
    counter->listener = NULL;
}

static bool counter_listen(struct counter *counter, const struct listener_options *options,
                           struct why *why)
{
    *why = (struct why){ "" };
    counter->listener = listener_open(&counter->loop, options, take_one, counter, why);
    return counter->listener != NULL;
}

/* --- TCP ------------------------------------------------------------------------------------- */

static int connect_to(int family, uint16_t port)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
                               .sin6_addr = in6addr_loopback,
                               .sin6_port = htons(port) };
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                                   : connect(fd, (struct sockaddr *)&v6, sizeof(v6));

    if (result == 0)
        return fd;
    close(fd);
    return -1;
}

/* Some machines have no IPv6, not even ::1. */
static bool has_ipv6(void)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

static void each_address_takes_its_families_and_names_the_peer(void **state)
{
    static const uint8_t v4_loopback[16] = { [10] = 0xff, 0xff, 127, 0, 0, 1 };
    static const uint8_t v6_loopback[16] = { [15] = 1 };
    static const struct {
        const char *address;
        int family; /* of the client */
        const char *text;
    } rows[] = {
        { "127.0.0.1", AF_INET, "127.0.0.1" },
        { "0.0.0.0", AF_INET, "127.0.0.1" },
        { "*", AF_INET, "127.0.0.1" },
        { "::1", AF_INET6, "::1" },
        { "*", AF_INET6, "::1" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const uint8_t *want = rows[i].family == AF_INET ? v4_loopback : v6_loopback;
        struct counter counter;
        struct why why;
        if (rows[i].family == AF_INET6 && !has_ipv6())
            continue;
        counter_open(&counter);
        if (!counter_listen(&counter, &(struct listener_options){ .address = rows[i].address },
                            &why))
            fail_msg("%s", why.text);
        int fd = connect_to(rows[i].family, listener_port(counter.listener));
        if (fd < 0)
            fail_msg("%s: cannot connect", rows[i].address);
        loop_run(&counter.loop);
        assert_int_equal(counter.accepted, 1);
        if (strcmp(counter.peer.text, rows[i].text) != 0 || !counter.peer.has_address ||
            memcmp(counter.peer.address, want, 16) != 0 || counter.peer.port == 0)
            fail_msg("%s: the peer is %s", rows[i].address, counter.peer.text);
        assert_false(counter.has_uid);
        close(fd);
        counter_close(&counter);
    }
}

static void what_cannot_be_listened_on_is_refused_with_the_reason(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    struct counter counter;
    struct why why;

    (void)state;
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(getsockname(other, (struct sockaddr *)&address, &len), 0);
    const struct {
        struct listener_options options;
        const char *want;
    } rows[] = {
        { { .address = "127.0.0.1", .port = ntohs(address.sin_port) }, "another program" },
        { { .address = "192.0.2.1", .port = 2525 }, "not an address of this machine" },
        { { .address = "localhost", .port = 2525 }, "not an IP address" },
        { { .address = "", .port = 2525 }, "not an IP address" },
    };

    counter_open(&counter);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (counter_listen(&counter, &rows[i].options, &why) ||
            strstr(why.text, rows[i].want) == NULL)
            fail_msg("row %zu: got '%s', want '%s'", i, why.text, rows[i].want);
    close(other);
    counter_close(&counter);
}

static void a_port_that_is_shared_is_not_free_for_one_who_wants_it_alone(void **state)
{
    struct counter first, second;
    struct why why;

    (void)state;
    counter_open(&first);
    counter_open(&second);
    struct listener_options options = { .address = "127.0.0.1", .alone = true };
    if (!counter_listen(&first, &options, &why))
        fail_msg("%s", why.text);
    options.port = listener_port(first.listener);
    assert_false(counter_listen(&second, &options, &why));
    assert_non_null(strstr(why.text, "another program"));
    options.alone = false; /* another loop of ours */
    assert_true(counter_listen(&second, &options, &why));
    counter_close(&second);
    counter_close(&first);
}

/* --- two loops ------------------------------------------------------------------------------- */

static void count_all(void *owner, uv_stream_t *server)
{
    struct counter *counter = owner;
    struct stream *stream = stream_accept(&counter->loop, server, &side_events, &counter->side);

    stream_close(stream);
    counter->accepted++;
    atomic_fetch_add(counter->total, 1);
}

static void *run_counter(void *owner)
{
    struct counter *counter = owner;

    loop_run(&counter->loop);
    return NULL;
}

static void two_loops_share_a_port(void **state)
{
    struct counter counters[2];
    pthread_t threads[2];
    _Atomic unsigned total = 0;
    struct listener_options options = { .address = "127.0.0.1" };
    struct why why;

    (void)state;
    for (int i = 0; i < 2; i++) {
        counter_open(&counters[i]);
        counters[i].total = &total;
        counters[i].listener =
            listener_open(&counters[i].loop, &options, count_all, &counters[i], &why);
        if (counters[i].listener == NULL)
            fail_msg("%s", why.text);
        options.port = listener_port(counters[i].listener);
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run_counter, &counters[i]);
    for (int i = 0; i < CONNECTIONS; i++) {
        char byte;
        int fd = connect_to(AF_INET, options.port);
        assert_true(fd >= 0);
        assert_true(recv(fd, &byte, 1, 0) <= 0); /* waits until somebody has taken it */
        close(fd);
    }
    for (int i = 0; i < 2; i++) {
        loop_stop(&counters[i].loop);
        pthread_join(threads[i], NULL);
        assert_true(counters[i].accepted > 0); /* by chance not: 2 to the minus 200 */
        counter_close(&counters[i]);
    }
    assert_int_equal(total, CONNECTIONS);
}

/* --- Unix ------------------------------------------------------------------------------------ */

struct folder {
    char dir[200], path[220];
};

static void folder_open(struct folder *folder)
{
    const char *base = getenv("TMPDIR");

    snprintf(folder->dir, sizeof(folder->dir), "%s/latchpost-test-XXXXXX",
             base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(folder->dir));
    snprintf(folder->path, sizeof(folder->path), "%s/s", folder->dir);
}

static void folder_close(struct folder *folder)
{
    unlink(folder->path);
    rmdir(folder->dir);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void a_unix_socket_is_private_and_knows_its_peer_and_goes_when_closed(void **state)
{
    static const mode_t umasks[] = { 0, 022, 077 };
    mode_t before = umask(0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(umasks); i++) {
        struct folder folder;
        struct counter counter;
        struct stat info;
        struct why why;
        umask(umasks[i]);
        folder_open(&folder);
        counter_open(&counter);
        if (!counter_listen(&counter, &(struct listener_options){ .unix_path = folder.path }, &why))
            fail_msg("%s", why.text);
        assert_int_equal(listener_port(counter.listener), 0);
        assert_int_equal(lstat(folder.path, &info), 0);
        assert_true(S_ISSOCK(info.st_mode));
        assert_int_equal(info.st_mode & 0777, 0600);
        int fd = connect_unix(folder.path);
        assert_true(fd >= 0);
        loop_run(&counter.loop);
        assert_true(counter.has_uid);
        assert_int_equal(counter.uid, geteuid());
        assert_string_equal(counter.peer.text, "unix");
        assert_false(counter.peer.has_address);
        assert_int_equal(lstat(folder.path, &info), -1);
        close(fd);
        counter_close(&counter);
        folder_close(&folder);
    }
    umask(before);
}

static void only_a_dead_socket_is_replaced(void **state)
{
    struct folder folder;
    struct counter alive, second;
    struct stat info;
    struct why why;

    (void)state;
    folder_open(&folder);
    counter_open(&alive);
    counter_open(&second);
    struct listener_options options = { .unix_path = folder.path };

    int file = open(folder.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(file);
    assert_false(counter_listen(&alive, &options, &why));
    assert_non_null(strstr(why.text, "not a socket"));
    assert_int_equal(lstat(folder.path, &info), 0); /* it is still there */
    unlink(folder.path);

    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, folder.path, strlen(folder.path));
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    if (!counter_listen(&alive, &options, &why))
        fail_msg("%s", why.text);

    assert_false(counter_listen(&second, &options, &why));
    assert_non_null(strstr(why.text, "another process answers"));
    unlink(folder.path); /* as an operator might */
    assert_true(counter_listen(&second, &options, &why));
    listener_close(alive.listener);
    alive.listener = NULL;
    assert_int_equal(lstat(folder.path, &info), 0); /* that one is not ours any more */
    counter_close(&alive);
    counter_close(&second);
    folder_close(&folder);
}

static void a_path_that_is_too_long_or_leads_nowhere_is_refused(void **state)
{
    char path[200];
    const struct {
        const char *path, *want;
    } rows[] = { { path, "longer than 107" }, { "/nonexistent/s", "No such file" } };
    struct counter counter;
    struct why why;

    (void)state;
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    counter_open(&counter);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (counter_listen(&counter, &(struct listener_options){ .unix_path = rows[i].path },
                           &why) ||
            strstr(why.text, rows[i].want) == NULL)
            fail_msg("row %zu: got '%s', want '%s'", i, why.text, rows[i].want);
    counter_close(&counter);
}

/* --- limits ---------------------------------------------------------------------------------- */

static struct stream_peer peer_of(const char *text)
{
    struct stream_peer peer = { .has_address = true };

    snprintf(peer.text, sizeof(peer.text), "%s", text);
    if (strcmp(text, "unix") == 0)
        peer.has_address = false;
    else if (inet_pton(AF_INET, text, peer.address + 12) == 1)
        peer.address[10] = peer.address[11] = 0xff;
    else
        assert_int_equal(inet_pton(AF_INET6, text, peer.address), 1);
    return peer;
}

static void each_address_has_its_share(void **state)
{
    static const struct {
        const char *first, *second;
        enum listener_admission want; /* for the second, when one is allowed per address */
    } rows[] = {
        { "192.0.2.1", "192.0.2.1", LISTENER_ADDRESS_FULL },
        { "192.0.2.1", "192.0.2.2", LISTENER_ADMITTED },
        { "2001:db8::1", "2001:db8::1", LISTENER_ADDRESS_FULL },
        { "2001:db8::1", "2001:db8::ffff:1:2:3", LISTENER_ADDRESS_FULL },
        { "2001:db8::1", "2001:db8:0:1::1", LISTENER_ADMITTED },
        { "127.0.0.1", "127.0.0.1", LISTENER_ADMITTED },
        { "127.1.2.3", "127.1.2.3", LISTENER_ADMITTED },
        { "::1", "::1", LISTENER_ADMITTED },
        { "unix", "unix", LISTENER_ADMITTED },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listener_limits *limits = listener_limits_new(100, 1);
        struct stream_peer first = peer_of(rows[i].first), second = peer_of(rows[i].second);
        for (int round = 0; round < 2; round++) { /* leaving gives the place back */
            assert_int_equal(listener_enter(limits, &first), LISTENER_ADMITTED);
            enum listener_admission got = listener_enter(limits, &second);
            if (got != rows[i].want)
                fail_msg("%s, then %s: got %d, want %d", rows[i].first, rows[i].second, (int)got,
                         (int)rows[i].want);
            if (got == LISTENER_ADMITTED)
                listener_leave(limits, &second);
            listener_leave(limits, &first);
        }
        listener_limits_free(limits);
    }
}

static void sixteen_places_above_the_total_are_for_this_machine(void **state)
{
    struct listener_limits *limits = listener_limits_new(3, 3);
    struct stream_peer far = peer_of("192.0.2.1"), farther = peer_of("192.0.2.9"),
                       here = peer_of("127.0.0.1"), local = peer_of("unix");

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(listener_enter(limits, &far), LISTENER_ADMITTED);
    assert_int_equal(listener_enter(limits, &farther), LISTENER_FULL);
    for (int i = 0; i < 16; i++)
        assert_int_equal(listener_enter(limits, i % 2 ? &here : &local), LISTENER_ADMITTED);
    assert_int_equal(listener_enter(limits, &here), LISTENER_FULL);
    listener_leave(limits, &far);
    assert_int_equal(listener_enter(limits, &far), LISTENER_FULL); /* the reserve counts as well */
    for (int i = 0; i < 16; i++)
        listener_leave(limits, i % 2 ? &here : &local);
    assert_int_equal(listener_enter(limits, &farther), LISTENER_ADMITTED);
    listener_leave(limits, &farther);
    for (int i = 0; i < 2; i++)
        listener_leave(limits, &far);
    listener_limits_free(limits);
    listener_limits_free(NULL);
}

static void limits_may_change_while_sessions_are_open(void **state)
{
    struct listener_limits *limits = listener_limits_new(10, 10);
    struct stream_peer peer = peer_of("192.0.2.1"), other = peer_of("192.0.2.2");

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(listener_enter(limits, &peer), LISTENER_ADMITTED);
    listener_limits_set(limits, 10, 2);
    assert_int_equal(listener_enter(limits, &peer), LISTENER_ADDRESS_FULL);
    assert_int_equal(listener_enter(limits, &other), LISTENER_ADMITTED);
    listener_limits_set(limits, 1, 2);
    assert_int_equal(listener_enter(limits, &other), LISTENER_FULL);
    for (int i = 0; i < 5; i++)
        listener_leave(limits, &peer);
    listener_leave(limits, &other);
    assert_int_equal(listener_enter(limits, &peer), LISTENER_ADMITTED);
    listener_leave(limits, &peer);
    listener_limits_free(limits);
}

struct visitor {
    pthread_t thread;
    struct listener_limits *limits;
    struct stream_peer own;
    unsigned admitted;
};

static void *come_and_go(void *owner)
{
    struct visitor *visitor = owner;
    struct stream_peer shared = peer_of("198.51.100.1");

    for (int i = 0; i < 20000; i++) {
        const struct stream_peer *peer = i % 2 ? &visitor->own : &shared;
        if (listener_enter(visitor->limits, peer) != LISTENER_ADMITTED)
            continue;
        visitor->admitted++;
        listener_leave(visitor->limits, peer);
    }
    return NULL;
}

static void many_threads_count_right(void **state)
{
    struct visitor visitors[4];
    struct listener_limits *limits = listener_limits_new(3, 2);
    unsigned admitted = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(visitors); i++) {
        char text[20];
        snprintf(text, sizeof(text), "192.0.2.%u", i);
        visitors[i] = (struct visitor){ .limits = limits, .own = peer_of(text) };
        pthread_create(&visitors[i].thread, NULL, come_and_go, &visitors[i]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(visitors); i++) {
        pthread_join(visitors[i].thread, NULL);
        admitted += visitors[i].admitted; /* one alone may find all places taken each time */
    }
    assert_true(admitted > 0);
    struct stream_peer peer = peer_of("192.0.2.77");
    for (int i = 0; i < 2; i++) /* nothing was lost */
        assert_int_equal(listener_enter(limits, &peer), LISTENER_ADMITTED);
    assert_int_equal(listener_enter(limits, &peer), LISTENER_ADDRESS_FULL);
    for (int i = 0; i < 2; i++)
        listener_leave(limits, &peer);
    listener_limits_free(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_takes_its_families_and_names_the_peer),
        cmocka_unit_test(what_cannot_be_listened_on_is_refused_with_the_reason),
        cmocka_unit_test(a_port_that_is_shared_is_not_free_for_one_who_wants_it_alone),
        cmocka_unit_test(two_loops_share_a_port),
        cmocka_unit_test(a_unix_socket_is_private_and_knows_its_peer_and_goes_when_closed),
        cmocka_unit_test(only_a_dead_socket_is_replaced),
        cmocka_unit_test(a_path_that_is_too_long_or_leads_nowhere_is_refused),
        cmocka_unit_test(each_address_has_its_share),
        cmocka_unit_test(sixteen_places_above_the_total_are_for_this_machine),
        cmocka_unit_test(limits_may_change_while_sessions_are_open),
        cmocka_unit_test(many_threads_count_right),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
