/* auth_place.h - a folder of its own for keys.db and the pepper, for the tests of auth/. */
#ifndef LATCHPOST_TESTS_AUTH_PLACE_H
#define LATCHPOST_TESTS_AUTH_PLACE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/auth_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/log.h"

#define PLACE_NOW_S INT64_C(1800000000)

struct place {
    char folder[128];
    char keys[160], pepper[160];
    struct auth_options options;
    struct auth *auth; /* open when the test begins, unless the test closes it */
    struct why why;
};

static inline void place_ignore_line(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static inline int place_make_folder(void **state)
{
    struct place *place = xcalloc(1, sizeof(*place));
    const char *tmp = getenv("TMPDIR");

    snprintf(place->folder, sizeof(place->folder), "%.90s/latchpost-auth-XXXXXX",
             tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(place->folder) == NULL)
        return -1;
    snprintf(place->keys, sizeof(place->keys), "%s/keys.db", place->folder);
    snprintf(place->pepper, sizeof(place->pepper), "%s/pepper", place->folder);
    place->options = (struct auth_options){
        .path = place->keys,
        .pepper_path = place->pepper,
        .prefix_live = "lpk_",
        .prefix_test = "lpt_",
        .penalty_failures = 10,
        .penalty_window_s = 600,
        .penalty_s = 900,
        .tarpit_ms = 1000,
    };
    log_divert(place_ignore_line, NULL);
    *state = place;
    return 0;
}

static inline int place_make(void **state)
{
    if (place_make_folder(state) != 0)
        return -1;
    struct place *place = *state;

    if (auth_open(&place->auth, &place->options, &place->why))
        return 0;
    fprintf(stderr, "%s\n", place->why.text);
    return -1;
}

static inline void place_close(struct place *place)
{
    auth_close(place->auth);
    place->auth = NULL;
}

static inline void place_reopen(struct place *place)
{
    place_close(place);
    if (!auth_open(&place->auth, &place->options, &place->why))
        fail_msg("%s", place->why.text);
}

static inline int place_remove(void **state)
{
    struct place *place = *state;
    char path[512];

    place_close(place);
    log_divert(NULL, NULL);
    DIR *folder = opendir(place->folder);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", place->folder, entry->d_name);
        unlink(path);
    }
    if (folder != NULL)
        closedir(folder);
    int error = rmdir(place->folder);
    free(place);
    return error;
}

/* Is this text or these bytes in any file of the folder? */
static inline bool place_holds(const struct place *place, struct slice bytes)
{
    bool found = false;
    char path[512];
    DIR *folder = opendir(place->folder);

    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", place->folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file == NULL)
            continue;
        char *content = xmalloc(16 << 20);
        size_t size = fread(content, 1, 16 << 20, file);
        found = found || memmem(content, size, bytes.data, bytes.len) != NULL;
        free(content);
        fclose(file);
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

/* A peer at this address; NULL: on a Unix socket. */
static inline struct auth_peer place_peer(const char *address)
{
    struct auth_peer peer = { .has_address = address != NULL, .protocol = "smtp" };

    if (address != NULL)
        assert_true(network_parse_address(address, peer.address));
    return peer;
}

static inline struct auth_list place_one(const char *const *item)
{
    return (struct auth_list){ item, *item == NULL ? 0 : 1 };
}

struct made { /* a key */
    char secret[AUTH_KEY_TEXT_BYTES];
    char id[AUTH_KEY_ID_BYTES];
};

static inline struct auth_key_spec place_spec(void)
{
    return (
        struct auth_key_spec){ .account = AUTH_DEFAULT_ACCOUNT, .name = "k", .scopes = AUTH_SEND };
}

static inline struct made place_key_of(struct place *place, const struct auth_key_spec *spec)
{
    struct made made;

    if (auth_key_create(place->auth, "operator", spec, PLACE_NOW_S, made.secret, made.id,
                        &place->why) != AUTH_DONE)
        fail_msg("%s", place->why.text);
    return made;
}

static inline struct made place_key(struct place *place)
{
    struct auth_key_spec spec = place_spec();

    return place_key_of(place, &spec);
}

static inline void place_domain(struct place *place, const char *account, const char *pattern)
{
    if (auth_domain_add(place->auth, "operator", account, pattern, true, PLACE_NOW_S,
                        &place->why) != AUTH_DONE)
        fail_msg("%s", place->why.text);
}

static inline enum auth_verdict place_check(struct place *place, const char *secret,
                                            struct auth_grant **grant)
{
    struct auth_peer peer = place_peer("192.0.2.1");

    return auth_check(place->auth, slice_of(secret), AUTH_SEND, &peer, PLACE_NOW_S, grant);
}

static inline struct auth_grant *place_grant(struct place *place, const char *secret)
{
    struct auth_grant *grant = NULL;

    assert_int_equal(place_check(place, secret, &grant), AUTH_OK);
    return grant;
}

#endif
