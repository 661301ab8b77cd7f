/* fence_calls.c - the fence around system calls: seccomp, by libseccomp (its only user).
 * What this program has no use for is refused by name, not what it uses allowed by name: which
 * calls the C library makes changes with its version, and a relay that dies of an update of
 * something else protects nobody. The unit of systemd adds a list of what is allowed.
 * EPERM and not death: an attempt is then an error like any other, at the place where it was made.
 * Calls of other ABIs (32 bit, x32) end the process. */
#include "relay/fence_priv.h"

#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    /* other programs and processes; see `rules` for the rest */
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "get_robust_list",
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
    "setpriority",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "ioprio_set",
    /* the tree of files */
    "mount",
    "umount",
    "umount2",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "open_tree_attr",
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
    "fanotify_mark",
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
    "lsm_set_self_attr",
    "io_setup",
    "io_submit",
    /* memory in another way than mmap(), and files without a name, which Landlock does not see */
    "remap_file_pages",
    "uselib",
    "memfd_create",
    "memfd_secret",
    /* queues and memory that every process of our user shares */
    "mq_open",
    "mq_unlink",
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

/* Calls that this libseccomp may not have heard of. New ones get the same number on each machine,
 * but for what some of them begin to count with. */
static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } newer[] = { { "fchmodat2", 452 }, { "lsm_set_self_attr", 460 }, { "open_tree_attr", 467 } };
    int number = seccomp_syscall_resolve_name(name);

    for (size_t i = 0; number == __NR_SCMP_ERROR && i < ARRAY_LEN(newer); i++)
        if (strcmp(newer[i].name, name) == 0)
            number = SYS_landlock_create_ruleset - 444 + newer[i].number;
    return number;
}

/* A call that this machine or this libseccomp does not know needs no rule. */
static int refuse(scmp_filter_ctx filter, const char *name, uint32_t action,
                  const struct scmp_arg_cmp *conditions, unsigned count)
{
    int number = number_of(name);

    return number == __NR_SCMP_ERROR
               ? 0
               : seccomp_rule_add_array(filter, action, number, count, conditions);
}

static int forbid_names(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(forbidden); i++)
        if (!is_for_sanitizers(forbidden[i]))
            error = refuse(filter, forbidden[i], SCMP_ACT_ERRNO(EPERM), NULL, 0);
    return error;
}

/* Their arguments stand behind a pointer, where no rule can look. The C library has second ways for
 * those that it knows; io_uring would pass by every rule of this file. */
static int deny_existence(scmp_filter_ctx filter)
{
    static const char *const absent[] = {
        "clone3", "openat2", "io_uring_setup", "io_uring_enter", "io_uring_register",
    };
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(absent); i++)
        error = refuse(filter, absent[i], SCMP_ACT_ERRNO(ENOSYS), NULL, 0);
    return error;
}

/* --- by argument ------------------------------------------------------------------------------ */

enum { FOR_SANITIZERS = 1 };

