/* api_place.h - the API over real stores in a folder of its own, in direct mode, for the tests of
 * relay/http/. A test asks and gets the answer as text and as JSON. */
#ifndef LATCHPOST_TESTS_API_PLACE_H
#define LATCHPOST_TESTS_API_PLACE_H

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "relay/base/alloc.h"
#include "relay/base/clock.h"
#include "relay/base/ident.h"
#include "relay/base/log.h"
#include "relay/http/endpoints.h"

struct api_place {
    char folder[128], keys[160], pepper[160], queue_path[160];
    struct auth *auth;
    struct queue *queue;
    struct mailbox answers;
    struct api api;
    /* of the last answer: */
    unsigned answered;
    int status;
    char allow[64], endpoint[64];
    unsigned retry_after_s;
    struct api_rate rate;
    char *text;
    json_t *json; /* NULL when it was none */
};

static inline void api_place_ignore(void *owner, struct slice line)
{
    (void)owner;
    (void)line;
}

static inline void api_place_wake(void *owner)
{
    (void)owner;
}

static inline bool api_place_open(struct api_place *place, struct why *why)
{
    const char *tmp = getenv("TMPDIR");
    struct auth_options auth = { .path = place->keys,
                                 .pepper_path = place->pepper,
                                 .prefix_live = "lpk_",
                                 .prefix_test = "lpt_",
                                 .penalty_failures = 10,
                                 .penalty_window_s = 600,
                                 .penalty_s = 900 };
    struct queue_options queue = {
        .path = place->queue_path,
        .schedule = { .retry_ms = { 60000 }, .retry_count = 1, .max_age_ms = 345600000 },
        .retention_ms = 86400000
    };

    *place = (struct api_place){ 0 };
    snprintf(place->folder, sizeof(place->folder), "%.90s/latchpost-api-XXXXXX",
             tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(place->folder) == NULL)
        return why_set(why, "no folder");
    snprintf(place->keys, sizeof(place->keys), "%s/keys.db", place->folder);
    snprintf(place->pepper, sizeof(place->pepper), "%s/pepper", place->folder);
    snprintf(place->queue_path, sizeof(place->queue_path), "%s/queue.db", place->folder);
    log_divert(api_place_ignore, NULL);
    mailbox_init(&place->answers, api_place_wake, NULL);
    if (!auth_open(&place->auth, &auth, why) || !queue_open(&place->queue, &queue, why))
        return false;
    place->api = (struct api){
        .auth = place->auth,
        .queue = place->queue,
        .answers = &place->answers,
        .version = "test",
        .mail = { .hostname = "relay.test",
                  .message_bytes = 1024 * 1024,
                  .recipients = 10,
                  .header_bytes = 64 * 1024 },
    };
    return true;
}

static inline void api_place_forget(struct api_place *place)
{
    free(place->text);
    json_decref(place->json);
    place->text = NULL;
    place->json = NULL;
    place->status = 0;
}

static inline void api_place_close(struct api_place *place)
{
    char path[512];

    api_place_forget(place);
    queue_stop(place->queue);
    while (mailbox_drain(&place->answers) > 0) {
    }
    mailbox_destroy(&place->answers);
    queue_free(place->queue);
    auth_close(place->auth);
    log_divert(NULL, NULL);
    DIR *folder = opendir(place->folder);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", place->folder, entry->d_name);
        unlink(path);
    }
    if (folder != NULL)
        closedir(folder);
    rmdir(place->folder);
}

static inline void api_place_answer(void *owner, const struct api_answer *answer)
{
    struct api_place *place = owner;

    place->answered++;
    place->status = answer->status;
    place->retry_after_s = answer->retry_after_s;
    place->rate = answer->rate;
    snprintf(place->allow, sizeof(place->allow), "%s", answer->allow == NULL ? "" : answer->allow);
    snprintf(place->endpoint, sizeof(place->endpoint), "%s",
             answer->endpoint == NULL ? "" : answer->endpoint);
    place->text = slice_dup(answer->body);
    place->json = json_loadb(place->text, answer->body.len, JSON_REJECT_DUPLICATES, NULL);
}

static inline int api_place_call(struct api_place *place, const struct api_caller *caller,
                                 const struct api_request *request)
{
    unsigned before = place->answered;

    api_place_forget(place);
    api_call(&place->api, caller, request, api_place_answer, place);
    assert(place->answered == before); /* never from inside */
    for (int turn = 0; turn < 1000 && place->answered == before; turn++) {
        queue_step(place->queue);
        mailbox_drain(&place->answers);
    }
    assert(place->answered == before + 1);
    return place->status;
}

/* As the operator (grant NULL) or with a key. target: path and query; body: NULL for none. */
static inline int api_place_ask(struct api_place *place, struct auth_grant *grant,
                                const char *method, const char *target, const char *body)
{
    struct api_caller caller = { .is_operator = grant == NULL, .grant = grant };
    struct slice rest = slice_of(target);
    struct api_request request = { .method = slice_of(method),
                                   .path = slice_cut(&rest, '?'),
                                   .body = slice_of(body),
                                   .content_type = SLICE("application/json") };

    request.query = rest;
    return api_place_call(place, &caller, &request);
}

/* A member of the last answer by its path, like "data.0.name" or "error.code". */
static inline const json_t *api_place_at(const struct api_place *place, const char *path)
{
    const json_t *at = place->json;

    for (struct slice rest = slice_of(path); rest.data != NULL && at != NULL;) {
        struct slice part = slice_cut(&rest, '.');
        uint64_t index;
        char *name = slice_dup(part);
        at = slice_to_u64(part, &index) && json_is_array(at) ? json_array_get(at, (size_t)index)
                                                             : json_object_get(at, name);
        free(name);
    }
    return at;
}

static inline const char *api_place_text(const struct api_place *place, const char *path)
{
    const char *text = json_string_value(api_place_at(place, path));

    return text == NULL ? "" : text;
}

/* The grant of a key that the last answer made. */
static inline struct auth_grant *api_place_grant(struct api_place *place)
{
    struct auth_peer peer = { .protocol = "http" };
    struct auth_grant *grant = NULL;
    enum auth_verdict verdict =
        auth_check(place->auth, slice_of(api_place_text(place, "data.apiKey")), 0, &peer,
                   clock_wall_s(), &grant);

    assert(verdict == AUTH_OK);
    (void)verdict;
    return grant;
}

static inline struct auth_grant *api_place_key(struct api_place *place, const char *body)
{
    int status = api_place_ask(place, NULL, "POST", "/v1/api-keys", body);

    assert(status == 201);
    (void)status;
    return api_place_grant(place);
}

#endif
