/* fence_calls.c - the fence around system calls: seccomp, by libseccomp (its only user).
 * What this program has no use for is refused by name, not what it uses allowed by name: which
 * calls the C library makes changes with its version, and a relay that dies of an update of
 * something else protects nobody. The unit of systemd adds a list of what is allowed.
 * EPERM and not death: an attempt is then an error like any other, at the place where it was made.
 * Calls of other ABIs (32 bit, x32) end the process. */
#include "relay/fence_priv.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/macros.h"

/* The kernel takes these arguments as int and ignores what stands above. */
#define LOW_32 UINT64_C(0xffffffff)

#ifdef __s390__
#define CLONE_FLAGS 1u
#else
#define CLONE_FLAGS 0u
#endif

static const char *const forbidden[] = {
    /* other programs and processes; see forbid_processes() for the rest */
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kill",
    "tkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "ptrace",
    "execve",
    "execveat",
    "fork",
    "vfork",
    /* the tree of files */
    "mount",
    "umount",
    "umount2",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "pivot_root",
    "chroot",
    "swapon",
    "swapoff",
    "quotactl",
    "quotactl_fd",
    "mknod",
    "mknodat",
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    /* namespaces */
    "unshare",
    "setns",
    /* whom we are */
    "setuid",
    "setuid32",
    "setgid",
    "setgid32",
    "setreuid",
    "setreuid32",
    "setregid",
    "setregid32",
    "setresuid",
    "setresuid32",
    "setresgid",
    "setresgid32",
    "setfsuid",
    "setfsuid32",
    "setfsgid",
    "setfsgid32",
    "setgroups",
    "setgroups32",
    "capset",
    "personality",
    /* the kernel and the machine */
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "iopl",
    "ioperm",
    "modify_ldt",
    "syslog",
    "acct",
    "vhangup",
    "nfsservctl",
    "lookup_dcookie",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
    "vmsplice",
    "move_pages",
    "migrate_pages",
    "memfd_secret",
    /* System V's queues and memory, which every process of our user shares */
    "shmget",
    "shmat",
    "shmctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
};

/* A tracer needs these; the search for leaks is one. */
static bool is_for_sanitizers(const char *name)
{
    static const char *const names[] = {
        "ptrace", "execve", "fork", "vfork", "kill", "personality", "process_vm_readv",
    };

    for (size_t i = 0; FENCE_HAS_GATE && i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* A call that this machine or this libseccomp does not know needs no rule. */
static int forbid_names(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(forbidden); i++) {
        int number = seccomp_syscall_resolve_name(forbidden[i]);

        if (number != __NR_SCMP_ERROR && !is_for_sanitizers(forbidden[i]))
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    }
    return error;
}

static int forbid_if(scmp_filter_ctx filter, int number, struct scmp_arg_cmp condition)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 1, condition);
}

/* Threads only, and in no namespace of their own. clone3 hides its flags behind a pointer, so it is
 * "not there" and the C library falls back; io_uring would pass by every rule of this file. */
static int forbid_processes(scmp_filter_ctx filter)
{
    static const uint64_t namespaces[] = {
        CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
        CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET,
    };
    static const char *const absent[] = {
        "clone3",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    };
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(absent); i++) {
        int number = seccomp_syscall_resolve_name(absent[i]);

        if (number != __NR_SCMP_ERROR)
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
    }
    for (size_t i = 0; error == 0 && i < ARRAY_LEN(namespaces); i++)
        error = forbid_if(filter, SCMP_SYS(clone),
                          SCMP_CMP(CLONE_FLAGS, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    if (error == 0 && !FENCE_HAS_GATE)
        error = forbid_if(filter, SCMP_SYS(clone),
                          SCMP_CMP(CLONE_FLAGS, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (error == 0) /* our own threads only: abort() */
        error =
            forbid_if(filter, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_NE, (uint64_t)(uint32_t)getpid()));
    if (error == 0 && !FENCE_HAS_GATE) /* nobody is to look into our memory, again */
        error = forbid_if(filter, SCMP_SYS(prctl),
                          SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32, PR_SET_DUMPABLE));
    return error;
}

/* Memory is either written or run. */
static int forbid_code(scmp_filter_ctx filter)
{
    const uint64_t both = PROT_WRITE | PROT_EXEC;
    int error = forbid_if(filter, SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));

    if (error == 0)
        error = forbid_if(filter, SCMP_SYS(mprotect),
                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    if (error == 0)
        error = forbid_if(filter, SCMP_SYS(pkey_mprotect),
                          SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    return error;
}

static bool is_used(uint64_t family)
{
    /* Netlink is how the C library asks which address families this machine has. */
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

/* Streams and datagrams of IP, Unix sockets: no packets, no raw IP, nothing exotic. */
static int forbid_sockets(scmp_filter_ctx filter)
{
    static const uint64_t internet[] = { AF_INET, AF_INET6 };
    int error = forbid_if(filter, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_GT, AF_NETLINK));

    for (uint64_t family = 0; error == 0 && family < AF_NETLINK; family++)
        if (!is_used(family))
            error = forbid_if(filter, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, family));
    for (uint64_t type = 0; error == 0 && type < 16; type++)
        for (size_t i = 0; error == 0 && i < ARRAY_LEN(internet); i++)
            if (type != SOCK_STREAM && type != SOCK_DGRAM)
                error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2,
                                         SCMP_A0(SCMP_CMP_EQ, internet[i]),
                                         SCMP_A1(SCMP_CMP_MASKED_EQ, 15, type));
    return error;
}

/* Typing into the terminal that we were started from. */
static int forbid_typing(scmp_filter_ctx filter)
{
    static const uint64_t requests[] = { TIOCSTI, TIOCLINUX };
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(requests); i++)
        error =
            forbid_if(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_32, requests[i]));
    return error;
}

bool fence_close_calls(struct why *why)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error;

    if (filter == NULL)
        return why_set(why, "seccomp does not begin");
    error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* all threads, if there are */
    if (error == 0)
        error = forbid_names(filter);
    if (error == 0)
        error = forbid_processes(filter);
    if (error == 0)
        error = forbid_code(filter);
    if (error == 0)
        error = forbid_sockets(filter);
    if (error == 0)
        error = forbid_typing(filter);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error == 0 || why_errno(why, -error, "seccomp does not hold");
}
