/* test_generation.c - what does a reload keep of an upstream, and what does one that fails leave?
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/macros.h"
#include "relay/generation.h"
#include "relay/upstream/gate.h"

#define HEAD "hostname = \"relay.example\"\nlistener \"a\" { port = 2525 }\n"

static struct generation *read_text(const char *text, struct generation *older)
{
    char path[] = "/tmp/latchpost-generation-XXXXXX";
    int fd = mkstemp(path);
    struct config *config = NULL;
    struct why why = { "" };

    assert_true(fd >= 0);
    dprintf(fd, "%s%s", HEAD, text);
    close(fd);
    if (!config_load(&config, path, &why))
        fail_msg("%s", why.text);
    unlink(path);
    return generation_new(config, 3, older, &(struct inherited){ NULL, 0 });
}

static struct gate *gate_of(const struct generation *generation, const char *name)
{
    for (size_t i = 0; i < generation->config->upstream_count; i++)
        if (strcmp(generation->upstreams[i].name, name) == 0)
            return generation->upstreams[i].gate;
    return NULL;
}

static void all_workers_share_one_gate_an_upstream(void **state)
{
    struct generation *generation = read_text("upstream \"a\" { host = \"a.test\" }\n"
                                              "upstream \"b\" { host = \"a.test\" }\n"
                                              "upstream \"m\" { url = \"maildir:/tmp/m\" }\n",
                                              NULL);

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(generation->settings[i].upstreams, generation->upstreams);
    assert_non_null(gate_of(generation, "a"));
    assert_non_null(gate_of(generation, "b"));
    assert_ptr_not_equal(gate_of(generation, "a"), gate_of(generation, "b"));
    assert_null(gate_of(generation, "m"));
    assert_int_equal(generation->upstreams[0].max_connections, 20); /* not a share of it */
    generations_free(generation);
}

static void a_reload_goes_on_counting_what_is_the_same_service(void **state)
{
    static const char before[] = "upstream \"a\" { host = \"a.test\" max_connections = 5 }\n";
    static const struct {
        const char *text, *name;
        bool same;
    } rows[] = {
        { "upstream \"a\" { host = \"a.test\" }\n", "a", true },
        { "upstream \"a\" { host = \"a.test\" max_connections = 1 rate = 5/s }\n", "a", true },
        { "upstream \"a\" { host = \"a.test\" port = 25 }\n", "a", false },
        { "upstream \"a\" { host = \"b.test\" }\n", "a", false },
        { "upstream \"a\" { host = \"a.test\" username = \"u\" password = \"p\" }\n", "a", false },
        { "upstream \"a\" { url = \"maildir:/tmp/m\" }\n", "a", false },
        { "upstream \"renamed\" { host = \"a.test\" }\n", "renamed", true },
        { "upstream \"a\" { host = \"a.test\" }\nupstream \"c\" { host = \"a.test\" }\n", "a",
          true },
        { "upstream \"c\" { host = \"a.test\" }\nupstream \"a\" { host = \"a.test\" }\n", "c",
          false },
        { "upstream \"c\" { host = \"a.test\" }\nupstream \"d\" { host = \"a.test\" }\n", "d",
          false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct generation *older = read_text(before, NULL);
        struct gate *gate = gate_of(older, "a");
        struct generation *newer = read_text(rows[i].text, older);

        if ((gate_of(newer, rows[i].name) == gate) != rows[i].same)
            fail_msg("%s", rows[i].text);
        generations_free(newer); /* and the older with it */
    }
}

#define BLOCK 4096 /* what stdio reads of a pipe at once */

/* A pipe in the place of a key file: each of its readers finds the next of these keys. */
static int make_pipe(const char *path, const char *const keys[static 2])
{
    char blocks[2 * BLOCK];

    memset(blocks, '\n', sizeof(blocks));
    for (size_t i = 0; i < 2; i++) {
        FILE *key = fopen(keys[i], "r");
        assert_non_null(key);
        assert_true(fread(blocks + i * BLOCK, 1, BLOCK, key) > 0);
        fclose(key);
    }
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(write(fd, blocks, sizeof(blocks)), sizeof(blocks));
    return fd;
}

static void a_pair_that_is_replaced_while_it_is_read_leaves_no_context(void **state)
{
    char folder[] = "/tmp/latchpost-generation-XXXXXX", paths[5][64];
    struct generation *generation =
        read_text("listener \"t\" { port = 2526 tls = \"starttls\" }\n", NULL);
    struct config config = *generation->config;
    struct tls_context *contexts[4] = { NULL };
    struct why why = { "" };

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%zu", folder, i);
    assert_true(tls_make_self_signed(paths[0], paths[1], "relay.example", &why));
    assert_true(tls_make_self_signed(paths[2], paths[3], "relay.example", &why));
    int fd = make_pipe(paths[4], (const char *const[]){ paths[1], paths[3] });
    config.tls_self_signed = false;
    config.tls = (struct tls_server_options){ .certificate = paths[0], .key = paths[4] };
    assert_false(generation_contexts(&config, 3, contexts, &why));
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++)
        assert_null(contexts[i]);
    close(fd);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        unlink(paths[i]);
    rmdir(folder);
    generations_free(generation);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_workers_share_one_gate_an_upstream),
        cmocka_unit_test(a_reload_goes_on_counting_what_is_the_same_service),
        cmocka_unit_test(a_pair_that_is_replaced_while_it_is_read_leaves_no_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
