/* test_fence.c - what can a process behind the fence still do? Each attempt is made by a child
 * process of its own, which puts up the fence and tells by its exit code what came of it. */
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
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/fence_priv.h"

static char folder[] = "/tmp/latchpost-fence-XXXXXX";
static char readable[96], writable[96], outside[96];

static char *inside(const char *place, const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", place, name);
    return path;
}

static int make_folders(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(readable, sizeof(readable), "%s/readable", folder);
    snprintf(writable, sizeof(writable), "%s/writable", folder);
    snprintf(outside, sizeof(outside), "%s/outside", folder);
    const char *const folders[] = { readable, writable, outside };

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        if (mkdir(folders[i], 0700) != 0)
            return -1;
        close(open(inside(folders[i], "file"), O_WRONLY | O_CREAT, 0700));
        mkdir(inside(folders[i], "sub"), 0700);
    }
    return 0;
}

static int remove_folders(void **state)
{
    char *command = xasprintf("rm -rf '%s'", folder);
    int code = system(command);

    (void)state;
    free(command);
    return code;
}

/* --- attempts: 0, or the errno of the refusal --------------------------------------------------
 */

static int result(long returned)
{
    return returned < 0 ? errno : 0;
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int error = result(fd);

    if (fd >= 0)
        close(fd);
    return error;
}

static int read_inside(void)
{
    return try_open(inside(readable, "file"), O_RDONLY);
}

static int write_readable(void)
{
    return try_open(inside(readable, "file"), O_WRONLY);
}

static int make_in_readable(void)
{
    return try_open(inside(readable, "new"), O_WRONLY | O_CREAT);
}

static int work_in_writable(void)
{
    char from[256];
    int error = try_open(inside(writable, "new"), O_RDWR | O_CREAT);

    snprintf(from, sizeof(from), "%s", inside(writable, "new"));
    if (error == 0)
        error = result(truncate(from, 1));
    if (error == 0) /* as a maildir does */
        error = result(rename(from, inside(writable, "sub/new")));
    if (error == 0)
        error = result(unlink(inside(writable, "sub/new")));
    return error == 0 ? try_open(writable, O_RDONLY | O_DIRECTORY) : error;
}

static int open_outside(void)
{
    return try_open(inside(outside, "file"), O_RDONLY);
}

static int make_outside(void)
{
    return result(mkdir(inside(outside, "new"), 0700));
}

static int remove_outside(void)
{
    return result(unlink(inside(outside, "file")));
}

static int move_out(void)
{
    char to[256];

    snprintf(to, sizeof(to), "%s", inside(outside, "moved"));
    return result(rename(inside(writable, "file"), to));
}

static int open_passwd(void)
{
    return try_open("/etc/passwd", O_RDONLY);
}

static int open_shadow(void)
{
    return try_open("/etc/shadow", O_RDONLY);
}

static int open_by_way_around(void)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/../outside/file", readable);
    return try_open(path, O_RDONLY);
}

static int run_program(void)
{
    char *const none[] = { NULL };

    return result(execve("/bin/true", none, none));
}

static int run_descriptor(void)
{
    char *const none[] = { NULL };

    return result(syscall(SYS_execveat, AT_FDCWD, "/bin/true", none, none, 0));
}

static int make_process(void)
{
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    return result(child);
}

