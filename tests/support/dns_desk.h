/* dns_desk.h - what fake_dns.c answers in a unit test. Linked with fake_dns.c. */
#ifndef LATCHPOST_TESTS_DNS_DESK_H
#define LATCHPOST_TESTS_DNS_DESK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dns_desk {
    char path[64];
};

/* From now on these lines hold. A rename: a reader sees the old lines or the new. */
static inline void dns_say(const struct dns_desk *desk, const char *lines)
{
    char path[80];
    snprintf(path, sizeof(path), "%s.new", desk->path);
    FILE *file = fopen(path, "w");

    if (file == NULL || fputs(lines, file) < 0 || fclose(file) != 0 ||
        rename(path, desk->path) != 0)
        abort();
}

static inline void dns_open(struct dns_desk *desk, const char *lines)
{
    snprintf(desk->path, sizeof(desk->path), "/tmp/latchpost-dns-XXXXXX");
    int fd = mkstemp(desk->path);

    if (fd < 0 || close(fd) != 0 || setenv("FAKE_DNS", desk->path, 1) != 0)
        abort();
    dns_say(desk, lines);
}

/* How often this name was asked for. */
static inline unsigned dns_asked(const struct dns_desk *desk, const char *name)
{
    char path[80], line[300];
    snprintf(path, sizeof(path), "%s.asked", desk->path);
    FILE *file = fopen(path, "r");
    unsigned count = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        count += strcmp(line, name) == 0;
    }
    if (file != NULL)
        fclose(file);
    return count;
}

static inline void dns_close(const struct dns_desk *desk)
{
    char path[80];

    snprintf(path, sizeof(path), "%s.asked", desk->path);
    unlink(path);
    unlink(desk->path);
    unsetenv("FAKE_DNS");
}

#endif
