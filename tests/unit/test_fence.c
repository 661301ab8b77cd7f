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
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
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

/* A server of another program. */
static struct sockaddr_un abstract = { .sun_family = AF_UNIX };
static int abstract_listener;

static void listen_abstractly(void)
{
    snprintf(abstract.sun_path + 1, sizeof(abstract.sun_path) - 1, "latchpost-fence-%d", getpid());
    abstract_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(abstract_listener, (struct sockaddr *)&abstract, sizeof(abstract)) != 0 ||
        listen(abstract_listener, 1) != 0)
        abort();
}

static int make_folders(void **state)
{
    (void)state;
    listen_abstractly();
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
    FILE *names = fopen(inside(readable, "nsswitch.conf"), "we");
    if (names == NULL)
        return -1;
    fputs("passwd: compat\n# hosts: compat\n"
          "hosts:\tfiles [!UNAVAIL=return] hesiod dns # compat\n",
          names);
    return fclose(names);
}

static int remove_folders(void **state)
{
    char *command = xasprintf("rm -rf '%s'", folder);
    int code = system(command);

    (void)state;
    close(abstract_listener);
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

/* A limit of processor time signals whoever has used it up. Here it is only looked at. */
static int reach_limits_of_parent(void)
{
    struct rlimit limit;

    return result(prlimit(getppid(), RLIMIT_CPU, NULL, &limit));
}

static int set_priority_of_parent(void)
{
    id_t parent = (id_t)getppid();

    return result(setpriority(PRIO_PROCESS, parent, getpriority(PRIO_PROCESS, parent)));
}

static int set_cores_of_parent(void)
{
    cpu_set_t cores;

    if (sched_getaffinity(getppid(), sizeof(cores), &cores) != 0)
        return 0;
    return result(sched_setaffinity(getppid(), sizeof(cores), &cores));
}

/* The kernel signals the owner of a descriptor with data: any process, any signal. */
static int descriptor_attempt(long call, long command, long argument)
{
    int ends[2];

    if (pipe(ends) != 0)
        return 0;
    return result(syscall(call, ends[0], command, argument));
}

static int own_by_parent(void)
{
    return descriptor_attempt(SYS_fcntl, F_SETOWN, getppid());
}

static int own_by_parent_with_high_bits(void)
{
    return descriptor_attempt(SYS_fcntl, (INT64_C(1) << 32) | F_SETOWN, getppid());
}

static int own_by_thread_of_parent(void)
{
    struct f_owner_ex owner = { F_OWNER_TID, getppid() };

    return descriptor_attempt(SYS_fcntl, F_SETOWN_EX, (long)(intptr_t)&owner);
}

static int choose_signal(void)
{
    return descriptor_attempt(SYS_fcntl, F_SETSIG, SIGKILL);
}

static int own_socket(unsigned long request)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), owner = getppid();

    return result(ioctl(fd, request, &owner));
}

static int own_socket_by_parent(void)
{
    return own_socket(0x8901); /* FIOSETOWN */
}

static int own_socket_by_group_of_parent(void)
{
    return own_socket(0x8902); /* SIOCSPGRP */
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

static int be_traced_by_anybody(void)
{
    return result(prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0));
}

static int move_own_memory(void)
{
    return result(prctl(PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0));
}

static int allow_speculation(void)
{
    return result(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_ENABLE, 0, 0));
}

static int signal_through_terminal(void)
{
    return result(ioctl(0, TIOCSIG, SIGKILL));
}

static int change_line_discipline(void)
{
    int discipline = 2;

    return result(ioctl(0, TIOCSETD, &discipline));
}

static int map_code(int flags, int fd)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, flags, fd, 0);

    return memory == MAP_FAILED ? errno : 0;
}

