/* fake_dns.c - getaddrinfo() as a test wants it, linked into a unit test or preloaded into the
 * relay (then built as fake_dns.so). The file $FAKE_DNS has lines like "mx.test ::1 127.0.0.1": a
 * name and its addresses, in order. In place of addresses: "none" (there is no such name), "again"
 * (no server answers), "hang" (no answer comes until the file says something else). It is read anew
 * for each question; each question leaves its name as a line in the file $FAKE_DNS.asked. Names
 * that are not in it are looked up. */
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 4096

typedef int lookup_fn(const char *node, const char *service, const struct addrinfo *hints,
                      struct addrinfo **result);

static lookup_fn *real_lookup(void)
{
    lookup_fn *real;

    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real;
}

/* The words behind the name; false: it is not there. */
static bool find_line(const char *node, char words[static LINE_MAX_LEN])
{
    const char *path = getenv("FAKE_DNS");
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    char line[LINE_MAX_LEN];
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        size_t len = strcspn(line, " \n");

        found = len == strlen(node) && strncasecmp(line, node, len) == 0;
        line[strcspn(line, "\n")] = '\0';
        if (found)
            snprintf(words, LINE_MAX_LEN, "%s", line[len] == ' ' ? line + len + 1 : "");
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static void note_question(const char *node)
{
    char text[LINE_MAX_LEN];
    int len = snprintf(text, sizeof(text), "%s.asked", getenv("FAKE_DNS"));
    int fd = open(text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    len = snprintf(text, sizeof(text), "%s\n", node);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        abort();
    close(fd);
}

/* The nodes are of the libc's own making, so its freeaddrinfo() takes them. */
static int join(char *words, const struct addrinfo *hints, struct addrinfo **result)
{
    struct addrinfo how = *hints;
    struct addrinfo **end = result;
    char *rest = NULL;

    *result = NULL;
    how.ai_flags = AI_NUMERICHOST;
    for (char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (real_lookup()(word, NULL, &how, end) != 0)
            abort(); /* the test gave no address */
        while (*end != NULL)
            end = &(*end)->ai_next;
    }
    return *result == NULL ? EAI_NONAME : 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    static const struct timespec pause = { .tv_nsec = 5000000 };
    char words[LINE_MAX_LEN];

    if (node == NULL || hints == NULL || !find_line(node, words))
        return real_lookup()(node, service, hints, result);
    note_question(node);
    while (strcmp(words, "hang") == 0) {
        nanosleep(&pause, NULL);
        if (!find_line(node, words))
            return EAI_AGAIN;
    }
    if (strcmp(words, "again") == 0)
        return EAI_AGAIN;
    return strcmp(words, "none") == 0 ? EAI_NONAME : join(words, hints, result);
}
