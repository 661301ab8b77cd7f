/* test_client_http.c - which URLs are a relay's? tests/system/remote_cli.py has the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/cli/client_priv.h"

static void a_relay_is_at_https_or_on_this_machine(void **state)
{
    static const struct {
        const char *url, *want; /* NULL: refused */
    } rows[] = {
        { "https://relay.example.com:8025", "https://relay.example.com:8025" },
        { "https://relay.example.com/", "https://relay.example.com" },
        { "HTTPS://relay.example.com/mail//", "https://relay.example.com/mail" },
        { "https://[2001:db8::1]:8025", "https://[2001:db8::1]:8025" },
        { "http://localhost:8025", "http://localhost:8025" },
        { "http://127.0.0.1:8025/", "http://127.0.0.1:8025" },
        { "http://[::1]:8025", "http://[::1]:8025" },
        { "http://relay.example.com", NULL },
        { "http://127.0.0.1.example.com", NULL },
        { "http://0x7f.1.example", NULL },
        { "http://[::2]", NULL },
        { "http://128.0.0.1", NULL },
        { "https://u@relay.example.com", NULL },
        { "https://u:p@relay.example.com", NULL },
        { "https://relay.example.com?x", NULL },
        { "https://relay.example.com/#x", NULL },
        { "https://", NULL },
        { "relay.example.com", NULL },
        { "unix:///run/control.sock", NULL },
        { "https://relay.example.com\r\nX: y", NULL },
        { "", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *base = NULL;
        struct why why = { "" };
        bool ok = client_http_base(rows[i].url, &base, &why);
        if (ok != (rows[i].want != NULL) || (ok && strcmp(base, rows[i].want) != 0) ||
            (!ok && why.text[0] == '\0'))
            fail_msg("'%s': %d '%s' %s", rows[i].url, ok, ok ? base : "", why.text);
        free(base);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_relay_is_at_https_or_on_this_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