static int map_code_of_nothing(void)
{
    return map_code(MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* What was written to a file by one mapping, or by write(), is run by another. */
static int map_file_as_code(void)
{
    int fd = open(inside(writable, "file"), O_RDWR | O_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 4096) != 0)
        return 0;
    return map_code(MAP_SHARED, fd);
}

static int make_file_in_memory(void)
{
    return result(memfd_create("code", 0));
}

static int make_code_with_key(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return result(pkey_mprotect(memory, 4096, PROT_READ | PROT_EXEC, -1));
}

static int load_library(void)
{
    errno = 0;
    return dlopen("libnss_compat.so.2", RTLD_NOW) == NULL ? EPERM : 0;
}

/* Of the name service's configuration, as it is loaded before. */
static int use_loaded_library(void)
{
    return dlopen("libnss_hesiod.so.2", RTLD_NOW) == NULL ? EPERM : 0;
}

/* Whether it has an address is for the machine to say. */
static int look_up_name(void)
{
    struct addrinfo *found = NULL;
    int error = getaddrinfo("localhost", NULL, NULL, &found);

    if (error == 0)
        freeaddrinfo(found);
    return error == EAI_SYSTEM || error == EAI_MEMORY ? errno : 0;
}

static int make_file_of_mode(mode_t mode)
{
    int fd = open(inside(writable, "program"), O_WRONLY | O_CREAT | O_CLOEXEC, mode);

    return result(fd);
}

static int make_setuid_program(void)
{
    return make_file_of_mode(S_ISUID | 0755);
}

static int make_program_setuid(void)
{
    return make_file_of_mode(0755) == 0 ? result(chmod(inside(writable, "program"), S_ISUID | 0755))
                                        : 0;
}

static int make_open_program_setgid(void)
{
    int fd = open(inside(writable, "file"), O_RDWR | O_CLOEXEC);

    return result(fchmod(fd, S_ISGID | 0755));
}

static int make_program_setuid_by_new_call(void)
{
    return result(syscall(452, AT_FDCWD, inside(writable, "file"), S_ISUID | 0755, 0));
}

static int make_setgid_folder(void)
{
    return result(mkdir(inside(writable, "shared"), S_ISGID | 0755));
}

static int open_by_hidden_mode(void)
{
    return result(syscall(SYS_openat2, AT_FDCWD, inside(readable, "file"), NULL, 0));
}

static int make_plain_file(void)
{
    int error = make_file_of_mode(0644);

    return error != 0 ? error : result(chmod(inside(writable, "program"), 0600));
}

static int limit_ourselves(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return errno;
    return result(setrlimit(RLIMIT_NOFILE, &limit));
}

static int connect_abstractly(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return result(connect(fd, (struct sockaddr *)&abstract, sizeof(abstract)));
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

static int make_ping_socket(void)
{
    return make_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static int make_udplite_socket(void)
{
    return make_socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE);
}

static int make_sctp_socket(void)
{
    return make_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static int make_mptcp_socket(void)
{
    return make_socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
}

static int make_sockets_by_protocol(void)
{
    int error = make_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);

    return error != 0 ? error : make_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
}

static int make_audit_socket(void)
{
    return make_socket(AF_NETLINK, SOCK_RAW, 9); /* NETLINK_AUDIT */
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

enum {
    FILES = 1,
    CALLS = 2,
    SCOPE = 4, /* Landlock's from version 6 on */
};

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
    { "kill, Landlock alone", signal_parent, EPERM, FILES | SCOPE, false },
    { "an abstract socket of others", connect_abstractly, EPERM, FILES | SCOPE, false },
    { "prlimit of another", reach_limits_of_parent, EPERM, CALLS, false },
    { "limits of our own", limit_ourselves, 0, FILES | CALLS, false },
    { "setpriority", set_priority_of_parent, EPERM, CALLS, false },
    { "sched_setaffinity", set_cores_of_parent, EPERM, CALLS, false },
    { "F_SETOWN", own_by_parent, EPERM, CALLS, false },
    { "F_SETOWN, high bits", own_by_parent_with_high_bits, EPERM, CALLS, false },
    { "F_SETOWN_EX", own_by_thread_of_parent, EPERM, CALLS, false },
    { "F_SETSIG", choose_signal, EPERM, CALLS, false },
    { "FIOSETOWN", own_socket_by_parent, EPERM, CALLS, false },
    { "SIOCSPGRP", own_socket_by_group_of_parent, EPERM, CALLS, false },
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
    { "PR_SET_PTRACER", be_traced_by_anybody, EPERM, CALLS, true },
    { "PR_SET_MM", move_own_memory, EPERM, CALLS, false },
    { "PR_SET_SPECULATION_CTRL", allow_speculation, EPERM, CALLS, false },
    { "TIOCSTI", type_into_terminal, EPERM, CALLS, false },
    { "TIOCSIG", signal_through_terminal, EPERM, CALLS, false },
    { "TIOCSETD", change_line_discipline, EPERM, CALLS, false },
    { "memory that is written and run", map_writable_code, EPERM, CALLS, false },
    { "memory that becomes code", make_code, EPERM, CALLS, false },
    { "memory that is code", map_code_of_nothing, EPERM, CALLS, false },
    { "a file that becomes code", map_file_as_code, EPERM, CALLS, false },
    { "memfd_create", make_file_in_memory, EPERM, CALLS, false },
    { "pkey_mprotect", make_code_with_key, EPERM, CALLS, false },
    { "a library", load_library, EPERM, CALLS, false },
    { "a library that is loaded", use_loaded_library, 0, FILES | CALLS, false },
    { "a name", look_up_name, 0, CALLS, false },
    { "a program that is setuid from birth", make_setuid_program, EPERM, CALLS, false },
    { "a program that becomes setuid", make_program_setuid, EPERM, CALLS, false },
    { "an open program that becomes setgid", make_open_program_setgid, EPERM, CALLS, false },
    { "fchmodat2", make_program_setuid_by_new_call, EPERM, CALLS, false },
    { "a setgid folder", make_setgid_folder, EPERM, CALLS, false },
    { "openat2", open_by_hidden_mode, ENOSYS, CALLS, false },
    { "a plain file", make_plain_file, 0, FILES | CALLS, false },
    { "a raw socket", make_raw_socket, EPERM, CALLS, false },
    { "a raw IPv6 socket", make_raw_socket6, EPERM, CALLS, false },
    { "a packet socket", make_packet_socket, EPERM, CALLS, false },
    { "a packet socket, high bits", make_packet_socket_with_high_bits, EPERM, CALLS, false },
    { "a raw socket, high bits", make_raw_socket_with_high_bits, EPERM, CALLS, false },
    { "a socket for pings", make_ping_socket, EPERM, CALLS, false },
    { "a socket for UDP-Lite", make_udplite_socket, EPERM, CALLS, false },
    { "a socket for SCTP", make_sctp_socket, EPERM, CALLS, false },
    { "a socket for MPTCP", make_mptcp_socket, EPERM, CALLS, false },
    { "sockets for TCP and UDP by name", make_sockets_by_protocol, 0, FILES | CALLS, false },
    { "netlink for more than addresses", make_audit_socket, EPERM, CALLS, false },
    { "a socket of another family", make_vsock, EPERM, CALLS, false },
    { "listen and connect", connect_somewhere, 0, FILES | CALLS, false },
    { "Unix and netlink sockets", use_unix_and_netlink, 0, FILES | CALLS, false },
    { "a thread", start_thread, 0, FILES | CALLS, false },
};

#define NO_FENCE 200 /* exit code: this kernel has none; above every errno */

static bool has_scopes(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* which version? */) >= 6;
}

/* How such a child ended, as waitpid() tells it. */
static int status_behind_fence(int (*attempt)(void), unsigned fences)
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
        fence_load_modules(inside(readable, "nsswitch.conf"));
        if ((fences & SCOPE) && !has_scopes())
            _exit(NO_FENCE);
        if (((fences & FILES) && !fence_close_files(&reach, false, &why)) ||
            ((fences & CALLS) && !fence_close_calls(&why))) {
            fprintf(stderr, "%s\n", why.text);
            _exit(NO_FENCE);
        }
        _exit(attempt());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int attempt_behind_fence(const char *what, int (*attempt)(void), unsigned fences)
{
    int status = status_behind_fence(attempt, fences);

    if (!WIFEXITED(status))
        fail_msg("%s: ended by signal %d", what, WTERMSIG(status));
    if (WEXITSTATUS(status) == NO_FENCE)
        print_message("%s: not tried, this kernel has no such fence\n", what);
    return WEXITSTATUS(status);
}

static void what_the_relay_needs_works_and_nothing_else(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (FENCE_HAS_GATE && rows[i].is_for_sanitizers)
            continue;
        int got = attempt_behind_fence(rows[i].what, rows[i].attempt, rows[i].fences);
        if (got == NO_FENCE || got == rows[i].want)
            continue;
        print_error("%s: %s, want %s\n", rows[i].what, strerror(got), strerror(rows[i].want));
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

/* --- calls that nothing here makes ------------------------------------------------------------ */

static const struct call {
    const char *name;
    long number;
    int want;
} calls[] = {
    { "process_vm_writev", SYS_process_vm_writev, EPERM },
    { "process_madvise", SYS_process_madvise, EPERM },
    { "process_mrelease", SYS_process_mrelease, EPERM },
    { "pidfd_open", SYS_pidfd_open, EPERM },
    { "pidfd_getfd", SYS_pidfd_getfd, EPERM },
    { "pidfd_send_signal", SYS_pidfd_send_signal, EPERM },
    { "kcmp", SYS_kcmp, EPERM },
    { "get_robust_list", SYS_get_robust_list, EPERM },
    { "tkill", SYS_tkill, EPERM },
    { "rt_sigqueueinfo", SYS_rt_sigqueueinfo, EPERM },
    { "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, EPERM },
    { "sched_setscheduler", SYS_sched_setscheduler, EPERM },
    { "sched_setparam", SYS_sched_setparam, EPERM },
    { "sched_setattr", SYS_sched_setattr, EPERM },
    { "ioprio_set", SYS_ioprio_set, EPERM },
    { "migrate_pages", SYS_migrate_pages, EPERM },
    { "clone3", SYS_clone3, ENOSYS },
    { "setns", SYS_setns, EPERM },
    { "chroot", SYS_chroot, EPERM },
    { "pivot_root", SYS_pivot_root, EPERM },
    { "open_tree", SYS_open_tree, EPERM },
    { "open_tree_attr", 467, EPERM },
    { "mount_setattr", SYS_mount_setattr, EPERM },
    { "name_to_handle_at", SYS_name_to_handle_at, EPERM },
    { "open_by_handle_at", SYS_open_by_handle_at, EPERM },
    { "fanotify_init", SYS_fanotify_init, EPERM },
    { "mknodat", SYS_mknodat, EPERM },
    { "mq_open", SYS_mq_open, EPERM },
    { "mq_unlink", SYS_mq_unlink, EPERM },
    { "shmget", SYS_shmget, EPERM },
    { "memfd_secret", SYS_memfd_secret, EPERM },
    { "remap_file_pages", SYS_remap_file_pages, EPERM },
    { "userfaultfd", SYS_userfaultfd, EPERM },
    { "perf_event_open", SYS_perf_event_open, EPERM },
    { "add_key", SYS_add_key, EPERM },
    { "request_key", SYS_request_key, EPERM },
    { "io_uring_enter", SYS_io_uring_enter, ENOSYS },
    { "io_uring_register", SYS_io_uring_register, ENOSYS },
    { "io_setup", SYS_io_setup, EPERM },
    { "kexec_load", SYS_kexec_load, EPERM },
    { "syslog", SYS_syslog, EPERM },
    { "acct", SYS_acct, EPERM },
    { "settimeofday", SYS_settimeofday, EPERM },
    { "lsm_set_self_attr", 460, EPERM },
};

static long call_under_way;

static int make_call(void)
{
    return result(syscall(call_under_way, 0, 0, 0, 0, 0, 0));
}

static void calls_without_use_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        call_under_way = calls[i].number;
        int got = attempt_behind_fence(calls[i].name, make_call, CALLS);
        if (got != NO_FENCE && got != calls[i].want)
            fail_msg("%s: %s, want %s", calls[i].name, strerror(got), strerror(calls[i].want));
    }
}

/* --- calls by other doors --------------------------------------------------------------------- */

#ifdef __x86_64__
static int call_by_x32(void)
{
    return result(syscall(0x40000000 | SYS_getpid));
}

static int call_by_32_bits(void)
{
    long number = 20; /* getpid, there */

    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
    return result(number);
}

/* Their numbers mean something else, so no rule would fit. Without such calls in the kernel it is
 * the processor that refuses. */
static void calls_by_another_abi_end_the_process(void **state)
{
    static const struct {
        const char *what;
        int (*attempt)(void);
        int other; /* signal that is as good */
    } doors[] = {
        { "x32", call_by_x32, SIGSYS },
        { "32 bits", call_by_32_bits, SIGSEGV },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(doors); i++) {
        int status = status_behind_fence(doors[i].attempt, CALLS);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NO_FENCE)
            continue;
        if (!WIFSIGNALED(status) ||
            (WTERMSIG(status) != SIGSYS && WTERMSIG(status) != doors[i].other))
            fail_msg("%s: lives, status %x", doors[i].what, (unsigned)status);
    }
}
#endif

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_relay_needs_works_and_nothing_else),
        cmocka_unit_test(calls_without_use_are_refused),
#ifdef __x86_64__
        cmocka_unit_test(calls_by_another_abi_end_the_process),
#endif
    };

    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
