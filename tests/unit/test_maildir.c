/* test_maildir.c - what lies in the folder after a message was delivered there? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/support/job_desk.h"

struct scene {
    struct job_desk desk;
    char root[64], path[96]; /* the maildir is a folder that does not exist yet */
    struct upstream_options options;
};

static int open_scene(void **state)
{
    struct scene *scene = xcalloc(1, sizeof(*scene));

    desk_open(&scene->desk);
    snprintf(scene->root, sizeof(scene->root), "/tmp/latchpost-maildir-XXXXXX");
    assert_non_null(mkdtemp(scene->root));
    snprintf(scene->path, sizeof(scene->path), "%s/mail", scene->root);
    scene->options = (struct upstream_options){ .name = "spare", .maildir = scene->path };
    *state = scene;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    if (folder == NULL) {
        unlink(path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *sub = xasprintf("%s/%s", path, entry->d_name);

        remove_tree(sub);
        free(sub);
    }
    closedir(folder);
    rmdir(path);
}

static int close_scene(void **state)
{
    struct scene *scene = *state;

    desk_close(&scene->desk);
    remove_tree(scene->root);
    free(scene);
    return 0;
}

#define MAILDIR_TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

/* How many files there are in a subfolder; the name of the last through *name. */
static size_t count_files(const struct scene *scene, const char *sub, char name[static 256])
{
    char *path = xasprintf("%s/%s", scene->path, sub);
    DIR *folder = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    free(path);
    name[0] = '\0';
    if (folder == NULL)
        return 0;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, 256, "%s", entry->d_name);
        count++;
    }
    closedir(folder);
    return count;
}

static void expect_file(const struct scene *scene, const char *want)
{
    char name[256], got[4096];

    assert_int_equal(count_files(scene, "new", name), 1);
    assert_non_null(strstr(name, ".01h455vb4pex5."));
    char *path = xasprintf("%s/new/%s", scene->path, name);
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    size_t len = fread(got, 1, sizeof(got), file);

    fclose(file);
    free(path);
    if (!slice_equal(slice_make(got, len), slice_of(want)))
        fail_msg("the file holds:\n%.*s", (int)len, got);
    assert_int_equal(count_files(scene, "tmp", name), 0);
}

static void a_message_becomes_one_file_with_its_envelope(void **state)
{
    struct scene *scene = *state;
    struct desk_job asked;
    struct stat folder;

    desk_open_upstream(&scene->desk, &scene->options);
    assert_true(upstream_is_usable(scene->desk.upstream));
    desk_job_init(&scene->desk, &asked, 2);
    asked.job.content = SLICE("S: x\r\n\r\n.dots stay\r\nno end");
    desk_send(&scene->desk, &asked);
    assert_int_equal(asked.recipients[0].fate, UPSTREAM_DELIVERED);
    assert_int_equal(asked.recipients[1].fate, UPSTREAM_DELIVERED);
    expect_file(scene, "Return-Path: <a@good.example>\r\n"
                       "X-Envelope-To: <r1@dest.example>\r\n"
                       "X-Envelope-To: <r2@dest.example>\r\n"
                       "S: x\r\n\r\n.dots stay\r\nno end");
    assert_int_equal(stat(scene->path, &folder), 0);
    assert_int_equal(folder.st_mode & 0777, 0700);
    desk_job_free(&asked);
}

static void chunks_become_one_file(void **state)
{
    static const struct slice chunks[] = { { "S: x\r\n\r\none\r", 12 },
                                           { "\ntwo\r\n", 6 },
                                           { "three", 5 } };
    struct scene *scene = *state;
    struct desk_job asked;

    desk_open_upstream(&scene->desk, &scene->options);
    desk_job_init(&scene->desk, &asked, 1);
    asked.job.content = slice_make(NULL, 0);
    asked.job.chunks = 3;
    asked.job.sender = "";
    asked.chunks = chunks;
    desk_send(&scene->desk, &asked);
    assert_int_equal(asked.recipients[0].fate, UPSTREAM_DELIVERED);
    expect_file(scene, "Return-Path: <>\r\n"
                       "X-Envelope-To: <r1@dest.example>\r\n"
                       "S: x\r\n\r\none\r\ntwo\r\nthree");
    desk_job_free(&asked);
}

static void a_chunk_that_is_lost_leaves_no_file(void **state)
{
    static const struct slice chunks[] = { { "S: x\r\n\r\n", 8 }, { "", 0 } };
    struct scene *scene = *state;
    struct desk_job asked;
    char name[256];

    desk_open_upstream(&scene->desk, &scene->options);
    desk_job_init(&scene->desk, &asked, 1);
    asked.job.content = slice_make(NULL, 0);
    asked.job.chunks = 2;
    asked.chunks = chunks;
    desk_send(&scene->desk, &asked);
    assert_int_equal(asked.recipients[0].fate, UPSTREAM_LATER);
    assert_int_equal(count_files(scene, "new", name), 0);
    assert_int_equal(count_files(scene, "tmp", name), 0);
    desk_job_free(&asked);
}