static int trace(void)
{
    return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int read_memory_of_parent(void)
{
    return result(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static int signal_parent(void)
{
    return result(kill(getppid(), 0));
}

static int signal_thread_of_parent(void)
{
    return result(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int mount_something(void)
{
    return result(mount("none", folder, "tmpfs", 0, NULL));
}

static int leave_namespace(void)
{
    return result(unshare(CLONE_NEWUSER));
}

static int become_root(void)
{
    return result(setuid(0));
}

static int load_program_into_kernel(void)
{
    return result(syscall(SYS_bpf, 0, NULL, 0));
}

static int use_keyring(void)
{
    return result(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static int load_module(void)
{
    return result(syscall(SYS_finit_module, -1, "", 0));
}

static int use_io_uring(void)
{
    return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int allow_dumps(void)
{
    return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int allow_dumps_with_high_bits(void)
{
    return result(syscall(SYS_prctl, (INT64_C(1) << 32) | PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int type_into_terminal(void)
{
    char c = 'x';

    return result(ioctl(0, TIOCSTI, &c));
}

static int map_writable_code(void)
{
    void *memory =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? errno : 0;
}

static int make_code(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return result(mprotect(memory, 4096, PROT_READ | PROT_EXEC));
}

static int make_socket(int family, int type, int protocol)
{
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    int error = result(fd);

    if (fd >= 0)
        close(fd);
    return error;
}

static int make_raw_socket(void)
{
    return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int make_raw_socket6(void)
{
    return make_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}

static int make_packet_socket(void)
{
    return make_socket(AF_PACKET, SOCK_RAW, 0);
}

/* The kernel looks at the low half of the argument only; so must the filter. */
static int make_packet_socket_with_high_bits(void)
{
    return result(syscall(SYS_socket, (INT64_C(1) << 32) | AF_PACKET, SOCK_RAW, 0));
}

static int make_raw_socket_with_high_bits(void)
{
    return result(syscall(SYS_socket, (INT64_C(1) << 32) | AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int make_vsock(void)
{
    return make_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int connect_somewhere(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || client < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        return errno;
    return result(connect(client, (struct sockaddr *)&address, sizeof(address)));
}

static int use_unix_and_netlink(void)
{
    int error = make_socket(AF_UNIX, SOCK_STREAM, 0);

    return error != 0 ? error : make_socket(AF_NETLINK, SOCK_RAW, 0);
}

static void *do_nothing(void *argument)
{
    return argument;
}

static int start_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, do_nothing, NULL);

    return error != 0 ? error : pthread_join(thread, NULL);
}

static void *open_in_thread(void *argument)
{
    (void)argument;
    return (void *)(intptr_t)open_outside();
}

static int open_outside_in_thread(void)
{
    pthread_t thread;
    void *error = NULL;

    if (pthread_create(&thread, NULL, open_in_thread, NULL) != 0)
        return 0;
    pthread_join(thread, &error);
    return (int)(intptr_t)error;
}

static int signal_ourselves(void)
{
    signal(SIGUSR1, SIG_IGN);
    return result(raise(SIGUSR1));
}

/* --- rows ------------------------------------------------------------------------------------- */

enum { FILES = 1, CALLS = 2 };

static const struct row {
    const char *what;
    int (*attempt)(void);
    int want; /* 0, or an errno */
    unsigned fences;
    bool is_for_sanitizers; /* they may */
} rows[] = {
    { "read what is readable", read_inside, 0, FILES | CALLS, false },
    { "write what is readable", write_readable, EACCES, FILES, false },
    { "make a file where one may read", make_in_readable, EACCES, FILES, false },
    { "work in what is writable", work_in_writable, 0, FILES | CALLS, false },
    { "open a file outside", open_outside, EACCES, FILES, false },
    { "open a file outside in a later thread", open_outside_in_thread, EACCES, FILES, false },
    { "open a file outside by ..", open_by_way_around, EACCES, FILES, false },
    { "make a folder outside", make_outside, EACCES, FILES, false },
    { "remove a file outside", remove_outside, EACCES, FILES, false },
    { "move a file out", move_out, EACCES, FILES, false },
    { "open /etc/passwd", open_passwd, EACCES, FILES, false },
    { "open /etc/shadow", open_shadow, EACCES, FILES, false },
    { "execve, Landlock alone", run_program, EACCES, FILES, false },
    { "execve", run_program, EPERM, CALLS, true },
    { "execveat", run_descriptor, EPERM, CALLS, false },
    { "fork", make_process, EPERM, CALLS, true },
    { "ptrace", trace, EPERM, CALLS, true },
    { "process_vm_readv", read_memory_of_parent, EPERM, CALLS, true },
    { "kill", signal_parent, EPERM, CALLS, true },
    { "tgkill", signal_thread_of_parent, EPERM, CALLS, false },
    { "raise", signal_ourselves, 0, FILES | CALLS, false },
    { "mount", mount_something, EPERM, CALLS, false },
    { "unshare", leave_namespace, EPERM, CALLS, false },
    { "setuid", become_root, EPERM, CALLS, false },
    { "bpf", load_program_into_kernel, EPERM, CALLS, false },
    { "keyctl", use_keyring, EPERM, CALLS, false },
    { "finit_module", load_module, EPERM, CALLS, false },
    { "io_uring", use_io_uring, ENOSYS, CALLS, false },
    { "PR_SET_DUMPABLE", allow_dumps, EPERM, CALLS, true },
    { "PR_SET_DUMPABLE, high bits", allow_dumps_with_high_bits, EPERM, CALLS, true },
    { "TIOCSTI", type_into_terminal, EPERM, CALLS, false },
    { "memory that is written and run", map_writable_code, EPERM, CALLS, false },
    { "memory that becomes code", make_code, EPERM, CALLS, false },
    { "a raw socket", make_raw_socket, EPERM, CALLS, false },
    { "a raw IPv6 socket", make_raw_socket6, EPERM, CALLS, false },
    { "a packet socket", make_packet_socket, EPERM, CALLS, false },
    { "a packet socket, high bits", make_packet_socket_with_high_bits, EPERM, CALLS, false },
    { "a raw socket, high bits", make_raw_socket_with_high_bits, EPERM, CALLS, false },
    { "a socket of another family", make_vsock, EPERM, CALLS, false },
    { "listen and connect", connect_somewhere, 0, FILES | CALLS, false },
    { "Unix and netlink sockets", use_unix_and_netlink, 0, FILES | CALLS, false },
    { "a thread", start_thread, 0, FILES | CALLS, false },
};

#define NO_FENCE 200 /* exit code: this kernel has none; above every errno */

static int attempt_behind_fence(const struct row *row)
{
    struct reach_place places[] = {
        { readable, readable, REACH_READ, false },
        { writable, writable, REACH_WRITE, false },
    };
    struct reach reach = { places, ARRAY_LEN(places) };
    struct why why = { "" };
    pid_t child = fork();
    int status;

    if (child == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (((row->fences & FILES) && !fence_close_files(&reach, &why)) ||
            ((row->fences & CALLS) && !fence_close_calls(&why))) {
            fprintf(stderr, "%s\n", why.text);
            _exit(NO_FENCE);
        }
        _exit(row->attempt());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status))
        fail_msg("%s: ended by signal %d", row->what, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void what_the_relay_needs_works_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int got;

        if (FENCE_HAS_GATE && rows[i].is_for_sanitizers)
            continue;
        got = attempt_behind_fence(&rows[i]);
        if (got == NO_FENCE)
            print_message("%s: not tried, this kernel has no such fence\n", rows[i].what);
        else if (got != rows[i].want)
            fail_msg("%s: %s, want %s", rows[i].what, strerror(got), strerror(rows[i].want));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_relay_needs_works_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
