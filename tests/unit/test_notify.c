/* test_notify.c - what the service manager is told, and what it told us in the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/notify.h"

static char folder[] = "/tmp/latchpost-notify-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* A manager's socket; `name` is bound as it stands in NOTIFY_SOCKET. */
static int listen_as(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    return fd;
}

static const char *hear(int fd)
{
    static char text[2048];
    ssize_t len = recv(fd, text, sizeof(text) - 1, 0);

    text[len < 0 ? 0 : len] = '\0';
    return text;
}

static void each_event_has_its_words(void **state)
{
    (void)state;
    for (int abstract = 0; abstract < 2; abstract++) {
        char *name = xasprintf("%s%s/s", abstract ? "@" : "", folder);
        struct notify notify;
        struct why why = { "" };
        int manager = listen_as(name);

        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        assert_true(notify_open(&notify, &why));
        assert_null(getenv("NOTIFY_SOCKET"));
        notify_ready(&notify, "well");
        assert_string_equal(hear(manager), "READY=1\nSTATUS=well");
        notify_reloading(&notify);
        assert_non_null(strstr(hear(manager), "RELOADING=1\nMONOTONIC_USEC="));
        notify_stopping(&notify, 1500);
        assert_string_equal(hear(manager), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000\n"
                                           "STATUS=Finishing what is under way, 2 s at most");
        notify_alive(&notify);
        assert_string_equal(hear(manager), "WATCHDOG=1");
        close(manager);
        notify_alive(&notify); /* to nobody: nothing happens */
        notify_close(&notify);
        notify_alive(&notify);
        if (!abstract)
            unlink(name);
        free(name);
    }
}

static void without_a_manager_nothing_is_said(void **state)
{
    struct notify notify;
    struct why why = { "" };

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(setenv("WATCHDOG_USEC", "1000000", 1), 0);
    assert_true(notify_open(&notify, &why));
    assert_int_equal(notify.fd, -1);
    assert_int_equal(notify.beat_ms, 0);
    assert_null(getenv("WATCHDOG_USEC"));
    notify_ready(&notify, "");
    notify_close(&notify);
}

static void the_environment_is_read_with_care(void **state)
{
    char *ours = xasprintf("%d", (int)getpid());
    char *long_name = xasprintf("/%200d", 1);
    const struct {
        const char *socket, *usec, *pid;
        uint64_t beat_ms;
        const char *wrong; /* NULL: it is taken */
    } rows[] = {
        { "/run/x", NULL, NULL, 0, NULL },
        { "/run/x", "60000000", NULL, 30000, NULL },
        { "/run/x", "60000000", ours, 30000, NULL },
        { "/run/x", "60000000", "1", 0, NULL },
        { "/run/x", "60000000", "x", 0, NULL },
        { "/run/x", "0", NULL, 0, NULL },
        { "/run/x", "1", NULL, 1, NULL },
        { "/run/x", "-1", NULL, 0, NULL },
        { "/run/x", "", NULL, 0, NULL },
        { "@x", NULL, NULL, 0, NULL },
        { "x", NULL, NULL, 0, "neither a path nor" },
        { "vsock:2:1234", NULL, NULL, 0, "neither a path nor" },
        { "@", NULL, NULL, 0, "neither a path nor" },
        { long_name, NULL, NULL, 0, "longer than" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct notify notify;
        struct why why = { "" };
        bool ok;

        setenv("NOTIFY_SOCKET", rows[i].socket, 1);
        if (rows[i].usec != NULL)
            setenv("WATCHDOG_USEC", rows[i].usec, 1);
        if (rows[i].pid != NULL)
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        ok = notify_open(&notify, &why);
        if (ok != (rows[i].wrong == NULL) || notify.beat_ms != rows[i].beat_ms ||
            (!ok && (strstr(why.text, rows[i].wrong) == NULL || notify.fd >= 0)))
            fail_msg("row %zu: %s, %llu ms", i, why.text, (unsigned long long)notify.beat_ms);
        notify_close(&notify);
        assert_null(getenv("WATCHDOG_PID"));
    }
    free(ours);
    free(long_name);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_has_its_words),
        cmocka_unit_test(without_a_manager_nothing_is_said),
        cmocka_unit_test(the_environment_is_read_with_care),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