static void a_folder_that_cannot_be_used_defers(void **state)
{
    struct scene *scene = *state;
    struct desk_job asked;
    int fd = open(scene->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* a file in its place */

    assert_true(fd >= 0);
    close(fd);
    desk_open_upstream(&scene->desk, &scene->options);
    desk_job_init(&scene->desk, &asked, 1);
    desk_send(&scene->desk, &asked);
    assert_int_equal(asked.recipients[0].fate, UPSTREAM_LATER);
    assert_non_null(strstr(asked.recipients[0].text, scene->path));
    desk_job_free(&asked);
}

static void an_address_that_would_forge_a_line_is_refused(void **state)
{
    struct scene *scene = *state;
    struct desk_job asked;
    char name[256];

    desk_open_upstream(&scene->desk, &scene->options);
    desk_job_init(&scene->desk, &asked, 1);
    asked.job.sender = "a@good.example>\r\nX-Evil: <";
    desk_send(&scene->desk, &asked);
    assert_int_equal(asked.recipients[0].fate, UPSTREAM_NEVER);
    assert_true(desk_logged(&scene->desk, "quarantined"));
    assert_int_equal(count_files(scene, "new", name), 0);
    desk_job_free(&asked);
}

static void many_messages_all_arrive_though_few_are_written_at_a_time(void **state)
{
    enum { COUNT = 40 };
    static struct desk_job jobs[COUNT];
    static char ids[COUNT][16];
    struct scene *scene = *state;
    char name[256];

    desk_open_upstream(&scene->desk, &scene->options);
    for (size_t i = 0; i < COUNT; i++) {
        desk_job_init(&scene->desk, &jobs[i], 1);
        snprintf(ids[i], sizeof(ids[i]), "01h455vb4p%03zu", i);
        jobs[i].job.id = ids[i];
        desk_deliver(&scene->desk, &jobs[i]);
    }
    DESK_UNTIL(&scene->desk, scene->desk.done == COUNT);
    assert_int_equal(count_files(scene, "new", name), COUNT);
    for (size_t i = 0; i < COUNT; i++)
        desk_job_free(&jobs[i]);
}

static void a_held_one_writes_nothing_new(void **state)
{
    struct scene *scene = *state;
    struct upstream_view view;
    struct desk_job job;

    desk_open_upstream(&scene->desk, &scene->options);
    desk_job_init(&scene->desk, &job, 1);
    upstream_hold(scene->desk.upstream, true);
    desk_send(&scene->desk, &job);
    assert_int_equal(job.recipients[0].fate, UPSTREAM_UNTRIED);
    assert_string_equal(job.recipients[0].text, upstream_held_text);
    upstream_look(scene->desk.upstream, &view);
    assert_int_equal(view.condition, UPSTREAM_HELD);
    assert_string_equal(view.kind, "maildir");
    desk_job_free(&job);
    upstream_hold(scene->desk.upstream, false);
    desk_job_init(&scene->desk, &job, 1);
    desk_send(&scene->desk, &job);
    assert_int_equal(job.recipients[0].fate, UPSTREAM_DELIVERED);
    desk_job_free(&job);
}

static void closing_lets_files_finish_and_returns_the_rest(void **state)
{
    enum { COUNT = 8 };
    static struct desk_job jobs[COUNT];
    struct scene *scene = *state;
    size_t delivered = 0;
    char name[256];
    static char ids[COUNT][16];

    desk_open_upstream(&scene->desk, &scene->options);
    for (size_t i = 0; i < COUNT; i++) {
        desk_job_init(&scene->desk, &jobs[i], 1);
        snprintf(ids[i], sizeof(ids[i]), "01h455vb4p%03zu", i);
        jobs[i].job.id = ids[i];
        desk_deliver(&scene->desk, &jobs[i]);
    }
    uv_run(&scene->desk.loop.uv, UV_RUN_NOWAIT); /* some begin */
    desk_close_upstream(&scene->desk);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(jobs[i].recipients[0].fate == UPSTREAM_DELIVERED ||
                    jobs[i].recipients[0].fate == UPSTREAM_UNTRIED);
        delivered += jobs[i].recipients[0].fate == UPSTREAM_DELIVERED;
        desk_job_free(&jobs[i]);
    }
    assert_int_equal(count_files(scene, "new", name), delivered);
}

static void on_probed(void *owner, bool ok, const char *text)
{
    int *verdict = owner;

    *verdict = ok ? 1 : -1;
    assert_non_null(strstr(text, "latchpost-maildir"));
}

static void a_probe_makes_the_folders(void **state)
{
    struct scene *scene = *state;
    struct stat folder;
    int verdict = 0;

    desk_open_upstream(&scene->desk, &scene->options);
    upstream_probe(scene->desk.upstream, on_probed, &verdict);
    DESK_UNTIL(&scene->desk, verdict != 0);
    assert_int_equal(verdict, 1);
    char *path = xasprintf("%s/cur", scene->path);

    assert_int_equal(stat(path, &folder), 0);
    free(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        MAILDIR_TEST(a_message_becomes_one_file_with_its_envelope),
        MAILDIR_TEST(chunks_become_one_file),
        MAILDIR_TEST(a_chunk_that_is_lost_leaves_no_file),
        MAILDIR_TEST(a_folder_that_cannot_be_used_defers),
        MAILDIR_TEST(an_address_that_would_forge_a_line_is_refused),
        MAILDIR_TEST(many_messages_all_arrive_though_few_are_written_at_a_time),
        MAILDIR_TEST(a_held_one_writes_nothing_new),
        MAILDIR_TEST(closing_lets_files_finish_and_returns_the_rest),
        MAILDIR_TEST(a_probe_makes_the_folders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