/* Refused where these bits of the argument have this value. */
static const struct rule {
    const char *call;
    unsigned argument;
    uint64_t bits, value;
    unsigned flags;
} rules[] = {
    /* a process that is no thread of ours, a thread in a world of its own */
    { "clone", CLONE_FLAGS, CLONE_THREAD, 0, FOR_SANITIZERS },
    { "clone", CLONE_FLAGS, CLONE_NEWNS, CLONE_NEWNS, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWCGROUP, CLONE_NEWCGROUP, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWUTS, CLONE_NEWUTS, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWIPC, CLONE_NEWIPC, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWUSER, CLONE_NEWUSER, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWPID, CLONE_NEWPID, 0 },
    { "clone", CLONE_FLAGS, CLONE_NEWNET, CLONE_NEWNET, 0 },
    /* signals that the kernel sends to the owner of a descriptor when there is something to read */
    { "fcntl", 1, LOW_32, F_SETOWN, 0 },
    { "fcntl", 1, LOW_32, F_SETOWN_EX, 0 },
    { "fcntl", 1, LOW_32, F_SETSIG, 0 },
    { "fcntl64", 1, LOW_32, F_SETOWN, 0 },
    { "fcntl64", 1, LOW_32, F_SETOWN_EX, 0 },
    { "fcntl64", 1, LOW_32, F_SETSIG, 0 },
    { "ioctl", 1, LOW_32, FIOSETOWN, 0 },
    { "ioctl", 1, LOW_32, SIOCSPGRP, 0 },
    /* the terminal that we were started from: typing into it, its processes, its drivers */
    { "ioctl", 1, LOW_32, TIOCSTI, 0 },
    { "ioctl", 1, LOW_32, TIOCLINUX, 0 },
    { "ioctl", 1, LOW_32, TIOCCONS, 0 },
    { "ioctl", 1, LOW_32, TIOCSCTTY, 0 },
    { "ioctl", 1, LOW_32, TIOCSPGRP, 0 },
    { "ioctl", 1, LOW_32, TIOCSIG, 0 },
    { "ioctl", 1, LOW_32, TIOCSETD, 0 },
    /* what loosens: who may look into our memory, where it begins, what may be guessed of it */
    { "prctl", 0, LOW_32, PR_SET_DUMPABLE, FOR_SANITIZERS },
    { "prctl", 0, LOW_32, PR_SET_PTRACER, FOR_SANITIZERS },
    { "prctl", 0, LOW_32, PR_SET_MM, 0 },
    { "prctl", 0, LOW_32, PR_SET_SPECULATION_CTRL, 0 },
    { "prctl", 0, LOW_32, PR_SET_SECUREBITS, 0 },
    { "prctl", 0, LOW_32, PR_CAP_AMBIENT, 0 },
    { "prctl", 0, LOW_32, PR_SCHED_CORE, 0 },
    /* no code comes to what is in memory already: see fence_modules.c */
    { "mmap", 2, PROT_EXEC, PROT_EXEC, 0 },
    { "mmap2", 2, PROT_EXEC, PROT_EXEC, 0 },
    { "mprotect", 2, PROT_EXEC, PROT_EXEC, 0 },
    { "pkey_mprotect", 2, PROT_EXEC, PROT_EXEC, 0 },
    /* programs that others run as our user */
    { "open", 2, S_ISUID, S_ISUID, 0 },
    { "open", 2, S_ISGID, S_ISGID, 0 },
    { "openat", 3, S_ISUID, S_ISUID, 0 },
    { "openat", 3, S_ISGID, S_ISGID, 0 },
    { "creat", 1, S_ISUID, S_ISUID, 0 },
    { "creat", 1, S_ISGID, S_ISGID, 0 },
    { "mkdir", 1, S_ISUID, S_ISUID, 0 },
    { "mkdir", 1, S_ISGID, S_ISGID, 0 },
    { "mkdirat", 2, S_ISUID, S_ISUID, 0 },
    { "mkdirat", 2, S_ISGID, S_ISGID, 0 },
    { "chmod", 1, S_ISUID, S_ISUID, 0 },
    { "chmod", 1, S_ISGID, S_ISGID, 0 },
    { "fchmod", 1, S_ISUID, S_ISUID, 0 },
    { "fchmod", 1, S_ISGID, S_ISGID, 0 },
    { "fchmodat", 2, S_ISUID, S_ISUID, 0 },
    { "fchmodat", 2, S_ISGID, S_ISGID, 0 },
    { "fchmodat2", 2, S_ISUID, S_ISUID, 0 },
    { "fchmodat2", 2, S_ISGID, S_ISGID, 0 },
};

static int forbid_arguments(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < ARRAY_LEN(rules); i++) {
        const struct scmp_arg_cmp condition = { rules[i].argument, SCMP_CMP_MASKED_EQ,
                                                rules[i].bits, rules[i].value };
        if (!(FENCE_HAS_GATE && (rules[i].flags & FOR_SANITIZERS)))
            error = refuse(filter, rules[i].call, SCMP_ACT_ERRNO(EPERM), &condition, 1);
    }
    return error;
}

