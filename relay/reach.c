/* reach.c - which places in the file system does a configuration need? */
#include "relay/reach.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/config_file.h"

/* --- paths ------------------------------------------------------------------------------------ */

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

/* A file that does not exist yet has an actual path when its folder exists. NULL: none. */
static char *actual_of(const char *path)
{
    char *actual = realpath(path, NULL);
    char *folder, *actual_folder;
    const char *name = strrchr(path, '/');

    if (actual != NULL || errno != ENOENT)
        return actual;
    folder = folder_of(path);
    actual_folder = realpath(folder, NULL);
    name = name == NULL ? path : name + 1;
    if (actual_folder != NULL && name[0] != '\0')
        actual = xasprintf("%s/%s", strcmp(actual_folder, "/") == 0 ? "" : actual_folder, name);
    free(folder);
    free(actual_folder);
    return actual;
}

/* Folders that hold everybody's things: a file in one of them is opened to us alone, at the price
 * that it cannot be replaced by another file without a restart. */
static bool is_shared(const char *folder)
{
    static const char *const shared[] = {
        "/",    "/boot", "/dev", "/etc", "/home", "/media", "/mnt",     "/opt",     "/proc",
        "/run", "/srv",  "/sys", "/tmp", "/usr",  "/var",   "/var/lib", "/var/tmp",
    };

    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        if (strcmp(folder, shared[i]) == 0)
            return true;
    return false;
}

static void add(struct reach *reach, const char *path, enum reach_access access, bool is_ours)
{
    char *actual = actual_of(path);

    if (actual == NULL && !is_ours)
        return;
    reach->places = xrealloc(reach->places, (reach->count + 1) * sizeof(*reach->places));
    reach->places[reach->count++] = (struct reach_place){ xstrdup(path), actual, access, is_ours };
}

/* The folder with a file, unless it is everybody's. */
static void add_folder_of(struct reach *reach, const char *path)
{
    char *folder = folder_of(path);
    char *actual = actual_of(folder);

    if (actual != NULL && !is_shared(actual))
        add(reach, folder, REACH_READ, false);
    free(actual);
    free(folder);
}

/* A file that may be replaced while we run, and so may what a symbolic link of its name points to
 * (certbot keeps certificates so). */
static void add_file(struct reach *reach, const char *path, bool is_ours)
{
    char *actual = actual_of(path);

    if (actual != NULL) {
        add_folder_of(reach, path);
        add_folder_of(reach, actual);
    }
    free(actual);
    add(reach, path, REACH_READ, is_ours);
}

/* --- what the libraries read ------------------------------------------------------------------ */

/* A DHCP client puts a new resolv.conf in the place of the old one at every renewal. Where that is
 * a file of /etc, not a link to a folder of its own and not a mount, only all of /etc will do:
 * otherwise no name could be looked up from the first renewal on. */
static void add_resolver(struct reach *reach)
{
    static const char path[] = "/etc/resolv.conf";
    struct stat file, folder;
    char *actual = realpath(path, NULL);

    if (actual != NULL && strcmp(actual, path) == 0 && stat("/etc", &folder) == 0 &&
        stat(path, &file) == 0 && file.st_dev == folder.st_dev)
        add(reach, "/etc", REACH_READ, false);
    free(actual);
    add_file(reach, path, false);
}

static void add_system(struct reach *reach)
{
    static const struct {
        const char *path;
        enum reach_access access;
    } rows[] = {
        { "/etc/gai.conf", REACH_READ },
        { "/etc/host.conf", REACH_READ },
        { "/etc/hosts", REACH_READ },
        { "/etc/nsswitch.conf", REACH_READ },
        { "/etc/protocols", REACH_READ },
        { "/etc/services", REACH_READ },
        { "/etc/ssl", REACH_READ }, /* the system's CAs, and openssl.cnf */
        { "/etc/pki", REACH_READ },
        { "/usr/share/ca-certificates", REACH_READ },
        { "/usr/local/share/ca-certificates", REACH_READ },
        { "/etc/ld.so.cache", REACH_READ }, /* where seccomp is missing, modules may still come */
        { "/lib", REACH_READ },
        { "/lib64", REACH_READ },
        { "/usr/lib", REACH_READ },
        { "/usr/lib64", REACH_READ },
        { "/usr/local/lib", REACH_READ },
        { "/sys/devices/system/cpu", REACH_READ }, /* how many cores? */
        { "/dev/urandom", REACH_READ },
        { "/dev/null", REACH_WRITE },
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        { "/", REACH_READ }, /* reports are made from /proc and from the program itself */
#endif
#ifdef LATCHPOST_COVERAGE
        { LATCHPOST_COVERAGE, REACH_WRITE }, /* the counts are written at the end */
#endif
    };
    static const char *const variables[] = { "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF" };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add(reach, rows[i].path, rows[i].access, false);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        if (getenv(variables[i]) != NULL)
            add(reach, getenv(variables[i]), REACH_READ, false);
    add_resolver(reach);
}

