/* test_config.c - whole configuration files: what they mean, and how a wrong one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/alloc.h"
#include "relay/config.h"

static char folder[] = "/tmp/latchpost-config-XXXXXX";
static char path[64], password_path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/c", folder);
    snprintf(password_path, sizeof(password_path), "%s/p", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(password_path);
    return rmdir(folder);
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(name, mode), 0);
}

static const char minimum[] = "hostname = \"relay.example\"\nlistener \"a\" { port = 2525 }\n";

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct why why = { "" };

    write_file(path, text, 0644);
    if (!config_load(&config, path, &why))
        fail_msg("%s\nwas refused: %s", text, why.text);
    return config;
}

static void a_small_file_gets_every_default(void **state)
{
    struct config *config = load(minimum);

    (void)state;
    assert_string_equal(config->hostname, "relay.example");
    assert_string_equal(config->state_dir, "/var/lib/latchpost");
    assert_string_equal(config->control_path, "/var/lib/latchpost/control.sock");
    assert_true(config->workers >= 1);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->listeners[0].door.tls, SMTP_TLS_STARTTLS);
    assert_int_equal(config->smtp.message_bytes, 25 * 1024 * 1024);
    assert_int_equal(config->smtp.command_line, 2048);
    assert_int_equal(config->smtp.login_ms, 60000);
    assert_int_equal(config->queue.schedule.retry_count, 7);
    assert_int_equal(config->queue.schedule.retry_ms[0], 60000);
    assert_int_equal(config->queue.schedule.retry_ms[6], 14400000);
    assert_int_equal(config->queue.schedule.max_age_ms, 345600000);
    assert_int_equal(config->queue.schedule.notice_ms, 14400000);
    assert_false(config->queue.schedule.hold_uncertain);
    assert_int_equal(config->queue.retention_ms, 604800000);
    assert_true(config->tls_self_signed);
    assert_false(config->http.enabled);
    assert_int_equal(config->auth.plan_count, 0);
    config_free(config);
}

static void a_full_file_means_what_it_says(void **state)
{
    struct config *config;
    char *text = xasprintf(
        "%s"
        "state_dir = \"/srv/lp\"  runtime_dir = \"/run/lp\"  log_level = debug log_format = json\n"
        "workers = 3\n"
        "listener \"tls\" { address = \"::1\" port = 465 tls = implicit }\n"
        "listener \"local\" { address = \"127.0.0.1\" tls = none auth_without_tls = true }\n"
        "http { address = \"127.0.0.1\" port = 8025 tls = \"none\" }\n"
        "upstream \"main\" { host = \"smtp.provider.example\" username = \"u\" password_file = "
        "\"%s\" max_connections = 5 rate = \"10/s\" dot_timeout = 5s }\n"
        "upstream \"spare\" { url = \"maildir:/srv/spare\" }\n"
        "route { sender_domain = {\"A.example\", \"*.b.example\"} upstreams = {\"spare\"} }\n"
        "default_upstreams = {\"main\", \"spare\"}\n"
        "limits { message_size = 1M recipients = 5 }\n"
        "retry { schedule = {\"1s\", \"2s\"} max_age = 1h delay_notice = 30m "
        "uncertain = hold }\n"
        "plan \"free\" { rate = \"20/min\" recipients_per_day = 1000 keys = 7 }\n",
        minimum, password_path);

    (void)state;
    write_file(password_path, "se cret\n", 0600);
    config = load(text);
    assert_string_equal(config->control_path, "/run/lp/control.sock");
    assert_int_equal(config->log_format, LOG_JSON);
    assert_int_equal(config->workers, 3);
    assert_int_equal(config->listener_count, 3);
    assert_string_equal(config->listeners[1].address, "::1");
    assert_true(config->listeners[2].door.auth_without_tls);
    assert_true(config->http.enabled);
    assert_false(config->http.tls);
    assert_int_equal(config->upstream_count, 2);
    assert_string_equal(config->upstreams[0].password, "se cret");
    assert_int_equal(config->upstreams[0].rate, 600);
    assert_int_equal(config->upstreams[0].timeouts.dot, 5000);
    assert_int_equal(config->upstreams[0].tls, UPSTREAM_TLS_STARTTLS);
    assert_true(config->upstreams[0].tls_verify);
    assert_string_equal(config->upstreams[1].maildir, "/srv/spare");
    assert_int_equal(config->routes.route_count, 1);
    assert_string_equal(config->routes.routes[0].sender_domains[0], "a.example");
    assert_int_equal(config->routes.routes[0].upstreams[0], 1);
    assert_int_equal(config->routes.default_count, 2);
    assert_int_equal(config->queue.schedule.retry_count, 2);
    assert_int_equal(config->queue.schedule.notice_ms, 1800000);
    assert_true(config->queue.schedule.hold_uncertain);
    assert_int_equal(config->auth.plans[0].rate_per_minute, 20);
    assert_int_equal(config->auth.plans[0].keys, 7);
    config_free(config);
    free(text);
}

static void a_wrong_file_is_refused_with_line_and_reason(void **state)
{
    static const struct {
        const char *text; /* behind the minimum, so from line 3 on */
        const char *where, *what;
    } rows[] = {
        { "timeuot = 5\n", ":3:", "timeuot" },
        { "limits {\n  recipients = many\n}\n", ":4:", "not a number" },
        { "limits { idle_time = 2x }\n", ":3:", "30s, 2m" },
        { "limits {\n  recipients = 5\n", ":3:", "has no end" },
        { "grace = 5s /* and so on\n\n", ":3:", "has no end" },
        { "limits { recipients = 0 }\n", ":3:", "1 to 10000" },
        { "limits { data_line = 999 }\n", ":3:", "1 to 998" },
        { "log_level = \"debug\"\nlog_level = \"info\"\n", ":4:", "twice" },
        { "default_upstreams = {\"a\"}\ndefault_upstreams = {\"b\"}\n", ":4:", "twice" },
        { "tls { }\ntls { }\n", ":4:", "twice" },
        { "listener \"a\" { port = 2526 }\n", ":3:", "a" },
        { "listener \"b\" { port = 2525 }\n", ":3:", "already" },
        { "listener \"b\" { address = \"::\" port = 2525 }\n", ":3:", "already" },
        { "listener \"b\" { address = \"::1\" port = 9 }\n"
          "listener \"c\" { address = \"0:0:0:0:0:0:0:1\" port = 9 }\n",
          ":4:", "\"b\" has this" },
        { "listener \"b\" { address = \"127.0.0.1\" port = 9 }\n"
          "http { tls = none port = 9 }\n",
          ":4:", "\"b\" has this" },
        { "listener \"\" { port = 2526 }\n", ":3:", "title" },
        { "upstream \"a\\nb\" { url = \"maildir:x\" }\n", ":3:", "title" },
        { "plan \"a\x1b\" { }\n", ":3:", "title" },
        { "state_dir = \"\"\n", ":3:", "folder" },
        { "listener \"b\" { tls = none auth_without_tls = true }\n", ":3:", "in the clear" },
        { "http { tls = none address = \"*\" }\n", ":3:", "in the clear" },
        { "http { tls = starttls }\n", ":3:", "implicit" },
        { "http { head_time = 0 }\n", ":3:", "must be from 1" },
        { "tls { certificate = \"/nowhere/c.pem\" }\n", ":3:", "together" },
        { "tls { certificate = \"/nowhere/c\" key = \"/nowhere/k\" }\n", ":3:", "/nowhere/c" },
        { "upstream \"m\" { }\n", ":3:", "needs a host or a url" },
        { "upstream \"m\" { host = \"h.example\" url = \"maildir:x\" }\n", ":3:", "not both" },
        { "upstream \"m\" { url = \"ftp://x\" }\n", ":3:", "maildir:PATH" },
        { "upstream \"m\" { host = \"h.example\" username = \"u\" }\n", ":3:", "go together" },
        { "upstream \"m\" { host = \"h.example\" tls = none username = \"u\" password = "
          "\"${HOME}\" }\n",
          ":3:", "in the clear" },
        { "upstream \"m\" { host = \"h.example\" username = \"u\" password_file = \"/nowhere/p\" "
          "}\n",
          ":3:", "/nowhere/p" },
        { "upstream \"m\" { host = \"h.example\"\n ca_file = \"/nowhere/ca\" }\n",
          ":4:", "/nowhere/ca" },
        { "upstream \"m\" { host = \"a b\" }\n", ":3:", "host name" },
        { "upstream \"m\" { host = \"h.example\" username = \"u\\r\\nx\" }\n", ":3:", "control" },
        { "upstream \"m\" { host = \"127.provider.example\" tls = none username = \"u\" password = "
          "\"${HOME}\" }\n",
          ":3:", "in the clear" },
        { "upstream \"m\" { host = \"h.example\" dot_timeout = 0 }\n", ":3:", "must be from 1" },
        { "upstream \"m\" { host = \"h.example\"\n helo = \"${HOME\"\n}\n", ":4:", "name and }" },
        { "grace = ${HOME\n", ":3:", "name and }" },
        { "default_upstreams = {}\n", ":", "list is empty" },
        { "upstream \"m\" { url = \"maildir:x\" }\nroute { account = {} upstreams = {\"m\"} }\n",
          ":4:", "list is empty" },
        { "retry { schedule = {} }\n", ":3:", "list is empty" },
        { "default_upstreams = {\"nobody\"}\n", ":3:", "no upstream \"nobody\"" },
        { "upstream \"m\" { url = \"maildir:x\" }\nroute { upstreams = {\"n\"} }\n",
          ":4:", "\"n\"" },
        { "upstream \"m\" { url = \"maildir:x\" }\nroute { }\n", ":4:", "needs upstreams" },
        { "upstream \"m\" { url = \"maildir:x\" }\nroute { sender_domain = {\"*.com\"} upstreams = "
          "{\"m\"} }\n",
          ":4:", "*.com" },
        { "retry { schedule = {\"1m\", \"soon\"} }\n", ":3:", "30s, 2m" },
        { "state_dir = \"${LATCHPOST_TEST_UNSET}\"\n", ":3:", "LATCHPOST_TEST_UNSET" },
        { "key_prefix = \"x\"\n", ":3:", "prefix" },
        { "fence = \"perhaps\"\n", ":3:", "\"required\"" },
        { "pepper_file = \"/nowhere/pepper\"\n", ":3:", "/nowhere/pepper" },
        { "test_key_prefix = \"lpk_\"\n", ":3:", "differ" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = xasprintf("%s%s", minimum, rows[i].text);
        struct config *config = NULL;
        struct why why = { "" };

        write_file(path, text, 0644);
        if (config_load(&config, path, &why))
            fail_msg("accepted: %s", rows[i].text);
        if (strstr(why.text, rows[i].where) == NULL || strstr(why.text, rows[i].what) == NULL ||
            strncmp(why.text, path, strlen(path)) != 0)
            fail_msg("%s: want %s%s ... %s, got: %s", rows[i].text, path, rows[i].where,
                     rows[i].what, why.text);
        free(text);
    }
}

