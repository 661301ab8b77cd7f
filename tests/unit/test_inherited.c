/* test_inherited.c - sockets that were given to us: whom they serve, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "relay/base/macros.h"
#include "relay/inherited.h"

static void a_socket_serves_by_its_name_or_else_by_its_address(void **state)
{
    static const char *const names[] = { "submission", "local", "http", NULL };
    static const struct {
        const char *socket_name, *socket_address;
        uint16_t socket_port;
        const char *name, *address;
        uint16_t port;
        bool want;
    } rows[] = {
        { "local", "10.0.0.1", 1, "local", "127.0.0.1", 2525, true },
        { "local", "127.0.0.1", 2525, "submission", "127.0.0.1", 2525, false },
        { "Local", "10.0.0.1", 1, "local", "127.0.0.1", 2525, false },
        { "", "127.0.0.1", 2525, "local", "127.0.0.1", 2525, true },
        { "x.socket", "127.0.0.1", 2525, "local", "127.0.0.1", 2525, true },
        { "x.socket", "127.0.0.1", 2525, "local", "127.0.0.1", 2526, false },
        { "x.socket", "127.0.0.1", 2525, "local", "127.0.0.2", 2525, false },
        { "", "::1", 25, "local", "0:0:0:0:0:0:0:1", 25, true },
        { "", "::1", 25, "local", "127.0.0.1", 25, false },
        { "", "127.0.0.1", 25, "local", "::1", 25, false },
        { "", "::", 25, "submission", "*", 25, true },
        { "", "0.0.0.0", 25, "submission", "*", 25, true },
        { "", "127.0.0.1", 25, "submission", "*", 25, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct inherited_socket socket = { .fd = 3,
                                           .name = (char *)rows[i].socket_name,
                                           .port = rows[i].socket_port };
        struct inherited inherited = { &socket, 1 };

        snprintf(socket.address, sizeof(socket.address), "%s", rows[i].socket_address);
        if (inherited_serves(&inherited, 0, rows[i].name, rows[i].address, rows[i].port, names) !=
            rows[i].want)
            fail_msg("row %zu", i);
    }
}

static void what_is_not_for_us_is_not_taken(void **state)
{
    static const struct {
        const char *pid, *fds;
    } rows[] = {
        { NULL, "1" },    { "1", "1" },    { "", "1" },     { "x", "1" },
        { "ours", NULL }, { "ours", "x" }, { "ours", "0" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct inherited inherited;
        struct why why = { "" };
        char ours[32];

        snprintf(ours, sizeof(ours), "%d", (int)getpid());
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        if (rows[i].pid != NULL)
            setenv("LISTEN_PID", strcmp(rows[i].pid, "ours") == 0 ? ours : rows[i].pid, 1);
        if (rows[i].fds != NULL)
            setenv("LISTEN_FDS", rows[i].fds, 1);
        setenv("LISTEN_FDNAMES", "a:b", 1);
        if (!inherited_open(&inherited, &why) || inherited.count != 0)
            fail_msg("row %zu: %zu, %s", i, inherited.count, why.text);
        assert_null(getenv("LISTEN_FDNAMES"));
        inherited_close(&inherited);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_serves_by_its_name_or_else_by_its_address),
        cmocka_unit_test(what_is_not_for_us_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
