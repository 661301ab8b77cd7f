/* intruder.c - what could somebody do who runs code in the real relay?
 *
 *     LD_PRELOAD=intruder.so INTRUDER_VICTIM=PID INTRUDER_FOLDER=FOLDER latchpost serve ...
 *
 * Each connection that the relay takes lets the intruder in, once FOLDER/enter exists: it tries
 * what is listed below and writes one line for each attempt into FOLDER/report, its name and what
 * came of it. FOLDER is one that the relay may write. The victim is a process of the same user. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static pid_t victim;
static _Thread_local char path[4096]; /* workers are let in side by side */

static char *inside(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", getenv("INTRUDER_FOLDER"), name);
    return path;
}

/* --- attempts: true when it went well for the intruder ---------------------------------------- */

static int kill_victim(void)
{
    return kill(victim, SIGKILL) == 0;
}

static int kill_by_owned_pipe(void)
{
    int ends[2];

    return pipe(ends) == 0 && fcntl(ends[0], F_SETSIG, SIGKILL) == 0 &&
           fcntl(ends[0], F_SETOWN, victim) == 0 && fcntl(ends[0], F_SETFL, O_ASYNC) == 0 &&
           write(ends[1], "x", 1) == 1;
}

static int kill_by_owned_socket(void)
{
    int ends[2], on = 1;

    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 &&
           ioctl(ends[0], 0x8901 /* FIOSETOWN */, &victim) == 0 &&
           ioctl(ends[0], FIOASYNC, &on) == 0 && write(ends[1], "x", 1) == 1;
}

static int kill_by_limit(void)
{
    struct rlimit limit = { 0, 0 };

    return prlimit(victim, RLIMIT_CPU, &limit, NULL) == 0;
}

/* x86-64: mov eax, 42; ret. Elsewhere that it is mapped must do. */
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

static int run_code(int fd)
{
    void *memory;

    if (fd < 0 || write(fd, code, sizeof(code)) != sizeof(code))
        return 0;
    memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return 0;
#ifdef __x86_64__
    int (*function)(void);
    memcpy(&function, &memory, sizeof(function));
    return function() == 42;
#else
    return 1;
#endif
}

static int run_code_of_memory(void)
{
    return run_code(memfd_create("code", 0));
}

static int run_code_of_file(void)
{
    return run_code(open(inside("code"), O_RDWR | O_CREAT | O_CLOEXEC, 0700));
}

/* By which even memory that is only run can be written. */
static int write_own_code(void)
{
    return open("/proc/self/mem", O_RDWR | O_CLOEXEC) >= 0;
}

static int load_library(void)
{
    return dlopen(inside("library.so"), RTLD_NOW) != NULL;
}

static int leave_setuid_program(void)
{
    return open(inside("program"), O_WRONLY | O_CREAT | O_CLOEXEC, S_ISUID | 0755) >= 0 &&
           chmod(inside("program"), S_ISUID | 0755) == 0;
}

static const struct {
    const char *name;
    int (*attempt)(void);
} attempts[] = {
    { "kill", kill_victim },
    { "owned_pipe", kill_by_owned_pipe },
    { "owned_socket", kill_by_owned_socket },
    { "limit", kill_by_limit },
    { "code_of_memory", run_code_of_memory },
    { "code_of_file", run_code_of_file },
    { "own_code", write_own_code },
    { "library", load_library },
    { "setuid_program", leave_setuid_program },
};

static void intrude(void)
{
    static atomic_flag entered = ATOMIC_FLAG_INIT;
    FILE *report;

    if (getenv("INTRUDER_FOLDER") == NULL || access(inside("enter"), F_OK) != 0 ||
        atomic_flag_test_and_set(&entered) || (report = fopen(inside("report~"), "we")) == NULL)
        return;
    victim = atoi(getenv("INTRUDER_VICTIM"));
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int done = attempts[i].attempt();
        fprintf(report, "%s %s\n", attempts[i].name, done ? "done" : "refused");
    }
    fclose(report);
    char from[sizeof(path)];
    snprintf(from, sizeof(from), "%s", inside("report~"));
    rename(from, inside("report"));
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static int (*real)(int, struct sockaddr *, socklen_t *, int);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "accept4");
    int accepted = real(fd, address, len, flags);

    if (accepted >= 0)
        intrude();
    return accepted;
}