/* Our own threads only, which is how abort() ends; and our own limits only: one of processor time
 * kills whoever it is set for. */
static int forbid_others(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp signals = { 0, SCMP_CMP_NE, (uint64_t)(uint32_t)getpid(), 0 };
    const struct scmp_arg_cmp limits = { 0, SCMP_CMP_NE, 0, 0 };
    int error = refuse(filter, "tgkill", SCMP_ACT_ERRNO(EPERM), &signals, 1);

    return error != 0 ? error : refuse(filter, "prlimit64", SCMP_ACT_ERRNO(EPERM), &limits, 1);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static bool is_used(uint64_t family)
{
    /* Netlink is how the C library asks which address families this machine has. */
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

static int forbid_socket(scmp_filter_ctx filter, uint64_t family, struct scmp_arg_cmp other)
{
    const struct scmp_arg_cmp conditions[] = { { 0, SCMP_CMP_EQ, family, 0 }, other };

    return refuse(filter, "socket", SCMP_ACT_ERRNO(EPERM), conditions, 2);
}

/* TCP and UDP: no packets, no raw IP, no other protocol for whose sake the kernel loads a module.
 */
static int forbid_internet(scmp_filter_ctx filter, uint64_t family)
{
    int error =
        forbid_socket(filter, family, (struct scmp_arg_cmp){ 2, SCMP_CMP_GT, IPPROTO_UDP, 0 });

    for (uint64_t type = 0; error == 0 && type < 16; type++)
        if (type != SOCK_STREAM && type != SOCK_DGRAM)
            error = forbid_socket(filter, family,
                                  (struct scmp_arg_cmp){ 1, SCMP_CMP_MASKED_EQ, 15, type });
    for (uint64_t protocol = 1; error == 0 && protocol < IPPROTO_UDP; protocol++)
        if (protocol != IPPROTO_TCP)
            error =
                forbid_socket(filter, family, (struct scmp_arg_cmp){ 2, SCMP_CMP_EQ, protocol, 0 });
    return error;
}

/* The kernel looks at the low half of these arguments; with something in the high one they are
 * greater than all that is allowed. */
static int forbid_sockets(scmp_filter_ctx filter)
{
    struct scmp_arg_cmp condition = { 0, SCMP_CMP_GT, AF_NETLINK, 0 };
    int error = refuse(filter, "socket", SCMP_ACT_ERRNO(EPERM), &condition, 1);

    condition.op = SCMP_CMP_EQ;
    for (uint64_t family = 0; error == 0 && family < AF_NETLINK; family++) {
        condition.datum_a = family;
        if (!is_used(family))
            error = refuse(filter, "socket", SCMP_ACT_ERRNO(EPERM), &condition, 1);
    }
    if (error == 0)
        error = forbid_internet(filter, AF_INET);
    if (error == 0)
        error = forbid_internet(filter, AF_INET6);
    if (error == 0) /* addresses and routes, which is what the C library asks for */
        error = forbid_socket(filter, AF_NETLINK, (struct scmp_arg_cmp){ 2, SCMP_CMP_NE, 0, 0 });
    return error;
}

/* --- all of it -------------------------------------------------------------------------------- */

bool fence_close_calls(struct why *why)
{
    static int (*const parts[])(scmp_filter_ctx) = {
        forbid_names, deny_existence, forbid_arguments, forbid_others, forbid_sockets,
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error;

    if (filter == NULL)
        return why_set(why, "seccomp does not begin");
    error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* all threads, if there are */
    for (size_t i = 0; error == 0 && i < ARRAY_LEN(parts); i++)
        error = parts[i](filter);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error == 0 || why_errno(why, -error, "seccomp does not hold");
}