static void our_own_name_is_no_address(void **state)
{
    static const char *const names[] = { "127.0.0.1", "::1", "2001:db8::25", "relay.1" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *text = xasprintf("\nhostname = \"%s\"\nlistener \"a\" { port = 1 }\n", names[i]);
        struct config *config = NULL;
        struct why why = { "" };

        write_file(path, text, 0644);
        if (config_load(&config, path, &why) || strstr(why.text, ":2: hostname: ") == NULL)
            fail_msg("%s: %s", names[i], why.text);
        free(text);
    }
}

static void the_same_port_at_another_address_is_another_listener(void **state)
{
    (void)state;
    config_free(load("hostname = \"relay.example\"\n"
                     "listener \"a\" { address = \"127.0.0.1\" port = 9 }\n"
                     "listener \"b\" { address = \"127.0.0.2\" port = 9 }\n"
                     "listener \"c\" { address = \"::1\" port = 9 }\n"
                     "http { tls = none address = \"127.0.0.3\" port = 9 }\n"));
}

static void variables_come_from_the_environment(void **state)
{
    struct config *config;

    (void)state;
    setenv("LATCHPOST_TEST_DIR", "/srv/x", 1);
    config = load("hostname = \"r.example\" # ${COMMENTED_OUT}\n"
                  "state_dir = \"${LATCHPOST_TEST_DIR}\"\n"
                  "runtime_dir = \"${LATCHPOST_TEST_UNSET:-/run/y}\"\n"
                  "listener \"a\" { port = 1 }\n");
    assert_string_equal(config->state_dir, "/srv/x");
    assert_string_equal(config->control_path, "/run/y/control.sock");
    config_free(config);
}

