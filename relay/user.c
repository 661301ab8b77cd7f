/* user.c - as whom does this process go on? */
#include "relay/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIND_MASK (UINT64_C(1) << CAP_NET_BIND_SERVICE)

/* --- whom ------------------------------------------------------------------------------------- */

static void fill(struct user *user, const struct passwd *entry)
{
    user->uid = entry->pw_uid;
    user->gid = entry->pw_gid;
    snprintf(user->name, sizeof(user->name), "%s", entry->pw_name);
}

static bool find_name(struct user *user, const char *name, struct why *why)
{
    const struct passwd *entry = getpwnam(name);

    if (entry == NULL)
        return why_set(why, "user: there is no user \"%s\" on this machine", name);
    if (strlen(name) >= sizeof(user->name))
        return why_set(why, "user: the name is longer than %zu characters", sizeof(user->name) - 1);
    fill(user, entry);
    return true;
}

static void find_owner(struct user *user, const char *state_dir)
{
    struct stat status;
    const struct passwd *entry;

    if (stat(state_dir, &status) != 0 || status.st_uid == 0)
        return;
    entry = getpwuid(status.st_uid);
    user->uid = status.st_uid;
    user->gid = status.st_gid;
    if (entry != NULL)
        fill(user, entry);
}

bool user_find(struct user *user, const char *name, const char *state_dir, struct why *why)
{
    *user = (struct user){ .uid = geteuid(), .gid = getegid() };
    if (name != NULL && !find_name(user, name, why))
        return false;
    if (name == NULL && geteuid() == 0)
        find_owner(user, state_dir);
    user->is_other = user->uid != geteuid();
    return true;
}

bool user_own_folder(const struct user *user, const char *path, struct why *why)
{
    struct stat status;

    if (mkdir(path, 0700) == 0) {
        if (user->is_other && lchown(path, user->uid, user->gid) != 0) {
            why_errno(why, errno, "cannot give %s to user id %u", path, (unsigned)user->uid);
            rmdir(path);
            return false;
        }
        return true;
    }
    if (errno != EEXIST)
        return why_errno(why, errno, "cannot make state_dir %s", path);
    if (stat(path, &status) != 0)
        return why_errno(why, errno, "cannot look at state_dir %s", path);
    if (user->is_other && status.st_uid != user->uid)
        return why_set(why,
                       "state_dir %s belongs to user id %u and not to \"%s\": chown -R %s %s, or "
                       "set another user",
                       path, (unsigned)status.st_uid, user->name, user->name, path);
    return true;
}

/* --- capabilities ----------------------------------------------------------------------------- */

/* By the system calls: libcap would be a library for two of them. */
static bool get_permitted(uint64_t *permitted)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return true;
}

static bool set_capabilities(uint64_t mask)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = {
        { .effective = (uint32_t)mask, .permitted = (uint32_t)mask },
        { .effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32) },
    };

    return syscall(SYS_capset, &header, data) == 0;
}

/* What a program that we became could have: nothing. Needs a right that only root has; for others
 * no_new_privs does the same. */
static void empty_bounding_set(void)
{
    for (unsigned long capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            return;
}

static bool drop_capabilities(bool keep_bind, struct why *why)
{
    uint64_t permitted = 0;

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!get_permitted(&permitted))
        return why_errno(why, errno, "cannot look at the capabilities");
    /* None are left in a unit of systemd, and there this call is refused. */
    if (permitted != 0 && !set_capabilities(keep_bind ? permitted & BIND_MASK : 0))
        return why_errno(why, errno, "cannot give up capabilities");
    return true;
}

bool user_may_bind(void)
{
    uint64_t permitted = 0;

    return get_permitted(&permitted) && (permitted & BIND_MASK);
}

/* --- becoming --------------------------------------------------------------------------------- */

static bool set_groups(const struct user *user)
{
    if (user->name[0] != '\0')
        return initgroups(user->name, user->gid) == 0;
    return setgroups(0, NULL) == 0;
}

static bool change(const struct user *user, struct why *why)
{
    if (geteuid() != 0)
        return why_set(why, "user id %u cannot become \"%s\": start as root, or as %s",
                       (unsigned)geteuid(), user->name, user->name);
    if (!set_groups(user) || setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0)
        return why_errno(why, errno, "cannot become user id %u, group id %u", (unsigned)user->uid,
                         (unsigned)user->gid);
    return true;
}

/* Said and done are two things: a kernel or a container that lies must not leave us as root. */
static bool check(const struct user *user, struct why *why)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;

    if (getresuid(&real, &effective, &saved) != 0 ||
        getresgid(&real_group, &effective_group, &saved_group) != 0 || real != user->uid ||
        effective != user->uid || saved != user->uid || real_group != user->gid ||
        effective_group != user->gid || saved_group != user->gid)
        return why_set(why, "did not become user id %u", (unsigned)user->uid);
    if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 ||
        (user->gid != 0 && setresgid((gid_t)-1, 0, (gid_t)-1) == 0))
        return why_set(why, "could become root again after becoming user id %u",
                       (unsigned)user->uid);
    return true;
}

bool user_become(const struct user *user, bool keep_bind, struct why *why)
{
    empty_bounding_set(); /* while we still have the right to */
    if (user->is_other && keep_bind)
        (void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0); /* over the change, to drop all others after it */
    if (user->is_other && !change(user, why))
        return false;
    if (!drop_capabilities(keep_bind, why))
        return false;
    (void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    return !user->is_other || check(user, why);
}