/* --- what the configuration names ------------------------------------------------------------- */

static void add_maildir(struct reach *reach, const char *url)
{
    const char *path = url + strlen("maildir:");
    char *parent;

    if (strncmp(url, "maildir:", strlen("maildir:")) != 0 || path[0] == '\0')
        return;
    parent = folder_of(path);
    add(reach, parent, REACH_LIST, false); /* it is synced after the folder was made */
    add(reach, path, REACH_WRITE, true);
    free(parent);
}

static void add_value(struct reach *reach, const struct config_value *value)
{
    for (size_t i = 0; i < value->count; i++) {
        if (value->setting->type == CONFIG_FILE && value->items[i][0] != '\0')
            add_file(reach, value->items[i], true);
        else if (strcmp(value->setting->section, "upstream") == 0 &&
                 strcmp(value->setting->name, "url") == 0)
            add_maildir(reach, value->items[i]);
    }
}

struct reach *reach_new(const char *config_path, struct why *why)
{
    struct config_file *file;
    struct reach *reach;
    const struct config_section *top;

    if (!config_file_read(&file, config_path, false, why))
        return NULL;
    reach = xcalloc(1, sizeof(*reach));
    top = config_section_at(file, "", 0);
    /* These two are not "ours": a running process keeps to those that it began with. */
    add(reach, config_text(top, "", "state_dir"), REACH_WRITE, false);
    add(reach, config_text(top, "", "runtime_dir"), REACH_WRITE, false);
    add_file(reach, config_path, true);
    for (size_t s = 0; s < file->section_count; s++)
        for (size_t v = 0; v < file->sections[s].value_count; v++)
            add_value(reach, &file->sections[s].values[v]);
    add_system(reach);
    config_file_free(file);
    return reach;
}

void reach_free(struct reach *reach)
{
    if (reach == NULL)
        return;
    for (size_t i = 0; i < reach->count; i++) {
        free(reach->places[i].path);
        free(reach->places[i].actual);
    }
    free(reach->places);
    free(reach);
}

/* --- questions -------------------------------------------------------------------------------- */

static bool holds(const struct reach_place *place, const struct reach_place *wanted)
{
    size_t len = place->actual == NULL ? 0 : strlen(place->actual);

    if (len == 0 || place->access < wanted->access ||
        strncmp(place->actual, wanted->actual, len) != 0)
        return false;
    return wanted->actual[len] == '\0' || wanted->actual[len] == '/' || len == 1;
}

bool reach_covers(const struct reach *reach, const struct reach *wanted, struct why *why)
{
    for (size_t w = 0; w < wanted->count; w++) {
        size_t i = 0;

        if (!wanted->places[w].is_ours)
            continue;
        if (wanted->places[w].actual == NULL) { /* a file that is not there is told of as such */
            i = wanted->places[w].access == REACH_READ ? 0 : reach->count;
        } else {
            while (i < reach->count && !holds(&reach->places[i], &wanted->places[w]))
                i++;
        }
        if (i == reach->count)
            return why_set(why,
                           "%s lies outside of what this process may open since its start: restart "
                           "it to use this place",
                           wanted->places[w].path);
    }
    return true;
}

const char *reach_unreadable(const struct reach *reach, size_t *at)
{
    while (*at < reach->count) {
        const struct reach_place *place = &reach->places[(*at)++];

        if (place->is_ours && place->access == REACH_READ && access(place->path, R_OK) != 0)
            return place->path;
    }
    return NULL;
}
