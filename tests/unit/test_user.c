/* test_user.c - whom a process becomes, and that it cannot go back. The changes are made by child
 * processes, as root: others skip these tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/user.h"

static char folder[] = "/tmp/latchpost-user-XXXXXX";
static char state_dir[96];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL || chmod(folder, 0755) != 0)
        return -1;
    snprintf(state_dir, sizeof(state_dir), "%s/state", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    rmdir(state_dir);
    return rmdir(folder);
}

static void need_root(void)
{
    if (geteuid() != 0 || getpwnam("nobody") == NULL)
        skip();
}

/* Runs it in a child process, which must not find anything wrong. */
static void in_child(const char *(*story)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        const char *wrong = story();

        if (wrong != NULL)
            fprintf(stderr, "%s\n", wrong);
        _exit(wrong != NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The value of a line of our own status, as a number. */
static uint64_t capabilities(const char *name)
{
    FILE *file = fopen("/proc/thread-self/status", "r");
    char line[256];
    uint64_t value = UINT64_MAX;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, 16);
    if (file != NULL)
        fclose(file);
    return value;
}

static int bind_port(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    error = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
    close(fd);
    return error;
}

static const char *become_nobody(bool keep_bind)
{
    static struct why why;
    struct user user;
    gid_t groups[8];

    if (setgroups(3, (const gid_t[]){ 1, 2, 3 }) != 0)
        return "cannot begin with groups";
    if (!user_find(&user, "nobody", state_dir, &why) || !user_become(&user, keep_bind, &why))
        return why.text;
    if (getuid() != user.uid || geteuid() != user.uid || getgid() != user.gid)
        return "it is somebody else";
    for (int i = getgroups(8, groups); i > 0; i--)
        if (groups[i - 1] != user.gid)
            return "it still has groups of before";
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
        return "the way back is open";
    if (capabilities("CapBnd:") != 0 || capabilities("CapInh:") != 0 ||
        capabilities("CapAmb:") != 0)
        return "a program could have capabilities";
    return NULL;
}

static const char *become_nobody_without_ports(void)
{
    const char *wrong = become_nobody(false);

    if (wrong != NULL)
        return wrong;
    if (capabilities("CapPrm:") != 0 || capabilities("CapEff:") != 0 || user_may_bind())
        return "it has capabilities";
    return bind_port(1) != EACCES ? "it can bind port 1" : NULL;
}

static const char *become_nobody_with_ports(void)
{
    const char *wrong = become_nobody(true);

    if (wrong != NULL)
        return wrong;
    if (capabilities("CapPrm:") != 1 << 10 || capabilities("CapEff:") != 1 << 10)
        return "it has other capabilities than that of binding ports";
    return bind_port(1) == EACCES || !user_may_bind() ? "it cannot bind port 1" : NULL;
}

static void root_becomes_the_user_for_good(void **state)
{
    (void)state;
    need_root();
    in_child(become_nobody_without_ports);
}

static void ports_below_1024_can_be_kept(void **state)
{
    (void)state;
    need_root();
    in_child(become_nobody_with_ports);
}

static const char *stay_root(void)
{
    static struct why why;
    struct user user;

    if (!user_find(&user, NULL, state_dir, &why) || user.is_other ||
        !user_become(&user, false, &why))
        return "it is another";
    return capabilities("CapEff:") != 0 ? "it has capabilities" : NULL;
}

static void root_that_stays_root_has_no_capability(void **state)
{
    (void)state;
    need_root();
    in_child(stay_root);
}

static const char *become_another_without_right(void)
{
    static struct why why;
    struct user user;
    const char *wrong = become_nobody(false);

    if (wrong != NULL)
        return wrong;
    if (!user_find(&user, "root", state_dir, &why) || !user.is_other ||
        user_become(&user, false, &why))
        return "it became root";
    return strstr(why.text, "start as root") == NULL ? why.text : NULL;
}

static void who_is_not_root_cannot_become_another_and_hears_so(void **state)
{
    (void)state;
    need_root();
    in_child(become_another_without_right);
}

static void a_user_that_does_not_exist_is_named(void **state)
{
    struct user user;
    struct why why = { "" };

    (void)state;
    assert_false(user_find(&user, "no-such-user", state_dir, &why));
    assert_non_null(strstr(why.text, "no-such-user"));
}

static void without_a_user_it_is_the_owner_of_the_state(void **state)
{
    struct user user;
    struct why why = { "" };
    const struct passwd *nobody = getpwnam("nobody");

    (void)state;
    need_root();
    assert_true(user_find(&user, NULL, state_dir, &why)); /* which does not exist yet */
    assert_int_equal(user.uid, 0);
    assert_int_equal(mkdir(state_dir, 0700), 0);
    assert_int_equal(chown(state_dir, nobody->pw_uid, nobody->pw_gid), 0);
    assert_true(user_find(&user, NULL, state_dir, &why));
    assert_int_equal(user.uid, nobody->pw_uid);
    assert_string_equal(user.name, "nobody");
    assert_int_equal(chown(state_dir, 54321, 54321), 0); /* whom nobody knows, as in a container */
    assert_true(user_find(&user, NULL, state_dir, &why));
    assert_int_equal(user.uid, 54321);
    assert_int_equal(user.gid, 54321);
    assert_string_equal(user.name, "");
    assert_int_equal(rmdir(state_dir), 0);
}

static void the_state_is_made_for_the_user_and_not_taken_from_another(void **state)
{
    struct user user;
    struct why why = { "" };
    struct stat status;

    (void)state;
    need_root();
    assert_true(user_find(&user, "nobody", state_dir, &why));
    assert_true(user_own_folder(&user, state_dir, &why));
    assert_int_equal(stat(state_dir, &status), 0);
    assert_int_equal(status.st_uid, user.uid);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_true(user_own_folder(&user, state_dir, &why));
    assert_int_equal(chown(state_dir, 0, 0), 0);
    assert_false(user_own_folder(&user, state_dir, &why));
    assert_non_null(strstr(why.text, "chown -R nobody"));
    assert_int_equal(rmdir(state_dir), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_becomes_the_user_for_good),
        cmocka_unit_test(ports_below_1024_can_be_kept),
        cmocka_unit_test(root_that_stays_root_has_no_capability),
        cmocka_unit_test(who_is_not_root_cannot_become_another_and_hears_so),
        cmocka_unit_test(a_user_that_does_not_exist_is_named),
        cmocka_unit_test(without_a_user_it_is_the_owner_of_the_state),
        cmocka_unit_test(the_state_is_made_for_the_user_and_not_taken_from_another),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
