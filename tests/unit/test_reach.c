/* test_reach.c - which places a configuration needs, and whether an earlier reach holds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/reach.h"

static char folder[] = "/tmp/latchpost-reach-XXXXXX";
static char config_path[96];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
}

static void make(const char *name, const char *link_to)
{
    char *path = xasprintf("%s/%s", folder, name);

    if (link_to != NULL)
        assert_int_equal(symlink(link_to, path), 0);
    else if (path[strlen(path) - 1] == '/')
        assert_int_equal(mkdir(path, 0700), 0);
    else
        write_file(path, "");
    free(path);
}

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    make("conf/", NULL);
    make("state/", NULL);
    make("tls/", NULL);
    make("archive/", NULL);
    make("archive/1.pem", NULL);
    make("tls/live.pem", "../archive/1.pem");
    make("tls/plain.key", NULL);
    make("mail/", NULL);
    make("mail/out/", NULL);
    snprintf(config_path, sizeof(config_path), "%s/conf/c", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char *command = xasprintf("rm -rf '%s'", folder);
    int code = system(command);

    (void)state;
    free(command);
    return code;
}

/* In the text, @ stands for the folder of the test. */
static struct reach *reach_of(const char *text)
{
    struct why why = { "" };
    char whole[2048] = "";
    struct reach *reach;

    for (size_t len = 0; *text != '\0'; text++, len = strlen(whole))
        snprintf(whole + len, sizeof(whole) - len, "%.*s", *text == '@' ? 64 : 1,
                 *text == '@' ? folder : text);
    write_file(config_path, whole);
    reach = reach_new(config_path, &why);
    if (reach == NULL)
        fail_msg("%s: %s", whole, why.text);
    return reach;
}

/* What may be done there: an enum reach_access, or -1. The "/" of the sanitizers does not count. */
static int access_at(const struct reach *reach, const char *name)
{
    char *path = name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", folder, name);
    int best = -1;

    for (size_t i = 0; i < reach->count; i++) {
        const char *actual = reach->places[i].actual;
        size_t len = actual == NULL ? 0 : strlen(actual);
        bool below =
            len > 0 && strncmp(path, actual, len) == 0 && (path[len] == '/' || path[len] == '\0');

        if (below && (int)reach->places[i].access > best)
            best = (int)reach->places[i].access;
    }
    free(path);
    return best;
}

static const char usual[] = "state_dir = \"@/state\"\n"
                            "tls { certificate = \"@/tls/live.pem\" key = \"@/tls/plain.key\" }\n"
                            "listener \"a\" { port = 2525 }\n"
                            "upstream \"m\" { url = \"maildir:@/mail/out\" }\n";

static void each_place_has_what_its_use_needs_and_no_more(void **state)
{
    static const struct {
        const char *name;
        int want;
    } rows[] = {
        { "state/queue.db", REACH_WRITE },
        { "conf/c", REACH_READ },
        { "conf/renewed", REACH_READ },
        { "tls/live.pem", REACH_READ },
        { "tls/plain.key", REACH_READ },
        { "archive/2.pem", REACH_READ }, /* what the link will point to after a renewal */
        { "mail/out/new", REACH_WRITE },
        { "mail/other", REACH_LIST },
        { "elsewhere", -1 },
        { "/tmp/other", -1 },
        { "/home", -1 },
        { "/root", -1 },
        { "/var/lib/other", -1 },
        { "/etc/ssl/certs", REACH_READ },
        { "/dev/null", REACH_WRITE },
    };
    struct reach *reach = reach_of(usual);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (access_at(reach, rows[i].name) != rows[i].want)
            fail_msg("%s: %d, want %d", rows[i].name, access_at(reach, rows[i].name), rows[i].want);
    reach_free(reach);
}

static void a_reload_is_told_what_lies_outside(void **state)
{
    static const struct {
        const char *text;
        const char *outside; /* NULL: covered */
    } rows[] = {
        { usual, NULL },
        { "listener \"a\" { port = 2525 }\n", NULL },
        { "tls { certificate = \"@/tls/other.pem\" key = \"@/archive/other.key\" }\n"
          "listener \"a\" { port = 2525 }\n",
          NULL },
        { "upstream \"m\" { url = \"maildir:@/mail/out/below\" }\n", NULL },
        { "upstream \"m\" { url = \"maildir:@/state/spare\" }\n", NULL },
        { "upstream \"m\" { host = \"a.example\" username = \"u\" password_file = \"@/conf/p\" }\n",
          NULL },
        { "upstream \"m\" { url = \"maildir:@/mail/out2\" }\n", "/mail/out2" },
        { "upstream \"m\" { url = \"maildir:@/tls\" }\n", "/tls" },
        { "upstream \"m\" { url = \"maildir:/srv/new\" }\n", "/srv/new" },
        { "upstream \"m\" { url = \"maildir:@/mail/out/../../x\" }\n", "/mail/out/../../x" },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        { "upstream \"m\" { host = \"a.example\" ca_file = \"@/mail/ca\" }\n", "/mail/ca" },
        { "tls { certificate = \"/root/c\" key = \"@/tls/plain.key\" }\n", "/root/c" },
#endif
    };
    struct reach *reach = reach_of(usual);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct reach *wanted = reach_of(rows[i].text);
        struct why why = { "" };

        if (reach_covers(reach, wanted, &why) != (rows[i].outside == NULL) ||
            (rows[i].outside != NULL && strstr(why.text, rows[i].outside) == NULL))
            fail_msg("row %zu: %s", i, why.text);
        reach_free(wanted);
    }
    reach_free(reach);
}

static void a_file_in_a_folder_of_everybody_is_opened_alone(void **state)
{
    char path[] = "/tmp/latchpost-reach-file-XXXXXX";
    int fd = mkstemp(path);
    char *text = xasprintf("tls { certificate = \"%s\" key = \"@/tls/plain.key\" }\n", path);
    struct reach *reach = reach_of(text);

    (void)state;
    assert_int_equal(access_at(reach, path), REACH_READ);
    assert_int_equal(access_at(reach, "/tmp/else"), -1);
    reach_free(reach);
    free(text);
    close(fd);
    unlink(path);
}

static void what_cannot_be_read_again_is_listed(void **state)
{
    struct reach *reach =
        reach_of("tls { certificate = \"@/tls/live.pem\" key = \"@/tls/none\" }\n");
    size_t at = 0;
    const char *path = reach_unreadable(reach, &at);

    (void)state;
    assert_non_null(path);
    assert_non_null(strstr(path, "/tls/none"));
    assert_null(reach_unreadable(reach, &at));
    reach_free(reach);
}

static void a_configuration_that_cannot_be_read_says_so(void **state)
{
    struct why why = { "" };

    (void)state;
    assert_null(reach_new("/nonexistent/latchpost.conf", &why));
    assert_non_null(strstr(why.text, "/nonexistent/latchpost.conf"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_place_has_what_its_use_needs_and_no_more),
        cmocka_unit_test(a_reload_is_told_what_lies_outside),
        cmocka_unit_test(a_file_in_a_folder_of_everybody_is_opened_alone),
        cmocka_unit_test(what_cannot_be_read_again_is_listed),
        cmocka_unit_test(a_configuration_that_cannot_be_read_says_so),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
