/* fence.c - what is this process still able to do once it serves? */
#include "relay/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/alloc.h"
#include "relay/base/log.h"
#include "relay/fence_priv.h"
#include "relay/user.h"

struct fence {
    struct user user;
    struct reach *reach;
    struct fence_needs needs;
    bool holds_files;
    char parts[64]; /* what is in force: "no_new_privs,landlock,seccomp" */
    struct {
        const char *part;
        struct why why;
    } missing[3];
    size_t missing_count;
};

/* Keys pass through buffers that live as long as a loop: a core file, or another process of the
 * same user that reads our memory, would have them. */
static void forbid_dumps(void)
{
#ifndef __SANITIZE_ADDRESS__ /* whose search for leaks traces its own process */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static bool forbid_privileges(const struct fence *fence, struct why *why)
{
    (void)fence;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ||
           why_errno(why, errno, "privileges could grow");
}

static bool close_files(const struct fence *fence, struct why *why)
{
    return fence_close_files(fence->reach, fence->needs.abstract_sockets, why);
}

static bool close_calls(const struct fence *fence, struct why *why)
{
    (void)fence;
    return fence_close_calls(why);
}

/* In this order: an ordinary process may do the others once its privileges cannot grow, and
 * Landlock's own calls come before the fence around calls. */
static const struct {
    const char *name;
    bool (*put_up)(const struct fence *fence, struct why *why);
} parts[] = {
    { "no_new_privs", forbid_privileges },
    { "landlock", close_files },
    { "seccomp", close_calls },
};

static bool put_up(struct fence *fence, bool required, struct why *why)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct why missing = { "" };
        size_t len = strlen(fence->parts);

        if (parts[i].put_up(fence, &missing)) {
            snprintf(fence->parts + len, sizeof(fence->parts) - len, "%s%s", len > 0 ? "," : "",
                     parts[i].name);
            fence->holds_files = fence->holds_files || parts[i].put_up == close_files;
        } else if (required) {
            return why_set(why, "fence is \"required\": %s: %s", parts[i].name, missing.text);
        } else {
            fence->missing[fence->missing_count].part = parts[i].name;
            fence->missing[fence->missing_count++].why = missing;
        }
    }
    return true;
}

/* Landlock holds on to folders that exist. What cannot be made will be missed by whoever needs it,
 * who then says so. */
static void make_folders(const struct reach *reach)
{
    for (size_t i = 0; i < reach->count; i++)
        if (reach->places[i].access == REACH_WRITE)
            (void)mkdir(reach->places[i].path, 0700);
}

struct fence *fence_raise(const struct config *config, const struct fence_needs *needs,
                          struct why *why)
{
    struct fence *fence = xcalloc(1, sizeof(*fence));
    bool ok = false;

    fence->needs = *needs;
    forbid_dumps();
    if (config->fence != FENCE_OFF)
        fence_load_modules("/etc/nsswitch.conf");
    if (!user_find(&fence->user, config->user, config->state_dir, why) ||
        !user_own_folder(&fence->user, config->state_dir, why))
        goto out;
    fence->reach = reach_new(config->path, why); /* as root, who can read it in any case */
    if (fence->reach == NULL || !user_become(&fence->user, needs->low_ports, why))
        goto out;
    forbid_dumps(); /* again, as becoming another undoes it */
    make_folders(fence->reach);
    ok = config->fence == FENCE_OFF || put_up(fence, config->fence == FENCE_REQUIRED, why);
out:
    if (!ok) {
        fence_free(fence);
        return NULL;
    }
    return fence;
}

void fence_log(const struct fence *fence)
{
    const char *path;
    size_t at = 0;

    LOG(LOG_INFO, "fence", LOG_STR("fence", fence->parts[0] != '\0' ? fence->parts : "off"),
        LOG_INT("uid", geteuid()), LOG_INT("gid", getegid()),
        LOG_STR("capabilities", user_may_bind() ? "net_bind_service" : "none"));
    for (size_t i = 0; i < fence->missing_count; i++)
        LOG(LOG_WARNING, "fence_missing", LOG_STR("part", fence->missing[i].part),
            LOG_STR("reason", fence->missing[i].why.text));
    if (geteuid() == 0)
        LOG(LOG_WARNING, "running_as_root",
            LOG_STR("reason", "set user = \"latchpost\", or any other that is not root"));
    while ((path = reach_unreadable(fence->reach, &at)) != NULL)
        LOG(LOG_WARNING, "reload_needs", LOG_STR("path", path),
            LOG_STR("reason", "read as root at the start, it cannot be read again at a reload: let "
                              "the group of the user read it, or use LoadCredential"));
}

/* The modes of the file would let us read it, but a rule of Landlock belonged to the old one. */
static bool was_replaced(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == EACCES && access(path, R_OK) == 0;
}

bool fence_allows(const struct fence *fence, const char *config_path, struct why *why)
{
    struct reach *wanted;
    bool ok;

    if (!fence->holds_files)
        return true;
    if (was_replaced(config_path))
        return why_set(why,
                       "%s is another file now, in a folder of everybody's that this process may "
                       "not read: restart it, and give the configuration a folder of its own",
                       config_path);
    wanted = reach_new(config_path, why);
    ok = wanted != NULL && reach_covers(fence->reach, wanted, why);
    reach_free(wanted);
    return ok;
}

void fence_free(struct fence *fence)
{
    if (fence == NULL)
        return;
    reach_free(fence->reach);
    free(fence);
}