static void a_command_does_not_need_the_passwords_of_the_daemon(void **state)
{
    static const char text[] = "hostname = \"r.example\"  state_dir = \"/srv/x\"\n"
                               "listener \"a\" { port = 2525 }\n"
                               "upstream \"m\" { host = \"h.example\" username = \"u\" password = "
                               "\"${LATCHPOST_TEST_UNSET}\" }\n";
    struct config *config = NULL;
    struct why why = { "" };

    (void)state;
    write_file(path, text, 0644);
    assert_false(config_load(&config, path, &why));
    assert_non_null(strstr(why.text, ":3: ${LATCHPOST_TEST_UNSET}"));
    assert_true(config_load_state(&config, path, &why));
    assert_string_equal(config->state_dir, "/srv/x");
    config_free(config);
    write_file(path, "state_dir = \"${LATCHPOST_TEST_UNSET}\"\n", 0644);
    assert_false(config_load_state(&config, path, &why));
}

static void secrets_in_files_that_all_may_read_are_refused(void **state)
{
    struct config *config = NULL;
    struct why why = { "" };
    char *text = xasprintf("%supstream \"m\" { host = \"h.example\" username = \"u\" "
                           "password = \"hidden\" }\n",
                           minimum);

    (void)state;
    write_file(path, text, 0644);
    assert_false(config_load(&config, path, &why));
    assert_non_null(strstr(why.text, "chmod 600"));
    assert_null(strstr(why.text, "hidden"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_true(config_load(&config, path, &why));
    config_free(config);
    free(text);

    /* Nor does a "#" in a text hide it, or a line end. */
    text = xasprintf("%supstream \"m\" { host = \"h.example\" username = \"u#1\" password\n= "
                     "'hidden' }\n",
                     minimum);
    write_file(path, text, 0644);
    assert_false(config_load(&config, path, &why));
    assert_non_null(strstr(why.text, "chmod 600"));
    free(text);

    text = xasprintf("%supstream \"m\" { host = \"h.example\" username = \"u\" "
                     "password_file = \"%s\" }\n",
                     minimum, password_path);
    write_file(password_path, "hidden\n", 0644);
    write_file(path, text, 0644);
    assert_false(config_load(&config, path, &why));
    assert_non_null(strstr(why.text, "chmod 600"));
    write_file(password_path, "\nhidden\n", 0600); /* an empty one would be sent */
    assert_false(config_load(&config, path, &why));
    assert_non_null(strstr(why.text, "is empty"));
    free(text);
}

static void a_missing_file_is_named(void **state)
{
    struct config *config = NULL;
    struct why why = { "" };

    (void)state;
    assert_false(config_load(&config, "/nowhere/latchpost.conf", &why));
    assert_non_null(strstr(why.text, "/nowhere/latchpost.conf"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_gets_every_default),
        cmocka_unit_test(a_full_file_means_what_it_says),
        cmocka_unit_test(a_wrong_file_is_refused_with_line_and_reason),
        cmocka_unit_test(our_own_name_is_no_address),
        cmocka_unit_test(the_same_port_at_another_address_is_another_listener),
        cmocka_unit_test(variables_come_from_the_environment),
        cmocka_unit_test(a_command_does_not_need_the_passwords_of_the_daemon),
        cmocka_unit_test(secrets_in_files_that_all_may_read_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
