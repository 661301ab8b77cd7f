/* fence_modules.c - which code must be in memory before none can come any more?
 * Behind the fence no memory becomes code, so what libraries load when they first need it has to be
 * there before: the modules of the name service that a look-up of a host asks, those that OpenSSL's
 * own configuration names, and what the C library ends a thread with. A module that the name
 * service's configuration gets later is found at the next start. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/fence_priv.h"
#include "relay/net/tls.h"

/* What cannot be loaded will be missed by nobody: the C library has "files" and "dns" built in, and
 * passes over a module that it does not find. The handle is for ever. */
static void load(const char *name)
{
    (void)dlopen(name, RTLD_NOW | RTLD_NODELETE);
}

/* The words of "hosts: files [NOTFOUND=return] dns # why" but for what stands in brackets. */
static void load_services(char *words)
{
    char library[64], *rest = words;

    words[strcspn(words, "#\n")] = '\0';
    while (*(rest += strspn(rest, " \t")) != '\0') {
        size_t len = strcspn(rest, rest[0] == '[' ? "]" : " \t[");
        int whole = snprintf(library, sizeof(library), "libnss_%.*s.so.2", (int)len, rest);
        if (rest[0] != '[' && whole > 0 && (size_t)whole < sizeof(library) &&
            memchr(rest, '/', len) == NULL)
            load(library);
        rest += len + (rest[len] == ']');
    }
}

void fence_load_modules(const char *nsswitch_path)
{
    static const char database[] = "hosts:";
    FILE *file = fopen(nsswitch_path, "re");
    char line[512];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *start = line + strspn(line, " \t");
        if (strncmp(start, database, strlen(database)) == 0)
            load_services(start + strlen(database));
    }
    if (file != NULL)
        fclose(file);
    load("libgcc_s.so.1");
    tls_load_modules();
}
